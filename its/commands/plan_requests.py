"""The requests of a study to each of its models, and the tokens that they are counted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from its.study.counts import Amount, Counts, Size
from its.study.study import Study

RESPONSE_TOKENS = 6000
"""Mean tokens of a response or a solution that are assumed, at most `max_tokens`."""


@dataclass(frozen=True)
class Requested:
    """Requests of one kind to one model.

    Args:
        kind: `responses`, `personas`, `solutions` or `judge`.
        count: what is to be had of them.
        attempts: requests for each at most.
        tokens: of all attempts for what is of sets of known size.
        mean: whether `tokens` is from a mean length, and not from the limit of a request.
    """

    kind: str
    count: Amount
    attempts: int
    tokens: float
    mean: bool

    @property
    def requests(self) -> int:
        """Requests for what is of sets of known size, at most."""
        return self.count.known * self.attempts

    @property
    def each(self) -> float:
        """Mean tokens of a request; 0 without any."""
        return self.tokens / self.requests if self.requests else 0.0


def study_requests(
    study: Study, counts: Counts, sizes: Mapping[str, Size], response_tokens: int | None
) -> dict[str, list[Requested]]:
    """Model -> its requests, at most, of each kind that there is.

    Responses and solutions have `response_tokens` tokens, or those that are assumed, personas and opinions of the judge
    the most that they may have. Prompts are not counted.
    """
    recipe, mean = study.recipe, response_tokens or RESPONSE_TOKENS
    writer, judge = recipe.writer, recipe.grading.judge
    found = [(name, _responses(study, name, sizes, mean)) for name in recipe.design.models]
    limit = writer.sampling.max_tokens
    found.append((writer.model, _requested("personas", counts.personas, writer.attempts, limit)))
    if writer.solutions is not None:
        limit = min(writer.solutions.sampling.max_tokens, mean)
        solutions = _requested("solutions", counts.solutions, counts.solution_attempts, limit, mean=True)
        found.append((writer.teacher, solutions))
    if judge is not None:
        responses = Amount(counts.responses.known, counts.responses.per_problem, at_most=True)
        found.append((judge.model, _requested("judge", responses, 1, judge.sampling.max_tokens)))
    out: dict[str, list[Requested]] = {}
    for name, requests in found:
        if requests.count:
            out.setdefault(name, []).append(requests)
    return out


def _requested(kind: str, count: Amount, attempts: int, tokens: int, *, mean: bool = False) -> Requested:
    return Requested(kind, count, attempts, float(count.known * attempts * tokens), mean)


def _responses(study: Study, name: str, sizes: Mapping[str, Size], mean: int) -> Requested:
    """Those of a model and its checkpoints, in all cells."""
    count, per_problem, tokens = 0, dict[str, int](), 0.0
    for item, benchmark, _ in study.cells():
        if item.model != name:
            continue
        sampling = study.recipe.generation.of(name, benchmark)
        size = sizes.get(benchmark)
        if size is None:
            per_problem[benchmark] = per_problem.get(benchmark, 0) + sampling.n
        else:
            own = size.problems * sampling.n
            count += own
            tokens += own * min(sampling.max_tokens, mean)
    return Requested("responses", Amount(count, per_problem), 1, tokens, mean=True)
