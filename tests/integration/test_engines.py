"""The engines on real parts: what a swap, an adapter, another process model or another machine must not change."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from integration.clone import BASE, NONE, RANDOM, TEST, Clone, Facts, lines, read

from its.engines.kinds import EngineSettings, OpenAISettings, open_session
from its.engines.openai import OpenAIServer
from its.engines.protocol import EngineModel, Request
from its.engines.vllm import process_variables, worker_settings
from its.environments import environment_variables, find_environment
from its.models import SOUND_FILE
from its.prompts.render import read_template
from its.recipe.load import load_recipe
from its.rows import read_rows, write_json
from its.store import Store
from its.store.stats import store_stats
from its.study.serving import engine_model
from its.study.study import Checkpoint, Study
from its.training.run import Training, train_checkpoint
from its.types import Query

pytestmark = pytest.mark.integration

SECRET = "s3cr3t-0f-the-environment"
CHECKPOINTS = {
    BASE: Checkpoint("smollm2_135m"),
    NONE: Checkpoint("smollm2_135m", "arithmetic", "none", 1),
    RANDOM: Checkpoint("smollm2_135m", "arithmetic", "random", 1),
}


@pytest.fixture(scope="module")
def made(clone: Clone, study: Facts) -> Iterator[Study]:
    """The clone's study, run in this process."""
    before = os.environ.get("ITS_HOME")
    os.environ["ITS_HOME"] = str(clone.home)
    yield Study(clone.path, load_recipe(clone.path / "params.yaml", clone.path))
    os.environ.pop("ITS_HOME")
    if before is not None:
        os.environ["ITS_HOME"] = before


def _requests(made: Study, model: str, strategy: str = "random") -> list[Request]:
    sampling = made.recipe.generation.settings()
    return [
        Request(
            f"{model}/{query.query_id}",
            [{"role": turn.role, "content": turn.content} for turn in query.messages],
            sampling,
            seed=1,
            model=model,
        )
        for query in read_rows(made.queries_path("test", "arithmetic_test", strategy), Query)
    ]


def _texts(
    made: Study, models: list[EngineModel], asked: list[str], folder: Path, **environment: str
) -> tuple[dict[str, list[str]], int]:
    """Responses of models to the test queries, requested in that order with an empty store; engines started."""
    engine = made.recipe.engine
    options = dict(engine.options)
    if environment:
        options["distributed_executor_backend"] = "mp"
    choice = EngineSettings("vllm", options, {**engine.environment, **environment})
    lines: list[str] = []
    with (
        Store(folder / "store.sqlite") as store,
        open_session(
            store, models, choice, project=made.project, home=made.home, log=folder / "engine.log", say=lines.append
        ) as session,
    ):
        requests = [request for name in asked for request in _requests(made, name)]
        session.ensure(requests)
        out: dict[str, list[str]] = {name: [] for name in asked}
        for request, _, completion in session.read(requests):
            out[request.model].append(completion.text)
        return out, sum(line.startswith("starting vLLM") for line in lines)


@pytest.fixture(scope="module")
def swapped(made: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], int]:
    """Responses of three checkpoints, one after the other in one engine, base last; how many engines started."""
    models = [engine_model(made, CHECKPOINTS[name]) for name in (BASE, NONE, RANDOM)]
    return _texts(made, models, [NONE, RANDOM, BASE], tmp_path_factory.mktemp("swapped"))


def _alike(one: list[str], other: list[str]) -> float:
    assert len(one) == len(other)
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def _stored(clone: Clone, checkpoint: str) -> list[str]:
    return [row["text"] for row in lines(clone.path / f"data/responses/{checkpoint}/arithmetic_test/random.jsonl")]


def test_one_engine_served_all_checkpoints(clone: Clone, study: Facts) -> None:
    assert study.output.count("starting vLLM with") == 1
    assert _stored(clone, BASE) != _stored(clone, NONE) != _stored(clone, RANDOM)


