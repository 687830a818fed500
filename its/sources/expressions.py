"""Values of a row: dotted paths, and Jinja2 expressions over `row` where a path does not reach.

Expressions come with recipes that others wrote, so they run in the sandbox of templates (`its.prompts.sandbox`), with
strict undefined and without autoescape. Filters beside those of `its.prompts.filters`:

    boxed            what stands in the last `\\boxed{...}` that closes and is not empty (`its.boxes`)
    before(mark)     what stands before the last `mark`; before + mark + after is the whole text
    after(mark)      what stands after the last `mark`
    tag(name)        what stands in the last `<name>...</name>`
    strip            without white space at the ends

Each finds a text or nothing; nothing stays nothing through `~` and every filter but `default`, and makes the field
absent. A value becomes text as that of a path does: `27.0` as `27`; a list, a NaN or a bool is a fault.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Template, TemplateSyntaxError, Undefined, UndefinedError, pass_context
from jinja2.runtime import Context

from its.boxes import last_box
from its.prompts.budget import charge_value
from its.prompts.filters import charged_filter, declared_filters
from its.prompts.sandbox import INNER, RefusedError, Sandbox, rendered, undeclared_names
from its.sources.paths import ABSENT, Absent, reach, steps_of
from its.sources.records import RowFault
from its.sources.text import NoValueError, as_json, as_text

UNNAMED = ""
"""In place of the field that a row lacks: an expression does not know whose it is."""
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


def _written(value: Any) -> str:
    """How a value is written into the text of an expression."""
    if isinstance(value, Undefined):
        return str(value)  # raises, and says what is undefined
    if value is None:
        raise _Nothing
    try:
        return as_text(value)
    except TypeError as error:
        if str(error) != type(value).__name__:
            raise
        raise TypeError(f"a {error} is not text") from error


def boxed(text: str) -> str | None:
    """The content of the last closed and filled `\\boxed{...}` (`its.boxes`); None if there is none."""
    box = last_box(text)
    return None if box is None else box.content


def _before(text: str, mark: str) -> str | None:
    head, found, _ = text.rpartition(mark)
    return head if found else None


def _after(text: str, mark: str) -> str | None:
    _, found, tail = text.rpartition(mark)
    return tail if found else None


def _tag(text: str, name: str) -> str | None:
    head = _before(text, f"</{name}>")
    return None if head is None else _after(head, f"<{name}>")


def _stripped(text: str) -> str:
    return text.strip()


_FILTERS: dict[str, Callable[..., str | None]] = {
    "boxed": boxed,
    "before": _before,
    "after": _after,
    "tag": _tag,
    "strip": _stripped,
}
_TEXTS = {
    **dict.fromkeys(("capitalize", "center", "indent", "lower", "string", "title", "truncate", "upper"), 0),
    **{"format": 0, "wordcount": 0, "wordwrap": 0, "split": 1, "trim": 1, "replace": 2},
    **{name: 2 for name in _FILTERS},
}
"""Filters that make a text of any value, in Python's own words (`None`, `nan`, `[1, 2]`) -> how many of their first
arguments are texts too."""
_NAMED = ("old", "new", "chars")
"""The same arguments by name."""
_OBJECTS = re.compile(r"%[^a-zA-Z%]*[ra]")


class _Number(float):
    """A float that `%s` writes as a field does, and `%.2f` as any other."""

    def __str__(self) -> str:
        return as_text(float(self))


def _careful(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that keeps nothing as nothing, and makes texts as a field is made."""

    @pass_context
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        for item in (*args, *kwargs.values()):
            if isinstance(item, Undefined):
                str(item)  # raises, naming what is undefined
        if value is None and not (name in ("int", "float") and (args or kwargs)):  # with a default of its own
            return None
        if isinstance(value, float) and not math.isfinite(value):
            _written(value)  # raises
        if name == "join":
            return _join(act, context, value, *args, **kwargs)
        if name == "tojson":
            value = as_json(value)
        if name in _TEXTS:
            dated = name == "string" and isinstance(value, datetime.date | datetime.time)
            value = str(value) if dated else _written(value)
            texts = min(_TEXTS[name], len(args))
            if None in (*args[:texts], *(args if name == "format" else ()), *kwargs.values()):
                return None
            args = (*map(_written, args[:texts]), *args[texts:])
            kwargs = {key: _written(item) if key in _NAMED else item for key, item in kwargs.items()}
        if name == "format":
            if found := _OBJECTS.search(value.replace("%%", "")):
                raise ValueError(f"`{found[0]}`: `%s` writes a text")
            args = tuple(_formatted(item) for item in args)
        return act(context, value, *args, **kwargs)

    return filtered


