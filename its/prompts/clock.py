"""What makes a chat template write a different prompt tomorrow: the clock and chance, which it may not use.

transformers gives every chat template `strftime_now`, and Jinja gives it `lipsum` and the filter `random`. A prompt
with today's date differs between the day of training and the day of the test. So a template may use the date only if
the recipe pins it (`models.NAME.date`); that date is then written into the template itself, for both sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import TypeVar

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.errors import Fault, FaultsError

_Node = TypeVar("_Node", bound=nodes.Node)

CLOCK = "strftime_now"
_CHANCE = "lipsum"
_ASKS_ONLY = ("defined", "undefined", "none", "callable")


class _Generation(Extension):
    """The tag `generation` of transformers; only its content matters here."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], cache_size=0
    )


def clock_faults(source: str, name: str, pinned: str | None) -> list[Fault]:
    """Where a chat template would write another prompt on another day, and a pinned date that it does not use.

    A template that cannot be parsed has other faults (`its.prompts.chat`), and none here.

    Args:
        source: the template.
        name: its name in faults, e.g. its path.
        pinned: the recipe's date, `YYYY-MM-DD`; None: the template may not use one.
    """
    tree = _parsed(source)
    if tree is None:
        return []
    faults = [
        Fault(f"{name}:{line}", f"the chat template depends on chance: {what}", _ALIKE) for line, what in _chances(tree)
    ]
    calls = list(_calls(tree))
    if pinned is None:
        faults += [Fault(f"{name}:{line}", _TODAY, _PIN) for line, _ in calls]
    else:
        hint = "write the format of the date in the call: `strftime_now('%d %b %Y')`"
        unknown = f"`{CLOCK}` is used without a literal format, so the date cannot be pinned"
        faults += [Fault(f"{name}:{line}", unknown, hint) for line, form in calls if form is None]
        if not calls and not _is_pinned(tree):
            hint = "remove `date`: the prompt does not contain today's date"
            faults.append(Fault(f"{name}:1", f"`date` is {pinned}, and the chat template does not use a date", hint))
    return faults


def pinned_template(source: str, name: str, pinned: str | None) -> str:
    """The template with the date written into it; unchanged if it does not use one.

    Raises:
        FaultsError: with what `clock_faults` finds.
    """
    faults = clock_faults(source, name, pinned)
    if faults:
        raise FaultsError(faults)
    tree = _parsed(source)
    forms = sorted({form for _, form in _calls(tree) if form is not None}) if tree is not None else []
    if pinned is None or not forms:
        return source
    day = date.fromisoformat(pinned)
    table = ", ".join(f"{json.dumps(form)}: {json.dumps(day.strftime(form))}" for form in forms)
    # The line end is eaten (`trim_blocks`), and the template's own first line begins a line as before.
    return f"{{%- macro {CLOCK}(form) -%}}{{{{- {{{table}}}[form] -}}}}{{%- endmacro %}}\n{source}"


_TODAY = f"the chat template writes today's date (`{CLOCK}`): training and test would see different prompts"
_PIN = 'pin it for both: `date: "2025-01-31"` beside the `source` of the model in the recipe'
_ALIKE = "a prompt must be the same on every day"


@lru_cache(maxsize=32)
def _parsed(source: str) -> nodes.Template | None:
    try:
        return _environment().parse(source)
    except (TemplateSyntaxError, RecursionError, ValueError):
        return None


def _is_pinned(tree: nodes.Template) -> bool:
    """Whether it is a template from `pinned_template`."""
    first = tree.body[0] if tree.body else None
    return isinstance(first, nodes.Macro) and first.name == CLOCK


def _calls(tree: nodes.Template) -> Iterator[tuple[int, str | None]]:
    """(line, format of the date) of every use of the clock; the format is None if it is not a literal."""
    if _is_pinned(tree):
        return
    calls = {id(call.node): call for call in _all(tree, nodes.Call)}
    harmless = {id(test.node) for test in _all(tree, nodes.Test) if test.name in _ASKS_ONLY}
    for node in _all(tree, nodes.Name):
        if node.name != CLOCK or node.ctx != "load" or id(node) in harmless:
            continue
        call = calls.get(id(node))
        form = call.args[0] if call is not None and len(call.args) == 1 and not call.kwargs else None
        literal = isinstance(form, nodes.Const) and isinstance(form.value, str)
        yield node.lineno, form.value if isinstance(form, nodes.Const) and literal else None


def _chances(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    for name in _all(tree, nodes.Name):
        if name.name == _CHANCE and name.ctx == "load":
            yield name.lineno, f"`{_CHANCE}`"
    for choice in _all(tree, nodes.Filter):
        if choice.name == "random":
            yield choice.lineno, "the filter `random`"


def _all(tree: nodes.Template, kind: type[_Node]) -> list[_Node]:
    """Every node of a kind, without recursion: `a + a + ...` is as deep as it is long."""
    out: list[_Node] = []
    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, kind):
            out.append(node)
        waiting.extend(node.iter_child_nodes())
    return sorted(out, key=lambda node: node.lineno or 0)
