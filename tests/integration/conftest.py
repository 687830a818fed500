"""A clone of the project with its own home, which borrows the engine environments and the converted model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from integration.clone import NONE, ROOT, SAVED, TEST, TRAIN, Clone, Facts
from running import copy_project
from xdist.scheduler import LoadFileScheduling

from its.environments import find_environment
from its.home import its_home

STUDY = {"test_study.py", "test_engines.py"}
"""Files that look at one study, made in minutes: side by side, one worker has both, and begins with them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in STUDY)


class _FilesOfAStudyTogether(LoadFileScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "study" if Path(file).name in STUDY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return _FilesOfAStudyTogether(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The project as committed or edited, without what git ignores, as a fresh git repository."""
    real = its_home(ROOT)
    for name in ("vllm", "axolotl"):
        find_environment(name, ROOT, real)  # raises with the hint `its env sync` where one is missing
    path = tmp_path_factory.mktemp("clone")
    copy_project(path)
    home = tmp_path_factory.mktemp("home")
    for folder in ("envs", "models", "wheels"):
        (real / folder).mkdir(parents=True, exist_ok=True)
        (home / folder).symlink_to(real / folder)
    made = Clone(path, home)
    made.run("git", "init", "-q")
    _shrink(path / "params.yaml")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "start")
    return made


@pytest.fixture(scope="session")
def study(clone: Clone) -> Facts:
    """Run the study, killing the whole process group during persona, train and generate."""
    left = []
    clone.kill_when(lambda: clone.stored() >= 5, "dvc", "repro", "persona")
    personas = clone.stored()
    left += clone.survivors()
    clone.run("dvc", "repro", "query")
    clone.kill_when(lambda: clone.steps() > SAVED + 1, "dvc", "repro", f"train@{NONE}")
    steps = clone.steps()
    left += clone.survivors()
    clone.run("dvc", "repro", f"train@{NONE}")
    taken = clone.steps()
    clone.run("dvc", "repro", "train")
    before = clone.stored()
    clone.kill_when(lambda: clone.stored() >= before + 5, "dvc", "repro", "generate")
    responses = clone.stored() - before
    left += clone.survivors()
    return Facts(personas, responses, steps, taken, left, clone.run("dvc", "repro"))


def _shrink(params: Path) -> None:
    """The shipped quickstart, small enough for a test: few rows, saved on the way."""
    shutil.copy2(ROOT / "recipes" / "quickstart.yaml", params)
    text = params.read_text(encoding="utf-8")
    for old, new in (
        ("size: 400", f"size: {TRAIN}"),
        ("size: 200", f"size: {TEST}"),
        ("max_tokens: 256", "max_tokens: 64"),
        ("global_batch_size: 8", "global_batch_size: 4"),
        ("micro_batch_size: 8", "micro_batch_size: 4"),
        ("learning_rate: 1.0e-4", "learning_rate: 3.0e-4"),
        ("sequence_length: 256", f"sequence_length: 256\n  save_every_steps: {SAVED}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    params.write_text(text, encoding="utf-8")
