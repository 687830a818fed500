"""A store with known content, what a disk or an attacker may do to its file, and what must still come out of it."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from its.store import PutItem, Store, response_key, vllm_identity

SAMPLES = 4
MODELS = ("sha256:aa", "sha256:bb", "sha256:cc")
SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 64, "stop": []}
Content = dict[str, tuple[Any, ...]]
"""Responses by key, each with all that belongs to it."""


def item(store: Store, session: str, prompt: int, sample: int, model: str) -> PutItem:
    request = {
        "messages": [{"role": "user", "content": f"What is {prompt} + {prompt}? \\frac{{1}}{{2}} é"}],
        "sampling": SAMPLING,
        "seed": 1000 * prompt + sample,
        "sample_index": sample,
        "start": None,
    }
    draw = random.Random(f"{model} {prompt} {sample}")
    words = " ".join(f"{draw.random():.17f}" for _ in range(draw.choice((1, 5, 20, 400))))
    body = {"text": words, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 17, "prompt_sha256": None}
    return PutItem(response_key(session, request), session, request, body)


def fill(store: Store, count: int) -> None:
    """Responses of three models to the same prompts; two in five prompts go to one model only."""
    for number, model in enumerate(MODELS):
        identity = vllm_identity(model, {"dtype": "bfloat16"}, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}, "lock")
        session = store.register(identity, {"checkpoints": [f"m{number}-base"], "versions": {"vllm": "0.32"}})
        prompts = [prompt for prompt in range(count) if prompt % 5 > 1 or prompt % 3 == number]
        store.put_many([item(store, session, prompt, sample, model) for prompt in prompts for sample in range(SAMPLES)])


def content(store: Store) -> Content:
    """What a store holds, with bodies unpacked, whatever numbers its rows have."""
    rows = store.db.execute(
        "SELECT key, sessions.sha256, identity, about, prompts.sha256, details, created, responses.body, prompts.body "
        "FROM responses JOIN sessions ON session = sessions.id JOIN prompts ON prompt = prompts.id"
    )
    return {row[0].hex(): (*row[1:7], store.packer.unpack(row[7]), store.packer.unpack(row[8])) for row in rows}


def essence(found: Content) -> Content:
    """Without labels and dates, which determine nothing and which no hash covers."""
    return {key: (row[0], row[1], *row[3:5], *row[6:]) for key, row in found.items()}


@dataclass(frozen=True)
class Sample:
    """A store's file, what it holds, and the rows by id as SQLite gives them."""

    file: bytes
    content: Content
    rows: dict[int, tuple[Any, ...]]

    @property
    def page(self) -> int:
        return int.from_bytes(self.file[16:18], "big")


def make(folder: Path, prompts: int) -> Sample:
    path = folder / "store.sqlite"
    with Store(path) as store:
        fill(store, prompts)
        known = content(store)
    assert not path.with_name("store.sqlite-wal").exists()
    file = path.read_bytes()
    return Sample(file, known, plain_rows(path))


_PLAIN = (
    "SELECT key, details, created, checksum, responses.body, sessions.sha256, identity, about, prompts.sha256, "
    "prompts.body FROM responses NOT INDEXED JOIN sessions ON sessions.id = session "
    "JOIN prompts ON prompts.id = prompt WHERE responses.id = ?"
)


def plain_rows(path: Path, last: int = 1000) -> dict[int, tuple[Any, ...]]:
    """Rows by id as SQLite alone reads them, one by one, without any code of ours; those that it can read."""
    out = {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.text_factory = bytes
        for row_id in range(1, last):
            with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                row = db.execute(_PLAIN, (row_id,)).fetchone()
                if row is not None:
                    out[row_id] = row
    return out


def undamaged(sample: Sample, path: Path) -> set[str]:
    """Keys of the responses that SQLite alone still reads as they were, with session and prompt."""
    left = plain_rows(path)
    return {row[0].hex() for row_id, row in sample.rows.items() if left.get(row_id) == row}


# What may happen to a file: (file, draw) -> file. By the name that a failing case shows.


def _flip_bit(file: bytearray, draw: random.Random) -> None:
    file[draw.randrange(len(file))] ^= 1 << draw.randrange(8)


def _set_byte(file: bytearray, draw: random.Random) -> None:
    file[draw.randrange(len(file))] = draw.randrange(256)


def _many_flips(file: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(2, 50)):
        _flip_bit(file, draw)


def _noise(file: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(file))
    end = min(len(file), start + draw.randint(2, 300))
    file[start:end] = draw.randbytes(end - start)


def _zeros(file: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(file))
    end = min(len(file), start + draw.choice((16, 512, 4096)))
    file[start:end] = bytes(end - start)


def _cut(file: bytearray, draw: random.Random) -> None:
    del file[draw.randrange(len(file)) :]


def _page_twice(file: bytearray, draw: random.Random) -> None:
    size = int.from_bytes(file[16:18], "big")
    pages = len(file) // size
    one, other = draw.randrange(1, pages), draw.randrange(1, pages)
    file[one * size : (one + 1) * size] = file[other * size : (other + 1) * size]


def _page_head(file: bytearray, draw: random.Random) -> None:
    size = int.from_bytes(file[16:18], "big")
    at = draw.randrange(1, len(file) // size) * size
    file[at + draw.randrange(8)] = draw.randrange(256)


def _first_page(file: bytearray, draw: random.Random) -> None:
    file[draw.randrange(100)] = draw.randrange(256)


def _schema_text(file: bytearray, draw: random.Random) -> None:
    start = file.index(b"CREATE TABLE")
    file[start + draw.randrange(400)] = draw.randrange(256)


ON_DISK: dict[str, Callable[[bytearray, random.Random], None]] = {
    "a bit": _flip_bit,
    "a byte": _set_byte,
    "many bits": _many_flips,
    "noise": _noise,
    "zeros": _zeros,
    "cut off": _cut,
    "a page twice": _page_twice,
    "the head of a page": _page_head,
    "the head of the file": _first_page,
    "the schema": _schema_text,
}
