"""The thread that has the store, the session and the engine, and takes every problem through its steps."""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

from its.commands.solve import prompt_check, refuse_control
from its.commands.solving import Batch, Row, Solved
from its.control_tokens import ControlTokens
from its.engines.feed import Feed, Ticket
from its.engines.protocol import Completion, Request
from its.engines.replay import Replay
from its.engines.steps import Answer, Steps
from its.errors import ItsError, RunError
from its.home import STORE_FILE
from its.parity import PromptCheck
from its.progress import say
from its.recipe.schema import Sampling
from its.server.errors import ApiError, EngineFailed
from its.server.metrics import Metrics
from its.store import Store
from its.study.serving import control_tokens, open_serving
from its.study.study import Checkpoint, Study

WAIT_SECONDS = 0.25
"""How long the thread waits for the engine; a new request wakes it.

Looking for one every 5 ms instead took 4 % of the throughput of vLLM on two cores, whose threads wait for each other.
"""
IDLE_SECONDS = 0.5
PROMPT_CHARACTERS = 200_000
"""Of the prompts whose ids are computed at once: meanwhile nothing of the engine is passed on."""
REMEMBERED = 20_000
"""Prompts whose token ids are kept; the memory of a server must not grow with its age."""
STOP_SECONDS = 20.0

Finished = Callable[["Job"], None]


@dataclass(eq=False)
class Job:
    """A problem on its way.

    Args:
        begin: makes its steps, for the checks of the desk.
        finished: called once, in the desk's thread, when `solved` or `error` is set; never after `cancel`.
        begun: receives the place of a response and the text that it has so far, in the desk's thread.
        generated: how many responses were, without the writer's.
    """

    begin: Callable[[Desk], Steps[Batch, Solved]]
    finished: Finished
    begun: Callable[[int, str], None] | None = None
    steps: Steps[Batch, Solved] | None = None
    batch: Batch | None = None
    ticket: Ticket | None = None
    solved: Solved | None = None
    error: Exception | None = None
    generated: int = 0


