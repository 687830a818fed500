"""A feed gives up the claim of what it does not generate: another process would wait for the server's end otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.test_session import OTHER, Recorded, _requests, _session

from its.engines.feed import Feed, Ticket
from its.engines.protocol import Completion, EngineModel, RefusedError
from its.errors import RunError
from its.store import Store
from its.store.stats import store_stats

MODEL = EngineModel("m", "path", "f-m", "bfloat16", 64)


class Refusing(Recorded):
    """An engine that refuses what is named `refuse`, and does nothing while `asleep`."""

    asleep = False
    stops = False
    """Whether it can stop working on a request."""

    def poll(self, timeout_seconds: float) -> list[Completion]:
        if self.asleep:
            return []
        for request in self._waiting:
            if self.stops and request.request_id in self.cancelled:
                self._waiting.remove(request)
                raise RefusedError(request.request_id, "it was cancelled")
            if request.messages[0]["content"] == "refuse":
                self._waiting.remove(request)
                name = request.request_id
                raise RefusedError(name, f"the engine refused request `{name}`: too long")
        return super().poll(timeout_seconds)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """The server's store, and that of another process."""
    path = tmp_path / "store.sqlite"
    with Store(path) as own, Store(path) as theirs:
        yield own, theirs


def _until_done(feed: Feed) -> list[Ticket]:
    done: list[Ticket] = []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        done += feed.step(0.0)
        if not feed.busy:
            return done
    raise AssertionError("the feed does not end")


def _claims(store: Store) -> int:
    return int(store_stats(store)["claims"])


def test_a_refused_request_is_claimed_no_longer(stores: tuple[Store, Store]) -> None:
    own, theirs = stores
    feed = Feed(session := _session(own, Refusing()))
    refused, twin, kept = (feed.add(_requests(*names)) for names in (["refuse", "b"], ["refuse"], ["c"]))
    done = _until_done(feed)
    assert {id(item) for item in done} == {id(refused), id(twin), id(kept)}
    assert isinstance(refused.failed, RefusedError) and isinstance(twin.failed, RefusedError) and kept.failed is None
    assert "`refuse`: too long" in str(refused.failed)
    key = session.key_of(_requests("refuse")[0])
    assert _claims(own) == 0 and theirs.claim([key]) == {key}


def _leaves_before(feed: Feed, engine: Refusing, ticket: Ticket) -> None:
    feed.cancel(ticket)


def _leaves_during(feed: Feed, engine: Refusing, ticket: Ticket) -> None:
    engine.asleep = True
    feed.step(0.0)
    feed.cancel(ticket)
    engine.asleep = False


def _fails(feed: Feed, engine: Refusing, ticket: Ticket) -> None:
    feed.step(0.0)
    feed.clear(RunError("broken"))


@pytest.mark.parametrize("leave", [_leaves_before, _leaves_during, _fails])
def test_a_client_that_leaves_keeps_no_claim(
    stores: tuple[Store, Store], leave: Callable[[Feed, Refusing, Ticket], None]
) -> None:
    own, theirs = stores
    requests = _requests(*map(str, range(40)))  # more than are submitted at once
    feed = Feed(session := _session(own, engine := Refusing()))
    stays = feed.add(requests[:3])
    leave(feed, engine, feed.add(requests))
    done = _until_done(feed)
    assert stays in done or stays.failed is not None, "equal requests of another client are not lost"
    keys = [session.key_of(request) for request in requests]
    stored = own.contains(keys)
    assert _claims(own) == 0 and theirs.claim(keys) == set(keys) - stored
    assert len(stored) == len(engine.asked) == len(set(engine.asked)) < 40


@pytest.mark.parametrize("stops", [True, False])
def test_what_a_client_leaves_behind_is_not_generated_where_the_engine_can_stop(
    stores: tuple[Store, Store], stops: bool
) -> None:
    """Equal requests of another client go on; what is cancelled may be requested again, and is generated then."""
    own, _ = stores
    feed = Feed(session := _session(own, engine := Refusing(window=64)))
    engine.asleep, engine.stops = True, stops
    stays = feed.add(_requests("a"))
    gone = feed.add(_requests("a", "b", "c"))
    feed.step(0.0)
    twin = feed.add(_requests("c"))
    feed.cancel(gone)
    assert [name.partition(":")[2] for name in engine.cancelled] == ["b"], "others wait for `a` and `c`"
    again = feed.add(_requests("b"))
    engine.asleep = False
    done = _until_done(feed)
    assert {id(item) for item in done} == {id(stays), id(twin), id(again)}
    assert all(item.failed is None for item in done) and _claims(own) == 0
    assert sorted(name.partition(":")[2] for name in engine.asked) == ["a", "b", "c"]
    assert own.contains([session.key_of(item) for item in _requests("a", "b", "c")])

    said: list[str] = []
    session.say = said.append
    engine.asleep = True
    first, second = feed.add(_requests("x")), feed.add(_requests("x"))
    feed.step(0.0)
    feed.cancel(first)
    assert not str(engine.cancelled).count(":x"), "the second one waits for it"
    feed.cancel(second)
    feed.cancel(second)
    assert str(engine.cancelled).count(":x") == 1
    retried = feed.add(_requests("x"))
    feed.step(0.0)
    engine.asleep = False
    assert _until_done(feed) == [retried] and retried.failed is None and _claims(own) == 0
    assert not said, "no other process generates anything"

    engine.asleep = True
    lost = feed.add(_requests("d", "e"))
    feed.step(0.0)
    feed.cancel(lost)
    engine.asleep = False
    assert not _until_done(feed) and _claims(own) == 0
    assert ("d" in str(engine.asked)) == (not stops)


