"""`its run` over real DVC: what is shown, what a failure and a signal leave; `--dry` changes nothing."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import ROOT

from its.cli.run import run
from its.commands.run import StageFailed, reproduce
from its.commands.run_view import View, recorded_seconds, status_text, told_seconds
from its.errors import MissingError, RunError
from its.progress import FILE_VARIABLE, Progress

pytestmark = pytest.mark.integration
Its = Callable[..., tuple[int, str, str]]
GRAPH = """stages:
  first:
    cmd: echo made > first.txt
    deps: [source.txt]
    outs: [first.txt]
  second:
    cmd: python second.py
    deps: [first.txt, second.py]
    outs: [second.txt]
"""
SLEEPS = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
WRITES = "open('second.txt', 'w').write('made')\n"


@pytest.fixture
def graph(project: Path) -> Path:
    """A graph of two stages in a DVC repository without git."""
    (project / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    (project / "source.txt").write_text("a", encoding="utf-8")
    (project / "second.py").write_text(WRITES, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=project, check=True)
    return project


def _view(project: Path) -> tuple[View, io.StringIO]:
    stream = io.StringIO()
    return View(project / "results" / "cost", stream), stream


def _files(project: Path) -> dict[str, bytes]:
    found = (path for path in project.rglob("*") if path.is_file() and ".dvc" not in path.parts)
    return {str(path.relative_to(project)): path.read_bytes() for path in found}


def test_a_run_shows_its_stages_and_a_second_one_does_nothing(graph: Path) -> None:
    view, said = _view(graph)
    reproduce(graph, ["--dry"], view)
    assert view.ran == ["first"] and view.more, "DVC lists no stage whose inputs an earlier one would write"
    assert not (graph / "first.txt").exists() and not (graph / "dvc.lock").exists()
    view, said = _view(graph)
    reproduce(graph, [], view)
    assert said.getvalue() == "stage first\nstage second\n"
    view, said = _view(graph)
    reproduce(graph, [], view)
    assert view.up_to_date and view.kept == 2 and not view.ran and said.getvalue() == ""
    view, said = _view(graph)
    reproduce(graph, ["--single-item", "--force", "second"], view)
    assert view.ran == ["second"], "words go to `dvc repro`"


def test_a_run_of_some_stages_succeeds_before_there_is_a_table(graph: Path, its: Its) -> None:
    code, out, err = its("run", "--", "first")
    assert (code, out) == (0, "")
    assert err.startswith("stage first\nnote: no table: ") and err.endswith("`its run` runs the stages that are left\n")
    code, _, err = its("run")
    assert code == 4 and "error: " in err, "a whole run without results is an error"


@pytest.mark.parametrize(("code", "ours"), [(3, 3), (4, 4), (77, 1)])
def test_a_failed_stage_says_its_own_error_once_and_gives_its_code(graph: Path, code: int, ours: int) -> None:
    text = f"import sys\nprint('error: row 3 is \\x1b[31mbroken', file=sys.stderr)\nsys.exit({code})\n"
    (graph / "second.py").write_text(text, encoding="utf-8")
    view, said = _view(graph)
    with pytest.raises(StageFailed, match="stage `second` failed") as caught:
        reproduce(graph, [], view)
    assert caught.value.exit_code == ours
    assert said.getvalue() == "stage first\nstage second\nerror: row 3 is \\x1b[31mbroken\n"
    (graph / "second.py").write_text(WRITES, encoding="utf-8")
    view, said = _view(graph)
    reproduce(graph, [], view)
    assert said.getvalue() == "stage second\n", "the finished stage is kept"


def test_a_fault_of_dvc_within_a_stage_is_named(graph: Path) -> None:
    (graph / "dvc.yaml").write_text(GRAPH.replace("echo made > first.txt", "'true'"), encoding="utf-8")
    with pytest.raises(StageFailed, match=r"stage `first` failed: .*first\.txt"):
        reproduce(graph, [], _view(graph)[0])


def test_a_fault_of_dvc_yaml_is_an_error_of_dvc(graph: Path) -> None:
    (graph / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    with pytest.raises(RunError, match=r"DVC: |ended with exit code"):
        reproduce(graph, [], _view(graph)[0])


@pytest.fixture
def running(graph: Path) -> Iterator[subprocess.Popen[str]]:
    """`its run` in the middle of its second stage."""
    (graph / "second.py").write_text(SLEEPS, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "its", "run"],
        cwd=graph,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 30
    while not (graph / "pid").exists() or not (graph / "pid").read_text("utf-8"):
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_dvc_and_its_stage_and_the_next_run_resumes(
    graph: Path, running: subprocess.Popen[str], number: int, code: int
) -> None:
    stage = int((graph / "pid").read_text("utf-8"))
    running.send_signal(number)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == code
    assert said.endswith("error: interrupted; run the same command again to continue\n") and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)
    (graph / "second.py").write_text(WRITES, encoding="utf-8")
    view, shown = _view(graph)
    reproduce(graph, [], view)
    assert shown.getvalue() == "stage second\n" and (graph / "second.txt").is_file()


def test_a_second_run_says_that_another_one_is_going_on(graph: Path, running: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError, match="another DVC process is running in this project"):
        reproduce(graph, ["--force"], _view(graph)[0])


def test_what_is_missing_is_said_with_a_hint(project: Path, its: Its) -> None:
    code, _, err = its("run")
    assert code == 4 and "not in a DVC repository" in err and "dvc init" in err
    code, _, err = its("run", "quickstrat")
    assert code == 4 and "did you mean `quickstart`?" in err
    (project / "params.yaml").unlink()
    with pytest.raises(MissingError, match=r"no params\.yaml"):
        reproduce(project, [], _view(project)[0])


def test_dry_and_a_refusal_change_nothing(graph: Path, its: Its, edit: Callable[..., None]) -> None:
    before = _files(graph)
    assert its("run", "--dry")[0] == 0
    code, out, _ = its("run", "arithmetic_4x4", "--dry")
    assert code == 0 and "params.yaml has other values than recipe `arithmetic_4x4`" in out
    assert _files(graph) == before
    code, _, err = its("run", "quickstart", "prepare", "persona")
    assert code == 2 and "stages follow `--`: its run quickstart -- prepare persona" in err
    assert its("run", "quickstart", "prepare", "--help")[0] == 0
    run.make_context("run", ["quickstart", "prepare"], resilient_parsing=True)  # as a shell completes a line
    edit(("\n  max_tokens: #", "\n  max_tokens: 97"))
    before = _files(graph)
    code, _, err = its("run", "quickstart")
    assert code == 3 and "would be overwritten" in err and _files(graph) == before


def test_the_time_left_is_said_once_a_tenth_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 120 responses at once the first one ends after minutes, and the others soon after it."""
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr("its.progress.FILE_INTERVAL_SECONDS", 0)
    told = []
    with Progress("generate", 60, "responses") as progress:
        progress.add(20, stored=True)
        for _ in range(6):
            progress.add()
            told.append(json.loads((tmp_path / "progress.json").read_text())["seconds_left"])
    assert [left is None for left in told] == [True] * 4 + [False] * 2


