"""What people have under the name of a data file: each is one error with the line, and its remedy works when typed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from its.commands.convert import convert_file
from its.errors import DataError, FaultsError, ItsError
from its.sources.convert import json_lines
from its.sources.files import read_file

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = [
    {"question": 'What is \\frac{1}{2} {{x}} }{ of [2]?\n"One", two.', "answer": "1", "n": 1},
    {"question": "Ünï\u2028 \\boxed{}", "answer": "0.10", "n": 2.5},
    {"question": "Third, with a comma; and more", "answer": "-3", "n": None},
]
TEXTS = [{key: row[key] for key in ("question", "answer")} for row in ROWS]


def values(path: str) -> list[Any]:
    """The rows of a file of the current folder."""
    records = list(read_file(Path(path), path).records)
    assert all(record.fault is None for record in records), records
    return [record.value for record in records]


def error_of(path: str) -> ItsError:
    with pytest.raises(ItsError) as caught:
        values(path)
    return caught.value


def follow(error: ItsError, old: str) -> str:
    """Type each command of a hint; the path that it then names."""
    hint = str(error.hint)
    before = set(Path().rglob("*"))
    for command in re.findall(r"`((?:its|mv|iconv|python|gzip|zstd|unzip|tar|bunzip2|gunzip|xz|unxz) [^`]+)`", hint):
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        subprocess.run(["bash", "-c", command], check=True, env=environment, capture_output=True)
    named = re.search(r"`path: ([^`]+)`", hint)
    if named:
        return named[1]
    new = [str(path) for path in Path().rglob("*") if path not in before and path.is_file()]
    return new[0] if len(new) == 1 else old


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "sources").mkdir(parents=True)


def pretty(rows: list[Any], between: str = "\n") -> str:
    return between.join(json.dumps(row, indent=2) for row in rows)


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def as_pandas(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {str(index): row[key] for index, row in enumerate(rows)} for key in rows[0]}


MISTAKEN: dict[str, tuple[str, str, str]] = {
    # ending, content, what is said
    "array": (".jsonl", json.dumps(ROWS), r":1: a JSON array, and in a `.jsonl` file each line is a row"),
    "array over lines": (".jsonl", json.dumps(ROWS, indent=1), r":1: a JSON array"),
    "array, a row a line": (".jsonl", "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n", r":1: a JSON array"),
    "array behind blank lines": (".ndjson", f"\n\n {json.dumps(ROWS)}", r":3: a JSON array"),
    "lines": (".json", lines(ROWS), r":1: JSON lines, and in a `.json` file all rows are one array"),
    "lines behind a mark": (".json", "\ufeff" + lines(ROWS), r":1: JSON lines"),
    "pretty": (".jsonl", pretty(ROWS), r":1: JSON objects that are spread over lines"),
    "pretty under json": (".json", pretty(ROWS), r":1: JSON objects that are spread over lines, expected one array"),
    "pretty without a line end": (".jsonl", pretty(ROWS, ""), r":1: JSON objects that are spread over lines"),
    "pretty with commas": (".jsonl", pretty(ROWS, ",\n"), r"spread over lines with commas between them"),
    "lines with commas": (".jsonl", ",\n".join(map(json.dumps, ROWS)), r"JSON objects with commas between them"),
    "two a line": (
        ".jsonl",
        json.dumps(ROWS[0]) + " " + json.dumps(ROWS[1]) + "\n" + json.dumps(ROWS[2]),
        r":1: JSON o",
    ),
    "within data": (
        ".json",
        json.dumps({"version": 1, "data": ROWS, "x": []}),
        r"rows are inside it: `data` \(3 rows",
    ),
    "within train": (
        ".json",
        json.dumps({"train": ROWS, "test": TEXTS}, indent=1),
        r"`train` \(3 rows\), `test` \(3 r",
    ),
    "within, in lines": (
        ".jsonl",
        json.dumps({"data": ROWS}, indent=1),
        r":1: one JSON object, and the rows are inside it",
    ),
    "columns": (".json", json.dumps(by_column(ROWS)), r":1: one JSON object that contains the table column by column"),
    "columns of pandas": (".json", json.dumps(as_pandas(ROWS)), r"column by column, as pandas writes it by default"),
    "columns over lines": (".jsonl", json.dumps(as_pandas(ROWS), indent=3), r"column by column"),
    "one object": (".json", json.dumps(ROWS[0]), r":1: one JSON object, expected an array"),
    "one object over lines": (".jsonl", json.dumps(ROWS[0], indent=1), r":1: one JSON object, and in a `.jsonl` file"),
}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", MISTAKEN)
def test_json_of_another_shape_is_said_and_its_remedy_works(name: str, packing: str) -> None:
    ending, content, said = MISTAKEN[name]
    zst = zstandard.ZstdCompressor()
    packs: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zst.compress}
    path = f"data/sources/my set's{ending}{packing}"
    Path(path).write_bytes(packs[packing](content.encode()))
    error = error_of(path)
    assert error.message.startswith(f"{path}:") and re.search(said, error.message), error.message
    assert len(error.lines()) == 2, "one error and its hint"
    assert values(follow(error, path)) == ([ROWS[0]] if name.startswith("one object") else ROWS)


def test_rows_under_keys_keep_the_key() -> None:
    Path("a.json").write_text(json.dumps({f"train/{index}": row for index, row in enumerate(ROWS)}))
    error = error_of("a.json")
    assert "each row under a key" in error.message
    assert values(follow(error, "a.json")) == [{"key": f"train/{index}", **row} for index, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    "content",
    [
        lines(ROWS),
        lines([{"data": ROWS}, {"data": ROWS}]),
        lines([{"messages": [{"role": "user", "content": "1?"}]}]),
        lines([[1, 2], {"a": 1}]),
        '{"a": 1}\n[1]\n',
        '{"a": \n{"a": 1}\n',
        '[{"a": 1}\n{"a": 2}\n',
        '{"a": 1}}\n{"a": 2}\n',
        "[1, 2]\n[3, 4]\n",
        "nothing\n",
        '{"a": "tw',
    ],
)
def test_a_faulty_line_alone_makes_no_other_file(content: str) -> None:
    """Its rows are read, and the faulty ones can be tolerated."""
    Path("a.jsonl").write_text(content)
    assert len(list(read_file(Path("a.jsonl")).records)) == content.count("\n") + (not content.endswith("\n"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from("abcdef"), JSON, min_size=1), min_size=2, max_size=5)


@given(rows=OBJECTS, indent=st.integers(0, 3), between=st.sampled_from(["\n", "", ",", " ,\n", "\r\n\r\n"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_converted_rows_are_the_rows(rows: list[dict[str, Any]], indent: int, between: str) -> None:
    """Whatever stands in them, at every depth, and however they are laid out."""
    shapes = {
        "array": json.dumps(rows, indent=indent or None),
        "objects": between.join(json.dumps(row, indent=indent or None, ensure_ascii=False) for row in rows),
        "within": json.dumps({"x": 1, "rows": rows, "y": rows}, indent=indent or None),
    }
    for name, text in shapes.items():
        Path("a.json").write_text(text, encoding="utf-8", newline="")
        found = list(json_lines(Path("a.json"), "a.json", "rows" if name == "within" else None))
        assert [json.loads(line) for line in found] == rows, name
        assert not any("\n" in line or "\r" in line for line in found)


def test_every_digit_stays_as_it_is_written() -> None:
    digits = ["0.1000", "1e400", "123456789012345678901234567890.5", "-0.0", "1E5"]
    rows = ",\n".join(f'{{"a" : {text}, "a b": "\\u00e9 \\ud800"}}' for text in digits)
    Path("a.json").write_text(f'{{"data": [{rows}]}}')
    assert [re.findall(r'"a" : (\S+),', line) for line in json_lines(Path("a.json"), "a.json")] == [[t] for t in digits]
    columns = ", ".join(digits)
    Path("b.json").write_text(f'{{"a": [{columns}], "b": [{columns}]}}')
    convert_file(Path("b.json"), Path("b.jsonl"), None)
    assert [str(row["a"]) for row in values("b.jsonl")][2] == "123456789012345678901234567890.5"
    assert Decimal(values("b.jsonl")[1]["b"]) == Decimal("1e400")


@pytest.mark.parametrize(
    ("content", "at", "message"),
    [
        ('{"a": [{"q": 1}], "b": [{"q": 1}]}', None, "several lists of rows"),
        ('{"a": [{"q": 1}]}', "b", "no key `b`"),
        ('{"a": 1}', "a", "`a` is not a list"),
        ("17", None, "neither an array nor an object"),
        ("", None, "neither an array nor an object"),
        ("[]", None, "no row"),
        ('[{"q": 1}', None, "a.json:1:10: broken JSON"),
        ('{"q": 1} {"q"', None, "broken JSON"),
        ('{"q": [{"a": 1}], ', "q2", "broken JSON"),
        ("[" * 100_000, None, "nested too deeply"),
        ('{"a": 1, "a": 2}', None, "appears twice"),
    ],
)
def test_what_cannot_be_converted_is_said_and_nothing_is_written(content: str, at: str | None, message: str) -> None:
    Path("a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        convert_file(Path("a.json"), Path("b.jsonl"), at)
    assert os.listdir() == ["data", "a.json"] or sorted(os.listdir()) == ["a.json", "data"]


def test_nothing_is_overwritten_and_the_name_is_that_of_lines() -> None:
    Path("a.json").write_text("[{}]")
    with pytest.raises(DataError, match=r"`a\.json` exists|does not end in `\.jsonl`"):
        convert_file(Path("a.json"), Path("a.json"), None)
    Path("b.jsonl").touch()
    with pytest.raises(DataError, match=r"`b\.jsonl` exists"):
        convert_file(Path("a.json"), Path("b.jsonl"), None)
    with pytest.raises(DataError, match="Parquet is read as it is"):
        convert_file(Path("a.parquet"), Path("c.jsonl"), None)


def table(separator: str, ending: str = "\n", header: tuple[str, ...] = ("question", "answer")) -> str:
    """The texts as a table, quoted where it is needed."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=ending)
    writer.writerow(header)
    writer.writerows([[row[key] for key in ("question", "answer")] for row in TEXTS])
    return out.getvalue()


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_table_with_tabs_is_read(ending: str, packing: str) -> None:
    path = f"a.TSV{packing}"
    content = table("\t", ending).encode()
    Path(path).write_bytes(gzip.compress(content) if packing else content)
    assert values(path) == TEXTS
    assert read_file(Path(path), path).place(3) == f"{path}:3"


