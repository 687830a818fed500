"""Regenerated solutions by a real model on vLLM: SmolLM2-135M solves few of its problems, and only those are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.clone import TRAIN, Clone, lines, read

from its.grading.grade import Grader, Item
from its.thinking import SOLUTION_MARKS

pytestmark = pytest.mark.integration

ATTEMPTS = 6
CHANGES = (
    ("strategies:\n", "strategies:\n  fresh:\n    query: prompts/query_plain.j2\n    solutions: regenerate\n"),
    (
        "writer:\n",
        "writer:\n  solutions:\n    sampling: {temperature: 0.8, top_p: 0.95, max_tokens: 128}\n"
        f"    attempts: {ATTEMPTS}\n",
    ),
    ("  train: [none, random]", "  train: [none, fresh]"),
    ("  test: [none, random]", "  test: [none]"),
    ("      split: train\n      steps: [2, 4]", "      split: train\n      steps: [2, 2]"),
)


@pytest.fixture(scope="module")
def fresh(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    path: Path = tmp_path_factory.mktemp("fresh") / "study"
    clone.run("git", "clone", "-q", str(clone.path), str(path))
    params = path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    for old, new in CHANGES:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    params.write_text(text, encoding="utf-8")
    made = Clone(path, clone.home)
    made.output.append(made.run("dvc", "repro", "query"))
    return made


def test_what_is_kept_is_correct_and_what_is_lost_is_left_out(fresh: Clone) -> None:
    data = fresh.path / "data"
    rows = lines(data / "solutions" / "arithmetic" / "fresh.jsonl")
    problems = {row["problem_id"]: row for row in lines(data / "problems" / "arithmetic.jsonl")}
    kept = [row for row in rows if row["text"]]
    assert [row["problem_id"] for row in rows] == list(problems) and 0 < len(kept) < len(rows)
    with Grader() as grader:
        for row in kept:
            reference = problems[row["problem_id"]]["reference"]
            item = Item(row["problem_id"], 0, row["text"], reference, "math", SOLUTION_MARKS)
            assert grader.grade_one(item).verdict == "correct"
    assert all(len(row["verdicts"]) == ATTEMPTS for row in rows if not row["text"])
    trained = lines(data / "queries" / "train" / "arithmetic" / "fresh.jsonl")
    assert [(row["problem_id"], row["solution"]) for row in trained] == [
        (row["problem_id"], row["text"]) for row in kept
    ]
    assert len(lines(data / "queries" / "train" / "arithmetic" / "none.jsonl")) == len(problems) <= TRAIN
    (account,) = read(data / "solutions" / "summary.json")["solutions"]
    assert (account["kept"], account["lost"]) == (len(kept), len(rows) - len(kept))
    print(account)


def test_a_second_run_asks_nothing(fresh: Clone) -> None:
    before, stored = (
        (fresh.path / "data" / "solutions" / "arithmetic" / "fresh.jsonl").read_bytes(),
        fresh.stored(),
    )
    text = fresh.run("dvc", "repro", "-f", "-s", "solution")
    assert "starting vLLM" not in text and fresh.stored() == stored
    assert (fresh.path / "data" / "solutions" / "arithmetic" / "fresh.jsonl").read_bytes() == before
