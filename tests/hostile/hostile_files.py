"""Hostile data files, by name and content. A content is bytes, or is made in the folder of the case by a function.

Each is loaded as a dataset with the fields below, written, and described on a card. The third part of a case is what
must become of it: `good` (rows come out), `bad` (an error in words), or `any` (either, in words).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

FIELDS = {"problem": "q", "solution": "s", "reference": "a", "meta": {"m": "m"}}
Case = tuple[str, bytes | Callable[[Path], None], str]

ROW = {"q": "What is $1+1$?", "s": "It is \\boxed{2}.", "a": "2", "m": {"k": [1]}}
GOOD = json.dumps(ROW).encode() + b"\n"


def row(**changed: Any) -> bytes:
    """A good row but for some fields."""
    return json.dumps({**ROW, **changed}).encode() + b"\n"


def raw(field: str, literal: str) -> bytes:
    """A row in which a field holds a literal that `json` would not write."""
    return json.dumps({**ROW, field: "@"}).replace('"@"', literal).encode() + b"\n"


NUMBERS = (
    *("1" * digits for digits in (17, 308, 309, 310, 4300)),
    *("-" + "9" * digits for digits in (309, 4300)),
    *("1e308", "1e309", "1e400", "-1e400", "1E+4299", "1e-400", "1e-4000", "-0.0", "-0", "0e0", "0e99999"),
    *("0." + "1" * digits for digits in (20, 400, 5000)),
    *("3." + "0" * digits for digits in (20, 400, 5000)),
    "1" * 400 + "." + "2" * 400,
)
TOO_MUCH = (
    *("1" * digits for digits in (4301, 5000, 100_000)),
    *("1E+5000", "1e-5000", "1e999999999", "1e-999999999", "1e9999999999999999999", "1e-9999999999999999999"),
    *("0x10", "NaN", "Infinity", "-Infinity", "1_000", "+1", "01", "1.", ".5", "--1", "1e", "0b1", "1e1e1", "\u0663"),
)
TEXTS = {
    "surrogate": "\ud800",
    "surrogates swapped": "\udc00\ud800",
    "nul": "a\0b",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "override": "a\u202eb",
    "c1": "a\x85b",
    "marks": "a" + "\u0301" * 2000,
    "unbroken": "W" * 100_000,
    "line separators": "a\u2028b\u2029c",
    "zero width": "a\u200b\u200d\ufeffb" * 50,
    "markdown": "# x\n\n| a | b |\n|---|---|\n```\n</textarea><script>alert(1)</script>",
    "jinja": "{{ 1/0 }}{% for i in range(10**9) %}{% endfor %}",
    "think": "<think>" * 20_000,
    "unthink": "</think>" * 20_000,
    "thoughts": "<|begin_of_thought|>" * 20_000,
    "boxes": "\\boxed{" * 20_000,
    "dollars": "$" * 100_000,
    "tabs": "\t" * 100_000,
    "neqs": "$\neq " * 10_000,
    "spaces": " " * 100_000,
    "tags": "<unused49>",
    "noncharacter": "\uffff\ufffe\U0010ffff",
    "empty": "",
    "private": "\ue000",
}
VALUES: dict[str, Any] = {
    "list": [],
    "object": {},
    "true": True,
    "null": None,
    "nested": [[[["a"]]]],
    "deep": None,  # below
    "mixed": [1, "a", None, {"b": [True]}],
    "keys": {"": 1, " ": 2, "a.b": 3, "\n": 4},
}
for _ in range(90):
    VALUES["deep"] = [VALUES["deep"]]


def cases() -> Iterator[Case]:
    """All cases that are small and quick."""
    yield from lines()
    yield from arrays()
    yield from tables()
    yield from archives()
    yield from parquet_files()
    yield from no_files()
    yield from other_shapes()
    yield from folders()


def other_shapes() -> Iterator[Case]:
    """JSON under the other ending, single objects that hold rows, and what only begins so: each has to be explained."""
    good = GOOD.strip()
    many = b",".join([good] * 30_000)
    for name, content in {
        "array": b"[%b, %b]" % (good, good),
        "array of one": b"[%b]" % good,
        "long array": b"[%b]" % many,
        "array, cut": b"[%b" % many,
        "array of arrays": b"[[1, 2], [3, 4]]",
        "within": b'{"data": [%b]}' % good,
        "long within": b'{"data": [%b]}' % many,
        "within, cut": b'{"data": [%b' % many,
        "columns": b'{"q": ["a", "b"], "s": ["c", "d"]}',
        "uneven columns": b'{"q": ["a", "b"], "s": ["c"]}',
        "keys": b'{"1": %b, "x": %b}' % (good, good),
        "many keys": b"{" + b",".join(b'"k%d": %b' % (index, good) for index in range(3000)) + b"}",
        "objects of nothing": b"{}" * 100_000,
        "objects and commas": b"{}," * 100_000,
        "deep in data": b'{"data": ' + b"[" * 100_000,
        "deep keys": b'{"a": ' * 100_000,
        "open key": b'{"' + b"a" * 5_000_000,
        "open text": b'{"a": "' + b"\\n" * 5_000_000,
        "digits in data": b'{"data": [{"q": ' + b"1" * 10_000 + b"}]}",
        "spaces in data": b'{"data":' + b" " * 5_000_000 + b"[{}]}",
        "key twice in data": b'{"data": [{"q": 1, "q": 2}], "data": []}',
        "surrogate as key": b'{"\\ud800": [{"q": 1}]}',
        "escape as key": b'{"\\u001b[31m`": [{"q": 1}]}',
        "huge key of rows": b'{"%b": [{"q": 1}]}' % (b"k" * 10**6),
        "tiny lists": b"[" + b"[]," * 1_500_000,
        "pretty": json.dumps(ROW, indent=1).encode() * 3,
    }.items():
        for ending in ("jsonl", "ndjson", "json", "jsonl.gz"):
            if ending != "json" or "array" not in name:
                packed = gzip.compress(content) if ending.endswith("gz") else content
                yield f"shape of {name}.{ending}", packed, "bad"
    yield "good.ndjson", GOOD * 3, "good"
    yield "good.tsv", b"q\ts\ta\tm\nWhat?\tSo.\t2\tx\n", "good"
    for name, content in {
        "commas": b"q,s,a,m\nWhat?,So.,2,x\n",
        "open quote": b'q\ts\n"' + b"a\n" * 100_000,
        "tabs": b"\t" * 10**6 + b"\n" + b"\t" * 10**6,
        "few": b"q\ts\ta\tm\n" + b"a\n" * 1000,
        "nul": b"q\ts\n\0\t\0\n",
        "utf16": "q\ts\n".encode("utf-16"),
    }.items():
        yield f"{name}.tsv", content, "bad"
    for name, content in {
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "page": b"<!DOCTYPE html><html>" + b"<p>" * 1000,
        "open comment": b"<!--" + b"-" * 10**6,
        "zip": b"PK\x03\x04" + bytes(1000),
        "tar": bytes(257) + b"ustar" + bytes(1000),
        "nul and letter": b"a\0" * 10**6,
        "letter and nul": b"\0a" * 10**6,
    }.items():
        for ending in ("jsonl", "json", "csv", "parquet", "csv.gz"):
            yield f"{name} as.{ending}", gzip.compress(content) if ending.endswith("gz") else content, "bad"


def folders() -> Iterator[Case]:
    """Folders in place of a file."""

    def holding(*names: str, content: bytes = GOOD) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            path.mkdir()
            for name in names:
                (path / name).write_bytes(content)

        return make

    def and_a(act: Callable[[Path], object]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            holding("a.jsonl")(path)
            act(path / "b.jsonl")

        return make

    yield "shards", holding("a.jsonl", "b.jsonl", "_SUCCESS"), "good"
    yield "shards.parquet", holding("a.jsonl", "README.md"), "good"
    yield "shards of nothing", holding("a.jsonl", content=b""), "bad"
    yield "shards of each other", holding("a.jsonl", "b.json"), "bad"
    yield "1,001 shards", holding(*(f"{index}.jsonl" for index in range(1001))), "bad"
    yield "20,001 entries", holding(*(f"_{index}" for index in range(20_001)), content=b""), "bad"
    yield "odd shards", holding("\x1b[31m.jsonl", "a\nb.jsonl", "-rf.jsonl"), "bad"
    yield "long shards", holding(f"{'9' * 240}.jsonl", f"{'8' * 240}.jsonl"), "good"
    yield "shards and a pipe", and_a(os.mkfifo), "bad"
    yield "shards and a socket", and_a(_socket), "bad"
    yield "shards and a folder", and_a(Path.mkdir), "bad"
    yield "shards and a circle", and_a(lambda path: path.symlink_to(path)), "bad"
    yield "shards and zero", and_a(lambda path: path.symlink_to("/dev/zero")), "bad"
    yield "shards and the kernel", and_a(lambda path: path.symlink_to("/proc/kmsg")), "bad"
    yield "shards twice", and_a(lambda path: path.symlink_to("a.jsonl")), "bad"


def lines() -> Iterator[Case]:
    """JSON lines."""
    for literal in NUMBERS:
        name = f"{literal[:12]} of {len(literal)}"
        yield f"number {name}.jsonl", raw("a", literal), "good"
        yield f"meta number {name}.jsonl", raw("m", literal), "good"
    for literal in TOO_MUCH:
        name = f"{literal[:12]} of {len(literal)}".replace("/", "")
        yield f"number {name}.jsonl", raw("a", literal), "bad"
        yield f"meta number {name}.jsonl", raw("m", literal), "any"
    for name, text in TEXTS.items():
        for field in ("q", "s", "a", "m"):
            yield f"{field} holds {name}.jsonl", row(**{field: text}), "any"
        yield f"key holds {name}.jsonl", json.dumps({text: 1, **ROW}).encode(), "any"
        yield f"key without q holds {name}.jsonl", json.dumps({text: 1}).encode(), "bad"
    for name, value in VALUES.items():
        yield f"meta is {name}.jsonl", row(m=value), "good"
        yield f"problem is {name}.jsonl", row(q=value), "bad"
        yield f"row is {name}.jsonl", json.dumps(value).encode(), "bad"
    for depth in (99, 101, 300, 900, 980, 990, 1000, 5000, 200_000):
        yield f"meta {depth} deep.jsonl", raw("m", "[" * depth + "]" * depth), "good" if depth < 100 else "bad"
        yield f"objects {depth} deep.jsonl", raw("m", '{"a":' * depth + "1" + "}" * depth), "any"
        yield f"unmapped {depth} deep.jsonl", raw("other", "[" * depth + "]" * depth), "any"
        yield f"open {depth} deep.jsonl", b"[" * depth, "bad"
    yield "key twice.jsonl", b'{"q": "1", "q": "2"}', "bad"
    yield "surrogate key twice.jsonl", b'{"\\ud800": "1", "\\ud800": "2"}', "bad"
    yield "huge key twice.jsonl", b'{"%b": 1, "%b": 2}' % (b"k" * 10**6, b"k" * 10**6), "bad"
    yield "huge key.jsonl", b'{"%b": 1}' % (b"k" * 10**6), "bad"
    yield "many keys.jsonl", json.dumps({f"k{i}": i for i in range(10**5)}).encode(), "bad"
    yield "utf16.jsonl", GOOD.decode().encode("utf-16"), "bad"
    yield "utf16 without mark.jsonl", GOOD.decode().encode("utf-16-le"), "bad"
    yield "utf32.jsonl", GOOD.decode().encode("utf-32"), "bad"
    yield "utf32 big.jsonl", b"\0\0\xfe\xff" + GOOD.decode().encode("utf-32-be"), "bad"
    yield "utf7.jsonl", '{"q": "ü"}'.encode("utf-7"), "bad"
    yield "latin1.jsonl", '{"q": "ü"}'.encode("latin-1"), "bad"
    yield "mark within.jsonl", GOOD + b"\xef\xbb\xbf" + GOOD, "bad"
    yield "two marks.jsonl", b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, "bad"
    yield "nothing.jsonl", b"", "bad"
    yield "nul bytes.jsonl", b"\0" * 10_000, "bad"
    yield "blank lines.jsonl", b"\n" * 1_100_000, "bad"
    yield "spaces.jsonl", b" " * 10**7, "bad"
    yield "returns.jsonl", GOOD.replace(b"\n", b"\r") * 3, "bad"
    yield "faulty lines.jsonl", b"x\n" * 200_000, "bad"
    yield "faulty numbers.jsonl", b"1\n" * 200_000, "bad"
    yield "overlong utf8.jsonl", b'{"q": "\xc0\xaf"}', "bad"
    yield "surrogate in utf8.jsonl", b'{"q": "\xed\xa0\x80"}', "bad"
    yield "hole of 1 TB.jsonl", _hole, "bad"
    yield "hole of 1 TB.json", _hole, "bad"
    yield "hole of 1 TB.csv", _hole, "bad"
    yield "a comment.jsonl", b"// x\n" + GOOD, "bad"
    yield "two rows a line.jsonl", GOOD.strip() + GOOD, "bad"
    yield "yaml.jsonl", b"!!python/object/apply:os.system ['true']\n", "bad"
    yield "pickle.jsonl", b"cos\nsystem\n(S'true'\ntR.", "bad"


def _hole(path: Path) -> None:
    with path.open("wb") as out:
        out.truncate(10**12)


def arrays() -> Iterator[Case]:
    """JSON that is one array."""
    good = GOOD.strip()
    yield "good.json", b"[%b,\n%b]" % (good, good), "good"
    yield "many.json", b"[" + b",".join([good] * 30_000) + b"]", "good"
    yield "spaces.json", b"[" + b" " * 5_000_000 + good + b"\n" * 5_000_000 + b"]" + b"\t" * 100, "good"
    for name, content in {
        "empty": b"",
        "empty array": b"[]",
        "object": b"{}",
        "number": b"1",
        "text": b'"a"',
        "null": b"null",
        "cut": b"[%b" % good,
        "cut within": b"[" + good[:-9],
        "comma": b"[%b,]" % good,
        "commas": b"[,%b]" % good,
        "only commas": b"[" + b"," * 10**6,
        "more behind": b"[%b] x" % good,
        "two": b"[%b][%b]" % (good, good),
        "lines": GOOD * 2,
        "deep": b"[" * 200_000,
        "deep row": b"[" + b"[" * 200_000 + b"]" * 200_000 + b"]",
        "deep objects": b"[" + b'{"a":' * 200_000,
        "numbers": b"[" + b"1," * 10**6 + b"1]",
        "empties": b"[" + b"[]," * 10**6 + b"{}]",
        "many digits": b"[" + b"1" * 10**6 + b"]",
        "open text": b'["' + b"a" * 10**6,
        "utf16": "[1]".encode("utf-16"),
        "latin1": b'[{"q": "\xfc"}]',
        "mark within": b"[%b,\xef\xbb\xbf%b]" % (good, good),
        "cut character": b'[{"q": "\xc3',
        "key twice": b'[{"q": 1, "q": 2}]',
        "NaN": b"[NaN]",
        "bad literal": b"[tru]",
        "nul": b"[\0]",
    }.items():
        yield f"{name}.json", content, "bad"


def tables() -> Iterator[Case]:
    """CSV."""
    head = b"q,s,a,m\n"
    good = b"What?,So \\boxed{2},2,x\n"
    yield "good.csv", head + good * 3, "good"
    yield "formula.csv", head + b'=1+1,"=HYPERLINK(""x"")",2,@x\n', "good"
    yield "returns.csv", (head + good * 3).replace(b"\n", b"\r\n"), "good"
    for name, content in {
        "open quote": head + b'"' + b"a\n" * 100_000,
        "open quote header": b'"' + b"a\n" * 100_000,
        "quotes": head + b'"' * 10**6,
        "no header": b"\n\n",
        "header alone": head,
        "columns": b",".join(b"c%d" % i for i in range(10**5)) + b"\n" + b"," * (10**5 - 1) + b"\n",
        "commas": b"," * 10**6 + b"\n" + b"," * 10**6,
        "same columns": b"q,q\n1,2\n",
        "nul": b"q,s\n\0,\0\n",
        "binary": bytes(range(256)) * 100,
        "latin1": head + "ü,ü,ü,ü\n".encode("latin-1"),
        "few": head + b"a\n" * 1000,
        "many": head + b"," * 1000 + b"\n",
        "semicolons": head.replace(b",", b";") + good.replace(b",", b";"),
        "return alone": b"q\rs\ra\rm",
        "utf16": (head + good).decode().encode("utf-16"),
        "empty cells": head + b",,,\n" * 1000,
        "surrogates": head + b"\xed\xa0\x80,b,c,d\n",
        "escape": b"\x1b[2J,\x1b[31m\n1,2\n",
    }.items():
        yield f"{name}.csv", content, "bad"
    yield "mark.csv", b"\xef\xbb\xbf" + head + good, "good"


def archives() -> Iterator[Case]:
    """Packed text, and bombs."""
    pack = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor(level=19).compress}
    for ending, packed in pack.items():
        yield f"good.jsonl.{ending}", packed(GOOD * 1000), "good"
        yield f"good.json.{ending}", packed(b"[%b]" % GOOD), "good"
        yield f"rubbish behind.jsonl.{ending}", packed(GOOD) + b"rubbish", "bad"
        yield f"cut.jsonl.{ending}", packed(GOOD * 1000)[:-10], "bad"
        yield f"empty.jsonl.{ending}", b"", "bad"
        yield f"plain.jsonl.{ending}", GOOD, "bad"
        yield f"packed twice.jsonl.{ending}", packed(packed(GOOD)), "bad"
        yield f"utf16.jsonl.{ending}", packed(GOOD.decode().encode("utf-16")), "bad"
        yield f"nothing.jsonl.{ending}", packed(b""), "bad"
        for kind in ("jsonl", "json", "csv"):
            for name, unit in {
                "spaces": b" ",
                "lines": b"\n",
                "letters": b"a",
                "zeros": b"\0",
                "brackets": b"[",
            }.items():
                yield f"bomb of {name}.{kind}.{ending}", _bomb(unit, ending), "bad"
        yield f"bomb of rows.jsonl.{ending}", _bomb(b"{}\n", ending), "bad"
        yield f"bomb of elements.json.{ending}", _bomb(b"[],", ending, b"["), "bad"
        yield f"bomb of quotes.csv.{ending}", _bomb(b'"a\n",', ending, b"q,s\n"), "bad"
        yield f"bomb of commas.csv.{ending}", _bomb(b",", ending, b"q,s\n"), "bad"
    yield "window.jsonl.zst", bytes.fromhex("28b52ffd00f8"), "bad"  # claims a window of terabytes
    yield "claims.jsonl.zst", bytes.fromhex("28b52ffde0ffffffffffffff7f") + b"\x01\0\0", "bad"
    yield "skippable.jsonl.zst", bytes.fromhex("502a4d18ffffffff") + b"a" * 100, "bad"
    yield "bzip2.jsonl.gz", b"BZh91AY&SY", "bad"
    yield "good.jsonl.GZ", gzip.compress(GOOD), "any"


def _bomb(unit: bytes, ending: str, before: bytes = b"") -> Callable[[Path], None]:
    """110 MB, in 110 kB by gzip, which packs a thousand times at most, and in far less by zstd."""
    block = unit * (2**20 // len(unit))

    def make(path: Path) -> None:
        if ending == "zst":
            with path.open("wb") as out, zstandard.ZstdCompressor(level=1).stream_writer(out) as packed:
                packed.write(before)
                for _ in range(110):
                    packed.write(block)
            return
        # Members of one archive: packing one and repeating it is quick, and unpacks as one stream.
        part = gzip.compress(block * 16, 9)
        path.write_bytes(gzip.compress(before) + part * 7)

    return make


def parquet_files() -> Iterator[Case]:
    """Parquet: odd types, bombs and damage."""
    for name, (make, end) in _parquet().items():
        yield f"{name}.parquet", make, end


def _parquet() -> dict[str, tuple[Any, str]]:
    import datetime
    from decimal import Decimal

    import pyarrow as pa

    n = 3
    base = {"q": ["What?"] * n, "s": ["So."] * n, "a": ["2"] * n}

    def table(**columns: Any) -> Callable[[Path], None]:
        return lambda path: _write(path, pa.table({**base, "m": pa.array([None] * n, pa.string()), **columns}))

    def column(field: str, values: Any, type_: Any) -> Callable[[Path], None]:
        return table(**{field: pa.array(values, type_)})

    far = 2**62
    out: dict[str, tuple[Any, str]] = {"good": (table(), "good")}
    odd = {
        "milliseconds": ([far] * n, pa.timestamp("ms")),
        "nanoseconds": ([1] * n, pa.timestamp("ns")),
        "zones": ([far] * n, pa.timestamp("us", "Nowhere/Land")),
        "dates": ([2**31 - 1] * n, pa.date32()),
        "dates64": ([86_400_000 * 10**9] * n, pa.date64()),
        "durations": ([far] * n, pa.duration("s")),
        "times": ([86_399_999_999_999] * n, pa.time64("ns")),
        "decimals": ([Decimal("9" * 38)] * n, pa.decimal128(38, 0)),
        "wide decimals": ([Decimal("9" * 76)] * n, pa.decimal256(76, 0)),
        "small decimals": ([Decimal("0." + "0" * 37 + "1")] * n, pa.decimal128(38, 38)),
        "bytes": ([b"\xff\x00"] * n, pa.binary()),
        "fixed bytes": ([b"ab"] * n, pa.binary(2)),
        "large text": (["x"] * n, pa.large_string()),
        "nulls": ([None] * n, pa.null()),
        "halves": ([1.5] * n, pa.float16()),
        "NaN": ([float("nan")] * n, pa.float64()),
        "infinity": ([float("inf")] * n, pa.float64()),
        "uint64": ([2**64 - 1] * n, pa.uint64()),
        "booleans": ([True] * n, pa.bool_()),
        "map": ([[("k", 1), ("k", 2)]] * n, pa.map_(pa.string(), pa.int64())),
        "map of lists": ([[("k", [1])]] * n, pa.map_(pa.string(), pa.list_(pa.int64()))),
        "struct": ([{"a": {"b": [1, None]}}] * n, pa.struct([("a", pa.struct([("b", pa.list_(pa.int64()))]))])),
        "empty struct": ([{}] * n, pa.struct([("a", pa.int8())])),
        "list": ([[["x"]]] * n, pa.list_(pa.list_(pa.string()))),
        "fixed list": ([[1, 2]] * n, pa.list_(pa.int8(), 2)),
        "dates far": ([datetime.date(9999, 12, 31)] * n, pa.date32()),
    }
    for name, (values, type_) in odd.items():
        for field in ("a", "m", "q"):
            out[f"{field} of {name}"] = (column(field, values, type_), "any")
    out["categories"] = (table(m=pa.array(["x"] * n).dictionary_encode()), "good")
    out["categories of lists"] = (
        table(m=pa.array([["x"]] * n, pa.list_(pa.dictionary(pa.int8(), pa.string())))),
        "any",
    )
    out["bad utf8"] = (table(m=_not_utf8(pa, n)), "any")
    out["bad utf8 problem"] = (table(q=_not_utf8(pa, n)), "bad")
    out["two columns of a name"] = (
        lambda path: _write(path, pa.Table.from_arrays([pa.array(["x"])] * 2, names=["q", "q"])),
        "bad",
    )
    out["struct of two of a name"] = (
        table(m=pa.StructArray.from_arrays([pa.array([1] * n)] * 2, names=["x", "x"])),
        "any",
    )
    out["no columns"] = (lambda path: _write(path, pa.table({})), "bad")
    out["no rows"] = (lambda path: _write(path, pa.table({name: pa.array([], pa.string()) for name in base})), "bad")
    out["names"] = (lambda path: _write(path, pa.table({"\x1b[31m\n": ["x"], "": ["y"], "k" * 10**6: ["z"]})), "bad")
    out["10,001 columns"] = (lambda path: _write(path, pa.table({f"c{i}": [1] for i in range(10_001)})), "bad")
    out["nested types"] = (lambda path: _write(path, pa.table({"q": pa.array([None], _nested(pa, 60))})), "bad")
    out["bomb of a dictionary"] = (_dictionary_bomb, "bad")
    out["bomb of a page"] = (_page_bomb, "bad")
    out["bomb of equal rows"] = (_rows_bomb, "bad")
    out["bomb of null rows"] = (lambda path: _write(path, pa.table({"q": pa.nulls(3_000_000)})), "bad")
    out["empty"] = (b"", "bad")
    out["marks alone"] = (b"PAR1" * 3, "bad")
    out["footer of 4 GB"] = (b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\xff" + b"PAR1", "bad")
    out["footer of rubbish"] = (b"PAR1" + bytes(range(256)) * 4 + (1024).to_bytes(4, "little") + b"PAR1", "bad")
    out["encrypted"] = (b"PARE" + b"\0" * 100 + (90).to_bytes(4, "little") + b"PARE", "bad")
    out["text"] = (GOOD, "bad")
    for seed in range(60):
        out[f"damage {seed}"] = (_damaged(seed), "any")
    return out


def _write(path: Path, table: Any, **options: Any) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, path, **options)


def _not_utf8(pa: Any, n: int) -> Any:
    return pa.Array.from_buffers(pa.string(), n, pa.array([b"\xff\xfe"] * n, pa.binary()).buffers())


def _nested(pa: Any, depth: int) -> Any:
    kind = pa.int8()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def _dictionary_bomb(path: Path) -> None:
    """One text of 30 MB in 50,000 rows: 1.5 TB, in a few kilobytes."""
    import pyarrow as pa

    big = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array(["a" * 30_000_000]))
    _write(path, pa.table({"q": big}), compression="zstd")


def _page_bomb(path: Path) -> None:
    """6 pages of 128 MB in one row."""
    import pyarrow as pa

    text = pa.array(["a" * 2**27])
    _write(
        path,
        pa.table({f"q{i}": text for i in range(6)}),
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )


def _rows_bomb(path: Path) -> None:
    """Three million equal rows."""
    import pyarrow as pa
    import pyarrow.parquet

    part = pa.table({"q": pa.DictionaryArray.from_arrays(pa.array([0] * 10**6, pa.int8()), pa.array(["What?"]))})
    with pyarrow.parquet.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for _ in range(3):
            writer.write_table(part)


def _damaged(seed: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import random

        import pyarrow as pa

        rng = random.Random(seed)
        out = io.BytesIO()
        rows = [{**ROW, "q": f"What is {i}?", "m": {"k": list(range(i % 7))}} for i in range(300)]
        pa.parquet.write_table(pa.Table.from_pylist(rows), out, compression=("none", "zstd", "snappy")[seed % 3])
        content = bytearray(out.getvalue())
        for _ in range(1 + seed % 5):
            place = rng.randrange(len(content) - 1500, len(content)) if seed % 2 else rng.randrange(len(content))
            content[place] = rng.randrange(256)
        path.write_bytes(content)

    return make


def no_files() -> Iterator[Case]:
    """What stands under the name and is no file."""
    for ending in ("jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.zst"):
        yield f"pipe.{ending}", os.mkfifo, "bad"
        yield f"folder.{ending}", Path.mkdir, "bad"
        yield f"socket.{ending}", _socket, "bad"
        yield f"circle.{ending}", lambda path: path.symlink_to(path), "bad"
        yield f"dangling.{ending}", lambda path: path.symlink_to("nowhere"), "bad"
        yield f"zero.{ending}", lambda path: path.symlink_to("/dev/zero"), "bad"
        yield f"environment.{ending}", lambda path: path.symlink_to("/proc/self/environ"), "bad"
        yield f"kernel.{ending}", lambda path: path.symlink_to("/proc/kmsg"), "bad"
        yield f"terminal.{ending}", lambda path: path.symlink_to("/dev/tty"), "bad"
        yield f"standard input.{ending}", lambda path: path.symlink_to("/proc/self/fd/0"), "bad"


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)