def test_swapped_weights_answer_as_freshly_loaded_ones(
    made: Study, swapped: tuple[dict[str, list[str]], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmolLM2 ties its embeddings: the case in which vLLM's own reload leaves the output layer as it was."""
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    model = engine_model(made, CHECKPOINTS[RANDOM])
    assert read(Path(model.path) / "config.json")["tie_word_embeddings"]
    fresh, _ = _texts(made, [model], [RANDOM], tmp_path)
    texts, engines = swapped
    assert engines == 1
    assert len(fresh[RANDOM]) == TEST
    assert texts[RANDOM] == fresh[RANDOM]
    assert texts[NONE] != texts[RANDOM] != texts[BASE]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"store.sqlite", "engine.log"}
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_weights_of_another_shape_are_refused_and_get_an_engine_of_their_own(made: Study, tmp_path: Path) -> None:
    """A checkpoint without one of its tensors is never served half."""
    model = engine_model(made, CHECKPOINTS[NONE])
    broken = tmp_path / "broken"
    shutil.copytree(model.path, broken)
    program = (
        "import sys; from safetensors.torch import load_file, save_file\n"
        "weights = load_file(sys.argv[1]); weights.pop('model.norm.weight')\n"
        "save_file(weights, sys.argv[1], metadata={'format': 'pt'})\n"
    )
    python = find_environment("axolotl", made.project, made.home).python
    subprocess.run([str(python), "-c", program, str(broken / "model.safetensors")], check=True)
    other = replace(model, name="broken", path=str(broken), fingerprint="other")
    engine = made.recipe.engine
    said: list[str] = []
    with (
        Store(tmp_path / "store.sqlite") as store,
        open_session(
            store,
            [model, other],
            EngineSettings("vllm", dict(engine.options), dict(engine.environment)),
            project=made.project,
            home=made.home,
            log=tmp_path / "engine.log",
            say=said.append,
        ) as session,
        pytest.raises(Exception, match="the engine failed"),  # alone it does not load either
    ):
        session.ensure([*_requests(made, NONE)[:4], *_requests(made, "broken")[:4]])
    assert any("1 parameters did not come from" in line and "model.norm.weight" in line for line in said)
    with Store(tmp_path / "store.sqlite") as store:
        assert store_stats(store)["responses"] == 4


def test_adapters_are_served_over_their_base(
    made: Study, swapped: tuple[dict[str, list[str]], int], tmp_path: Path
) -> None:
    """A LoRA checkpoint is trained by Axolotl, served beside its base in one engine, and leaves the base as it was."""
    checkpoint = replace(CHECKPOINTS[NONE], seed=2)
    base = engine_model(made, CHECKPOINTS[BASE])
    rows = []
    for query in read_rows(made.queries_path("train", "arithmetic", "none"), Query):
        turns = [{"role": turn.role, "content": turn.content} for turn in query.messages]
        rows.append([*turns, {"role": "assistant", "content": str(query.solution)}])
    lora = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_target_linear": True}
    training = Training(
        messages=rows,
        train=made.recipe.train.model_copy(
            update={"axolotl": lora, "save_every_steps": None, "learning_rate": 2e-3, "epochs": 1}
        ),
        template=read_template(made.template_path(made.recipe.train.template)),
        tokens=made.recipe.models["smollm2_135m"].special_tokens,
        base=base,
        seed=1,
        environment=find_environment("axolotl", made.project, made.home),
    )
    trained = train_checkpoint(training, home=made.home, say=print, progress=lambda row: None)
    assert trained.sound["kind"] == "adapter" and trained.sound["changed"]
    shutil.copytree(trained.folder, made.model_path(checkpoint))
    write_json(made.model_path(checkpoint) / SOUND_FILE, trained.sound)
    try:
        adapted = engine_model(made, checkpoint)
        assert adapted.adapter == str(made.model_path(checkpoint).resolve())
        assert adapted.fingerprint.startswith(base.fingerprint)
        texts, engines = _texts(made, [base, adapted], [BASE, adapted.name], tmp_path)
        assert engines == 1
        assert texts[BASE] == swapped[0][BASE]  # LoRA beside it changes no number
        stops = sum("boxed" in text for text in texts[adapted.name])
        assert stops > sum("boxed" in text for text in texts[BASE])
    finally:
        shutil.rmtree(made.model_path(checkpoint))


def test_an_engine_of_several_processes_swaps_too_and_leaves_none_behind(
    clone: Clone, made: Study, swapped: tuple[dict[str, list[str]], int], tmp_path: Path
) -> None:
    """As on several GPUs: an engine core and a worker beside the first process; here with one rank on the CPU.

    Requests reach the core one by one, so they share other batches than in one process, which moves a text or two.
    """
    models = [engine_model(made, CHECKPOINTS[name]) for name in (NONE, RANDOM)]
    segments = _segments()
    texts, engines = _texts(made, models, [NONE, RANDOM], tmp_path, VLLM_ENABLE_V1_MULTIPROCESSING="1")
    assert engines == 1
    for name, other in ((NONE, RANDOM), (RANDOM, NONE)):
        assert _alike(texts[name], swapped[0][name]) >= 0.8
        assert _alike(texts[name], swapped[0][other]) < 0.6
    assert _gone(clone.processes)
    assert _segments() <= segments


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_end_of_a_stage_leaves_an_engine_of_several_processes_behind(
    clone: Clone, made: Study, tmp_path: Path, number: int
) -> None:
    segments = _segments()
    params = clone.path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    told = 'VLLM_CPU_KVCACHE_SPACE: "1"\n    VLLM_ENABLE_V1_MULTIPROCESSING: "1"'
    changed = text.replace('VLLM_CPU_KVCACHE_SPACE: "1"', told)
    changed = changed.replace("enforce_eager: true", "enforce_eager: true\n    distributed_executor_backend: mp")
    changed = changed.replace("max_tokens: 64", f"max_tokens: {63 - number % 2}")  # nothing of it is stored
    copy = tmp_path / "copy"
    shutil.copytree(clone.path, copy, symlinks=True, ignore=shutil.ignore_patterns(".dvc", "responses"))
    (copy / "params.yaml").write_text(changed, encoding="utf-8")
    before = clone.stored()
    process = subprocess.Popen(
        [sys.executable, "-m", "its", "generate"],
        cwd=copy,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has its background jobs ignore Ctrl-C, and a test run in one would hand that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 300
    while clone.stored() < before + 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert len(clone.processes()) >= 4  # the stage, two keepers, the worker, its engine core
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert _gone(clone.processes)
    assert _segments() <= segments


def _segments() -> set[str]:
    """Shared memory that no living process maps; other engines may run beside this test."""
    mapped: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            mapped.update(re.findall(r"/dev/shm/(\S+)", maps.read_text(encoding="utf-8", errors="replace")))
    return set(os.listdir("/dev/shm")) - mapped


def _gone(processes: Callable[[], list[str]]) -> bool:
    limit = time.monotonic() + 12
    while processes() and time.monotonic() < limit:
        time.sleep(0.2)
    return processes() == []


def test_results_are_recomputed_elsewhere_without_engine_model_or_gpu(
    clone: Clone, study: Facts, tmp_path: Path
) -> None:
    """Another machine: a fresh clone, an empty home, no engine environment, no weights; the export of the store."""
    clone.run("its", "store", "export", str(tmp_path / "study.its"), "--used")
    path = tmp_path / "elsewhere"
    clone.run("git", "clone", "-q", str(clone.path), str(path))
    other = Clone(path, tmp_path / "home")
    params = path / "params.yaml"
    shutil.copy2(clone.path / "params.yaml", params)
    params.write_text(params.read_text(encoding="utf-8").replace("kind: vllm", "kind: replay"), encoding="utf-8")
    told = other.run("its", "generate", code=4)
    assert "no such file" in told
    for name in ("arithmetic", "arithmetic_test"):
        other.run("python", "-m", "its", "prepare", name)
    told = other.run("its", "persona", code=4)
    assert "no model of that name" in told and "its store import" in told
    other.run("its", "store", "import", str(tmp_path / "study.its"))
    for stage in ("persona", "query", "generate", "grade", "measure", "report"):
        other.run("python", "-m", "its", stage)
    assert not (other.home / "envs").exists() and not (path / "models").exists()
    for name in ("cells.json", "comparisons.json", "votes.json", "metrics.json"):
        assert (path / "results" / name).read_bytes() == (clone.path / "results" / name).read_bytes(), name
    assert f"replayed without {NONE}, {RANDOM}" in (path / "results" / "report.html").read_text(encoding="utf-8")
    for checkpoint in CHECKPOINTS:
        for strategy in ("none", "random"):
            part = Path("data") / "responses" / checkpoint / "arithmetic_test" / f"{strategy}.jsonl"
            assert (path / part).read_bytes() == (clone.path / part).read_bytes()


@pytest.fixture
def server(made: Study, tmp_path: Path) -> Iterator[str]:
    """vLLM's own OpenAI-compatible server with one checkpoint under its name; its address."""
    model = engine_model(made, CHECKPOINTS[RANDOM])
    environment = find_environment("vllm", made.project, made.home)
    arguments, variables = worker_settings(model, dict(made.recipe.engine.options), {}, environment.build)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", str(value)]
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        [
            *(str(environment.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model.path),
            *("--served-model-name", RANDOM, "--host", "127.0.0.1", "--port", str(port)),
            *flags,
        ],
        env=environment_variables("vllm", environment) | process_variables(variables, {}) | {"HF_HUB_OFFLINE": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log.close()
    limit = time.monotonic() + 240
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            break
        assert process.poll() is None, (tmp_path / "server.log").read_text(encoding="utf-8")[-3000:]
        assert time.monotonic() < limit
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}/v1"
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_of_vllm_answers_as_vllm_does(clone: Clone, made: Study, server: str, tmp_path: Path) -> None:
    model = engine_model(made, CHECKPOINTS[RANDOM])
    choice = EngineSettings("openai", {"return_token_ids": True}, openai=OpenAISettings((OpenAIServer(server),)))
    with (
        Store(tmp_path / "store.sqlite") as store,
        open_session(
            store, [model], choice, project=made.project, home=made.home, log=tmp_path / "failed.jsonl", say=print
        ) as session,
    ):
        requests = _requests(made, RANDOM)
        session.ensure(requests)
        found = [completion for _, _, completion in session.read(requests)]
    rows = lines(clone.path / f"data/responses/{RANDOM}/arithmetic_test/random.jsonl")
    assert [item.prompt_tokens for item in found] == [row["prompt_tokens"] for row in rows]
    with Store(clone.home / "store.sqlite") as store:
        known = dict(store.find([row["request_key"] for row in rows]))
    # Prompt parity through a server: the very tokens that vLLM in our own process was given.
    assert [item.prompt_sha256 for item in found] == [known[row["request_key"]]["prompt_sha256"] for row in rows]
    assert _alike([item.text for item in found], [row["text"] for row in rows]) >= 0.8
    assert not (tmp_path / "failed.jsonl").exists()
