"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal), from the first line of a process to its last.

Before a command runs and after it `end_at_once` holds: modules are imported then, and nothing has been begun that would
have to be finished, so an exception could only be lost in an import or end as a traceback. While it runs `Signals`
holds: an exception, so that temporary files and processes go.

It has to be imported first, so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

LINE = "error: interrupted; run the same command again to go on"
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once() -> None:
    """From now on a signal ends the process, with 128 and its number; one that the parent has ignored stays ignored."""
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    try:  # noqa: SIM105 (contextlib is one more module)
        os.write(2, f"{LINE}\n".encode())
    except OSError:
        pass  # the terminal is gone
    os._exit(128 + number)  # no exception: an import that is under way may swallow one


class Signalled(KeyboardInterrupt):
    """A signal came.

    Not KeyboardInterrupt itself: where that has come through an `exec`, as dataclasses use it, Python 3.11 kills its
    process in the end, whatever code it was to exit with.
    """


class Signals:
    """Within it a signal raises `Signalled`; afterwards the former handlers hold.

    `received` is the last one that came, or None. It says more than the exception: on its way that may become another
    error (pydantic makes a SchemaError of it, click an Abort), or be dropped, and then it is raised again.

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
            signal.signal(number, signal.SIG_DFL)  # a second one does not wait
        elif number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)  # a closed terminal may send it again, while files are removed
        raise Signalled

    def _not_lost(self, lost: sys.UnraisableHookArgs) -> None:
        """Python drops an exception that a signal raises within a destructor or some imports: send it again."""
        if self.received is None or not isinstance(lost.exc_value, Signalled):
            self._former_hook(lost)
            return
        signal.signal(self.received, self._raise)
        again = threading.Timer(0.01, signal.raise_signal, (self.received,))  # from here it would be dropped again
        again.daemon = True
        again.start()
