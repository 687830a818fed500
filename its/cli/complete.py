"""What Tab completes: commands, options and names. Quiet where the study cannot be read; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the files in recipes/."""
    from its.commands.names import recipe_names

    return _beginning(recipe_names(), incomplete)


def complete_side(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Recipes and params.yaml."""
    from its.commands.names import sides_of_diff

    return _beginning(sides_of_diff(), incomplete)


def complete_declared(*sections: str) -> Completer:
    """Names under some sections of params.yaml, or of the recipe of an option `--recipe` before."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from its.commands.names import declared_names

        return _beginning(declared_names(sections, ctx.params.get("recipe")), incomplete)

    return complete


complete_strategy = complete_declared("strategies")
complete_set = complete_declared("datasets", "benchmarks")


def complete_checkpoint(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Checkpoints with responses."""
    from its.commands.names import checkpoint_names

    return _beginning(checkpoint_names(), incomplete)


def complete_cell(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Cells with verdicts."""
    from its.commands.names import cell_names

    return _beginning(cell_names(), incomplete)


def complete_training(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For `its train`: MODEL, DATASET and STRATEGY by their place, and a whole name as the first."""
    from its.commands.names import declared_names, training_names

    place = len(ctx.params.get("words") or ())
    sections = ("models", "datasets", "strategies")
    names = declared_names(sections[place : place + 1])
    return _beginning([*names, *training_names()] if place == 0 else names, incomplete)


def _beginning(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which a shell completes `its`.

    Tab then completes commands, options, and the names of recipes, strategies, sets, checkpoints and cells.

    \b
    Reads   nothing
    Writes  nothing
    Example its completion bash > ~/.its-completion.bash
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(ctx.find_root().command, {}, "its", "_ITS_COMPLETE").source())
