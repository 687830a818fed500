"""The elements of a JSON array, one by one: memory is that of the largest, however large the file is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from its.errors import DataError, Fault, FaultsError
from its.values import MAX_VALUES, exceeds

_STEP_BYTES = 1024 * 1024
_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN_CHARACTERS = 16
"""No literal, escape or mark between two values is longer: a fault nearer to the end of what was read may be a cut."""
_KINDS = {"{": "dict", '"': "str", "t": "bool", "f": "bool", "n": "null"}


def elements(source: IO[bytes], name: str, decoder: json.JSONDecoder, limit: int) -> Iterator[Any]:
    """Yield each element of the one array in a file.

    Args:
        source: UTF-8, with or without a byte order mark.
        name: its name in errors.
        decoder: of one element.
        limit: characters of an element, at most.

    Raises:
        FaultsError: `name:line:column` where it is broken JSON, `name:line` where it is not UTF-8.
        DataError: if it is not an array, an element is too long, or the decoder refuses one for another reason.
    """
    text = Text(source, name)
    opening = text.mark()
    if opening != "[":
        if not opening:
            raise text.broken("expecting value", 0)
        raise DataError(
            f"{name}:1: not an array but a {_KINDS.get(opening, 'number')}",
            "expected `[{...}, {...}]`, or JSON lines in a `.jsonl` file",
        )
    yield from text.listed(decoder, limit)
    if text.mark():
        raise text.broken("extra data", 0, "is it JSON lines? then name it `.jsonl`")


class Text:
    """A window on a text: `rest[at:]` is what was read and not yet taken."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source = source
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._bytes = 0
        self._line, self._column = 1, 1  # of rest[0]
        self._ended = False
        self.rest = ""
        self.at = 0
        self._begun = 0

    @property
    def raw(self) -> str:
        """The element that was taken last, as its text."""
        return self.rest[self._begun : self.at]

    def listed(self, decoder: json.JSONDecoder, limit: int) -> Iterator[Any]:
        """The elements of the array that begins here; behind its end when the last was taken."""
        self.at += 1
        if self.mark() == "]":
            self.at += 1
            return
        while True:
            yield self.element(decoder, limit)
            following = self.mark()
            if following not in (",", "]"):
                raise self.broken("expecting ',' delimiter", 0)
            self.at += 1
            if following == "]":
                return
            self.mark()

    def mark(self) -> str:
        """The next character after any white space; empty at the end."""
        while True:
            space = _SPACE.match(self.rest, self.at)
            assert space is not None, "it matches the empty text, too"
            self.at = space.end()
            if self.at < len(self.rest):
                return self.rest[self.at]
            if not self._more(_STEP_BYTES):
                return ""

    def element(self, decoder: json.JSONDecoder, limit: int) -> Any:
        """The value that begins here."""
        while True:
            length = len(self.rest) - self.at
            if length > 2 * _STEP_BYTES and exceeds(self.rest, at=self.at):  # less holds no more values than that
                what = f"an element has more than {MAX_VALUES} values"
                raise DataError(f"{self._where(self.at)}: {what}", "is it an array of rows?")
            try:
                value, end = decoder.raw_decode(self.rest, self.at)
                if end < len(self.rest) or self._ended:  # a number may go on behind what was read
                    if end - self.at > limit:
                        raise self._too_long(limit)
                    self._begun, self.at = self.at, end
                    return value
            except json.JSONDecodeError as error:
                cut = error.pos > len(self.rest) - _TOKEN_CHARACTERS or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    raise self.broken(error.msg.lower(), error.pos - self.at) from error
            except RecursionError as error:
                raise DataError(f"{self._name}: JSON: nested too deeply", "fix the file") from error
            except ValueError as error:  # a number of thousands of digits, a repeated key
                raise DataError(f"{self._where(self.at)}: JSON: {reason(error)}", "fix the file") from error
            if length > limit:
                raise self._too_long(limit)
            self._more(max(length, _STEP_BYTES))  # twice as much each time, so that an element costs its length

    def broken(self, message: str, offset: int, hint: str = "fix the file") -> FaultsError:
        """A fault `offset` characters behind here."""
        return FaultsError([Fault(self._where(self.at + offset), f"broken JSON: {message}", hint)])

    def _too_long(self, limit: int) -> DataError:
        return DataError(
            f"{self._where(self.at)}: an element has more than {limit} characters", "is it an array of rows?"
        )

    def _where(self, at: int) -> str:
        self._pass(at)
        return f"{self._name}:{self._line}:{self._column}"

    def _pass(self, count: int) -> None:
        """Drop the first characters of the window, counting their lines."""
        passed, self.rest = self.rest[:count], self.rest[count:]
        lines = passed.count("\n")
        self._line += lines
        self._column = len(passed) - passed.rfind("\n") if lines else self._column + len(passed)
        self.at, self._begun = max(0, self.at - count), max(0, self._begun - count)

    def _more(self, size: int) -> bool:
        """Read on; False at the end."""
        if self._ended:
            return False
        self._pass(self.at)
        data = self._source.read(size)
        self._ended = not data
        pending = len(self._decoder.getstate()[0])
        try:
            self.rest += self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].count(b"\n")
            where = f"{self._name}:{self._line + self.rest.count(chr(10)) + before}"
            at = self._bytes - pending + error.start
            raise FaultsError([Fault(where, f"not UTF-8 at byte {at}", "re-encode the file")]) from error
        self._bytes += len(data)
        return not self._ended


def reason(error: ValueError) -> str:
    """What is wrong, without Python's advice on how to lift its limit."""
    message = str(error).partition(";")[0]
    return message[:1].lower() + message[1:]
