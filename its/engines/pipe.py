"""An engine in a worker process, in its own environment: JSON lines over pipes.

In: {"models": {NAME: {"path", "adapter", "chat_template", "fingerprint"}}, "options"} once, then requests, {"id",
"model", "messages", "sampling", "seed", "sample_index", "start", "follow"}, and {"cancel": [ID]}. Out: {"ready",
"window"} once, then for each request {"id", "text", "finish_reason", "prompt_tokens", "completion_tokens",
"prompt_sha256", "weights"} or {"id", "error"} and maybe a "hint"; before that, of one to follow, {"id", "begun", "at"}:
what its text has behind so many characters, with "prompt_sha256" and "weights" at 0. {"unswappable"} if it cannot take
another model's weights, {"fatal"} if it cannot continue. The worker's parent is `workers/keeper.py`, which ends
whatever the engine started.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from its.engines.protocol import Completion, EngineDeathError, EngineModel, RefusedError, Request, SwapError
from its.errors import RunError

WORKERS = Path(__file__).parent / "workers"
KEEPER = WORKERS / "keeper.py"
LOG_END = 2**18
"""Bytes at the end of a log that are searched for the reason of a failure."""
CAUSE_CHARACTERS = 300
ELSEWHERE = re.compile(r"root cause|stack trace")
"""In an error of vLLM 0.32: another process failed, and its log has the reason."""
_LOGGED = re.compile(r"\([\w -]+pid=\d+\) ERROR [\d-]+ [\d:.]+ \[[^\]]*\] ?(.*)")
_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)(?:$|:)")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
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
        cores: what its processes may run on, Linux alone; () leaves it to the system.
        arrived: set at each line of the worker. With it the constructor returns before the worker is ready: `window` is
            0 until a `poll` finds that it is, and a worker that does not start is an error of `poll`.

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
        *,
        cores: Sequence[int] = (),
        arrived: threading.Event | None = None,
    ) -> None:
        self._log = log
        self.counts: dict[str, float] = {}
        self.window = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        settings = {**variables, "ITS_PARENT": str(os.getpid())}
        if all(model.offline for model in models):
            settings["HF_HUB_OFFLINE"] = "1"
        with log.open("ab") as sink, _running_on(cores):
            self._began = sink.tell()
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
        described = {
            model.name: {
                "path": model.path,
                "adapter": model.adapter,
                "chat_template": model.chat_template,
                "fingerprint": model.fingerprint,
            }
            for model in models
        }
        self._begun: dict[str, Completion] = {}  # by id, of requests that are not answered
        self._grew: set[str] = set()
        self._kept: list[str] = []  # lines behind completions, whose errors the next `poll` raises
        self._arrived = threading.Event() if arrived is None else arrived
        self._lines: queue.Queue[str | None] = queue.Queue()  # None: `poll` is to wait no longer
        begin = {"models": described, "options": dict(options)}
        threading.Thread(target=self._read, args=(begin,), daemon=True).start()
        if arrived is not None:
            return
        try:
            self._is_ready(self._lines.get() or "")
        except BaseException:
            self.close()  # the caller has no engine to close yet
            raise

    def submit(self, request: Request) -> None:
        # `poll` reports a dead engine, after the completions that it still delivered.
        with contextlib.suppress(RunError):
            self._send(
                {
                    "id": request.request_id,
                    "model": request.model,
                    **request.determinants(),
                    "seed": request.seed,
                    "follow": request.follow,
                }
            )

    def poll(self, timeout_seconds: float) -> list[Completion]:
        lines, self._kept = self._kept, []
        wait = 0.0 if lines else timeout_seconds
        with contextlib.suppress(queue.Empty):
            while not lines or lines[-1].endswith("\n"):  # what follows the end is the end again
                line = self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
                wait = 0.0
                lines += [] if line is None else [line]
        out: list[Completion] = []
        for index, line in enumerate(lines):
            try:
                if not self.window:
                    self._is_ready(line)
                elif "begun" in (message := self._parsed(line)):
                    self._grow(message)
                else:
                    out.append(self._completion(message))
            except RefusedError:
                self._kept = lines[index + (not out) :]
                if not out:
                    raise
                break  # the next call raises it
            except RunError:
                self._kept = lines[index:]  # first what came before, then the error
                if not out:
                    raise
                break
        return out

    def wake(self) -> None:
        self._lines.put(None)

    def begun(self) -> list[Completion]:
        grew, self._grew = self._grew, set()
        return [self._begun[name] for name in grew if name in self._begun]

    def cancel(self, request_ids: Collection[str]) -> None:
        with contextlib.suppress(RunError):  # `poll` reports it
            self._send({"cancel": sorted(request_ids)})

    def end(self) -> None:
        """Have the worker end; returns at once. `close` waits for it."""
        if self._process.poll() is None:
            self._process.terminate()

    def ended(self) -> bool:
        """Whether the worker, and all that it started, is gone."""
        return self._process.poll() is not None

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

    def _is_ready(self, line: str) -> None:
        self.window = max(1, int(self._parsed(line).get("window", 1)))

    def _read(self, begin: dict[str, Any]) -> None:
        assert self._process.stdout is not None
        # Here, since a worker that imports its library may not read yet, and a pipe holds 64 KiB.
        with contextlib.suppress(RunError, ValueError):  # dead, as the end of its lines says; or closed
            self._send(begin)
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
                self._arrived.set()
        self._lines.put("")  # the end
        self._arrived.set()

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
            raise EngineDeathError(f"the engine wrote a line that is not a message: {line[:80]!r}", f"see {self._log}")
        if "fatal" in message:
            fatal = message["fatal"]
            if ELSEWHERE.search(fatal) and (cause := root_cause(self._log, self._began)):
                fatal = cause
            raise EngineDeathError(f"the engine failed: {fatal}", f"its log: {self._log}")
        return message

    def _grow(self, message: dict[str, Any]) -> None:
        name, at, more = message["id"], message["at"], message["begun"]
        if not at:
            self._begun[name] = Completion(
                name, "", "", 0, 0, prompt_sha256=message["prompt_sha256"], weights=message["weights"]
            )
        known = self._begun[name]
        self._begun[name] = replace(known, text=known.text[:at] + more)
        self._grew.add(name)

    def _completion(self, message: dict[str, Any]) -> Completion:
        self._begun.pop(message.get("id", ""), None)
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

    def _death(self) -> EngineDeathError:
        code = self._process.wait()
        # The keeper passes on how the worker ended, as a shell does: 128 + signal.
        signal = -code if code < 0 else code - 128 if code > 128 else None
        how = f"exit code {code}" if signal is None else f"killed by signal {signal}"
        memory = "; signal 9 often means that memory ran out" if signal == 9 else ""
        return EngineDeathError(
            f"the engine died ({how})",
            f"its log: {self._log}; the responses before that are stored: run the stage again{memory}",
        )


def root_cause(log: Path, began: int = 0) -> str | None:
    """The last error that a process of vLLM's logged, where the one that started it says no more than that one failed.

    An assertion without a message is told with its source. None if the end of the log has no such error.

    Args:
        began: where the log of this start begins, in bytes; earlier ones share the file.
    """
    with contextlib.suppress(OSError), log.open("rb") as content:
        content.seek(max(began, content.seek(0, os.SEEK_END) - LOG_END))
        lines = content.read().decode("utf-8", errors="replace").splitlines()
        logged = [found[1].rstrip() for line in lines if (found := _LOGGED.match(_COLOURS.sub("", line)))]
        for at in range(len(logged) - 1, -1, -1):
            if not _RAISED.match(logged[at]) or ELSEWHERE.search(logged[at]):
                continue
            if ":" in logged[at]:
                return logged[at][:CAUSE_CHARACTERS]
            source = [line.strip() for line in logged[:at] if line.strip(" ^~")]
            return f"{logged[at]}: {source[-1] if source else ''}"[:CAUSE_CHARACTERS]
    return None


@contextlib.contextmanager
def _running_on(cores: Sequence[int]) -> Iterator[None]:
    """Start processes on these cores: they inherit the affinity of the thread that starts them."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
