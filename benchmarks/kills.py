"""Kill -9 one generate stage again and again, with its real engine, then let it finish and count.

    its recipe use arithmetic_4x4 && dvc repro train query && python benchmarks/kills.py

The responses of this study must not be stored yet: use a separate home, or another `generation.max_tokens`.
A moment to kill is drawn evenly from the time in which the engine loads and works. What was claimed and not stored when
the stage died is what was in flight: it is requested again, and nothing else may be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from common import note

from its.store import Store
from its.study.study import load_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, nargs=2, default=(4.0, 60.0), help="when to kill, after the start")
    given = parser.parse_args()
    study, chance = load_study(), random.Random(1)
    path = study.home / "store.sqlite"
    before = _keys(path)
    stored, in_flight, left = before, [], 0
    for number in range(given.kills):
        process = _start()
        time.sleep(chance.uniform(*given.seconds))
        seen = _keys(path)
        os.killpg(process.pid, signal.SIGKILL)
        ended = process.wait() == -signal.SIGKILL
        now = _keys(path)
        assert stored <= now and seen <= now, "a stored response is gone"
        with closing(sqlite3.connect(path)) as db:
            in_flight.append(db.execute("SELECT count(*) FROM claims").fetchone()[0])
        time.sleep(7)
        left += len(_workers(study.home))
        note(f"kill {number + 1}: {len(now) - len(stored)} stored, {in_flight[-1]} in flight, killed: {ended}")
        stored = now
    process = _start()
    if process.wait():
        sys.exit("the last run failed")
    rows = [
        (found, *(json.loads(line)[name] for name in ("query_id", "sample_index")))
        for found in sorted((study.project / "data" / "responses").glob("*/*/*.jsonl"))
        for line in found.read_text(encoding="utf-8").splitlines()
    ]
    cost = json.loads(study.results("cost", "generate.json").read_text(encoding="utf-8"))
    with Store(path) as store:
        sound = len(store.contains([key.hex() for key in _keys(path)]))
    out: dict[str, Any] = {
        "kills": given.kills,
        "stored_between_kills": len(stored - before),
        "in_flight_at_a_kill": {"median": sorted(in_flight)[len(in_flight) // 2], "most": max(in_flight)},
        "asked_after_the_last_kill": sum(row.get("generated", 0) for row in cost),
        "rows": len(rows),
        "rows_once_each": len(set(rows)) == len(rows),
        "responses_new": len(_keys(path) - before),
        "sound": sound == len(_keys(path)),
        "processes_left_after_7_s": left,
    }
    print(json.dumps(out, indent=2))


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "its", "generate"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _keys(path: Path) -> set[bytes]:
    with closing(sqlite3.connect(path, timeout=30)) as db:
        return {key for (key,) in db.execute("SELECT key FROM responses")}


def _workers(home: Path) -> list[str]:
    """Living processes of the home's engine environments."""
    out = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if str(home / "envs") in line and "vllm" in line:
            out.append(line)
    return out


if __name__ == "__main__":
    main()
