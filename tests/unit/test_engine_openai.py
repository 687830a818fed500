"""The openai engine against real HTTP servers that stall, fail, cut connections, and die."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.openai_server import FakeServer, answer_to, seeded
from ruamel.yaml import YAML
from unit.engine_samples import check_wakes, outcomes

from its.engines.fleet.pacing import SET_ASIDE_AFTER, START, Pace, backoff
from its.engines.fleet.scrub import Scrub
from its.engines.fleet.state import TokenPrice
from its.engines.fleet.wire import failure_of, message_of, wait_seconds
from its.engines.kinds import EngineSettings, OpenAISettings, _Kinds
from its.engines.openai import OpenAIEngine, OpenAIServer
from its.engines.protocol import Completion, EngineModel, Request
from its.errors import DataError, ItsError, MissingError, RunError
from its.recipe.schema import EngineSection

MODEL = EngineModel(name="m", path="a_model", fingerprint="f:m", dtype="bfloat16", context_length=64)
SAMPLING = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 8, "stop": []}
KEY = "sk-proj-0123456789/abcdef+ghijklmnop"


def _request(text: str, **changes: Any) -> Request:
    return replace(Request(text, [{"role": "user", "content": text}], SAMPLING, seed=7, model="m"), **changes)


@contextlib.contextmanager
def _engine(*servers: FakeServer, **settings: Any) -> Iterator[OpenAIEngine]:
    """An engine whose waits are short."""
    variable = settings.pop("key_variable", None)
    settings = {"backoff_seconds": 0.01, "patience_seconds": 5.0, "timeout_seconds": 5.0, **settings}
    models = settings.pop("models", [MODEL])
    served = settings.pop("served", {})
    engine = OpenAIEngine([OpenAIServer(server.url, variable) for server in servers], models, served, **settings)
    try:
        yield engine
    finally:
        engine.close()


def _all(engine: OpenAIEngine, requests: list[Request], seconds: float = 20.0) -> dict[str, Completion]:
    """Ask as a session does: never more than the window at once."""
    left, found = list(reversed(requests)), dict[str, Completion]()
    under_way, end = 0, time.monotonic() + seconds
    while len(found) < len(requests):
        assert time.monotonic() < end, f"{len(found)} of {len(requests)} after {seconds} s; {engine.counts}"
        while left and under_way < engine.window:
            engine.submit(left.pop())
            under_way += 1
        for completion in engine.poll(0.2):
            assert completion.request_id not in found, "answered twice"
            found[completion.request_id] = completion
            under_way -= 1
    return found


def _error(engine: OpenAIEngine, seconds: float = 10.0) -> ItsError:
    """What the polls end in."""
    end = time.monotonic() + seconds
    with pytest.raises(ItsError) as caught:
        while time.monotonic() < end:
            engine.poll(0.1)
    return caught.value


def _first(text: str, *faults: str | None) -> Callable[[str, int], str | None]:
    """A script by which the message meets these faults, one after the other, and then none."""
    return lambda told, seen: faults[seen] if told == text and seen < len(faults) else None


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_thousand_requests_survive_faults_and_dying_servers(tmp_path: Path) -> None:
    began = time.monotonic()
    retries, size = 8, 2000
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(FakeServer(script=seeded(seed, 0.15), stall_seconds=1.0, retry_after="0.05"))
            for seed in range(3)
        ]
        log, notices = tmp_path / "attempts.jsonl", list[str]()
        engine = stack.enter_context(
            _engine(*servers, concurrency=16, timeout_seconds=0.6, retries=retries, log=log, say=notices.append)
        )
        assert engine.window * 3 // 4 == 48, "a session refills when a quarter is free"
        left = [_request(f"question {number}") for number in reversed(range(size))]
        found: Counter[str] = Counter()
        under_way, done = 0, 0
        events = [
            (400, servers[0].kill),  # for good
            (700, servers[1].kill),
            (1100, servers[1].start),
        ]
        while done < size:
            assert time.monotonic() - began < 300, engine.counts
            while left and under_way < engine.window:
                engine.submit(left.pop())
                under_way += 1
            for completion in engine.poll(0.2):
                found[completion.request_id] += 1
                assert completion.text == answer_to(completion.request_id)
                done, under_way = done + 1, under_way - 1
            while events and done >= events[0][0]:
                events.pop(0)[1]()
        assert engine.poll(0.1) == []
        counts = dict(engine.counts)
    seconds = time.monotonic() - began
    assert not events and len(found) == size and set(found.values()) == {1}
    assert set(servers[0].faults) | set(servers[1].faults) | set(servers[2].faults) >= {
        "stall",
        "429_wait",
        "truncated",
    }
    assert min(counts[name] for name in ("timeouts", "rate_limited", "garbage", "dropped", "server_errors")) > 0
    assert counts["set_aside"] >= 2
    assert counts["completion_tokens"] == 20 * size
    attempts: Counter[Any] = sum((server.seen for server in servers), Counter())
    assert max(attempts.values()) <= 1 + retries, "a request was tried too often"
    assert size < sum(attempts.values()) <= size + counts["retries"]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    failed = [line for line in lines if line.get("request") is not None]
    assert len(failed) == counts["retries"]
    assert {line["server"] for line in lines} == {server.url for server in servers}
    assert all(line["why"] and line["did"] and line["time"] for line in lines)
    told = "\n".join(notices)
    assert f"server `{servers[0].url}` is set aside" in told and f"server `{servers[1].url}` is back" in told
    assert seconds < 120, f"{seconds:.1f} s: it waited for servers that are gone"


def test_a_poll_that_waits_can_be_woken() -> None:
    with FakeServer() as server, _engine(server) as engine:
        check_wakes(engine)
        engine.wake()
        assert set(_all(engine, [_request("a"), _request("b")])) == {"a", "b"}


def test_the_body_is_what_the_servers_understand() -> None:
    with (
        FakeServer(models=["Qwen/Qwen-7B"]) as server,
        _engine(
            server,
            served={"m": "Qwen/Qwen-7B"},
            options={"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
        ) as engine,
    ):
        found = _all(engine, [_request("a", sampling={**SAMPLING, "stop": ["\n\n"]}), _request("b\ud800", start="You")])
        assert found["a"].weights == "f:m" and found["a"].prompt_sha256 is None
        assert (found["a"].prompt_tokens, found["a"].completion_tokens, found["a"].finish_reason) == (11, 20, "stop")
        plain, started = sorted(server.bodies, key=lambda body: len(body["messages"]))
    common = {"model": "Qwen/Qwen-7B", "temperature": 0.5, "top_p": 0.9, "max_tokens": 8, "seed": 7, "n": 1}
    common |= {"stream": False, "top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    assert plain == {**common, "messages": [{"role": "user", "content": "a"}], "stop": ["\n\n"]}
    turns = [{"role": "user", "content": "b\ud800"}, {"role": "assistant", "content": "You"}]
    assert started == {**common, "messages": turns, "continue_final_message": True, "add_generation_prompt": False}


def test_each_model_is_sent_its_values_for_the_servers_template() -> None:
    other = replace(MODEL, name="o", template_kwargs={"enable_thinking": False, "effort": "low"})
    options = {"chat_template_kwargs": {"enable_thinking": True, "common": 1}}
    for given, of_other, of_model in (
        ({}, {"enable_thinking": False, "effort": "low"}, None),
        (options, {"enable_thinking": False, "effort": "low", "common": 1}, options["chat_template_kwargs"]),
    ):
        with (
            FakeServer(models=["m", "o"]) as server,
            _engine(server, models=[MODEL, other], options=given) as engine,
        ):
            _all(engine, [_request("a"), _request("b", model="o")])
            found = {body["model"]: body.get("chat_template_kwargs") for body in server.bodies}
        assert found == {"m": of_model, "o": of_other}


def test_values_for_a_servers_template_are_in_the_key_of_a_model_that_has_them(tmp_path: Path) -> None:
    def identity(model: EngineModel) -> dict[str, Any]:
        settings = EngineSettings("openai", {"top_k": 2}, {}, OpenAISettings((OpenAIServer("http://127.0.0.1:1/v1"),)))
        opened = _Kinds([model], settings, tmp_path, tmp_path, tmp_path / "log", print).openai()
        return opened.identities[model.name]

    plain = {"model": "f:m", "engine": "openai", "served": "m", "options": {"top_k": 2}}
    assert identity(MODEL) == plain  # as it was before there were values: stored responses stay
    for values in ({"enable_thinking": False}, {"enable_thinking": None}):
        assert identity(replace(MODEL, template_kwargs=values)) == plain | {"chat_template_kwargs": values}


def test_an_option_of_none_leaves_a_field_out() -> None:
    with FakeServer() as server, _engine(server, options={"seed": None, "max_tokens": None, "n": None}) as engine:
        _all(engine, [_request("a")])
        assert not {"seed", "max_tokens", "n"} & set(server.bodies[0])


@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"n": 4}, {"stream": True}, {"model": "x"}, {"seed": 1}])
def test_options_cannot_contradict_the_recipe(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"`engine.options.{next(iter(options))}`"):
        OpenAIEngine([OpenAIServer("http://127.0.0.1:1/v1")], [MODEL], {}, options=options)


def test_reasoning_comes_apart_from_the_text() -> None:
    def extra(answer: dict[str, Any]) -> None:
        message = answer["choices"][0]["message"]
        asked = message["content"].split()[1].rstrip(":")
        message[{"old": "reasoning_content", "new": "reasoning"}.get(asked, "reasoning")] = "Let me think."
        answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 15} if asked == "old" else None
        if asked == "cut":
            message["content"] = None
            answer["choices"][0]["finish_reason"] = "length"
        if asked in ("none", "silent"):
            message["reasoning"] = ""
        if asked == "silent":
            message["content"] = None

    with FakeServer(extra=extra) as server, _engine(server) as engine:
        found = _all(engine, [_request(text) for text in ("old", "new", "cut", "none", "silent")])
    assert (found["old"].thinking, found["old"].thinking_tokens) == ("Let me think.", 15)
    assert (found["new"].thinking, found["new"].thinking_tokens) == ("Let me think.", None)
    assert (found["cut"].text, found["cut"].thinking, found["cut"].finish_reason) == ("", "Let me think.", "length")
    assert found["none"].thinking == "" and found["none"].text == answer_to("none")
    assert found["silent"].thinking == "" and found["silent"].text == ""


def test_token_ids_of_the_prompt_are_hashed_and_other_finish_reasons_passed_on() -> None:
    def extra(answer: dict[str, Any]) -> None:
        answer["prompt_token_ids"] = [1, 22, 333]
        answer["choices"][0]["finish_reason"] = "content_filter"

    with FakeServer(extra=extra) as server, _engine(server, options={"return_token_ids": True}) as engine:
        found = _all(engine, [_request("a")])["a"]
        assert server.bodies[0]["return_token_ids"] is True
    assert found.prompt_sha256 == hashlib.sha256(b"1,22,333").hexdigest()
    assert found.finish_reason == "content_filter"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer["choices"][0]["message"].update(content=7),
        lambda answer: answer["choices"][0].update(finish_reason="abort"),
        lambda answer: answer["choices"][0].update(finish_reason=None),
        lambda answer: answer["choices"][0]["message"].update(content="\ud800"),
        lambda answer: answer["usage"].update(completion_tokens=None),
        lambda answer: answer.update(usage={}),
        lambda answer: answer.update(choices="no", error={"message": "upstream broke"}),
        lambda answer: answer["choices"][0].pop("message"),
    ],
    ids=["text", "abort", "unfinished", "surrogate", "null_count", "usage", "error", "message"],
)
def test_half_an_answer_is_asked_again(spoil: Callable[[dict[str, Any]], None]) -> None:
    turns = iter([True, True])
    with (
        FakeServer(extra=lambda answer: spoil(answer) if next(turns, False) else None) as server,
        _engine(server) as engine,
    ):
        assert _all(engine, [_request("a")])["a"].text == answer_to("a")
        assert (engine.counts["garbage"], engine.counts["retries"], server.seen["a"]) == (2, 2, 3)


def test_a_late_answer_of_an_attempt_given_up_is_not_delivered() -> None:
    with (
        FakeServer(script=_first("a", "stall"), stall_seconds=0.5) as server,
        _engine(server, timeout_seconds=0.3) as engine,
    ):
        assert _all(engine, [_request("a")])["a"].text == answer_to("a")
        assert engine.poll(0.6) == [], "the stalled answer arrived too"
        assert (engine.counts["timeouts"], server.seen["a"]) == (1, 2)


@pytest.mark.parametrize("fault", ["stall", "500", "503", None])
def test_a_cancelled_request_is_refused_once_wherever_it_is(fault: str | None) -> None:
    """In flight, in a pause between attempts, or waiting for its turn; the others go on in its place."""

    def script(told: str, seen: int) -> str | None:
        return fault if told.startswith("gone") else None

    with (
        FakeServer(script=script, stall_seconds=60.0, delay_seconds=0.2) as server,
        _engine(server, concurrency=2, timeout_seconds=50.0, backoff_seconds=0.4) as engine,
    ):
        for name in ("gone 1", "gone 2", "stays 1", "gone 3", "stays 2"):
            engine.submit(_request(name))
        time.sleep(0.1)
        engine.cancel({"gone 1", "gone 2", "gone 3", "never"})
        done, refused = outcomes(engine, 5)
        assert sorted(done) == ["stays 1", "stays 2"]
        assert sorted(error.request_id for error in refused) == ["gone 1", "gone 2", "gone 3"]
        assert sorted(_all(engine, [_request("later 1"), _request("later 2")])) == ["later 1", "later 2"]
        engine.cancel({"later 1"})  # answered already
        assert engine.poll(0.3) == []
        assert not engine._fleet._jobs


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    date = int(time.time() + 2)  # the header has whole seconds
    told = "0.5" if form == "seconds" else email.utils.formatdate(date, usegmt=True)
    until = time.monotonic() + date - time.time()
    with FakeServer(script=_first("a", "429_wait"), retry_after=told) as server, _engine(server) as engine:
        _all(engine, [_request("a"), *(_request(f"b{number}") for number in range(40))])
        refused, again = (
            moment for body, moment in zip(server.bodies, server.times, strict=True) if _asked(body) == "a"
        )
        if form == "seconds":
            until = refused + 0.5
        assert again >= until - 0.01, "the server asked to be left alone"
        assert not [moment for moment in server.times if refused + 0.3 < moment < until - 0.01], "nor anything else"
        assert engine.counts["rate_limited"] == 1


def _asked(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def test_a_busy_server_is_spared_while_another_one_answers() -> None:
    with (
        FakeServer(script=lambda text, seen: "429_wait", retry_after="30") as busy,
        FakeServer() as free,
        _engine(busy, free) as engine,
    ):
        began = time.monotonic()
        _all(engine, [_request(f"q{number}") for number in range(50)])
        assert time.monotonic() - began < 5
        assert busy.seen.total() <= START and set(free.answered.values()) == {1}


def test_concurrency_stays_within_the_bound_and_shrinks_under_429() -> None:
    requests = [_request(f"q{number}") for number in range(200)]
    with FakeServer(delay_seconds=0.05) as server, _engine(server, concurrency=12) as engine:
        _all(engine, requests)
        assert START < server.most_under_way <= 12
    with FakeServer(delay_seconds=0.01) as server, _engine(server, concurrency=64) as engine:
        _all(engine, requests[:60])
        server.quota, server.most_under_way, server.times = 2, 0, []
        _all(engine, requests[60:])
        assert engine.counts["rate_limited"] > 0
        # Of the attempts after the first refusals few are refused: the pace has fallen to what the server takes.
        assert engine.counts["rate_limited"] < 100
        assert len(server.times) < 140 + 100


def test_a_rate_limit_outlasts_any_number_of_retries() -> None:
    with FakeServer(script=_first("a", *["429"] * 8)) as server, _engine(server, retries=1) as engine:
        assert _all(engine, [_request("a")])["a"].text == answer_to("a")
        assert (engine.counts["rate_limited"], server.seen["a"]) == (8, 9)


def test_a_refused_key_is_named_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WRONG_KEY", KEY)
    with (
        FakeServer(key="another") as server,
        pytest.raises(RunError, match=r"rejects the key in `\$WRONG_KEY`") as caught,
        _engine(server, key_variable="WRONG_KEY", log=tmp_path / "log"),
    ):
        pass
    assert server.url in caught.value.message and "you sent Bearer [key]" in caught.value.message
    assert KEY[:12] not in str(caught.value.lines()) + (tmp_path / "log").read_text(encoding="utf-8")


def test_a_server_that_wants_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(key=KEY) as server:
        with pytest.raises(RunError, match="needs a key: it answered 401") as caught, _engine(server):
            pass
        assert "key_variable" in str(caught.value.hint)
        monkeypatch.setenv("MY_KEY", f"{KEY}\n")  # as `$(cat file)` in some shells
        with _engine(server, key_variable="MY_KEY") as engine:
            assert _all(engine, [_request("a")])
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_KEY", value)
    with pytest.raises(MissingError, match=r"needs a key in `\$NO_KEY`, which is not set or empty"):
        OpenAIEngine([OpenAIServer("http://127.0.0.1:1/v1", "NO_KEY")], [MODEL], {})


def test_a_key_that_no_header_takes_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD_KEY", "sk-secret\x07part")
    with pytest.raises(MissingError, match=r"`\$BAD_KEY` contains characters") as caught:
        OpenAIEngine([OpenAIServer("http://127.0.0.1:1/v1", "BAD_KEY")], [MODEL], {})
    assert "secret" not in str(caught.value.lines())


@pytest.mark.parametrize("fault", ["400", "500", "429", "403"])
def test_an_echoed_key_is_in_no_error_log_notice_or_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    echoes = " ".join([KEY, KEY[:16], KEY.replace("/", "%2F").replace("+", "%2B"), f"{'x' * 270} {KEY}"])
    notices: list[str] = []
    with (
        FakeServer(key=KEY, script=lambda text, seen: fault, error=f"bad {echoes}") as server,
        _engine(
            server,
            key_variable="MY_KEY",
            log=tmp_path / "log",
            say=notices.append,
            retries=2,
            patience_seconds=0.5,
        ) as engine,
    ):
        engine.submit(_request("a"))
        error = _error(engine)
        everything = f"{error.lines()} {notices} {engine.counts} {(tmp_path / 'log').read_text(encoding='utf-8')}"
    assert "[key]" in everything
    assert not [part for part in (KEY[:8], KEY[-6:], KEY[8:20]) if part in everything], everything


def test_an_unknown_model_gets_a_near_name() -> None:
    names = ["Qwen/Qwen2.5-7B-Instruct", "meta/Llama", *(f"other-{number}" for number in range(20))]
    with FakeServer(models=names) as one, FakeServer(models=["x"]) as two:
        with (
            pytest.raises(MissingError, match=r"no server serves `qwen2\.5-7b-instruct` \(model `m`\)") as caught,
            _engine(one, two, served={"m": "qwen2.5-7b-instruct"}),
        ):
            pass
        text = caught.value.message
        assert f"`{one.url}` has `Qwen/Qwen2.5-7B-Instruct`" in text and "and 14 more" in text
        assert f"`{two.url}` has `x`" in text
        assert "did you mean `Qwen/Qwen2.5-7B-Instruct`? `engine.openai.served: {m: Qwen/" in str(caught.value.hint)


def test_requests_go_only_where_their_model_is() -> None:
    other = replace(MODEL, name="o", fingerprint="f:o")
    with FakeServer(models=["m"]) as one, FakeServer(models=["o", "x"]) as two, FakeServer(models=None) as three:
        with _engine(one, two, three, models=[MODEL, other]) as engine:
            requests = [_request(f"{name}{number}", model=name) for number in range(100) for name in "mo"]
            found = _all(engine, requests)
        assert {found[f"{name}1"].weights for name in "mo"} == {"f:m", "f:o"}
        assert {body["model"] for body in one.bodies} == {"m"}
        assert {body["model"] for body in two.bodies} == {"o"}
        assert {body["model"] for body in three.bodies} == {"m", "o"}, "a server without /models may serve everything"


def test_a_model_that_nobody_serves_matters_when_it_is_asked() -> None:
    """A checkpoint whose responses are all stored may have left the servers."""
    gone = replace(MODEL, name="gone", fingerprint="f:gone")
    with FakeServer(models=["m"]) as one, _engine(one, models=[MODEL, gone]) as engine:
        assert len(_all(engine, [_request("a"), _request("b")])) == 2
        engine.submit(_request("c", model="gone"))
        assert "no server serves `gone`" in _error(engine).message


def test_servers_that_cannot_be_reached_at_the_start() -> None:
    dead = f"http://127.0.0.1:{_closed_port()}/v1"
    with pytest.raises(MissingError, match=r"no server .* can be used: .*cannot be reached \(Connect") as caught:
        OpenAIEngine([OpenAIServer(dead)], [MODEL], {}, backoff_seconds=0.01)
    assert dead in caught.value.message
    notices: list[str] = []
    with FakeServer() as server:
        engine = OpenAIEngine(
            [OpenAIServer(dead), OpenAIServer(server.url)], [MODEL], {}, backoff_seconds=0.01, say=notices.append
        )
        try:
            assert _all(engine, [_request("a")])
        finally:
            engine.close()
    assert notices and notices[0].startswith(f"server `{dead}` is set aside: it cannot be reached")


@pytest.mark.parametrize("body", [b"<html>It works!</html>", b'{"data": "m"}', b"[]"])
def test_a_page_that_is_no_list_of_models_is_told_at_the_start(body: bytes) -> None:
    want = "does not answer `/models` with a list" if body != b"[]" else "no server serves `m`: .* has no models"
    with FakeServer(models=body) as server, pytest.raises(MissingError, match=want):
        OpenAIEngine([OpenAIServer(server.url)], [MODEL], {}, backoff_seconds=0.01)


def test_a_request_that_always_fails_ends_the_run_after_the_others() -> None:
    script = lambda text, seen: "500" if text == "poison" else None  # noqa: E731
    with FakeServer(script=script, delay_seconds=0.3) as server, _engine(server, retries=2, log=None) as engine:
        engine.submit(_request("poison"))
        for number in range(5):
            engine.submit(_request(f"good{number}"))
        found: list[str] = []
        with pytest.raises(RunError, match=r"request `poison` failed 3 times; .* answered 500: a fault") as caught:
            while True:
                found += [completion.request_id for completion in engine.poll(0.1)]
        assert sorted(found) == [f"good{number}" for number in range(5)], "those under way are paid for"
        assert "run the stage again" in str(caught.value.hint)
        assert server.seen["poison"] == 3
        with pytest.raises(RunError, match="poison"):
            engine.poll(0.1)


def test_a_refused_request_is_not_tried_again() -> None:
    with (
        FakeServer(script=lambda text, seen: "400", error="unknown field `top_q` " * 50) as server,
        _engine(server) as engine,
    ):
        engine.submit(_request("too long"))
        error = _error(engine)
        assert isinstance(error, RunError) and server.seen["too long"] == 1
        assert "refused request `too long`: it answered 400: unknown field" in error.message
        assert len(error.message) < 500 and "max_tokens" in str(error.hint)


# A server's error body for one prompt that it does not take, and the finish reason that the response gets.
DECLINED: dict[str, tuple[int, Any, str]] = {
    "openai, long": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 4097 tokens. However, you sent 6988.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        "too_long",
    ),
    "vllm, long": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 64 tokens. However, your prompt contains at least "
                "65 input tokens, which exceeds this limit even without any output tokens.",
                "type": "BadRequestError",
                "param": "input_tokens",
                "code": 400,
            }
        },
        "too_long",
    ),
    "vllm before, long": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 "
            "in the messages, 10000 in the completion). Please reduce the length of the messages or completion. None",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "too_long",
    ),
    "vllm's engine, long": (
        400,
        {
            "error": {
                "message": "The decoder prompt (length 90) is longer than the maximum model length of 64.",
                "code": 400,
            }
        },
        "too_long",
    ),
    "sglang, long": (
        400,
        {
            "object": "error",
            "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "too_long",
    ),
    "llama.cpp, long": (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 1407,
                "n_ctx": 256,
            }
        },
        "too_long",
    ),
    "llama.cpp before, long": (
        500,
        {"error": {"code": 500, "message": "too long", "type": "exceed_context_size_error"}},
        "too_long",
    ),
    "a gateway to it": (
        200,
        {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}},
        "too_long",
    ),
    "tgi, long": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` "
            "tokens and 20 `max_new_tokens`",
            "error_type": "validation",
        },
        "too_long",
    ),
    "azure, filter": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering the content management policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "refused",
    ),
    "openai, policy": (400, {"error": {"message": "no", "code": "content_policy_violation"}}, "refused"),
    "openai, flagged": (
        400,
        {"error": {"message": "Invalid prompt: flagged", "type": "invalid_request_error", "code": "invalid_prompt"}},
        "refused",
    ),
    "a gateway, filter": (403, {"error": {"message": "no", "code": "content_filter"}}, "refused"),
    "a gateway, moderation": (403, {"error": {"message": "flagged", "code": "moderation"}}, "refused"),
    "openai, moderation": (403, {"error": {"message": "no", "code": "moderation_blocked"}}, "refused"),
    "openrouter, moderation": (
        403,
        {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"flagged_input": "x"}}},
        "refused",
    ),
    "deepseek, filter": (
        400,
        {
            "error": {
                "message": "Content Exists Risk",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request_error",
            }
        },
        "refused",
    ),
    "anthropic, long": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
        },
        "too_long",
    ),
    "anthropic, long with its completion": (
        400,
        {
            "error": {
                "type": "invalid_request_error",
                "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease "
                "input length or `max_tokens` and try again",
            }
        },
        "too_long",
    ),
    "gemini, long": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed "
                    "(1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "too_long",
    ),
    "tgi, long inputs": (
        422,
        {
            "error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
            "error_type": "validation",
        },
        "too_long",
    ),
    "a gateway, long": (500, {"error": {"message": "no", "code": "context_length_exceeded"}}, "too_long"),
    "a gateway, long, beside the words": (500, {"error": "no", "code": "context_length_exceeded"}, "too_long"),
    "a framework, long": (400, {"detail": {"message": "no", "code": "context_length_exceeded"}}, "too_long"),
    "vllm, long with its completion": (
        400,
        {
            "error": {
                "message": "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context "
                "length is 1024 tokens and your request has 30 input tokens (1000 > 1024 - 30).",
                "param": "max_tokens",
                "code": 400,
            }
        },
        "too_long",
    ),
}
# Of `max_tokens` that no prompt leaves room for: the context is told, or not.
ABOVE_THE_LIMIT: dict[str, tuple[int, Any]] = {
    "vllm": (
        400,
        {
            "object": "error",
            "message": "max_tokens is too large: 5000. This model's maximum context length is 1024 tokens and your "
            "request has 20 input tokens (5000 > 1024 - 20).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "vllm, both names": (
        400,
        {
            "error": {
                "message": "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context "
                "length is 1024 tokens and your request has 20 input tokens (5000 > 1024 - 20).",
                "param": "max_tokens",
                "code": 400,
            }
        },
    ),
    "vllm before": (
        400,
        {
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5020 tokens (20 in "
            "the messages, 5000 in the completion). Please reduce the length of the messages or completion.",
            "code": 400,
        },
    ),
    "vllm later": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 4096 tokens. However, you requested 4096 output "
                "tokens and your prompt contains at least 1 input tokens, for a total of at least 4097 tokens.",
                "param": "input_tokens",
                "code": 400,
            }
        },
    ),
    "openai": (
        400,
        {
            "error": {
                "message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, "
                "whereas you provided 100000.",
                "type": "invalid_request_error",
                "param": "max_tokens",
                "code": "invalid_value",
            }
        },
    ),
    "openai, by its code": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 4,097 tokens. However, you requested 5,020 tokens "
                "(20 in the messages, 5,000 in the completion).",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
    ),
    "a gateway to it": (
        500,
        {
            "error": {
                "message": "This model's maximum context length is 4097 tokens. However, you requested 5020 tokens "
                "(20 in the messages, 5000 in the completion).",
                "code": "context_length_exceeded",
            }
        },
    ),
    "sglang": (
        400,
        {
            "message": "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested "
            "a total of 9020 tokens: 20 tokens from the input messages and 9000 tokens for the completion.",
            "code": 400,
        },
    ),
    "tgi": (422, {"error": "Input validation error: `max_new_tokens` must be <= 512. Given: 5000"}),
    "tgi, together": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5 `inputs` "
            "tokens and 5000 `max_new_tokens`"
        },
    ),
    "anthropic": (
        400,
        {
            "error": {
                "type": "invalid_request_error",
                "message": "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for x",
            }
        },
    ),
}


def _declines(case: str, text: str = "poison") -> tuple[Callable[[str, int], str | None], Any]:
    status, body, _ = DECLINED[case]
    return (lambda told, seen: str(status) if told.startswith(text) else None), body


@pytest.mark.parametrize("case", DECLINED)
def test_one_prompt_that_is_not_taken_is_a_response_without_text(case: str, tmp_path: Path) -> None:
    script, body = _declines(case)
    with FakeServer(script=script, error=body) as server, _engine(server, log=tmp_path / "log") as engine:
        found = _all(engine, [_request(text) for text in ("a", "poison", "b", "poison too", "c")])
        assert {name: (found[name].text, found[name].finish_reason) for name in ("poison", "poison too")} == {
            name: ("", DECLINED[case][2]) for name in ("poison", "poison too")
        }
        assert found["poison"].weights == "f:m" and found["poison"].completion_tokens == 0
        assert found["c"].text == answer_to("c")
        assert server.seen["poison"] == 1 and engine.counts["declined"] == 2
        # The last one that is missing, at a rerun.
        assert _all(engine, [_request("poison again")])["poison again"].finish_reason == DECLINED[case][2]
    with FakeServer(script=script, error=body) as server, _engine(server, concurrency=1) as engine:
        assert _all(engine, [_request("poison")])["poison"].finish_reason == DECLINED[case][2], "it is all there is"
    lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert {line["request"] for line in lines if "without text" in line["did"]} == {
        "poison",
        "poison too",
        "poison again",
    }


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("case", ["vllm, long", "azure, filter"])
def test_when_every_prompt_is_refused_the_run_ends(case: str, concurrency: int) -> None:
    script, body = _declines(case, "")
    requests = [_request(f"q{number}") for number in range(200)]
    with (
        FakeServer(script=script, error=body) as server,
        _engine(server, concurrency=concurrency) as engine,
        pytest.raises(RunError, match="returned no text for any of the first 16 requests to `m`"),
    ):
        _all(engine, requests)
    assert server.seen.total() < 100


@pytest.mark.parametrize("case", ABOVE_THE_LIMIT)
def test_more_tokens_than_any_prompt_leaves_room_for_end_the_run(case: str) -> None:
    status, body = ABOVE_THE_LIMIT[case]
    with FakeServer(script=_first("a", str(status)), error=body) as server, _engine(server) as engine:
        engine.submit(_request("a"))
        error = _error(engine)
        assert isinstance(error, RunError) and server.seen["a"] == 1 and not engine.counts["declined"]
    assert "request `a` asks for more `max_tokens` than the model has room for with any prompt" in error.message
    assert "lower `max_tokens`" in str(error.hint)


@pytest.mark.parametrize("status", [400, 422])
def test_of_a_limit_of_tokens_the_numbers_decide(status: int) -> None:
    """However a server tells of them: a completion as long as the context leaves no room for any prompt."""
    forms = (
        "max_tokens is too large: {asked}. This model's maximum context length is {context} tokens and your request",
        "This model's maximum context length is {context} tokens. However, you requested {asked} output tokens and",
        "maximum context length of {context} tokens. 9 tokens from the input and {asked} tokens for the completion",
        "`inputs` tokens + `max_new_tokens` must be <= {context}. Given: 9 `inputs` tokens, {asked} `max_new_tokens`",
        "input length and `max_tokens` exceed context limit: 9 + {asked} > {context}, decrease input length",
        "max_tokens={asked} cannot be greater than max_model_len={context}: maximum context length",
    )
    chance = random.Random(status)
    for form in forms:
        for share in (0.3, 0.99, 1.0, 1.01, 7.0):
            context = chance.randrange(100, 10**6)
            said = form.format(asked=int(share * context), context=context)
            body = json.dumps({"error": {"message": said}}).encode()
            found = failure_of(status, {}, body, Scrub([])).kind
            assert found == ("declined" if share < 1 else "limit"), said


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            400,
            {"error": {"message": "Unsupported parameter: 'seed'", "param": "seed", "code": "unsupported_parameter"}},
        ),
        (
            400,
            {
                "error": {
                    "message": "max_tokens=40000 cannot be greater than max_model_len=4096: maximum context length",
                    "param": "max_tokens",
                }
            },
        ),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}),
        (400, {"error": {"message": "the context is wrong", "type": "BadRequestError"}}),
        (402, {"error": {"message": "maximum context length: pay more", "code": 402}}),
        (413, {"error": {"message": "Request too large: tokens per minute", "code": "rate_limit_exceeded"}}),
        (400, {"error": {"message": "content_filter", "code": ["content_filter"], "type": {"content_filter": 1}}}),
        (400, {"error": {"message": ["maximum context length"], "param": ["messages"]}}),
        (401, {"error": {"message": "no", "code": "content_filter"}}),
        (400, ["content_filter"]),
    ],
)
def test_a_refusal_that_may_be_of_every_request_ends_the_run(status: int, body: Any) -> None:
    with FakeServer(script=_first("a", str(status)), error=body) as server, _engine(server) as engine:
        engine.submit(_request("a"))
        assert isinstance(_error(engine), RunError) and server.seen["a"] == 1


@pytest.mark.parametrize(
    ("change", "text", "finish_reason"),
    [
        ({"content": None, "refusal": "I will not."}, "", "refused"),
        ({"content": "", "refusal": "I will not."}, "", "refused"),
        ({"content": "Yes.", "refusal": None}, "Yes.", "stop"),
        ({"content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "4."}]}, "It is 4.", "stop"),
        ({"content": [{"type": "output_text", "text": "4"}]}, "4", "stop"),
        ({"content": ["It is ", "4."]}, "It is 4.", "stop"),
        ({"content": [{"type": "text", "text": "It is "}, "4."]}, "It is 4.", "stop"),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "", "refused"),
        ({"content": [{"type": "text", "text": ""}, {"type": "refusal", "refusal": "No."}]}, "", "refused"),
        ({"content": [{"type": "text", "text": "Yes."}, {"type": "refusal", "refusal": "No."}]}, "Yes.", "stop"),
    ],
)
def test_refusals_and_parts_of_a_message_are_read(change: dict[str, Any], text: str, finish_reason: str) -> None:
    with (
        FakeServer(extra=lambda answer: answer["choices"][0]["message"].update(change)) as server,
        _engine(server) as engine,
    ):
        found = _all(engine, [_request("a")])["a"]
        assert (found.text, found.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize(
    ("content", "thinking", "text"),
    [
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"type": "text", "text": "m."}]}],
            "Hmm.",
            "",
        ),
        ([{"type": "thinking", "thinking": ["Hm", "m."]}, {"type": "text", "text": "4"}], "Hmm.", "4"),
        ([{"type": "thinking", "thinking": "Hmm.", "signature": "Eq"}, {"type": "text", "text": "4"}], "Hmm.", "4"),
        ([{"type": "reasoning", "text": "Hmm."}, {"type": "text", "text": "4"}], "Hmm.", "4"),
        ([{"type": "reasoning", "reasoning": "Hmm."}, {"type": "output_text", "text": "4"}], "Hmm.", "4"),
        ([{"type": "thinking", "thinking": "a"}, "4", {"type": "thinking", "thinking": "b"}], "a\n\nb", "4"),
        ([{"type": "redacted_thinking", "data": "Eq"}, {"type": "text", "text": "4"}], "", "4"),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}], "", "4"),
    ],
)
def test_parts_of_thinking_come_apart_from_the_text(content: list[Any], thinking: str, text: str) -> None:
    with (
        FakeServer(extra=lambda answer: answer["choices"][0]["message"].update(content=content)) as server,
        _engine(server) as engine,
    ):
        found = _all(engine, [_request("a")])["a"]
        assert (found.text, found.thinking, found.finish_reason) == (text, thinking, "stop")


def _without_text(content: Any, finish_reason: str) -> Callable[[dict[str, Any]], None]:
    """An answer whose text is missing, to every message that begins with `poison`."""

    def extra(answer: dict[str, Any]) -> None:
        choice = answer["choices"][0]
        if choice["message"]["content"].startswith("to poison"):
            choice["message"]["content"] = content
            choice["finish_reason"] = finish_reason

    return extra


@pytest.mark.parametrize("content", [None, []])
@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "SAFETY", "end_turn"])
def test_an_answer_without_text_is_a_response_that_counts_as_none(
    content: Any, finish_reason: str, tmp_path: Path
) -> None:
    with (
        FakeServer(extra=_without_text(content, finish_reason)) as server,
        _engine(server, log=tmp_path / "log", price=TokenPrice(1.0, 1.0)) as engine,
    ):
        found = _all(engine, [_request(text) for text in ("poison", "b", "poison too", "c")])
        for name in ("poison", "poison too"):
            assert (found[name].text, found[name].finish_reason, found[name].weights) == ("", "no_text", "f:m")
            assert found[name].completion_tokens == 20 and server.seen[name] == 1
        assert found["c"].text == answer_to("c")
        assert (engine.counts["declined"], engine.counts["completion_tokens"]) == (2, 80), "they are paid for"
        assert engine.counts["cost"] == pytest.approx(sum(one.prompt_tokens + 20 for one in found.values()) / 1e6)
    with FakeServer(extra=_without_text(content, finish_reason)) as server, _engine(server) as engine:
        assert _all(engine, [_request("poison")])["poison"].finish_reason == "no_text", "it is all there is"
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count("without text (no_text)") == 2 and finish_reason in log


@pytest.mark.parametrize("concurrency", [1, 64])
def test_when_no_answer_has_a_text_the_run_ends(concurrency: int) -> None:
    with (
        FakeServer(extra=_without_text(None, "tool_calls")) as server,
        _engine(server, concurrency=concurrency) as engine,
        pytest.raises(
            RunError, match=r"returned no text for any of the first 16 .* neither text nor thinking: .*tool_calls"
        ),
    ):
        _all(engine, [_request(f"poison {number}") for number in range(200)])
    assert server.seen.total() < 100


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *((word, "length") for word in ("max_tokens", "MAX_TOKENS", "max_output_tokens", "LENGTH", "Length")),
        *((word, "stop") for word in ("STOP", "end_turn", "eos_token", "stop_sequence")),
        ("SAFETY", "other"),
        ("lengthy", "other"),
        ("stop", "stop"),
    ],
)
def test_other_words_for_an_end_are_read(word: str, meant: str) -> None:
    with (
        FakeServer(extra=lambda answer: answer["choices"][0].update(finish_reason=word)) as server,
        _engine(server) as engine,
    ):
        found = _all(engine, [_request("a")])["a"]
        assert (found.text, found.finish_reason) == (answer_to("a"), meant)


def test_an_answer_cut_before_its_text_is_cut_whatever_the_word() -> None:
    with FakeServer(extra=_without_text(None, "MAX_TOKENS")) as server, _engine(server) as engine:
        found = _all(engine, [_request("poison")])["poison"]
        assert (found.text, found.finish_reason) == ("", "length") and not engine.counts["declined"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        [{"type": "image_url", "text": "x"}],
        [{"type": "text", "text": 4}],
        [{"text": "x"}, "y"],
        ["x", 4],
        ["x", ["y"]],
        [{"type": "thinking"}, {"type": "text", "text": "x"}],
        [{"type": "thinking", "thinking": [{"type": "thinking", "thinking": "x"}]}, "x"],
        [{"type": "refusal", "refusal": {}}],
        [{"type": ["text"], "text": "x"}],
    ],
)
def test_a_part_that_is_no_text_is_no_answer(content: Any) -> None:
    with (
        FakeServer(extra=lambda answer: answer["choices"][0]["message"].update(content=content)) as server,
        _engine(server, retries=1) as engine,
    ):
        engine.submit(_request("a"))
        assert re.search("the message (has no text|cannot be read):", _error(engine).message)


def test_an_answer_that_a_filter_held_back_needs_no_counts() -> None:
    def extra(answer: dict[str, Any]) -> None:
        answer["choices"][0].update(finish_reason="content_filter", message={"role": "assistant"})
        del answer["usage"]

    with FakeServer(extra=extra) as server, _engine(server) as engine:
        found = _all(engine, [_request("a")])["a"]
    assert (found.text, found.finish_reason, found.prompt_tokens) == ("", "content_filter", 0)


def test_a_server_that_fails_requests_is_set_aside_and_comes_back() -> None:
    broken = {"now": True}
    notices: list[str] = []
    with (
        FakeServer(script=lambda text, seen: "502" if broken["now"] else None) as server,
        FakeServer() as good,
        _engine(server, good, say=notices.append) as engine,
    ):
        _all(engine, [_request(f"a{number}") for number in range(100)])
        assert engine.counts["set_aside"] >= 1
        assert server.seen.total() < 60, "it looked free, because it failed so fast"
        broken["now"] = False
        end = time.monotonic() + 5
        round_ = 0
        while not server.answered and time.monotonic() < end:
            round_ += 1
            _all(engine, [_request(f"b{round_}.{number}") for number in range(40)])
        assert server.answered
    assert any("is back" in notice for notice in notices)


def test_a_server_that_comes_back_with_another_model_gets_no_more_of_this_one() -> None:
    with FakeServer(models=["m"]) as server, _engine(server, patience_seconds=1.0, retries=50) as engine:
        assert _all(engine, [_request("a")])
        server.kill()
        server.models = ["another"]
        engine.submit(_request("b"))
        time.sleep(0.2)
        server.start()
        error = _error(engine)
        assert f"`{server.url}` serves no `m`" in error.message and not server.seen["b"]


@pytest.mark.parametrize("how", ["gone", "busy"])
def test_a_fleet_without_progress_is_given_up_after_a_while(how: str) -> None:
    with (
        FakeServer(script=lambda text, seen: "429" if text != "first" else None) as server,
        _engine(server, patience_seconds=0.6) as engine,
    ):
        assert _all(engine, [_request("first")])
        if how == "gone":
            server.kill()
        began = time.monotonic()
        for number in range(7):
            engine.submit(_request(f"q{number}"))
        error = _error(engine)
        assert 0.5 < time.monotonic() - began < 5
    assert isinstance(error, RunError)
    assert "no server of model `m` has answered for 0.6 s" in error.message and "7 requests remain" in error.message
    assert ("cannot be reached" if how == "gone" else "answered 429") in error.message
    assert "run the stage again" in str(error.hint)


def test_servers_that_hold_requests_before_they_are_busy_are_given_up() -> None:
    """At every moment some request is under way, and none is ever answered."""

    async def held(sent: bytes) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.2)
        yield b"HTTP/1.1 429 Busy\r\nRetry-After: 0.05\r\nContent-Length: 0\r\n\r\n"

    raw = {"/chat/completions": held}
    with (
        FakeServer(raw=raw) as one,
        FakeServer(raw=raw) as two,
        _engine(one, two, patience_seconds=0.6, timeout_seconds=0.7) as engine,
    ):
        began = time.monotonic()
        for number in range(7):
            engine.submit(_request(f"q{number}"))
        error = _error(engine)
        assert 0.5 < time.monotonic() - began < 5
    assert "no server of model `m` has answered for 0.6 s" in error.message and "answered 429" in error.message


def test_a_request_under_way_runs_its_own_time_whatever_the_patience() -> None:
    with FakeServer(delay_seconds=1.0) as server, _engine(server, patience_seconds=0.2) as engine:
        assert _all(engine, [_request("a")])["a"].text == answer_to("a")


def test_credit_that_is_used_up_ends_the_run_at_once() -> None:
    with (
        FakeServer(script=lambda text, seen: "429", error="insufficient_quota") as server,
        _engine(server) as engine,
    ):
        engine.submit(_request("a"))
        assert "has no credit left for this key (429)" in _error(engine).message


def test_the_price_of_the_answers_is_counted() -> None:
    with FakeServer(script=_first("a", "500")) as server, _engine(server, price=TokenPrice(2.0, 10.0)) as engine:
        _all(engine, [_request("a"), _request("bb")])
        assert engine.counts["prompt_tokens"] == 11 + 12 and engine.counts["completion_tokens"] == 40
        assert engine.counts["cost"] == pytest.approx((23 * 2.0 + 40 * 10.0) / 1e6)
    with FakeServer() as server, _engine(server) as engine:
        assert "cost" not in engine.counts


def test_close_while_every_request_hangs() -> None:
    with FakeServer(script=lambda text, seen: "stall") as server, _engine(server, timeout_seconds=60.0) as engine:
        for number in range(20):
            engine.submit(_request(f"q{number}"))
        while server.under_way < START:
            time.sleep(0.01)
        began, threads = time.monotonic(), [item for item in threading.enumerate() if item.name == "its-openai"]
        assert len(threads) == 1
        engine.close()
        engine.close()
        assert time.monotonic() - began < 4
        assert not threads[0].is_alive()
        with pytest.raises(RunError, match="closed"):
            engine.submit(_request("late"))
        with pytest.raises(RunError, match="closed"):
            engine.poll(0.0)


def test_nothing_under_way_is_an_empty_list_after_the_timeout() -> None:
    with FakeServer() as server, _engine(server) as engine:
        began = time.monotonic()
        assert engine.poll(0.3) == []
        assert 0.29 < time.monotonic() - began < 1
        assert engine.poll(0.0) == []


def test_two_engines_at_once_keep_apart() -> None:
    with FakeServer() as server, _engine(server) as one, _engine(server) as two:
        for number in range(50):
            one.submit(_request(f"one {number}"))
            two.submit(_request(f"two {number}"))
        for engine, name in ((two, "two"), (one, "one")):
            found: set[str] = set()
            while len(found) < 50:
                batch = engine.poll(5.0)
                assert batch
                found |= {item.request_id for item in batch}
            assert found == {f"{name} {number}" for number in range(50)}


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{_closed_port()}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FakeServer() as server, _engine(server) as engine:
        assert _all(engine, [_request("a")])
    with FakeServer() as server:  # stands for the proxy
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, server.url.removesuffix("/v1"))
        engine = OpenAIEngine([OpenAIServer("http://a.host.invalid/v1")], [MODEL], {})
        engine.close()
        assert server.paths == ["http://a.host.invalid/v1/models"]


def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    notices: list[str] = []
    with (
        FakeServer(script=_first("a", "500", "500")) as server,
        _engine(server, log=tmp_path / "file" / "log", say=notices.append) as engine,
    ):
        assert _all(engine, [_request("a")])
    assert [notice for notice in notices if "no longer logged" in notice] == notices


@pytest.mark.parametrize(("hard", "said"), [(4096, "soft 528"), (256, "allows 256")])
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(hard: int, said: str) -> None:
    code = f"""
