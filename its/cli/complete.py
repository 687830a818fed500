"""What Tab completes: names of recipes, strategies, sets and checkpoints. Quiet where the project cannot be read."""

from __future__ import annotations

import click


def _names(found: list[str], incomplete: str) -> list[str]:
    return [name for name in found if name.startswith(incomplete) and name.isprintable()]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the files in recipes/."""
    from its.commands.names import recipe_names

    return _names(recipe_names(), incomplete)


def complete_strategy(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the strategies that params.yaml declares."""
    from its.commands.names import section_names

    return _names(section_names("strategies"), incomplete)


def complete_set(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the datasets and benchmarks that params.yaml declares."""
    from its.commands.names import section_names

    return _names(section_names("datasets", "benchmarks"), incomplete)


def complete_checkpoint(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the folders in models/."""
    from its.commands.names import checkpoint_names

    return _names(checkpoint_names(), incomplete)
