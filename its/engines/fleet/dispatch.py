"""Use servers as one: which server gets a request, what follows a failed attempt, and when to give up.

Everything runs in one asyncio loop, so nothing here needs a lock; `emit` is the only output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from its.engines.fleet.answers import model_names, parse_answer
from its.engines.fleet.errors import all_declined, check_served, exhausted, key_refused, refused, stuck, unreachable
from its.engines.fleet.events import Events
from its.engines.fleet.pacing import backoff
from its.engines.fleet.scrub import Scrub, quoted
from its.engines.fleet.state import Job, Route, Rules, Server
from its.engines.fleet.wire import CONNECT_SECONDS, NO_TEXT, Failure, exchange, message_of, prompt_failure
from its.engines.protocol import Completion, RefusedError
from its.errors import ItsError

PROBE_SECONDS = 10.0  # for `/models`
FIRST_PROBES = 3  # of a server that cannot be reached at the start
CLOSE_SECONDS = 2.0
REPORT_SECONDS = 0.05
"""The least time between two reports of a text, as of ITS's own workers."""
MOST_DECLINED = 16
"""Requests of a model that are declined, or return no text, before one is answered: so many share a cause
(`max_tokens`, the template, a misconfigured server), and empty responses would say nothing about the model."""
UNLISTED = (400, 403, 404, 405, 501)
"""Statuses without a list of models: there is no such page, or not for this key (hosted services restrict keys to
chat). If the key is rejected altogether, the first request says so."""
NOT_STREAMED = (400, 403, 404, 405, 415, 422, 501)
"""Statuses with which servers refuse the fields of a stream, or streams altogether."""
MOST_MISSED = 2
"""Streams of a model, one after the other, that could not be used; then its answers are requested whole."""
COUNTED = {
    "busy": "rate_limited",
    "unreachable": "dropped",
    "dropped": "dropped",
    "timeout": "timeouts",
    "garbage": "garbage",
    "server_error": "server_errors",
}


