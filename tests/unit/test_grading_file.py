"""`its grade FILE`: any JSON lines, every bad row named, nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from its.cli.grade import KINDS, grade
from its.errors import DataError, FaultsError, MissingError
from its.stages import grade_file as module
from its.stages.grade_file import grade_file


def _write(path: Path, *rows: Any) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_keep_their_fields_and_order(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "in.jsonl",
        {"id": "ä", "reference": 27.0, "response": "\\boxed{27}"},
        {"reference": "x+1", "response": "so $1+x$", "kind": "math", "extra": [1]},
        {"reference": "B", "response": "no idea", "kind": "choice"},
        {"reference": "many", "response": "\\boxed{7}", "kind": "number"},
    )
    counts = grade_file(source, tmp_path / "out.jsonl", "integer", workers=1)
    assert counts == {"correct": 2, "no_answer": 1, "grader_error": 1}
    rows = _read(tmp_path / "out.jsonl")
    assert rows[0] == {
        "id": "ä",
        "reference": 27.0,
        "response": "\\boxed{27}",
        "answer": "27",
        "verdict": "correct",
        "rule": "box",
        "span": [7, 9],
        "grader_version": rows[0]["grader_version"],
    }
    assert [row["verdict"] for row in rows] == ["correct", "correct", "no_answer", "grader_error"]
    assert rows[1]["extra"] == [1] and rows[1]["rule"] == "last_math"
    assert rows[3]["reason"] == "the reference `many` is not a number"
    # What was graded by us can be graded again: the same file comes out.
    grade_file(tmp_path / "out.jsonl", tmp_path / "again.jsonl", "integer", workers=1)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_every_bad_row_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "in.jsonl",
        {"reference": "1", "response": "1"},
        "{broken",
        {"reference": "1", "text": "1"},
        {"reference": None, "response": "1"},
        {"reference": "1", "response": 1},
        [1],
        {"reference": "1", "response": "1", "kind": "float"},
        {"reference": "1", "response": "1", "answer": "gold"},
        {"response": "1"},
        {"reference": True, "response": "1"},
    )
    with pytest.raises(FaultsError) as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer")
    faults = [(fault.where.removeprefix(f"{source}:").split(":")[0], fault.message) for fault in caught.value.faults]
    assert faults == [
        ("2", "broken JSON: expecting property name enclosed in double quotes"),
        ("3", "no `response`; the row has: `reference`, `text`"),
        ("4", "`reference` is a NoneType, wanted text or a number"),
        ("5", "`response` is a int, wanted text"),
        ("6", "a list, wanted an object with `reference` and `response`"),
        ("7", "`kind` is `float`"),
        ("8", "has `answer` already, which would be overwritten"),
        ("9", "no `reference`; the row has: `response`"),
        ("10", "`reference` is a bool, wanted text or a number"),
    ]
    assert not (tmp_path / "out.jsonl").exists()


def test_what_cannot_be_graded_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(MissingError, match="no such file"):
        grade_file(tmp_path / "none.jsonl", out, "integer")
    with pytest.raises(DataError, match="no rows"):
        grade_file(_write(tmp_path / "empty.jsonl"), out, "integer")
    source = _write(tmp_path / "in.jsonl", {"reference": "1", "response": "1"})
    with pytest.raises(FaultsError, match="no `kind`"):
        grade_file(source, out, None)
    with pytest.raises(DataError, match="is the file to grade"):
        grade_file(source, source, "integer")
    assert _read(source) == [{"reference": "1", "response": "1"}]


def test_the_command(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", {"reference": "5", "response": "<t>\\boxed{4}</t>5"})
    out = tmp_path / "out.jsonl"
    words = [str(source), "--kind", "integer", "--output", str(out)]
    done = CliRunner().invoke(grade, [*words, "--thinking", "<t>", "</t>"])
    assert done.output == f"{out}: 1 verdicts (1 correct)\n"
    done = CliRunner().invoke(grade, [*words, "--json"])
    assert json.loads(done.stdout) == {"version": 1, "output": str(out), "verdicts": {"incorrect": 1}}
    assert _read(out)[0]["answer"] == "4"


@pytest.mark.parametrize(
    ("words", "message"), [(["x.jsonl"], "FILE needs --output"), (["--kind", "math"], "go with FILE")]
)
def test_usage(words: list[str], message: str) -> None:
    done = CliRunner().invoke(grade, words)
    assert done.exit_code == click.UsageError.exit_code and message in done.output


def test_the_command_knows_every_kind() -> None:
    assert KINDS == module.KINDS  # written out there, so that `its --help` imports nothing heavy
