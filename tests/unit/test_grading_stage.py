"""The stage's extras over stored responses: a new grader's changes, the judge's disputes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from running import run_stage

from its.cli.grade import regrade as command
from its.commands.regrade import regrade
from its.errors import MissingError, RunError
from its.grading.changes import Changes
from its.grading.judge import Opinions, judge_opinion
from its.rows import read_rows, write_rows
from its.study.study import Study, load_study
from its.types import Problem, Response, Verdict


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None]) -> Study:
    """The quickstart with four problems and two responses to each in every cell, right and wrong in turn."""
    model_in_folder()
    opened = load_study(project)
    for benchmark in opened.recipe.design.benchmarks:
        problems = [
            Problem(problem_id=f"p{n}", text=f"Give the number {n}.", reference=str(n), source="s") for n in range(4)
        ]
        write_rows(opened.problems_path(benchmark), problems)
        for checkpoint in opened.checkpoints():
            for test in opened.recipe.design.test:
                write_rows(opened.responses_path(checkpoint, benchmark, test), _responses(benchmark, test))
    return opened


def _responses(benchmark: str, test: str) -> Iterator[Response]:
    for n in range(4):
        for sample in range(2):
            yield Response(
                query_id=f"{benchmark}/p{n}/{test}",
                sample_index=sample,
                text=f"\\boxed{{{n + sample}}}" if n else "I do not say",
                finish_reason="stop",
                prompt_tokens=1,
                completion_tokens=1,
                seed=1,
                request_key="k",
            )


def _count(study: Study) -> int:
    design = study.recipe.design
    return len(study.checkpoints()) * len(design.benchmarks) * len(design.test)


def _age(study: Study) -> int:
    """Make the verdicts those of an older grader that took every second sample for right; how many that are."""
    aged = 0
    for path in (study.project / "data" / "verdicts").rglob("*.jsonl"):
        rows = [row.model_copy(update={"grader_version": "0"}) for row in read_rows(path, Verdict)]
        for index, row in enumerate(rows):
            if row.verdict == "incorrect":
                rows[index] = row.model_copy(update={"verdict": "correct"})
                aged += 1
        write_rows(path, rows)
    return aged


def test_the_stage_counts_and_streams(study: Study) -> None:
    said = run_stage("grade")
    cells = _count(study)
    assert (
        said
        == f"data/verdicts: {8 * cells} verdicts ({3 * cells} correct, {3 * cells} incorrect, {2 * cells} no_answer)"
    )
    assert not (study.project / "data" / "verdicts" / "judge.json").exists()
    before = {path: path.read_bytes() for path in (study.project / "data" / "verdicts").rglob("*.jsonl")}
    run_stage("grade")
    assert {path: path.read_bytes() for path in before} == before


def test_a_recipe_switches_the_fallback_off(study: Study, edit: Callable[..., None]) -> None:
    for path in (study.project / "data" / "responses").rglob("*.jsonl"):
        said = ("so it comes to 1", "The answer is 1.", "Give the number 1.")
        write_rows(
            path, [row.model_copy(update={"text": said[n % 3]}) for n, row in enumerate(read_rows(path, Response))]
        )
    run_stage("grade")
    cell = next((study.project / "data" / "verdicts").rglob("*.jsonl"))
    rules = [row.rule for row in read_rows(cell, Verdict)]
    # A copy of the problem is not an answer.
    assert rules[:3] == ["last_number", "final_answer", None] and rules[3] == "last_number"
    edit(("  fallback: true", "  fallback: false"))
    run_stage("grade")
    assert {row.rule for row in read_rows(cell, Verdict)} == {"final_answer", None}


def test_a_dry_run_tells_and_writes_nothing(study: Study) -> None:
    with pytest.raises(MissingError, match="no such folder"):
        regrade(load_study(), dry_run=True)
    run_stage("grade")
    assert regrade(load_study(), dry_run=True).changed == 0
    aged = _age(study)
    before = {path: path.read_bytes() for path in (study.project / "data" / "verdicts").rglob("*.jsonl")}
    changes = regrade(load_study(), dry_run=True)
    assert changes.kinds == {("correct", "incorrect"): aged}
    assert {path: path.read_bytes() for path in before} == before
    said = CliRunner().invoke(command, ["--dry-run"]).output
    assert f"{aged} of {8 * _count(study)} verdicts would change" in said
    assert f"  correct -> incorrect: {aged}\n" in said
    assert "smollm2_135m-base/arithmetic_test/none: correct 6 -> 3\n" in said
    assert "arithmetic_test/p1/none [1]: '2' correct -> '2' incorrect (box)\n" in said
    found = json.loads(CliRunner().invoke(command, ["--dry-run", "--json"]).stdout)
    assert (found["changed"], found["former_versions"], len(found["changes"])) == (aged, ["0"], aged)


def test_regrading_is_done_by_dvc(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage("grade")
    aged = _age(study)
    calls: list[list[str]] = []

    def dvc(arguments: list[str], cwd: Path, **rest: Any) -> SimpleNamespace:
        calls.append(arguments)
        assert cwd == study.project
        if len(calls) == 1:
            run_stage("grade")
        return SimpleNamespace(returncode=len(calls) - 1)

    monkeypatch.setattr(subprocess, "run", dvc)
    assert regrade(load_study(), dry_run=False).changed == aged
    assert calls == [[sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "grade"]]
    with pytest.raises(RunError, match="failed"):
        regrade(load_study(), dry_run=False)


def test_changes_are_counted_by_response() -> None:
    def row(query: str, verdict: Any, answer: str | None, version: str) -> Verdict:
        return Verdict(query_id=query, sample_index=0, verdict=verdict, answer=answer, grader_version=version)

    changes = Changes()
    former = [row("a", "correct", "1", "1"), row("b", "no_answer", None, "1"), row("c", "incorrect", "2", "1")]
    new = [row("b", "correct", "3", "2"), row("c", "incorrect", "4", "2"), row("d", "correct", "5", "2")]
    changes.add("cell", former, new)
    assert changes.kinds == {("no_answer", "correct"): 1}
    assert (changes.answers, changes.without_former, changes.verdicts) == (1, 1, 3)
    assert (changes.former_correct, changes.new_correct) == ({"cell": 1}, {"cell": 2})
    assert (changes.versions, changes.new_version) == ({"1"}, "2")


@pytest.mark.parametrize(
    ("text", "opinion"),
    [
        ("Correct.", "correct"),
        ("Both are 5, so the answer is right: yes", "correct"),
        ("It looks correct at first.\n**incorrect**", "incorrect"),
        ("That is not correct", "incorrect"),
        ("No", "incorrect"),
        ("I do not know", "unclear"),
        ("", "unclear"),
        ("incorrectly stated", "unclear"),
    ],
)
def test_the_judges_last_word_counts(text: str, opinion: str) -> None:
    assert judge_opinion(text) == opinion


def test_an_opinion_on_a_grader_error_is_listed() -> None:
    opinions = Opinions()
    row = Verdict(query_id="q", sample_index=3, answer="x", verdict="grader_error", reason="slow", grader_version="2")
    opinions.add([(row, "correct", "yes"), (row, "unclear", "hm")], cell="c")
    assert opinions.counts == {"agree": 0, "disagree": 1, "unclear": 1}
    assert opinions.disagreements[0]["cell"] == "c" and opinions.disagreements[0]["sample_index"] == 3


def test_the_judge_is_asked_once_an_answer_and_changes_no_verdict(
    study: Study, engines: Any, edit: Callable[..., None]
) -> None:
    run_stage("grade")
    before = {path: path.read_bytes() for path in (study.project / "data" / "verdicts").rglob("*.jsonl")}
    assert (study.project / "recipes" / "prompts" / "judge.j2").is_file()  # the one that ships
    section = (
        "grading:\n  judge:\n    model: smollm2_135m\n    template: prompts/judge.j2\n"
        "    sampling: {temperature: 0, top_p: 1, max_tokens: 8}\n"
    )
    edit(("grading:\n", section))
    # Agrees on 1; calls a right 2 wrong; says nothing of the rest. Matched by the prompt's text.
    asked = "Reference answer: {}\n\nGiven answer: {}\n".format
    engines.tell(answers={asked("1", "1"): "The same: correct", asked("2", "2"): "incorrect"})
    said = run_stage("judge")
    cells = _count(study)
    assert f"judge smollm2_135m: 6 answers, {cells} of {6 * cells} verdicts disputed, {4 * cells} unclear" in said
    assert len(engines.asked()) == 6
    found = json.loads((study.project / "data" / "judge.json").read_text(encoding="utf-8"))
    assert found["counts"] == {"agree": cells, "disagree": cells, "unclear": 4 * cells}
    assert {(row["reference"], row["answer"], row["verdict"], row["opinion"]) for row in found["disagreements"]} == {
        ("2", "2", "correct", "incorrect")
    }
    assert {path: path.read_bytes() for path in before} == before
    run_stage("judge")
    assert len(engines.asked()) == 6  # the store knows them
