"""What repeats bit by bit: vLLM on this machine, greedy and seeded, over runs, engines, batch sizes and orders.

    its recipe use arithmetic_4x4 && dvc repro train query && python benchmarks/determinism.py

Prints how many of the texts equal those of the reference (the first run, in the order of the rows).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from common import Bench, Raw, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--max-tokens", type=int, default=64)
    given = parser.parse_args()
    bench = Bench(given.max_tokens)
    strategies = bench.study.recipe.design.test
    chats = bench.messages(strategies, -(-given.prompts // len(strategies)))[: given.prompts]
    model = list(bench.models.values())[1]
    found: dict[str, dict[str, str]] = {}
    reference: dict[float, list[str]] = {}

    def compare(raw: Raw, what: str, order: list[int] | None = None) -> None:
        for temperature in (0.0, 0.7):
            raw.sampling |= {"temperature": temperature}
            order = order or list(range(len(chats)))
            texts = raw.chat([chats[i] for i in order], seeds=order)["texts"]
            back = [text for _, text in sorted(zip(order, texts, strict=True))]
            known = reference.setdefault(temperature, back)
            equal = sum(a == b for a, b in zip(known, back, strict=True))
            found.setdefault(what, {})["greedy" if not temperature else f"T = {temperature}"] = f"{equal}/{len(chats)}"
        note(f"{what}: {found[what]}")

    def engine(**options: Any) -> Raw:
        bench.choice.options.update(options)
        return bench.raw(model)

    raw = engine()
    compare(raw, "reference")
    compare(raw, "the same engine again")
    compare(raw, "reversed order", list(reversed(range(len(chats)))))
    half = list(range(0, len(chats), 2)) + list(range(1, len(chats), 2))
    compare(raw, "even rows, then odd ones", half)
    raw.close()
    raw = engine()
    compare(raw, "a fresh engine")
    raw.close()
    for size in (1, 8, 32):
        raw = engine(max_num_seqs=size)
        compare(raw, f"at most {size} at once")
        raw.close()
    bench.choice.options.pop("max_num_seqs")
    raw = engine(enable_prefix_caching=False)
    compare(raw, "without prefix caching")
    raw.close()
    print(json.dumps({"model": model.name, "prompts": len(chats), "equal": found}, indent=2))


if __name__ == "__main__":
    main()
