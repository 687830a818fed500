"""The one renderer of templates: sandboxed, bounded, strict, without autoescape.

Templates come with untrusted recipes (`its.prompts.sandbox` says what they can do). Data passes through untouched
(LaTeX's braces, `<`); an undefined variable is an error, never an empty string.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from pydantic import BaseModel

from its.errors import DataError, Fault
from its.files import read_regular
from its.prompts.budget import BudgetError, charge_value
from its.prompts.sandbox import MAX_CHARACTERS, RefusedError, Sandbox, rendered, undeclared_names

_FRAME = "<template>"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a template sees: rows and sections as mappings of their fields, without anything to call."""
    return {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in values.items()}


def _written(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        charge_value(value, 2)
    elif value is not None and not isinstance(value, Undefined | str | int | float):
        raise TypeError(f"a {type(value).__name__} is not text")
    return str(value)  # raises if undefined, naming what is


@lru_cache(maxsize=1)
def _environment() -> Sandbox:
    return Sandbox(_written, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False)


@lru_cache(maxsize=256)
def _compiled(source: str) -> tuple[nodes.Template, Template]:
    tree = _environment().checked(source)
    return tree, _environment().ready(tree)


def read_template(path: Path, label: str | None = None) -> str:
    """The text of a template file, without a byte order mark.

    Args:
        label: its name in errors; None: the path.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not a regular file, too large, or not UTF-8.
    """
    content = read_regular(path, 4 * MAX_CHARACTERS, label, "templates are in `recipes/`")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{label or path}: not UTF-8 at byte {error.start}", "re-encode the template") from error


def render(source: str, name: str, values: Mapping[str, Any]) -> str:
    """Render a template's text with values; surrounding white space is stripped.

    Args:
        source: the template.
        name: its name in errors, e.g. its path.
        values: what it may use: rows, sections of a recipe, plain data.

    Raises:
        DataError: `name:line` with an undefined variable, a syntax error, an attempt to leave the sandbox, or more
            work than a template is allowed.
    """
    try:
        return rendered(_compiled(source)[1], _plain(values)).strip()
    except Exception as error:  # whatever an untrusted template raises is a fault of the template
        fault = _fault(error, name, sorted(values))
        raise DataError(f"{fault.where}: {fault.message}", fault.hint) from error


def template_faults(source: str, name: str, given: Mapping[str, Any]) -> list[Fault]:
    """Every fault that can be found without data: syntax, undeclared names, then one trial with `given`.

    `given` are sample values; a template that renders with them and uses no other name has no fault.
    """
    try:
        tree, template = _compiled(source)
        unknown = undeclared_names(tree) - set(given)
    except TemplateSyntaxError as error:
        return [_fault(error, name, sorted(given))]
    faults = []
    for node in tree.find_all(nodes.Name):
        if node.name in unknown and node.ctx == "load":
            faults.append(Fault(f"{name}:{node.lineno}", _undefined(node.name, sorted(given)), _hint(node.name)))
    if faults:
        return faults
    try:
        rendered(template, _plain(given))
    except Exception as error:  # as in `render`
        return [_fault(error, name, sorted(given))]
    return []


def _undefined(variable: str, given: list[str]) -> str:
    return f"undefined variable `{variable}`; given: {', '.join(f'`{item}`' for item in given)}"


def _hint(variable: str) -> str | None:
    return "the question is `problem.text`" if variable in ("question", "problem_text", "text") else None


def _fault(error: Exception, name: str, given: list[str]) -> Fault:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FRAME]
    where = f"{name}:{lines[-1] if lines else 1}"
    if isinstance(error, RefusedError):
        return Fault(f"{name}:{error.lineno}", error.message or "refused", error.hint)
    if isinstance(error, TemplateSyntaxError):
        return Fault(f"{name}:{error.lineno}", f"template syntax: {error.message}")
    if isinstance(error, BudgetError):
        return Fault(where, str(error), "templates only arrange what they receive")
    if isinstance(error, SecurityError):
        return Fault(where, str(error.message), "templates may only read values")
    if isinstance(error, UndefinedError):
        message = error.message or "undefined"
        if message.endswith("is undefined"):
            variable = message.split("'")[1]
            return Fault(where, _undefined(variable, given), _hint(variable))
        return Fault(where, message, "`problem` has text, problem_id, reference, solution and meta")
    return Fault(where, f"the template fails: {type(error).__name__.lower()}: {str(error)[:200]}")
