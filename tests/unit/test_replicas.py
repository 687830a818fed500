"""Workers that share requests: nothing is lost, nothing answered twice, whatever ends, and each has its own devices."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.worker_replicas import Fake, Fakes, dies, unswappable
from unit.engine_samples import check_wakes, outcomes

from its.checks.engine import machine_faults
from its.devices import core_ranges, listed_cores
from its.engines.kinds import EngineSettings, _Kinds
from its.engines.places import core_places, gpu_places
from its.engines.protocol import Completion, EngineModel, RefusedError, Request
from its.engines.replicas import REPLACED, Replicas
from its.engines.session import Session
from its.errors import MissingError, RunError
from its.recipe.document import read_document
from its.recipe.replica_checks import replica_faults
from its.recipe.schema import Recipe
from its.recipe.values import REFUSED
from its.store import Store

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
MODELS = [EngineModel(name, name, f"f-{name}", "bfloat16", 64) for name in ("a", "b", "c")]
A, B, C = MODELS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def _requests(count: int, model: str = "a") -> list[Request]:
    sampling = {"temperature": 0.7}
    return [
        Request(f"{model}{at}", [{"role": "user", "content": str(at)}], sampling, 1, model=model) for at in range(count)
    ]


class World:
    """A session over replicas of fake workers."""

    def __init__(self, store: Store, fakes: Fakes, count: int, groups: Sequence[Sequence[EngineModel]] = ((A,),)):
        models = [model for group in groups for model in group]
        keys = {model.name: store.register({"model": model.fingerprint}, {}) for model in models}
        self.said: list[str] = []
        self.fakes = fakes

        def start(wanted: list[EngineModel]) -> Replicas:
            assert {model.name for model in wanted} == {model.name for model in models}
            return Replicas(count, groups, fakes.start, self.said.append)

        lists = [list(group) for group in groups]
        self.session = Session(store, models, keys, lists, start, self.said.append, shared=True)

    def ask(self, requests: Sequence[Request]) -> dict[str, int]:
        """Have all answered and read; how often each was reported."""
        reported: Counter[str] = Counter()
        with self.session as session:
            session.ensure(requests, lambda request, tokens: reported.update([request.request_id]))
            answers = {request.request_id: completion.text for request, _, completion in session.read(requests)}
        assert answers == {request.request_id: f"{request.model} to {request.request_id}" for request in requests}
        assert reported == Counter(request.request_id for request in requests)
        assert all(worker.closed and worker.ended() for worker in self.fakes.started)
        return dict(Counter(self.fakes.asked()))


def test_sixteen_workers_share_what_one_would_get(store: Store) -> None:
    world = World(store, Fakes(lambda index, request: 0.002), 16)
    asked = world.ask(_requests(640))
    assert set(asked.values()) == {1} and len(world.fakes.started) == 16
    assert min(len(worker.asked) for worker in world.fakes.started) >= 10
    assert world.session.counts["a"].generated == 640 and world.session.engine_counts == {"answered": 640}


def test_what_every_worker_has_begun_is_told_once() -> None:
    fakes = Fakes(lambda index, request: 0.5)
    engine = Replicas(2, [(A,)], fakes.start, print)
    try:
        for request in _requests(2):
            engine.submit(request)
        deadline = time.monotonic() + 10
        while len(fakes.asked()) < 2 and time.monotonic() < deadline:
            engine.poll(0.01)
        for worker in fakes.started:
            worker.grew = [Completion(worker.asked[0], "so far", "", 0, 0)]
        assert sorted(part.request_id for part in engine.begun()) == ["a0", "a1"] and engine.begun() == []
    finally:
        engine.close()


def test_one_request_starts_one_worker(store: Store) -> None:
    world = World(store, Fakes(), 16)
    assert world.ask(_requests(1)) == {"a0": 1}
    assert len(world.fakes.started) == 1
    again = World(store, Fakes(), 16)
    assert again.ask(_requests(1)) == {} and again.fakes.started == []


def test_few_requests_reach_all_workers_also_the_one_that_starts_last(store: Store) -> None:
    """The first to be ready does not take what its window holds."""
    world = World(store, Fakes(lambda index, request: 0.02, window=512), 4)
    world.ask(_requests(20))
    assert sorted(len(worker.asked) for worker in world.fakes.started) == [5, 5, 5, 5]


def test_a_slow_worker_gets_less(store: Store) -> None:
    world = World(store, Fakes(lambda index, request: 0.1 if index == 0 else 0.002), 4)
    world.ask(_requests(200))
    slow, *others = (len(worker.asked) for worker in world.fakes.started)
    assert slow < 20 and min(others) > 40


def test_a_worker_that_dies_is_replaced_and_its_requests_go_on(store: Store) -> None:
    def trouble(worker: Fake, request: Request) -> Exception | None:
        return dies() if worker.index == 1 and worker is fakes.started[1] and len(worker.asked) == 9 else None

    fakes = Fakes(lambda index, request: 0.002, trouble)
    world = World(store, fakes, 4)
    asked = world.ask(_requests(200))
    assert len(fakes.started) == 5 and fakes.started[4].index == 1
    # Of what was in flight, only the one that it died over had reached the engine.
    assert [name for name, count in asked.items() if count > 1] == [fakes.started[1].asked[-1]]
    (said,) = world.said
    assert said.startswith("worker 2 of 4: the engine died (killed by signal 9): replaced; ")
    assert world.session.engine_counts == {"answered": 200}


def test_a_place_whose_workers_always_die_is_given_up(store: Store) -> None:
    fakes = Fakes(lambda index, request: 0.002, lambda worker, request: dies() if worker.index == 0 else None)
    world = World(store, fakes, 3)
    world.ask(_requests(300))
    starts = Counter(worker.index for worker in fakes.started)
    assert starts[0] <= REPLACED + 1 and (starts[1], starts[2]) == (1, 1)
    if starts[0] == REPLACED + 1:  # unless the others were faster
        assert "not replaced again" in world.said[-1]


def test_a_place_whose_workers_always_die_is_not_blamed_on_its_requests(store: Store) -> None:
    """They wait for a worker of another place, however long it is busy, instead of dying here again."""
    fakes = Fakes(lambda index, request: 0.05, lambda worker, request: dies() if worker.index == 0 else None)
    world = World(store, fakes, 2)
    world.ask(_requests(40))
    assert "not replaced again" in world.said[-1]


def test_a_request_goes_to_a_new_place_before_one_whose_worker_died(store: Store) -> None:
    fakes = Fakes(trouble=lambda worker, request: dies() if worker.index == 0 else None)
    World(store, fakes, 3).ask(_requests(1))
    assert [worker.index for worker in fakes.started] == [0, 1]


def test_all_workers_dying_is_an_error_that_keeps_what_was_answered(store: Store) -> None:
    fakes = Fakes(trouble=lambda worker, request: dies() if len(worker.asked) > 3 else None)
    world = World(store, fakes, 3)
    requests = _requests(200)
    with pytest.raises(RunError, match=r"the engine died \(killed by signal 9\)"):
        world.ask(requests)
    assert all(worker.closed for worker in fakes.started)
    assert len(fakes.started) <= 3 * (REPLACED + 1)
    stored = store.contains([world.session.key_of(request) for request in requests])
    assert len(stored) == world.session.counts["a"].generated > 0
    rest = World(store, Fakes(), 3)
    assert len(rest.ask(requests)) == 200 - len(stored)


def test_a_request_that_kills_every_worker_is_named(store: Store) -> None:
    world = World(store, Fakes(trouble=lambda worker, request: dies() if request.request_id == "a7" else None), 8)
    with pytest.raises(RunError, match=rf"`a\d+` was among the requests of {REPLACED + 1} workers that died"):
        world.ask(_requests(100))
    assert Counter(world.fakes.asked())["a7"] == REPLACED + 1


def test_a_request_that_is_refused_ends_all(store: Store) -> None:
    refused = RefusedError("a7", "the engine refused request `a7`: too long")
    fakes = Fakes(trouble=lambda worker, request: refused if request.request_id == "a7" else None)
    with pytest.raises(RunError, match="refused request `a7`"):
        World(store, fakes, 4).ask(_requests(100))
    assert Counter(fakes.asked())["a7"] == 1 and all(worker.ended() for worker in fakes.started)


def test_a_refused_request_is_reported_once_and_the_others_are_answered() -> None:
    refused = RefusedError("a7", "the engine refused request `a7`: too long")
    fakes = Fakes(trouble=lambda worker, request: refused if request.request_id == "a7" else None)
    engine = Replicas(3, [[A]], fakes.start, lambda text: None)
    with contextlib.closing(engine):
        for request in _requests(12):
            engine.submit(request)
        answered, reported = outcomes(engine, 12)
        assert [error.request_id for error in reported] == ["a7"] and len(answered) == len({*answered}) == 11
        engine.submit(_requests(13)[-1])
        assert [item.request_id for item in engine.poll(30.0)] == ["a12"]


def test_a_poll_that_waits_can_be_woken() -> None:
    fakes = Fakes()
    engine = Replicas(3, [[A]], fakes.start, lambda text: None)
    with contextlib.closing(engine):
        check_wakes(engine)
        engine.submit(_requests(1)[0])
        engine.wake()
        assert outcomes(engine, 1) == (["a0"], [])


def test_a_cancelled_request_is_refused_whether_it_waits_or_is_at_a_worker() -> None:
    fakes = Fakes(seconds=lambda index, request: 0.05, window=4)
    engine = Replicas(1, [[A]], fakes.start, print)
    for request in _requests(8):
        engine.submit(request)

    def leave() -> None:
        if fakes.started[0].asked and not fakes.started[0].cancelled:
            engine.cancel({"a1", "a7", "unknown"})  # `a1` is at the worker, `a7` waits

    done, refused = outcomes(engine, 8, leave)
    engine.close()
    assert sorted(error.request_id for error in refused) == ["a1", "a7"]
    assert sorted(done) == ["a0", "a2", "a3", "a4", "a5", "a6"]
    assert not {"a1", "a7"} & set(fakes.asked())


def test_a_cancelled_request_of_a_worker_that_dies_is_not_given_to_another() -> None:
    def trouble(worker: Fake, request: Request) -> Exception | None:
        return dies() if request.request_id == "a1" and len(fakes.started) == 1 else None

    fakes = Fakes(seconds=lambda index, request: 0.2, trouble=trouble)
    engine = Replicas(1, [[A]], fakes.start, print)
    for request in _requests(4):
        engine.submit(request)

    def leave() -> None:
        if fakes.started[0].asked and not fakes.started[0].cancelled:
            engine.cancel({"a3"})  # behind `a1`, with which the worker dies

    done, refused = outcomes(engine, 4, leave)
    engine.close()
    assert [error.request_id for error in refused] == ["a3"] and sorted(done) == ["a0", "a1", "a2"]
    assert len(fakes.started) == 2 and "a3" not in fakes.asked()


def test_workers_of_which_none_starts_are_not_tried_again(store: Store) -> None:
    fakes = Fakes(fails=lambda index, before: dies())
    with pytest.raises(RunError, match="the engine died"):
        World(store, fakes, 4).ask(_requests(100))
    assert len(fakes.started) == 4


def test_one_that_does_not_start_beside_others_that_do_is_tried_again(store: Store) -> None:
    fakes = Fakes(lambda index, request: 0.01, fails=lambda index, before: dies() if before == 0 else None)
    world = World(store, fakes, 2)
    world.ask(_requests(60))
    assert [worker.index for worker in fakes.started] == [0, 1, 0]
    assert fakes.started[2].asked


def test_checkpoints_are_served_side_by_side_and_swapped_seldom(store: Store) -> None:
    world = World(store, Fakes(lambda index, request: 0.002, window=64), 2, [MODELS[:2]])
    world.ask([*_requests(30), *_requests(30, "b")])
    assert [worker.models[0].name for worker in world.fakes.started] == ["a", "b"]
    assert sum(worker.swaps for worker in world.fakes.started) <= 2


def test_models_with_an_engine_each_run_at_once(store: Store) -> None:
    """The worker that is done with its model makes place for another's; one that is needed stays."""
    world = World(store, Fakes(lambda index, request: 0.002, window=64), 2, [[A], [B], [C]])
    world.ask([*_requests(20), *_requests(20, "b"), *_requests(20, "c")])
    started = [worker.models[0].name for worker in world.fakes.started]
    assert sorted(started[:2]) != ["a", "a"] and set(started) == {"a", "b", "c"} and len(started) <= 4
    assert sum(world.session.counts[name].generated for name in "abc") == 60


