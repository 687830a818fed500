"""A whole matrix (base and the trained checkpoints x test strategies x 100 problems) against its floor.

    its recipe use arithmetic_4x4 && dvc repro train query && python benchmarks/matrix.py

The floor is one raw engine start plus raw vLLM's time for the same requests, a `chat` call a checkpoint. Beside it
stand an engine for each checkpoint (five starts) and, with --cells, an engine for each cell (twenty).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from common import Bench, empty_store, median, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--cells", action="store_true", help="measure an engine for each cell too, once")
    given = parser.parse_args()
    bench = Bench(given.max_tokens)
    strategies = bench.study.recipe.design.test
    chats = bench.messages(strategies, given.problems)
    turns: list[dict[str, Any]] = []
    for turn in range(given.turns):
        row = {"its": _its(bench, chats), **_raw(bench, chats)}
        row["ratio"] = row["its"] / row["floor"]
        note(f"turn {turn + 1}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
        turns.append(row)
    out: dict[str, Any] = {
        "requests": len(chats) * len(bench.models),
        **{
            f"{key}_seconds": round(median([row[key] for row in turns]), 1) for key in ("its", "floor", "five", "start")
        },
        "its_over_floor": round(median([row["ratio"] for row in turns]), 4),
        "ratios": [round(row["ratio"], 4) for row in turns],
    }
    if given.cells:
        out["cells_seconds"] = round(_cells(bench, strategies, given.problems), 1)
    print(json.dumps(out, indent=2))


def _its(bench: Bench, chats: list[list[dict[str, str]]]) -> float:
    """From nothing to all rows read back; one engine, weights swapped."""
    requests = bench.requests(chats, list(bench.models))
    store = empty_store()
    began = time.monotonic()
    with bench.session(store, list(bench.models.values())) as session:
        session.ensure(requests)
        assert sum(1 for _ in session.read(requests)) == len(requests)
        assert all(session.serves(name) for name in bench.models)
    return time.monotonic() - began


def _raw(bench: Bench, chats: list[list[dict[str, str]]]) -> dict[str, float]:
    starts, work = [], []
    for model in bench.models.values():
        raw = bench.raw(model)
        starts.append(raw.start_seconds)
        work.append(raw.chat(chats)["seconds"])
        raw.close()
    start = median(starts)
    return {"floor": start + sum(work), "five": sum(starts) + sum(work), "start": start}


def _cells(bench: Bench, strategies: list[str], problems: int) -> float:
    began = time.monotonic()
    for model in bench.models.values():
        for strategy in strategies:
            raw = bench.raw(model)
            raw.chat(bench.messages([strategy], problems))
            raw.close()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
