"""In which language a text is written."""

from __future__ import annotations

import re

# Formulas, code and figures are no language, and their letters would be taken for one.
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
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # kana, Han, Hangul: a sign says as much as a word


def language_of(text: str) -> str | None:
    """The language of a text as its ISO 639-1 code; None where it has too little prose to tell.

    Formulas, code and figures are left out first. What is left needs 30 letters, of which a Chinese, Japanese or
    Korean sign counts as four.
    """
    prose = " ".join(_WORD.findall(_NO_PROSE.sub(" ", _closable(text))))
    if sum(map(str.isalpha, prose)) + 3 * len(_WIDE.findall(prose)) < _LEAST_LETTERS:
        return None
    from py3langid import classify  # its model takes 0.2 s to load

    code, _ = classify(prose)
    return str(code)


def _closable(text: str) -> str:
    """The text without marks that open a formula behind the last that closes one.

    The pattern would look for the end of each of them to the end of the text: 100,000 took minutes.
    """
    for opens, closes in ((r"\[", r"\]"), (r"\(", r"\)")):
        end = text.rfind(closes) + 1
        text = text[:end] + text[end:].replace(opens, "  ")
    return text
