"""The interface of an engine: submit requests, poll completions, which come back in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from its.errors import RunError


@dataclass(frozen=True)
class Request:
    """One response to generate.

    Args:
        request_id: the caller's name for it, unique among the requests in flight; it does not affect the response.
        messages: chat turns as {role, content}.
        sampling: temperature, top_p, max_tokens, stop, and the other settings of the recipe that are given; `extra` has
            settings of the engine by its own names, `thinking_marks` the marks that a `thinking_budget` counts between.
        seed: of this response alone.
        sample_index: which of n responses to the same messages.
        start: the beginning of the answer, which the model continues; the completion's text is what follows it.
        model: the name (`EngineModel.name`) of the model that answers.
        follow: whether the engine reports its text while it is generated (`Engine.begun`), if it can.
    """

    request_id: str
    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    seed: int
    sample_index: int = 0
    start: str | None = None
    model: str = ""
    follow: bool = False

    def determinants(self) -> dict[str, Any]:
        """The part of the request that determines the response; greedy decoding has no seed."""
        return {
            "messages": self.messages,
            "sampling": self.sampling,
            "seed": self.seed if self.sampling["temperature"] else None,
            "sample_index": self.sample_index,
            "start": self.start,
        }


@dataclass(frozen=True)
class Completion:
    """An engine's response to one request, or what it has generated of one so far.

    Args:
        finish_reason: "" while it is generated; then the counts of tokens are 0.
        weights: fingerprint of the weights that the engine had in use.
        prompt_sha256: of the prompt's token ids, joined with commas; None if the engine does not report them.
        thinking, thinking_tokens: reasoning that the engine returned separately from `text`; its tokens are included
            in `completion_tokens`.
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
        chat_template: replaces the chat template in `path`, in training and in the engine; the fingerprint covers it.
        template_kwargs: sent with each request to a server, which has its own chat template; `chat_template` has them.
        adapter: folder of a LoRA adapter over the model in `path`; the fingerprint covers both.
        group: models of one group differ only in their weights (same architecture, tokenizer, template, end of turn),
            so one engine serves them in turn; "" puts the model in its own group.
        thinking_marks: start and end of reasoning, where a request to the model may limit it.
        thinks: whether the recipe declares that it reasons.
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
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking_marks: tuple[str, str] | None = None
    thinks: bool = False


class RefusedError(RunError):
    """The engine refused one request and goes on with the others.

    Args:
        request_id: of the request.
    """

    def __init__(self, request_id: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.request_id = request_id


class EngineDeathError(RunError):
    """The engine's process ended, or wrote what is not a message; the responses before that stay valid."""


class SwapError(RunError):
    """The engine cannot swap in other weights; no response was generated with half-loaded ones."""


class Engine(Protocol):
    """A running engine with one or more models. One thread uses it: submit up to `window` requests, then poll."""

    window: int
    """How many requests it wants in flight; more would only wait, fewer leave it idle."""
    counts: dict[str, float]
    """Counts specific to this engine (retries, cost), for the stage's cost rows."""

    def submit(self, request: Request) -> None:
        """Queue a request; returns at once. The caller keeps at most `window` requests in flight.

        A dead engine is reported by `poll`, after the completions that it still delivered.
        """

    def poll(self, timeout_seconds: float) -> list[Completion]:
        """The completions since the last call; waits up to the timeout for the first, so the list may be empty.

        Each submitted request comes back exactly once.

        Raises:
            RunError: if the engine died or a request cannot be answered; earlier completions stay valid.
            RefusedError: if a request cannot be answered and the engine can answer the others.
            SwapError: if it cannot switch to another model; then each of its models needs its own engine.
        """

    def wake(self) -> None:
        """Have a `poll` that waits return now, or the next one at once; for any thread."""

    def begun(self) -> list[Completion]:
        """What has been generated so far of the requests to `follow` whose text grew, as known at the last `poll`.

        A text may begin again: another worker generates it. Engines that report none return [].
        """

    def cancel(self, request_ids: Collection[str]) -> None:
        """Stop working on submitted requests, as far as the engine can; returns at once.

        Each still comes back once: completed, or as a RefusedError.
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
