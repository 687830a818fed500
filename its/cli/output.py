"""What reading commands share: one JSON document, or plain text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

JSON_VERSION = 1
Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Add `--json` to a reading command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(**content: Any) -> None:
    """Print one versioned document on stdout; half a character, which no output can hold, stands as its escape."""
    text = json.dumps({"version": JSON_VERSION, **content}, indent=2, ensure_ascii=False)
    click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))