TABLES = {
    "semicolons": (".csv", table(";"), "separated by `;`, expected commas"),
    "bars": (".csv", table("|"), r"separated by `\|`, expected commas"),
    "tabs": (".csv", table("\t"), "separated by tabs, expected commas"),
    "commas": (".tsv", table(","), "separated by commas, expected tabs"),
    "commas in the header": (".csv", table(";", header=("question, in words", "answer")), "separated by `;`"),
    "a line for Excel": (".csv", "sep=;\n" + table(";"), "separated by `;`"),
}


@pytest.mark.parametrize("name", TABLES)
def test_another_separator_is_said_and_its_remedy_works(name: str) -> None:
    ending, content, said = TABLES[name]
    path = f"data/sources/a b{ending}"
    Path(path).write_text(content, encoding="utf-8", newline="")
    error = error_of(path)
    assert re.search(said, error.message) and error.message.startswith(f"{path}:")
    assert [list(row.values()) for row in values(follow(error, path))] == [list(row.values()) for row in TEXTS]


def test_a_table_of_one_column_or_with_marks_in_its_names_is_read() -> None:
    Path("a.csv").write_text("question\n1;2?\n")
    assert values("a.csv") == [{"question": "1;2?"}]
    Path("a.csv").write_text("question,a;b;c\n1?,2\n")
    assert values("a.csv") == [{"question": "1?", "a;b;c": "2"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".csv.gz"])
