"""Fixed texts, mixes and unions from the recipe to the rows, over fake engines, and what reads those rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from running import run_stage

from its.cards.markdown import card_markdown
from its.commands.cards import overview, strategy_card
from its.commands.export import export_dataset
from its.commands.lineage import lineage
from its.errors import DataError, FaultsError
from its.rows import read_rows, write_rows
from its.strategies.members import members_of
from its.study.study import Study, load_study
from its.types import Persona, Query, Response

Edit = Callable[..., None]
TRAIN, TEST = ("  train: [none, random]", "  test: [none, random]")
MORE = """
  steps:
    fixed:
      texts: [Read the problem twice., "Check the result.\\n"]
    query: prompts/query_persona_first.j2
  later:
    fixed:
      texts: [Go on.]
    query: prompts/query_persona_last.j2
    share: 0.5
  beside:
    fixed:
      texts: [You are careful.]
    query: prompts/query_plain.j2
    place: system
  noise:
    noise: {like: steps}
    query: prompts/query_persona_first.j2
  shuffled:
    shuffled: {of: similar}
    query: prompts/query_persona_first.j2
  mixed:
    mix:
      shares: {similar: 0.5, beside: 0.25, none: 0.25}
  crossed:
    mix:
      shares: {shuffled: 0.5, noise: 0.5}
  both:
    union:
      of: [beside, similar, none]
"""


@pytest.fixture
def declare(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Callable[..., Study]:
    """The quickstart with 24 problems on each side, the strategies above, and the design's two sides."""

    def change(train: str, test: str) -> Study:
        model_in_folder()
        edit((TRAIN, f"  train: [{train}]"), (TEST, f"  test: [{test}]"), ("\ndesign:\n", f"{MORE}\ndesign:\n"))
        path = project / "params.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        lines = ["      size: 24" if line.startswith("      size: ") else line for line in lines]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run_stage("prepare", "arithmetic")
        run_stage("prepare", "arithmetic_test")
        study = load_study(project)
        words = "calm quiet old young glad proud tall shy bold keen kind fast"
        told = {
            problem.text: [f" {word} potter."] * 3
            for name in ("arithmetic", "arithmetic_test")
            for problem, word in zip(study.problems(name), (words + words.upper()).split() * 2, strict=False)
        }
        engines.tell(personas=told)
        return study

    return change


def _personas(study: Study, name: str, strategy: str) -> dict[str, Persona]:
    return {row.problem_id: row for row in read_rows(study.personas_path(name, strategy), Persona)}


def _queries(study: Study, side: str, strategy: str) -> list[Query]:
    name = "arithmetic" if side == "train" else "arithmetic_test"
    return list(read_rows(study.queries_path(side, name, strategy), Query))


def _member(study: Study, strategy: str, problem_id: str) -> str:
    (member,) = members_of(study.recipe.strategies, strategy, problem_id, study.recipe.seed)
    return member


def _summary(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study.project / "data/personas/summary.json").read_text(encoding="utf-8"))
    return found


def test_a_fixed_text_is_a_persona_that_nobody_wrote(declare: Callable[..., Study], engines: Any) -> None:
    study = declare("none", "steps, later, beside, noise")
    assert run_stage("persona").startswith("data/personas: 0 personas written")
    run_stage("query")
    assert engines.asked() == []
    texts = study.recipe.strategies["steps"].fixed.texts  # type: ignore[union-attr]
    steps = _personas(study, "arithmetic_test", "steps")
    assert {row.text for row in steps.values()} == {text.strip() for text in texts}
    assert all((row.attempts, row.flags, row.request_key) == (0, [], None) for row in steps.values())
    problems = {problem.problem_id: problem.text for problem in study.problems("arithmetic_test")}
    for query in _queries(study, "test", "steps"):
        assert [turn.content for turn in query.messages] == [
            f"{steps[query.problem_id].text}\n\n{problems[query.problem_id]}"
        ]
    later = _personas(study, "arithmetic_test", "later")
    assert {(row.text, *row.flags) for row in later.values()} == {("Go on.",), ("", "not_in_share")}
    for query in _queries(study, "test", "beside"):
        assert [(turn.role, turn.content) for turn in query.messages] == [
            ("system", "You are careful."),
            ("user", problems[query.problem_id]),
        ]
    noise = _personas(study, "arithmetic_test", "noise")
    assert all(len(noise[item].text.split()) == len(steps[item].text.split()) for item in problems)
    summary = {row["strategy"]: row for row in _summary(study)["personas"]}
    assert (summary["steps"]["asked"], summary["steps"]["distinct"]) == (0, 2)
    assert "mixes" not in _summary(study) and "not_in_mix" not in _summary(study)["reasons"]


