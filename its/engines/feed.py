"""Responses for many callers over one session, whose requests come and go while an engine runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from its.engines.protocol import RefusedError, Request
from its.engines.session import OTHERS_SECONDS, Ensuring, Session
from its.engines.steps import Answer
from its.errors import ItsError

PATIENCE_SECONDS = 15.0
"""How long the first request in the queue lets others pass whose model the running engine serves."""


@dataclass(eq=False)
class Ticket:
    """The requests of one caller.

    Args:
        requests: as the caller named them.
        since: when they came, by `time.monotonic`.
        generated: how many responses were not in the store.
        failed: why there will be no responses.
        begun: receives the place of a request among them and the text that it has so far, as the engine reports it.
    """

    requests: Sequence[Request]
    since: float
    begun: Callable[[int, str], None] | None = None
    waiting: set[str] = field(default_factory=set)
    generated: int = 0
    failed: ItsError | None = None


class Feed:
    """Serves tickets over one session; for the thread of the session's store.

    Equal requests of several tickets are generated once. A refused request fails its ticket alone. If the engine dies,
    the tickets fail that it was working for, and the others go on with the next engine.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tickets: dict[str, Ticket] = {}  # by the name of each request that has no response yet
        self._named = 0
        self._done: list[Ticket] = []
        self._collecting = False
        self._stopped: set[str] = set()  # what the engine was told to stop; no name comes twice
        self._followed: dict[str, list[tuple[Ticket, int]]] = {}  # by key: which requests of which callers
        self._checked: dict[str, tuple[str | None, str]] = {}  # by key: prompt and weights of what is under way
        self._ensuring = Ensuring(session, self._finished)
        self._woken = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._done or self._tickets or self._ensuring.under_way)

    @property
    def under_way(self) -> int:
        """Requests at the engine."""
        return len(self._ensuring.under_way)

    @property
    def waiting(self) -> int:
        """Requests that the engine does not have yet."""
        return len(self._ensuring.missing)

    def add(self, requests: Sequence[Request], begun: Callable[[int, str], None] | None = None) -> Ticket:
        """Queue requests; `step` returns the ticket when all have responses, or one was refused.

        Args:
            begun: as `Ticket.begun`; within `step`, and never for what is stored.
        """
        ticket = Ticket(list(requests), time.monotonic(), begun)
        named = []
        for index, request in enumerate(requests):
            self._named += 1  # callers name their requests alike, and an engine tells them apart by their names
            name = f"{self._named}:{request.request_id}"
            named.append(replace(request, request_id=name, follow=begun is not None))
            if begun is not None:
                self._followed.setdefault(self._session.key_of(request), []).append((ticket, index))
        ticket.waiting = {request.request_id for request in named}
        self._tickets |= dict.fromkeys(ticket.waiting, ticket)
        if not named:
            self._done.append(ticket)
        try:
            self._ensuring.look_up(named)
        except BaseException:
            self.cancel(ticket)
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Drop what no other ticket waits for: what an engine does not have at once, the rest when it has stopped.

        A response that is finished all the same is stored. Claims of what is dropped end, so that another process may
        request it.
        """
        for name in ticket.waiting:
            self._tickets.pop(name, None)
        if ticket in self._done:
            self._done.remove(ticket)
        self._forget(ticket.waiting)
        ticket.waiting = set()
        self._unfollow(ticket)
        self._stop_unwanted()

    def read(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """The answers to requests of a ticket that is done, as `Session.read`."""
        return self._session.read(requests)

    def step(self, seconds: float) -> list[Ticket]:
        """Submit what there is room for, wait for responses that long, and return the tickets that are done.

        Raises:
            ItsError: if the engine died or did not start, or the store failed; then call `abandon`.
        """
        self._let_pass()
        self._ensuring.submit()
        if self._ensuring.under_way:
            self._collecting = True
            waiting = len(self._ensuring.missing)
            try:
                self._ensuring.collect(0.0 if self._done else seconds)
            except RefusedError as error:
                self._refused(error)
            finally:
                self._collecting = False
            self._pass_on()
            if len(self._ensuring.missing) > waiting:  # weights that cannot be swapped: requests wait again
                self._forget({item[1].request_id for item in self._ensuring.missing} - self._tickets.keys())
        elif self._ensuring.others and not self._done:
            self._woken.wait(seconds)
            self._woken.clear()
        if self._ensuring.others and (self._done or time.monotonic() - self._ensuring.looked >= OTHERS_SECONDS):
            self._ensuring.look_at_others()
        return self._done_and_clear()

    def wake(self) -> None:
        """Have a `step` that waits return soon; for any thread."""
        self._woken.set()
        self._session.wake()

    def abandon(self, error: ItsError) -> list[Ticket]:
        """Close the engine; the tickets that it was working for, failed. The others wait for the next engine."""
        ensuring = self._ensuring
        ensuring.under_way.clear()
        ensuring.keys.clear()
        self._session.close_engine()
        self._session.store.release()
        kept = {request.request_id for _, request in ensuring.missing}
        kept |= {request.request_id for several in ensuring.others.values() for request in several}
        failed = {id(ticket): ticket for name, ticket in self._tickets.items() if name not in kept}
        return [*self._done_and_clear(), *(self._fail(ticket, error) for ticket in failed.values())]

    def clear(self, error: ItsError) -> list[Ticket]:
        """All tickets that still wait, failed."""
        failed = {id(ticket): ticket for ticket in self._tickets.values()}
        return [self._fail(ticket, error) for ticket in failed.values()]

    def _done_and_clear(self) -> list[Ticket]:
        done, self._done = self._done, []
        for ticket in done:
            self._unfollow(ticket)
        return done

    def _unfollow(self, ticket: Ticket) -> None:
        if ticket.begun is None:
            return
        for key, several in list(self._followed.items()):
            left = [item for item in several if item[0] is not ticket]
            if left:
                self._followed[key] = left
            else:
                del self._followed[key]

    def _pass_on(self) -> None:
        """Report to the followers of what is under way how far it is; nobody sees what is not checked."""
        for part in self._session.begun():
            found = self._ensuring.under_way.get(part.request_id)
            if found is None:
                continue  # answered since
            key, request = found
            behind = part.prompt_sha256, part.weights
            if self._checked.get(key) != behind:
                self._session.checked([(request, part)])
                self._checked[key] = behind
            for ticket, index in self._followed.get(key, ()):
                assert ticket.begun is not None
                ticket.begun(index, part.text)
        if self._checked:
            self._checked = {key: item for key, item in self._checked.items() if key in self._ensuring.keys}

    def _fail(self, ticket: Ticket, error: ItsError) -> Ticket:
        self.cancel(ticket)
        ticket.failed = error
        return ticket

    def _refused(self, error: RefusedError) -> None:
        found = self._ensuring.under_way.pop(error.request_id, None)
        if found is None:
            raise error
        key, ensuring = found[0], self._ensuring
        ensuring.keys.discard(key)
        ticket = self._tickets.get(error.request_id)
        if ticket is None and key in ensuring.others:  # requested again since it was cancelled: still claimed by us
            ensuring.missing.extendleft((key, request) for request in reversed(ensuring.others.pop(key)))
            return
        self._session.store.give_up([key])
        if ticket is not None:
            self._done.append(self._fail(ticket, RefusedError(error.request_id.partition(":")[2], *_told(error))))

    def _finished(self, request: Request, _: int) -> None:
        ticket = self._tickets.pop(request.request_id, None)
        if ticket is None:
            return  # its caller left
        ticket.waiting.discard(request.request_id)
        ticket.generated += self._collecting
        if not ticket.waiting:
            self._done.append(ticket)

    def _forget(self, names: set[str]) -> None:
        ensuring = self._ensuring
        if not names:
            return
        kept = [item for item in ensuring.missing if item[1].request_id not in names]
        # Some are claimed: taken over from a dead process, or back from an engine that could not swap weights.
        dropped = {key for key, request in ensuring.missing if request.request_id in names}
        ensuring.missing.clear()
        ensuring.missing.extend(kept)
        self._session.store.give_up(sorted(dropped - {key for key, _ in kept} - ensuring.keys))
        for key, several in list(ensuring.others.items()):
            left = [request for request in several if request.request_id not in names]
            if left:
                ensuring.others[key] = left
            else:
                del ensuring.others[key]

    def _stop_unwanted(self) -> None:
        """Have the engine stop what no ticket waits for, under its own name or that of an equal request."""
        ensuring = self._ensuring
        wanted = ensuring.others.keys() | {key for key, _ in ensuring.missing}
        self._stopped &= ensuring.under_way.keys()
        unwanted = {
            name
            for name, (key, _) in ensuring.under_way.items()
            if name not in self._tickets and key not in wanted and name not in self._stopped
        }
        if unwanted:
            self._stopped |= unwanted
            self._session.cancel(unwanted)

    def _let_pass(self) -> None:
        """Requests that the running engine serves go first, as long as the first one has not waited for long."""
        missing = self._ensuring.missing
        serves = self._session.serves
        if not missing or serves(missing[0][1].model) or not any(serves(item[1].model) for item in missing):
            return
        ticket = self._tickets.get(missing[0][1].request_id)
        if ticket is not None and time.monotonic() - ticket.since > PATIENCE_SECONDS:
            return
        ordered = sorted(missing, key=lambda item: not serves(item[1].model))
        missing.clear()
        missing.extend(ordered)


def _told(error: ItsError) -> tuple[str, str | None]:
    name = getattr(error, "request_id", "")
    return error.message.replace(f"`{name}`", f"`{name.partition(':')[2]}`"), error.hint
