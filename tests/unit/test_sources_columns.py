"""Columns that no row has: one error that names what is expected, what is there, and the `fields:` that read it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from unit.source_samples import parted

from its.errors import FaultsError, ItsError
from its.recipe.presets import PRESETS
from its.recipe.schema import Dataset, Fields
from its.sources.columns import columns_fault
from its.sources.load import load_problems
from its.types import Problem

CHAT = ["conversations", "messages"]


def published_row(name: str, number: int) -> dict[str, Any]:
    """A row as the preset's set has it."""
    fields = PRESETS[name].fields
    texts = {"problem": f"What is {number} + 1?", "thinking": "Add.", "solution": f"\\boxed{{{number + 1}}} #### 2"}
    row: dict[str, Any] = {}

    def put(path: str | None, value: Any) -> None:
        if path is None:
            return
        if "{{" in path:
            for column in re.findall(r"row\.(\w+)", path):
                row.setdefault(column, texts["solution"])
        elif path.partition(".")[0] in CHAT:
            column = path.partition(".")[0]
            keys = ("from", "value") if column == "conversations" else ("role", "content")
            turns = [("user", texts["problem"]), ("assistant", texts["solution"])]
            row[column] = [dict(zip(keys, turn, strict=True)) for turn in turns]
        else:
            row[path] = value

    put(fields.problem, texts["problem"])
    put(fields.thinking, texts["thinking"])
    put(fields.solution, texts["solution"])
    put(fields.problem_id, number)
    put(fields.reference, str(number + 1))
    if fields.choices is not None:
        for index, path in enumerate([fields.choices.correct, *fields.choices.wrong]):
            put(path, f"option {index}")
    for path in fields.meta.values():
        if path not in row:
            put(path, "kept")
    return row | {"other": 1, "split": "train"}


def load(folder: Path, rows: list[Any], name: str = "a.jsonl", tolerated: int = 0, **declared: Any) -> list[Problem]:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {"source": {"kind": "files", "path": name}, **declared}
    if tolerated:
        given["tolerate"] = {"rows": tolerated}
    found = Dataset.model_validate(given)
    return parted(load_problems("d", found, seed=1, project=folder, required=()))[0]


def suggested(error: ItsError) -> dict[str, Any]:
    """The `fields` of a hint."""
    block = re.search(r"perhaps `(fields: \{.*\})`", str(error.lines()[-1]))
    assert block, error.lines()
    found: dict[str, Any] = YAML(typ="safe").load(block[1])["fields"]
    return found


RENAMES: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "title": lambda name: name.replace("_", " ").title(),
    "joined": lambda name: name.replace("_", "").replace(" ", ""),
    "camel": lambda name: name[0].lower() + name.title().replace("_", "").replace(" ", "")[1:],
    "spaces": lambda name: f" {name} ",
    "suffix": lambda name: f"{name}_text",
    "plural": lambda name: f"{name}s",
    "prefix": lambda name: f"the_{name}",
}


@pytest.mark.parametrize("rename", RENAMES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_on_renamed_columns_is_one_error_whose_fields_read_them(
    tmp_path: Path, preset: str, rename: str
) -> None:
    rows = [published_row(preset, number) for number in range(1, 30)]
    wanted = [problem.model_dump(exclude={"row"}) for problem in load(tmp_path, rows, preset=preset)]
    new = [{RENAMES[rename](column): value for column, value in row.items()} for row in rows]
    if list(new[0]) == list(rows[0]):
        return
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, new, preset=preset)
    (fault,) = caught.value.faults
    assert fault.where == "a.jsonl"
    assert fault.message.startswith(f"preset `{preset}` requires `{PRESETS[preset].fields.problem.partition('.')[0]}")
    assert "; no row has `" in fault.message
    assert f"the rows have: `{next(iter(new[0]))}`" in fault.message
    assert f"in place of `preset: {preset}`" in str(fault.hint)
    found = load(tmp_path, new, fields=suggested(caught.value))
    assert [problem.model_dump(exclude={"row"}) for problem in found] == wanted


