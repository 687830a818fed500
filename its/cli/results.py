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

    Reads results/ of the last `dvc repro`. Text includes the headline; the other formats are the table alone, with
    its intervals and terms. `--json` is `--format json`.

    Example: its results table --format markdown
    """
    from its.report.sentences import headline_sentences
    from its.report.tables import TABLES
    from its.stages.report import summary
    from its.stages.study import load_study

    study = load_study()
    found = summary(study)
    if as_json or form == "json":
        kept = ("cells", "pairs", "blocks", "comparisons", "tests", "efficiency", "votes", "selection", "nested")
        print_json(**found.model_dump(include=set(kept)))
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

    Reads results/ of the last `dvc repro`. The pair is chosen on the benchmarks with the role `select`. Without one,
    the largest cell of a table is named only if `measure.maximum` is true, with the amount by which it overstates.

    Example: its results best
    """
    from its.stages.report import best_pair
    from its.stages.study import load_study

    found, sentences = best_pair(load_study())
    if as_json:
        print_json(**found)
        return
    for sentence in sentences:
        click.echo(sentence)


@click.command()
@click.option("--dry-run", is_flag=True, help="List what would be removed, remove nothing.")
def prune(dry_run: bool) -> None:
    """Remove checkpoints that left the design.

    Reads params.yaml. Removes models/CHECKPOINT and its files under results/ where the design has no such checkpoint;
    DVC does not (a matrix that shrinks leaves its outputs). The ITS home keeps trained models and responses. A model
    that `train` did not write, or that a recipe names, is left and listed. Symbolic links are not followed: the link is
    removed, its target stays; files behind a linked folder are left and listed.

    Example: its prune --dry-run
    """
    from its.stages.prune import prune as prune_study
    from its.stages.study import load_study

    removed, left = prune_study(load_study(), dry_run)
    for path in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {path}")
    for path, why in left.items():
        click.echo(f"left {path}: {why}", err=True)
    if not removed and not left:
        click.echo("every checkpoint is in the design")
