"""What the tests of engines share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from its.engines.protocol import Engine, RefusedError


def outcomes(
    engine: Engine, count: int, meanwhile: Callable[[], object] = lambda: None, seconds: float = 60.0
) -> tuple[list[str], list[RefusedError]]:
    """Poll until so many requests came back: the names of those completed, and the refusals.

    Args:
        meanwhile: called after each poll.
        seconds: after which it ends, with what there is.
    """
    done: list[str] = []
    refused: list[RefusedError] = []
    until = time.monotonic() + seconds
    while len(done) + len(refused) < count and time.monotonic() < until:
        try:
            done += [item.request_id for item in engine.poll(0.02)]
        except RefusedError as error:
            refused.append(error)
        meanwhile()
    return done, refused


def check_wakes(engine: Engine) -> None:
    """A `poll` of an engine without requests ends when it is woken, also if that was before it."""
    for delay in (0.0, 0.2):
        began = time.monotonic()
        waking = threading.Timer(delay, engine.wake)
        waking.start()
        if not delay:
            waking.join()
        assert engine.poll(30.0) == [] and time.monotonic() - began < 10
        waking.join()
    began = time.monotonic()
    assert engine.poll(0.2) == [] and time.monotonic() - began > 0.15, "it waits again"
