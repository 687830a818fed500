"""An untrusted store: rows of any type, schemas that would run something, links out of the folder."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from store_truth import Content, Sample, content, essence, item, make

from its.cli.main import main
from its.errors import ItsError, RunError
from its.store import Store
from its.store.exporting import export_store
from its.store.garbage import collect_garbage
from its.store.importing import import_store
from its.store.records import find_record
from its.store.recovery import readable_store
from its.store.stats import count_by_session, store_stats
from its.store.verify import verify_store

Tally = Callable[..., ItsError | None]
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make(tmp_path_factory.mktemp("sample"), prompts=8)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: Sample) -> Path:
    path = tmp_path / "home" / "store.sqlite"
    path.parent.mkdir()
    path.write_bytes(sample.file)
    monkeypatch.setenv("ITS_HOME", str(path.parent))
    return path


@contextlib.contextmanager
def _loosened(path: Path) -> Any:
    """The store's file without the constraints of its tables, which are restored afterwards."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        rules = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
        db.execute("PRAGMA writable_schema = RESET")
        yield db
        db.execute("PRAGMA writable_schema = ON")
        db.executemany("UPDATE sqlite_master SET sql = ? WHERE name = ?", [(sql, name) for name, sql in rules])
        db.execute("PRAGMA writable_schema = RESET")


def _exported(path: Path, folder: Path) -> Content:
    with readable_store(path) as store:
        export_store(store, folder / "saved.zst")
    with Store(folder / "other.sqlite") as other:
        import_store(other, folder / "saved.zst")
        assert list(verify_store(other)) == []
        return content(other)


def _use(path: Path, keys: list[str]) -> None:
    """What commands and stages do with a store."""
    with Store(path) as store:
        json.dumps(store_stats(store))
        for key in keys[:3]:
            find_record(store, key)
        count_by_session(store, keys)
        store.claim(keys[:5])
        store.contains(keys)
        for _, body in store.find(keys):
            json.dumps(body)
        store.sessions(checkpoint="m0-base")
        for session in store.sessions():
            store.register(session.identity, {"checkpoints": ["another"]})
        with contextlib.suppress(RunError):  # nothing is removed from a damaged store
            collect_garbage(store, dry_run=True)


def _run(*words: str) -> None:
    """Run a command as a user types it: an `ItsError` has an exit code, anything else is a traceback."""
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert caught.value.code in (0, 1, 3, 4)


# Rows

TEXTS = [
    None,
    5,
    -(2**63),
    1.5,
    float("inf"),
    b"",
    b"\xff\xfe",
    b"\x00" * 200,
    "",
    "x",
    "\x00",
    ESCAPES,
    "[]",
    '"x"',
    "null",
    "{}",
    '{"checkpoints": 5}',
    '{"checkpoints": [[]]}',
    '{"checkpoints": {"a": 1}}',
    json.dumps({"checkpoints": [ESCAPES], "engine": ESCAPES, "model": ESCAPES}),
    '{"model": [1], "engine": {}}',
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 5000 + "}",
    '{"a": "\\ud800"}',
    "[" * 100_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "x" * 100_000,
]
COLUMNS = [
    ("sessions", "sha256"),
    ("sessions", "identity"),
    ("sessions", "about"),
    ("prompts", "sha256"),
    ("prompts", "body"),
    ("responses", "key"),
    ("responses", "session"),
    ("responses", "prompt"),
    ("responses", "details"),
    ("responses", "created"),
    ("responses", "checksum"),
    ("responses", "body"),
]
_OF = {"sessions": "session", "prompts": "prompt", "responses": "id"}
AT_ONCE = {"sessions": 1, "prompts": 5, "responses": 10}
"""How many rows of a store get a value each: there are three sessions, eight prompts."""


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_any_value_in_any_column(
    sample: Sample, path: Path, tmp_path: Path, tally: Tally, table: str, column: str
) -> None:
    for number, values in enumerate(batched(TEXTS, AT_ONCE[table])):
        path.write_bytes(sample.file)
        with contextlib.closing(sqlite3.connect(path)) as db:
            query = f"SELECT key FROM responses WHERE {_OF[table]} BETWEEN 2 AND ?"
            affected = {row[0].hex() for row in db.execute(query, (len(values) + 1,))}
        with _loosened(path) as db:
            for row_id, value in enumerate(values, start=2):
                # Some of the bytes as text that is not UTF-8.
                cast = "CAST(? AS TEXT)" if isinstance(value, bytes) and len(value) < 5 else "?"
                db.execute(f"UPDATE OR IGNORE {table} SET {column} = {cast} WHERE id = ?", (value, row_id))
        folder = tmp_path / str(number)
        folder.mkdir()
        _try(sample, path, folder, tally, affected)
        with Store(path) as store:
            assert tally("untrusted store", lambda store=store: list(verify_store(store, repair=True))) is None
            left = [damage.what for damage in verify_store(store)]
            if column == "identity":  # the next run knows it
                left = [what for what in left if "the next run with it restores them" not in what]
            assert left == [], values
            collect_garbage(store)
            kept = {row[0].hex() for row in store.db.execute("SELECT key FROM responses")}
        assert sample.content.keys() - affected <= kept


