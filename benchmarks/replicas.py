"""Workers that share requests: fake ones against the sum of their rates; with a model also real ones against one.

    python benchmarks/replicas.py
    python benchmarks/replicas.py --wall             # on a machine that does nothing else
    python benchmarks/replicas.py --model FOLDER     # real: one worker of all cores, then as many as there are cores

`ratio` is the throughput of all workers, through session and store, divided by the number of workers times the
throughput of one: in simulated time, so the load of the machine does not count, with the CPU time that ITS takes for a
request beside it. A worker answers `--at-once` requests at the same time, each in 0.5 to 1.5 times the mean. With
`--wall` the workers are threads that answer one after the other, in real time; medians of turns. The real ones are vLLM
on the CPU; the time begins when all of them have answered.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from common import empty_store, median, note

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fakes.worker_replicas import Clock, Fakes, Simulated  # noqa: E402

from its.devices import usable_cores  # noqa: E402
from its.engines.kinds import EngineSettings, open_session  # noqa: E402
from its.engines.protocol import EngineModel, Request  # noqa: E402
from its.engines.replicas import Replicas  # noqa: E402
from its.engines.session import Session  # noqa: E402
from its.home import its_home  # noqa: E402

MODEL = EngineModel("m", "m", "f-m", "bfloat16", 1024)


def requests_of(count: int, max_tokens: int, name: str) -> list[Request]:
    draw = random.Random(1)
    sampling = {"temperature": 0.7, "top_p": 1.0, "max_tokens": max_tokens, "stop": []}
    out = []
    for at in range(count):
        text = f"Tom has {draw.randint(2, 99)} apples and buys {draw.randint(2, 99)} more. How many does he have?"
        out.append(Request(f"{name}{at}", [{"role": "user", "content": text}], sampling, at, model="m"))
    return out


def simulated(workers: int, count: int, at_once: int) -> tuple[float, float]:
    """(requests a second of simulated time, CPU milliseconds a request)."""
    clock, store = Clock(), empty_store()
    key = store.register({"model": "f-m"}, {})

    def worker(index: int, group: list[EngineModel], arrived: threading.Event) -> Simulated:
        return Simulated(clock, at_once, lambda request: random.Random(request.seed).uniform(0.5, 1.5))

    def start(models: list[EngineModel]) -> Replicas:
        engine = Replicas(workers, [models], worker, note)
        engine._arrived = clock
        return engine

    with Session(store, [MODEL], {"m": key}, [[MODEL]], start, note, shared=True) as session:
        began = time.process_time()
        session.ensure(requests_of(count, 1, "r"))
        return count / clock.now, 1000 * (time.process_time() - began) / count


def faked(workers: int, count: int, seconds: float, window: int) -> float:
    """Requests a second."""

    def lasts(index: int, request: Request) -> float:
        return seconds * random.Random(request.seed).uniform(0.5, 1.5)

    fakes, store = Fakes(lasts, window=window), empty_store()
    key = store.register({"model": "f"}, {})

    def start(models: list[EngineModel]) -> Replicas:
        return Replicas(workers, [models], fakes.start, note)

    with Session(store, [MODEL], {"m": key}, [[MODEL]], start, note, shared=True) as session:
        began = time.monotonic()
        session.ensure(requests_of(count, 1, "r"))
        return count / (time.monotonic() - began)


def real(model: Path, workers: int, count: int, max_tokens: int) -> dict[str, Any]:
    """Seconds from the first answer, of one request, to the last."""
    served = EngineModel("m", str(model.resolve()), f"f-{workers}", "bfloat16", 1024)
    options = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 1024}
    choice = EngineSettings("vllm", options, {"VLLM_CPU_KVCACHE_SPACE": "1"}, None, workers)
    store, home = empty_store(), its_home(ROOT)
    log = store.path.parent / "engine.log"
    with open_session(store, [served], choice, project=ROOT, home=home, log=log, say=note) as session:
        began = time.monotonic()
        session.ensure(requests_of(max(8, workers), 4, "first"))  # one for each worker at least
        started = time.monotonic()
        session.ensure(requests_of(count, max_tokens, "r"))
        seconds = time.monotonic() - started
        tokens = session.counts["m"].tokens
    return {"start": round(started - began, 1), "seconds": round(seconds, 1), "tokens_per_second": tokens / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--wall", action="store_true", help="fake workers in real time")
    parser.add_argument("--seconds", type=float, default=0.2, help="mean time of an answer of a fake worker")
    parser.add_argument("--window", type=int, default=8, help="of a fake worker, as of one that answers one at a time")
    parser.add_argument("--requests", type=int, default=None, help="of fake workers 1600, of real ones 48")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", type=Path, help="folder of a model in safetensors")
    parser.add_argument("--max-tokens", type=int, default=64)
    given = parser.parse_args()
    if given.model is not None:
        cores = len(usable_cores())
        found = {
            f"{workers} x {cores // workers} cores": [
                real(given.model, workers, given.requests or 48, given.max_tokens) for _ in range(given.turns)
            ]
            for workers in (1, cores)
        }
        print(json.dumps(found, indent=2))
        return
    count, ratios = given.requests or 1600, []
    if not given.wall:
        lines = []
        for at_once, whole in ((1, count), (16, 4 * count)):
            alone, _ = simulated(1, whole // given.workers, at_once)
            together, milliseconds = simulated(given.workers, whole, at_once)
            ratio = together / (given.workers * alone)
            lines.append(
                {
                    "at_once": at_once,
                    "requests": whole,
                    "ratio": round(ratio, 3),
                    "cpu_milliseconds_per_request": round(milliseconds, 2),
                }
            )
        print(json.dumps({"workers": given.workers, "simulated": lines}, indent=2))
        return
    for turn in range(given.turns):
        one = faked(1, max(1, count // given.workers), given.seconds, given.window)
        many = faked(given.workers, count, given.seconds, given.window)
        ratios.append(many / (given.workers * one))
        note(f"turn {turn + 1}: one {one:.1f}/s, {given.workers} together {many:.1f}/s, ratio {ratios[-1]:.3f}")
    print(json.dumps({"workers": given.workers, "requests": count, "ratio": round(median(ratios), 3)}, indent=2))


if __name__ == "__main__":
    main()
