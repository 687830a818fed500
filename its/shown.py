"""Make text from outside (a server, a model, a file's name) safe for a terminal or a log."""

from __future__ import annotations

import re
from collections.abc import Iterable

NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters other than tab and line ends, and lone surrogates, which UTF-8 cannot encode: not allowed in
prompts and recipes."""
LONGEST = 4000
"""Characters of the longest line that is printed: far above any message of ours, and a screen at most."""

# What a terminal acts on instead of showing: C0 and C1 controls (escape sequences begin with one), marks that change
# the direction of text, line and paragraph separators, invisible characters, tags, lone surrogates.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_JOINERS = re.compile("[\u034f\u200c\u200d\ufe00-\ufe0f]")
_IN_LINES = re.compile(_CONTROLS.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def unshowable(text: str) -> str | None:
    """The first character of a text that `NO_TEXT` does not allow, to be named in a message; None without one."""
    found = NO_TEXT.search(text)
    return f"the character U+{ord(found[0]):04X}" if found else None


def shown(text: str, *, lines: bool = False) -> str:
    """Escape every character that a terminal would act on (`\\x1b`, `\\u202e`).

    Nothing else is changed: letters of any script, marks and emoji stay, and so do joiners within words and emoji.

    Args:
        lines: whether line ends and tabs are kept; otherwise they are escaped too, and the result is one line.
    """
    return (_IN_LINES if lines else _CONTROLS).sub(_escape, text)


def without_controls(text: str) -> str:
    """Drop the characters that `shown` escapes, and the joiners that it keeps: what remains is what a reader sees."""
    return _JOINERS.sub("", _CONTROLS.sub("", text))


def shown_json(text: str) -> str:
    """Escape the same characters in a JSON document with JSON's own escapes, which keeps its meaning."""
    return _IN_LINES.sub(_escape_json, text)


def bounded(text: str, length: int = LONGEST) -> str:
    """Cut a text that is longer than `length`, and say how much is missing."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text) - length} more characters)"


def quoted(value: object, length: int = 60) -> str:
    """A value from a file or a database for use in a message: on one line, cut, without control characters."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return shown(text if len(text) <= length else text[:length] + "...")


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _escape_json(found: re.Match[str]) -> str:
    """As a surrogate pair where that is needed; a lone surrogate is escaped by itself."""
    units = found.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def listed(names: Iterable[str]) -> str:
    """`a, b and c`; at least one."""
    *first, last = names
    return " and ".join(filter(None, [", ".join(first), last]))


def counted(count: int, one: str, several: str | None = None) -> str:
    """`1 row`, `2 rows`, with the words that follow where they change too: `1 row is`, `2 rows are`.

    Args:
        one: for a count of 1.
        several: for any other. Absent: `one` with an `s`.
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"
