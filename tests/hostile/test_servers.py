"""Servers that lie, flood, drip and echo keys: words or a right completion, within limits of size and time."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import re
import resource
import time
import unicodedata
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import zstandard
from fakes.openai_server import FakeServer, Raw
from ruamel.yaml import YAML

from its.engines.fleet.state import TokenPrice
from its.engines.fleet.wire import ANSWER_BYTES
from its.engines.openai import OpenAIEngine, OpenAIServer
from its.engines.protocol import Completion, EngineModel, Request
from its.errors import ItsError
from its.shown import shown

FOLDER = Path(__file__).parent / "servers"
KEY = "tk-live-0123456789abcdefGHIJ/klmn+opq"
MODEL = EngineModel(name="m", path="a_model", fingerprint="f:m", dtype="bfloat16", context_length=64)
SAMPLING = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 8, "stop": []}
GOOD = {
    "id": "chatcmpl-0",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 20},
}
WORDS = {
    "garbage": "gave no usable answer",
    "dropped": "broke the connection",
    "timeout": "did not answer within",
    "refused": "refused request",
    "limit": "asks for more `max_tokens` than",
    "busy": "no server of model `m` has answered",
    "key": "needs a key|rejects the key",
    "server_error": "answered [59]",
    "unusable": "no server of the `openai` engine can be used",
    "unserved": "no server serves",
}
MOST_KIB = 400 * 1024
"""That one case may add to the memory of the process: the fake server's own 20 MB of bomb, an answer taken apart."""
READ_AHEAD = 24 * 2**20
"""Beyond the limit, what may lie in the buffers of both sides of a connection when the reader stops."""


def _load(name: str) -> Any:
    return YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


ANSWERS: list[dict[str, Any]] = _load("answers")
ECHOES: dict[str, Any] = _load("echoes")


def _text(value: Any, key: str = "") -> Any:
    """A value of the table with its {repeat, times} and KEY filled in."""
    if isinstance(value, dict) and set(value) == {"repeat", "times"}:
        return value["repeat"] * value["times"]
    if isinstance(value, dict):
        return {name: _text(item, key) for name, item in value.items()}
    if isinstance(value, list):
        return [_text(item, key) for item in value]
    return value.replace("KEY", key) if isinstance(value, str) and key else value


