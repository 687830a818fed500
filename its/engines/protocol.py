"""What engines agree on: a request goes in, a completion comes out when it is ready, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One response wanted.

    Args:
        request_id: the caller's name for it, unique in a run; not part of what determines the response.
        messages: chat turns as {role, content}.
        sampling: temperature, top_p, max_tokens, stop.
        seed: of this response alone.
        sample_index: which of n responses to the same messages.
        start: a started answer that the model goes on with; the completion's text is what follows it.
    """

    request_id: str
    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    seed: int
    sample_index: int = 0
    start: str | None = None

    def determinants(self) -> dict[str, Any]:
        """What determines the response on the request's side."""
        return {
            "messages": self.messages,
            "sampling": self.sampling,
            "seed": self.seed,
            "sample_index": self.sample_index,
            "start": self.start,
        }


@dataclass(frozen=True)
class Completion:
    """What an engine gave for one request; `prompt_sha256` is of the prompt's token ids, joined with commas."""

    request_id: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    prompt_sha256: str | None = None


@dataclass(frozen=True)
class EngineModel:
    """A model ready to be served: a folder or a hub id at a revision, and the fingerprint of weights and tokenizer."""

    name: str
    path: str
    fingerprint: str
    dtype: str
    context_length: int
    trust_remote_code: bool = False
    offline: bool = True
    revision: str | None = None


class Engine(Protocol):
    """A running engine with one model."""

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield completions as they finish, each request exactly once.

        Raises:
            RunError: if the engine dies; what was yielded before stays valid.
        """

    def close(self) -> None:
        """Stop the engine and everything it started."""


@dataclass
class Tally:
    """Counts of one stage's requests."""

    requests: int = 0
    asked: int = 0
    from_store: int = 0
    tokens: int = 0
    seconds: float = 0.0
    engines: int = 0
