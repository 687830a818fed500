"""The stages as commands: each calls its module in `its/stages/` and prints the one line that it returns."""

from __future__ import annotations

from types import ModuleType

import click

from its.cli.grade import grade


def _run(stage: ModuleType, *values: str | int) -> None:
    """Run a stage on what dvc.yaml declares for it and these values of its matrix, and print its line."""
    from its.study.access import stage_study

    name = stage.__name__.rpartition(".")[2]
    with stage_study(name, *map(str, values)) as study:
        click.echo(stage.run(study, *values))


@click.command()
@click.argument("name")
def prepare(name: str) -> None:
    """Load, filter and sample one dataset or benchmark.

    Reads the declared source. Writes data/problems/NAME.jsonl, and what is known of it to data/cards/NAME/.

    Example: python -m its prepare arithmetic
    """
    from its.stages import prepare as stage

    _run(stage, name)


@click.command()
def persona() -> None:
    """Have the writer write the personas of the design.

    Reads data/problems/. Writes data/personas/ and results/cost/persona.json.

    Example: python -m its persona
    """
    from its.stages import persona as stage

    _run(stage)


@click.command()
def query() -> None:
    """Render train and test queries from problems and personas.

    Reads data/problems/ and data/personas/. Writes data/queries/.

    Example: python -m its query
    """
    from its.stages import query as stage

    _run(stage)


@click.command()
@click.argument("model")
@click.argument("dataset")
@click.argument("strategy")
@click.argument("seed", type=int)
def train(model: str, dataset: str, strategy: str, seed: int) -> None:
    """Fine-tune one checkpoint with Axolotl.

    Reads data/queries/train/. Writes models/CHECKPOINT/ and results/loss/CHECKPOINT.csv.

    Example: python -m its train smollm2_135m arithmetic random 1
    """
    from its.stages import train as stage

    _run(stage, model, dataset, strategy, seed)


@click.command()
def generate() -> None:
    """Draw the responses of every cell.

    Reads models/ and data/queries/test/. Writes data/responses/ and results/cost/generate.json.

    Example: python -m its generate
    """
    from its.stages import generate as stage

    _run(stage)


@click.command()
def judge() -> None:
    """Ask a judge model about every answer, if the recipe names one.

    Reads data/verdicts/ and data/problems/. Writes data/judge.json; verdicts stay as they are.

    Example: python -m its judge
    """
    from its.stages import judge as stage

    _run(stage)


@click.command()
def measure() -> None:
    """Measure cells, compare blocks, count votes.

    Reads data/verdicts/ and data/responses/. Writes results/*.json and results/plots/.

    Example: python -m its measure
    """
    from its.stages import measure as stage

    _run(stage)


@click.command()
def report() -> None:
    """Build results/report.html, one offline page.

    Reads results/ and the rows behind it. Writes results/report.html and results/provenance.json.

    Example: python -m its report
    """
    from its.stages import report as stage

    _run(stage)


STAGES: dict[str, click.Command] = {
    command.name or "": command for command in (prepare, persona, query, train, generate, grade, judge, measure, report)
}
