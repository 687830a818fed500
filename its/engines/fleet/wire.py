"""The wire to an OpenAI-compatible server: build a request's body, exchange it for an answer, classify a failure.

A server is not trusted. Its answers are read up to a limit and parsed by strict rules (`answers.py` for completions);
its words are shown or logged only after a `Scrub`.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import re
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx2

from its.engines.fleet.scrub import Scrub, quoted
from its.engines.protocol import Request
from its.errors import DataError

ANSWER_BYTES = 16 * 2**20
"""Of an answer's body, compressed and decompressed. 32,768 tokens are 0.2 MB of text, with their ids and five
logprobs each 15 MB; the lists of models of large gateways are 2 MB. It bounds one request: as many servers as there are
may each write that much to each of `concurrency` requests at once."""
STREAM = "text/event-stream"
ERROR_BYTES = 64 * 2**10
"""Of the body of an answer with another status than 200; the rest is not read."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
WRITTEN = ("temperature", "top_p", "max_tokens", "stop", "seed", "n", "stream")
CONTINUED = ("continue_final_message", "add_generation_prompt")
NAMES = {"thinking_budget": "thinking_token_budget"}
"""Settings of a recipe that vLLM's server calls otherwise. `top_k`, `min_p` and `repetition_penalty` have their names
in vLLM, SGLang, llama.cpp and most gateways, the other penalties in OpenAI's own."""
UNSENT = ("extra", "thinking_marks")
"""Parts of a request's sampling that are not fields of the body: the content of `extra` is, and a server knows the
marks of its model."""
REFUSED, TOO_LONG, NO_TEXT = "refused", "too_long", "no_text"
"""ITS's own finish reasons for responses without an answer: refused by a filter or by the model; prompt too long for
the context; neither text nor thinking and no reason why (a tool call, or a misconfigured server)."""
REFUSALS = {
    "content_filter": REFUSED,
    "content_policy_violation": REFUSED,
    "data_inspection_failed": REFUSED,
    "datainspectionfailed": REFUSED,
    "invalid_prompt": REFUSED,
    "moderation": REFUSED,
    "moderation_blocked": REFUSED,
    "responsibleaipolicyviolation": REFUSED,
    "context_length_exceeded": TOO_LONG,
    "exceed_context_size_error": TOO_LONG,
    "string_above_max_length": TOO_LONG,
}
"""An error's `code` or `type` when this one prompt is refused and others may be answered: OpenAI, Azure
OpenAI and the gateways to them, `exceed_context_size_error` of llama.cpp, `data_inspection_failed` of DashScope."""
# vLLM, SGLang and others have no code for a prompt that is too long:
# "This model's maximum context length is 4096 tokens. However, you
# requested 5000 tokens", "The input (61709 tokens) is longer than the model's context length (40960 tokens)", "The
# decoder prompt (length 5000) is longer than the maximum model length of 4096", "the request exceeds the available
# context size", "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens", "`inputs` must have
# less than 4095 tokens". Anthropic: "prompt is too long: 210000 tokens > 200000 maximum", "input length and
# `max_tokens` exceed context limit: 190000 + 20000 > 200000". Gemini: "The input token count (1200000) exceeds the
# maximum number of tokens allowed (1048576)".
_LONG_PROMPT = re.compile(
    r"\b(?:exceed\w*|longer than|maximum|too (?:long|large))\b.{0,200}?"
    r"\b(?:context|model) (?:length|size|window|limit)\b"
    r"|`inputs` tokens \+ `max_new_tokens` must be <="
    r"|`inputs` must have less than \d+ tokens"
    r"|\bprompt is too long: \d+ tokens > \d+"
    r"|\binput token count\b.{0,30}?\bexceeds the maximum\b",
    re.IGNORECASE | re.DOTALL,
)
# DeepSeek, Anthropic, Azure OpenAI, DashScope.
_HELD_BACK = re.compile(
    r"\bcontent exists risk\b|\bcontent filtering policy\b|\bcontent management policy\b"
    r"|\bmay contain inappropriate content\b",
    re.IGNORECASE,
)
# How errors give the tokens requested, the tokens that the model has for prompt and completion, and, without these
# numbers, that too many were requested.
_NUMBER = r"(\d[\d,]{0,14})\b"
_REQUESTED = re.compile(
    rf"tokens\W{{0,2}} is too large: {_NUMBER}|\bmax_tokens ?= ?{_NUMBER}"
    rf"|\b{_NUMBER} (?:tokens )?(?:in|for) the completion\b"
    rf"|\b{_NUMBER} output tokens\b|\b{_NUMBER} `max_new_tokens`|\bcontext limit: \d+ \+ {_NUMBER} >",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    rf"\bcontext length (?:is|of) {_NUMBER}|\bmax_model_len ?= ?{_NUMBER}|`max_new_tokens` must be <= {_NUMBER}"
    rf"|\bcontext limit: \d+ \+ \d+ > {_NUMBER}",
    re.IGNORECASE,
)
_ABOVE_LIMIT = re.compile(
    r"(?<!\+ )(?<!\+ `)\bmax_(?:completion_|output_|new_)?tokens\b.{0,60}?"
    r"(?:\btoo (?:large|high|big)\b|\bcannot be greater\b|\bmust be <=|\bmaximum allowed number of output tokens\b)",
    re.IGNORECASE | re.DOTALL,
)
PROMPT_PARAMS = (None, "", "messages", "prompt", "input_text", "input_tokens")
"""The parameter in an error about a long prompt, if any: OpenAI names the field, vLLM what it counted."""
WORDED = (400, 413, 422)
"""Statuses of errors whose message is examined, besides their codes."""
CHUNKS_AT_ONCE = 64
END_SECONDS = 0.5
AGAIN = (408, 409, 425)
CONNECT_SECONDS = 8.0  # for each of connection and handshake
HANDSHAKE = "connection.start_tls"
PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
NO_TLS = "does not use TLS: should its `url` begin with `http://`?"


