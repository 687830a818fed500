"""Recipes: list, show, check, use, compare, scaffold, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from its.cli.complete import complete_recipe, complete_side
from its.cli.output import echo, json_option, print_json
from its.cli.plan import plan
from its.shown import counted, shown


def _project() -> Path:
    from its.study.study import find_project

    return find_project()


@click.group()
def recipe() -> None:
    """List, check and choose recipes."""


@recipe.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the recipes with the state of their runs.

    `done`: a finished run has exactly these values. `stale`: its runs had other values, or a file changed since the
    run. `unfinished`: of the active recipe, stages ran, and not all of them. `never run`: no run is known here.
    `unknown`: it cannot be decided; the reason is below it.

    `*` marks the recipe of params.yaml. Known runs are that of dvc.lock, those of the last 50 commits that changed it,
    and DVC experiments. Single files of the run in the workspace are compared with dvc.lock, folders are not:
    `dvc status` does. Unreadable recipes are reported after the others (exit 3).

    \b
    Reads   recipes/*.yaml, params.yaml, dvc.lock, git
    Writes  nothing
    Example its recipe list
    """
    from its.commands.recipe_states import recipe_states

    found, error = recipe_states(_project())
    if as_json and error is None:
        print_json(recipes=[item.as_json() for item in found])
    elif not as_json:
        width = max((len(item.name) for item in found), default=0)
        for item in found:
            mark = "*" if item.active else " "
            echo(f"{mark} {item.name:{width}}  {item.state:10}  {item.description}")
            where = "" if item.where in (None, "workspace") else f"run: {item.where}"
            for line in (where, item.reason, item.edited and "params.yaml has other values: `its recipe diff`"):
                if line:
                    echo(f"  {'':{width}}  {line}")
    if error is not None:
        raise error


@recipe.command()
@click.argument("name", shell_complete=complete_recipe)
@json_option
def show(name: str, as_json: bool) -> None:
    """Print a recipe without secrets.

    Whatever looks like a secret is left out.

    \b
    Reads   recipes/NAME.yaml
    Writes  nothing
    Example its recipe show quickstart
    """
    from its.recipe.apply import recipe_path
    from its.recipe.document import read_document
    from its.recipe.shareable import shareable, shareable_text

    document = read_document(recipe_path(_project(), name))
    if as_json:
        print_json(recipe=shareable(document.values))
    else:
        echo(shareable_text(document), nl=False)


@recipe.command()
@click.argument("names", nargs=-1, shell_complete=complete_recipe)
@click.option("--engine", is_flag=True, help="Check against vLLM's argument classes too (10 s).")
@click.option("--train", is_flag=True, help="Check against Axolotl's schema too (20 s).")
@click.option("--cells", is_flag=True, help="List the cells of each recipe.")
@json_option
def check(names: tuple[str, ...], engine: bool, train: bool, cells: bool, as_json: bool) -> None:
    """Check recipes, by default all of them and params.yaml.

    Checks that keys and types match the schema; that every name is declared; that templates exist, parse, stay in the
    sandbox, use only the variables they receive, and show them; that a chat template that is here shows every turn and
    trains what an engine is sent (docs/templates.md); that local files exist with the pinned hash; that `fields` can be
    read, and that every local benchmark can be curated and graded (the denominator is shown if rules remove rows); that
    the filters of a local dataset leave some of its first 1000 rows; that numbers fit each other (k and n, batch sizes,
    devices and processes, context, checkpoints and steps); that Axolotl has each setting of
    `train.axolotl` and of the template, and that no other field sets it; that nothing looks like a secret; and that
    nothing may run code that the owner of this machine does not allow (ITS_ALLOW_CODE; what is allowed is listed, with
    the server that each key goes to). Templates and sources that git does not track are listed: a queued experiment
    runs without them. Starts no engine and needs no network: `prepare` checks rows on the hub; known faults of a
    preset's rows are mentioned. With --engine it checks `engine.options` and `engine.environment` of vllm against
    vLLM's classes, in vLLM's environment, and `engine.replicas` against the GPUs or cores of this machine; with --train
    the configuration of each training against Axolotl's schema, in Axolotl's. No GPU is needed.

    Of each recipe its trainings, cells and requests to models are counted; of a set whose size is not known yet, per
    problem. --cells lists the cells as CHECKPOINT/BENCHMARK/STRATEGY.

    \b
    Reads   params.yaml, recipes/, data/sources/, model folders
    Writes  nothing
    Example its recipe check quickstart
    """
    from its.cards.denominator import told_denominator
    from its.checks.recipes import check_recipes, remark_lines
    from its.errors import FaultsError

    found = check_recipes(_project(), names, engine=engine, train=train, cells=cells)
    if found.faults:
        raise FaultsError(found.faults)
    if as_json:
        more: dict[str, dict[str, Any]] = {
            "allowed": {item.name: item.allowed for item in found.recipes},
            "untracked": {item.name: item.remarks.untracked for item in found.recipes},
            "benchmarks": {item.name: item.denominators for item in found.recipes},
            "notes": {item.name: item.remarks.notes for item in found.recipes},
            "counts": {item.name: item.counts.as_json() for item in found.recipes},
            "cells": {item.name: item.cells for item in found.recipes},
        }
        valid = [item.name for item in found.recipes]
        print_json(valid=valid, errors=[], **{key: value for key, value in more.items() if any(value.values())})
        return
    for item in found.recipes:
        click.echo(f"{item.name}: valid")
        for line in item.allowed:
            echo(f"  {line}")
        for benchmark, counts in item.denominators.items():
            echo(f"  {benchmark}: {told_denominator(counts)}")
        for line in item.counts.lines():
            echo(f"  {line}")
        if cells:
            echo(f"  {counted(len(item.cells), 'cell')}:")
            for cell in item.cells:
                echo(f"    {cell}")
    _echo_notes(remark_lines([item.remarks for item in found.recipes]))


