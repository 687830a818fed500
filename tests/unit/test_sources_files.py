"""Files: every format gives the same rows, packed or not; damage is named by line and never changes a row."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from its.errors import DataError, FaultsError, MissingError
from its.recipe.source_checks import source_faults
from its.sources import lines
from its.sources.files import read_file
from its.sources.hub import read_hub
from its.sources.text import as_json, as_text

ROWS: list[Any] = [
    {"q": "\\frac{{1}}{2} {{ x }} {# y #}\u2028<b>&amp;</b>", "a": "1"},
    {"q": 'two,\nlines "quoted"', "a": "2"},
]


def _content(ending: str, rows: list[Any]) -> bytes:
    if ending == "jsonl":
        return ("\n".join(map(json.dumps, rows)) + "\n\n").encode()
    if ending == "json":
        return json.dumps(rows).encode()
    if ending == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()
    import pyarrow
    import pyarrow.parquet

    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def _pack(content: bytes, packing: str) -> bytes:
    zst = zstandard.ZstdCompressor(write_checksum=True)
    pack: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zst.compress}
    return pack[packing](content)


def _records(path: Path, content: bytes, label: str | None = None) -> list[tuple[str, Any, str | None]]:
    path.write_bytes(content)
    table = read_file(path, label)
    return [(table.place(r.number), r.value, r.fault.message if r.fault else None) for r in table.records]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "jsonl.zst", "json.gz", "csv.zst"])
def test_a_file_of_each_kind(tmp_path: Path, ending: str) -> None:
    format_, _, packing = ending.partition(".")
    content = _pack(_content(format_, ROWS), packing and f".{packing}")
    found = _records(tmp_path / f"rows.{ending}", content, f"data/rows.{ending}")
    assert [value for _, value, _ in found] == ROWS
    number = {"jsonl": ":2", "csv": ":3"}.get(format_, "[1]")  # the header is a line too
    assert found[1][0] == f"data/rows.{ending}{number}"


def test_archives_of_several_parts_are_read_whole(tmp_path: Path) -> None:
    for packing in (".gz", ".zst"):
        content = _pack(b'{"a": 1}\n{"a"', packing) + _pack(b": 2}\n", packing)
        found = _records(tmp_path / f"a.jsonl{packing}", content)
        assert [value for _, value, _ in found] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "other", "nothing"])
def test_a_damaged_archive_is_one_clear_error(tmp_path: Path, packing: str, harm: str) -> None:
    content = bytearray(_pack(b"".join(b'{"q": %d}\n' % i for i in range(20_000)), packing))
    if harm == "cut":
        del content[-100:]
    elif harm == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = bytearray(b"hello" if harm == "other" else b"")
    with pytest.raises(DataError, match=r"data/a\.jsonl.*: (damaged archive|the file is empty)") as caught:
        _records(tmp_path / f"a.jsonl{packing}", bytes(content), f"data/a.jsonl{packing}")
    assert ("get it again" if harm == "nothing" else "get the file again") in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.json", b'[{"q": 1},\n {]', FaultsError, r"a\.json:2:3: broken JSON"),
        (
            "a.json",
            b'{"q": 1}\n{"q": 2}\n',
            DataError,
            r"a\.json:1: JSON lines, and in a `\.json` file all rows are one",
        ),
        ("a.json", b"[{}] []", FaultsError, r"a\.json:1:6: broken JSON: extra data"),
        ("a.json", b'[\n"\xff"]', FaultsError, r"a\.json:2: not UTF-8 at byte 3"),
        ("a.json", b'{"q": 1}', DataError, r"a\.json:1: one JSON object, expected an array"),
        ("a.json", b"17", DataError, r"a\.json:1: not an array but a number"),
        ("a.json", b"[" * 100_000, DataError, r"a\.json: JSON: nested too deeply"),
        ("a.parquet", b"PAR1 no", DataError, r"a\.parquet: not a readable Parquet file"),
        ("a.jsonl", '{"q": 1}\n'.encode("utf-16"), DataError, r"a\.jsonl: UTF-16, expected UTF-8"),
        ("a.csv", b"", DataError, r"a\.csv: the file is empty"),
        ("a.csv", b"\n\n", DataError, r"a\.csv:1: no header"),
        ("a.csv", b"q,q\n1,2\n", DataError, r"a\.csv:1: the header names `q` twice"),
        ("a.xlsx", b"", DataError, r"a\.xlsx: unknown ending `\.xlsx`"),
        ("a.parquet.gz", b"", DataError, r"unknown ending `\.gz`"),
        ("b.jsonl", None, MissingError, r"b\.jsonl: no such file"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(read_file(tmp_path / name).records)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"q": }', "broken JSON at column 7: expecting value"),
        (b'{"q": "caf\xe9"}', "not UTF-8 at byte 10"),
        (b'{"q": "a\0b"}', "the line contains NUL bytes"),
        (b'{"q": "a\tb"}', "broken JSON at column 9: invalid control character at"),
        (b'{"q": 1, "q": 2}', "JSON: the key `q` appears twice in one object"),
        (b'{"q": %s}' % (b"9" * 5000), "JSON: exceeds the limit (4300 digits) for integer string conversion: value"),
        (b'{"q": ' + b"[" * 100_000, "broken JSON: nested too deeply"),
    ],
)
def test_a_faulty_line_leaves_the_others_alone(tmp_path: Path, line: bytes, message: str) -> None:
    found = _records(tmp_path / "a.jsonl", b'{"q": 1}\n' + line + b'\n{"q": 3}\n')
    assert found[0][1:] == ({"q": 1}, None)
    assert found[2][1:] == ({"q": 3}, None)
    assert found[1][0].endswith("a.jsonl:2")
    assert str(found[1][2]).startswith(message)


def test_a_file_that_was_cut_off_says_so(tmp_path: Path) -> None:
    found = _records(tmp_path / "a.jsonl", b'{"q": 1}\n{"q": "tw')
    assert "it is the last line and has no end" in str(found[1][2])
    assert _records(tmp_path / "b.jsonl", b'{"q": 1}')[0][1] == {"q": 1}, "a missing last line end alone is no fault"


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", b'{"q": "1"}'), ("a.json", b'[{"q": "1"}]'), ("a.csv", b"q\n1\n")):
        assert _records(tmp_path / name, b"\xef\xbb\xbf" + content)[0][1] == {"q": "1"}


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    content = b'{"a": 27.0, "b": 12345678901234567890123, "c": 0.1, "d": 3.14159265358979323846, "e": 1e400}'
    value = _records(tmp_path / "a.jsonl", content)[0][1]
    assert value == {"a": 27.0, "b": 12345678901234567890123, "c": 0.1, "d": Decimal("3.14159265358979323846")} | {
        "e": Decimal("1e400")
    }
    assert type(value["c"]) is float


@pytest.mark.parametrize("packing", ["", ".zst"])
def test_a_line_without_end_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1_000_000)
    monkeypatch.setattr("its.sources.files.MAX_LINE_BYTES", 1_000_000)
    path = tmp_path / f"a.jsonl{packing}"
    path.write_bytes(_pack(b'{"q": 1}\n{"q": "' + b"x" * 60_000_000 + b'"}\n{"q": 3}\n', packing))
    table = read_file(path)
    tracemalloc.start()
    records = list(table.records)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record.value for record in records] == [{"q": 1}, None, {"q": 3}]
    assert records[1].fault is not None
    assert records[1].fault.message == "the line has 60000010 bytes; the limit is 1000000"
    assert records[1].raw.startswith('{"q": "xxx') and len(records[1].raw) < 3000
    assert peak < 20_000_000


def test_a_line_of_just_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    found = _records(tmp_path / "a.jsonl", b'{"q": 100}\n{"q": 1000}\n{"q": 1}')
    assert [value for _, value, _ in found] == [{"q": 100}, None, {"q": 1}]


def test_csv_rows_are_named_by_the_line_they_begin_on(tmp_path: Path) -> None:
    found = _records(tmp_path / "a.csv", b'q,a\n"one\ntwo",1\n\nx\nlong,"' + b"y" * 300_000 + b'"\nz,\n')
    assert [(place.rpartition(":")[2], fault) for place, _, fault in found] == [
        ("2", None),
        ("5", "the row has 1 columns, the header 2"),
        ("6", None),
        ("7", None),
    ]
    assert found[0][1] == {"q": "one\ntwo", "a": "1"}
    assert len(found[2][1]["a"]) == 300_000
    assert found[3][1] == {"q": "z", "a": None}, "an empty cell is an absent value"


def test_a_quote_left_open_swallows_no_row_silently(tmp_path: Path) -> None:
    found = _records(tmp_path / "a.csv", b'q\n"one\ntwo\nthree\n')
    assert [fault for _, _, fault in found] == ["broken CSV: unexpected end of data"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_the_digest_is_of_the_bytes_that_the_rows_came_from(tmp_path: Path, name: str) -> None:
    format_, _, packing = name.removeprefix("a.").partition(".")
    content = _pack(_content(format_, ROWS), packing and f".{packing}")
    (tmp_path / name).write_bytes(content)
    verified: list[str] = []
    records = read_file(tmp_path / name, verify=verified.append).records
    assert [record.value for record in records] == ROWS
    assert [records.result] == verified == [hashlib.sha256(content).hexdigest()]


def test_a_file_that_changes_while_it_is_read_has_the_digest_of_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = b'{"q": "%07d"}\n'
    path.write_bytes(b"".join(row % index for index in range(200_000)))
    records = read_file(path).records
    values = [next(records).value["q"]]
    with path.open("r+b") as changed:  # behind what was read so far
        changed.seek(150_000 * 17)
        changed.write(b'{"q": "changed"}\n')
    values += [record.value["q"] for record in records]
    assert values[150_000] == "changed"
    assert records.result == hashlib.sha256("".join(f'{{"q": "{value}"}}\n' for value in values).encode()).hexdigest()


def test_a_parquet_file_that_changes_behind_its_digest_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    rows = pyarrow.table({"q": [f"{index:064d}" for index in range(200_000)]})
    pyarrow.parquet.write_table(rows, path, compression="none", use_dictionary=False)
    place = path.read_bytes().index(b"%064d" % 150_000)

    def change(digest: str) -> None:
        with path.open("r+b") as changed:
            changed.seek(place)
            changed.write(b"x")

    with pytest.raises(DataError, match="it changed while it was read"):
        list(read_file(path, verify=change).records)


@pytest.mark.parametrize(
    "literal", ["1" * 309, "9" * 4300, "-" + "9" * 400, "1" * 400 + "." + "5" * 400, "0." + "1" * 900]
)
def test_numbers_of_any_size_are_kept_digit_by_digit(tmp_path: Path, literal: str) -> None:
    (_, value, fault), *_ = _records(tmp_path / "a.jsonl", f'{{"q": {literal}}}'.encode())
    assert fault is None
    assert as_text(value["q"]) == literal
    assert str(as_json(value["q"])) == literal


@pytest.mark.parametrize(
    ("literal", "text"), [("1e309", "1" + "0" * 309), ("-1E+400", "-1" + "0" * 400), ("1e-400", "0." + "0" * 399 + "1")]
)
def test_numbers_that_no_float_holds_are_written_out(tmp_path: Path, literal: str, text: str) -> None:
    (_, value, _), *_ = _records(tmp_path / "a.jsonl", f'{{"q": {literal}}}'.encode())
    assert as_text(value["q"]) == text


@pytest.mark.parametrize(("separator", "said"), [(";", "`;`"), ("\t", "tabs")])
def test_another_separator_of_a_csv_file_is_one_fault(tmp_path: Path, separator: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"question{separator}answer\n" + f"1, 2 or 3?{separator}3\n" * 100)
    with pytest.raises(DataError, match=f"the columns are separated by {said}, expected commas"):
        list(read_file(path).records)


def test_a_ctrl_z_at_the_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.JSONL").write_bytes(b"{}\n\x1a")
    first, last = read_file(tmp_path / "a.JSONL").records
    assert first.value == {}
    assert last.fault is not None
    assert "Ctrl-Z" in last.fault.message


@pytest.mark.parametrize("name", ["J.JSONL", "j.Json.GZ", "c.CSV", "p.PARQUET"])
def test_the_check_takes_an_ending_as_the_reader_does(tmp_path: Path, name: str) -> None:
    place = tmp_path / "data" / "sources" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}\n")
    entry = {"source": {"kind": "files", "path": f"data/sources/{name}"}, "fields": {"problem": "a"}}
    assert list(source_faults({"datasets": {"x": entry}}, tmp_path)) == []


@pytest.mark.parametrize(
    ("bits", "values"),
    [
        ("32", [2.0**30, 2.0**24 + 2, -(2.0**31), 123456792.0, 1e20, 0.1, 1 / 3]),
        ("16", [65504.0, 2049.0 - 1, -60000.0, 0.1]),
    ],
)
def test_a_whole_number_in_a_narrow_float_is_exact(tmp_path: Path, bits: str, values: list[float]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    column = pa.array(values, pa.float32()) if bits == "32" else pa.array(values, pa.float16())
    pa.parquet.write_table(
        pa.table({"a": column, "b": [[value] for value in column.to_pylist()]}), tmp_path / "a.parquet"
    )
    found = [record.value["a"] for record in read_file(tmp_path / "a.parquet").records]
    whole = [value for value in column.to_pylist() if value.is_integer()]
    assert [value for value in found if value.is_integer()] == whole
    assert 0.1 in found


DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{0,2}[1-9])?(e-?[0-9])?", fullmatch=True)
"""Six digits of them any float of 32 bits keeps, of 16 bits three."""


@pytest.mark.parametrize("ending", ["parquet", "hub"])
@given(data=st.data())
@settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_narrow_floats_are_read_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, data: st.DataObject
) -> None:
    """Alone, in lists, in structs, in maps, missing and at any depth."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet

    def in_32_bits(digits: str) -> float:
        value = float(f"{float(digits):.6g}")
        narrowed: float = struct.unpack("f", struct.pack("f", value))[0]
        return narrowed if narrowed.is_integer() else value  # whole numbers stay what they are

    def short(digits: str) -> float:
        value = float(f"{float(digits):.3g}") if abs(float(digits)) < 6e4 else 0.5
        narrowed: float = struct.unpack("e", struct.pack("e", value))[0]
        return narrowed if narrowed.is_integer() else value

    narrow = {
        pa.float32(): DIGITS.map(in_32_bits),
        pa.float16(): DIGITS.map(short).filter(lambda value: value == 0 or abs(value) > 1e-4),
    }

    def kind(depth: int) -> tuple[Any, Any]:
        """(Arrow's type, what draws values of it)"""
        way = data.draw(st.integers(0, 5 if depth else 1))
        if way < 2:
            chosen = data.draw(st.sampled_from(list(narrow)))
            return chosen, st.none() | narrow[chosen]
        inner, values = kind(depth - 1)
        if way == 2:
            return pa.list_(inner), st.none() | st.lists(values, max_size=3)
        if way == 3 and ending == "parquet":
            keys = st.sampled_from(["k", "l"])
            return pa.map_(pa.string(), inner), st.none() | st.lists(st.tuples(keys, values), max_size=2)
        if way == 4:
            return pa.list_(inner, 2), st.lists(values, min_size=2, max_size=2)
        return pa.struct([("a", inner), ("b", pa.string())]), st.fixed_dictionaries({"a": values, "b": st.just("0.1")})

    columns, wanted = {"q": pa.array(["What?"] * 3)}, [{"q": "What?"} for _ in range(3)]
    for number in range(5):
        type_, values = kind(3)
        drawn = data.draw(st.lists(values, min_size=3, max_size=3))
        columns[f"a{number}"] = pa.array(drawn, type_)
        for row, value in zip(wanted, drawn, strict=True):
            row[f"a{number}"] = value
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    if ending == "hub":
        load = datasets.load_dataset
        with monkeypatch.context() as patched:
            patched.setattr(
                datasets,
                "load_dataset",
                lambda *_, **more: load("parquet", data_files=str(path), split="train", streaming=True),
            )
            found = [record.value for record in read_hub("a/b", None, "train", "main").records]
    else:
        found = [record.value for record in read_file(path).records]
    assert found == wanted


def test_a_reference_of_a_narrow_float_is_a_number_that_answers_equal(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    written = ["0.1", "27", "3.14", "-0.001", "123456", "0.3333333"]
    pa.parquet.write_table(pa.table({"a": pa.array([float(text) for text in written], pa.float32())}), path)
    assert [as_text(record.value["a"]) for record in read_file(path).records] == written
    decimals = pa.array([Decimal("0.10"), Decimal("27.00")], pa.decimal128(5, 2))
    pa.parquet.write_table(pa.table({"a": decimals, "b": pa.array([0.1, 1e-9])}), path)
    rows = [record.value for record in read_file(path).records]
    assert [as_text(row["a"]) for row in rows] == ["0.10", "27"]
    assert [row["b"] for row in rows] == [0.1, 1e-9]
