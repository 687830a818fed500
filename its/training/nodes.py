"""Where the machines of one training meet: a folder in the ITS home, which they share.

Each machine ("node") writes one file there, `RANK.json`, and reads those of the others. The first describes the
training and waits; another compares its key, says that it is ready, and both start their launchers, which then meet at
the rendezvous. Every file has a count that its node raises once a second while it lives: one that no longer changes is
of a dead node. So a node that never comes, has another recipe, fails or is killed ends the training of all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from its.errors import DataError, ItsError, RunError
from its.recipe.launcher import launch_fault, machines, machines_fault
from its.recipe.schema import Train
from its.rows import read_json, write_json
from its.shown import listed, quoted, shown

BEAT_SECONDS = 1.0
LOST_SECONDS = 120.0
"""Seconds without a change after which a node counts as dead; a shared disk may show a change up to a minute late."""
WAIT_SECONDS = 1800.0
_RENDEZVOUS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?):([0-9]{1,5})")
_MAX_NODES = 100_000


@dataclass(frozen=True)
class Node:
    """This machine among those of a training.

    Args:
        rank: of this machine, from 0.
        nodes: how many there are, at least 2.
        rendezvous: HOST:PORT of the first machine, where the launchers meet.
        wait_seconds: longest wait for another machine.
        lost_seconds: longest time that another one may show no sign of life.
    """

    rank: int
    nodes: int
    rendezvous: str
    wait_seconds: float = WAIT_SECONDS
    lost_seconds: float = LOST_SECONDS


def node_of(rank: int | None, nodes: int | None, rendezvous: str | None, wait_seconds: float) -> Node | None:
    """The node that the options name; None if they name none.

    Raises:
        DataError: if one of the three is missing or outside its range.
    """
    given = {"--node": rank, "--nodes": nodes, "--rendezvous": rendezvous}
    if all(value is None for value in given.values()):
        return None
    if missing := [f"`{option}`" for option, value in given.items() if value is None]:
        have = listed([f"`{option}`" for option, value in given.items() if value is not None])
        raise DataError(
            f"{have} without {listed(missing)}",
            "on every machine: `its train CHECKPOINT --node RANK --nodes N --rendezvous HOST:PORT`",
        )
    assert rank is not None and nodes is not None and rendezvous is not None
    if nodes < 2:
        raise DataError(f"`--nodes` is {nodes}", "2 or more machines; a training on one needs no options")
    if nodes > _MAX_NODES:
        raise DataError(f"`--nodes` is {quoted(str(nodes), 40)}", f"at most {_MAX_NODES:,} machines")
    if not 0 <= rank < nodes:
        raise DataError(f"`--node` is {rank}, and `--nodes` is {nodes}", f"ranks are 0 to {nodes - 1}")
    found = _RENDEZVOUS.fullmatch(rendezvous)
    if not found or not 0 < int(found[2]) < 2**16:
        raise DataError(
            f"`--rendezvous` is `{shown(rendezvous[:200])}`, not HOST:PORT",
            "the name or address of the machine with `--node 0`, and a free port there: `node0:29400`",
        )
    return Node(rank, nodes, rendezvous, wait_seconds)


def require_machines(name: str, train: Train, node: Node | None) -> bool:
    """Check that a training takes the machines that there are; whether it takes several.

    A training of one machine is done by the first alone.

    Args:
        name: of the checkpoint, for an error.

    Raises:
        DataError: if it takes another number, or its arguments say where to meet, which is no part of a recipe.
    """
    fault = launch_fault(train.launcher_args) or machines_fault(train.launcher, train.launcher_args)
    if fault is not None:
        wrong, hint = fault
        raise DataError(f"{name}: `train.launcher_args` {wrong}", hint)
    wanted = machines(train.launcher, train.launcher_args)
    if wanted == 1:
        return False
    if node is None:
        raise DataError(
            f"{name}: this training takes {wanted} machines, and there is no rendezvous",
            f"on every machine `its train {name} --node RANK --nodes {wanted} --rendezvous HOST:PORT`",
        )
    if node.nodes != wanted:
        raise DataError(
            f"{name}: `--nodes` is {node.nodes}, and `train.launcher_args` has `--nnodes={wanted}`",
            f"`--nodes {wanted}`; another number of machines is another training",
        )
    return True


def launcher_arguments(arguments: list[str], node: Node, run: str) -> list[str]:
    """The arguments of torchrun on one node: those of the recipe, and where this run's processes meet."""
    host = node.rendezvous.rpartition(":")[0].strip("[]")
    return [
        *arguments,
        f"--node_rank={node.rank}",
        "--rdzv_backend=c10d",
        f"--rdzv_endpoint={node.rendezvous}",
        f"--rdzv_id={run}",
        # By its default torchrun compares the name of the endpoint with that of the machine, to find who serves.
        # And it waits a minute for the first machine to listen, whose libraries may take longer to load.
        f"--rdzv_conf=is_host={int(node.rank == 0)},join_timeout={int(node.wait_seconds)},read_timeout=600",
        *(["--local_addr=127.0.0.1"] if host in ("127.0.0.1", "localhost") else []),
    ]


