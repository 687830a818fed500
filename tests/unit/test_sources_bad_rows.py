"""Bad input in files of 10,000 rows: each fault named `path:line` with what to do; what is none passes untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.source_samples import mapped_table

from its.errors import FaultsError
from its.recipe.schema import Fields
from its.sources.files import read_file
from its.sources.text import damage
from its.types import Problem, Rejected

FIELDS = Fields(problem="q", reference="a", problem_id="id")
ROWS = 10_000


def _line(index: int, **change: Any) -> bytes:
    return json.dumps({"id": index, "q": f"What is {index}?", "a": index} | change).encode() + b"\n"


LINES = [_line(index) for index in range(ROWS)]

FAULTS: dict[str, tuple[bytes, str, str]] = {
    "broken": (b'{"id": 7, "q": }\n', "broken JSON at column 16: expecting value", "fix or remove this line"),
    "encoding": (b'{"id": 7, "q": "caf\xe9", "a": 1}\n', "not UTF-8 at byte 19", "re-encode the file"),
    "nul": (b'{"id": 7, "q": "a\0", "a": 1}\n', "the line contains NUL bytes", "the file is damaged"),
    "escaped nul": (_line(7, q="a\0"), "control character U+0000", "fix or remove the row"),
    "missing": (b'{"id": 7, "a": 1}\n', "no `q` (problem); the row has: `id`, `a`", "fix `fields:`"),
    "null": (_line(7, a=None), "`a` (reference) has no value", "fix or remove the row"),
    "duplicate": (_line(3), "duplicate problem_id `3`; first at d.jsonl:4", "rows are then numbered"),
    "empty": (_line(7, q=" \n"), "`q` (problem): empty", "fix or remove the row"),
    "list": (_line(7, q=["x"]), "`q` (problem) is a list: expected text or a number", "a path reaches into it"),
    "form feed": (_line(7, q="\frac{1}{2}"), "U+000C at character 0: `\\frac` was probably meant", "`\\\\frac`"),
    "backspace": (_line(7, q="x \beta"), "U+0008 at character 2: `\\beta` was probably meant", "`\\\\beta`"),
    "tab": (_line(7, q="3 \times 4"), "U+0009 at character 2: `\\times` was probably meant", "`\\\\times`"),
    "return": (_line(7, q="( x \right)"), "U+000D at character 4: `\\right` was probably meant", "`\\\\right`"),
    "line feed": (_line(7, q="$x \neq 0$"), "U+000A at character 3: `\\neq` was probably meant", "`\\\\neq`"),
    "surrogate": (_line(7, q="\ud800x"), "half a character (U+D800)", "the JSON escape lacks its pair"),
    "override": (_line(7, q="1 \u202e2"), "U+202E at character 2 overrides the direction", "remove it"),
    "cp1252": (_line(7, q="it\x92s"), "control character U+0092", "wrong encoding"),
    "deep": (b"[" * 100_000 + b"\n", "broken JSON: nested too deeply", "fix or remove this line"),
    "scalar": (b"5\n", "the row is a int, not an object", "expected `{...}`"),
}


def _read(path: Path, lines: list[bytes], tolerated: int) -> tuple[list[Problem], list[Rejected]]:
    path.write_bytes(b"".join(lines))
    return mapped_table(read_file(path, path.name), FIELDS, "s", ("reference",), tolerated=tolerated)


def test_each_fault_in_ten_thousand_rows_is_named(tmp_path: Path) -> None:
    lines = list(LINES)
    places = {name: 500 * (number + 1) for number, name in enumerate(FAULTS)}
    for name, index in places.items():
        lines[index] = FAULTS[name][0]
    lines[-1] = lines[-1][:-8]  # the file was cut off
    problems, rejected = _read(tmp_path / "d.jsonl", lines, len(FAULTS) + 1)
    assert len(problems) == ROWS - len(FAULTS) - 1
    assert [item.row for item in rejected] == [f"d.jsonl:{i + 1}" for i in [*places.values(), ROWS - 1]]
    for name, item in zip(FAULTS, rejected, strict=False):
        _, message, remedy = FAULTS[name]
        assert message in item.reasons[0], name
        assert remedy in item.remedies[0], name
        assert item.raw and item.model_dump_json().encode("utf-8"), name
    assert "it is the last line and has no end" in rejected[-1].reasons[0]
    good = set(range(ROWS)) - {*places.values(), ROWS - 1}
    assert [problem.problem_id for problem in problems] == [str(index) for index in sorted(good)]


def test_by_default_one_faulty_row_stops_and_all_are_raised_together(tmp_path: Path) -> None:
    lines = [_line(index, q="") if index % 100 == 0 else line for index, line in enumerate(LINES)]
    with pytest.raises(FaultsError) as caught:
        _read(tmp_path / "d.jsonl", lines, 0)
    faults = caught.value.faults
    assert len(faults) == 21
    assert [fault.where for fault in faults[:3]] == ["d.jsonl:1", "d.jsonl:101", "d.jsonl:201"]
    assert (faults[20].where, faults[20].message) == ("d.jsonl", "80 more faults; 100 rows are faulty")


@pytest.mark.parametrize(
    "text",
    [
        "{{ row.q }} {% raw %} {# no comment #} }}",
        "<p>a &lt; b</p><script>alert(1)</script>",
        "\u05db\u05de\u05d4 \u05d4\u05dd \u200f3 + 4\u200e? \u2067x\u2069 \u202bx\u202c",
        "line\u2028line\u2029 \u00a0\ufeff\U0001f600 \u4e8c\u52a0\u4e09",
        "\treturn 2*sin(3*x + pi)\r\n\tan apple\tau",
        "\\begin{align*}\nc + o &= u \\\\\nu + n &= t\n\\end{align*}",
        "by equation (2)\neq 3 follows, and\neq. (4)",
        "\\times \\frac{1}{2} \\right) \\neq \\theta",
        "old Mac line\rangle ABC",
    ],
)
def test_what_is_no_fault_passes_untouched(tmp_path: Path, text: str) -> None:
    assert damage(text) is None
    problems, _ = _read(tmp_path / "d.jsonl", [_line(0, q=text)], 0)
    assert problems[0].text == text


@pytest.mark.parametrize(
    "command", ["times", "theta", "frac{1}{2}", "text{13}", "textbf{x}", "beta", "alpha", "vec{x}"]
)
@pytest.mark.parametrize("before", ["", "$x ", "3\n"])
def test_commands_that_lost_their_backslash(command: str, before: str) -> None:
    damaged = before + {"t": "\t", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}[command[0]] + command[1:]
    fault = damage(damaged)
    assert fault is not None
    assert f"`\\{command.partition('{')[0]}` was probably meant" in fault.message


def test_bytes_of_a_csv_file_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b"id,q,a\n1,caf\xe9,2\n2,tea,3\n")
    problems, rejected = mapped_table(read_file(path, "d.csv"), FIELDS, "s", tolerated=1)
    assert [problem.text for problem in problems] == ["tea"]
    assert rejected[0].row == "d.csv:2"
    assert "not UTF-8: byte 0xE9 at character 3" in rejected[0].reasons[0]
