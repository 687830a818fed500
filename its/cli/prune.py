"""`its prune`: remove what checkpoints left behind."""

from __future__ import annotations

import click

from its.cli.output import echo
from its.shown import shown


@click.command()
@click.option("--dry-run", is_flag=True, help="List what would be removed; remove nothing.")
def prune(dry_run: bool) -> None:
    """Remove trainings that left the design.

    DVC keeps the outputs of a matrix that shrinks. This removes models/MODEL-DATASET-STRATEGY-SEED, with the variants
    and earlier checkpoints in it, and its files under results/ if the design trains no such combination. It keeps and
    lists models that `train` did not write, models that recipes name, and everything in a linked folder. Of a symbolic
    link only the link is removed. The ITS home keeps trained models and responses.

    \b
    Reads   params.yaml, recipes/
    Writes  removes from models/, results/loss/, results/cost/
    Example its prune --dry-run
    """
    from its.commands.prune import prune as prune_study
    from its.study.study import load_study

    removed, left = prune_study(load_study(), dry_run)
    for path in removed:
        echo(f"{'would remove' if dry_run else 'removed'} {path}")
    for path, why in left.items():
        click.echo(shown(f"kept {path}: {why}"), err=True)
    if not removed and not left:
        click.echo("nothing to remove: every training is in the design")
