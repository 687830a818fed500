"""What a chat template reads besides the messages: the clock, chance, and the values of `template_kwargs`.

transformers gives every chat template `strftime_now`, and Jinja gives it `lipsum` and the filter `random`. A prompt
with today's date differs between the day of training and the day of the test. So a template may use the date only if
the recipe pins it (`models.NAME.date`). The date and the values are written into the template itself: trainer, proof,
engine and saved checkpoint read one text, and no other argument.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, TypeVar

from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.errors import Fault, FaultsError, did_you_mean, nearest

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
        if not calls and _is_pinned(tree):
            other = "remove `date`, or use a template without a date in it"
            if not is_pinned_template(source, pinned, {}):
                faults.append(Fault(f"{name}:1", f"`date` is {pinned}, and another date is written into it", other))
        elif not calls:
            hint = "remove `date`: the prompt does not contain today's date"
            faults.append(Fault(f"{name}:1", f"`date` is {pinned}, and the chat template does not use a date", hint))
    return faults


def value_faults(source: str, name: str, values: Mapping[str, Any]) -> list[Fault]:
    """The values of `template_kwargs` that a chat template never reads.

    Args:
        source: the template; one that cannot be parsed has other faults, and none here.
        name: its name in faults, e.g. its path.
    """
    tree = _parsed(source) if values else None
    if tree is None:
        return []
    try:
        read = sorted(meta.find_undeclared_variables(tree))
    except (TemplateSyntaxError, RecursionError, ValueError):
        return []
    known = [item for item in read if item not in PROVIDED]
    listed = f"it reads {', '.join(f'`{item}`' for item in known)}" if known else "it reads none: remove them"
    return [
        Fault(
            f"{name}:1",
            f"`template_kwargs` has `{key}`, and the chat template never reads it",
            did_you_mean(nearest(key, known), listed),
        )
        for key in values
        if key not in read
    ]


def pinned_template(source: str, name: str, pinned: str | None, values: Mapping[str, Any] | None = None) -> str:
    """The template with the date and the values of `template_kwargs` written into it; unchanged without them.

    The values are set in its first lines, as literals: none of them can be code.

    Raises:
        FaultsError: with what `clock_faults` and `value_faults` find.
    """
    faults = clock_faults(source, name, pinned) + value_faults(source, name, values or {})
    if faults:
        raise FaultsError(faults)
    return _clock_line(source, pinned) + _settings(values or {}) + source


def with_values(source: str, values: Mapping[str, Any]) -> str:
    """The template with values in its first lines; unchanged if it cannot be parsed, so that faults have its lines."""
    return source if _parsed(source) is None else _settings(values) + source


def is_pinned_template(text: str, pinned: str | None, values: Mapping[str, Any]) -> bool:
    """Whether a text is what `pinned_template` makes of some template with this date and these values.

    Line ends may differ: savers and Jinja change them.
    """
    text, given = _with_line_feeds(text), _settings(values)
    begin = 0 if pinned is None else text.find("\n") + 1
    source = text[begin + len(given) :]
    try:
        return pinned_template(source, "", pinned, values) == text
    except FaultsError:
        return False


def _clock_line(source: str, pinned: str | None) -> str:
    """The line that gives a template its date; empty if it asks for none."""
    tree = None if pinned is None else _parsed(source)
    forms = sorted({form for _, form in _calls(tree) if form is not None}) if tree is not None else []
    if pinned is None or not forms:
        return ""
    day = date.fromisoformat(pinned)
    table = ", ".join(f"{_quoted(form)}: {_quoted(day.strftime(form))}" for form in forms)
    # The line end is eaten (`trim_blocks`), and the template's own first line begins a line as before.
    return f"{{%- macro {CLOCK}(form) -%}}{{{{- {{{table}}}[form] -}}}}{{%- endmacro %}}\n"


def _settings(values: Mapping[str, Any]) -> str:
    """The lines that set values, ordered by name."""
    return "".join(f"{{%- set {key} = {_literal(value)} %}}\n" for key, value in sorted(values.items()))


def own_names(source: str) -> frozenset[str]:
    """The names that a template sets itself, somewhere; none if it cannot be parsed."""
    tree = _parsed(source)
    return frozenset(name.name for name in _all(tree, nodes.Name) if name.ctx != "load") if tree else frozenset()


def reads_parts(source: str) -> bool:
    """Whether a template loops over the content of a turn: then vLLM may pass it as a list of parts.

    vLLM 0.32 looks for such loops; where this finds one and vLLM none, it passes the text.
    """
    tree = _parsed(source)
    if tree is None:
        return False
    passed = {"content"}
    macros = {macro.name: [argument.name for argument in macro.args] for macro in _all(tree, nodes.Macro)}
    for call in _all(tree, nodes.Call):
        names = macros.get(call.node.name, []) if isinstance(call.node, nodes.Name) else []
        passed |= {name for name, value in zip(names, call.args, strict=False) if _is_content(value)}
        passed |= {item.key for item in call.kwargs if item.key in names and _is_content(item.value)}
    return any(
        _is_content(loop.iter) or (isinstance(loop.iter, nodes.Name) and loop.iter.name in passed)
        for loop in _all(tree, nodes.For)
    )


def _is_content(value: nodes.Node | None) -> bool:
    """Whether an expression is the content of a turn, or a part of it."""
    if isinstance(value, nodes.Filter) or (isinstance(value, nodes.Getitem) and isinstance(value.arg, nodes.Slice)):
        return _is_content(value.node)
    if isinstance(value, nodes.Getitem):
        return isinstance(value.arg, nodes.Const) and value.arg.value == "content"
    return isinstance(value, nodes.Getattr) and value.attr == "content"


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _literal(value: Any) -> str:
    """A value as Jinja reads it back, whatever it contains."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):  # without a brace no tag can begin or end, for any reader
        return _quoted(value).replace("{", "\\x7b").replace("}", "\\x7d")
    return repr(value)


def _quoted(text: str) -> str:
    """A text as a literal; JSON would write characters beyond the first plane as two, which Jinja does not join."""
    parts = (
        f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else json.dumps(character)[1:-1] for character in text
    )
    return f'"{"".join(parts)}"'


PROVIDED = frozenset(
    (
        *("messages", "add_generation_prompt", "continue_final_message", "tools", "documents", "chat_template"),
        *("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"),
        *(CLOCK, "raise_exception"),
    )
)
"""Names that transformers gives every chat template."""
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
    first = next((node for node in tree.body if not _is_setting(node)), None)
    return isinstance(first, nodes.Macro) and first.name == CLOCK


def _is_setting(node: nodes.Node) -> bool:
    value = node.node if isinstance(node, nodes.Assign) else None
    return isinstance(value.node if isinstance(value, nodes.Neg) else value, nodes.Const)


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
