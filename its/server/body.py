"""The body of a chat completion request: what is read of it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic import ValidationError

from its.commands.solve_problem import MAX_BYTES, normalised
from its.recipe.schema import Sampling
from its.recipe.schema.study import Generation
from its.server.errors import ApiError
from its.shown import shown, unshowable

MAX_BODY_BYTES = 2**20
IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Fields that change no response."""
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are refused with any other value."""
SAMPLED = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
}
"""Field of a request -> setting of the recipe; the last three are vLLM's, beside OpenAI's."""
NUMBERS = {"temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p", "repetition_penalty"}


@dataclass(frozen=True)
class ChatRequest:
    """A request that was read.

    Args:
        problem: the text of the user's turn, without white space at its ends.
        n: choices; None if not given.
        sampling: settings that replace the recipe's.
    """

    model: str
    problem: str
    n: int | None = None
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)


def read_request(content: bytes, most: int) -> ChatRequest:
    """Read a request.

    Args:
        most: the largest n.

    Raises:
        ApiError: if anything in it is wrong or not supported.
    """
    given = {name: value for name, value in _parsed(content).items() if value is not None}
    for name in given:
        _check_known(name, given[name])
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "`model` is missing or not a text; `/v1/models` lists the names")
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise _wrong("stream_options", "`stream_options` has `include_usage` alone")
    if "max_tokens" in given and "max_completion_tokens" in given:
        raise _wrong("max_tokens", "`max_tokens` and `max_completion_tokens` are the same limit: give one of them")
    return ChatRequest(
        model=model,
        problem=_problem(given.get("messages")),
        n=_whole(given, "n", 1, most),
        seed=_whole(given, "seed", 0, 2**31 - 1),
        stream=_flag(given, "stream"),
        include_usage=_flag(options, "include_usage"),
        sampling=_sampling(given),
    )


def with_sampling(generation: Generation, given: Mapping[str, Any]) -> Generation:
    """How a response is sampled: as the recipe declares, with the settings of a request.

    Raises:
        ApiError: if a setting is out of its range.
    """
    given = {name: value for name, value in given.items() if (getattr(generation, name) or 0) != (value or 0)}
    if not given:
        return generation  # with the numbers as they are written there: 1.0 has another key in the store than 1
    try:
        Sampling.model_validate(generation.model_dump(exclude_none=True, include=set(Sampling.model_fields)) | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        raise _wrong(name, f"`{name}`: {first['msg'].lower()}") from error
    return generation.model_copy(update=dict(given))


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"), parse_constant=_not_a_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # also what is not UTF-8, and a number of thousands of digits
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, "invalid_json", f"the body is not JSON: {what}") from error
    if not isinstance(found, dict):
        raise ApiError(400, "invalid_json", "the body is not a JSON object")
    return found


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is not a number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"`{text[:20]}` is too large for a number")
    return value


def _check_known(name: str, value: Any) -> None:
    known = {"model", "messages", "n", "seed", "stream", "stream_options", *SAMPLED}
    if name in known or name in IGNORED:
        return
    if name in WITHOUT_EFFECT:
        if value in WITHOUT_EFFECT[name]:
            return
        raise ApiError(400, "unsupported_parameter", f"`{name}` is not supported with this value", param=name)
    listed = ", ".join(f"`{item}`" for item in sorted(known))
    raise ApiError(
        400, "unsupported_parameter", f"`{shown(name[:80])}` is not supported; known: {listed}", param=shown(name[:80])
    )


def _problem(messages: Any) -> str:
    if not isinstance(messages, list) or not messages or not all(isinstance(turn, dict) for turn in messages):
        raise _wrong("messages", "`messages` is missing, empty, or not a list of objects")
    roles = [turn.get("role") for turn in messages]
    if "user" not in roles:
        raise _wrong("messages", "there is no user turn: the problem is the text of the only user turn")
    if roles != ["user"]:
        turns = ", ".join(shown(str(role)[:20]) for role in roles[:8])
        raise ApiError(
            400,
            "unsupported_value",
            f"the turns are {turns}; a study asks with one problem, and its recipe writes every other turn: "
            "send one user turn",
            param="messages",
        )
    content = messages[0].get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise _wrong("messages", "the content of the user turn is not a text")
    if len(content.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ApiError(400, "string_above_max_length", f"a problem has at most {MAX_BYTES} bytes", param="messages")
    text = normalised(content)
    if not text:
        raise _wrong("messages", "the problem is blank")
    character = unshowable(text)
    if character is not None:
        raise _wrong("messages", f"the problem contains {character}; prompts contain no control characters")
    return text


def _part(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise _wrong("messages", "a part of the content is not of the type `text`")
    return str(part["text"])


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, setting in SAMPLED.items():
        if name in given:
            value = given[name]
            if isinstance(value, bool):
                raise _wrong(name, f"`{name}` is not a number")
            if name in NUMBERS:
                if not isinstance(value, int | float):
                    raise _wrong(name, f"`{name}` is not a number")
                if abs(value) > 1e6:
                    raise _wrong(name, f"`{name}` is out of its range")
                value = float(value)
                if not value and name in ("presence_penalty", "frequency_penalty"):
                    value = None  # the same as none, which has another key in the store
            out[setting] = [value] if name == "stop" and isinstance(value, str) else value
    return out


def _whole(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(name, f"`{name}` is not a whole number from {least} to {most}")
    return value


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, f"`{name}` is not true or false")
    return value


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(400, "invalid_value", message, param=param)
