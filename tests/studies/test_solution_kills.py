"""`its solution` killed and doubled: real stage, session, store and worker over a stand-in for the vLLM library."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from studies.killing import set_sizes, start_stage, stored_keys

from its.rows import read_rows
from its.store import Store
from its.study.study import load_study
from its.types import Solution

pytestmark = pytest.mark.integration

PROBLEMS, ATTEMPTS, WINDOW, KILLS = 200, 3, 32, 12
FRESH = "strategies:\n  fresh:\n    query: prompts/query_plain.j2\n    solutions: regenerate\n"
WRITER = f"writer:\n  solutions: {{sampling: {{temperature: 0.8, top_p: 1, max_tokens: 64}}, attempts: {ATTEMPTS}}}\n"


@pytest.fixture
def ready(project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any) -> Path:
    """A study whose next stage is `solution`; a third of the responses are wrong, each seed has its own text."""
    model_in_folder()
    edit(
        ("strategies:\n", FRESH),
        ("writer:\n", WRITER),
        ("  train: [none, random]", "  train: [fresh]"),
        ("  test: [none, random]", "  test: [none]"),
    )
    set_sizes(project, PROBLEMS)
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")
    run_stage("persona")
    problems = load_study(project).problems("arithmetic")
    engines.tell(answers={item.text: item.reference for item in problems}, varied=True, seconds=0.004)
    return project


def _asked(engines: Any) -> Counter[tuple[str, int]]:
    return Counter((item["prompt"], item["seed"]) for item in engines.asked())


def _checked(project: Path) -> list[Solution]:
    """The rows, which must be those of a run without a kill: each attempt follows from its seed alone."""
    study = load_study(project)
    rows = list(read_rows(study.solutions_path("arithmetic", "fresh"), Solution))
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in study.problems("arithmetic")]
    for row in rows:
        assert row.verdicts in (
            *(["incorrect"] * wrong + ["correct"] for wrong in range(ATTEMPTS)),
            ["incorrect"] * ATTEMPTS,
        )
        assert len(row.rejected_keys) + bool(row.text) == len(row.verdicts)
    assert {len(row.verdicts) for row in rows} == {1, 2, 3} and not all(row.text for row in rows)
    return rows


def test_kills_lose_nothing_that_was_stored_and_change_no_row(ready: Path, engines: Any) -> None:
    home, chance = load_study(ready).home, random.Random(7)
    stored, lost_most = set[bytes](), 0
    for _ in range(KILLS):
        began, before = sum(_asked(engines).values()), len(stored)
        process = start_stage("solution", ready)
        time.sleep(chance.uniform(0.7, 2.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = stored_keys(home)
        assert stored <= now
        in_flight = (sum(_asked(engines).values()) - began) - (len(now) - before)
        assert 0 <= in_flight <= WINDOW
        lost_most, stored = max(lost_most, in_flight), now
        assert not list((ready / "data" / "solutions").glob("*/*.jsonl.*"))  # no half-written file
    process = start_stage("solution", ready)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    rows = _checked(ready)
    keys = {key for row in rows for key in [row.request_key, *row.rejected_keys] if key}
    assert len(keys) == sum(len(row.verdicts) for row in rows)
    with Store(home / "store.sqlite") as store:
        assert len(store.contains(list(keys))) == len(keys) and store.damaged == 0
    asked = _asked(engines)
    assert len(asked) == len(keys) and sum(asked.values()) - len(keys) <= KILLS * lost_most
    before_again = (ready / "data" / "solutions" / "summary.json").read_bytes()
    process = start_stage("solution", ready)
    process.communicate(timeout=180)
    assert (ready / "data" / "solutions" / "summary.json").read_bytes() == before_again
    assert _asked(engines) == asked


def test_two_processes_at_once_ask_each_request_once(ready: Path, engines: Any, tmp_path: Path) -> None:
    shutil.copytree(ready, tmp_path / "other", symlinks=True)
    processes = [start_stage("solution", ready), start_stage("solution", tmp_path / "other")]
    said = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert set(_asked(engines).values()) == {1}
    assert _checked(ready) == _checked(tmp_path / "other")
    costs = [
        json.loads((path / "results" / "cost" / "solution.json").read_text()) for path in (ready, tmp_path / "other")
    ]
    assert sum(cost[0]["generated"] for cost in costs) == sum(_asked(engines).values())
