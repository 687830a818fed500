"""Sweep: run a grid over recipe values as DVC experiments."""

from __future__ import annotations

from pathlib import Path

import click

from its.cli.output import echo, json_option, print_json
from its.errors import RunError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry", is_flag=True, help="List the points; run nothing.")
@json_option
def sweep(file: Path, dry: bool, as_json: bool) -> None:
    """Run a grid over recipe values as DVC experiments.

    FILE is YAML: `recipe: NAME`, `grid:` with a list of values for each field (a dotted path such as
    `generation.max_tokens`), `points:` with single combinations, or both. Every point is checked as `its recipe check`
    checks a recipe before the first one runs.

    params.yaml has to be the recipe (`its recipe use NAME`) and in git. Each point runs in a copy of the files that git
    knows, one after the other. A point whose experiment exists, with these parameters and with results, is done and not
    run again; after an interruption the same command runs the rest. A failed point does not stop the others; it is
    tried again the next time. Exits 1 if a point failed.

    \b
    Reads   FILE, recipes/NAME.yaml, params.yaml, experiments in git
    Writes  DVC experiments; params.yaml while a point runs
    Example its sweep sweep.yaml --dry
    """
    from its.commands.sweep import run_sweep, sweep_state
    from its.commands.sweep_file import read_sweep, told
    from its.study.study import find_project

    project = find_project()
    planned = read_sweep(project, file)
    if dry:
        state = sweep_state(project, planned)
    else:
        state = run_sweep(project, planned, lambda line: click.echo(line, err=True))
    values = {point.name: point.values for point in planned.points}
    if as_json:
        rows = [
            {
                "name": name,
                "values": dict(own),
                "state": "done" if name in state.done else "failed" if name in state.failed else "left",
                "error": state.failed.get(name),
            }
            for name, own in values.items()
        ]
        print_json(
            planned=state.planned,
            done=len(state.done),
            failed=len(state.failed),
            left=len(state.left),
            points=rows,
        )
    else:
        for name, own in values.items():
            word = "done" if name in state.done else "failed" if name in state.failed else "left"
            echo(f"{word:6}  {name}  {told(own)}")
        counts = f"{len(state.done)} done, {len(state.failed)} failed, {len(state.left)} left"
        click.echo(f"{state.planned} planned: {counts}")
    if state.failed:
        first = next(iter(state.failed))
        raise RunError(
            f"{len(state.failed)} of {state.planned} points failed; `{first}`: {state.failed[first]}",
            "the same command tries them again; what finished is kept",
        )
