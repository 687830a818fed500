"""What the tests of the store put into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from its.store import PutItem, Store, response_key, vllm_identity

IDENTITY = vllm_identity("sha256:aa", {"dtype": "bfloat16"}, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}, "lock")
GREEDY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 64, "stop": []}
SAMPLED = {**GREEDY, "temperature": 0.7}


def determinants(prompt: int = 0, sample: int = 0, **changed: Any) -> dict[str, Any]:
    """Those of a sampled request to the numbered prompt."""
    return {
        "messages": [{"role": "user", "content": f"What is {prompt} + {prompt}? \\frac{{1}}{{2}} é"}],
        "sampling": SAMPLED,
        "seed": 1000 * prompt + sample,
        "sample_index": sample,
        "start": None,
    } | changed


def item(session: str, prompt: int = 0, sample: int = 0, text: str | None = None, **changed: Any) -> PutItem:
    """A response of the session to the numbered prompt."""
    request = determinants(prompt, sample, **changed)
    body = {"text": text or f"{prompt} {sample}: " + "so the sum is 2 \\cdot n, " * 20, "finish_reason": "stop"}
    return PutItem(response_key(session, request), session, request, body)


def fill(store: Store, prompts: int, samples: int = 1, model: str = "sha256:aa") -> list[PutItem]:
    """Put `samples` responses to each of so many prompts; what was put."""
    session = store.register(IDENTITY | {"model": model}, {"checkpoints": [f"checkpoint of {model}"]})
    items = [item(session, prompt, sample) for prompt in range(prompts) for sample in range(samples)]
    store.put_many(items)
    return items


def found(store: Store, items: list[PutItem]) -> dict[str, dict[str, Any]]:
    return dict(store.find([entry.key for entry in items]))


def bodies(items: list[PutItem]) -> dict[str, dict[str, Any]]:
    return {entry.key: dict(entry.response) for entry in items}


class Processes:
    """Other processes, which end with the test."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, code: str, *words: object) -> subprocess.Popen[str]:
        """Run the code with the store's names imported; its words are `sys.argv[1:]`."""
        head = (
            "import os, signal, sys, time\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\nfrom its.store import Store\nfrom store_samples import *\n"
        )
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-c", head + code, *map(str, words)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._started.append(process)
        return process

    def run(self, code: str, *words: object) -> str:
        """Start the code and wait for its end; what it printed."""
        return self.end(self.start(code, *words))

    def end(self, process: subprocess.Popen[str]) -> str:
        """Wait for a process that has to end well; what it printed."""
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def say(self, process: subprocess.Popen[str], line: str = "go") -> None:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()

    def hear(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def kill_all(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def damage_body(store: Store, key: str, offset: int = 20) -> None:
    """Flip bits of a stored body, as a disk would: the checksum stays."""
    where = (bytes.fromhex(key),)
    body = bytearray(store.db.execute("SELECT body FROM responses WHERE key = ?", where).fetchone()[0])
    body[offset] ^= 0xFF
    store.db.execute("UPDATE responses SET body = ? WHERE key = ?", (bytes(body), *where))


def damage_page(path: Path, body: bytes) -> None:
    """Overwrite the head of the page that holds a body; the store must be closed."""
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    at = content.index(body) // size * size
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
