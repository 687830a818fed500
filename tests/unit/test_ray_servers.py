"""`scripts/ray/servers.py` as it is, over stand-ins for Ray and for vLLM's server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "ray" / "servers.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a machine has the addresses 127.0.0.2 on Linux alone")


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the script over a cluster, {address: GPUs}."""

    def run(cluster: dict[str, int], *words: str) -> subprocess.Popen[str]:
        variables = {"ITS_FAKE_NODES": json.dumps(cluster), "HF_SEEN": str(tmp_path), "VLLM_CPU_KVCACHE_SPACE": "3"}
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *words],
            env={**os.environ, **variables, "PYTHONPATH": str(ROOT / "tests" / "fakes" / "ray_cluster")},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def _port() -> int:
    """One that is free, and so is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def _gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_every_node_gets_its_servers_which_end_with_the_script(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, end: signal.Signals
) -> None:
    port = _port()
    words = ["--gpus", "2", "--port", str(port), "MODEL", "name", "--dtype", "float32"]
    script = start({"127.0.0.1": 4, "127.0.0.2": 3, "127.0.0.3": 1}, *words)
    try:
        places = [("127.0.0.1", port), ("127.0.0.1", port + 1), ("127.0.0.2", port)]
        urls = [f'  - {{url: "http://{host}:{number}/v1"}}' for host, number in places]
        assert _lines(script, 4) == ["servers:", *urls]
        seen = [json.loads((tmp_path / f"{host}-{number}.json").read_text()) for host, number in places]
        for item in seen:
            assert (item["model"], item["served_model_name"], item["generation_config"]) == ("MODEL", "name", "vllm")
            assert (item["dtype"], item["cache"]) == ("float32", "3")
        script.send_signal(end)
        assert script.wait(30) == (-9 if end is signal.SIGKILL else 0)
        assert _gone([item["child"] for item in seen]), "what a server started ends with it"
    finally:
        script.kill()
        script.communicate()


def test_without_gpus_each_node_has_one(start: Callable[..., subprocess.Popen[str]]) -> None:
    port = _port()
    script = start({"127.0.0.1": 0, "127.0.0.2": 0}, "--gpus", "0", "--port", str(port), "MODEL", "name")
    try:
        assert sum("url" in line for line in _lines(script, 3)) == 2
    finally:
        script.terminate()
        script.communicate()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["broken", "name"], 1, "did not start"),
        (["--gpus", "16", "MODEL", "name"], 1, "no node of the cluster has 16 GPUs"),
        (["--gpus", "-1", "MODEL", "name"], 2, "--gpus is 0 or more"),
        (["--port", "70000", "MODEL", "name"], 2, "--port is from 1 to 65535"),
        (["MODEL"], 2, "required: name"),
    ],
)
def test_what_cannot_start_is_said(
    start: Callable[..., subprocess.Popen[str]], words: list[str], code: int, said: str, tmp_path: Path
) -> None:
    script = start({"127.0.0.1": 1}, *words)
    out, err = script.communicate(timeout=60)
    assert script.returncode == code and said in out + err and "Traceback" not in err
    if words[0] == "broken":
        (log,) = (tmp_path / "logs").iterdir()
        assert "no weights in `broken`" in log.read_text() and str(log) in out
