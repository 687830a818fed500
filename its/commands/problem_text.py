"""A problem in every cell as text for a terminal: one cell below the other, or side by side where they fit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from its.shown import shown

COLUMN = 40
"""Characters of the narrowest column."""
BETWEEN = " | "
_WORDS = re.compile(r"\S+\s*|\s+")


def problem_lines(found: Mapping[str, Any], width: int | None = None) -> Iterator[str]:
    """The lines of what `show_problem` found.

    Args:
        width: characters of a line. The cells are side by side, in rows of as many as fit, if that is more than one;
            None: one below the other, with lines as they are.
    """
    yield f"{found['benchmark']}/{found['problem']}, reference {found['reference']}"
    yield from _block("problem", found["text"])
    cells = [_sections(row) for row in found["cells"]]
    fitting = 1 if width is None else min(len(cells), (width + len(BETWEEN)) // (COLUMN + len(BETWEEN)))
    if width is None or fitting < 2:
        for sections in cells:
            yield ""
            for lines in sections.values():
                yield from lines
    else:
        for start in range(0, len(cells), fitting):
            yield ""
            yield from _beside(cells[start : start + fitting], (width + len(BETWEEN)) // fitting - len(BETWEEN))
    if found["missing_cells"]:
        yield ""
        yield f"cells without graded responses yet: {', '.join(found['missing_cells'])}"


def _sections(row: Mapping[str, Any]) -> dict[str, list[str]]:
    """The lines of a cell by what they are, so that the same things of two cells begin at one height."""
    out = {"cell": [f"== {row['cell']}"]}
    out["persona"] = [line for text in row["personas"] for line in _block("persona", text)]
    out["query"] = [line for turn in row["query"] or [] for line in _block(f"query, {turn['role']}", turn["content"])]
    for response in row["responses"]:
        sample = response["sample"]
        cut = {"length": ", truncated", "error": ", ended with an error"}.get(response["finish_reason"], "")
        out[f"sample {sample}"] = [
            f"-- sample {sample}: {_verdict(response)}, {response['completion_tokens']} tokens{cut}"
        ]
        out[f"thinking {sample}"] = [*_block("thinking", response["thinking"])] if response["thinking"] else []
        out[f"response {sample}"] = [*_block("response", response["text"])]
    if not row["responses"]:
        out["none"] = ["-- no response to this problem"]
    return out


def _beside(cells: list[dict[str, list[str]]], width: int) -> Iterator[str]:
    """Cells side by side, each `width` characters wide."""
    for sections in cells:
        checkpoint, _, rest = sections["cell"][0].partition("/")
        sections["cell"] = [checkpoint, f"   {rest}"]
    for key in dict.fromkeys(key for sections in cells for key in sections):
        columns = [
            [part for line in sections.get(key, []) for part in wrapped(shown(line.expandtabs(4)), width)]
            for sections in cells
        ]
        for parts in zip_longest(*columns, fillvalue=""):
            yield BETWEEN.join(part + " " * (width - columns_of(part)) for part in parts).rstrip()


def wrapped(line: str, width: int) -> Iterator[str]:
    """A line in parts of at most `width` columns, broken between words where a word fits; at least one part.

    Continued parts keep the indent of the line. A character that takes two columns is never cut.
    """
    indent = line[: len(line) - len(line.lstrip(" "))][: width // 2]
    part, taken = "", 0
    for word in _WORDS.findall(line):
        size = columns_of(word.rstrip())
        if taken + size <= width:
            part, taken = part + word, taken + columns_of(word)
            continue
        if part.strip():
            yield part.rstrip()
            part, taken = indent, len(indent)
        for letter in word:
            if taken + columns_of(letter) > width:
                yield part.rstrip()
                part, taken = indent, len(indent)
            part, taken = part + letter, taken + columns_of(letter)
    if part.strip() or not line.strip():
        yield part.rstrip()


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _verdict(response: Mapping[str, Any]) -> str:
    if response["verdict"] is None:
        return "not graded"
    name = str(response["verdict"]).replace("_", " ")
    if response["answer"] is None:
        return name
    return f"{name}, answer {response['answer']}" + (f" (rule {response['rule']})" if response["rule"] else "")


def _block(name: str, text: str) -> Iterator[str]:
    yield f"{name}:"
    yield from (f"  {line}" for line in text.splitlines() or ["(empty)"])
