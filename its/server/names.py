"""Model names: a pair `CHECKPOINT/STRATEGY`, a vote of the recipe, each perhaps with `+voteN`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from its.commands.solve_pair import Member, choose_members
from its.errors import DataError, did_you_mean, nearest
from its.server.errors import ApiError
from its.shown import shown
from its.strategies.controls import with_sources
from its.study.study import Checkpoint, Study

MAX_NAME = 1000
_VOTE = re.compile(r"(?P<name>.+)\+vote(?P<n>[1-9][0-9]{0,5})")


@dataclass(frozen=True)
class Served:
    """What a model name stands for.

    Args:
        votes: responses to each query whose answers vote; None if each response is a choice.
    """

    members: Sequence[Member]
    votes: int | None


class Names:
    """The names of a study.

    Args:
        checkpoints: those that are served.
        most: the most responses to a query.
    """

    def __init__(self, study: Study, checkpoints: Sequence[Checkpoint], most: int) -> None:
        self._study, self._most = study, most
        self._checkpoints = {item.name: item for item in checkpoints}
        self._votes = study.recipe.vote

    def find(self, name: str, benchmark: str) -> Served:
        """What a name stands for; of an ensemble that names benchmarks the members of this one.

        Raises:
            ApiError: if there is no such model, or it takes more responses than allowed.
        """
        votes, base = None, name
        if len(name) <= MAX_NAME and (found := _VOTE.fullmatch(name)) is not None:
            base, votes = found["name"], int(found["n"])
            if votes > self._most:
                raise ApiError(400, "invalid_value", f"`+vote{votes}`: at most {self._most}", param="model")
        checkpoint, _, second = base.partition("/")
        try:
            if base in self._votes.ensembles:
                members = choose_members(self._study, None, None, base, benchmark).members
            elif checkpoint not in self._checkpoints:
                raise self._unknown(name)
            elif second in self._study.recipe.strategies:
                return Served([Member(self._checkpoints[checkpoint], second)], votes)
            elif second in self._votes.strategies:
                members = choose_members(self._study, checkpoint, None, second, benchmark).members
            else:
                raise self._unknown(name)
        except DataError as error:
            raise ApiError(400, "invalid_value", error.message, param="model") from error
        absent = {member.checkpoint.name for member in members} - self._checkpoints.keys()
        if absent:
            listed = ", ".join(f"`{item}`" for item in sorted(absent))
            raise ApiError(404, "model_not_found", f"`{shown(base)}` needs {listed}, not served here", param="model")
        ns = [self._study.recipe.generation.of(member.checkpoint.model, benchmark).n for member in members]
        return Served(members, votes or min(max(ns), self._most))

    def listed(self) -> Iterator[str]:
        """The names, without `+voteN`: pairs of the design's test strategies that can solve one problem, then votes."""
        recipe = self._study.recipe
        for checkpoint in self._checkpoints:
            for strategy in recipe.design.test:
                if self._fits(strategy):
                    yield f"{checkpoint}/{strategy}"
            for name, tests in recipe.vote.strategies.items():
                if name not in recipe.strategies and all(map(self._fits, tests)):
                    yield f"{checkpoint}/{name}"
        for name, members in recipe.vote.ensembles.items():
            parts = [member.split("/") for member in members]
            if all(part[0] in self._checkpoints and self._fits(part[-1]) for part in parts):
                yield name

    def _fits(self, strategy: str) -> bool:
        declared = self._study.recipe.strategies
        mix = declared[strategy].mix
        parts = [strategy] if mix is None else list(mix.shares)
        return declared[strategy].union is None and not any(
            declared[item].shuffled is not None for item in with_sources(parts, declared)
        )

    def _unknown(self, name: str) -> ApiError:
        known = list(self.listed())
        more = did_you_mean(nearest(name, known), f"`/v1/models` lists {len(known)}")
        text = f"no model `{shown(name[:MAX_NAME])}`: {more}"
        return ApiError(404, "model_not_found", text, param="model")