def test_the_counts_of_a_stage_reach_the_status_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "progress.json"))
    with Progress("generate", 2, "responses") as progress:
        progress.add(note="model-base", tokens=5)
        progress.add(note="model-base", tokens=5)
    view, _ = _view(tmp_path)
    view.progress = tmp_path / "progress.json"
    assert status_text("generate", view._counts(), 61) == "generate: 1 min 01 s, 2 of 2 responses, model-base"
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "no" / "such" / "folder"))
    with Progress("generate", 1, "responses") as progress:
        progress.add()


def test_a_terminal_gets_one_status_line_and_foreign_text_is_escaped(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    view = View(tmp_path, stream)
    view.begin("generate\x1b[2J")
    view.redraw()
    view.line("note")
    assert "\x1b[2J" not in stream.getvalue()
    assert re.sub(r"\r\x1b\[K[^\r]*(?=\r)", "", stream.getvalue()).endswith("\r\x1b[Knote\n")


def test_durations_and_costs_are_summed_from_what_is_readable(tmp_path: Path) -> None:
    assert [told_seconds(value) for value in (0, 59.4, 60, 3600, 7625)] == [
        *("0 s", "59 s", "1 min 00 s", "1 h 00 min", "2 h 07 min")
    ]
    (tmp_path / "a.json").write_text('[{"seconds": 2.5}, {"seconds": "x"}, 3]', encoding="utf-8")
    (tmp_path / "b.json").write_text("{", encoding="utf-8")
    assert recorded_seconds(tmp_path) == 2.5 and recorded_seconds(tmp_path / "none") == 0
