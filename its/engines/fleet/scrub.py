"""The one way by which a server's words reach a reader: one line, bounded, without keys and without controls."""

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
SCRUBBED = 8192  # characters of a text that are looked at before it is cut
LEAST = 8
"""Characters of a key that is looked for at all. Shorter ones (`EMPTY`, as vLLM's users set it) are words, not
secrets, and would be cut out of every message."""
LONG = 16
"""Letters and digits of a key of which pieces are looked for: hosted services' have 32 and more."""
PIECE = 10
"""Letters and digits of such a piece: 50 bits of a random key stay unknown where fewer are seen of one of 16."""
HEX_PIECE = 2 * PIECE
DECODED = 3
"""Times that percent signs, escapes and entities are read: a gateway behind a gateway writes them twice."""
HIDDEN = "[a message with the key in it]"


class Scrub:
    """Makes one line of a server's text that may be shown: no key in it, no character that a terminal acts on.

    Keys of 8 characters and more are taken out: in clear, percent-encoded, escaped as in JSON, in base64, in other
    case. Of those with 16 letters and digits every piece of 10 is looked for too, by letters and digits alone, whatever
    stands in between, also decoded up to three times, in base64 wherever it begins, and in hexadecimal: a text that
    still holds one is not shown at all. What looks like another's key goes too.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key for key in keys if len(key) >= LEAST]
        forms: set[str] = set()
        self._whole: list[str] = []
        self._pieces: dict[int, set[str]] = {PIECE: set(), HEX_PIECE: set()}
        for key in self._keys:
            packed = base64.b64encode(key.encode()).decode().rstrip("=")
            for form in {key, quote(key, safe=""), json.dumps(key)[1:-1], key.replace("/", "\\/"), packed}:
                # Messages cut a long key; its first 12 characters are as good a sign, and what follows is its rest.
                forms.add(rf"{re.escape(form[:12])}[\w+/=.~%\\-]*" if len(form) >= 20 else re.escape(form))
            letters = _letters(key)
            if len(letters) < LONG:
                self._whole += [letters] if len(letters) >= LEAST else []
                continue
            self._pieces[PIECE].update(_pieces(letters, PIECE))
            self._pieces[HEX_PIECE].update(_pieces(key.encode().hex(), HEX_PIECE))
            for before in range(3):  # at which of three bytes it begins: four characters stand for three
                packed = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
                # The first characters hold what stands before, the last one what follows.
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
        """Whether a model's text, which is kept as it is, holds a key of 16 characters or more as it is written."""
        return any(key in text for key in self._keys if len(key) >= LONG)

    def _holds(self, text: str) -> bool:
        letters = _letters(text)
        return any(key in letters for key in self._whole) or any(
            piece in pieces for size, pieces in self._pieces.items() if pieces for piece in _pieces(letters, size)
        )


def scrubber(keys: Iterable[str]) -> Scrub:
    """What takes these keys out of a server's texts."""
    return Scrub(keys)


def quoted(text: str, scrub: Scrub, length: int = SHOWN) -> str:
    """A server's text as it may be shown: scrubbed first, so that no part of a key stays, then cut to `length`."""
    if len(text) > SCRUBBED:  # then without the last word, which may be the beginning of a key
        text = text[:SCRUBBED].rsplit(None, 1)[0]
    line = scrub(text)
    return line if len(line) <= length else f"{line[:length]}..."


def _letters(text: str) -> str:
    """The letters and digits that keys are made of, in one case, whatever forms a text writes them in."""
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKC", text).casefold())


def _pieces(letters: str, size: int) -> Iterator[str]:
    return (letters[at : at + size] for at in range(len(letters) - size + 1))


def _decoded(text: str) -> Iterator[str]:
    """The text, and what it says once percent signs, JSON's escapes and HTML's entities are read."""
    yield text
    for _ in range(DECODED):
        read = re.sub(
            r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), html.unescape(unquote(text))
        )
        if read == text:
            return
        yield (text := read)
