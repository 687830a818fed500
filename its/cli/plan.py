"""`its recipe plan`: what a study takes before it runs."""

from __future__ import annotations

from pathlib import Path

import click

from its.cli.complete import complete_recipe
from its.cli.output import echo, json_option, print_finite_json
from its.cli.ranges import Between


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = [value.partition("=") for value in values]
    if wrong := [name for name, equals, value in found if not (name and equals and value)]:
        raise click.BadParameter(f"`{wrong[0][:60]}`: expected is NAME=VALUE", ctx, param)
    return {name: value for name, _, value in found}


def _counts(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    found = _pairs(ctx, param, values)
    if wrong := [text for text in found.values() if not (text.isascii() and text.isdecimal() and len(text) < 10)]:
        raise click.BadParameter(f"`{wrong[0][:60]}` is not a number of rows", ctx, param)
    return {name: int(text) for name, text in found.items()}


SHARE = Between(0.001, 1)
TFLOPS = Between(1, 100_000)
TERABYTES = Between(0.01, 1000)
"""Wider than any GPU and any utilisation, and narrow enough that what is computed from them is a finite number."""


@click.command()
@click.argument("name", required=False, shell_complete=complete_recipe)
@click.option("--gpus", metavar="[MACHINESx]GPUSxGB", help="Such as 8x80 or 2x8x141; without: the recipe's, of 80 GB.")
@click.option("--mfu", type=SHARE, default=0.2, show_default=True, help="Share of the peak that training reaches.")
@click.option("--mbu", type=SHARE, default=0.3, show_default=True, help="Share of the bandwidth in generation.")
@click.option("--price", type=Between(0, 1e6), help="Price of one GPU hour, in any currency.")
@click.option("--tflops", type=TFLOPS, help="Peak of a GPU in bf16 (dense), in TFLOP/s.")
@click.option("--bandwidth", type=TERABYTES, help="Bandwidth of a GPU's memory, in TB/s.")
@click.option("--row-tokens", type=click.IntRange(1, 10**7), help="Mean tokens of a row to train on.")
@click.option("--response-tokens", type=click.IntRange(1, 10**7), help="Mean tokens of a response.")
@click.option("--rows", multiple=True, metavar="SET=N", callback=_counts, help="Rows of a set that is not prepared.")
@click.option("--config", multiple=True, metavar="MODEL=FILE", callback=_pairs, help="The config.json of a model.")
@json_option
def plan(
    name: str | None,
    gpus: str | None,
    mfu: float,
    mbu: float,
    price: float | None,
    tflops: float | None,
    bandwidth: float | None,
    row_tokens: int | None,
    response_tokens: int | None,
    rows: dict[str, int],
    config: dict[str, str],
    as_json: bool,
) -> None:
    """Show what a study takes: memory, hours and disk.

    Without NAME, of params.yaml. Computes from the recipe, from prepared data where it is here, and from assumptions,
    which are named: the stages with their outputs and how many are here; rows, tokens and steps; the memory of a GPU in
    each training and in the engine; GPU hours at a stated utilisation, or minutes on this machine's CPU; disk with all
    copies. If a training does not fit, the settings with which it would are named. What is not known is listed, with
    the option that gives it.

    The formulas, their sources, and how they compare with measured and published runs: docs/plan.md. Exits with 0
    whether it fits or not; `fits` of --json is true, false or null (not known), `tight` is true if it fits with less
    than 5 % to spare.

    \b
    Reads   params.yaml or recipes/NAME.yaml, data/, models/, the store, config.json of the models
    Writes  nothing
    Example its recipe plan paper --gpus 8x80
    """
    from dataclasses import asdict

    from its.commands.plan import Options, plan_study
    from its.commands.plan_text import plan_lines
    from its.study.study import find_project

    found = plan_study(
        find_project(),
        name,
        Options(
            gpus=gpus,
            use=mfu,
            generation_use=mbu,
            price=None if price is None else abs(price),  # -0 is in the range
            row_tokens=row_tokens,
            response_tokens=response_tokens,
            rows=rows,
            configs={model: Path(path) for model, path in config.items()},
            tflops=tflops,
            terabytes=bandwidth,
        ),
    )
    if as_json:
        values = asdict(found)
        values["options"]["configs"] = {model: str(path) for model, path in found.options.configs.items()}
        print_finite_json(fits=found.fits, tight=found.tight, **values)
        return
    for line in plan_lines(found):
        echo(line)