def test_what_excel_and_notepad_write_is_said_and_its_remedy_works(encoding: str, ending: str) -> None:
    path = f"data/sources/a b{ending}"
    plain = (lines(TEXTS) if ending == ".jsonl" else table(",")).encode(encoding)
    Path(path).write_bytes(gzip.compress(plain) if ending.endswith(".gz") else plain)
    error = error_of(path)
    assert "UTF-16" in error.message or "UTF-32" in error.message
    assert "expected UTF-8" in error.message
    assert values(follow(error, path)) == TEXTS


def test_unicode_text_of_excel_takes_two_remedies() -> None:
    Path("a.csv").write_text(table("\t", "\r\n"), encoding="utf-16", newline="")
    second = follow(error_of("a.csv"), "a.csv")
    third = follow(error_of(second), second)
    assert values(third) == TEXTS


def _zip(content: bytes) -> bytes:
    with zipfile.ZipFile("made.zip", "w") as out:
        out.writestr("rows.jsonl", content)
    made = Path("made.zip").read_bytes()
    Path("made.zip").unlink()
    return made


def _tar(content: bytes, mode: Any = "w") -> bytes:
    Path("rows.jsonl").write_bytes(content)
    with tarfile.open("made.tar", mode) as out:
        out.add("rows.jsonl")
    made = Path("made.tar").read_bytes()
    Path("made.tar").unlink()
    Path("rows.jsonl").unlink()
    return made


