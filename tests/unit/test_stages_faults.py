"""What stops a stage, and what it says: broken rows, an engine that dies, prompts that training did not see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_tokenizer import CHATML
from running import run_stage
from unit.stage_samples import prepare_sets, run_through, script_answers, train_all

from its.errors import DataError, FaultsError, ItsError, RunError
from its.rows import read_rows
from its.store import Store
from its.store.stats import store_stats
from its.study.study import Study
from its.types import Persona


def test_an_engine_that_dies_keeps_what_it_answered(study: Study, engines: Any) -> None:
    prepare_sets()
    path = study.problems_path("arithmetic_test")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[-1].replace('"text":"', '"text":"please die ')]), encoding="utf-8")
    _show_the_problem(study)
    with pytest.raises(RunError, match="the engine died") as caught:
        run_stage("persona")
    assert "log" in str(caught.value.hint)
    assert not (study.project / "data" / "personas").exists()
    path.write_text("".join(lines), encoding="utf-8")
    run_stage("persona")
    assert len(list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))) == 8


def test_a_refused_request_stops_the_stage(study: Study, engines: Any) -> None:
    prepare_sets()
    path = study.problems_path("arithmetic")
    path.write_text(path.read_text(encoding="utf-8").replace('"text":"', '"text":"please refuse ', 1), encoding="utf-8")
    with pytest.raises(RunError, match="refused request `arithmetic/train_00000/random`"):
        _show_the_problem(study)
        run_stage("persona")


def _show_the_problem(study: Study) -> None:
    """Under `random` the writer sees the domain alone; here the problem too."""
    path = study.project / "recipes" / "prompts" / "persona_random.j2"
    path.write_text("{{ domain }} {{ problem.text }}\n", encoding="utf-8")


def _spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


TRAIN = "problems/arithmetic"
CELL = "test/arithmetic_test/none.jsonl"
BASE = "smollm2_135m-base/arithmetic_test/none.jsonl"


@pytest.mark.parametrize(
    ("file", "old", "new", "stage", "error", "message"),
    [
        (f"{TRAIN}.jsonl", '"text":"', '"text":', "persona", FaultsError, r"arithmetic\.jsonl:1:\d+: broken JSON"),
        (f"{TRAIN}.jsonl", "train_00001", "train_00000", "persona", FaultsError, ":2: duplicate of line 1"),
        (f"{TRAIN}.jsonl", '"text"', '"txt"', "persona", FaultsError, ":1: `text`: field required"),
        (
            "personas/arithmetic/none.jsonl",
            "train_00001",
            "x",
            "query",
            DataError,
            "no persona row for .*`train_00001`",
        ),
        ("queries/train/arithmetic/none.jsonl", '"solution"', '"s"', "train", FaultsError, "`s`: extra inputs"),
        (f"queries/{CELL}", '"role":"user"', '"role":"usr"', "generate", FaultsError, "role"),
        (
            f"responses/{BASE}",
            "test_00000",
            "other",
            "grade",
            DataError,
            "`arithmetic_test/other/none` is not a query of `arithmetic_test` under test strategy `none`",
        ),
        (f"verdicts/{BASE}", '"incorrect"', '"wrong"', "measure", FaultsError, "`verdict`: input should be"),
    ],
    ids=["json", "duplicate", "field", "persona", "query", "role", "response", "verdict"],
)
def test_a_bad_row_stops_its_stage_and_is_named(
    study: Study,
    engines: Any,
    file: str,
    old: str,
    new: str,
    stage: str,
    error: type[ItsError],
    message: str,
) -> None:
    prepare_sets()
    steps = ["persona", "query", "train", "generate", "grade", "measure"]
    for step in steps[: steps.index(stage)]:
        train_all() if step == "train" else run_stage(step)
    _spoil(study.project / "data" / file, old, new)
    with pytest.raises(error, match=message):
        train_all() if stage == "train" else run_stage(stage)


def test_missing_verdicts_stop_the_measure(study: Study, engines: Any) -> None:
    run_through(study, engines)
    path = study.verdicts_path(study.checkpoints()[0], "arithmetic_test", "none")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="`test_00007` has 0 verdicts, n is 1"):
        run_stage("measure")


# What Qwen3's template writes where a request turns thinking off: the engine is sent ids that training never saw.
UNLIKE = CHATML.replace("assistant\\n", "assistant\\n<think>\\n\\n</think>\\n\\n")


def test_answers_to_prompts_that_training_did_not_see_are_refused(study: Study, engines: Any) -> None:
    prepare_sets()
    script_answers(study, engines, template=UNLIKE)
    run_stage("persona")
    run_stage("query")
    train_all()
    personas = len(engines.asked())
    with pytest.raises(RunError, match="training and test would see different prompts: ") as caught:
        run_stage("generate")
    assert "`smollm2_135m-base/arithmetic_test/test_0000" in caught.value.message
    assert not list((study.project / "data" / "responses").rglob("*.jsonl"))
    asked = len(engines.asked())
    assert personas < asked < personas + 48, "it goes on asking"
    with Store(study.home / "store.sqlite") as store:
        assert store_stats(store)["responses"] == personas, "a refused answer is kept"
    script_answers(study, engines)
    assert "(48 generated, 0 from the store); prompt ids equal to training: 3 of 3 checkpoints" in run_stage("generate")
    sessions = json.loads(study.sessions_path().read_text(encoding="utf-8"))
    assert {session["prompt_ids"] for session in sessions.values()} == {"compared"}


def test_stored_answers_to_other_prompts_are_refused_too(
    study: Study, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_sets()
    script_answers(study, engines, template=UNLIKE)
    run_stage("persona")
    run_stage("query")
    train_all()
    with monkeypatch.context() as patched:
        patched.setattr("its.parity.PromptCheck.check", lambda self, answers: None)  # as former versions did
        with pytest.raises(RunError, match=r"^8 responses are refused, since"):
            run_stage("generate")
    assert not list((study.project / "data" / "responses").rglob("*.jsonl"))
    with pytest.raises(RunError, match=r"^8 responses are refused, .*; and 5 more$"):
        run_stage("generate")
