"""What reading commands share: one JSON document, or plain text."""

from __future__ import annotations

import json
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
    """Print one versioned document on stdout; what a terminal would act on is escaped, and so the text exact."""
    click.echo(shown_json(json.dumps({"version": JSON_VERSION, **content}, indent=2, ensure_ascii=False)))


def echo(text: str, *, nl: bool = True) -> None:
    """Print text that others wrote (a model, a server, a recipe): a terminal shows it and does not act on it."""
    click.echo(shown(text, lines=True), nl=nl)
