"""Values of a row: dotted paths, and Jinja2 expressions over `row` where a path does not reach.

Expressions come with recipes that others wrote, so they run in the sandbox of templates (`its.prompts.sandbox`), with
strict undefined and without autoescape. Filters beside those of `its.prompts.filters`:

    boxed            what stands in the last `\\boxed{...}` that closes and is not empty (`its.boxes`)
    before(mark)     what stands before the last `mark`; before + mark + after is the whole text
    after(mark)      what stands after the last `mark`
    tag(name)        what stands in the last `<name>...</name>`
    strip            without white space at the ends

Each finds a text or nothing; nothing stays nothing through every filter but `default` and through `~`, and makes the
field absent. A value becomes text as that of a path does: `27.0` as `27`; a list, a NaN or a bool is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Template, TemplateSyntaxError, Undefined, UndefinedError, pass_context
from jinja2.runtime import Context

from its.boxes import last_box
from its.prompts.budget import charge_value
from its.prompts.filters import charged_filter, declared_filters
from its.prompts.sandbox import RefusedError, Sandbox, rendered, undeclared_names
from its.sources.paths import ABSENT, Absent, reach, steps_of
from its.sources.records import RowFault
from its.sources.text import NoValueError, as_text

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


def _on_text(act: Callable[..., str | None]) -> Callable[..., str | None]:
    def filtered(value: Any, *args: Any) -> str | None:
        if isinstance(value, Undefined):
            str(value)  # raises, and says what is undefined
        return None if value is None else act(as_text(value), *args)

    return filtered


_FILTERS: dict[str, Callable[..., str | None]] = {
    "boxed": boxed,
    "before": _before,
    "after": _after,
    "tag": _tag,
    "strip": _stripped,
}
_OF_TEXTS = (
    *("capitalize", "center", "format", "indent", "lower", "replace", "split", "string", "title", "trim"),
    *("truncate", "upper", "wordcount", "wordwrap"),
)
"""Jinja's filters that make a text of any value, in Python's own words: `None`, `nan`, `[1, 2]`."""


def _careful(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of templates that keeps nothing as nothing, and makes texts as a field is made."""

    @pass_context
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is None:
            return None
        if name == "join":
            return _join(act, context, value, *args, **kwargs)
        if name in _OF_TEXTS:
            value = _written(value)
        if name in ("format", "replace"):
            for item in (*args, *kwargs.values()):
                _written(item)  # raises; a number stays one, for `%d`
        return act(context, value, *args, **kwargs)

    return filtered


def _join(act: Callable[..., Any], context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    if attribute is not None:
        value = context.environment.filters["map"](context, value, attribute=attribute)
    if isinstance(value, list | tuple):
        value = [_written(item) for item in value]
    return act(context, value, _written(d))


@pass_context
def _joined(context: Context, values: list[Any]) -> str:
    """`a ~ b`."""
    charge_value(values, 2)
    return "".join(map(_written, values))


_ENVIRONMENT = Sandbox(
    _written,
    {
        **{name: _careful(name, act) for name, act in declared_filters().items() if name not in ("d", "default")},
        **{name: charged_filter(_on_text(act)) for name, act in _FILTERS.items()},
    },
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["its:joined"] = _joined


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
