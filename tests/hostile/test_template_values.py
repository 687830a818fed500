"""A piece of JSON that is small, packs to nothing and holds millions of values: refused before it is decoded."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from its.errors import DataError, Fault, ItsError
from its.rows import raise_faults, read_json_lines
from its.sources.files import read_file
from its.sources.records import Record
from its.store.encoding import decode
from its.values import MAX_VALUES, exceeds

Tally = Callable[..., ItsError | None]
DENSE = '{"":0},' * 1_500_000
HALF = ',"y":"\\ud800"'  # which the fast decoder does not take
MANIFEST = '{"format":"its-store","version":1,"its":"1","created":"x","counts":{},"sessions":[%s]%s}\n'
SESSION = '{"sha256":"aa","about":%s,"identity":%s}'
IMPORTS = {
    "identity": MANIFEST % (SESSION % ("{}", f'{{"m":[{DENSE}0]}}'), ""),
    "identity, slowly": MANIFEST % (SESSION % ("{}", f'{{"m":[{DENSE}0]{HALF}}}'), ""),
    "about": MANIFEST % (SESSION % (f'{{"m":[{DENSE}0]}}', "{}"), ""),
    "unknown key": MANIFEST % ("", f',"x":[{DENSE}0]'),
    "unknown key, slowly": MANIFEST % ("", f',"x":[{DENSE}0]{HALF}'),
    "prompt": MANIFEST % ("", "") + f'{{"kind":"prompt","sha256":"aa","body":{{"messages":[{DENSE}0]}}}}\n',
    "response": MANIFEST % ("", "") + f'{{"kind":"response","body":{{"text":"","x":[{DENSE}0]}}}}\n',
    "trailer": MANIFEST % ("", "") + f'{{"kind":"trailer","x":[{DENSE}0]}}\n',
}
ROW = f'{{"a":[{DENSE}0]}}'
FILES: dict[str, bytes] = {
    "a.jsonl": ROW.encode(),
    "a.jsonl.gz": gzip.compress(ROW.encode(), 1),
    "a.jsonl.zst": zstandard.compress(ROW.encode()),
    "a.json": f"[{ROW}]".encode(),
    "second.json": f"[{{}},{ROW}]".encode(),
    "behind.json": f'[{{"text":"{"x" * 2**22}","a":[{DENSE}0]}}]'.encode(),
    "open.jsonl": f'{{"a":[{DENSE}'.encode(),
    "header.csv": b"a" + b",b" * 1_500_000,
    "row.csv": b"a,b\n" + b",b" * 1_500_000,
    "quotes.jsonl": b'"' * 3_000_000,
    "half quotes.jsonl": b'\\"' * 3_000_000,
}
# In another process: memory is told of the whole life of one.
MEASURED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20, 700 * 2**20))
from pathlib import Path
from its.errors import ItsError
from its.store import Store
from its.store.importing import import_store
with Store(Path(sys.argv[1]) / "store.sqlite") as store:
    try:
        import_store(store, Path(sys.argv[1]) / "export.zst")
    except ItsError as error:
        sys.exit(str(error))
"""


@pytest.mark.parametrize("name", IMPORTS)
def test_a_line_of_an_export(name: str, tmp_path: Path, tally: Tally) -> None:
    (tmp_path / "export.zst").write_bytes(zstandard.compress(IMPORTS[name].encode()))

    def act() -> None:
        words = [sys.executable, "-c", MEASURED, str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert "nothing was imported" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        raise DataError(done.stderr)

    assert tally("many values in an export", act, 20) is not None


@pytest.mark.parametrize("name", FILES)
def test_a_row_of_a_data_file(name: str, tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])

    def act() -> None:
        faults = [Fault(name, record.fault.message) for record in read_file(path).records if record.fault]
        raise_faults(faults)

    assert tally("many values in a file", act, 10) is not None


def test_a_row_of_a_parquet_file(tmp_path: Path) -> None:
    kind = pyarrow.list_(pyarrow.struct([("x", pyarrow.int8())]))
    table = pyarrow.table({"a": pyarrow.array([[{"x": 0}], [{"x": 0}] * 1_000_000, None], type=kind)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    first, second, third = read_file(tmp_path / "a.parquet").records
    assert first == Record(0, {"a": [{"x": 0}]})
    assert second.fault is not None
    assert "values; the limit is 1000000" in second.fault.message
    assert third == Record(2, {"a": None})


def test_a_row_of_a_stage(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{{}}\n{ROW}\n[]\n")
    first, second, third = read_json_lines(tmp_path / "a.jsonl")
    assert (first, third) == ((1, {}), (3, []))
    assert isinstance(second, Fault) and second.message == "the line has more than 1000000 values"


HONEST: dict[str, Any] = {
    "a trace": {"text": 'so, "x" = {1, 2, [3]}, ' * 500_000},
    "token ids": {"ids": list(range(300_000))},
    "escapes": {"text": '\\",[{' * 1_000_000},
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_rows_are_read(name: str, tmp_path: Path) -> None:
    value = HONEST[name]
    raw = json.dumps(value)
    assert decode(raw.encode()) == value
    for ending, text in (("jsonl", f"{raw}\n{raw}\n"), ("json", f"[{raw}, {raw}]")):
        path = tmp_path / f"a.{ending}"
        path.write_text(text)
        assert [record.value for record in read_file(path).records] == [value, value]


@pytest.mark.parametrize("count", [MAX_VALUES - 1, MAX_VALUES, MAX_VALUES + 1])
def test_the_count_is_exact_and_of_the_first_value(count: int) -> None:
    text = "[" + "1," * (count - 1) + "1]" + "," * 10
    assert exceeds(text) == exceeds(text.encode()) == (count > MAX_VALUES)