def test_weights_that_cannot_be_swapped_get_separate_workers(store: Store) -> None:
    def trouble(worker: Fake, request: Request) -> Exception | None:
        return unswappable() if request.model != worker.models[0].name else None

    world = World(store, Fakes(trouble=trouble), 2, [MODELS])
    world.ask([*_requests(30), *_requests(30, "b"), *_requests(30, "c")])
    assert len(world.said) <= 1  # at once for all, if a swap was tried at all


def test_an_interruption_ends_workers_that_still_start(store: Store) -> None:
    def interrupted(request: Request, tokens: int) -> None:
        raise KeyboardInterrupt

    fakes = Fakes(lambda index, request: 0.01)
    world = World(store, fakes, 16)
    with pytest.raises(KeyboardInterrupt), world.session as session:
        session.ensure(_requests(400), interrupted)
    assert len(fakes.started) == 16 and all(worker.closed == 1 for worker in fakes.started)


def test_gpus_are_divided_in_the_order_in_which_they_are_visible() -> None:
    named = {"CUDA_VISIBLE_DEVICES": "4,5,GPU-1a,MIG-2b,0"}
    assert [place.variables["CUDA_VISIBLE_DEVICES"] for place in gpu_places(2, 2, named)] == ["4,5", "GPU-1a,MIG-2b"]
    with pytest.raises(MissingError, match="needs 6 GPUs, 2 for each worker: 5 visible") as caught:
        gpu_places(3, 2, named)
    assert str(caught.value.hint).startswith("`replicas: 2`")


