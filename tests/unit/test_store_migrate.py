"""A store of schema 1 is brought to schema 2 when it is opened: its responses are found under today's keys."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.store_samples import GREEDY, Processes, determinants

from its.errors import RunError
from its.store import Store, response_key, session_sha256, vllm_identity
from its.store.verify import verify_store

ARGUMENTS = {
    "dtype": "bfloat16",
    "max_model_len": 2048,
    "seed": 17,
    "disable_log_stats": True,
    "trust_remote_code": False,
    "generation_config": "vllm",
    "distributed_executor_backend": "uni",
}
VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "0-1",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def processes() -> Iterator[Processes]:
    others = Processes()
    yield others
    others.kill_all()


def _request(**changed: Any) -> dict[str, Any]:
    return {
        "model": "sha256:aa",
        "engine": "vllm",
        "arguments": ARGUMENTS,
        "variables": VARIABLES,
        "environment": "lock",
        **determinants(),
    } | changed


def _write_schema_1(path: Path, rows: list[tuple[dict[str, Any], str, str]], version: int = 1) -> None:
    """A file as the first version of ITS wrote it; rows are (request, text, created)."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS responses "
        "(key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID"
    )
    database.execute(f"PRAGMA user_version = {version}")
    database.execute("BEGIN")
    for request, text, created in rows:
        canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        response = {"text": text, "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2}
        database.execute(
            "INSERT INTO responses VALUES (?, ?, ?, ?)",
            (
                hashlib.sha256(canonical.encode()).hexdigest(),
                json.dumps(request, ensure_ascii=False),
                json.dumps(response, ensure_ascii=False),
                created,
            ),
        )
    database.execute("COMMIT")
    database.close()


def _many(count: int) -> list[tuple[dict[str, Any], str, str]]:
    return [
        (_request(**determinants(number)), f"text {number}", "2026-05-01T10:00:00+00:00") for number in range(count)
    ]


def _key(model: str = "sha256:aa", **changed: Any) -> str:
    """The key that a run of today looks for: other settings of speed, no idle seed."""
    arguments = {**ARGUMENTS, "seed": 99, "worker_extension_cls": "x"}
    del arguments["disable_log_stats"]
    identity = vllm_identity(model, arguments, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}, "lock")
    return response_key(session_sha256(identity), determinants(**changed))


def test_old_responses_are_found_under_todays_keys(path: Path) -> None:
    rows = [
        (_request(), "sampled \u00e9 \\frac{1}{2}", "2026-05-01T10:00:00+00:00"),
        (_request(sampling=GREEDY, seed=5), "greedy", "2026-05-02T10:00:00+00:00"),
        (_request(start="You are", sample_index=3), "started", "2026-05-03T10:00:00+00:00"),
        (_request(model="sha256:bb"), "of another model", "2026-05-04T10:00:00+00:00"),
    ]
    _write_schema_1(path, rows)
    said: list[str] = []
    with Store(path, said.append) as store:
        keys = [
            _key(),
            _key(sampling=GREEDY, seed=None),
            _key(start="You are", sample_index=3),
            _key(model="sha256:bb"),
        ]
        found = dict(store.find(keys))
        assert [found[key]["text"] for key in keys] == [text for _, text, _ in rows]
        assert found[keys[0]] == {
            "text": rows[0][1],
            "finish_reason": "stop",
            "prompt_tokens": 3,
            "completion_tokens": 2,
        }
        told = store.stats()
        assert (told["schema"], told["responses"], told["prompts"]) == (2, 4, 2)
        assert (told["first"], told["last"]) == ("2026-05-01", "2026-05-04")
        assert [info.identity["model"] for info in store.sessions()].count("sha256:bb") == 1
        assert list(verify_store(store)) == []
    assert said == []
    with Store(path) as store:  # and once is enough
        assert store.contains(keys) == set(keys)


def test_of_two_greedy_responses_that_differed_in_an_idle_seed_the_older_stays(path: Path) -> None:
    rows = [
        (_request(sampling=GREEDY, seed=seed), f"seed {seed}", f"2026-05-0{day}T10:00:00+00:00")
        for seed, day in ((1, 3), (2, 1), (3, 2))
    ]
    _write_schema_1(path, rows)
    with Store(path) as store:
        ((_, response),) = store.find([_key(sampling=GREEDY, seed=None)])
        assert (response["text"], store.stats()["responses"], store.stats()["first"]) == ("seed 2", 1, "2026-05-01")
        assert list(verify_store(store)) == []


