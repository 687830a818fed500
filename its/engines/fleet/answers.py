"""Parse a server's answers: the completion in a body, in the forms that servers use, or what is wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from its.engines.fleet.scrub import Scrub, quoted
from its.engines.fleet.wire import NO_TEXT, REFUSED, TOKEN_LIMITS, as_object, message_of, read_json
from its.engines.protocol import Completion, Request
from its.types import is_cut

MOST_TEXT = 4 * 2**20
"""Characters of one response with its thinking: a million tokens. Each is stored, and graded."""
TOKEN_CHARACTERS = 64
"""Of a token, at most, as a mean over a response: words have 4 to 5, runs of spaces up to 128."""
SPARE_CHARACTERS = 10_000
"""On top, for servers that do not count thinking, a started answer or a template's marks in `max_tokens`."""
MOST_TOKENS = 10**9
"""Of one prompt or completion. Contexts have 10**7; sums and costs stay exact."""
MOST_NAMES = 10_000
"""Models of one server. Large gateways list 500."""
NAME_LENGTH = 500  # servers of a folder call the model by its path
# Not answers: vLLM aborts requests in flight when it is paused or stopped, and gateways write `error` when the server
# behind them failed. The text is then only a part of the model's answer.
BROKEN_OFF = ("abort", "error")
WITHOUT_TEXT = ("content_filter", "length")
"""Finish reasons with which services may answer without text; with any other, a missing text is `NO_TEXT`."""
FINISHED = ("stop", "length", "content_filter", "tool_calls", "function_call", REFUSED)
"""Finish reasons that are passed on, in lower case; any other word becomes `other`: a server's own words reach neither
rows nor the store nor the report."""
ENDED = ("end_turn", "eos", "eos_token", "stop_sequence")
"""Other words for `stop`, from Anthropic, TGI and the gateways to them."""
WORD = r"\w[\w.:/-]{0,63}"
TEXT_PARTS = ("text", "output_text")
THINKING_PARTS = ("thinking", "reasoning")
"""Mistral's Magistral, Anthropic and the gateways to it; their text is under the type's name or under `text`."""
SEALED_PART = "redacted_thinking"  # Anthropic's: there was thinking, but it is encrypted
THINKING_FIELDS = ("reasoning_content", "reasoning")


def max_characters(request: Request, options: Mapping[str, Any]) -> int:
    """The most characters of text and thinking in an answer to the request: a server may ignore `max_tokens`."""
    body = {**request.sampling, **options}
    limits = [body[name] for name in TOKEN_LIMITS if _is_count(body.get(name))]
    return min(MOST_TEXT, TOKEN_CHARACTERS * max(limits) + SPARE_CHARACTERS) if limits else MOST_TEXT


def parse_answer(body: bytes, request_id: str, weights: str, most: int = MOST_TEXT) -> Completion | str:
    """The completion in an answer with status 200, or what is wrong with it.

    Exactly one choice, its message, its finish reason and the token counts are required. If there is no text and no
    reason why, the completion's finish reason is `NO_TEXT`.

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
        more = f": {message_of(body)}" if "error" in answer else ""  # gateways put an error under status 200
        return f"{len(choices) if isinstance(choices, list) else 'no'} choices instead of one{more}"
    message, finish_reason = choices[0].get("message"), choices[0].get("finish_reason")
    if finish_reason is not None and not isinstance(finish_reason, str):
        return "finish_reason is not a text"
    if finish_reason is None or finish_reason.lower() in BROKEN_OFF:
        return f"incomplete: finish_reason is {finish_reason!r}"
    if not re.fullmatch(WORD, finish_reason, re.ASCII):
        return f"finish_reason is not a word: {finish_reason}"
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
        # Unless it was cut while still thinking, or withheld by a filter: an answer, though without text to grade.
        finish_reason = NO_TEXT
    if len(text) + len(thinking or "") > most:
        return f"the text is longer than {most} characters, more than its tokens can be"
    try:
        (text + (thinking or "")).encode()
    except UnicodeEncodeError:
        return "the text is not valid Unicode"
    usage = as_object(answer.get("usage"))
    prompt_tokens, completion_tokens = _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens"))
    if not text and not thinking:  # some servers omit the counts then
        completion_tokens = 0 if completion_tokens is None else completion_tokens
        if prompt_tokens is None and finish_reason in ("content_filter", REFUSED, NO_TEXT):
            prompt_tokens = 0
    if not _is_count(prompt_tokens) or not _is_count(completion_tokens):
        return "no token counts in `usage`"
    thought = _whole(as_object(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    return Completion(
        request_id=request_id,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        prompt_sha256=ids_sha256(answer.get("prompt_token_ids")),
        thinking=thinking,
        thinking_tokens=thought if _is_count(thought) else None,
        weights=weights,
    )


def ids_sha256(ids: Any) -> str | None:
    """The fingerprint of a prompt's token ids; None if a server reports none."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest() if _token_ids(ids) else None


