"""`its grade`, the stage or any file, and `its regrade` after a change of the grader."""

from __future__ import annotations

from pathlib import Path

import click

from its.cli.output import echo, json_option, print_json
from its.shown import counted

KINDS = ("integer", "number", "math", "choice")
OPENERS = ("prompt", "model")
EXAMPLES = 10


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The file of graded rows; only with FILE.")
@click.option("--kind", type=click.Choice(KINDS), help="Answer kind of rows without a `kind`; only with FILE.")
@click.option("--thinking", nargs=2, metavar="START END", help="Marks around reasoning to cut off; only with FILE.")
@click.option(
    "--opened-by",
    type=click.Choice(OPENERS),
    help="Who writes START: `prompt`, so that a response begins within its reasoning, or `model`.",
)
@click.option("--no-fallback", is_flag=True, help="Accept only stated answers; only with FILE.")
@json_option
def grade(
    file: Path | None,
    output: Path | None,
    kind: str | None,
    thinking: tuple[str, str] | None,
    opened_by: str | None,
    no_fallback: bool,
    as_json: bool,
) -> None:
    """Give every response a verdict.

    With FILE, grades JSON lines outside a study: each row has `reference` and `response` (and optionally `kind`:
    integer, number, math, choice) and receives `answer`, `verdict` and `rule`. With `-` the rows are read from the
    standard input.

    With --thinking, a response that ends within its reasoning is `no_answer`. A response without any mark counts as
    such if its row has `finish_reason: length` (or `max_tokens`), unless --opened-by decides. With --no-fallback, a
    response without a stated answer is `no_answer`; otherwise its last number or formula is taken.

    \b
    Reads   data/responses/, data/problems/; or FILE
    Writes  data/verdicts/; or the file of --output
    Example its grade answers.jsonl --kind math --output graded.jsonl
    """
    if file is None:
        if output or kind or thinking or opened_by or no_fallback:
            options = "--output, --kind, --thinking, --opened-by, --no-fallback"
            raise click.UsageError(f"{options} need FILE; a study takes these settings from its recipe")
        from its.stages import grade as stage
        from its.study.access import stage_study

        with stage_study("grade") as study:
            summary = stage.run(study)
        print_json(summary=summary) if as_json else click.echo(summary)
        return
    if output is None:
        raise click.UsageError("FILE needs --output")
    if str(output) == "-":
        raise click.UsageError("--output needs a file, not `-`: graded rows appear in it whole or not at all")
    if opened_by is not None and thinking is None:
        raise click.UsageError("--opened-by needs --thinking START END")
    from its.commands.grade_file import grade_file

    counts = grade_file(
        file,
        output,
        kind,  # type: ignore[arg-type]  # click checks it
        thinking,
        list_all=as_json,
        opened_by=opened_by,  # type: ignore[arg-type]  # and this
        fallback=not no_fallback,
    )
    if as_json:
        print_json(output=str(output), verdicts=counts)
        return
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    click.echo(f"{output}: {counted(sum(counts.values()), 'verdict')} ({shown})")


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change, write nothing.")
@json_option
def regrade(dry_run: bool, as_json: bool) -> None:
    """Grade stored responses again and show what changed.

    DVC runs only the stage `grade`, whether or not its dependencies changed; the new verdicts are compared with the
    former ones. Nothing is generated. `dvc repro` then measures and reports again.

    \b
    Reads   data/responses/, data/problems/, data/verdicts/
    Writes  data/verdicts/, dvc.lock
    Example its regrade --dry-run
    """
    from its.commands.regrade import regrade as grade_again
    from its.study.study import load_study

    changes = grade_again(load_study(), dry_run)
    version = changes.new_version
    if as_json:
        print_json(
            dry_run=dry_run,
            grader_version=version,
            former_versions=sorted(changes.versions),
            verdicts=changes.verdicts,
            changed=changes.changed,
            without_former=changes.without_former,
            other_answers=changes.answers,
            kinds=[{"from": a, "to": b, "count": n} for (a, b), n in changes.kinds.most_common()],
            correct={
                cell: {"former": changes.former_correct.get(cell), "new": count}
                for cell, count in changes.new_correct.items()
            },
            changes=[
                {"cell": item.cell, "former": item.former.model_dump(), "new": item.new.model_dump()}
                for item in changes.listed
            ],
        )
        return
    former = ", ".join(sorted(changes.versions)) or "none"
    would = "would change" if dry_run else "changed"
    click.echo(f"grader {former} -> {version}: {changes.changed} of {changes.verdicts} verdicts {would}")
    for (before, after), count in changes.kinds.most_common():
        click.echo(f"  {before} -> {after}: {count}")
    if changes.answers:
        click.echo(f"  same verdict, another answer (votes may change): {changes.answers}")
    if changes.without_former:
        click.echo(f"  without a former verdict: {changes.without_former}")
    for cell, count in changes.new_correct.items():
        known = changes.former_correct.get(cell)
        if known is not None and known != count:
            click.echo(f"{cell}: correct {known} -> {count}")
    for item in changes.listed[:EXAMPLES]:
        former_answer, answer = item.former.answer, item.new.answer
        echo(
            f"{item.cell} {item.new.query_id} [{item.new.sample_index}]: {former_answer!r} {item.former.verdict} -> "
            f"{answer!r} {item.new.verdict} ({item.new.rule or 'no rule'})"
        )
    if len(changes.listed) > EXAMPLES:
        click.echo(f"... {len(changes.listed) - EXAMPLES} more: --json lists them all")
    if changes.changed + changes.answers and not dry_run:
        click.echo("`dvc repro` measures and reports again", err=True)
