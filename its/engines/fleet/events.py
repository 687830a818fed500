"""A server's stream of events, read as the whole answer that it stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from its.engines.fleet.answers import THINKING_FIELDS
from its.engines.fleet.wire import ANSWER_BYTES, as_object, read_json

STREAM_BYTES = 16 * ANSWER_BYTES
"""Of a stream: an event of 200 to 400 bytes has one token, and none of them is kept."""
_DATA = b"data:"
_DONE = b"[DONE]"


class Events:
    """Puts the text of a stream together.

    Only a plain text is read from a stream. Thinking that the server separates, calls of tools and contents in parts
    are not: servers separate them by other code than in whole answers, and the text of a response must not depend on
    whether somebody watched it.

    Args:
        most: characters of the text.
        grew: called when the text has grown.
    """

    def __init__(self, most: int, grew: Callable[[Events], None]) -> None:
        self.text = ""
        self.unreadable = False
        """Whether it has more than a plain text; then `feed` raises."""
        self._report = grew
        self.prompt_ids: Any = None
        self._most = most
        self._line = bytearray()
        self._bytes = 0
        self._error: bytes | None = None
        self._refusal = ""
        self._reason: Any = None
        self._usage: Any = None

    def feed(self, data: bytes) -> None:
        """Read the next bytes.

        Raises:
            ValueError: if it is not a stream of chunks with a plain text, or too long.
        """
        length = len(self.text)
        self._bytes += len(data)
        if self._bytes > STREAM_BYTES:
            raise ValueError(f"the stream is larger than {STREAM_BYTES} bytes")
        self._line += data
        *lines, rest = self._line.split(b"\n")
        if len(rest) > ANSWER_BYTES:
            raise ValueError(f"a line of the stream is larger than {ANSWER_BYTES} bytes")
        self._line = rest
        for line in lines:
            if line.startswith(_DATA) and (event := bytes(line[len(_DATA) :].strip())) and event != _DONE:
                self._read(event)
        if len(self.text) > length:
            self._report(self)

    def answer(self) -> bytes:
        """The answer that the server gives without a stream, or the error that the stream ended with.

        Raises:
            ValueError: if there is no text. A whole answer says whether it is an empty one or missing.
        """
        if self._error is not None:
            return self._error
        if not self.text and not self._refusal:
            raise ValueError("the stream has no text")
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self._refusal:
            message["refusal"] = self._refusal
        whole = {"choices": [{"index": 0, "message": message, "finish_reason": self._reason}], "usage": self._usage}
        return json.dumps(whole | {"prompt_token_ids": self.prompt_ids}).encode("ascii")

    def _read(self, event: bytes) -> None:
        chunk = read_json(event)
        if not isinstance(chunk, dict):
            raise ValueError("an event of the stream is not an object")
        if chunk.get("error"):
            self._error = event
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        if chunk.get("prompt_token_ids"):
            self.prompt_ids = chunk["prompt_token_ids"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            choice = as_object(choice)
            delta = as_object(choice.get("delta"))
            content, refusal = delta.get("content"), delta.get("refusal")
            thinks = any(delta.get(name) is not None for name in THINKING_FIELDS)
            plain = isinstance(content, str | None) and isinstance(refusal, str | None) and not delta.get("tool_calls")
            if thinks or not plain or choice.get("index", 0) != 0:
                self.unreadable = True
                raise ValueError("the stream has more than a plain text")
            if self._reason is not None and (content or refusal):
                raise ValueError("the stream has text behind its end")
            self._grow(content, refusal)
            if choice.get("finish_reason") is not None:
                self._reason = choice["finish_reason"]

    def _grow(self, content: str | None, refusal: str | None) -> None:
        self.text += content or ""
        self._refusal += refusal or ""
        if len(self.text) + len(self._refusal) > self._most:
            raise ValueError(f"the text is longer than {self._most} characters, more than its tokens can be")
