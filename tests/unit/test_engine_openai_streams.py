"""Answers of servers that are watched: they flow, and are those that nobody watches, or are requested whole."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.openai_server import FAULTS, FakeServer, answer_to, seeded
from unit.test_engine_openai import KEY, MODEL, _engine, _request

from its.engines.fleet.answers import MOST_TEXT, parse_answer
from its.engines.fleet.events import Events
from its.engines.fleet.scrub import Scrub
from its.engines.openai import OpenAIEngine
from its.engines.protocol import Completion, Request
from its.errors import ItsError


def _ask(text: str, **changes: Any) -> Request:
    return _request(text, **{"follow": True, **changes})


def _watched(engine: OpenAIEngine, *requests: Request) -> tuple[dict[str, Completion], dict[str, list[Completion]]]:
    """The answers, and what was reported before each."""
    for request in requests:
        engine.submit(request)
    found: dict[str, Completion] = {}
    parts: dict[str, list[Completion]] = {request.request_id: [] for request in requests}
    end = time.monotonic() + 30
    while len(found) < len(requests):
        assert time.monotonic() < end
        for completion in engine.poll(0.2):
            found[completion.request_id] = completion
        for part in engine.begun():
            parts[part.request_id].append(part)
    return found, parts


def _ids(answer: dict[str, Any]) -> None:
    answer["prompt_token_ids"] = [1, 22, 333]


def test_a_watched_answer_flows_and_is_the_one_that_nobody_watches() -> None:
    with FakeServer(extra=_ids, piece_seconds=0.03) as server, _engine(server) as engine:
        found, parts = _watched(engine, _ask("a"), _ask("b"), _ask("c", follow=False))
        plain, none = _watched(engine, *(_ask(name, follow=False) for name in "abc"))
    assert found == plain and not any(none.values())
    for name in "ab":
        texts = [part.text for part in parts[name]]
        assert len(texts) > 2 and all(after.startswith(before) for before, after in itertools.pairwise(texts))
        assert answer_to(name).startswith(texts[-1]) and texts[0]
        assert {(part.prompt_sha256, part.weights) for part in parts[name]} == {(plain[name].prompt_sha256, "f:m")}
    assert not parts["c"]
    assert [body["stream"] for body in server.bodies] == [True, True, False, False, False, False]


def _thinks(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"] = {"reasoning": "Let me think.", **answer["choices"][0]["message"]}


def _calls(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": [{"function": {"name": "f"}}]}


def _in_parts(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"]["content"] = [{"type": "text", "text": "a part"}]


def _has_two(answer: dict[str, Any]) -> None:
    """In its stream alone: a whole answer with two choices is none."""
    if "streams" in answer:
        answer["choices"].append({**answer["choices"][0], "index": 1})


def _counts_nothing(answer: dict[str, Any]) -> None:
    if "streams" in answer:
        del answer["usage"]


def _ends_without_a_reason(answer: dict[str, Any]) -> None:
    if "streams" in answer:
        answer["choices"][0]["finish_reason"] = ""


def _is_half(answer: dict[str, Any]) -> None:
    if "streams" in answer:
        answer["choices"][0]["message"]["content"] += " \ud83d"


def _says_nothing(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"]["content"] = None


def _is_empty(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"]["content"] = ""


def _is_cut(answer: dict[str, Any]) -> None:
    answer["choices"][0]["finish_reason"] = "max_tokens"


def _refuses(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"] |= {"content": None, "refusal": "I cannot help with that."}


@pytest.mark.parametrize(
    ("extra", "streams"),
    [
        (_calls, 2),
        (_in_parts, 2),
        (_has_two, 2),
        (_counts_nothing, 2),
        (_ends_without_a_reason, 2),
        (_is_half, 2),
        (_says_nothing, 4),
        (_is_empty, 4),
        (_is_cut, 4),
        (_refuses, 4),
    ],
)
def test_an_answer_does_not_depend_on_whether_it_is_watched(
    extra: Callable[[dict[str, Any]], None], streams: int
) -> None:
    """Where a stream is not the whole answer for sure, the whole one is requested; `streams`: of four, until it is."""

    def some(answer: dict[str, Any]) -> None:
        if answer["choices"][0]["message"]["content"] != answer_to("plain"):
            extra(answer)

    with FakeServer(extra=some) as server, _engine(server) as engine:
        plain, _ = _watched(engine, _ask("plain"), _ask("x", follow=False))
        before = len(server.bodies)
        for _ in range(4):
            found, parts = _watched(engine, _ask("x"))
            assert found["x"] == plain["x"]
            assert all(found["x"].text.startswith(part.text) for part in parts["x"])
        assert [body["stream"] for body in server.bodies[before:]].count(True) == streams
        assert engine.counts.get("unstreamed", 0) == (0 if extra in (_is_cut, _refuses) else streams)


def test_a_server_that_does_not_stream_is_asked_for_whole_answers(tmp_path: Path) -> None:
    """It refuses the field, or takes no notice of it."""
    with FakeServer() as server, _engine(server, log=tmp_path / "log", options={"stream": None}) as engine:
        found, parts = _watched(engine, _ask("a"))
        assert found["a"].text == answer_to("a") and not parts["a"]
        assert not any("stream" in name for name in server.bodies[0])

    async def refuses(content: bytes) -> AsyncIterator[bytes]:
        body = json.loads(content)
        said = {"error": {"message": "Unrecognized request argument: stream_options", "param": "stream_options"}}
        status, said = (400, said) if body["stream"] else (200, json.loads(_whole("fine")))
        data = json.dumps(said).encode()
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        yield head.encode() + data
        asked.append(body["stream"])

    asked: list[bool] = []
    log = tmp_path / "refused.jsonl"
    with FakeServer(raw={"/chat/completions": refuses}) as server, _engine(server, log=log) as engine:
        for name in "abc":
            found, _ = _watched(engine, _ask(name))
            assert found[name].text == "fine"
    assert asked == [True, False, False, False]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    (line,) = [line for line in lines if line["did"] == "requests the whole answer"]
    assert "stream_options" in line["why"] and line["status"] == 400


def test_a_server_that_separates_thinking_is_found_out_by_its_stream() -> None:
    with FakeServer(extra=_thinks) as server, _engine(server) as engine:
        for name in "ab":
            found, parts = _watched(engine, _ask(name))
            assert (found[name].text, found[name].thinking) == (answer_to(name), "Let me think.") and not parts[name]
    assert [body["stream"] for body in server.bodies] == [True, False, False]


@pytest.mark.parametrize("separates", [True, False])
def test_the_first_answer_of_a_model_that_thinks_shows_who_separates_it(separates: bool) -> None:
    """A stream without a thought looks alike where the server separates it and where it does not."""

    def extra(answer: dict[str, Any]) -> None:
        if separates and "streams" not in answer:
            answer["choices"][0]["message"]["reasoning_content"] = ""

    model = replace(MODEL, thinks=True)
    with FakeServer(extra=extra, piece_seconds=0.03) as server, _engine(server, models=[model]) as engine:
        for name in "abc":
            found, parts = _watched(engine, _ask(name))
            assert found[name].thinking == ("" if separates else None)
            assert bool(parts[name]) == (name != "a" and not separates)


@pytest.mark.parametrize("fault", ["500", "501", "403", "cut_stream", "cut_before"])
def test_a_server_on_which_streams_alone_fail_answers(fault: str) -> None:
    """Whole answers are requested; one failure counts at most, and no other request ends with it."""

    def script(text: str, seen: int) -> str | None:
        return fault if server.streams else None

    with FakeServer(script=script) as server, _engine(server, retries=1) as engine:
        for name in "abc":
            found, _ = _watched(engine, _ask(name))
            assert found[name].text == answer_to(name)


def test_a_stream_ends_with_its_last_event() -> None:
    """Whether the connection stays open or is cut behind it."""

    async def holds(content: bytes) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = [_chunk({"delta": {"content": "all"}, "finish_reason": "stop"})]
        chunks += [_chunk(usage={"prompt_tokens": 3, "completion_tokens": 2}), "[DONE]"]
        for chunk in chunks:
            data = f"data: {chunk}\n\n".encode()
            yield f"{len(data):x}\r\n".encode() + data + b"\r\n"
        if b"hold" in content:
            await asyncio.sleep(60)

    with FakeServer(raw={"/chat/completions": holds}) as server, _engine(server, retries=0) as engine:
        began = time.monotonic()
        for name in ("hold", "cut"):
            found, _ = _watched(engine, _ask(name))
            assert found[name].text == "all"
        assert time.monotonic() - began < 4, "no time limit was waited for"


def test_streams_survive_faults_as_whole_answers_do() -> None:
    names = [f"n{number}" for number in range(120)]
    with (
        FakeServer(script=seeded(3, 0.3, (*FAULTS, "cut_stream")), stall_seconds=0.1) as server,
        _engine(server, retries=30) as engine,
    ):
        found, _ = _watched(engine, *map(_request, names))
    assert {name: item.text for name, item in found.items()} == {name: answer_to(name) for name in names}


def test_a_key_is_not_in_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)

    def says(answer: dict[str, Any]) -> None:
        answer["choices"][0]["message"]["content"] = f"the key is {KEY} and sk-proj-0123456789/abcdef, sk-proj, end"

    parts: list[Completion] = []
    with (
        FakeServer(extra=says, key=KEY, piece_seconds=0.02) as server,
        _engine(server, key_variable="SERVER_KEY", retries=1) as engine,
    ):
        engine.submit(_ask("a"))
        end = time.monotonic() + 30
        with pytest.raises(ItsError) as caught:
            while time.monotonic() < end:
                engine.poll(0.1)
                parts += engine.begun()
    assert KEY not in str(caught.value)
    assert parts and all("sk-" not in part.text for part in parts), [part.text for part in parts]


def test_what_may_begin_a_key_waits() -> None:
    scrub = Scrub([KEY, "another-key-of-16"])
    for text in ("", "s", "is", "ask", f"x{KEY[:-1]}", f"x{KEY}", "an", "another-key-of-1", "ano ", "a another-"):
        held = scrub.open_end(text)
        began = [at for at in range(len(text)) if any(key.startswith(text[at:]) for key in (KEY, "another-key-of-16"))]
        assert held == (len(text) - min(began) if began and text != f"x{KEY}" else 0), text


def _whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()


def _chunk(*choices: dict[str, Any], **more: Any) -> str:
    return json.dumps({"choices": [{"index": 0, **choice} for choice in choices], **more}, ensure_ascii=False)


def test_a_stream_is_read_however_its_bytes_arrive() -> None:
    """Also with comments, other fields, line ends of both kinds, and characters that are cut in two."""
    chance = random.Random(5)
    for _ in range(300):
        text = "".join(chance.choice("aé∑😀 \n\\") for _ in range(chance.randint(1, 30)))
        end = chance.choice(["\n", "\r\n"])
        chunks = [_chunk(), *(_chunk({"delta": {"content": text[at : at + 2]}}) for at in range(0, len(text), 2))]
        chunks.append(_chunk({"delta": {}, "finish_reason": "stop"}))
        chunks.append(_chunk(usage={"prompt_tokens": 3, "completion_tokens": 2}))
        chunks += ["[DONE]"] if chance.random() < 0.8 else []
        lines = [": hello", "event: message", *(f"data:{chance.choice(['', ' '])}{chunk}" for chunk in chunks)]
        data = "".join(line + end * 2 for line in lines).encode()
        seen: list[str] = []
        events = Events(MOST_TEXT, lambda events, seen=seen: seen.append(events.text))  # type: ignore[misc]
        at = 0
        while at < len(data):
            step = chance.randint(1, 40)
            events.feed(data[at : at + step])
            at += step
        assert parse_answer(events.answer(), "r", "w") == parse_answer(_whole(text), "r", "w")
        assert seen[-1] == text and all(text.startswith(part) for part in seen)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"data: {]\n", "Expecting"),
        (b"data: 7\n", "not an object"),
        (b'data: {"a": 1, "a": 2}\n', "twice"),
        (b"data: " + b"[" * 100_000 + b"\n", "nested too deeply"),
        (b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n', "more than a plain text"),
        (b'data: {"choices": [{"delta": {"content": 7}}]}\n', "more than a plain text"),
        (b'data: {"choices": [{"delta": {"content": "' + b"x" * 101 + b'"}}]}\n', "longer than 100"),
        (b"x" * (16 * 2**20 + 1), "a line of the stream"),
    ],
)
def test_a_stream_that_is_none(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Events(100, lambda events: None).feed(data)


def test_a_line_in_small_pieces_is_not_copied_for_each() -> None:
    events = Events(MOST_TEXT, lambda events: None)
    began = time.monotonic()
    for _ in range(100_000):
        events.feed(b"x" * 64)
    assert time.monotonic() - began < 20, "it took minutes when each piece was joined to what came before"


def test_characters_in_two_halves_are_joined_before_they_are_reported() -> None:
    seen: list[str] = []
    events = Events(MOST_TEXT, lambda events: seen.append(events.text))
    for piece in ("a \ud83d", "\ude00 b", "\ud83d", "\ude01"):
        events.feed(f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n".encode())
    assert seen == ["a ", "a 😀 b", "a 😀 b😁"]
    with pytest.raises(ValueError, match="Unicode"):
        for piece in ("\ud83d", "x"):
            events.feed(f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n".encode())


def test_ids_of_a_prompt_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    monkeypatch.setattr("its.engines.fleet.events.ids_sha256", lambda ids: hashed.append(len(ids)))
    events = Events(MOST_TEXT, lambda events: None)
    for _ in range(20):
        events.feed(f"data: {_chunk({'delta': {'content': 'x'}}, prompt_token_ids=[1, 2, 3])}\n\n".encode())
    assert hashed == [3]


def test_a_stream_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.engines.fleet.events.STREAM_BYTES", 1000)
    events = Events(MOST_TEXT, lambda events: None)
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        while True:
            events.feed(b": nothing\n\n")


def test_an_error_in_a_stream_is_the_answer() -> None:
    events = Events(MOST_TEXT, lambda events: None)
    for chunk in (_chunk({"delta": {"content": "so far"}}), json.dumps({"error": {"message": "out of memory"}})):
        events.feed(f"data: {chunk}\n\n".encode())
    assert "out of memory" in str(parse_answer(events.answer(), "r", "w"))
