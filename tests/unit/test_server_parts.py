"""Parts of `its serve` by themselves: who may ask, what a name stands for, a stream that nobody reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from its.commands.solve_problem import Problems
from its.server.admit import admit
from its.server.app import _events, _Stream, _streamed
from its.server.completion import head
from its.server.deltas import Live
from its.server.errors import ApiError
from its.study.study import load_study


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LocalHost:8000", True),
        ("127.0.0.1:8000", True),
        ("127.0.0.2:8000", True),  # `--host 127.0.0.2`
        ("[::1]", True),
        ("[::1]:8000", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.0.2:8000", False),
        ("[::1", True),
        ("[::]:8000", False),
    ],
)
def test_without_a_key_a_host_is_this_machine(host: str, allowed: bool) -> None:
    request = Request({"type": "http", "headers": [(b"host", host.encode())]})
    if allowed:
        admit(None, request)
        return
    with pytest.raises(ApiError) as caught:
        admit(None, request)
    assert caught.value.status == 403


def test_a_problem_is_found_however_its_lines_end(project: Path) -> None:
    study = load_study(project)
    path = study.problems_path("arithmetic_test")
    path.parent.mkdir(parents=True)
    path.write_text('{"problem_id": "p", "text": " One.\\r\\nTwo?\\n", "source": "s"}\n', encoding="utf-8")
    given = Problems(study, None).given("One.\nTwo?")
    assert given.known_in == "arithmetic_test" and given.problem.text == " One.\r\nTwo?\n", "as the study sends it"


def test_a_stream_that_was_left_before_its_first_event_ends_its_request() -> None:
    async def leave() -> bool:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await asyncio.sleep(0)

        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        response = _streamed(_events(answer, _Stream(head("m"), False, Live())), answer)
        await asyncio.wait_for(response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 5)
        return answer.cancelled()

    assert asyncio.run(leave())
