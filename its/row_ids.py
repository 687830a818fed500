"""The ids of rows, and which row an id from a user refers to.

    PROBLEM, SET/PROBLEM                      a problem
    SET/PROBLEM/STRATEGY                      a query, or a training row; of a union SET/PROBLEM/UNION+MEMBER
    CHECKPOINT/SET/PROBLEM/STRATEGY/SAMPLE    a response and its verdict
    CHECKPOINT                                a checkpoint

A problem_id may contain `/`; the names of sets, strategies and checkpoints may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from its.errors import DataError, did_you_mean, nearest

SHOWN = 10


@dataclass(frozen=True)
class SetIds:
    """A problem set: its side, the ids of its problems, and the strategies for which it has queries.

    A union is there by the names of its rows, `UNION+MEMBER`; `SET/PROBLEM/UNION` means all of them.
    """

    side: Literal["train", "test"]
    problem_ids: Collection[str]
    strategies: Sequence[str]


@dataclass(frozen=True)
class Target:
    """One row of a study, or a checkpoint; fields that its kind does not have are None."""

    kind: Literal["problem", "query", "response", "checkpoint"]
    side: Literal["train", "test"] = "test"
    set_name: str | None = None
    problem_id: str | None = None
    strategy: str | None = None
    checkpoint: str | None = None
    sample: int | None = None

    @property
    def id(self) -> str:
        """The row's full id."""
        parts = (self.checkpoint, self.set_name, self.problem_id, self.strategy, self.sample)
        return "/".join(str(part) for part in parts if part is not None)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, **asdict(self)}


def find_target(
    text: str,
    *,
    sets: Mapping[str, SetIds],
    checkpoints: Sequence[str],
    samples: Callable[[str, str], int],
    checkpoint: str | None = None,
    sample: int | None = None,
    cells: Collection[tuple[str, str, str]] | None = None,
) -> Target:
    """The row that an id refers to.

    Args:
        samples: responses per query, of a checkpoint on a benchmark.
        checkpoint, sample: of the response, if the id names a query.
        cells: (checkpoint, benchmark, test strategy) of those that have responses. None: all.

    Raises:
        DataError: if no row has this id (names the nearest), or several rows have it (names all).
    """
    if checkpoint is not None and checkpoint not in checkpoints:
        raise DataError(f"the design has no checkpoint `{checkpoint}`", f"it has: {', '.join(checkpoints)}")
    found = list(_matches(text, sets, checkpoints))
    if checkpoint is not None or sample is not None:
        found = [target for item in found for target in _narrowed(item, checkpoint, sample)]
    found = list(dict.fromkeys(full for item in found for full in _completed(item, checkpoints, samples, cells)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"no row of this study has the id `{text}`", _nearest(text, sets, checkpoints))
    names = ", ".join(f"`{target.id}`" for target in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise DataError(f"`{text}` matches {len(found)} rows: {names}{more}", "give one of these ids in full")


def _matches(text: str, sets: Mapping[str, SetIds], checkpoints: Sequence[str]) -> Iterator[Target]:
    if text in checkpoints:
        yield Target("checkpoint", checkpoint=text)
    head, slash, tail = text.partition("/")
    named, rest = (head, tail) if slash and head in checkpoints else (None, text)
    for name, ids in sets.items():
        if named is None and text in ids.problem_ids:
            yield Target("problem", ids.side, name, text)
        if not rest.startswith(f"{name}/"):
            continue
        inside = rest[len(name) + 1 :]
        if named is None and inside in ids.problem_ids:
            yield Target("problem", ids.side, name, inside)
        for strategy in ids.strategies:
            union, plus, member = strategy.partition("+")
            name_of = re.escape(union) + (f"(?:{re.escape(plus + member)})?" if plus else "")
            parts = re.fullmatch(rf"(.+)/{name_of}(?:/(\d{{1,9}}))?", inside, re.DOTALL)
            if parts is None or parts[1] not in ids.problem_ids:
                continue
            sample = None if parts[2] is None else int(parts[2])
            target = Target("query", ids.side, name, parts[1], strategy)
            if named is None and sample is None:
                yield target
            elif ids.side == "test":
                yield replace(target, kind="response", checkpoint=named, sample=sample)


def _narrowed(target: Target, checkpoint: str | None, sample: int | None) -> Iterator[Target]:
    """The target completed by the options; nothing if they contradict it or it has no responses."""
    if target.kind not in ("query", "response") or target.side == "train":
        return
    for wanted, own in ((checkpoint, target.checkpoint), (sample, target.sample)):
        if wanted is not None and own not in (None, wanted):
            return
    yield replace(
        target,
        kind="response",
        checkpoint=target.checkpoint or checkpoint,
        sample=sample if target.sample is None else target.sample,
    )


def _completed(
    target: Target,
    checkpoints: Sequence[str],
    samples: Callable[[str, str], int],
    cells: Collection[tuple[str, str, str]] | None,
) -> Iterator[Target]:
    """A response without a checkpoint or sample stands for all of them; one beyond the design's for none."""
    if target.kind != "response":
        yield target
        return
    for checkpoint in checkpoints if target.checkpoint is None else [target.checkpoint]:
        if cells is not None and (checkpoint, str(target.set_name), str(target.strategy)) not in cells:
            continue
        indexes = range(samples(checkpoint, str(target.set_name)))
        for index in indexes if target.sample is None else [target.sample] if target.sample in indexes else []:
            yield replace(target, checkpoint=checkpoint, sample=index)


def _nearest(text: str, sets: Mapping[str, SetIds], checkpoints: Sequence[str]) -> str:
    """A hint with the most similar ids, compared by the part of the id that is wrong."""
    parts = text.split("/")
    known = [*checkpoints, *sets]
    for name, ids in sets.items():
        prefix = f"{name}/" if name in parts else ""
        known += [f"{prefix}{problem_id}" for problem_id in ids.problem_ids]
        if parts[-1].isdigit() or len(parts) > 2 or parts[-1] in ids.strategies:
            core = text.split(f"{name}/", 1)[-1].rsplit("/", 1)[0]
            if core in ids.problem_ids:
                known += [f"{name}/{core}/{strategy}" for strategy in ids.strategies]
    forms = "an id is PROBLEM, SET/PROBLEM/STRATEGY, CHECKPOINT/SET/PROBLEM/STRATEGY/SAMPLE or CHECKPOINT"
    return did_you_mean(nearest(text, known, count=3, cutoff=0.5), forms)
