"""An OpenAI-compatible server on 127.0.0.1 that answers at once, or misbehaves as its script says.

Every answer is a function of the last user message, so a test can see that each request got its own. The server runs
in a thread of its own; as a program (`python openai_server.py`) it prints its url and answers until it is killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

FAULTS = (
    "stall",  # accepts the request and answers only after `stall_seconds`
    "cut_before",
    "cut_within",
    "429",
    "429_wait",  # with Retry-After
    "500",
    "502",
    "503",
    "garbage",
    "truncated",
    "no_choice",
    "two_choices",
    "no_usage",
)
Script = Callable[[str, int], str | None]
"""(message, how often it was seen here before) -> a fault, or None for a good answer."""


def answer_to(text: str) -> str:
    """What the server says to a message."""
    text = text.encode("ascii", "backslashreplace").decode()
    return f"to {text}: {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def seeded(seed: int, rate: float, faults: Sequence[str] = FAULTS) -> Script:
    """A script that misbehaves at that rate, the same at every run."""

    def script(text: str, seen: int) -> str | None:
        chance = random.Random(f"{seed}/{text}/{seen}")
        return chance.choice(faults) if chance.random() < rate else None

    return script


Raw = Callable[[bytes], AsyncIterator[bytes]]
"""(body of the request) -> what is written to the connection as it is, head and all; then the connection is cut."""


class FakeServer:
    """The server; `with FakeServer() as server` starts and stops it.

    Args:
        models: what `/v1/models` lists, or its whole body; None: it has no such page.
        key: what it wants in the Authorization header; None: nothing.
        script: how it misbehaves.
        delay_seconds: of every good answer.
        extra: changes an answer (an object as Python) before it is sent.
        error: the message in its error bodies, or a whole body.
        piece_seconds: between two events of a stream, each of which has three characters of the text.
        raw: by path (`/models`, `/chat/completions`), what it writes instead of an answer; see `Raw`.
    """

    def __init__(
        self,
        models: Sequence[str] | bytes | None = ("m",),
        key: str | None = None,
        script: Script = lambda text, seen: None,
        *,
        delay_seconds: float = 0.0,
        stall_seconds: float = 30.0,
        retry_after: str = "0.3",
        extra: Callable[[dict[str, Any]], None] = lambda answer: None,
        error: Any = "a fault of the script",
        quota: int | None = None,
        piece_seconds: float = 0.0,
        raw: Mapping[str, Raw] | None = None,
    ) -> None:
        self.models, self.key, self.script = models, key, script
        self.delay_seconds, self.stall_seconds, self.retry_after = delay_seconds, stall_seconds, retry_after
        self.extra, self.error = extra, error
        self.piece_seconds = piece_seconds
        self.quota = quota  # requests at once; beyond it answers 429
        self.raw = raw or {}
        self.written = 0  # bytes of raw answers
        self.seen: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self.streams = False  # whether the request that `script` is to decide on is for a stream
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def start(self) -> None:
        """Listen; after `kill` at the same port."""

        async def listen() -> None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def kill(self) -> None:
        """Stop listening and cut every connection, as a process does that is killed."""

        async def cut() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            connections = list(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                method, path, headers, body = await _read(reader)
                if not await self._answer(writer, method, path, headers, body):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the server is being killed
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> bool:
        """Answer one request; False cuts the connection."""
        self.paths.append(path)
        if (raw := self.raw.get(path.removeprefix("/v1"))) is not None:
            async for chunk in raw(content):
                writer.write(chunk)
                self.written += len(chunk)
                await writer.drain()
            return False
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            said = f"{self.error}: you sent {headers.get('authorization', 'nothing')}"
            return await _send(writer, 401, {"error": {"message": said}})
        if (method, path) == ("GET", "/v1/models"):
            if self.models is None:
                return await _send(writer, 404, {"detail": "Not Found"})
            if isinstance(self.models, bytes):
                return await _send(writer, 200, self.models)
            return await _send(writer, 200, {"object": "list", "data": [{"id": name} for name in self.models]})
        if (method, path) != ("POST", "/v1/chat/completions"):
            return await _send(writer, 404, {"detail": "Not Found"})
        body = json.loads(content)
        text = next(turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user")
        self.streams = bool(body.get("stream"))
        fault = self.script(text, self.seen[text])
        self.seen[text] += 1
        self.bodies.append(body)
        self.headers.append(headers)
        self.times.append(time.monotonic())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.quota is not None and self.under_way > self.quota:
                fault = "429"
            return await self._misbehave(writer, body, text, fault)
        finally:
            self.under_way -= 1

    async def _misbehave(
        self, writer: asyncio.StreamWriter, body: dict[str, Any], text: str, fault: str | None
    ) -> bool:
        answer = _good(body, text)
        if body.get("stream"):
            answer["streams"] = True
        self.extra(answer)
        if fault is not None:
            self.faults[fault] += 1
        if fault is None and self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if fault == "stall":
            await asyncio.sleep(self.stall_seconds)
        elif fault == "cut_before":
            return False
        elif fault in ("cut_within", "truncated", "garbage"):
            whole = json.dumps(answer).encode()
            half = b"<html>It works!</html>" if fault == "garbage" else whole[: len(whole) // 2]
            await _send(writer, 200, half, len(whole) if fault == "cut_within" else len(half))
            return fault != "cut_within"
        elif fault is not None and fault.partition("_")[0].isdigit():
            wait = {"Retry-After": self.retry_after} if fault.endswith("_wait") else {}
            told = {"error": {"message": self.error}} if isinstance(self.error, str) else self.error
            return await _send(writer, int(fault.partition("_")[0]), json.dumps(told).encode(), headers=wait)
        elif fault == "no_choice":
            answer["choices"] = []
        elif fault == "two_choices":
            answer["choices"] *= 2
        elif fault == "no_usage":
            del answer["usage"]
        if fault in (None, "stall"):
            self.answered[text] += 1
        if body.get("stream"):
            usage = (body.get("stream_options") or {}).get("include_usage")
            return await self._stream(writer, answer, usage, cut=fault == "cut_stream")
        return await _send(writer, 200, answer)

    async def _stream(
        self, writer: asyncio.StreamWriter, answer: dict[str, Any], usage: bool | None, *, cut: bool
    ) -> bool:
        """The answer as events, in the form of vLLM's server; `cut`: half of them."""
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        events = list(_events(answer, usage))
        for event in events[: len(events) // 2 if cut else None]:
            data = f"data: {event}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
            await asyncio.sleep(self.piece_seconds)
        if cut:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _events(answer: dict[str, Any], usage: bool | None) -> Iterator[str]:
    ids = {"prompt_token_ids": answer["prompt_token_ids"]} if "prompt_token_ids" in answer else {}
    for choice in answer["choices"]:
        message = choice["message"]
        index = {"index": choice["index"]}
        yield json.dumps({"choices": [{**index, "delta": {"role": "assistant", "content": ""}}], **ids})
        for name, text in message.items():
            if name == "role" or text is None:
                continue
            pieces = [text[at : at + 3] for at in range(0, len(text), 3)] if isinstance(text, str) else [text]
            for piece in pieces:
                yield json.dumps({"choices": [{**index, "delta": {name: piece}, "finish_reason": None}]})
        yield json.dumps({"choices": [{**index, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if usage and "usage" in answer:
        yield json.dumps({"choices": [], "usage": answer["usage"]})
    yield "[DONE]"


def _good(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer_to(text)}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 10 + len(text), "completion_tokens": 20},
    }


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: dict[str, Any] | bytes,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> bool:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    size = len(data) if length is None else length
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n{more}\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    return True


if __name__ == "__main__":
    with FakeServer() as served:
        print(served.url, flush=True)
        threading.Event().wait()
