"""Checks of `vote`: every member is a cell of the design, what votes together has one n, and no two votes are one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.cells import Wanted
from its.recipe.design_checks import FRACTION_IN_NAMES, Layout, not_in_design
from its.recipe.names import LISTED
from its.recipe.schema import BASE, DEFAULT_VARIANT, LAST
from its.recipe.values import Found, Location, dotted, table_at

NAMED = ("model", "dataset", "train", "seed")
"""Axes of the name of a checkpoint, in its order; a variant and an earlier checkpoint may follow."""
WITH_SLASH = re.compile(r"(?P<name>[^/]+-[^/]+)-(?P<part>[0-9]+)/(?P<whole>[0-9]+)(?=/)")
"""An earlier checkpoint as `design.checkpoints` writes it, in the name of a checkpoint."""
Parts = tuple[str, str | None, str]
"""Checkpoint, benchmark (None: every one), test strategy."""


def vote_faults(values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Every fault of the named votes, as (location, message, hint)."""
    vote = table_at(values, "vote")
    for key in ("ensembles", "strategies"):
        for name in table_at(vote, key):
            if name in (layout.axes["test"] or ()):
                yield (
                    ("vote", key, name),
                    f"`vote.{key}` names a vote `{name}`, like a test strategy: results name the design's votes by it",
                    f"for example `{name}_vote`",
                )
            if key == "strategies" and name in table_at(vote, "ensembles"):
                wrong = f"`vote.strategies` names a vote `{name}`, like `vote.ensembles`"
                yield ("vote", key, name), wrong, "another name for one of them"
    for name, members in table_at(vote, "ensembles").items():
        if isinstance(members, list):
            yield from _members(members, ("vote", "ensembles", name), values, layout)
    before: dict[frozenset[str], str] = {}
    for name, members in table_at(vote, "strategies").items():
        if isinstance(members, list) and all(isinstance(member, str) for member in members):
            yield from _strategies(members, ("vote", "strategies", name), values, layout)
            other = before.setdefault(frozenset(members), name)
            if other != name:
                wrong = f"`vote.strategies.{name}` has the test strategies of `vote.strategies.{other}`"
                yield ("vote", "strategies", name), wrong, "remove one: the order changes no vote"


