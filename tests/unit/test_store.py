"""The store: what is put is found, by whoever asks, also after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from its.errors import RunError
from its.store import SCHEMA_VERSION, Store, request_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def test_what_is_put_is_found(store: Store) -> None:
    store.put("k", {"a": 1}, {"text": "\\frac{1}{2} \u00e9"})
    assert dict(store.find(["k", "other"])) == {"k": {"text": "\\frac{1}{2} \u00e9"}}
    assert dict(store.find([])) == {}


def test_the_first_response_of_a_key_stays(store: Store) -> None:
    store.put("k", {}, {"text": "first"})
    store.put("k", {}, {"text": "second"})
    assert dict(store.find(["k"])) == {"k": {"text": "first"}}
    assert store.stats()["responses"] == 1


def test_more_keys_than_sqlite_takes_at_once(store: Store) -> None:
    keys = [str(index) for index in range(1203)]
    for key in keys[::3]:
        store.put(key, {}, {"key": key})
    found = dict(store.find(keys))
    assert sorted(found) == sorted(keys[::3])
    assert all(value["key"] == key for key, value in found.items())


def test_the_key_hears_everything_but_the_order_of_keys() -> None:
    base = {"messages": [{"role": "user", "content": "a"}], "seed": 1, "sampling": {"temperature": 0.7}}
    assert request_key(base) == request_key(dict(reversed(base.items())))
    others = [{**base, "seed": 2}, {**base, "start": None}, {**base, "sampling": {"temperature": 0.8}}]
    others.append({**base, "messages": [{"role": "system", "content": "a"}]})
    assert len({request_key(item) for item in [base, *others]}) == 5


def test_two_processes_share_a_store(store: Store, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from its.store import Store\n"
        "with Store(Path(sys.argv[1])) as store: store.put('theirs', {}, {'text': 't'})"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    store.put("ours", {}, {"text": "o"})
    assert len(dict(store.find(["ours", "theirs"]))) == 2


def test_what_was_put_outlives_a_kill(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from its.store import Store\n"
        "s = Store(Path(sys.argv[1])); s.put('k', {}, {'text': 't'}); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Store(path) as store:
        assert dict(store.find(["k"])) == {"k": {"text": "t"}}


def test_a_later_schema_is_refused(path: Path) -> None:
    Store(path).__exit__()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(RunError, match=r"the store has schema 2, this version of ITS reads 1") as caught:
        Store(path)
    assert caught.value.hint == "update ITS"


def test_a_damaged_store_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError, match=r"store\.sqlite: the store is damaged") as caught:
        Store(path)
    assert "move it away" in str(caught.value.hint)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(store: Store) -> None:
    store.put("k", {}, {"text": "t"})
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")  # SQLite then fails as on a full disk
    with pytest.raises(RunError, match=r"store\.sqlite: no space left on the disk") as caught:
        for index in range(100):
            store.put(f"big {index}", {}, {"text": "x" * 4096})
    assert caught.value.exit_code == 1
    assert dict(store.find(["k"])) == {"k": {"text": "t"}}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="unable to open"):
        Store(tmp_path / "locked" / "store.sqlite")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_store_that_cannot_be_opened_leaves_no_handle(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError):
        Store(path)
    held = [str(handle.resolve()) for handle in Path("/proc/self/fd").iterdir()]
    assert str(path) not in held
