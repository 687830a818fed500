"""ITS generate against raw `vllm.LLM.chat`: the same prompts, settings and environment, loading excluded.

    its recipe use arithmetic_4x4 && dvc repro train query && python benchmarks/generate.py
    python benchmarks/generate.py --base     # the quickstart's untrained model; needs no study

Both engines are loaded once and take turns, so that a machine that slows down slows both. Each turn of ITS begins with
an empty store and goes through claims, pipe, commits and reading back. The weights are the first trained checkpoint's,
or with `--base` those of the untrained model, which is sent the problems alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from common import Bench, empty_store, median, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--base", action="store_true", help="the untrained model of the quickstart; needs no study")
    parser.add_argument("--at-least", type=float, metavar="RATIO", help="exit with 1 if `throughput_ratio` is smaller")
    given = parser.parse_args()
    bench = Bench(given.max_tokens, base=given.base)
    model = list(bench.models.values())[0 if given.base else 1]
    strategies = bench.study.recipe.design.test
    if given.base:
        chats = bench.problems(given.prompts)
    else:
        chats = bench.messages(strategies, -(-given.prompts // len(strategies)))[: given.prompts]
    requests = bench.requests(chats, [model.name])
    raw = bench.raw(model)
    turns: list[dict[str, Any]] = []
    store = empty_store()
    with bench.session(store, [model]) as session:
        session.engine_of(model.name)
        for turn in range(given.turns + 1):
            plain = raw.chat(chats)
            session.store = fresh = empty_store()
            session.sessions = {model.name: fresh.register({"model": model.fingerprint}, {})}
            began, processor = time.monotonic(), time.process_time()
            session.ensure(requests)
            asked = time.monotonic() - began
            texts = [completion.text for _, _, completion in session.read(requests)]
            seconds = time.monotonic() - began
            fresh.close()
            equal = sum(a == b for a, b in zip(texts, plain["texts"], strict=True))
            row = {
                "raw": plain["seconds"],
                "its": seconds,
                "reading": seconds - asked,
                "processor": time.process_time() - processor,  # of ITS itself, which takes it from the engine's cores
                "tokens": plain["tokens"],
                "equal": equal,
            }
            note(f"turn {turn}{' (warm-up)' if not turn else ''}: {row}")
            if turn:
                turns.append(row)
    raw.close()
    ratios = [row["raw"] / row["its"] for row in turns]
    print(
        json.dumps(
            {
                "prompts": len(chats),
                "tokens": turns[0]["tokens"],
                "raw_tokens_per_second": round(median([row["tokens"] / row["raw"] for row in turns]), 1),
                "its_tokens_per_second": round(median([row["tokens"] / row["its"] for row in turns]), 1),
                "throughput_ratio": round(median(ratios), 4),
                "ratios": [round(ratio, 4) for ratio in ratios],
                "equal_texts": [row["equal"] for row in turns],
            },
            indent=2,
        )
    )
    if given.at_least is not None:
        ratio = median(ratios)
        note(f"throughput_ratio {ratio:.3f}, at least {given.at_least} is expected")
        sys.exit(ratio < given.at_least)


if __name__ == "__main__":
    main()
