"""What commands share: `--json`, one versioned JSON document, and text that a terminal shows safely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from its.shown import shown, shown_json

JSON_VERSION = 1
Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Add `--json` to a reading command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(**content: Any) -> None:
    """Print one versioned document on stdout; control characters are escaped, so a terminal shows the exact text."""
    _print_json(content, finite=False)


def print_finite_json(**content: Any) -> None:
    """`print_json` of what is computed.

    Raises:
        ValueError: if a number is one that JSON does not have: infinity, or not a number.
    """
    _print_json(content, finite=True)


def _print_json(content: dict[str, Any], *, finite: bool) -> None:
    import json

    document = {"version": JSON_VERSION, **content}
    click.echo(shown_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=not finite)))


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print text from outside (a model, a server, a recipe) so that a terminal shows it and does not act on it."""
    click.echo(shown(text, lines=True), nl=nl, err=err)
