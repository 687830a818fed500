"""The order of requests: raw vLLM over the same requests in several orders, one of them with known lengths.

    its recipe use arithmetic_4x4 && dvc repro train query && python benchmarks/scheduling.py

`fifo` is the order of the rows (all of one strategy, then the next), `shuffled` a seeded one, `together` puts a
problem's strategies side by side, `prompt` asks the longest prompt first, `oracle` the longest response first, with the
lengths that the same requests had before: no expectation can order better. Seconds for all requests, medians of turns.
"""

from __future__ import annotations

import argparse
import json
import random

from common import Bench, median, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--problems", type=int, default=75)
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--seqs", type=int, default=64, help="vLLM's max_num_seqs")
    given = parser.parse_args()
    bench = Bench(given.max_tokens)
    bench.choice.options["max_num_seqs"] = given.seqs
    strategies = bench.study.recipe.design.test
    chats = bench.messages(strategies, given.problems)
    out = {}
    for model in list(bench.models.values())[:2]:
        raw = bench.raw(model)
        lengths = [len(text) for text in raw.chat(chats)["texts"]]
        count = range(len(chats))
        shuffled = list(count)
        random.Random(1).shuffle(shuffled)
        orders = {
            "fifo": list(count),
            "shuffled": shuffled,
            "prompt": sorted(count, key=lambda i: -sum(len(turn["content"]) for turn in chats[i])),
            "together": sorted(count, key=lambda i: (i % given.problems, i)),
            "oracle": sorted(count, key=lambda i: -lengths[i]),
        }
        seconds: dict[str, list[float]] = {name: [] for name in orders}
        for turn in range(given.turns):
            for name, order in orders.items():
                seconds[name].append(raw.chat([chats[i] for i in order])["seconds"])
            note(f"{model.name}, turn {turn + 1}: { ({name: round(took[-1], 1) for name, took in seconds.items()}) }")
        raw.close()
        out[model.name] = {name: round(median(took), 2) for name, took in seconds.items()}
    print(json.dumps({"requests": len(chats), "max_num_seqs": given.seqs, "seconds": out}, indent=2))


if __name__ == "__main__":
    main()
