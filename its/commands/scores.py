"""The score of every response of one side of a comparison, by problem, whatever wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from its.errors import DataError, Fault
from its.rows import MAX_FAULTS, Line, raise_faults
from its.shown import quoted
from its.study.study import split_query_id

Kind = Literal["cell", "its", "lm-eval", "inspect"]
Standing = Literal["right", "wrong", "tied"]
VERDICTS = {"correct": 1.0, "incorrect": 0.0, "no_answer": 0.0, "grader_error": 0.0}
TEXTS = ("problem", "question", "text", "prompt", "input", "query")
"""Fields in which files of others have the text of a problem, first one first."""
IDS = ("problem_id", "id")
PLAIN = "samples of `lm-eval --log_samples`, an Inspect log or a file of `its grade` is read"


@dataclass
class Scores:
    """One side.

    Args:
        name: as tables and errors call it.
        scores: problem -> a score in [0, 1] for each response, at least one.
        texts: problem -> its text, where the side has it.
        references: problem -> its reference, where the side has it.
        rules: problem -> the rule that found each answer, in the order of the scores; only of ITS's verdicts.
        graders: who scored; several where rows differ.
        settings: what else the side says of how it was made, dotted name -> value.
        notes: what a reader must know of the side before the numbers: it is unfinished, rows have no score.
    """

    name: str
    kind: Kind
    scores: dict[str, list[float]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[str | None]] = field(default_factory=dict)
    graders: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, problem: str, score: float, rule: str | None = None, grader: str | None = None) -> None:
        self.scores.setdefault(problem, []).append(score)
        self.rules.setdefault(problem, []).append(rule)
        if grader is not None and grader not in self.graders:
            self.graders.append(grader)

    @property
    def n(self) -> str:
        """Responses per problem, `4`, or `1 to 4` where problems differ."""
        counts = {len(several) for several in self.scores.values()}
        return str(counts.pop()) if len(counts) == 1 else f"{min(counts)} to {max(counts)}" if counts else "0"

    def mean(self, problem: str) -> float:
        return math.fsum(self.scores[problem]) / len(self.scores[problem])

    def standing(self, problem: str) -> Standing:
        """`right` where the mean score of the responses is above one half, `wrong` below, else `tied`."""
        mean = self.mean(problem)
        return "right" if mean > 0.5 else "wrong" if mean < 0.5 else "tied"


def verdict_scores(lines: Iterable[Line | Fault], name: str, kind: Kind, place: Callable[[int], str]) -> Scores:
    """The scores of verdicts: rows of data/verdicts, or of a file that `its grade` wrote.

    A row of `its grade` names its problem in `problem_id`, `id` or `query_id`, else by its text. Several rows of one
    problem are several responses.

    Raises:
        FaultsError: with every row that is no verdict, and a response that is there twice.
    """
    out = Scores(name, kind)
    seen: dict[tuple[str, Any], int] = {}
    sets: dict[tuple[str, str], int] = {}

    def take(number: int, row: Mapping[str, Any]) -> str | None:
        verdict = row.get("verdict")
        if not isinstance(verdict, str) or verdict not in VERDICTS:
            return f"`verdict`: {quoted(verdict)}; expected correct, incorrect, no_answer or grader_error"
        query_id, text = row.get("query_id"), text_of(row, TEXTS[:2])  # a prompt may have a persona
        if isinstance(query_id, str) and split_query_id(query_id)[1]:
            set_name, problem, strategy = split_query_id(query_id)
            sets.setdefault((set_name, strategy), number)
            if len(sets) > 1:
                first, second = list(sets)[:2]
                return (
                    f"a verdict on {quoted('/'.join(second))}, the file begins with {quoted('/'.join(first))}: "
                    "one benchmark and strategy a file"
                )
            key = (query_id, row.get("sample_index"))
            if not isinstance(row.get("sample_index"), int):
                return f"`sample_index`: {quoted(row.get('sample_index'))}; expected a number"
            if key in seen:
                return f"duplicate of line {seen[key]}: {quoted(query_id)}, sample {key[1]}"
            seen[key] = number
        else:
            found = id_of(row) or text
            if found is None:
                return "names no problem: expected `problem_id`, `id`, `query_id` or the text of one"
            problem = found
        if text is not None:
            out.texts.setdefault(problem, text)
        rule, grader = row.get("rule"), row.get("grader_version")
        reference = row.get("reference")
        if isinstance(reference, str | int | float):
            out.references.setdefault(problem, str(reference))
        label = f"ITS {grader}" if isinstance(grader, str) else None
        out.add(problem, VERDICTS[verdict], rule if isinstance(rule, str) else None, label)
        return None

    take_rows(lines, place, take)
    return out


def take_rows(
    lines: Iterable[Line | Fault],
    place: Callable[[int], str],
    take: Callable[[int, Mapping[str, Any]], str | None],
) -> None:
    """Give each row to `take`, which returns what is wrong with it; `place` is how errors call the row with a number.

    Raises:
        FaultsError: with the first MAX_FAULTS faults; the rest of the file is not read, it would repeat them.
    """
    faults: list[Fault] = []
    for line in lines:
        if isinstance(line, Fault):
            faults.append(line)
        else:
            wrong = "not an object" if not isinstance(line.value, dict) else take(line.number, line.value)
            if wrong is not None:
                faults.append(Fault(place(line.number), wrong))
        if len(faults) > MAX_FAULTS:
            break
    raise_faults(faults)


def text_of(row: Mapping[str, Any], names: Sequence[str] = TEXTS) -> str | None:
    """The text of a problem in a row of someone else; a field may begin with a capital, as in AIME's `Question`."""
    known = [name for each in names for name in (each, each.capitalize())]
    return next((row[name] for name in known if isinstance(row.get(name), str) and row[name].strip()), None)


def id_of(row: Mapping[str, Any]) -> str | None:
    """The id of a problem in a row of someone else."""
    found = next((row[name] for name in IDS if isinstance(row.get(name), str | int)), None)
    return None if found is None or isinstance(found, bool) or not str(found) else str(found)


def share(value: Any) -> float | None:
    """A score in [0, 1], which may be written as a text; None for anything else, NaN among it."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None  # NaN is in no range


def chosen(what: str, option: str, known: list[str], wanted: str | None, name: str) -> str:
    """The filter, metric or scorer of a file that was named, or the only one.

    Raises:
        DataError: if it does not exist, there is none, or there are several.
    """
    listed = ", ".join(f"`{quoted(each)}`" for each in known[:20])
    if not known:
        raise DataError(f"{name}: no row has a {what}", PLAIN)
    if wanted is not None:
        if wanted not in known:
            hint = f"it has {listed}: `{option} {quoted(known[0])}`"
            raise DataError(f"{name}: has no {what} `{quoted(wanted)}`", hint)
        return wanted
    if len(known) > 1:
        raise DataError(f"{name}: has {len(known)} {what}s: {listed}", f"name one: `{option} {quoted(known[0])}`")
    return known[0]


def flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a document by its dotted name; a list is one value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{above}.{key}" if above else str(key))
    elif above:
        yield above, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
