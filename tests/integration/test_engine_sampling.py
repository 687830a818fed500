"""The settings of sampling in a real vLLM: what they do to texts, and that other requests do not notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT
from integration.test_transformers import (
    GREEDY,
    NEUTRAL,
    PENALTIES,
    QUESTIONS,
    SAMPLED,
    answers,
    check_texts_are_told,
    request,
)
from sampled import spread

from its.engines.pipe import WORKERS, WorkerEngine
from its.engines.protocol import EngineModel, RefusedError
from its.engines.vllm import process_variables, serving_arguments, worker_settings
from its.environments import Environment, environment_variables, find_environment
from its.errors import RunError
from its.home import its_home
from its.models import ready_model
from its.recipe.load import load_recipe

pytestmark = pytest.mark.integration

MARKS = ("<think>", "</think>")
OPTIONS = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 4096}


@pytest.fixture(scope="module")
def model() -> EngineModel:
    """SmolLM2-135M-Instruct, as the quickstart declares it."""
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", ROOT)
    made = ready_model("smollm2_135m", recipe.models["smollm2_135m"], ROOT, its_home(ROOT), print)
    return replace(made, context_length=256)


def start(model: EngineModel, log: Path) -> WorkerEngine:
    environment: Environment = find_environment("vllm", ROOT, its_home(ROOT))
    # One test has two engines, which share a GPU.
    options = OPTIONS if environment.build == "vllm_cpu" else {**OPTIONS, "gpu_memory_utilization": 0.4}
    arguments, variables = worker_settings(model, options, {"VLLM_CPU_KVCACHE_SPACE": "1"}, environment.build)
    process = {
        **environment_variables("vllm", environment),
        **process_variables(variables, {}),
        "PYTHONPATH": str(WORKERS),
    }
    served = serving_arguments([model], arguments, environment.build)
    return WorkerEngine(environment.python, WORKERS / "vllm_worker.py", [model], served, process, log)


@pytest.fixture(scope="module")
def engine(model: EngineModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerEngine]:
    """An engine that knows the marks of thinking."""
    started = start(replace(model, thinking_marks=MARKS), tmp_path_factory.mktemp("log") / "engine.log")
    yield started
    started.close()


def _texts(engine: WorkerEngine, sampling: dict[str, Any], **more: Any) -> dict[str, str]:
    requests = [request(question, question, sampling, **more) for question in QUESTIONS[:5]]
    return {name: done.text for name, done in answers(engine, requests).items()}


def test_settings_do_what_they_say(engine: WorkerEngine) -> None:
    greedy, sampled = _texts(engine, GREEDY), _texts(engine, SAMPLED)
    assert sampled != greedy
    for one in ({"top_k": 1}, {"min_p": 1.0}):  # only the most likely token is left, or two with the same score
        likely = _texts(engine, {**SAMPLED, **one})
        assert sum(likely[question] == greedy[question] for question in greedy) >= 4
    for none in spread(NEUTRAL, 2):
        assert _texts(engine, {**SAMPLED, **none}) == sampled
    for penalty in PENALTIES:
        assert _texts(engine, {**GREEDY, **penalty}) != greedy  # greedy decoding is penalized too
    for penalty in spread(PENALTIES, 3):
        assert _texts(engine, {**GREEDY, **penalty}, seed=5) == _texts(engine, {**GREEDY, **penalty}, seed=6)
    for extra in ({"bad_words": ["The", "the"]}, {"min_tokens": 3}, {"logit_bias": {"2": -100}}):
        assert len(_texts(engine, {**GREEDY, "extra": extra})) == 5
    assert all(
        "the" not in text.split() for text in _texts(engine, {**GREEDY, "extra": {"bad_words": ["the"]}}).values()
    )


def test_a_cancelled_request_ends_at_once_and_changes_no_other(engine: WorkerEngine) -> None:
    before = _texts(engine, GREEDY)
    long = {**SAMPLED, "max_tokens": 200, "extra": {"ignore_eos": True}}
    for number in range(2):
        engine.submit(request(f"long{number}", QUESTIONS[number], long))
    assert engine.poll(0.5) == []
    engine.cancel({"long0", "long1"})
    for name in ("long0", "long1"):
        with pytest.raises(RefusedError, match="cancelled") as caught:
            engine.poll(60.0)
        assert caught.value.request_id == name
    assert _texts(engine, GREEDY) == before


def test_texts_are_told_while_they_are_generated(engine: WorkerEngine) -> None:
    check_texts_are_told(engine, [GREEDY, SAMPLED, {**SAMPLED, "stop": ["the "]}])


def test_a_budget_ends_a_thought(engine: WorkerEngine) -> None:
    """The prompt opens the thought; so many tokens later vLLM writes its end, and the model goes on."""
    long = {**GREEDY, "max_tokens": 48}
    free = answers(engine, [request("r", QUESTIONS[3], long, start=MARKS[0])])["r"]
    assert MARKS[1] not in free.text
    counted = {}
    for budget in (0, 5, 20):
        limited = {**long, "thinking_budget": budget, "thinking_marks": list(MARKS)}
        done = answers(engine, [request("r", QUESTIONS[3], limited, start=MARKS[0])])["r"]
        thought, mark, _ = done.text.partition(MARKS[1])
        assert mark and free.text.startswith(thought[:-1])
        counted[budget] = len(thought)
    assert counted[0] == 0 < counted[5] < counted[20]
    # A response that opens no thought is as it was.
    limited = {**GREEDY, "thinking_budget": 0, "thinking_marks": list(MARKS)}
    assert _texts(engine, limited) == _texts(engine, GREEDY)


def test_requests_without_a_budget_do_not_notice_the_marks(
    engine: WorkerEngine, model: EngineModel, tmp_path: Path
) -> None:
    """So the marks are not in the key of a session: what was stored before a recipe had a limit is found."""
    plain = start(model, tmp_path / "engine.log")
    try:
        for sampling in (GREEDY, SAMPLED):
            assert _texts(plain, sampling) == _texts(engine, sampling)
        plain.submit(request("r", "Why?", {**GREEDY, "thinking_budget": 5}))
        with pytest.raises(RunError, match="reasoning_config"):
            while True:
                plain.poll(5.0)
        assert len(_texts(plain, GREEDY)) == 5
    finally:
        plain.close()


def test_what_vllm_refuses_is_refused_by_name_and_the_others_are_answered(engine: WorkerEngine) -> None:
    for question, extra, said in (
        ("Why?", {"min_tokenz": 1}, "min_tokenz"),
        ("Why?", {"min_tokens": 99}, "min_tokens"),
        ("tea " * 400, {}, "maximum context length"),
    ):
        engine.submit(request("odd", question, {**GREEDY, "extra": extra} if extra else GREEDY))
        with pytest.raises(RunError, match=f"refused request `odd`: .*{said}"):
            while True:
                engine.poll(5.0)
    assert len(_texts(engine, GREEDY)) == 5
