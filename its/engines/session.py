"""Ask an engine only for what the store does not have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from its.engines.protocol import Completion, Engine, Request, Tally
from its.errors import MissingError
from its.store import Store, request_key


class Session:
    """One model and its settings over a store; the engine starts at the first request that is not stored.

    Args:
        store: where responses are found and kept.
        identity: what determines a response beside the request: model fingerprint, engine, its settings and lock.
        start: starts the engine; None is replay: what is missing is an error.
    """

    def __init__(self, store: Store, identity: Mapping[str, Any], start: Callable[[], Engine] | None) -> None:
        self._store = store
        self._identity = dict(identity)
        self._start = start
        self._engine: Engine | None = None
        self.tally = Tally()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._engine is not None:
            self._engine.close()

    def key_of(self, request: Request) -> str:
        """The store key of a request under this session's identity."""
        return request_key({**self._identity, **request.determinants()})

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str, Completion]]:
        """Yield (request, key, completion), stored ones first, then others as they finish and are committed.

        Two requests with one key are asked once.

        Raises:
            MissingError: on replay, if a response is not stored.
            RunError: if the engine dies; what was yielded is stored.
        """
        began = time.monotonic()
        by_key: dict[str, list[Request]] = {}
        for request in requests:
            by_key.setdefault(self.key_of(request), []).append(request)
        self.tally.requests += len(requests)
        missing = dict(by_key)
        for key, stored in self._store.find(list(by_key)):
            for request in missing.pop(key):
                self.tally.from_store += 1
                self.tally.tokens += stored["completion_tokens"]
                yield request, key, Completion(request_id=request.request_id, **stored)
        if missing:
            yield from self._ask(missing)
        self.tally.seconds += time.monotonic() - began

    def _ask(self, missing: dict[str, list[Request]]) -> Iterator[tuple[Request, str, Completion]]:
        if self._start is None:
            raise MissingError(
                f"{len(missing)} responses are not in the store {self._store.path}",
                "`engine.kind: replay` only reads; import the store that holds them, or use `vllm`",
            )
        if self._engine is None:
            self._engine = self._start()
            self.tally.engines += 1
        keys = {requests[0].request_id: key for key, requests in missing.items()}
        for completion in self._engine.complete([requests[0] for requests in missing.values()]):
            key = keys[completion.request_id]
            body: dict[str, Any] = {
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "prompt_tokens": completion.prompt_tokens,
                "completion_tokens": completion.completion_tokens,
                "prompt_sha256": completion.prompt_sha256,
            }
            first = missing[key][0]
            self._store.put(key, {**self._identity, **first.determinants()}, body)
            self.tally.asked += 1
            for request in missing[key]:
                self.tally.tokens += completion.completion_tokens
                yield request, key, Completion(request_id=request.request_id, **body)
