"""Count what becomes of hostile input: every case ends in words, within its time, and leaves no trace outside.

A case has one of three good ends (accepted, refused by an `ItsError`, faults listed) and three bad ones: a traceback,
a hang, an escape (code that ran, a file that was read or written where none should be). The counts are printed at the
end of a run, so that a list of cases that shrinks is seen.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from its.errors import ItsError

LONG = "ITS_HOSTILE_LONG" in os.environ
"""Whether the lists run whole: an hour on two cores. Without it each has what takes seconds."""
SECONDS = 10.0
"""For one case, unless it says otherwise: far above what any of them takes, far below what a reader would wait."""


class Hang(BaseException):
    """The time of a case is over; no `except Exception` of the code under test can swallow it."""


@dataclass
class Tally:
    """What became of the cases of this run, by kind (recipe, template, file, store, server)."""

    ends: dict[str, Counter[str]] = field(default_factory=dict)

    def __call__(self, kind: str, act: Callable[[], Any], seconds: float = SECONDS) -> ItsError | None:
        """Run one case; None if it was accepted, the error if it was refused.

        Raises:
            AssertionError: for a traceback or a hang; the exception that ended it is its cause.
        """
        ends = self.ends.setdefault(kind, Counter())
        ends["cases"] += 1
        try:
            with _limited(seconds):
                act()
        except ItsError as error:
            ends["refused"] += 1
            return error
        except Hang as error:
            ends["hangs"] += 1
            raise AssertionError(f"not done within {seconds:g} s") from error
        except BaseException as error:
            ends["tracebacks"] += 1
            raise AssertionError(f"a traceback: {type(error).__name__}: {str(error)[:300]}") from error
        ends["accepted"] += 1
        return None

    def escaped(self, kind: str, what: str) -> None:
        """Note an escape, and fail."""
        self.ends.setdefault(kind, Counter())["escapes"] += 1
        raise AssertionError(f"escaped: {what}")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    # The processor's time, so that what else the machine does is not counted; the clock for what waits.
    timers = {(signal.SIGPROF, signal.ITIMER_PROF): seconds, (signal.SIGALRM, signal.ITIMER_REAL): 10 * seconds}
    former = {number: signal.signal(number, ring) for number, _ in timers}
    for (_, timer), limit in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for number, timer in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, former[number])


TALLY = Tally()
"""The counts of the whole run."""
