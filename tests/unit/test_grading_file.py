"""`its grade FILE`: any JSON lines, every bad row named, nothing overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from its.cli.grade import KINDS, grade
from its.commands import grade_file as module
from its.commands.grade_file import grade_file
from its.errors import DataError, FaultsError, ItsError, MissingError, RunError
from its.progress import Progress
from its.rows import MAX_FAULTS


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
        {"reference": "x+1", "response": "it gives $1+x$", "kind": "math", "extra": [1]},
        {"reference": "B", "response": "no idea", "kind": "choice"},
        {"reference": "7", "response": "\\boxed{9^{9^{9^9}}}", "kind": "math"},
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
    assert rows[3]["reason"] == "a power of 387420489 is not evaluated"
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
        '{"reference": NaN, "response": "1"}',
        '{"reference": 1e999, "response": "1"}',
        '{"reference": "\\ud800", "response": "1"}',
        '{"reference": "1", "response": "1", "id": ' + "9" * 5000 + "}",
        {"reference": "many", "response": "1"},
        {"reference": "1/0", "response": 1, "kind": "math"},
    )
    with pytest.raises(FaultsError) as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer")
    faults = [(fault.where.removeprefix(f"{source}:").split(":")[0], fault.message) for fault in caught.value.faults]
    assert faults == [
        ("2", "broken JSON: expecting property name enclosed in double quotes"),
        ("3", "no `response`; the row has: `reference`, `text`"),
        ("4", "`reference` is a NoneType, expected text or a number"),
        ("5", "`response` is a int, expected text"),
        ("6", "a list, expected an object with `reference` and `response`"),
        ("7", "`kind` is `float`"),
        ("8", "already has `answer`, which would be overwritten"),
        ("9", "no `reference`; the row has: `response`"),
        ("10", "`reference` is a bool, expected text or a number"),
        ("11", "`reference` is nan, expected text or a finite number"),
        ("12", "`reference` is inf, expected text or a finite number"),
        ("13", "`reference` contains half a character (a lone surrogate)"),
        ("14", "an integer of more than 4300 digits is not read"),
        ("15", "the reference `many` is not an integer"),
        ("16", "`response` is a int, expected text"),
        ("16", "the reference `1/0` divides by zero or has no value"),
    ]
    assert "--kind number" in str(caught.value.faults[-3].hint)
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
    for marks in (("", ""), ("<t>", " ")):  # an empty mark is found at the end of every text: nothing would be left
        with pytest.raises(DataError, match="a mark of `--thinking` is blank"):
            grade_file(source, out, "integer", marks)
    assert _read(source) == [{"reference": "1", "response": "1"}]
    assert not out.exists()


def test_many_faults_are_counted_and_can_be_listed(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", *[{"reference": "many", "response": "1"}] * (MAX_FAULTS + 7))
    with pytest.raises(FaultsError, match="7 more faults") as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer")
    assert len(caught.value.faults) == MAX_FAULTS + 1 and "--json" in str(caught.value.faults[-1].hint)
    with pytest.raises(FaultsError) as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer", list_all=True)
    assert len(caught.value.faults) == MAX_FAULTS + 7


def test_a_file_that_is_missing_is_not_told_to_be_made_by_a_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        grade_file(tmp_path / "none.jsonl", tmp_path / "out.jsonl", "integer")
    assert caught.value.hint and "dvc" not in caught.value.hint


def test_what_can_be_read_once_alone_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="is not a regular file") as caught:
        grade_file(tmp_path / "pipe", out, "integer")
    assert "to a file first" in str(caught.value.hint)
    with pytest.raises(DataError, match="is a folder"):
        grade_file(tmp_path, out, "integer")
    source = _write(tmp_path / "in.jsonl", {"reference": "1", "response": "1"})
    with pytest.raises(DataError, match=r"in\.jsonl/x: cannot be read: not a directory"):
        grade_file(source / "x", out, "integer")
    assert not out.exists()


@pytest.mark.parametrize(
    "become",
    [
        b"",
        b'{"reference": "1", "response": "1"}\n',
        b'{"reference": "1", "response": "2"}\n' * 3,
        b"[1]\n" * 3,
        b"{",
        None,
    ],
)
def test_a_file_that_changes_meanwhile_is_never_graded_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, become: bytes | None
) -> None:
    source = _write(tmp_path / "in.jsonl", *[{"reference": "1", "response": "1"}] * 3)

    class Changing(Progress):
        """Begins when the first pass is over."""

        def __init__(self, *told: Any) -> None:
            super().__init__(*told)
            source.unlink() if become is None else source.write_bytes(become)

    monkeypatch.setattr(module, "Progress", Changing)
    with pytest.raises(ItsError, match=r"in\.jsonl: (changed while it was graded|no such file)") as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer")
    assert "dvc" not in str(caught.value.hint)
    assert [item.name for item in tmp_path.iterdir()] == (["in.jsonl"] if become is not None else [])


def test_half_a_character_is_graded_and_written_back(tmp_path: Path) -> None:
    rows = [
        {"reference": "x+1", "response": "cut \ud83d so \\boxed{x+2}"},
        {"reference": "x+1", "response": "\\boxed{x+2\ud83d}", "note": "\udc00"},
        {"reference": "x+1", "response": "\ud83d \\boxed{1+x}"},
    ]
    source, out = _write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    grade_file(source, out, "math", workers=1)
    graded = _read(out)
    assert [{name: row[name] for name in given} for row, given in zip(graded, rows, strict=True)] == rows
    assert [row["verdict"] for row in graded][::2] == ["incorrect", "correct"]
    assert graded[1]["verdict"] in ("incorrect", "grader_error") and graded[1]["answer"] == "x+2\ufffd"
    for row in graded:
        start, end = row["span"]
        assert row["response"][start:end].startswith(("x+2", "1+x"))
    grade_file(out, tmp_path / "again.jsonl", "math", workers=1)
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    "word", ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "max_output_tokens", "stop", "5", None]
)
def test_a_response_that_was_cut_is_told_in_any_service_s_word(tmp_path: Path, word: str | None) -> None:
    """Without a mark it is thought that did not come to its end, where the limit of tokens ended it."""
    row = {"reference": "5", "response": "maybe \\boxed{5}", "kind": "integer", "finish_reason": word}
    grade_file(_write(tmp_path / "in", row), tmp_path / "out", None, ("<t>", "</t>"), workers=1)
    cut = word not in ("stop", "5", None)
    assert _read(tmp_path / "out")[0]["verdict"] == ("no_answer" if cut else "correct")


@pytest.mark.parametrize("name", ["thinking", "reasoning_content"])
@pytest.mark.parametrize("apart", ["hm", "", None, 5])
def test_a_row_with_its_thinking_apart_begins_with_its_answer(tmp_path: Path, name: str, apart: Any) -> None:
    row = {"reference": "5", "response": "\\boxed{5}", "kind": "integer", name: apart}
    grade_file(_write(tmp_path / "in", row), tmp_path / "out", None, ("<t>", "</t>"), workers=1, opened_by="prompt")
    found = _read(tmp_path / "out")[0]
    assert found["verdict"] == ("correct" if isinstance(apart, str) else "no_answer") and found[name] == apart


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("folder", DataError, "is a folder"),
        ("in.jsonl/out.jsonl", DataError, "a file exists where its folder would be"),
        ("x" * 300, RunError, "file name too long"),
        ("/proc/x/out.jsonl", RunError, "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_shows_before_any_row_is_read(
    tmp_path: Path, name: str, error: type[ItsError], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    source = _write(tmp_path / "in.jsonl", "{broken")
    with pytest.raises(error, match=message) as caught:
        grade_file(source, tmp_path / name, "integer")
    assert caught.value.hint
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "in.jsonl"]


def test_a_graded_row_that_was_fixed_has_no_former_reason(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    grade_file(_write(source, {"reference": "7", "response": "\\boxed{9^{9^{9^9}}}"}), out, "math")
    (row,) = _read(out)
    assert row["verdict"] == "grader_error" and row["reason"]
    grade_file(_write(source, row | {"response": "\\boxed{7}"}), out, "math")
    (row,) = _read(out)
    assert list(row) == ["reference", "response", "answer", "verdict", "rule", "span", "grader_version"]
    assert row["verdict"] == "correct"


GRADED = {"answer": "1", "verdict": "correct", "rule": "box", "span": [7, 8], "grader_version": "1"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"reason": "because"}, "`reason`"),
        ({"span": "p. 3"}, "`span`"),
        ({"rule": "no calculator"}, "`rule`"),
        ({"grader_version": "theirs"}, "`grader_version`"),
        ({"answer": "gold", "grader_version": "2"}, "`answer` and `grader_version`"),
        (GRADED | {"verdict": "right"}, "`answer` and `verdict`"),
        (GRADED | {"reason": "because"}, "`reason`"),
        (GRADED | {"answer": 1}, "`answer`"),
        (GRADED | {"span": None}, "`span`"),
        (GRADED | {"grader_version": "v1 of mine"}, "`grader_version`"),
    ],
)
def test_fields_of_the_user_are_never_taken_for_ours(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    source = _write(tmp_path / "in.jsonl", {"reference": "1", "response": "\\boxed{1}"} | fields)
    with pytest.raises(FaultsError, match=", which would be overwritten") as caught:
        grade_file(source, tmp_path / "out.jsonl", "integer")
    assert named in str(caught.value)


def test_rows_of_a_former_grader_are_graded_again(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", {"reference": "1", "response": "\\boxed{2}"} | GRADED)
    assert grade_file(source, tmp_path / "out.jsonl", "integer") == {"incorrect": 1}


def test_null_is_no_kind(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", {"reference": "1", "response": "1", "kind": None})
    assert grade_file(source, tmp_path / "out.jsonl", "math") == {"correct": 1}
    assert _read(tmp_path / "out.jsonl")[0]["kind"] is None
    with pytest.raises(FaultsError, match="no `kind`"):
        grade_file(source, tmp_path / "out.jsonl", None)


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"reference": "1", "response": "1"}\n')
    assert grade_file(source, tmp_path / "out.jsonl", "integer") == {"correct": 1}
    assert (tmp_path / "out.jsonl").read_bytes().startswith(b'{"reference"')


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_end_from_outside_leaves_nothing_beside_the_output(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    source = _write(tmp_path / "in.jsonl", *[{"reference": "1", "response": "\\boxed{1}"}] * 200_000)
    words = [sys.executable, "-c", "from its.cli.main import main; main()", "grade", str(source), "--kind", "integer"]
    process = subprocess.Popen([*words, "--output", str(tmp_path / "out.jsonl")], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob(".out.jsonl.*.tmp")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (code, "error: interrupted; run the same command again to continue")
    assert [item.name for item in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_command(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", {"reference": "5", "response": "<t>\\boxed{4}</t>5"})
    out = tmp_path / "out.jsonl"
    words = [str(source), "--kind", "integer", "--output", str(out)]
    done = CliRunner().invoke(grade, [*words, "--thinking", "<t>", "</t>"])
    assert done.output == f"{out}: 1 verdict (1 correct)\n"
    done = CliRunner().invoke(grade, [*words, "--json"])
    assert json.loads(done.stdout) == {"version": 1, "output": str(out), "verdicts": {"incorrect": 1}}
    assert _read(out)[0]["answer"] == "4"


def test_the_fallback_can_be_switched_off(tmp_path: Path) -> None:
    rows = [{"reference": "5", "response": text} for text in ("The answer is 5. Check: 7", "it comes to 5")]
    source, out = _write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    words = [str(source), "--kind", "integer", "--output", str(out)]
    assert CliRunner().invoke(grade, words).output == f"{out}: 2 verdicts (2 correct)\n"
    assert [row["rule"] for row in _read(out)] == ["final_answer", "last_number"]
    done = CliRunner().invoke(grade, [*words, "--no-fallback"])
    assert done.output == f"{out}: 2 verdicts (1 correct, 1 no_answer)\n"
    assert [row["rule"] for row in _read(out)] == ["final_answer", None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.jsonl"], "FILE needs --output"),
        (["-", "--output", "-"], "needs a file"),
        (["--kind", "math"], "need FILE"),
        (["--no-fallback"], "need FILE"),
    ],
)
def test_usage(words: list[str], message: str) -> None:
    done = CliRunner().invoke(grade, words)
    assert done.exit_code == click.UsageError.exit_code and message in done.output


def test_the_command_knows_every_kind() -> None:
    assert KINDS == module.KINDS  # written out there, so that `its --help` imports nothing heavy


def test_rows_of_the_standard_input_are_graded_like_those_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    rows = [{"reference": "1", "response": f"\\boxed{{{number}}}", "id": "ä"} for number in (1, 2)]
    source = _write(tmp_path / "in.jsonl", *rows)
    grade_file(source, tmp_path / "file.jsonl", "integer", workers=1)
    wanted = (tmp_path / "file.jsonl").read_bytes()
    out = tmp_path / "out.jsonl"
    command = ["-", "--kind", "integer", "--output", str(out)]
    done = CliRunner().invoke(grade, command, input=source.read_bytes(), catch_exceptions=False)
    assert done.output.splitlines()[-1] == f"{out}: 2 verdicts (1 correct, 1 incorrect)"
    assert out.read_bytes() == wanted
    out.unlink()
    for text, said in (
        (b"{}\n", "standard input:1: "),
        (b"", "standard input: no rows"),
        (b"{\n", "standard input:1:"),
    ):
        with pytest.raises(DataError, match=said):
            CliRunner().invoke(grade, command, input=text, catch_exceptions=False)
    assert not out.exists() and list((tmp_path / "scratch").iterdir()) == []


def test_a_terminal_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, terminal = os.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(other):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(DataError, match="standard input: is a terminal"):
            grade_file(Path("-"), tmp_path / "out.jsonl", "integer")
