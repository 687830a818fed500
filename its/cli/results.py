"""Read what a study found: the table, the headline."""

from __future__ import annotations

import click

from its.cli.output import json_option, print_json


@click.group()
def results() -> None:
    """Read the results of the last run."""


@results.command()
@json_option
def table(as_json: bool) -> None:
    """Print the train x test table and what it says.

    Reads results/ of the last `dvc repro`.

    Example: its results table
    """
    from its.report.build import headline_sentences, text_table
    from its.stages.report import summary
    from its.stages.study import load_study

    study = load_study()
    found = summary(study)
    if as_json:
        print_json(cells=found["cells"], blocks=found["blocks"], contrasts=found["contrasts"])
        return
    click.echo(text_table(found))
    for sentence in headline_sentences(found):
        click.echo(sentence)
    click.echo(f"report: {study.results('report.html').relative_to(study.project)}")


@click.command()
@click.option("--dry-run", is_flag=True, help="Name what would go, remove nothing.")
def prune(dry_run: bool) -> None:
    """Remove checkpoints that left the design.

    Reads params.yaml. Removes models/CHECKPOINT and its files under results/ where the design has no such checkpoint;
    DVC does not (a matrix that shrinks leaves its outputs). The ITS home keeps trained models and responses.

    Example: its prune --dry-run
    """
    import shutil

    from its.stages.study import load_study

    study = load_study()
    kept = {checkpoint.name for checkpoint in study.checkpoints()}
    found = [path for path in (study.project / "models").glob("*-*-*-*") if path.name not in kept]
    found += [path for path in study.results("loss").glob("*.csv") if path.stem not in kept]
    found += [
        path for path in study.results("cost").glob("train-*.json") if path.stem.removeprefix("train-") not in kept
    ]
    for path in sorted(found):
        click.echo(f"{'would remove' if dry_run else 'removed'} {path.relative_to(study.project)}")
        if dry_run:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not found:
        click.echo("nothing is out of the design")
