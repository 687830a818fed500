"""An untrusted file for `its store import`: it adds all of its responses or nothing."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hostile.store_truth import content, fill, item

from its.cli.main import main
from its.engines.session import _completion
from its.errors import DataError, ItsError
from its.store import Store
from its.store.exporting import export_store
from its.store.importing import import_store
from its.store.keys import canonical, join_key, prompt_sha256, session_sha256
from its.store.stats import store_stats
from its.store.verify import verify_store

Tally = Callable[..., ItsError | None]
Lines = list[dict[str, Any]]
ESCAPES = "\x1b]0;owned\x07\x9b31m\u202e"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """A small export: a manifest, then a prompt and its responses twice, then the trailer."""
    folder = tmp_path_factory.mktemp("export")
    with Store(folder / "store.sqlite") as store:
        session = store.register(
            {"model": "m", "engine": "vllm", "arguments": {"dtype": "x"}}, {"checkpoints": ["m-base"]}
        )
        store.put_many([item(store, session, prompt, sample, "m") for prompt in range(2) for sample in range(3)])
        export_store(store, folder / "export.zst")
    with (folder / "export.zst").open("rb") as source:
        text = zstandard.ZstdDecompressor().stream_reader(source).read()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store to import into, with other responses."""
    with Store(tmp_path_factory.mktemp("mine") / "store.sqlite") as store:
        fill(store, 3)
        yield store


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def _signed(lines: Lines) -> bytes:
    """The file as a forger writes it: every hash that can be computed is right, whatever the line contains."""
    lines = copy.deepcopy(lines)
    with contextlib.suppress(Exception):
        names = {}
        for session in lines[0]["sessions"]:
            former, session["sha256"] = session["sha256"], session_sha256(session["identity"])
            names[str(former)] = session["sha256"]
        for line in lines[1:-1]:
            if line["kind"] == "prompt":
                former, line["sha256"] = line["sha256"], prompt_sha256(canonical(line["body"]))
                names[str(former)] = line["sha256"]
            elif line["kind"] == "response":
                line["session"] = names.get(line["session"], line["session"])
                line["prompt"] = names.get(line["prompt"], line["prompt"])
                line["key"] = join_key(line["session"], line["prompt"], canonical(line["details"]))
    return _sealed(lines)


def _sealed(lines: Lines) -> bytes:
    """The file with a matching trailer; no other hash is recomputed."""
    head = b"".join(_dumps(line) + b"\n" for line in lines[:-1])
    trailer = lines[-1]
    if isinstance(trailer, dict) and trailer.get("sha256") == lines[-1].get("sha256"):
        trailer = {**trailer}
        if isinstance(trailer.get("sha256"), str) and len(trailer["sha256"]) == 64:
            trailer["sha256"] = hashlib.sha256(head).hexdigest()
    return zstandard.compress(head + _dumps(trailer) + b"\n")


VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    5,
    2**70,
    10**400,
    1.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    ESCAPES,
    "\ud800",
    "\x00",
    "ab" * 32,
    "2026-13-45T99:00:00",
    "0001-01-01T00:00:00+00:00",
    [],
    [1],
    [None],
    [[]],
    ["\ud800"],
    {},
    {"checkpoints": 5},
    {"a": float("nan")},
    {"text": "x"},
]


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value, the value itself not."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        yield (*at, name)
        yield from _places(part, (*at, name))


def _with(lines: Lines, at: tuple[Any, ...], value: Any) -> Lines:
    changed = copy.deepcopy(lines)
    inner: Any = changed
    for name in at[:-1]:
        inner = inner[name]
    if value is _GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return changed


_GONE = object()


def _try(tally: Tally, store: Store, file: Path, data: bytes) -> ItsError | None:
    """Import a file: refused it adds nothing, taken it leaves a store in which all is sound and can be used."""
    file.write_bytes(data)
    before = _rows(store)
    error = tally("forged import", lambda: import_store(store, file))
    if error is not None:
        assert _rows(store) == before, f"refused, and not without a trace: {error}"
        assert "\x1b" not in str(error) and "\x9b" not in str(error) and "\u202e" not in str(error)
        return error
    assert list(verify_store(store)) == []
    json.dumps(store_stats(store))
    for session in store.sessions(checkpoint="m-base"):
        store.register(session.identity, {"checkpoints": ["another"]})
    for key, body in store.find(list(content(store))):
        _completion(_request(key), "", body)
    assert list(verify_store(store)) == []
    # What came in goes again, so that the next case begins with the same.
    for table, column in (("responses", "key"), ("prompts", "sha256"), ("sessions", "sha256")):
        kept = {row[0] for row in before[table]}
        rows = store.db.execute(f"SELECT {column} FROM {table}").fetchall()
        store.db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [row for row in rows if row[0] not in kept])
    return None


