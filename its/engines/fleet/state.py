"""The state of a fleet: servers, models, requests, and its rules."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

import httpx2

from its.engines.fleet.pacing import Pace
from its.engines.protocol import Completion, EngineModel, Request


@dataclass(frozen=True)
class TokenPrice:
    """The price of a million tokens."""

    prompt: float
    completion: float


@dataclass(frozen=True)
class Rules:
    """The limits of a fleet; see `OpenAIEngine`."""

    timeout_seconds: float
    retries: int
    backoff_seconds: float
    patience_seconds: float
    price: TokenPrice | None


@dataclass(eq=False)
class Server:
    """A server in use.

    Args:
        names: of the models that it serves; None if it has no list, so it is assumed to serve everything.
        plain: its names of models whose thinking it does not separate, as their whole answers show.
        missed: by its name of a model, how many streams in a row could not be used.
        trouble: its last failure; quoted when the run stops making progress.
        progress: when it last answered, or failed in a way that counts against a request.
    """

    url: str
    key_variable: str | None
    client: httpx2.AsyncClient
    pace: Pace
    names: set[str] | None = None
    plain: set[str] = field(default_factory=set)
    missed: Counter[str] = field(default_factory=Counter)
    trouble: str = ""
    progress: float = 0.0

    def serves(self, name: str) -> bool:
        """Whether it lists a model of that name, or has no list."""
        return self.names is None or name in self.names


@dataclass(eq=False)
class Route:
    """A model, its name at the servers, and its requests.

    Args:
        since: when it last had no requests.
        requested: whether it has had a request.
        answered: whether one was answered.
        declined: how many were declined before that.
        held: declined ones that are not delivered yet.
    """

    model: EngineModel
    served: str
    waiting: deque[Job] = field(default_factory=deque)
    outstanding: int = 0
    since: float = 0.0
    requested: bool = False
    answered: bool = False
    declined: int = 0
    held: list[Completion] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """A request until it is answered. It is in one place at a time: waiting, in flight, or pausing.

    Args:
        number: in order of submission.
        max_characters: limit of its answer.
        watched: the body that requests its answer as a stream, if somebody follows it.
        failures: those that count against it.
        last: the server of its last failure; another one is preferred.
        attempt: the task of its attempt, while it is in flight, and the time from which it may be cancelled.
        cancelled: nobody waits for it.
    """

    number: int
    request: Request
    route: Route
    body: bytes
    max_characters: int
    watched: bytes | None = None
    failures: int = 0
    last: Server | None = None
    attempt: tuple[asyncio.Task[None], float] | None = None
    cancelled: bool = False
