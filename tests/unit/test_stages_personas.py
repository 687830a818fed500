"""Stage `persona` over fake engines: what is asked, retried, flagged, kept and cited; the queries made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import run_stage
from unit.stage_samples import MARK, Edit, prepare_sets

from its.errors import FaultsError
from its.rows import read_rows
from its.seeds import derive_seed
from its.study.study import Study
from its.types import Persona, Query

BAD = {
    "empty": (["", "", ""], ["empty"], "", 3),
    "refuses": ([" I'm sorry, no."] * 3, ["refuses"], "You are a I'm sorry, no.", 3),
    "solves": ([" person who says the answer is clear."] * 3, ["solves"], None, 3),
    "overlong": ([" man. " + "very " * 40], ["overlong"], "You are a man.", 3),
    "cut by the limit": (["cut: man who was cut"], ["overlong"], "You are a man who was cut", 3),
    "digits": ([" man with 3 hats."], ["digits"], "You are a man with 3 hats.", 3),
    "good at the second attempt": ([" man with 3 hats.", " man with hats."], [], "You are a man with hats.", 2),
    "least bad of three": (["", " man with 3 hats.", ""], ["digits"], "You are a man with 3 hats.", 3),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_persona_is_retried_then_fixed_or_flagged(study: Study, engines: Any, edit: Edit, case: str) -> None:
    completions, flags, text, attempts = BAD[case]
    edit(("  train: [none, random]", "  train: [none, similar]"), ("  test: [none, random]", "  test: [none, similar]"))
    prepare_sets()
    target = study.problems("arithmetic")[3]
    engines.tell(personas={target.text: completions})
    said = run_stage("persona")
    broken = [f"`similar` of arithmetic: 1 of 8 breaks a rule ({flag} 1): " for flag in flags]
    assert [text for text in broken if text not in said] == [] and (" breaks a rule" in said) == bool(flags)
    assert ("`strategies.similar.limits.max_words` (30)" in said) == ("overlong" in flags)
    rows = list(read_rows(study.personas_path("arithmetic", "similar"), Persona))
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in study.problems("arithmetic")]
    row = rows[3]
    assert (row.flags, row.attempts) == (flags, attempts)
    assert text is None or row.text == text
    assert all(other.attempts == 1 and not other.flags for other in rows if other is not row)
    seeds = [asked["seed"] for asked in engines.asked() if target.text in asked["prompt"]]
    assert len(seeds) == len(set(seeds)) == attempts
    run_stage("query")
    assert len(list(read_rows(study.queries_path("train", "arithmetic", "similar"), Query))) == 8
    summary = json.loads((study.project / "data" / "personas" / "summary.json").read_text(encoding="utf-8"))
    (own,) = (item for item in summary["personas"] if item["set"] == "arithmetic")
    assert own["flags"] == dict.fromkeys(flags, 1)
    assert (own["personas"], own["retried"], own["asked"]) == (8, 1, 7 + attempts)


SIMILAR = """  similar:
    persona:
      template: prompts/persona_similar.j2
"""
NONE_TWICE = ("  train: [none, random]", "  train: [none]")


def test_several_personas_are_checked_and_retried_one_by_one(study: Study, engines: Any, edit: Edit) -> None:
    edit(NONE_TWICE, ("  test: [none, random]", "  test: [similar]"), (SIMILAR, f"{SIMILAR}      count: 3\n"))
    prepare_sets()
    target = study.problems("arithmetic_test")[3]
    told = [" man with hats.", " man with 731 shoes.", " man with gloves.", " man with socks."]
    engines.tell(personas={target.text: told})
    run_stage("persona")
    rows = list(read_rows(study.personas_path("arithmetic_test", "similar"), Persona))
    assert [(row.problem_id, row.index) for row in rows] == [
        (problem.problem_id, index) for problem in study.problems("arithmetic_test") for index in range(3)
    ]
    own = [row for row in rows if row.problem_id == target.problem_id]
    texts = ["You are a man with hats.", "You are a man with socks.", "You are a man with gloves."]
    assert [row.text for row in own] == texts
    assert [row.attempts for row in own] == [1, 2, 1] and sum(row.attempts for row in rows) == 25
    assert len({row.request_key for row in rows}) == 24
    run_stage("query")
    queries = read_rows(study.queries_path("test", "arithmetic_test", "similar"), Query)
    (shown,) = (row for row in queries if row.problem_id == target.problem_id)
    assert shown.messages[-1].content == "\n\n".join([*texts, target.text])
    seeds = {asked["seed"] for asked in engines.asked()}
    parts = (study.recipe.seed, "persona", "arithmetic_test", target.problem_id, "similar")
    assert {derive_seed(*parts, *last) for last in ((0, 0), (0, 1), (0, 2), (1, 1))} <= seeds
    assert len(seeds) == 25
    (found,) = _summary(study)
    assert (found["problems"], found["personas"], found["asked"], found["at_once"]) == (8, 24, 25, 23)
    assert found["rules"] == {"digits": {"attempts": 1, "retried": 1, "accepted": 1, "kept": 0}}


def _summary(study: Study) -> list[dict[str, Any]]:
    found = json.loads((study.project / "data" / "personas" / "summary.json").read_text(encoding="utf-8"))
    assert found["rules_version"] == "4" and set(found["rules"]) > {"leaks", "copies"}
    return list(found["personas"])


def test_the_seed_of_a_single_persona_has_no_index(study: Study, engines: Any) -> None:
    """The seeds of a strategy without a count hold no index: what is stored stays valid."""
    prepare_sets()
    run_stage("persona")
    wanted = {
        derive_seed(study.recipe.seed, "persona", name, problem.problem_id, "random", 0)
        for name in ("arithmetic", "arithmetic_test")
        for problem in study.problems(name)
    }
    assert {asked["seed"] for asked in engines.asked()} == wanted
    line = study.personas_path("arithmetic", "random").read_text(encoding="utf-8").splitlines()[0]
    assert list(json.loads(line)) == ["problem_id", "strategy", "text", "domain", "attempts", "flags", *KEYS]


KEYS = ["request_key", "rejected_keys"]
CONTROLS = """
  noise:
    noise: {like: similar}
    query: prompts/query_persona_first.j2
  shuffled:
    shuffled: {of: similar}
    query: prompts/query_persona_first.j2
  half:
    noise: {like: shuffled}
    share: 0.5
    query: prompts/query_persona_first.j2