def test_cores_are_divided_evenly_and_bound() -> None:
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "0-4,8|9-10"}
    one, two = core_places(2, 1, bound, vllm=True)
    assert (one.variables, two.variables) == (
        {"VLLM_CPU_OMP_THREADS_BIND": "0-3"},
        {"VLLM_CPU_OMP_THREADS_BIND": "4,8-10"},
    )
    assert (one.cores, two.cores) == ((0, 1, 2, 3), (4, 8, 9, 10))
    ranks = core_places(1, 3, bound, vllm=True)[0]
    assert ranks.variables == {"VLLM_CPU_OMP_THREADS_BIND": "0-1|2-3|4,8"} and 9 not in ranks.cores
    with pytest.raises(MissingError, match=r"needs 9 cores, 1 for each worker: 8 available"):
        core_places(9, 1, bound, vllm=True)


def test_threads_of_transformers_are_as_many_as_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.engines.places.usable_cores", lambda: [1, 2, 5, 6, 7])
    places = core_places(2, 1, {"VLLM_CPU_OMP_THREADS_BIND": "0-63"}, vllm=False)
    assert [(place.cores, dict(place.variables)) for place in places] == [
        ((1, 2), {"OMP_NUM_THREADS": "2"}),
        ((5, 6), {"OMP_NUM_THREADS": "2"}),
    ]
    assert core_places(2, 1, {"OMP_NUM_THREADS": "1"}, vllm=False)[0].variables == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("text", ["auto", "", "3-1", "0-99999", "0,,1", "-1", "1-"])
