"""Numbers and lists of a recipe that contradict each other are refused, each with the place and a way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.checks.personas import persona_notes
from its.checks.recipes import check_recipes
from its.checks.steps import step_faults, step_notes
from its.curation.columns import Column
from its.recipe.context_checks import context_faults
from its.recipe.document import read_document
from its.recipe.filter_checks import contradicting_filters
from its.recipe.load import validate
from its.recipe.schema import ColumnFilter
from its.recipe.values import REFUSED, dotted
from its.study.counts import Size
from its.study.study import load_study
from its.types import Problem

Edit = Callable[..., None]

REFUSED_EDITS: dict[str, tuple[tuple[tuple[str, str], ...], str, str]] = {
    "rows longer than the context": (
        (("  sequence_length: #", "  sequence_length: 1025"),),
        "`train.sequence_length` is 1025: `smollm2_135m` has a context of 1024",
        "at most 1024",
    ),
    "a writer without room for the request": (
        (("    max_tokens: 48\n", "    max_tokens: 1024\n"),),
        "`writer.sampling.max_tokens` is 1024: `smollm2_135m` has a context of 1024",
        "leave room for the prompt",
    ),
    "a sample larger than what is generated": (
        (("    answer: integer\n", "    answer: integer\n    sample: {size: 99999, seed: 1}\n"),),
        "`benchmarks.arithmetic_test.sample.size` is 99999: its source has ",
        "or a larger `source.size`",
    ),
}


def _found(project: Path) -> list[tuple[str, str]]:
    _, faults = validate(read_document(project / "params.yaml"), project)
    return [(fault.message, fault.hint or "") for fault in faults]


@pytest.mark.parametrize("case", REFUSED_EDITS)
def test_a_contradiction_is_refused(project: Path, edit: Edit, case: str) -> None:
    edits, message, hint = REFUSED_EDITS[case]
    edit(*edits)
    ((said, told),) = _found(project)
    assert message in said and hint in told


def test_equal_lengths_fit(project: Path, edit: Edit) -> None:
    edit(("  sequence_length: #", "  sequence_length: 1024"), ("    max_tokens: 48\n", "    max_tokens: 1023\n"))
    assert _found(project) == []


STRATEGIES: dict[str, tuple[str, str, str]] = {
    "limits of a control": (
        "  mine:\n    noise: {like: random}\n    query: prompts/query_persona_first.j2\n"
        "    limits: {max_words: 3, min_words: 4, checks: [empty]}\n",
        "`strategies.mine.limits.min_words` is 4, above `max_words`, 3",
        "lower `min_words`",
    ),
    "a start as long as the persona may be": (
        "  mine:\n    persona: {template: prompts/persona_random.j2, start: One two three}\n"
        "    domains: [law]\n    query: prompts/query_persona_first.j2\n"
        "    limits: {max_words: 3, checks: [overlong]}\n",
        "`strategies.mine.persona.start` has 3 words: with `max_words` of 3 every persona is `overlong`",
        "a shorter start",
    ),
}


@pytest.mark.parametrize("case", STRATEGIES)
def test_limits_that_no_persona_meets(project: Path, edit: Edit, case: str) -> None:
    lines, message, hint = STRATEGIES[case]
    edit(("\ndesign:\n", f"\n{lines}\ndesign:\n"))
    ((said, told),) = _found(project)
    assert said == message and hint in told


@pytest.mark.parametrize(("domains", "said"), [(1, "all the same"), (2, "only 2 of them differ"), (3, None)])
def test_personas_at_temperature_0_differ_by_their_domain_alone(project: Path, domains: int, said: str | None) -> None:
    lines = (
        (project / "params.yaml").read_text(encoding="utf-8").replace("    temperature: 0.7\n", "    temperature: 0\n")
    )
    names = ", ".join(["law", "sport", "music"][:domains])
    mine = (
        f"  mine:\n    persona: {{template: prompts/persona_random.j2, count: 3}}\n    domains: [{names}]\n"
        "    query: prompts/query_persona_first.j2\n    limits: {max_words: 30, checks: [empty]}\n"
    )
    (project / "params.yaml").write_text(lines.replace("\ndesign:\n", f"\n{mine}\ndesign:\n"), encoding="utf-8")
    found = [message for message, _ in _found(project)]
    assert (said is None and not found) or (len(found) == 1 and str(said) in found[0])


# The context of a model in a folder is that of its `config.json`.


def _model(length: int, **more: Any) -> dict[str, Any]:
    own = {"source": {"kind": "folder", "path": "m"}, "context_length": length}
    return {"models": {"m": own}, "engine": {"kind": "vllm", **more}}


CONFIGS: dict[str, tuple[Any, int | None]] = {
    "plain": ({"max_position_embeddings": 2048}, 2048),
    "GPT-2": ({"n_positions": 1024}, 1024),
    "both": ({"max_position_embeddings": 2048, "n_positions": 1024}, 1024),
    "a part for text": ({"text_config": {"max_position_embeddings": 512}}, 512),
    "scaled": ({"max_position_embeddings": 1000, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 4000),
    "scaled by layer": (
        {"max_position_embeddings": 1000, "rope_parameters": {"full_attention": {"factor": 8}, "other": {}}},
        8000,
    ),
    "not scaled": ({"max_position_embeddings": 1000, "rope_scaling": None}, 1000),
    "nothing stated": ({}, None),
    "no number": ({"max_position_embeddings": "2048"}, None),
    "true": ({"max_position_embeddings": True}, None),
    "zero": ({"max_position_embeddings": 0}, None),
    "a list": ([1], None),
    "a factor of no number": ({"max_position_embeddings": 10, "rope_scaling": {"factor": "x"}}, 10),
    "an endless factor": ({"max_position_embeddings": 10, "rope_scaling": {"factor": float("inf")}}, 10),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_context_has_no_more_positions_than_the_model(tmp_path: Path, case: str) -> None:
    config, most = CONFIGS[case]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert list(context_faults(_model(most or 10**7), tmp_path)) == []
    if most is not None:
        ((where, said, hint),) = context_faults(_model(most + 1), tmp_path)
        assert dotted(where) == "models.m.context_length"
        assert said.endswith(f"the model in `m` has {most} positions (`config.json`)") and hint == f"use at most {most}"
        assert not list(context_faults(_model(most + 1, options={"hf_overrides": {"rope_scaling": {}}}), tmp_path))
        assert not list(context_faults(_model(most + 1, environment={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}), tmp_path))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b" " * (2**20 + 1), None])
def test_a_config_that_cannot_be_read_decides_nothing(tmp_path: Path, text: bytes | None) -> None:
    (tmp_path / "m").mkdir()
    if text is not None:
        (tmp_path / "m" / "config.json").write_bytes(text)
    assert list(context_faults(_model(10**7), tmp_path)) == []


@pytest.mark.parametrize(
    ("section", "least", "said"),
    [
        ("datasets", 99, None),
        ("datasets", 100, "`train.sequence_length` is 100"),
        ("benchmarks", 199, None),
        ("benchmarks", 200, "`models.m.context_length` is 200"),
    ],
)
def test_a_filter_keeps_rows_that_have_room(tmp_path: Path, section: str, least: int, said: str | None) -> None:
    step = {"name": "tokens", "of": "problem", "model": "m", "at_least": least}
    values = {
        "models": {"m": {"context_length": 200}},
        "design": {"models": ["m"], section: ["own"]},
        "train": {"sequence_length": 100},
        section: {"own": {"filters": ["no_figure", step]}},
    }
    found = list(context_faults(values, tmp_path))
    assert [(dotted(where), said in message) for where, message, _ in found if said] == (
        [] if said is None else [(f"{section}.own.filters.1.at_least", True)]
    )
    assert bool(found) == bool(said)
    values["design"]["models"] = []  # type: ignore[index]  # the tokens of another model
    assert list(context_faults(values, tmp_path)) == []


# Filters of one set.

VALUES = [None, True, False, 1, 1.0, 2, 3.5, "1", "2", "a", "", "3.5"]
_KEPT = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3)
_BOUND = st.one_of(st.none(), st.sampled_from([0, 1, 2, 2.5, 4]))
_COLUMN = st.one_of(
    st.builds(lambda kept: {"keep": kept}, _KEPT),
    st.builds(lambda gone: {"drop": gone}, _KEPT),
    st.builds(lambda least, most: {"at_least": least, "at_most": most}, _BOUND, _BOUND),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_COLUMN, min_size=1, max_size=4))
def test_only_filters_that_keep_nothing_are_refused(conditions: list[dict[str, Any]]) -> None:
    """Against the filters themselves: what is refused keeps no row, whatever its value."""
    steps = [{"name": "column", "of": "x", **condition} for condition in conditions]
    bounds = [(step.get("at_least"), step.get("at_most")) for step in steps]
    if any(least is not None and most is not None and least > most for least, most in bounds):
        return  # refused by itself
    columns = [Column(ColumnFilter.model_validate(step)) for step in steps]
    rows = [Problem(problem_id="p", text="t", source="s", meta={"x": value}) for value in [*VALUES, 100, -100, 2.2]]
    kept = [row for row in rows if all(column.keeps(row) for column in columns)]
    found = list(contradicting_filters(steps, ("datasets", "d", "filters")))
    assert not (found and kept), (steps, kept)
    plain = [step for step in steps if not {*map(type, step.get("keep") or ())} & {str}]
    if not kept and len(plain) == len(steps) and any("keep" in step for step in steps):
        assert found, steps


def test_each_contradiction_has_its_two_places() -> None:
    def told(*steps: Any) -> list[tuple[str, str]]:
        found = contradicting_filters(list(steps), ("datasets", "d", "filters"))
        return [(dotted(where), message) for where, message, _ in found]

    tokens = {"name": "tokens", "of": "problem", "model": "m"}
    assert told({**tokens, "at_least": 100}, "no_figure", {**tokens, "at_most": 99}) == [
        (
            "datasets.d.filters.2.at_most",
            "`datasets.d.filters.2.at_most` excludes all that `datasets.d.filters.0` keeps: 100 > 99",
        )
    ]
    assert told({**tokens, "at_least": 100}, {**tokens, "of": "solution", "at_most": 99}) == []
    assert told({**tokens, "at_least": 100}, {**tokens, "model": "n", "at_most": 99}) == []
    english, german = ({"name": "language", "keep": [code]} for code in ("en", "de"))
    assert [where for where, _ in told(english, german)] == ["datasets.d.filters.0"]
    assert told(english, {"name": "language", "keep": ["de", "en"]}) == []
    assert told({"name": "column", "of": "x", "keep": [REFUSED]}, {"name": "column", "of": "x", "drop": [1]}) == []
    assert told(None, 3, {"name": "tokens"}, {}, [], REFUSED) == []


# What fits, but seldom well.


@pytest.mark.parametrize(("words", "tokens", "told"), [(20, 30, None), (21, 31, "give 32 tokens, or at most 20 words")])
def test_a_limit_with_few_tokens_is_noted(project: Path, words: int, tokens: int, told: str | None) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8").replace("max_words: 30", f"max_words: {words}")
    (project / "params.yaml").write_text(
        text.replace("    max_tokens: 48", f"    max_tokens: {tokens}"), encoding="utf-8"
    )
    notes = persona_notes(load_study(project).recipe, {})
    assert len(notes) == (told is not None)
    if told is not None:
        assert notes[0].startswith(f"`limits.max_words` is {words} and `writer.sampling.max_tokens` {tokens}: ")
        assert notes[0].endswith(f"; {told}")


def test_attempts_at_temperature_0_and_small_shares_are_noted(project: Path, edit: Edit) -> None:
    mix = "  mine:\n    mix: {shares: {none: 0.99, random: 0.01}}\n"
    edit(
        ("    temperature: 0.7\n", "    temperature: 0\n"),
        ("    max_tokens: 48\n", "    max_tokens: 99\n"),
        ("\ndesign:\n", f"\n{mix}\ndesign:\n"),
        ("  test: [none, random]", "  test: [mine]"),
    )
    recipe = load_study(project).recipe
    notes = persona_notes(recipe, {"arithmetic": Size(5), "arithmetic_test": Size(99)})
    assert [note.partition(":")[0] for note in notes] == [
        "`writer.attempts` is 3 at temperature 0",
        "`strategies.mine.mix.shares.random` is 0.01",
    ]
    assert "of the 99 problems of `arithmetic_test` less than one on average" in notes[1]
    assert len(persona_notes(recipe, {"arithmetic_test": Size(100)})) == 1


def test_checkpoints_need_steps_of_their_own(project: Path, edit: Edit) -> None:
    """`query` would refuse them too, once the personas are written."""
    edit(
        ("  test: [none, random]", "  test: [none, random]\n  checkpoints: [last, 1/2, 98/99]"),
        ("  global_batch_size: #", "  global_batch_size: 8"),
        ("  epochs: #", "  epochs: 1"),
    )
    document = read_document(project / "params.yaml")
    recipe = load_study(project).recipe
    assert step_faults(document, recipe, {"arithmetic": Size(8 * 50)}, project) == []
    (fault,) = step_faults(document, recipe, {"arithmetic": Size(8 * 49)}, project)
    assert fault.message == (
        "`design.checkpoints`: a training of 49 steps has no step before its last at `98/99` "
        "(smollm2_135m-arithmetic-none-1 and 1 more)"
    )
    assert fault.hint and "`global_batch_size`" in fault.hint
    assert step_faults(document, recipe, {}, project) == []
    edit(("      size: #\n      split: train", "      size: 16\n      split: train"))
    assert (
        "a training of 2 steps has no step before its last at `98/99`"
        in check_recipes(project, ["params.yaml"]).faults[0].message
    )


def test_states_that_are_never_saved_are_noted(project: Path, edit: Edit) -> None:
    edit(
        ("  global_batch_size: #", "  global_batch_size: 8\n  save_every_steps: 3"),
        ("  epochs: #", "  epochs: 1"),
    )
    recipe = load_study(project).recipe
    assert step_notes(recipe, {"arithmetic": Size(24)}, project) == []
    (note,) = step_notes(recipe, {"arithmetic": Size(16)}, project)
    assert note.startswith("`train.save_every_steps` is 3: a training of at most 2 steps saves no state (smollm2")
    assert len(step_notes(recipe, {"arithmetic": Size(8)}, project)) == 2
