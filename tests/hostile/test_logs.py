"""Hostile evaluation logs: each ends in scores from 0 to 1 or in one error that can be shown, in little memory."""

from __future__ import annotations

import gzip
import io
import json
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from unit.test_foreign_scores import header, rows, sample, zstd_zip

from its.commands.foreign_scores import file_scores
from its.commands.pair_up import pair_up
from its.errors import DataError, ItsError
from its.shown import shown

MEMORY_BYTES = 3 * 1024**3 // 2
LM_ROW = rows(1, filter="none", metrics=["acc"], acc=1.0)[0]
VERDICT = {"problem_id": "p1", "problem": "problem 1", "verdict": "correct", "reference": "1", "rule": "box"}
SAMPLE = sample(1)
DEEP = "[" * 100_000 + "]" * 100_000
NESTED = "[" * 700 + "]" * 700
LITERALS = (
    *("null", "true", "-1", "1.5", "1e999", "NaN", "-Infinity", "[]", "{}", '""', '"C"', '"nan"', '"1e400"', '"-1"'),
    *("9" * 400, "9" * 5000, '"' + "9" * 5000 + '"', "0." + "1" * 5000, "1e-400", '{"a": {"b": 1}}', '[{"text": 1}]'),
    *('"\\ud800"', '"a\\u0000\\u001b[2J\\u202e"', '"' + "W" * 100_000 + '"', '"../../etc/passwd"', DEEP, NESTED),
)
Content = bytes | Callable[[Path], None]


def _with(row: dict[str, Any], path: tuple[str, ...], literal: str) -> bytes:
    """The row as JSON, in which a field holds a literal that `json` may not write."""
    changed = json.loads(json.dumps(row))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@@"
    return json.dumps(changed).replace('"@@"', literal).encode()


def _json_log(one: bytes) -> bytes:
    return json.dumps({**header(), "samples": ["@@"]}).encode().replace(b'"@@"', one)


