"""Workers for `its.engines.replicas` in this process, each a thread that answers one request after the other."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from its.engines.protocol import Completion, EngineDeathError, EngineModel, RefusedError, Request, SwapError

Trouble = Callable[["Fake", Request], Exception | None]


@dataclass
class Fake:
    """A worker; `trouble` says what it fails with instead of an answer, `fails` instead of its start."""

    index: int
    models: Sequence[EngineModel]
    arrived: threading.Event
    seconds: Callable[[Request], float]
    trouble: Trouble
    fails: Exception | None
    full: int
    window: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    grew: list[Completion] = field(default_factory=list)
    closed: int = 0
    swaps: int = 0

    def __post_init__(self) -> None:
        self._in: queue.Queue[tuple[float, Request] | None] = queue.Queue()
        self._out: queue.Queue[Completion | Exception | int] = queue.Queue()
        self._loaded = self.models[0].name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        assert self.window and request.model in {model.name for model in self.models}
        self._in.put((time.monotonic(), request))

    def poll(self, timeout_seconds: float) -> list[Completion]:
        done: list[Completion] = []
        while True:
            try:
                item = self._out.get_nowait()
            except queue.Empty:
                return done
            if isinstance(item, int):
                self.window = item
            elif isinstance(item, Completion):
                done.append(item)
            elif done:
                self._out.put(item)
                return done
            else:
                raise item

    def wake(self) -> None:
        """Its `poll` never waits."""

    def begun(self) -> list[Completion]:
        grew, self.grew = self.grew, []
        return grew

    def cancel(self, request_ids: Collection[str]) -> None:
        self.cancelled |= set(request_ids)

    def end(self) -> None:
        self._stopping.set()
        self._in.put(None)

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self.end()
        self._thread.join(10)
        assert self.ended()
        self.closed += 1

    def _say(self, item: Completion | Exception | int) -> None:
        self._out.put(item)
        self.arrived.set()

    def _work(self) -> None:
        if self.fails is not None:
            self._say(self.fails)
            return
        self._say(self.full)
        prints = {model.name: model.fingerprint for model in self.models}
        due = 0.0  # as if it woke in time, however busy the machine is: it is idle only if it has no request
        while (item := self._in.get()) is not None and not self._stopping.is_set():
            came, request = item
            wrong: Exception | None
            if request.request_id in self.cancelled:
                wrong = RefusedError(request.request_id, "it was cancelled")
            else:
                self.asked.append(request.request_id)
                wrong = self.trouble(self, request)
            if wrong is not None:
                self._say(wrong)
                if isinstance(wrong, RefusedError):
                    continue
                return
            self.swaps += request.model != self._loaded
            self._loaded = request.model
            due = max(due, came) + self.seconds(request)
            time.sleep(max(0.0, due - time.monotonic()))
            self.counts["answered"] = self.counts.get("answered", 0) + 1
            text = f"{request.model} to {request.request_id}"
            self._say(Completion(request.request_id, text, "stop", 3, 2, "ab", weights=prints[request.model]))


class Fakes:
    """Starts fake workers and remembers all.

    Args:
        seconds: (place, request) -> how long an answer takes.
        trouble: see `Fake`.
        fails: (place, how many were started before it) -> what a start fails with.
    """

    def __init__(
        self,
        seconds: Callable[[int, Request], float] = lambda index, request: 0.0,
        trouble: Trouble = lambda worker, request: None,
        fails: Callable[[int, int], Exception | None] = lambda index, before: None,
        window: int = 8,
    ) -> None:
        self.started: list[Fake] = []
        self._seconds, self._trouble, self._fails, self._window = seconds, trouble, fails, window

    def start(self, index: int, models: list[EngineModel], arrived: threading.Event) -> Fake:
        def seconds(request: Request) -> float:
            return self._seconds(index, request)

        fails = self._fails(index, len(self.started))
        self.started.append(Fake(index, models, arrived, seconds, self._trouble, fails, self._window))
        return self.started[-1]

    def asked(self) -> list[str]:
        return [name for worker in self.started for name in worker.asked]


class Clock(threading.Event):
    """Simulated time: where one would wait for a worker it goes on to the next answer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.workers: list[Simulated] = []

    def wait(self, timeout: float | None = None) -> bool:
        due = [worker.answers[0][0] for worker in self.workers if worker.answers]
        self.now = max(self.now, min(due, default=self.now))
        return bool(due)


class Simulated:
    """A worker in simulated time that answers up to `at_once` requests at the same time."""

    def __init__(self, clock: Clock, at_once: int, seconds: Callable[[Request], float], ready: float = 0.0) -> None:
        self.window, self.counts = 2 * at_once, dict[str, float]()
        self.answers: list[tuple[float, str]] = []  # (when, request_id), a heap
        self._clock, self._seconds = clock, seconds
        self._free = [ready] * at_once
        clock.workers.append(self)

    def submit(self, request: Request) -> None:
        ends = max(heapq.heappop(self._free), self._clock.now) + self._seconds(request)
        heapq.heappush(self._free, ends)
        heapq.heappush(self.answers, (ends, request.request_id))

    def poll(self, timeout_seconds: float) -> list[Completion]:
        done = []
        while self.answers and self.answers[0][0] <= self._clock.now:
            name = heapq.heappop(self.answers)[1]
            done.append(Completion(name, f"m to {name}", "stop", 3, 2, "ab", weights="f-m"))
        return done

    def wake(self) -> None:
        """Its `poll` never waits."""

    def begun(self) -> list[Completion]:
        return []

    def cancel(self, request_ids: Collection[str]) -> None:
        """Nobody cancels here."""

    def end(self) -> None:
        """Nothing runs."""

    def ended(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing runs."""


def dies() -> Exception:
    return EngineDeathError("the engine died (killed by signal 9)", "its log: x")


def unswappable() -> Exception:
    return SwapError("these weights cannot be swapped")
