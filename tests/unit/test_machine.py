"""What `its doctor` says of the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from its.checks.machine import GIB, check_machine
from its.environments import WANTED_BYTES


@pytest.mark.parametrize("missing", [-1, 0, 1])
def test_an_environment_that_does_not_fit_on_the_disk_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    wanted = {state["build"]: WANTED_BYTES[state["build"]] for state in check_machine().environments}
    assert wanted, "the study's own home has no environment yet"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=max(wanted.values()) - missing))
    said = [fault.message for fault in check_machine().faults if " GiB free, " in fault.message]
    largest = [build for build, size in wanted.items() if size == max(wanted.values())]
    assert len(said) == (len(largest) if missing > 0 else 0)
    for build, text in zip(largest if missing > 0 else [], said, strict=True):
        assert f"`{build}` needs {wanted[build] / GIB:.0f} GiB" in text
