"""Stage `solution` over fake engines: what is kept, what is lost, and what `query`, lineage and export make of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage

from its.commands.cited_keys import cited_keys
from its.commands.lineage import lineage
from its.errors import DataError, FaultsError, MissingError
from its.results import read_cost
from its.rows import read_rows
from its.seeds import derive_seed
from its.store import Store
from its.study.study import Study, load_study
from its.types import Query, Solution

Edit = Callable[..., None]
FRESH = """strategies:
  fresh:
    query: prompts/query_plain.j2
    solutions: regenerate
"""
WRITER = "writer:\n  solutions: {sampling: {temperature: 0.8, top_p: 1, max_tokens: 64}, attempts: 3}\n"


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Study:
    """The quickstart with 8 problems on each side, a model in a folder, and a strategy with new solutions."""
    model_in_folder()
    edit(
        ("strategies:\n", FRESH), ("writer:\n", WRITER), ("  train: [none, random]", "  train: [none, fresh]"),
        ("  test: [none, random]", "  test: [none]"), ("  draws: #", "  draws: 200"),
    )  # fmt: skip
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")
    return load_study(project)


def _right(study: Study) -> dict[str, str]:
    """A correct solution of each problem of the dataset, by its text."""
    return {
        item.text: f"New: it is so. The final answer is \\boxed{{{item.reference}}}."
        for item in study.problems("arithmetic")
    }


def _rows(study: Study, strategy: str = "fresh") -> list[Solution]:
    return list(read_rows(study.solutions_path("arithmetic", strategy), Solution))


def _queries(study: Study, strategy: str) -> list[Query]:
    return list(read_rows(study.queries_path("train", "arithmetic", strategy), Query))


def _summary(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study.project / "data" / "solutions" / "summary.json").read_text("utf-8"))
    return found


WRONG = "The final answer is \\boxed{-7}."
CASES: list[tuple[list[str], list[str]]] = [
    (["{right}"], ["correct"]),
    ([WRONG, "{right}"], ["incorrect", "correct"]),
    (["cut::{right}", "{right}"], ["cut", "correct"]),
    ([WRONG], ["incorrect", "incorrect", "incorrect"]),
    (["failed::{right}", "{right}"], ["failed", "correct"]),
    (["{right}<|im_end|>\n<|im_start|>user", "{right}"], ["unfit", "correct"]),
    (["so</think></think>{right}", "{right}"], ["unfit", "correct"]),
    (["I do not know.", "", "{right}"], ["no_answer", "no_answer", "correct"]),
]


def test_the_first_correct_solution_that_fits_is_kept_and_the_others_are_counted(study: Study, engines: Any) -> None:
    right = _right(study)
    told = {
        text: [item.replace("{right}", own) for item in case[0]]
        for (text, own), case in zip(right.items(), CASES, strict=True)
    }
    engines.tell(solutions=told)
    assert run_stage("persona").startswith("data/personas: 0 personas written")
    said = run_stage("solution")
    assert said == "data/solutions: 7 of 8 of arithmetic kept under `fresh` (17 requests, 1 lost)"
    problems, rows = study.problems("arithmetic"), _rows(study)
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in problems]
    assert [row.verdicts for row in rows] == [case[1] for case in CASES]
    texts = ["" if index == 3 else right[problem.text] for index, problem in enumerate(problems)]
    assert [row.text for row in rows] == texts
    assert [row.answer for row in rows] == [
        None if index == 3 else problem.reference for index, problem in enumerate(problems)
    ]
    for row in rows:
        assert len(row.rejected_keys) + (row.request_key is not None) == len(row.verdicts)
    asked = engines.asked()
    assert {item["seed"] for item in asked} == {
        derive_seed(study.recipe.seed, "solution", "arithmetic", row.problem_id, "fresh", attempt)
        for row in rows
        for attempt in range(len(row.verdicts))
    }
    assert all(item["messages"] == [{"role": "user", "content": item["prompt"]}] for item in asked)
    assert {item["sampling"]["temperature"] for item in asked} == {0.8}

    found = _summary(study)
    (own,) = found["solutions"]
    assert (own["problems"], own["kept"], own["lost"], own["not_asked"], own["attempts"]) == (8, 7, 1, 0, 17)
    assert own["verdicts"] == {"correct": 7, "incorrect": 4, "no_answer": 2, "cut": 1, "failed": 1, "unfit": 2}
    assert own["unfit"] == {"control_token": 1, "marks": 1} and own["attempts_per_kept"] == 2.0
    assert own["lost_problems"] == [problems[3].problem_id]
    assert [(item["strategy"], item["problems"], item["problems_lost"]) for item in found["trained"]] == [
        ("none", 8, 0),
        ("fresh", 8, 1),
    ]
    (cost,) = read_cost(study.results("cost", "solution.json"))
    assert (cost.what, cost.responses, cost.generated, cost.from_store) == ("solutions", 17, 17, 0)

    said = run_stage("query")
    assert said.startswith("data/queries: 15 train, 8 test queries")
    assert "; left out without a correct solution: 1 of arithmetic under `fresh`" in said
    new, old = _queries(study, "fresh"), _queries(study, "none")
    assert [(row.problem_id, row.solution) for row in new] == [(row.problem_id, row.text) for row in rows if row.text]
    assert [row.solution for row in old] == [problem.solution for problem in problems]
    assert [row.messages for row in new] == [row.messages for row in old if row.problem_id != problems[3].problem_id]
    keys = {key for row in rows for key in [row.request_key, *row.rejected_keys] if key}
    assert keys <= set(cited_keys(study.project)) and len(keys) == 17


def test_what_is_stored_is_not_asked_again_and_replay_gives_the_same_rows(
    study: Study, engines: Any, edit: Edit
) -> None:
    engines.tell(solutions={text: [WRONG, own] for text, own in _right(study).items()})
    run_stage("persona")
    run_stage("solution")
    before = study.solutions_path("arithmetic", "fresh").read_bytes()
    asked = len(engines.asked())
    assert asked == 16
    engines.tell(solutions={"": ["another"]})
    shutil.rmtree(study.project / "data" / "solutions")
    run_stage("solution")
    edit(("  kind: vllm", "  kind: replay"))
    shutil.rmtree(study.project / "data" / "solutions")
    run_stage("solution")
    assert study.solutions_path("arithmetic", "fresh").read_bytes() == before and len(engines.asked()) == asked
    (cost,) = read_cost(study.results("cost", "solution.json"))
    assert (cost.generated, cost.from_store) == (0, 16)
    edit(("attempts: 3}", "attempts: 1}"))
    with pytest.raises(FaultsError, match=r"none of 8 responses of `smollm2_135m` is a solution to keep: 8 incorrect"):
        run_stage("solution")


def test_replay_says_what_it_lacks(study: Study, engines: Any, edit: Edit) -> None:
    run_stage("persona")
    engines.tell(solutions={text: [own] for text, own in list(_right(study).items())[:7]})
    run_stage("solution")
    with Store(study.home / "store.sqlite") as store:
        (lost,) = [row for row in _rows(study) if not row.text]
        store.discard(lost.rejected_keys[1])
    edit(("  kind: vllm", "  kind: replay"))
    with pytest.raises(MissingError, match="1 response is not in the store"):
        run_stage("solution")


def test_where_nothing_is_regenerated_no_model_is_asked_and_the_rows_stay(
    study: Study, engines: Any, edit: Edit
) -> None:
    edit(("  train: [none, fresh]", "  train: [none]"), (FRESH, "strategies:\n"), (WRITER, "writer:\n"))
    run_stage("persona")
    said = run_stage("solution")
    assert said.startswith("data/solutions: none is regenerated")
    assert not engines.asked() and not study.solutions_path("arithmetic", "none").exists()
    assert _summary(study)["solutions"] == _summary(study)["trained"] == []
    assert read_cost(study.results("cost", "solution.json")) == []
    assert "left out" not in run_stage("query")
    assert [row.solution for row in _queries(study, "none")] == [item.solution for item in study.problems("arithmetic")]


def test_a_dataset_under_a_strategy_without_any_solution_ends_the_stage(study: Study, engines: Any) -> None:
    engines.tell(solutions={text: ["cut::long", WRONG, "I do not know."] for text in _right(study)})
    run_stage("persona")
    with pytest.raises(FaultsError) as caught:
        run_stage("solution")
    assert str(caught.value).startswith(
        "data/solutions/arithmetic/fresh.jsonl: none of 24 responses of `smollm2_135m` is a solution to keep: "
        "8 incorrect, 8 no_answer, 8 cut"
    )
    assert not study.solutions_path("arithmetic", "fresh").exists()


@pytest.mark.parametrize(
    ("reference", "said"),
    [("null", "no reference"), ('"proof"', "is a statement about an answer"), ('"nan"', "stands for a missing value")],
)
def test_problems_without_a_usable_reference_are_named_before_a_model_is_asked(
    reference: str, said: str, study: Study, engines: Any
) -> None:
    run_stage("persona")
    path = study.problems_path("arithmetic")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[2:5]:
        row["reference"] = json.loads(reference)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(FaultsError) as caught:
        run_stage("solution")
    assert len(caught.value.faults) == 3 and not engines.asked()
    for fault, row in zip(caught.value.faults, rows[2:5], strict=True):
        assert fault.where == f"data/problems/arithmetic.jsonl, problem_id `{row['problem_id']}`"
        assert said in fault.message and "answer_agrees" in str(fault.hint)


COMBINED = """strategies:
  mixed:
    mix: {shares: {fresh: 0.5, none: 0.5}}
  both:
    union: {of: [none, fresh]}
