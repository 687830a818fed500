"""The routes: who may ask, what is refused at the door, and what becomes of a client that leaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from its.commands.solve_problem import Problems
from its.commands.solving import solved_document, solving
from its.grading.grade import Grader
from its.server.admit import admit
from its.server.body import MAX_BODY_BYTES, ChatRequest, read_request, with_sampling
from its.server.completion import begun_event, completion, events, failed_event, head
from its.server.deltas import Live
from its.server.desk import Desk, Job
from its.server.errors import ApiError, api_error
from its.server.metrics import Metrics
from its.server.names import Names
from its.shown import counted
from its.study.study import Study

BODY_SECONDS = 30.0
"""How long a body may take to arrive."""
KEEP_SECONDS = 10.0
"""After that long a stream begins with a comment, and gets another one each time: the connection is alive."""
LEFT = 499


@dataclass
class Service:
    """What the routes share.

    Args:
        most: the largest n.
        key: what a client has to present; None lets everyone on this machine in.
        created: when the server started, in seconds since 1970.
    """

    study: Study
    desk: Desk
    names: Names
    problems: Problems
    metrics: Metrics
    grader: Grader
    most: int
    key: str | None
    created: int = field(default_factory=lambda: int(time.time()))
    stopping: bool = False
    voting: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "its-vote"))


@dataclass(frozen=True)
class _Stream:
    """A completion that is sent as events.

    Args:
        head: what each of them begins with.
    """

    head: dict[str, Any]
    include_usage: bool
    live: Live


def make_app(service: Service) -> Starlette:
    """The application; every error has the form of OpenAI's API."""
    routes = [
        Route("/v1/chat/completions", partial(_guarded, service, _chat), methods=["POST"]),
        Route("/v1/models", partial(_guarded, service, _models), methods=["GET"]),
        Route("/v1/models/{name:path}", partial(_guarded, service, _model), methods=["GET"]),
        Route("/metrics", partial(_guarded, service, _metrics), methods=["GET"]),
        Route("/health", partial(_health, service), methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _failed})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    return _error(ApiError(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}".lower()))


async def _failed(request: Request, error: Exception) -> Response:
    return _error(api_error(error))


def _error(error: ApiError) -> Response:
    return _json(error.body(), error.status, error.headers())


async def _guarded(service: Service, route: Any, request: Request) -> Response:
    try:
        admit(service.key, request)
        answer: Response = await route(service, request)
        return answer
    except ApiError as error:
        return _error(error)


async def _health(service: Service, request: Request) -> Response:
    state = "stopping" if service.stopping else "failed" if service.desk.broken else "ok"
    return _json({"status": state}, 200 if state == "ok" else 503)


async def _metrics(service: Service, request: Request) -> Response:
    return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _models(service: Service, request: Request) -> Response:
    return _json({"object": "list", "data": [_described(service, name) for name in service.names.listed()]})


async def _model(service: Service, request: Request) -> Response:
    name = request.path_params["name"]
    service.names.find(name, service.problems.default)
    return _json(_described(service, name))


def _described(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.created, "owned_by": "its"}


async def _chat(service: Service, request: Request) -> Response:
    metrics, began = service.metrics, time.monotonic()
    if service.stopping:
        raise ApiError(503, "stopping", "the server is stopping", kind="server_error", retry_seconds=1)
    if metrics.in_flight >= metrics.limit:
        metrics.finished(429, 0.0)
        wait = min(60, max(1, round(metrics.recent_seconds)))
        text = f"{counted(metrics.limit, 'request is', 'requests are')} in flight, as many as the server takes"
        raise ApiError(429, "server_busy", text, kind="rate_limit_error", retry_seconds=wait)
    metrics.in_flight += 1
    try:
        asked = read_request(await _body(request), service.most)
    except BaseException as error:
        metrics.in_flight -= 1
        metrics.finished(error.status if isinstance(error, ApiError) else LEFT, 0.0)
        raise
    stream = _Stream(head(asked.model), asked.include_usage, Live()) if asked.stream else None
    answer = asyncio.ensure_future(_answer(service, asked, stream))
    answer.add_done_callback(lambda done: _count(metrics, done, began))
    left = asyncio.ensure_future(_left(request))
    others: set[asyncio.Future[Any]] = {left}
    if stream is not None:
        others.add(asyncio.ensure_future(stream.live.changed.wait()))
    try:
        seconds = None if stream is None else KEEP_SECONDS
        done, _ = await asyncio.wait(others | {answer}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        answer.cancel()  # the server stops
        raise
    finally:
        for waiting in others:
            waiting.cancel()
    if answer in done and (stream is None or answer.exception() is not None):
        return _json(answer.result())
    if left in done:
        answer.cancel()
        return Response(status_code=LEFT)  # nobody reads it
    assert stream is not None
    return _streamed(_events(answer, stream), answer)


def _count(metrics: Metrics, done: asyncio.Future[Any], began: float) -> None:
    metrics.in_flight -= 1
    error = None if done.cancelled() else done.exception()
    status = LEFT if done.cancelled() else 200 if error is None else 500
    metrics.finished(error.status if isinstance(error, ApiError) else status, time.monotonic() - began)


async def _body(request: Request) -> bytes:
    """The body.

    Raises:
        ApiError: if it is no JSON by its own account, too long, or does not arrive.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        # No page of another site can send this type without asking the server first.
        raise ApiError(415, "unsupported_media_type", "the header `Content-Type: application/json` is missing")
    out = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                out += chunk
                if len(out) > MAX_BODY_BYTES:
                    raise ApiError(413, "request_too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise ApiError(408, "timeout", f"the body took longer than {BODY_SECONDS:.0f} s") from error
    except ClientDisconnect as error:
        raise ApiError(LEFT, "left", "the client left") from error
    return bytes(out)


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(service: Service, asked: ChatRequest, stream: _Stream | None) -> dict[str, Any]:
    """The body of a completion, and meanwhile the deltas of its choices for a stream.

    Raises:
        ApiError: why there is none.
    """
    given = service.problems.given(asked.problem)
    served = service.names.find(asked.model, given.benchmark)
    if served.votes is not None and asked.n not in (None, 1):
        raise ApiError(400, "invalid_value", "a vote is one choice: `+voteN` sets its responses", param="n")
    n = served.votes or asked.n or 1
    settings = {}
    for member in served.members:
        declared = service.study.recipe.generation.of(member.checkpoint.model, given.benchmark)
        settings[member] = with_sampling(declared.model_copy(update={"n": n}), asked.sampling)
        if n > 1 and settings[member].temperature == 0:
            text = f"the temperature is 0: {counted(n, 'response')} would be the same one"
            raise ApiError(400, "invalid_value", text, param="n" if served.votes is None else "model")
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    def finished(job: Job) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell)

    job = Job(lambda desk: solving(service.study, given, settings, desk, asked.seed), finished)
    if stream is not None and served.votes is None:  # what a vote chooses is known when all responses are there
        (member,) = served.members
        job.begun = stream.live.follow(service.study.recipe.models[member.checkpoint.model].thinking)
    service.desk.submit(job)
    try:
        await ended
    except asyncio.CancelledError:
        service.desk.cancel(job)
        raise
    if job.error is not None:
        raise api_error(job.error) from job.error
    assert job.solved is not None
    counts = {"generated": job.generated, "from_store": len(job.solved.responses) - job.generated}
    vote = partial(solved_document, service.study, job.solved, service.grader, counts)
    # Algebra may take seconds; a single answer is compared with nothing.
    document = await loop.run_in_executor(service.voting, vote) if len(job.solved.responses) > 1 else vote()
    start = head(asked.model) if stream is None else stream.head
    return completion(start, document, job.solved.writer, voted=served.votes is not None)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status, headers, "application/json")


def _streamed(content: AsyncIterator[str], answer: asyncio.Future[Any]) -> Response:
    async def end() -> None:
        answer.cancel()  # a client that left before the first event: `content` was not begun, and cancels nothing

    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(content, headers=headers, media_type="text/event-stream", background=BackgroundTask(end))


async def _events(answer: asyncio.Future[dict[str, Any]], stream: _Stream) -> AsyncIterator[str]:
    """The events of an answer that is not there yet; the response is 200 by now, so an error is an event too."""
    live, usage = stream.live, stream.include_usage
    try:
        while not answer.done():
            deltas = live.take()
            for index, delta in deltas.items():
                yield begun_event(stream.head, index, delta, include_usage=usage)
            if not deltas:
                yield ": waiting\n\n"
            changed: asyncio.Future[Any] = asyncio.ensure_future(live.changed.wait())
            try:
                await asyncio.wait({answer, changed}, timeout=KEEP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
        try:
            last = list(events(answer.result(), live.sent, include_usage=usage))
        except Exception as error:
            last = [failed_event(api_error(error).body())]
        for event in last:
            yield event
    finally:
        answer.cancel()  # the client left