import resource
from its.engines.openai import OpenAIEngine, OpenAIServer
from its.errors import MissingError
resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard}))
try:
    servers = [OpenAIServer("http://127.0.0.1:{_closed_port()}/v1")] * 2
    OpenAIEngine(servers, [], {{}}, concurrency=200, backoff_seconds=0.01)
except MissingError as error:
    print(error.message, "soft", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr


def test_the_declaration_in_the_documentation_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "openai.md").read_text(encoding="utf-8")
    declared = YAML(typ="safe").load(text.partition("```yaml\n")[2].partition("```")[0])
    section = EngineSection.model_validate(declared["engine"])
    assert section.openai is not None and len(section.openai.servers) == 3


class TestPace:
    """The pacing rules, without a clock."""

    @staticmethod
    def _rounds(pace: Pace, rounds: int, seconds: float = 1.0, tokens: int = 68) -> None:
        """Full rounds of answers, all `seconds` after they were sent."""
        for number in range(rounds):
            pace.under_way = pace.limit
            for _ in range(pace.limit):
                pace.answered(100.0 + number, 100.0 + number + seconds, tokens)
                pace.under_way = pace.limit

    def test_it_doubles_until_strain_and_then_grows_by_one(self) -> None:
        pace = Pace(64, 1.0, random.Random(0))
        assert pace.limit == START
        self._rounds(pace, 1)
        assert pace.limit == 2 * START
        pace.late(began=300.0, now=301.0)
        assert pace.limit == START
        pace.late(began=300.5, now=301.5)
        assert pace.limit == START, "one sign of strain, however many requests were under way"
        pace.under_way = pace.limit
        for _ in range(START):
            pace.answered(302.0, 303.0, 68)
        assert pace.limit == START + 1

    def test_it_never_leaves_one_to_the_bound(self) -> None:
        pace = Pace(20, 1.0, random.Random(0))
        self._rounds(pace, 5)
        assert pace.limit == 20
        for number in range(10):
            pace.late(began=1000.0 + number, now=1000.5 + number)
        assert pace.limit == 1

    def test_it_grows_only_while_it_holds_requests_back(self) -> None:
        pace = Pace(64, 1.0, random.Random(0))
        for _ in range(100):
            pace.under_way = 2
            pace.answered(0.0, 1.0, 68)
        assert pace.limit == START

    def test_it_stays_while_answers_are_much_slower_than_at_best(self) -> None:
        pace = Pace(4096, 1.0, random.Random(0))
        self._rounds(pace, 2)
        before = pace.limit
        self._rounds(pace, 2, seconds=40.0)
        held = pace.limit
        assert held < before + 40
        self._rounds(pace, 1, seconds=40.0, tokens=4000)  # long answers are not slow ones
        self._rounds(pace, 3)
        assert pace.limit > held

    def test_waits_double_and_a_burst_of_refusals_is_one(self) -> None:
        pace = Pace(8, 1.0, random.Random(0))
        first = pace.busy(began=0.0, now=1.0, retry_after_seconds=None)
        assert 0.5 <= first <= 1.0
        assert pace.busy(began=0.5, now=1.0, retry_after_seconds=None) == pytest.approx(first)
        assert not pace.up(1.0 + first - 0.01) and pace.up(1.0 + first)
        assert 1.0 <= pace.busy(began=10.0, now=11.0, retry_after_seconds=None) <= 2.0
        assert pace.busy(began=20.0, now=21.0, retry_after_seconds=7.0) == 7.0
        assert pace.busy(began=30.0, now=31.0, retry_after_seconds=86400.0) == 300.0

    def test_failures_in_a_row_set_aside_and_one_more_after_it_came_back(self) -> None:
        pace = Pace(8, 1.0, random.Random(0))
        assert [pace.failed() for _ in range(SET_ASIDE_AFTER - 1)] == [False] * (SET_ASIDE_AFTER - 1)
        pace.answered(0.0, 1.0, 10)
        assert [pace.failed() for _ in range(SET_ASIDE_AFTER)] == [False] * (SET_ASIDE_AFTER - 1) + [True]
        assert not pace.up(0.0) and not pace.failed()
        pace.back()
        assert pace.up(0.0) and pace.failed()

    def test_backoff_is_bounded(self) -> None:
        chance = random.Random(0)
        drawn = [backoff(number, 0.5, chance) for number in range(1, 200)]
        assert drawn[0] <= 0.5 and max(drawn) <= 60.0 and min(drawn) >= 0.0 and max(drawn) > 50.0


