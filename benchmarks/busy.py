"""Threads that sleep while they wait, and threads that spin, on an idle machine and beside busy processes.

    python benchmarks/busy.py                 # vLLM and Axolotl, beside 0, 1 and 4 processes; 15 min on two cores
    python benchmarks/busy.py --only vllm

`OMP_WAIT_POLICY=PASSIVE`, which ITS sets for its CPU builds, against the variable unset: seconds of raw `vllm.LLM.chat`
and of the steps of a bare `axolotl train` with the quickstart's model. A busy process is a loop of Python's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import train
from common import Bench, Raw, median, note

POLICIES = ("PASSIVE", None)
BUSY = (0, 1, 4)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but run."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def waiting(policy: str | None) -> AbstractContextManager[object]:
    """Engines start with this policy: ITS sets its own only where the shell's variable is absent."""
    return patch.dict(os.environ, {"OMP_WAIT_POLICY": policy or "undefined"})


def generation(turns: int) -> dict[str, dict[str, float]]:
    """Median seconds of 64 prompts of 32 tokens, by policy and number of busy processes."""
    bench = Bench(32, base=True)
    (model,) = bench.models.values()
    chats = bench.problems(64)
    out: dict[str, dict[str, float]] = {}
    for policy in POLICIES:
        with waiting(policy):
            engine: Raw = bench.raw(model)
        engine.chat(chats)
        for processes in BUSY:
            seconds = []
            for _ in range(turns):
                with busy(processes):
                    seconds.append(engine.chat(chats)["seconds"])
            out.setdefault(str(policy), {})[str(processes)] = round(median(seconds), 1)
            note(f"vllm, {policy}, {processes} busy: {seconds}")
        engine.close()
    return out


def training(rows: int) -> dict[str, dict[str, float]]:
    """Seconds of the steps of a bare training, by policy and number of busy processes."""
    trained = train.training_of(rows)
    out: dict[str, dict[str, float]] = {}
    for processes in BUSY:
        for policy in POLICIES:
            with tempfile.TemporaryDirectory(prefix="its-benchmark-") as folder, waiting(policy), busy(processes):
                found = train.bare(trained, Path(folder))
            out.setdefault(str(policy), {})[str(processes)] = round(found["steps"], 1)
            note(f"axolotl, {policy}, {processes} busy: {found['steps']:.1f}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["vllm", "axolotl"])
    parser.add_argument("--turns", type=int, default=2, help="of vLLM, of which the median is taken")
    parser.add_argument("--rows", type=int, default=32, help="that Axolotl trains on, 8 a step")
    given = parser.parse_args()
    out = {}
    if given.only != "axolotl":
        out["vllm_seconds"] = generation(given.turns)
    if given.only != "vllm":
        out["axolotl_seconds"] = training(given.rows)
    print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