def _request(key: str) -> Any:
    from its.engines.protocol import Request

    return Request(key, [], {}, 1)


def _rows(store: Store) -> dict[str, set[tuple[Any, ...]]]:
    return {
        "responses": set(store.db.execute("SELECT key, checksum FROM responses")),
        "prompts": set(store.db.execute("SELECT sha256, body FROM prompts")),
        "sessions": set(store.db.execute("SELECT sha256, identity, about FROM sessions")),
    }


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_any_value_in_any_field(tally: Tally, lines: Lines, mine: Store, tmp_path: Path, number: int) -> None:
    """In the manifest, a prompt, a response, the trailer; each with all hashes as a forger makes them."""
    chosen = [lines[0], lines[1], lines[2], lines[-1]]  # the first of each kind
    file = tmp_path / "forged.zst"
    for at in _places(chosen):
        where = (lines.index(chosen[at[0]]), *at[1:])
        if len(where) > 1:
            _try(tally, mine, file, _signed(_with(lines, where, VALUES[number])))


def test_any_field_gone(tally: Tally, lines: Lines, mine: Store, tmp_path: Path) -> None:
    for at in _places(lines):
        for make in (_signed, _sealed):
            _try(tally, mine, tmp_path / "forged.zst", make(_with(lines, at, _GONE)))


def test_any_line_of_another_kind(tally: Tally, lines: Lines, mine: Store, tmp_path: Path) -> None:
    for index in range(len(lines)):
        for value in VALUES:
            error = _try(tally, mine, tmp_path / "forged.zst", _sealed(_with(lines, (index,), value)))
            assert error is not None


# Content of a body, a manifest, a line

