"""How a help page is wrapped: between words, never within one or within `code`.

click 8.5 wraps at hyphens too, and cuts what is longer than a line: `its recipe use` ends one line and begins the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click
from click.formatting import measure_table

NARROWEST = 10
"""Characters of the column of texts, however wide the names beside it are."""
_SPACE: Final = "\N{NO-BREAK SPACE}"


class HelpPage(click.HelpFormatter):
    """Writes the texts and tables of a page."""

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        lines = wrapped(text, self.width - self.current_indent)
        self.write("".join(f"{indent}{line}".rstrip() + "\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows = list(rows)
        column = min(max(measure_table(rows)[:1], default=0), col_max) + col_spacing
        margin = " " * (self.current_indent + column)
        for first, second in rows:
            head = f"{'':{self.current_indent}}{first}"
            lines = wrapped(second, max(self.width - column - 2, NARROWEST))
            if lines and len(first) <= column - col_spacing:
                head = f"{head:{len(margin)}}{lines.pop(0)}"
            self.write("".join(f"{line}\n" for line in (head, *(f"{margin}{line}" for line in lines))))


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text; one may be longer than the width if a word is.

    Paragraphs are separated by empty lines. One that begins with a line `\\b` keeps its lines, as in click.
    """
    out: list[str] = []
    for paragraph in text.split("\n\n") if text else ():
        out += [*([""] if out else []), *_lines(paragraph.splitlines(), width)]
    return out


def _lines(lines: list[str], width: int) -> list[str]:
    from textwrap import TextWrapper

    if lines and lines[0].strip() == "\b":
        return lines[1:]
    parts = " ".join(lines).split("`")
    for at in range(1, len(parts) - 1, 2):  # code; a mark without a partner opens none
        if len(parts[at]) + 2 <= width:  # what is longer than a line is broken as text is
            parts[at] = parts[at].replace(" ", _SPACE)
    wrapper = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_SPACE, " ") for line in wrapper.wrap("`".join(parts))]
