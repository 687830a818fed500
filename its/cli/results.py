"""Read the results of a study: the table, the headline."""

from __future__ import annotations

import click

from its.cli.output import json_option, print_json


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
    `--format json`.

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
    found = summary(study)
    if as_json or form == "json":
        kept = {"cells", "pairs", "blocks", "curves", "pools", "comparisons", "tests", "efficiency", "not_possible"}
        print_json(**found.model_dump(include=kept | {"votes", "selection", "nested"}))
        return
    click.echo(TABLES[form](found), nl=form == "text")
    if form == "text":
        for sentence in headline_sentences(found):
            click.echo(sentence)
        click.echo(f"report: {study.results('report.html').relative_to(study.project)}")


@results.command()
@json_option
def best(as_json: bool) -> None:
    """Print the pair to report and its held-out score.

    The pair is chosen on the benchmarks with the role `select`. Without one, the largest cell of a table is named only
    if `measure.maximum` is true, with the amount by which it overstates the score.

    \b
    Reads   results/ of the last `dvc repro`
    Writes  nothing
    Example its results best
    """
    from its.stages.report import best_pair
    from its.study.study import load_study

    found, sentences = best_pair(load_study())
    if as_json:
        print_json(**found)
        return
    for sentence in sentences:
        click.echo(sentence)
