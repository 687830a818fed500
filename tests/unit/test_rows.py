"""Rows: what is read is checked and named, what is written is whole."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from its.errors import DataError, Fault, FaultsError, ItsError, MissingError, RunError
from its.files import atomic_file
from its.rows import (
    MAX_FAULTS,
    count_lines,
    read_json,
    read_json_lines,
    read_rows,
    write_json,
    write_json_lines,
    write_rows,
)
from its.seeds import derive_random, derive_seed, derive_seeds
from its.types import Persona, Problem, Verdict

ROW = {"problem_id": "a", "text": "2 + 2?", "source": "s"}


def _lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


def _faults(path: Path) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        list(read_rows(path, Problem, key=lambda row: row.problem_id))
    assert caught.value.exit_code == 3
    return [f"{fault.where.removeprefix(str(path))} {fault.message}" for fault in caught.value.faults]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [
        Problem(
            problem_id="a", text="line\u2028separator, \u00e9, \\frac{{1}}{2} <b>", source="s", meta={"k": [1, None]}
        ),
        Problem(problem_id="b", text="\n", reference="", source="s"),
    ]
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_rows(path, iter(rows)) == 2
    assert list(read_rows(path, Problem)) == rows
    assert path.read_bytes().count(b"\n") == 2
    assert path.stat().st_mode & 0o777 == 0o644
    assert [item.name for item in path.parent.iterdir()] == ["rows.jsonl"]


def test_absent_fields_are_left_out_on_disk(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [Problem.model_validate(ROW)])
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == {**ROW, "meta": {}}


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = _lines(
        tmp_path / "rows.jsonl",
        ROW,
        b"\n",
        b'{"problem_id": }\n',
        {**ROW, "problem_id": 7},
        {**ROW, "problem_id": "c", "txt": "?"},
        {"problem_id": "d", "source": "s"},
        [1],
        b'{"text": "\xff"}\n',
        ROW,
    )
    assert _faults(path) == [
        ":3:16 broken JSON: expecting value",
        ":4 `problem_id`: input should be a valid string",
        ":5 `txt`: extra inputs are not permitted",
        ":6 `text`: field required",
        ":7 `problem`: input should be a valid dictionary or instance of problem",
        ":8 not UTF-8 at byte 10",
        ":9 duplicate of line 1: `a`",
    ]


def test_good_rows_come_before_the_faults(tmp_path: Path) -> None:
    rows = read_rows(_lines(tmp_path / "rows.jsonl", b"{\n", ROW), Problem)
    assert next(rows).problem_id == "a"
    with pytest.raises(FaultsError, match=r"rows\.jsonl:1:\d+: broken JSON"):
        next(rows)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    faults = _faults(_lines(tmp_path / "rows.jsonl", *[b"{\n"] * (MAX_FAULTS + 7)))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].endswith("7 more faults")


def test_nesting_without_end_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    assert "broken JSON" in _faults(_lines(tmp_path / "rows.jsonl", b"[" * 200_000 + b"\n"))[0]


def test_a_missing_file_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"rows\.jsonl: no such file") as caught:
        list(read_rows(tmp_path / "rows.jsonl", Problem))
    assert caught.value.exit_code == 4
    assert "dvc repro" in str(caught.value.hint)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [Problem.model_validate(ROW)])
    before = path.read_bytes()

    def rows() -> object:
        yield Problem.model_validate(ROW)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_rows(path, rows())  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace", "mkstemp"])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = {"fsync": "its.files.os.fsync", "replace": "pathlib.Path.replace", "mkstemp": "its.files.tempfile.mkstemp"}
    monkeypatch.setattr(place[call], full)
    with pytest.raises(RunError, match=r"out\.json: no space left on the disk") as caught:
        write_json(tmp_path / "out.json", {})
    assert caught.value.hint == "free some space and run again"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (".", DataError, "is a folder, and a file would be written there"),
        ("pipe", DataError, "is not a regular file"),
        ("file/x", DataError, "a file exists where its folder would be"),
        ("x" * 300, RunError, "cannot be written: file name too long"),
    ],
)
def test_a_place_that_cannot_be_written_shows_before_any_work(
    tmp_path: Path, name: str, error: type[ItsError], message: str
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=message) as caught, atomic_file(tmp_path / name):
        pytest.fail("it was opened")
    assert caught.value.hint
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "pipe"]


def test_a_folder_without_permission_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**kwargs: object) -> None:  # a real one would not refuse root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("its.files.tempfile.mkstemp", refuse)
    with pytest.raises(RunError, match=r"out\.json: cannot be written: permission denied"):
        write_json(tmp_path / "out.json", {})


def test_an_integer_beyond_the_limit_of_python_is_a_fault(tmp_path: Path) -> None:
    number = b"9" * 5000
    path = _lines(tmp_path / "rows.jsonl", ROW, b'{"problem_id": ' + number + b"}\n", b"{\n")
    assert _faults(path) == [
        ":2 an integer of more than 4300 digits is not read",
        ":3:1 broken JSON: expecting property name enclosed in double quotes",
    ]
    (tmp_path / "a.json").write_bytes(number)
    with pytest.raises(FaultsError, match=r"a\.json: an integer of more than 4300 digits"):
        read_json(tmp_path / "a.json")


def test_a_byte_order_mark_is_passed_over_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    path = _lines(tmp_path / "rows.jsonl", mark, ROW, b'{"text": "\xff"}\n', b'{"problem_id": }\n', mark + b"{}\n")
    assert _faults(path) == [
        ":2 not UTF-8 at byte 10",
        ":3:16 broken JSON: expecting value",
        ":4:1 broken JSON: unexpected utf-8 bom (decode using utf-8-sig)",
    ]
    path.write_bytes(mark + b"\n" + json.dumps(ROW).encode())
    assert [row.problem_id for row in read_rows(path, Problem)] == ["a"]
    assert count_lines(path) == 1
    path.write_bytes(mark + b'{"text": "\xff"}\n')
    assert _faults(path) == [":1 not UTF-8 at byte 13"]


def test_half_a_character_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    values = [{"a": "cut \ud83d", "\udc00": ["\U0001f600", "\\ud83d", "\u00e9"]}]
    write_json_lines(path, values)
    assert path.read_bytes() == '{"a": "cut \\ud83d", "\\udc00": ["\U0001f600", "\\\\ud83d", "\u00e9"]}\n'.encode()
    assert [line.value for line in read_json_lines(path) if not isinstance(line, Fault)] == values
    write_json(path, values)
    assert read_json(path) == values
    row = Verdict(query_id="a", sample_index=0, answer="x \ud83d", verdict="incorrect", grader_version="1")
    write_rows(path, [row, row.model_copy(update={"answer": "x"})])
    first, second = path.read_bytes().splitlines()
    assert first == second.replace(b'"x"', b'"x \\ud83d"')
    assert next(read_rows(path, Verdict)) == row


def test_a_json_document_names_line_and_column(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "é"})
    assert read_json(tmp_path / "a.json") == {"b": "é"}
    (tmp_path / "a.json").write_text('{\n "b": }')
    with pytest.raises(FaultsError, match=r"a\.json:2:7: broken JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(MissingError, match=r"c\.json: no such file"):
        read_json(tmp_path / "c.json")


def test_an_empty_persona_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="no flag says why"):
        Persona(problem_id="a", strategy="s", text="", attempts=1)
    Persona(problem_id="a", strategy="s", text="", attempts=0)
    Persona(problem_id="a", strategy="s", text="", attempts=3, flags=["empty"])


def test_a_verdict_has_an_answer_unless_it_says_so() -> None:
    for answer, verdict in ((None, "correct"), ("1", "no_answer")):
        with pytest.raises(ValidationError, match="exactly if"):
            Verdict(query_id="a", sample_index=0, answer=answer, verdict=verdict, grader_version="1")  # type: ignore[arg-type]


def test_seeds_depend_on_parts_and_types_alone() -> None:
    assert derive_seed(17, "a") == derive_seed(17, "a")
    seeds = [derive_seed(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), (1, "2"), ("1", 2), (1, 2), (12,))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= derive_seed(index) < 2**31 for index in range(500))
    assert derive_random(1).random() == derive_random(1).random()
    assert list(derive_seeds(17, "a", count=12)) == [derive_seed(17, "a", index) for index in range(12)]
    # Pinned: a change here changes every result ever made.
    assert derive_seed(17, "problems", "arithmetic") == 2010077214


def test_rows_are_counted_by_lines_that_hold_something(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"b": "\xc3\xa9"}')
    assert count_lines(path) == 2
    with pytest.raises(MissingError, match="no such file"):
        count_lines(tmp_path / "nothing.jsonl")
