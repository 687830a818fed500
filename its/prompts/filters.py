"""The filters and tests that templates have: Jinja's own where they are pure and bounded, each charged for its work.

Left out of Jinja's: what reaches attributes (`attr`), draws at random (`random`), writes HTML or addresses (`escape`,
`safe`, `urlize`, `xmlattr`, ...) or is of no use in a prompt.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Context
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import _PassArg
from markupsafe import Markup

from its.prompts.budget import MAX_BITS, BudgetError, charge, charge_number, charge_value

Act = Callable[..., Any]
_JINJA_FILTERS: dict[str, Any] = dict(JINJA_FILTERS)
_JINJA_TESTS: dict[str, Any] = dict(JINJA_TESTS)
_TAKEN = (
    *("abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "first", "float", "indent"),
    *("int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("replace", "reverse", "round", "select", "selectattr", "slice", "sort", "string", "sum", "title", "tojson"),
    *("trim", "truncate", "unique", "upper", "wordcount", "wordwrap"),
)
_RATES = {
    **dict.fromkeys(("batch", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr"), 10),
    **dict.fromkeys(("slice", "sum", "unique", "join"), 10),
    **{"sort": 20, "dictsort": 20, "title": 10, "capitalize": 4, "tojson": 8, "wordcount": 10, "wordwrap": 10},
}
"""Units per character, if a filter takes longer than reading and copying it."""
_AT_ONCE = ("count", "d", "default", "first", "last", "length")
"""Filters that do not look into a value."""
_ATTRIBUTES = {"join": 1, "max": 1, "min": 1, "rejectattr": 0, "selectattr": 0, "sort": 2, "sum": 0, "unique": 1}
"""Index of the argument `attribute`, which may reach into items by parts; `map` takes it by name only."""
MAX_PARTS = 8
MAX_MARK = 1000
"""Longest text that is searched for, or stripped off, in characters: the time grows with its length."""
_UNTESTED = ("callable", "escaped", "filter", "sameas", "test")


def declared_filters() -> dict[str, Act]:
    """Every filter by its name, ready for an environment."""
    own: dict[str, Act] = {"format": _format, "split": _split, "strip": _strip}
    found = {name: _charged(_JINJA_FILTERS[name], _rate(name), _GUARDS.get(name), name) for name in _TAKEN}
    return found | {name: _charged(act, 1, _GUARDS.get(name)) for name, act in own.items()}


def _rate(name: str) -> int:
    return 0 if name in _AT_ONCE else _RATES.get(name, 1)


def declared_tests() -> dict[str, Act]:
    """Every test by its name, ready for an environment."""
    return {name: _charged(act, 1, None) for name, act in _JINJA_TESTS.items() if name not in _UNTESTED}


def charged_filter(act: Act) -> Act:
    """A caller's filter that searches for its arguments, if there are any, and returns a part of its value."""
    return _charged(act, 1, _guard_sought)


def _charged(act: Act, rate: int, guard: Act | None, name: str = "") -> Act:
    passed = _PassArg.from_obj(act)

    @pass_context  # so never evaluated while the template is compiled
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if rate:
            charge_value(value, rate)
        else:
            charge(1)
        for item in (*args, *kwargs.values()):
            if isinstance(item, Undefined):
                str(item)  # raises, naming what is undefined
            charge_value(item, max(rate, 1))
        _check_attribute(name, args, kwargs)
        if guard is not None:
            guard(context, value, *args, **kwargs)
        first: tuple[Any, ...] = ()
        if passed is not None:
            first = (context if passed is _PassArg.context else getattr(context, _PASSED[passed]),)
        found = act(*first, value, *args, **kwargs)
        if isinstance(found, Iterator):  # charged item by item, since their number is unknown
            return [charge_value(item, 10) for item in found]
        if isinstance(found, Markup):
            return charge_value(str(found))
        return charge_value(found) if rate else found

    return filtered


_PASSED = {_PassArg.eval_context: "eval_ctx", _PassArg.environment: "environment"}