"""


def test_controls_have_what_they_are_made_of_written_too(study: Study, engines: Any, edit: Edit) -> None:
    test = ("  test: [none, random]", "  test: [none, noise, shuffled, half]")
    edit(NONE_TWICE, test, ("\ndesign:\n", f"{CONTROLS}\ndesign:\n"))
    prepare_sets()
    problems = study.problems("arithmetic_test")
    words = ["calm", "quiet", "old", "young", "glad", "proud", "tall", "shy"]
    engines.tell(personas={problem.text: [f" {word} potter."] for problem, word in zip(problems, words, strict=True)})
    said = run_stage("persona")
    assert said.startswith("data/personas: 8 personas written, 0 kept with a flag")
    assert len(engines.asked()) == 8
    found = {
        name: {row.problem_id: row for row in read_rows(study.personas_path("arithmetic_test", name), Persona)}
        for name in ("similar", "noise", "shuffled", "half")
    }
    assert not study.personas_path("arithmetic", "similar").exists()
    assert all(list(rows) == [problem.problem_id for problem in problems] for rows in found.values())
    for problem_id, own in found["similar"].items():
        noise, other = found["noise"][problem_id], found["shuffled"][problem_id]
        assert len(noise.text.split()) == len(own.text.split()) and noise.text != own.text
        assert other.taken_from not in (None, problem_id)
        source = found["similar"][str(other.taken_from)]
        assert (other.text, other.request_key) == (source.text, source.request_key)
        half = found["half"][problem_id]
        assert len(half.text.split()) == (0 if half.flags == ["not_in_share"] else len(other.text.split()))
    assert {row.taken_from for row in found["shuffled"].values()} == set(found["similar"])
    assert 0 < sum(bool(row.text) for row in found["half"].values()) < 8
    summary = {item["strategy"]: item for item in _summary(study)}
    assert set(summary) == {"similar", "noise", "shuffled", "half"}
    assert (summary["shuffled"]["source"], summary["shuffled"]["own_text"]) == ("similar", 0)
    assert (summary["noise"]["asked"], summary["noise"]["personas"], summary["noise"]["words"]) == (0, 8, 5.0)
    assert summary["similar"]["similarity"]["personas"] == 8
    run_stage("query")
    for name in ("noise", "shuffled"):
        queries = list(read_rows(study.queries_path("test", "arithmetic_test", name), Query))
        texts = [found[name][problem.problem_id].text for problem in problems]
        wanted = [f"{text}\n\n{problem.text}" for text, problem in zip(texts, problems, strict=True)]
        assert [row.messages[-1].content for row in queries] == wanted
    assert not (study.project / "data" / "queries" / "test" / "arithmetic_test" / "similar.jsonl").exists()


def test_a_duplicate_persona_stops_the_queries(study: Study, engines: Any) -> None:
    prepare_sets()
    run_stage("persona")
    path = study.personas_path("arithmetic", "none")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    with pytest.raises(FaultsError, match=r"none\.jsonl:9: duplicate of line 1"):
        run_stage("query")


def test_train_and_test_prompts_come_from_one_function(study: Study, engines: Any) -> None:
    prepare_sets()
    run_stage("persona")
    run_stage("query")
    for side, name in (("train", "arithmetic"), ("test", "arithmetic_test")):
        for row in read_rows(study.queries_path(side, name, "random"), Query):
            problem = next(item for item in study.problems(name) if item.problem_id == row.problem_id)
            assert row.messages[-1].content == f"You are a {MARK}.\n\n{problem.text}"
            assert row.query_id == f"{name}/{problem.problem_id}/random"
            assert row.solution == (problem.solution if side == "train" else None)


def test_rejected_personas_are_cited_and_replayed(study: Study, engines: Any, edit: Edit) -> None:
    prepare_sets()
    problems = {problem.text: ["cut: potter", " potter."] for problem in study.problems("arithmetic_test")}
    engines.tell(personas={text[:60]: tries for text, tries in problems.items()})
    run_stage("persona")
    before = {path: path.read_bytes() for path in (study.project / "data" / "personas").rglob("*.jsonl")}
    rows = list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))
    assert all(row.attempts == len(row.rejected_keys) + 1 for row in rows)
    edit(("  kind: vllm", "  kind: replay"))
    run_stage("persona")
    assert before == {path: path.read_bytes() for path in before}
