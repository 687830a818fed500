"""The problems that two sides share: by id where they name them alike, else by text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from its.commands.scores import Scores
from its.errors import DataError
from its.shown import counted


@dataclass(frozen=True)
class Paired:
    """(problem of A, problem of B) for each problem that both have, and what was left out.

    Args:
        only_a, only_b: problems without a partner.
        changed: problems under one id whose texts differ; they are among the ones left out on both sides.
        references: problems of A whose reference differs in B; only where one program wrote both.
    """

    pairs: list[tuple[str, str]]
    only_a: list[str]
    only_b: list[str]
    changed: list[str]
    references: list[str]


def pair_up(a: Scores, b: Scores) -> Paired:
    """Pair the problems of two sides.

    Two problems with one id are one problem if their texts agree, or if a text is unknown and the id is more than a
    row number, which another program counts from another row. The others are paired by a text that each side has once.

    Raises:
        DataError: if the sides share no problem.
    """
    pairs: list[tuple[str, str]] = []
    changed = []
    for problem in a.scores:
        if problem in b.scores:
            same = _same_text(a, b, problem)
            if same or (same is None and (a.kind == b.kind or not problem.isdigit())):
                pairs.append((problem, problem))
            elif same is False:
                changed.append(problem)
    left, right = (
        [problem for problem in side.scores if problem not in taken]
        for side, taken in ((a, {one for one, _ in pairs}), (b, {other for _, other in pairs}))
    )
    texts = [_once(side, problems) for side, problems in ((a, left), (b, right))]
    pairs += [(problem, texts[1][text]) for text, problem in texts[0].items() if text in texts[1]]
    taken_a, taken_b = {one for one, _ in pairs}, {other for _, other in pairs}
    if not pairs:
        why = f"; {len(changed)} have one id and different texts" if changed else ""
        raise DataError(
            f"{a.name} ({counted(len(a.scores), 'problem')}) and {b.name} ({counted(len(b.scores), 'problem')}) share "
            f"no problem{why}",
            "compare sides that were measured on the same problems; files of others need the id or the text of each",
        )
    return Paired(
        pairs,
        [problem for problem in a.scores if problem not in taken_a],
        [problem for problem in b.scores if problem not in taken_b],
        [problem for problem in changed if problem not in taken_a or problem not in taken_b],
        [one for one, other in pairs if a.kind == b.kind and _differ(a.references.get(one), b.references.get(other))],
    )


def _same_text(a: Scores, b: Scores, problem: str) -> bool | None:
    """Whether both sides have one text under an id, with or without options; None if one has no text."""
    texts = [side.texts.get(problem) for side in (a, b)]
    if texts[0] is None or texts[1] is None:
        return None
    one, other = sorted((_plain(str(text)) for text in texts), key=len)
    return one == other or other.startswith(f"{one} A) ")


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one.strip() != other.strip()


def _once(side: Scores, problems: list[str]) -> dict[str, str]:
    """Text -> problem, for the texts that only one of some problems has."""
    found = {problem: _plain(side.texts[problem]) for problem in problems if problem in side.texts}
    counts = Counter(found.values())
    return {text: problem for problem, text in found.items() if text and counts[text] == 1}


def _plain(text: str) -> str:
    return " ".join(text.split())
