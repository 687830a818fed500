"""The counts of the hostile suite: a fixture for tests, printed at the end of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hostile.outcomes import TALLY, Tally


@pytest.fixture
def tally() -> Tally:
    """Runs a case and counts its end; see `outcomes.py`."""
    return TALLY


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: send the counts to the process that prints them."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["hostile"] = {kind: dict(ends) for kind, ends in TALLY.ends.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the counts of a worker that has ended."""
    for kind, ends in getattr(node, "workeroutput", {}).get("hostile", {}).items():
        TALLY.ends.setdefault(kind, Counter()).update(ends)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for kind, ends in sorted(TALLY.ends.items()):
        told = ", ".join(f"{ends[end]} {end}" for end in ("accepted", "refused", "tracebacks", "hangs", "escapes"))
        terminalreporter.write_line(f"hostile {kind}: {ends['cases']} cases, {told}")
