"""Run a stage in this process as dvc.yaml does: it sees what it declares there, and nothing else."""

from __future__ import annotations

import importlib
from typing import Any

from its.stages.graph import stage_study


def run_stage(*words: str) -> str:
    """Run `its WORDS`, which must be a stage; return the line that it prints."""
    stage: Any = importlib.import_module(f"its.stages.{words[0]}")
    with stage_study(*words) as study:
        said: str = stage.run(study, *(int(word) if word.isdigit() else word for word in words[1:]))
    return said