@recipe.command()
@click.argument("name", required=False, shell_complete=complete_recipe)
@click.option("--force", is_flag=True, help="Overwrite a modified params.yaml; a copy stays in .its/replaced/.")
def use(name: str | None, force: bool) -> None:
    """Write a recipe to params.yaml, for DVC to run.

    Without NAME, the recipe that params.yaml names is written again, after an
    edit of its file, and every value that changes is printed.

    Refuses if changes made in params.yaml would be lost. Editing the recipe's
    file is not such a change, and the values of `dvc exp run -S` are not lost:
    its experiment has them. Records what it wrote, to detect later changes.
    Prints how many trainings, cells and requests to models the study takes.

    \b
    Reads   recipes/NAME.yaml
    Writes  params.yaml, .its/used.yaml; with --force .its/replaced/
    Example its recipe use quickstart
    """
    from its.recipe.apply import differing, name_in_use, own_path
    from its.recipe.shareable import shareable_path, shareable_yaml

    project = _project()
    again = name is None
    chosen = name_in_use(project) if name is None else name
    changed = differing(project, own_path(project, chosen)) if again else []
    write_params(project, chosen, force)
    for path, old, new in changed:
        echo(f"{shareable_path(path)}: {shareable_yaml(path, old)} -> {shareable_yaml(path, new)}")
    if again and not changed:
        click.echo("params.yaml had these values already")


def write_params(project: Path, name: str, force: bool, *, queued: bool = True) -> None:
    """Write a recipe to params.yaml, as `its recipe use` does, and print what the study takes.

    Args:
        queued: whether to say what a queued experiment would lack; a run in this folder lacks nothing.
    """
    from dataclasses import replace

    from its.checks.committed import experiment_with_params, recipe_committed_with_params
    from its.checks.data import data_checked
    from its.checks.recipes import recipe_counts, recipe_remarks, remark_lines
    from its.recipe.apply import recipe_path, use_recipe

    path = recipe_path(project, name)
    chosen = use_recipe(
        project,
        path,
        force,
        data_checked,
        recipe_committed_with_params,
        experiment_with_params,
        lambda line: click.echo(line, err=True),
    )
    click.echo(f"params.yaml: {chosen.recipe}; run it with `dvc repro`")
    for line in recipe_counts(project, chosen).lines():
        echo(f"  {line}")
    remarks = recipe_remarks(project, chosen)
    _echo_notes(remark_lines([remarks if queued else replace(remarks, untracked=())]))


def _echo_notes(notes: list[str]) -> None:
    for note in notes:
        click.echo(shown(f"note: {note}"), err=True)


