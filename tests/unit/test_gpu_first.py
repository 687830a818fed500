"""scripts/gpu_first.sh with programs that stand in for the real ones: order, failures, the summary, the exit code."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_first.sh"
NEED_GPU = {"gpu", "memory"}
PROGRAMS = ("its", "pytest", "python", "nvidia-smi")
# Each call is a line of `calls`; one that has a line of `fails` in it ends with 3, one of `hangs` ends by a signal.
PROGRAM = """#!/bin/sh
call="${0##*/} $*"
case $call in "nvidia-smi -L") exit 9 ;; esac
echo "$call" >> "$FOLDER/calls"
printf 'almost\\rdone with \\033[31m%s\\n\\n' "$call"
grep -qxF -e "$call" "$FOLDER/hangs" && sleep 60
grep -qxF -e "$call" "$FOLDER/fails" && exit 3
exit 0
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    for name in ("calls", "fails", "hangs"):
        (tmp_path / name).touch()
    return {"PATH": f"{programs}:/usr/bin:/bin", "FOLDER": str(tmp_path), "ITS_HOME": str(tmp_path / "home")}


def _run(variables: dict[str, str], *words: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout and stderr, and the calls of the stand-ins."""
    done = subprocess.run(
        ["bash", str(SCRIPT), *words], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    calls = Path(variables["FOLDER"], "calls").read_text(encoding="utf-8").splitlines()
    return done.returncode, (done.stdout + done.stderr).splitlines(), calls


def _listed(variables: dict[str, str]) -> dict[str, str]:
    """The command of each step."""
    code, lines, calls = _run(variables, "--list")
    assert code == 0 and calls == []
    return dict(line.split(maxsplit=1) for line in lines if not line.startswith(" "))


def _summary(lines: list[str]) -> dict[str, str]:
    """The result of each step, as the table at the end has it."""
    at = next(at for at, line in enumerate(lines) if line.startswith("summary"))
    rows = [re.fullmatch(r"(\w+) +(PASS|FAIL|skip) +\d+ s", line) for line in lines[at + 1 : -1]]
    return {row[1]: row[2] for row in rows if row}


def test_the_steps_run_in_order_and_without_a_gpu_in_small_sizes(variables: dict[str, str]) -> None:
    steps = _listed(variables)
    code, lines, calls = _run(variables)
    assert code == 0
    assert calls == [command for name, command in steps.items() if name not in NEED_GPU]
    assert _summary(lines) == {name: "skip" if name in NEED_GPU else "PASS" for name in steps}
    assert lines[-1] == f"{len(steps) - 2} passed, 0 failed, 2 skipped, on the CPU"
    assert "--prompts 96" in steps["throughput"]
    assert re.search(rf"PASS: \d+ s, done with .31m{steps['vllm']}$", "\n".join(lines), re.MULTILINE)


def test_a_failure_stops_only_what_needs_it(variables: dict[str, str]) -> None:
    steps = _listed(variables)
    failing = [steps["vllm"], steps["lora"]]
    Path(variables["FOLDER"], "fails").write_text("\n".join(failing) + "\n", encoding="utf-8")
    code, lines, calls = _run(variables)
    assert code == 1
    need_vllm = {"machine", "settings", "sampling", "swap", "throughput"}
    wanted = {name: "skip" if name in {*NEED_GPU, *need_vllm} else "PASS" for name in steps}
    assert _summary(lines) == wanted | {"vllm": "FAIL", "lora": "FAIL"}
    assert calls == [command for name, command in steps.items() if wanted[name] == "PASS"]
    assert "  skip: it needs `vllm`, which failed" in lines
    log = Path(variables["ITS_HOME"], "logs", "gpu_first", "lora.log")
    failed = next(at for at, line in enumerate(lines) if line.startswith("  FAIL: exit code 3") and str(log) in line)
    assert lines[failed + 1 : failed + 3] == ["    almost", f"    done with [31m{steps['lora']}"]
    assert log.read_bytes().startswith(b"almost\rdone with \x1b")


def test_named_steps_run_in_the_order_of_the_list_and_others_are_refused(variables: dict[str, str]) -> None:
    steps = _listed(variables)
    code, lines, calls = _run(variables, "swap", "transformers")
    assert code == 0 and calls == [steps["transformers"], steps["swap"]]
    assert list(_summary(lines)) == ["transformers", "swap"]
    code, lines, again = _run(variables, "swap", "no such")
    assert code == 2 and again == calls
    assert lines == [f"error: no step `no such`; the steps are {' '.join(steps)}"]


def test_a_stop_ends_the_step_and_prints_the_summary(variables: dict[str, str]) -> None:
    command = _listed(variables)["machine"]
    folder = Path(variables["FOLDER"])
    (folder / "hangs").write_text(f"{command}\n", encoding="utf-8")
    began = time.monotonic()
    process = subprocess.Popen(["bash", str(SCRIPT)], env=variables, stdout=subprocess.PIPE, text=True)
    while command not in (folder / "calls").read_text(encoding="utf-8"):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 130 and time.monotonic() - began < 30
    assert _summary(lines) == {"gpu": "skip", "axolotl": "PASS", "vllm": "PASS"}
    assert not [line for line in lines if line.startswith("settings")]


def test_what_the_steps_run_is_there(variables: dict[str, str]) -> None:
    """A renamed test or option would make a step fail, or run nothing, on a machine that costs money."""
    for name, command in _listed(variables).items():
        program, *words = command.split()
        assert program in PROGRAMS
        files = [ROOT / word for word in words if word.endswith(".py")]
        text = "".join(path.read_text(encoding="utf-8") for path in files)
        for option, value in itertools.pairwise(words):
            if option == "-k":
                assert value in text, name
        if program == "python":
            assert all(f'"{word}"' in text for word in words if word.startswith("--")), name


def test_the_document_has_every_step_in_order(variables: dict[str, str]) -> None:
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    section = text.split("\n## The first hour on a GPU\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(_listed(variables))
    assert os.access(SCRIPT, os.X_OK)
