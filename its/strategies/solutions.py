"""Regenerated solutions: who needs one, what a teacher's response looks like as a solution, what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from its.strategies.members import Strategies, expanded, members_of
from its.thinking import SOLUTION_MARKS, Marks, cut_thinking, written_thought
from its.types import SolutionVerdict

SOLUTIONS_VERSION = 1
"""Of data/solutions/summary.json."""
VERDICTS = ("correct", "incorrect", "no_answer", "grader_error", "cut", "failed", "unfit")
UNFIT = {
    "control_token": "it contains a control token of a model, such as the end of a turn",
    "marks": "its marks of thinking are in no known order",
    "thought": "the prompt of a model leaves no place for it: it has no thought where one is begun, or one too many",
    "template": "the chat template of a model does not render it",
    "too_long": "its row is longer than `train.sequence_length`",
}
"""Why a correct solution is not kept -> what that means; each is under its name in data/solutions/summary.json."""


def regenerating(strategies: Strategies, names: Iterable[str]) -> list[str]:
    """The strategies whose solutions are regenerated, among those named and their members, each once, in order."""
    return [name for name in expanded(strategies, names) if strategies[name].solutions == "regenerate"]


def solutions_needed(
    strategies: Strategies, names: Iterable[str], problem_ids: Sequence[str], seed: int
) -> dict[str, Set[str]]:
    """Strategy with regenerated solutions -> the problems that need one under it.

    Args:
        names: the train strategies of the design for one dataset; a mix needs its members for the problems that it
            draws them for.
        seed: of the study.
    """
    listed = list(names)
    out: dict[str, set[str]] = {name: set() for name in regenerating(strategies, listed)}
    for name in listed if out else ():
        for problem_id in problem_ids:
            for member in members_of(strategies, name, problem_id, seed):
                if member in out:
                    out[member].add(problem_id)
    return {name: wanted for name, wanted in out.items() if wanted}


def solution_text(text: str, thinking: str | None, marks: Marks | None) -> str | None:
    """A response that ended by itself as a solution of a dataset; None if it ends within a thought.

    | the response | the solution |
    |---|---|
    | without a thought | verbatim, without white space at its ends |
    | with one, between the marks of the teacher or apart | `<think>`, the thought, `</think>`, the answer |

    Several thoughts are joined, and so are the pieces of the answer, as everywhere (`its.thinking`).

    Args:
        thinking: the thought, where the engine separated it from the text.
        marks: of the teacher's thinking; None if it declares none: then `<think>` and `</think>` stay as they are.
    """
    cut = cut_thinking(text, marks, False, thinking)
    if not cut.finished:
        return None
    return text.strip() if cut.thinking is None else written_thought(cut.thinking, cut.answer)


def has_known_marks(solution: str) -> bool:
    """Whether a solution has no marks of thinking, or those of one thought at its start, as `prepare` demands."""
    start, end, _ = SOLUTION_MARKS
    counts = solution.count(start), solution.count(end)
    return counts == (0, 0) or (counts == (1, 1) and solution.startswith(start))


def solution_summary(
    set_name: str,
    strategy: str,
    tried: Iterable[tuple[str, Sequence[SolutionVerdict]]],
    unfit: Mapping[str, int],
    tokens: int,
) -> dict[str, Any]:
    """The account of a dataset under a strategy in data/solutions/summary.json.

    Args:
        tried: (problem_id, verdicts of its attempts) of each problem that needs a solution; none if it is not asked
            for. Kept are those whose last verdict is `correct`.
        unfit: reason of `UNFIT` -> attempts.
        tokens: of all responses, stored ones too.
    """
    verdicts: Counter[str] = Counter()
    problems = kept = asked = attempts = 0
    lost: list[str] = []
    for problem_id, own in tried:
        problems += 1
        verdicts.update(own)
        asked += bool(own)
        if own and own[-1] == "correct":
            kept += 1
            attempts += len(own)
        elif own:
            lost.append(problem_id)
    return {
        "set": set_name,
        "strategy": strategy,
        "problems": problems,
        "not_asked": problems - asked,
        "kept": kept,
        "lost": len(lost),
        "attempts": sum(verdicts.values()),
        "attempts_per_kept": round(attempts / kept, 3) if kept else None,
        "verdicts": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
        "unfit": {name: unfit[name] for name in UNFIT if unfit.get(name)},
        "tokens": tokens,
        "lost_problems": lost,
    }


def trained_summary(
    strategies: Strategies,
    set_name: str,
    names: Iterable[str],
    problem_ids: Sequence[str],
    lost: Mapping[str, Set[str]],
    seed: int,
) -> list[dict[str, Any]]:
    """For each train strategy of a dataset, how many of its rows, and of its problems, have no solution.

    Args:
        lost: by strategy with regenerated solutions, the problems without a correct one.
        seed: of the study.
    """
    out = []
    for name in names:
        rows = gone = without = 0
        for problem_id in problem_ids:
            members = members_of(strategies, name, problem_id, seed)
            missing = sum(problem_id in lost.get(member, ()) for member in members)
            rows += len(members)
            gone += missing
            without += missing == len(members)
        out.append(
            {
                "set": set_name,
                "strategy": name,
                "rows": rows,
                "rows_lost": gone,
                "problems": len(problem_ids),
                "problems_lost": without,
            }
        )
    return out