FORGED: dict[str, Callable[[Lines], Any]] = {
    "a session twice": lambda lines: lines[0]["sessions"].append(lines[0]["sessions"][0]),
    "a session twice with other labels": lambda lines: lines[0]["sessions"].append(
        {**lines[0]["sessions"][0], "about": {"checkpoints": ["theirs"]}}
    ),
    "a response twice": lambda lines: lines.insert(3, lines[2]),
    "a response twice with another body": lambda lines: lines.insert(
        3, {**lines[2], "body": {**lines[2]["body"], "text": "theirs"}}
    ),
    "a response before its prompt": lambda lines: lines.insert(1, lines.pop(2)),
    "a prompt that is none": lambda lines: lines[1].update(body={"messages": "x", "start": None}),
    "a prompt with turns of no text": lambda lines: lines[1].update(
        body={"messages": [{"role": "user", "content": 5}], "start": None}
    ),
    "a body without text": lambda lines: lines[2]["body"].pop("text"),
    "a body with NaN": lambda lines: lines[2].update(body={"text": float("nan")}),
    "a body with NaN in the last response": lambda lines: lines[-2].update(body={"text": "x", "more": float("nan")}),
    "a body with an infinity deep inside": lambda lines: lines[-2]["body"].update(more=[[{"a": float("-inf")}]]),
    "a count of 400 digits": lambda lines: lines[2]["body"].update(completion_tokens=10**400),
    "a count below nothing": lambda lines: lines[2]["body"].update(prompt_tokens=-1),
    "checkpoints that are a number": lambda lines: lines[0]["sessions"][0].update(about={"checkpoints": 5}),
    "checkpoints that are objects": lambda lines: lines[0]["sessions"][0].update(about={"checkpoints": [{}]}),
    "labels that are lists of lists": lambda lines: lines[0]["sessions"][0].update(about={"servers": [[]]}),
    "labels without end": lambda lines: lines[0]["sessions"][0].update(about={"servers": ["x"] * 10_001}),
    "an identity with half a character": lambda lines: lines[0]["sessions"][0]["identity"].update(model="\ud800"),
    "labels with half a character": lambda lines: lines[0]["sessions"][0].update(about={"a": "\ud800"}),
    "details with half a character": lambda lines: lines[2]["details"].update(start="\ud800"),
    "a date before all": lambda lines: lines[2].update(created="1969-12-31T23:59:59+00:00"),
    "a date after all": lambda lines: lines[2].update(created="9999-12-31T23:59:59+00:00"),
    "a date without a zone at the end of time": lambda lines: lines[2].update(created="9999-12-31T23:59:59"),
    "more sessions than any study has": lambda lines: lines[0].update(
        sessions=[{"identity": {"n": n}, "about": {}, "sha256": session_sha256({"n": n})} for n in range(10_001)]
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused(tally: Tally, lines: Lines, mine: Store, tmp_path: Path, name: str) -> None:
    changed = copy.deepcopy(lines)
    FORGED[name](changed)
    changed[-1] = {**changed[-1], "responses": [line.get("kind") for line in changed].count("response")}
    assert _try(tally, mine, tmp_path / "forged.zst", _signed(changed)) is not None


def test_a_thousand_good_responses_before_a_bad_one_stay_out(tally: Tally, mine: Store, tmp_path: Path) -> None:
    with Store(tmp_path / "theirs.sqlite") as theirs:
        session = theirs.register({"model": "theirs"}, {})
        theirs.put_many([item(theirs, session, number, 0, "theirs") for number in range(1501)])
        export_store(theirs, tmp_path / "export.zst")
    with (tmp_path / "export.zst").open("rb") as source:
        text = zstandard.ZstdDecompressor().stream_reader(source).read()
    head = text.splitlines(keepends=True)[:-1]
    head[-1] = head[-1][: head[-1].index(b'"body": ')] + b'"body": {"text": NaN}}\n'
    trailer = {"kind": "trailer", "prompts": 1501, "responses": 1501}
    trailer["sha256"] = hashlib.sha256(b"".join(head)).hexdigest()
    error = _try(tally, mine, tmp_path / "forged.zst", zstandard.compress(b"".join(head) + _dumps(trailer) + b"\n"))
    assert error is not None
    assert "forged.zst:3003: " in error.message


RAW = {
    "an endless line": b"x" * (2**26 + 1),
    "an endless text": b'{"format": "its-store", "a": "' + b"x" * (2**26) + b'"}\n',
    "nested lists": b"[" * 1_000_000 + b"\n",
    "nested objects": b'{"a":' * 1_000_000 + b"\n",
    "nested a little": b'{"format": "its-store", "version": 1, "sessions": ' + b"[" * 300 + b"]" * 300 + b"}\n",
    "nested with half a character": b'{"a": "\\ud800", "b": ' + b"[" * 900 + b"]" * 900 + b"}\n",
    "blank lines": b"\n" * 1_000_000,
    "zeros": bytes(10_000_000),
    "another encoding": '{"format": "its-store", "version": 1, "sessions": []}\n'.encode("utf-16"),
    "a mark of the order of bytes": b'\xef\xbb\xbf{"format": "its-store", "version": 1, "sessions": []}\n',
    "no UTF-8": b'{"format": "its-store", "version": 1, "sessions": [], "a": "\xff"}\n',
    "escape sequences as a version": _dumps({"format": "its-store", "version": ESCAPES}) + b"\n",
    "escape sequences as a kind": b'{"format": "its-store", "version": 1, "sessions": []}\n'
    + _dumps({"kind": ESCAPES})
    + b"\n",
    "5,000 digits": b'{"format": "its-store", "version": ' + b"9" * 5000 + b"}\n",
}


@pytest.mark.parametrize("name", RAW)
def test_a_file_of_other_bytes(tally: Tally, mine: Store, tmp_path: Path, name: str) -> None:
    assert _try(tally, mine, tmp_path / "forged.zst", zstandard.compress(RAW[name])) is not None


def test_a_file_that_unpacks_without_end(tally: Tally, lines: Lines, mine: Store, tmp_path: Path) -> None:
    """100 GB of one good prompt: the packed file has 10 MB, and nothing of it is a fault but its length."""
    head = _dumps(lines[0]) + b"\n"
    body = {"messages": [{"role": "user", "content": "x" * 2**20}], "start": None}
    line = _dumps({"kind": "prompt", "sha256": prompt_sha256(canonical(body)), "body": body}) + b"\n"
    frame = zstandard.compress(line * 64)
    data = zstandard.compress(head) + frame * (100 * 2**30 // (len(line) * 64))
    assert len(data) < 2**24
    error = _try(tally, mine, tmp_path / "forged.zst", data)
    assert error is not None
    assert "unpacks to more than" in error.message


@pytest.mark.parametrize("number", range(40))
def test_flipped_bits_and_cuts(tally: Tally, lines: Lines, mine: Store, tmp_path: Path, number: int) -> None:
    draw = random.Random(number)
    data = bytearray(_signed(lines))
    if number % 4 == 0:
        del data[draw.randrange(len(data)) :]
    elif number % 4 == 1:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif number % 4 == 2:
        start = draw.randrange(len(data))
        data[start : start + 40] = draw.randbytes(40)
    else:
        data += draw.randbytes(20)
    assert _try(tally, mine, tmp_path / "forged.zst", bytes(data)) is not None


# What is not a file


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "endless device", "loop", "nothing", "long name"])
def test_what_is_no_file_is_refused(tally: Tally, mine: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 300 if kind == "long name" else "file")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind != "nothing" and kind != "long name":
        path.symlink_to("/dev/zero" if kind == "endless device" else "/dev/null")
    assert tally("forged import", lambda: import_store(mine, path)) is not None


def test_a_file_that_changes_while_it_is_read_is_read_once(lines: Lines, mine: Store, tmp_path: Path) -> None:
    file = tmp_path / "export.zst"
    file.write_bytes(_signed(lines))
    before = _rows(mine)

    def change(done: int, total: int) -> None:
        file.write_bytes(b"another file")

    result = import_store(mine, file, change)
    assert (result.new, result.known) == (6, 0)
    assert len(_rows(mine)["responses"]) == len(before["responses"]) + 6
    assert list(verify_store(mine)) == []


def test_a_refused_file_leaves_no_hidden_copy(lines: Lines, mine: Store, tmp_path: Path) -> None:
    file = tmp_path / "export.zst"
    file.write_bytes(_signed(lines)[:-10])
    with pytest.raises(DataError):
        import_store(mine, file)
    assert [path.name for path in mine.path.parent.iterdir() if "import" in path.name] == []


def test_a_poisoned_manifest_poisons_nothing(
    tally: Tally, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an earlier version took: its labels stand in the store."""
    monkeypatch.setenv("ITS_HOME", str(tmp_path))
    (tmp_path / "export.zst").write_bytes(_signed(lines))
    with Store(tmp_path / "store.sqlite") as store:
        import_store(store, tmp_path / "export.zst")
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE sessions SET about = '{\"checkpoints\":5}'")
    for words, code in ((["stats"], 0), (["verify"], 1), (["verify", "--repair"], 0), (["verify"], 0)):
        with pytest.raises(SystemExit) as caught:
            main(["store", *words])
        assert caught.value.code == code


def test_labels_of_two_imports_that_are_more_than_a_session_may_have(tally: Tally, tmp_path: Path) -> None:
    """Each is valid; the first ones stay, and the store is sound."""
    names = [f"m{number}-base" for number in range(18_000)]
    for part in (0, 1):
        with Store(tmp_path / f"{part}.sqlite") as store:
            session = store.register({"model": "m"}, {"checkpoints": names[part * 9000 : (part + 1) * 9000]})
            store.put_many([item(store, session, part, 0, "m")])
            export_store(store, tmp_path / f"{part}.zst")
    with Store(tmp_path / "store.sqlite") as store:
        for part in (0, 1):
            assert tally("forged import", lambda part=part: import_store(store, tmp_path / f"{part}.zst")) is None
        assert list(verify_store(store)) == []
        (found,) = store.sessions()
        assert found.about["checkpoints"] == names[:10_000]
        assert found.responses == 2


@pytest.mark.parametrize("labels", ['{"checkpoints": 5}', '{"servers": [[]]}', "{", f'{{"x": [{"1," * 10_000}1]}}'])
def test_labels_that_cannot_be_read_are_not_written_over(labels: str, tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        session = store.register({"model": "m"}, {"checkpoints": ["m-base"]})
        store.put_many([item(store, session, 0, 0, "m")])
        store.db.execute("UPDATE sessions SET about = ?", (labels,))
        for _ in range(2):
            store.register({"model": "m"}, {"checkpoints": ["n-base"]})
        assert store.db.execute("SELECT about FROM sessions").fetchone()[0] == labels
