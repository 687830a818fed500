"""Ctrl-C, SIGTERM and SIGHUP at any moment of a short command: the usual line and 128 + signal, never a traceback.

A signal counts from when ITS could take it: in the first file of ITS that Python runs, after its first lines. Before,
while Python itself starts, Python answers: it dies of the signal, or says what it was doing. The moment is told by a
file that a `sitecustomize` in the test's folder writes when `its.cli.main` is looked for.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hostile.outcomes import LONG
from hostile.store_truth import content, fill

from its.store import Store
from its.store.recovery import readable_store

ROOT = Path(__file__).parents[2]
MOMENTS = [round(0.01 * index, 3) for index in range(41)]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FEW = {(moment, number) for moment in (0.05, 0.1, 0.15, 0.2) for number in SIGNALS}
CASES = [case for case in itertools.product(MOMENTS, SIGNALS, ("module", "script")) if LONG or case[:2] in FEW]
_SEEN = """
import sys


class _Seen:
    def find_spec(self, name, path=None, target=None):
        if name == "its.cli.main":
            open({begun!r}, "w").close()


sys.meta_path.insert(0, _Seen())
"""


def _words(how: str, folder: Path) -> list[str]:
    if how == "module":
        return [sys.executable, "-m", "its"]
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["its"]
    module, _, function = entry.partition(":")
    script = folder / "its"  # what pip writes
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return [sys.executable, str(script)]


@pytest.mark.parametrize(("moment", "number", "how"), CASES)
def test_a_signal_ends_a_command_with_a_line(
    moment: float, number: signal.Signals, how: str, tmp_path: Path, tally: Any
) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "sitecustomize.py").write_text(_SEEN.format(begun=str(begun)))
    ended: list[tuple[int, str]] = []

    def send() -> None:
        process = subprocess.Popen(
            [*_words(how, tmp_path), "recipe", "check"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(moment)
        early = not begun.exists()
        process.send_signal(number)
        said = process.communicate(timeout=20)[1]
        ended.append((process.returncode, said))
        if early:
            ended.append((0, ""))

    tally("signal", send)
    if len(ended) > 1:
        tally("signal, of these before ITS", lambda: None)
        return
    ((code, said),) = ended
    assert not re.search("Traceback|Exception ignored|Fatal", said), said
    if said:
        assert (code, said.strip()) == (128 + number, "error: interrupted; run the same command again to continue")
    else:
        assert code in (0, -number, 1, 128 + number)


_RESCUED = """
import os, signal, sys
if {ignored}:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from its.interrupts import Signals, Signalled, end_at_once
end_at_once()
from pathlib import Path
from its.files import atomic_file
from its.store.recovery import readable_store
folder = Path(sys.argv[1])
try:
    with Signals() as signals, readable_store(folder / "store.sqlite"), atomic_file(folder / "out") as out:
        os.kill(os.getpid(), signal.SIGHUP)
        out.write("whole")
except Signalled:
    sys.exit(128 + signals.received)
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_leaves_no_temporary_file(ignored: bool, tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        fill(store, 3)
    file = bytearray((tmp_path / "store.sqlite").read_bytes())
    file[:16] = bytes(16)
    (tmp_path / "store.sqlite").write_bytes(file)
    words = [sys.executable, "-c", _RESCUED.format(ignored=ignored), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0 if ignored else 129, "")
    left = {path.name for path in tmp_path.iterdir()} - {"locks"}
    assert left == {"store.sqlite", *(["out"] if ignored else [])}


def test_a_rescued_copy_goes_with_its_process(tmp_path: Path) -> None:
    """Once it is open it has no name, so that not even SIGKILL leaves it."""
    with Store(tmp_path / "store.sqlite") as store:
        fill(store, 3)
        known = content(store)
    file = bytearray((tmp_path / "store.sqlite").read_bytes())
    file[:16] = bytes(16)
    (tmp_path / "store.sqlite").write_bytes(file)
    with readable_store(tmp_path / "store.sqlite") as rescued:
        assert [path for path in tmp_path.rglob("*") if path.is_file() and ".rescue-" in str(path)] == []
        assert content(rescued) == known
