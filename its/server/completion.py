"""What a client receives: a chat completion, whole or as events of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from its.server.errors import ApiError

SHARED = ("answer", "votes", "responses", "share", "tied", "answers", "no_answer", "generated", "from_store", "notes")
"""Keys of the document of `its solve` that the field `its` has too."""


def head(model: str) -> dict[str, Any]:
    """What a completion and all its chunks begin with."""
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}


def completion(
    head: Mapping[str, Any], document: Mapping[str, Any], writer: Mapping[str, int], *, voted: bool
) -> dict[str, Any]:
    """The body of a response.

    Args:
        document: as `its solve --json --show` prints it.
        writer: tokens of the writer.
        voted: whether there is one choice, the first response with the answer of most votes; else each response is one.
    """
    responses = [item for row in document["rows"] for item in row["responses"]]
    chosen = [_winner(document, responses)] if voted else responses
    return {
        "id": head["id"],
        "object": "chat.completion",
        "created": head["created"],
        "model": head["model"],
        "choices": [_choice(index, item) for index, item in enumerate(chosen)],
        "usage": _usage(document, responses),
        "its": {name: document[name] for name in SHARED}
        | {
            "problem": {name: document["problem"][name] for name in ("set", "problem_id")},
            "benchmark": document["benchmark"],
            "members": [
                {
                    **{name: row[name] for name in ("checkpoint", "strategy", "query_id", "personas")},
                    "request_keys": [item["request_key"] for item in row["responses"]],
                }
                for row in document["rows"]
            ],
            "tokens": {
                "writer": {name: writer.get(name, 0) for name in ("prompt_tokens", "completion_tokens")},
                "responses": document["tokens"],
            },
        },
    }


def begun_event(head: Mapping[str, Any], index: int, delta: Mapping[str, str], *, include_usage: bool) -> str:
    """What a choice has more of its message, while it is generated."""
    return _chunk(head, index, delta, include_usage=include_usage)


def events(body: Mapping[str, Any], sent: Mapping[int, Mapping[str, str]], *, include_usage: bool) -> Iterator[str]:
    """The completion as server-sent events, the last of them `[DONE]`; `its` is in the last chunk with choices.

    Args:
        sent: by choice, what of it was sent before.

    Raises:
        ApiError: if what was sent is not how the message begins.
    """
    last = len(body["choices"]) - 1
    for choice in body["choices"]:
        index = choice["index"]
        if rest := _rest(choice, sent.get(index)):
            yield _chunk(body, index, rest, include_usage=include_usage)
        own = {"its": body["its"]} if index == last else {}
        yield _chunk(body, index, {}, choice["finish_reason"], include_usage=include_usage, **own)
    if include_usage:
        yield _event({**_common(body), "choices": [], "usage": body["usage"]})
    yield "data: [DONE]\n\n"


def _rest(choice: Mapping[str, Any], sent: Mapping[str, str] | None) -> dict[str, str]:
    """What a message has more than was sent of it."""
    message: dict[str, str] = choice["message"]
    if sent is None:
        return message
    rest = {}
    for name, known in sent.items():
        whole = message.get(name, "")
        if not whole.startswith(known):
            text = f"choice {choice['index']} is not what its stream began with: request it again, without `stream`"
            raise ApiError(500, "response_revised", text, kind="server_error")
    for name, whole in message.items():
        if more := whole[len(sent.get(name, "")) :]:
            rest[name] = more
    return rest


def _common(head: Mapping[str, Any]) -> dict[str, Any]:
    return {name: head[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}


def _chunk(
    head: Mapping[str, Any],
    index: int,
    delta: Mapping[str, str],
    finish_reason: str | None = None,
    *,
    include_usage: bool,
    **own: Any,
) -> str:
    usage: dict[str, Any] = {"usage": None} if include_usage else {}
    choice = {"index": index, "finish_reason": finish_reason, "logprobs": None, "delta": delta}
    return _event({**_common(head), **usage, "choices": [choice], **own})


def failed_event(body: Mapping[str, Any]) -> str:
    """An error after the first byte of a stream."""
    return _event(body)


def _event(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n"


def _winner(document: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first response whose answer has most votes; without one the first that did not fail."""
    texts = {item["text"] for item in document["answers"][:1]} | {document["answer"]} - {None}
    good = [item for item in responses if item["finish_reason"] in ("stop", "length")]
    return next((item for item in good if item["answer"] is not None and item["answer"] in texts), good[0])


def _choice(index: int, response: Mapping[str, Any]) -> dict[str, Any]:
    reason = response["finish_reason"]
    message = {"role": "assistant", "content": response["text"]}
    if response["thinking"]:
        message["reasoning_content"] = response["thinking"]
    if reason not in ("stop", "length"):
        reason = "content_filter"  # the only word of the API for a response that was refused
    return {"index": index, "message": message, "finish_reason": reason, "logprobs": None}


def _usage(document: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Each query counts once however many responses it has; the writer's tokens are in the field `its` alone."""
    prompt = sum(max((item["prompt_tokens"] for item in row["responses"]), default=0) for row in document["rows"])
    completed = sum(item["completion_tokens"] for item in responses)
    return {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}
