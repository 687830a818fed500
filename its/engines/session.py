"""Generate the responses that the store does not have, and store each as soon as it is there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

from its.engines.protocol import Completion, Engine, EngineModel, Request, RequestCounts, SwapError
from its.errors import RunError
from its.shown import counted
from its.store import Store, response_key
from its.store.database import PutItem
from its.store.validation import check_response

CHUNK = 512  # keys looked up at once, and the most requests kept in memory before they are submitted or skipped
POLL_SECONDS = 1.0
OTHERS_SECONDS = 0.5  # how often to look for responses that another process is generating

FIRST = 32  # requests claimed before an engine runs

_REQUIRED = ("text", "finish_reason", "prompt_tokens", "completion_tokens")  # from every engine
_OPTIONAL = ("prompt_sha256", "thinking", "thinking_tokens")

Finished = Callable[[Request, int], None]
Check = Callable[[list[tuple[Request, Completion]]], None]


class Session:
    """Models over one store and at most one running engine, which starts at the first request that is not stored.

    Two passes keep memory flat however many requests there are: `ensure` streams them and stores missing responses,
    `read` streams them again and yields the stored responses in order. Processes that share the store generate each
    response once: one claims the request, the others wait for its response, or for the claimant's death.

    Args:
        store: where responses are looked up and stored.
        models: the models that requests may name.
        sessions: by model name, the hash by which the store identifies what determines its responses besides the
            request.
        groups: models that one engine serves; the running engine is closed before another group's starts.
        start: starts the engine of a group; the group's first model is needed first.
        say: receives messages for the user.
        shared: one engine serves all models, whatever their groups, which are then its own matter.

    `check` receives an engine's responses before they are stored, and raises if one must not be stored.
    """

    def __init__(
        self,
        store: Store,
        models: Iterable[EngineModel],
        sessions: Mapping[str, str],
        groups: list[list[EngineModel]],
        start: Callable[[list[EngineModel]], Engine],
        say: Callable[[str], None],
        *,
        shared: bool = False,
    ) -> None:
        self.store = store
        self.models = {model.name: model for model in models}
        self.sessions = dict(sessions)
        self.counts = {name: RequestCounts() for name in self.models}
        self.engine_counts: dict[str, float] = {}
        self.say = say
        self.check: Check = lambda answers: None
        self._groups = groups
        self._start = start
        self._shared = shared
        self._engine: Engine | None = None
        self._serves: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close_engine()
        self.store.release()

    def key_of(self, request: Request) -> str:
        """The store key of a request to its model."""
        return response_key(self.sessions[request.model], request.determinants())

    def ensure(self, requests: Iterable[Request], finished: Finished = lambda request, tokens: None) -> None:
        """Make sure that every request's response is stored; generate the missing ones, in the order given.

        Keep requests to one model together: where the model changes, weights are swapped or an engine is started.

        Args:
            finished: called once for each request when its response is stored, with the tokens just generated (0 for
                one that was stored before).

        Raises:
            MissingError: on replay, if responses are not stored.
            RunError: if the engine dies; the responses before that are stored.
        """
        Ensuring(self, finished).run(requests)

    def read(self, requests: Iterable[Request]) -> Iterator[tuple[Request, str, Completion]]:
        """Yield (request, key, completion) of requests whose responses are stored, in their order.

        Raises:
            RunError: if one is not: it was damaged or removed since `ensure`, or is not a completion and is removed.
        """
        for chunk in chunks(requests):
            keyed = [(self.key_of(request), request) for request in chunk]
            # One body at a time: a chunk of the longest ones does not fit into the memory.
            found = self.store.find(list(dict.fromkeys(key for key, _ in keyed)))
            seen: set[str] = set()
            for key, request in keyed:
                body = dict(self.store.find([key])).get(key) if key in seen else _body_of(found, key)
                seen.add(key)
                if body is None:
                    raise RunError(
                        f"the response to `{request.request_id}` was in the store a moment ago and is damaged or gone",
                        "run the stage again: it generates this response again",
                    )
                completion = _completion(request, self.models[request.model].fingerprint, body)
                if completion is None:
                    self.store.discard(key)
                    raise RunError(
                        f"the stored response to `{request.request_id}` is not a completion and was removed",
                        "run the stage again: it generates this response again",
                    )
                yield request, key, completion

    def engine_of(self, model: str) -> Engine:
        """The running engine if it serves the model, else its group's engine, started now."""
        if self._engine is None or model not in self._serves:
            self.close_engine()
            group = list(self.models.values()) if self._shared else self._group(model)
            self._engine = self._start(sorted(group, key=lambda item: item.name != model))
            self._serves = {item.name for item in group}
        return self._engine

    def serves(self, model: str) -> bool:
        """Whether the running engine serves the model."""
        return self._engine is not None and model in self._serves

    def engine_index(self, model: str) -> int:
        """Which of the session's engines serves a model, counted in the order of their first models.

        Requests in this order start each engine once: a full checkpoint and an adapter have different engines.
        """
        found = (index for index, group in enumerate(self._groups) if any(item.name == model for item in group))
        return next(found, 0)  # replay has no engine

    def checked(self, answers: list[tuple[Request, Completion]]) -> None:
        """Check what an engine answered, wholly or in part, before anyone sees it.

        Raises:
            RunError: if the weights in use were others, or `check` raises.
        """
        for request, completion in answers:
            wanted = self.models[request.model].fingerprint
            if completion.weights != wanted:
                raise RunError(
                    f"the engine answered `{request.request_id}` with the weights `{completion.weights[:20]}` instead "
                    f"of `{wanted[:20]}`; the response was not stored",
                    "this is a bug in ITS: please report it",
                )
        self.check(answers)

    def begun(self) -> list[Completion]:
        """What the running engine has generated so far of requests to follow, since the last call; not checked."""
        return [] if self._engine is None else self._engine.begun()

    def wake(self) -> None:
        """Have a running engine's `poll` return now; for any thread."""
        engine = self._engine
        if engine is not None:
            engine.wake()

    def cancel(self, request_ids: Collection[str]) -> None:
        """Have the running engine stop working on requests that it was sent."""
        if self._engine is not None:
            self._engine.cancel(request_ids)

    def split_group(self, model: str) -> None:
        """Give every model of this one's group its own engine."""
        self.close_engine()
        group = self._group(model)
        self._groups = [other for other in self._groups if other is not group] + [[item] for item in group]

    def _group(self, model: str) -> list[EngineModel]:
        return next(group for group in self._groups if any(item.name == model for item in group))

    def close_engine(self) -> None:
        """Stop the running engine, if there is one; the next request that is not stored starts one again."""
        if self._engine is not None:
            for name, value in self._engine.counts.items():
                self.engine_counts[name] = self.engine_counts.get(name, 0) + value
            self._engine.close()
            self._engine = None


