"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal), from the first line of a process to its last.

Before and after a command `end_at_once` applies: modules are being imported and nothing needs cleaning up, so an
exception could only be lost in an import or end as a traceback. While the command runs `Signals` applies: an exception,
so that temporary files and processes are removed.

It has to be imported first, so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

LINE = "error: interrupted; run the same command again to continue"
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once() -> None:
    """From now on a signal ends the process with 128 + its number; one that the parent ignored stays ignored."""
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    try:  # noqa: SIM105 (contextlib is one more module)
        os.write(2, f"{LINE}\n".encode())
    except OSError:
        pass  # the terminal is gone
    os._exit(128 + number)  # no exception: an import in progress may swallow it


class Signalled(KeyboardInterrupt):
    """A signal was received.

    Not KeyboardInterrupt itself: if that passed through an `exec`, as dataclasses use it, Python 3.11 kills its process
    at the end, whatever exit code was set.
    """


class Signals:
    """A context in which a signal raises `Signalled`; the previous handlers are restored afterwards.

    `received` is the last signal, or None. It is more reliable than the exception, which may become another error on
    its way (pydantic makes it a SchemaError, click an Abort), or be dropped; then it is raised again.

    Outside the main thread, where no handler can be set, it does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._former: dict[int, Any] = {}
        self._former_hook = sys.unraisablehook

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.getsignal(number) for number in _NUMBERS}
            sys.unraisablehook = self._not_lost
            for number, handler in self._former.items():
                # Ignored: SIGINT as a shell's background jobs have it, SIGHUP under `nohup`.
                if number == signal.SIGTERM or handler is not signal.SIG_IGN:
                    signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._former_hook

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        elif number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)  # a closed terminal may send it again during the clean-up
        raise Signalled

    def _not_lost(self, lost: sys.UnraisableHookArgs) -> None:
        """Send the signal again: Python drops an exception that a signal raises in a destructor or some imports."""
        if self.received is None or not isinstance(lost.exc_value, Signalled):
            self._former_hook(lost)
            return
        signal.signal(self.received, self._raise)
        again = threading.Timer(0.01, signal.raise_signal, (self.received,))  # an exception here would be dropped again
        again.daemon = True
        again.start()
