"""Rows to train on are checked in `query`: exact lengths, and how a chat template writes them, before any training."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from fakes.tiny_tokenizer import CHATML, SPECIAL, TinyTokenizer
from running import run_stage
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from its.cards.build import ProblemCounts, build_card
from its.errors import DataError, FaultsError, ItsError, MissingError
from its.prompts.rows import row_fault
from its.prompts.token_ids import PromptReader
from its.recipe.schema import CellSelection
from its.rows import read_json, read_rows, write_json, write_rows
from its.stages import query, report
from its.strategies.controls import ROW_TOO_LONG
from its.strategies.members import members_of
from its.study.row_check import long_without_persona, row_readers
from its.study.row_lengths import left_out
from its.study.study import Study, load_study
from its.types import Persona, Problem, Query

Edit = Callable[..., None]
Template = Callable[[str], None]
MODEL = "smollm2_135m"
QUESTION, PERSONA = "How many?", "You are a potter."


def _write(study: Study, solutions: list[str], persona: str = PERSONA) -> None:
    """Problems `p0`, `p1`, ... on both sides, with personas under `random`."""
    for name in ("arithmetic", "arithmetic_test"):
        problems = [
            Problem(problem_id=f"p{at}", text=QUESTION, reference="5", solution=solution, source="own")
            for at, solution in enumerate(solutions)
        ]
        write_rows(study.problems_path(name), problems)
        for strategy in ("none", "random"):
            text = persona if strategy == "random" else ""
            rows = [
                Persona(problem_id=row.problem_id, strategy=strategy, text=text, attempts=int(bool(text)))
                for row in problems
            ]
            write_rows(study.personas_path(name, strategy), rows)


@pytest.fixture
def template(study: Study, edit: Edit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Template:
    """Let the model be one of the hub with this chat template, which no check of a recipe has seen."""
    hub = f"{{kind: hub, id: nobody/nothing, revision: '{'0' * 40}'}}"
    edit(("{kind: folder, path: base}", hub), ("    chat_template: prompts/chatml.jinja\n", ""))

    cache = shutil.copytree(study.project / "base", tmp_path / "hub")

    def file(name: str, repo: str, revision: str, file: str) -> Path | None:
        path = cache / file
        return path if path.is_file() else None

    monkeypatch.setattr("its.model_files.hub_file", file)

    def write(text: str) -> None:
        (cache / "chat_template.jinja").write_text(text, encoding="utf-8")

    return write


def _tokens(solution: str, persona: str = "") -> int:
    """Tokens of a row: the tiny tokenizer has one for each byte."""
    user = f"{persona}\n\n{QUESTION}" if persona else QUESTION
    tokenizer = TinyTokenizer()
    chat = [{"role": "user", "content": user}, {"role": "assistant", "content": solution}]
    return len(tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), add_special_tokens=False)["input_ids"])


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None]) -> Study:
    model_in_folder()
    return load_study(project)


def _limit(edit: Edit, limit: int, long_rows: str | None = None) -> None:
    more = f"\n  long_rows: {long_rows}" if long_rows else ""
    edit(("  sequence_length: #", f"  sequence_length: {limit}{more}"))


def _faults(*words: str) -> str:
    with pytest.raises(FaultsError) as caught:
        run_stage(*words)
    return "\n".join(caught.value.lines())


def _trained(study: Study, strategy: str = "none") -> list[str]:
    return [row.problem_id for row in read_rows(study.queries_path("train", "arithmetic", strategy), Query)]


def test_the_account_has_exact_lengths(study: Study) -> None:
    solutions = ["a" * 40, "b\n" * 9 + "c", "d" * 300]
    _write(study, solutions)
    said = run_stage("query")
    account = read_json(study.lengths_path())
    by_strategy = {row["strategy"]: row for row in account["rows"]}
    for strategy, persona in (("none", ""), ("random", PERSONA)):
        lengths = sorted(_tokens(solution, persona) for solution in solutions)
        row = by_strategy[strategy]
        assert (row["model"], row["dataset"], row["checked"], row["rows"]) == (MODEL, "arithmetic", True, 3)
        assert (row["min"], row["median"], row["max"], row["over"]) == (*lengths, 0)
    assert account["dropped"] == {} and account["not_checked"] == {}
    assert said.endswith(f"; longest train row {_tokens('d' * 300, PERSONA)} tokens of at most 4096")


def test_the_same_rows_give_the_same_account(study: Study) -> None:
    _write(study, ["a" * 40, "b" * 50])
    run_stage("query")
    first = study.lengths_path().read_bytes()
    run_stage("query")
    assert study.lengths_path().read_bytes() == first


def test_a_row_of_the_limit_fits_and_one_token_more_does_not(study: Study, edit: Edit) -> None:
    """As Axolotl 0.19 keeps rows of at most `sequence_len` ids."""
    _write(study, ["a" * 40, "b" * 100])
    longest = _tokens("b" * 100, PERSONA)
    _limit(edit, longest)
    run_stage("query")
    _limit(edit, longest - 1)
    said = _faults("query")
    assert f"problem_id `p1` has {longest} tokens with strategy `random` and model `{MODEL}`" in said
    assert f"`train.sequence_length` is {longest - 1}" in said
    assert f"params.yaml: 1 row is longer than `train.sequence_length`, {longest - 1} tokens, of 1 problem" in said
    assert f"hint: raise `train.sequence_length` to {longest} or more; or `train.long_rows: drop`" in said


def test_long_rows_are_named_all_at_once_the_longest_first(study: Study, edit: Edit) -> None:
    _write(study, ["a" * (100 + at) for at in range(30)])
    _limit(edit, 100)
    said = _faults("query").splitlines()
    assert len(said) == 20 + 2
    assert "`p29`" in said[0] and "; 2 rows of the problem are longer" in said[0]
    assert "60 rows are longer than `train.sequence_length`, 100 tokens, of 30 problems" in said[-2]


def test_a_row_beyond_the_context_needs_both_raised(study: Study, edit: Edit) -> None:
    _write(study, ["a" * 5000])
    assert f" or more, and `models.{MODEL}.context_length` too; or `train.long_rows: drop`" in _faults("query")


def test_dropped_problems_go_under_every_strategy(study: Study, edit: Edit) -> None:
    """`p1` is too long with a persona alone; without it in both, checkpoints are comparable."""
    _write(study, ["a" * 40, "b" * 100, "c" * 40])
    _limit(edit, _tokens("b" * 100), "drop")
    assert _tokens("b" * 100, PERSONA) > _tokens("b" * 100)
    said = run_stage("query")
    assert _trained(study, "none") == _trained(study, "random") == ["p0", "p2"]
    assert "4 train, 6 test queries" in said and "left out since a row is longer: 1 of arithmetic" in said
    account = read_json(study.lengths_path())
    assert account["dropped"] == {"arithmetic": ["p1"]}
    assert [row["over"] for row in account["rows"]] == [0, 1]
    # Test queries are not touched.
    assert len(list(read_rows(study.queries_path("test", "arithmetic_test", "none"), Query))) == 3


UNION = ("strategies:\n", "strategies:\n  all:\n    union: {of: [random, none]}\n")


def test_all_rows_of_a_problem_go_where_one_under_a_union_is_too_long(study: Study, edit: Edit) -> None:
    """`p1` is too long with a persona alone: its row without one goes too."""
    _write(study, ["a" * 40, "b" * 100, "c" * 40])
    edit(UNION, ("  train: [none, random]", "  train: [none, all]"))
    _limit(edit, _tokens("b" * 100), "drop")
    said = run_stage("query")
    assert _trained(study, "none") == ["p0", "p2"] and _trained(study, "all") == ["p0", "p0", "p2", "p2"]
    assert "6 train, 6 test queries" in said and "left out since a row is longer: 1 of arithmetic" in said
    account = read_json(study.lengths_path())
    assert {row["strategy"]: (row["rows"], row["over"]) for row in account["rows"]} == {"none": (3, 0), "all": (6, 1)}
    assert {row["strategy"]: row["max"] for row in account["rows"]}["all"] == _tokens("b" * 100, PERSONA)


def test_each_row_of_a_union_that_is_too_long_is_counted(study: Study, edit: Edit) -> None:
    _write(study, ["a" * 40, "b" * 100])
    edit(UNION, ("  train: [none, random]", "  train: [all]"))
    _limit(edit, _tokens("b" * 100) - 1)
    said = _faults("query")
    assert f"problem_id `p1` has {_tokens('b' * 100, PERSONA)} tokens with strategy `all`" in said
    assert "; 2 rows of the problem are longer" in said and "2 rows are longer than `train.sequence_length`" in said


def test_rows_that_nothing_is_trained_on_are_not_measured(study: Study, edit: Edit) -> None:
    """Under `random` a row would be too long; this model is not trained on it, as another of a study may be."""
    _write(study, ["a" * 40, "b" * 100])
    _limit(edit, _tokens("b" * 100))
    recipe = load_study(study.project).recipe
    left_out = [CellSelection(train="random"), CellSelection(test="random", train=["none", "base"])]
    design = recipe.design.model_copy(update={"except_": left_out})
    (study.project / "data" / "solutions").mkdir()
    said = query.run(Study(study.project, recipe.model_copy(update={"design": design})))
    assert "2 train, 2 test queries; 1 training, 2 checkpoints, 2 cells, responses: 4" in said
    assert [row["strategy"] for row in read_json(study.lengths_path())["rows"]] == ["none"]
    assert not study.queries_path("test", "arithmetic_test", "random").exists()
    assert study.queries_path("train", "arithmetic", "random").read_bytes() == b""  # a stage depends on it
    assert read_json(study.trainings_path(MODEL, "arithmetic", "random", 1)) == {"trainings": []}


def test_a_problem_is_measured_under_the_member_that_a_mix_draws_for_it(study: Study, edit: Edit) -> None:
    _write(study, ["a" * 60 for _ in range(12)])
    (study.project / "recipes" / "prompts" / "wide.j2").write_text("{{ problem.text }}" + " Think." * 20)
    mixed = "  wide:\n    query: prompts/wide.j2\n  mixed:\n    mix: {shares: {none: 0.5, wide: 0.5}}\n"
    edit(("strategies:\n", f"strategies:\n{mixed}"), ("  train: [none, random]", "  train: [mixed]"))
    _limit(edit, _tokens("a" * 60), "drop")
    found = load_study(study.project)
    drawn = {f"p{at}" for at in range(12) if members_of(found.recipe.strategies, "mixed", f"p{at}", 17) == ["wide"]}
    assert 0 < len(drawn) < 12
    assert long_without_persona(found) == {"arithmetic": drawn}
    edit(("  train: [mixed]", "  train: [mixed, wide]"))
    assert long_without_persona(load_study(study.project)) == {"arithmetic": {f"p{at}" for at in range(12)}}


def test_a_solution_that_will_be_regenerated_is_not_measured(study: Study, edit: Edit) -> None:
    _write(study, ["a" * 400])
    solutions = "  solutions: {attempts: 2, sampling: {temperature: 0.8, top_p: 1, max_tokens: 9}}\n"
    edit(
        ("  attempts: 3\n", f"  attempts: 3\n{solutions}"),
        (
            "  none:\n    query: prompts/query_plain.j2",
            "  none:\n    query: prompts/query_plain.j2\n    solutions: regenerate",
        ),
        ("  train: [none, random]", "  train: [none]"),
    )
    _limit(edit, 100)
    assert long_without_persona(load_study(study.project)) == {}


def test_nothing_left_is_an_error(study: Study, edit: Edit) -> None:
    _write(study, ["a" * 100, "b" * 100])
    _limit(edit, 50, "drop")
    with pytest.raises(DataError, match="`arithmetic` has no row of at most 50 tokens"):
        run_stage("query")


@pytest.mark.parametrize("missing", ["tokenizer.json", "config.json"])
def test_what_cannot_be_checked_is_said(study: Study, missing: str, edit: Edit) -> None:
    _write(study, ["a" * 40, "b" * 100])
    _limit(edit, 50)
    (study.project / "base" / missing).unlink()
    said = run_stage("query")
    assert f"train rows of `{MODEL}` not checked before training: no tokenizer on this machine" in said
    account = read_json(study.lengths_path())
    assert account["not_checked"] == {MODEL: "its tokenizer is not available on this machine"}
    assert [row["checked"] for row in account["rows"]] == [False, False]
    assert len(_trained(study)) == 2


def test_a_wheel_is_not_fetched_without_the_training_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*given: Any) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr("its.models.unpacked_file", fetched)
    readers, why = row_readers(load_study(project))
    assert not readers and list(why) == [MODEL]


def test_a_hub_that_is_out_of_reach_stops_nothing(study: Study, monkeypatch: pytest.MonkeyPatch, edit: Edit) -> None:
    _write(study, ["a" * 40])
    revision = "0" * 40
    edit(("{kind: folder, path: base}", f"{{kind: hub, id: nobody/nothing, revision: '{revision}'}}"))

    def missing(*given: Any) -> None:
        raise MissingError("the hub is not available")

    monkeypatch.setattr("its.model_files.hub_file", missing)
    assert "not checked before training" in run_stage("query")


ASSISTANT = "m['role'] + '\\n' + m['content'] + '<|im_end|>'"
REASONING = CHATML.replace("m['content']", "m['content'].split('</think>')[-1]")
THOUGHT = "<think>\nTwo and three.\n</think>\n\nIt is 5."
FAULTY = {
    "drops the solution": (
        CHATML.replace("m['content']", "(m['content'] if m['role'] == 'user' else '')"),
        "It is 5.",
        "does not show the assistant turn|does not show the assistant's turn",
    ),
    "drops the user": (
        CHATML.replace("m['content']", "(m['content'] if m['role'] != 'user' else '')"),
        "It is 5.",
        "does not show the user turn",
    ),
    "cuts the reasoning": (REASONING, THOUGHT, "cuts the reasoning from the solution"),
    "trims": (CHATML.replace("m['content']", "m['content'].strip()"), "It is 5.\n", "trims the solution, which ends"),
    "trims the start": (
        CHATML.replace("m['content']", "m['content'].strip()"),
        "\nIt is 5.",
        "trims the solution, which begins",
    ),
    "changes": (
        CHATML.replace("m['content']", "m['content'].replace('is', 'was')"),
        "It is 5.",
        "changes the solution",
    ),
    "other end": (
        CHATML.replace("'<|im_end|>'", "('<|im_end|>' if m['role'] == 'user' else '<|endoftext|>')"),
        "It is 5.",
        r"never writes the end of turn `<\|im_end\|>` after the assistant's turn, but `<\|endoftext\|>",
    ),
    "two ends": (
        CHATML.replace("'<|im_end|>'", "('<|im_end|>' if m['role'] == 'user' else '<|im_end|><|im_end|>')"),
        "It is 5.",
        r"writes the end of turn `<\|im_end\|>` 2 times",
    ),
    "text after": (
        CHATML.replace("'<|im_end|>'", "('<|im_end|>' if m['role'] == 'user' else '<|im_end|>Bye')"),
        "It is 5.",
        "writes `Bye",
    ),
    "text before the end": (
        CHATML.replace("'<|im_end|>'", "('<|im_end|>' if m['role'] == 'user' else ' Done.<|im_end|>')"),
        "It is 5.",
        "writes ` Done.` between the solution and the end of turn",
    ),
    "empty thought": (
        CHATML.replace("m['content']", "('' if m['role'] == 'user' else '<think>\\n\\n</think>\\n\\n') + m['content']"),
        "It is 5.",
        "writes `<think>.* between the prompt and the solution, which no engine receives",
    ),
    "another prompt": (
        CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>model\\n'"),
        "It is 5.",
        "gives training another prompt than the engine: from character",
    ),
    "fails": (
        "{% if messages | length > 1 %}{{ raise_exception('no answers here') }}{% endif %}" + CHATML,
        "It is 5.",
        "does not render this row: .*no answers here",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_template_is_one_clear_error(study: Study, name: str, template: Template) -> None:
    text, solution, wanted = FAULTY[name]
    _write(study, [solution, "Well. " + solution, "Now. " + solution])
    template(text)
    said = _faults("query").splitlines()
    assert re.search(wanted, said[0]), said
    assert re.match(r"error: data/queries/(train|test)/arithmetic(_test)?/none\.jsonl:\d+: ", said[0])
    assert f"the chat template of `{MODEL}`" in said[0]
    assert said[1].startswith("hint: ") and f"`models.{MODEL}.chat_template`" in said[1]
    assert len(said) == 2  # one error for all rows


OF_ONE_ROW = {
    "no end": (
        CHATML.replace("'<|im_end|>'", "('' if 'odd' in m['content'] else '<|im_end|>')"),
        "never writes the end of turn",
    ),
    "no solution": (
        CHATML.replace("m['content']", "('' if 'odd' in m['content'] else m['content'])"),
        "does not show the assistant's turn",
    ),
    "a changed solution": (
        CHATML.replace("m['content']", "m['content'].replace('odd', 'even')"),
        "changes the solution",
    ),
    "no question": (
        "{% set odd = 'odd' in messages[-1]['content'] %}"
        + CHATML.replace("m['content']", "('' if odd and m['role'] == 'user' else m['content'])"),
        "gives training another prompt than the engine",
    ),
}


@pytest.mark.parametrize("name", OF_ONE_ROW)
def test_every_row_must_show_its_turns(study: Study, name: str, template: Template) -> None:
    """The row is not the first, the middle or the longest one, which are compared with their prompts."""
    text, wanted = OF_ONE_ROW[name]
    _write(study, ["It is 5."] * 2 + ["odd"] + ["It is 5."] * 5 + ["It is 5, and no less."])
    template(text)
    said = _faults("query").splitlines()
    assert said[0].startswith("error: data/queries/train/arithmetic/none.jsonl:3: ") and wanted in said[0], said
    assert "(row of problem_id `p2`)" in said[0] and len(said) == 2


def test_a_prompt_that_ends_an_undeclared_thought_takes_no_other(study: Study, template: Template) -> None:
    _write(study, ["It is 5.", THOUGHT])
    template(
        CHATML.replace("'\\n' + m", "'\\n' + ('<think></think>' if m['role'] == 'assistant' else '') + m").replace(
            "assistant\\n'", "assistant\\n<think></think>'"
        )
    )
    assert "1 of 2 solutions cannot be trained on by `smollm2_135m`: its prompt ends a thought" in _faults("query")


def test_an_unknown_end_of_turn_is_no_remedy_for_an_unknown_pad(study: Study, edit: Edit) -> None:
    _write(study, ["It is 5."])
    edit(("      eos: <|im_end|>\n      pad: <|im_end|>\n", "      eos: <|end|>\n      pad: <|end|>\n"))
    study.template_path("prompts/chatml.jinja").write_text(CHATML.replace("im_end", "end"), encoding="utf-8")
    said = _faults("query")
    assert "`pad: <|end|>`" not in said and "takes the end of turn" in said


def test_a_system_turn_that_the_template_refuses_or_drops_is_found(
    study: Study, edit: Edit, template: Template
) -> None:
    _write(study, ["It is 5."])
    edit(("prompt:\n", "prompt:\n  system: You are kind.\n"))
    refusing = "{% for m in messages if m.role == 'system' %}{{ raise_exception('no system') }}{% endfor %}"
    template(refusing + CHATML)
    said = _faults("query")
    assert "does not render this row: the chat template fails: templateerror: no system" in said
    assert f"`prompt.models: {{{MODEL}: {{system: null}}}}`" in said
    template(CHATML.replace("for m in messages", "for m in messages if m.role != 'system'"))
    assert "does not show the system turn: `You are kind.`" in _faults("query")


def test_a_row_within_a_file_that_fails_is_named_with_its_line(study: Study, template: Template) -> None:
    _write(study, ["It is 5."] * 6 + ["It is bad."] + ["It is 5."] * 6)
    template("{% if 'bad' in messages[-1].content %}{{ raise_exception('bad') }}{% endif %}" + CHATML)
    assert "data/queries/train/arithmetic/none.jsonl:7: " in _faults("query")


def test_special_tokens_that_the_tokenizer_lacks(study: Study, edit: Edit) -> None:
    _write(study, ["It is 5."])
    edit(("      pad: <|im_end|>", "      pad: <|pad|>"))
    said = _faults("query")
    assert f"params.yaml: models.{MODEL}.special_tokens.pad: `<|pad|>` is not a token of the tokenizer" in said
    assert "`pad: <|im_end|>` takes the end of turn" in said


def test_an_end_of_turn_that_the_tokenizer_lacks(study: Study, edit: Edit, template: Template) -> None:
    _write(study, ["It is 5."])
    template(CHATML.replace("<|im_end|>", "<|eot|>"))
    edit(("      eos: <|im_end|>", "      eos: <|eot|>"))
    said = _faults("query").splitlines()
    assert said[0].endswith(f"special_tokens.eos: `<|eot|>` is not a token of the tokenizer of `{MODEL}`")
    assert said[1] == "hint: the token that ends a turn, one of `<|im_end|>`, `<|endoftext|>`"


def test_a_template_that_opens_a_thought_against_the_recipe(study: Study, edit: Edit, template: Template) -> None:
    _write(study, [THOUGHT])
    template(CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'"))
    assert f"params.yaml: models.{MODEL}.thinking: `the chat template of {MODEL}` ends the prompt within" in _faults(
        "query"
    )


def test_a_solution_without_a_thought_is_refused_before_personas(study: Study, edit: Edit, template: Template) -> None:
    marks = "    thinking: {start: <think>, end: </think>, opened_by: prompt}\n"
    edit(("    special_tokens:\n", f"{marks}    special_tokens:\n"))
    opening = CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'").replace(
        "m['content']", "('<think>\\n' if m['role'] == 'assistant' else '') + m['content']"
    )
    template(opening)
    _write(study, [THOUGHT, THOUGHT + " Yes."])
    run_stage("query")
    _write(study, [THOUGHT, "It is 5."])
    assert "1 of 2 solutions cannot be trained on" in _faults("query")
    with pytest.raises(ItsError, match="1 of 2 solutions cannot be trained on"):
        run_stage("persona")


def test_long_rows_are_found_before_a_persona_is_asked_for(study: Study, engines: Any, edit: Edit) -> None:
    _write(study, ["a" * 40, "b" * 400])
    _limit(edit, 200)
    said = _faults("persona")
    assert f"data/problems/arithmetic.jsonl: problem_id `p1` has {_tokens('b' * 400)} tokens" in said
    assert engines.asked() == []


def test_a_template_that_fails_is_found_before_a_persona_is_asked_for(
    study: Study, engines: Any, edit: Edit, template: Template
) -> None:
    _write(study, ["a" * 4000, "b" * 5000])
    template("{% if 'bbb' in messages[-1].content %}{{ raise_exception('no b') }}{% endif %}" + CHATML)
    said = _faults("persona")
    assert "data/problems/arithmetic.jsonl, problem_id `p1`: the chat template of" in said and "no b" in said
    assert engines.asked() == []


def test_a_persona_that_makes_a_row_too_long_is_left_to_query(study: Study, engines: Any, edit: Edit) -> None:
    """Before it is written its length is not known: the shortest possible row fits."""
    _write(study, ["a" * 40, "b" * 100])
    shortest = _tokens("b" * 100)
    _limit(edit, shortest)
    run_stage("persona")
    assert len(engines.asked()) == 4
    assert "longer than `train.sequence_length`" in _faults("query")


def test_a_set_without_rows_has_an_account(study: Study) -> None:
    _write(study, [])
    assert "0 train, 0 test queries" in run_stage("query")
    row = read_json(study.lengths_path())["rows"][0]
    assert (row["rows"], row["min"], row["median"], row["max"], row["over"]) == (0, None, None, None, 0)


def test_no_persona_is_asked_for_a_problem_that_is_dropped_anyway(study: Study, engines: Any, edit: Edit) -> None:
    _write(study, ["a" * 40, "b" * 400])
    _limit(edit, 300, "drop")
    said = run_stage("persona")
    assert "3 personas written" in said and "none for 1 problem, whose rows are too long without one" in said
    assert len(engines.asked()) == 3  # one of the dataset, two of the benchmark
    personas = {row.problem_id: row for row in read_rows(study.personas_path("arithmetic", "random"), Persona)}
    assert personas["p1"].flags == [ROW_TOO_LONG] and not personas["p1"].text
    run_stage("query")
    assert _trained(study) == ["p0"]
    (study.project / "base" / "tokenizer.json").unlink()
    run_stage("query")
    assert _trained(study) == _trained(study, "random") == ["p0"]


def test_what_was_left_out_is_on_the_card_and_not_in_the_export(
    study: Study, edit: Edit, its: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    _write(study, ["a" * 40, "b" * 100, "c" * 40])
    for name in ("arithmetic", "arithmetic_test"):
        steps = [{"step": "loaded", "before": 3, "after": 3}]
        card = build_card(
            name=name,
            kind="dataset",
            declared={},
            origin={"kind": "files"},
            seed=1,
            steps=steps,
            counts=ProblemCounts(rows=3),
            quarantine=[],
            overlaps=[],
            files={},
            made_by={},
        )
        write_json(study.card_path(name), card)
        study.card_path(name).with_name("card.md").write_text("", encoding="utf-8")
    write_json(study.project / "data" / "personas" / "summary.json", {"personas": []})
    code, out, _ = its("data", "card", "arithmetic")
    assert code == 0 and "left out" not in out
    _limit(edit, _tokens("b" * 100), "drop")
    run_stage("query")
    said = "1 problem is left out of training under every strategy: a row is longer than `train.sequence_length`,\n"
    said += f"{_tokens('b' * 100)} tokens (`p1`)."
    for words in (("card", "arithmetic"), ("card", "arithmetic", "--strategy", "none")):
        code, out, _ = its("data", *words)
        assert code == 0 and said in out, out
    code, out, _ = its("data", "card", "arithmetic", "--json")
    wanted = {"sequence_length": _tokens("b" * 100), "problems": 1, "problem_ids": ["p1"]}
    assert json.loads(out)["card"]["too_long"] == wanted
    (listed,) = (each for each in report._cards(study, {}) if each.set == "arithmetic")
    assert listed.left_out == f"1 problem left out of training: a row is longer than {_tokens('b' * 100)} tokens"
    code, out, error = its("data", "export", "arithmetic", str(tmp_path / "out"), "--strategy", "none")
    assert code == 0, error
    assert said in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "data")
    assert table["problem_id"].to_pylist() == ["p0", "p2"]


def test_a_damaged_account_is_a_clear_error(study: Study) -> None:
    write_json(study.lengths_path(), {"lengths_version": 1, "sequence_length": 5, "dropped": {"arithmetic": "p1"}})
    with pytest.raises(DataError, match=r"lengths\.json: `dropped\.arithmetic`: input should be a valid list"):
        left_out(study, "arithmetic")
    write_json(study.lengths_path(), {"lengths_version": 2, "sequence_length": 5, "dropped": {}})
    with pytest.raises(DataError, match="`lengths_version` is 2, this version of ITS reads 1"):
        left_out(study, "arithmetic")


# The sum of the parts is the whole


def _bpe(pre: Any, normalizer: Any = None, added: list[AddedToken] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = ["user\nassistant\n", "the answer is 5.\n\nso x = 2 ", "  two\n\n\nlines ", "▁the▁answer", "ab\nab"] * 20
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens(added or [])
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": lambda: _bpe(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "prefix space": lambda: _bpe(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "sentencepiece, first": lambda: _bpe(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "sentencepiece, always": lambda: _bpe(pre_tokenizers.Metaspace(prepend_scheme="always")),
    "legacy llama": lambda: _bpe(
        pre_tokenizers.Sequence([]),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    ),
    "no pre-tokenizer": lambda: _bpe(pre_tokenizers.Sequence([]), normalizers.NFKC()),
    "white space tokens": lambda: _bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        added=[AddedToken("\n\n", normalized=False), AddedToken("  ", normalized=False)],
    ),
    "greedy token": lambda: _bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        added=[AddedToken("\n<|im_start|>", normalized=False), AddedToken("|>user", normalized=False)],
    ),
    "lstrip": lambda: _bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        added=[AddedToken("<|vision_start|>", lstrip=True, normalized=False)],
    ),
}
PARTS = ["\n", "\n\n", " ", "  ", "the answer", "5", "x = 2", "é", "ﬁ", "▁", "<|im_end|>", "<|im_start|>", "user", "\t"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_lengths_by_parts_are_those_of_the_whole(name: str, study: Study) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.save(str(study.project / "base" / "tokenizer.json"))
    item = row_readers(study)[0][0]
    drawn = random.Random(name)
    chats = []
    for _ in range(300):
        texts = ["".join(drawn.choices(PARTS, k=drawn.randint(1, 12))) for _ in range(2)]
        chats.append([{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}])
    wanted = [len(item.reader.ids(text)) for text in item.reader.rendered(chats, prompt=False)]
    assert item.lengths(chats) == wanted
    assert item.lengths(chats) == wanted  # from the cache
    assert item.parting
    if name != "greedy token":
        assert item.cut == "<|im_start|>"


def test_a_template_without_special_tokens_is_tokenized_whole(study: Study, template: Template) -> None:
    template("{% for m in messages %}{{ m['content'] + '.' }}{% endfor %}")
    item = row_readers(load_study(study.project))[0][0]
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert item.lengths([chat]) == [4] and not item.parting


def test_a_wrong_sum_is_seen_and_all_rows_are_tokenized_whole(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut where a tokenizer does join: the account must still be exact."""
    tokenizer = _bpe(pre_tokenizers.Sequence([]))
    tokenizer.save(str(study.project / "base" / "tokenizer.json"))
    item = row_readers(load_study(study.project))[0][0]
    wrong = next(
        text[at:]
        for text in ["assistant\n", "sistant\nthe answer"]
        for at in range(1, len(text))
        if len(item.reader.ids(text)) != len(item.reader.ids(text[:at])) + len(item.reader.ids(text[at:]))
    )
    monkeypatch.setattr(PromptReader, "cut_before", lambda self, text, end: wrong)
    _write(study, ["the answer is 5.", "so x = 2"])
    run_stage("query")
    assert "each is tokenized whole" in capsys.readouterr().err
    chats = [
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}]
        for text in ("the answer is 5.", "so x = 2")
    ]
    wanted = sorted(len(item.reader.ids(text)) for text in item.reader.rendered(chats, prompt=False))
    row = read_json(study.lengths_path())["rows"][0]
    assert [row["min"], row["max"]] == wanted