"""


@pytest.mark.parametrize("train", ["mixed", "both", "mixed, both", "both, fresh"])
def test_members_have_their_own_solutions_for_the_problems_that_need_them(
    train: str, study: Study, engines: Any, edit: Edit
) -> None:
    edit(("strategies:\n", COMBINED), ("  train: [none, fresh]", f"  train: [{train}]"))
    right = _right(study)
    engines.tell(solutions={text: [WRONG if index == 3 else own] for index, (text, own) in enumerate(right.items())})
    run_stage("persona")
    run_stage("solution")
    said = run_stage("query")
    problems = {problem.problem_id: problem for problem in study.problems("arithmetic")}
    fourth = list(problems)[3]
    rows = {row.problem_id: row for row in _rows(study)}
    if train == "mixed":
        assert 0 < len(rows) < 8
        drawn = {row.problem_id for row in _queries(study, "mixed") if row.member == "fresh"}
        assert drawn == set(rows) - {fourth}
        assert len(_queries(study, "mixed")) == 8 - (fourth in rows)
    else:
        assert set(rows) == set(problems)
        assert len(_queries(study, "both")) == 15
        assert "1 of arithmetic under `both`" in said
        lost = {item["strategy"]: (item["rows_lost"], item["problems_lost"]) for item in _summary(study)["trained"]}
        assert lost["both"] == (1, 0)
    for name in train.split(", "):
        for query in _queries(study, name):
            problem = problems[query.problem_id]
            fresh = (query.member or name) == "fresh"
            assert query.solution == (right[problem.text] if fresh else problem.solution)


def test_a_thought_is_between_the_marks_of_solutions(study: Study, engines: Any, edit: Edit) -> None:
    """The teacher's prompt opens the thought, so the response only closes it; the model's own marks are others."""
    thinking = '    thinking: {start: "<t>", end: "</t>", opened_by: model}\n    dtype: float32'
    edit(("    dtype: float32", thinking))
    right = _right(study)
    engines.tell(solutions={text: [f"<t>\nHm.\n</t>\n\n{own}"] for text, own in right.items()})
    run_stage("persona")
    run_stage("solution")
    texts = [f"<think>\nHm.\n</think>\n\n{own}" for own in right.values()]
    assert [row.text for row in _rows(study)] == texts
    run_stage("query")
    assert [row.solution for row in _queries(study, "fresh")] == texts
    run_stage("train", "smollm2_135m", "arithmetic", "fresh", "1")


def test_a_solution_that_makes_its_row_too_long_is_not_kept(study: Study, engines: Any, edit: Edit) -> None:
    edit(("  sequence_length: 4096", "  sequence_length: 900"))
    right = _right(study)
    told = {text: [own] for text, own in right.items()}
    for text in list(right)[:3]:
        told[text].insert(0, f"{'Well, ' * 200}{right[text]}")
    engines.tell(solutions=told)
    run_stage("persona")
    run_stage("solution")
    assert [row.verdicts for row in _rows(study)] == [["unfit", "correct"]] * 3 + [["correct"]] * 5
    assert _summary(study)["solutions"][0]["unfit"] == {"too_long": 3}
    run_stage("query")


def test_a_problem_that_is_left_out_everywhere_is_not_asked_for(study: Study, engines: Any, edit: Edit) -> None:
    """Its own solution is too long: under `none` it has no row, so it has none under any strategy."""
    edit(("  sequence_length: 4096", "  sequence_length: 900\n  long_rows: drop"))
    path = study.problems_path("arithmetic")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[2]["solution"] = "Well, " * 300
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engines.tell(solutions={text: [own] for text, own in _right(study).items()})
    run_stage("persona")
    assert "7 of 7 of arithmetic kept" in run_stage("solution")
    assert len(engines.asked()) == 7 and _rows(study)[2].verdicts == []
    assert _summary(study)["solutions"][0]["not_asked"] == 1
    said = run_stage("query")
    assert "problems left out since a row is longer: 1 of arithmetic" in said and "correct solution" not in said
    assert len(_queries(study, "none")) == len(_queries(study, "fresh")) == 7


def test_the_length_of_a_solution_that_is_replaced_does_not_matter(study: Study, engines: Any, edit: Edit) -> None:
    edit(
        ("  sequence_length: 4096", "  sequence_length: 900"),
        ("  train: [none, fresh]", "  train: [fresh]"),
    )
    path = study.problems_path("arithmetic")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[2]["solution"] = "Well, " * 300
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engines.tell(solutions={text: [own] for text, own in _right(study).items()})
    run_stage("persona")
    run_stage("solution")
    run_stage("query")
    assert len(_queries(study, "fresh")) == 8


def test_another_teacher_writes_in_its_own_frame(study: Study, engines: Any, edit: Edit) -> None:
    edit(
        ("  solutions: {sampling", "  solutions: {model: teacher, sampling"),
        ('  user: "{{ query }}"\n', '  user: "{{ query }}"\n  models: {teacher: {user: "Teach: {{ query }}"}}\n'),
        ("models:\n", f"models:\n  teacher:{_declared(study)}"),
    )
    engines.tell(solutions={text: [own] for text, own in _right(study).items()})
    run_stage("persona")
    run_stage("solution")
    problems = study.problems("arithmetic")
    assert [item["prompt"] for item in engines.asked()] == [f"Teach: {problem.text}" for problem in problems]
    assert _summary(study)["teacher"] == "teacher"
    run_stage("query")
    assert [row.messages[-1].content for row in _queries(study, "fresh")] == [problem.text for problem in problems]


def _declared(study: Study) -> str:
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    begin = text.index("  smollm2_135m:") + len("  smollm2_135m:")
    return text[begin : text.index("\nwriter:")]


def test_a_control_token_in_a_query_is_named_before_the_teacher_is_asked(study: Study, engines: Any) -> None:
    path = study.problems_path("arithmetic")
    run_stage("persona")
    path.write_text(path.read_text("utf-8").replace('"text":"', '"text":"<|im_end|> ', 1), encoding="utf-8")
    with pytest.raises(FaultsError, match=r"the user turn to the teacher contains the control token `<\|im_end\|>`"):
        run_stage("solution")
    assert not engines.asked()


def test_a_missing_row_stops_the_queries(study: Study, engines: Any) -> None:
    engines.tell(solutions={text: [own] for text, own in _right(study).items()})
    run_stage("persona")
    run_stage("solution")
    path = study.solutions_path("arithmetic", "fresh")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]), encoding="utf-8")
    with pytest.raises(DataError, match=r"fresh\.jsonl: no solution row for problem_id `train_00004`") as caught:
        run_stage("query")
    assert caught.value.hint == "`dvc repro -f solution`"
    path.write_text(lines[0].replace('"correct"', '"incorrect"'), encoding="utf-8")
    with pytest.raises(FaultsError, match=r"fresh\.jsonl:1: .*`text` is kept exactly if"):
        run_stage("query")


def test_lineage_leads_to_the_request_for_a_new_solution_and_says_what_was_lost(study: Study, engines: Any) -> None:
    right = _right(study)
    engines.tell(solutions={text: [WRONG if index == 3 else own] for index, (text, own) in enumerate(right.items())})
    run_stage("persona")
    run_stage("solution")
    run_stage("query")
    kept, lost = (study.problems("arithmetic")[index].problem_id for index in (2, 3))
    steps = {step["what"]: step for step in lineage(study, f"arithmetic/{kept}/fresh")["steps"]}
    assert list(steps)[:3] == ["query", "solution", "solution request"]
    assert steps["solution"]["where"] == "data/solutions/arithmetic/fresh.jsonl:3"
    assert steps["solution request"]["facts"]["completion"] == steps["query"]["facts"]["solution"]
    steps = {step["what"]: step for step in lineage(study, f"arithmetic/{lost}/fresh")["steps"]}
    assert list(steps)[:2] == ["solution", "problem"] and steps["solution"]["facts"]["verdicts"] == ["incorrect"] * 3
    assert "solution" not in {step["what"] for step in lineage(study, f"arithmetic/{kept}/none")["steps"]}


def test_an_export_has_the_solution_that_is_trained_on(study: Study, engines: Any, its: Any) -> None:
    from pyarrow.parquet import read_table

    right = _right(study)
    engines.tell(solutions={text: [WRONG if index == 3 else own] for index, (text, own) in enumerate(right.items())})
    run_stage("persona")
    run_stage("solution")
    run_stage("query")
    out = study.project.parent / "out"
    code, _, err = its("data", "export", "arithmetic", str(out), "--strategy", "fresh")
    assert code == 0, err
    card = (out / "README.md").read_text(encoding="utf-8")
    own_part = card[card.index("## Regenerated solutions under fresh") :].partition("\n## ")[0]
    assert re.search(r"\| *kept *\| *7 *\|", own_part) and "smollm2" in own_part and "0.8" in own_part
    rows = read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert [row["messages"][-1]["content"] for row in rows] == [
        own for index, own in enumerate(right.values()) if index != 3
    ]
    own = {problem.problem_id: problem.solution for problem in study.problems("arithmetic")}
    assert all(row["solution"] == own[row["problem_id"]] for row in rows)


def test_the_report_shows_what_was_kept_and_warns_of_unequal_problems(study: Study, engines: Any) -> None:
    right = _right(study)
    told = {text: [WRONG if index == 3 else own] for index, (text, own) in enumerate(right.items())}
    engines.tell(solutions=told)
    run_stage("persona")
    run_stage("solution")
    run_stage("query")
    for strategy in ("none", "fresh"):
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
    for stage in ("generate", "grade", "measure", "report"):
        run_stage(stage)
    page = study.results("report.html").read_text(encoding="utf-8")
    begin = page.index('<h2 id="solutions">Regenerated solutions</h2>')
    shown = page[begin : page.index("</section>", begin)]
    assert "Written by smollm2_135m" in shown
    assert '<th scope="row">fresh</th><td class="num">8</td><td class="num">7</td><td class="num">1</td>' in shown
    assert "correct 7" in shown and "incorrect 3" in shown
    assert "(rows: 8 of 8 under none, 7 of 8 under fresh): a difference between these checkpoints" in page
    assert "solutions" in page[page.index('<h2 id="cost">Cost</h2>') :]
    path = study.project / "data" / "solutions" / "summary.json"
    path.write_text(path.read_text("utf-8").replace('"kept"', '"held"'), encoding="utf-8")
    with pytest.raises(DataError, match=r"summary\.json.*`kept`|summary\.json"):
        run_stage("report")


def test_of_a_model_that_is_not_here_the_declared_tokens_and_marks_are_checked(
    study: Study, engines: Any, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    away = text[text.index("  smollm2_135m:") : text.index("\nwriter:")]
    away = (
        away.replace("smollm2_135m", "away")
        .replace("path: base", "path: elsewhere")
        .replace("unk: <|endoftext|>", "unk: <|odd|>")
    )
    edit(("models:\n", f"models:\n{away}"), ("  models: [smollm2_135m]", "  models: [smollm2_135m, away]"))
    right = _right(study)
    told = {text: [own] for text, own in right.items()}
    first, second = list(right)[:2]
    told[first].insert(0, f"<|odd|> {right[first]}")
    told[second].insert(0, f"<|vision_start|> {right[second]}")  # of the tokenizer that is here
    engines.tell(solutions=told)
    run_stage("persona")
    run_stage("solution")
    assert [row.verdicts for row in _rows(study)] == [["unfit", "correct"]] * 2 + [["correct"]] * 6