class Ensuring:
    """One `ensure`: look up, claim, submit and store; wait for what other processes generate."""

    def __init__(self, session: Session, finished: Finished) -> None:
        self._session, self._store, self._finished = session, session.store, finished
        self.missing: deque[tuple[str, Request]] = deque()  # not stored when it was looked up, not submitted
        self.under_way: dict[str, tuple[str, Request]] = {}  # by request_id: claimed and submitted
        self.keys: set[str] = set()  # of what is under way
        self.others: dict[str, list[Request]] = {}  # by key: claimed by another process, or under way for a twin
        self.looked = self._marked = time.monotonic()
        self._announced = False

    def run(self, requests: Iterable[Request]) -> None:
        rest = chunks(requests)
        exhausted = False
        while True:
            while not exhausted and len(self.missing) < CHUNK:
                if chunk := next(rest, None):
                    self.look_up(chunk)
                else:
                    exhausted = True
            self.submit()
            if self.under_way:
                self.collect(POLL_SECONDS)
            elif self.others:
                time.sleep(OTHERS_SECONDS)
            elif exhausted and not self.missing:
                return
            if self.others and (time.monotonic() - self.looked >= OTHERS_SECONDS or len(self.others) > CHUNK):
                self.look_at_others()

    def look_up(self, requests: list[Request]) -> None:
        keyed = [(self._session.key_of(request), request) for request in requests]
        damaged = self._store.damaged
        stored = self._store.contains([key for key, _ in keyed])
        if self._store.damaged > damaged:
            again = counted(self._store.damaged - damaged, "damaged response is", "damaged responses are")
            self._session.say(f"the store: {again} generated again")
        for key, request in keyed:
            self._session.counts[request.model].requests += 1
            if key in stored:
                self._was_stored(request)
            else:
                self.missing.append((key, request))

    def submit(self) -> None:
        """Fill the engine's window when a quarter of it is free. One engine at a time: another group's waits."""
        while self.missing:
            model = self.missing[0][1].model
            ready = self._session.serves(model)
            if self.under_way and not ready:
                return
            # Before an engine runs its window is unknown, and none should start for another process's requests.
            window = self._session.engine_of(model).window if ready else FIRST
            free = window - len(self.under_way)
            if free <= 0 or (self.under_way and free < window // 4):
                return
            batch: list[tuple[str, Request]] = []
            while self.missing and len(batch) < free:
                if self.missing[0][1].model != model and not self._session.serves(self.missing[0][1].model):
                    break
                batch.append(self.missing.popleft())
            claimed = self._store.claim(list({key for key, _ in batch} - self.keys))
            for key, request in batch:
                if key in claimed and key not in self.keys:
                    self.keys.add(key)
                    self.under_way[request.request_id] = (key, request)
                    self._session.engine_of(request.model).submit(request)
                else:
                    self.others.setdefault(key, []).append(request)

    def collect(self, seconds: float) -> None:
        model = next(iter(self.under_way.values()))[1].model
        try:
            completions = self._session.engine_of(model).poll(seconds)
        except SwapError as error:
            self._session.say(f"{error.message}: each model gets its own engine from here on")
            self._session.split_group(model)
            self.missing.extendleft(reversed(self.under_way.values()))  # still claimed by us
            self.under_way.clear()
            self.keys.clear()
            return
        if not completions:
            return
        items: list[PutItem] = []
        done: list[Request] = []
        for completion in completions:
            key, request = self.under_way.pop(completion.request_id)
            self.keys.discard(key)
            items.append(PutItem(key, self._session.sessions[request.model], request.determinants(), _body(completion)))
            done.append(request)
        self._session.checked(list(zip(done, completions, strict=True)))
        self._store.put_many(items)
        now = time.monotonic()
        for request, completion in zip(done, completions, strict=True):
            counts = self._session.counts[request.model]
            counts.generated += 1
            counts.tokens += completion.completion_tokens
            counts.seconds += (now - self._marked) / len(done)
            self._finished(request, completion.completion_tokens)
        self._marked = now

    def look_at_others(self) -> None:
        """Count what other processes have stored since; take over the requests of a dead one."""
        self.looked = time.monotonic()
        for key in self._store.contains(list(self.others)):
            for request in self.others.pop(key):
                self._was_stored(request)
        left = [key for key in self.others if key not in self.keys]
        for key in self._store.claim(left):
            self.missing.extend((key, request) for request in self.others.pop(key))
        theirs = sum(key in self.others for key in left)
        if theirs and not self.under_way and not self._announced:
            self._announced = True
            self._session.say(f"another process is generating {theirs} of these responses: waiting for them")

    def _was_stored(self, request: Request) -> None:
        self._session.counts[request.model].from_store += 1
        self._finished(request, 0)


def _body(completion: Completion) -> dict[str, Any]:
    body: dict[str, Any] = {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "prompt_sha256": completion.prompt_sha256,
    }
    if completion.thinking is not None:
        body["thinking"] = completion.thinking
    if completion.thinking_tokens is not None:
        body["thinking_tokens"] = completion.thinking_tokens
    return body


def _body_of(found: Iterator[tuple[str, dict[str, Any]]], key: str) -> dict[str, Any] | None:
    """The next body found, if it belongs to that key: keys without a response are left out."""
    item = next(found, None)
    return item[1] if item is not None and item[0] == key else None


def _completion(request: Request, weights: str, body: Mapping[str, Any]) -> Completion | None:
    """A stored response; None if it was imported and lacks a field that every engine returns."""
    fields: dict[str, Any] = {name: body.get(name) for name in (*_REQUIRED, *_OPTIONAL)}
    try:
        check_response(body)
    except ValueError:
        return None
    if any(fields[name] is None for name in _REQUIRED):
        return None
    return Completion(request_id=request.request_id, weights=weights, **fields)


def chunks(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """The requests in lists of at most CHUNK."""
    rest = iter(requests)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