@dataclass(frozen=True)
class Failure:
    """Why an attempt gave no answer.

    `busy` and `unreachable` concern the server alone, so they do not count against the request; `timeout`, `dropped`,
    `garbage` and `server_error` may be caused by the request and are retried a limited number of times; `key`,
    `refused`, `limit` and `declined` would fail again at every attempt. `limit` means that no prompt leaves room for
    `max_tokens`, `declined` that the server refuses this prompt alone.

    Args:
        message: safe to show: short, and without keys.
        wait_seconds: from Retry-After; never negative.
        finish_reason: of what is `declined`: `REFUSED`, `TOO_LONG` or `NO_TEXT`.
    """

    kind: Literal[
        "busy", "unreachable", "timeout", "dropped", "garbage", "server_error", "key", "refused", "limit", "declined"
    ]
    message: str
    status: int | None = None
    wait_seconds: float | None = None
    finish_reason: str = ""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that would contradict the rest of the recipe.

    Raises:
        DataError: if a field that the request determines is set to anything but None (which leaves it out).
    """
    for name, value in options.items():
        if name in ("model", "messages") or (name in (*WRITTEN, *CONTINUED) and value is not None):
            allowed = "" if name in ("model", "messages") else f"; `{name}: null` leaves the field out"
            raise DataError(
                f"`engine.options.{name}`: the `openai` engine writes this field itself",
                f"remove it: the recipe's sampling, seed and models determine it{allowed}",
            )


def request_body(request: Request, served: str, options: Mapping[str, Any], *, stream: bool = False) -> bytes:
    """The body of one request; an option with value None leaves its field out.

    A started answer is sent as a last assistant turn, with the two fields that make vLLM, SGLang and llama.cpp
    continue it. What the recipe's sampling calls `extra` overwrites nothing.
    """
    messages = list(request.messages)
    sampling = {NAMES.get(name, name): value for name, value in request.sampling.items() if name not in UNSENT}
    extra = request.sampling.get("extra", {})
    body: dict[str, Any] = {**extra, "model": served, **sampling, "seed": request.seed, "n": 1, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    if not body.get("stop"):
        body.pop("stop", None)
    if request.start is not None:
        messages.append({"role": "assistant", "content": request.start})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    body = {**body, "messages": messages, **options}
    # ASCII with escapes: a lone surrogate in a text cannot be encoded otherwise.
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode("ascii")


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_json(body: bytes) -> Any:
    """A server's JSON.

    Raises:
        ValueError: if it is invalid, nested too deeply, or repeats a field of an object (which one is meant?).
    """
    try:
        return json.loads(body, object_pairs_hook=_object_of)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError("a field appears twice in one object")
    return out


class Reader(Protocol):
    """Reads an answer that comes as a stream of events.

    Args:
        done: whether the server says that this was all.
    """

    done: bool

    def feed(self, data: bytes) -> None:
        """Receive the next bytes.

        Raises:
            ValueError: if the stream cannot be read.
        """

    def answer(self) -> bytes:
        """The body of the whole answer.

        Raises:
            ValueError: if the stream has none.
        """


async def exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    seconds: float,
    scrub: Scrub,
    content: bytes | None = None,
    reader: Reader | None = None,
) -> bytes | Failure:
    """The body of an answer with status 200, or why there is none; at most `ANSWER_BYTES` of it are read.

    Args:
        seconds: for the whole, to the last byte; a late answer finds its connection closed.
        reader: of an answer that is a stream of events, if the body requests one; it limits its length.
    """
    # No compression: it saves nothing on answers of this size, and one compressed byte may expand to a million.
    headers = {"Accept-Encoding": "identity"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    # Shorter than the whole: cancelling a handshake from outside leaves its socket open.
    wait = httpx2.Timeout(None, connect=min(CONNECT_SECONDS, 0.8 * seconds))
    reached: list[str] = []

    async def trace(event: str, about: object) -> None:
        reached.append(event)

    try:
        async with asyncio.timeout(seconds):
            more = {"trace": trace} if url.startswith("https:") else None  # an endless handshake looks like any wait
            async with client.stream(
                method, url, content=content, headers=headers, timeout=wait, extensions=more
            ) as answer:
                good = answer.status_code == 200
                if good and reader is not None and _is_stream(answer.headers):
                    await _read_stream(answer, reader)
                    return reader.answer()
                body = await _read(answer, ANSWER_BYTES if good else ERROR_BYTES)
            if not good:
                return failure_of(answer.status_code, answer.headers, body[:ERROR_BYTES], scrub)
            return _unpacked(body, answer.headers.get("content-encoding", ""))
    except TimeoutError:
        if _in_handshake(reached):
            return Failure("unreachable", NO_TLS)
        return Failure("timeout", f"did not answer within {seconds:g} s")
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        late = isinstance(error, httpx2.ConnectTimeout) and _in_handshake(reached)
        return Failure("unreachable", NO_TLS if late else _unreachable(error, scrub))
    except (ExceptionGroup, OverflowError) as error:  # an invalid address, of a proxy or after a redirect
        return Failure("unreachable", f"cannot be reached ({quoted(_cause(error), scrub)})")
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        return Failure("dropped", f"broke the connection ({quoted(_cause(error), scrub)})")
    except ValueError as error:  # ours, and from a header that is not text
        return Failure("garbage", f"gave no usable answer: {quoted(str(error), scrub)}", 200)


def _is_stream(headers: Mapping[str, str]) -> bool:
    plain = headers.get("content-encoding", "").strip().lower() in ("", "identity")
    return plain and headers.get("content-type", "").partition(";")[0].strip().lower() == STREAM


def _in_handshake(reached: list[str]) -> bool:
    """Whether a connection was still in its TLS handshake."""
    return f"{HANDSHAKE}.started" in reached and f"{HANDSHAKE}.complete" not in reached


def _unreachable(error: Exception, scrub: Scrub) -> str:
    """Why there is no connection, with a remedy if TLS is the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = quoted(cause.verify_message, scrub)
            return f"has an untrusted certificate ({why}): `SSL_CERT_FILE` names a file with trusted ones"
        if isinstance(cause, ssl.SSLError) and cause.reason in PLAIN:
            return NO_TLS
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached ({quoted(_cause(error), scrub)})"


