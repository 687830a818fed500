"""Paths into a row: an item of a list by what it says of itself, whole names first, and no text that is too odd."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pace import processor_seconds
from unit.source_samples import mapped_table, table_of

from its.errors import FaultsError
from its.recipe.schema import Fields
from its.sources.fields import field_faults
from its.sources.paths import ABSENT, head_of, reach, steps_of
from its.types import Problem


def at(row: Any, path: str) -> Any:
    return reach(row, path, steps_of(path))


def mapped(rows: list[Any], **fields: Any) -> list[Problem]:
    return mapped_table(table_of(rows), Fields.model_validate(fields), "s")[0]


def faults(rows: list[Any], **fields: Any) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        mapped(rows, **fields)
    return [f"{fault.where}: {fault.message} | {fault.hint}" for fault in caught.value.faults]


CHAT = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "User ", "content": "1?"},
        {"role": "assistant", "content": "Hm. 1."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "2."},
    ],
    "conversations": [{"from": "human", "value": "3?"}, {"from": "gpt", "value": "3."}],
    "inner": {"turns": [{"author": {"role": "user"}, "parts": [{"type": "image"}, {"type": "text", "text": "4?"}]}]},
    "lists": [[{"role": "user", "content": "5?"}]],
    "choices": [{"label": "A", "text": "six"}, {"label": "B", "text": "seven"}, {"label": 3, "text": "eight"}],
    "a.b": [{"k": "v", "x": 9}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("messages[role=user].content", "1?"),
        ("messages[role=USER].content", "1?"),
        ("messages[role=user,first].content", "1?"),
        ("messages[role=user,last].content", "Sure?"),
        ("messages[role=assistant, last ].content", "2."),
        ("messages[role=system].content", "Be kind."),
        ("messages[role=tool].content", ABSENT),
        ("conversations[from=human].value", "3?"),
        ("conversations[from=gpt].value", "3."),
        ("inner.turns[author.role=user].parts[type=text].text", "4?"),
        ("inner.turns[author.role=user].parts.1.text", "4?"),
        ("lists.0[role=user].content", "5?"),
        ("choices[label=b].text", "seven"),
        ("choices[label=3].text", "eight"),
        ("choices[label=C].text", ABSENT),
        ("messages[role=user]", CHAT["messages"][1]),  # type: ignore[index]
        ("messages[role=user].role", "User "),
        ("messages.1.content", "1?"),
        ("messages[role=user].nothing", ABSENT),
        ("conversations[role=user].value", ABSENT),
        ("nothing[role=user].value", ABSENT),
        ("choices.label[role=user]", ABSENT),
        ("messages[role=user", ABSENT),
        ("messages[user].content", ABSENT),
        ("messages[].content", ABSENT),
        ("messages[=user].content", ABSENT),
        ("messages[role=].content", ABSENT),
        ("messages[role=user,second].content", ABSENT),
        ("messages[[role=user]].content", ABSENT),
        ("a.b", [{"k": "v", "x": 9}]),
        ("", ABSENT),
        (".", ABSENT),
        ("messages.", ABSENT),
    ],
)
def test_an_item_is_picked_by_what_it_says(path: str, found: Any) -> None:
    value = at(CHAT, path)
    assert value is ABSENT if found is ABSENT else value == found


def test_whole_names_come_first() -> None:
    row: dict[str, Any] = {"messages[role=user]": "a column", "messages": [{"role": "user", "content": "a turn"}]}
    assert at(row, "messages[role=user]") == "a column"
    assert at(row, "messages[role=user].content") is ABSENT, "the column of that name has no content"
    assert at({"x": row, "messages[role=user].content": "c"}, "messages[role=user].content") == "c"
    assert at({"x": row}, "x.messages[role=user]") == "a column"
    assert [problem.text for problem in mapped([row], problem="messages[role=user]")] == ["a column"]


NAMES = st.text(alphabet=string.ascii_letters + " _-", min_size=1, max_size=5)
WORDS = st.text(alphabet=string.ascii_letters + string.digits + " .-", min_size=1, max_size=5)


@given(
    names=st.lists(NAMES, min_size=1, max_size=3),
    key=NAMES,
    words=st.lists(WORDS, min_size=1, max_size=5),
    data=st.data(),
)
def test_the_first_and_the_last_of_a_word_are_found_wherever_the_list_stands(
    names: list[str], key: str, words: list[str], data: st.DataObject
) -> None:
    items = [{key: word, "text": str(index)} for index, word in enumerate(words)]
    row: Any = items
    for name in reversed(names):
        row = {name: row}
    word = data.draw(st.sampled_from(words))
    same = [index for index, other in enumerate(words) if other.strip().casefold() == word.strip().casefold()]
    keys = tuple(key.strip().split("."))
    if keys != (key,):
        return  # white space at the ends of a key is none of it
    path = f"{'.'.join(names)}[{key}={word}]"
    assert at(row, f"{path}.text") == str(same[0])
    assert at(row, f"{path.removesuffix(']')},last].text") == str(same[-1])


@given(st.text(alphabet="ab.[]=,0{} \n\\\u2028", max_size=40))
def test_any_text_is_a_path_and_a_column_of_that_name_is_found(path: str) -> None:
    assert "".join(step.text for step in steps_of(path)).replace(".", "") == path.replace(".", "")
    head, rest = head_of(path)
    assert head + rest == path
    assert at({path: 1}, path) == 1
    at({"a": [{"b": "a"}], "b": {"a": 1}}, path)


@pytest.mark.parametrize(
    "path",
    [
        *("[a=" * 10_000, "[a=b]" * 6_000, "a[b=c]." * 4_000, "[" * 32_000, "a.b" * 10_000, "a[b=c,last]" * 2_900),
        *("[a=b,first" * 3_000, "=" * 32_000, f"[{'a=' * 15_000}]", "." * 32_000, f"a[{' ' * 31_000}=b]"),
    ],
)
def test_hostile_paths_cost_little(path: str) -> None:
    with processor_seconds(2):
        assert field_faults(Fields(problem=path), ()) == []
        rows = [{"a": [{"b": "c"}] * 100, "": [1]}] * 100
        with pytest.raises(FaultsError) as caught:
            mapped(rows, problem=path)
    assert all(len(line) < 5_000 for line in caught.value.lines())


@pytest.mark.parametrize("which", ["", ",first", ",last"])
def test_speakers_are_held_as_for_a_number(which: str) -> None:
    turns = [("system", "Be kind."), ("user", "1?"), ("assistant", "1.")]
    rows = [{"m": [{"role": who, "content": text} for who, text in turns]}] * 3
    found = mapped(rows, problem=f"m[role=user{which}].content", solution=f"m[role=assistant{which}].content")
    assert [(problem.text, problem.solution) for problem in found] == [("1?", "1.")] * 3
    (first, *_) = faults(rows, problem=f"m[role=system{which}].content")
    assert first.startswith(
        f"f:1: `m[role=system{which}].content` (problem) is a turn of `system`: expected user or human"
    )
    assert "pick by who speaks: `m[role=user].content`" in first
    (first, *_) = faults(rows, problem=f"m[role=user{which}].content", solution=f"m[role=user{which}].content")
    assert "(solution) is a turn of `user`: expected assistant or gpt" in first


def test_other_fields_take_one_speaker_in_every_row() -> None:
    def row(first: str) -> dict[str, Any]:
        return {"q": "?", "m": [{"id": "x", "role": first, "content": "1"}]}

    assert faults([row("user"), row("assistant")], problem="q", reference="m[id=x].content") == [
        "f:2: `m[id=x].content` (reference) is a turn of `assistant`, in the first row one of `user` |"
        " pick by who speaks: `m[role=user].content`"
    ]


def test_an_absent_speaker_is_an_absent_value() -> None:
    rows = [
        {"m": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1."}]},
        {"m": [{"role": "system", "content": "x"}, {"role": "tool", "content": "y"}]},
        {"m": []},
        {"m": None},
    ]
    assert faults(rows, problem="m[role=user].content") == [
        "f:2: no `m[role=user].content` (problem); the row has: `m` |"
        " no item of `m` has `role` `user`; there: `system`, `tool`",
        "f:3: no `m[role=user].content` (problem); the row has: `m` | no item of `m` has `role` `user`; there: none",
        "f:4: no `m[role=user].content` (problem); the row has: `m` | fix `fields:` or the row",
    ]
    rows = [*rows[:1], {"m": [{"role": "user", "content": "2?"}]}]
    found = mapped(rows, problem="m[role=user].content", solution="m[role=assistant].content")
    assert [problem.solution for problem in found] == ["1.", None], "a solution that is not needed is left out"


def test_a_path_of_another_language_gets_ours() -> None:
    rows = [{"m": [{"content": "1?"}]}, {"m": 1}]
    assert "a path has dots: `m.0.content`" in faults([{"m[0].content": "x"}, rows[0]], problem="m[0].content")[0]
    assert "`m.content`" in faults([{"m['content']": "x"}, rows[1]], problem="m['content']")[0]
