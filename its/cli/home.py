"""`its home` and `its training`: what is kept between runs, and what removes it."""

from __future__ import annotations

import click

from its.cli.output import echo, json_option, print_json
from its.shown import counted, shown

_MIB = 2**20
_GIB = 2**30


@click.command("home")
@json_option
def home(as_json: bool) -> None:
    """Show what the ITS home stores and what removes it.

    Each environment and converted model, the trainings, the store, wheels and logs, with the space that they occupy.
    Nothing is removed. Blocks that files share (reflinks) count for each of them.

    \b
    Reads   .its/, envs/BUILD.txt
    Writes  nothing
    Example its home
    """
    from dataclasses import asdict

    from its.commands.home_entries import home_content
    from its.home import its_home

    found = home_content(its_home())
    if as_json:
        entries = [asdict(entry) for entry in found.entries]
        print_json(home=str(found.home), free_bytes=found.free, entries=entries)
        return
    total = sum(entry.bytes for entry in found.entries)
    echo(f"{found.home}: {_size(total).strip()}, {_size(found.free).strip()} free")
    width = max((len(entry.name) for entry in found.entries), default=0)
    for entry in found.entries:
        echo(f"{_size(entry.bytes)}  {entry.name:<{width}}  {entry.what}; remove: {entry.remove}")


@click.group("training")
def training() -> None:
    """List and remove the trainings in the ITS home.

    A training is kept under the key of all that determines it, and copied to models/ by stage train. Other recipes,
    commits and studies may use it too: what is removed is trained again when it is needed.
    """


@training.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the trainings in the ITS home.

    Finished, unfinished and running ones: size, last change (UTC), steps, model, and what in this study uses them:
    copies in models/, and combinations that params.yaml trains, by the queries written last. What cannot be decided is
    reported. A run on another host, which has its own locks, is not seen.

    \b
    Reads   .its/training/, .its/locks/, params.yaml, data/queries/, models/
    Writes  .its/fingerprints/, hashes of large files
    Example its training list
    """
    from dataclasses import asdict

    from its.commands.trainings import stored_trainings, study_uses
    from its.home import its_home

    place = its_home()
    uses = study_uses()
    found = stored_trainings(place, uses)
    if as_json:
        rows = [asdict(item) | {"changed": item.changed.isoformat(timespec="seconds")} for item in found]
        print_json(home=str(place), trainings=rows, undecided=uses.undecided)
        return
    for item in found:
        steps = "" if item.steps is None else f", step {item.steps} of {item.of}"
        states = f" ({_size(item.saved_states).strip()} in saved states)" if item.saved_states else ""
        used = ", ".join(item.used_by) or ("not decided" if uses.undecided else "nothing in this study")
        echo(
            f"{item.key}  {_size(item.bytes)}{states}  {item.changed:%Y-%m-%d %H:%M}  {item.state}{steps}  "
            f"{shown(item.base or 'no model recorded')}  used by: {shown(used)}"
        )
    for reason in uses.undecided:
        click.echo(shown(f"not decided: {reason}"), err=True)
    if not found:
        echo(f"no trainings in {place}")


@training.command("rm")
@click.argument("keys", nargs=-1)
@click.option("--unused", is_flag=True, help="All that nothing in this study uses, if its home is its own.")
@click.option("--dry-run", is_flag=True, help="List what would be removed; remove nothing.")
def rm(keys: tuple[str, ...], unused: bool, dry_run: bool) -> None:
    """Remove trainings from the ITS home.

    Name them by key, or all with --unused; each is listed. A running one is refused, and so is --unused where what the
    study uses cannot be decided, or the home is not this study's own .its: others may share it. Other commits are not
    examined. Copies in models/ and DVC's cache stay.

    \b
    Reads   with --unused params.yaml, data/queries/, models/
    Writes  removes from .its/training/
    Example its training rm --unused --dry-run
    """
    from its.commands.trainings import remove_halves, remove_trainings, study_uses, unused_keys
    from its.home import its_home

    if unused == bool(keys):
        raise click.UsageError("Give either keys or --unused.")
    place = its_home()
    chosen = unused_keys(place, study_uses()) if unused else list(keys)
    count = size = 0
    for item in remove_trainings(place, chosen, dry_run):
        count, size = count + 1, size + item.bytes
        echo(f"{'would remove' if dry_run else 'removed'} {item.key}  {_size(item.bytes)}  {item.state}")
    for key in [] if dry_run else remove_halves(place):
        echo(f"removed the rest of {key}, which an interrupted command left")
    if count:
        click.echo(f"{counted(count, 'training')}, {_size(size).strip()}")
    else:
        click.echo("nothing to remove: the study uses every training")


def _size(size: int) -> str:
    return f"{size / _GIB:8.1f} GiB" if size >= _GIB else f"{size / _MIB:8.1f} MiB"