def _parquet(content: bytes) -> bytes:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TEXTS), "made.parquet")
    made = Path("made.parquet").read_bytes()
    Path("made.parquet").unlink()
    return made


def _arrow(content: bytes) -> bytes:
    import pyarrow

    batch = pyarrow.Table.from_pylist(TEXTS)
    with pyarrow.OSFile("made.arrow", "wb") as sink, pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch)
    made = Path("made.arrow").read_bytes()
    Path("made.arrow").unlink()
    return made


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
PAGE = b'<!DOCTYPE html>\n<html class="">\n<head><title>Sign in</title></head><body>{"a": 1}</body></html>\n'
LINES = lines(TEXTS).encode()
FOREIGN: dict[str, tuple[str, Callable[[bytes], bytes], str, bool]] = {
    # name, how it is made of lines, what is said, whether the remedy brings the rows
    "pointer": ("a.jsonl", lambda _: POINTER, "a git-lfs pointer", False),
    "pointer of parquet": ("a.parquet", lambda _: POINTER, "a git-lfs pointer", False),
    "page": ("a.jsonl", lambda _: PAGE, "a web page, not the file", False),
    "page behind a comment": ("a.csv", lambda _: b"\xef\xbb\xbf <!-- saved -->\n<html><p>", "a web page", False),
    "page of parquet": ("a.parquet", lambda _: PAGE, "a web page, not the file", False),
    "page, packed": ("a.jsonl.gz", lambda _: gzip.compress(PAGE), "a web page", False),
    "xml": ("a.json", lambda _: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML", False),
    "zip": ("a.jsonl", _zip, "a zip archive", True),
    "sheet": ("a.csv", _zip, "or a spreadsheet", False),
    "tar": ("a.jsonl", _tar, "a tar archive", False),
    "tar, packed": ("a.jsonl.gz", lambda data: _tar(data, "w:gz"), "a tar archive", False),
    "gzip": ("a.jsonl", gzip.compress, "packed by gzip", True),
    "zstd": ("a.csv", lambda _: zstandard.ZstdCompressor().compress(table(",").encode()), "packed by zstd", True),
    "gzip as zstd": ("a.jsonl.zst", gzip.compress, "packed by gzip", False),
    "twice": ("a.jsonl.gz", lambda data: gzip.compress(gzip.compress(data)), "packed by gzip again inside", False),
    "bzip2": ("a.jsonl", bz2.compress, "packed by bzip2", True),
    "xz": ("a.jsonl", lzma.compress, "packed by xz", True),
    "parquet": ("a.jsonl", _parquet, "a Parquet file", True),
    "arrow": ("a.jsonl", _arrow, "an Arrow file", True),
    "arrow of parquet": ("a.parquet", _arrow, "an Arrow file", True),
    "pickle": ("a.jsonl", lambda _: pickle.dumps(TEXTS), "a pickle: loading it runs code", False),
    "database": ("a.csv", lambda _: b"SQLite format 3\0" + bytes(100), "a database", False),
    "old sheet": ("a.csv", lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "a spreadsheet", False),
    "PDF": ("a.json", lambda _: b"%PDF-1.7\n", "a PDF", False),
    "empty": ("a.jsonl", lambda _: b"", "the file is empty", False),
    "empty parquet": ("a.parquet", lambda _: b"", "the file is empty", False),
    "plain under gz": ("a.jsonl.gz", lambda data: data, "damaged archive", False),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_kind_of_file_is_known_by_its_first_bytes(name: str) -> None:
    path, make, said, brings = FOREIGN[name]
    path = f"data/sources/{path}"
    Path(path).write_bytes(make(LINES))
    error = error_of(path)
    assert error.message.startswith(f"{path}: ") and said in error.message
    assert error.hint, "there is something to do"
    if brings:
        assert values(follow(error, path)) == TEXTS


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("a.xlsx", "a spreadsheet", "CSV UTF-8"),
        ("a.XLS", "a spreadsheet", "CSV UTF-8"),
        ("a.pkl", "a pickle: loading it runs code, so it is never read", "JSON lines or Parquet"),
        ("a.pt", "maybe a pickle", "JSON lines or Parquet"),
        ("a.arrow", "an Arrow file", "python -c"),
        ("a.zip", "an archive", "`unzip a.zip -d a`"),
        ("a.tar.gz", "an archive", "`tar -xf a.tar.gz -C .`"),
        ("a.7z", "an archive", "unpack it"),
        ("a.jsonl.bz2", "packed by bzip2", "`bunzip2 -k a.jsonl.bz2`"),
        ("a.csv.xz", "packed by xz", "`unxz -k a.csv.xz`"),
        ("a.parquet.gz", "Parquet packs by itself", "`gunzip -k a.parquet.gz`"),
        ("a.txt", "text in no stated format", "mv a.txt a.jsonl"),
        ("a.yaml", "a format that is not read", "JSON lines"),
        ("a.db", "a database", "CSV or JSON lines"),
        ("a.odd", "unknown ending `.odd`", "known: `.jsonl`"),
        ("a", "its name has no ending", "known: `.jsonl`"),
        ("a {b}.zip", "an archive", "`unzip 'a {b}.zip' -d 'a {b}'`"),
    ],
)
def test_another_ending_has_its_remedy(name: str, said: str, hint: str) -> None:
    Path(name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        read_file(Path(name), name)
    assert said in caught.value.message and hint in str(caught.value.hint)


def test_an_arrow_file_of_datasets_is_written_as_parquet() -> None:
    Path("data/sources/a b.arrow").write_bytes(_arrow(b""))
    with pytest.raises(DataError) as caught:
        read_file(Path("data/sources/a b.arrow"), "data/sources/a b.arrow")
    assert values(follow(caught.value, "")) == TEXTS


def test_a_pickle_is_never_loaded() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, ("loaded",)

    for name in ("a.pkl", "a.jsonl", "a.parquet", "a.json", "a.csv"):
        Path(name).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(DataError):
            list(read_file(Path(name), name).records)
    assert not Path("loaded").exists()


def test_pythons_own_way_to_write_an_object_is_named() -> None:
    Path("a.jsonl").write_text("".join(f"{row!r}\n" for row in TEXTS))
    faults = [record.fault for record in read_file(Path("a.jsonl")).records]
    assert all(fault is not None and "Python's notation" in fault.message for fault in faults)


def test_a_hint_is_typed_as_it_stands() -> None:
    """Names with marks of the shell in them are quoted."""
    name = "data/sources/a $(touch evil);`touch evil`'\".jsonl"
    Path(name).write_text(json.dumps(ROWS))
    error = error_of(name)
    command = str(error.hint).removeprefix("name it `.json`: `").rsplit("`, and", 1)[0]
    assert shlex.split(command) == ["mv", name, name.replace(".jsonl", ".json")]


def test_faults_of_a_packed_array_are_of_its_text() -> None:
    Path("a.json.gz").write_bytes(gzip.compress(b'[{"q": 1},\n {]'))
    with pytest.raises(FaultsError, match=r"a\.json\.gz:2:3: broken JSON"):
        list(read_file(Path("a.json.gz"), "a.json.gz").records)
