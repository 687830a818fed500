"""Measure the store against its targets: `python benchmarks/store.py`, about four minutes and 1.5 GB of disk.

Reading and inserting are set against SQLite alone on the same bytes, so that a slow machine shows as such. Their
figures are medians of five repetitions, and those of a CPU second hold on a busy machine too. The memory is the peak of
a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from its.store import PutItem, Store, response_key
from its.store.exporting import export_store
from its.store.importing import import_store
from its.store.verify import verify_store
from its.types import Response

RESPONSES, INSERTS, KEYS, REPETITIONS, CHUNK = 100_000, 10_000, 1_000_000, 5, 512
TARGETS = {"read": 20_000.0, "insert": 3_000.0, "memory": 200.0}
IDENTITY = {"model": "sha256:" + "a" * 64, "engine": "vllm", "arguments": {"dtype": "bfloat16"}, "variables": {}}
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 4096, "stop": []}

# Pieces of sentences; {a}, {b}, {c} are numbers.
OPENERS = [
    "Okay, so",
    "Wait,",
    "Let me see:",
    "First,",
    "Now",
    "Then",
    "Hmm,",
    "But",
    "So",
    "Next,",
    "Alternatively,",
    "To check this,",
    "In other words,",
    "Since that holds,",
    "Going back to the start,",
    "If I write it out,",
    "By symmetry,",
    "From the second condition",
    "Let me verify:",
    "Actually,",
    "On the other hand,",
    "Putting this together,",
    "For the remaining cases",
    "Suppose instead that",
    "It follows that",
    "Because of that,",
    "More carefully,",
    "Looking at the units,",
    "Dividing both sides,",
    "As before,",
]
CLAUSES = [
    "the total must be {a} more than what was sold on Tuesday",
    "we need $x^2 + {a}x - {b} = 0$, hence $x = {c}$",
    "the train covers {a} km in {b} minutes",
    "the remainder modulo {a} is {b}",
    "each of the {a} boxes holds {b} marbles",
    "the number of ways is $\\binom{{{a}}}{{{b}}}$, which is large",
    "the area equals $\\frac{{{a}}}{{{b}}}\\pi r^2$",
    "the discriminant is ${a}^2 - 4 \\cdot {b}$, and that is positive",
    "the sum of the digits of {a} is not divisible by {b}",
    "she pays {a} dollars and gets {b} dollars back",
    "the sequence starts with {a}, {b}, {c} and goes on like that",
    "the probability becomes $1 - \\left(\\frac{{{a}}}{{{b}}}\\right)^{c}$",
    "we can factor {a} as ${b} \\times {c}$",
    "the angle at the vertex is {a}^\\circ",
    "the second term cancels and only {a} is left",
    "the average of the {a} values is {b}.{c}",
    "half of the workers finish after {a} hours",
    "the perimeter grows from {a} to {b}",
    "there are exactly {a} solutions below {b}",
    "the price per kilogram drops by {a} percent",
    "we have to subtract the {a} pages that were read twice",
    "the matrix has determinant {a}",
    "the inequality $y \\le {a}$ excludes {b}",
    "the logarithm of {a} in base {b} is between {c} and the next integer",
    "the clock shows {a} minutes past {b}",
    "their ages differ by {a} years, today and always",
    "the polynomial vanishes at {a} but not at {b}",
    "the tank loses {a} litres every {b} seconds",
    "the midpoint lies at $({a}, {b})$",
    "a knight reaches {a} of the {b} squares",
]
TAILS = [
    ", which matches what was given",
    ". That seems right",
    ", so this case is impossible",
    ", and nothing else changes",
    ". Let me double-check that number",
    ", as the problem says",
    "; the other root is negative",
    ", which is what we wanted",
    ". I should not forget the first day",
    ", at least for even values",
    ", because the factors are coprime",
    ". Good",
    ", although the wording is ambiguous",
    ", up to rounding",
    ". So far so good",
    ", unless I misread the question",
    ", which is the key step",
    ". Simplify",
    ", by the same argument",
    ", and therefore it can be ignored",
]


def reasoning(length: int, seed: int) -> str:
    """Text like a model's, different for each seed; zstd makes a third to two fifths of it."""
    draw = random.Random(seed)
    out: list[str] = []
    size = 0
    while size < length:
        clause = draw.choice(CLAUSES).format(a=draw.randint(2, 999), b=draw.randint(2, 99), c=draw.randint(2, 30))
        sentence = f"{draw.choice(OPENERS)} {clause}{draw.choice(TAILS)}." + draw.choice("  \n")
        if draw.random() < 0.5:
            x, y = draw.randint(100, 99_999), draw.randint(2, 999)
            sentence += f"${x} \\cdot {y} = {x * y}$, "
        out.append(sentence)
        size += len(sentence)
    return "".join(out)[: length - 20] + f" \\boxed{{{draw.randint(0, 999)}}}"


