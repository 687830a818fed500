"""The one way by which a server's words reach a reader: one line, bounded, without keys and without controls."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias
from urllib.parse import quote

from its.secrets import redacted
from its.shown import shown, without_controls

SHOWN = 300  # characters of a server's message that an error or a log line quotes
SCRUBBED = 8192  # characters of a text that are looked at before it is cut
Scrub: TypeAlias = Callable[[str], str]
"""Makes one line of a server's text that may be shown: no key in it, no character that a terminal acts on."""


def quoted(text: str, scrub: Scrub, length: int = SHOWN) -> str:
    """A server's text as it may be shown: scrubbed first, so that no part of a key stays, then cut to `length`."""
    if len(text) > SCRUBBED:  # then without the last word, which may be the beginning of a key
        text = text[:SCRUBBED].rsplit(None, 1)[0]
    line = scrub(text)
    return line if len(line) <= length else f"{line[:length]}..."


def scrubber(keys: Iterable[str]) -> Scrub:
    """The one way by which a server's text may be shown: a line without keys and without control characters.

    Keys are found also percent-encoded, escaped as in JSON, in base64, in other case, with their end cut off, and with
    characters in between that do not show. What looks like another's key goes too.
    """
    forms: set[str] = set()
    for key in filter(None, keys):
        packed = base64.b64encode(key.encode()).decode().rstrip("=")
        for form in {key, quote(key, safe=""), json.dumps(key)[1:-1], key.replace("/", "\\/"), packed}:
            # Messages cut a long key; its first 12 characters are as good a sign, and what follows is its rest.
            forms.add(rf"{re.escape(form[:12])}[\w+/=.~%\\-]*" if len(form) >= 20 else re.escape(form))
    pattern = re.compile("|".join(sorted(forms, key=len, reverse=True)), re.IGNORECASE) if forms else None
    long = re.compile("|".join(re.escape(key[:12]) for key in keys if len(key) >= 20) or r"(?!)", re.IGNORECASE)

    def scrub(text: str) -> str:
        text = without_controls(" ".join(text.split())) if _hidden(text, pattern, long) else " ".join(text.split())
        if pattern is not None:
            text = pattern.sub("[key]", text)
            if long.search("".join(text.split())):
                return "[a message with the key in it]"
        return shown(redacted(text))

    return scrub


def _hidden(text: str, pattern: re.Pattern[str] | None, long: re.Pattern[str]) -> bool:
    """Whether a key shows only once the characters that do not show are taken out."""
    if pattern is None:
        return False
    plain = without_controls(text)
    return plain != text and (pattern.search(plain) is not None or long.search("".join(plain.split())) is not None)
