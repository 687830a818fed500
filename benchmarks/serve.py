"""What `its serve` costs beside the engine's own OpenAI server: the same problems, no persona, one response each.

    python benchmarks/serve.py [--clients 64] [--requests 192] [--max-tokens 32] [--turns 6] [--temperature 0.0]

In a clone whose active recipe is the quickstart and in which `dvc repro query` has finished. Both servers have its base
model with the same options, and both run all the time; in each turn both answer the same requests, first the one, then
the other, and in the next turn the other way round: the pace of a machine changes. A client sends the next problem when
it has an answer. vLLM's server receives the queries that `its serve` renders; each turn's problems are new to both.
Printed are the requests per second and median latencies of each turn, the medians of their ratios and differences, the
same of streams, the time to the first delta of a stream that is alone, and the latencies of what the store answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from common import Bench

from its.engines.protocol import EngineModel
from its.engines.vllm import process_variables, worker_settings
from its.environments import environment_variables

START_SECONDS = 600.0
STREAMS = 20
ALONE = 50


@dataclass(frozen=True)
class Side:
    """A server, and what it calls the pair."""

    name: str
    port: int
    model: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    def body(self, turns: list[dict[str, str]], sampling: dict[str, Any]) -> dict[str, Any]:
        return {"model": self.model, "messages": turns, **sampling}


def ask_all(
    side: Side, bodies: list[dict[str, Any]], clients: int, stored: int = 0, *, stream: bool = False
) -> tuple[float, list[float]]:
    """(seconds of all, seconds of each) of the requests, so many at a time; `stored` says how many of each are."""

    async def run() -> tuple[float, list[float]]:
        each: list[float] = []
        left = iter(bodies)
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:

            async def work() -> None:
                for body in left:
                    began = time.monotonic()
                    answer = await client.post(side.url, json=body | ({"stream": True} if stream else {}))
                    assert answer.status_code == 200, answer.text[:500]
                    each.append(time.monotonic() - began)
                    if stream:
                        assert answer.text.endswith("data: [DONE]\n\n"), answer.text[-500:]
                        continue
                    assert answer.json().get("its", {}).get("from_store", stored) == stored

            began = time.monotonic()
            await asyncio.gather(*(work() for _ in range(clients)))
            return time.monotonic() - began, each

    return asyncio.run(run())


def first_deltas(side: Side, bodies: list[dict[str, Any]]) -> tuple[list[float], list[int]]:
    """(seconds to the first text, how many deltas) of each request as a stream, one after the other."""
    seconds, counts = [], []
    with httpx2.Client(timeout=None, trust_env=False) as client:
        for body in bodies:
            began, first, count = time.monotonic(), 0.0, 0
            with client.stream("POST", side.url, json=body | {"stream": True}) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line.removeprefix("data: "))["choices"]
                        if any(choice["delta"].get("content") for choice in choices):
                            first, count = first or time.monotonic() - began, count + 1
            assert count, "a stream without a text"
            seconds.append(first)
            counts.append(count)
    return seconds, counts


@contextmanager
def running(side: Side, command: list[str], variables: dict[str, str], log: Path) -> Iterator[None]:
    """A server, from the first good `/health` to its end."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=variables, stdout=sink, stderr=sink)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None and time.monotonic() < deadline, f"no server: {log.read_text()[-2000:]}"
                try:
                    if httpx2.get(f"http://127.0.0.1:{side.port}/health", trust_env=False).status_code == 200:
                        break
                except httpx2.HTTPError:
                    time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait(60)