def test_what_is_no_list_of_cores(text: str) -> None:
    assert listed_cores(text) is None


def test_lists_of_cores_are_read_as_they_are_written() -> None:
    assert listed_cores("0-2, 2,7") == [0, 1, 2, 7]
    assert listed_cores(core_ranges([0, 1, 2, 7, 9, 10])) == [0, 1, 2, 7, 9, 10]


def test_two_requests_with_one_key_are_asked_once(store: Store) -> None:
    world = World(store, Fakes(), 2, [[A, B]])
    twins = [replace(request, request_id=f"again {request.request_id}") for request in _requests(5)]
    with world.session as session:
        session.ensure([*_requests(5), *twins])
    assert len(world.fakes.asked()) == 5


def test_replicas_are_in_no_key(tmp_path: Path) -> None:
    """Nor are the cores or GPUs that a worker gets; what a recipe binds itself is, as it was."""
    for kind in ("vllm", "transformers"):
        for environment in ({}, {"CUDA_VISIBLE_DEVICES": "0,1"}, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}):
            found = [
                getattr(
                    _Kinds(MODELS, EngineSettings(kind, {}, environment, None, count), ROOT, tmp_path, tmp_path, print),
                    kind,
                )()
                for count in (1, 2, 64)
            ]
            assert found[0].identities == found[1].identities == found[2].identities