def _parts(body: Any, key: str) -> Iterator[bytes | float]:
    """What is written, in pieces of at most 64 KiB; a float is a pause."""
    for part in body if isinstance(body, list) else [body]:
        if isinstance(part, str):
            yield _text(part, key).encode("utf-8", "surrogatepass")
        elif "bytes" in part:
            yield bytes.fromhex(part["bytes"])
        elif "pause" in part:
            yield float(part["pause"])
        else:
            unit = part["repeat"].encode()
            at_once = max(1, 2**16 // len(unit))
            for done in range(0, part["times"], at_once):
                yield unit * min(at_once, part["times"] - done)


def _changed(changes: dict[str, Any], key: str) -> str:
    answer = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = answer
        for part in parents:
            place = place[int(part) if part.isdigit() else part]
        place[last] = _text(value, key)
    return json.dumps(answer)


def _packed(kind: str, body: bytes) -> bytes:
    zstd = zstandard.ZstdCompressor()
    pack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    return pack[kind](body)


def _raw(case: dict[str, Any], key: str = "") -> Raw:
    """What the server writes for a case."""

    async def write(sent: bytes) -> AsyncIterator[bytes]:
        if "raw" in case:
            pieces, head, chunked = list(_parts(case["raw"], key)) if _short(case["raw"]) else None, b"", False
        else:
            default = _changed(case.get("change", {}), key)
            body = case.get("body", default)
            headers = {name: str(_text(value, key)) for name, value in case.get("headers", {}).items()}
            if kind := case.get("pack"):
                data = b"".join(part for part in _parts(body, key) if isinstance(part, bytes))
                pieces, headers["Content-Encoding"] = [_packed(kind, data)], kind
            else:
                pieces = list(_parts(body, key)) if _short(body) else None
            chunked = case.get("length") == "none"
            if chunked:
                headers["Transfer-Encoding"] = "chunked"
            elif pieces is None:
                headers["Content-Length"] = str(sum(len(part) for part in _parts(body, key) if isinstance(part, bytes)))
            else:
                real = sum(len(part) for part in pieces if isinstance(part, bytes))
                headers = {"Content-Length": str(case.get("length", real))} | headers
                if "Content-Length" in case.get("headers", {}):
                    headers["content-length"] = str(real)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"HTTP/1.1 {case.get('status', 200)} Said\r\n{lines}\r\n".encode()
        if head:
            yield head
        for piece in pieces if pieces is not None else _parts(case.get("raw", case.get("body")), key):
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece
        if chunked:
            yield b"0\r\n\r\n"

    return write


def _short(body: Any) -> bool:
    return not isinstance(body, list) or all(part.get("times", 0) < 10**7 for part in body if isinstance(part, dict))


class Asked:
    """What became of one request: `everything` is all that ITS said or wrote about it."""

    def __init__(self, tmp_path: Path, server: FakeServer, key: str | None = None, **settings: Any) -> None:
        self.log, self.notices = tmp_path / "log.jsonl", list[str]()
        self.found: list[Completion] = []
        self.error: ItsError | None = None
        self._settings = {
            "backoff_seconds": 0.01,
            "patience_seconds": 0.3,
            "timeout_seconds": 5.0,
            "retries": 0,
            "price": TokenPrice(1.0, 1.0),
            "log": self.log,
            "say": self.notices.append,
            **settings,
        }
        self._server, self._key = server, key
        self.counts: dict[str, float] = {}

    def __call__(self) -> None:
        engine = OpenAIEngine([OpenAIServer(self._server.url, self._key)], [MODEL], {}, **self._settings)
        try:
            engine.submit(Request("r", [{"role": "user", "content": "q"}], SAMPLING, seed=7, model="m"))
            end = time.monotonic() + 12
            while not self.found:
                assert time.monotonic() < end, "it hangs"
                self.found += engine.poll(0.2)
            self.counts = dict(engine.counts)
        finally:
            engine.close()

    def everything(self, error: ItsError | None) -> str:
        log = self.log.read_text(encoding="utf-8") if self.log.is_file() else ""
        lines = [*error.lines(), str(error.as_json())] if error else []
        return "\n".join([*lines, *self.notices, log])


def test_the_lists_are_there() -> None:
    assert len(ANSWERS) >= 120
    assert len({case["name"] for case in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case["name"])
def test_an_answer_is_right_or_refused_in_words(tally: Any, tmp_path: Path, case: dict[str, Any]) -> None:
    with FakeServer(raw={f"/{case.get('at', 'chat/completions')}": _raw(case)}) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asked = Asked(tmp_path, server, timeout_seconds=case.get("seconds", 5.0))
        error = tally("server", asked, 15)
        written = server.written
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_KIB, f"{grown} KiB more memory"
    ends = case["ends"]
    said = asked.everything(error)
    assert said == shown(said, lines=True), "a control character came through"
    assert all(len(line) < 3000 for line in said.splitlines())
    if ends == "any":
        assert error is None or any(re.search(words, error.message) for words in WORDS.values()), said
    elif ends == "accepted":
        assert error is None, said
    else:
        assert error is not None, "accepted"
        assert re.search(WORDS[ends], error.message), said
        assert re.search(case.get("says", ""), error.message), said
    for completion in asked.found:
        assert completion.completion_tokens == case.get("tokens", 20)
        assert completion.text == case.get("text", case.get("change", {}).get("choices.0.message.content", "fine"))
        assert completion.prompt_sha256 is None
    assert written < 2 * (ANSWER_BYTES + READ_AHEAD), "read on beyond the limit"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _every(text: str, form: str) -> str:
    return "".join(form.format(ord(letter)) for letter in text)


WAYS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "percent": lambda key: quote(key, safe=""),
    "json": lambda key: key.replace("/", "\\/"),
    "base64": _base64,
    "upper": str.upper,
    "cut": lambda key: key[:20] + "...",
    "spaced": lambda key: " ".join([key[:9], key[9:20], key[20:]]),
    "zero width": lambda key: "\u200b".join(key),
    "bearer": lambda key: f"Bearer {key}",
    "url": lambda key: f"https://user:{key}@x.example/?api_key={key}",
    "base64 of the header": lambda key: _base64(f"Bearer {key}"),
    "base64 after one": lambda key: _base64(f"x{key}y"),
    "base64 after two": lambda key: _base64(f"xx{key}zz"),
    "base64 for urls": lambda key: base64.urlsafe_b64encode(f"u:{key}".encode()).decode(),
    "base64 in lines": lambda key: "\n".join(re.findall(".{1,12}", _base64(key))),
    "all percent": lambda key: _every(key, "%{:02x}"),
    "percent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "all percent twice": lambda key: quote(_every(key, "%{:02X}")),
    "all percent thrice": lambda key: quote(quote(_every(key, "%{:02X}"))),
    "escapes": lambda key: _every(key, "\\u{:04x}"),
    "escapes twice": lambda key: _every(key, "\\\\u{:04x}"),
    "bytes": lambda key: _every(key, "\\x{:02x}"),
    "entities": lambda key: _every(key, "&#{};"),
    "hex": lambda key: key.encode().hex(),
    "hex in pairs": lambda key: key.encode().hex(":"),
    "beginning cut off": lambda key: "..." + key[8:],
    "both ends cut off": lambda key: "..." + key[10:26] + "...",
    "last twelve": lambda key: "..." + key[-12:],
    "dots": ".".join,
    "spaces": " ".join,
    "lines": "\n".join,
    "full width": lambda key: "".join(chr(ord(letter) + 0xFEE0) for letter in key),
    "no marks": lambda key: re.sub(r"\W", "", key),
    "other marks": lambda key: re.sub(r"\W", "_", key),
    **{
        f"U+{ord(mark):04X}": mark.join
        for mark in "\u115f\u1160\u3164\uffa0\u2800\u180b\u17b4\u034f\u00ad\u2061\ufe0f\u0301\u3000\U000e0041\U0001d173"
    },
}


@pytest.mark.parametrize(
    ("place", "way"),
    [
        (place, ECHOES["ways"][(index + more) % len(ECHOES["ways"])])
        for index, place in enumerate(ECHOES["places"])
        for more in (0, 7)
    ],
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_a_key_is_shown_nowhere(
    tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any], way: str
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    told = WAYS[way](KEY)
    if "headers" in place:
        told = told.encode("latin-1", "replace").decode("latin-1")
    with FakeServer(raw={f"/{place.get('at', 'chat/completions')}": _raw(place, told)}) as server:
        asked = Asked(tmp_path, server, "A_KEY")
        error = tally("server", asked, 15)
    _holds_no_key(asked.everything(error))


def _holds_no_key(said: str) -> None:
    found = [said]
    for _ in range(3):
        found.append(re.sub(r"\\+(?:u00|x)(..)", lambda code: chr(int(code[1], 16)), html.unescape(unquote(found[-1]))))
    for text in found:
        plain = re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKC", text).lower())
        for form in (KEY[:12], KEY[12:24], KEY[-12:], _base64(KEY)[4:20], _base64(f"x{KEY}")[4:20]):
            assert re.sub("[^a-z0-9]", "", form.lower()) not in plain, said
        assert KEY[8:20].encode().hex() not in plain


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_scrubbed_in_every_way_of_writing_it(way: str) -> None:
    from its.engines.fleet.scrub import Scrub, quoted

    scrub = Scrub([KEY])
    for text in ("{}", "a {} b", "{0} {0}", "x={}", "\n{}\n", "é" * 200 + "{}", "w " * 5000 + "{}"):
        _holds_no_key(quoted(text.format(WAYS[way](KEY)), scrub))


@pytest.mark.parametrize("key", ["EMPTY", "none", "x", "token-1"])
def test_a_word_is_no_key(key: str) -> None:
    from its.engines.fleet.scrub import Scrub

    text = f"the queue is {key.lower()}, none of {key} is left"
    assert Scrub([key, ""])(text) == text
    assert not Scrub([key]).in_clear(text)


HONEST = [
    "model `m` is overloaded, try again in 20 s",
    "This model's maximum context length is 4096 tokens (request req_011CSHoEeqs5C35K2UUqR7Fy)",
    "tk-live keys are refused here: 0123456789",
    "Grüße: 你好 %E4%BD%A0 &amp; \\u4f60",
]


@pytest.mark.parametrize("text", HONEST)
def test_a_message_without_the_key_stays(text: str) -> None:
    from its.engines.fleet.scrub import HIDDEN, Scrub

    assert Scrub(["sk-Zq8vN3xLw0RtY7uPbCdE1fGhJkM"])(text) not in (HIDDEN, "")
    assert "[key]" not in Scrub(["sk-Zq8vN3xLw0RtY7uPbCdE1fGhJkM"])(text)


@pytest.mark.parametrize("change", ["message.content", "message.reasoning", "message.reasoning_content"])
def test_a_key_is_no_part_of_a_response(
    tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    case = {"change": {f"choices.0.{change}": "it is KEY."}}
    with FakeServer(raw={"/chat/completions": _raw(case, KEY)}) as server:
        asked = Asked(tmp_path, server, "A_KEY")
        error = tally("server", asked, 15)
    assert error is not None and "the text contains the key" in error.message and not asked.found
    _holds_no_key(asked.everything(error))


@pytest.mark.parametrize(
    ("told", "kept"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "tool_calls")]
    + [(word, "other") for word in ("tk-live-0123456789abcdefGHIJ", "MAX", "eosin", "Stop.", "x" * 64)]
    + [("MAX_TOKENS", "length"), ("eos", "stop"), ("Stop", "stop")],
)
def test_a_finish_reason_is_one_of_ours(told: str, kept: str) -> None:
    from its.engines.fleet.answers import parse_answer

    found = parse_answer(_changed({"choices.0.finish_reason": told}, "").encode(), "r", "w")
    assert isinstance(found, Completion) and found.finish_reason == kept


@pytest.mark.parametrize(
    "unit",
    [
        "a://",
        "bearer ",
        "token=",
        "eyJ",
        "sk-",
        "a_",
        "a@",
        "--",
        "KEY",
        "\x1b[",
        "&secret=",
        "%25",
        "\\u0041",
        "&amp;",
        "\ufdfa",
    ],
)
def test_scrubbing_takes_no_time(tally: Any, unit: str) -> None:
    from its.engines.fleet.scrub import Scrub, quoted

    text = unit.replace("KEY", KEY[:11]) * (10**6 // len(unit))
    assert tally("server", lambda: quoted(text, Scrub([KEY])), 1) is None


ODD: list[Any] = [None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x", "\x00\x1b[31m", "\u202e"]
ODD += ["\ud800", "9" * 5000, [], [[]], [None], {}, {"a": 1}, {"content": "x"}, [1, "a"], "x" * 10**5, {"": {"": []}}]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(item, (*path, key))


def _with(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = _with(value[path[0]], path[1:], odd)
    return copied


FULL: dict[str, Any] = {
    **GOOD,
    "prompt_token_ids": [1, 2],
    "choices": [
        {"message": {"content": "fine", "reasoning": "r", "reasoning_content": None}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 3}},
}


def test_every_field_may_be_anything(tally: Any) -> None:
    from its.engines.fleet.answers import model_names, parse_answer
    from its.engines.fleet.scrub import Scrub
    from its.engines.fleet.wire import failure_of

    scrub = Scrub([KEY])
    for path in _paths(FULL):
        for odd in ODD:
            body = json.dumps(_with(FULL, path, odd)).encode()
            found: list[Any] = []
            assert tally("server", lambda body=body, found=found: found.append(parse_answer(body, "r", "w"))) is None
            (answer,) = found
            if isinstance(answer, Completion):
                json.dumps([answer.text, answer.thinking]).encode()
                (answer.text + (answer.thinking or "")).encode()
                assert 0 <= answer.prompt_tokens <= 10**9 and 0 <= answer.completion_tokens <= 10**9
                assert re.fullmatch(r"[\w.:/-]+", answer.finish_reason)
            tally("server", lambda body=body: failure_of(500, {}, body, scrub))
    names = {"data": [{"id": "m"}]}
    for path in _paths(names):
        for odd in ODD:
            body = json.dumps(_with(names, path, odd)).encode()
            tally("server", lambda body=body: model_names(body, scrub))


@pytest.mark.parametrize("status", [100, 199, 201, 204, 300, 304, 399, 400, 401, 403, 404, 429, 503, 599, 600, 999])
def test_every_status_and_wait_is_understood(tally: Any, status: int) -> None:
    from its.engines.fleet.scrub import Scrub
    from its.engines.fleet.wire import failure_of

    waits = [
        "",
        " ",
        "1e300",
        "-1e300",
        "nan",
        "inf",
        "-inf",
        "0x10",
        "1_0",
        "٣",
        "9" * 400,
        "Mon",
        "Mon, 1 Jan",
        "\x00",
    ]
    waits += ["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 00 Foo 0000 99:99:99 +9999"]
    waits += ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -99999999999", "1" * 10**5, "-", "\ud800"]
    for wait in waits:
        found: list[Any] = []
        headers = {"retry-after": wait, "location": wait}

        def act(headers: dict[str, str] = headers, found: list[Any] = found) -> None:
            found.append(failure_of(status, headers, b"\xff\x1b", Scrub([])))

        assert tally("server", act) is None
        assert found[0].message == shown(found[0].message)
        assert found[0].wait_seconds is None or found[0].wait_seconds >= 0
