"""Grade: the stage, any file, and again after the grader changed."""

from __future__ import annotations

from pathlib import Path

import click

from its.cli.output import echo, json_option, print_json

KINDS = ("integer", "number", "math", "choice")
OPENERS = ("prompt", "model")
EXAMPLES = 10


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Where the graded rows go; with FILE alone.")
@click.option("--kind", type=click.Choice(KINDS), help="Answer kind of rows that do not say theirs; with FILE alone.")
@click.option("--thinking", nargs=2, metavar="START END", help="Marks around reasoning to cut off; with FILE alone.")
@click.option(
    "--opened-by",
    type=click.Choice(OPENERS),
    help="Who writes START: the prompt, so that a response begins within its reasoning, or the model.",
)
@click.option("--no-fallback", is_flag=True, help="No answer where none is said outright; with FILE alone.")
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

    Reads data/responses/ and data/problems/. Writes data/verdicts/. With FILE: reads JSON lines with `reference` and
    `response` (and maybe `kind`: integer, number, math, choice), writes them with `answer`, `verdict` and `rule`. With
    --thinking a response that ends within its reasoning is `no_answer`; one without any mark is taken for such where
    its row says `finish_reason: length` (or `max_tokens`), unless --opened-by tells. With --no-fallback a response
    that says no answer outright is `no_answer`, instead of being read for its last number or formula.

    Example: its grade answers.jsonl --kind math --output graded.jsonl
    """
    if file is None:
        if output or kind or thinking or opened_by or no_fallback:
            options = "--output, --kind, --thinking, --opened-by, --no-fallback"
            raise click.UsageError(f"{options} go with FILE; the recipe says the rest")
        from its.stages import grade as stage
        from its.study.access import stage_study

        with stage_study("grade") as study:
            said = stage.run(study)
        print_json(summary=said) if as_json else click.echo(said)
        return
    if output is None:
        raise click.UsageError("FILE needs --output")
    if opened_by is not None and thinking is None:
        raise click.UsageError("--opened-by goes with --thinking START END")
    from its.commands.grade_file import grade_file

    counts = grade_file(
        file,
        output,
        kind,  # type: ignore[arg-type]  # click holds it to KINDS
        thinking,
        list_all=as_json,
        opened_by=opened_by,  # type: ignore[arg-type]  # and this to OPENERS
        fallback=not no_fallback,
    )
    if as_json:
        print_json(output=str(output), verdicts=counts)
        return
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    click.echo(f"{output}: {sum(counts.values())} verdicts ({shown})")


@click.command()
@click.option("--dry-run", is_flag=True, help="Tell what would change, write nothing.")
@json_option
def regrade(dry_run: bool, as_json: bool) -> None:
    """Grade stored responses again and tell what changed.

    Reads data/responses/ and data/verdicts/. Has DVC run the stage `grade` alone, whatever it thinks is new, and
    compares the verdicts with the former ones. Nothing is generated; `dvc repro` then measures and reports anew.

    Example: its regrade --dry-run
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
        click.echo(f"  same verdict, another answer (votes may move): {changes.answers}")
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
        click.echo("`dvc repro` measures and reports anew", err=True)
