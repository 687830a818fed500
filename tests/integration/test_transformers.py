"""The transformers engine with real libraries and a real model, on the GPU if there is one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT
from sampled import spread

from its.engines.pipe import WORKERS, WorkerEngine
from its.engines.protocol import Completion, EngineModel, Request
from its.environments import Environment, environment_variables, find_environment
from its.errors import RunError
from its.home import its_home
from its.models import ready_model
from its.recipe.load import load_recipe

pytestmark = pytest.mark.integration

CONTEXT = 256
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 16, "stop": []}
SAMPLED = {**GREEDY, "temperature": 0.7, "top_p": 0.95}
NEUTRAL: list[dict[str, Any]] = [
    {"repetition_penalty": 1.0},
    {"presence_penalty": 0.0},
    {"top_k": 10**8},
    {"frequency_penalty": 0.0},
]
"""Settings that change nothing."""
PENALTIES: list[dict[str, Any]] = [{"repetition_penalty": 1.8}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}]
QUESTIONS = [
    *(f"What is {a} plus {b}?" for a, b in [(2, 3), (11, 4), (7, 7)]),
    "Name three rivers and tell in which countries they flow into the sea, with one sentence about each of them.",
    "Why is the sky blue?",
    "Tell a story about a fox.",
    "Write one line about tea.",
    "A baker has 12 trays with 8 rolls each and sells 31 rolls before noon. How many rolls are left to be sold then?",
]


@pytest.fixture(scope="module")
def environment() -> Environment:
    return find_environment("axolotl", ROOT, its_home(ROOT))


@pytest.fixture(scope="module")
def base() -> EngineModel:
    """SmolLM2-135M-Instruct, as the quickstart declares it."""
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", ROOT)
    model = ready_model("smollm2_135m", recipe.models["smollm2_135m"], ROOT, its_home(ROOT), print)
    return replace(model, context_length=CONTEXT)


@pytest.fixture(scope="module")
def adapted(base: EngineModel, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> EngineModel:
    """A LoRA adapter with random weights over the same model."""
    folder = tmp_path_factory.mktemp("adapter")
    code = (
        "import sys, torch; from transformers import AutoModelForCausalLM\n"
        "from peft import LoraConfig, get_peft_model\n"
        "torch.manual_seed(1); model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='float32')\n"
        "config = LoraConfig(r=8, lora_alpha=64, target_modules=['q_proj', 'v_proj'], init_lora_weights=False)\n"
        "get_peft_model(model, config).save_pretrained(sys.argv[2])\n"
    )
    subprocess.run(
        [str(environment.python), "-c", code, base.path, str(folder)],
        env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    return replace(base, name="adapted", adapter=str(folder), fingerprint="adapted")


def start(environment: Environment, models: list[EngineModel], log: Path) -> WorkerEngine:
    options: dict[str, Any] = {"dtype": "float32", "max_model_len": CONTEXT, "batch_size": 8}
    if environment.build == "axolotl":
        options["device_map"] = "cuda"
    variables = environment_variables("axolotl", environment)
    return WorkerEngine(environment.python, WORKERS / "transformers_worker.py", models, options, variables, log)


@pytest.fixture(scope="module")
def engine(
    environment: Environment, base: EngineModel, adapted: EngineModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerEngine]:
    started = start(environment, [base, adapted], tmp_path_factory.mktemp("log") / "engine.log")
    yield started
    started.close()


def request(name: str, question: str, sampling: dict[str, Any] = GREEDY, **more: Any) -> Request:
    wanted = {"seed": 1, "model": "smollm2_135m", **more}
    return Request(name, [{"role": "user", "content": question}], sampling, **wanted)


def answers(engine: WorkerEngine, requests: list[Request]) -> dict[str, Completion]:
    """All answers, each of which comes once."""
    out: dict[str, Completion] = {}
    waiting = list(requests)
    under_way = 0
    while len(out) < len(requests):
        while waiting and under_way < engine.window:
            engine.submit(waiting.pop(0))
            under_way += 1
        for completion in engine.poll(5.0):
            assert completion.request_id not in out
            out[completion.request_id] = completion
            under_way -= 1
    assert engine.poll(0.2) == []
    return out


def check_texts_are_told(engine: WorkerEngine, samplings: Sequence[dict[str, Any]]) -> None:
    """Texts that are told while they are generated begin as the responses do, which are those that nobody follows."""
    for sampling in samplings:
        requests = [request(f"r{number}", text, sampling) for number, text in enumerate(QUESTIONS[:8])]
        plain = answers(engine, requests)
        for item in requests:
            engine.submit(replace(item, follow=item.request_id != "r0"))
        done: dict[str, Completion] = {}
        told: dict[str, list[str]] = {}
        while len(done) < len(requests):
            done |= {item.request_id: item for item in engine.poll(60.0)}
            for part in engine.begun():
                assert part.prompt_sha256 == plain[part.request_id].prompt_sha256 and part.weights
                told.setdefault(part.request_id, []).append(part.text)
        assert done == plain
        assert "r0" not in told and len(told) > 1 and max(map(len, told.values())) > 2
        for name, texts in told.items():
            assert all(plain[name].text.startswith(text) and text for text in texts)
            assert texts == sorted(set(texts), key=len)


@pytest.fixture(scope="module")
def greedy(engine: WorkerEngine) -> dict[str, Completion]:
    """The questions, in one batch."""
    return answers(engine, [request(question, question) for question in QUESTIONS])


def test_a_batch_says_what_one_by_one_is_said(engine: WorkerEngine, greedy: dict[str, Completion]) -> None:
    alone = {question: answers(engine, [request("r", question)])["r"] for question in QUESTIONS[:5]}
    assert all(alone[key].prompt_sha256 == greedy[key].prompt_sha256 for key in alone)
    assert all(alone[key].prompt_tokens == greedy[key].prompt_tokens for key in alone)
    same = [alone[key].text == greedy[key].text for key in alone]
    assert sum(same) >= 4, same  # sums of another shape may differ in their last bits, and then a word


def test_texts_are_told_while_they_are_generated(engine: WorkerEngine) -> None:
    check_texts_are_told(engine, [GREEDY, {**SAMPLED, "stop": ["the "]}])


def test_prompts_are_told_apart(greedy: dict[str, Completion], base: EngineModel) -> None:
    assert len({item.prompt_sha256 for item in greedy.values()}) == len(QUESTIONS)
    assert {item.weights for item in greedy.values()} == {base.fingerprint}
    lengths = [greedy[question].prompt_tokens for question in QUESTIONS]
    assert lengths[3] > 2 * lengths[0] - 10 > 0


def test_a_seed_is_the_responses_own(engine: WorkerEngine) -> None:
    """Neither the neighbours in the batch nor the order of requests decide what a seed draws."""
    question = "Tell a story about a fox."
    requests = [request(f"{seed}", question, SAMPLED, seed=seed) for seed in range(12)]
    first = answers(engine, requests)
    assert len({item.text for item in first.values()}) > 8
    shuffled = random.Random(3).sample(requests, len(requests))
    again = answers(engine, [*shuffled, request("twin", question, SAMPLED, seed=5)])
    same = [first[key].text == again[key].text for key in first]
    assert sum(same) >= 9, same
    pair = answers(engine, [replace(requests[7], request_id=name) for name in ("a", "b")])
    assert pair["a"].text == pair["b"].text


def test_requests_of_different_kinds_come_back_once_each(engine: WorkerEngine) -> None:
    kinds = [GREEDY, SAMPLED, {**GREEDY, "max_tokens": 3}]
    requests = [
        request(f"{index}", QUESTIONS[index % 8], {**kinds[index % 3], "max_tokens": 2 + index % 3}, seed=index)
        for index in range(75)  # more than the window of 64
    ]
    done = answers(engine, requests)
    assert set(done) == {item.request_id for item in requests}
    assert all(done[f"{index}"].completion_tokens <= 2 + index % 3 for index in range(75))


def test_the_answer_is_cut_before_the_stop_string(engine: WorkerEngine, greedy: dict[str, Completion]) -> None:
    question = QUESTIONS[4]
    whole = greedy[question].text
    word = whole.split()[3]
    done = answers(engine, [request("r", question, {**GREEDY, "stop": ["never said", word]})])["r"]
    assert done.text == whole[: whole.index(word)]
    assert done.finish_reason == "stop"
    assert 0 < done.completion_tokens < greedy[question].completion_tokens


def test_a_stop_string_that_begins_in_the_prompt_does_not_stop(
    engine: WorkerEngine, greedy: dict[str, Completion]
) -> None:
    """The prompt ends with a line break; so `\\nThe` is not in the answer `The sky ...`, though it is in the row."""
    question = QUESTIONS[4]
    whole = greedy[question].text
    assert whole.split()[0] not in whole.split()[1:]
    done = answers(engine, [request("r", question, {**GREEDY, "stop": [f"\n{whole.split()[0]}"]})])["r"]
    assert done.text == whole


def test_what_ends_an_answer_is_told(engine: WorkerEngine) -> None:
    sampling = {**GREEDY, "max_tokens": 5}
    done = answers(
        engine,
        [
            request("cut", "Tell a story about a fox.", sampling),
            request("ended", "What is 2 plus 3?", {**GREEDY, "max_tokens": 40}, start="The answer is 5"),
        ],
    )
    assert (done["cut"].finish_reason, done["cut"].completion_tokens) == ("length", 5)
    assert done["ended"].finish_reason == "stop"
    assert "<|im_end|>" not in done["ended"].text
    assert done["ended"].text.startswith((".", ",", " "))  # what follows the start, without it
    assert done["ended"].completion_tokens > 1  # with the end of turn


def test_the_context_bounds_prompt_and_answer(engine: WorkerEngine) -> None:
    def filled(words: int) -> str:
        return "tea " * words

    room = answers(engine, [request("r", filled(100))])["r"].prompt_tokens
    words = 100 + CONTEXT - room - 6
    done = answers(engine, [request("r", filled(words), {**GREEDY, "max_tokens": 50})])["r"]
    left = CONTEXT - done.prompt_tokens
    assert 0 < left < 20
    assert done.completion_tokens == left or done.finish_reason == "stop"
    engine.submit(request("long", filled(words + 50)))
    with pytest.raises(RunError, match=r"refused request `long`: its prompt of \d+ tokens leaves no room"):
        while True:
            engine.poll(5.0)
    assert answers(engine, [request("r", "Why is the sky blue?")])["r"].text  # the others are still served


def test_an_adapter_answers_under_its_own_name(engine: WorkerEngine, greedy: dict[str, Completion]) -> None:
    """Requests for two models under way at once; the engine has one of them in memory."""
    names = ["adapted", "smollm2_135m"] * 4
    requests = [request(f"{index}", QUESTIONS[index // 2], model=name) for index, name in enumerate(names)]
    done = answers(engine, requests)
    assert [done[f"{index}"].weights == "adapted" for index in range(8)] == [True, False] * 4
    assert done["0"].text != done["1"].text
    same = [done[f"{index}"].text == greedy[QUESTIONS[index // 2]].text for index in (1, 3, 5, 7)]
    assert sum(same) >= 3, same


def test_the_draw_has_the_models_distribution(environment: Environment) -> None:
    """4000 seeds on known scores, against the softmax that transformers' own warpers leave."""
    code = """
import json, torch, transformers_worker as worker
scores = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, -3.0]])
def drawn(temperature, top_p, **more):
    draw = worker.draw_by_seed(range(4000), {"temperature": temperature, "top_p": top_p, **more})
    picked = draw(None, scores.expand(4000, -1).clone()).argmax(-1)
    return (torch.bincount(picked, minlength=6) / 4000).tolist()
print(json.dumps([drawn(1.0, 1.0), torch.softmax(scores, -1)[0].tolist(), drawn(2.0, 1.0),
                  torch.softmax(scores / 2, -1)[0].tolist(), drawn(1.0, 0.6),
                  drawn(1.0, 1.0, top_k=3), drawn(1.0, 1.0, min_p=0.2), drawn(1.0, 0.7, top_k=3)]))
"""
    variables = {**environment_variables("axolotl", environment), "PYTHONPATH": str(WORKERS)}
    done = subprocess.run([str(environment.python), "-c", code], env=variables, capture_output=True, check=True)
    plain, plain_wanted, warm, warm_wanted, cut, first, likely, both = json.loads(done.stdout.splitlines()[-1])
    for found, wanted in ((plain, plain_wanted), (warm, warm_wanted)):
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 0.03  # over 3 standard errors
    assert cut[2:] == [0, 0, 0, 0]  # 0.55 and 0.20 reach 0.6
    assert abs(cut[0] - plain_wanted[0] / (plain_wanted[0] + plain_wanted[1])) < 0.03
    assert first[3:] == [0, 0, 0] and first[2] > 0
    assert likely[3:] == [0, 0, 0] and likely[2] > 0  # 0.22 of the largest, 0.14
    assert both[2:] == [0, 0, 0, 0]  # 0.63 of what top_k leaves and 0.23 reach 0.7: top_p comes after top_k