def request(number: int) -> dict[str, Any]:
    """Five samples to each prompt."""
    text = f"Problem {number // 5}: {reasoning(400, -1 - number // 5)} What is the answer?"
    messages = [{"role": "system", "content": "Answer step by step."}, {"role": "user", "content": text}]
    return {"messages": messages, "sampling": SAMPLING, "seed": number, "sample_index": number % 5, "start": None}


def response(number: int, length: int) -> dict[str, Any]:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    text = reasoning(length, number) if length > 100 else f"The answer is {number}."
    told = {"finish_reason": "stop", "prompt_tokens": 160, "completion_tokens": length // 4, "prompt_sha256": digest}
    return {"text": text, **told}


def items(session: str, numbers: range, length: int) -> Iterator[PutItem]:
    for number in numbers:
        asked = request(number)
        yield PutItem(response_key(session, asked), session, asked, response(number, length))


Times = list[tuple[float, float]]
"""(seconds, seconds of this process's CPU) of each repetition."""


def timed(repetitions: int, work: Callable[[], Any]) -> Times:
    times = []
    for _ in range(repetitions):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - began, time.process_time() - cpu))
    return times


def build(path: Path, count: int) -> list[str]:
    keys = []
    with Store(path) as store:
        session = store.register(IDENTITY, {"checkpoints": ["benchmark"]})
        stream = items(session, range(count), 8000)
        while batch := list(islice(stream, 500)):
            store.put_many(batch)
            keys += [item.key for item in batch]
    return keys


def measure_reading(path: Path, keys: list[str]) -> dict[str, Any]:
    """(a) stored responses as rows, against the same bytes out of SQLite."""

    def rows() -> None:
        with Store(path) as store:
            for start in range(0, len(keys), CHUNK):
                for key, body in store.find(keys[start : start + CHUNK]):
                    Response(
                        query_id="benchmark/problem/none",
                        sample_index=0,
                        text=body["text"],
                        finish_reason=body["finish_reason"],
                        prompt_tokens=body["prompt_tokens"],
                        completion_tokens=body["completion_tokens"],
                        seed=1,
                        request_key=key,
                    )

    def raw() -> None:
        db = sqlite3.connect(path)
        for start in range(0, len(keys), 256):
            chunk = [bytes.fromhex(key) for key in keys[start : start + 256]]
            marks = ",".join("?" * len(chunk))
            db.execute(f"SELECT key, body FROM responses WHERE key IN ({marks})", chunk).fetchall()
        db.close()

    return _rates("read", len(keys), timed(REPETITIONS, rows), timed(REPETITIONS, raw))


def measure_inserting(path: Path, keys: list[str], folder: Path, count: int) -> dict[str, Any]:
    """(b) inserts, each its own transaction, while another process reads, against SQLite alone."""
    times: Times = []
    raw_times: Times = []
    with _reader(path, keys[:5000]), Store(path) as store:
        session = store.register(IDENTITY, {})
        for repetition in range(REPETITIONS):
            first = 10_000_000 + repetition * count
            batch = list(items(session, range(first, first + count), 8000))
            bodies = [store.packer.pack(json.dumps(dict(item.response)).encode()) for item in batch]
            times += timed(1, lambda batch=batch: [store.put_many([item]) for item in batch])  # type: ignore[misc]
            database = folder / f"raw-{repetition}.sqlite"
            pairs = [(bytes.fromhex(item.key), body) for item, body in zip(batch, bodies, strict=True)]
            raw_times += timed(1, lambda database=database, pairs=pairs: _insert_raw(database, pairs))  # type: ignore[misc]
    return _rates("insert", count, times, raw_times)


def _insert_raw(database: Path, pairs: list[tuple[bytes, bytes]]) -> None:
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE responses (key BLOB PRIMARY KEY, body BLOB)")
    for pair in pairs:
        db.execute("INSERT INTO responses VALUES (?, ?)", pair)
    db.close()


