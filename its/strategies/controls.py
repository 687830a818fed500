"""The controls instead of a persona: noise of the same length, and the persona of another problem."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from its.errors import DataError
from its.recipe.schema import Strategy
from its.seeds import derive_random, derive_seed
from its.strategies.members import expanded
from its.strategies.noise_words import WORDS
from its.strategies.persona import has_persona
from its.strategies.rules import persona_flags
from its.types import Persona, Problem

NOT_IN_SHARE = "not_in_share"
SOURCE_HAS_NONE = "source_has_none"
ROW_TOO_LONG = "row_too_long"
NOT_IN_MIX = "not_in_mix"
REASONS = {
    NOT_IN_SHARE: "the problem is not in the strategy's `share`",
    SOURCE_HAS_NONE: "a control whose source has no persona for the problem",
    ROW_TOO_LONG: "the row is longer than `train.sequence_length` without one, and `train.long_rows` is `drop`",
    NOT_IN_MIX: "only mixes use the strategy, and they give the problem another one",
}
"""Flag -> why a problem has no persona; the flags of a persona are the rules that it breaks."""


def with_sources(names: Iterable[str], strategies: Mapping[str, Strategy]) -> list[str]:
    """The named strategies and those that they are derived from, in order, each after its source.

    They are those with rows of personas: a mix or union stands for its members.

    Raises:
        DataError: if a strategy is derived from itself, directly or through others.
    """
    out: list[str] = []
    for name in expanded(strategies, names):
        chain = [name]
        while (source := strategies[chain[-1]].derived_from) is not None:
            if source in chain:
                raise DataError(
                    f"`strategies.{name}` is derived from itself: {' -> '.join([*chain, source])}",
                    "`like` and `of` lead to a strategy with `persona`",
                )
            chain.append(source)
        out += [item for item in reversed(chain) if item not in out]
    return out


def control_rows(
    strategy: Strategy, name: str, problems: Sequence[Problem], sources: Mapping[str, list[Persona]], seed: int
) -> list[Persona]:
    """The rows of a control, in the order of the problems; its `limits`, if any, flag what breaks a rule.

    Args:
        sources: by problem_id, the rows of the strategy that it is derived from.

    Raises:
        DataError: if it is shuffled and fewer than two problems have a persona to give.
    """
    given = {problem.problem_id: [row for row in sources[problem.problem_id] if row.text] for problem in problems}
    taken = None
    if strategy.shuffled is not None:
        having = [problem_id for problem_id, rows in given.items() if rows]
        if len(having) < 2:
            raise DataError(
                f"`strategies.{name}`: {len(having)} of {len(problems)} problems has a persona of "
                f"`{strategy.shuffled.of}` to give, and shuffling takes two",
                "a larger set, or a larger `share`",
            )
        taken = shuffled_owners(having, seed, name)
    out = []
    for problem in problems:
        rows = given[problem.problem_id]
        if not has_persona(strategy, name, problem.problem_id, seed) or not rows:
            reason = SOURCE_HAS_NONE if not rows else NOT_IN_SHARE
            out.append(Persona(problem_id=problem.problem_id, strategy=name, text="", attempts=0, flags=[reason]))
        elif taken is None:
            out += [_noise(strategy, name, problem, row, seed) for row in rows]
        else:
            owner = taken[problem.problem_id]
            out += [_shuffled(strategy, name, problem, row, owner) for row in given[owner]]
    return out


def _noise(strategy: Strategy, name: str, problem: Problem, like: Persona, seed: int) -> Persona:
    text = noise_text(like.text, seed, name, problem.problem_id, *([] if like.index is None else [like.index]))
    return _row(strategy, name, problem, text, like)


def _shuffled(strategy: Strategy, name: str, problem: Problem, of: Persona, owner: str) -> Persona:
    return _row(strategy, name, problem, of.text, of).model_copy(
        update={"domain": of.domain, "taken_from": owner, "request_key": of.request_key}
    )


def _row(strategy: Strategy, name: str, problem: Problem, text: str, source: Persona) -> Persona:
    flags = persona_flags(text, "stop", strategy.limits, problem) if strategy.limits is not None else []
    return Persona(problem_id=problem.problem_id, strategy=name, index=source.index, text=text, attempts=0, flags=flags)


def noise_text(like: str, *seed: str | int) -> str:
    """Ordinary words in a random order, as many as `like` has, in lower case and without punctuation.

    Equal length means: the same number of words between spaces, each with as many letters as the word in its place, or
    the nearest length that the list has. So the numbers of characters, and of tokens of any tokenizer, are about equal,
    which the number of words alone would not ensure.

    Args:
        seed: what determines the words beside `like`; the study's seed first.
    """
    drawn = derive_random("noise", *seed)
    return " ".join(drawn.choice(_OF_LENGTH[_nearest(_letters(word))]) for word in like.split())


def shuffled_owners(problem_ids: Iterable[str], seed: int, name: str) -> dict[str, str]:
    """Problem -> the problem whose persona it gets; none keeps its own, and each persona is used once.

    The problems form a ring, in the order of a seeded hash of their ids, and each takes the persona of the next. So a
    problem that is added or removed changes the persona of one other problem only.

    Args:
        problem_ids: at least two, all different.
    """
    ring = sorted(problem_ids, key=lambda item: (derive_seed(seed, "shuffled", name, item), item))
    return dict(zip(ring, [*ring[1:], ring[0]], strict=True))


def _letters(word: str) -> int:
    return sum(letter.isalpha() for letter in word) or 1


def _by_length() -> dict[int, list[str]]:
    out: dict[int, list[str]] = {}
    for word in dict.fromkeys(WORDS):
        out.setdefault(len(word), []).append(word)
    return dict(sorted(out.items()))


_OF_LENGTH = _by_length()
_LENGTHS = list(_OF_LENGTH)


def _nearest(length: int) -> int:
    """The nearest length that the list has, the shorter on a tie."""
    place = bisect_left(_LENGTHS, length)
    return min(_LENGTHS[max(0, place - 1) : place + 1], key=lambda known: abs(known - length))
