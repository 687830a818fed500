"""The workers' end of the pipe of `its.engines.pipe`, shared by all engines.

Python finds it beside the program that it runs. Imports nothing of `its`.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TextIO

FATAL_CHARACTERS = 300

Message = dict[str, Any]
Inbox = queue.Queue[Message | None]
"""Requests as they arrive, and {"cancel": [ID]}; None after the last."""
CANCELLED = "it was cancelled"
REPORT_SECONDS = 0.05
"""The least time between two reports of a text that grows: at 20 a second it seems to flow."""
Say = Callable[[Message], None]


class Worker(Protocol):
    """A loaded engine; `window` is how many requests it wants under way."""

    window: int

    def serve(self, inbox: Inbox) -> None:
        """Answer requests until the inbox ends."""


def prompt_sha256(tokens: Sequence[int]) -> str:
    """The fingerprint of a prompt's token ids."""
    return hashlib.sha256(",".join(map(str, tokens)).encode()).hexdigest()


class Begun:
    """Reports the texts of requests to follow while they are generated."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._known: dict[str, tuple[str, float]] = {}  # by id: the text that was reported, and when

    def due(self, request: Message) -> bool:
        """Whether a request is followed and the last report is old enough."""
        last = self._known.get(request["id"], ("", 0.0))[1]
        return bool(request["follow"]) and time.monotonic() - last > REPORT_SECONDS

    def report(self, request: Message, text: str, tokens: Sequence[int], weights: str) -> None:
        """Report what a text has more; one that no longer begins with what was reported is left out."""
        name = request["id"]
        known = self._known.get(name, ("", 0.0))[0]
        if len(text) <= len(known) or not text.startswith(known):
            return
        first = {} if known else {"prompt_sha256": prompt_sha256(tokens), "weights": weights}
        self._say({"id": name, "begun": text[len(known) :], "at": len(known), **first})
        self._known[name] = (text, time.monotonic())

    def end(self, name: str) -> None:
        """Forget a request that is answered or refused."""
        self._known.pop(name, None)


def run(load: Callable[[dict[str, Message], Message, Say], Worker]) -> NoReturn:
    """Load an engine, answer requests until the pipe ends, and end the process, with 1 after an error.

    Call it under `if __name__ == "__main__":`: processes that vLLM spawns run the rest of the file again.

    Args:
        load: receives the models by name, the options, and the function that sends a message.
    """
    out = _take_stdout()

    def say(message: Message) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        first = json.loads(sys.stdin.readline())
        worker = load(first["models"], first["options"], say)
        say({"ready": True, "window": worker.window})
        inbox: Inbox = queue.Queue()
        threading.Thread(target=_read_requests, args=(inbox,), daemon=True).start()
        worker.serve(inbox)
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:FATAL_CHARACTERS]  # pydantic says what is wrong on the second line
        say({"fatal": f"{type(error).__name__}: {text}"})
        os._exit(1)
    os._exit(0)  # skip the libraries' slow teardown


def _take_stdout() -> TextIO:
    """Reserve stdout for messages: libraries print to stderr, the log. Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _read_requests(inbox: Inbox) -> None:
    """Drain the pipe whatever the engine does, so that the parent never waits while it writes."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put(None)
