r"""Spellings of mathematics that mean the same: Unicode signs as LaTeX, and commands with several names.

Grading reads values (`its.grading.formula`), curation compares the texts of problems
(`its.curation.comparable_text`). What both treat as equal is listed here once; each adds what its task allows. A change
moves verdicts and the rows that `prepare` writes.
"""

from __future__ import annotations

ASCII = {
    **dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\u2012", "-"),
    **dict.fromkeys("\u2019\u2018\u2032", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
}
"""Minus signs, dashes, quotes and primes."""
SIGNS = {
    "\u00d7": r"\times",
    "\u00b7": r"\cdot",
    "\u00f7": r"\div",
    "\u2264": r"\le",
    "\u2265": r"\ge",
    "\u2260": r"\ne",
    "\u221a": r"\sqrt",
    "\u03c0": r"\pi",
    "\u03b8": r"\theta",
    "\u2220": r"\angle",
    "\u25b3": r"\triangle",
    "\u221e": r"\infty",
    "\u2026": r"\ldots",
}
"""Signs that have a command."""
COMMANDS = {
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\leq", r"\leqslant"), r"\le"),
    **dict.fromkeys((r"\geq", r"\geqslant"), r"\ge"),
    r"\neq": r"\ne",
    r"\lt": "<",
    r"\gt": ">",
    **dict.fromkeys((r"\lvert", r"\rvert", r"\vert"), "|"),
    r"\rightarrow": r"\to",
    r"\degree": r"\circ",
}
"""Commands that are another name of a command or a character."""
