"""`its run`: choose a recipe, run its stages under DVC, print the table."""

from __future__ import annotations

import click

from its.cli.complete import complete_recipe
from its.cli.output import echo
from its.cli.recipe import write_params


class _Run(click.Command):
    """Words after `--` are DVC's, whether or not a NAME comes before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["its.dvc"] = args[at + 1 :]
        more = super().parse_args(ctx, args[:at])
        if more and not ctx.resilient_parsing:
            raise click.UsageError(f"stages follow `--`: its run {ctx.params['name']} -- {' '.join(more)}", ctx)
        return more


@click.command(cls=_Run, context_settings={"allow_extra_args": True})
@click.argument("name", required=False, shell_complete=complete_recipe)
@click.option("--dry", is_flag=True, help="List the stages that would run; change nothing.")
@click.pass_context
def run(ctx: click.Context, name: str | None, dry: bool) -> None:
    """Run a study: its recipe, its stages, its table.

    With NAME it does what `its recipe use NAME` does first, unless params.yaml has these values already; changes made
    in params.yaml are never overwritten. Then `dvc repro`, which runs the stages that are out of date, and
    `its results table`. Words after `--` go to `dvc repro`.

    A terminal shows the stage, what it counts, tokens a second and the time left; a pipe or a file receives one line
    per change. Ctrl-C or SIGTERM ends DVC and its stage; the next `its run` resumes.

    \b
    Reads   params.yaml, recipes/NAME.yaml, and what the stages read
    Writes  what the stages write; with NAME params.yaml
    Example its run quickstart
    """
    from its.cli.results import table
    from its.commands.run import reproduce
    from its.commands.run_view import View
    from its.errors import DataError, FaultsError, MissingError
    from its.recipe.apply import differing, recipe_path
    from its.study.study import find_project

    project = find_project()
    words = list(ctx.meta["its.dvc"])
    if name is not None:
        changed = differing(project, recipe_path(project, name))
        if changed and dry:
            click.echo(f"params.yaml has other values than recipe `{name}`; `its run {name}` writes it first")
            click.echo(f"hint: `its recipe use {name}`, then `its run --dry` lists the stages", err=True)
            return
        if changed:
            write_params(project, name, force=False, queued=False)
    view = View(project / "results" / "cost")
    reproduce(project, [*words, "--dry"] if dry else words, view)
    if not view.ran and not view.more:
        click.echo("all stages are up to date", err=True)
    elif dry:
        more = ", and those that need their outputs" if view.more else ""
        click.echo(f"stages that would run: {len(view.ran)}{more}", err=True)
    if dry:
        return
    try:
        ctx.invoke(table)
    except (MissingError, DataError) as error:
        if not words or isinstance(error, FaultsError):
            raise
        # `-- generate` ends before there is a table of this recipe: what was asked for is done.
        echo(f"note: no table: {error.message}", err=True)
        click.echo("hint: `its run` runs the stages that are left", err=True)
