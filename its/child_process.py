"""A child process that ends with its parent, even when the parent is killed by `kill -9`."""

from __future__ import annotations

import ctypes
import signal
import sys

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded now: nothing should be between fork and exec
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; on Linux alone, elsewhere it does nothing.

    Call it in the child: as `preexec_fn` (it survives the exec), or after a fork.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
