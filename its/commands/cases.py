"""The problems that one side has right and another has wrong."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

from its.commands.pair_up import pair_up
from its.commands.scores import Scores
from its.commands.sides import MAX_BYTES, Side, open_side
from its.errors import DataError, Fault, nearest
from its.rows import json_lines, raise_faults
from its.shown import counted
from its.study.study import split_query_id


@dataclass(frozen=True)
class Case:
    """A problem: its id in the side where it is right and in the other, and how many responses are right in each.

    `truncated` counts the responses of the wrong side that ended at the token limit; None where that is not known.
    """

    problem: str
    other: str
    right: tuple[float, int]
    wrong: tuple[float, int]
    rules: list[str | None]
    truncated: int | None
    text: str | None


@dataclass(frozen=True)
class Cases:
    """All cases, the first in the order of the right side.

    Args:
        problems: that both sides have.
        unpaired: of the right side and of the wrong one, which were left out.
        tied: problems with half of the responses right on a side, which are neither.
    """

    right: str
    wrong: str
    rows: list[Case]
    problems: int
    unpaired: tuple[int, int]
    tied: int
    notes: list[str]

    def as_json(self, limit: int) -> dict[str, Any]:
        """The values of `--json`; docs/reading-results.md describes the keys."""
        return {
            "right": self.right,
            "wrong": self.wrong,
            "problems": self.problems,
            "found": len(self.rows),
            "tied": self.tied,
            "unpaired_right": self.unpaired[0],
            "unpaired_wrong": self.unpaired[1],
            "notes": self.notes,
            "cases": [
                {
                    "problem": row.problem,
                    "problem_in_wrong": row.other,
                    "right_score": row.right[0],
                    "right_n": row.right[1],
                    "wrong_score": row.wrong[0],
                    "wrong_n": row.wrong[1],
                    "rules": row.rules,
                    "truncated": row.truncated,
                    "text": row.text,
                }
                for row in self.rows[:limit]
            ],
        }


def find_cases(
    right: str,
    wrong: str,
    rule: str | None = None,
    truncated: bool = False,
    filter_name: str | None = None,
    metric: str | None = None,
) -> Cases:
    """The problems that more than half of the responses of a side answer correctly, and less than half of the other's.

    Args:
        right, wrong: as `open_side` takes them; each one cell or one file.
        rule: only where this rule found the answer of a response of the wrong side.
        truncated: only where a response of the wrong side ended at the token limit.

    Raises:
        DataError: if a side is a whole study, no problem is shared, or what a filter needs is not known of a file.
    """
    sides = [open_side(name, filter_name, metric) for name in (right, wrong)]
    scores = [_one(side, sides[1 - place]) for place, side in enumerate(sides)]
    if rule is not None:
        _require_rule(scores[1], rule)
    cut = _truncated(sides[1], scores[1], truncated)
    paired = pair_up(scores[0], scores[1])
    rows: list[Case] = []
    tied = 0
    for one, other in paired.pairs:
        standings = scores[0].standing(one), scores[1].standing(other)
        tied += "tied" in standings
        rules = scores[1].rules[other]
        if standings != ("right", "wrong") or (rule is not None and rule not in rules):
            continue
        if truncated and cut is not None and not cut[other]:
            continue
        rows.append(
            Case(
                one,
                other,
                (scores[0].mean(one), len(scores[0].scores[one])),
                (scores[1].mean(other), len(scores[1].scores[other])),
                rules,
                None if cut is None else cut[other],
                scores[0].texts.get(one) or scores[1].texts.get(other),
            )
        )
    notes = [*scores[0].notes, *scores[1].notes]
    return Cases(
        scores[0].name,
        scores[1].name,
        rows,
        len(paired.pairs),
        (len(paired.only_a), len(paired.only_b)),
        tied,
        list(dict.fromkeys(notes)),
    )


def _one(side: Side, other: Side) -> Scores:
    if not side.whole:
        return side.scores((side.cells or [""])[0])
    if not other.whole and other.cells and other.cells[0] in side.cells:
        return side.scores(other.cells[0])
    raise DataError(f"`{side.name}` has {counted(len(side.cells), 'cell')}", f"name one: `{side.name}:{side.cells[0]}`")


def _require_rule(scores: Scores, rule: str) -> None:
    known = sorted({each for several in scores.rules.values() for each in several if each is not None})
    if not known:
        raise DataError(f"{scores.name}: names no rules of answers", "leave out `--rule`")
    if rule not in known:
        close = nearest(rule, known)
        hint = f"did you mean `{close[0]}`?" if close else f"its rules are {', '.join(known)}"
        raise DataError(f"{scores.name}: no answer was found by the rule `{rule}`", hint)


def _truncated(side: Side, scores: Scores, needed: bool) -> Counter[str] | None:
    """How many responses to each problem ended at the token limit; None where it is not needed or not known."""
    if not needed:
        return None
    if side.files is None or scores.kind != "cell":
        raise DataError(f"{side.name}: a file of scores does not say which responses ended at the token limit")
    cell = scores.name.rpartition(":")[2]
    path = f"data/responses/{cell}.jsonl"
    faults: list[Fault] = []
    out: Counter[str] = Counter()
    for line in json_lines(io.BytesIO(side.files.read(path, MAX_BYTES)), path):
        if isinstance(line, Fault):
            faults.append(line)
        elif isinstance(line.value, dict) and line.value.get("finish_reason") == "length":
            out[split_query_id(str(line.value.get("query_id")))[1]] += 1
    raise_faults(faults)
    return out


def case_lines(found: Cases, limit: int) -> list[str]:
    """The cases as text for a terminal."""
    out = [f"right in  {found.right}", f"wrong in  {found.wrong}"]
    all_of = f"{found.problems} {'problem' if found.problems == 1 else 'problems'}"
    what = f"{len(found.rows) or 'none'} of {all_of}"
    left = f"; left out, without a partner: {found.unpaired[0]} and {found.unpaired[1]}" if any(found.unpaired) else ""
    tied = f"; {found.tied} with half of the responses right on a side are neither" if found.tied else ""
    out.append(f"{what}{tied}{left}")
    shown = found.rows[:limit]
    grid = [["problem", "right", "wrong", "rule", "text"]] if shown else []
    for row in shown:
        rules = ", ".join(dict.fromkeys(each or "no answer" for each in row.rules))
        counts = [f"{score * n:g}/{n}" for score, n in (row.right, row.wrong)]
        rules += f" ({row.truncated} truncated)" if row.truncated else ""
        grid.append([_cut(row.problem, 40), *counts, rules, _cut(" ".join((row.text or "").split()), 60)])
    widths = [max(len(line[place]) for line in grid) for place in range(4)] if grid else []
    out += ["  ".join([*map(str.ljust, line, widths), line[4]]).rstrip() for line in grid]
    if len(found.rows) > limit:
        out.append(f"and {len(found.rows) - limit} more: `--limit {len(found.rows)}`")
    return [*out, *(f"note: {note}" for note in found.notes)]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
