"""`its init` and `its code`: a study outside the clone, and the hashes of the code that it uses."""

from __future__ import annotations

from pathlib import Path

import click

from its.cli.output import echo, json_option, print_json
from its.shown import shown


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@click.option("--recipe", metavar="NAME", help="Write this recipe to params.yaml; the default is quickstart.")
@click.option("--upgrade", is_flag=True, help="Bring the files of a study to the installed ITS; edited ones are kept.")
@click.option("--show", metavar="PATH", help="Print a file as this ITS writes it, such as dvc.yaml; write nothing.")
@json_option
def init(folder: Path, recipe: str | None, upgrade: bool, show: str | None, as_json: bool) -> None:
    """Write a study outside the clone, or upgrade one.

    Writes what a clone has: the graph, the recipes with their templates, the locks of the engines, the settings of DVC.
    FOLDER, by default the current one, may contain other files; if one would be overwritten, nothing is written.
    Without a git repository there, one is created. Files are staged, not committed.

    After an upgrade of ITS, --upgrade replaces the files that are as `its init` wrote them, and prints the others.
    params.yaml and the recipes of the user are never changed.

    \b
    Reads   the installed package; with --upgrade code/written.json
    Writes  dvc.yaml, params.yaml, recipes/, envs/, data/sources/, code/, .dvc/, .gitignore, .dvcignore
    Example its init my_study
    """
    if sum((recipe is not None, upgrade, show is not None)) > 1:
        raise click.UsageError("--recipe, --upgrade and --show exclude each other")
    if show is not None:
        if as_json:
            raise click.UsageError("--show prints the file itself, without --json")
        from its.commands.init import installed_file

        click.echo(installed_file(show), nl=False)
    elif upgrade:
        _upgrade(folder, as_json)
    else:
        _create(folder, recipe or "quickstart", as_json)


def _create(folder: Path, recipe: str, as_json: bool) -> None:
    from its.commands.init import create_study

    made = create_study(folder, recipe)
    if made.unstaged is not None:
        click.echo(shown(f"note: `git add` failed: {made.unstaged}"), err=True)
    if as_json:
        print_json(
            folder=str(made.folder),
            recipe=made.recipe,
            files=made.files,
            new_repository=made.new_repository,
            staged=made.unstaged is None,
        )
        return
    new = ", a new git repository" if made.new_repository else ""
    echo(f"{made.folder}: {made.files} files{new}; params.yaml: {made.recipe}")
    echo('next: go there, `git commit -m "Start the study"`, `its env sync`, `its run`')


def _upgrade(folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    import its
    from its.commands.init import upgrade_study

    found = upgrade_study(folder)
    if as_json:
        print_json(after=its.__version__, **asdict(found))
        return
    for what, names in (
        ("written", found.written),
        ("new", found.added),
        ("no longer a file of ITS, stays", found.retired),
        ("removed by you, not written again", found.missing),
    ):
        for name in names:
            echo(f"{what}: {name}")
    for name in found.kept:
        echo(f"kept, you edited it and ITS changed it: {name} (`its init --show {name}` prints the new one)")
    total = len(found.written) + len(found.added)
    echo(f"ITS {found.before} -> {its.__version__}: {total} files written, {len(found.kept)} kept")


@click.command("code")
def code() -> None:
    """Write the hashes of the installed code of each stage.

    The first stage of the graph that `its init` writes, run by every `dvc repro`. The file of a stage has one line per
    file of its code, with the SHA-256; a stage whose file does not change is not run again. A clone has no such stage:
    its dvc.yaml lists the code itself.

    \b
    Reads   the installed package, code/written.json
    Writes  code/STAGE.txt, code/packages.txt
    Example python -m its code
    """
    from its.commands.init import record_code
    from its.study.study import find_project

    changed = record_code(find_project())
    echo(f"code: changed: {', '.join(changed)}" if changed else "code: unchanged")
