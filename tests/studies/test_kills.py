"""`its generate` killed and doubled: real stages, sessions, store and worker over a stand-in for the vLLM library."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from sampled import spread
from studies.killing import set_sizes, start_stage, stored_keys

from its.store import Store
from its.study.study import load_study

pytestmark = pytest.mark.integration

PROBLEMS, SAMPLES, WINDOW, KILLS = 8, 16, 32, len(spread(range(30), 2))
WANTED = 3 * 2 * PROBLEMS * SAMPLES


@pytest.fixture
def ready(project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any) -> Path:
    """A study whose next stage is `generate`; its engine takes 4 ms for a response."""
    model_in_folder()
    edit(("  n: #\n  temperature: #\n", f"  n: {SAMPLES}\n  temperature: 0.7\n"))
    set_sizes(project, PROBLEMS)
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")
    run_stage("persona")
    run_stage("query")
    for strategy in ("none", "random"):
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
    engines.tell(seconds=0.004)
    return project


def _asked(engines: Any) -> Counter[tuple[str, str, int]]:
    return Counter((item["model"], item["prompt"], item["seed"]) for item in engines.asked())


def _rows(project: Path) -> list[dict[str, Any]]:
    paths = sorted((project / "data" / "responses").glob("*/*/*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def test_kills_lose_nothing_that_was_stored(ready: Path, engines: Any) -> None:
    home, chance = load_study(ready).home, random.Random(7)
    before, first = stored_keys(home), _asked(engines)
    stored, lost_most, start = set(before), 0, 0.0
    for number in range(KILLS):
        began, clock = sum(_asked(engines).values()), time.monotonic()
        process = start_stage("generate", ready)
        if number == 0:  # how long this machine takes to the first response: the others are killed before and after it
            while stored_keys(home) == stored:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.01)
            start = time.monotonic() - clock
        else:
            time.sleep(0.6 * start + chance.uniform(0.0, 1.2))
        seen = stored_keys(home)  # what a reader was told is finished
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = stored_keys(home)
        assert stored <= now and seen <= now
        in_flight = (sum(_asked(engines).values()) - began) - (len(now) - len(stored))
        assert 0 <= in_flight <= WINDOW
        lost_most = max(lost_most, in_flight)
        stored = now
    assert len(before) < len(stored)
    process = start_stage("generate", ready)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    rows = _rows(ready)
    assert len(rows) == WANTED
    assert len({(row["query_id"], row["sample_index"], row["request_key"]) for row in rows}) == WANTED
    assert len({row["request_key"] for row in rows}) == WANTED
    asked = _asked(engines) - first
    assert len(asked) == WANTED  # all were requested, and those in flight at a kill again
    assert sum(asked.values()) - WANTED <= KILLS * lost_most
    with Store(home / "store.sqlite") as store:
        assert len(store.contains([key.hex() for key in stored_keys(home)])) == len(before) + WANTED
        assert store.damaged == 0


def test_ctrl_c_ends_at_once_and_keeps_what_was_stored(ready: Path, engines: Any) -> None:
    home = load_study(ready).home
    before = len(stored_keys(home))
    process = start_stage("generate", ready)
    while len(stored_keys(home)) < before + 5:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "error: interrupted; run the same command again to continue" in said and "Traceback" not in said
    assert len(stored_keys(home)) >= before + 5


def test_two_processes_at_once_ask_each_request_once(ready: Path, engines: Any, tmp_path: Path) -> None:
    first = _asked(engines)
    shutil.copytree(ready, tmp_path / "other", symlinks=True)
    processes = [start_stage("generate", ready), start_stage("generate", tmp_path / "other")]
    said = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    asked = _asked(engines) - first
    assert len(asked) == WANTED and set(asked.values()) == {1}
    assert len(_rows(ready)) == WANTED
    assert _rows(ready) == _rows(tmp_path / "other")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_fills_up_loses_nothing_and_goes_on(ready: Path, engines: Any, tmp_path: Path) -> None:
    home, small = load_study(ready).home, tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=420k", "none", str(small)], check=False).returncode:
        pytest.skip("this machine does not allow a mount")
    try:
        (small / "envs").symlink_to(home / "envs")
        shutil.copy2(home / "store.sqlite", small / "store.sqlite")
        process = start_stage("generate", ready, small)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1, said
        assert "no space left on the disk" in said and "Traceback" not in said
        kept = len(stored_keys(small))
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        process = start_stage("generate", ready, small)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert len(_rows(ready)) == WANTED
        assert (
            f"({WANTED - kept + len(stored_keys(home))} generated, {kept - len(stored_keys(home))} from the store)"
            in said
        )
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
