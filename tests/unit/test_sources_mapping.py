"""Mapping: rows of any shape become problems; paths, expressions, options, traces; every fault is named."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pace import processor_seconds
from running import ROOT
from unit.source_samples import mapped_table, parted, table_of

from its.errors import DataError, FaultsError, MissingError
from its.recipe.presets import PRESETS
from its.recipe.schema import Benchmark, Dataset, Fields
from its.sources.expressions import ExpressionError, boxed, getter
from its.sources.fields import field_faults
from its.sources.load import load_problems
from its.sources.paths import ABSENT
from its.sources.text import as_json, as_text
from its.sources.thoughts import Trace, normal_trace
from its.streams import Stream
from its.types import Problem, Rejected


def _map(rows: list[Any], required: tuple[str, ...] = (), *, tolerated: int = 0, **fields: Any) -> list[Problem]:
    declared = Fields.model_validate(fields or {"problem": "q", "reference": "a"})
    return mapped_table(table_of(rows), declared, "s", required, tolerated=tolerated)[0]


def _faults(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        _map(*args, **kwargs)
    return [f"{fault.where}: {fault.message}" for fault in caught.value.faults]


def test_rows_become_problems() -> None:
    one, two = _map(
        [{"x": {"q": "1?"}, "a": [27.0], "id": 60}, {"x": {"q": "2?"}, "a": ["b"], "id": "z"}],
        problem="x.q",
        reference="a.0",
        problem_id="id",
        meta={"whole": "x", "first": "a.0"},
    )
    assert (one.text, one.reference, one.problem_id, one.source, one.row) == ("1?", "27", "60", "s", "f:1")
    assert (two.reference, two.problem_id, two.solution, two.row) == ("b", "z", None, "f:2")
    assert one.meta == {"whole": {"q": "1?"}, "first": 27.0}


def test_a_column_may_have_dots_and_spaces_in_its_name() -> None:
    (problem,) = _map([{"a.b": "1?", "Correct Answer": 3}], problem="a.b", reference="Correct Answer")
    assert (problem.text, problem.reference) == ("1?", "3")


CHATS = [  # (key, words for system, user and assistant; the text's name; the list's name)
    ("role", ("system", "user", "assistant"), "content", "messages"),
    ("from", ("system", "human", "gpt"), "value", "conversations"),
    ("from", ("system", "user", "assistant"), "value", "conversations"),
    ("role", ("developer", "Human", "Model"), "text", "the turns"),
    ("speaker", ("system", "user", "assistant"), "text", "dialogue"),
    ("sender", ("system", "Human", "bot"), "text", "m"),
    ("author", ("developer", "user", "assistant"), "content", "m"),
    ("author.role", ("system", "user", "assistant"), "content", "m"),
    ("type", ("system", "human", "ai"), "content", "m"),
]


@pytest.mark.parametrize("chat", CHATS, ids=lambda chat: "-".join([chat[0], *chat[1]]))
@given(data=st.data())
def test_a_turn_by_its_number_must_be_the_right_speakers(chat: Any, data: st.DataObject) -> None:
    """A row with a system turn is faulty, wherever it stands; the remedy that the error names reads every row."""
    key, (system, user, assistant), text, turns = chat
    with_system = data.draw(st.lists(st.booleans(), min_size=1, max_size=6))
    more = data.draw(st.integers(0, 2))

    def row(index: int) -> dict[str, Any]:
        said = [(user, f"question {index}?"), (assistant, f"answer {index}")]
        said += [(user, "And now?"), (assistant, "Nothing.")][: 2 * more]
        spoken = [(system, "Be kind.")] * with_system[index] + said
        outer, _, inner = key.partition(".")
        return {turns: [{outer: {inner: who} if inner else who, text: what} for who, what in spoken], "a": index}

    rows = [row(index) for index in range(len(with_system))]
    paths: dict[str, Any] = {"problem": f"{turns}.0.{text}", "solution": f"{turns}.1.{text}"}
    if not any(with_system):
        assert [problem.text for problem in _map(rows, **paths)] == [f"question {at}?" for at in range(len(rows))]
        return
    with pytest.raises(FaultsError) as caught:
        _map(rows, **paths)
    faults = caught.value.faults
    faulty = [f"f:{number}" for number, has in enumerate(with_system, start=1) if has]
    assert [fault.where for fault in faults] == [where for where in faulty for _ in paths]
    assert faults[0].message == f"`{turns}.0.{text}` (problem) is a turn of `{system}`: expected user or human"
    said = f"`{turns}.1.{text}` (solution) is a turn of `{user.lower()}`"
    assert faults[1].message == f"{said}: expected assistant or gpt"
    if len(faulty) < len(rows):
        kept = _map(rows, tolerated=len(faulty), **paths)
        assert [problem.text for problem in kept] == [
            f"question {at}?" for at, has in enumerate(with_system) if not has
        ]
    for fault, name in zip(faults, paths, strict=False):
        assert fault.hint is not None and fault.hint.startswith(f"pick by who speaks: `{turns}[{key}=")
        paths[name] = fault.hint.removeprefix("pick by who speaks: `").removesuffix("`")
    found = _map(rows, **paths)
    assert [(problem.text, problem.solution) for problem in found] == [
        (f"question {at}?", f"answer {at}") for at in range(len(rows))
    ]


BY_PLACE = [
    "row['{turns}'][0].{text}",
    "(row['{turns}'] | first).{text}",
    "row['{turns}'] | map(attribute='{text}') | first | strip",
]


@pytest.mark.parametrize("expression", BY_PLACE)
@pytest.mark.parametrize("chat", CHATS, ids=lambda chat: "-".join([chat[0], *chat[1]]))
def test_a_turn_that_an_expression_takes_must_be_the_right_speakers(chat: Any, expression: str) -> None:
    key, (system, user, assistant), text, turns = chat

    def row(*said: tuple[str, str]) -> dict[str, Any]:
        outer, _, inner = key.partition(".")
        return {turns: [{outer: {inner: who} if inner else who, text: what} for who, what in said], "a": "1"}

    question, answer = (user, " Why? "), (assistant, "So.")
    rows = [row(question, answer), row((system, "Be kind."), question, answer)]
    problem = "{{ " + expression.format(turns=turns, text=text) + " }}"
    with pytest.raises(FaultsError) as caught:
        _map(rows, problem=problem, reference="a")
    (fault,) = caught.value.faults
    assert fault.where == "f:2"
    assert fault.message == f"`{problem}` (problem) is a turn of `{system}`: expected user or human"
    remedy = str(fault.hint).removeprefix("pick by who speaks: `").removesuffix("`")
    assert [found.text for found in _map(rows, problem=remedy, reference="a")] == [" Why? "] * 2
    solution = problem.replace("[0]", "[1]").replace("first", "last")
    asked_last = [row(question, answer), row((system, "Be kind."), question)]
    with pytest.raises(FaultsError, match=r"\(solution\) is a turn of `\w+`: expected assistant or gpt"):
        _map(asked_last, problem=remedy, solution=solution)


@pytest.mark.parametrize(
    "problem",
    [
        "{{ (row.m | selectattr('role', 'equalto', 'system') | first).content }}",  # who wants it says so
        "{{ row.m[0].content }}: {{ row.m[1].content }}",
        "{{ row.q }}",
    ],
)
def test_an_expression_may_take_what_it_names(problem: str) -> None:
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1"}]
    assert len(_map([{"q": "1 + 1", "m": turns}], problem=problem)) == 1
    same = [{"role": who, "content": "Add."} for who in ("system", "user")]
    assert len(_map([{"q": "Add.", "m": same}], problem="{{ row.m[0].content }}")) == 1


def test_names_of_people_are_no_speakers() -> None:
    said = [{"speaker": "Ann", "type": "text", "content": "1?"}, {"speaker": "Bob", "type": "text", "content": "2"}]
    assert [found.text for found in _map([{"m": said}], problem="m.0.content")] == ["1?"]


@pytest.mark.parametrize("space", ["\n", " ", "\t\n ", "\u2028"])
def test_white_space_at_the_ends_of_a_solution_goes(space: str) -> None:
    (plain, thought) = _map(
        [{"q": "5?", "s": f"{space}It is{space}5.{space}"}, {"q": "6?", "s": f"<think>hm</think>{space}6{space}"}],
        problem="q",
        solution="s",
    )
    assert (plain.solution, plain.meta) == (f"It is{space}5.", {})
    assert thought.solution == "<think>\nhm\n</think>\n\n6"


def test_other_fields_take_the_same_speaker_in_every_row() -> None:
    def row(*said: str) -> dict[str, Any]:
        return {"q": "1?", "m": [{"role": who, "content": f"{who}'s"} for who in said]}

    fields: dict[str, Any] = {"problem": "q", "reference": "m.1.content", "meta": {"whole": "m"}}
    assert [problem.reference for problem in _map([row("user", "assistant")] * 2, **fields)] == ["assistant's"] * 2
    assert _faults([row("user", "assistant"), row("system", "user", "assistant")], **fields) == [
        "f:2: `m.1.content` (reference) is a turn of `user`, in the first row one of `assistant`"
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"m": [{"content": "x"}, {"content": "y"}]}, None),  # nobody's turns
        ({"m": ["x", "y"]}, "m.0"),
        ({"m": [{"role": "user", "content": "x"}], "m.0.content": "z"}, None),  # a column of that name
        (
            {"m": [{"content": "x"}, {"role": "assistant", "content": "y"}]},
            "without a speaker: expected user or human",
        ),
        ({"m": [{"role": None, "content": "x"}]}, "is a turn without a speaker"),
        ({"m": [{"role": ["user"], "content": "x"}]}, "is a turn without a speaker"),
        ({"m": [{"role": " USER ", "content": "x"}]}, None),
        ({"m": [{"role": "tool", "content": "x"}]}, "is a turn of `tool`"),
        ({"m": [[{"role": "user", "content": "x"}]]}, "m.0.content"),
    ],
)
def test_turns_of_odd_rows(row: dict[str, Any], fault: str | None) -> None:
    if fault is None:
        assert len(_map([row], problem="m.0.content")) == 1
    else:
        assert any(fault in said for said in _faults([row], problem="m.0.content"))


def test_rows_without_an_id_are_numbered_by_their_place() -> None:
    rows = [{"q": "1", "a": 1}, {"q": ""}, {"q": "3"}]
    assert [problem.problem_id for problem in _map(rows, tolerated=1)] == ["000000", "000002"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (27, "27"),
        (27.0, "27"),
        (-0.0, "0"),
        (-0.5, "-0.5"),
        (1e22, "10000000000000000000000"),
        (1e23, "100000000000000000000000"),
        (1e-7, "0.0000001"),
        (2**70, "1180591620717411303424"),
        (Decimal("12345678901234567890.10"), "12345678901234567890.10"),
    ],
)
def test_scalars_become_text_without_loss(value: Any, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, float("nan"), float("-inf"), Decimal("1e5000")])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        as_text(value)


def test_meta_refuses_what_json_has_not() -> None:
    assert as_json({"a": [1, None, True, 0.5, Decimal("0.12345678901234567890")]}) == {
        "a": [1, None, True, 0.5, "0.12345678901234567890"]
    }
    for value in (float("nan"), b"x", {"a": {1, 2}}, "\ud800"):
        with pytest.raises(TypeError):
            as_json(value)
    assert _faults([{"q": "1", "a": 1, "m": float("nan")}], problem="q", meta={"m": "m"}) == [
        "f:1: `m` (meta.m) is or contains NaN, which stands for a missing value"
    ]


def test_every_faulty_row_is_named() -> None:
    rows = [
        {"q": "ok", "a": 1},
        {"p": 1},
        {"q": None},
        {"q": " "},
        {"q": ["x"]},
        5,
        {"q": "ok", "a": {"b": 1}},
        {"q": "", "a": float("nan")},
    ]
    assert _faults(rows) == [
        "f:2: no `q` (problem); the row has: `p`",
        "f:3: `q` (problem) has no value",
        "f:4: `q` (problem): empty",
        "f:5: `q` (problem) is a list: expected text or a number",
        "f:6: the row is a int, not an object",
        "f:7: `a` (reference) is a dict: expected text or a number",
        "f:8: `q` (problem): empty",
        "f:8: `a` (reference) is NaN, which stands for a missing value",
    ]


def test_a_benchmark_needs_references() -> None:
    assert _faults([{"q": "1"}, {"q": "2", "a": ""}], ("reference",)) == [
        "f:1: no `a` (reference); the row has: `q`",
        "f:2: `a` (reference): empty",
    ]
    assert _faults([{"q": "1"}], ("reference",), problem="q") == [
        "s: `fields` has no `reference`: every row needs one here"
    ]


def test_a_field_that_no_row_has_is_misspelt() -> None:
    assert _faults([{"q": "1"}, {"q": "2"}], problem="q", reference="anser", meta={"x": "y.z"}) == [
        "f: no row has `anser` (reference), `y.z` (meta.x); the rows have: `q`",
    ]
    assert [p.reference for p in _map([{"q": "1"}, {"q": "2", "a": "b"}])] == [None, "b"], "some rows may lack it"


def test_a_source_without_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="f: no row"):
        _map([])


def test_a_duplicate_problem_id_names_the_first() -> None:
    rows = [{"q": "1", "id": 1}, {"q": "2", "id": "1"}]
    assert _faults(rows, problem="q", problem_id="id") == ["f:2: duplicate problem_id `1`; first at f:1"]


ROW = {
    "Body": "Two bananas.",
    "Question": "How many?",
    "n": 27.0,
    "worked": "so \\boxed{1} and \\boxed{\\frac{\\{1}{2}}.\n#### 1,072 ",
    "tagged": "<answer> 5 </answer><answer>\n6</answer>",
    "braces": "{{ row.n }} {# stay #} {% raw",
    "none": None,
    "items": "a column",
    "odd name": "x",
}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("{{ row.Body }} {{ row.Question }}", "Two bananas. How many?"),
        ("{{ row.n }}", "27"),
        ("{{ row.worked | boxed }}", "\\frac{\\{1}{2}"),
        ("{{ row.worked | after('####') | strip }}", "1,072"),
        ("{{ row.worked | before('####') | boxed }}", "\\frac{\\{1}{2}"),
        ("{{ row.tagged | tag('answer') | strip }}", "6"),
        ("{{ row.braces }}", "{{ row.n }} {# stay #} {% raw"),
        ("{{ row.items }}", "a column"),
        ("{{ row['odd name'] }}", "x"),
        ("{{ row.none }}", None),
        ("{{ row.none | boxed | strip }}", None),
        ("{{ row.Body | boxed }}", None),
        ("{{ row.Body | after('####') }}", None),
        ("{{ row.none or row.Question }}", "How many?"),
        ("\n{{ row.Question }}\n", "\nHow many?\n"),
    ],
)
def test_expressions(expression: str, text: str | None) -> None:
    found = {
        "q": 1,
        "worked": "\\boxed{1} ####",
        "Body": "\\boxed{1} ####",
        "none": "\\boxed{1}",
    }  # else no row has the field
    first, _ = _map([ROW, ROW | found], problem="Question", meta={"x": expression})
    assert first.meta == ({} if text is None else {"x": text})


NOTHING = ("row.n", "row.a | after('z')", "row.a | boxed", "row.d.n")
"""Expressions of a value that the row below does not have."""
LATER = (
    *("{} | string", "{} | upper", "{} | lower", "{} | title", "{} | capitalize", "{} | trim", "{} | strip"),
    *("{} | replace('a', 'b')", "row.a | replace('x', {})", "{} | center(9)", "{} | truncate", "{} | indent"),
    *("{} | wordwrap", "{} | int", "{} | float", "{} | list | join", "{} | tojson", "{} | split(',') | first"),
    *("'%s' | format({})", "row.a ~ ({})", "({}) ~ row.a ~ 1", "[row.a, {}] | join", "{} | default(none, true)"),
    *("[row.a, {}] | map('string') | join", "[{{'k': {}}}] | join('-', attribute='k')", "({} | upper)[:1]"),
    *("row.a | split({}) | join", "row.a | trim({})", "[1, 2] | join({})"),
)


@pytest.mark.parametrize("later", LATER)
def test_nothing_stays_nothing_whatever_follows(later: str) -> None:
    without = {"a": "x", "n": None, "d": {"n": None}, "q": "1"}
    there = {"a": "xz1 \\boxed{2}", "n": "3", "d": {"n": "4"}, "q": "2"}  # a field that no row has is a fault
    for nothing in NOTHING:
        source = "{{ " + later.format(f"({nothing})") + " }}"
        found, other = _map([without, there], problem="q", solution=source)
        assert found.solution is None and other.solution, source


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ row.a | default('a' ~ row.n) }}", "x"),
        ("{% set t = 'x' ~ row.n %}{{ row.a }}", "x"),
        ("{{ [row.a, 'a' ~ row.n] | first }}", "x"),
        ("{{ ('x' ~ row.n) | default('q', true) }}", "q"),
        ("{{ ('%s' | format(row.n)) | default('q', true) }}", "q"),
        ("{{ [row.n] | join | default('q', true) }}", "q"),
        ("{{ row.n | int(0) + 1 }}", "1"),
        ("{{ '%s, %d, %.2f, %5.1f%%' | format(row.f, row.f, row.f, row.f) }}", "27, 27, 27.00,  27.0%"),
        ("{{ '%s %s' | format(1e22, 1e-7) }}", "10000000000000000000000 0.0000001"),
        ("{{ row.a | replace('x', row.f) }}{{ 'a27' | replace(row.f, 'b') }}", "27ab"),
        ("{{ row.a | replace(old='x', new=row.f) }}{{ 'a27' | trim(chars=row.f) }}", "27a"),
        ("{{ {'k': 1, 2: 3} | join('+') }}", "k+2"),
        ("{{ row.day | string }}", "2024-01-31"),
        ("{{ row.l | tojson }}", '["p", null]'),
    ],
)
def test_what_is_there_is_used_beside_what_is_not(source: str, text: str) -> None:
    row = {"a": "x", "n": None, "f": 27.0, "day": date(2024, 1, 31), "l": ["p", None]}
    assert getter(source)(row) == text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        *((f"{{{{ row.nan | {name} }}}}", "NaN") for name in ("int", "int(5)", "float", "abs", "tojson", "round")),
        ("{{ [row.nan, 1] | map('int') | join(',') }}", "NaN"),
        ("{{ [[row.nan]] | tojson }}", "NaN"),
        ("{{ '%r' | format(row.a) }}", "`%r`: `%s` writes a text"),
        ("{{ '%5a' | format(row.a) }}", "`%5a`"),
        ("{{ '<None>a</None>' | tag(row.b) }}", "a bool is not text"),
        ("{{ {true: 1} | join }}", "a bool is not text"),
        ("{{ row.l | strip }}", "a list is not text"),
        ("{{ row.n | replace(row.typo, 'x') }}", "has no attribute 'typo'"),
    ],
)
def test_what_no_field_can_be_is_a_fault(source: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        getter(source)({"a": "x", "n": None, "nan": float("nan"), "b": True, "l": [1]})
    assert said in caught.value.fault.message


def test_a_mark_that_is_absent_finds_nothing() -> None:
    row = {"a": "<None>x</None>", "n": None}
    for name in ("after", "before", "tag"):
        assert getter(f"{{{{ row.a | {name}(row.n) }}}}")(row) is ABSENT


def test_a_join_of_long_numbers_is_bounded() -> None:
    with processor_seconds(4), pytest.raises(ExpressionError, match="does too much"):
        getter("{{ ([row.i] * 50000) | join }}")({"i": 10**4250})


@pytest.mark.parametrize(
    ("value", "said"),
    [(27.0, "27"), (0.5, "0.5"), (float("nan"), "NaN"), ([1], "a list"), ({"k": 1}, "a dict"), (True, "a bool")],
    ids=str,
)
@pytest.mark.parametrize(
    "source",
    ["{{ row.v ~ '' }}", "{{ row.v | string }}", "{{ [row.v] | join }}", "{{ row.v | upper }}", "{{ row.v | trim }}"],
)
def test_a_value_becomes_text_as_that_of_a_path_does(value: Any, said: str, source: str) -> None:
    if said[0].isdigit():
        assert _map([{"v": value}], problem=source)[0].text == said
    else:
        assert said in _faults([{"v": value}], problem=source)[0]


def test_the_marks_of_gsm8k_are_removed_as_the_documents_say() -> None:
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    (source,) = re.findall(r'solution: "({{ row.answer .*? }})"', text)
    answer = "A sold 48/2 = <<48/2=24>>24 clips.\nIn all 48+24 = <<48+24=72>>72\n#### 72"
    (row,) = _map([{"q": "1", "answer": answer}], problem="q", solution=source)
    assert row.solution == "A sold 48/2 = 24 clips.\nIn all 48+24 = 72\n#### 72"
    (row,) = _map([{"q": "1", "answer": "7 > 5 and 3 < 4"}], problem="q", solution=source)
    assert row.solution == "7 > 5 and 3 < 4"


def test_expressions_that_fail_name_the_row() -> None:
    assert _faults([{"q": "1"}], problem="{{ row.p }}") == ["f: no row has `{{ row.p }}` (problem); the rows have: `q`"]
    assert _faults([{"q": [1]}], problem="{{ row.q }}") == ["f:1: problem: expression fails: a list is not text"]
    missing = _faults([{"q": "x"}, {"q": "x", "z": "y", "p": "1y2"}], problem="{{ row.p | after(row.z) }}")
    assert missing[0].startswith("f:1: problem: expression: 'dict object' has no attribute 'z'")
    assert "sandbox: `__class__`" in _faults([{"q": "x"}], problem="{{ row.q.__class__.__mro__ }}")[0]
    assert "templates have no calls" in _faults([{"q": {"a": 1}}], problem="{{ row.q.update(a=2) }}")[0]
    assert _faults([{"q": "x", "a": "5"}], ("reference",), problem="q", reference="{{ row.a | after('####') }}") == [
        "f: `{{ row.a | after('####') }}` (reference) finds nothing in any row; the rows have: `q`, `a`"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"problem": "{{ row.q"}, "`fields.problem`: expression syntax"),
        ({"problem": "{{ question }}"}, "undefined variable `question`; given: `row`"),
        ({"problem": "{{ row.q | boxd }}"}, "`fields.problem`: expression.*boxd"),
        ({"problem": "q", "thinking": "t"}, "has `thinking` and no `solution`"),
        ({"problem": "q", "reference": "a", "choices": {"correct": "a", "wrong": ["b"]}}, "`choices` and `reference`"),
        ({"problem": "q", "choices": {"correct": "a", "wrong": ["b"] * 26}}, "more than 26 options"),
        ({"problem": "q", "meta": {"thought_form": "x"}}, "keeps `thought_form`, which the loader writes itself"),
    ],
)
def test_faulty_fields_are_found_before_any_row(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FaultsError, match=message):
        _map([{"q": "1"}], **fields)


def test_all_faults_of_fields_at_once() -> None:
    fields = Fields.model_validate({"problem": "{{ x }}", "meta": {"a": "{{ y }}"}})
    assert [name for name, _ in field_faults(fields, ("solution",))] == ["problem", "meta.a", ""]


@given(st.text(alphabet="a{}\\ ", max_size=30))
def test_what_is_boxed_is_found_whatever_stands_around(text: str) -> None:
    assert boxed(f"{text} \\boxed{{\\frac{{1}}{{2}}}}!") == "\\frac{1}{2}"


CHOICES: dict[str, Any] = {
    "problem": "q",
    "problem_id": "id",
    "choices": {"correct": "right", "wrong": ["w.0", "w.1", "w.2"]},
}


def _choice_rows(count: int) -> list[dict[str, Any]]:
    return [{"q": f"Which {i}?\n", "id": f"p{i}", "right": " yes ", "w": ["no", 3.0, "never"]} for i in range(count)]


def test_options_are_lettered_and_shuffled_by_the_problem() -> None:
    problems = _map(_choice_rows(400), ("reference",), **CHOICES)
    for problem in problems:
        head, _, options = problem.text.partition("\n\n")
        assert head == f"Which {problem.problem_id[1:]}?"
        assert [line[:3] for line in options.split("\n")] == ["A) ", "B) ", "C) ", "D) "]
        assert f"{problem.reference}) yes" in options.split("\n")
        assert sorted(problem.meta["choices"]) == ["3", "never", "no", "yes"]
    letters = [problem.reference for problem in problems]
    assert all(70 < letters.count(letter) < 130 for letter in "ABCD"), "no place is favoured"
    alone = _map(_choice_rows(400)[7:8], ("reference",), **CHOICES)[0]
    assert alone.text == problems[7].text, "the order depends on nothing but the problem"


def test_options_that_no_letter_can_tell_apart_are_a_fault() -> None:
    row = {"q": "?", "id": 1, "right": "3", "w": ["no", 3.0, "never"]}
    assert _faults([row], **CHOICES) == ["f:1: the correct option is also among the wrong ones"]
    assert _faults([{"q": "?", "id": 1, "right": "3", "w": ["no", None]}], **CHOICES) == [
        "f: no row has `w.2` (choices.wrong.2); the rows have: `q`, `id`, `right`, `w`",
        "f:1: `w.1` (choices.wrong.1) has no value",
    ]


NORMAL = "<think>\nhm\n</think>\n\nso 5"
OPEN = "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\nso 5\n<|end_of_solution|>"


@pytest.mark.parametrize(
    ("solution", "thinking", "trace"),
    [
        ("so 5", None, ("so 5", None)),
        (" so 5\n", None, (" so 5\n", None)),
        (NORMAL, None, (NORMAL, "think")),
        ("<think> hm </think> so 5 ", None, (NORMAL, "think")),
        (OPEN, None, (NORMAL, "openthoughts")),
        ("so 5", "hm", (NORMAL, "fields")),
        ("\nso 5", "<think>\nhm</think>\n", (NORMAL, "fields")),
        ("<think>hm and", None, ("<think>\nhm and", "think")),
        ("<|begin_of_thought|> hm and", None, ("<think>\nhm and", "openthoughts")),
    ],
)
def test_reasoning_takes_one_form(solution: str, thinking: str | None, trace: tuple[str, str | None]) -> None:
    assert normal_trace(solution, thinking) == Trace(*trace)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("solution", "thinking", "message"),
    [
        (" hm </think> so 5", None, "`</think>` without `<think>`: the prompt probably ended in `<think>`"),
        ("Well. <think>hm</think> so 5", None, "in no known order: `<think>` `</think>`"),
        ("<think>hm</think> so <think>no</think> 5", None, "in no known order"),
        (OPEN[: -len("<|end_of_solution|>")], None, "in no known order"),
        (NORMAL, "hm", "its own field, yet the text contains `<think>`"),
        ("so 5", "a </think> b", "its own field, yet the text contains `</think>`"),
    ],
)
def test_reasoning_in_no_known_form_is_a_fault(solution: str, thinking: str | None, message: str) -> None:
    assert message in normal_trace(solution, thinking)[0]


def test_what_marks_changed_is_kept() -> None:
    rows = [{"q": "1", "s": OPEN}, {"q": "2", "s": NORMAL}, {"q": "3", "s": "plain"}]
    one, two, three = _map(rows, ("solution",), problem="q", solution="s")
    assert one.meta == {"thought_form": "openthoughts", "original_solution": OPEN}
    assert two.meta == {"thought_form": "think"}
    assert three.meta == {}
    assert [p.solution for p in (one, two, three)] == [NORMAL, NORMAL, "plain"]


def test_a_prompt_that_ends_within_the_thought() -> None:
    row = {"p": "User: 2+3?\nAssistant: <think>", "r": " hm </think> <answer> 5 </answer>"}
    fields: dict[str, Any] = {
        "problem": "{{ row.p | after('User: ') | before('\\nAssistant:') }}",
        "thinking": "{{ row.r | before('</think>') }}",
        "solution": "{{ row.r | after('</think>') }}",
        "reference": "{{ row.r | tag('answer') | strip }}",
    }
    (problem,) = _map([row], ("solution",), **fields)
    assert (problem.text, problem.reference) == ("2+3?", "5")
    assert problem.solution == "<think>\nhm\n</think>\n\n<answer> 5 </answer>"
    assert problem.meta == {"thought_form": "fields"}


def test_a_row_without_its_thought_is_a_fault() -> None:
    fields = {"problem": "q", "thinking": "t", "solution": "s"}
    assert _faults([{"q": "1", "s": "5", "t": None}, {"q": "1", "s": None, "t": "hm"}], **fields) == [
        "f:1: `t` (thinking) has no value",
        "f:2: there is `thinking` and no `solution`",
    ]


def _declared(path: Path, rows: list[Any], **change: Any) -> Dataset:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Dataset.model_validate({"source": {"kind": "files", "path": path.name}, **change})


def _stream(declared: Dataset | Benchmark, project: Path) -> Stream[Problem | Rejected, dict[str, Any]]:
    required = ("solution",) if isinstance(declared, Dataset) else ("reference",)
    return load_problems("d", declared, seed=1, project=project, required=required)


def _load(declared: Dataset | Benchmark, project: Path) -> list[Problem]:
    return parted(_stream(declared, project))[0]


def test_a_preset_names_the_fields(tmp_path: Path) -> None:
    rows = [{"question": "1+71?", "answer": "1+71 = <<1+71=72>>72\n#### 72"}]
    stream = _stream(_declared(tmp_path / "g.jsonl", rows, preset="gsm8k"), tmp_path)
    ((problem,), _) = parted(stream)
    assert (problem.reference, problem.row, problem.source) == ("72", "g.jsonl:1", "g.jsonl")
    assert len(stream.result["sha256"]) == 64


@pytest.mark.parametrize("change", [{}, {"preset": "gsm9k"}, {"preset": "gsm8k", "fields": {"problem": "q"}}])
def test_fields_or_a_preset_that_exists(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"no `fields` and no `preset`|no preset `gsm9k`|a `preset` and `fields`"):
        _load(_declared(tmp_path / "g.jsonl", [{"q": 1}], **change), tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound(name: str) -> None:
    preset = PRESETS[name]
    assert field_faults(preset.fields, ("reference",) if preset.answer and not preset.fields.solution else ()) == []
    assert preset.fields.solution or preset.fields.reference or preset.fields.choices
    assert (preset.answer == "choice") == (preset.fields.choices is not None)


def test_a_file_that_is_not_the_pinned_one(tmp_path: Path) -> None:
    declared = _declared(tmp_path / "g.jsonl", [{"q": "1", "s": "x"}], fields={"problem": "q", "solution": "s"})
    assert not isinstance(declared.source, list)
    pinned = declared.model_copy(update={"source": declared.source.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(DataError, match=r"g\.jsonl: its sha256 is `[0-9a-f]{64}`, the recipe pins `000"):
        _load(pinned, tmp_path)
    (tmp_path / "g.jsonl").unlink()
    with pytest.raises(MissingError, match=r"g\.jsonl: no such file"):
        _load(declared, tmp_path)


def test_tolerated_rows_go_to_the_quarantine_and_one_more_stops(tmp_path: Path) -> None:
    rows = [{"q": "1", "s": "x"}, {"q": "", "s": None}, {"q": "3", "s": "x"}, {"q": "4\ud800", "s": "x"}]
    change: dict[str, Any] = {"fields": {"problem": "q", "solution": "s"}, "tolerate": {"rows": 2}}
    problems, rejected = parted(_stream(_declared(tmp_path / "d.jsonl", rows, **change), tmp_path))
    assert [problem.problem_id for problem in problems] == ["000000", "000002"]
    assert [(item.row, item.reasons) for item in rejected] == [
        ("d.jsonl:2", ["`q` (problem): empty", "`s` (solution) has no value"]),
        ("d.jsonl:4", ["`q` (problem): half a character (U+D800) at character 1"]),
    ]
    assert rejected[0].remedies == ["fix or remove the row"]
    assert json.loads(rejected[1].raw)["q"] == "4\ud800"
    assert rejected[1].model_dump_json(), "it can be written"
    with pytest.raises(FaultsError) as caught:
        _load(_declared(tmp_path / "d.jsonl", [*rows, {"q": "5"}], **change), tmp_path)
    assert [fault.where for fault in caught.value.faults] == ["d.jsonl:2"] * 2 + ["d.jsonl:4", "d.jsonl:5", "d.jsonl"]
    assert caught.value.faults[-1].message == "3 rows are faulty; `tolerate.rows` is 2"


PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openthoughts_114k_math": (
        {
            "source": "olympiads",
            "problem": "What is 1 + 1?",
            "solution": r"It is $\boxed{2}$.",
            "messages": [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "by Numina"}],
            "system": "Your role as an assistant ...",
            "conversations": [
                {"from": "user", "value": "Return your final response within \\boxed{}. What is 1 + 1?"},
                {
                    "from": "assistant",
                    "value": "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n"
                    "<|begin_of_solution|>\n\n\\boxed{2}\n\n<|end_of_solution|>",
                },
            ],
            "generated_token_count": 30,
            "correct": True,
        },
        {"reference": "2", "solution": "<think>\nhm\n</think>\n\n\\boxed{2}", "correct": True},
    ),
    "aime_2024_h4": (
        {
            "id": 60,
            "problem": "What is 1 + 1?",
            "solution": "It is 2.",
            "answer": "002",
            "url": "https://artofproblemsolving.com/",
            "year": "2024",
        },
        {"reference": "002", "solution": "It is 2.", "year": "2024", "problem_id": "60"},
    ),
}
"""Rows as the cards describe them; none was at hand."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_reads_rows_as_the_card_describes_them(tmp_path: Path, name: str) -> None:
    row, wanted = PUBLISHED[name]
    (problem,) = _load(_declared(tmp_path / "d.jsonl", [row], preset=name), tmp_path)
    found = {**problem.model_dump(), **problem.meta}
    assert {key: found[key] for key in wanted} == wanted
    assert problem.text == "What is 1 + 1?"
