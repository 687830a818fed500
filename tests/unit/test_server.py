"""`its serve`: the study's queries behind OpenAI's API; whatever clients and engines do, it answers and it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fakes.openai_server import FakeServer
from running import run_stage
from unit.solve_samples import BASE, NEW, TRAINED, Its, solvable

from its.cli.main import main
from its.commands.solve_problem import Problems
from its.engines.openai import OpenAIEngine, OpenAIServer
from its.engines.pipe import WorkerEngine
from its.engines.protocol import Completion, EngineModel
from its.engines.protocol import Request as ItsRequest
from its.errors import DataError
from its.grading.grade import Grader
from its.home import STORE_FILE
from its.prompts.trial import TRIALS
from its.rows import read_rows
from its.server.app import Service
from its.server.run import Server, Settings, _bind, open_service, read_key, served_checkpoints
from its.store import Store
from its.store.encoding import checksum
from its.study.study import Study, load_study
from its.types import Query, Response


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any) -> Study:
    """No data yet; strategies and votes that a name may stand for."""
    model_in_folder()
    return solvable(
        project,
        edit,
        engines,
        ("  test: [none, random]", "  test: [none, random, noisy, swapped]"),
        (
            "\nstrategies:\n",
            "\nstrategies:\n"
            "  noisy:\n    noise: {like: random}\n    query: prompts/query_persona_first.j2\n"
            "  swapped:\n    shuffled: {of: random}\n    query: prompts/query_persona_first.j2\n"
            "  both:\n    union: {of: [none, random]}\n",
        ),
        (
            "  members: trained",
            f"  members: trained\n  ensembles:\n    pair: [{BASE}/none, {BASE}/random]\n"
            f"    far: [{BASE}/none, {TRAINED}/none]\n    odd: [{BASE}/none, {BASE}/swapped]\n"
            "  strategies: {two: [none, random]}",
        ),
    )


class Served:
    """A running server and a client of it."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def ask(self, problem: Any = NEW, model: str = f"{BASE}/none", **more: Any) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": problem}], **more}
        return self.client.post("/v1/chat/completions", json=body)

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def serving(study: Study, names: list[str], **given: Any) -> Iterator[Served]:
    """The server in a thread; at the end it must stop, and no engine may be left."""
    key = given.pop("key", None)
    settings = Settings(port=0, **given)
    with Grader(workers=1) as grader, closing(_bind("127.0.0.1", 0)) as listening:
        checkpoints = served_checkpoints(study, names)
        service = open_service(study, checkpoints, Problems(study, None), settings, key, grader)
        try:
            service.desk.start()
            server = Server(service, settings)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                served = Served(service, listening.getsockname()[1])
                while not server.started:
                    time.sleep(0.01)
                with served.client:
                    yield served
            finally:
                server.handle_exit(signal.SIGTERM, None)
                thread.join(30)
        finally:
            service.voting.shutdown()
            assert service.desk.stop()
        assert not thread.is_alive()


