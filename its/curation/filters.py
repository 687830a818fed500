r"""Filters: which problems of a set stay, each by one check of one problem.

What a check needs from outside (tokenizers, grading) comes in `Tools`: this room imports neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from its.boxes import last_box
from its.curation.columns import filter_text
from its.errors import Fault
from its.language import language_of
from its.recipe.schema import (
    AnswerKind,
    BenchmarkFilter,
    ColumnFilter,
    Filter,
    LanguageFilter,
    PlainFilter,
    TokensFilter,
)
from its.thinking import SOLUTION_MARKS
from its.types import Problem, VerdictName

_OPEN, _CLOSE, _ = SOLUTION_MARKS
# A picture, or words that lean on one. "Draw a diagram", "a figure with five sides" and a table lean on none.
_PICTURE = re.compile(
    r"\[asy\]|\\includegraphics|\\begin\{(?:tikzpicture|asy|pspicture|figure)\}"
    r"|!\[[^\]]*\]\(|<img\b|<svg\b|data:image/",
    re.IGNORECASE,
)
_FIGURE = r"(?:figures?|diagrams?)"
_IMAGE = r"(?:figures?|diagrams?|pictures?|images?|graphs?|charts?|drawings?|sketch|illustrations?|grid|map|plot)"
_WHERE = r"(?:below|above|here|(?:at|on|to) (?:the )?(?:right|left))"
_SHOWN = r"(?:shown|pictured|depicted|illustrated|drawn|graphed|sketched)"
_LEANS = re.compile(
    rf"\b(?:in|from|on|see|refer to|according to) (?:the |this |these )?(?:\w+ )?{_FIGURE}\b(?! (?:of|with|that)\b)"
    rf"|\b(?:the|this) (?:following|accompanying|adjacent|attached|given) (?:\w+ )?{_IMAGE}\b"
    rf"|\b{_IMAGE} (?:(?:is |are )?{_SHOWN} )?{_WHERE}\b"
    rf"|\b{_WHERE} is (?:a|the) (?:\w+ )?{_IMAGE}\b"
    rf"|\b{_SHOWN} (?:in \w+ )?{_WHERE}\b(?! table)"
    rf"|\bas {_SHOWN}\b(?! in the (?:\w+ )?table| that)"
    rf"|\b{_SHOWN} (?:in|on|by) (?:the|this) (?:\w+ )?{_IMAGE}\b|\b{_IMAGE} shown\b"
    r"|\bthe shaded (?:region|area|part|portion|triangle|square|section)s?\b",
    re.IGNORECASE,
)
_SHADED_SAID = re.compile(r"\b(?:is|are|be) shaded\b", re.IGNORECASE)
_LACKS = {"has_box": "no box", "has_final_answer": "no final answer", "complete_trace": "not complete"}
_AGREES: dict[VerdictName | None, str | None] = {
    "correct": None,
    "incorrect": "another answer",
    "no_answer": "no answer",
    "grader_error": "the grader cannot tell",
    None: "no reference",
}


@dataclass(frozen=True)
class Tools:
    """What curation needs of other rooms.

    Args:
        count_tokens: (name of a declared model, text) -> tokens of the text, special ones not counted.
        answer_agrees: the grader's verdict on the solution as a response; None without a reference.
        solution_parses: whether an answer of the declared kind can be read out of the solution.
        references_agree: (a reference, an earlier one, the kind of both) -> whether they are one answer.
        ungradable: (problems, the kind of their references) -> for each why no answer could be graded against
            its reference, or None.
    """

    count_tokens: Callable[[str, str], int]
    answer_agrees: Callable[[Problem], VerdictName | None]
    solution_parses: Callable[[Problem], bool]
    references_agree: Callable[[str, str, AnswerKind], bool]
    ungradable: Callable[[Sequence[Problem], AnswerKind], Sequence[Fault | None]]


Check = Callable[[Problem], str | None]
"""None keeps a problem; else why it goes, in a few words that are tallied in the counts."""


def check_of(declared: PlainFilter | TokensFilter | LanguageFilter, tools: Tools) -> Check:
    """The check that a declared filter makes of a problem; for those by a column see `its.curation.columns`."""
    if isinstance(declared, LanguageFilter):
        return _language(frozenset(declared.keep))
    if isinstance(declared, TokensFilter):
        return _tokens(declared, tools)
    if declared == "no_figure":
        return lambda problem: "needs a figure" if needs_figure(problem.text) else None
    if declared == "answer_agrees":
        return _of_solution(lambda problem, _: _AGREES[tools.answer_agrees(problem)])
    if declared == "solution_parses":
        return _of_solution(lambda problem, _: None if tools.solution_parses(problem) else "no answer can be read")
    said: dict[str, Callable[[str], bool]] = {
        "has_box": has_box,
        "has_final_answer": lambda solution: "final answer" in solution.casefold(),
        "complete_trace": is_complete,
    }
    holds = said[declared]
    return _of_solution(lambda _, solution: None if holds(solution) else _LACKS[declared])


def name_of(declared: Filter | BenchmarkFilter) -> str:
    """How a filter is called in the counts: its name and what it was declared with."""
    if isinstance(declared, LanguageFilter):
        return f"filter language {', '.join(declared.keep)}"
    if isinstance(declared, TokensFilter):
        bounds = f"{declared.at_least or 0} to {declared.at_most or 'any'}"
        return f"filter tokens of the {declared.of} ({declared.model}): {bounds}"
    if isinstance(declared, ColumnFilter):
        return f"filter {filter_text(declared)}"
    return f"filter {declared}"


def has_box(solution: str) -> bool:
    r"""Whether a solution contains a `\boxed{...}` that closes and is not empty."""
    return last_box(solution) is not None


def is_complete(solution: str) -> bool:
    """Whether a solution was written to its end as far as its marks tell.

    Thinking that starts must end, once, and something must follow. Without thinking any text is complete; an end of
    thinking that never started is not.
    """
    if _OPEN not in solution and _CLOSE not in solution:
        return bool(solution.strip())
    before, opened, rest = solution.partition(_OPEN)
    inside, closed, after = rest.partition(_CLOSE)
    marked = _OPEN in inside or _OPEN in after or _CLOSE in after or _CLOSE in before
    return bool(opened and closed and inside.strip() and after.strip()) and not marked


def needs_figure(text: str) -> bool:
    """Whether a problem has a picture or leans on one: "as shown", "in the figure", "the diagram below"."""
    if _PICTURE.search(text):
        return True
    return any(
        not (lean.group().startswith("the shaded") and _SHADED_SAID.search(text)) for lean in _LEANS.finditer(text)
    )


def _of_solution(check: Callable[[Problem, str], str | None]) -> Check:
    return lambda problem: check(problem, problem.solution) if problem.solution else "no solution"


def _language(wanted: frozenset[str]) -> Check:
    def check(problem: Problem) -> str | None:
        found = language_of(problem.text)
        # Formulas alone are read in any language.
        return None if found is None or found in wanted else f"language {found}"

    return check


def _tokens(declared: TokensFilter, tools: Tools) -> Check:
    least, most = declared.at_least, declared.at_most

    def check(problem: Problem) -> str | None:
        text = problem.text if declared.of == "problem" else problem.solution
        if not text:
            return "no solution"
        count = tools.count_tokens(declared.model, text)
        if least is not None and count < least:
            return f"under {least} tokens"
        return f"over {most} tokens" if most is not None and count > most else None

    return check