class Desk:
    """Answers jobs over one session; `submit` and `cancel` are for any thread, everything else is in its own.

    An engine that dies fails the jobs that it was working for. It is started again when the next response is missing,
    `restarts` times without a response in between; then jobs that need an engine fail at once.

    Args:
        checkpoints: those served.
        sampled: by declared model, how responses are sampled.
    """

    def __init__(
        self,
        study: Study,
        checkpoints: Sequence[Checkpoint],
        sampled: Mapping[str, Sequence[Sampling]],
        metrics: Metrics,
        restarts: int,
    ) -> None:
        self._study, self._checkpoints, self._sampled = study, list(checkpoints), sampled
        self._names = frozenset(checkpoint.name for checkpoint in checkpoints)
        self._metrics, self._restarts = metrics, restarts
        self._inbox: queue.SimpleQueue[tuple[str, Job | None]] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}  # by the id of the ticket
        self._next: list[Job] = []  # whose batch is not queued yet
        self._failed_in_a_row = 0
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="its-desk", daemon=True)
        self._feed: Feed
        self._wake: Callable[[], None] = lambda: None
        self._prompts: PromptCheck
        self._control: ControlTokens
        self._writer_control: ControlTokens
        self._replay: Replay | None = None
        self.broken = False
        """Whether the engine failed too often; jobs whose responses are stored are still answered."""

    def start(self) -> None:
        """Open the session and start its engine.

        Raises:
            ItsError: if that fails.
        """
        self._thread.start()
        while not self._ready.done():
            self._thread.join(0.1)  # in pieces: a signal is handled between them
        self._ready.result()

    def submit(self, job: Job) -> None:
        self._tell("begin", job)
        if not self._thread.is_alive():
            self._refuse_rest()

    def cancel(self, job: Job) -> None:
        """Forget a job, and have the engine stop what nobody else waits for."""
        self._tell("cancel", job)

    def stop(self) -> bool:
        """End the engine and the thread; whether the thread ended in time. If not, the process ends its engine."""
        self._tell("stop", None)
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _tell(self, what: str, job: Job | None) -> None:
        self._inbox.put((what, job))
        self._wake()

    # What `solving` asks for.

    def writer_control(self) -> ControlTokens:
        return self._writer_control.empty()

    def rows(self, rows: Sequence[Row]) -> None:
        refuse_control(rows, self._control.empty())

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self._open(stack)
                self._ready.set_result(None)
                while self._turn():
                    pass
        except BaseException as error:
            if self._ready.done():
                self.broken = True
                say(f"its serve: the worker ended: {error!r}")
                raise
            self._ready.set_exception(error)
        finally:
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        """End every job that is left: nobody will work on it."""
        jobs = [*self._jobs.values(), *self._next]
        self._jobs.clear()
        self._next.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                what, job = self._inbox.get_nowait()
                jobs += [job] if job is not None and what == "begin" else []
        for job in jobs:
            self._end(job, EngineFailed("the server is stopping"))

    def _open(self, stack: ExitStack) -> None:
        study, recipe = self._study, self._study.recipe
        writer = Checkpoint(recipe.writer.model)
        writes = any(strategy.persona is not None for strategy in recipe.strategies.values())
        opened = list(dict.fromkeys([*self._checkpoints, *([writer] if writes else [])]))
        sampled = {name: list(several) for name, several in self._sampled.items()}
        sampled.setdefault(writer.model, []).append(recipe.writer.sampling)
        store = stack.enter_context(Store(study.home / STORE_FILE))
        session = stack.enter_context(open_serving(study, store, opened, "serve", sampled))
        self._prompts = prompt_check(study, session, opened)
        self._control = control_tokens(study, session, self._checkpoints)
        self._writer_control = control_tokens(study, session, [writer] if writes else [])
        session.check = self._check
        self._feed = Feed(session)
        self._wake = self._feed.wake
        if isinstance(session, Replay):
            self._replay = session
        else:
            session.engine_of(self._checkpoints[0].name)

    def _check(self, answers: list[tuple[Request, Completion]]) -> None:
        own = [item for item in answers if self._compared(item[0])]
        self._learn([request for request, _ in own])
        self._prompts.check(own)
        self._prompts.forget(REMEMBERED)

    def _compared(self, request: Request) -> bool:
        return request.start is None and request.model in self._names

    def _learn(self, requests: Sequence[Request]) -> None:
        for name in dict.fromkeys(request.model for request in requests):
            self._prompts.learn(_chats([request for request in requests if request.model == name]), [name])

    def _turn(self) -> bool:
        """Take what came in, then let the engine work for a moment; False at the end."""
        waits = not (self._feed.busy or self._next)
        while True:
            try:
                what, job = self._inbox.get(timeout=IDLE_SECONDS) if waits else self._inbox.get_nowait()
            except queue.Empty:
                break
            waits = False
            if what == "stop" or job is None:
                return False
            if what == "begin":
                self._begin(job)
            else:
                self._cancel(job)
        self._queue()
        for ticket in self._worked():
            job = self._jobs.pop(id(ticket), None)
            if job is not None:
                self._went_on(job, ticket)
        self._queue()
        self._metrics.engine_requests, self._metrics.waiting = self._feed.under_way, self._feed.waiting
        return True

    def _worked(self) -> list[Ticket]:
        feed = self._feed
        try:
            if self.broken and feed.waiting:
                return feed.clear(EngineFailed("the engine failed too often; the server has to be started again"))
            done = feed.step(0.0 if self._next else WAIT_SECONDS) if feed.busy else []
        except Exception as error:
            if not isinstance(error, ItsError):
                say(f"its serve: {''.join(traceback.format_exception(error))}")
            told = EngineFailed(getattr(error, "message", "the server failed"), getattr(error, "hint", None))
            self._metrics.failures += 1
            self._failed_in_a_row += 1
            self.broken = self._failed_in_a_row > self._restarts
            left = "it is not started again" if self.broken else "it is started again"
            say(f"its serve: {told.message}; {left}")
            return feed.abandon(told)
        if any(ticket.generated for ticket in done):
            self._failed_in_a_row = 0
        return done

    def _begin(self, job: Job) -> None:
        self._advance(job, None)

    def _went_on(self, job: Job, ticket: Ticket) -> None:
        job.ticket = None
        if ticket.failed is not None:
            self._end(job, ticket.failed)
            return
        assert job.batch is not None
        if job.batch.what == "responses":
            job.generated = ticket.generated
        self._metrics.responses["engine"] += ticket.generated
        self._metrics.responses["store"] += len(ticket.requests) - ticket.generated
        self._advance(job, ticket.requests)

    def _advance(self, job: Job, answered: Sequence[Request] | None) -> None:
        try:
            if answered is None:
                job.steps = job.begin(self)
                job.batch = next(job.steps)
            else:
                assert job.steps is not None
                job.batch = job.steps.send(self._read(answered))
            if self._replay is not None:
                self._replay.ensure(job.batch.requests)
            self._next.append(job)
        except StopIteration as end:
            job.solved = end.value
            self._end(job, None)
        except Exception as error:
            self._fail(job, error)

    def _queue(self) -> None:
        """Queue the requests of jobs that were taken or made a step.

        The ids of their prompts are computed together: a process renders the chats, and one for each of 64 clients that
        come at once takes longer than a step of an engine.
        """
        jobs: list[Job] = []
        characters = 0
        while self._next and (not jobs or characters < PROMPT_CHARACTERS):
            jobs.append(self._next.pop(0))
            characters += sum(len(turn["content"]) for chat in _chats(_requests(jobs[-1])) for turn in chat)
        for job in self._learned(jobs):
            follow = job.batch is not None and job.batch.what == "responses"
            try:
                job.ticket = self._feed.add(_requests(job), job.begun if follow else None)
                self._jobs[id(job.ticket)] = job
            except RunError as error:  # of the store
                self._fail(job, EngineFailed(error.message, error.hint))
            except Exception as error:
                self._fail(job, error)

    def _learned(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs whose prompts have ids now; the others have failed, each for its own prompts alone."""
        try:
            self._learn([request for job in jobs for request in _requests(job) if self._compared(request)])
            return list(jobs)
        except Exception as error:
            if len(jobs) == 1:
                self._fail(jobs[0], error)
                return []
        return [job for one in jobs for job in self._learned([one])]

    def _fail(self, job: Job, error: Exception) -> None:
        if not isinstance(error, ItsError | ApiError):  # a bug costs one request, never the server
            say(f"its serve: {''.join(traceback.format_exception(error))}")
        self._end(job, error)

    def _read(self, requests: Sequence[Request]) -> list[Answer]:
        try:
            answers = list(self._feed.read(requests))
        except RunError as error:  # damaged or removed since: the next request generates it again
            raise EngineFailed(error.message, "request it again") from error
        self._check([(request, completion) for request, _, completion in answers])
        for _, _, completion in answers:
            self._metrics.tokens["prompt"] += completion.prompt_tokens
            self._metrics.tokens["completion"] += completion.completion_tokens
        return answers

    def _cancel(self, job: Job) -> None:
        if job.ticket is not None:
            self._jobs.pop(id(job.ticket), None)
            self._feed.cancel(job.ticket)
            job.ticket = None
        if job in self._next:
            self._next.remove(job)
        if job.steps is not None:
            job.steps.close()

    def _end(self, job: Job, error: Exception | None) -> None:
        job.error = error
        if job.steps is not None:
            job.steps.close()
        job.finished(job)


def _requests(job: Job) -> Sequence[Request]:
    return [] if job.batch is None else job.batch.requests


def _chats(requests: Sequence[Request]) -> list[Sequence[Mapping[str, str]]]:
    """The conversations of requests; the samples of a query share theirs."""
    return list({id(request.messages): request.messages for request in requests}.values())