def test_a_mix_asks_only_for_the_personas_that_it_uses(declare: Callable[..., Study], engines: Any) -> None:
    study = declare("none, mixed", "mixed")
    said = run_stage("persona")
    drawn = {
        name: {problem.problem_id: _member(study, "mixed", problem.problem_id) for problem in study.problems(name)}
        for name in ("arithmetic", "arithmetic_test")
    }
    wanted = {name: [item for item, member in own.items() if member == "similar"] for name, own in drawn.items()}
    assert all(0 < len(items) < 24 for items in wanted.values())
    assert len(engines.asked()) == sum(map(len, wanted.values()))
    for name, items in wanted.items():
        rows = _personas(study, name, "similar")
        assert [item for item, row in rows.items() if row.text] == items
        assert {tuple(row.flags) for item, row in rows.items() if item not in items} == {("not_in_mix",)}
        assert not study.personas_path(name, "mixed").exists()
        counts = {member: list(drawn[name].values()).count(member) for member in ("similar", "beside", "none")}
        told = ", ".join(f"{member} {count}" for member, count in counts.items())
        assert f"`mixed` of {name}: {told} problems" in said
        (mix,) = [item for item in _summary(study)["mixes"] if item["set"] == name]
        assert mix["shares"] == {"similar": 0.5, "beside": 0.25, "none": 0.25} and mix["problems"] == counts
    run_stage("query")
    problems = {problem.problem_id: problem for problem in study.problems("arithmetic")}
    for query in _queries(study, "train", "mixed"):
        problem = problems[query.problem_id]
        assert query.query_id == f"arithmetic/{query.problem_id}/mixed" and query.strategy == "mixed"
        assert (query.member, query.solution) == (drawn["arithmetic"][query.problem_id], problem.solution)
        content = [turn.content for turn in query.messages]
        match query.member:
            case "none":
                assert content == [problem.text]
            case "beside":
                assert content == ["You are careful.", problem.text]
            case _:
                row = _personas(study, "arithmetic", "similar")[query.problem_id]
                assert content == [f"{row.text}\n\n{problem.text}"]
    assert {query.member for query in _queries(study, "test", "mixed")} == {"similar", "beside", "none"}


def test_a_mix_adds_no_request_to_those_of_its_members(declare: Callable[..., Study], engines: Any, edit: Edit) -> None:
    """Neither for personas nor for responses: both have the seeds of the member."""
    study = declare("none", "similar, none, beside")
    for stage in ("persona", "query"):
        run_stage(stage)
    run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    run_stage("generate")
    asked = len(engines.asked())
    edit(("  test: [similar, none, beside]", "  test: [similar, none, beside, mixed]"))
    for stage in ("persona", "query"):
        run_stage(stage)
    assert "(0 generated, " in run_stage("generate")
    assert len(engines.asked()) == asked
    base = study.checkpoints()[0]
    plain = {
        (row.query_id.rpartition("/")[0], strategy): row.text
        for strategy in ("similar", "none", "beside")
        for row in read_rows(study.responses_path(base, "arithmetic_test", strategy), Response)
    }
    mixed = list(read_rows(study.responses_path(base, "arithmetic_test", "mixed"), Response))
    assert len(mixed) == 24
    for row in mixed:
        place = row.query_id.rpartition("/")[0]
        assert row.text == plain[place, _member(study, "mixed", place.partition("/")[2])]
    for stage in ("grade", "measure", "report"):
        run_stage(stage)
    page = study.results("report.html").read_text(encoding="utf-8")
    counts = next(item for item in _summary(study)["mixes"] if item["set"] == "arithmetic_test")["problems"]
    for member, share in (("similar", "50.0 %"), ("beside", "25.0 %"), ("none", "25.0 %")):
        assert f'<td>{member}</td><td class="num">{share}</td><td class="num">{counts[member]}</td>' in page


