"""A bound of processor time that holds on a slow or busy machine too."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = 300_000
SECONDS = 0.03
"""What `STEPS` steps take on a fast core; on a slow one, or on one that shares its units with a busy one, they take 1.5
to 3 times as long, as does all else."""


@contextmanager
def processor_seconds(limit: float, what: str = "it") -> Iterator[None]:
    """Fail if the body takes more processor time than `limit` seconds of a fast core.

    The pace of this machine is taken where the limit is exceeded. What earlier tests left is not collected in the
    measured time.
    """
    gc.disable()
    try:
        began = time.process_time()
        yield
        took = time.process_time() - began
    finally:
        gc.enable()
    bound = limit if took < limit else limit * max(1.0, _pace(), _pace())
    assert took < bound, f"{what} takes {took:.1f} s of processor time; the bound is {bound:.1f} s here"


def _pace() -> float:
    began, total = time.process_time(), 0
    for step in range(STEPS):
        total += step & 7
    return (time.process_time() - began) / SECONDS