def test_a_response_waits_for_no_acknowledgement() -> None:
    """Of its headers, on a connection that is kept: 40 ms each."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with closing(_bind("127.0.0.1", 0)) as listening:
            async with await asyncio.start_server(connected, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                writer.close()
                return await found

    assert asyncio.run(accepted()) != 0


def test_a_served_problem_is_the_study_s(study: Study, engines: Any) -> None:
    """What the engine receives is the study's query, message by message; the study then finds the responses stored."""
    for name in ("arithmetic", "arithmetic_test"):
        run_stage("prepare", name)
    for stage in ("persona", "query"):
        run_stage(stage)
    for strategy in study.recipe.design.train:
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
    problem = study.problems("arithmetic_test")[1]
    chosen = [item for item in study.checkpoints() if item.name in (BASE, TRAINED)]
    got: dict[tuple[str, str], dict[str, Any]] = {}
    with serving(study, [BASE, TRAINED]) as served:
        before = len(engines.asked())
        for checkpoint in chosen:
            for strategy in ("none", "random", "noisy"):
                answer = served.ask(f" {problem.text}\n", f"{checkpoint.name}/{strategy}", n=3)
                assert answer.status_code == 200, answer.text
                got[checkpoint.name, strategy] = answer.json()
        seen = engines.asked()[before:]
        assert served.ask(problem.text, f"{BASE}/swapped").status_code == 400
        assert (
            served.ask(problem.text, f"{TRAINED}/none", temperature=0.6, top_p=0.9, n=3).json()["its"]["generated"] == 0
        )
        other = served.ask(problem.text, f"{TRAINED}/none", temperature=0.5).json()
        assert other["its"]["generated"] == 1, "other sampling is another response"
    assert len(seen) == 18, "personas are in the store"
    sent = {json.dumps(item["messages"]) for item in seen}
    queries = [
        query.turns("smollm2_135m")
        for strategy in ("none", "random", "noisy")
        for query in read_rows(study.queries_path("test", "arithmetic_test", strategy), Query)
        if query.problem_id == problem.problem_id
    ]
    assert sent == {json.dumps(turns) for turns in queries}
    before = len(engines.asked())
    run_stage("generate")
    cells = len(study.cells())
    assert len(engines.asked()) - before == cells * 3 * 3 - 18
    seeds = {}
    for checkpoint in chosen:
        for strategy in ("none", "random", "noisy"):
            rows = list(read_rows(study.responses_path(checkpoint, "arithmetic_test", strategy), Response))
            own = [row for row in rows if row.query_id.split("/")[1] == problem.problem_id]
            body = got[checkpoint.name, strategy]
            assert [choice["message"]["content"] for choice in body["choices"]] == [row.text for row in own]
            assert body["its"]["members"][0]["request_keys"] == [row.request_key for row in own]
            seeds[checkpoint.name, strategy] = own[2]
    with serving(study, [TRAINED]) as served:
        row = seeds[TRAINED, "random"]
        one = served.ask(problem.text, f"{TRAINED}/random", seed=row.seed).json()
        assert one["its"]["members"][0]["request_keys"] == [row.request_key], "a seed of the study is its sample"
        assert served.ask(problem.text, f"{TRAINED}/random", seed=1).json()["its"]["generated"] == 1
        # ITS as the client of ITS: the seeds of a study bring its responses.
        settings = study.recipe.generation.of("smollm2_135m", "arithmetic_test").settings()
        model = EngineModel(TRAINED, "p", "f", "bfloat16", 4096)
        engine = OpenAIEngine(
            [OpenAIServer(f"http://127.0.0.1:{served.port}/v1")], [model], {TRAINED: f"{TRAINED}/random"}
        )
        trained = next(item for item in chosen if item.name == TRAINED)
        rows = list(read_rows(study.responses_path(trained, "arithmetic_test", "random"), Response))
        texts = {item.problem_id: item.text for item in study.problems("arithmetic_test")}
        for at, item in enumerate(rows):
            turns = [{"role": "user", "content": texts[item.query_id.split("/")[1]]}]
            engine.submit(ItsRequest(str(at), turns, settings, item.seed, item.sample_index, model=TRAINED))
        found: list[Completion] = []
        while len(found) < len(rows):
            found += engine.poll(1.0)
        engine.close()
        theirs = {int(item.request_id): (item.text, item.completion_tokens) for item in found}
        assert theirs == {at: (item.text, item.completion_tokens) for at, item in enumerate(rows)}


