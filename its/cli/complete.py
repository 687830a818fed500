"""What Tab completes: commands, options and the names of recipes. Quiet where the project cannot be read."""

from __future__ import annotations

import click


def _names(found: list[str], incomplete: str) -> list[str]:
    return [name for name in found if name.startswith(incomplete) and name.isprintable()]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the files in recipes/."""
    from its.commands.names import recipe_names

    return _names(recipe_names(), incomplete)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which a shell completes `its`.

    Tab then completes commands, options and the names of recipes.

    \b
    Reads   nothing
    Writes  nothing
    Example its completion bash > ~/.its-completion.bash
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(ctx.find_root().command, {}, "its", "_ITS_COMPLETE").source())