class Fleet:
    """The servers and the requests in flight at them.

    Args:
        emit: receives completions, one-line notices, RefusedErrors of cancelled requests, and the exception that ends
            the run.
        scrub: applied to every text of a server.
        log: JSON lines, one for each failed attempt.
        begun: receives the text that a watched response has so far.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        routes: Sequence[Route],
        rules: Rules,
        *,
        emit: Callable[[Completion | str | BaseException], None],
        scrub: Scrub,
        log: Path | None,
        begun: Callable[[Completion], None],
    ) -> None:
        self._begun = begun
        self._servers, self._routes, self._rules = servers, routes, rules
        self._emit, self._scrub, self._log = emit, scrub, log
        self._lines: TextIO | None = None
        self._chance = random.Random()
        self._error: ItsError | None = None
        self._ended = self._closing = False
        self._busy_told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs: dict[str, Job] = {}  # by request_id, until a response to it is there
        self.counts: dict[str, float] = dict.fromkeys(
            [
                "retries",
                *dict.fromkeys(COUNTED.values()),
                "declined",
                "set_aside",
                "prompt_tokens",
                "completion_tokens",
            ],
            0,
        )
        if rules.price is not None:
            self.counts["cost"] = 0.0

    async def survey(self) -> None:
        """Query every server for its models; those that cannot be reached are set aside.

        Only the first model is checked: it is needed now. Models whose responses are all stored need not be served any
        more, so others are checked at their first request.

        Raises:
            MissingError: if none can be reached, or the first model is served by none.
            RunError: if a server rejects its key.
        """
        failures = await asyncio.gather(*(self._query(server, FIRST_PROBES) for server in self._servers))
        lost = [server for server, failure in zip(self._servers, failures, strict=True) if failure is not None]
        for server, failure in zip(self._servers, failures, strict=True):
            if failure is not None and failure.kind == "key":
                raise key_refused(server, failure)
        if len(lost) == len(self._servers):
            raise unreachable(lost)
        check_served(self._routes[:1], [server for server in self._servers if server not in lost], lost)
        for server in lost:
            server.pace.aside = True
            self._set_aside(server)

    async def watch(self) -> None:
        """End the run when a model makes no progress for too long; never returns.

        A request in flight may still be answered until its own timeout, so that time is added while there is one; no
        longer, or servers that delay each request before they report being busy would be retried for ever.
        """
        patience = self._rules.patience_seconds
        while True:
            await asyncio.sleep(min(1.0, patience / 5))
            now = time.monotonic()
            for route in self._routes:
                if not route.outstanding:
                    route.since = now
                    continue
                serving = [server for server in self._servers if server.serves(route.served)]
                quiet = now - max([route.since, *(server.progress for server in serving)])
                under_way = any(server.pace.under_way for server in serving)
                if quiet > patience + (self._rules.timeout_seconds if under_way else 0):
                    remaining = sum(item.outstanding for item in self._routes)
                    self._end(stuck(route, self._servers, remaining, patience, self._log))
                    self._finish()

    async def aclose(self) -> None:
        """Cancel everything in flight and close the connections."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(server.client.aclose() for server in self._servers), return_exceptions=True)
        await asyncio.sleep(0)  # transports report that they are closed in the loop's next round
        if self._lines is not None:
            self._lines.close()

    def accept(self, job: Job) -> None:
        """Queue a request."""
        if not job.route.outstanding:
            job.route.since = time.monotonic()
        if not job.route.requested:
            job.route.requested = True
            lost = [server for server in self._servers if server.pace.aside]
            try:
                check_served([job.route], [server for server in self._servers if server not in lost], lost)
            except ItsError as error:
                self._end(error)
        job.route.outstanding += 1
        self._jobs[job.request.request_id] = job
        job.route.waiting.append(job)
        self._dispatch()

    def cancel(self, names: Collection[str]) -> None:
        """Drop requests: what waits at once, what is in flight with its connection, what pauses after its pause.

        Each is emitted as a RefusedError, unless its response is there first.
        """
        for job in [self._jobs[name] for name in names if name in self._jobs]:
            job.cancelled = True
            if job in job.route.waiting:
                job.route.waiting.remove(job)
                self._drop(job)
            elif job.attempt is not None:
                task, earliest = job.attempt
                # Never at once: a task that is cancelled before its first step does not run at all.
                asyncio.get_running_loop().call_later(max(0.0, earliest - time.monotonic()), task.cancel)

    def _drop(self, job: Job) -> None:
        """Refuse a cancelled request."""
        route, name = job.route, job.request.request_id
        route.outstanding -= 1
        self._jobs.pop(name, None)
        self._emit(RefusedError(name, f"request `{name}` was cancelled"))
        if self._error is None and route.held and len(route.held) == route.outstanding:
            self._release(route)

    def note(self, **line: Any) -> None:
        """Write one line of the log; a log that cannot be written is reported once and given up."""
        if self._log is None:
            return
        try:
            if self._lines is None:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                self._lines = self._log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
            self._lines.write(json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **line}) + "\n")
        except OSError as error:
            self._log = None
            self._emit(f"failed attempts are no longer logged: {error}")

    def _dispatch(self) -> None:
        """Send the requests that may be sent now, the oldest first."""
        if self._error is not None or self._closing:
            self._finish()
            return
        now = time.monotonic()
        up = [server for server in self._servers if server.pace.up(now)]
        if not any(server.pace.room() for server in up):
            return
        for route in sorted((route for route in self._routes if route.waiting), key=lambda r: r.waiting[0].number):
            servers = [server for server in up if server.serves(route.served)]
            passed: list[Job] = []
            while route.waiting and (free := [server for server in servers if server.pace.room()]):
                job = route.waiting.popleft()
                # A job that failed at a server waits for another server, if there is one.
                fit = [server for server in free if server is not job.last or len(servers) == 1]
                if fit:
                    server = min(fit, key=lambda item: item.pace.under_way / item.pace.limit)
                    server.pace.under_way += 1
                    # Cancelling a handshake from outside leaves its socket open.
                    patience = 2 * CONNECT_SECONDS if server.url.startswith("https:") else 0.0
                    job.attempt = self._spawn(self._attempt(job, server)), now + patience
                else:
                    passed.append(job)
            route.waiting.extendleft(reversed(passed))

    def _later(self, seconds: float, job: Job | None = None) -> None:
        """Dispatch again after a pause, with the job that waited for it."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            if job is not None and job.cancelled:
                self._drop(job)
            elif job is not None:
                job.route.waiting.appendleft(job)
            self._dispatch()

        self._spawn(wait())

    async def _attempt(self, job: Job, server: Server) -> None:
        began = time.monotonic()
        outcome: Failure | Completion
        answer: bytes | Completion | Failure | None
        url, seconds = f"{server.url}/chat/completions", self._rules.timeout_seconds
        try:
            answer = await self._watched(job, server, url)
            if answer is None:
                began = time.monotonic()
                answer = await exchange(server.client, "POST", url, seconds, self._scrub, job.body)
        except asyncio.CancelledError:
            if not job.cancelled or self._closing:
                raise
            answer = Failure("dropped", "was left by its client")
        job.attempt = None
        if isinstance(answer, Failure):
            outcome = answer
        else:
            parsed: Completion | str = (
                answer
                if isinstance(answer, Completion)
                else parse_answer(answer, job.request.request_id, job.route.model.fingerprint, job.max_characters)
            )
            if isinstance(parsed, Completion) and self._scrub.in_clear(f"{parsed.text}\n{parsed.thinking or ''}"):
                parsed = "the text contains the key that the server was sent"  # it would be stored, and reported
            if isinstance(parsed, Completion):
                outcome = parsed
            else:  # some gateways put an error under status 200
                blamed = prompt_failure(200, answer, self._scrub) if isinstance(answer, bytes) else None
                outcome = blamed or Failure("garbage", f"gave no usable answer: {quoted(parsed, self._scrub)}", 200)
        now = time.monotonic()
        if isinstance(outcome, Completion):
            if outcome.thinking is None:
                server.plain.add(job.route.served)
            else:
                server.missed[job.route.served] = MOST_MISSED
            server.pace.answered(began, now, outcome.completion_tokens)
            self._charge(outcome)
            if outcome.finish_reason != NO_TEXT:
                self._deliver(job, server, outcome)
        server.pace.under_way -= 1
        request_id = job.request.request_id
        if job.cancelled and isinstance(outcome, Failure):
            self._drop(job)
        elif isinstance(outcome, Failure):
            done = self._failed(job, server, outcome, began, now)
            self.note(server=server.url, status=outcome.status, request=request_id, why=outcome.message, did=done)
        elif outcome.finish_reason == NO_TEXT and isinstance(answer, bytes):
            why = f"answered with neither text nor thinking: {quoted(message_of(answer), self._scrub)}"
            failure = Failure("declined", why, 200, finish_reason=NO_TEXT)
            done = self._decline(job, server, failure, outcome)
            self.note(server=server.url, status=200, request=request_id, why=why, did=done)
        self._dispatch()

    async def _watched(self, job: Job, server: Server, url: str) -> Completion | Failure | None:
        """What a request for the whole answer gives, with reports of its text; None if it must be requested so."""
        route, name = job.route, job.request.request_id
        untried = route.model.thinks and route.served not in server.plain
        if job.watched is None or untried or server.missed[route.served] >= MOST_MISSED:
            return None
        reported = 0.0

        def grew(events: Events) -> None:
            nonlocal reported
            now = time.monotonic()
            if now - reported < REPORT_SECONDS or self._scrub.in_clear(events.text):
                return
            text = events.text[: len(events.text) - self._scrub.open_end(events.text)]
            if text:
                reported = now
                sha256, weights = events.prompt_sha256, route.model.fingerprint
                self._begun(Completion(name, text, "", 0, 0, sha256, weights=weights))

        events = Events(job.max_characters, grew)
        seconds = self._rules.timeout_seconds
        answer = await exchange(server.client, "POST", url, seconds, self._scrub, job.watched, events)
        if isinstance(answer, bytes):
            parsed = parse_answer(answer, name, route.model.fingerprint, job.max_characters)
            if not isinstance(parsed, str):
                server.missed[route.served] = 0
                return parsed
            why, status = quoted(parsed, self._scrub), 200
        elif answer.kind in ("garbage", "refused", "limit", "key") or answer.status in NOT_STREAMED:
            why, status = answer.message, answer.status or 200
        else:
            # The same words as for a whole answer, and the next attempt is one: perhaps only streams fail here.
            job.watched = None if answer.kind in ("dropped", "timeout", "server_error") else job.watched
            return answer
        if events.thinks or status in NOT_STREAMED:
            server.missed[route.served] = MOST_MISSED
        elif not events.empty:
            server.missed[route.served] += 1
        server.trouble, server.progress = why, time.monotonic()  # an attempt of its own, though no failure
        self.counts["unstreamed"] = self.counts.get("unstreamed", 0) + 1
        self.note(server=server.url, status=status, request=name, why=why, did="requests the whole answer")
        return None

    def _charge(self, completion: Completion) -> None:
        self.counts["prompt_tokens"] += completion.prompt_tokens
        self.counts["completion_tokens"] += completion.completion_tokens
        if (price := self._rules.price) is not None:
            cost = completion.prompt_tokens * price.prompt + completion.completion_tokens * price.completion
            self.counts["cost"] += cost / 1e6

    def _deliver(self, job: Job, server: Server, completion: Completion) -> None:
        job.route.outstanding -= 1
        self._jobs.pop(job.request.request_id, None)
        server.progress = time.monotonic()
        job.route.answered = True
        self._release(job.route)
        self._emit(completion)

    def _decline(self, job: Job, server: Server, failure: Failure, completion: Completion | None = None) -> str:
        """Make the refusal of this one prompt its response; delivered once other prompts are known to be answered.

        Args:
            completion: the response, if there was an answer, though without text.
        """
        route = job.route
        if self._error is not None and not route.answered:
            return "dropped: the run is ending"  # perhaps for the cause that such responses share
        server.progress = time.monotonic()
        self._jobs.pop(job.request.request_id, None)
        self.counts["declined"] += 1
        route.held.append(
            completion
            or Completion(job.request.request_id, "", failure.finish_reason, 0, 0, weights=route.model.fingerprint)
        )
        if not route.answered:
            route.declined += 1
            if route.declined >= MOST_DECLINED:
                self._end(all_declined(job, server, failure, route.declined))
                return "gave up"
        if route.answered or len(route.held) == route.outstanding:
            self._release(route)
        return f"kept it as a response without text ({failure.finish_reason})"

    def _release(self, route: Route) -> None:
        route.outstanding -= len(route.held)
        for completion in route.held:
            self._emit(completion)
        route.held.clear()

    def _failed(self, job: Job, server: Server, failure: Failure, began: float, now: float) -> str:
        """Decide what happens to the job; returns it as text for the log."""
        server.trouble = failure.message
        if failure.kind in COUNTED:
            self.counts[COUNTED[failure.kind]] += 1
        if self._error is not None:
            return "dropped: the run is ending"
        if failure.kind == "key":
            self._end(key_refused(server, failure))
            return "gave up"
        if failure.kind == "declined":
            return self._decline(job, server, failure)
        if failure.kind in ("refused", "limit"):
            self._end(refused(job, server, failure))
            return "gave up"
        if failure.kind == "busy":
            self.counts["retries"] += 1
            seconds = server.pace.busy(began, now, failure.wait_seconds)
            if server.url not in self._busy_told:
                self._busy_told.add(server.url)
                self._emit(f"server `{server.url}` {failure.message}; it gets fewer requests at once")
            job.route.waiting.appendleft(job)
            self._later(seconds)
            return f"waits {seconds:.2f} s for the server"
        if failure.kind == "timeout":
            server.pace.late(began, now)
        if server.pace.failed():
            self._set_aside(server)
        job.last = server
        if failure.kind == "unreachable":  # the request never arrived
            self.counts["retries"] += 1
            job.route.waiting.appendleft(job)
            return "retries"
        server.progress = now
        job.failures += 1
        if job.failures > self._rules.retries:
            self._end(exhausted(job, server, failure, self._log))
            return "gave up"
        self.counts["retries"] += 1
        seconds = backoff(job.failures, self._rules.backoff_seconds, self._chance)
        self._later(seconds, job)
        return f"retries in {seconds:.2f} s"

    def _set_aside(self, server: Server) -> None:
        self.counts["set_aside"] += 1
        self._emit(f"server `{server.url}` is set aside: it {server.trouble}")
        self._spawn(self._probe(server))

    async def _probe(self, server: Server) -> None:
        while server.pace.aside:
            await asyncio.sleep(server.pace.probe_seconds())
            if await self._query(server, 1) is None:
                server.pace.back()
                self._emit(f"server `{server.url}` is back")
        self._dispatch()

    async def _query(self, server: Server, tries: int) -> Failure | None:
        """Query a server for its models, which also shows that it is alive."""
        for number in range(1, tries + 1):
            seconds = min(PROBE_SECONDS, self._rules.timeout_seconds)
            found = await exchange(server.client, "GET", f"{server.url}/models", seconds, self._scrub)
            if isinstance(found, bytes):
                names = model_names(found, self._scrub)
                if not isinstance(names, str):
                    server.names = names
                    return None
                found = Failure("garbage", names, 200)
            elif found.status in UNLISTED:
                server.names = None
                return None
            server.trouble = found.message
            self.note(server=server.url, status=found.status, request=None, why=found.message, did="queried /models")
            if found.kind in ("key", "refused") or number == tries:
                return found
            await asyncio.sleep(backoff(number, self._rules.backoff_seconds, self._chance, 0.5))
        raise AssertionError("no tries")

    def _end(self, error: ItsError) -> None:
        """Send nothing more; `_finish` emits the error when nothing is in flight and the log is complete."""
        if self._error is None:
            self._error = error
            if under_way := sum(server.pace.under_way for server in self._servers):
                self._emit(f"{error.message}; the run ends when the {under_way} requests in flight are answered")

    def _finish(self) -> None:
        if self._error is None or self._ended or self._closing:
            return
        if not any(server.pace.under_way for server in self._servers):
            self._ended = True
            self._emit(self._error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._left)
        return task

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._emit(error)  # a bug: the next poll raises it
