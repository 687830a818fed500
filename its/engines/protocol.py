"""What engines agree on: requests are submitted, completions come back as they are ready, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from its.errors import RunError


@dataclass(frozen=True)
class Request:
    """One response wanted.

    Args:
        request_id: the caller's name for it, unique among the requests under way; not part of what determines the
            response.
        messages: chat turns as {role, content}.
        sampling: temperature, top_p, max_tokens, stop.
        seed: of this response alone.
        sample_index: which of n responses to the same messages.
        start: a started answer that the model goes on with; the completion's text is what follows it.
        model: which of the session's models answers, by its name (`EngineModel.name`).
    """

    request_id: str
    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    seed: int
    sample_index: int = 0
    start: str | None = None
    model: str = ""

    def determinants(self) -> dict[str, Any]:
        """What determines the response on the request's side; greedy decoding has no seed."""
        return {
            "messages": self.messages,
            "sampling": self.sampling,
            "seed": self.seed if self.sampling["temperature"] else None,
            "sample_index": self.sample_index,
            "start": self.start,
        }


@dataclass(frozen=True)
class Completion:
    """What an engine gave for one request.

    Args:
        weights: fingerprint of the weights that answered, as the engine had them in use.
        prompt_sha256: of the prompt's token ids, joined with commas; None where an engine does not tell them.
        thinking, thinking_tokens: reasoning that the engine gave apart from `text`; its tokens are part of
            `completion_tokens`.
    """

    request_id: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    prompt_sha256: str | None = None
    thinking: str | None = None
    thinking_tokens: int | None = None
    weights: str = ""


@dataclass(frozen=True)
class EngineModel:
    """A model ready to be served: a folder or a hub id at a revision, and the fingerprint of weights and tokenizer.

    Args:
        chat_template: what stands in for the chat template in `path`, in training and engine alike; the fingerprint
            covers it.
        adapter: folder of a LoRA adapter over the model in `path`; the fingerprint covers both.
        group: models of one group differ in their weights alone (same architecture, tokenizer, template, end of turn),
            so one engine serves them in turn; "" is a group of its own.
    """

    name: str
    path: str
    fingerprint: str
    dtype: str
    context_length: int
    trust_remote_code: bool = False
    offline: bool = True
    revision: str | None = None
    adapter: str | None = None
    group: str = ""
    chat_template: str | None = None


class SwapError(RunError):
    """The engine cannot put other weights in place of its own; nothing was answered with half of them."""


class Engine(Protocol):
    """A running engine with one or more models. One thread uses it: submit up to `window` requests, then poll."""

    window: int
    """How many requests it wants under way; more would only wait, fewer leave it idle."""
    counts: dict[str, float]
    """What only this engine counts (retries, cost), for the account of the stage."""

    def submit(self, request: Request) -> None:
        """Hand over a request; returns at once. The caller keeps at most `window` requests unanswered.

        That an engine is dead is told by `poll`, after what it still answered.
        """

    def poll(self, timeout_seconds: float) -> list[Completion]:
        """What finished since the last call; waits up to the timeout for the first, so the list may be empty.

        Each submitted request comes back exactly once.

        Raises:
            RunError: if the engine died or a request cannot be answered; what came back before stays valid.
            SwapError: if it cannot go on to another model; each of its models wants an engine of its own.
        """

    def close(self) -> None:
        """Stop the engine and everything it started; may be called twice."""


@dataclass
class RequestCounts:
    """Counts of one model's requests; `tokens` and `seconds` cover the generated ones, without loading the model."""

    requests: int = 0
    generated: int = 0
    from_store: int = 0
    tokens: int = 0
    seconds: float = 0.0