BOUND = "VLLM_CPU_OMP_THREADS_BIND"


@pytest.mark.parametrize(
    ("kind", "engine", "place", "message"),
    [
        ("openai", {}, "replicas", "`openai` starts no workers"),
        ("vllm", {"environment": {"CUDA_VISIBLE_DEVICES": "0,1,-1,3"}}, "CUDA_VISIBLE_DEVICES", "names 2 GPUs"),
        (
            "vllm",
            {"options": {"pipeline_parallel_size": 2}, "environment": {BOUND: "0-4"}},
            BOUND,
            "names 5 cores, `engine.replicas: 3` needs 6, 2 for each worker",
        ),
        ("vllm", {"environment": {BOUND: "auto"}}, BOUND, "can make no parts"),
        ("vllm", {"options": {"distributed_executor_backend": "ray"}}, "distributed_executor_backend", "`ray` places"),
        ("transformers", {"options": {"device_map": "cuda:1"}}, "device_map", "each worker of .* sees one GPU"),
        ("transformers", {"options": {"device_map": {"": 0}}}, "device_map", "each worker of .* sees one GPU"),
    ],
)
def test_a_recipe_whose_workers_cannot_share(kind: str, engine: dict[str, Any], place: str, message: str) -> None:
    faulty = {"engine": {"kind": kind, "replicas": 3, **engine}}
    ((where, found, hint),) = replica_faults(faulty)
    assert where[-1] == place and re.search(message, found) and hint
    for fine in ({**engine, "kind": kind}, {**engine, "kind": kind, "replicas": 1}, {**engine, "replicas": REFUSED}):
        assert list(replica_faults({"engine": fine})) == []
    assert list(replica_faults({"engine": {**engine, "kind": "replay", "replicas": 3}})) == []


@pytest.mark.parametrize("environment", [{"CUDA_VISIBLE_DEVICES": "0-1"}, REFUSED, {BOUND: REFUSED}, {BOUND: 3}])
def test_what_the_schema_refuses_is_no_second_fault(environment: Any) -> None:
    values = {"kind": "vllm", "replicas": 1024, "options": REFUSED, "environment": environment}
    assert len(list(replica_faults({"engine": values}))) <= 1


