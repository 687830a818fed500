"""Which checkpoints solve a problem under which test strategies: named ones, an ensemble, or the pair to report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from its.errors import DataError, did_you_mean, nearest
from its.shown import shown
from its.study.study import Checkpoint, Study

MOST_LISTED = 12


class Member(NamedTuple):
    """A checkpoint under a test strategy; one solves alone, those of an ensemble vote."""

    checkpoint: Checkpoint
    strategy: str

    @property
    def name(self) -> str:
        """`CHECKPOINT/STRATEGY`."""
        return f"{self.checkpoint.name}/{self.strategy}"


class Chosen(NamedTuple):
    """The members, and what a user should know about their choice."""

    members: Sequence[Member]
    notes: Sequence[str]


def choose_members(
    study: Study, checkpoint: str | None, strategy: str | None, ensemble: str | None, benchmark: str
) -> Chosen:
    """The members that the options name; what they leave open is that of the pair to report (`its results best`).

    Of the training seeds of a reported pair the first of the design solves.

    Args:
        ensemble: a name under `vote.ensembles`; or under `vote.strategies`, of one checkpoint.
        benchmark: an ensemble may name cells of single benchmarks; those of this one are members.

    Raises:
        DataError: if a name is unknown, or options and results leave open which pair is meant.
        MissingError: if a pair is to be read from results that do not exist.
    """
    known = {item.name: item for item in study.checkpoints()}
    if checkpoint is not None and checkpoint not in known:
        raise _unknown("checkpoint in the design", checkpoint, known)
    if strategy is not None and strategy not in study.recipe.strategies:
        raise _unknown("strategy in the recipe", strategy, study.recipe.strategies)
    if ensemble is not None:
        return _ensemble(study, ensemble, None if checkpoint is None else known[checkpoint], benchmark)
    if checkpoint is not None and strategy is not None:
        return Chosen([Member(known[checkpoint], strategy)], [])
    return _reported(study, None if checkpoint is None else known[checkpoint], strategy)


def _ensemble(study: Study, name: str, checkpoint: Checkpoint | None, benchmark: str) -> Chosen:
    vote = study.recipe.vote
    if name not in vote.ensembles and name not in vote.strategies:
        raise _unknown("vote in the recipe", name, [*vote.ensembles, *vote.strategies])
    if name in vote.strategies:
        chosen = _reported(study, None, None) if checkpoint is None else Chosen([Member(checkpoint, "")], [])
        return Chosen([Member(chosen.members[0].checkpoint, test) for test in vote.strategies[name]], chosen.notes)
    if checkpoint is not None:
        raise DataError(f"`vote.ensembles.{name}` names its checkpoints", "leave out `--checkpoint`")
    known = {item.name: item for item in study.checkpoints()}
    members = []
    for member in vote.ensembles[name]:
        one, *only, test = member.split("/")
        if one not in known:
            raise _unknown("checkpoint in the design", one, known)
        if not only or only == [benchmark]:
            members.append(Member(known[one], test))
    if not members:
        others = sorted({member.split("/")[1] for member in vote.ensembles[name]})
        raise DataError(
            f"`vote.ensembles.{name}` has no member for the benchmark `{benchmark}`",
            f"`--benchmark {others[0]}` takes its members for that benchmark",
        )
    return Chosen(members, [])


def _reported(study: Study, checkpoint: Checkpoint | None, strategy: str | None) -> Chosen:
    """The reported pair that the given options leave."""
    from its.stages.report import best_pair  # loads the report; named pairs need none

    values, sentences = best_pair(study)
    if values["reason"] is not None:
        raise DataError(
            f"the study reports no pair: {values['reason']}", "name one: `--checkpoint CHECKPOINT --strategy STRATEGY`"
        )
    chosen = values["selection"] or values["maximum"]
    found: dict[Member, None] = {}
    gone = []
    for row in chosen:
        train, test = (row["train"], row["test"]) if "train" in row else row["maximum"]["pair"].split("/")
        own = _checkpoints(study, row, train)
        if not own or test not in study.recipe.strategies:
            gone.append(f"{row['model']}, {row['dataset']}, {train}/{test}")
        elif checkpoint is None:
            found[Member(own[0], strategy or test)] = None
        elif checkpoint in own:
            found[Member(checkpoint, test)] = None
    if gone:
        raise DataError(f"the design no longer has the reported pair ({gone[0]})", "`dvc repro` measures this design")
    if not found:
        assert checkpoint is not None
        raise DataError(f"no reported pair has the checkpoint `{checkpoint.name}`", "add `--strategy STRATEGY`")
    if len(found) > 1:
        names = ", ".join(f"`{member.name}`" for member in list(found)[:MOST_LISTED])
        raise DataError(
            f"the study reports {len(found)} pairs: {names}", "name one: `--checkpoint CHECKPOINT --strategy STRATEGY`"
        )
    return Chosen(list(found), sentences if not values["selection"] else [])


def _checkpoints(study: Study, row: dict[str, Any], train: str) -> list[Checkpoint]:
    """The last checkpoints of a pair, one for each training seed, in the order of the design."""
    axes = {"model": row["model"], "dataset": row["dataset"], "variant": row["variant"], "train": train}
    return [item for item in study.checkpoints() if item == item.last and axes.items() <= item.axes().items()]


def _unknown(what: str, name: str, known: Iterable[str]) -> DataError:
    names = list(known)
    listed = ", ".join(f"`{item}`" for item in names[:MOST_LISTED]) or "none"
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return DataError(f"no {what} `{shown(name)}`", did_you_mean(nearest(name, names), f"known: {listed}{more}"))