def test_names_votes_and_streams(study: Study) -> None:
    with serving(study, [BASE], most=8) as served:
        listed = [item["id"] for item in served.client.get("/v1/models").json()["data"]]
        assert listed == [f"{BASE}/none", f"{BASE}/random", f"{BASE}/noisy", f"{BASE}/two", "pair"]
        assert served.client.get(f"/v1/models/{BASE}/none").json()["id"] == f"{BASE}/none"
        vote = served.ask(model=f"{BASE}/random+vote4").json()
        own = vote["its"]
        assert (own["responses"], len(vote["choices"])) == (4, 1) and own["votes"] == own["answers"][0]["votes"]
        assert own["answer"] in vote["choices"][0]["message"]["content"]
        assert own["members"][0]["personas"] == ["You are a sailor in the rain."]
        assert own["tokens"]["writer"]["completion_tokens"] > 0
        assert vote["usage"]["completion_tokens"] == own["tokens"]["responses"]["completion_tokens"]
        pair, two = served.ask(model="pair").json()["its"], served.ask(model=f"{BASE}/two").json()["its"]
        assert pair["responses"] == 6 == two["responses"] and pair["answers"] == two["answers"]
        assert (two["generated"], two["from_store"]) == (0, 6)
        many = served.ask(n=5).json()
        assert [choice["index"] for choice in many["choices"]] == [0, 1, 2, 3, 4]
        parts = [{"type": "text", "text": NEW[:9]}, {"type": "text", "text": NEW[9:]}]
        again = served.ask(parts, n=5, user="me", logprobs=False).json()
        assert again["choices"] == many["choices"] and again["its"]["from_store"] == 5
        lines = served.ask(n=2, stream=True, stream_options={"include_usage": True}).text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
        texts = {0: "", 1: ""}
        for chunk in chunks[:-1]:
            for choice in chunk["choices"]:
                texts[choice["index"]] += choice["delta"].get("content", "")
        assert list(texts.values()) == [choice["message"]["content"] for choice in many["choices"][:2]]
        assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] > 0 and chunks[-2]["its"]["members"]
        with openai.OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="none", max_retries=0) as client:
            turns: Any = [{"role": "user", "content": NEW}]
            official = client.chat.completions.create(model=f"{BASE}/none", messages=turns, n=5)
            assert [item.message.content for item in official.choices] == [
                choice["message"]["content"] for choice in many["choices"]
            ]
            assert official.usage and official.usage.model_dump(include=set(many["usage"])) == many["usage"]
            assert official.model_extra and official.model_extra["its"]["from_store"] == 5
            stream = client.chat.completions.create(model=f"{BASE}/none", messages=turns, stream=True)
            text = "".join(item.choices[0].delta.content or "" for item in stream)
            assert text == many["choices"][0]["message"]["content"]
            assert [item.id for item in client.models.list()] == listed
            assert client.models.retrieve(f"{BASE}/none+vote4").id == f"{BASE}/none+vote4"
            with client.chat.completions.stream(model=f"{BASE}/none", messages=turns, n=2) as helper:
                final = helper.get_final_completion()
            assert [item.message.content for item in final.choices] == list(texts.values())
            with pytest.raises(openai.NotFoundError, match="did you mean"):
                client.chat.completions.create(model=f"{BASE}/non", messages=turns)
        assert served.client.get("/health").json() == {"status": "ok"}
        assert served.metric("its_requests_in_flight") == 0
        assert served.metric('its_requests_total{status="200"}') == 9


NOTHING: dict[str, str] = {}


def _events(served: Served, **more: Any) -> Generator[tuple[float, dict[str, Any]]]:
    """The chunks of a stream, and when they came."""
    body = {"messages": [{"role": "user", "content": NEW}], "stream": True, "model": f"{BASE}/none", **more}
    with served.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                yield time.monotonic(), json.loads(line.removeprefix("data: "))


def _joined(events: list[tuple[float, dict[str, Any]]], name: str = "content") -> dict[int, str]:
    out: dict[int, str] = {}
    for _, chunk in events:
        for choice in chunk["choices"]:
            out[choice["index"]] = out.get(choice["index"], "") + choice["delta"].get(name, "")
    return out


