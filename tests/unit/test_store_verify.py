"""What is damaged is named and can be repaired; what nothing needs is removed, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from unit.store_samples import IDENTITY, Processes, bodies, damage_body, damage_page, fill, found, item

from its.errors import MissingError, RunError
from its.store import PutItem, Store
from its.store.connection import file_bytes
from its.store.garbage import collect_garbage, remove_refused
from its.store.stats import store_stats
from its.store.verify import verify_store


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


# Verify


def test_a_sound_store_has_no_damage(store: Store) -> None:
    assert list(verify_store(store)) == []
    fill(store, 300, samples=2)
    result: list[tuple[int, int]] = []
    assert list(verify_store(store, progress=lambda done, total: result.append((done, total)))) == []
    fill(store, 600, samples=2)
    list(verify_store(store, progress=lambda done, total: result.append((done, total))))
    assert result == [(1000, 1200)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("checksum = checksum + 1", "its body does not match its checksum"),
        ("body = zeroblob(10)", "its body does not match its checksum"),
        ("details = replace(details, '\"sample_index\":0', '\"sample_index\":1')", "its key is not the hash of"),
        ("created = created + (1 << 50)", "its date is damaged"),
        ("prompt = 1", "its key is not the hash of"),
        ("prompt = 99", "its prompt is missing"),
        ("session = 99", "its session is missing"),
        ("session = 2", "its key is not the hash of"),
        ("key = zeroblob(32)", "its body does not match its checksum"),
    ],
)
def test_a_damaged_row_is_named_and_repair_makes_it_generated_again(store: Store, change: str, what: str) -> None:
    items = fill(store, 3)
    store.register({"model": "another"}, {})
    store.db.execute(f"UPDATE responses SET {change} WHERE id = 2")
    key = store.db.execute("SELECT hex(key) FROM responses WHERE id = 2").fetchone()[0].lower()
    (damage,) = verify_store(store)
    assert damage.what.startswith(what)
    assert (damage.key, damage.repaired) == (key, False)
    assert damage.session in ("checkpoint of sha256:aa", "another", None)
    assert store_stats(store)["responses"] == 3
    (damage,) = verify_store(store, repair=True)
    assert damage.repaired
    assert list(verify_store(store)) == []
    assert found(store, items) == bodies([items[0], items[2]])
    assert store.claim([items[1].key]) == {items[1].key}


def test_a_body_that_unpacks_to_nonsense_is_damage(store: Store) -> None:
    from its.store.encoding import checksum

    items = fill(store, 1)
    key, body = bytes.fromhex(items[0].key), store.packer.pack(b"[1, 2, 3, 4, 5, 6, 7]")
    store.db.execute("UPDATE responses SET body = ?, checksum = ?", (body, checksum(key, body)))
    (damage,) = verify_store(store)
    assert damage.what == "its body cannot be read: not a JSON object"


def test_a_damaged_prompt_takes_its_responses_along(store: Store) -> None:
    items = fill(store, 3, samples=2)
    store.db.execute("UPDATE prompts SET body = zeroblob(40) WHERE id = 2")
    damages = list(verify_store(store))
    assert [damage.what.split(" `")[0] for damage in damages] == [
        "the prompt",
        "its prompt is damaged",
        "its prompt is damaged",
    ]
    assert {damage.key for damage in damages} == {None, items[2].key, items[3].key}
    assert all(damage.repaired for damage in verify_store(store, repair=True))
    assert list(verify_store(store)) == []
    store.put_many(items)  # and the next one is stored with a sound prompt
    assert list(verify_store(store)) == []
    assert store_stats(store)["responses"] == 6


def test_a_damaged_identity_is_restored_by_the_next_run(store: Store) -> None:
    fill(store, 2)
    identity = json.dumps({**IDENTITY, "model": "sha256:ab"})
    store.db.execute("UPDATE sessions SET identity = ?", (identity,))
    (damage,) = verify_store(store, repair=True)
    assert "its identity or labels are damaged" in damage.what
    assert not damage.repaired
    store.register(IDENTITY | {"model": "sha256:aa"}, {})
    assert list(verify_store(store)) == []
    assert store_stats(store)["responses"] == 2


def test_a_prompt_that_was_stored_again_takes_the_responses_of_the_damaged_one(store: Store) -> None:
    (first,) = fill(store, 1)
    store.db.execute("UPDATE prompts SET sha256 = zeroblob(32)")
    second = item(first.session_sha256, 0, sample=1)
    store.put_many([second])  # finds no prompt with its hash
    (damage,) = verify_store(store, repair=True)
    assert (damage.what, damage.repaired) == (f"the prompt `{'0' * 64}`: its hash is damaged", True)
    assert list(verify_store(store)) == []
    assert store_stats(store)["prompts"] == 1
    assert found(store, [first, second]) == bodies([first, second])


def test_a_row_that_another_process_replaced_is_not_deleted(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = fill(store, 1)
    damage_body(store, entry.key)
    real = verify_store.__globals__["_delete"]

    def late(store: Store, row_id: int) -> bool:
        with Store(path) as other:
            other.discard(entry.key)
            other.put_many([entry])
        deleted: bool = real(store, row_id)
        return deleted

    monkeypatch.setattr("its.store.verify._delete", late)
    assert len(list(verify_store(store, repair=True))) == 1
    assert found(store, [entry]) == bodies([entry])


def test_damaged_pages_are_reported_with_what_to_do(store: Store, path: Path) -> None:
    items = fill(store, 300)
    key = bytes.fromhex(items[150].key)
    body = store.db.execute("SELECT body FROM responses WHERE key = ?", (key,)).fetchone()[0]
    store.close()
    damage_page(path, body)
    with Store(path) as damaged:
        for repair in (False, True):
            found_damage = list(verify_store(damaged, repair))
            assert found_damage and all(damage.key is None and not damage.repaired for damage in found_damage)
            assert (
                "responses on damaged pages cannot be read; if `--repair` does not fix it: export what"
                in found_damage[-1].what
            )


def test_a_damaged_index_is_rebuilt(store: Store, path: Path) -> None:
    items = fill(store, 30)
    page = store.db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'responses_by_session'").fetchone()[0]
    store.close()
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    content[page * size - 1] ^= 0x40  # the row number of the entry that was written first
    path.write_bytes(content)
    with Store(path) as damaged:
        assert {damage.repaired for damage in verify_store(damaged)} == {False}
        assert {damage.repaired for damage in verify_store(damaged, repair=True)} == {True}
        assert list(verify_store(damaged)) == []
        assert found(damaged, items) == bodies(items)


def test_others_may_write_while_it_verifies(store: Store, path: Path) -> None:
    items = fill(store, 600)
    damage_body(store, items[10].key)
    with Store(path) as other:
        for _ in verify_store(store, repair=True):
            fill(other, 5, model="sha256:bb")
    assert store_stats(store)["responses"] == 604


# Garbage


def test_what_nothing_needs_is_removed(store: Store, path: Path, processes: Processes) -> None:
    items = fill(store, 3)
    fill(store, 2, model="sha256:bb")
    store.register({"model": "never used"}, {})
    store.db.execute("DELETE FROM responses WHERE id IN (2, 4, 5)")
    dead = processes.start(
        "s = Store(Path(sys.argv[1])); s.claim(['ab' * 32]); print('ok', flush=True); time.sleep(60)", path
    )
    assert processes.hear(dead) == "ok"
    dead.kill()
    dead.wait()
    with Store(path) as living:
        living.claim(["cd" * 32])
        planned = collect_garbage(store, dry_run=True)
        assert store_stats(store)["sessions"] == 3
        result = collect_garbage(store)
        assert (result.claims, result.responses, result.prompts, result.sessions) == (1, 0, 1, 2)
        assert (planned.claims, planned.responses, planned.prompts, planned.sessions) == (1, 0, 1, 2)
        assert store_stats(store)["claims"] == 1
        assert len(list((path.parent / "locks").iterdir())) == 1
    assert found(store, items) == bodies([items[0], items[2]])
    assert list(verify_store(store)) == []
    assert collect_garbage(store).not_compacted == "it had no free pages"


def test_unused_responses_are_removed_and_the_file_gets_smaller(store: Store, path: Path) -> None:
    items = fill(store, 600)
    others = fill(store, 300, model="sha256:bb")
    used = [entry.key for entry in items[:50]]
    planned = collect_garbage(store, used, dry_run=True)
    assert store_stats(store)["responses"] == 900
    result = collect_garbage(store, iter([*used, *used]))
    for count in (planned, result):
        assert (count.responses, count.prompts, count.sessions) == (850, 550, 1)
    assert result.not_compacted is None
    assert result.bytes_after < result.bytes_before / 3
    assert found(store, items + others) == bodies(items[:50])
    assert list(verify_store(store)) == []


def test_nothing_is_removed_for_a_study_that_is_not_of_this_store(store: Store, path: Path) -> None:
    items = fill(store, 3)
    with pytest.raises(MissingError, match="the study cites no response"):
        collect_garbage(store, [])
    with pytest.raises(MissingError, match=r"1 of 2 responses that the study cites are not in this store") as caught:
        collect_garbage(store, [items[0].key, "ab" * 32], dry_run=True)
    assert "dvc repro" in str(caught.value.hint)
    with Store(path) as running:
        running.claim(["cd" * 32])
        with pytest.raises(RunError, match="1 runs are generating responses, which no row cites yet"):
            collect_garbage(store, [items[0].key])
    assert store_stats(store)["responses"] == 3
    store.claim(["cd" * 32])  # its own claims are no other run
    assert collect_garbage(store, [items[0].key]).responses == 2


def test_a_response_that_comes_in_during_the_removal_stays(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = fill(store, 6)
    late = item(items[0].session_sha256, 100)
    real, calls = collect_garbage.__globals__["writing"], []

    @contextmanager
    def late_writing(db: sqlite3.Connection) -> Iterator[None]:
        calls.append(db)
        if len(calls) == 3:  # after the check for other runs and the claims
            with Store(path) as other:
                other.put_many([late])
        with real(db):
            yield

    monkeypatch.setattr("its.store.garbage.STEP", 2)
    monkeypatch.setattr("its.store.garbage.writing", late_writing)
    assert collect_garbage(store, [items[0].key]).responses == 5
    assert found(store, [*items, late]) == bodies([items[0], late])


def test_only_responses_that_a_server_refused_are_removed(store: Store) -> None:
    session = store.register(IDENTITY, {})
    kept: list[dict[str, object]] = [
        {"text": "", "finish_reason": "stop"},  # the model ended its turn at once
        {"text": "", "finish_reason": "length"},
        {"text": "", "finish_reason": None},
        {"text": "partly", "finish_reason": "content_filter"},
        {"text": "", "thinking": "partly", "finish_reason": "content_filter"},
    ]
    refused: list[dict[str, object]] = [
        {"text": "", "finish_reason": "content_filter"},
        {"text": "", "finish_reason": "prompt_too_long", "thinking": None},
    ]
    items = [item(session, number) for number in range(7)]
    items = [
        PutItem(entry.key, entry.session_sha256, entry.determinants, body)
        for entry, body in zip(items, kept + refused, strict=True)
    ]
    store.put_many(items)
    assert remove_refused(store, dry_run=True) == 2
    assert found(store, items) == bodies(items)
    assert remove_refused(store) == 2
    assert found(store, items) == bodies(items[:5])
    assert store.claim([entry.key for entry in items]) == {entry.key for entry in items[5:]}


def test_a_store_is_compacted_while_another_process_has_it_open(store: Store, path: Path) -> None:
    items = fill(store, 600)
    with Store(path) as other:
        assert len(found(other, items)) == 600
        assert collect_garbage(store, [items[0].key]).not_compacted is None
        assert found(other, items) == bodies(items[:1])
        other.put_many(items[:10])
        assert found(store, items) == bodies(items[:10])


def test_a_store_that_is_written_to_is_not_compacted(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = fill(store, 300)
    store.db.execute("DELETE FROM responses WHERE id > 1")
    store.db.execute("PRAGMA busy_timeout = 20")
    with sqlite3.connect(path, isolation_level=None) as other:
        real = collect_garbage.__globals__["_remove"]

        def then_lock(store: Store, keep: str) -> dict[str, int]:
            counts: dict[str, int] = real(store, keep)
            other.execute("BEGIN IMMEDIATE")
            return counts

        monkeypatch.setattr("its.store.garbage._remove", then_lock)
        assert collect_garbage(store).not_compacted == "another process is writing to the store"
        other.execute("ROLLBACK")
    other.close()
    assert found(store, items) == bodies(items[:1])


@pytest.mark.parametrize(("times", "compacted"), [(0.0, False), (1.9, False), (2.1, True)])
def test_a_disk_without_room_is_not_filled(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: float, compacted: bool
) -> None:
    fill(store, 300)
    store.db.execute("DELETE FROM responses WHERE id > 1")

    def disk_usage(folder: object) -> SimpleNamespace:
        return SimpleNamespace(free=times * file_bytes(store.path))

    monkeypatch.setattr("its.store.garbage.shutil.disk_usage", disk_usage)
    result = collect_garbage(store)
    assert result.prompts == 299
    assert (result.not_compacted is None) is compacted
    assert compacted or "0.0 GiB are free at" in str(result.not_compacted)


def test_a_run_goes_on_after_its_unanswered_session_was_collected(store: Store, path: Path) -> None:
    session = store.register(IDENTITY, {"checkpoints": ["a"]})
    with Store(path) as cleaner:
        assert collect_garbage(cleaner).sessions == 1
    store.put_many([item(session)])
    assert store.sessions()[0].label == "a"
    assert list(verify_store(store)) == []
