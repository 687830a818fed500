"""How fast verdicts are, against math-verify alone in one process, in the same run.

    python benchmarks/grading.py --data ../shared/data

`integers` grades short boxed integers, `gsm8k` the responses of grading/gsm8k_four_models.jsonl as `integer` and as
`math`, `samples` those of generations/qwen25math_math100x8.jsonl as `math` (algebra, in the workers). math-verify alone
parses response and reference and verifies, one after the other. Responses a second, medians of turns that take turns;
what starts the workers is not in them. `memory_mib` is this process's peak after so many responses of one cell.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.normalise import AnswerKind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public data")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--integers", type=int, default=100_000)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # math-verify's, about timeouts that are off
    gsm8k = _pairs(given.data / "grading" / "gsm8k_four_models.jsonl")
    samples = _samples(given.data / "generations" / "qwen25math_math100x8.jsonl")
    print_json: dict[str, Any] = {"grader": GRADER_VERSION, "turns": given.turns, "cores": os.cpu_count()}
    integers = [(f"So the answer is \\boxed{{{n}}}.", str(n % 999)) for n in range(given.integers)]
    print_json["integers"] = _rates(given.turns, {"its": lambda: _its(integers, "integer", 1)}, len(integers))
    print_json["gsm8k"] = _against(gsm8k, ("integer", "math"), given.turns, given.workers)
    print_json["samples"] = _against(samples, ("math",), given.turns, given.workers)
    print_json["memory_mib"] = {str(count): _memory(count) for count in (10_000, 100_000)}
    print(json.dumps(print_json, indent=2))


def _against(
    pairs: list[tuple[str, str]], kinds: tuple[AnswerKind, ...], turns: int, workers: int
) -> dict[str, dict[str, float]]:
    runs: dict[str, Callable[[], float]] = {"math_verify": lambda: _math_verify(pairs)}
    for kind in kinds:
        runs[kind] = lambda kind=kind: _its(pairs, kind, workers)  # type: ignore[misc]
    found = _rates(turns, runs, len(pairs))
    for kind in kinds:
        found[kind]["ratio"] = round(found[kind]["a_second"] / found["math_verify"]["a_second"], 1)
    return found


def _rates(turns: int, runs: dict[str, Callable[[], float]], count: int) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns):
        for name, run in runs.items():
            seconds[name].append(run())
        print(f"turn {turn + 1}: { ({name: round(took[-1], 2) for name, took in seconds.items()}) }", file=sys.stderr)
    return {
        name: {"seconds": round(median(took), 3), "a_second": round(count / median(took))}
        for name, took in seconds.items()
    }


def _its(pairs: list[tuple[str, str]], kind: AnswerKind, workers: int) -> float:
    with Grader(workers=workers) as grader:
        if kind == "math":  # have every worker there
            list(grader.grade(_items([(f"\\boxed{{x+{n}}}", "y") for n in range(8 * workers)], kind)))
        began = time.perf_counter()
        for _ in grader.grade(_items(pairs, kind)):
            pass
        return time.perf_counter() - began


def _items(pairs: list[tuple[str, str]], kind: AnswerKind) -> Iterator[Item]:
    for index, (response, reference) in enumerate(pairs):
        yield Item("q", index, response, reference, kind)


def _math_verify(pairs: list[tuple[str, str]]) -> float:
    from math_verify import parse, verify

    began = time.perf_counter()
    for response, reference in pairs:
        verify(parse(f"${reference}$"), parse(response))
    return time.perf_counter() - began


def _memory(count: int) -> float:
    """In a separate process, so that peaks do not add up."""
    parent, child = os.pipe()
    pid = os.fork()
    if not pid:
        items = (Item("q", n, f"word {n} " * 100 + f"\\boxed{{{n}}}", str(n), "integer") for n in range(count))
        with Grader() as grader:
            for _ in grader.grade(items):
                pass
        os.write(child, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).encode())
        os._exit(0)
    os.close(child)
    with os.fdopen(parent) as said:
        found = float(said.read())
    os.waitpid(pid, 0)
    return round(found, 1)


def _pairs(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [(row["response"], row["gold"]) for row in map(json.loads, lines)]


def _samples(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        rows = list(map(json.loads, lines))
    return [(sample["response"], row["answer"]) for row in rows for sample in row["samples"]]


if __name__ == "__main__":
    main()
