"""What the `openai` engine costs beside a bare HTTP client, on a server in its own process that answers at once.

    python benchmarks/openai_client.py [requests] [concurrency]

Both ask the same requests at the same bound, in turns, five times; printed are requests per second, processor time for
each request, and the medians of the ratios. A server that answers at once is the worst case: any real answer takes
longer than the engine's part in it. Processor time is the steadier number on a machine that does other work.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

from its.engines.openai import OpenAIEngine, OpenAIServer
from its.engines.protocol import EngineModel, Request

SERVER = Path(__file__).parents[1] / "tests" / "fakes" / "openai_server.py"
MODEL = EngineModel(name="m", path="m", fingerprint="f", dtype="bfloat16", context_length=4096)
SAMPLING = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 4096, "stop": []}
TURNS = 5


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of some requests."""

    requests: int
    wall_seconds: float
    processor_seconds: float

    def __str__(self) -> str:
        each = 1000 * self.processor_seconds / self.requests
        return f"{self.requests / self.wall_seconds:.0f}/s, {each:.2f} ms of processor time each"


def bare(url: str, texts: list[str], concurrency: int) -> Cost:
    """An `AsyncClient` and as many workers as requests may be under way; set up as the engine sets it up."""

    async def ask_all() -> Cost:
        timeout, limits = httpx2.Timeout(None, connect=10.0), httpx2.Limits(max_connections=None)
        answers: list[str] = []
        left = iter(texts)
        async with httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:

            async def work() -> None:
                for text in left:
                    body = {"model": "m", "messages": [{"role": "user", "content": text}], **SAMPLING}
                    answer = await client.post(f"{url}/chat/completions", json=body)
                    answers.append(json.loads(answer.content)["choices"][0]["message"]["content"])

            began = time.monotonic(), time.process_time()
            await asyncio.gather(*(work() for _ in range(concurrency)))
            cost = Cost(len(texts), time.monotonic() - began[0], time.process_time() - began[1])
        assert len(answers) == len(texts)
        return cost

    return asyncio.run(ask_all())


def engine(url: str, texts: list[str], concurrency: int) -> Cost:
    """The engine, used as a session uses it; finding its pace is part of it."""
    running = OpenAIEngine([OpenAIServer(url)], [MODEL], {}, concurrency=concurrency)
    try:
        left, under_way, done = list(reversed(texts)), 0, 0
        began = time.monotonic(), time.process_time()
        while done < len(texts):
            while left and under_way < running.window:
                text = left.pop()
                running.submit(Request(text, [{"role": "user", "content": text}], SAMPLING, 1, model="m"))
                under_way += 1
            found = len(running.poll(1.0))
            done, under_way = done + found, under_way - found
        return Cost(len(texts), time.monotonic() - began[0], time.process_time() - began[1])
    finally:
        running.close()


def main(size: int = 2000, concurrency: int = 32) -> None:
    texts = [f"question {number}" for number in range(size)]
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            walls, processors = [], []
            for turn in range(1, TURNS + 1):
                plain, ours = bare(url, texts, concurrency), engine(url, texts, concurrency)
                walls.append(plain.wall_seconds / ours.wall_seconds)
                processors.append(ours.processor_seconds / plain.processor_seconds)
                print(f"turn {turn}: bare {plain}; engine {ours}", flush=True)
        finally:
            server.kill()
    print(f"medians of {TURNS} turns of {size} requests, {concurrency} at once:")
    print(f"throughput, engine / bare: {statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})")
    print(f"processor time, engine / bare: {statistics.median(processors):.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