def test_a_store_without_rows_and_one_that_died_before_its_version(path: Path, tmp_path: Path) -> None:
    _write_schema_1(path, [])
    with Store(path) as store:
        assert store.stats()["responses"] == 0
    _write_schema_1(tmp_path / "other.sqlite", _many(2), version=0)
    with Store(tmp_path / "other.sqlite") as store:
        assert store.stats()["responses"] == 2


def test_rows_that_no_engine_wrote_are_said_and_left_out(path: Path) -> None:
    _write_schema_1(path, [*_many(3), ({"a": 1}, "", "2026-05-01T10:00:00+00:00"), (_request(seed=7), "", "yesterday")])
    said: list[str] = []
    with Store(path, said.append) as store:
        assert store.stats()["responses"] == 3
    assert said == [f"{path}: 2 of 5 rows of schema 1 are no responses of an engine and were left out"]


def test_a_kill_in_the_middle_leaves_schema_1_whole(path: Path, processes: Processes) -> None:
    _write_schema_1(path, _many(400))
    code = (
        "import its.store.migrate as m\n"
        "insert, done = m.insert_response, []\n"
        "def dying(*words, **named):\n"
        "    done.append(1)\n"
        "    if len(done) == 300: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return insert(*words, **named)\n"
        "m.insert_response = dying\n"
        "Store(Path(sys.argv[1]))\n"
    )
    assert processes.start(code, path).wait(60) == -signal.SIGKILL
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone()[0] == 1
    assert database.execute("SELECT count(*) FROM responses WHERE request LIKE '%sha256:aa%'").fetchone()[0] == 400
    assert [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")] == ["responses"]
    database.close()
    with Store(path) as store:
        keys = [_key(**determinants(number)) for number in range(400)]
        assert store.contains(keys) == set(keys)


def test_a_full_disk_in_the_middle_leaves_schema_1_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_schema_1(path, _many(50))

    def full(*words: object, **named: object) -> bool:
        database = sqlite3.connect(":memory:")
        database.execute("PRAGMA max_page_count = 1")
        try:
            database.execute("CREATE TABLE t (a)")
        finally:
            database.close()
        return True

    with monkeypatch.context() as patched:
        patched.setattr("its.store.migrate.insert_response", full)
        with pytest.raises(RunError, match="no space left on the disk"):
            Store(path)
    with Store(path) as store:
        assert store.stats()["responses"] == 50


def test_several_processes_may_open_an_old_store_at_once(path: Path, processes: Processes) -> None:
    _write_schema_1(path, _many(500))
    code = (
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with Store(Path(sys.argv[1])) as s: print(s.stats()['responses'])\n"
    )
    openers = [processes.start(code, path) for _ in range(3)]
    assert [processes.hear(opener) for opener in openers] == ["ready"] * 3
    for opener in openers:
        processes.say(opener)
    assert [processes.end(opener).strip() for opener in openers] == ["500"] * 3


def test_whoever_waits_for_the_migration_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_schema_1(path, _many(5))
    monkeypatch.setattr("its.store.connection.BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        holder.execute("ROLLBACK")  # the other process is done, or was killed

    with Store(path, say) as store:
        assert store.stats()["responses"] == 5
    holder.close()
    assert said == [f"{path}: waiting for another process that brings the store to schema 2"]


def test_a_long_migration_says_how_far_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_schema_1(path, _many(5))
    monkeypatch.setattr("its.store.migrate.LONG_SECONDS", -1.0)
    said: list[str] = []
    Store(path, said.append).close()
    assert said == [
        f"{path}: bringing the store to schema 2, once: 1 of 5 responses",
        f"{path}: the store has schema 2 now",
    ]


def test_a_damaged_old_store_is_named(path: Path) -> None:
    _write_schema_1(path, _many(200))
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    for page in range(3, len(content) // size - 1):
        content[page * size : page * size + 16] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged and cannot be brought to schema 2") as caught:
        Store(path)
    assert "move it away" in str(caught.value.hint)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0] == 1
