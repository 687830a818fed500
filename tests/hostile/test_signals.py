"""Ctrl-C and SIGTERM at any moment of a short command: the usual line and 130 or 143, never a traceback.

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

ROOT = Path(__file__).parents[2]
MOMENTS = [round(0.01 * index, 3) for index in range(41)]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FEW = {(moment, number) for moment in (0.05, 0.1, 0.15, 0.2) for number in SIGNALS}
CASES = [
    pytest.param(*case, marks=[] if case[:2] in FEW else [pytest.mark.integration])
    for case in itertools.product(MOMENTS, SIGNALS, ("module", "script"))
]
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
        assert (code, said.strip()) == (128 + number, "error: interrupted; run the same command again to go on")
    else:
        assert code in (0, -number, 1, 128 + number)
