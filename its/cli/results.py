"""Read what a study found: the table, the headline, the store."""

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
    from its.stages.report import collect
    from its.stages.study import load_study

    study = load_study()
    collected = collect(study)
    if as_json:
        print_json(cells=collected["cells"], blocks=collected["blocks"], contrasts=collected["contrasts"])
        return
    click.echo(text_table(collected))
    for sentence in headline_sentences(collected):
        click.echo(sentence)
    click.echo(f"report: {study.results('report.html').relative_to(study.project)}")


@click.group()
def store() -> None:
    """Look into the store of responses."""


@store.command()
@json_option
def stats(as_json: bool) -> None:
    """Count what the store holds.

    Example: its store stats
    """
    from its.errors import MissingError
    from its.home import its_home
    from its.store import Store

    path = its_home() / "store.sqlite"
    if not path.is_file():
        raise MissingError(f"{path}: no store yet", "the first `dvc repro` makes it")
    with Store(path) as opened:
        found = opened.stats()
    if as_json:
        print_json(store=found)
        return
    for name, value in found.items():
        click.echo(f"{name:10} {value}")
