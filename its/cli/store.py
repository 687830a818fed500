"""`its store`: count, verify, export, import and clean up the stored responses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from its.cli.output import echo, json_option, print_json
from its.shown import counted

if TYPE_CHECKING:
    from its.store import Store

PROGRESS_SECONDS = 30.0
_MIB = 2**20


@click.group("store")
def store() -> None:
    """Manage the store of responses.

    Every response of every engine is kept in `store.sqlite` of the ITS home, under a key of all that determines it.
    See docs/store.md.
    """


@store.command("stats")
@json_option
def stats(as_json: bool) -> None:
    """Show statistics of the store.

    \b
    Reads   .its/store.sqlite
    Writes  nothing
    Example its store stats
    """
    from its.store.stats import store_stats

    with _opened() as opened:
        found = store_stats(opened)
    if as_json:
        print_json(store=found)
        return
    sessions = found.pop("by_session")
    for name, value in found.items():
        click.echo(f"{name:<12} {'-' if value is None else value}")
    for session in sessions:
        echo(f"{session['responses']:>12} {session['engine'] or '-':<12} {session['model']}")


@store.command("verify")
@click.option("--repair", is_flag=True, help="Restore or delete damaged rows; a run generates deleted ones again.")
@json_option
def verify(repair: bool, as_json: bool) -> None:
    """Check every row of the store.

    Checks the file's pages, each body against its checksum, and each key against the data it hashes. Exits with 1
    if damage was found and not repaired.

    \b
    Reads   .its/store.sqlite
    Writes  nothing; with --repair .its/store.sqlite
    Example its store verify
    """
    from dataclasses import asdict

    from its.errors import EXIT_RUN_FAILED
    from its.store.stats import store_stats
    from its.store.verify import verify_store

    found = []
    with _opened() as opened:
        for damage in verify_store(opened, repair, _progress("verify")):
            found.append(damage)
            if not as_json:
                of = ", ".join(part for part in (damage.session, damage.key) if part)
                echo(f"{'repaired' if damage.repaired else 'damaged'}: {damage.what}{f' ({of})' if of else ''}")
        count = store_stats(opened)["responses"] if not any(item.key is None for item in found) else None
    left = sum(not damage.repaired for damage in found)
    if as_json:
        print_json(responses=count, damaged=[asdict(damage) for damage in found])
    elif count is not None and not found:
        click.echo(f"{counted(count, 'response')}, none damaged")
    if left:
        if not repair:
            click.echo("hint: `its store verify --repair`; a run generates again what that deletes", err=True)
        sys.exit(EXIT_RUN_FAILED)


@store.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--used", is_flag=True, help="Only the responses that the study's rows cite.")
@json_option
def export(file: Path, used: bool, as_json: bool) -> None:
    """Export responses to a file, for import elsewhere.

    The file contains prompts, responses and what determined them, as JSON lines compressed with zstd. Damaged responses
    are left out and counted. An existing file is replaced.

    \b
    Reads   .its/store.sqlite; with --used data/personas/, data/solutions/, data/responses/
    Writes  FILE
    Example its store export responses.jsonl.zst
    """
    from dataclasses import asdict

    from its.store.exporting import export_store
    from its.store.recovery import readable_store

    project = _project() if used else None
    with readable_store(_path()) as opened:
        found = export_store(opened, file, _cited(project), _progress("export"))
    if as_json:
        print_json(file=str(file), exported=asdict(found))
    else:
        echo(
            f"{file}: {counted(found.responses, 'response')} to {counted(found.prompts, 'prompt')} of "
            f"{counted(found.sessions, 'session')}, "
            f"{found.bytes / _MIB:.1f} MiB"
        )
    for count, what in (
        (found.missing, "responses that the rows cite are not in it"),
        (found.damaged, "damaged responses were left out"),
        (found.unreadable, "responses at most are on damaged pages and were left out"),
    ):
        if count:
            click.echo(f"warning: {count} {what}", err=True)


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def import_(file: Path, as_json: bool) -> None:
    """Import the responses of an exported file.

    The whole file is checked first; a damaged or truncated one adds nothing. Stored responses are left as they are, so
    an import can be repeated.

    \b
    Reads   FILE
    Writes  .its/store.sqlite
    Example its store import responses.jsonl.zst
    """
    from dataclasses import asdict

    from its.store.importing import import_store

    with _opened(create=True) as opened:
        found = import_store(opened, file, _progress("import"))
    if as_json:
        print_json(file=str(file), imported=asdict(found))
        return
    echo(f"{file}: {found.new} new responses, {found.known} known")


@store.command("gc")
@click.option("--unused", is_flag=True, help="Also remove responses that the study's rows do not cite.")
@click.option("--refused", is_flag=True, help="Also remove empty responses to prompts that a server refused.")
@click.option("--dry-run", is_flag=True, help="Count what would be removed, remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before --unused removes responses.")
@json_option
def gc(unused: bool, refused: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove unused data and compact the file.

    Removes claims of processes that have ended, and prompts and sessions without responses. With --unused also every
    response that no row of this study cites: other studies, branches and queued experiments that share the home lose
    theirs. With --refused also the empty responses to prompts that a server refused (too long, a content filter), so
    that `dvc repro -f generate` requests them again.

    \b
    Reads   .its/store.sqlite; with --unused data/personas/, data/solutions/, data/responses/
    Writes  .its/store.sqlite
    Example its store gc --dry-run
    """
    from dataclasses import asdict

    from its.store.garbage import collect_garbage, remove_refused

    project = _project() if unused else None
    with _opened() as opened:
        if project is not None and not (dry_run or yes):
            if not sys.stdin.isatty():
                raise click.UsageError("`--unused` asks before it removes responses; without a terminal give `--yes`")
            planned = collect_garbage(opened, _cited(project), dry_run=True)
            click.echo(
                f"{counted(planned.responses, 'response is', 'responses are')} not cited by any row of {project}. "
                "Other studies, branches and "
                "queued experiments that share this store lose theirs.",
                err=True,
            )
            click.confirm("Remove them?", abort=True, err=True)
        without_text = remove_refused(opened, dry_run) if refused else 0
        found = collect_garbage(opened, _cited(project), dry_run)
    if as_json:
        print_json(dry_run=dry_run, removed={**asdict(found), "refused": without_text})
        return
    word = "would remove" if dry_run else "removed"
    if refused:
        click.echo(f"{word} {without_text} empty responses to refused prompts")
    click.echo(
        f"{word} {counted(found.responses, 'response')}, {counted(found.prompts, 'prompt')}, "
        f"{counted(found.sessions, 'session')}, {counted(found.claims, 'claim')}"
    )
    if not dry_run:
        size = f"{found.bytes_before / _MIB:.1f} MiB before, {found.bytes_after / _MIB:.1f} MiB now"
        click.echo(f"{size} ({found.not_compacted})" if found.not_compacted else size)


def _opened(create: bool = False) -> Store:
    from its.store import Store

    return Store(_path(create))


def _path(create: bool = False) -> Path:
    from its.errors import MissingError
    from its.home import STORE_FILE, its_home

    path = its_home() / STORE_FILE
    if not create and not path.exists():
        raise MissingError(f"{path}: no store yet", "the first `dvc repro` or `its store import FILE` creates it")
    return path


def _project() -> Path:
    from its.study.study import find_project

    return find_project()


def _cited(project: Path | None) -> Iterable[str] | None:
    from its.commands.cited_keys import cited_keys

    return None if project is None else cited_keys(project)


def _progress(what: str) -> Callable[[int, int], None]:
    """A line on stderr every 30 s; most stores are done before the first."""
    next_line = time.monotonic() + PROGRESS_SECONDS

    def show(done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() > next_line:
            click.echo(f"{what}: {done} of {total} responses", err=True)
            next_line = time.monotonic() + PROGRESS_SECONDS

    return show