def vllm_server(bench: Bench, side: Side, model: EngineModel) -> tuple[list[str], dict[str, str]]:
    """Command and environment of vLLM's server, with the options of the recipe."""
    _, extra = worker_settings(model, bench.choice.options, bench.choice.environment, bench.environment.build)
    extra = process_variables(extra, bench.choice.environment)
    words = [str(bench.environment.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model.path]
    words += ["--served-model-name", side.model, "--port", str(side.port), "--host", "127.0.0.1"]
    words += ["--dtype", model.dtype, "--max-model-len", str(model.context_length)]
    words += ["--generation-config", "vllm"]
    for name, value in bench.choice.options.items():
        word = name.replace("_", "-")
        words.append(f"--{'' if value else 'no-'}{word}" if isinstance(value, bool) else f"--{word}={value}")
    return words, environment_variables(bench.environment.name, bench.environment) | extra


def medians(what: str, found: list[tuple[tuple[float, list[float]], tuple[float, list[float]]]]) -> None:
    """Print what both servers took for the same requests: (of vLLM's, of ours) of each turn."""
    for (seconds, each), (own_seconds, own_each) in found:
        theirs = f"{len(each) / seconds:.2f} requests/s, median {statistics.median(each):.2f} s"
        ours = f"{len(own_each) / own_seconds:.2f}, {statistics.median(own_each):.2f} s"
        print(f"{what}: vLLM's server {theirs}; its serve {ours}")
    ratios = [theirs[0] / ours[0] for theirs, ours in found]
    added = [1000 * (statistics.median(ours[1]) - statistics.median(theirs[1])) for theirs, ours in found]
    print(
        f"{what}: throughput {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); "
        f"added at the median {statistics.median(added):.0f} ms ({min(added):.0f} to {max(added):.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=192)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--temperature", type=float, default=0.0)
    given = parser.parse_args()
    bench = Bench(given.max_tokens, base=True)
    base = next(item for item in bench.study.checkpoints() if item.train is None)
    vllm, own = Side("vLLM's server", 8931, "m"), Side("its serve", 8932, f"{base.name}/none")
    chats = bench.messages(["none"], given.requests)
    problems = bench.study.problems(bench.study.recipe.design.benchmarks[0])[: len(chats)]
    drawn = time.time_ns() % 2**30

    def asked(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The requests of a turn to vLLM's server and to ours, which neither has seen."""
        tag = f" ({drawn + number})"
        sampling = {"max_tokens": given.max_tokens, "temperature": given.temperature, "top_p": 1.0, "seed": drawn}
        ours = [own.body([{"role": "user", "content": item.text + tag}], sampling) for item in problems]
        theirs = []
        for item, chat in zip(problems, chats, strict=True):
            assert item.text in chat[-1]["content"]
            text = chat[-1]["content"].replace(item.text, item.text + tag)
            theirs.append(vllm.body([*chat[:-1], {"role": "user", "content": text}], sampling))
        return theirs, ours

    def turn(number: int, *, stream: bool = False) -> tuple[tuple[float, list[float]], tuple[float, list[float]]]:
        theirs, ours = asked(number)
        pair = [(vllm, theirs), (own, ours)]
        found = {side: ask_all(side, bodies, given.clients, stream=stream) for side, bodies in pair[:: (-1) ** number]}
        return found[vllm], found[own]

    with tempfile.TemporaryDirectory() as folder:
        command, variables = vllm_server(bench, vllm, bench.models[base.name])
        serve = [sys.executable, "-m", "its", "serve", "--checkpoint", base.name, "--port", str(own.port)]
        with (
            running(vllm, command, variables, Path(folder) / "vllm.log"),
            running(own, serve, dict(os.environ) | {"ITS_HOME": str(bench.study.home)}, Path(folder) / "its.log"),
        ):
            for side, bodies in zip((vllm, own), asked(0), strict=True):
                ask_all(side, bodies[: given.clients], given.clients)
            medians("whole", [turn(number) for number in range(1, given.turns + 1)])
            medians("streams", [turn(100 + number, stream=True) for number in range(max(1, given.turns // 2))])
            for side, bodies in zip((vllm, own), asked(200), strict=True):
                seconds, counts = first_deltas(side, bodies[:STREAMS])
                first = 1000 * statistics.median(seconds)
                print(f"{side.name}: first of {statistics.median(counts):.0f} deltas after {first:.0f} ms, alone")
            known = asked(1)[1]
            _, again = ask_all(own, known, given.clients, stored=1)
            _, alone = ask_all(own, known[:ALONE], 1, stored=1)
    print(
        f"from the store: median {1000 * statistics.median(alone):.1f} ms alone, "
        f"{1000 * statistics.median(again):.1f} ms with {given.clients} clients"
    )


if __name__ == "__main__":
    main()
