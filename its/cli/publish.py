"""`its publish` and `its verify`: a study as a folder, and the check of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from its.cli.output import echo, json_option, print_json
from its.shown import counted, shown


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--no-weights", is_flag=True, help="Leave out weights and tokenizers; cards and proofs stay.")
@click.option("--link", is_flag=True, help="Make hard links to the weights in place of copies.")
@click.option("--hub", metavar="ORG", help="Upload the folder to this user or organization of the Hugging Face hub.")
@click.option("--public", is_flag=True, help="With --hub: everyone can see new repositories; default: private.")
@click.option("--dry-run", is_flag=True, help="List the files and search them for secrets; write and upload nothing.")
@json_option
def publish(
    out: Path, no_weights: bool, link: bool, hub: str | None, public: bool, dry_run: bool, as_json: bool
) -> None:
    """Write the study as a folder to publish.

    The folder has the datasets as Hugging Face datasets, the checkpoints with model cards, all rows, the responses of
    the store, results, report, dvc.lock and recipe, and the SHA-256 of every file. What looks like a secret stops it,
    and so does anything that `its verify` would find. The folder appears whole or not at all.

    With --hub the folder becomes a repository, and each dataset and checkpoint one more. What exists there is not sent
    again, and OUT may be the publication of the study as it is now. The token is that of `hf auth login` or HF_TOKEN.

    \b
    Reads   params.yaml, recipes/, data/, models/, results/, dvc.lock, the store
    Writes  OUT, which must not exist; with --hub the hub
    Example its publish published --no-weights
    """
    if public and hub is None:
        raise click.UsageError("--public is about the hub; add --hub ORG")
    from its.commands.hub import OnHub, publish_to_hub
    from its.commands.publish import publish as publish_study
    from its.errors import DataError
    from its.study.study import load_study

    if no_weights and link:
        raise DataError("`--no-weights` and `--link` exclude each other", "give one of them")
    weights: Literal["copy", "link", "none"] = "none" if no_weights else "link" if link else "copy"
    study = load_study()
    if hub is None:
        there = OnHub(publish_study(study, out, weights, dry_run), [], [])
    else:
        there = publish_to_hub(study, out, hub, weights, public=public, dry_run=dry_run)
    done, notes = there.published, [*there.published.notes, *there.notes]
    if as_json:
        print_json(
            folder=done.folder,
            dry_run=dry_run,
            files=done.files,
            manifest_sha256=done.sha256,
            licences=done.licences,
            notes=notes,
            hub=[{"repository": item.name, "kind": item.kind, "commit": commit} for item, commit in there.repositories],
        )
        return
    if dry_run:
        for name, size in done.files.items():
            echo(f"{size:>12}  {name}")
    total = sum(done.files.values()) / 2**20
    echo(f"{done.folder}: {'would have ' if dry_run else ''}{counted(len(done.files), 'file')}, {total:.1f} MiB")
    if done.sha256 is not None:
        click.echo(f"verified; SHA-256 of manifest.json: {done.sha256}")
    for item, commit in there.repositories:
        echo(
            shown(
                f"{'would upload' if commit is None else 'uploaded'} {item.kind} {item.name}  {commit or ''}"
            ).rstrip()
        )
    for note in notes:
        click.echo(shown(f"note: {note}"), err=True)


@click.command()
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check a published study; no GPU, network or engine.

    Compares every file with the manifest, then computes again: queries from problems and personas, rows of responses
    from the store's export, verdicts from responses, results from verdicts. Prints how much is equal and names every
    file, row and number that is not. Exits with 1 if anything differs.

    \b
    Reads   OUT, a folder that `its publish` wrote
    Writes  nothing
    Example its verify published
    """
    from its.commands.verify import verify as verify_folder
    from its.errors import EXIT_RUN_FAILED

    found = verify_folder(folder)
    agree = not found.differences and not found.skipped
    if as_json:
        counts = ("files", "queries", "responses", "verdicts", "numbers", "last_bits", "more", "skipped")
        print_json(
            agrees=agree,
            manifest_sha256=found.sha256,
            its=found.manifest.its,
            recipe=found.manifest.recipe,
            differences=[item._asdict() for item in found.differences],
            **{name: getattr(found, name) for name in counts},
        )
    else:
        for where, what in found.differences:
            echo(shown(f"differs: {where}: {what}"))
        if found.more:
            echo(f"differs: {counted(found.more, 'more difference')}")
        for reason in found.skipped:
            echo(shown(f"not done: {reason}"))
        bits = f", {found.last_bits} of them but for their last bits" if found.last_bits else ""
        echo(f"files      {found.files} of {len(found.manifest.files)} equal those of the manifest")
        echo(f"queries    {found.queries} equal those rendered again")
        echo(f"responses  {found.responses} equal those of the store's export")
        echo(f"verdicts   {found.verdicts} equal those graded again")
        echo(f"numbers    {found.numbers} equal those measured again{bits}")
        echo(f"manifest   SHA-256 {found.sha256}")
        echo(shown(f"{folder}: {'everything agrees' if agree else 'not verified'}"))
    if not agree:
        sys.exit(EXIT_RUN_FAILED)
