"""Ctrl-C and SIGTERM while a command is not running yet, or not any more: the usual line, and the end.

Modules are imported then, and nothing has been begun that would have to be finished: an exception could only be lost in
an import or end as a traceback. It imports next to nothing itself, since it has to come first.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

LINE = "error: interrupted; run the same command again to go on"


def end_at_once() -> None:
    """From now on a signal ends the process, with 128 and its number; one that the parent has ignored stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{LINE}\n".encode())
    os._exit(128 + number)  # no exception: an import that is under way may swallow one
