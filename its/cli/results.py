"""Read the results of a study: the table, the pair to report, comparisons, the responses behind them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from its.cli.complete import complete_cell
from its.cli.output import echo, json_option, print_json

if TYPE_CHECKING:
    from its.report.data import ReportData

FILTER = click.option("--filter", "filter_name", help="The filter, where an lm-eval file has several.")
METRIC = click.option("--metric", help="The metric of lm-eval or scorer of Inspect, where a file has several.")


@click.group()
def results() -> None:
    """Read the results of the last run."""


@results.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "latex", "markdown", "json"]),
    default="text",
    help="The output format; LaTeX needs booktabs.",
)
@json_option
def table(form: str, as_json: bool) -> None:
    """Print the train x test table and its headline.

    Text includes the headline; the other formats contain only the table, with its intervals and terms. `--json` is
    `--format json`. On a terminal a table wider than it is printed in blocks of columns, and a cell has a darker
    ground the higher its mean is, on a scale from 0 to 100 % (none with NO_COLOR).

    If parameters, files or code changed after the last run, by dvc.lock, stderr says so (`notes` with --json).

    \b
    Reads   results/ of the last `dvc repro`
    Writes  nothing
    Example its results table --format markdown
    """
    from its.report.sentences import headline_sentences
    from its.report.tables import TABLES
    from its.stages.report import summary
    from its.study.study import load_study

    study = load_study()
    found, notes = summary(study), _notes(study.project)
    if as_json or form == "json":
        kept = {"cells", "pairs", "blocks", "curves", "pools", "comparisons", "tests", "efficiency", "not_possible"}
        print_json(**found.model_dump(include=kept | {"votes", "selection", "nested"}), notes=notes)
        return
    click.echo(_terminal_table(found) if form == "text" else TABLES[form](found), nl=form == "text")
    if form == "text":
        for sentence in headline_sentences(found):
            click.echo(sentence)
        click.echo(f"report: {study.results('report.html').relative_to(study.project)}")
    _warn(notes)


def _notes(project: Path) -> list[str]:
    """What to know before the results are read as those of params.yaml."""
    from its.commands.outdated import outdated, recipe_edited

    return [*outdated(project), *recipe_edited(project)]


def _warn(notes: Sequence[str]) -> None:
    """On stderr: stdout has the result alone."""
    for note in notes:
        echo(f"note: {note}", err=True)
    if notes:
        from its.commands.outdated import REMEDY

        echo(f"hint: {REMEDY}", err=True)


STEPS = ((195, 16), (153, 16), (111, 16), (75, 16), (26, 231), (18, 231))
"""Colours of 256 for a mean from 0 to 100 %, of the ground and of the text: contrast at least 5.8 in each."""


def _terminal_table(found: ReportData) -> str:
    """The text table; on a terminal within its width and, unless NO_COLOR is set, with a ground by the mean."""
    from its.commands.problem_text import terminal_width
    from its.report.tables import text_table

    width = terminal_width()
    plain = width is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text_table(found, width, None if plain else _styled)


def _styled(text: str, mean: float) -> str:
    ground, colour = STEPS[min(int(mean * len(STEPS)), len(STEPS) - 1)]
    return click.style(text, fg=colour, bg=ground)


@results.command()
@json_option
def best(as_json: bool) -> None:
    """Print the pair to report and its held-out score.

    The pair is chosen on the benchmarks with the role `select`. Without one, the largest cell of a table is named only
    if `measure.maximum` is true, with the amount by which it overstates the score. Where no pair is named, the output
    gives the reason (`reason` with --json). Outdated results are noted as by `its results table`.

    \b
    Reads   results/ of the last `dvc repro`
    Writes  nothing
    Example its results best
    """
    from its.stages.report import best_pair
    from its.study.study import load_study

    study = load_study()
    found, sentences = best_pair(study)
    notes = _notes(study.project)
    if as_json:
        print_json(**found, notes=notes)
        return
    for sentence in sentences:
        click.echo(sentence)
    _warn(notes)


@results.command()
@click.argument("a", shell_complete=complete_cell)
@click.argument("b", shell_complete=complete_cell)
@FILTER
@METRIC
@json_option
def compare(a: str, b: str, filter_name: str | None, metric: str | None, as_json: bool) -> None:
    """Compare two cells, revisions or evaluation logs.

    A and B each are a cell (CHECKPOINT/BENCHMARK/STRATEGY, as `its recipe check --cells` lists them), `workspace`, a
    git revision, a DVC experiment, a folder with a study, one cell of these (HEAD~1:CELL), or a file: samples of
    `lm-eval --log_samples`, a log of Inspect (.json, .eval), or a file that `its grade` wrote, also packed as .gz or
    .zst. Two revisions are compared in every cell that both have.

    Problems are paired by id, otherwise by text; those without a partner are counted. The output is A - B in points
    with its 95 % interval, p value and minimum detectable difference, what differs between the sides, and whether
    verdicts are outdated by dvc.lock.

    \b
    Reads   data/verdicts/, data/problems/, params.yaml; or a file
    Writes  nothing
    Example its results compare workspace workspace
    """
    from its.commands.compare import compare as compared
    from its.commands.compare import compare_lines

    found = compared(a, b, filter_name, metric)
    if as_json:
        print_json(**found.as_json())
        return
    for line in compare_lines(found):
        echo(line)


@results.command()
@click.option(
    "--right",
    required=True,
    metavar="A",
    shell_complete=complete_cell,
    help="The side that is right: a cell, REVISION:CELL or a file.",
)
@click.option("--wrong", required=True, metavar="B", shell_complete=complete_cell, help="The side that is wrong.")
@click.option("--rule", help="Only where this rule found an answer of B, for example `last_number`.")
@click.option("--truncated", is_flag=True, help="Only where a response of B ended at the token limit.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Problems to print.")
@FILTER
@METRIC
@json_option
def cases(
    right: str,
    wrong: str,
    rule: str | None,
    truncated: bool,
    limit: int,
    filter_name: str | None,
    metric: str | None,
    as_json: bool,
) -> None:
    """List the problems that are right in A and wrong in B.

    With several responses a problem is right if more than half of them are correct, and wrong if less than half are.

    \b
    Reads   data/verdicts/, data/responses/, data/problems/; or a file
    Writes  nothing
    Example its results cases --right smollm2_135m-base/arithmetic_test/random --wrong smollm2_135m-base/arithmetic_test/none
    """  # noqa: E501
    from its.commands.cases import case_lines, find_cases

    found = find_cases(right, wrong, rule, truncated, filter_name, metric)
    if as_json:
        print_json(**found.as_json(limit))
        return
    for line in case_lines(found, limit):
        echo(line)


@results.command()
@click.argument("problem")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    shell_complete=complete_cell,
    help="Only this cell, CHECKPOINT/BENCHMARK/STRATEGY; may be repeated.",
)
@click.option("--sample", type=click.IntRange(min=0), help="Only the response with this index, from 0.")
@json_option
def show(problem: str, cells: tuple[str, ...], sample: int | None, as_json: bool) -> None:
    """Show a problem and its responses in every cell.

    For each cell: persona, query, and of each response its verdict, answer, rule, thinking and text. On a terminal of
    at least 83 characters the cells are side by side. A problem of several benchmarks is BENCHMARK/PROBLEM. Outdated
    responses are noted as by `its results table`.

    \b
    Reads   data/problems/, data/personas/, data/queries/, data/responses/, data/verdicts/
    Writes  nothing
    Example its results show test_00000
    """
    from its.commands.outdated import outdated
    from its.commands.problem_text import problem_lines, terminal_width
    from its.commands.show_problem import show_problem
    from its.commands.side_settings import STAGES
    from its.study.study import load_study

    study = load_study()
    found = show_problem(study, problem, cells, sample)
    notes = outdated(study.project, "responses and verdicts", STAGES)
    if as_json:
        print_json(**found, notes=notes)
        return
    for line in problem_lines(found, terminal_width()):
        echo(line)
    _warn(notes)
