"""Sweep: run a grid over recipe values as DVC experiments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from its.cli.output import echo, json_option, print_json
from its.errors import EXIT_RUN_FAILED
from its.home import its_home


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), help="Points that run at once. Default: by the GPUs; on a CPU 1.")
@click.option("--dry", is_flag=True, help="List the points; run nothing.")
@json_option
def sweep(file: Path, jobs: int | None, dry: bool, as_json: bool) -> None:
    """Run a grid over recipe values as DVC experiments.

    FILE is YAML: `recipe: NAME`, `grid:` with a list of values for each field (a dotted path such as
    `generation.max_tokens`), `points:` with single combinations, or both. Every point is checked as `its recipe check`
    checks a recipe before the first one runs.

    Each point runs in its own copy of the files that git tracks, with their changes that are not committed; params.yaml
    stays as it is. A point whose experiment has results of these parameters is done and not run again, unless code,
    templates or data have changed since: then it is stale. planned = done + failed + left, and stale points count as
    left. A failed point does not stop the others; it is tried again the next time. After an interruption the same
    command runs the rest. Exits 1 if a point failed.

    On GPUs, points run at once, each with as many GPUs as its recipe uses, in CUDA_VISIBLE_DEVICES.

    \b
    Reads   FILE, recipes/NAME.yaml, files that git tracks, experiments in git
    Writes  DVC experiments, logs of the points in the ITS home
    Example its sweep sweep.yaml --dry
    """
    from its.commands.sweep import run_sweep
    from its.commands.sweep_file import read_sweep, told
    from its.commands.sweep_slots import slots, this_machine
    from its.commands.sweep_state import sweep_state
    from its.study.study import find_project

    project = find_project()
    planned = read_sweep(project, file)
    places = slots([point.recipe for point in planned.points], jobs, this_machine())
    if dry:
        state = sweep_state(project, planned)
    else:
        state = run_sweep(project, planned, places, lambda line: click.echo(line, err=True))
    values = {point.name: point.values for point in planned.points}
    if as_json:
        print_json(
            planned=len(state.points),
            done=state.count("done"),
            failed=state.count("failed"),
            left=state.left,
            stale=state.count("stale"),
            jobs=len(places),
            points=[
                {
                    "name": name,
                    "values": dict(values[name]),
                    "state": found.word,
                    "error": found.error,
                    "changed": list(found.changed),
                }
                for name, found in state.points.items()
            ],
        )
    else:
        for name, found in state.points.items():
            echo(f"{found.word:6}  {name}  {told(values[name])}{_why(found.changed)}")
        click.echo(state.counts)
    failed = {name: found.error for name, found in state.points.items() if found.word == "failed"}
    if failed and not dry:
        name, error = next(iter(failed.items()))
        click.echo(f"error: {len(failed)} of {len(state.points)} points failed; `{name}`: {error}", err=True)
        log = its_home(project) / "logs" / f"sweep-{name}.log"
        click.echo(f"hint: the same command tries them again; what finished is kept; log: {log}", err=True)
        sys.exit(EXIT_RUN_FAILED)


def _why(changed: Sequence[str]) -> str:
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"  ({changed[0]}{more} changed since)" if changed else ""
