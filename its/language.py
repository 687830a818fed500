"""Detect the language of a text."""

from __future__ import annotations

import re

# Formulas, code and figures are not prose, but their letters would count as such.
_NO_PROSE = re.compile(
    r"\[asy\].*?(?:\[/asy\]|\Z)"
    r"|```.*?(?:```|\Z)"
    r"|\\begin\{(?P<block>[a-z]+\*?)\}.*?(?:\\end\{(?P=block)\}|\Z)"
    r"|\$\$.*?\$\$"
    r"|(?<!\\)\$(?:\\.|[^$\\])*\$"
    r"|\\\[.*?\\\]|\\\(.*?\\\)"
    r"|https?://\S+"
    r"|\\[a-zA-Z]+",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_LEAST_LETTERS = 30
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # kana, Han, Hangul: a character is like a word


def language_of(text: str) -> str | None:
    """The language of a text as its ISO 639-1 code, without one ISO 639-3; None if it has too little prose to tell.

    Formulas, code and figures are removed first. The rest needs 30 letters; a Chinese, Japanese or Korean character
    counts as four.
    """
    prose = " ".join(_WORD.findall(_NO_PROSE.sub(" ", _closable(text))))
    if sum(map(str.isalpha, prose)) + 3 * len(_WIDE.findall(prose)) < _LEAST_LETTERS:
        return None
    from py3langid import classify  # its model takes 0.2 s to load

    code, _ = classify(prose)
    return str(code)


def _closable(text: str) -> str:
    """The text without marks that open a formula after the last closing mark.

    The pattern would search for the end of each of them up to the end of the text: 100,000 took minutes.
    """
    for opens, closes in ((r"\[", r"\]"), (r"\(", r"\)")):
        end = text.rfind(closes) + 1
        text = text[:end] + text[end:].replace(opens, "  ")
    return text
