"""Shared by the unit tests: the study that the tests of several stages run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from its.study.study import Study, load_study


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any) -> Study:
    """The quickstart with 8 problems on each side and a model in a folder."""
    model_in_folder()
    edit(("  draws: #", "  draws: 200"))
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_study(project)
