"""The transformers worker where it needs no library: what it batches, in which order, and that nobody is forgotten.

What the libraries do for it is in tests/integration/test_transformers.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "its" / "engines" / "workers" / "transformers_worker.py"
GREEDY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "stop": []}


def _module() -> ModuleType:
    """The worker, which imports its libraries only when it loads a model."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(str(PROGRAM.parent))  # it imports what lies beside it
    spec = importlib.util.spec_from_file_location("transformers_worker", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["transformers_worker"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    monkeypatch.undo()
    return module


worker = _module()


class Reader:
    """Words for tokens; a context of 20 words."""

    def item(self, request: dict[str, Any]) -> Any:
        words = request["messages"][-1]["content"].split()
        if len(words) >= 20:
            raise worker.Refusal("too long")
        return worker.Item(request, list(range(len(words))), 8)


class Worker(worker.Worker):  # type: ignore[misc, name-defined]
    """The worker without a model: each request is answered with the size of its batch."""

    name: str

    def __init__(self, batch_size: int = 4) -> None:
        models = {name: {"path": name, "adapter": None, "fingerprint": f"f-{name}"} for name in ("a", "b")}
        self.loads: list[str] = []
        self.batches: list[list[str]] = []
        self.said: list[dict[str, Any]] = []
        super().__init__(models, {"batch_size": batch_size}, self.said.append)

    def reader(self, name: str) -> Any:
        return Reader()

    def load(self, name: str) -> None:
        if name != self.name:
            self.loads.append(name)
            self.name = name

    def generate(self, batch: list[Any]) -> None:
        self.batches.append([item.request["id"] for item in batch])
        for item in batch:
            item.text, item.reason, item.generated = str(len(batch)), "stop", [1, 2]


def request(name: str, words: int, model: str = "a", **sampling: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "word " * words}]
    return {"id": name, "model": model, "messages": messages, "sampling": {**GREEDY, **sampling}, "seed": 1}


def served(requests: list[dict[str, Any]], batch_size: int = 4) -> Worker:
    under_test = Worker(batch_size)
    inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
    for item in [*requests, None]:
        inbox.put(item)
    under_test.serve(inbox)
    return under_test


def test_each_request_is_answered_once_whatever_the_mixture() -> None:
    requests = [
        request(f"{index}", 1 + index % 19, "ab"[index % 7 > 3], max_tokens=1 + index % 3) for index in range(101)
    ]
    done = served(requests)
    assert sorted(item["id"] for item in done.said) == sorted(item["id"] for item in requests)
    of = {item["id"]: item for item in requests}
    for batch in done.batches:
        assert len(batch) <= 4
        assert len({(of[name]["model"], of[name]["sampling"]["max_tokens"]) for name in batch}) == 1
    assert {item["weights"] for item in done.said} == {"f-a", "f-b"}
    assert all(item["weights"] == f"f-{of[item['id']]['model']}" for item in done.said)


def test_like_lengths_stand_together_the_longest_first() -> None:
    done = served([request(f"{words}", words) for words in (3, 15, 2, 14, 1, 13, 4, 12)])
    assert done.batches == [["15", "14", "13", "12"], ["4", "3", "2", "1"]]


def test_a_model_in_memory_is_used_up_before_another_is_loaded() -> None:
    done = served([request(f"{index}", 2, "ab"[index % 2]) for index in range(24)])
    assert done.loads == ["a", "b"]


def test_what_cannot_be_answered_is_refused_by_itself() -> None:
    done = served([request("1", 2), request("long", 30), request("2", 2)])
    assert {item["id"]: item.get("error") for item in done.said} == {"1": None, "long": "too long", "2": None}


def test_no_more_wait_in_it_than_the_window() -> None:
    under_test = Worker(batch_size=2)
    assert under_test.window == 16
    most = 0

    class Inbox(queue.Queue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            nonlocal most
            most = max(most, len(under_test.waiting) + 1)
            return super().get(block, timeout)

    inbox = Inbox()
    for item in [*(request(f"{index}", 2) for index in range(60)), None]:
        inbox.put(item)
    under_test.serve(inbox)
    assert len(under_test.said) == 60
    assert most <= 16


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("one two", [], "one two"),
        ("one two", ["three"], "one two"),
        ("one two two", ["two"], "one "),
        ("one two", ["wo", "two"], "one "),
        ("\none", ["\n"], ""),
    ],
)
def test_the_text_ends_before_the_first_stop_string(text: str, stop: list[str], left: str) -> None:
    assert worker.cut_at_stop(text, stop) == left


def test_a_worker_without_its_libraries_says_so_in_one_line(tmp_path: Path) -> None:
    first = {"models": {"m": {"path": str(tmp_path), "adapter": None, "fingerprint": "f"}}, "options": {}}
    done = subprocess.run(
        [sys.executable, "-E", "-s", str(PROGRAM)],  # the core holds no transformers
        input=json.dumps(first) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == {"fatal": "ModuleNotFoundError: No module named 'transformers'"}
    assert "Traceback" in done.stderr


def test_a_fatal_error_is_quoted_beyond_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text(
        "class AutoModelForCausalLM:\n"
        "    def from_pretrained(*arguments, **options): raise ValueError('1 fault:\\n  max_len: not a number')\n"
        "GenerationConfig = None\n",
        encoding="utf-8",
    )
    first = {"models": {"m": {"path": str(tmp_path), "adapter": None, "fingerprint": "f"}}, "options": {}}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps(first) + "\n",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == {"fatal": "ValueError: 1 fault: max_len: not a number"}
