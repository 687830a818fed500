"""Every block of docs/tutorial.md with real engines, in a clone."""

from __future__ import annotations

import json
import time

import pytest
from integration.clone import Clone
from studies.tutorial import TUTORIAL, Reader, steps

pytestmark = pytest.mark.integration

MINUTES = 15
"""What the tutorial promises on two cores that do nothing else, without `make engines`."""


def test_the_tutorial_ends_with_a_table(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(clone.path, clone.environment() | {"PYTHONPATH": str(clone.path)})
    started = time.monotonic()
    for step in steps(TUTORIAL.read_text(encoding="utf-8")):
        reader.follow(step)
    minutes = (time.monotonic() - started) / 60
    cells = json.loads((clone.path / "results" / "cells.json").read_text(encoding="utf-8"))["cells"]
    assert len(cells) == 3 * 3 and {cell["problems"] for cell in cells} == {40}
    with capsys.disabled():
        print(f"\nthe tutorial took {minutes:.1f} min (promised: {MINUTES})\n{reader.printed['its results table']}")
    assert minutes < 2 * MINUTES, "far longer than promised, even beside other work"
