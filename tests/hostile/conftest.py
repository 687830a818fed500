"""The counts of the hostile suite: a fixture for tests, printed at the end of a run."""

from __future__ import annotations

from typing import Any

import pytest
from hostile.outcomes import TALLY, Tally


@pytest.fixture
def tally() -> Tally:
    """Runs a case and counts its end; see `outcomes.py`."""
    return TALLY


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for kind, ends in sorted(TALLY.ends.items()):
        told = ", ".join(f"{ends[end]} {end}" for end in ("accepted", "refused", "tracebacks", "hangs", "escapes"))
        terminalreporter.write_line(f"hostile {kind}: {ends['cases']} cases, {told}")
