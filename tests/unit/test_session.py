"""A session asks only for what is not stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from its.engines.protocol import Completion, Request
from its.engines.session import Session
from its.errors import MissingError, RunError
from its.store import Store


class Recorded:
    """An engine that answers in reverse order and notes what it was asked; it dies after `lives` answers."""

    def __init__(self, lives: int | None = None) -> None:
        self.asked: list[str] = []
        self.starts = self.closed = 0
        self._lives = lives

    def start(self) -> Recorded:
        self.starts += 1
        return self

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for number, request in enumerate(reversed(list(requests))):
            if number == self._lives:
                raise RunError("the engine died (killed by signal 9)", "its log: x")
            self.asked.append(request.request_id)
            yield Completion(request.request_id, f"to {request.messages[0]['content']}", "stop", 3, 2, "ab")

    def close(self) -> None:
        self.closed += 1


def _requests(*names: str, seed: int = 1) -> list[Request]:
    return [Request(name, [{"role": "user", "content": name}], {"temperature": 0.0}, seed) for name in names]


def _ask(session: Session, requests: Sequence[Request]) -> dict[str, str]:
    with session:
        return {request.request_id: completion.text for request, _, completion in session.complete(requests)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def test_each_request_gets_its_own_answer_once(store: Store) -> None:
    engine, session = Recorded(), None
    session = Session(store, {"model": "m"}, engine.start)
    assert _ask(session, _requests("a", "b", "c")) == {"a": "to a", "b": "to b", "c": "to c"}
    assert (engine.starts, engine.closed) == (1, 1)
    tally = session.tally
    assert (tally.requests, tally.asked, tally.from_store, tally.tokens, tally.engines) == (3, 3, 0, 6, 1)


def test_what_is_stored_starts_no_engine(store: Store) -> None:
    _ask(Session(store, {"model": "m"}, Recorded().start), _requests("a", "b"))
    again = Recorded()
    session = Session(store, {"model": "m"}, again.start)
    assert _ask(session, _requests("a", "b")) == {"a": "to a", "b": "to b"}
    assert (again.starts, again.closed, session.tally.from_store, session.tally.asked) == (0, 0, 2, 0)


def test_only_what_is_missing_is_asked(store: Store) -> None:
    _ask(Session(store, {"model": "m"}, Recorded().start), _requests("a"))
    engine = Recorded()
    assert len(_ask(Session(store, {"model": "m"}, engine.start), _requests("a", "b"))) == 2
    assert engine.asked == ["b"]


@pytest.mark.parametrize(
    "change",
    [{"identity": {"model": "other"}}, {"identity": {"model": "m", "environment": "x"}}, {"seed": 2}],
    ids=["model", "environment", "seed"],
)
def test_what_determines_a_response_is_in_its_key(store: Store, change: dict[str, object]) -> None:
    _ask(Session(store, {"model": "m"}, Recorded().start), _requests("a"))
    engine = Recorded()
    _ask(
        Session(store, change.get("identity", {"model": "m"}), engine.start), _requests("a", seed=change.get("seed", 1))
    )  # type: ignore[arg-type]
    assert engine.asked == ["a"]


def test_sample_index_and_start_are_in_the_key_and_the_callers_name_is_not(store: Store) -> None:
    session = Session(store, {}, None)
    (one,) = _requests("a")
    same = Request("another name", one.messages, one.sampling, one.seed)
    assert session.key_of(one) == session.key_of(same)
    others = [
        Request("a", one.messages, one.sampling, one.seed, sample_index=1),
        Request("a", one.messages, one.sampling, one.seed, start="You are"),
        Request("a", one.messages, {"temperature": 1.0}, one.seed),
    ]
    assert len({session.key_of(item) for item in [one, *others]}) == 4


def test_two_requests_with_one_key_are_asked_once(store: Store) -> None:
    (one,) = _requests("a")
    twin = Request("twin", one.messages, one.sampling, one.seed)
    engine = Recorded()
    session = Session(store, {}, engine.start)
    assert _ask(session, [one, twin]) == {"a": "to a", "twin": "to a"}
    assert engine.asked == ["a"]
    assert _ask(Session(store, {}, None), [one, twin]) == {"a": "to a", "twin": "to a"}


def test_an_engine_that_dies_keeps_what_it_answered(store: Store) -> None:
    engine = Recorded(lives=2)
    with pytest.raises(RunError, match="the engine died"):
        _ask(Session(store, {}, engine.start), _requests("a", "b", "c"))
    assert engine.closed == 1
    rest = Recorded()
    assert len(_ask(Session(store, {}, rest.start), _requests("a", "b", "c"))) == 3
    assert rest.asked == ["a"]


def test_an_interruption_keeps_what_was_answered(store: Store) -> None:
    engine = Recorded()
    with pytest.raises(KeyboardInterrupt), Session(store, {}, engine.start) as session:
        for _ in session.complete(_requests("a", "b")):
            raise KeyboardInterrupt
    assert engine.closed == 1
    assert store.stats()["responses"] == 1


def test_replay_says_what_is_missing(store: Store) -> None:
    _ask(Session(store, {}, Recorded().start), _requests("a"))
    with pytest.raises(MissingError, match=r"2 responses are not in the store .*store\.sqlite") as caught:
        _ask(Session(store, {}, None), _requests("a", "b", "c"))
    assert "replay" in str(caught.value.hint)
    assert caught.value.exit_code == 4
