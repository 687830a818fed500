"""Every verdict on the public pairs, one line each, to compare two commits with `diff`.

    PYTHONPATH=. python benchmarks/verdicts.py --data DATA --output after.jsonl
    git worktree add ../before COMMIT
    PYTHONPATH=../before python benchmarks/verdicts.py --data DATA --output before.jsonl
    diff before.jsonl after.jsonl

DATA is the folder of public data that docs/grading.md lists ("The data"). The pairs: responses of GSM8K, ProcessBench
and Qwen2.5-Math and tests of math-verify, in several kinds; solutions of GSM8K, MATH and NuminaMath, and traces; every
reference that is not a whole number against itself and 15 others. A line has source, kind, verdict, answer, rule, span
and reason. It takes less than a minute.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from its.boxes import last_box
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind

OTHERS, SEED = 15, 7
Pair = tuple[str, str, str, AnswerKind]
"""Source, response, reference, kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    pairs = [*responses(given.data), *solutions(given.data), *references(given.data)]
    counts: Counter[tuple[str, str]] = Counter()
    with Grader() as grader, given.output.open("w", encoding="utf-8") as output:
        items = (Item(str(n), 0, text, reference, kind) for n, (_, text, reference, kind) in enumerate(pairs))
        for (source, _, _, kind), found in zip(pairs, grader.grade(items), strict=True):
            counts[source, found.verdict] += 1
            line = [source, kind, found.verdict, found.answer, found.rule, found.span, found.reason]
            output.write(json.dumps(line) + "\n")
    print(json.dumps({f"{source} {verdict}": count for (source, verdict), count in sorted(counts.items())}, indent=2))


def read(data: Path, name: str) -> list[dict[str, Any]]:
    text = (data / name).read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(text) if name.endswith(".json") else [*map(json.loads, text.splitlines())]
    return rows


def responses(data: Path) -> Iterator[Pair]:
    kinds: dict[str, tuple[AnswerKind, ...]] = {
        "gsm8k_four_models": ("integer", "number", "math"),
        "processbench_gsm8k": ("integer", "math"),
        "math_verify_tests": ("math", "number", "integer"),
    }
    for name, wanted in kinds.items():
        for row in read(data, f"grading/{name}.jsonl"):
            yield from ((name, row["response"], row["gold"], kind) for kind in wanted)
    for row in read(data, "generations/qwen25math_math100x8.jsonl"):
        for sample in row["samples"]:
            yield "qwen25math", sample["response"], row["answer"], "math"
            yield "qwen25math", sample["response"], row["answer"], "number"


def solutions(data: Path) -> Iterator[Pair]:
    for row in read(data, "problems/gsm8k_train.jsonl"):
        reference = row["answer"].rpartition("####")[2].strip()
        yield "gsm8k solutions", row["answer"], reference, "integer"
        yield "gsm8k solutions", row["answer"], reference, "math"
    for row in read(data, "problems/math500.jsonl"):
        yield "math500 solutions", row["solution"], row["answer"], "math"
    for row in read(data, "problems/math_train_numeric_3k.jsonl"):
        yield "math solutions", row["solution"], str(row["ground_truth"]), "math"
    for row in read(data, "traces/numina_cot_2k.jsonl"):
        box = last_box(row["response"])
        yield "numina", row["response"], box.content if box else "1", "math"
    for row in read(data, "traces/cs336_math_sft.jsonl"):
        yield "cs336", row["response"], row["ground_truth"], "math"


def references(data: Path) -> Iterator[Pair]:
    known = [str(row["answer"]) for row in read(data, "problems/math500.jsonl")]
    known += [str(row["ground_truth"]) for row in read(data, "problems/math_train_numeric_3k.jsonl")]
    known += [str(row["answer"]) for row in read(data, "problems/aime_1983_2023.json")]
    known += [box.content for row in read(data, "traces/numina_cot_2k.jsonl") if (box := last_box(row["response"]))]
    formulas = sorted({reference for reference in known if not reference.strip().isdecimal()})
    draw = random.Random(SEED)
    for one in formulas:
        yield "a reference and itself", f"\\boxed{{{one}}}", one, "math"
        for other in draw.sample(formulas, OTHERS):
            yield "two references", f"\\boxed{{{one}}}", other, "math"


if __name__ == "__main__":
    main()