def test_what_a_retry_after_says() -> None:
    assert wait_seconds("12") == 12.0 and wait_seconds("0.5") == 0.5 and wait_seconds("-3") == 0.0
    assert wait_seconds(None) is wait_seconds("soon") is wait_seconds("nan") is wait_seconds("") is None
    ahead = wait_seconds(email.utils.formatdate(time.time() + 100, usegmt=True))
    assert ahead is not None and 98 <= ahead <= 100
    assert wait_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "no", "type": "x"}}', "no"),
        ('{"error": "no"}', "no"),
        ('{"object": "error", "message": "no"}', "no"),
        ('{"detail": "no"}', "no"),
        ('{"detail": [{"loc": ["body"], "msg": "no"}]}', '[{"loc": ["body"], "msg": "no"}]'),
        ("<b>no</b>", "<b>no</b>"),
        ("", ""),
    ],
)
def test_messages_are_found_where_servers_put_them(body: str, said: str) -> None:
    assert message_of(body.encode()) == said


def test_keys_are_taken_out_in_every_form() -> None:
    scrub = Scrub([KEY, "eight-of", "EMPTY"])
    assert scrub(f"a {KEY} b eight-of c empty") == "a [key] b [key] c empty"
    assert scrub(json.dumps({"k": KEY}).replace("/", "\\/")) == '{"k": "[key]"}'
    assert scrub(f"cut {KEY[:14]}... end") == "cut [key] end"
    assert Scrub([])("text") == "text"
