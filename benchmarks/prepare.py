"""Measure the loader of problems: `python benchmarks/prepare.py`, about two minutes and 200 MB of disk.

Short JSON lines are read, checked and mapped to problems that are not kept, in a separate process for each size, so
that the peak of memory is that size's. A linear cost shows as one rate at every size. CPU seconds hold on a busy
machine too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from its.recipe.schema import Dataset
from its.sources.load import load_problems

SIZES = (10_000, 100_000, 1_000_000)
MEMORY_MB = 500.0
FIELDS = {"problem": "question", "solution": "answer", "reference": "{{ row.answer | after('####') | strip }}"}


def write_source(path: Path, rows: int) -> None:
    """Rows in the shape of GSM8K, each with an id."""
    with path.open("w", encoding="utf-8") as out:
        for index in range(rows):
            question = f"Ada has {index} coins and finds {index % 97} more. How many coins does Ada have now?"
            answer = f"{index} + {index % 97} = {index + index % 97}\n#### {index + index % 97}"
            out.write(json.dumps({"id": f"row-{index}", "question": question, "answer": answer}) + "\n")


def measure(folder: str, rows: int, fields: dict[str, str]) -> dict[str, Any]:
    """Load one file; rates and the peak memory of this process."""
    declared = Dataset.model_validate({"source": {"kind": "files", "path": f"{rows}.jsonl"}, "fields": fields})
    began, cpu = time.monotonic(), time.process_time()
    count = sum(1 for _ in load_problems("bench", declared, seed=1, project=Path(folder), required=("solution",)))
    assert count == rows, f"{count} problems of {rows} rows"
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return {
        "rows": rows,
        "rows_per_second": round(rows / seconds),
        "rows_per_cpu_second": round(rows / cpu_seconds),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the curve as JSON; fail if memory passes its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of each file")
    parser.add_argument("--ids", action="store_true", help="map `problem_id`, so that every id is remembered")
    chosen = parser.parse_args(arguments)
    fields = FIELDS | ({"problem_id": "id"} if chosen.ids else {})
    curve = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in chosen.sizes:
            write_source(Path(folder) / f"{rows}.jsonl", rows)
            # Spawned: a forked process would begin with this one's memory.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                curve.append(pool.apply(measure, (folder, rows, fields)))
    print(json.dumps({"format": "jsonl", "fields": fields, "memory_limit_mb": MEMORY_MB, "curve": curve}, indent=2))
    return 0 if all(point["peak_mb"] < MEMORY_MB for point in curve) else 1


if __name__ == "__main__":
    sys.exit(main())
