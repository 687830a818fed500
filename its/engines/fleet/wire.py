"""What goes over the wire to an OpenAI-compatible server: a request's body, an answer's parts, what a failure means.

A server is a stranger. Its answers are read up to a limit and taken apart by the strict rules here; of its words only
what went through a `Scrub` is ever shown or logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import json
import re
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import httpx2

from its.engines.fleet.message import read_message
from its.engines.fleet.scrub import Scrub, quoted
from its.engines.protocol import Completion, Request
from its.errors import DataError
from its.types import is_cut

ANSWER_BYTES = 16 * 2**20
"""Of the body of an answer, as sent and as unpacked. 32,768 tokens are 0.2 MB of text, with their ids and five
logprobs each 15 MB; the lists of models of large gateways are 2 MB. It bounds one request: as many servers as there are
may each write that much to each of `concurrency` requests at once."""
ERROR_BYTES = 64 * 2**10
"""Of the body of an answer without status 200; the rest is not read."""
MOST_TEXT = 4 * 2**20
"""Characters of one response with its thinking: a million tokens. Each is stored, and graded."""
TOKEN_CHARACTERS = 64
"""Of a token, at most, as a mean over a response: words have 4 to 5, runs of spaces up to 128."""
SPARE_CHARACTERS = 10_000
"""Beyond those, for servers that count thinking, a started answer or a template's marks apart from `max_tokens`."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
MOST_TOKENS = 10**9
"""Of one prompt or completion. Contexts have 10**7; sums and costs stay exact."""
MOST_NAMES = 10_000
"""Models of one server. Large gateways list 500."""
NAME_LENGTH = 500  # servers of a folder call the model by its path
WRITTEN = ("temperature", "top_p", "max_tokens", "stop", "seed", "n", "stream")
CONTINUED = ("continue_final_message", "add_generation_prompt")
# Neither is an answer: vLLM aborts what is under way when it is paused or stopped, and gateways write `error` when
# the server behind them broke off. The text is then a part of what the model would have said.
BROKEN_OFF = ("abort", "error")
WITHOUT_TEXT = ("content_filter", "length")
"""Reasons with which services answer without a text; with another one, no text at all is `NO_TEXT`."""
REFUSED, TOO_LONG, NO_TEXT = "refused", "too_long", "no_text"
"""Finish reasons of ours, for an answer that is none: held back by a filter or by the model; a prompt that the server's
context does not take; neither text nor thinking, and no reason why (a tool call, or a server that is set up wrong)."""
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
"""What an error's `code` or `type` says where this one prompt is refused and another one may be answered: OpenAI, Azure
OpenAI and the gateways to them, `exceed_context_size_error` of llama.cpp, `data_inspection_failed` of DashScope."""
# vLLM, SGLang and others have no code for it: "This model's maximum context length is 4096 tokens. However, you
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
# How errors tell the tokens that were asked for, those that the model has for prompt and completion, and, where they do
# not, that it is the former that are too many.
_NUMBER = r"(\d[\d,]{0,14})\b"
_ASKED = re.compile(
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
FINISHED = ("stop", "length", "content_filter", "tool_calls", "function_call", REFUSED)
"""Reasons that are passed on, in small letters; any other word is `other`: rows, the store and the report take no
server's own words."""
ENDED = ("end_turn", "eos", "eos_token", "stop_sequence")
"""Other words for `stop`: of Anthropic, TGI and the gateways to them."""
PROMPT_PARAMS = (None, "", "messages", "prompt", "input_text", "input_tokens")
"""What an error about a long prompt names as the fault, if anything: OpenAI the field, vLLM what it counted."""
WORDED = (400, 413, 422)
"""Statuses of errors whose words are looked at, beside their codes."""
WORD = r"\w[\w.:/-]{0,63}"
AGAIN = (408, 409, 425)
CONNECT_SECONDS = 8.0  # for each of connection and handshake
HANDSHAKE = "connection.start_tls"
PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
NO_TLS = "speaks no TLS: should its `url` begin with `http://`?"


@dataclass(frozen=True)
class Failure:
    """Why an attempt gave no answer.

    `busy` and `unreachable` tell something about the server alone, so they do not count against the request;
    `timeout`, `dropped`, `garbage` and `server_error` may be the request's own doing and are tried again a limited
    number of times; `key`, `refused`, `limit` and `declined` would be the same at every further attempt. `limit` says
    that no prompt leaves room for `max_tokens`, `declined` that it is this prompt alone that the server does not take.

    Args:
        message: safe to show: short, and no key in it.
        wait_seconds: what a Retry-After asked for; never negative.
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
    """Refuse what would contradict the rest of the recipe.

    Raises:
        DataError: if a field that the request itself determines is set to anything but None (which leaves it out).
    """
    for name, value in options.items():
        if name in ("model", "messages") or (name in (*WRITTEN, *CONTINUED) and value is not None):
            allowed = "" if name in ("model", "messages") else f"; `{name}: null` leaves the field out"
            raise DataError(
                f"`engine.options.{name}`: the `openai` engine writes this field itself",
                f"take it out: the recipe's sampling, seed and models determine it{allowed}",
            )


def request_body(request: Request, served: str, options: Mapping[str, Any]) -> bytes:
    """The body of one request; an option with value None leaves its field out.

    A started answer goes as a last turn of the assistant, with the two fields by which vLLM, SGLang and llama.cpp know
    that it is to be continued.
    """
    messages = list(request.messages)
    body: dict[str, Any] = {"model": served, **request.sampling, "seed": request.seed, "n": 1, "stream": False}
    if not body.get("stop"):
        body.pop("stop", None)
    if request.start is not None:
        messages.append({"role": "assistant", "content": request.start})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    body = {"messages": messages, **body, **options}
    # ASCII with escapes: a lone surrogate in a text cannot be encoded otherwise.
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode("ascii")


def max_characters(request: Request, options: Mapping[str, Any]) -> int:
    """The most characters of text and thinking in an answer to the request: a server may not heed `max_tokens`."""
    body = {**request.sampling, **options}
    asked = [body[name] for name in TOKEN_LIMITS if _count(body.get(name))]
    return min(MOST_TEXT, TOKEN_CHARACTERS * max(asked) + SPARE_CHARACTERS) if asked else MOST_TEXT


def parsed_answer(body: bytes, request_id: str, weights: str, most: int = MOST_TEXT) -> Completion | str:
    """The completion in an answer with status 200, or what is wrong with it.

    Without exactly one choice, its message, its finish reason and the token counts it is no answer. Text that is not
    there is not made up: where nothing tells why, the completion's finish reason is `NO_TEXT`.

    Args:
        most: characters of text and thinking; see `max_characters`.
    """
    try:
        answer = read_json(body)
    except ValueError as error:
        return f"the body is not JSON: {error}"
    if not isinstance(answer, dict):
        return "the body is not an object"
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        said = f": {message_of(body)}" if "error" in answer else ""  # gateways put an error under status 200
        return f"{len(choices) if isinstance(choices, list) else 'no'} choices instead of one{said}"
    message, finish_reason = choices[0].get("message"), choices[0].get("finish_reason")
    if finish_reason is not None and not isinstance(finish_reason, str):
        return "finish_reason is no text"
    if finish_reason is None or finish_reason.lower() in BROKEN_OFF:
        return f"broken off: finish_reason is {finish_reason!r}"
    if not re.fullmatch(WORD, finish_reason, re.ASCII):
        return f"finish_reason is no word: {finish_reason}"
    finish_reason = _finished(finish_reason)
    if message is None and finish_reason in WITHOUT_TEXT:
        message = {}
    if not isinstance(message, dict):
        return "the choice has no message"
    try:
        parts = read_message(message)
    except ValueError as error:
        return str(error)
    text, thinking = parts.text or "", parts.thinking
    if parts.refusal and not text:
        finish_reason = REFUSED if finish_reason == "stop" else finish_reason
    elif parts.text is None and not thinking and finish_reason not in WITHOUT_TEXT:
        # Not so where it was cut while it was still thinking or held back by a filter: an answer, though none to grade.
        finish_reason = NO_TEXT
    if len(text) + len(thinking or "") > most:
        return f"the text is longer than {most} characters, and so than its tokens could be"
    try:
        (text + (thinking or "")).encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    usage = _object(answer.get("usage"))
    prompt_tokens, completion_tokens = _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens"))
    if not text and not thinking:  # some leave the counts out where there is nothing to count
        completion_tokens = 0 if completion_tokens is None else completion_tokens
        if prompt_tokens is None and finish_reason in ("content_filter", REFUSED, NO_TEXT):
            prompt_tokens = 0
    if not _count(prompt_tokens) or not _count(completion_tokens):
        return "no token counts in `usage`"
    thought = _whole(_object(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    ids = answer.get("prompt_token_ids")
    return Completion(
        request_id=request_id,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        prompt_sha256=hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest() if _token_ids(ids) else None,
        thinking=thinking,
        thinking_tokens=thought if _count(thought) else None,
        weights=weights,
    )


def _finished(word: str) -> str:
    """A server's word for how a text ended as one of `FINISHED`, or `other`."""
    if is_cut(word):
        return "length"
    plain = word.lower()
    return "stop" if plain in ENDED else plain if plain in FINISHED else "other"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> Any:
    """A count as the integer that it is: some servers write `2.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def _token_ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MOST_TOKENS for item in value)


def read_json(body: bytes) -> Any:
    """A server's JSON.

    Raises:
        ValueError: if it is none, is nested too deeply, or names a field of an object twice (which one is meant?).
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
        raise ValueError("a field stands twice in one object")
    return out


async def exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    seconds: float,
    scrub: Scrub,
    content: bytes | None = None,
) -> bytes | Failure:
    """The body of an answer with status 200, or why there is none; never more than `ANSWER_BYTES` of it are read.

    Args:
        seconds: for the whole, to the last byte; a late answer finds its connection closed.
    """
    # No packing: it saves nothing on answers of this size, and a packed byte may stand for a million.
    headers = {"Accept-Encoding": "identity"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    # Sooner than the whole: a handshake that is broken off from outside leaves its socket open.
    wait = httpx2.Timeout(None, connect=min(CONNECT_SECONDS, 0.8 * seconds))
    reached: list[str] = []

    async def trace(event: str, about: object) -> None:
        reached.append(event)

    try:
        async with asyncio.timeout(seconds):
            more = {"trace": trace} if url.startswith("https:") else None  # a handshake without end looks like any wait
            async with client.stream(
                method, url, content=content, headers=headers, timeout=wait, extensions=more
            ) as answer:
                good = answer.status_code == 200
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
    except (ExceptionGroup, OverflowError) as error:  # an address that no socket takes, of a proxy or after a redirect
        return Failure("unreachable", f"cannot be reached ({quoted(_cause(error), scrub)})")
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        return Failure("dropped", f"broke the connection ({quoted(_cause(error), scrub)})")
    except ValueError as error:  # ours, and what a header raises that is no text
        return Failure("garbage", f"gave no usable answer: {quoted(str(error), scrub)}", 200)


def _in_handshake(reached: list[str]) -> bool:
    """Whether a connection got no further than that its TLS was begun."""
    return f"{HANDSHAKE}.started" in reached and f"{HANDSHAKE}.complete" not in reached


def _unreachable(error: Exception, scrub: Scrub) -> str:
    """Why there is no connection, with what to do where TLS is the reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = quoted(cause.verify_message, scrub)
            return f"has a certificate that is not trusted ({why}): `SSL_CERT_FILE` names a file with those that are"
        if isinstance(cause, ssl.SSLError) and cause.reason in PLAIN:
            return NO_TLS
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached ({quoted(_cause(error), scrub)})"


async def _read(answer: httpx2.Response, limit: int) -> bytes:
    """The body as it was sent, at most `limit` bytes and one: whether there is more shows."""
    out = bytearray()
    async with contextlib.aclosing(answer.aiter_raw()) as chunks:
        async for chunk in chunks:
            out += chunk[: limit + 1 - len(out)]
            if len(out) > limit:
                break
    return bytes(out)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """A body unpacked within the limit, though none is asked to be packed: some gateways do it all the same.

    Raises:
        ValueError: if it is larger than the limit, cut, or packed in another way than gzip or deflate.
    """
    kind = encoding.strip().lower()
    if kind in ("gzip", "x-gzip", "deflate"):
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            body = stream.decompress(body, ANSWER_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"the body is not {kind}") from error
        if not stream.eof and len(body) <= ANSWER_BYTES:
            raise ValueError("the packed body is cut")
    elif kind not in ("", "identity"):
        raise ValueError(f"the body is packed as `{kind}`, which was not asked for")
    if len(body) > ANSWER_BYTES:
        raise ValueError(f"the body is larger than {ANSWER_BYTES} bytes")
    return body


def _cause(error: BaseException) -> str:
    """The innermost reason that an exception gives; httpx's own words often say no more than that it failed."""
    said = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            said = cause.strerror
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            said = str(cause) or said
        else:
            cause = cause.__cause__ or cause.__context__
    return said


def failure_of(status: int, headers: Mapping[str, str], body: bytes, scrub: Scrub) -> Failure:
    """What an answer with a status other than 200 means."""
    said = quoted(message_of(body), scrub) or "no message"
    if status not in (401, 429, 503) and (failure := prompt_failure(status, body, scrub)):
        return failure
    if status in (429, 503):
        if b'"insufficient_quota"' in body:  # OpenAI's 429 that no waiting makes good
            return Failure("refused", f"no credit is left ({status}): {said}", status)
        return Failure("busy", f"answered {status}: {said}", status, wait_seconds(headers.get("retry-after")))
    if status in AGAIN or status >= 500:
        return Failure("server_error", f"answered {status}: {said}", status)
    if status in (401, 403):
        return Failure("key", f"answered {status}: {said}", status)
    if 300 <= status < 400:
        there = quoted(headers.get("location", "?"), scrub)
        return Failure("refused", f"answered {status} and points to `{there}`", status)
    return Failure("refused", f"answered {status}: {said}", status)


def prompt_failure(status: int, body: bytes, scrub: Scrub) -> Failure | None:
    """What an error's own words say of the prompt or of `max_tokens`: a failure `declined` or `limit`.

    In doubt None: a wrong parameter or an unknown model would be refused with every prompt.
    """
    message = message_of(body)
    answered = f"answered {status}: {quoted(message, scrub) or 'no message'}"
    reason, above = _declined(status, body, message), _above_limit(message)
    if above and (status in WORDED or reason == TOO_LONG):
        return Failure("limit", answered, status)
    return Failure("declined", answered, status, finish_reason=reason) if reason else None


def _declined(status: int, body: bytes, message: str) -> str | None:
    """The finish reason of a prompt that the server does not take, where its error says that the prompt is why."""
    try:
        found = _alone(read_json(body))
    except ValueError:
        return None
    whole = _object(found)
    error = whole.get("error") or whole.get("detail")
    abouts = [_object(error), _object(_object(error).get("innererror")), whole]
    for about in abouts:
        for name in ("code", "type"):
            if isinstance(word := about.get(name), str) and (reason := REFUSALS.get(word.lower())):
                return reason
    if any("flagged_input" in _object(about.get("metadata")) for about in abouts):  # OpenRouter
        return REFUSED
    if status not in WORDED or not whole:
        return None
    # A parameter that is wrong in every request is named; a long prompt is told of `messages`, if of anything. vLLM
    # names `max_tokens` also where the prompt alone leaves too little room, and then tells how much.
    param = next((about["param"] for about in abouts if "param" in about), None)
    if param not in PROMPT_PARAMS and not (param in TOKEN_LIMITS and _above_limit(message) is False):
        return None
    if _HELD_BACK.search(message):
        return REFUSED
    return TOO_LONG if _LONG_PROMPT.search(message) else None


def _above_limit(message: str) -> bool | None:
    """Whether an error says that no prompt leaves room for `max_tokens`; None where it says nothing of them.

    A prompt has a token at least, so a completion as long as the context never fits. Without these two numbers the
    words decide.
    """
    asked, context = _first_number(_ASKED, message), _first_number(_CONTEXT, message)
    if asked is not None and context is not None:
        return asked >= context
    return True if _ABOVE_LIMIT.search(message) else None


def _first_number(pattern: re.Pattern[str], message: str) -> int | None:
    found = pattern.search(message)
    return None if found is None else int(next(filter(None, found.groups())).replace(",", ""))


def _alone(found: Any) -> Any:
    """Gemini puts its errors into a list of one."""
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) else found


def message_of(body: bytes) -> str:
    """The message in a server's error body, in the forms that servers use; otherwise the body as text."""
    text = body.decode("utf-8", "replace")
    try:
        found = _alone(read_json(body))
        for _ in range(3):
            if not isinstance(found, dict):
                break
            found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), text)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def wait_seconds(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for, whether given as a number or as a date; None where it says nothing."""
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


def model_names(body: bytes, scrub: Scrub) -> set[str] | str:
    """The names in an answer of `/models`, as they may be shown, or what is wrong with it."""
    try:
        found = read_json(body)
    except ValueError:
        found = None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        return "answers `/models` with something else than a list of models"
    if len(rows) > MOST_NAMES:
        return f"lists more than {MOST_NAMES} models"
    return {_name(row["id"], scrub) for row in rows}


def _name(text: str, scrub: Scrub) -> str:
    """A model's name as it may be shown: one that holds a key or controls, or has no end, is that of no model."""
    plain = len(text) <= NAME_LENGTH and text.isprintable() and scrub(text) == " ".join(text.split())
    return text if plain else quoted(text, scrub, NAME_LENGTH)
