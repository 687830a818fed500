"""What leaves a store arrives whole in another, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from unit.store_samples import IDENTITY, Processes, bodies, damage_body, damage_page, determinants, fill, found, item

from its.errors import DataError, MissingError, RunError
from its.store import Store, response_key
from its.store.exporting import export_store
from its.store.importing import import_store
from its.store.stats import store_stats
from its.store.verify import verify_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "one" / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "other" / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out" / "responses.jsonl.zst"


def _lines(file: Path) -> list[dict[str, Any]]:
    with file.open("rb") as source:
        text = zstandard.ZstdDecompressor().stream_reader(source).read().decode()
    return [json.loads(line) for line in text.splitlines()]


def _write(file: Path, lines: list[Any], with_trailer: bool = True) -> None:
    """Lines as a forger writes them, with a trailer that fits."""
    content = "".join(json.dumps(line) + "\n" for line in lines)
    if with_trailer:
        kinds = [line.get("kind") for line in lines]
        trailer = {
            "kind": "trailer",
            "prompts": kinds.count("prompt"),
            "responses": kinds.count("response"),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        }
        content += json.dumps(trailer) + "\n"
    file.write_bytes(zstandard.compress(content.encode()))


def _content(store: Store) -> list[tuple[Any, ...]]:
    """Every stored response with all that belongs to it, whatever numbers its rows have."""
    rows = store.db.execute(
        "SELECT key, sessions.sha256, identity, about, prompts.sha256, details, created, responses.body, prompts.body "
        "FROM responses JOIN sessions ON session = sessions.id JOIN prompts ON prompt = prompts.id ORDER BY key"
    )
    return [(*row[:7], store.packer.unpack(row[7]), store.packer.unpack(row[8])) for row in rows]


def test_a_round_trip_gives_equal_rows(store: Store, other: Store, file: Path) -> None:
    fill(store, 5, samples=3)
    fill(store, 4, samples=2, model="sha256:bb")
    session = store.register(IDENTITY, {"versions": {"vllm": "0.32"}})
    odd = determinants(messages=[{"role": "user", "content": "half \ud83d \u2028"}], start="You", sampling={"a": 1e-7})
    store.put(response_key(session, odd), session, odd, {"text": "\udc00 \u0000", "n": 2**60, "x": 0.1})
    store.db.execute("UPDATE responses SET created = created - 1000 * id")
    result = export_store(store, file)
    assert (result.responses, result.prompts, result.sessions) == (24, 6, 2)
    assert (result.missing, result.damaged, result.unreadable) == (0, 0, 0)
    assert result.bytes == file.stat().st_size
    arrived = import_store(other, file)
    assert (arrived.new, arrived.known) == (24, 0)
    assert _content(other) == _content(store)
    assert list(verify_store(other)) == []


def test_the_file_says_what_it_holds(store: Store, file: Path) -> None:
    items = fill(store, 2, samples=2)
    export_store(store, file)
    manifest, *rows, trailer = _lines(file)
    assert (manifest["format"], manifest["version"]) == ("its-store", 1)
    assert manifest["counts"] == {"responses": 4, "sessions": 1}
    assert manifest["sessions"][0]["identity"] == IDENTITY
    assert [row["kind"] for row in rows] == ["prompt", "response", "response", "prompt", "response", "response"]
    assert rows[0]["body"] == {"messages": items[0].determinants["messages"], "start": None}
    assert rows[1]["body"] == items[0].response
    assert (trailer["prompts"], trailer["responses"]) == (2, 4)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the program `zstd` is not installed")
def test_the_program_zstd_reads_it(store: Store, file: Path) -> None:
    fill(store, 2)
    export_store(store, file)
    done = subprocess.run(["zstd", "-dc", str(file)], capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 6


def test_a_second_import_adds_nothing(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 3)
    other.register(IDENTITY, {"checkpoints": ["mine"]})
    mine = item(items[0].session_sha256, 0, text="mine stays")
    other.put_many([mine])
    export_store(store, file)
    first, second = import_store(other, file), import_store(other, file)
    assert (first.new, first.known, second.new, second.known) == (2, 1, 0, 3)
    assert found(other, items) == bodies([mine, *items[1:]])
    assert other.sessions()[0].about == {"checkpoints": ["mine", "checkpoint of sha256:aa"]}


def test_an_import_heals_what_is_damaged(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 3)
    export_store(store, file)
    import_store(other, file)
    damage_body(other, items[1].key)
    assert import_store(other, file).new == 1
    assert found(other, items) == bodies(items)


def test_many_batches(store: Store, other: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.store.importing.BATCH", 7)
    items = fill(store, 10, samples=5)
    fill(other, 4, samples=2)
    result: list[tuple[int, int]] = []
    export_store(store, file)
    arrived = import_store(other, file, lambda done, total: result.append((done, total)))
    assert (arrived.new, arrived.known) == (42, 8)
    assert result[0] == (7, 50) and result[-1] == (50, 50)
    assert found(other, items) == bodies(items)


def test_an_empty_store_is_exported_too(store: Store, other: Store, file: Path) -> None:
    store.register(IDENTITY, {})  # without a response it is not worth a line
    assert export_store(store, file).sessions == 0
    assert import_store(other, file).new == 0
    assert other.sessions() == []


def test_only_wanted_keys_are_exported(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 600)
    fill(store, 3, model="sha256:bb")
    wanted = items[::100]
    result = export_store(store, file, (key for key in [*(entry.key for entry in wanted), wanted[0].key, "ab" * 32]))
    assert (result.responses, result.prompts, result.sessions, result.missing) == (6, 6, 1, 1)
    import_store(other, file)
    assert found(other, items) == bodies(wanted)
    assert export_store(store, file).responses == 603  # the choice is forgotten


def test_an_export_is_of_one_moment(store: Store, file: Path, tmp_path: Path) -> None:
    session = fill(store, 1100)[0].session_sha256
    with Store(store.path) as writer:
        result = export_store(store, file, progress=lambda done, total: writer.put(*_parts(session, 10_000 + done)))
    assert result.responses == 1100
    assert store_stats(store)["responses"] == 1101


def _parts(session: str, number: int) -> tuple[Any, ...]:
    one = item(session, number)
    return one.key, one.session_sha256, one.determinants, one.response


def test_an_interrupted_export_leaves_nothing(store: Store, file: Path) -> None:
    items = fill(store, 1100)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_store(store, file, progress=interrupt)
    assert list(file.parent.iterdir()) == []
    assert store.put_many([item(items[0].session_sha256, 5000)]) == 1  # no transaction was left open


def test_a_full_disk_while_exporting(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fill(store, 3)
    monkeypatch.setattr("its.store.exporting.os.fsync", full)
    with pytest.raises(RunError, match=r"responses\.jsonl\.zst: no space left on the disk"):
        export_store(store, file)
    assert list(file.parent.iterdir()) == []


def test_the_store_is_not_written_over_itself(store: Store) -> None:
    items = fill(store, 1)
    with pytest.raises(DataError, match="this is the store itself"):
        export_store(store, store.path.parent / ".." / "one" / "store.sqlite")
    assert found(store, items) == bodies(items)


@pytest.mark.parametrize(("name", "calls", "left"), [("stage", 1, 0), ("insert", 5, 2800)])
def test_an_import_that_is_killed_continues(
    store: Store, other: Store, file: Path, name: str, calls: int, left: int
) -> None:
    """Killed during the checks it leaves nothing, during the inserts whole transactions; no hidden copy stays."""
    items = fill(store, 700, samples=8)
    export_store(store, file)
    code = (
        "import its.store.importing as m\n"
        "done, insert, stage = [], m._insert_batch, m._stage\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def dying(*words):\n"
        "    done.append(1)\n"
        "    if len(done) == int(sys.argv[4]): die()\n"
        "    return insert(*words)\n"
        "m._insert_batch, m.BATCH = dying, 700\n"
        "if sys.argv[3] == 'stage': m._stage = lambda *words: (stage(*words), die())\n"
        "with Store(Path(sys.argv[1])) as s: m.import_store(s, Path(sys.argv[2]))\n"
    )
    processes = Processes()
    try:
        assert processes.start(code, other.path, file, name, calls).wait(60) == -signal.SIGKILL
    finally:
        processes.kill_all()
    assert store_stats(other)["responses"] == left
    assert [path.name for path in other.path.parent.iterdir() if "import" in path.name] == []
    assert import_store(other, file).new == 5600 - left
    assert found(other, items) == bodies(items)


# Damage of the file


def _refused(other: Store, file: Path, message: str) -> DataError:
    with pytest.raises(DataError, match=message) as caught:
        import_store(other, file)
    assert (store_stats(other)["responses"], store_stats(other)["prompts"], other.sessions()) == (0, 0, [])
    assert caught.value.exit_code == 3
    return caught.value


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(store: Store, other: Store, file: Path, share: float) -> None:
    fill(store, 200)
    export_store(store, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    error = _refused(other, file, r"responses\.jsonl\.zst:\d+: .*; nothing was imported")
    assert error.hint == "fetch or export the file again"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_file_with_a_flipped_bit_is_refused(store: Store, other: Store, file: Path, share: float) -> None:
    fill(store, 200)
    export_store(store, file)
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 0x10
    file.write_bytes(content)
    _refused(other, file, r"responses\.jsonl\.zst")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is cut off"),
        (b"a text\n" * 10, "not an export of a store"),
        (b'{"format": "its-store", "version": 1}\n', "not an export of a store"),
        (zstandard.compress(b"a text\n"), ":1: broken JSON"),
        (zstandard.compress(b"[1]\n"), ":1: not a JSON object"),
        (zstandard.compress(b'{"format": "another"}\n'), ":1: not the first line of an export"),
        (zstandard.compress(b'{"format": "its-store", "version": 2}\n'), "an export of version 2; this .* reads 1"),
        (zstandard.compress(b'{"format": "its-store", "version": 1}\n'), ":1: `sessions` is missing"),
    ],
)
def test_another_file_is_refused(other: Store, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    _refused(other, file, message)


def test_no_file_is_named(other: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nothing: no such file"):
        import_store(other, tmp_path / "nothing")


Change = Callable[[list[dict[str, Any]]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: lines[0]["sessions"][0]["identity"].update(model="x"),
            ":1: the session `.*` has another identity",
        ),
        (lambda lines: lines[0].update(sessions=[]), ":3: no session `.*` in the manifest"),
        (lambda lines: lines[1]["body"].update(start="x"), ":2: the prompt `.*` has another content"),
        (lambda lines: lines[1]["body"].update(more="x"), ":2: a prompt has messages, start"),
        (lambda lines: lines.pop(1), ":2: no prompt `.*` before its response"),
        (lambda lines: lines[2]["details"].update(seed=5), ":3: the key `.*` is not the hash of its session"),
        (lambda lines: lines[2].update(key="ab" * 32), ":3: the key `ab.*` is not the hash of"),
        (lambda lines: lines[2].update(body="x"), ":3: `body` is not an object"),
        (lambda lines: lines[2]["body"].update(prompt_tokens=-1), ":3: `prompt_tokens` is not a number of tokens"),
        (lambda lines: lines[2]["body"].update(prompt_tokens=True), ":3: `prompt_tokens` is not a number of tokens"),
        (lambda lines: lines[2]["body"].update(finish_reason=5), ":3: `finish_reason` is not text"),
        (lambda lines: lines[2]["body"].pop("text"), ":3: `text` is not text"),
        (lambda lines: lines[2].update(created="yesterday"), ":3: Invalid isoformat string"),
        (
            lambda lines: lines[2].update(created="5000-01-01T00:00:00+00:00"),
            ":3: `created` is out of range: 5000-01-01",
        ),
        (lambda lines: lines[2].pop("created"), ":3: `created` is missing"),
        (lambda lines: lines[2].update(kind="query"), ":3: unknown kind `query`"),
        (lambda lines: lines.append({"kind": "trailer"}), ":7: a line after the trailer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_line_is_named_even_with_a_trailer_that_fits(
    store: Store, other: Store, file: Path, change: Change, message: str
) -> None:
    fill(store, 2)
    export_store(store, file)
    lines = _lines(file)[:-1]
    change(lines)
    _write(file, lines)
    _refused(other, file, message)


def test_a_changed_response_does_not_fit_the_trailer(store: Store, other: Store, file: Path) -> None:
    fill(store, 2)
    export_store(store, file)
    lines = _lines(file)
    lines[2]["body"]["text"] = "the answer is 42"
    _write(file, lines, with_trailer=False)
    _refused(other, file, ":6: the trailer does not match the lines before it")
    _write(file, [line for number, line in enumerate(_lines(file)) if number != 4], with_trailer=False)
    _refused(other, file, ":5: the trailer does not match")


# Damage of the store


def test_what_can_be_read_of_a_damaged_store_is_saved(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 900)
    middle = items[450].key
    body = store.db.execute("SELECT body FROM responses WHERE key = ?", (bytes.fromhex(middle),)).fetchone()[0]
    store.close()
    damage_page(store.path, body)
    with Store(store.path) as damaged:
        with pytest.raises(RunError, match="the store is damaged") as caught:
            damaged.contains([middle])
        assert "`its store export saved.zst`" in str(caught.value.hint)
        result = export_store(damaged, file)
    assert 0 < result.unreadable < 100
    assert result.responses == 900 - result.unreadable
    assert import_store(other, file).new == result.responses
    left = found(other, items)
    assert left == {key: body for key, body in bodies(items).items() if key in left}
    assert middle not in left


def test_a_damaged_last_page_is_survived(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 900)
    body = store.db.execute("SELECT body FROM responses ORDER BY id DESC LIMIT 1").fetchone()[0]
    store.close()
    damage_page(store.path, body)
    with Store(store.path) as damaged:
        result = export_store(damaged, file)
    assert 0 < result.unreadable < 100
    assert result.responses == 900 - result.unreadable
    import_store(other, file)
    assert items[0].key in found(other, items)


def test_damaged_rows_are_left_out_and_counted(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 8)
    fill(store, 1, model="sha256:bb")
    again = item(items[0].session_sha256, 4, sample=1)  # to the prompt of a damaged response
    store.put_many([again])
    store.db.execute("UPDATE sessions SET identity = replace(identity, 'bb', 'cc')")
    damage_body(store, items[1].key)
    store.db.execute("UPDATE prompts SET body = zeroblob(40) WHERE id = 3")
    store.db.execute("DELETE FROM prompts WHERE id = 4")
    store.db.execute("UPDATE responses SET details = '{' WHERE id = 5")
    store.db.execute("UPDATE responses SET session = 7 WHERE id = 6")
    store.db.execute("UPDATE responses SET created = created + (1 << 50) WHERE id = 7")
    result = export_store(store, file)
    assert (result.responses, result.damaged, result.unreadable) == (3, 7, 0)
    import_store(other, file)
    assert found(other, [*items, again]) == bodies([items[0], items[7], again])
    assert len(other.sessions()) == 1


def test_a_response_under_a_wrong_key_is_not_exported(store: Store, other: Store, file: Path) -> None:
    items = fill(store, 2)
    store.register({"model": "another"}, {})
    store.db.execute("UPDATE responses SET session = 2 WHERE id = 1")
    result = export_store(store, file)
    assert (result.responses, result.damaged) == (1, 1)
    assert import_store(other, file).new == 1  # with the other row, the whole file would be refused
    assert found(other, items) == bodies(items[1:])


def test_a_full_disk_while_importing(store: Store, other: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 2)
    export_store(store, file)

    def full(**words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("its.store.importing.tempfile.mkstemp", full)
    with pytest.raises(RunError, match="no space left on the disk"):
        import_store(other, file)


def test_an_export_of_what_nothing_cites_replaces_no_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "good.zst").write_bytes(b"good")
    with pytest.raises(MissingError, match="cites no response"):
        export_store(store, tmp_path / "good.zst", [])
    assert (tmp_path / "good.zst").read_bytes() == b"good"