async def _read(answer: httpx2.Response, limit: int) -> bytes:
    """The body as sent, at most `limit` bytes plus one, which shows that there is more."""
    out = bytearray()
    async with contextlib.aclosing(answer.aiter_raw()) as chunks:
        async for chunk in chunks:
            out += chunk[: limit + 1 - len(out)]
            if len(out) > limit:
                break
    return bytes(out)


async def _read_stream(answer: httpx2.Response, reader: Reader) -> None:
    """Have a stream read. Behind its last event nothing is waited for but the end of the connection's use."""
    async with contextlib.aclosing(answer.aiter_raw()) as chunks:
        number = 0
        async for chunk in chunks:
            reader.feed(chunk)
            if reader.done:
                break
            number += 1
            if not number % CHUNKS_AT_ONCE:
                await asyncio.sleep(0)  # a full buffer does not stop the other requests
        if reader.done:
            with contextlib.suppress(TimeoutError, httpx2.HTTPError):
                async with asyncio.timeout(END_SECONDS):
                    async for _ in chunks:
                        pass


def _unpacked(body: bytes, encoding: str) -> bytes:
    """A body decompressed within the limit: some gateways compress it though the request asks for none.

    Raises:
        ValueError: if it is larger than the limit, cut, or compressed by anything but gzip or deflate.
    """
    kind = encoding.strip().lower()
    if kind in ("gzip", "x-gzip", "deflate"):
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            body = stream.decompress(body, ANSWER_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"the body is not {kind}") from error
        if not stream.eof and len(body) <= ANSWER_BYTES:
            raise ValueError("the compressed body is cut")
    elif kind not in ("", "identity"):
        raise ValueError(f"the body is compressed as `{kind}`, which was not requested")
    if len(body) > ANSWER_BYTES:
        raise ValueError(f"the body is larger than {ANSWER_BYTES} bytes")
    return body