def _formatted(item: Any) -> Any:
    if isinstance(item, float) and math.isfinite(item):
        return _Number(item)
    return item if isinstance(item, int) and not isinstance(item, bool) else _written(item)


def _join(act: Callable[..., Any], context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    if attribute is not None:
        value = context.environment.filters["map"](context, value, attribute=attribute)
    if isinstance(value, list | tuple | Mapping):
        value = _all_written(value)
    return None if value is None or d is None else act(context, value, _written(d))


def _all_written(values: Iterable[Any]) -> list[str] | None:
    """The texts of values; None if one is absent."""
    out = []
    for value in values:
        if value is None:
            return None
        out.append(charge_value(_written(value), 10))
    return out


@pass_context
def _joined(context: Context, values: list[Any]) -> str | None:
    """`a ~ b`."""
    charge_value(values, 2)
    texts = _all_written(values)
    return None if texts is None else "".join(texts)


@pass_context
def _cut(context: Context, value: Any, *bounds: Any) -> Any:
    return None if value is None else INNER["its:cut"](context, value, *bounds)


_ENVIRONMENT = Sandbox(
    _written,
    {
        name: _careful(name, act)
        for name, act in {
            **{name: act for name, act in declared_filters().items() if name not in ("d", "default")},
            **{name: charged_filter(act) for name, act in _FILTERS.items()},
        }.items()
    },
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters |= {"its:joined": _joined, "its:cut": _cut}


def is_expression(source: str) -> bool:
    """Whether a field's text is an expression; otherwise it is a path."""
    return "{{" in source


def _compiled(source: str) -> Template:
    """The template of an expression; raises ExpressionError for its syntax, a filter or a name that does not exist."""
    try:
        tree = _ENVIRONMENT.checked(source)
        template = _ENVIRONMENT.ready(tree)
    except RefusedError as error:
        raise ExpressionError(RowFault(f"expression: {error.message}", error.hint)) from error
    except TemplateSyntaxError as error:
        hint = "filters: boxed, before, after, tag, strip, split, ..."
        raise ExpressionError(RowFault(f"expression syntax: {error.message}", hint)) from error
    unknown = sorted(undeclared_names(tree) - {"row"})
    if unknown:
        fault = RowFault(f"undefined variable `{unknown[0]}`; given: `row`", f"perhaps `row.{unknown[0]}`")
        raise ExpressionError(fault)
    return template


def getter(source: str) -> Getter:
    """What takes the value out of a row: by path, or by expression.

    Raises:
        ExpressionError: if the expression cannot be compiled.
    """
    if not is_expression(source):
        steps = steps_of(source)
        return lambda row: reach(row, source, steps)
    template = _compiled(source)
    return lambda row: _evaluate(template, row)


def _evaluate(template: Template, row: Any) -> str | Absent:
    try:
        return rendered(template, {"row": row})
    except _Nothing:
        return ABSENT
    except UndefinedError as error:
        keys = ", ".join(f"`{key}`" for key in row) if isinstance(row, Mapping) else "none"
        fault = RowFault(f"expression: {error.message}; the row has: {keys}", "fix `fields:`", lacks=UNNAMED)
        raise ExpressionError(fault) from error
    except NoValueError as error:
        raise ExpressionError(RowFault(f"expression: a value is {error.told}", "fix or remove the row")) from error
    except Exception as error:  # whatever an untrusted expression raises is a fault of the expression
        what = str(error) or type(error).__name__
        raise ExpressionError(RowFault(f"expression fails: {what.splitlines()[0][:200]}", "fix `fields:`")) from error
