"""Writes the columns into docs/python.md, from `its/frames`: `python tests/python_reference.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from its.frames.columns import Column
from its.frames.result_columns import BY_K, CELLS, COMPARISONS, VOTES
from its.frames.row_columns import COMPARED, LOG, PERSONAS, PROBLEMS, RESPONSES

PATH = Path(__file__).parents[1] / "docs" / "python.md"
START = "<!-- columns: `python tests/python_reference.py` writes what follows -->\n"
FRAMES: dict[str, Sequence[Column]] = {
    "cells": (*CELLS, *BY_K),
    "comparisons": COMPARISONS,
    "votes": VOTES,
    "responses": RESPONSES,
    "personas": PERSONAS,
    "problems": PROBLEMS,
    "read_log": LOG,
    "compare": COMPARED,
}


def text(page: str) -> str:
    """The page with the columns of every frame behind START."""
    head, found, _ = page.partition(START)
    assert found, f"{PATH} has no line {START!r}"
    return head + START + "".join(f"\n### {name}\n\n{_table(columns)}" for name, columns in FRAMES.items())


def _table(columns: Sequence[Column]) -> str:
    lines = ["| column | type | dtype | meaning | missing |", "|---|---|---|---|---|"]
    for item in columns:
        # Links of docs/results.md lead to headings of that page.
        cells = (f"`{item.name}`", item.kind, f"`{item.dtype}`", item.meaning, (item.missing or "").rstrip("."))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(PATH.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PATH}")
