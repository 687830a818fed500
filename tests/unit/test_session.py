"""A session asks only for what is not stored, once in all, and stores what comes back at once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from its.engines.protocol import Completion, EngineModel, Request, SwapError
from its.engines.replay import Replay
from its.engines.session import CHUNK, Session
from its.errors import MissingError, RunError
from its.store import Store
from its.store.stats import store_stats

MODEL = EngineModel("m", "path", "f-m", "bfloat16", 64)
OTHER = EngineModel("o", "path/o", "f-o", "bfloat16", 64)


class Recorded:
    """An engine that answers in another order than asked and notes what it was asked; it dies after `lives` answers."""

    def __init__(self, lives: int | None = None, window: int = 8, swaps: bool = True) -> None:
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.started: list[list[str]] = []
        self.closed = self.most = 0
        self.woken = False
        self.window = window
        self.counts: dict[str, float] = {}
        self.weights: dict[str, str] = {}
        self._lives, self._swaps = lives, swaps
        self._waiting: list[Request] = []
        self._loaded = ""
        self._random = random.Random(1)

    def start(self, group: list[EngineModel]) -> Recorded:
        self.started.append([model.name for model in group])
        self.weights = {model.name: model.fingerprint for model in group}
        self._waiting = []
        self._loaded = group[0].name
        return self

    def submit(self, request: Request) -> None:
        assert request.model in self.weights
        self._waiting.append(request)
        self.most = max(self.most, len(self._waiting))
        self._random.shuffle(self._waiting)

    def wake(self) -> None:
        self.woken = True

    def poll(self, timeout_seconds: float) -> list[Completion]:
        if not self._waiting:
            time.sleep(min(timeout_seconds, 0.01))
            return []
        own = [request for request in self._waiting if request.model == self._loaded]
        if not own:
            if not self._swaps:
                raise SwapError("these weights cannot be swapped")
            self._loaded = self._waiting[0].model
            own = [request for request in self._waiting if request.model == self._loaded]
        done = own[: self._random.randint(1, 3)]
        for request in done:
            if self._lives is not None and len(self.asked) == self._lives:
                raise RunError("the engine died (killed by signal 9)", "its log: x")
            self.asked.append(request.request_id)
            self._waiting.remove(request)
        return [
            Completion(request.request_id, _text(request), "stop", 3, 2, "ab", weights=self.weights[request.model])
            for request in done
        ]

    def begun(self) -> list[Completion]:
        return []

    def cancel(self, request_ids: Collection[str]) -> None:
        self.cancelled += sorted(request_ids)

    def close(self) -> None:
        self.closed += 1


def _text(request: Request) -> str:
    return f"{request.model} to {request.messages[0]['content']}"


def _requests(*names: str, seed: int = 1, model: str = "m") -> list[Request]:
    sampling = {"temperature": 0.7}
    return [Request(name, [{"role": "user", "content": name}], sampling, seed, model=model) for name in names]


def _session(
    store: Store,
    engine: Recorded,
    models: Sequence[EngineModel] = (MODEL,),
    identity: dict[str, Any] | None = None,
    together: bool = True,
) -> Session:
    sessions = {
        model.name: store.register({"model": model.fingerprint, **(identity or {})}, {"checkpoints": [model.name]})
        for model in models
    }
    groups = [list(models)] if together else [[model] for model in models]
    return Session(store, models, sessions, groups, engine.start, lambda text: None)


def _ask(session: Session, requests: Sequence[Request]) -> dict[str, str]:
    with session:
        session.ensure(requests)
        return {request.request_id: completion.text for request, _, completion in session.read(requests)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def test_each_request_gets_its_own_answer_once(store: Store) -> None:
    engine = Recorded()
    session = _session(store, engine)
    names = [f"r{index}" for index in range(50)]
    assert _ask(session, _requests(*names)) == {name: f"m to {name}" for name in names}
    assert sorted(engine.asked) == sorted(names)
    assert (engine.started, engine.closed) == ([["m"]], 1)
    counts = session.counts["m"]
    assert (counts.requests, counts.generated, counts.from_store, counts.tokens) == (50, 50, 0, 100)


@pytest.mark.parametrize(
    "body", [{"text": "x"}, {"text": "x", "finish_reason": "stop", "prompt_tokens": 1}, {"text": 5}, {}]
)
def test_what_is_stored_and_no_completion_is_asked_again(store: Store, body: dict[str, Any]) -> None:
    (request,) = _requests("r")
    session = _session(store, Recorded())
    store.put(session.key_of(request), session.sessions["m"], request.determinants(), body)
    with pytest.raises(RunError, match="the stored response to `r` is not a completion and was removed") as caught:
        _ask(session, [request])
    assert caught.value.hint == "run the stage again: it generates this response again"
    assert _ask(session, [request]) == {"r": "m to r"}


def test_parts_that_a_later_version_stores_are_passed_over(store: Store) -> None:
    (request,) = _requests("r")
    session = _session(store, Recorded())
    body = {"text": "x", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1, "more": {"a": [1]}}
    store.put(session.key_of(request), session.sessions["m"], request.determinants(), body)
    assert _ask(session, [request]) == {"r": "x"}


def test_rows_come_back_in_the_order_asked_for(store: Store) -> None:
    session = _session(store, Recorded())
    names = [f"r{index}" for index in range(40)]
    assert list(_ask(session, _requests(*names))) == names


def test_the_window_of_the_engine_is_kept(store: Store) -> None:
    engine = Recorded(window=8)
    _ask(_session(store, engine), _requests(*(f"r{index}" for index in range(60))))
    assert engine.most <= 32  # the first are claimed before the engine and its window are known
    more = Recorded(window=8)
    session = _session(store, more)
    with session:
        session.ensure(_requests("first"))
        session.ensure(_requests(*(f"s{index}" for index in range(60))))
    assert more.most <= 8


def test_what_is_stored_starts_no_engine(store: Store) -> None:
    _ask(_session(store, Recorded()), _requests("a", "b"))
    again = Recorded()
    session = _session(store, again)
    assert _ask(session, _requests("a", "b")) == {"a": "m to a", "b": "m to b"}
    assert (again.started, again.closed) == ([], 0)
    assert (session.counts["m"].from_store, session.counts["m"].generated) == (2, 0)


def test_only_what_is_missing_is_asked(store: Store) -> None:
    _ask(_session(store, Recorded()), _requests("a"))
    engine = Recorded()
    assert len(_ask(_session(store, engine), _requests("a", "b"))) == 2
    assert engine.asked == ["b"]


@pytest.mark.parametrize(
    ("change", "identity"),
    [
        ({"messages": [{"role": "system", "content": "a"}]}, {}),
        ({"sampling": {"temperature": 0.8}}, {}),
        ({"seed": 2}, {}),
        ({"sample_index": 1}, {}),
        ({"start": "You are"}, {}),
        ({}, {"environment": "another lock"}),
        ({}, {"arguments": {"dtype": "float32"}}),
        ({}, {"model": "other weights"}),
    ],
    ids=lambda value: next(iter(value), "-"),
)
def test_what_determines_a_response_is_in_its_key(
    store: Store, change: dict[str, Any], identity: dict[str, Any]
) -> None:
    _ask(_session(store, Recorded()), _requests("a"))
    engine = Recorded()
    _ask(_session(store, engine, identity=identity), [replace(*_requests("a"), **change)])
    assert engine.asked == ["a"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"request_id": "another name"}),
        ({"sampling": {"temperature": 0.0}}, {"sampling": {"temperature": 0.0}, "seed": 9}),  # greedy: no seed
    ],
    ids=["the caller's name", "the seed of greedy decoding"],
)
def test_what_does_not_determine_a_response_is_not_in_its_key(
    store: Store, first: dict[str, Any], second: dict[str, Any]
) -> None:
    _ask(_session(store, Recorded()), [replace(*_requests("a"), **first)])
    engine = Recorded()
    _ask(_session(store, engine), [replace(*_requests("a"), **second)])
    assert engine.asked == []


def test_a_models_name_and_place_are_not_in_the_key(store: Store) -> None:
    _ask(_session(store, Recorded()), _requests("a"))
    moved = EngineModel("renamed", "elsewhere", "f-m", "bfloat16", 64)
    engine = Recorded()
    assert _ask(_session(store, engine, (moved,)), _requests("a", model="renamed")) == {"a": "m to a"}
    assert engine.asked == []


def test_two_requests_with_one_key_are_asked_once(store: Store) -> None:
    (one,) = _requests("a")
    twin = replace(one, request_id="twin")
    engine = Recorded()
    assert _ask(_session(store, engine), [one, twin]) == {"a": "m to a", "twin": "m to a"}
    assert len(engine.asked) == 1


def test_models_of_a_group_share_one_engine(store: Store) -> None:
    engine = Recorded(window=4)
    requests = [*_requests("a", "b", "c"), *_requests("d", "e", "f", model="o")]
    session = _session(store, engine, (MODEL, OTHER))
    answers = _ask(session, requests)
    assert answers == {request.request_id: _text(request) for request in requests}
    assert engine.started == [["m", "o"]]
    assert session.counts["o"].generated == 3


def test_the_model_wanted_first_is_loaded_first(store: Store) -> None:
    engine = Recorded()
    _ask(_session(store, engine, (MODEL, OTHER)), _requests("a", model="o"))
    assert engine.started == [["o", "m"]]


def test_models_of_two_groups_have_an_engine_after_another(store: Store) -> None:
    engine = Recorded(window=4)
    requests = [*_requests("a", "b", "c"), *_requests("d", "e", "f", model="o")]
    answers = _ask(_session(store, engine, (MODEL, OTHER), together=False), requests)
    assert answers == {request.request_id: _text(request) for request in requests}
    assert (engine.started, engine.closed) == ([["m"], ["o"]], 2)


def test_requests_in_the_order_of_the_engines_start_each_once(store: Store) -> None:
    """Full checkpoints and adapters alternate in a design: variant by variant, then the next strategy."""
    engine, models = Recorded(), [replace(MODEL, name=name) for name in ("full1", "lora1", "full2", "lora2")]
    session = _session(store, engine, models)
    session._groups = [[models[0], models[2]], [models[1], models[3]]]
    requests = [request for model in models for request in _requests(f"to {model.name}", model=model.name)]
    assert [session.engine_index(request.model) for request in requests] == [0, 1, 0, 1]
    _ask(session, sorted(requests, key=lambda request: session.engine_index(request.model)))
    assert engine.started == [["full1", "full2"], ["lora1", "lora2"]]


def test_weights_that_cannot_be_swapped_get_an_engine_each(store: Store) -> None:
    engine = Recorded(window=64, swaps=False)
    requests = [*_requests("a", "b", "c"), *_requests("d", "e", "f", model="o")]
    answers = _ask(_session(store, engine, (MODEL, OTHER)), requests)
    assert answers == {request.request_id: _text(request) for request in requests}
    assert engine.started == [["m", "o"], ["o"]]
    assert sorted(engine.asked) == ["a", "b", "c", "d", "e", "f"]


def test_an_answer_of_other_weights_is_not_stored(store: Store) -> None:
    engine = Recorded()
    session = _session(store, engine)

    def start(group: list[EngineModel]) -> Recorded:
        engine.start(group)
        engine.weights = {"m": "f-o"}
        return engine

    session._start = start
    with pytest.raises(RunError, match=r"answered `a` with the weights `f-o` instead of `f-m`"):
        _ask(session, _requests("a"))
    assert store_stats(store)["responses"] == 0


def test_an_engine_that_dies_keeps_what_it_answered(store: Store) -> None:
    engine = Recorded(lives=2)
    with pytest.raises(RunError, match="the engine died"):
        _ask(_session(store, engine), _requests("a", "b", "c"))
    assert engine.closed == 1
    stored = store_stats(store)["responses"]
    assert stored <= 2
    rest = Recorded()
    assert len(_ask(_session(store, rest), _requests("a", "b", "c"))) == 3
    assert len(rest.asked) == 3 - stored


def test_an_interruption_keeps_what_was_reported(store: Store) -> None:
    reported: list[str] = []

    def finished(request: Request, tokens: int) -> None:
        reported.append(request.request_id)
        raise KeyboardInterrupt

    engine = Recorded()
    with pytest.raises(KeyboardInterrupt), _session(store, engine) as session:
        session.ensure(_requests("a", "b"), finished)
    assert engine.closed == 1
    with _session(store, Recorded()) as session:
        assert [request.request_id for request, _, _ in session.read(_requests(*reported))] == reported


def test_finished_is_said_once_for_each(store: Store) -> None:
    _ask(_session(store, Recorded()), _requests("a"))
    said: list[tuple[str, int]] = []
    (one,) = _requests("b")
    with _session(store, Recorded()) as session:
        session.ensure(
            [*_requests("a"), one, replace(one, request_id="twin"), *_requests("c")],
            lambda request, tokens: said.append((request.request_id, tokens)),
        )
    assert sorted(name for name, _ in said) == ["a", "b", "c", "twin"]
    assert dict(said)["a"] == 0 and dict(said)["c"] == 2
    assert sum(tokens for _, tokens in said) == 4


def test_a_damaged_response_is_said_and_asked_again(store: Store) -> None:
    names = [f"r{index}" for index in range(5)]
    _ask(_session(store, Recorded()), _requests(*names))
    store.db.execute("UPDATE responses SET body = zeroblob(length(body)) WHERE id = 3")
    engine = Recorded()
    said: list[str] = []
    session = _session(store, engine)
    session.say = said.append
    assert _ask(session, _requests(*names)) == {name: f"m to {name}" for name in names}
    assert len(engine.asked) == 1
    assert said == ["the store: 1 damaged response is generated again"]


def test_two_sessions_at_once_ask_each_request_once(tmp_path: Path) -> None:
    names = [f"r{index}" for index in range(300)]
    engines = [Recorded(window=16), Recorded(window=16)]
    answers: list[dict[str, str]] = []

    def work(engine: Recorded) -> None:
        with Store(tmp_path / "store.sqlite") as own:
            answers.append(_ask(_session(own, engine), _requests(*names)))

    threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [{name: f"m to {name}" for name in names}] * 2
    assert sorted(engines[0].asked + engines[1].asked) == sorted(names)


def test_what_a_dead_process_was_asking_is_asked_by_the_living(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    code = (
        "import sys, time; from pathlib import Path; from its.store import Store\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_session import Recorded, _requests, _session\n"
        "store = Store(Path(sys.argv[1])); session = _session(store, Recorded())\n"
        "print(len(store.claim([session.key_of(r) for r in _requests('a', 'b')])), flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "2\n"
    engine = Recorded()
    threading.Timer(0.8, other.send_signal, (signal.SIGKILL,)).start()
    with Store(path) as store:
        session = _session(store, engine)
        said: list[str] = []
        session.say = said.append
        assert len(_ask(session, _requests("a", "b", "c"))) == 3
    other.stdout.close()
    other.wait()
    assert sorted(engine.asked) == ["a", "b", "c"]
    assert said == ["another process is generating 2 of these responses: waiting for them"]


def test_a_million_requests_are_never_all_in_memory(store: Store) -> None:
    """What was taken from the stream and not answered is never more than the lookahead and the window."""
    taken = answered = most = 0

    def stream() -> Iterator[Request]:
        nonlocal taken
        for index in range(6 * CHUNK):
            taken += 1
            yield from _requests(f"r{index}")

    def finished(request: Request, tokens: int) -> None:
        nonlocal answered, most
        most = max(most, taken - answered)
        answered += 1

    with _session(store, Recorded(window=32)) as session:
        session.ensure(stream(), finished)
    assert answered == 6 * CHUNK
    assert most <= 2 * CHUNK + 64


def test_replay_reads_what_another_engine_was_asked(store: Store) -> None:
    _ask(_session(store, Recorded(), identity={"environment": "a GPU's"}), _requests("a", "b"))
    replay = Replay(store, [MODEL], lambda text: None)
    assert _ask(replay, _requests("a", "b")) == {"a": "m to a", "b": "m to b"}
    assert replay.counts["m"].from_store == 2


def test_replay_takes_a_models_responses_from_one_setting(store: Store) -> None:
    """The one that answers most; the other's single response is not mixed in."""
    _ask(_session(store, Recorded(), identity={"environment": "one"}), _requests("c"))
    _ask(_session(store, Recorded(), identity={"environment": "two"}), _requests("a", "b"))
    replay = Replay(store, [MODEL], lambda text: None)
    with pytest.raises(MissingError, match=r"1 of 3 to m"):
        _ask(replay, _requests("a", "b", "c"))


def test_replay_says_what_is_missing(store: Store) -> None:
    _ask(_session(store, Recorded()), _requests("a"))
    message = r"3 responses are not in the store .*store\.sqlite: 2 of 3 to m, 1 of 1 to o"
    with pytest.raises(MissingError, match=message) as caught:
        _ask(Replay(store, [MODEL, OTHER], print), [*_requests("a", "b", "c"), *_requests("a", model="o")])
    assert "replay" in str(caught.value.hint)
    assert caught.value.exit_code == 4