def test_another_word_for_a_field_is_known(tmp_path: Path) -> None:
    """No letter of `query` is in `question`."""
    for problem, reference, solution in (
        ("query", "answer", "response"),
        ("prompt", "ground_truth", "output"),
        ("input", "target", "completion"),
    ):
        rows = [{problem: "1 + 1?", reference: "2", solution: "It is 2.", "Level": 3}] * 30
        with pytest.raises(FaultsError) as caught:
            load(tmp_path, rows, fields={"problem": "question", "reference": "final", "solution": "sol"})
        found = suggested(caught.value)
        assert found["problem"] == problem and found["solution"] == solution


@pytest.mark.parametrize("seed", range(30))
def test_some_of_the_columns_are_renamed(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    preset = draw.choice([name for name in PRESETS if name != "openthoughts_114k_conversations"])
    rows = [published_row(preset, number) for number in range(1, 40)]
    wanted = [problem.model_dump(exclude={"row"}) for problem in load(tmp_path, rows, preset=preset)]
    columns = [column for column in rows[0] if column not in ("other", "split")]
    renamed = {column: draw.choice(list(RENAMES.values()))(column) for column in draw.sample(columns, 2)}
    new = [{renamed.get(column, column): value for column, value in row.items()} for row in rows]
    mapped = json.dumps(PRESETS[preset].fields.model_dump())
    gone = [column for column in renamed if column not in new[0] and column in mapped]
    if not gone:
        return
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, new, preset=preset)
    found = load(tmp_path, new, fields=suggested(caught.value))
    assert [problem.model_dump(exclude={"row"}) for problem in found] == wanted


def test_nothing_near_leaves_a_place_to_fill(tmp_path: Path) -> None:
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, [{"x": "1?", "y": "2"}] * 30, preset="gsm8k")
    assert suggested(caught.value)["problem"] == "COLUMN"
    assert "with the right name for `COLUMN`" in str(caught.value.faults[0].hint)


def test_other_faults_are_named_beside_it(tmp_path: Path) -> None:
    rows: list[Any] = [{"Question": f"{number}?", "answer": "#### 1"} for number in range(100)]
    rows[50], rows[60] = 5, {"Question": "x", "answer": ["a"]}
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, rows, preset="gsm8k")
    assert [fault.where for fault in caught.value.faults] == ["a.jsonl", "a.jsonl:51", "a.jsonl:61", "a.jsonl:61"]
    assert "no row has `question` (problem); the rows have: `Question`, `answer`" in caught.value.faults[0].message


def test_a_column_that_some_rows_lack_is_a_fault_of_those(tmp_path: Path) -> None:
    rows = [{"question": "1?", "answer": "#### 1"}, *[{"answer": "#### 1"}] * 30]
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, rows, preset="gsm8k")
    assert len(caught.value.faults) == 21
    assert caught.value.faults[0].message == "no `question` (problem); the row has: `answer`"
    assert caught.value.faults[-1].message == "10 more faults; 30 rows are faulty"


def test_tolerance_does_not_hide_a_misspelt_column(tmp_path: Path) -> None:
    rows = [{"Question": "1?", "answer": "#### 1"}] * 5
    with pytest.raises(FaultsError, match="no row has `question`"):
        load(tmp_path, rows, tolerated=10, preset="gsm8k")
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, rows, tolerated=2, preset="gsm8k")
    assert [fault.message.partition(";")[0] for fault in caught.value.faults] == [
        "preset `gsm8k` requires `question`, `answer`",
        "5 rows are faulty",
    ]


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.sources.records.MAX_FAULTY_ROWS", 50)
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, [{"Question": "1?", "answer": "#### 1"}] * 500, preset="gsm8k")
    told = [fault.message for fault in caught.value.faults]
    assert "no row has `question`" in told[0]
    assert told[1] == "50 rows are faulty; the rest was not read"


