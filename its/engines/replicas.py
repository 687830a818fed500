"""Several workers of one machine as one engine: whoever is free takes the next requests.

Nothing is divided beforehand. A worker has at most its share of what is left, so a small number of requests reaches all
of them, and one that is slow receives less. A worker keeps to one model while there are requests to it and nothing of
another in its batch; then it takes the model with the most requests for each of its workers. So checkpoints are served
side by side, also those that need an engine each.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

from its.engines.protocol import Completion, Engine, EngineDeathError, EngineModel, RefusedError, Request, SwapError
from its.errors import ItsError
from its.shown import counted

REPLACED = 3
"""How often a worker is replaced, and how often a request may have been in a worker that died."""
UNKNOWN = 32  # requests per worker before its window is known


class StartedWorker(Engine, Protocol):
    """An engine that starts while others work: `window` is 0 until a `poll` finds it ready."""

    def end(self) -> None:
        """Have it end; returns at once."""

    def ended(self) -> bool:
        """Whether it, and all that it started, is gone."""


Start = Callable[[int, list[EngineModel], threading.Event], StartedWorker]
"""Starts the worker of a place, counted from 0, for models of which the first is needed first; returns at once.

The event is set whenever the worker has something to `poll`.
"""


@dataclass
class _Slot:
    """A place for a worker: a set of GPUs or cores."""

    index: int
    worker: StartedWorker | None = None
    ending: StartedWorker | None = None  # the place is free when it is gone
    model: str = ""  # of its requests
    serves: frozenset[str] = frozenset()
    under_way: dict[str, Request] = field(default_factory=dict)
    deaths: int = 0
    held: bool = False  # did not start, and nobody has started these models yet

    @property
    def ready(self) -> bool:
        return self.worker is not None and self.worker.window > 0

    @property
    def starting(self) -> bool:
        return self.worker is not None and self.worker.window == 0

    @property
    def lost(self) -> bool:
        return self.deaths > REPLACED

    @property
    def share(self) -> int:
        """The most requests under way here: what the engine runs at once, half its window, and some that wait."""
        return 0 if self.worker is None else max(1, self.worker.window * 5 // 8)


class Replicas:
    """Workers behind the interface of one engine. A worker starts when there are requests for it.

    A worker that dies is replaced, at most `REPLACED` times; its requests go first to whoever is free, but not to its
    place as long as there is a worker elsewhere. A request that was in `REPLACED` + 1 workers when they died ends the
    engine, and so does the death of the last worker.

    Args:
        count: places for workers.
        groups: models that one worker serves in turn; together all that requests may name.
        start: starts a worker.
        say: receives messages for the user.
    """

    def __init__(
        self, count: int, groups: Iterable[Sequence[EngineModel]], start: Start, say: Callable[[str], None]
    ) -> None:
        self.window = count * UNKNOWN
        self.counts: dict[str, float] = {}
        self._groups = [list(group) for group in groups]
        self._start, self._say = start, say
        self._slots = [_Slot(index) for index in range(count)]
        self._waiting: dict[str, deque[Request]] = {}  # by model
        self._arrived, self._woken = threading.Event(), threading.Event()
        self._died: dict[str, list[int]] = {}  # by request_id: the places of the deaths that it was part of
        self._loaded: set[str] = set()  # models of workers that became ready
        self._past: dict[str, float] = {}  # counts of workers that are gone
        self._error: ItsError | None = None
        self._cancelled: set[str] = set()  # of what is at a worker
        self._refused: list[RefusedError] = []  # each is raised once, behind the completions that came before it

    def submit(self, request: Request) -> None:
        self._waiting.setdefault(request.model, deque()).append(request)

    def cancel(self, request_ids: Collection[str]) -> None:
        names = set(request_ids)
        for waiting in self._waiting.values():
            for request in [item for item in waiting if item.request_id in names]:
                waiting.remove(request)
                self._drop(request.request_id)
        for slot in self._slots:
            if slot.worker is not None and (sent := names & slot.under_way.keys()):
                self._cancelled |= sent
                slot.worker.cancel(sent)

    def poll(self, timeout_seconds: float) -> list[Completion]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._arrived.clear()
            done: list[Completion] = []
            try:
                if self._error is not None:
                    raise self._error
                for slot in self._slots:
                    done += self._collected(slot)
                self._hand_out()
            except ItsError as error:
                self._error = error
                if not done:
                    raise
            self._recount()
            if self._refused and not done:
                raise self._refused.pop(0)
            left = deadline - time.monotonic()
            if done or left <= 0 or self._woken.is_set():
                self._woken.clear()
                return done
            self._arrived.wait(left)

    def wake(self) -> None:
        self._woken.set()
        self._arrived.set()

    def begun(self) -> list[Completion]:
        return [part for slot in self._slots if slot.worker is not None for part in slot.worker.begun()]

    def close(self) -> None:
        workers = [worker for slot in self._slots for worker in (slot.worker, slot.ending) if worker is not None]
        for worker in workers:
            worker.end()  # all at once: each may take seconds
        for worker in workers:
            worker.close()
        for slot in self._slots:
            slot.worker = slot.ending = None

    def _collected(self, slot: _Slot) -> list[Completion]:
        """What a place has finished; a dead worker's requests wait again."""
        if slot.ending is not None and slot.ending.ended():
            slot.ending.close()
            slot.ending = None
        if slot.worker is None:
            return []
        try:
            done = slot.worker.poll(0.0)
        except EngineDeathError as error:
            self._bury(slot, error)
            return []
        except RefusedError as error:
            slot.under_way.pop(error.request_id, None)
            self._cancelled.discard(error.request_id)
            self._refused.append(error)
            return []
        except SwapError as error:
            self._split(slot, error)
            return []
        if slot.ready:
            self._loaded |= slot.serves
        for completion in done:
            del slot.under_way[completion.request_id]
            self._cancelled.discard(completion.request_id)
            self._died.pop(completion.request_id, None)
        return done

    def _hand_out(self) -> None:
        """Give what waits to whoever is free; start and replace workers."""
        for model in list(self._waiting):
            self._feed(model)
        for slot in self._slots:
            if slot.ready and not slot.under_way and (other := self._wanted(slot.serves)) is not None:
                slot.model = other
                self._feed(other)
        for slot in sorted(self._slots, key=lambda item: item.deaths):
            if slot.worker is None and slot.ending is None and not slot.lost:
                self._fill(slot)
        # What waits still is for models that no idle worker serves: their places are needed, one for each request.
        needed = sum(
            max(0, self._outstanding(model) - len(self._members(model)))
            for model, waiting in self._waiting.items()
            if waiting
        )
        needed -= sum(slot.worker is None and not slot.lost and not slot.held for slot in self._slots)
        for slot in self._slots:
            if needed > 0 and slot.ready and not slot.under_way and not self._waiting.get(slot.model):
                self._end(slot)
                needed -= 1

    def _feed(self, model: str) -> None:
        """Give requests to a model to its workers, to each up to its share of those that are not finished."""
        waiting = self._waiting.get(model, deque())
        members = self._members(model)
        if not waiting or not members:
            return
        fair = ceil(self._outstanding(model) / len(members))
        for slot in sorted(members, key=lambda item: len(item.under_way)):
            while slot.worker is not None and len(slot.under_way) < min(fair, slot.share):
                request = next((item for item in waiting if not self._avoids(item, slot, members)), None)
                if request is None:
                    break
                waiting.remove(request)
                slot.under_way[request.request_id] = request
                slot.worker.submit(request)

    def _avoids(self, request: Request, slot: _Slot, members: list[_Slot]) -> bool:
        """Whether a request waits for a worker elsewhere, since one died with it here: the place may be bad."""
        places = self._died.get(request.request_id, ())
        return slot.index in places and any(other.index not in places for other in members)

    def _fill(self, slot: _Slot) -> None:
        """Start a worker in an empty place, if requests wait for one."""
        models = {name for name in self._waiting if not slot.held or name not in slot.serves or name in self._loaded}
        model = self._wanted(frozenset(models))
        if model is None:
            return
        group = next(group for group in self._groups if any(item.name == model for item in group))
        ordered = sorted(group, key=lambda item: item.name != model)
        slot.model, slot.held = model, False
        slot.serves = frozenset(item.name for item in group)
        slot.worker = self._start(slot.index, ordered, self._arrived)

    def _wanted(self, among: frozenset[str] | None = None) -> str | None:
        """The model with the most requests for each of its workers; none that has a worker for each request."""
        best, most = None, 0.0
        for model, waiting in self._waiting.items():
            if not waiting or (among is not None and model not in among):
                continue
            members = len(self._members(model))
            if members < self._outstanding(model) and len(waiting) / (members + 1) > most:
                best, most = model, len(waiting) / (members + 1)
        return best

    def _members(self, model: str) -> list[_Slot]:
        return [slot for slot in self._slots if slot.worker is not None and slot.model == model]

    def _outstanding(self, model: str) -> int:
        return len(self._waiting.get(model, ())) + sum(len(slot.under_way) for slot in self._members(model))

    def _bury(self, slot: _Slot, error: EngineDeathError) -> None:
        """A worker died: its requests wait again, in front of all others."""
        started = slot.ready
        requests = [item for item in slot.under_way.values() if item.request_id not in self._cancelled]
        self._end(slot)
        slot.deaths += 1
        for request in requests:
            places = self._died.setdefault(request.request_id, [])
            places.append(slot.index)
            if len(places) > REPLACED:
                raise EngineDeathError(
                    f"{error.message}: `{request.request_id}` was among the requests of {REPLACED + 1} workers that "
                    "died",
                    error.hint,
                )
        if not started and not slot.serves & self._loaded:
            # What no worker could load, another one cannot either; some may still be trying.
            if not any(other.starting and other.serves & slot.serves for other in self._slots):
                raise error
            slot.held = True
        if all(other.lost for other in self._slots):
            raise EngineDeathError(f"{error.message}, as every other worker did {REPLACED + 1} times", error.hint)
        what = "not replaced again" if slot.lost else "replaced"
        again = f"; {counted(len(requests), 'request goes', 'requests go')} to others" if requests else ""
        self._say(f"worker {slot.index + 1} of {len(self._slots)}: {error.message}: {what}{again}")

    def _split(self, slot: _Slot, error: SwapError) -> None:
        """Weights cannot be swapped: a worker serves one model of that group from here on."""
        group = next(group for group in self._groups if any(item.name in slot.serves for item in group))
        self._end(slot)
        if len(group) == 1:  # split when another worker found it
            return
        self._say(f"{error.message}: each model gets its own engine from here on")
        names = {item.name for item in group}
        self._groups = [other for other in self._groups if other is not group] + [[item] for item in group]
        for other in self._slots:
            if other.serves & names:
                other.serves = frozenset({other.model})

    def _end(self, slot: _Slot) -> None:
        """Empty a place; what was under way there waits again, first."""
        assert slot.worker is not None
        for request in reversed(slot.under_way.values()):
            if request.request_id in self._cancelled:
                self._drop(request.request_id)
                continue
            self._waiting.setdefault(request.model, deque()).appendleft(request)
        slot.under_way.clear()
        self._past = _sum([self._past, slot.worker.counts])
        slot.worker.end()
        slot.worker, slot.ending = None, slot.worker

    def _drop(self, name: str) -> None:
        """Refuse a cancelled request, which no worker has."""
        self._cancelled.discard(name)
        self._died.pop(name, None)
        self._refused.append(RefusedError(name, f"request `{name}` was cancelled"))

    def _recount(self) -> None:
        """The window and the counts of all together."""
        alive = [slot for slot in self._slots if not slot.lost]
        self.window = max(1, sum(UNKNOWN if slot.worker is None else slot.worker.window or UNKNOWN for slot in alive))
        self.counts = _sum([self._past, *(slot.worker.counts for slot in alive if slot.worker is not None)])


def _sum(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    out: dict[str, float] = {}
    for counts in several:
        for name, value in counts.items():
            out[name] = out.get(name, 0) + value
    return out