def _cause(error: BaseException) -> str:
    """The innermost reason of an exception; httpx's own message often says only that it failed."""
    reason = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            reason = str(cause) or reason
        else:
            cause = cause.__cause__ or cause.__context__
    return reason


def failure_of(status: int, headers: Mapping[str, str], body: bytes, scrub: Scrub) -> Failure:
    """Classify an answer with a status other than 200."""
    message = quoted(message_of(body), scrub) or "no message"
    if status not in (401, 429, 503) and (failure := prompt_failure(status, body, scrub)):
        return failure
    if status in (429, 503):
        if b'"insufficient_quota"' in body:  # OpenAI's 429 that no waiting solves
            return Failure("refused", f"has no credit left for this key ({status}): {message}", status)
        return Failure("busy", f"answered {status}: {message}", status, wait_seconds(headers.get("retry-after")))
    if status in AGAIN or status >= 500:
        return Failure("server_error", f"answered {status}: {message}", status)
    if status in (401, 403):
        return Failure("key", f"answered {status}: {message}", status)
    if 300 <= status < 400:
        there = quoted(headers.get("location", "?"), scrub)
        return Failure("refused", f"answered {status} and points to `{there}`", status)
    return Failure("refused", f"answered {status}: {message}", status)


def prompt_failure(status: int, body: bytes, scrub: Scrub) -> Failure | None:
    """The failure `declined` or `limit`, if the error's message blames the prompt or `max_tokens`.

    None if in doubt: a wrong parameter or an unknown model would be refused with every prompt.
    """
    message = message_of(body)
    answered = f"answered {status}: {quoted(message, scrub) or 'no message'}"
    reason, above = _declined(status, body, message), _above_limit(message)
    if above and (status in WORDED or reason == TOO_LONG):
        return Failure("limit", answered, status)
    return Failure("declined", answered, status, finish_reason=reason) if reason else None


def _declined(status: int, body: bytes, message: str) -> str | None:
    """The finish reason of a refused prompt, if the error says that the prompt is the reason."""
    try:
        found = _unwrapped(read_json(body))
    except ValueError:
        return None
    whole = as_object(found)
    error = whole.get("error") or whole.get("detail")
    abouts = [as_object(error), as_object(as_object(error).get("innererror")), whole]
    for about in abouts:
        for name in ("code", "type"):
            if isinstance(word := about.get(name), str) and (reason := REFUSALS.get(word.lower())):
                return reason
    if any("flagged_input" in as_object(about.get("metadata")) for about in abouts):  # OpenRouter
        return REFUSED
    if status not in WORDED or not whole:
        return None
    # An error names a parameter that is wrong in every request; one about a long prompt names `messages`, if anything.
    # vLLM names `max_tokens` too when the prompt leaves too little room, and then says how much.
    param = next((about["param"] for about in abouts if "param" in about), None)
    if param not in PROMPT_PARAMS and not (param in TOKEN_LIMITS and _above_limit(message) is False):
        return None
    if _HELD_BACK.search(message):
        return REFUSED
    return TOO_LONG if _LONG_PROMPT.search(message) else None


def _above_limit(message: str) -> bool | None:
    """Whether an error says that no prompt leaves room for `max_tokens`; None if it does not mention them.

    A prompt has at least one token, so a completion as long as the context never fits. Without these two numbers the
    wording decides.
    """
    requested, context = _first_number(_REQUESTED, message), _first_number(_CONTEXT, message)
    if requested is not None and context is not None:
        return requested >= context
    return True if _ABOVE_LIMIT.search(message) else None


def _first_number(pattern: re.Pattern[str], message: str) -> int | None:
    found = pattern.search(message)
    return None if found is None else int(next(filter(None, found.groups())).replace(",", ""))


def _unwrapped(found: Any) -> Any:
    """Gemini puts its errors into a list of one."""
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) else found


def message_of(body: bytes) -> str:
    """The message in a server's error body, in the forms that servers use; otherwise the body as text."""
    text = body.decode("utf-8", "replace")
    try:
        found = _unwrapped(read_json(body))
        for _ in range(3):
            if not isinstance(found, dict):
                break
            found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), text)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def wait_seconds(header: str | None) -> float | None:
    """The seconds in a Retry-After, given as a number or as a date; None if it is missing or invalid."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError, OSError):
            return None
    return max(0.0, seconds) if seconds == seconds else None  # `nan` is a float too
