"""What a scalar of YAML means: as YAML 1.2 and DVC read it; a fault if other readers disagree."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver

from its.shown import shown

CORE = "tag:yaml.org,2002:"
SHOWN = 80
"""Characters of a value that an error quotes."""
MAX_DIGITS = 40
"""Digits of an integer; 64 bits take 20. Python reads at most 4,300, and cannot print all that it reads."""
KINDS = {"null": "null", "bool": "a truth value", "int": "an integer", "float": "a number"}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class ScalarError(Exception):
    """A scalar that a recipe must not contain."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def quoted(text: str) -> str:
    """The beginning of a text as an error quotes it."""
    return f"`{shown(text[:SHOWN])}{'...' if len(text) > SHOWN else ''}`"


def tag_error(tag: str) -> ScalarError:
    """The error for a tag beyond plain YAML's."""
    shown = quoted(tag.replace(CORE, "!!"))
    return ScalarError(f"the tag {shown} is not read: a recipe is plain YAML", "remove it")


def scalar_kind(text: str, tag: str | None, plain: bool) -> str:
    """`str`, `null`, `bool`, `int`, `float`, or another name of YAML 1.1 (`timestamp`, `merge`).

    Raises:
        ScalarError: if a tag is unknown or does not fit the text.
    """
    if tag in ("!", f"{CORE}str"):
        return "str"
    if tag is None:
        return _plain_kind(text) if plain else "str"
    wanted = tag.removeprefix(CORE)
    if wanted not in KINDS:
        raise tag_error(tag)
    kind = _plain_kind(text)
    if kind != wanted and (kind, wanted) != ("int", "float"):
        raise ScalarError(f"{quoted(f'!!{wanted} {text}')} is not {KINDS[wanted]}", "remove the tag")
    return wanted


def scalar_value(text: str, kind: str) -> Any:
    """The value of a text of that kind.

    Raises:
        ScalarError: if YAML readers disagree on it, or it has too many digits.
    """
    if kind in ("str", "merge"):
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) > MAX_DIGITS:
        raise ScalarError(f"{quoted(text)} is an integer of {len(text)} digits", f"at most {MAX_DIGITS} are read")
    if kind == "int" and _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    raise ScalarError(
        f"{quoted(text)} is read in more than one way: a date, an octal number, or digits with `_`",
        f'quote it if it is text: `"{shown(text[:SHOWN])}"`; write a number in plain digits',
    )


@lru_cache(maxsize=1)
def _resolver() -> VersionedResolver:
    return VersionedResolver()


def _plain_kind(text: str) -> str:
    return str(_resolver().resolve(ScalarNode, text, (True, False))).removeprefix(CORE)
