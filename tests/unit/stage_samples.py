"""The study of the tests of several stages: 8 problems on each side, fake engines, a model in a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from running import run_stage

from its.results import read_cost
from its.study.study import Study

Edit = Callable[..., None]
CHECKPOINTS = ["smollm2_135m-base", "smollm2_135m-arithmetic-none-1", "smollm2_135m-arithmetic-random-1"]
MARK = "potter who likes the rain"


def prepare_sets() -> None:
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")


def train_all() -> None:
    for strategy in ("none", "random"):
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")


def script_answers(study: Study, engines: Any, **more: Any) -> None:
    """Right answers from the checkpoint trained with personas, where it is asked with one; wrong ones elsewhere."""
    answers = {problem.text: problem.reference for problem in study.problems("arithmetic_test")}
    engines.tell(answers=answers, right="arithmetic-random", persona=MARK, **more)


def run_through(study: Study, engines: Any) -> None:
    prepare_sets()
    run_prepared(study, engines)
    run_stage("measure")


def run_prepared(study: Study, engines: Any) -> None:
    """From personas to verdicts."""
    script_answers(study, engines)
    run_stage("persona")
    run_stage("query")
    train_all()
    run_stage("generate")
    run_stage("grade")


def responses_of(study: Study) -> dict[str, tuple[int | None, ...]]:
    """Responses of each checkpoint: all, generated in this run, from the store."""
    rows = read_cost(study.results("cost", "generate.json"))
    return {row.what: (row.responses, row.generated, row.from_store) for row in rows if row.counts is None}
