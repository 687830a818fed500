"""The content of a data set's card: one document of plain values for the problems, one for them with their personas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from its.types import Problem

CARD_VERSION = 2
EXAMPLES = 3
MAX_CHARACTERS = 600
"""Of one text in an example: a reasoning trace has 100,000."""
MAX_REASONS = 10


@dataclass
class ProblemCounts:
    """What a card reports of the problems, counted one by one: they need not fit into memory."""

    rows: int = 0
    with_reference: int = 0
    with_solution: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count the next problem."""
        self.rows += 1
        self.with_reference += problem.reference is not None
        self.with_solution += problem.solution is not None
        self.sources[problem.source] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(shortened(problem.model_dump(exclude_none=True)))


def build_card(
    *,
    name: str,
    kind: str,
    declared: Mapping[str, Any],
    origin: Mapping[str, Any],
    seed: int,
    steps: Sequence[Mapping[str, Any]],
    counts: ProblemCounts,
    quarantine: Sequence[Mapping[str, Any]],
    overlaps: Sequence[Mapping[str, Any]],
    files: Mapping[str, str],
    made_by: Mapping[str, str],
    near: Mapping[str, int] | None = None,
    as_text: int | None = None,
    trimmed: int = 0,
) -> dict[str, Any]:
    """The card of a prepared problem set. Equal arguments give equal bytes: no date, no machine in it.

    Args:
        kind: `dataset` or `benchmark`.
        declared: the recipe's entry.
        origin: what the source really was: its kind and place, the revision, the hash of a file, and under `licence`
            what the recipe says of it, where it does.
        seed: of the study.
        steps: {step, before, after} in order, with the counts of problems; other keys are kept where they are not None.
        counts: of all its problems.
        quarantine: rejected rows, each with its `reasons`.
        overlaps: problems that overlap one of a benchmark, each with the name of that `benchmark`.
        files: SHA-256 of what was written, by path in the project.
        made_by: what else the rows depend on: the version of ITS, hashes of environment locks.
        near: of a benchmark, how many `problems` repeat an earlier one nearly, and `of` how many; None: not counted.
        as_text: of a benchmark, how many references cannot be read to their end, so that answers are compared as text.
        trimmed: solutions as read, before any step, whose outer white space was removed.
    """
    return {
        "card_version": CARD_VERSION,
        "name": name,
        "kind": kind,
        "made_by": dict(made_by),
        "declared": dict(declared),
        "origin": dict(origin),
        "seed": seed,
        "steps": [{key: value for key, value in step.items() if value is not None} for step in steps],
        "rows": counts.rows,
        "with_reference": counts.with_reference,
        "with_solution": counts.with_solution,
        "sources": dict(counts.sources.most_common()),
        "quarantine": {
            "rows": len(quarantine),
            "reasons": _common(reason for row in quarantine for reason in row["reasons"]),
        },
        "overlaps": {"rows": len(overlaps), "benchmarks": _common(row["benchmark"] for row in overlaps)},
        **({} if near is None else {"near_repeats": dict(near)}),
        **({} if as_text is None else {"references_as_text": as_text}),
        **({"solutions_trimmed": trimmed} if trimmed else {}),
        "files": dict(files),
        "examples": counts.examples,
    }


def build_strategy_card(
    *,
    problems: Mapping[str, Any],
    strategy: str,
    declared: Mapping[str, Mapping[str, Any]],
    templates: Sequence[Mapping[str, Any]],
    prompt: Mapping[str, Any],
    writer: Mapping[str, Any] | None,
    sessions: Sequence[Mapping[str, Any]] | None,
    personas: Mapping[str, Any] | None,
    rows: int,
    files: Mapping[str, str],
    standing: Mapping[str, Any],
    examples: Sequence[Mapping[str, Any]],
    members: Sequence[Mapping[str, Any]] | None = None,
    solutions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The card of a problem set under a strategy: what a model is trained or measured on.

    Args:
        problems: the card of its problems.
        declared: the recipe's entry of the strategy, then of those from which it takes personas, by name.
        templates: {role, path, sha256}: `persona` asks the writer, `query` joins problem and persona.
        prompt: the frame around every query.
        writer: model, source, sampling, attempts; None where no model wrote personas.
        sessions: what the stored responses behind the personas were made with (model fingerprint, engine, environment
            lock, how many); None where the store is not here.
        personas: counts of the persona stage for this set and strategy; None where it writes none.
        rows: queries.
        files: SHA-256 by path in the project.
        standing: commit, changed files and stages.
        solutions: {strategy, teacher, source, dtype, sampling, attempts, problems, kept, lost} of each strategy of its
            rows whose solutions a model wrote; none where they are those of the dataset.
        examples: {problem_id, personas, domain, query}, with `member` under a mix or union.
        members: of a mix or union: each with its declared `share` (None in a union), `rows`, and counts of `personas`;
            None for another strategy.
    """
    return {
        "card_version": CARD_VERSION,
        "name": problems["name"],
        "kind": f"{problems['kind']} with personas",
        "strategy": strategy,
        "rows": rows,
        "declared": {name: dict(entry) for name, entry in declared.items()},
        "templates": [dict(template) for template in templates],
        "prompt": dict(prompt),
        "writer": None if writer is None else dict(writer),
        "sessions": None if sessions is None else [dict(session) for session in sessions],
        "personas": None if personas is None else dict(personas),
        **({} if members is None else {"members": [dict(member) for member in members]}),
        **({"solutions": [dict(item) for item in solutions]} if solutions else {}),
        "files": dict(files),
        "standing": dict(standing),
        "problems": dict(problems),
        "examples": [shortened(dict(example)) for example in examples[:EXAMPLES]],
    }


def shortened(value: Any) -> Any:
    """A value with every text in it cut at `MAX_CHARACTERS`, saying how much is left out."""
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        return f"{value[:MAX_CHARACTERS]} [... {len(value) - MAX_CHARACTERS} characters more]"
    if isinstance(value, Mapping):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return value


def _common(values: Iterable[str]) -> dict[str, int]:
    """Value -> how often, the most frequent first; the rare ones beyond `MAX_REASONS` as one `others`."""
    counts = Counter(values).most_common()
    out = dict(counts[:MAX_REASONS])
    if rest := sum(count for _, count in counts[MAX_REASONS:]):
        out["others"] = rest
    return out