def test_a_prompt_that_the_tokenizer_joins_with_the_solution_is_a_fault() -> None:
    prompt, whole = "<|im_start|>assistant\n", "<|im_start|>assistant\n\nIt is 5.<|im_end|>"
    found = row_fault("m", (prompt, [1, 2]), (whole, [1, 3, 4, 9]), "\nIt is 5.", ("<|im_end|>", 9), None)
    assert found is not None and found.kind == "merged"
    assert "the tokenizer joins the end of the prompt" in found.message
    right = row_fault("m", (prompt, [1, 2]), (whole, [1, 2, 4, 9]), "\nIt is 5.", ("<|im_end|>", 9), None)
    assert right is None


@pytest.mark.parametrize("solution", ["\nIt is 5.", " It is 5.", THOUGHT, "<think>\nOnly a thought.\n</think>", "5"])
def test_odd_solutions_pass_a_verbatim_template(study: Study, solution: str) -> None:
    """Already prepared rows may have outer white space: a template that keeps it is right."""
    _write(study, [solution])
    run_stage("query")
    assert read_json(study.lengths_path())["rows"][0]["max"] == _tokens(solution)


# The frame of a model


def test_only_models_with_a_frame_of_their_own_have_messages_of_their_own(study: Study, edit: Edit) -> None:
    _write(study, ["It is 5."])
    edit(("prompt:\n", f"prompt:\n  system: Be kind.\n  models: {{{MODEL}: {{system: null}}}}\n"))
    run_stage("query")
    for path in (
        study.queries_path("train", "arithmetic", "none"),
        study.queries_path("test", "arithmetic_test", "none"),
    ):
        query = next(iter(read_rows(path, Query)))
        assert [turn.role for turn in query.messages] == ["system", "user"]
        assert query.by_model is not None and [turn.role for turn in query.by_model[MODEL]] == ["user"]
        assert query.turns(MODEL) == [{"role": "user", "content": QUESTION}]
    assert read_json(study.lengths_path())["rows"][0]["max"] == _tokens("It is 5.")


def test_a_frame_that_changes_nothing_leaves_the_bytes(study: Study, edit: Edit) -> None:
    _write(study, ["It is 5."])
    run_stage("query")
    path = study.queries_path("train", "arithmetic", "none")
    before = path.read_bytes()
    edit(("prompt:\n", f"prompt:\n  models: {{{MODEL}: {{system: null}}}}\n"))
    run_stage("query")
    assert path.read_bytes() == before and "by_model" not in json.loads(before)