def test_penalties_are_those_of_vllm_and_of_each_row_alone(environment: Environment) -> None:
    """vLLM's formula on known scores; the padding of a batch is penalized in no row."""
    code = """
import json, torch, transformers_worker as worker
scores = torch.tensor([[2.0, -1.0, 0.5, 1.0, 3.0]]).repeat(2, 1)
batch = [worker.Item({}, [0, 1], 9, [2, 2]), worker.Item({}, [3], 9, [])]
padded = torch.tensor([[0, 1, 2, 2], [4, 4, 4, 3]])  # 4 pads
def penalized(**sampling):
    return worker.penalties(batch, sampling)(padded, scores).tolist()
print(json.dumps([penalized(repetition_penalty=2.0), penalized(presence_penalty=0.5), penalized(frequency_penalty=0.5),
                  penalized(repetition_penalty=2.0, presence_penalty=1.0, frequency_penalty=0.25)]))
"""
    variables = {**environment_variables("axolotl", environment), "PYTHONPATH": str(WORKERS)}
    done = subprocess.run([str(environment.python), "-c", code], env=variables, capture_output=True, check=True)
    plain = [2.0, -1.0, 0.5, 1.0, 3.0]
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [[1.0, -2.0, 0.25, 1.0, 3.0], [2.0, -1.0, 0.5, 0.5, 3.0]],
        [[2.0, -1.0, 0.0, 1.0, 3.0], plain],
        [[2.0, -1.0, -0.5, 1.0, 3.0], plain],
        [[1.0, -2.0, -1.25, 1.0, 3.0], [2.0, -1.0, 0.5, 0.5, 3.0]],
    ]


