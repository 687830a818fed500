"""What a fleet is made of: servers, models, requests, and the rules it is held to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import httpx2

from its.engines.fleet.pacing import Pace
from its.engines.protocol import Completion, EngineModel, Request


@dataclass(frozen=True)
class TokenPrice:
    """What a million tokens cost."""

    prompt: float
    completion: float


@dataclass(frozen=True)
class Rules:
    """What the fleet is held to; see `OpenAIEngine`."""

    timeout_seconds: float
    retries: int
    backoff_seconds: float
    patience_seconds: float
    price: TokenPrice | None


@dataclass(eq=False)
class Server:
    """A server under way.

    Args:
        names: of the models that it serves; None: it does not tell, so it is taken to serve everything.
        trouble: the last thing that went wrong; told when nothing goes on.
        progress: when it last gave an answer, or failed in a way that counts against a request.
    """

    url: str
    key_variable: str | None
    client: httpx2.AsyncClient
    pace: Pace
    names: set[str] | None = None
    trouble: str = ""
    progress: float = 0.0

    def serves(self, name: str) -> bool:
        """Whether it has a model of that name, as far as it tells."""
        return self.names is None or name in self.names


@dataclass(eq=False)
class Route:
    """A model, the name that servers have for it, and its requests.

    Args:
        since: when it last was without any.
        asked: whether there was one yet.
        answered: whether one of them was answered.
        declined: how many were not taken before that.
        held: those of them that are not told yet.
    """

    model: EngineModel
    served: str
    waiting: deque[Job] = field(default_factory=deque)
    outstanding: int = 0
    since: float = 0.0
    asked: bool = False
    answered: bool = False
    declined: int = 0
    held: list[Completion] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """A request until it is answered. It is in one place at a time: waiting, under way, or in a pause.

    Args:
        number: in order of submission.
        max_characters: characters that its answer may have.
        failures: those that count against it.
        last: the server that failed it last; another one is preferred.
    """

    number: int
    request: Request
    route: Route
    body: bytes
    max_characters: int
    failures: int = 0
    last: Server | None = None
