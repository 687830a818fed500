"""An engine in a worker process, in its own environment: JSON lines over pipes.

In: {"models": {NAME: {"path", "adapter", "chat_template", "fingerprint"}}, "options"} once, then requests, {"id",
"model", "messages", "sampling", "seed", "sample_index", "start"}. Out: {"ready", "window"} once, then for
each request {"id", "text", "finish_reason", "prompt_tokens", "completion_tokens", "prompt_sha256", "weights"} or {"id",
"error"} and maybe a "hint"; {"unswappable"} if it cannot take another model's weights, {"fatal"} if it cannot
continue. The worker's parent is `workers/keeper.py`, which ends whatever the engine started.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from its.engines.protocol import Completion, EngineModel, RefusedError, Request, SwapError
from its.errors import RunError

WORKERS = Path(__file__).parent / "workers"
KEEPER = WORKERS / "keeper.py"
CLOSE_SECONDS = 15.0  # the keeper gives the engine 5 s to end by itself and then kills it


class WorkerEngine:
    """A running worker.

    Args:
        python: of the engine environment.
        worker: its program.
        models: those that requests may name.
        options: for the worker's library.
        variables: the worker's whole environment.
        log: receives all that the libraries print; errors point to it.

    Raises:
        RunError: if the engine does not start.
    """

    def __init__(
        self,
        python: Path,
        worker: Path,
        models: Sequence[EngineModel],
        options: Mapping[str, Any],
        variables: Mapping[str, str],
        log: Path,
    ) -> None:
        self._log = log
        self.counts: dict[str, float] = {}
        log.parent.mkdir(parents=True, exist_ok=True)
        settings = {**variables, "ITS_PARENT": str(os.getpid())}
        if all(model.offline for model in models):
            settings["HF_HUB_OFFLINE"] = "1"
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(python), str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=settings,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",  # a garbled line is quoted below
            )
        self._lines: queue.Queue[str] = queue.Queue()
        self._left: list[str] = []  # read and not yet returned by `poll`
        threading.Thread(target=self._read, daemon=True).start()
        try:
            described = {
                model.name: {
                    "path": model.path,
                    "adapter": model.adapter,
                    "chat_template": model.chat_template,
                    "fingerprint": model.fingerprint,
                }
                for model in models
            }
            self._send({"models": described, "options": dict(options)})
            ready = self._parsed(self._lines.get())
        except BaseException:
            self.close()  # the caller has no engine to close yet
            raise
        self.window = int(ready.get("window", 1))

    def submit(self, request: Request) -> None:
        # `poll` reports a dead engine, after the completions that it still delivered.
        with contextlib.suppress(RunError):
            self._send(
                {"id": request.request_id, "model": request.model, **request.determinants(), "seed": request.seed}
            )

    def poll(self, timeout_seconds: float) -> list[Completion]:
        lines, self._left = self._left, []
        try:
            lines = lines or [self._lines.get(timeout=timeout_seconds)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while lines[-1].endswith("\n"):  # what follows the end is the end again
                lines.append(self._lines.get_nowait())
        out: list[Completion] = []
        for place, line in enumerate(lines):
            if out and not line.endswith("\n"):
                self._left = [line]  # first what came before the end, then the end
                break
            try:
                out.append(self._completion(self._parsed(line)))
            except RefusedError:
                self._left = lines[place + (not out) :]
                if not out:
                    raise
                break  # the next call raises it
        return out

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")  # the end

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error

    def _parsed(self, line: str) -> dict[str, Any]:
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

    def _completion(self, message: dict[str, Any]) -> Completion:
        if "unswappable" in message:
            raise SwapError(message["unswappable"])
        if "error" in message:
            raise RefusedError(
                message["id"],
                f"the engine refused request `{message['id']}`: {message['error']}",
                message.get("hint", "is `context_length` large enough for the prompt and `max_tokens`?"),
            )
        return Completion(
            request_id=message["id"],
            text=message["text"],
            finish_reason=message["finish_reason"],
            prompt_tokens=message["prompt_tokens"],
            completion_tokens=message["completion_tokens"],
            prompt_sha256=message["prompt_sha256"],
            weights=message["weights"],
        )

    def _death(self) -> RunError:
        code = self._process.wait()
        # The keeper passes on how the worker ended, as a shell does: 128 + signal.
        signal = -code if code < 0 else code - 128 if code > 128 else None
        how = f"exit code {code}" if signal is None else f"killed by signal {signal}"
        memory = "; signal 9 often means that memory ran out" if signal == 9 else ""
        return RunError(
            f"the engine died ({how})",
            f"its log: {self._log}; the responses before that are stored: run the stage again{memory}",
        )
