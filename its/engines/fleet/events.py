"""A server's stream of events, read as the whole answer that it stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from its.engines.fleet.answers import THINKING_FIELDS, ids_sha256
from its.engines.fleet.wire import ANSWER_BYTES, as_object, read_json

STREAM_BYTES = 16 * ANSWER_BYTES
"""Of a stream: an event of 200 to 400 bytes has one token, and none of them is kept."""
_DATA = b"data:"
_DONE = b"[DONE]"
_HALVES = re.compile("[\ud800-\udfff]")


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
        self.prompt_sha256: str | None = None
        self.done = False
        """Whether the server says that this was all."""
        self.thinks = False
        """Whether it separates thinking; then `feed` raises."""
        self.empty = False
        """Whether it is a stream that has ended, without a text; then `answer` raises."""
        self._report = grew
        self._most = most
        self._line = bytearray()
        self._bytes = 0
        self._ids: Any = None
        self._error: bytes | None = None
        self._half = ""  # the first half of a character whose second one comes with the next event
        self._refusal = ""
        self._reason: Any = None
        self._usage: Any = None

    def feed(self, data: bytes) -> None:
        """Read the next bytes.

        Raises:
            ValueError: if it is not a stream of chunks with a plain text, or too long.
        """
        self._bytes += len(data)
        if self._bytes > STREAM_BYTES:
            raise ValueError(f"the stream is larger than {STREAM_BYTES} bytes")
        self._line += data
        # A long line in small pieces is not copied for each of them.
        *lines, self._line = self._line.split(b"\n") if b"\n" in data else [self._line]
        if len(self._line) > ANSWER_BYTES:
            raise ValueError(f"a line of the stream is larger than {ANSWER_BYTES} bytes")
        length = len(self.text)
        for line in lines:
            event = bytes(line[len(_DATA) :].strip()) if line.startswith(_DATA) else b""
            if event == _DONE:
                self.done = True
            elif event:
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
        if self._half:
            raise ValueError("the text is not valid Unicode")
        if not self.text and not self._refusal:
            self.empty = self._reason is not None
            raise ValueError("the stream has no text")
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self._refusal:
            message["refusal"] = self._refusal
        whole = {"choices": [{"index": 0, "message": message, "finish_reason": self._reason}], "usage": self._usage}
        return json.dumps(whole | {"prompt_token_ids": self._ids}).encode("ascii")

    def _read(self, event: bytes) -> None:
        chunk = read_json(event)
        if not isinstance(chunk, dict):
            raise ValueError("an event of the stream is not an object")
        if chunk.get("error"):
            self._error = event
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        if chunk.get("prompt_token_ids") and self._ids is None:
            self._ids = chunk["prompt_token_ids"]
            self.prompt_sha256 = ids_sha256(self._ids)
        choices = chunk.get("choices")
        for choice in map(as_object, choices if isinstance(choices, list) else []):
            delta = as_object(choice.get("delta"))
            content, refusal = delta.get("content"), delta.get("refusal")
            self.thinks = any(delta.get(name) is not None for name in THINKING_FIELDS)
            plain = isinstance(content, str | None) and isinstance(refusal, str | None) and not delta.get("tool_calls")
            if self.thinks or not plain or choice.get("index") not in (None, 0):
                raise ValueError("the stream has more than a plain text")
            if self._reason is not None and (content or refusal):
                raise ValueError("the stream has text behind its end")
            self._grow(content or "", refusal or "")
            self._reason = choice.get("finish_reason") or self._reason

    def _grow(self, content: str, refusal: str) -> None:
        if content:
            # Gateways that count in UTF-16 cut characters in two.
            content = (self._half + content).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            self._half = content[-1] if "\ud800" <= content[-1] <= "\udbff" else ""
            content = content[: len(content) - len(self._half)]
            if _HALVES.search(content):
                raise ValueError("the text is not valid Unicode")
        self.text += content
        self._refusal += refusal
        if len(self.text) + len(self._refusal) > self._most:
            raise ValueError(f"the text is longer than {self._most} characters, more than its tokens can be")
