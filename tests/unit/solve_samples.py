"""A small study over the fake engines, of which `its solve` and `its serve` answer problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from its.study.study import Study, load_study

Its = Callable[..., tuple[int, str, str]]
BASE, TRAINED = "smollm2_135m-base", "smollm2_135m-arithmetic-random-1"
NEW = "Ann has 7 pens and gives 2 away. How many are left?"


def solvable(project: Path, edit: Callable[..., None], engines: Any, *edits: tuple[str, str]) -> Study:
    """No data yet; sets of 3 problems, 3 sampled responses that differ, and a system turn.

    Args:
        edits: of params.yaml beside these, as `edit` takes them.
    """
    edit(
        ("  n: #\n  temperature: #\n  top_p: #", "  n: 3\n  temperature: 0.6\n  top_p: 0.9"),
        ("\nprompt:\n", "\nprompt:\n  models: {smollm2_135m: {system: Answer with a number.}}\n"),
        *edits,
    )
    path = project / "params.yaml"
    lines = ["      size: 3" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    engines.tell(personas={"": [" sailor in the rain."]}, varied=True)
    return load_study(project)
