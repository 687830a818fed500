"""What decontamination finds, what it flags wrongly, and how fast it is. Prints one JSON document.

    python benchmarks/decontamination.py              # finds and false flags, two minutes
    python benchmarks/decontamination.py --rows 114000  # time and memory over so many rows
    python benchmarks/decontamination.py --pairs --table  # known overlaps, rule by rule, as in docs/curation.md

    # your own: pairs with `row` and `problem` (maybe `label`), the benchmark's problems, rows that overlap none
    python benchmarks/decontamination.py --pairs mine.jsonl --benchmark bench.jsonl --others train.jsonl --table

The first three read public data at $ITS_SHARED_DATA, else `../shared/data` beside the repository. A file is JSON lines,
or a JSON array; `FILE:COLUMN` names the column of its texts where that is none of `problem`, `question`, `text`. A pair
may name its problem by the benchmark's `unique_id` or `id`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from plants import Rewriter, cut, reformatted

from its.curation.measured import Measured, Pair, Report, measure
from its.curation.overlaps import Benchmarks, Overlap
from its.types import Problem

SHARED = Path(os.environ.get("ITS_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PARAPHRASES = Path(__file__).with_name("paraphrases.jsonl")
"""Problems of MATH-500 told in other words, by a person, before any of them was looked up."""
TEXTS = ("problem", "question", "text")
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
    """Each source's text as the kind says, drawn from its own seed."""
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


class Lists:
    """The lists that the rules are measured on, from files named on the command line or the public ones."""

    def __init__(self, pairs: Sequence[str], benchmark: str | None, others: Sequence[str]) -> None:
        self.benchmark = column(benchmark or str(SHARED / "problems/math500.jsonl"))
        ids = {str(row[key]): text for row, text in self.benchmark for key in ("unique_id", "id") if key in row}
        if pairs:
            self.pairs = {name: known_pairs(rows_of(name), ids, name) for name in pairs}
        else:
            audit = read("overlap/contamination_openthoughts_c_lex.jsonl")
            self.pairs = {
                "list": [Pair(row["train_problem"], row["test_problem"]) for row in audit],
                "paraphrases": known_pairs(rows_of(str(PARAPHRASES)), ids, "paraphrases"),
            }
        tune, held, _ = math_train() if not others else ([], [], [])
        self.others = [text for name in others for _, text in column(name)] or tune + held


def known_pairs(rows: Sequence[dict[str, Any]], ids: Mapping[str, str], name: str) -> list[Pair]:
    out = []
    for at, row in enumerate(rows, 1):
        problem = row.get("problem", row.get("unique_id", row.get("id")))
        if not isinstance(row.get("row"), str) or problem is None:
            raise SystemExit(f"error: {name}, row {at}: expected `row`, and `problem`, `unique_id` or `id`")
        out.append(Pair(row["row"], ids.get(str(problem), str(problem)), str(row.get("label") or "")))
    return out


def column(name: str) -> list[tuple[dict[str, Any], str]]:
    """The rows of a file with their texts."""
    path, _, wanted = name.partition(":")
    out = []
    for at, row in enumerate(rows_of(path), 1):
        key = wanted or next((key for key in TEXTS if key in row), "")
        if not isinstance(row.get(key), str):
            known = ", ".join(f"`{key}`" for key in row)
            raise SystemExit(f"error: {path}, row {at}: no text `{key or ' / '.join(TEXTS)}`; it has {known}")
        out.append((row, row[key]))
    return out


def rows_of(path: str) -> list[dict[str, Any]]:
    try:
        text = Path(path).read_text("utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, text.splitlines())]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path}: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise SystemExit(f"error: {path}: expected rows, each an object")
    return list(rows)


def measured(lists: Lists, share: float) -> dict[str, Report]:
    benchmark = [text for _, text in lists.benchmark]
    return {name: measure(pairs, lists.others, benchmark, share) for name, pairs in lists.pairs.items()}


def tables(reports: Mapping[str, Report], share: float) -> str:
    """Both tables: what the rules do as they are, and where they flag the wanted share."""
    lists = list(reports.values())
    groups = lists[0].groups if len(lists[0].groups) > 1 else {}
    heads = [f"{name} ({report.pairs})" for name, report in reports.items()]
    heads[1:1] = [f"{group} ({count})" for group, count in groups.items()]
    out = []
    for moved in (False, True):
        lines = [[f"rule, at {100 * share:g} % false flags" if moved else "rule, as it is", *heads, "flagged"]]
        lines.append(["---", *["---:"] * (len(heads) + 1)])
        for at, rule in enumerate(lists[0].rules):
            found = [report.rules[at].moved if moved else report.rules[at].own for report in lists]
            cells = [percent(one.found) for one in found]
            cells[1:1] = [percent(found[0].by_group[group]) for group in groups]
            lines.append([f"`{rule.rule}`{shift(rule) if moved else ''}", *cells, f"{100 * found[0].flagged:.2f} %"])
        out.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    for name, report in reports.items():
        out.append(
            f"{name}: {report.not_compared} of {report.pairs} pairs were not compared; flagged of {report.others} rows,"
            f" without {report.left_out} known overlaps"
        )
    return "\n\n".join(out)


def shift(rule: Measured) -> str:
    """How far the threshold moved; of the plain rules, what it is now."""
    threshold = rule.moved.threshold
    if threshold is None:
        return ", any"
    return f", {threshold:+.2f}" if rule.own.threshold == 0 else f", {threshold:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def speed(rows: int) -> dict[str, Any]:
    """Time and memory over repeated rows; later AIME years and word problems stand for sets that are not available."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--pairs", nargs="*", metavar="FILE", help="known overlaps; without a file the public list")
    parser.add_argument("--benchmark", metavar="FILE", help="its problems (default: MATH-500)")
    parser.add_argument("--others", nargs="+", default=[], metavar="FILE", help="rows that overlap none (MATH train)")
    parser.add_argument("--share", type=float, default=0.01, help="false flags to move the thresholds to")
    parser.add_argument("--table", action="store_true", help="print Markdown")
    chosen = parser.parse_args()
    if chosen.pairs is None:
        print(json.dumps(speed(chosen.rows) if chosen.rows else finds(), indent=2, ensure_ascii=False))
    else:
        if not 0 < chosen.share < 1:
            parser.error("--share is a part: 0.01 is 1 %")
        reports = measured(Lists(chosen.pairs, chosen.benchmark, chosen.others), chosen.share)
        values = {name: asdict(report) for name, report in reports.items()}
        print(tables(reports, chosen.share) if chosen.table else json.dumps(values, indent=2, ensure_ascii=False))