class _reader:
    """Another process that reads without a pause."""

    def __init__(self, path: Path, keys: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._process = context.Process(target=_read_until, args=(path, keys, self._stop))

    def __enter__(self) -> None:
        self._process.start()
        time.sleep(1.0)

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._process.join()


def _read_until(path: Path, keys: list[str], stop: Event) -> None:
    with Store(path) as store:
        while not stop.is_set():
            for start in range(0, len(keys), CHUNK):
                for _ in store.find(keys[start : start + CHUNK]):
                    pass


def measure_memory(folder: Path, count: int) -> dict[str, Any]:
    """(c) the peak memory of a process that puts, looks up and reads a million responses."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_stream, args=(folder / "million.sqlite", count, child))
    process.start()
    told: dict[str, Any] = parent.recv()
    process.join()
    return {"target": TARGETS["memory"], **told}


def _stream(path: Path, count: int, out: Any) -> None:
    def asked(number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"What is {number // 5}?"}]
        return {"messages": messages, "sampling": SAMPLING, "seed": number, "sample_index": number % 5, "start": None}

    def chunks(size: int) -> Iterator[list[tuple[str, dict[str, Any], int]]]:
        for start in range(0, count, size):
            determinants = [(asked(number), number) for number in range(start, min(start + size, count))]
            yield [(response_key(session, item), item, number) for item, number in determinants]

    with Store(path) as store:
        session = store.register(IDENTITY, {})
        began = time.perf_counter()
        for chunk in chunks(1000):
            store.put_many([PutItem(key, session, item, response(number, 20)) for key, item, number in chunk])
        put = time.perf_counter() - began
        began = time.perf_counter()
        stored = sum(len(store.contains([key for key, _, _ in chunk])) for chunk in chunks(CHUNK))
        contains = time.perf_counter() - began
        began = time.perf_counter()
        read = sum(1 for chunk in chunks(CHUNK) for _ in store.find([key for key, _, _ in chunk]))
        find = time.perf_counter() - began
    assert stored == read == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out.send(
        {
            "value": peak / (2**20 if sys.platform == "darwin" else 1024),
            "unit": "MiB",
            "put_per_second": count / put,
            "contains_per_second": count / contains,
            "find_per_second": count / find,
        }
    )


def _rates(name: str, count: int, times: Times, raw_times: Times) -> dict[str, Any]:
    seconds, cpu_seconds = zip(*times, strict=True)
    value = count / statistics.median(seconds)
    raw = count / statistics.median(second for second, _ in raw_times)
    return {
        "target": TARGETS[name],
        "value": value,
        "unit": "a second",
        "best": count / min(seconds),
        "per_cpu_second": count / statistics.median(cpu_seconds),  # what a busy machine would do if it were quiet
        "sqlite_alone": raw,
        "ratio": value / raw,
    }


def measure_upkeep(path: Path, folder: Path, count: int) -> dict[str, float]:
    """Responses a second, once: verified, exported, imported; and the size of the file that carries them."""
    file = folder / "responses.jsonl.zst"
    with Store(path) as store, Store(folder / "imported.sqlite") as other:
        verify = timed(1, lambda: list(verify_store(store)))[0][0]
        export = timed(1, lambda: export_store(store, file))[0][0]
        arrive = timed(1, lambda: import_store(other, file))[0][0]
    size = file.stat().st_size / 2**20
    return {"verify": count / verify, "export": count / export, "import": count / arrive, "export_mib": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything, to see that it runs")
    words = parser.parse_args()
    share = 20 if words.quick else 1
    with tempfile.TemporaryDirectory(prefix="its-benchmark-") as name:
        folder = Path(name)
        print("putting, looking up and reading a million keys", file=sys.stderr)
        memory = measure_memory(folder, KEYS // share)  # first: a child's peak begins with what its parent has
        print("building a store of responses of 8 kB", file=sys.stderr)
        keys = build(folder / "store.sqlite", RESPONSES // share)
        with Store(folder / "store.sqlite") as store:
            told = store.stats()
        upkeep = measure_upkeep(folder / "store.sqlite", folder, len(keys))
        found = {"read": measure_reading(folder / "store.sqlite", keys)}
        print("inserting", file=sys.stderr)
        found["insert"] = measure_inserting(folder / "store.sqlite", keys, folder, INSERTS // share)
        found["memory"] = memory
    load = os.getloadavg()[0]
    if words.json:
        print(
            json.dumps(
                {"version": 1, "load": load, "compression": told["compression"], **found, "upkeep": upkeep}, indent=2
            )
        )
        return
    print(f"{RESPONSES // share} responses of 8 kB, {told['bytes'] / 2**20:.0f} MiB, {told['compression']} to 1")
    print(f"{'what':<8} {'target':>8} {'median':>8} {'best':>8} {'a CPU second':>13} {'SQLite alone':>13} {'ratio':>6}")
    for name in ("read", "insert"):
        row = found[name]
        figures = f"{row['target']:>8.0f} {row['value']:>8.0f} {row['best']:>8.0f} {row['per_cpu_second']:>13.0f}"
        print(f"{name:<8} {figures} {row['sqlite_alone']:>13.0f} {row['ratio']:>6.2f}  a second")
    rates = ", ".join(f"{word} {memory[f'{word}_per_second']:.0f}" for word in ("put", "contains", "find"))
    figures = f"{memory['target']:>8.0f} {memory['value']:>8.0f} MiB with {KEYS // share} keys"
    print(f"{'memory':<8} {figures} ({rates} a second)")
    rates = ", ".join(f"{word} {upkeep[word]:.0f}" for word in ("verify", "export", "import"))
    print(f"upkeep: {rates} responses a second; exported they take {upkeep['export_mib']:.0f} MiB")
    print(f"load of the machine at the end: {load:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
