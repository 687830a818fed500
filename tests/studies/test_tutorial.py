"""Every block of docs/tutorial.md, in order, in a copy of the project over the fake engines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.environments import FakeEngines
from fakes.tiny_tokenizer import TinyTokenizer
from running import copy_project, user_environment
from studies.tutorial import RECIPE, SETS_UP, TUTORIAL, Reader, Step, steps

STEPS = list(steps(TUTORIAL.read_text(encoding="utf-8")))
MODEL = """    source: {kind: folder, path: base}
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Somebody in a fresh clone whose engines are the fakes."""
    project, home = tmp_path / "study", tmp_path / "home"
    copy_project(project)
    script = tmp_path / "script.json"
    FakeEngines(project, home, script, tmp_path / "asked.jsonl").tell()
    (project / "base").mkdir()
    (project / "base" / "config.json").write_text("{}", encoding="utf-8")
    TinyTokenizer().save(project / "base")
    environment = user_environment(home) | {"ITS_FAKE_SCRIPT": str(script), "PYTHONPATH": str(project)}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@example.org"}
    reader = Reader(project, environment)
    reader.run("git init -q && git add -A && git commit -qm start")
    return reader


def _use_the_small_stand_in(reader: Reader) -> None:
    """Take the model from a folder, which needs no download; the tokenizer there makes an id of every byte."""
    path = reader.project / RECIPE
    text = path.read_text(encoding="utf-8")
    start, end = text.index("    source:\n      kind: wheel"), text.index("    dtype: float32")
    text = text[:start] + MODEL + text[end:]
    for name in ("  sequence_length: 256", "    context_length: 1024"):
        assert name in text
        text = text.replace(name, f"{name.partition(':')[0]}: 4096")
    path.write_text(text, encoding="utf-8")


def test_every_block_of_the_tutorial(reader: Reader) -> None:
    for step in STEPS:
        reader.follow(step)
        if step.text.startswith("its recipe new"):
            _use_the_small_stand_in(reader)
    project = reader.project
    found = json.loads((project / "results" / "cells.json").read_text(encoding="utf-8"))["cells"]
    assert len(found) == 3 * 3 and {cell["problems"] for cell in found} == {40}
    assert "shopper" in reader.printed["its results table"]
    assert (project / "results" / "report.html").is_file()
    left = reader.run("git status --porcelain --untracked-files=all").split("\n")
    assert [line for line in left if line.startswith("??") and "base/" not in line] == ["?? make_problems.py"]


def test_the_tutorial_has_all_its_steps() -> None:
    commands = [line for step in STEPS if step.language == "sh" for line in step.text.splitlines()]
    assert tuple(commands[:2]) == SETS_UP
    for command in ("its recipe new", "its strategy new", "its recipe check", "dvc repro", "its results table"):
        assert any(line.startswith(command) for line in commands), command
    assert sum(step.language == "yaml" for step in STEPS) >= 5


@pytest.mark.parametrize(
    "step",
    [
        Step(1, "yaml", "design: {}\n", "Some text.\n"),
        Step(1, "yaml", "model: {}\n", "Replace the section `model`:\n"),
        Step(1, "yaml", "train:\n  epoch: 4\n", "Change in the section `train`:\n"),
        Step(1, "sh", "its recipe chek shop\n", ""),
        Step(1, "jinja", "{{ problem.text }}\n", "Save it:\n"),
        Step(1, "rust", "fn main() {}\n", ""),
    ],
)
def test_a_step_that_a_reader_could_not_take_is_found(tmp_path: Path, step: Step) -> None:
    (tmp_path / "recipes").mkdir()
    shutil.copy2(TUTORIAL.parents[1] / "recipes" / "quickstart.yaml", tmp_path / RECIPE)
    with pytest.raises(AssertionError):
        Reader(tmp_path, user_environment(tmp_path)).follow(step)
