"""Make a server's words safe to show: one line, bounded, without keys or control characters."""

from __future__ import annotations

import base64
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from its.secrets import redacted
from its.shown import shown, without_controls

SHOWN = 300  # characters of a server's message that an error or a log line quotes
SCRUBBED = 8192  # characters of a text that are scrubbed before it is cut
LEAST = 8
"""Shortest key that is searched for. Shorter ones (`EMPTY`, as vLLM's users set it) are words, not secrets, and would
be removed from every message."""
LONG = 16
"""Letters and digits of a key from which its pieces are searched for: hosted services' keys have 32 or more."""
PIECE = 10
"""Letters and digits of such a piece: with fewer visible, 50 bits of a random key of 16 stay unknown."""
HEX_PIECE = 2 * PIECE
DECODED = 3
"""How often percent signs, escapes and entities are decoded: a gateway behind a gateway encodes them twice."""
HIDDEN = "[a message with the key in it]"


class Scrub:
    """Turns a server's text into one line that is safe to show: no key, no character that a terminal acts on.

    Keys of 8 characters or more are removed: in clear, percent-encoded, escaped as in JSON, in base64, in other case.
    For those with 16 letters and digits, every piece of 10 is searched for too, by letters and digits alone whatever is
    between them, also decoded up to three times, in base64 at any offset, and in hexadecimal: a text that still
    contains one is not shown at all. Anything that looks like someone else's key is removed too.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key for key in keys if len(key) >= LEAST]
        forms: set[str] = set()
        self._whole: list[str] = []
        self._pieces: dict[int, set[str]] = {PIECE: set(), HEX_PIECE: set()}
        for key in self._keys:
            packed = base64.b64encode(key.encode()).decode().rstrip("=")
            for form in {key, quote(key, safe=""), json.dumps(key)[1:-1], key.replace("/", "\\/"), packed}:
                # Messages cut a long key: its first 12 characters identify it, and what follows belongs to it.
                forms.add(rf"{re.escape(form[:12])}[\w+/=.~%\\-]*" if len(form) >= 20 else re.escape(form))
            letters = _letters(key)
            if len(letters) < LONG:
                self._whole += [letters] if len(letters) >= LEAST else []
                continue
            self._pieces[PIECE].update(_pieces(letters, PIECE))
            self._pieces[HEX_PIECE].update(_pieces(key.encode().hex(), HEX_PIECE))
            for before in range(3):  # its offset within three bytes, which four characters encode
                packed = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
                # The first characters encode what precedes it, the last one what follows.
                self._pieces[PIECE].update(_pieces(_letters(packed[before + 1 if before else 0 : -1]), PIECE))
        self._clear = re.compile("|".join(sorted(forms, key=len, reverse=True)), re.IGNORECASE) if forms else None

    def __call__(self, text: str) -> str:
        if self._clear is not None:
            plain = without_controls(text)
            if plain != text and self._clear.search(plain):
                text = plain
            text = self._clear.sub("[key]", " ".join(text.split()))
            if any(self._holds(form) for form in _decoded(text)):
                return HIDDEN
        return shown(redacted(" ".join(text.split())))

    def in_clear(self, text: str) -> bool:
        """Whether a model's text, which is stored unchanged, contains a key of 16 characters or more verbatim."""
        return any(key in text for key in self._keys if len(key) >= LONG)

    def open_end(self, text: str) -> int:
        """How many of the last characters of a text that grows may be the beginning of such a key."""
        longest = max((len(key) - 1 for key in self._keys if len(key) >= LONG), default=0)
        lengths = range(min(longest, len(text)), 0, -1)
        own = [key for key in self._keys if len(key) >= LONG]
        return next((length for length in lengths if any(key.startswith(text[-length:]) for key in own)), 0)

    def _holds(self, text: str) -> bool:
        letters = _letters(text)
        return any(key in letters for key in self._whole) or any(
            piece in pieces for size, pieces in self._pieces.items() if pieces for piece in _pieces(letters, size)
        )


def quoted(text: str, scrub: Scrub, length: int = SHOWN) -> str:
    """A server's text, safe to show: scrubbed first, so that no part of a key is left, then cut to `length`."""
    if len(text) > SCRUBBED:  # without the last word, which may be the beginning of a key
        text = text[:SCRUBBED].rsplit(None, 1)[0]
    line = scrub(text)
    return line if len(line) <= length else f"{line[:length]}..."


def _letters(text: str) -> str:
    """The letters and digits of a text in lower case, whatever Unicode forms they have."""
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKC", text).casefold())


def _pieces(letters: str, size: int) -> Iterator[str]:
    return (letters[at : at + size] for at in range(len(letters) - size + 1))


def _decoded(text: str) -> Iterator[str]:
    """The text, then the text with percent signs, JSON escapes and HTML entities decoded."""
    yield text
    for _ in range(DECODED):
        read = re.sub(
            r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), html.unescape(unquote(text))
        )
        if read == text:
            return
        yield (text := read)
