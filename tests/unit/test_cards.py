"""What a data set's card says, and that its Markdown shows it unharmed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.data_samples import counted, problem

from its.cards.build import MAX_CHARACTERS, build_card, build_strategy_card, shortened
from its.cards.markdown import card_markdown
from its.types import Problem

STANDING: dict[str, Any] = {"commit": "abc", "changed_files": [], "changed_stages": {}, "unknown": None}


def _card(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "limo",
        "kind": "dataset",
        "declared": {"filters": ["has_box"]},
        "origin": {"kind": "hub", "id": "GAIR/LIMO", "revision": "b60f446"},
        "seed": 17,
        "steps": [
            {"step": "loaded", "before": 5, "after": 5, "note": None},
            {"step": "filter has_box", "before": 5, "after": 3, "note": "2 without | a box"},
            {"step": "decontamination (aime)", "before": 3, "after": 3, "note": None},
        ],
        "counts": counted([problem(index, "train") for index in range(3)]),
        "quarantine": [
            {"row": "f:9", "reasons": ["no answer", "no problem"]},
            {"row": "f:3", "reasons": ["no answer"]},
        ],
        "overlaps": [{"problem_id": "a", "benchmark": "aime"}],
        "files": {"data/problems/limo.jsonl": "f" * 64},
        "made_by": {"its": "0.1.0"},
    }
    return build_card(**values | more)


def _strategy_card(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "problems": _card(),
        "strategy": "random",
        "declared": {"random": {"query": "prompts/q.j2"}},
        "templates": [{"role": "query", "path": "recipes/prompts/q.j2", "sha256": "a" * 64}],
        "prompt": {"user": "{{ query }}"},
        "writer": {"model": "qwen", "sampling": {"temperature": 0.7}},
        "sessions": [{"responses": 3, "engine": "vllm", "model": "sha256:aa"}],
        "personas": {"set": "limo", "strategy": "random", "personas": 3, "flags": {"digits": 1}},
        "rows": 3,
        "files": {"data/personas/limo/random.jsonl": "b" * 64},
        "standing": STANDING,
        "examples": [
            {"problem_id": "p", "personas": ["You are A.", "You are B."], "domain": None, "query": "[user]\nx"}
        ],
    }
    return build_strategy_card(**values | more)


def test_problems_are_counted() -> None:
    problems = [problem(index, side) for index in range(4) for side in ("train", "test")]
    card = _card(counts=counted(problems))
    assert (card["rows"], card["with_reference"], card["with_solution"]) == (8, 8, 4)
    assert card["sources"] == {"data/sources/train.jsonl": 4, "procedural": 4}
    assert [example["problem_id"] for example in card["examples"]] == ["train_00000", "test_00000", "train_00001"]


def test_rejected_rows_and_overlaps_are_counted_by_reason() -> None:
    card = _card()
    assert card["quarantine"] == {"rows": 2, "reasons": {"no answer": 2, "no problem": 1}}
    assert card["overlaps"] == {"rows": 1, "benchmarks": {"aime": 1}}


def test_rare_reasons_are_one_sum() -> None:
    rejected = [{"reasons": ["frequent"]}] * 2 + [{"reasons": [f"reason {index}"]} for index in range(12)]
    found = _card(quarantine=rejected)["quarantine"]
    assert found["rows"] == 14
    assert sum(found["reasons"].values()) == 14
    assert found["reasons"]["others"] == 3
    assert len(found["reasons"]) == 11


def test_a_card_is_json_and_depends_on_its_arguments_alone() -> None:
    assert json.dumps(_card()) == json.dumps(_card())
    assert json.loads(json.dumps(_strategy_card())) == _strategy_card()


def test_long_texts_are_cut_and_say_so() -> None:
    long = Problem(problem_id="p", text="x" * (MAX_CHARACTERS + 5), source="s")
    (shown,) = _card(counts=counted([long]))["examples"]
    assert shown["text"] == "x" * MAX_CHARACTERS + " [... 5 characters more]"
    assert shortened({"a": ["x" * MAX_CHARACTERS]}) == {"a": ["x" * MAX_CHARACTERS]}


def test_markdown_shows_counts_source_and_samples() -> None:
    text = card_markdown(_card())
    assert "| loaded | 5 | 5 |  |\n| filter has_box | 5 | 3 | 2 without \\| a box |" in text
    assert "| revision | b60f446 |" in text
    assert "2 rows were rejected:" in text
    assert "| no answer | 2 |" in text
    assert "1 overlap with a problem of a benchmark was found:" in text
    assert "Licence: unknown to ITS" in text
    assert r"How many is $\frac{{0}}{1}$ <b> | `x`?" in text  # in a fence nothing is escaped
    assert "| data/problems/limo.jsonl | " + "f" * 64 in text


def test_markdown_of_a_clean_set_says_so() -> None:
    text = card_markdown(_card(quarantine=[], overlaps=[], origin={"kind": "procedural", "licence": "mit"}))
    assert "No row was rejected." in text
    assert "No overlap with a problem of a benchmark was found." in text
    assert "| licence | mit |" in text
    assert "not known" not in text


def test_what_was_not_compared_is_not_said_to_be_clean() -> None:
    loaded = [{"step": "loaded", "before": 3, "after": 3, "note": None}]
    text = card_markdown(_card(steps=loaded, overlaps=[]))
    assert "Not compared with the benchmarks: no `decontamination` is declared." in text and "was found" not in text
    text = card_markdown(_card(kind="benchmark", steps=loaded, overlaps=[]))
    assert "compared" not in text and "was found" not in text


@pytest.mark.parametrize("nasty", ["a | b", "line\nbreak", "<script>", "x" * 50])
def test_a_cell_stays_one_cell(nasty: str) -> None:
    lines = card_markdown(_card(origin={"kind": nasty})).splitlines()
    (row,) = [line for line in lines if line.startswith("| kind |")]
    assert row.replace("\\|", "").count("|") == 3
    assert "<" not in row


def test_a_fence_is_longer_than_those_in_the_text() -> None:
    text = card_markdown(_card(counts=counted([Problem(problem_id="p", text="````\ncode\n````", source="s")])))
    assert "`````text\n````\ncode\n````\n`````\n" in text


def test_markdown_under_a_strategy() -> None:
    text = card_markdown(_strategy_card())
    assert text.startswith("# limo with strategy random\n")
    assert "| query | recipes/prompts/q.j2 | " + "a" * 64 in text
    assert "| 3 | vllm | sha256:aa |" in text
    assert "You are A.\n\nYou are B." in text
    assert "The files are what dvc.lock says." in text
    assert "\n## limo\n" in text  # the problems' own card, one level down
    assert "\n### Steps\n" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sessions": None}, "The store of responses is not available"),
        ({"sessions": []}, "The store holds none of the responses"),
        ({"personas": None, "writer": None}, "These rows have no personas."),
        ({"writer": None}, "No model wrote them: they are a control"),
        ({"standing": STANDING | {"commit": None}}, "Not in a git repository."),
        ({"standing": STANDING | {"changed_files": ["params.yaml"]}}, "**Not as committed:** `params.yaml`."),
        ({"standing": STANDING | {"changed_stages": None, "unknown": "locked"}}, "is unknown: locked"),
        (
            {"standing": STANDING | {"changed_stages": {"persona": ["changed deps: x (modified)"]}}},
            "- `persona`: changed",
        ),
    ],
)
def test_markdown_says_what_it_cannot_vouch_for(more: dict[str, Any], said: str) -> None:
    assert said in card_markdown(_strategy_card(**more))
