"""What decontamination finds, what it flags wrongly, and how fast it is. Prints one JSON document.

    python benchmarks/decontamination.py              # finds and false flags, two minutes
    python benchmarks/decontamination.py --rows 114000  # time and memory over so many rows

Reads public data at $ITS_SHARED_DATA, else `../shared/data` beside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from plants import Rewriter, cut, reformatted

from its.curation.overlaps import Benchmarks, Overlap
from its.types import Problem

SHARED = Path(os.environ.get("ITS_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
KINDS = ("unchanged", "reformatted", "cut in two", "rewritten")
PLANTS, ROWS, HELD_OUT, SEED = 500, 20_000, 1000, 2508
ASKED = "\nPlease reason step by step"  # what the source of AIME 2024 put behind every problem


def read(path: str) -> list[dict[str, Any]]:
    text = (SHARED / path).read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(text) if path.endswith(".json") else [*map(json.loads, text.splitlines())]
    return rows


def problems(name: str, texts: Sequence[str]) -> list[Problem]:
    return [Problem(problem_id=f"{name}/{at}", text=text, source=name) for at, text in enumerate(texts)]


def benchmarks() -> dict[str, list[Problem]]:
    texts = {
        "math500": [row["problem"] for row in read("problems/math500.jsonl")],
        "gsm8k_test": [row["question"] for row in read("problems/gsm8k_test.jsonl")],
        "aime24": [row["prompt"].split(ASKED)[0] for row in read("problems/aime24_qwq.jsonl")],
        "amc23": [row["question"] for row in read("problems/amc23.jsonl")],
    }
    return {name: problems(name, found) for name, found in texts.items()}


def math_train() -> tuple[list[str], list[str], list[str]]:
    """The numeric MATH rows: those to choose thresholds on, those held out, those of MATH's own test side."""
    rows = read("problems/math_train_numeric_3k.jsonl")
    train = [row["question"] for row in rows if row["unique_id"].startswith("train")]
    return train[HELD_OUT:], train[:HELD_OUT], [row["question"] for row in rows if row["unique_id"].startswith("test")]


def planted(sources: Sequence[Problem], kind: str, rewriter: Rewriter, others: Sequence[str]) -> list[str]:
    """Each source's text as the kind says, drawn from a seed of its own."""
    out = []
    for source in sources:
        draw = random.Random(f"{SEED}/{kind}/{source.problem_id}")
        out.append(
            {
                "unchanged": lambda text, _: text,
                "reformatted": reformatted,
                "cut in two": lambda text, draw: cut(text, draw, others),
                "rewritten": rewriter.rewritten,
            }[kind](source.text, draw)
        )
    return out


def finds() -> dict[str, Any]:
    against = benchmarks()
    index = Benchmarks(against)
    gsm8k = [row["question"] for row in read("problems/gsm8k_train.jsonl")]
    tune, held, test = math_train()
    everything = [problem for known in against.values() for problem in known]
    rewriter = Rewriter([problem.text for problem in everything] + gsm8k + tune + held + test)
    sources = random.Random(SEED).sample(everything, PLANTS)
    base = problems("row", [*islice(cycle(gsm8k + tune + test), ROWS)])
    marks: dict[str, tuple[str, Problem]] = {}
    for kind in KINDS:
        for at, text in enumerate(planted(sources, kind, rewriter, gsm8k + tune)):
            row = Problem(problem_id=f"{kind}/{at}", text=text, source="plant")
            marks[row.problem_id] = (kind, sources[at])
            base.append(row)
    random.Random(SEED).shuffle(base)
    found: Counter[str] = Counter()
    rules: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for row, overlaps in index.overlaps(base):
        if row.problem_id in marks:
            kind, source = marks[row.problem_id]
            hit = next((o for o in overlaps if o.benchmark_problem_id == source.problem_id), None)
            found[kind] += hit is not None
            if hit:
                rules[kind][hit.rule] += 1
    return {
        "benchmark problems": len(everything),
        "planted of each kind": PLANTS,
        "rows": len(base),
        "of which other rows repeated": ROWS - len(set(gsm8k + tune + test)),
        "found": {kind: found[kind] / PLANTS for kind in KINDS},
        "by rule": {kind: dict(rules[kind].most_common()) for kind in KINDS},
        "flagged, not planted": {
            "MATH train, thresholds chosen on them": flagged(index, tune),
            "MATH train, held out": flagged(index, held),
            "MATH test, not in MATH-500": flagged(index, test),
            "GSM8K train": flagged(index, gsm8k),
            "NuminaMath": flagged(index, [row["instruction"] for row in read("traces/numina_cot_2k.jsonl")]),
        },
        "judged pairs": judged(index, against["math500"]),
        "held-out rows flagged": [
            {"rule": overlap.rule, "score": overlap.score, "row": overlap.text, "benchmark": overlap.benchmark_text}
            for overlap in firsts(index, held)
        ],
    }


def firsts(index: Benchmarks, texts: Sequence[str]) -> Iterator[Overlap]:
    yield from (overlaps[0] for _, overlaps in index.overlaps(problems("row", texts)) if overlaps)


def flagged(index: Benchmarks, texts: Sequence[str]) -> dict[str, float]:
    count = sum(1 for _ in firsts(index, texts))
    return {"rows": len(texts), "flagged": count, "share": round(count / len(texts), 4)}


def judged(index: Benchmarks, math500: Sequence[Problem]) -> dict[str, int]:
    """OpenThoughts problems that were judged to overlap a problem of MATH-500, mostly as templates of one kind."""
    pairs = read("overlap/contamination_openthoughts_c_lex.jsonl")
    ids = {problem.text: problem.problem_id for problem in math500}
    hits = [overlaps for _, overlaps in index.overlaps(problems("row", [pair["train_problem"] for pair in pairs]))]
    own = [
        any(overlap.benchmark_problem_id == ids[pair["test_problem"]] for overlap in overlaps)
        for pair, overlaps in zip(pairs, hits, strict=True)
    ]
    return {"pairs": len(pairs), "rows flagged": sum(map(bool, hits)), "their own pair found": sum(own)}


def speed(rows: int) -> dict[str, Any]:
    """Time and memory over repeated rows; later AIME years and word problems stand for sets that are not at hand."""
    against = benchmarks()
    aime = [row["problem"] for row in read("problems/aime_1983_2023.json")]
    against["aime_60"] = problems("aime_60", aime[-60:])
    svamp = read("problems/svamp.jsonl")[:198]
    against["like_gpqa_198"] = problems("like_gpqa_198", [f"{row['Body']} {row['Question']}" for row in svamp])
    tune, held, test = math_train()
    numina = [row["instruction"] for row in read("traces/numina_cot_2k.jsonl")]
    gsm8k = [row["question"] for row in read("problems/gsm8k_train.jsonl")]
    texts = cycle([*gsm8k, *tune, *held, *test, *numina])
    wall, processor = time.monotonic(), time.process_time()
    index = Benchmarks(against)
    stream = (Problem(problem_id=str(at), text=next(texts), source="row") for at in range(rows))
    count = sum(1 for _, overlaps in index.overlaps(stream) if overlaps)
    return {
        "rows": rows,
        "benchmark problems": sum(map(len, against.values())),
        "flagged": count,
        "wall seconds": round(time.monotonic() - wall, 1),
        "processor seconds": round(time.process_time() - processor, 1),
        "peak memory MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int)
    chosen = parser.parse_args()
    print(json.dumps(speed(chosen.rows) if chosen.rows else finds(), indent=2, ensure_ascii=False))
