"""The worker processes: hard limits, order, threads, and that none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from its.errors import RunError
from its.grading import worker
from its.grading.grade import WINDOW, Grader, Item
from its.grading.pool import WorkerPool

ROOT = Path(__file__).resolve().parents[2]
SLOW = "\\sum_{a=1}^{9999} \\sum_{b=1}^{9999} (a+b) x"
LIMIT = 1.0


def _item(answer: str, reference: str = "1+x") -> Item:
    return Item("q", 0, f"\\boxed{{{answer}}}", reference, "math")


def _children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for word in child.read_text().split():
            found += [int(word), *_children(int(word))]
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(true: Callable[[], bool]) -> bool:
    for _ in range(600):
        if true():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(LIMIT, workers=2) as opened:
        yield opened


def test_an_overrun_is_a_grader_error_and_costs_its_limit(grader: Grader) -> None:
    before = os.times()
    verdicts = list(grader.grade([_item("x+1"), _item(SLOW), _item("x+1.0"), _item("x+2")]))
    assert [verdict.verdict for verdict in verdicts] == ["correct", "grader_error", "correct", "incorrect"]
    assert verdicts[1].reason == "the comparison took longer than 1 s"
    assert verdicts[1].answer and verdicts[1].rule == "box"  # the vote still sees what was said
    after = os.times()
    assert after.user - before.user < 1  # nothing of it was worked out here


def test_verdicts_come_in_order_whatever_takes_long(grader: Grader) -> None:
    items = [Item("q", index, f"\\boxed{{x+{index}}}", f"{index}+x", "math") for index in range(20)]
    items[3] = Item("q", 3, f"\\boxed{{{SLOW}}}", "x", "math")
    verdicts = list(grader.grade(items))
    assert [verdict.sample_index for verdict in verdicts] == list(range(20))
    assert [verdict.verdict for verdict in verdicts] == ["correct"] * 3 + ["grader_error"] + ["correct"] * 16


def test_any_thread_may_grade_and_several_at_once(grader: Grader) -> None:
    found: list[list[str]] = []

    def work() -> None:
        found.append([v.verdict for v in grader.grade([_item(f"x+{n}-{n - 1}") for n in range(1, 9)])])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["correct"] * 8] * 3


def test_items_are_taken_as_verdicts_are_wanted(grader: Grader) -> None:
    taken = 0

    def items() -> Iterator[Item]:
        nonlocal taken
        for index in range(10 * WINDOW):
            taken += 1
            yield Item("q", index, "\\boxed{5}", "5", "integer")

    verdicts = grader.grade(items())
    next(verdicts)
    assert taken == 1
    stalled = grader.grade(chain([_item(SLOW + "+1")], items()))  # the first one is waited for
    next(stalled)
    assert taken <= 2 + 2 * WINDOW


def test_equal_comparisons_are_made_once(grader: Grader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert grader.grade_one(_item("x + 1 + 0", "1+x")).verdict == "correct"
    monkeypatch.setattr(WorkerPool, "submit", None)
    assert grader.grade_one(_item("x + 1 + 0", "1+x")).verdict == "correct"


def test_a_killed_worker_is_replaced(grader: Grader) -> None:
    assert grader.equivalent("x+5", "5+x", "math")
    for pid in _children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    verdicts = [grader.grade_one(_item(f"x+{index}", f"{index}+x")).verdict for index in range(6, 12)]
    assert verdicts.count("correct") >= 4  # those that were asked a dead worker may be grader errors, none is incorrect
    assert "incorrect" not in verdicts


def test_a_worker_killed_during_a_comparison_is_a_grader_error() -> None:
    before = set(_children(os.getpid()))
    with Grader(LIMIT * 20, workers=1) as opened:
        assert opened.grade_one(_item("x+1.0")).verdict == "correct"

        def kill() -> None:
            for pid in set(_children(os.getpid())) - before:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        threading.Timer(0.3, kill).start()
        assert opened.grade_one(_item(SLOW)).verdict == "grader_error"
        assert opened.grade_one(_item("1.0+x")).verdict == "correct"


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_a_text_costs_the_libraries_is_an_outcome(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*task: str) -> bool:
        raise error

    monkeypatch.setattr("its.grading.worker.equivalent", fails)
    found, reason = worker.answer(("x", "y", "math"))
    assert found is None
    assert reason


def test_closing_leaves_no_process_and_may_be_done_twice() -> None:
    before = set(_children(os.getpid()))
    opened = Grader(LIMIT, workers=1)
    assert opened.equivalent("x+1", "1+x", "math")
    began = set(_children(os.getpid())) - before
    assert began
    opened.close()
    opened.close()
    assert _until(lambda: not any(map(_alive, began)))
    assert opened.equivalent("x+2", "2+x", "math")  # a closed grader opens again
    opened.close()


def test_closing_does_not_wait_for_what_runs() -> None:
    opened = Grader(60, workers=1)
    verdicts = opened.grade([_item(SLOW), *[_item(f"x+{n}") for n in range(WINDOW + 1)]])
    threading.Timer(5, opened.close).start()
    began = time.monotonic()
    with pytest.raises(RunError, match="the grader was closed"):
        list(verdicts)
    assert time.monotonic() - began < 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_death_of_the_grading_process_leaves_none_behind() -> None:
    code = (
        "import sys, threading, time\nfrom its.grading.grade import Grader, Item\n"
        "g = Grader(600, workers=1)\nassert g.equivalent('x+1', '1+x', 'math')\nprint('ready', flush=True)\n"
        f"g.grade_one(Item('q', 0, {f'${SLOW}$'!r}, 'x', 'math'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        below = _children(process.pid)
        assert len(below) == 2
        time.sleep(0.5)  # into the comparison
        process.kill()
    assert _until(lambda: not any(map(_alive, below)))


def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.grading.pool._START", "raise SystemExit(1)")
    with Grader(LIMIT, workers=1) as opened, pytest.raises(RunError, match="a grading process did not start"):
        opened.equivalent("x+1", "1+x", "math")


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from its.grading.grade import Grader\nprint('once')\nprint(Grader().equivalent('x+1', '1+x', 'math'))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False, env=_path()
    )
    assert (done.stdout, done.stderr) == ("once\nTrue\n", "")


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
