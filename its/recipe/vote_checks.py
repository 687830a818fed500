"""Checks of `vote.ensembles`: every member is a cell of the design, and what votes together has one n."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.values import REFUSED, Found, Location, list_at, table_at

LISTED = 100
"""Names of the design that a hint lists."""
WORDS = {
    "models": "model",
    "datasets": "dataset",
    "train": "train strategy",
    "seeds": "training seed",
    "benchmarks": "benchmark",
    "test": "test strategy",
}
"""Lists of the design, those of a checkpoint's name first and in its order -> what one item is."""
Parts = tuple[str, str | None, str]
"""Checkpoint, benchmark (None: every one), test strategy."""
Known = Mapping[str, Mapping[str, None] | None]
"""List of the design -> its names; None if the schema refuses some of it."""


def vote_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """Every fault of the named votes, as (location, message, hint)."""
    design = table_at(values, "design")
    known: dict[str, Mapping[str, None] | None] = {}
    for key in WORDS:
        items = design.get(key)
        sound = isinstance(items, list) and not any(item is REFUSED for item in items)
        known[key] = dict.fromkeys(map(str, list_at(design, key))) if sound else None
    for name, members in table_at(table_at(values, "vote"), "ensembles").items():
        here: Location = ("vote", "ensembles", name)
        if name in (known["test"] or {}):
            yield (
                here,
                f"`vote.ensembles` names a vote `{name}`, like a test strategy: results name the design's votes by it",
                f"for example `{name}_vote`",
            )
        if isinstance(members, list):
            yield from _members(members, here, values, known)


def _members(members: Sequence[Any], here: Location, values: Mapping[str, Any], known: Known) -> Iterator[Found]:
    before: set[str] = set()
    votes: dict[str | None, list[Parts]] = {}
    sound = True
    for index, member in enumerate(members):
        if not isinstance(member, str):  # the schema refuses it
            sound = False
            continue
        checkpoint, *only, test = member.split("/")
        parts = checkpoint, only[0] if only else None, test
        found = list(_unknown(parts, (*here, index), values, known))
        if member in before:
            found.append(((*here, index), f"`vote.ensembles.{here[2]}` names `{member}` twice", "remove one"))
        yield from found
        sound = sound and not found
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
            if benchmark is not None and len(voting) < 2:
                wrong = f"`vote.ensembles.{here[2]}` has one member on `{benchmark}`: `{voting[0][0]}`"
                yield here, wrong, "a vote has at least two members on each of its benchmarks"
            measured = known["benchmarks"] or {} if benchmark is None else {benchmark: None}
            yield from _counts(voting, measured, here, values)


def _unknown(parts: Parts, here: Location, values: Mapping[str, Any], known: Known) -> Iterator[Found]:
    """A fault for each part of a member that is not in the design."""
    checkpoint, benchmark, test = parts
    names = checkpoint.split("-")
    place = f"vote.ensembles.{here[2]}.{here[3]}"
    if len(names) == 2 and names[1] == "base":
        yield from _not_in(names[0], "models", place, here, known)
        if table_at(values, "design").get("base") is False:
            yield here, f"`{place}`: `{checkpoint}` is not evaluated, since `design.base` is false", "`base: true`"
    elif len(names) == 4:
        for name, key in zip(names, WORDS, strict=False):
            yield from _not_in(name, key, place, here, known)
    else:
        listed = list(islice(_checkpoints(values, known), LISTED))
        hint = did_you_mean(
            nearest(checkpoint, listed), "a checkpoint is `MODEL-DATASET-STRATEGY-SEED` or `MODEL-base`"
        )
        yield here, f"`{place}`: `{checkpoint}` is not the name of a checkpoint", hint
    if benchmark is not None:
        yield from _not_in(benchmark, "benchmarks", place, here, known)
    yield from _not_in(test, "test", place, here, known)


def _not_in(name: str, key: str, place: str, here: Location, known: Known) -> Iterator[Found]:
    names = known[key]
    if names is not None and name not in names:
        listed = list(islice(names, LISTED))
        told = ", ".join(f"`{item}`" for item in listed)
        told += f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        hint = did_you_mean(nearest(name, listed), f"`design.{key}`: {told or 'none'}")
        yield here, f"`{place}`: {WORDS[key]} `{name}` is not in `design.{key}`", hint


def _checkpoints(values: Mapping[str, Any], known: Known) -> Iterator[str]:
    """Names of checkpoints, for a hint."""
    for model in known["models"] or ():
        if table_at(values, "design").get("base") is True:
            yield f"{model}-base"
        for dataset in known["datasets"] or ():
            for strategy in known["train"] or ():
                for seed in known["seeds"] or ():
                    yield f"{model}-{dataset}-{strategy}-{seed}"


def _counts(
    voting: Sequence[Parts], benchmarks: Mapping[str, None], here: Location, values: Mapping[str, Any]
) -> Iterator[Found]:
    """A fault if members have different numbers of responses on a benchmark: each response is a ballot."""
    generation = table_at(values, "generation")
    models: dict[int, str] = {}
    for model in dict.fromkeys(checkpoint.split("-")[0] for checkpoint, _, _ in voting):
        own = table_at(table_at(generation, "models"), model).get("n")
        n = generation.get("n") if own is None else own
        if type(n) is int:
            models.setdefault(n, model)
    if len(models) < 2:
        return
    overlays = table_at(generation, "benchmarks")
    places = [name for name in benchmarks if table_at(overlays, name).get("n") is None]
    if places:
        told = " and ".join(f"n = {n} (`{model}`)" for n, model in islice(models.items(), 4))
        more = f" and on {len(places) - 1} more" if len(places) > 1 else ""
        yield (
            here,
            f"the members of `vote.ensembles.{here[2]}` have {told} on `{places[0]}`{more}: each response is a ballot",
            f"the same n for all of them: `generation.benchmarks.{places[0]}.n`",
        )