def _check_attribute(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    place = _ATTRIBUTES.get(name, len(args))
    named = kwargs.get("attribute", args[place] if place < len(args) else None)
    if isinstance(named, str) and named.count(".") + named.count(",") >= MAX_PARTS:
        raise ValueError(f"`attribute` has more than {MAX_PARTS} parts")


# Guards: what a filter would write is charged first, since one call can write without bound.


def _guard_join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> None:
    if hasattr(value, "__len__"):
        charge(len(str(d)) * len(value))


def _guard_replace(context: Context, value: Any, old: Any, new: Any, count: Any = None) -> None:
    text, old, new = str(value), str(old), str(new)
    places = text.count(old) if count is None or int(count) < 0 else min(text.count(old), int(count))
    charge(places * len(new))


def _guard_sought(context: Context, value: Any, *marks: Any) -> None:
    """Python searches a text, and strips characters, in time that grows with both lengths."""
    for mark in marks:
        if isinstance(mark, str) and len(mark) > MAX_MARK:
            raise ValueError(f"a mark of {len(mark)} characters; the limit is {MAX_MARK}")
        charge(len(str(value)) * len(str(mark)) // 32)


def _guard_trim(context: Context, value: Any, chars: Any = None) -> None:
    if chars is not None:
        _guard_sought(context, value, chars)


def _guard_center(context: Context, value: Any, width: Any = 80) -> None:
    if not 0 <= int(width) <= 10_000:
        raise ValueError(f"a width of {width}")


def _guard_wordwrap(
    context: Context,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> None:
    if not 1 <= int(width) <= 10_000:
        raise ValueError(f"a width of {width}")
    text = str(value)
    longest = max(map(len, text.split()), default=0)  # a long word is copied for each line that it is cut into
    charge(longest * longest // (32 * int(width)) + len(text) // int(width) * len(str(wrapstring or "")))


def _guard_unique(context: Context, value: Any, case_sensitive: Any = False, attribute: Any = None) -> None:
    if isinstance(value, list | tuple) and not all(isinstance(item, str) for item in value):
        charge(len(value) ** 2 // 20)  # numbers can be chosen so that all have one hash


def _guard_indent(context: Context, value: Any, width: Any = 4, first: Any = False, blank: Any = False) -> None:
    charge((len(width) if isinstance(width, str) else abs(int(width))) * (len(str(value).splitlines()) + 2))


def _guard_parts(context: Context, value: Any, number: Any, fill_with: Any = None) -> None:
    if not 0 < int(number) <= 1_000_000:
        raise ValueError(f"{number} parts")
    charge(10 * int(number))


def _guard_round(context: Context, value: Any, precision: Any = 0, method: Any = "common") -> None:
    if not -300 <= int(precision) <= 300:
        raise ValueError(f"a precision of {precision} digits")


def _guard_sum(context: Context, value: Any, attribute: Any = None, start: Any = 0) -> None:
    items = [start] if attribute is not None else [start, *(value if isinstance(value, list | tuple | dict) else [])]
    if not all(isinstance(item, int | float) for item in items):
        raise TypeError("`sum` adds numbers only")


def _guard_map(context: Context, value: Any, *args: Any, **kwargs: Any) -> None:
    """The name of a filter is text here, and must be one that a template could write itself."""
    if args and not (isinstance(args[0], str) and args[0].isidentifier()):
        raise ValueError(f"`map`: no filter `{str(args[0])[:40]}`")


def _guard_tojson(context: Context, value: Any, indent: Any = None) -> None:
    if indent is not None and not 0 <= int(indent) <= 16:
        raise ValueError(f"an indent of {indent}")


_GUARDS: dict[str, Act] = {
    "join": _guard_join,
    "replace": _guard_replace,
    "indent": _guard_indent,
    "batch": _guard_parts,
    "slice": _guard_parts,
    "round": _guard_round,
    "sum": _guard_sum,
    "map": _guard_map,
    "center": _guard_center,
    "trim": _guard_trim,
    "unique": _guard_unique,
    "wordwrap": _guard_wordwrap,
    "tojson": _guard_tojson,
}


def _format(value: Any, *args: Any) -> str:
    """printf-style, as Jinja's `format`, with widths and precisions of at most three digits."""
    text = _text(value)
    for width in re.findall(r"%[^a-zA-Z%]*c?", text):
        if width.endswith("c"):
            raise ValueError("`%c`: write the character")
        if "*" in width or re.search(r"\d{4}", width):
            raise ValueError(f"the width in `{width[:20]}`: at most three digits, and no `*`")
        charge(2000)
    return text % args


def _split(value: Any, mark: Any = None) -> list[str]:
    """The parts of a text between marks; without a mark its words."""
    text = _text(value)
    charge(10 * (text.count(mark) if mark else len(text) // 2))
    return text.split(mark)


def _strip(value: Any) -> str:
    """A text without white space at its ends."""
    return _text(value).strip()


def _text(value: Any) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is undefined
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is not text")
    return value


def charged_operator(operator_: str, left: Any, right: Any) -> Any:
    """The value of `left operator right`: numbers with numbers, `+` of texts or of lists, `text * number`.

    Raises:
        TypeError: for anything else.
        BudgetError: if the result would be too large.
    """
    for side in (left, right):
        if isinstance(side, Undefined):
            str(side)  # raises, naming what is undefined
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if numbers:
        charge_number(left)
        charge_number(right)
        if operator_ == "**" and isinstance(left, int) and right > 0 and left.bit_length() * right > MAX_BITS:
            raise BudgetError(f"the template makes an integer of more than {MAX_BITS} bits")
    elif operator_ == "*" and isinstance(left, str | list) and isinstance(right, int):
        charge(max(right, 0) * (len(left) if isinstance(left, str) else 10 * len(left)))
    elif operator_ == "+" and type(left) is type(right) and isinstance(left, str | list | tuple):
        charge_value(left)
        charge_value(right)
    elif operator_ == "%" and isinstance(left, str):
        raise TypeError("`%` on a text: use the filter `format`")
    else:
        names = f"{type(left).__name__} {operator_} {type(right).__name__}"
        raise TypeError(f"unsupported: {names}; texts are joined by `~`")
    found = _OPERATORS[operator_](left, right)
    charge_number(found)
    return found if numbers else charge_value(found)


_OPERATORS: dict[str, Act] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