def test_settings_do_what_they_say(engine: WorkerEngine, greedy: dict[str, Completion]) -> None:
    def texts(sampling: dict[str, Any], **more: Any) -> list[str]:
        done = answers(engine, [request(question, question, sampling, **more) for question in QUESTIONS])
        return [done[question].text for question in QUESTIONS]

    plain, sampled = [greedy[question].text for question in QUESTIONS], texts(SAMPLED)
    for one in ({"top_k": 1}, {"min_p": 1.0}):  # only the most likely token is left, or two with the same score
        likely = texts({**SAMPLED, **one})
        assert sum(a == b for a, b in zip(likely, plain, strict=True)) >= 6
    for none in spread(NEUTRAL, 2):
        assert texts({**SAMPLED, **none}) == sampled
    for penalty in PENALTIES:
        penalized = texts({**GREEDY, **penalty})
        assert penalized != plain  # greedy decoding is penalized too
        if penalty not in spread(PENALTIES, 3):
            continue
        alone = [
            answers(engine, [request("r", question, {**GREEDY, **penalty})])["r"].text for question in QUESTIONS[:4]
        ]
        assert sum(a == b for a, b in zip(alone, penalized[:4], strict=True)) >= 3


@pytest.mark.parametrize("given", [{"thinking_budget": 5}, {"extra": {"min_tokens": 2}}])
def test_settings_that_it_lacks_are_refused(engine: WorkerEngine, given: dict[str, Any]) -> None:
    engine.submit(request("r", "Why is the sky blue?", {**GREEDY, **given}))
    with pytest.raises(RunError, match=f"the `transformers` engine has no `{next(iter(given))}`"):
        while True:
            engine.poll(5.0)


def test_a_worker_that_is_killed_is_named(environment: Environment, base: EngineModel, tmp_path: Path) -> None:
    engine = start(environment, [base], tmp_path / "engine.log")
    try:
        engine.submit(request("r", "Tell a story about a fox.", {**GREEDY, "max_tokens": 200}))
        (worker,) = [pid for pid in processes_below(engine._process.pid) if "transformers_worker" in command_of(pid)]
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(RunError, match=r"died \(killed by signal 9\)"):
            while True:
                engine.poll(5.0)
    finally:
        engine.close()


def processes_below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [item for child in children for item in (int(child), *processes_below(int(child)))]


def command_of(pid: int) -> str:
    """The program and its arguments; a keeper's begin with those of the keeper."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return "" if "keeper.py" in line else line