def _zip(entries: dict[str, bytes], **how: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def _eval(one: bytes) -> dict[str, bytes]:
    return {"header.json": json.dumps(header()).encode(), "samples/1_epoch_1.json": one}


def _patched(offset: int, form: str, value: int) -> bytes:
    """A zipped log with a field of the directory's last entry changed."""
    data = bytearray(_zip(_eval(json.dumps(SAMPLE).encode())))
    struct.pack_into(form, data, data.rindex(b"PK\x01\x02") + offset, value)
    return bytes(data)


def _zstd(
    name: str = "samples/1_epoch_1.json", content: bytes = b"", damage: int | None = None
) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        zstd_zip(path, {name: content or json.dumps(SAMPLE).encode()}, frames=1)
        if damage is not None:
            data = bytearray(path.read_bytes())
            data[30 + len(name) + damage] ^= 0xFF
            path.write_bytes(data)

    return write


def _generated() -> Iterator[tuple[str, Content]]:
    """Every field of every kind of row with every literal."""
    for literal in LITERALS:
        short = literal[:12] + str(len(literal))
        for key in LM_ROW:
            yield f"lm-eval {key} {short}.jsonl", _with(LM_ROW, (key,), literal)
        for key in VERDICT:
            yield f"verdict {key} {short}.jsonl", _with(VERDICT, (key,), literal)
        for field in (*((key,) for key in SAMPLE), ("scores", "match"), ("scores", "match", "value")):
            yield f"inspect {'.'.join(field)} {short}.json", _json_log(_with(SAMPLE, field, literal))
        for key in ("status", "eval", "version"):
            one = {**header(), "samples": [SAMPLE]}
            yield f"inspect {key} {short}.json", _with(one, (key,), literal)
        for key in ("task", "model", "config"):
            one = {**header(), "samples": [SAMPLE]}
            yield f"inspect eval.{key} {short}.json", _with(one, ("eval", key), literal)
        yield f"samples {short}.json", b'{"samples": ' + literal.encode() + b"}"
        yield f"whole {short}.json", literal.encode()
        yield f"whole {short}.jsonl", literal.encode()
        yield f"zipped {short}.eval", _zip(_eval(literal.encode()))
        yield f"header {short}.eval", _zip({**_eval(json.dumps(SAMPLE).encode()), "header.json": literal.encode()})


def _cut() -> Iterator[tuple[str, Content]]:
    """Files that end too early, at several places."""
    whole: dict[str, bytes] = {
        "rows.jsonl": json.dumps(LM_ROW).encode() * 2,
        "rows.jsonl.gz": gzip.compress(json.dumps(LM_ROW).encode() + b"\n"),
        "rows.jsonl.zst": zstandard.compress(json.dumps(LM_ROW).encode() + b"\n"),
        "array.json": json.dumps([LM_ROW]).encode(),
        "log.json": _json_log(json.dumps(SAMPLE).encode()),
        "log.eval": _zip(_eval(json.dumps(SAMPLE).encode())),
    }
    for name, content in whole.items():
        for part in (0.1, 0.4, 0.9, 0.99):
            yield f"cut at {part} {name}", content[: int(len(content) * part)]


def _bombs() -> Iterator[tuple[str, Content]]:
    mib = 2**20
    small = b"[" + b'{"":0},' * 1_500_000 + b"{}]"
    yield "bomb of spaces.jsonl.gz", gzip.compress(b" " * (80 * mib), 1)
    yield "bomb of line ends.jsonl.gz", gzip.compress(b"\n" * (70 * mib), 1)
    yield "bomb of one text.json.gz", gzip.compress(b'{"samples": ["' + b"x" * (80 * mib), 1)
    yield "bomb of objects.json.gz", gzip.compress(b'{"samples": ' + small + b"}", 1)
    yield "bomb of one text.jsonl.zst", zstandard.compress(b'{"doc": "' + b"x" * (80 * mib))
    yield "bomb of objects.eval", _zip(_eval(small), compresslevel=1)
    yield (
        "bomb of many.eval",
        _zip({f"samples/{n}_epoch_1.json": b" " * (20 * mib) for n in range(5)}, compresslevel=1),
    )
    yield "bomb of zstd.eval", _zstd(content=b'"' + b"x" * (65 * mib) + b'"')
    yield "bomb that says it is small.eval", _patched(24, "<I", 10)
    yield "bomb that says it is large.eval", _patched(24, "<I", 2**32 - 2)


def _odd() -> Iterator[tuple[str, Content]]:
    one = json.dumps(SAMPLE).encode()
    yield "repeated key.jsonl", b'{"verdict": "incorrect", "id": "p", "verdict": "correct"}\n'
    yield "repeated key.json", _json_log(b'{"id": 1, "scores": {"m": {"value": "I", "value": "C"}}}')
    yield "repeated key.eval", _zip(_eval(b'{"id": 1, "scores": {"m": {"value": "I", "value": "C"}}}'))
    for name in ("../../etc/passwd", "/etc/passwd", "samples/../../x_epoch_1.json", "samples/\x1b[2J\n_epoch_1.json"):
        yield f"entry {len(name)}.eval", _zip({**_eval(b"{}"), name: b"{"})
    for damage in (0, 5, 20):
        yield f"damaged frame {damage}.eval", _zstd(damage=damage)
    yield "encrypted.eval", _patched(8, "<H", 1)
    yield "unknown method.eval", _patched(10, "<H", 14)
    yield "elsewhere.eval", _patched(42, "<I", 10_000)
    yield "overlapping.eval", _patched(42, "<I", 0)
    yield "bad checksum.eval", _patched(16, "<I", 1)
    yield "no entry.eval", _zip({})
    yield "chunks.eval", _zip({"samples/1_epoch_1/sample.json": one, "samples/1_epoch_1/messages/0.json": b"[]"})
    yield "page.jsonl", b"<!doctype html><html>log in</html>"
    yield "utf-16.jsonl", json.dumps(LM_ROW).encode("utf-16")
    yield "pickle.json", b"\x80\x04\x95"
    yield "gzip in gzip.jsonl.gz", gzip.compress(gzip.compress(b"{}"))
    yield "not packed.jsonl.gz", json.dumps(LM_ROW).encode()
    yield "packed.jsonl", gzip.compress(json.dumps(LM_ROW).encode())
    yield "many faults.jsonl", b'{"verdict": 1}\n' * 100_000
    yield "many metrics.jsonl", json.dumps({**LM_ROW, "metrics": [f"m{n}" for n in range(50_000)]}).encode()
    yield "many scorers.json", _json_log(json.dumps({**SAMPLE, "scores": {f"s{n}": 1 for n in range(50_000)}}).encode())


CASES: dict[str, Content] = dict([*_generated(), *_cut(), *_odd()])
GOOD = ("lm-eval doc", "lm-eval target", "lm-eval resps", "inspect messages", "inspect events", "inspect attachments")


@pytest.fixture
def little_memory() -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as source:
        pages = int(source.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, former)


def _check(tally: Any, path: Path) -> ItsError | None:
    """One case; what it ended in is scores that can be used, or an error that can be printed."""

    def read() -> None:
        for metric in (None, "match"):
            try:
                found = file_scores(path, None, metric)
            except DataError:
                if metric is not None:
                    return
                raise
            assert found.scores and all(0 <= score <= 1 for several in found.scores.values() for score in several)
            assert pair_up(found, found).pairs

    error: ItsError | None = tally("evaluation log", read)
    if error is not None:
        assert all(shown(line) == line and len(line) < 3000 for line in error.lines()), error.lines()
        assert len(error.lines()) <= 50
    return error


def test_every_hostile_log_ends_in_scores_or_in_words(tally: Any, tmp_path: Path) -> None:
    assert len(CASES) >= 900
    accepted = []
    for number, (name, content) in enumerate(CASES.items()):
        packed = name.endswith((".gz", ".zst"))
        path = tmp_path / f"{number}{''.join(Path(name).suffixes[-2:] if packed else Path(name).suffixes[-1:])}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
        try:
            if _check(tally, path) is None:
                accepted.append(name)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        path.unlink()
    assert not [name for name in accepted if name.startswith(("cut", "repeated", "damaged", "encrypted", "bad"))]
    assert {start for start in GOOD if any(name.startswith(start) for name in accepted)} == set(GOOD), "all are refused"
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_too_many_entries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.eval").write_bytes(_zip(_eval(json.dumps(SAMPLE).encode())))
    monkeypatch.setattr("its.commands.zipped_log.MAX_ENTRIES", 1)
    with pytest.raises(DataError, match="2 entries"):
        file_scores(tmp_path / "a.eval")


@pytest.mark.usefixtures("little_memory")
def test_a_bomb_is_refused_in_little_memory(tally: Any, tmp_path: Path) -> None:
    for name, content in _bombs():
        path = tmp_path / name.replace(" ", "_")
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
        assert _check(tally, path) is not None, name
        path.unlink()