@pytest.mark.parametrize(
    ("row", "path", "near"),
    [
        ({"chat": {"turns": [{"text": "1?"}]}}, "chat.turns.0.content", "chat.turns.0.text"),
        ({"m": [{"content": "1?"}]}, "m[0].content", "m.0.content"),
        ({"extra": {"question": "1?"}}, "extra.Question", "extra.question"),
        ({"Extra": {"question": "1?"}}, "extra.question", "Extra.question"),
    ],
)
def test_a_path_is_fixed_where_it_goes_wrong(tmp_path: Path, row: Any, path: str, near: str) -> None:
    rows = [row] * 30
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, rows, fields={"problem": path})
    assert suggested(caught.value) == {"problem": near}
    assert load(tmp_path, rows, fields={"problem": near})[0].text == "1?"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("spread", [None, 1])
def test_the_rows_stand_within_the_only_row(tmp_path: Path, name: str, spread: int | None) -> None:
    """An object on one line is a row like any other until its columns are looked for."""
    rows = [{"question": f"{number}?", "answer": "#### 1"} for number in range(5)]
    for held, said in (
        ({"version": "1", "data": rows}, "rows are inside it: `data` (5 rows)"),
        (
            {key: [row[key] for row in rows] for key in rows[0]},
            "one JSON object that contains the table column by column",
        ),
    ):
        (tmp_path / name).write_text(json.dumps(held, indent=spread))
        declared = Dataset.model_validate({"source": {"kind": "files", "path": name}, "preset": "gsm8k"})
        with pytest.raises(ItsError) as caught:
            list(load_problems("d", declared, seed=1, project=tmp_path, required=()))
        assert said in caught.value.message or "one JSON object" in caught.value.message
        assert any(f"its data convert {name}" in line for line in caught.value.lines())


def test_hostile_columns_stay_short_and_are_no_code() -> None:
    columns: dict[str, Any] = {"x" * 100_000: "a", "\x1b[31mquestion\n": "b", "`question`": "c", "question: {": "d"}
    columns |= {f"column {number}": number for number in range(5000)}
    fault = columns_fault("f", {"problem": "question"}, Fields(problem="question"), "gsm8k", columns)
    assert len(fault.message) < 3000 and len(str(fault.hint)) < 3000
    assert YAML(typ="safe").load(str(fault.hint).removeprefix("perhaps `").rpartition("` in place")[0])


@pytest.mark.parametrize("wrong", ["[role=human].content", '[role="user"].content', "[role=user].text", "[-1].content"])
def test_a_selector_that_finds_nothing_is_fixed_by_one_that_does(tmp_path: Path, wrong: str) -> None:
    turns = [("system", "Be brief."), ("user", "What is 1 + 1?"), ("assistant", "2")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    with pytest.raises(ItsError) as caught:
        load(tmp_path, [row], fields={"problem": f"messages{wrong}", "solution": "messages[role=assistant].content"})
    fields = suggested(caught.value)
    assert fields["problem"] == "messages[role=user].content"
    assert [problem.text for problem in load(tmp_path, [row], fields=fields)] == ["What is 1 + 1?"]


def test_an_id_that_another_file_has_is_told_of_parts(tmp_path: Path) -> None:
    """AIME I and II, both numbered from 1, in one folder."""
    (tmp_path / "aime").mkdir()
    for paper in ("I", "II"):
        load(tmp_path, [{"q": f"Paper {paper}?", "id": 1}], f"aime/{paper}.jsonl", fields={"problem": "q"})
    given = {"source": {"kind": "files", "path": "aime"}, "fields": {"problem": "q", "problem_id": "id"}}
    found = Dataset.model_validate(given)
    with pytest.raises(FaultsError, match="duplicate problem_id `1`") as caught:
        list(load_problems("d", found, seed=1, project=tmp_path, required=()))
    assert "or name each file as a part, `source: [{...}, {...}]`" in str(caught.value.faults[0].hint)
