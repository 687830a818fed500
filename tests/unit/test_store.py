"""The store: what is put is found, by every process and after a kill; each response is claimed by one process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.store_samples import GREEDY, IDENTITY, Processes, bodies, damage_body, determinants, fill, found, item

from its.errors import DataError, RunError
from its.store import SCHEMA_VERSION, PutItem, Store, response_key
from its.store.records import find_record
from its.store.recovery import readable_store
from its.store.stats import count_by_session, store_stats
from its.store.verify import verify_store

CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def processes() -> Iterator[Processes]:
    others = Processes()
    yield others
    others.kill_all()


# What is put and found


def test_what_is_put_is_found(store: Store) -> None:
    items = fill(store, 3, samples=2)
    assert found(store, items) == bodies(items)
    keys = [entry.key for entry in items]
    assert store.contains([*keys, "ab" * 32]) == set(keys)
    assert (dict(store.find([])), store.contains([]), store.damaged) == ({}, set(), 0)


@pytest.mark.parametrize("text", ["", "x", "\ud83d half a pair", "\u0000 \u2028 \\u00e9 é", "word " * 60_000], ids=len)
def test_texts_come_back_as_they_were(store: Store, text: str) -> None:
    session = store.register(IDENTITY, {})
    body = {"text": text, "prompt_tokens": 2**40, "prompt_sha256": None, "nested": {"a": [0.1, 1e-7]}}
    request = determinants(messages=[{"role": "user", "content": text}])
    store.put(response_key(session, request), session, request, body)
    assert list(store.find([response_key(session, request)])) == [(response_key(session, request), body)]


def test_a_response_that_json_cannot_hold_is_a_bug(store: Store) -> None:
    session = store.register(IDENTITY, {})
    one = item(session)
    for value in (float("nan"), {"nested": [float("inf")]}, object()):
        with pytest.raises((ValueError, TypeError)):
            store.put(one.key, session, one.determinants, {"text": "NaN", "value": value})
    store.put(one.key, session, one.determinants, {"text": "NaN or Infinity", "value": 2**70})
    assert found(store, [one])[one.key] == {"text": "NaN or Infinity", "value": 2**70}


def test_the_first_response_of_a_key_stays(store: Store) -> None:
    session = store.register(IDENTITY, {})
    assert store.put_many([item(session, text="first"), item(session, text="in the same call")]) == 1
    assert store.put_many([item(session, text="second")]) == 0
    assert found(store, [item(session)])[item(session).key]["text"] == "first"


def test_more_keys_than_sqlite_takes_at_once(store: Store) -> None:
    items = fill(store, 1203)
    kept = items[::3]
    store.db.execute("DELETE FROM responses WHERE (id - 1) % 3")
    assert found(store, items) == bodies(kept)


def test_a_prompt_is_stored_once(store: Store) -> None:
    for model in ("sha256:aa", "sha256:bb"):
        fill(store, 5, samples=4, model=model)
    result = store_stats(store)
    assert (result["responses"], result["prompts"], result["sessions"]) == (40, 5, 2)


def test_a_long_body_is_compressed_and_a_short_one_is_not_made_longer(store: Store) -> None:
    session = store.register(IDENTITY, {})
    store.put_many([item(session, 0, text="therefore x = 2, " * 400), item(session, 1, text="B")])
    long, short = (row[0] for row in store.db.execute("SELECT body FROM responses ORDER BY id"))
    assert len(long) < 400
    assert json.loads(short)["text"] == "B"


def test_a_key_that_is_not_that_of_its_request_is_a_bug(store: Store) -> None:
    session = store.register(IDENTITY, {})
    with pytest.raises(ValueError, match="is not the key of its session and determinants"):
        store.put_many([item(session, 1), PutItem(item(session, 2).key, session, determinants(3), {"text": ""})])
    with pytest.raises(ValueError, match="is not registered"):
        store.put_many([item("0" * 64)])
    assert store_stats(store)["responses"] == 0


def test_the_store_may_be_written_to_while_it_is_read(store: Store) -> None:
    items = fill(store, 600)
    session = items[0].session_sha256
    for count, (_, body) in enumerate(store.find([entry.key for entry in items])):
        if count % 50 == 0:
            store.put_many([item(session, 10_000 + count)])
        assert body
    assert store_stats(store)["responses"] == 612


# Sessions


def test_a_session_is_registered_once_and_its_labels_are_merged(store: Store) -> None:
    about = {"checkpoints": ["a"], "versions": {"vllm": "1"}, "dtype": "bfloat16"}
    sha256 = store.register(IDENTITY, about)
    assert (
        store.register(dict(reversed(IDENTITY.items())), {"checkpoints": ["b", "a"], "versions": {"vllm": "2"}})
        == sha256
    )
    fill(store, 2)
    (session,) = store.sessions()
    assert (session.sha256, session.identity, session.responses) == (sha256, IDENTITY, 2)
    assert session.about == {
        "checkpoints": ["a", "b", "checkpoint of sha256:aa"],
        "versions": {"vllm": "2"},
        "dtype": "bfloat16",
    }


def test_sessions_are_found_by_model_and_by_checkpoint(store: Store) -> None:
    first = store.register({"model": "m", "engine": "vllm"}, {"checkpoints": ["a", "b"]})
    second = store.register({"model": "m", "engine": "openai"}, {"checkpoints": ["a"]})
    third = store.register({"model": "n"}, {})
    assert [info.sha256 for info in store.sessions()] == [first, second, third]
    assert [info.sha256 for info in store.sessions(model="m")] == [first, second]
    assert [info.sha256 for info in store.sessions(checkpoint="b")] == [first]
    assert [info.label for info in store.sessions()] == ["a, b", "a", "n"]


def test_a_session_keeps_no_secret(store: Store, path: Path) -> None:
    store.register({"model": "m", "options": {"api_key": "hush-hush"}}, {"server": {"token": "hush-hush"}})
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"hush-hush" not in path.read_bytes()


def test_nothing_of_the_environment_is_recorded(
    path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_TEST_CANARY", "canary-in-the-environment")
    processes.run("s = Store(Path(sys.argv[1])); s.claim([e.key for e in fill(s, 3)]); s.close()", path)
    written = [file for file in path.parent.rglob("*") if file.is_file()]
    assert path in written
    assert all(b"canary-in-the-env" not in file.read_bytes() for file in written)


def test_stats(store: Store, path: Path) -> None:
    assert store_stats(store)["compression"] is None
    items = fill(store, 4, samples=2)
    store.claim(["ab" * 32])
    result = store_stats(store)
    assert result["bytes"] > path.stat().st_size
    assert result["compression"] > 2
    assert result["first"] == result["last"] == time.strftime("%Y-%m-%d", time.gmtime())
    assert (result["schema"], result["claims"]) == (SCHEMA_VERSION, 1)
    assert result["by_session"] == [
        {
            "session": items[0].session_sha256,
            "model": "checkpoint of sha256:aa",
            "engine": "vllm",
            "responses": 8,
        }
    ]
    json.dumps(result)


# Damage


def test_stats_name_the_first_and_the_last_day(store: Store) -> None:
    fill(store, 3)
    for row_id, day in ((1, 5), (2, 30), (3, 1)):
        created = int(datetime(2026, 6, day, tzinfo=UTC).timestamp())
        store.db.execute("UPDATE responses SET created = ? WHERE id = ?", (created, row_id))
    counted = store_stats(store)
    assert (counted["first"], counted["last"]) == ("2026-06-01", "2026-06-30")


def test_a_record_is_a_response_with_all_that_determined_it(store: Store) -> None:
    entry, other = fill(store, 2)
    record = find_record(store, entry.key)
    assert record is not None
    assert record.response == dict(entry.response)
    assert record.determinants == dict(entry.determinants)
    assert (record.session, record.identity) == (entry.session_sha256, IDENTITY)
    assert response_key(record.session, record.determinants) == record.key == entry.key
    assert count_by_session(store, [entry.key, other.key, entry.key, "ab" * 32]) == {entry.session_sha256: 2}
    assert find_record(store, "ab" * 32) is None
    store.register({"model": "another"}, {})
    store.db.execute("UPDATE responses SET session = 2 WHERE key = ?", (bytes.fromhex(entry.key),))
    assert find_record(store, entry.key) is None  # its key says that it is not of this session


def test_as_many_labels_as_are_kept_can_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("database", "validation"):
        monkeypatch.setattr(f"its.store.{module}.MAX_LABELS", 3)
    store.register(IDENTITY, {"checkpoints": ["a", "b"]})
    store.register(IDENTITY, {"checkpoints": ["c", "d", "e"]})
    assert [info.about for info in store.sessions()] == [{"checkpoints": ["a", "b", "c"]}]


def test_a_damaged_response_is_deleted_counted_and_generated_again(store: Store) -> None:
    items = fill(store, 3)
    damage_body(store, items[1].key)
    assert store.contains([entry.key for entry in items]) == {items[0].key, items[2].key}
    assert store.damaged == 1
    assert store.claim([entry.key for entry in items]) == {items[1].key}
    store.put_many([items[1]])
    assert found(store, items) == bodies(items)
    assert store.damaged == 1


def test_a_damaged_response_that_another_process_replaced_stays(path: Path) -> None:
    class Slow(Store):
        """Deletes a damaged response after another process has already stored it again."""

        def _delete_damaged(self, row_ids: Sequence[int]) -> None:
            with Store(path) as other:
                other.discard(entry.key)
                other.put_many([entry])
                assert other.db.execute("SELECT id FROM responses").fetchall() == [(row_ids[0],)]
            super()._delete_damaged(row_ids)

    with Slow(path) as store:
        (entry,) = fill(store, 1)
        damage_body(store, entry.key)
        assert store.contains([entry.key]) == set()
        assert found(store, [entry]) == bodies([entry])


def test_finding_sees_damage_too(store: Store) -> None:
    items = fill(store, 3)
    damage_body(store, items[0].key, offset=-1)
    assert found(store, items) == bodies(items[1:])
    assert (store.damaged, store_stats(store)["responses"]) == (1, 2)


def test_a_body_in_the_wrong_row_is_damage(store: Store) -> None:
    items = fill(store, 2)
    store.db.execute(
        "UPDATE responses SET (body, checksum) = (SELECT body, checksum FROM responses WHERE id = 1) WHERE id = 2"
    )
    assert store.contains([entry.key for entry in items]) == {items[0].key}


def test_a_damaged_store_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError, match=r"store\.sqlite: the store is damaged") as caught:
        Store(path)
    assert "move it away" in str(caught.value.hint)


SCHEMA_1 = (
    "CREATE TABLE responses "
    "(key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID"
)


def _refused(path: Path, statements: str) -> RunError:
    """The error for a file after these statements; nothing in it is changed, and no command reads it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(statements)
    before = path.read_bytes()
    with pytest.raises(RunError) as caught:
        Store(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(RunError) as again, readable_store(path):
        pass
    assert again.value.message == caught.value.message
    assert path.read_bytes() == before
    return caught.value


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_store_of_a_later_schema_is_refused(path: Path, version: int) -> None:
    Store(path).close()
    error = _refused(path, f"PRAGMA user_version = {version}")
    assert error.message == f"{path}: the store has schema {version}; this version of ITS reads schema 2"
    assert error.hint is not None
    assert "move it away" in error.hint
    assert "`its store export saved.zst` with the version of ITS that wrote it" in error.hint


def test_a_store_of_an_earlier_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old" / "store.sqlite"
    path.parent.mkdir()
    error = _refused(
        path, f"{SCHEMA_1}; INSERT INTO responses VALUES ('k', '{{}}', '{{}}', 'x'); PRAGMA user_version = 1"
    )
    assert error.message == f"{path}: the store has schema 1; this version of ITS reads schema 2"
    assert error.hint is not None
    assert "move it away" in error.hint


@pytest.mark.parametrize("statements", [SCHEMA_1, "CREATE TABLE notes (text)", "CREATE TABLE claims (key, owner)"])
def test_a_database_that_is_no_store_is_refused(tmp_path: Path, statements: str) -> None:
    path = tmp_path / "other" / "store.sqlite"
    path.parent.mkdir()
    error = _refused(path, statements)
    assert "not a store of ITS" in error.message
    assert error.hint is not None
    assert "move it away" in error.hint


def test_a_store_that_an_earlier_version_wrote_is_opened_and_hit(tmp_path: Path) -> None:
    """Tables, hashes, checksums and bodies as they were written at commit 93fb73a: changing one loses GPU hours."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript((CASES / "store_schema_2.sql").read_text(encoding="utf-8"))
    sampled = determinants(3, 1)
    greedy = determinants(3, 0, sampling=GREEDY, seed=None, start="Half: ")
    with Store(path) as store:
        session = store.register(IDENTITY, {"checkpoints": ["base"]})
        keys = [response_key(session, request) for request in (sampled, greedy)]
        assert [body["text"] for _, body in store.find(keys)] == ["6", "the answer is 6. " * 20]
        assert store.claim(keys) == set()  # nothing is left to generate
        assert list(verify_store(store)) == []
        assert store_stats(store)["sessions"] == 1
    assert keys == [
        "1e718280619b5fc5015d412e032160743be9d0ba7e9852e54e90b0b6522cc4ad",
        "5a3858dc4a92fec0e307fcfc166248a696796ac7eaad2349b54605426ce0270c",
    ]


@pytest.mark.parametrize("content", [b"\n", b"notes"])
def test_a_short_file_is_not_taken_for_a_new_store(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RunError, match="the store is damaged: file is not a database"):
        Store(path)
    assert path.read_bytes() == content


def test_a_power_cut_cannot_damage_the_file(store: Store) -> None:
    assert store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store.db.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL; 0 would let the disk reorder writes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_store_that_cannot_be_opened_leaves_no_handle(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError):
        Store(path)
    held = [str(handle.resolve()) for handle in Path("/proc/self/fd").iterdir()]
    assert str(path) not in held


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="unable to open"):
        Store(tmp_path / "locked" / "store.sqlite")


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file: file exists"):
        Store(tmp_path / "file" / "store.sqlite")


def test_a_store_that_stays_locked_is_named(store: Store, path: Path) -> None:
    session = store.register(IDENTITY, {})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(RunError, match="another process has kept the store locked for more than 60 s") as caught:
        store.put_many([item(session)])
    assert "or wait; then run again" in str(caught.value.hint)
    other.execute("ROLLBACK")
    other.close()
    store.put_many([item(session)])


# A full disk


def test_a_full_disk_is_one_clear_error_and_loses_nothing(store: Store) -> None:
    items = fill(store, 3)
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages + 1}")  # SQLite then fails as on a full disk
    big = [item(items[0].session_sha256, number, text=os.urandom(3000).hex()) for number in range(10, 40)]
    with pytest.raises(RunError, match=r"store\.sqlite: no space left on the disk") as caught:
        store.put_many(big)
    assert caught.value.exit_code == 1
    assert store.contains([entry.key for entry in [*items, *big]]) == {entry.key for entry in items}
    store.db.execute("PRAGMA max_page_count = 1000000")
    assert store.put_many(big) == 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    with Store(small_disk / "store.sqlite") as store:
        session = store.register(IDENTITY, {})
        stored: list[PutItem] = []
        with pytest.raises(RunError, match=r"store\.sqlite: no space left on the disk"):
            for number in range(1000):
                one = item(session, number, text=os.urandom(5000).hex())
                store.put_many([one])
                stored.append(one)
        assert len(stored) > 20
        with pytest.raises(RunError, match="no space left on the disk"):
            store.put_many([item(session, 5000 + number, text=os.urandom(5000).hex()) for number in range(50)])
        assert found(store, stored) == bodies(stored)
        ballast.unlink()
        more = [item(session, 2000 + number, text=os.urandom(2000).hex()) for number in range(20)]
        assert store.put_many(more) == 20
    with Store(small_disk / "store.sqlite") as store:
        assert found(store, stored + more) == bodies(stored + more)
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_store_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(65536))
            out.flush()
    with pytest.raises(RunError, match=r"store\.sqlite: no space left on the disk"):
        Store(small_disk / "store.sqlite")
    (small_disk / "ballast").unlink()
    with Store(small_disk / "store.sqlite") as store:
        assert len(fill(store, 2)) == 2


# Several processes


def test_two_processes_share_a_store(store: Store, path: Path, processes: Processes) -> None:
    processes.run("s = Store(Path(sys.argv[1])); fill(s, 2, model='theirs'); s.close()", path)
    fill(store, 2, model="ours")
    assert store_stats(store)["responses"] == 4


def test_many_writers_lose_nothing(path: Path, processes: Processes) -> None:
    code = (
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with Store(Path(sys.argv[1])) as s:\n"
        "    session = s.register(IDENTITY | {'model': sys.argv[2]}, {'checkpoints': [sys.argv[2]]})\n"
        "    for number in range(300):\n"
        "        assert s.put_many([item(session, number)]) == 1\n"
    )
    writers = [processes.start(code, path, number) for number in range(4)]
    assert [processes.hear(writer) for writer in writers] == ["ready"] * 4
    for writer in writers:
        processes.say(writer)  # the first process creates the file
    for writer in writers:
        processes.end(writer)
    with Store(path) as store:
        result = store_stats(store)
        assert (result["responses"], result["prompts"], result["sessions"]) == (1200, 300, 4)
        assert [session["responses"] for session in result["by_session"]] == [300] * 4
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_kill_while_putting_loses_nothing_that_was_committed(path: Path, processes: Processes) -> None:
    code = (
        "s = Store(Path(sys.argv[1])); session = s.register(IDENTITY, {})\n"
        "for number in range(100_000):\n"
        "    s.put_many([item(session, number, sample) for sample in range(20)])\n"
        "    print(number, flush=True)\n"
    )
    writer = processes.start(code, path)
    while int(processes.hear(writer)) < 20:
        pass
    writer.send_signal(signal.SIGKILL)
    assert writer.stdout is not None
    last = int(["20", *writer.stdout.read().split()][-1])
    with Store(path) as store:
        session = store.register(IDENTITY, {})
        items = [item(session, number, sample) for number in range(last + 1) for sample in range(20)]
        assert found(store, items) == bodies(items)
        assert store_stats(store)["responses"] in (20 * (last + 1), 20 * (last + 2))  # all of a call, or none
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


# Claims


def test_what_is_stored_or_claimed_by_another_is_not_granted(store: Store, path: Path) -> None:
    items = fill(store, 2)
    keys = [item(items[0].session_sha256, number).key for number in range(6)]
    with Store(path) as other:
        assert other.claim(keys[:4]) == {keys[2], keys[3]}
        assert store.claim(keys) == {keys[4], keys[5]}
        assert store.claim(keys) == {keys[4], keys[5]}  # what is ours is granted again
        assert other.claim(keys) == {keys[2], keys[3]}
        other.release()
        assert store.claim(keys) == set(keys[2:])
        assert other.claim(keys) == set()
    store.release()
    assert list((path.parent / "locks").iterdir()) == []


def test_a_response_ends_its_claim(store: Store) -> None:
    session = store.register(IDENTITY, {})
    items = [item(session, number) for number in range(3)]
    store.claim([entry.key for entry in items])
    store.put_many(items[:2])
    assert store_stats(store)["claims"] == 1


def test_an_error_releases_claims(store: Store, path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Store(path) as other:
        other.claim(["ab" * 32])
        assert store.claim(["ab" * 32]) == set()
        other.register({"x": 1 / 0}, {})
    assert store.claim(["ab" * 32]) == {"ab" * 32}


def test_claims_of_a_store_that_could_not_release_are_free(store: Store, path: Path) -> None:
    """A full disk, a lock that is never released: the owner's lock is released all the same."""
    other = Store(path)
    other.claim(["ab" * 32])
    store.db.execute("BEGIN IMMEDIATE")
    other.db.execute("PRAGMA busy_timeout = 10")
    other.close()
    store.db.execute("ROLLBACK")
    assert store_stats(store)["claims"] == 1
    assert store.claim(["ab" * 32]) == {"ab" * 32}


def test_two_processes_claim_each_key_once(path: Path, processes: Processes) -> None:
    Store(path).close()
    code = (
        "s = Store(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline()\n"
        "keys = [format(number, '064x') for number in range(500)]\n"
        "order = keys if sys.argv[2] == 'a' else keys[::-1]\n"
        "got = [key for at in range(0, 500, 10) for key in s.claim(order[at:at + 10]) if not time.sleep(0.0005)]\n"
        "print(' '.join(got), flush=True); sys.stdin.readline(); s.close()\n"
    )
    claimants = [processes.start(code, path, name) for name in "ab"]
    assert [processes.hear(claimant) for claimant in claimants] == ["ready", "ready"]
    for claimant in claimants:
        processes.say(claimant)
    first, second = (processes.hear(claimant).split() for claimant in claimants)
    assert len(first) + len(second) == len({*first, *second}) == 500
    assert first and second
    for claimant in claimants:
        processes.end(claimant)
    with Store(path) as store:
        assert store_stats(store)["claims"] == 0


def test_claims_of_a_killed_process_are_taken_over(store: Store, path: Path, processes: Processes) -> None:
    keys = [format(number, "064x") for number in range(100)]
    code = (
        "s = Store(Path(sys.argv[1]))\n"
        "s.claim([format(number, '064x') for number in range(60)]); print('claimed', flush=True); time.sleep(60)\n"
    )
    other = processes.start(code, path)
    assert processes.hear(other) == "claimed"
    assert store.claim(keys) == set(keys[60:])
    other.send_signal(signal.SIGSTOP)  # stopped is not dead
    assert store.claim(keys) == set(keys[60:])
    other.kill()
    other.wait()
    assert len(list((path.parent / "locks").iterdir())) == 2
    assert store.claim(keys) == set(keys)
    assert store.claim(keys) == set(keys)
    assert len(list((path.parent / "locks").iterdir())) == 1  # the dead one's is removed


def test_taking_over_one_claim_of_a_dead_owner_ends_all_of_them(store: Store, path: Path, processes: Processes) -> None:
    code = "s = Store(Path(sys.argv[1])); s.claim(sys.argv[2:]); print('claimed', flush=True); time.sleep(60)"
    other = processes.start(code, path, "ab" * 32, "cd" * 32)
    assert processes.hear(other) == "claimed"
    other.kill()
    other.wait()
    assert store.claim(["ab" * 32]) == {"ab" * 32}
    assert store_stats(store)["claims"] == 1


def test_a_lock_that_is_a_link_leaves_its_target_alone(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "thesis.tex"
    target.write_text("ten years")
    store.locks.mkdir(exist_ok=True)
    (store.locks / f"claim-{'0' * 32}.lock").symlink_to(target)
    store.db.execute("INSERT INTO claims VALUES (?, ?)", (bytes.fromhex("ab" * 32), "0" * 32))
    assert store.claim(["ab" * 32]) == {"ab" * 32}  # no process can be the owner
    assert target.read_text() == "ten years"


def test_a_session_collected_under_a_run_is_written_again(store: Store, path: Path) -> None:
    session = store.register(IDENTITY, {"checkpoints": ["a"]})
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("DELETE FROM sessions")
    other.close()
    store.put_many([item(session)])
    assert [(info.sha256, info.label, info.responses) for info in store.sessions()] == [(session, "a", 1)]


def test_a_copy_of_the_file_is_a_store(store: Store, path: Path, tmp_path: Path) -> None:
    items = fill(store, 20)
    store.close()
    assert sorted(file.name for file in path.parent.iterdir() if file.is_file()) == ["store.sqlite"]
    shutil.copy(path, tmp_path / "copy.sqlite")
    with Store(tmp_path / "copy.sqlite") as copy:
        assert found(copy, items) == bodies(items)


def test_a_link_to_a_store_is_the_same_store(store: Store, path: Path, tmp_path: Path) -> None:
    """Also for claims, whose locks are beside the file: what one has claimed the other does not get."""
    link = tmp_path / "elsewhere" / "store.sqlite"
    link.parent.mkdir()
    link.symlink_to(path)
    key = "ab" * 32
    assert store.claim([key]) == {key}
    with Store(link) as other:
        assert other.claim([key]) == set()
        assert other.put_many([item(other.register(IDENTITY, {}))]) == 1
    assert store_stats(store)["responses"] == 1


def test_a_text_beyond_the_limit_is_a_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.store.database.MAX_BYTES", 1000)
    session = store.register(IDENTITY, {})
    with pytest.raises(DataError, match=r"a response has 10.. bytes; the store takes at most 1000"):
        store.put_many([item(session, text="x" * 1000)])
    with pytest.raises(DataError, match=r"a prompt has .* bytes; the store takes at most 1000"):
        store.put_many([item(session, messages=[{"role": "user", "content": "\u00e9" * 500}], text="x")])
    assert store_stats(store)["responses"] == 0


def test_half_a_character_in_a_setting_is_a_clear_error(store: Store) -> None:
    """In a prompt it is kept, since a model may have stopped in it; of a setting it is a slip."""
    with pytest.raises(DataError, match=r"half of a character .*\\ud800"):
        store.register({"model": "\ud800"}, {})
    session = store.register(IDENTITY, {})
    with pytest.raises(DataError, match="half of a character"):
        store.put_many([item(session, sampling={"stop": ["\ud800"]})])