@recipe.command()
@click.argument("a", required=False, shell_complete=complete_side)
@click.argument("b", required=False, shell_complete=complete_side)
@click.option("--used", is_flag=True, help="Compare with what `its recipe use` last wrote.")
@json_option
def diff(a: str | None, b: str | None, used: bool, as_json: bool) -> None:
    """Show how two recipes or parameters differ.

    A and B each are a recipe, `params.yaml`, a git revision, a DVC experiment, or a file of these
    (`HEAD~1:recipes/quickstart.yaml`). Of a revision or experiment params.yaml is compared. Without B, A is compared
    with params.yaml; without A too, the recipe that params.yaml names; with --used, what was last written there,
    whatever the recipe's file says now.

    The last line names the stages that read what differs: DVC runs them again, and then those that need their outputs.

    \b
    Reads   params.yaml, recipes/, dvc.yaml, git; with --used .its/used.yaml
    Writes  nothing
    Example its recipe diff quickstart params.yaml
    """
    from its.commands.recipe_sides import open_side, stages_reading
    from its.errors import MissingError
    from its.recipe.apply import departures, own_path
    from its.recipe.document import read_document
    from its.recipe.last_used import last_used
    from its.recipe.shareable import shareable_at, shareable_path, shareable_yaml

    project = _project()
    right = open_side(project, b or "params.yaml").values
    if used:
        if a is not None:
            raise click.UsageError("A and --used exclude each other: give one of them")
        document = last_used(project)
        if document is None:
            raise MissingError(
                "there is no record of what `its recipe use` last wrote", "`its recipe diff` compares with the recipe"
            )
        against = str(document.values.get("recipe"))
    else:
        against = str(right.get("recipe")) if a is None else a
        document = read_document(own_path(project, against)) if a is None else open_side(project, a)
    found = departures(document.values, right)
    rows = [(shareable_path(path), shareable_at(path, old), shareable_at(path, new)) for path, old, new in found]
    stages = stages_reading(project, [path for path, _, _ in found])
    if as_json and b is None:
        differences = [{"path": path, "recipe": old, "params": new} for path, old, new in rows]
        print_json(recipe=against, differences=differences, stages=stages)
    elif as_json:
        print_json(a=a, b=b, differences=[{"path": path, "a": x, "b": y} for path, x, y in rows], stages=stages)
    else:
        for path, old, new in found:
            echo(f"{shareable_path(path)}: {shareable_yaml(path, old)} -> {shareable_yaml(path, new)}")
        if stages:
            echo(f"stages that read this: {', '.join(stages)}")
        if not rows:
            same = "is recipe" if document.values.get("recipe") == against else "has the values of"
            echo(f"params.yaml {same} `{against}`" if b is None else f"`{a}` and `{b}` have the same values")


@recipe.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="RECIPE",
    default="quickstart",
    show_default=True,
    shell_complete=complete_recipe,
    help="Recipe to copy.",
)
def new(name: str, source: str) -> None:
    """Scaffold a recipe from another one.

    The new recipe is complete and valid, with a header that says what to edit. Overwrites nothing.

    \b
    Reads   recipes/RECIPE.yaml
    Writes  recipes/NAME.yaml
    Example its recipe new mine --from quickstart
    """
    from its.checks.data import data_checked
    from its.recipe.scaffold import new_recipe

    project = _project()
    path = new_recipe(project, name, source, data_checked)
    click.echo(f"wrote {path.relative_to(project)}; edit it, then `its recipe use {name}`")


@recipe.command()
@click.argument("section", required=False, default="")
@json_option
def fields(section: str, as_json: bool) -> None:
    """Explain the fields of a section of a recipe.

    SECTION is a dotted path such as `generation` or `strategies.NAME.persona`, or that of one field; without it the
    sections themselves. Prints for each field its type, unit and range, whether it is required, the line of params.yaml
    that sets it (of a section with names, give a declared one in place of NAME), and its meaning.

    docs/recipe.md has all fields.

    \b
    Reads   params.yaml, if there is one
    Writes  nothing
    Example its recipe fields writer.sampling
    """
    from its.errors import ItsError
    from its.recipe.document import read_document
    from its.recipe.field_texts import field_rows, fields_text
    from its.recipe.fields import described

    found = described(section)
    try:
        document = read_document(_project() / "params.yaml")
    except ItsError:  # outside a study, or a file that `its recipe check` explains
        document = None
    if as_json:
        print_json(section=section, fields=field_rows(found, document))
    else:
        echo(fields_text(found, document))


@recipe.command()
def schema() -> None:
    """Print the JSON schema of a recipe (draft 2020-12).

    Editors use recipes/recipe.schema.json, the same document: `# yaml-language-server: $schema=recipe.schema.json` in
    the first line of a recipe names it.

    \b
    Reads   nothing
    Writes  nothing
    Example its recipe schema > recipes/recipe.schema.json
    """
    from its.recipe.json_schema import schema_text

    click.echo(schema_text(), nl=False)


recipe.add_command(plan)
