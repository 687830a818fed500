"""Which of many alike cases a run tests: a spread of them by default, all with `ITS_ALL_CASES=1`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

Case = TypeVar("Case")


def spread(cases: Sequence[Case], one_in: int) -> list[Case]:
    """Every `one_in`-th case, the same ones each time: for cases of several seconds each.

    CONTRIBUTING says when to take all.
    """
    return list(cases) if os.environ.get("ITS_ALL_CASES") == "1" else list(cases[::one_in])
