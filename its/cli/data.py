"""`its data`: list the data sets, show where they come from, compare two states, export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from its.cli.complete import complete_checkpoint, complete_set, complete_strategy
from its.cli.output import echo, json_option, print_json
from its.shown import counted, shown

if TYPE_CHECKING:
    from its.study.study import Study

FIRST = 5
WIDTH = 160

strategy_option = click.option(
    "--strategy", shell_complete=complete_strategy, help="Include the personas and queries of this strategy."
)


@click.group("data")
def data() -> None:
    """Inspect, compare and export data sets.

    DVC versions problems, personas and queries; their cards are in data/cards/. See docs/data.md.
    """


@data.command("show")
@click.argument("name", required=False, shell_complete=complete_set)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """List the data sets, their steps and files.

    \b
    Reads   params.yaml, data/, dvc.lock
    Writes  nothing
    Example its data show
    """
    from its.cards.denominator import denominator, told_denominator
    from its.commands.cards import overview

    found = overview(_study(), name)
    if as_json:
        print_json(sets=found)
        return
    for item in found:
        rows = "not prepared" if item["rows"] is None else f"{item['rows']} problems"
        click.echo(f"{item['name']}  {item['kind']}, {rows}")
        for step in item["steps"] or ():
            note = f" ({step['note']})" if step.get("note") else ""
            echo(f"    {step['step']}: {step['before']} -> {step['after']}{note}")
        if item["kind"] == "benchmark" and item["steps"]:
            echo(f"    measured: {told_denominator(denominator(item['steps']))}")
        if item["quarantine"] or item["overlaps"]:
            click.echo(f"    quarantine: {item['quarantine']}, overlaps: {item['overlaps']}")
        if item["card"] not in ("read", "not prepared"):
            click.echo(f"    no card: {item['card']}")
        for file in item["files"]:
            click.echo(f"  {_file_line(file)}")


@data.command("card")
@click.argument("name", shell_complete=complete_set)
@strategy_option
@json_option
def card(name: str, strategy: str | None, as_json: bool) -> None:
    """Print the card of a data set in Markdown.

    Without --strategy, the card that `prepare` wrote. With it, also the writer of the personas, its templates and
    sampling, and whether the files match dvc.lock.

    \b
    Reads   params.yaml, data/, recipes/, dvc.lock, the store
    Writes  nothing
    Example its data card arithmetic --strategy random
    """
    from its.cards.markdown import card_markdown
    from its.commands.cards import set_card

    found = set_card(_study(), name, strategy)
    if as_json:
        print_json(card=found)
        return
    echo(card_markdown(found), nl=False)


@data.command("diff")
@click.argument("old")
@click.argument("new", default="workspace")
@click.option("--set", "set_name", shell_complete=complete_set, help="Only rows of this set.")
@click.option(
    "--strategy", shell_complete=complete_strategy, help="Only personas and new solutions under this strategy."
)
@json_option
def diff(old: str, new: str, set_name: str | None, strategy: str | None, as_json: bool) -> None:
    """Compare problems, personas and new solutions of two states.

    A state is a git revision, a DVC experiment, the folder of a study (written with a `/`), or `workspace`, the current
    files. Two files of rows can be compared as well. Old states are read from DVC's cache or remote; nothing is checked
    out. Prints the first few rows that were added, removed or changed; --json prints all.

    \b
    Reads   data/problems/, data/personas/ and data/solutions/ of both states
    Writes  nothing
    Example its data diff HEAD~1 --set arithmetic
    """
    from its.commands.differences import compare

    found = compare(old, new, set_name, strategy)
    if as_json:
        print_json(old=old, new=new, files=found)
        return
    for file in found:
        for line in _difference_lines(file):
            echo(line)


@data.command("lineage")
@click.argument("row_id", metavar="ID")
@click.option("--checkpoint", shell_complete=complete_checkpoint, help="The response's checkpoint, if ID is a query.")
@click.option("--sample", type=click.IntRange(min=0), help="The response's sample index, if ID is a query.")
@json_option
def lineage(row_id: str, checkpoint: str | None, sample: int | None, as_json: bool) -> None:
    """Trace a row back to the line of its source.

    ID is CHECKPOINT/SET/PROBLEM/STRATEGY/SAMPLE (a response and its verdict), SET/PROBLEM/STRATEGY (a query or training
    row), PROBLEM, or CHECKPOINT. Prints each step with its file and line.

    \b
    Reads   params.yaml, data/, models/, recipes/, dvc.lock, the store
    Writes  nothing
    Example its data lineage arithmetic/train_00000/random
    """
    from its.cards.build import shortened
    from its.commands.lineage import lineage as trace_back

    found = trace_back(_study(), row_id, checkpoint, sample)
    if as_json:
        print_json(lineage=found)
        return
    for step in found["steps"]:
        where = f"  ({step['where']})" if step["where"] else ""
        echo(f"{step['what']}  {step['id']}{where}")
        for name, value in shortened(step["facts"]).items():
            if value not in (None, [], {}, ""):
                echo(_fact(name, value))
    for line in _standing_lines(found["standing"]):
        echo(line)


@data.command("export")
@click.argument("name", shell_complete=complete_set)
@click.argument("out", type=click.Path(path_type=Path))
@strategy_option
@click.option(
    "--side",
    type=click.Choice(["train", "test"]),
    help="The split; `train` adds the solution to `messages`. Default: the side of the set.",
)
@click.option(
    "--push", metavar="REPO_ID", help="Upload to this dataset on the hub with HF_TOKEN; a new one is private."
)
@json_option
def export(name: str, out: Path, strategy: str | None, side: Any, push: str | None, as_json: bool) -> None:
    """Write a data set as a Hugging Face dataset.

    Writes a folder with one Parquet file and the card as README.md, for `datasets.load_dataset(OUT)`.

    \b
    Reads   params.yaml, data/, recipes/, dvc.lock, the store
    Writes  OUT, which must not exist; with --push the hub
    Example its data export arithmetic exported --strategy random
    """
    from its.commands.export import export_dataset, hub_token, push_dataset

    token = None if push is None else hub_token()  # before anything is written
    done = export_dataset(_study(), name, strategy, side, out)
    if push is not None and token is not None:
        done["pushed"] = push_dataset(out, push, token)
    if as_json:
        print_json(exported=done)
        return
    echo(f"{done['folder']}: {counted(done['rows'], 'row')}, split `{done['split']}`")
    if done["licence"] is None:
        click.echo("warning: the licence of the source is unknown; check it before you publish", err=True)
    if push is not None:
        click.echo(f"pushed: {done['pushed']}")


@data.command("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--at", metavar="KEY", help="The key of the list with the rows, if the file is one object.")
@json_option
def convert(file: Path, out: Path, at: str | None, as_json: bool) -> None:
    """Write a JSON or CSV file as JSON lines.

    For files that no source reads directly: objects spread over lines, one object that contains the rows, a table
    stored column by column, CSV with `;`. Each value is kept as written.

    \b
    Reads   FILE
    Writes  OUT, which must not exist
    Example its data convert train.json data/sources/train.jsonl --at data
    """
    from its.commands.convert import convert_file

    rows = convert_file(file, out, at)
    if as_json:
        print_json(converted={"file": str(out), "rows": rows})
        return
    echo(f"{out}: {counted(rows, 'row')}")


def _study() -> Study:
    from its.study.study import load_study

    return load_study()


def _file_line(file: dict[str, Any]) -> str:
    if file["rows"] is None:
        return f"{file['path']}  missing"
    stage = f"written by {file['stage']}" if file["stage"] else "not in dvc.lock"
    changed = ", changed since" if file["as_locked"] is False else ""
    return f"{file['path']}  {counted(file['rows'], 'row')}, sha256 {file['sha256'][:12]}, {stage}{changed}"


def _difference_lines(file: dict[str, Any]) -> Iterator[str]:
    before = "absent" if file["before"] is None else file["before"]
    after = "absent" if file["after"] is None else counted(file["after"], "row")
    added, removed, changed = file["added"], file["removed"], file["changed"]
    counts = (
        f"{len(added)} added, {len(removed)} removed, {len(changed)} changed"
        if added or removed or changed
        else "equal"
    )
    yield f"{file['path']}: {before} -> {after}: {counts}"
    for mark, rows in (("+", added), ("-", removed)):
        yield from (f"  {mark} {item['id']}  {_short(item['row'].get('text'))}" for item in rows[:FIRST])
        yield from _more(mark, rows)
    for item in changed[:FIRST]:
        yield f"  ~ {item['id']}"
        for name, (old, new) in item["fields"].items():
            yield f"      {name}: {_short(old)}"
            yield f"      {' ' * len(name)}> {_short(new)}"
    yield from _more("~", changed)


def _more(mark: str, rows: list[Any]) -> Iterator[str]:
    if len(rows) > FIRST:
        yield f"  {mark} {len(rows) - FIRST} more (--json has all)"


def _standing_lines(standing: dict[str, Any]) -> Iterator[str]:
    changed = f", changed since: {', '.join(standing['changed_files'])}" if standing["changed_files"] else ""
    yield f"commit  {standing['commit'] or 'not in a git repository'}{changed}"
    if standing["changed_stages"] is None:
        yield f"dvc.lock  unknown: {standing['unknown']}"
    elif not standing["changed_stages"]:
        yield "dvc.lock  matches these files"
    else:
        yield "dvc.lock  does not match these files:"
        for stage, reasons in standing["changed_stages"].items():
            yield from (f"    {stage}: {reason}" for reason in reasons)


def _fact(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"    {name}: " + shown(text, lines=True).replace("\n", "\n        ")


def _short(value: Any) -> str:
    """A value on one line; a long one is cut at its end."""
    text = shown(" ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split()))
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