def test_what_was_claimed_and_waits_again_is_given_up_too(stores: tuple[Store, Store]) -> None:
    """Weights that cannot be swapped send claimed requests back into the queue; a dead process leaves its own there."""
    own, theirs = stores
    engine = Refusing(swaps=False)
    feed = Feed(session := _session(own, engine, (MODEL, OTHER)))
    engine.asleep = True
    mine = feed.add(_requests("a"))
    feed.step(0.0)
    gone, stays = feed.add(_requests("b", model="o")), feed.add(_requests("c", model="o"))
    feed.step(0.0)
    engine.asleep = False
    feed.cancel(gone)
    assert mine in _until_done(feed) and stays.failed is None
    assert [name.partition(":")[2] for name in engine.asked] == ["a", "c"], "nobody waits for `b`"
    assert _claims(own) == 0

    requests = _requests("d", "e")
    keys = [session.key_of(request) for request in requests]
    theirs.claim(keys)
    taken, left = feed.add(requests[:1]), feed.add(requests[1:])
    feed.step(0.0)
    theirs.release()  # it died
    feed._ensuring.look_at_others()
    assert _claims(own) == 2
    feed.cancel(left)
    assert _claims(own) == 1, "`d` is still wanted"
    assert taken in _until_done(feed) and _claims(own) == 0


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_step_that_waits_can_be_woken(stores: tuple[Store, Store], elsewhere: bool) -> None:
    """Whether it waits for its own engine or for another process."""
    own, theirs = stores
    feed = Feed(session := _session(own, engine := Refusing()))
    requests = _requests("a")
    if elsewhere:
        theirs.claim([session.key_of(requests[0])])
    feed.add(requests)
    feed.step(0.0)
    engine.asleep = True
    began = time.monotonic()
    waking = threading.Timer(0.2, feed.wake)
    waking.start()
    if elsewhere:
        assert feed.step(30.0) == [] and time.monotonic() - began < 10
    waking.join()
    assert engine.woken == (not elsewhere)
    feed.clear(RunError("the end"))


def test_a_request_that_cannot_be_looked_up_leaves_nothing(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = stores
    feed = Feed(_session(own, Refusing()))

    def full(keys: list[str]) -> set[str]:
        raise RunError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(own, "contains", full)
        with pytest.raises(RunError, match="disk is full"):
            feed.add(_requests("a"), lambda index, text: None)
    assert not feed.busy and not feed._followed
    ticket = feed.add(_requests("a"))
    assert _until_done(feed) == [ticket]


class Telling(Refusing):
    """An engine that tells how far it is, in `texts`, while it is asleep."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.weights_told = "f-m"

    def begun(self) -> list[Completion]:
        texts, self.texts = self.texts, {}
        names = {request.messages[0]["content"]: request for request in self._waiting}
        return [
            Completion(names[name].request_id, text, "", 0, 0, "ab", weights=self.weights_told)
            for name, text in texts.items()
            if name in names and names[name].follow
        ]


def test_followers_see_texts_that_are_checked(stores: tuple[Store, Store]) -> None:
    """Each caller sees its own requests, equal ones of others included; nobody sees what is not checked."""
    own, _ = stores
    feed = Feed(session := _session(own, engine := Telling()))
    engine.asleep = True
    told: dict[str, list[tuple[int, str]]] = {"one": [], "two": [], "left": []}
    one = feed.add(_requests("x", "y"), lambda *part: told["one"].append(part))
    plain = feed.add(_requests("z"))
    feed.step(0.0)
    two = feed.add(_requests("z", "y"), lambda *part: told["two"].append(part))
    left = feed.add(_requests("y"), lambda *part: told["left"].append(part))
    engine.texts = {"y": "so far", "z": "nobody follows this one at the engine"}
    checked: list[str] = []
    session.check = lambda answers: checked.extend(completion.text for _, completion in answers)
    feed.step(0.0)
    assert told == {"one": [(1, "so far")], "two": [(1, "so far")], "left": [(0, "so far")]} and checked == ["so far"]
    feed.cancel(left)
    engine.texts = {"y": "so far, so good", "x": "begun"}
    feed.step(0.0)
    assert told["one"][1:] == [(1, "so far, so good"), (0, "begun")] and told["two"][1:] == [(1, "so far, so good")]
    assert len(told["left"]) == 1 and checked == ["so far", "begun"], "once for each request"
    engine.asleep = False
    assert {id(item) for item in _until_done(feed)} == {id(one), id(two), id(plain)}
    again = feed.add(_requests("x"), lambda *part: told["left"].append(part))
    assert _until_done(feed) == [again] and len(told["left"]) == 1, "what is stored is not told"
    assert not feed._followed and not feed._checked, "nothing is kept of what is done"


@pytest.mark.parametrize("wrong", ["weights", "prompt"])
def test_nothing_is_told_of_a_response_that_would_be_refused(stores: tuple[Store, Store], wrong: str) -> None:
    own, theirs = stores
    feed = Feed(session := _session(own, engine := Telling()))
    told: list[str] = []
    ticket = feed.add(_requests("a"), lambda _, text: told.append(text))
    engine.asleep = True
    feed.step(0.0)

    def refuse(answers: object) -> None:
        raise RunError("the prompt differs")

    if wrong == "weights":
        engine.weights_told = "others"
    else:
        session.check = refuse
    engine.texts = {"a": "so far"}
    with pytest.raises(RunError, match=r"the weights `others`|the prompt differs") as caught:
        feed.step(0.0)
    assert feed.abandon(caught.value) == [ticket] and ticket.failed is caught.value
    assert not told and not feed._followed and theirs.claim([session.key_of(_requests("a")[0])])