def test_a_stream_flows_while_it_is_generated_and_is_the_response(study: Study, engines: Any) -> None:
    """Deltas come before the end and add up to what the same request gives whole, also with a persona and n of 3."""
    engines.tell(varied=True, seconds=0.05, characters=6, personas={"": [" sailor in the rain."]})
    with serving(study, [BASE], most=8) as served:
        for strategy, n in [("none", 1), ("random", 3)]:
            model = f"{BASE}/{strategy}"
            events = list(_events(served, model=model, n=n, stream_options={"include_usage": True}))
            whole = served.ask(model=model, n=n).json()
            assert whole["its"]["from_store"] == n, "the stream was stored as its own response"
            assert _joined(events) == {item["index"]: item["message"]["content"] for item in whole["choices"]}
            for index in range(n):
                own = [item for item in events if [c["index"] for c in item[1]["choices"]] == [index]]
                assert own[0][1]["choices"][0]["delta"]["role"] == "assistant"
                assert len(own) > 4 and own[-1][0] - own[0][0] > 0.2, "it flows"
                assert [item[1]["choices"][0]["finish_reason"] for item in own] == [None] * (len(own) - 1) + ["stop"]
                assert not any("role" in item[1]["choices"][0]["delta"] for item in own[1:])
            assert len({chunk["id"] for _, chunk in events}) == len({chunk["created"] for _, chunk in events}) == 1
            assert events[-1][1]["usage"] == whole["usage"] and "its" in events[-2][1]
            assert [part["delta"] for _, chunk in _events(served, model=model, n=n) for part in chunk["choices"]] == [
                delta for item in whole["choices"] for delta in (item["message"], NOTHING)
            ], "a stored response is sent at once"
        vote = list(_events(served, model=f"{BASE}/none+vote4"))
        assert len([chunk for _, chunk in vote if chunk["choices"]]) == 2, "what a vote chooses is known at its end"
        with openai.OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="none", max_retries=0) as client:
            turns: Any = [{"role": "user", "content": "What is 7 + 8?"}]
            with client.chat.completions.stream(model=f"{BASE}/none", messages=turns) as helper:
                seen = [event.snapshot for event in helper if event.type == "content.delta"]
                final = helper.get_final_completion().choices[0].message.content
            assert len(seen) > 4 and final == seen[-1] and all(final.startswith(item) for item in seen)