def _finished(word: str) -> str:
    """A server's finish reason as one of `FINISHED`, or `other`."""
    if is_cut(word):
        return "length"
    plain = word.lower()
    return "stop" if plain in ENDED else plain if plain in FINISHED else "other"


@dataclass(frozen=True)
class MessageParts:
    """The parts of a message.

    Args:
        text: None if the message has no content, or no part of it is text.
        thinking: what is separate from the text; "" if the server separates thinking and there was none.
        refusal: the model's words in refusing, which are not an answer to grade.
    """

    text: str | None
    thinking: str | None
    refusal: str | None


def read_message(message: Mapping[str, Any]) -> MessageParts:
    """Split a message into its parts.

    Raises:
        ValueError: if its content or its refusal has an unknown form: to skip a part would change the answer.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        for number, part in enumerate(content, 1):
            kind = part.get("type") if isinstance(part, dict) else None
            if (text := _text_of(part)) is not None:
                texts.append(text)
            elif kind in THINKING_PARTS and (text := _thought(part, str(kind))) is not None:
                thoughts.append(text)
            elif kind == SEALED_PART:
                thoughts.append("")
            elif kind == "refusal" and isinstance(part.get("refusal"), str):
                refusals.append(part["refusal"])
            else:
                found = f"has the type `{kind}`" if isinstance(kind, str) else "has no type"
                raise ValueError(f"the message cannot be read: part {number} of its content {found}")
    elif content is not None:
        raise ValueError(f"the message has no text: its content is a {type(content).__name__}")
    refusal = message.get("refusal") or None
    if refusal is not None and not isinstance(refusal, str):
        if not any(texts):
            raise ValueError("the message has no text, and its refusal is not a text")
        refusal = None
    separate = [message[name] for name in THINKING_FIELDS if isinstance(message.get(name), str)]
    if thoughts:
        separate.append("\n\n".join(filter(None, thoughts)))
    return MessageParts(
        text="".join(texts) if texts else None,
        # An empty one counts too: a server with the field separates thinking from the text, and there was none.
        thinking=next(filter(None, separate), separate[0] if separate else None),
        refusal=refusal or "".join(refusals) or None,
    )


def _text_of(part: Any) -> str | None:
    """The text of a text part; some gateways write plain strings."""
    if isinstance(part, dict):
        part = part.get("text") if part.get("type") in TEXT_PARTS else None
    return part if isinstance(part, str) else None


def _thought(part: dict[str, Any], kind: str) -> str | None:
    """The thinking in a thinking part: a text, or a list of text parts."""
    found = part.get(kind, part.get("text"))
    pieces = [_text_of(piece) for piece in found] if isinstance(found, list) else [_text_of(found)]
    known = [piece for piece in pieces if piece is not None]
    return "".join(known) if len(known) == len(pieces) else None


def _whole(value: Any) -> Any:
    """A count as an integer: some servers write `2.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def _token_ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MOST_TOKENS for item in value)


def model_names(body: bytes, scrub: Scrub) -> set[str] | str:
    """The names in an answer from `/models`, safe to show, or what is wrong with it."""
    try:
        found = read_json(body)
    except ValueError:
        found = None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        return "does not answer `/models` with a list of models"
    if len(rows) > MOST_NAMES:
        return f"lists more than {MOST_NAMES} models"
    return {_name(row["id"], scrub) for row in rows}


def _name(text: str, scrub: Scrub) -> str:
    """A model's name, safe to show: one with a key, control characters or excessive length is not a model's."""
    plain = len(text) <= NAME_LENGTH and text.isprintable() and scrub(text) == " ".join(text.split())
    return text if plain else quoted(text, scrub, NAME_LENGTH)