def batched(values: list[Any], size: int) -> list[list[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def test_nothing_untrusted_reaches_the_terminal(
    path: Path, tmp_path: Path, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and texts that clear the screen or reverse the line are shown escaped."""
    with Store(path) as store:
        session = store.register({"model": ESCAPES, "engine": ESCAPES}, {"checkpoints": [ESCAPES, "ours"]})
        one = item(store, session, 1, 1, ESCAPES)
        store.put_many([one, item(store, session, 1, 2, ESCAPES)])
        store.register({"model": ESCAPES, "engine": ESCAPES, "more": 1}, {})
        store.db.execute("UPDATE responses SET checksum = 5 WHERE key = ?", (bytes.fromhex(one.key),))
        store.db.execute("UPDATE sessions SET sha256 = ? WHERE id = 2", (ESCAPES,))
    for words in (["stats"], ["stats", "--json"], ["verify"], ["verify", "--json"], ["verify", "--repair"], ["stats"]):
        tally("untrusted store", lambda words=words: _run("store", *words))
        shown = "".join(capsys.readouterr())
        assert "owned" in shown or "m0-base" in shown
        assert [sign for sign in shown if not (sign.isprintable() or sign == "\n")] == []


def _try(sample: Sample, path: Path, folder: Path, tally: Tally, affected: set[str]) -> None:
    saved: list[Content] = []
    assert tally("untrusted store", lambda: saved.append(_exported(path, folder))) is None
    kept = {key: row for key, row in sample.content.items() if key not in affected}
    exported = essence(saved[0])
    assert essence(kept).items() <= exported.items(), "an undamaged response is not in the export"
    assert exported.items() <= essence(sample.content).items(), "what was exported was never stored"
    assert tally("untrusted store", lambda: _use(path, list(sample.content))) is None


def test_one_bad_byte_of_an_identity_loses_nothing(sample: Sample, path: Path, tmp_path: Path) -> None:
    at = sample.file.index(b'"dtype":"bfloat16"')
    for offset in (0, 3, 12, 17):
        file = bytearray(sample.file)
        file[at + offset] = 0xFF
        path.write_bytes(file)
        folder = tmp_path / str(offset)
        folder.mkdir()
        assert _exported(path, folder) == sample.content
        with Store(path) as store:
            assert [damage.repaired for damage in verify_store(store, repair=True)] == [True]
            assert list(verify_store(store)) == []
            assert content(store) == sample.content


# Bodies with a valid checksum


def _frame(size: int, states_size: bool) -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=states_size).compressobj(size=size if states_size else -1)
    piece = bytes(2**20)
    return b"".join(compressor.compress(piece) for _ in range(size // 2**20)) + compressor.flush()


BODIES = {
    "nothing": b"",
    "no json": b"x",
    "a list": b"[]",
    "a text": b'"x"',
    "no text": b"{}",
    "a text of another type": b'{"text": 5}',
    "a count of another type": b'{"text": "x", "prompt_tokens": "5"}',
    "a count below nothing": b'{"text": "x", "prompt_tokens": -5}',
    "a count that is true": b'{"text": "x", "completion_tokens": true}',
    "a count without end": b'{"text": "x", "completion_tokens": ' + b"9" * 400 + b"}",
    "a reason of another type": b'{"text": "x", "finish_reason": []}',
    "thinking of another type": b'{"text": "x", "thinking": 5}',
    "NaN": b'{"text": NaN}',
    "NaN elsewhere": b'{"text": "x", "more": NaN}',
    "an infinity": b'{"text": "x", "more": [1e999]}',
    "nested": b'{"text": "x", "more": ' + b"[" * 150_000 + b"]" * 150_000 + b"}",
    "nested a little less": b'{"text": "\\ud800", "more": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a large number": b'{"text": "x", "more": ' + b"9" * 100_000 + b"}",
    "another encoding": '{"text": "x"}'.encode("utf-16"),
    "no encoding": b'{"text": "\xff"}',
    "a bomb": _frame(2**27, states_size=True),
    "a bomb that does not tell its size": _frame(2**27, states_size=False),
    "a frame that tells another size": b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little") + bytes(20),
    "a frame of nothing": zstandard.FRAME_HEADER,
}


def test_bodies_with_the_right_checksum(sample: Sample, path: Path, tmp_path: Path, tally: Tally) -> None:
    for number, (name, body) in enumerate(BODIES.items()):
        path.write_bytes(sample.file)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            (key,) = db.execute("SELECT key FROM responses WHERE id = 2").fetchone()
            row = (body, zlib.crc32(body, zlib.crc32(key)))
            db.execute("UPDATE responses SET body = ?, checksum = ? WHERE id = 2", row)
        folder = tmp_path / str(number)
        folder.mkdir()
        with Store(path) as store:
            (damage,) = verify_store(store)
            assert damage.key == key.hex(), name
            assert [damage.repaired for damage in verify_store(store, repair=True)] == [True]
            assert list(verify_store(store)) == []
        path.write_bytes(sample.file)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE responses SET body = ?, checksum = ? WHERE id = 2", row)
        _try(sample, path, folder, tally, {key.hex()})


def test_a_body_on_many_lines_is_exported_on_one(sample: Sample, path: Path, tmp_path: Path) -> None:
    body = b'{"text":\n"x"\n}\n'
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        (key,) = db.execute("SELECT key FROM responses WHERE id = 2").fetchone()
        db.execute(
            "UPDATE responses SET body = ?, checksum = ? WHERE id = 2", (body, zlib.crc32(body, zlib.crc32(key)))
        )
    assert json.loads(_exported(path, tmp_path)[key.hex()][-2]) == {"text": "x"}


# Schemas

SCHEMAS = [
    "CREATE VIEW more AS SELECT * FROM responses",
    "CREATE TRIGGER more AFTER INSERT ON claims BEGIN DELETE FROM responses; END",
    "CREATE TRIGGER more BEFORE DELETE ON responses BEGIN SELECT load_extension('/tmp/x.so'); END",
    "CREATE TABLE more (a)",
    "CREATE INDEX more ON responses (hex(body))",
    "ALTER TABLE responses ADD COLUMN more TEXT",
    "ALTER TABLE responses ADD COLUMN more AS (length(body))",
    "ALTER TABLE responses DROP COLUMN checksum",
    "ALTER TABLE responses RENAME COLUMN body TO text",
    "DROP INDEX responses_by_session",
    "DROP TABLE claims",
    "DROP TABLE sessions",
    "DROP TABLE prompts; CREATE VIEW prompts AS SELECT 1 AS id, x'00' AS sha256, randomblob(1000000000) AS body",
    "DROP TABLE responses; CREATE VIEW responses AS SELECT * FROM prompts, prompts, prompts, prompts, prompts",
    "DROP TABLE responses; CREATE TABLE responses (a)",
    "DROP TABLE claims; CREATE TABLE claims (key BLOB PRIMARY KEY CHECK (abs(random()) > 5), owner TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE more USING fts5(a)",
    "CREATE VIRTUAL TABLE more USING rtree(a, b, c)",
    "ANALYZE",
    "PRAGMA user_version = 3",
    "PRAGMA user_version = 99",
]


@pytest.mark.parametrize("statements", SCHEMAS)
def test_a_schema_that_is_not_ours(path: Path, tally: Tally, statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            db.executescript(statements)
        except sqlite3.OperationalError as error:
            if "no such module" not in str(error):
                raise
            pytest.skip(f"this SQLite has it not: {error}")
    before = path.read_bytes()
    for words in (["stats"], ["verify", "--repair"], ["gc"]):
        error = tally("untrusted store", lambda: Store(path))
        assert error is not None
        _run("store", *words)
    assert path.read_bytes() == before, "it was written to"
    assert not path.with_name("store.sqlite-wal").exists()


@pytest.mark.parametrize("version", [0, 1, -1, 2**31 - 1, -(2**31), 100])
def test_a_wrong_number_beside_our_own_tables_is_damage(sample: Sample, path: Path, tally: Tally, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with Store(path) as store:
        assert content(store) == sample.content
        assert list(verify_store(store)) == []


def test_rows_come_out_of_a_foreign_schema_all_the_same(sample: Sample, path: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TRIGGER more AFTER INSERT ON claims BEGIN DELETE FROM responses; END")
    assert _exported(path, tmp_path) == sample.content


ODD_IDS = [2**62, -5, 0, -(2**63), 2**63 - 1]


@pytest.mark.parametrize("row_id", ODD_IDS)
def test_ids_that_lie_far_apart(sample: Sample, path: Path, tmp_path: Path, tally: Tally, row_id: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE responses SET id = ? WHERE id = 7", (row_id,))
        db.execute("UPDATE responses SET prompt = ? WHERE prompt = 3", (row_id,))
        db.execute("UPDATE prompts SET id = ? WHERE id = 3", (row_id,))
    with Store(path) as store:
        assert tally("untrusted store", lambda: store_stats(store)) is None
        assert list(verify_store(store, repair=True)) == []
        collect_garbage(store)
        collect_garbage(store, used=list(sample.content))
    assert _exported(path, tmp_path) == sample.content


def test_claims_of_nobody(sample: Sample, path: Path, tmp_path: Path, tally: Tally) -> None:
    keys = [bytes([number]) * 32 for number in range(len(TEXTS))]
    with _loosened(path) as db:
        for number, (key, owner) in enumerate(zip(keys, TEXTS, strict=True)):
            cast = "CAST(? AS TEXT)" if isinstance(owner, bytes) and number % 2 else "?"
            db.execute(f"INSERT INTO claims VALUES (?, {cast})", (key, owner))
        db.execute("INSERT INTO claims VALUES (x'aa', '../../../../../../etc/passwd')")
    with Store(path) as store:
        assert tally("untrusted store", lambda: store.claim([key.hex() for key in keys])) is None
        assert collect_garbage(store).claims == 1
        assert store_stats(store)["claims"] == len(keys)


def test_pages_that_lead_to_each_other_without_end(
    sample: Sample, path: Path, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of a few pages in which each page has the next a hundred times as its child: 10^30 rows."""
    monkeypatch.setattr("its.store.connection.LEAST_SECONDS", 0.5)
    size, depth = sample.page, 15
    for name in ("responses", "responses_by_session"):
        file = bytearray(sample.file)
        with contextlib.closing(sqlite3.connect(path)) as db:
            (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        leaf = _page(file, root) if file[(root - 1) * size] in (0x0A, 0x0D) else _page(file, _child(file, root, size))
        cell = bytes([2, 5]) if name == "responses" else b"\x07\x04\x01\x01\x01\x01\x01\x01"
        chain = [root, *range(len(file) // size + 1, len(file) // size + depth)]
        for page, child in zip(chain, [*chain[1:], chain[-1] + 1], strict=True):
            file[(page - 1) * size : page * size] = _interior(child, cell, size, name == "responses")
        file += leaf
        file[28:32] = (len(file) // size).to_bytes(4, "big")
        path.write_bytes(file)
        error = tally("untrusted store", lambda: _stats(path), 30)
        assert (error is not None) == (name == "responses_by_session"), "stats counts rows by this index"
        for act in (_sessions, _check, _save(tmp_path / f"{name}.zst"), _collect, _repair):
            tally("untrusted store", lambda act=act: act(path), 30)


def _page(file: bytearray, page: int) -> bytes:
    size = int.from_bytes(file[16:18], "big")
    return bytes(file[(page - 1) * size : page * size])


def _child(file: bytearray, page: int, size: int) -> int:
    return int.from_bytes(file[(page - 1) * size + 8 : (page - 1) * size + 12], "big")


def _interior(child: int, cell: bytes, size: int, table: bool) -> bytes:
    """A page of an inner level whose hundred children are one page."""
    count = 100
    content = (child.to_bytes(4, "big") + cell) * count
    head = bytes([0x05 if table else 0x02, 0, 0]) + count.to_bytes(2, "big") + (size - len(content)).to_bytes(2, "big")
    head += b"\0" + child.to_bytes(4, "big")
    places = [size - len(content) + number * (4 + len(cell)) for number in range(count)]
    head += b"".join(place.to_bytes(2, "big") for place in places)
    return head.ljust(size - len(content), b"\0") + content


def _stats(path: Path) -> None:
    with Store(path) as store:
        store_stats(store)


def _sessions(path: Path) -> None:
    with Store(path) as store:
        store.sessions()


def _check(path: Path) -> None:
    with Store(path) as store:
        list(verify_store(store))


def _collect(path: Path) -> None:
    with Store(path) as store:
        collect_garbage(store)


def _repair(path: Path) -> None:
    with Store(path) as store:
        list(verify_store(store, repair=True))


def _save(file: Path) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with readable_store(path) as store:
            export_store(store, file)

    return save


# Files beside the store


def _hot_journal(store: bytes, victim: Path) -> bytes:
    """A rollback journal that names a super-journal, which SQLite deletes after it rolled back."""
    magic = bytes.fromhex("d9d505f920a163d7")
    size = int.from_bytes(store[16:18], "big")
    page = store[:size]
    head = (magic + struct.pack(">IIIII", 1, 0, len(store) // size, 512, size)).ljust(512, b"\0")
    checksum = sum(page[index] for index in range(size - 200, 0, -200))
    name = str(victim).encode()
    tail = struct.pack(">I", 2**30 // size + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    return head + struct.pack(">I", 1) + page + struct.pack(">I", checksum) + tail


def test_a_journal_deletes_nothing(sample: Sample, path: Path, tmp_path: Path, tally: Tally) -> None:
    victim = tmp_path / "thesis.tex"
    victim.write_text("years of work")
    path.with_name("store.sqlite-journal").write_bytes(_hot_journal(sample.file, victim))
    for words in (["stats"], ["verify", "--repair"], ["export", str(tmp_path / "out.zst")], ["gc"]):
        assert tally("untrusted store", lambda: Store(path)) is not None
        _run("store", *words)
    if not victim.exists():
        tally.escaped("untrusted store", "the journal deleted a file")  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "dangling"])
def test_what_lies_beside_leads_nowhere(path: Path, tmp_path: Path, tally: Tally, suffix: str, kind: str) -> None:
    victim, beside = tmp_path / "thesis.tex", path.with_name(f"store.sqlite{suffix}")
    victim.write_text("years of work")
    if kind == "link":
        beside.symlink_to(victim)
    elif kind == "dangling":
        beside.symlink_to(tmp_path / "new")
    elif kind == "pipe":
        os.mkfifo(beside)
    else:
        beside.mkdir()

    def used() -> None:
        with Store(path) as store:
            store.register({"model": "x"}, {})

    assert tally("untrusted store", used) is not None
    assert victim.read_text() == "years of work"
    assert not (tmp_path / "new").exists()


# Places that are not a store


def _place(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/null")
    elif kind == "an endless device":
        path.symlink_to("/dev/zero")
    elif kind == "a loop":
        path.symlink_to(path)
    elif kind == "a file in the place of its folder":
        path.parent.rmdir()
        path.parent.write_text("")
    elif kind in FILES:
        path.write_bytes(FILES[kind])


FILES = {"an empty file": b"", "a byte": b"S", "a text": b"text\n" * 1000, "a head": b"SQLite format 3\0"}
REFUSED = {
    "a folder": True,
    "a pipe": True,
    "a device": True,
    "an endless device": True,
    "a loop": True,
    "a file in the place of its folder": True,
    "a byte": True,
    "a text": True,
    "a head": True,
    "an empty file": False,
    "nothing there": False,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_place_that_is_no_store(path: Path, tmp_path: Path, tally: Tally, kind: str) -> None:
    _place(path, kind)

    def used() -> None:
        with Store(path) as store:
            store_stats(store)

    assert (tally("untrusted store", used) is not None) == REFUSED[kind]
    for words in (["stats"], ["verify"], ["export", str(tmp_path / "x")], ["import", str(tmp_path / "y")], ["gc"]):
        _run("store", *words)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read and write anything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_without_permission(path: Path, tally: Tally, mode: int) -> None:
    path.chmod(mode)

    def used() -> None:
        with Store(path) as store:
            store.register({"model": "x"}, {})

    assert tally("untrusted store", used) is not None


def _one_long_session(path: Path, length: int) -> tuple[bytearray, int, bytearray]:
    """(file, where the one leaf of its sessions begins, the cell of the one session)."""
    path.unlink(missing_ok=True)
    with Store(path) as store:
        store.register({"model": "m", "x": ["y" * length]}, {})
    with contextlib.closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sessions'").fetchone()[0]
    file = bytearray(path.read_bytes())
    size = int.from_bytes(file[16:18], "big")
    page = file[(root - 1) * size : root * size]
    assert (page[0], int.from_bytes(page[3:5], "big")) == (13, 1)
    return file, (root - 1) * size, page[int.from_bytes(page[8:10], "big") :]


def test_sessions_that_all_lead_to_one_long_text(path: Path, tally: Tally) -> None:
    """Cells of one page that share their overflow pages: a file of 4 MB whose sessions have 28."""
    cell = _one_long_session(path, 4_000_000)[2]
    file, start, cell = _one_long_session(path, 4_000_000 - (len(cell) - 1100))
    size = int.from_bytes(file[16:18], "big")
    number = next(index for index, byte in enumerate(cell) if byte < 128) + 1  # behind the length of the row
    count = (size - 100) // len(cell)
    assert count > 5
    forged = bytearray(size)
    forged[0], forged[3:5] = 13, count.to_bytes(2, "big")
    forged[5:7] = (size - count * len(cell)).to_bytes(2, "big")
    for index in range(count):
        at = size - (index + 1) * len(cell)
        cell[number] = index + 1
        forged[at : at + len(cell)] = cell
        forged[8 + 2 * index : 10 + 2 * index] = at.to_bytes(2, "big")
    file[start : start + size] = forged
    path.write_bytes(file)

    def act() -> None:
        with Store(path) as store:
            list(store.all_sessions())

    error = tally("forged store", act, 10)
    assert error is not None
    assert "its sessions are longer than the file" in error.message
