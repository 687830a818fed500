"""As `test_status`, where solutions are regenerated: the stage `solution`, and `query` behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sampled import spread
from studies import test_status as status
from studies.test_status import Change, Ran, after, changed, code, param

assert changed  # a fixture

FRESH = """strategies:
  fresh:
    fixed: {texts: [Think first.]}
    query: prompts/query_persona_first.j2
    solutions: regenerate
"""
WRITER = "writer:\n  solutions: {attempts: 2, sampling: {temperature: 0.8, top_p: 1, max_tokens: 64}}\n"
ALL_FIT = """
_kept = SolutionFit.reasons
SolutionFit.reasons = lambda self, several: [None for _ in _kept(self, several)]
"""
STAGE = "solution"
CHANGES = [
    # code
    code("strategies/solutions.py", after("solution_text", "out + ' It is.'"), STAGE),
    code("strategies/solutions.py", after("solution_summary", "out | {'kept': 77}"), STAGE),
    code("study/solution_fit.py", ALL_FIT, STAGE),
    code("study/solutions.py", "return found.text + '!'", "query", old="return found.text"),
    code("stages/solution.py", after("_account", "out | {'more': 1}"), STAGE),
    code("grading/grade.py", '\nGRADER_VERSION = "9"\n', STAGE),
    code("grading/equal.py", after("compare_answer", "True"), STAGE),
    code("seeds.py", after("derive_seed", "out // 2"), STAGE),
    code("engines/protocol.py", status.SAMPLING, STAGE),
    code("engines/workers/its_worker.py", status.LOUDER, STAGE, old="(message)"),
    code("store/keys.py", after("vllm_identity", "out | {'more': 1}"), STAGE),
    code("strategies/query.py", after("query_messages", "[*out, *out]"), STAGE, "query"),
    code("files.py", status.FILES, STAGE),
    # templates and data
    Change("recipes/prompts/query_persona_first.j2", "\nThink.", stages=(STAGE, "query")),
    Change("data/problems/arithmetic.jsonl", '"text":"Bob has', '"text":"Ann has', (STAGE, "query")),
    Change("data/problems/arithmetic.jsonl", '"reference":"77', '"reference":"', (STAGE,)),
    Change("data/personas/arithmetic/fresh.jsonl", '"text":"Ponder', '"text":"Think', (STAGE, "query")),
    Change("data/solutions/arithmetic/fresh.jsonl", '"text":"Old', '"text":"New', ("query",)),
    # parameters
    param("attempts: 2, sampling", "attempts: 1, sampling", STAGE),
    param("temperature: 0.8, top_p: 1, max_tokens: 64", "temperature: 0.7, top_p: 1, max_tokens: 64", STAGE),
    param("top_p: 1, max_tokens: 64}}", "top_p: 1, max_tokens: 63}}", STAGE),
    param("fallback: true", "fallback: false", STAGE),
    param('user: "{{ query }}"', 'user: "Now {{ query }}"', STAGE, "query"),
    param("seed: 17", "seed: 18", STAGE),
    param("dtype: bfloat16", "dtype: float16", STAGE),
    param("texts: [Think first.]", "texts: [Think twice.]", "persona"),
]
NOTHING = [
    param("learning_rate: 1.0e-4", "learning_rate: 2.0e-4"),
    param("  n: 2", "  n: 1"),
    param("draws: 200", "draws: 300"),
    param("examples: 6", "examples: 5"),
    *(
        Change(f"its/{file}", status.COMMENT)
        for file in ("recipe/solution_checks.py", "recipe/sampling_checks.py", "stages/query.py", "metrics/cells.py")
    ),
]


class Fresh(Ran):
    """One correct at once, one at the second attempt, one unfit before that, one found by the fallback, one lost."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.digests[STAGE] = self.digest(STAGE)
        for out in self.outs[STAGE]:
            self._copy(self.project / out, self.kept / STAGE / out)

    def reproduce(self, *targets: str) -> None:
        if not targets:  # the benchmark is prepared, and its answers are told
            super().reproduce("prepare")
            self._tell()
        super().reproduce(*targets)

    def _tell(self) -> None:
        path = self.project / "data" / "problems" / "arithmetic.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        right = [f"New: the final answer is \\boxed{{{row['reference']}}}." for row in rows]
        wrong = "New: the final answer is \\boxed{-7}."
        told = [[right[0]], [wrong, right[1]], [f"{right[2]}<|im_end|>", right[2]], [f"New, {rows[3]['reference']}"]]
        told += [[wrong]] * (len(rows) - 4)
        script = json.loads(self.script.read_text(encoding="utf-8"))
        self.engines.tell(**script, solutions={row["text"]: own for row, own in zip(rows, told, strict=True)})

    def _declare(self) -> None:
        super()._declare()
        path = self.project / "params.yaml"
        text = path.read_text(encoding="utf-8")
        for old, new in (
            ("strategies:\n", FRESH),
            ("writer:\n", WRITER),
            ("  train: [none, random]", "  train: [none, random, fresh]"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def stage(self, stage: str) -> None:
        if stage != STAGE:
            super().stage(stage)
            return
        for name in ("store.sqlite", "store.sqlite-wal", "store.sqlite-shm"):
            (self.home / name).unlink(missing_ok=True)
        self.forks.run(STAGE)

    def _outs(self) -> dict[str, list[str]]:
        return super()._outs() | {STAGE: ["data/solutions", "results/cost/solution.json"]}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    ran = Fresh(tmp_path_factory.mktemp("graph"))
    yield ran
    ran.forks.close()


def test_the_stage_makes_the_same_bytes_again(ran: Ran) -> None:
    rows = [
        json.loads(line)
        for line in (ran.project / "data" / "solutions" / "arithmetic" / "fresh.jsonl").read_text("utf-8").splitlines()
    ]
    verdicts = [["correct"], ["incorrect", "correct"], ["unfit", "correct"], ["correct"], ["incorrect", "incorrect"]]
    assert [row["verdicts"] for row in rows] == verdicts
    assert ran.status() == {}
    ran.stage(STAGE)
    assert ran.digest(STAGE) == ran.digests[STAGE]
    ran.restore(STAGE)
    assert ran.status() == {}


@pytest.mark.parametrize("change", spread(CHANGES, 3), ids=str)
def test_a_change_of_rows_is_named(changed: Ran, change: Change) -> None:
    status.test_a_change_of_rows_is_named(changed, change)


def test_changes_of_no_row_ask_no_teacher(ran: Ran) -> None:
    assert STAGE not in status.status_after(ran, NOTHING)


def test_every_change_was_put_back(ran: Ran) -> None:
    assert ran.status() == {}
    assert {stage: ran.digest(stage) for stage in ran.digests} == ran.digests
