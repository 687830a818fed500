"""Values of a row: dotted paths, and Jinja2 expressions over `row` where a path does not reach.

Expressions come with recipes that others wrote, so they run in Jinja's immutable sandbox, with strict undefined and
without autoescape. Filters beside Jinja's own:

    boxed            what stands in the last `\\boxed{...}` with balanced braces; an empty box holds nothing
    before(mark)     what stands before the last `mark`; before + mark + after is the whole text
    after(mark)      what stands after the last `mark`
    tag(name)        what stands in the last `<name>...</name>`
    strip            without white space at the ends

Each finds a text or nothing; nothing stays nothing through further filters, and makes the field absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.sources.records import RowFault
from its.sources.text import as_text


class _Absent:
    """What a path or an expression gives where the row has nothing there."""


ABSENT = _Absent()
Getter = Callable[[Any], Any]
"""(row) -> a value, None, or ABSENT; raises `ExpressionError`."""


class ExpressionError(Exception):
    """An expression that fails on a row, or at all; its first argument is a RowFault."""

    @property
    def fault(self) -> RowFault:
        """What is wrong."""
        found = self.args[0]
        assert isinstance(found, RowFault)
        return found


class _Nothing(Exception):
    """Raised within a rendering whose value is None."""


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # `row.items` is the column of that name, not the method of the mapping.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _written(value: Any) -> str:
    """How a value is written into the text of an expression."""
    if isinstance(value, Undefined):
        return str(value)  # raises, and says what is undefined
    if value is None:
        raise _Nothing
    return as_text(value)


def boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{...}` with balanced braces; None where there is none, or an empty one."""
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0:
                return text[start : start + brace.start()].strip() or None
    return None


def _before(text: str, mark: str) -> str | None:
    head, found, _ = text.rpartition(mark)
    return head if found else None


def _after(text: str, mark: str) -> str | None:
    _, found, tail = text.rpartition(mark)
    return tail if found else None


def _tag(text: str, name: str) -> str | None:
    head = _before(text, f"</{name}>")
    return None if head is None else _after(head, f"<{name}>")


def _on_text(act: Callable[..., str | None]) -> Callable[..., str | None]:
    def filtered(value: Any, *args: Any) -> str | None:
        if isinstance(value, Undefined):
            str(value)  # raises, and says what is undefined
        return None if value is None else act(as_text(value), *args)

    return filtered


_ENVIRONMENT = _Environment(
    undefined=StrictUndefined, autoescape=False, finalize=_written, keep_trailing_newline=True, cache_size=0
)
_ENVIRONMENT.filters.update(
    boxed=_on_text(boxed),
    before=_on_text(_before),
    after=_on_text(_after),
    tag=_on_text(_tag),
    strip=_on_text(str.strip),
)


def is_expression(source: str) -> bool:
    """Whether a field's text is an expression; otherwise it is a path."""
    return "{{" in source


def expression_fault(source: str) -> RowFault | None:
    """What is wrong with an expression before any row is seen: its syntax, a filter or a name that does not exist."""
    try:
        tree = _ENVIRONMENT.parse(source)
        _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        return RowFault(f"expression syntax: {error.message}", None)
    except TemplateError as error:
        return RowFault(f"expression: {error.message}", "filters: boxed, before, after, tag, strip and Jinja's own")
    unknown = sorted(meta.find_undeclared_variables(tree) - {"row"})
    if unknown:
        return RowFault(f"undefined variable `{unknown[0]}`; given: `row`", f"perhaps `row.{unknown[0]}`")
    return None


def getter(source: str) -> Getter:
    """What takes the value out of a row: by path, or by expression.

    Raises:
        ExpressionError: if the expression cannot be compiled.
    """
    if not is_expression(source):
        parts = source.split(".")
        return lambda row: _reach(row, source, parts)
    fault = expression_fault(source)
    if fault is not None:
        raise ExpressionError(fault)
    template = _ENVIRONMENT.from_string(source)
    return lambda row: _evaluate(template, row)


def _evaluate(template: Template, row: Any) -> str | _Absent:
    try:
        return template.render(row=row)
    except _Nothing:
        return ABSENT
    except UndefinedError as error:
        keys = ", ".join(f"`{key}`" for key in row) if isinstance(row, Mapping) else "none"
        raise ExpressionError(
            RowFault(f"expression: {error.message}; the row has: {keys}", "mend `fields:`")
        ) from error
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        what = str(error) or type(error).__name__
        raise ExpressionError(RowFault(f"expression fails: {what.splitlines()[0]}", "mend `fields:`")) from error


def _reach(row: Any, path: str, parts: list[str]) -> Any:
    if isinstance(row, Mapping) and path in row:  # a column may have dots in its name
        return row[path]
    value = row
    for part in parts:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value
