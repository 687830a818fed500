"""One process renders all chat templates: each has limits of its own, and no request gets another one's answer."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from its.prompts.trial import Trials

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def trials() -> Iterator[Trials]:
    made = Trials()
    yield made
    made.close()


def _request(source: str, **given: str) -> bytes:
    return json.dumps({"source": source, "chats": [{"messages": [], **given}]}).encode()


def _shown(trials: Trials, source: str, **given: str) -> Any:
    answer = trials.answer(_request(source, **given), 2, 30.0)
    assert answer is not None
    return json.loads(answer)


def _below(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def test_a_template_that_is_ended_leaves_nothing_to_the_next(trials: Trials) -> None:
    assert _shown(trials, "{{ a }}{{ b }}", a="first") == {"results": [{"text": "first"}], "undefined": ["b"]}
    started = _below(os.getpid())
    assert trials.answer(_request("{{ 'a' * 10**10 }}"), 2, 30.0) == b""
    assert trials.answer(_request(ENDLESS), 1, 30.0) == b""
    assert trials.answer(_request(ENDLESS), 9, 0.2) is None
    assert trials.answer(b'{"source": ', 2, 30.0) == b""
    assert _shown(trials, "{{ a }}", a="last") == {"results": [{"text": "last"}], "undefined": []}
    assert _below(os.getpid()) == started, "a process was started for a template"


def test_the_time_of_the_templates_is_counted_once(trials: Trials) -> None:
    def spent() -> float:
        return sum(os.times()[:4]) + trials.seconds

    begin = spent()
    for _ in range(2):
        assert trials.answer(_request(ENDLESS), 1, 30.0) == b""
    assert 1.7 <= trials.seconds < 3 and 1.7 <= spent() - begin < 4
    trials.close()
    assert trials.seconds == 0 and 1.7 <= spent() - begin < 4


def test_a_process_that_was_killed_is_started_again(trials: Trials) -> None:
    before = set(_below(os.getpid()))
    assert _shown(trials, "{{ a }}", a="first")["results"] == [{"text": "first"}]
    (process,) = set(_below(os.getpid())) - before
    os.kill(process, signal.SIGKILL)
    assert _shown(trials, "{{ a }}", a="next")["results"] == [{"text": "next"}]


def test_an_interruption_ends_the_template_and_the_next_gets_its_own_answer(trials: Trials) -> None:
    left: list[int] = []
    before = set(_below(os.getpid()))
    assert _shown(trials, "{{ a }}", a="first")["results"] == [{"text": "first"}]
    (process,) = set(_below(os.getpid())) - before

    def interrupt(*_: object) -> None:
        if not _below(process):  # it has not forked yet
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            return
        left.extend([process, *_below(process)])
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            trials.answer(_request(ENDLESS), 60, 60.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert len(left) == 2 and [pid for pid in left if Path(f"/proc/{pid}").exists()] == []
    assert _shown(trials, "{{ a }}", a="next")["results"] == [{"text": "next"}]


def test_a_fork_has_a_process_of_its_own(trials: Trials) -> None:
    assert _shown(trials, "{{ a }}", a="parent")["results"] == [{"text": "parent"}]
    child = os.fork()
    if not child:
        right = False
        try:
            right = _shown(trials, "{{ a }}", a="child")["results"] == [{"text": "child"}]
            trials.close()
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _shown(trials, "{{ a }}", a="parent again")["results"] == [{"text": "parent again"}]


def test_it_ends_with_the_process_that_started_it() -> None:
    source, target = os.pipe()
    child = os.fork()
    if not child:
        try:
            _shown(Trials(), "{{ a }}", a="x")
            os.write(target, str(_below(os.getpid())[0]).encode())
        finally:
            os._exit(9)  # as if killed
    os.close(target)
    process = int(os.read(source, 20) or 0)
    assert process
    os.close(source)
    os.waitpid(child, 0)
    end = time.monotonic() + 60
    while _alive(process):
        assert time.monotonic() < end
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
