"""The stages as commands: each calls its module in `its/stages/` and prints the line that it returns."""

from __future__ import annotations

from types import ModuleType

import click

from its.cli.grade import grade


def _run(stage: ModuleType, *values: str | int) -> None:
    """Run a stage on what dvc.yaml declares for it, with the values of its matrix, and print its summary line."""
    from its.study.access import stage_study

    name = stage.__name__.rpartition(".")[2]
    with stage_study(name, *map(str, values)) as study:
        click.echo(stage.run(study, *values))


@click.command()
@click.argument("name")
def prepare(name: str) -> None:
    """Load, filter and sample one dataset or benchmark.

    \b
    Reads   the declared source; for a dataset also the benchmarks to decontaminate against
    Writes  data/problems/NAME.jsonl, data/cards/NAME/
    Example python -m its prepare arithmetic
    """
    from its.stages import prepare as stage

    _run(stage, name)


@click.command()
def persona() -> None:
    """Write the personas of the design with the writer.

    \b
    Reads   data/problems/
    Writes  data/personas/, results/cost/persona.json
    Example python -m its persona
    """
    from its.stages import persona as stage

    _run(stage)


@click.command()
def query() -> None:
    """Render train and test queries from problems and personas.

    \b
    Reads   data/problems/, data/personas/
    Writes  data/queries/
    Example python -m its query
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

    \b
    Reads   data/queries/train/DATASET/STRATEGY.jsonl
    Writes  models/CHECKPOINT/, results/loss/CHECKPOINT.csv, results/cost/train-CHECKPOINT.json
    Example python -m its train smollm2_135m arithmetic random 1
    """
    from its.stages import train as stage

    _run(stage, model, dataset, strategy, seed)


@click.command()
def generate() -> None:
    """Sample the responses of every cell.

    \b
    Reads   models/, data/queries/test/
    Writes  data/responses/, results/cost/generate.json
    Example python -m its generate
    """
    from its.stages import generate as stage

    _run(stage)


@click.command()
def judge() -> None:
    """Request a judge model's opinion on every answer.

    Without `grading.judge` in the recipe no model is called. Verdicts do not change.

    \b
    Reads   data/verdicts/, data/problems/
    Writes  data/judge.json
    Example python -m its judge
    """
    from its.stages import judge as stage

    _run(stage)


@click.command()
def measure() -> None:
    """Measure cells, compare blocks, count votes.

    \b
    Reads   data/verdicts/, data/responses/
    Writes  results/*.json, results/plots/
    Example python -m its measure
    """
    from its.stages import measure as stage

    _run(stage)


@click.command()
def report() -> None:
    """Build results/report.html, one offline page.

    \b
    Reads   results/ and the rows behind it
    Writes  results/report.html, results/provenance.json
    Example python -m its report
    """
    from its.stages import report as stage

    _run(stage)


STAGES: dict[str, click.Command] = {
    command.name or "": command for command in (prepare, persona, query, train, generate, grade, judge, measure, report)
}