@dataclass
class Meeting:
    """One node's view of a training of several machines.

    Args:
        name: of the training's checkpoint, the same on all nodes.
        parts: what its key is the hash of, each part as a hash, to name the one that differs.
        places: paths that must be the same on all nodes, by what is there.
    """

    folder: Path
    node: Node
    name: str
    key: str
    parts: Mapping[str, str]
    places: Mapping[str, str]
    run: str = ""
    _mine: dict[str, Any] = field(default_factory=dict)
    _beat: float = 0.0
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def gather(self, say: Callable[[str], None]) -> None:
        """On the first node: describe the training, and wait until all others are ready.

        Raises:
            RunError: if one does not come in time or fails.
            DataError: if one has another training.
        """
        self.run = os.urandom(8).hex()
        self._write("waiting")
        others = range(1, self.node.nodes)
        say(f"train: waiting for {_nodes(list(others))} of {self.node.nodes}, at most {self.node.wait_seconds:g} s")
        until = time.monotonic() + self.node.wait_seconds
        while True:
            missing = []
            for rank in others:
                found = self._read(rank)
                if found is None or found.get("run") != self.run:
                    missing.append(rank)
                elif found.get("state") == "failed":
                    self._refuse(rank, found)
            if not missing:
                self._write("running")
                return
            if time.monotonic() > until:
                raise RunError(
                    f"{_nodes(missing)} of {self.node.nodes} did not come within {self.node.wait_seconds:g} s",
                    f"on each: `its train {self.name} --node RANK --nodes {self.node.nodes} --rendezvous "
                    f"{self.node.rendezvous}`, with the same `training/` folder in its ITS home",
                )
            self._pause()

    def join(self, finished: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """On another node: wait for the first one, and say that this one is ready; False if the training is finished.

        A file that a dead node left is not taken for a living one: its count must change first.

        Raises:
            RunError: if it does not come in time, or fails before the others are there.
            DataError: if its training is another one.
        """
        say(f"train: node {self.node.rank}: waiting for node 0, at most {self.node.wait_seconds:g} s")
        until = time.monotonic() + self.node.wait_seconds
        before: dict[str, Any] | None = None
        there = "it has not begun this training"
        while not finished():
            found = self._read(0)
            alive = found is not None and before is not None and _mark(found) != _mark(before)
            before = found
            if found is not None and alive and found.get("name") == self.name:
                if found.get("key") != self.key or found.get("places") != self.places:
                    self._differs(found)
                if found.get("state") == "failed":
                    self._refuse(0, found)
                if found.get("state") in ("waiting", "running"):
                    self.run = str(found.get("run"))
                    self._write("ready")
                    return True
            elif found is not None and alive:
                there = f"it trains `{shown(str(found.get('name'))[:200])}`"
            if time.monotonic() > until:
                raise RunError(
                    f"node 0 did not come within {self.node.wait_seconds:g} s: {there}",
                    f"on it: `its train {self.name} --node 0 --nodes {self.node.nodes} --rendezvous "
                    f"{self.node.rendezvous}`, with the same `training/` folder in its ITS home",
                )
            self._pause()
        return False

    def lost(self) -> str | None:
        """Why the training cannot continue: another node failed or died; None if all live. Shows that this one does."""
        self._breathe()
        for rank in range(self.node.nodes):
            if rank == self.node.rank:
                continue
            found = self._read(rank) or {}
            state, now = found.get("state"), time.monotonic()
            if found.get("run") == self.run and state == "failed":
                return f"node {rank} failed: {shown(str(found.get('message'))[:2000])}"
            if found.get("run") == self.run and state == "done":
                continue
            mark = _mark(found)
            last, since = self._seen.setdefault(rank, (mark, now))
            if mark != last:
                self._seen[rank] = (mark, now)
            elif now - since > self.node.lost_seconds:
                return f"node {rank} has shown no sign of life for {self.node.lost_seconds:g} s"
        return None

    def done(self) -> None:
        """This node has done its part."""
        self._write("done")

    def failed(self, error: BaseException) -> None:
        """This node failed: the others stop at once."""
        message = error.message if isinstance(error, ItsError) else "it was stopped"
        self._write("failed", message)

    def _refuse(self, rank: int, found: Mapping[str, Any]) -> None:
        if isinstance(found.get("key"), str) and found["key"] != self.key:
            raise DataError(f"node {rank} refused: {shown(str(found.get('message'))[:2000])}", _SAME)
        raise RunError(f"node {rank} failed: {shown(str(found.get('message'))[:2000])}", "its own output says more")

    def _differs(self, found: Mapping[str, Any]) -> None:
        if found.get("key") == self.key:
            theirs = found.get("places")
            theirs = theirs if isinstance(theirs, dict) else {}
            what, path = next((what, path) for what, path in self.places.items() if theirs.get(what) != path)
            message = (
                f"{what} is `{path}` on node {self.node.rank} and `{shown(str(theirs.get(what))[:500])}` on node 0"
            )
            self.run = str(found.get("run"))
            self._write("failed", message)
            raise DataError(message, "`ITS_HOME` must be the same path on all machines")
        theirs = found.get("parts")
        theirs = theirs if isinstance(theirs, dict) else {}
        names = sorted(name for name in self.parts.keys() | theirs.keys() if self.parts.get(name) != theirs.get(name))
        what = listed([f"`{shown(str(name)[:100])}`" for name in names]) or "nothing that is named"
        message = (
            f"node 0 trains key {shown(str(found.get('key'))[:32])} and node {self.node.rank} has key {self.key} for "
            f"{self.name}: {what} differ{'s' * (len(names) == 1)}"
        )
        self.run = str(found.get("run"))
        self._write("failed", message)
        raise DataError(message, _SAME)

    def _write(self, state: str, message: str | None = None) -> None:
        self._mine = {
            "run": self.run,
            "name": self.name,
            "key": self.key,
            "parts": dict(self.parts),
            "places": dict(self.places),
            "state": state,
            "message": message,
            "beat": 0 if self._mine.get("run") != self.run else int(self._mine["beat"]) + 1,
        }
        self._save()

    def _breathe(self) -> None:
        if time.monotonic() - self._beat >= BEAT_SECONDS:
            self._mine["beat"] += 1
            self._save()

    def _pause(self) -> None:
        if self._mine:
            self._breathe()
        time.sleep(BEAT_SECONDS / 4)

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{self.node.rank}.json", self._mine)
        self._beat = time.monotonic()

    def _read(self, rank: int) -> dict[str, Any] | None:
        """What a node wrote; None if it is missing or not whole."""
        try:
            found = read_json(self.folder / f"{rank}.json")
        except (ItsError, OSError):
            return None
        return found if isinstance(found, dict) else None


def _mark(found: Mapping[str, Any]) -> tuple[Any, ...]:
    """What changes as long as a node lives."""
    return found.get("run"), found.get("state"), found.get("beat")


@contextmanager
def announced(meeting: Meeting | None) -> Iterator[None]:
    """Tell the other machines how this one's part ends: done, or failed with a message."""
    try:
        yield
    except BaseException as error:
        if meeting is not None:
            meeting.failed(error)
        raise
    if meeting is not None:
        meeting.done()


_SAME = (
    "every machine needs the same checkout, params.yaml and data (`git status`, `dvc status`), and the same engine "
    "environment (`its env list`)"
)


def meeting(home: Path, node: Node, name: str, key: str, identity: Mapping[str, Any], base: str) -> Meeting:
    """The meeting of the nodes that share a home and a rendezvous, for one training.

    Args:
        base: path of the model that is trained, or its id.
    """
    place = hashlib.sha256(node.rendezvous.encode()).hexdigest()[:16]
    places = {"the training": str(home / "training" / key), "the model to train": base}
    return Meeting(home / "training" / ".nodes" / place, node, name, key, _parts(identity), places)


def _parts(identity: Mapping[str, Any]) -> dict[str, str]:
    """Part of an identity -> its hash; a setting of the configuration counts as one part."""
    flat = {name: value for name, value in identity.items() if name != "config"}
    flat |= {f"config.{name}": value for name, value in dict(identity.get("config", {})).items()}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
        for name, value in flat.items()
    }


def _nodes(ranks: list[int]) -> str:
    names = listed([str(rank) for rank in ranks[:10]]) + (" and more" if len(ranks) > 10 else "")
    return f"node{'s' * (len(ranks) != 1)} {names}"
