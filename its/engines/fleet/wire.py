"""What goes over the wire to an OpenAI-compatible server: a request's body, an answer's parts, what a failure means."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard
from urllib.parse import quote

import httpx2

from its.engines.protocol import Completion, Request
from its.errors import DataError

SHOWN = 300  # characters of a server's message that an error or a log line quotes
WRITTEN = ("temperature", "top_p", "max_tokens", "stop", "seed", "n", "stream")
CONTINUED = ("continue_final_message", "add_generation_prompt")
# Neither is an answer: vLLM aborts what is under way when it is paused or stopped, and gateways write `error` when
# the server behind them broke off. The text is then a part of what the model would have said.
BROKEN_OFF = ("abort", "error")
AGAIN = (408, 409, 425)


@dataclass(frozen=True)
class Failure:
    """Why an attempt gave no answer.

    `busy` and `unreachable` tell something about the server alone, so they do not count against the request;
    `timeout`, `dropped`, `garbage` and `server_error` may be the request's own doing and are tried again a limited
    number of times; `key` and `refused` would be the same at every further attempt.

    Args:
        message: safe to show: short, and no key in it.
        wait_seconds: what a Retry-After asked for; never negative.
    """

    kind: Literal["busy", "unreachable", "timeout", "dropped", "garbage", "server_error", "key", "refused"]
    message: str
    status: int | None = None
    wait_seconds: float | None = None


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


def parsed_answer(body: bytes, request_id: str, weights: str) -> Completion | str:
    """The completion in an answer with status 200, or what is wrong with it.

    Text that is not there is not made up: without exactly one choice, its text, its finish reason and the token counts
    it is no answer.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        return "the body is not JSON"
    if not isinstance(answer, dict):
        return "the body is not an object"
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        said = f": {message_of(body)}" if "error" in answer else ""  # gateways put an error under status 200
        return f"{len(choices) if isinstance(choices, list) else 'no'} choices instead of one{said}"
    message, finish_reason = choices[0].get("message"), choices[0].get("finish_reason")
    if not isinstance(message, dict):
        return "the choice has no message"
    told = [part for part in (message.get("reasoning_content"), message.get("reasoning")) if isinstance(part, str)]
    thinking = next(filter(None, told), None)
    text = message.get("content")
    if text is None and told:
        text = ""  # cut while it was still thinking
    if not isinstance(text, str):
        return "the message has no text"
    if not isinstance(finish_reason, str) or finish_reason in BROKEN_OFF:
        return f"broken off: finish_reason is {finish_reason!r}"
    try:
        (text + (thinking or "")).encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    usage = _object(answer.get("usage"))
    prompt_tokens, completion_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not _count(prompt_tokens) or not _count(completion_tokens):
        return "no token counts in `usage`"
    thought = _object(usage.get("completion_tokens_details")).get("reasoning_tokens")
    ids = answer.get("prompt_token_ids")
    return Completion(
        request_id=request_id,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        prompt_sha256=hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest() if isinstance(ids, list) else None,
        thinking=thinking,
        thinking_tokens=thought if _count(thought) else None,
        weights=weights,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


async def exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    seconds: float,
    scrub: Callable[[str], str],
    content: bytes | None = None,
) -> bytes | Failure:
    """The body of an answer with status 200, or why there is none.

    Args:
        seconds: for the whole, to the last byte; a late answer finds its connection closed.
        scrub: takes keys out of a text.
    """
    headers = {"Content-Type": "application/json"} if content is not None else None
    try:
        async with asyncio.timeout(seconds):
            answer = await client.request(method, url, content=content, headers=headers)
    except TimeoutError:
        return Failure("timeout", f"did not answer within {seconds:g} s")
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        return Failure("unreachable", f"cannot be reached ({scrub(_cause(error))})")
    except httpx2.DecodingError as error:
        return Failure("garbage", f"gave no usable answer: {scrub(_cause(error))}")
    except httpx2.HTTPError as error:
        return Failure("dropped", f"broke the connection ({scrub(_cause(error))})")
    if answer.status_code != 200:
        return failure_of(answer.status_code, answer.headers, answer.content, scrub)
    return answer.content


def _cause(error: BaseException) -> str:
    """The innermost reason that an exception gives; httpx's own words often say no more than that it failed."""
    said = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            said = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return said


def failure_of(status: int, headers: Mapping[str, str], body: bytes, scrub: Callable[[str], str]) -> Failure:
    """What an answer with a status other than 200 means.

    Args:
        scrub: takes keys out of a text; applied before the message is cut, so that no part of a key stays.
    """
    said = shortened(scrub(message_of(body))) or "no message"
    if status in (429, 503):
        if b'"insufficient_quota"' in body:  # OpenAI's 429 that no waiting mends
            return Failure("refused", f"no credit is left ({status}): {said}", status)
        return Failure("busy", f"answered {status}: {said}", status, wait_seconds(headers.get("retry-after")))
    if status in AGAIN or status >= 500:
        return Failure("server_error", f"answered {status}: {said}", status)
    if status in (401, 403):
        return Failure("key", f"answered {status}: {said}", status)
    if 300 <= status < 400:
        return Failure("refused", f"answered {status} and points to `{scrub(headers.get('location', '?'))}`", status)
    return Failure("refused", f"answered {status}: {said}", status)


def message_of(body: bytes) -> str:
    """The message in a server's error body, in the forms that servers use; otherwise the body as text."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    for _ in range(3):
        if not isinstance(found, dict):
            break
        found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), text)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def shortened(text: str, length: int = SHOWN) -> str:
    """The text on one line, cut where it is too long to quote."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length]}..."


def wait_seconds(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for, whether given as a number or as a date; None where it says nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds == seconds else None  # `nan` is a float too


def model_names(body: bytes) -> set[str] | None:
    """The names in an answer of `/models`; None if it is no list of models."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        return None
    return {row["id"] for row in rows}


def scrubber(keys: Iterable[str]) -> Callable[[str], str]:
    """A function that takes keys out of a text, also percent-encoded, escaped as in JSON, or with their end cut off."""
    forms: set[str] = set()
    for key in filter(None, keys):
        for form in {key, quote(key, safe=""), json.dumps(key)[1:-1], key.replace("/", "\\/")}:
            # Messages cut a long key; its first 12 characters are as good a sign, and what follows is its rest.
            forms.add(rf"{re.escape(form[:12])}[\w+/=.~%\\-]*" if len(form) >= 20 else re.escape(form))
    if not forms:
        return lambda text: text
    pattern = re.compile("|".join(sorted(forms, key=len, reverse=True)))
    return lambda text: pattern.sub("[key]", text)
