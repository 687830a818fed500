"""A small study over the fake engines as texts: another seed, prompt, strategy, sample or number is a difference.

Three problems on each side, two samples a query, a persona that is written twice. tests/golden/study/ has every request
in its order, every query, the tables and the text of the report.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.test_help import COMMANDS, example_words

from its.stages.report import collect
from its.study.study import Study, load_study
from its.types import Message, Query

Its = Callable[..., tuple[int, str, str]]
Golden = Callable[[str, str], None]


@pytest.fixture
def study(
    project: Path,
    model_in_folder: Callable[[], None],
    edit: Callable[..., None],
    engines: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Study:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")  # the page names the day on which it was built
    model_in_folder()
    edit(("  draws: #", "  draws: 200\n  maximum: true"), ("  test: [none, random]", "  test: [none, similar, random]"))
    edit(("  n: #\n  temperature: #\n  top_p: #", "  n: 2\n  temperature: 0.6\n  top_p: 0.9"))
    path = project / "params.yaml"
    lines = ["      size: 3" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    study = load_study(project)
    for name in ("arithmetic", "arithmetic_test"):
        run_stage("prepare", name)
    first, second, third = study.problems("arithmetic_test")
    personas = {first.text: " sailor in the rain.", third.text: " cook in the sun.", "pottery": " potter in the rain."}
    engines.tell(
        answers={problem.text: problem.reference for problem in (first, second)},
        right="arithmetic-random",
        persona="rain",
        personas={second.text: [" man with 3 hats.", " man in the rain."]} | {k: [v] for k, v in personas.items()},
        varied=True,
    )
    run_stage("persona")
    run_stage("query")
    for strategy in study.recipe.design.train:
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
    for stage in ("generate", "grade", "judge", "measure", "report"):
        run_stage(stage)
    return study


ELSEWHERE = {
    "its init": "outside the clone: tests/unit/test_init.py",
    "its code": "outside the clone: tests/unit/test_init.py",
    "its data diff": "of commits: tests/studies/test_data_versions.py",
    "its run": "under DVC: tests/studies/test_run.py",
    "its serve": "runs until a signal arrives: tests/unit/test_server.py",
    "its sweep": "under DVC: tests/unit/test_sweep.py",
    "its training rm": "in a study's own home: tests/unit/test_stored_trainings.py",
}


def test_a_small_study(study: Study, engines: Any, golden: Golden, its: Its) -> None:
    queries = list(_queries(study))
    golden("study/queries.txt", "".join(_chat(query.query_id, query.messages, query.solution) for query in queries))
    golden("study/requests.txt", "".join(_requests(engines.asked(), queries)))
    code, table, _ = its("results", "table")
    assert code == 0
    golden("study/table.txt", table)
    golden("study/table.csv", its("results", "table", "--format", "csv")[1])
    golden("study/report.txt", _page_text(study.results("report.html").read_text(encoding="utf-8")))


def test_more_cases_than_problems_are_each_problem_once_with_every_cell(
    study: Study, edit: Callable[..., None]
) -> None:
    edit(("report:\n  examples: #", "report:\n  examples: 100"))
    found = collect(load_study(study.project)).explorer
    assert found is not None and found.generated is not None, "the responses are in the store"
    shown = [(case.problem_id, cell.checkpoint, cell.test) for case in found.cases for cell in case.cells]
    assert len(found.cases) == 3 and len(shown) == len(set(shown)) == 27


def test_the_example_of_every_help_page_runs(study: Study, its: Its) -> None:
    """In the order of the work, on this study as the recipe `quickstart`."""
    project = study.project
    shutil.copy(project / "params.yaml", project / "recipes" / "quickstart.yaml")
    row = {"reference": "5", "response": "It is \\boxed{5}."}
    (project / "answers.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (project / "train.json").write_text(json.dumps({"data": [row]}), encoding="utf-8")
    for path, context in COMMANDS.items():
        if path not in ELSEWHERE:
            words = example_words(context.command)
            code, _, err = its(*words)
            assert code == 0, f"its {' '.join(words)}: {err}"


def _queries(study: Study) -> Iterator[Query]:
    for path in sorted((study.project / "data" / "queries").rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Query.model_validate_json(line)


def _chat(name: str, messages: Iterable[Message], solution: str | None = None) -> str:
    parts: list[tuple[str, str]] = [(turn.role, turn.content) for turn in messages]
    parts += [] if solution is None else [("solution", solution)]
    return f"=== {name}\n" + "".join(f"[{role}]\n{text}\n" for role, text in parts)


def _requests(asked: list[dict[str, Any]], queries: list[Query]) -> Iterator[str]:
    """A line for each request; its chat below where it is not a query's."""
    names = {json.dumps([turn.model_dump() for turn in query.messages]): query.query_id for query in queries}
    for request in asked:
        name = names.get(json.dumps(request["messages"]))
        sampling = " ".join(f"{key}={value}" for key, value in request["sampling"].items())
        model = Path(request["model"]).name
        if name is None:
            yield _chat(f"{model} {sampling}", [Message.model_validate(turn) for turn in request["messages"]])
        else:
            yield f"=== {model} {name} {sampling}\n"


def _page_text(page: str) -> str:
    """What a reader sees above the parameters, a line for each block, without the day and the seconds of this run."""
    page = re.sub(r"(?s)<(style|script|svg|head)\b.*?</\1>", "", page)
    page = re.sub(r"</?(?:p|div|tr|li|h\d|table|section|pre|details|summary|dt|dd|br)\b[^>]*>", "\n", page)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    text = "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)
    text = re.sub(r"\brun \d{4}-\d\d-\d\d( to \d{4}-\d\d-\d\d)?", "run DAY", text.rpartition("\nWhat was run\n")[0])
    return re.sub(r"(?: \d+ min)? [\d.]+ s$", " # s", text, flags=re.MULTILINE) + "\n"
