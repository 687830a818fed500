"""Serve a model on every node of a Ray cluster with vLLM, for `engine.kind: openai`.

    python scripts/ray/servers.py [--gpus N] [--port P] [--logs FOLDER] MODEL NAME [OPTIONS OF VLLM]

The Python is that of vLLM with Ray (`its env sync vllm --ray`); checkout, environment and model are at the
same path on all nodes. MODEL is a folder or an id of the hub, NAME what requests call it (a checkpoint's is that of its
folder). Each server has N of its node's GPUs (1 by default), and a node as many servers as that gives, at P (8000) and
the ports behind it; with `--gpus 0` each node has one, on its CPU. Prints lines for `engine.openai.servers` when all
have started or ended. SIGTERM or Ctrl-C ends the servers, as the end of their node does. Exits with 1 if none is left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

KEEPER = Path(__file__).resolve().parents[2] / "its" / "engines" / "workers" / "keeper.py"
"""Ends all that a server started, also when Ray kills what started it: an engine core and its workers would stay."""
PASSED_ON = ("VLLM_", "HF_", "NCCL_", "OMP_", "CUDA_HOME", "TRANSFORMERS_")
STOP_SECONDS = 30.0


class Server:
    """An actor that holds the process of a server; Ray runs its methods side by side."""

    def start(self, keeper: str, words: list[str], port: int, variables: dict[str, str], logs: str) -> tuple[str, str]:
        """Start it; (its url, its log)."""
        host = ray.util.get_node_ip_address()
        log = Path(logs) / f"server-{host}-{port}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        own = ["-m", "vllm.entrypoints.openai.api_server", "--host", host, "--port", str(port)]
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper, sys.executable, *own, *words],
                env={**os.environ, **variables, "ITS_PARENT": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self.url = f"http://{host}:{port}"
        return f"{self.url}/v1", str(log)

    def ready(self) -> bool:
        """Wait until it answers; False if it ends before."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while self.process.poll() is None:
            with contextlib.suppress(OSError), opener.open(f"{self.url}/health", timeout=5):
                return True
            time.sleep(1)
        return False

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def read_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=(__doc__ or "").split("\n\n")[1].strip())
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--logs", type=Path, default=Path("logs"))
    parser.add_argument("model")
    parser.add_argument("name")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    words = parser.parse_args()
    if words.gpus < 0 or not 0 < words.port < 2**16:
        parser.error("--gpus is 0 or more, --port is from 1 to 65535")
    return words


def place(gpus: int, port: int) -> list[tuple[Any, int]]:
    """An actor for each server, and its port."""
    actors = []
    for node in ray.nodes():
        count = int(node["Resources"].get("GPU", 0)) // gpus if gpus else 1
        for index in range(count if node["Alive"] else 0):
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_gpus": gpus, "num_cpus": 0, "max_concurrency": 4, "scheduling_strategy": where}
            actors.append((ray.remote(Server).options(**options).remote(), port + index))
    return actors


def main() -> int:
    given = read_words()
    ray.init("auto", log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # Ray's own handler exits with 1
    actors = place(given.gpus, given.port)
    if not actors:
        print(f"no node of the cluster has {given.gpus} GPUs (`ray status`)", file=sys.stderr)
        return 1
    words = ["--model", given.model, "--served-model-name", given.name, "--generation-config", "vllm", *given.rest]
    variables = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    try:
        return run(actors, words, variables, str(given.logs.resolve()))
    except KeyboardInterrupt:
        return 0
    finally:
        with contextlib.suppress(Exception):
            ray.get([actor.stop.remote() for actor, _ in actors], timeout=STOP_SECONDS)


def run(actors: list[tuple[Any, int]], words: list[str], variables: dict[str, str], logs: str) -> int:
    """Start the servers, print where they are, and report those that end."""
    started = [actor.start.remote(str(KEEPER), words, port, variables, logs) for actor, port in actors]
    waiting: dict[Any, tuple[Any, str, str]] = {}
    print("servers:")
    for (actor, _), (url, log) in zip(actors, ray.get(started), strict=True):
        waiting[actor.wait.remote()] = (actor, url, log)
    ready = [(actor.ready.remote(), url, log) for actor, url, log in waiting.values()]
    for found, url, log in ready:
        try:
            line = f'  - {{url: "{url}"}}' if ray.get(found) else f"  # {url} did not start: {log}"
        except ray.exceptions.RayError as error:
            line = f"  # {url} did not start: {type(error).__name__}"
        print(line, flush=True)
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=1)
        for one in done:
            _, url, log = waiting.pop(one)
            try:
                how = f"exit code {ray.get(one)}, its log: {log}"
            except ray.exceptions.RayError as error:
                how = f"its node is gone ({type(error).__name__})"
            print(f"{url} ended: {how}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