def test_a_stream_that_breaks_says_so(study: Study, engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that dies, and a response that is not what its stream began with, are events; a client may leave."""
    engines.tell(varied=True, seconds=0.05, characters=6)
    with serving(study, [BASE]) as served:
        stream = _events(served)
        assert next(stream)[1]["choices"][0]["delta"]["content"]
        engine = served.service.desk._feed._session._engine
        assert isinstance(engine, WorkerEngine)
        engine._process.kill()
        errors = [chunk["error"] for _, chunk in stream if "error" in chunk]
        assert [error["code"] for error in errors] == ["engine_failed"] and "the engine died" in errors[0]["message"]
        again = list(_events(served))
        assert _joined(again) == {0: served.ask().json()["choices"][0]["message"]["content"]}

        whole = WorkerEngine._completion
        monkeypatch.setattr(WorkerEngine, "_completion", lambda *args: replace(whole(*args), text="Another one."))
        broken = [chunk for _, chunk in _events(served, seed=9)]
        assert broken[0]["choices"][0]["delta"]["content"] and broken[-1]["error"]["code"] == "response_revised"
        monkeypatch.undo()
        assert served.ask(seed=9).json()["choices"][0]["message"]["content"] == "Another one.", "as it is stored"

        stream = _events(served, seed=10)
        next(stream)
        stream.close()
        deadline = time.monotonic() + 30
        while served.metric("its_engine_requests ") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not served.metric("its_engine_requests ") and served.ask(seed=10).json()["its"]["generated"] == 1


def test_a_stream_of_servers_flows_also_where_one_of_them_dies(study: Study, edit: Callable[..., None]) -> None:
    """What a second server generates again continues the stream, unless it is another text."""

    def script(text: str, seen: int) -> str | None:
        return "cut_stream" if "cut" in text and not seen else None

    def revises(answer: dict[str, Any]) -> None:
        message = answer["choices"][0]["message"]
        if "other" in message["content"]:
            message["content"] = f"{len(server.bodies)}{message['content']}"

    with FakeServer(models=["smollm2_135m"], piece_seconds=0.06, script=script, extra=revises) as server:
        options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
        told = f"  kind: openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n"
        edit(("  kind: vllm\n", told), (f"  options:\n{options}", "  options: {}\n"))
        with serving(load_study(study.project), [BASE]) as served:
            for problem in (NEW, f"{NEW} It is cut."):
                turns = [{"role": "user", "content": problem}]
                events = list(_events(served, messages=turns))
                whole = served.ask(problem).json()
                assert whole["its"]["from_store"] == 1
                assert _joined(events) == {0: whole["choices"][0]["message"]["content"]}
                parts = [item for item in events if item[1]["choices"][0]["delta"].get("content")]
                assert len(parts) > 4 and parts[-1][0] - parts[0][0] > 0.2, "it flows"
            turns = [{"role": "user", "content": f"{NEW} Cut, and the other is another: cut."}]
            last = list(_events(served, messages=turns))[-1][1]
            assert last["error"]["code"] == "response_revised"
    assert [body["stream"] for body in server.bodies] == [True, True, False, True, False]


def test_a_stream_of_a_thinking_model_has_two_parts(
    project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any
) -> None:
    model_in_folder()
    thinking = "    thinking: {start: <think>, end: </think>}\n"
    study = solvable(project, edit, engines, ("    context_length", f"{thinking}    context_length"))
    text = "<think>\nSeven less two, and so on and on.\n</think>\n\nThe final answer is \\boxed{5}.\n"
    engines.tell(solutions={"pens": [f"done::{text}"]}, seconds=0.05, characters=6)
    with serving(study, [BASE]) as served:
        events = list(_events(served))
        message = served.ask().json()["choices"][0]["message"]
        assert _joined(events) == {0: message["content"]} == {0: "The final answer is \\boxed{5}."}
        thought = _joined(events, "reasoning_content")[0]
        assert thought == message["reasoning_content"] == "Seven less two, and so on and on."
        parts = [choice["delta"] for _, chunk in events for choice in chunk["choices"]]
        assert sum("reasoning_content" in part for part in parts) > 3 and sum("content" in part for part in parts) > 3


BAD: list[tuple[Any, int, str, str]] = [
    (b"{", 400, "invalid_json", "not JSON"),
    (b"\xff", 400, "invalid_json", "not JSON"),
    (b"[" * 100_000, 400, "invalid_json", "not JSON"),
    (b"[]", 400, "invalid_json", "not a JSON object"),
    (b'{"n": NaN}', 400, "invalid_json", "`NaN` is not a number"),
    (b'{"n": 1e999}', 400, "invalid_json", "too large"),
    (b'{"n": ' + b"9" * 5000 + b"}", 400, "invalid_json", "not JSON"),
    (b" " * (2**20 + 1), 413, "request_too_large", "at most"),
    ({"model": None}, 400, "invalid_value", "`model` is missing"),
    ({"model": 7}, 400, "invalid_value", "`model` is missing"),
    ({"model": f"{BASE}/randm"}, 404, "model_not_found", "did you mean `smollm2_135m-base/random`"),
    ({"model": "\x1b[31m"}, 404, "model_not_found", "\\x1b"),
    ({"model": "x" * 100_000 + "+vote2"}, 404, "model_not_found", "no model"),
    ({"model": "far"}, 404, "model_not_found", "not served here"),
    ({"model": f"{BASE}/none+vote9"}, 400, "invalid_value", "at most 8"),
    ({"model": f"{BASE}/none+vote2", "n": 2}, 400, "invalid_value", "a vote is one choice"),
    ({"messages": []}, 400, "invalid_value", "`messages` is missing"),
    ({"messages": "hello"}, 400, "invalid_value", "`messages` is missing"),
    ({"messages": [{"role": "system", "content": "x"}]}, 400, "invalid_value", "no user turn"),
    ({"messages": [{"role": "user", "content": "a"}] * 2}, 400, "unsupported_value", "send one user turn"),
    ({"messages": [{"role": [], "content": "a"}, {"role": "user"}]}, 400, "unsupported_value", "send one user turn"),
    ({"messages": [{"role": "user", "content": 7}]}, 400, "invalid_value", "not a text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "invalid_value", "type `text`"),
    ({"content": " \n "}, 400, "invalid_value", "blank"),
    ({"content": "7" * 10**6}, 400, "string_above_max_length", "at most 262144 bytes"),
    ({"content": "a\u0000b"}, 400, "invalid_value", "U+0000"),
    ({"content": "a\ud800b"}, 400, "invalid_value", "U+D800"),
    ({"content": "half of <|im_end|> 12?"}, 400, "invalid_problem", "control token"),
    ({"content": "please refuse this"}, 400, "context_length_exceeded", "longer than the context"),
    ({"n": 9}, 400, "invalid_value", "from 1 to 8"),
    ({"n": 0}, 400, "invalid_value", "from 1 to 8"),
    ({"n": True}, 400, "invalid_value", "from 1 to 8"),
    ({"n": 10**30}, 400, "invalid_value", "from 1 to 8"),
    ({"n": 2, "temperature": 0}, 400, "invalid_value", "the same one"),
    ({"seed": -1}, 400, "invalid_value", "`seed`"),
    ({"temperature": "hot"}, 400, "invalid_value", "`temperature`"),
    ({"temperature": -1}, 400, "invalid_value", "`temperature`"),
    ({"temperature": 1e300}, 400, "invalid_value", "`temperature`"),
    ({"max_tokens": 1.5}, 400, "invalid_value", "`max_tokens`"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, 400, "invalid_value", "the same limit"),
    ({"stop": [""]}, 400, "invalid_value", "`stop`"),
    ({"stream": "yes"}, 400, "invalid_value", "`stream`"),
    ({"stream_options": []}, 400, "invalid_value", "`stream_options`"),
    ({"tools": [{"type": "function"}]}, 400, "unsupported_parameter", "`tools`"),
    ({"temprature": 1}, 400, "unsupported_parameter", "`temprature`"),
]


def test_bad_requests_are_errors_of_the_api(study: Study, engines: Any) -> None:
    good: dict[str, Any] = {"model": f"{BASE}/none"}
    with serving(study, [BASE], most=8) as served:
        for body, status, code, message in BAD:
            if isinstance(body, dict):
                content = body.pop("content", NEW) if "messages" not in body else None
                turns = {} if content is None else {"messages": [{"role": "user", "content": content}]}
                body = json.dumps({**good, **turns, **body}).encode()
            headers = {"Content-Type": "application/json"}
            found = served.client.post("/v1/chat/completions", content=body, headers=headers)
            error = found.json()["error"]
            assert (found.status_code, error["code"]) == (status, code), (body[:99], found.text[:300])
            assert message in error["message"] and set(error) == {"message", "type", "param", "code"}, error
            assert len(found.content) < 10_000
        text = served.client.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
        assert text.status_code == 415
        assert served.client.get("/v1/nothing").json()["error"]["code"] == "not_found"
        assert served.client.get("/v1/chat/completions").status_code == 405
        assert served.client.get("/v1/models", headers={"Host": "evil.example:80"}).status_code == 403
        engines.tell(personas={"": [" As an AI I cannot do that, sorry."]})
        assert served.metric("its_engine_failures_total") == 0
        assert served.ask().status_code == 200, "it still answers"
    with serving(study, [BASE], key="k" * 20) as served:
        refused = served.ask(model=f"{BASE}/random")
        assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
        assert served.client.get("/metrics").status_code == 401 and served.client.get("/health").status_code == 200
        served.client.headers["Authorization"] = f"Bearer {'k' * 20}"
        refused = served.ask(model=f"{BASE}/random")
        assert refused.status_code == 422 and "wrote no usable persona" in refused.text


def test_an_engine_that_dies_is_started_again_a_few_times(study: Study) -> None:
    with serving(study, [BASE], restarts=1) as served:
        known = served.ask("What is known?")
        assert known.status_code == 200
        with Store(study.home / STORE_FILE) as store:
            key = bytes.fromhex(known.json()["its"]["members"][0]["request_keys"][0])
            body = store.packer.pack(b'{"text": "not a completion"}')
            store.db.execute("UPDATE responses SET body=?, checksum=? WHERE key=?", (body, checksum(key, body), key))
        lost = served.ask("What is known?")
        assert (lost.status_code, lost.headers["Retry-After"]) == (503, "5") and "request it again" in lost.text
        again = served.ask("What is known?").json()
        assert again["choices"] == known.json()["choices"] and again["its"]["generated"] == 1
        dead = served.ask("please die")
        assert dead.status_code == 503 and dead.json()["error"]["code"] == "engine_failed", dead.text
        assert dead.headers["Retry-After"] and "the engine died" in dead.text
        assert served.ask("What is new?").status_code == 200
        assert served.client.get("/health").status_code == 200
        assert [served.ask(f"please die {n}").status_code for n in range(2)] == [503, 503]
        assert served.client.get("/health").json() == {"status": "failed"}
        assert "failed too often" in served.ask("What is newer?").text
        assert served.ask("What is known?").status_code == 200, "the store needs no engine"
        assert served.metric("its_engine_failures_total") == 3


def test_a_request_does_not_wait_for_the_engine(study: Study, engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits for a response is woken by the next request, which the store may answer."""
    monkeypatch.setattr("its.server.desk.WAIT_SECONDS", 60.0)
    with serving(study, [BASE]) as served:
        assert served.ask("What is known?").status_code == 200
    engines.tell(seconds=3.0)
    with serving(study, [BASE]) as served, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(served.ask, "What is 1 + 1?")
        while not served.service.desk._feed.under_way:
            time.sleep(0.01)
        began = time.monotonic()
        assert served.ask("What is known?").json()["its"]["from_store"] == 1
        assert time.monotonic() - began < 2 and not slow.done()
        assert slow.result().status_code == 200


def test_prompts_of_clients_that_come_together_are_rendered_together(
    study: Study, edit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one process, unless they are long, and one that its template does not render fails alone."""
    template = study.project / "recipes" / "prompts" / "failing.jinja"
    source = (study.project / "recipes" / "prompts" / "chatml.jinja").read_text(encoding="utf-8")
    failing = "{% if 'please fail' in messages[-1]['content'] %}{{ raise_exception('it cannot') }}{% endif %}"
    template.write_text(failing + source, encoding="utf-8")
    edit(("prompts/chatml.jinja", "prompts/failing.jinja"))
    with serving(load_study(study.project), [BASE]) as served:
        calls = []
        answer = TRIALS.answer

        def slow(request: bytes, seconds: int, wait: float) -> bytes | None:
            calls.append(len(json.loads(request)["chats"]))
            time.sleep(0.5 if len(calls) == 1 else 0.0)  # meanwhile the others come
            return answer(request, seconds, wait)

        monkeypatch.setattr(TRIALS, "answer", slow)
        problems = [f"What is {number} + 1?" for number in range(30)]
        with ThreadPoolExecutor(30) as pool:
            found = list(pool.map(served.ask, problems))
        assert {item.status_code for item in found} == {200}
        assert sum(calls) == 30 and len(calls) < 10, calls

        calls.clear()
        problems = [f"What is {number} + 2?{' please fail' * (number == 20)}" for number in range(30)]
        with ThreadPoolExecutor(30) as pool:
            found = list(pool.map(served.ask, problems))
        assert [number for number, item in enumerate(found) if item.status_code != 200] == [20]
        assert found[20].status_code == 400 and "it cannot" in found[20].text
        assert served.metric("its_engine_failures_total") == 0

        calls.clear()
        monkeypatch.setattr("its.server.desk.PROMPT_CHARACTERS", 100)
        problems = [f"What is {number} + 3?" for number in range(30)]
        with ThreadPoolExecutor(30) as pool:
            assert {item.status_code for item in pool.map(served.ask, problems)} == {200}
        assert sum(calls) == 30 and max(calls) < 9, calls


def test_many_clients_some_of_which_hang_or_leave(study: Study, engines: Any) -> None:
    engines.tell(varied=True, seconds=0.01)
    statuses: list[int] = []
    hung = []
    with serving(study, [BASE], requests=48) as served:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for number in range(30):
            link = socket.create_connection(("127.0.0.1", served.port))
            body = json.dumps({"model": f"{BASE}/none", "messages": [{"role": "user", "content": f"left {number}"}]})
            if number % 3 == 0:
                link.sendall(head[:40])  # says nothing more
            elif number % 3 == 1:
                link.sendall(head + b"Content-Length: 9999\r\n\r\n{")  # a body that does not end
            else:
                link.sendall(head + f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
            hung.append(link)

        def ask(number: int) -> None:
            deadline = time.monotonic() + 100
            while time.monotonic() < deadline:
                answer = served.ask(f"What is {number} + 1?", stream=number % 5 == 0)
                statuses.append(answer.status_code)
                if answer.status_code != 429:
                    return
                assert 1 <= int(answer.headers["Retry-After"]) <= 60
                time.sleep(0.2)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for link in hung[2::3]:
            link.close()  # asked and left
        for link in hung[1::3]:
            link.close()
        for thread in threads:
            thread.join(120)
        assert statuses.count(200) == 200 and set(statuses) <= {200, 429}
        deadline = time.monotonic() + 30
        while served.metric("its_requests_in_flight") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert served.metric("its_requests_in_flight") == 0
        assert served.metric('its_requests_total{status="499"}') > 0
        assert served.ask("And one more?").status_code == 200
    for link in hung[::3]:
        link.close()


@pytest.mark.parametrize(
    ("host", "key", "message"),
    [
        ("0.0.0.0", "", "has to contain a key"),
        ("example.org", "", "has to contain a key"),
        ("127.0.0.1", "short", "at least 16"),
        ("127.0.0.1", "with spaces in a long key", "at least 16"),
    ],
)
def test_only_this_machine_connects_without_a_key(
    host: str, key: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_SERVE_KEY", key)
    with pytest.raises(DataError, match=message) as caught:
        read_key(host)
    assert not key or key not in "".join(caught.value.lines())
    assert "ITS_SERVE_KEY" not in os.environ, "engines do not inherit it"


def test_the_command_ends_with_a_signal_and_leaves_no_process(
    study: Study, its: Its, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = its("serve", "--checkpoint", "smollm2_135m-base2")
    assert code == 3 and f"did you mean `{BASE}`" in err
    code, _, err = its("serve")
    assert code == 4 and "--checkpoint NAME" in err
    code, _, err = its("serve", "--checkpoint", TRAINED, "--port", "0")
    assert code == 4 and "no trained model" in err
    with closing(_bind("127.0.0.1", 0)) as taken:
        taken.listen()
        code, _, err = its("serve", "--checkpoint", BASE, "--port", str(taken.getsockname()[1]))
    assert code == 1 and "cannot listen" in err and "--port 0" in err

    def stop() -> None:
        deadline = time.monotonic() + 60
        while "Ctrl-C ends it" not in seen[0] and time.monotonic() < deadline:
            seen[0] += capsys.readouterr().err
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    seen = [""]
    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--checkpoint", BASE, "--port", "0"])
    thread.join()
    assert not caught.value.code and "http://127.0.0.1:" in seen[0], seen
    assert not _children("vllm_worker"), "the engine has ended"


def _children(name: str) -> list[str]:
    out = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = next(line for line in path.read_text().splitlines() if line.startswith("PPid"))
            if int(parent.split()[1]) == os.getpid() and name in (path.parent / "cmdline").read_text():
                out.append(path.parent.name)
        except OSError:
            continue
    return out
