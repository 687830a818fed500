"""Checks of `vote.ensembles`: every member is a cell of the design, and what votes together has one n."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.values import REFUSED, Found, Location, list_at, table_at

LISTED = 100
"""Names of the design that a hint lists."""
Parts = tuple[str, str | None, str]
"""Checkpoint, benchmark (None: every one), test strategy."""


def vote_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """Every fault of the named votes, as (location, message, hint)."""
    design = table_at(values, "design")
    for name, members in table_at(table_at(values, "vote"), "ensembles").items():
        here: Location = ("vote", "ensembles", name)
        if name in list_at(design, "test"):
            yield (
                here,
                f"`vote.ensembles` names a vote `{name}`, like a test strategy: results name the design's votes by it",
                f"for example `{name}_vote`",
            )
        if isinstance(members, list):
            yield from _members(members, here, values)


def _members(members: Sequence[Any], here: Location, values: Mapping[str, Any]) -> Iterator[Found]:
    design = table_at(values, "design")
    before: set[str] = set()
    votes: dict[str | None, list[Parts]] = {}
    sound = True
    for index, member in enumerate(members):
        if not isinstance(member, str):  # the schema refuses it
            sound = False
            continue
        parts = _parts(member)
        found = list(_unknown(parts, (*here, index), design))
        sound = sound and not found
        yield from found
        if member in before:
            sound = False
            yield (*here, index), f"`vote.ensembles.{here[2]}` names `{member}` twice", "remove one"
        else:
            votes.setdefault(parts[1], []).append(parts)
        before.add(member)
    if None in votes and len(votes) > 1:
        yield (
            here,
            f"`vote.ensembles.{here[2]}` names a benchmark in some members and none in others",
            "name one in each, or in none: then the members vote on every benchmark",
        )
    elif sound:
        for benchmark, voting in votes.items():
            if len(voting) < 2:
                on = "" if benchmark is None else f" on `{benchmark}`"
                hint = "a vote has at least two members" + ("" if benchmark is None else " on each of its benchmarks")
                yield here, f"`vote.ensembles.{here[2]}` has one member{on}: `{voting[0][0]}`", hint
            for measured in list_at(design, "benchmarks") if benchmark is None else [benchmark]:
                yield from _counts(voting, measured, here, values)


def _parts(member: str) -> Parts:
    checkpoint, *only, test = member.split("/")
    return checkpoint, only[0] if only else None, test


def _unknown(parts: Parts, here: Location, design: Mapping[str, Any]) -> Iterator[Found]:
    """A fault for each part of a member that is not in the design."""
    checkpoint, benchmark, test = parts
    names = checkpoint.split("-")
    place = f"vote.ensembles.{here[2]}.{here[3]}"
    if len(names) == 2 and names[1] == "base":
        yield from _not_in(names[0], "models", "model", place, here, design)
        if design.get("base") is False:
            yield here, f"`{place}`: `{checkpoint}` is not evaluated, since `design.base` is false", "`base: true`"
    elif len(names) == 4:
        words = (("models", "model"), ("datasets", "dataset"), ("train", "train strategy"), ("seeds", "training seed"))
        for name, (key, word) in zip(names, words, strict=True):
            yield from _not_in(name, key, word, place, here, design)
    else:
        known = list(islice(_checkpoints(design), LISTED))
        hint = did_you_mean(nearest(checkpoint, known), "a checkpoint is `MODEL-DATASET-STRATEGY-SEED` or `MODEL-base`")
        yield here, f"`{place}`: `{checkpoint}` is not the name of a checkpoint", hint
    if benchmark is not None:
        yield from _not_in(benchmark, "benchmarks", "benchmark", place, here, design)
    yield from _not_in(test, "test", "test strategy", place, here, design)


def _not_in(name: str, key: str, word: str, place: str, here: Location, design: Mapping[str, Any]) -> Iterator[Found]:
    known = design.get(key)
    if not isinstance(known, list) or any(item is REFUSED for item in known):  # the schema has a fault there
        return
    names = [str(item) for item in known]
    if name not in names:
        listed = names[:LISTED]
        told = ", ".join(f"`{item}`" for item in listed)
        told += f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        hint = did_you_mean(nearest(name, listed), f"`design.{key}`: {told or 'none'}")
        yield here, f"`{place}`: {word} `{name}` is not in `design.{key}`", hint


def _checkpoints(design: Mapping[str, Any]) -> Iterator[str]:
    for model in list_at(design, "models"):
        if design.get("base") is True:
            yield f"{model}-base"
        for dataset in list_at(design, "datasets"):
            for strategy in list_at(design, "train"):
                for seed in list_at(design, "seeds"):
                    yield f"{model}-{dataset}-{strategy}-{seed}"


def _counts(voting: Sequence[Parts], benchmark: Any, here: Location, values: Mapping[str, Any]) -> Iterator[Found]:
    """A fault if members have different numbers of responses: each response is a ballot."""
    generation = table_at(values, "generation")
    models: dict[Any, str] = {}
    for checkpoint, _, _ in voting:
        model = checkpoint.split("-")[0]
        n = generation.get("n")
        for overlay in (
            table_at(table_at(generation, "models"), model),
            table_at(table_at(generation, "benchmarks"), str(benchmark)),
        ):
            n = overlay.get("n") if overlay.get("n") is not None else n
        if type(n) is int:
            models.setdefault(n, model)
    if len(models) > 1:
        told = " and ".join(f"n = {n} (`{model}`)" for n, model in models.items())
        yield (
            here,
            f"the members of `vote.ensembles.{here[2]}` have {told} on `{benchmark}`: each response is a ballot",
            f"the same n for all of them: `generation.benchmarks.{benchmark}.n`",
        )