def test_a_response_of_a_mix_and_its_member_is_one_request(declare: Callable[..., Study], engines: Any) -> None:
    study = declare("none", "none, similar, mixed")
    for stage in ("persona", "query"):
        run_stage(stage)
    run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    before = len(engines.asked())
    run_stage("generate")
    beside = [
        problem.problem_id
        for problem in study.problems("arithmetic_test")
        if _member(study, "mixed", problem.problem_id) == "beside"
    ]
    assert 0 < len(beside) < 24
    assert len(engines.asked()) - before == 2 * (48 + len(beside))


def test_a_persona_is_the_same_in_a_mix_as_without_it(declare: Callable[..., Study], edit: Edit) -> None:
    study = declare("none", "crossed")
    run_stage("persona")
    before = {name: _personas(study, "arithmetic_test", name) for name in ("shuffled", "noise")}
    edit(("  test: [crossed]", "  test: [shuffled, noise, similar]"))
    run_stage("persona")
    for name, rows in before.items():
        after = _personas(study, "arithmetic_test", name)
        had = {item: row for item, row in rows.items() if row.text}
        assert 0 < len(had) < 24 and all(row == after[item] for item, row in had.items())
        assert set(had) == {item for item in rows if _member(study, "crossed", item) == name}


def test_a_union_has_a_row_for_each_member_side_by_side(declare: Callable[..., Study], engines: Any) -> None:
    study = declare("none, both", "none")
    run_stage("persona")
    assert len(engines.asked()) == 24, "the dataset's alone: no test strategy needs personas"
    said = run_stage("query")
    assert "96 train, 24 test queries" in said
    rows = _queries(study, "train", "both")
    problems = study.problems("arithmetic")
    members = ["beside", "similar", "none"]
    assert [(row.problem_id, row.member) for row in rows] == [
        (problem.problem_id, member) for problem in problems for member in members
    ]
    assert [row.query_id for row in rows[:3]] == [
        f"arithmetic/{problems[0].problem_id}/both+{member}" for member in members
    ]
    assert len({row.query_id for row in rows}) == 72
    assert all(row.solution == problems[index // 3].solution for index, row in enumerate(rows))
    run_stage("train", "smollm2_135m", "arithmetic", "both", "1")
    (_, *trained) = load_study(study.project).checkpoints()
    parity = json.loads((study.model_path(trained[-1]) / "its_parity.json").read_text(encoding="utf-8"))
    assert parity["rows"] == 72


def test_a_row_is_traced_to_the_persona_of_its_member(declare: Callable[..., Study]) -> None:
    study = declare("both", "mixed")
    for stage in ("persona", "query"):
        run_stage(stage)
    problem_id = study.problems("arithmetic")[5].problem_id
    found = lineage(study, f"arithmetic/{problem_id}/both+similar")["steps"]
    assert [step["what"] for step in found] == ["query", "persona", "persona request", "problem", "source row"]
    assert found[0]["facts"]["member"] == "similar"
    assert found[0]["facts"]["template"] == "recipes/prompts/query_persona_first.j2"
    assert found[0]["facts"]["trains"] == ["smollm2_135m-arithmetic-both-1"]
    assert found[1]["where"].startswith("data/personas/arithmetic/similar.jsonl:")
    (persona,) = [
        step["facts"]
        for step in lineage(study, f"arithmetic/{problem_id}/both+beside")["steps"]
        if step["what"] == "persona"
    ]
    assert (persona["text"], persona["taken_from"]) == (
        "You are careful.",
        "params.yaml: strategies.beside.fixed.texts",
    )
    with pytest.raises(DataError, match="matches 3 rows") as caught:
        lineage(study, f"arithmetic/{problem_id}/both")
    assert f"`arithmetic/{problem_id}/both+similar`" in str(caught.value)
    run_stage("train", "smollm2_135m", "arithmetic", "both", "1")
    run_stage("generate")
    for test in study.problems("arithmetic_test"):
        member = _member(study, "mixed", test.problem_id)
        found = lineage(study, f"smollm2_135m-base/arithmetic_test/{test.problem_id}/mixed/0")["steps"]
        (query,) = [step["facts"] for step in found if step["what"] == "query"]
        (persona,) = [step for step in found if step["what"] == "persona"]
        assert query["member"] == member
        assert persona["where"].startswith(f"data/personas/arithmetic_test/{member}.jsonl:")
        assert ("persona request" in [step["what"] for step in found]) == (member == "similar")


def test_a_row_without_its_member_is_a_fault(declare: Callable[..., Study]) -> None:
    study = declare("none", "mixed")
    for stage in ("persona", "query"):
        run_stage(stage)
    path = study.queries_path("test", "arithmetic_test", "mixed")
    rows = [row.model_copy(update={"member": "random"}) for row in read_rows(path, Query)]
    write_rows(path, rows)
    with pytest.raises(FaultsError) as caught:
        lineage(study, f"arithmetic_test/{rows[2].problem_id}/mixed")
    (fault,) = caught.value.faults
    assert fault.where.endswith("mixed.jsonl:3") and "`member` is `random`" in fault.message and fault.hint


def test_card_and_export_say_the_shares_as_realized(declare: Callable[..., Study], tmp_path: Path) -> None:
    study = declare("both, mixed", "none")
    for stage in ("persona", "query"):
        run_stage(stage)
    card = strategy_card(study, "arithmetic", "mixed")
    counts = {row["strategy"]: row["rows"] for row in card["members"]}
    drawn = [_member(study, "mixed", problem.problem_id) for problem in study.problems("arithmetic")]
    assert counts == {member: drawn.count(member) for member in ("similar", "beside", "none")}
    assert [row["share"] for row in card["members"]] == [0.5, 0.25, 0.25]
    assert card["members"][0]["share_of_rows"] == round(counts["similar"] / 24, 4)
    assert list(card["declared"]) == ["mixed", "similar", "beside", "none"]
    assert {item["path"] for item in card["templates"]} == {
        f"recipes/prompts/{name}.j2" for name in ("persona_similar", "query_persona_first", "query_plain")
    }
    assert card["writer"]["model"] == "smollm2_135m" and sum(row["responses"] for row in card["sessions"]) == 24
    text = card_markdown(card)
    assert "## Members" in text and "with its persona" not in text and "These rows have no personas" not in text
    done = export_dataset(study, "arithmetic", "both", None, tmp_path / "out")
    assert done["rows"] == 72
    rows = pyarrow.parquet.read_table(tmp_path / "out" / done["file"]).to_pylist()
    assert [row["member"] for row in rows[:3]] == ["beside", "similar", "none"]
    assert rows[0]["personas"] == ["You are careful."] and rows[2]["personas"] == []
    assert [turn["role"] for turn in rows[0]["messages"]] == ["system", "user", "assistant"]
    (own,) = overview(study, "arithmetic")
    paths = [Path(file["path"]) for file in own["files"]]
    assert {path.stem for path in paths if path.parts[1] == "personas"} == {"beside", "similar", "none"}
    assert all(file["rows"] for file in own["files"])
    plain = export_dataset(study, "arithmetic_test", "none", None, tmp_path / "plain")
    assert "member" not in pyarrow.parquet.read_schema(tmp_path / "plain" / plain["file"]).names


def test_a_set_has_no_card_or_export_under_a_strategy_that_its_cells_do_not_have(
    declare: Callable[..., Study], tmp_path: Path
) -> None:
    study = declare("none, both", "none, mixed")
    for stage in ("persona", "query"):
        run_stage(stage)
    for name, strategy, side, hint in (
        ("arithmetic", "similar", "train", "none, both; `similar` is a member of `both`"),
        ("arithmetic", "mixed", "train", "none, both"),
        ("arithmetic_test", "both", "test", "none, mixed"),
        ("arithmetic_test", "beside", "test", "none, mixed; `beside` is a member of `mixed`"),
    ):
        wrong = f"has no cell of `{name}` under {side} strategy `{strategy}`"
        with pytest.raises(DataError, match=wrong) as caught:
            strategy_card(study, name, strategy)
        assert caught.value.hint == f"the {side} strategies of `{name}`: {hint}"
        with pytest.raises(DataError, match=wrong):
            export_dataset(study, name, strategy, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_refuses_a_union_with_a_row_missing(declare: Callable[..., Study], tmp_path: Path) -> None:
    study = declare("both", "none")
    for stage in ("persona", "query"):
        run_stage(stage)
    path = study.queries_path("train", "arithmetic", "both")
    rows = list(read_rows(path, Query))
    write_rows(path, [*rows[:4], *rows[5:]])
    with pytest.raises(DataError, match=f"no query of problem_id `{rows[4].problem_id}`"):
        export_dataset(study, "arithmetic", "both", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