def test_workers_are_counted_against_this_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores count for a recipe that is for a CPU alone: any other may be for another machine."""
    monkeypatch.setattr("its.checks.engine.usable_cores", lambda: [0, 1])
    monkeypatch.setattr("its.checks.engine.visible_gpus", lambda given: given.split(",") if given else [])
    document = read_document(project / "recipes" / "quickstart.yaml")

    def messages(**engine: Any) -> list[str]:
        values = {**document.values, "engine": {"kind": "vllm", "replicas": 3, **engine}}
        return [fault.message for fault in machine_faults([(document, Recipe.model_validate(values))])]

    assert messages(environment={"VLLM_CPU_KVCACHE_SPACE": "1"}) == [
        "`engine.replicas: 3` needs 3 cores: this machine has 2"
    ]
    assert messages(kind="transformers") == ["`engine.replicas: 3` needs 3 cores: this machine has 2"]
    assert messages() == messages(replicas=2, environment={"VLLM_CPU_KVCACHE_SPACE": "1"}) == []
    named = {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert messages(environment=named) == messages(kind="replay", environment=named) == []
    assert messages(environment=named, options={"tensor_parallel_size": 2}) == [
        "`engine.replicas: 3` needs 6 GPUs: this machine has 4"
    ]


def test_one_worker_is_written_nowhere(project: Path) -> None:
    """The parameters in the results of a recipe without the field are what they were."""
    values = read_document(project / "recipes" / "quickstart.yaml").values
    assert "replicas" not in Recipe.model_validate(values).model_dump()["engine"]
    values["engine"]["replicas"] = 2
    assert Recipe.model_validate(values).model_dump()["engine"]["replicas"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="processes that end with their parent, and affinity, are Linux's")
def test_a_kill_leaves_no_worker_and_each_runs_on_its_cores(tmp_path: Path) -> None:
    """Real processes over the stand-in for vLLM: one is killed and replaced, then the stage is."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from its.engines.pipe import WorkerEngine; from its.engines.protocol import EngineModel, Request\n"
        "from its.engines.replicas import Replicas; from its.engines.vllm import WORKER\n"
        "model = EngineModel('m', 'm', 'f', 'float32', 64); core = min(os.sched_getaffinity(0)); started = []\n"
        f"variables = {{'PYTHONPATH': {str(FAKES)!r}}}; log = Path({str(tmp_path / 'e.log')!r})\n"
        "def start(index, models, arrived):\n"
        "    started.append(WorkerEngine(Path(sys.executable), WORKER, models, {}, variables, log, cores=[core],"
        " arrived=arrived)); return started[-1]\n"
        "engine = Replicas(2, [[model]], start, lambda text: print(text, flush=True))\n"
        "sampling = {'temperature': 0.0, 'top_p': 1.0, 'max_tokens': 8, 'stop': []}\n"
        "def ask(names):\n"
        "    for name in names: engine.submit(Request(name, [{'role': 'user', 'content': name}], sampling, 1,"
        " model='m'))\n"
        "    done = []\n"
        "    while len(done) < len(names): done += engine.poll(1.0)\n"
        "    assert sorted(item.request_id for item in done) == sorted(names)\n"
        "ask('abcdef'); os.kill(started[0]._process.pid, 9); ask('ghijkl')\n"
        "pids = [item._process.pid for item in started]\n"
        "assert len(os.sched_getaffinity(0)) == int(sys.argv[1]) and os.sched_getaffinity(pids[1]) == {core}\n"
        "print('pids', *pids, flush=True); time.sleep(60)\n"
    )
    cores = str(len(os.sched_getaffinity(0)))
    with subprocess.Popen([sys.executable, "-c", code, cores], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("pids"):
            lines.append(parent.stdout.readline())
        pids = [int(pid) for pid in lines[-1].split()[1:]]
        parent.kill()
    assert len(pids) in (2, 3)  # the other may have answered all before a new one was needed
    deadline = time.monotonic() + 20
    while (left := _logging_to(str(tmp_path / "e.log"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def _logging_to(log: str) -> list[int]:
    """The processes that write into a worker's log: its keepers, and all that it started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(entry / "fd" / "2") == log:
                    found.append(int(entry.name))
    return found