def _strategies(members: Sequence[str], here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Faults of a vote over test strategies: each is in the design, once, and a checkpoint has cells under all."""
    sound = True
    for index, member in enumerate(members):
        found = list(not_in_design(member, "test", (*here, index), layout))
        union = table_at(table_at(values, "strategies"), member).get("union")
        if found and isinstance(union, Mapping):
            wrong = f"`{dotted((*here, index))}`: `{member}` is a union, which nothing is tested under"
            found = [((*here, index), wrong, "name the strategies that it unites")]
        if member in members[:index]:
            found.append(((*here, index), f"`{dotted(here)}` names `{member}` twice", "remove one"))
        yield from found
        sound = sound and not found
    if sound:
        yield from _repeated([("", None, member) for member in members], here, values)
    grid, kept = layout.grid, layout.kept
    if sound and grid is not None and kept is not None:
        bits = -1
        for member in members:
            bits &= grid.without(kept & grid.matched({"test": [member]}), ["test"])
        if not bits:
            wrong = f"`{dotted(here)}`: `only` and `except` leave no checkpoint that is tested under all of them"
            yield here, wrong, "let strategies vote that have the same cells"


def _repeated(voting: Sequence[Parts], here: Location, values: Mapping[str, Any]) -> Iterator[Found]:
    """A fault for a mix that votes beside a strategy it draws: a mix has the responses of its members."""
    declared = table_at(values, "strategies")
    before: dict[tuple[str, str | None, str], str] = {}
    for checkpoint, benchmark, test in voting:
        drawn = list(table_at(table_at(table_at(declared, test), "mix"), "shares")) or [test]
        for member in drawn:
            other = before.setdefault((checkpoint, benchmark, member), test)
            if other != test:
                mix = test if member != test else other
                both = f"`{other}` and `{test}`" if member not in (other, test) else f"`{member}` and the mix `{mix}`"
                why = f"where a mix draws `{member}`, the same response would vote twice"
                yield here, f"`{dotted(here)}` lets {both} vote: {why}", "leave one of them out"
                return


def _members(members: Sequence[Any], here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    before: set[str] = set()
    votes: dict[str | None, list[Parts]] = {}
    sound = True
    for index, member in enumerate(members):
        if not isinstance(member, str):  # the schema refuses it
            sound = False
            continue
        if share := WITH_SLASH.match(member):
            name = f"{share['name']}-{share['part']}of{share['whole']}"
            wrong = f"`{dotted((*here, index))}`: `{share.group()}` is not the name of a checkpoint"
            yield (*here, index), wrong, f"write `{name}`"
            sound = False
            continue
        checkpoint, *only, test = member.split("/")
        parts = checkpoint, only[0] if only else None, test
        found = list(_unknown(parts, (*here, index), values, layout))
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
        yield from _repeated([parts for several in votes.values() for parts in several], here, values)
        for benchmark, voting in votes.items():
            if benchmark is not None and len(voting) < 2:
                wrong = f"`vote.ensembles.{here[2]}` has one member on `{benchmark}`: `{voting[0][0]}`"
                yield here, wrong, "a vote has at least two members on each of its benchmarks"
            measured = layout.axes["benchmark"] or {} if benchmark is None else {benchmark: None}
            yield from _counts(voting, measured, here, values)


def _unknown(parts: Parts, here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """A fault for each part of a member that is not in the design, or for cells that it leaves out."""
    checkpoint, benchmark, test = parts
    place = f"vote.ensembles.{here[2]}.{here[3]}"
    wanted = _axes_of(checkpoint)
    found: list[Found] = []
    if wanted is None:
        listed = list(islice(_checkpoints(layout), LISTED))
        known = "a checkpoint is `MODEL-DATASET-STRATEGY-SEED`, with `-VARIANT` and `-1of3` behind it, or `MODEL-base`"
        hint = did_you_mean(nearest(checkpoint, listed), known)
        for word in (DEFAULT_VARIANT, LAST):
            if word in checkpoint.split("-")[4:]:
                hint = f"`{word}` adds nothing to the name of a checkpoint: leave it out"
        found.append((here, f"`{place}`: `{checkpoint}` is not the name of a checkpoint", hint))
    elif wanted["train"] == BASE:
        found += not_in_design(wanted["model"], "model", here, layout)
        if layout.base is False:
            wrong = f"`{place}`: `{checkpoint}` is not evaluated, since `design.base` is false"
            found.append((here, wrong, "`base: true`"))
    else:
        for axis, name in wanted.items():
            found += not_in_design(name, axis, here, layout)
    if benchmark is not None:
        off = list(not_in_design(benchmark, "benchmark", here, layout))
        if benchmark in table_at(table_at(values, "measure"), "pool"):
            pooled = "it is a pool: `CHECKPOINT/STRATEGY` votes on every benchmark and pool"
            off = [(location, message, pooled) for location, message, _ in off]
        found += off
    found += not_in_design(test, "test", here, layout)
    yield from found
    if not found and wanted is not None:
        yield from _left_out(parts, {axis: [value] for axis, value in wanted.items()}, here, layout)


def _axes_of(checkpoint: str) -> dict[str, Any] | None:
    """Axis -> value for the name of a checkpoint; None if it is none."""
    names = checkpoint.split("-")
    if len(names) == 2 and names[1] == BASE:
        return {"model": names[0], "train": BASE}
    if not len(NAMED) <= len(names) <= len(NAMED) + 2 or "" in names:
        return None
    named, rest = dict(zip(NAMED, names, strict=False)), names[len(NAMED) :]
    share = rest.pop() if rest and FRACTION_IN_NAMES.fullmatch(rest[-1]) else None
    if len(rest) > 1 or rest in ([DEFAULT_VARIANT], [LAST]):
        return None
    variant = rest[0] if rest else DEFAULT_VARIANT
    seed = named["seed"]
    number = int(seed) if seed.isascii() and seed.isdigit() and str(int(seed)) == seed else seed
    return {**named, "seed": number, "variant": variant, "checkpoint": share.replace("of", "/") if share else LAST}


def _left_out(parts: Parts, wanted: Wanted, here: Location, layout: Layout) -> Iterator[Found]:
    """A fault if `only` or `except` leave out a cell of a member."""
    checkpoint, benchmark, test = parts
    grid, kept = layout.grid, layout.kept
    if grid is None or kept is None:
        return
    for name in grid.values["benchmark"] if benchmark is None else [benchmark]:
        if not kept & grid.matched({**wanted, "benchmark": [name], "test": [test]}):
            yield (
                here,
                f"`vote.ensembles.{here[2]}.{here[3]}`: `only` and `except` leave out `{checkpoint}/{name}/{test}`",
                "keep that cell, or let others vote"
                + ("; `CHECKPOINT/BENCHMARK/STRATEGY` votes on one benchmark alone" if benchmark is None else ""),
            )
            return


def _checkpoints(layout: Layout) -> Iterator[str]:
    """Names of checkpoints of the whole product, for a hint."""
    for model in layout.axes["model"] or ():
        if layout.base:
            yield f"{model}-{BASE}"
        several = [layout.axes[axis] or () for axis in ("dataset", "train", "seed", "variant", "checkpoint")]
        for dataset, strategy, seed, variant, share in product(*several):
            rest = [item for item, usual in ((variant, DEFAULT_VARIANT), (share, LAST)) if item != usual]
            yield "-".join(map(str, (model, dataset, strategy, seed, *rest))).replace("/", "of")


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
