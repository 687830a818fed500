"""The stages as commands: each calls its module in `its/stages/` and prints the line that it returns."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from types import ModuleType
from typing import Any

import click

from its.cli.complete import complete_set, complete_training
from its.cli.output import json_option, print_json
from its.cli.ranges import Between
from its.shown import quoted, shown

_EXPECTED = "expected MODEL DATASET STRATEGY SEED, or one CHECKPOINT"


def _run(stage: ModuleType, *values: str | int, **how: Any) -> None:
    """Run a stage on what dvc.yaml declares for it, with the values of its matrix, and print its summary line.

    Args:
        how: further arguments, which change no result.
    """
    from its.study.access import stage_study

    name = stage.__name__.rpartition(".")[2]
    with stage_study(name, *map(str, values)) as study:
        click.echo(stage.run(study, *values, **how))


@click.command()
@click.argument("name", shell_complete=complete_set)
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
def solution() -> None:
    """Regenerate solutions; keep those graded as correct.

    Without `solutions: regenerate` in the recipe no model is called.

    \b
    Reads   data/problems/, data/personas/
    Writes  data/solutions/, results/cost/solution.json
    Example python -m its solution
    """
    from its.stages import solution as stage

    _run(stage)


@click.command()
def query() -> None:
    """Render train and test queries from problems and personas.

    \b
    Reads   data/problems/, data/personas/, data/solutions/
    Writes  data/queries/
    Example python -m its query
    """
    from its.stages import query as stage

    _run(stage)


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="MODEL DATASET STRATEGY SEED | CHECKPOINT",
    shell_complete=complete_training,
)
@click.option(
    "--show-row",
    "row",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train nothing; print row N of the checkpoint's queries, from 1, as tokens: trained ones are green.",
)
@click.option("--node", type=int, envvar="ITS_NODE", metavar="RANK", help="Number of this machine, from 0, of several.")
@click.option("--nodes", type=int, envvar="ITS_NODES", metavar="N", help="How many machines there are.")
@click.option(
    "--rendezvous",
    envvar="ITS_RENDEZVOUS",
    metavar="HOST:PORT",
    help="Where they meet: the machine with --node 0, and a free port there.",
)
@click.option(
    "--wait",
    type=Between(min=1, max=604_800),
    envvar="ITS_WAIT",
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for another machine.",
)
@json_option
def train(
    words: tuple[str, ...],
    row: int | None,
    node: int | None,
    nodes: int | None,
    rendezvous: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Fine-tune the checkpoints of one combination with Axolotl.

    All variants and earlier checkpoints of the design that the combination has, which `query` lists, are in one folder.
    CHECKPOINT is that folder's name, MODEL-DATASET-STRATEGY-SEED.

    With --show-row nothing is trained: the tokens are those of the model's own tokenizer and chat template. Without
    colours, lines name the masked and the trained part.

    A training of several machines (`--nnodes` in `launcher_args`) is started on each of them, with --node,
    --nodes and --rendezvous, or ITS_NODE, ITS_NODES and ITS_RENDEZVOUS. They share the folder of trainings in the ITS
    home. The first one writes what the stage writes.

    \b
    Reads   data/queries/train/DATASET/STRATEGY.jsonl, data/queries/trainings/
    Writes  models/MODEL-DATASET-STRATEGY-SEED/, and of that name results/loss/, results/cost/train-*.json
    Example python -m its train smollm2_135m arithmetic random 1
    """
    if row is not None:
        if len(words) not in (1, 4):
            raise click.UsageError(f"{_EXPECTED}, found {len(words)} words")
        if unused := _typed("node", "nodes", "rendezvous", "wait"):
            raise click.UsageError(f"--show-row trains nothing: leave out {', '.join(unused)}")
        _show_row("-".join(words), row, as_json)
        return
    if as_json:
        raise click.UsageError("--json is for --show-row")
    if (node, nodes, rendezvous) == (None, None, None) and _typed("wait"):
        raise click.UsageError("--wait is for --node, --nodes and --rendezvous: one machine waits for no other")
    model, dataset, strategy, seed = _named(words)
    if not seed.isdecimal():
        raise click.BadParameter(f"'{shown(seed)}' is not a valid integer.", param_hint="'SEED'")
    from its.stages import train as stage

    _run(stage, model, dataset, strategy, int(seed), node=stage.this_node(node, nodes, rendezvous, wait))


def _named(words: tuple[str, ...]) -> tuple[str, str, str, str]:
    """MODEL, DATASET, STRATEGY and SEED of the four words, or of one CHECKPOINT: no name has a hyphen.

    Raises:
        UsageError: if they are neither.
    """
    parts = words[0].split("-") if len(words) == 1 else words
    if len(parts) == 4 and all(parts):
        model, dataset, strategy, seed = parts
        return model, dataset, strategy, seed
    if len(words) == 1:
        raise click.UsageError(f"{_EXPECTED}: `{quoted(words[0])}` is not MODEL-DATASET-STRATEGY-SEED")
    raise click.UsageError(f"{_EXPECTED}, found {len(words)} words")


def _typed(*names: str) -> list[str]:
    """Those of some options that are on the command line: a variable may be there for other commands."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    return [f"--{name}" for name in names if context.get_parameter_source(name) is typed]


def _show_row(checkpoint: str, number: int, as_json: bool) -> None:
    from its.commands.show_row import show_row
    from its.study.study import load_study

    row = show_row(load_study(), checkpoint, number)
    if as_json:
        print_json(row=asdict(row) | {"tokens": [token._asdict() for token in row.tokens]})
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    parts = [("masked", row.prompt), ("trained", row.trained), ("masked", row.after)]
    click.echo(f"{row.file}:{row.number}  {shown(row.query_id)}")
    at = 0
    for name, count in parts:
        tokens = row.tokens[at : at + count]
        at += count
        if not coloured:
            click.echo(f"--- {name}: {count} {'token' if count == 1 else 'tokens'}")
        for place, token in enumerate(tokens):
            text = shown(token.text.replace("\n", "\u21b5\n"), lines=True)
            colour = ("green", "bright_green") if token.trained else ("bright_black", "white")
            click.echo(click.style(text, fg=colour[place % 2]) if coloured else text, nl=False)
        if tokens and not (coloured or tokens[-1].text.endswith("\n")):
            click.echo()
    if coloured and not row.tokens[-1].text.endswith("\n"):
        click.echo()
    more = f", more than `train.sequence_length`, {row.limit}" if len(row.tokens) > row.limit else f" of {row.limit}"
    click.echo(
        f"{len(row.tokens)} tokens{more}: {row.prompt} of the prompt, {row.trained} trained, {row.after} masked after"
    )


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
    Writes  results/report.html, results/provenance.json, results/plots/loss.csv
    Example python -m its report
    """
    from its.stages import report as stage

    _run(stage)
