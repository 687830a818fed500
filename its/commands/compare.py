"""Two sides compared problem by problem: cells, revisions, experiments, evaluation logs of others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from its.commands.pair_up import Paired, pair_up
from its.commands.scores import Scores
from its.commands.side_settings import WEIGHTS
from its.commands.sides import Side, open_side
from its.errors import DataError, nearest
from its.metrics.compare import Contrast, contrast, holm
from its.metrics.intervals import mean_interval
from its.report.numbers import ends, p_value, percent, points
from its.seeds import derive_seed
from its.shown import counted

DRAWS = 10_000
LISTED = 8
"""Settings and cells that are named in the text; the JSON document has all."""


@dataclass(frozen=True)
class Compared:
    """One pair of sides: the scores of both, the problems that they share, and the contrast A - B."""

    cell: str
    a: Scores
    b: Scores
    paired: Paired
    contrast: Contrast

    def means(self, side: int) -> list[float]:
        """The mean score of a side (0 is A) on each shared problem."""
        return [(self.a, self.b)[side].mean(pair[side]) for pair in self.paired.pairs]

    def counts(self) -> dict[str, int]:
        """How many problems are right in A alone, in B alone, in both, in neither; `tied` have a side at one half."""
        out = dict.fromkeys(("only_a", "only_b", "both", "neither", "tied"), 0)
        for one, other in self.paired.pairs:
            left, right = self.a.standing(one), self.b.standing(other)
            if "tied" in (left, right):
                out["tied"] += 1
            elif left == right:
                out["both" if left == "right" else "neither"] += 1
            else:
                out["only_a" if left == "right" else "only_b"] += 1
        return out


@dataclass(frozen=True)
class Comparison:
    """All that `its results compare` found.

    Args:
        only_a, only_b: cells that one side alone has.
        differs: setting -> [in A, in B], of two studies or two files of a kind.
        notes: what to know before the numbers are read.
    """

    a: str
    b: str
    rows: list[Compared]
    only_a: list[str]
    only_b: list[str]
    differs: dict[str, list[str]]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """The values of `--json`; docs/reading-results.md describes the keys."""
        return {
            "a": self.a,
            "b": self.b,
            "comparisons": [_row(row) for row in self.rows],
            "cells_only_a": self.only_a,
            "cells_only_b": self.only_b,
            "differs": self.differs,
            "notes": self.notes,
        }


def compare(a: str, b: str, filter_name: str | None = None, metric: str | None = None) -> Comparison:
    """Compare A with B: two cells, or each cell that two states of a study have in common.

    The p values of several cells are adjusted together (Holm), and the minimum detectable difference is that of the
    adjusted test.

    Args:
        a, b: as `open_side` takes them.
        filter_name, metric: as `file_scores` takes them.

    Raises:
        DataError: if the sides have no cell or no problem in common, or a file is compared with a whole study.
    """
    return compare_sides(open_side(a, filter_name, metric), open_side(b, filter_name, metric))


def compare_sides(one: Side, other: Side) -> Comparison:
    """`compare`, of two sides that are open."""
    cells = _cells(one, other)
    prepared = []
    for left, right in cells:
        scores = one.scores(left), other.scores(right)
        prepared.append((left or right, *scores, pair_up(*scores)))
    done = []
    for cell, left_scores, right_scores, paired in prepared:
        values = [left_scores.mean(p) for p, _ in paired.pairs], [right_scores.mean(p) for _, p in paired.pairs]
        seed = derive_seed("compare", cell)
        done.append(contrast(cell, *values, seed=seed, draws=DRAWS, comparisons=len(prepared)))
    rows = [Compared(*item, adjusted) for item, adjusted in zip(prepared, holm(done), strict=True)]
    whole = one.whole and other.whole
    shared = {left for left, _ in cells}
    return Comparison(
        one.name,
        other.name,
        rows,
        [cell for cell in one.cells if cell not in shared] if whole else [],
        [cell for cell in other.cells if cell not in shared] if whole else [],
        _differs(rows),
        _notes(rows, one, other),
    )


def _cells(one: Side, other: Side) -> list[tuple[str, str]]:
    """The cells to compare, A's and B's; an empty name stands for a file."""
    if one.whole and other.whole:
        both = [(cell, cell) for cell in one.cells if cell in other.cells]
        if not both:
            hint = f"name one of each: `its results compare {one.name}:{one.cells[0]} {other.name}:{other.cells[0]}`"
            raise DataError(f"`{one.name}` and `{other.name}` have no cell in common", hint)
        return both
    for side, partner in ((one, other), (other, one)):
        if not side.whole:
            continue
        if partner.file is not None:
            hint = f"name one: `{side.name}:{side.cells[0]}`"
            raise DataError(f"a file is compared with one cell, and `{side.name}` has {len(side.cells)}", hint)
        (cell,) = partner.cells
        if cell not in side.cells:
            close = nearest(cell, side.cells)
            hint = f"name one: `{side.name}:{(close or side.cells)[0]}`"
            raise DataError(f"`{side.name}` has no cell `{cell}`", hint)
        return [(cell, cell)]
    return [((one.cells or [""])[0], (other.cells or [""])[0])]


def _differs(rows: list[Compared]) -> dict[str, list[str]]:
    """The parameters and engine settings in which two studies differ, or what two files of one kind say of themselves.

    Of several cells the first that differs in a setting names it; one with other values has its checkpoint added.
    """
    out: dict[str, list[str]] = {}
    for row in rows:
        a, b = row.a, row.b
        if a.kind != b.kind or not a.settings or not b.settings:
            continue
        checkpoints = [side.name.rpartition(":")[2].partition("/")[0] for side in (a, b)]
        for name in dict.fromkeys([*a.settings, *b.settings]):
            values = [a.settings.get(name, "-"), b.settings.get(name, "-")]
            if values[0] == values[1] or (name == WEIGHTS and checkpoints[0] != checkpoints[1]):
                continue
            out[name if out.get(name, values) == values else f"{name} ({checkpoints[0]})"] = values
    return out


def _notes(rows: list[Compared], one: Side, other: Side) -> list[str]:
    notes: list[str] = []
    for side in (one, other):
        if side.missing:
            have = "1 cell" if len(side.missing) == 1 else f"{len(side.missing)} cells"
            notes.append(f"{side.name}: {have} of the design without verdicts yet, left out: {_some(side.missing)}")
    for row in rows:
        notes += [*row.a.notes, *row.b.notes]
        graders = [", ".join(sorted(side.graders)) or "unknown" for side in (row.a, row.b)]
        if graders[0] != graders[1] or "unknown" in graders:
            notes.append(
                f"different graders: {graders[0]} in A, {graders[1]} in B; a part of the difference may be theirs"
            )
        for scores in (row.a, row.b):
            if len(scores.graders) > 1:
                notes.append(f"{scores.name}: its responses have several graders: {', '.join(scores.graders)}")
        references = len(row.paired.references)
        if references:
            has = "1 problem has" if references == 1 else f"{references} problems have"
            notes.append(f"{row.a.name}: {has} another reference in B")
        if row.a.n != row.b.n:
            notes.append(f"{row.a.name}: n = {row.a.n} in A and {row.b.n} in B; each problem weighs the same")
    return list(dict.fromkeys(notes))


def _side(row: Compared, side: int) -> dict[str, Any]:
    scores = (row.a, row.b)[side]
    means = row.means(side)
    responses = fmean(len(scores.scores[pair[side]]) for pair in row.paired.pairs)
    interval = mean_interval(means, responses=responses)
    return {
        "name": scores.name,
        "kind": scores.kind,
        "n": scores.n,
        "graders": scores.graders,
        "avg": fmean(means),
        "low": interval.low,
        "high": interval.high,
        "unpaired": row.paired.only_a if side == 0 else row.paired.only_b,
    }


def _row(row: Compared) -> dict[str, Any]:
    found = asdict(row.contrast)
    kept = ("difference", "low", "high", "p_value", "p_value_method", "significant", "minimum_detectable_difference")
    return {
        "cell": row.cell or None,
        "a": _side(row, 0),
        "b": _side(row, 1),
        "problems": len(row.paired.pairs),
        **{name: found[name] for name in kept},
        "right": row.counts(),
        "changed_problems": row.paired.changed,
        "changed_references": row.paired.references,
    }


def compare_lines(found: Comparison) -> list[str]:
    """The comparison as text for a terminal."""
    out: list[str] = []
    for row in found.rows:
        out += [] if not out else [""]
        out += _row_lines(row)
    if len(found.rows) > 1:
        out += [
            "",
            f"p values and minimum detectable differences are adjusted for {counted(len(found.rows), 'cell')} (Holm)",
        ]
    for name, cells in (("A", found.only_a), ("B", found.only_b)):
        if cells:
            out.append(f"only in {name}: {len(cells)} {'cell' if len(cells) == 1 else 'cells'}: {_some(cells)}")
    if found.differs:
        out.append(f"settings that differ: {len(found.differs)} (A, B)")
        out += [f"  {name}: {_cut(a)}, {_cut(b)}" for name, (a, b) in list(found.differs.items())[:LISTED]]
        more = len(found.differs) - LISTED
        out += [f"  and {more} more: `--json` has all"] if more > 0 else []
    out += [f"note: {note}" for note in found.notes]
    return out


def _row_lines(row: Compared) -> list[str]:
    out = []
    for letter, side in (("A", _side(row, 0)), ("B", _side(row, 1))):
        out.append(f"{letter}  {percent(side['avg'])} {ends(side)}, n = {side['n']}  {side['name']}")
    found, counts, paired = row.contrast, row.counts(), row.paired
    bounds = f"[{points(found.low)}, {points(found.high)}]"
    verdict = "significant" if found.significant else "not significant"
    out.append(f"A - B  {points(found.difference)} points {bounds}, {p_value(found.p_value)}: {verdict}")
    detectable = found.minimum_detectable_difference
    if detectable is None:
        out.append("minimum detectable difference: none, with so few problems no difference can be significant")
    else:
        out.append(f"minimum detectable difference: {points(detectable, signed=False)} points (80 % power)")
    right = (
        f"right only in A {counts['only_a']}, only in B {counts['only_b']}, "
        f"in both {counts['both']}, in neither {counts['neither']}"
    )
    if counts["tied"]:
        right += f", half of the responses right in A or B {counts['tied']}"
    out.append(f"{len(paired.pairs)} {'problem' if len(paired.pairs) == 1 else 'problems'} in both: {right}")
    if paired.only_a or paired.only_b:
        text = f"left out, without a partner: {len(paired.only_a)} of A, {len(paired.only_b)} of B"
        if paired.changed:
            text += f"; {len(paired.changed)} of them have one id and different texts: {_some(paired.changed)}"
        out.append(text)
    return out


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(_cut(name, 80) for name in names[:LISTED]) + more


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
