"""A study of a tiny R1-like model, `prepare` to `report`: trained by Axolotl, served by vLLM, a thought in every row.

Its prompt opens the thought, so the trained turn begins within it, and so does each response. All problems have one
answer, which a model of two layers learns in a few dozen steps: if training and test did not see the same prompts, or
the thought were lost on its way, it would not be found in the responses.
"""

# ruff: noqa: RUF001 - the bars in DeepSeek's tokens

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.clone import ROOT, lines, read
from integration.preloaded import preloaded
from integration.tiny_models import TINY, make_models
from ruamel.yaml import YAML
from running import run_stage

from its.environments import find_environment
from its.errors import DataError
from its.home import its_home
from its.store import Store

pytestmark = pytest.mark.integration

MODEL = "r1_tiny"
BASE, NONE, RANDOM = f"{MODEL}-base", f"{MODEL}-apples-none-1", f"{MODEL}-apples-random-1"
TRAIN, TEST = 24, 6
THOUGHT = "Count them one by one: that makes 12.\n\nSo it is 12."
ANSWER = "The final answer is \\boxed{12}."
SOLUTION = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
FRUITS = ("apples", "pears", "plums", "figs", "nuts", "limes")
RECIPE = f"""
recipe_version: 1
recipe: r1_tiny
description: A tiny model with the template of DeepSeek-R1-Distill
seed: 5
models:
  {MODEL}:
    source: {{kind: folder, path: TINY_MODELS/r1_qwen}}
    dtype: float32
    context_length: 1024
    special_tokens: {{bos: <｜begin▁of▁sentence｜>, eos: <｜end▁of▁sentence｜>, pad: <｜end▁of▁sentence｜>}}
    chat_template: prompts/r1_distill.jinja
    thinking: {{start: <think>, end: </think>, opened_by: prompt}}
  writer_tiny:
    source: {{kind: folder, path: TINY_MODELS/smollm2}}
    dtype: float32
    context_length: 1024
    special_tokens: {{eos: <|im_end|>, pad: <|endoftext|>}}
    chat_template: prompts/chatml.jinja
writer:  # a model without R1's marks, which are not special: a random one writes them into its personas
  model: writer_tiny
  attempts: 1
  sampling: {{temperature: 0.7, top_p: 0.95, max_tokens: 8}}
datasets:
  apples:
    source: {{kind: files, path: data/sources/apples.jsonl}}
    fields: {{problem: question, reference: answer, solution: solution}}
benchmarks:
  fruits:
    source: {{kind: files, path: data/sources/fruits.jsonl}}
    fields: {{problem: question, reference: answer}}
    answer: integer
    role: report
strategies:
  none: {{query: prompts/query_plain.j2}}
  random:
    persona: {{template: prompts/persona_random.j2, start: You are a}}
    domains: [botany, chess]
    query: prompts/query_persona_first.j2
    limits: {{max_words: 8, checks: [empty]}}
design:
  models: [{MODEL}]
  datasets: [apples]
  train: [none, random]
  seeds: [1]
  benchmarks: [fruits]
  test: [none, random]
  base: true
prompt: {{user: "{{{{ query }}}}"}}
train:
  template: axolotl/full_cpu.yaml.j2
  hardware: cpu
  launcher: python
  epochs: 40
  learning_rate: 1.0e-2
  lr_scheduler: cosine
  warmup_ratio: 0.1
  weight_decay: 0.0
  global_batch_size: 12
  micro_batch_size: 12
  devices: 1
  sequence_length: 512
  axolotl: {{dataset_num_proc: 1, dataloader_num_workers: 0}}
engine:
  kind: vllm
  options: {{enforce_eager: true, enable_chunked_prefill: false, max_num_batched_tokens: 1024, max_num_seqs: 8}}
  environment: {{VLLM_CPU_KVCACHE_SPACE: "1"}}
generation: {{n: 2, temperature: 0.3, top_p: 0.95, max_tokens: 160}}
grading: {{timeout_seconds: 5, fallback: true}}
vote: {{members: trained}}
measure: {{maj_k: [1], draws: 200}}
report: {{examples: 2, caveats: [The model is random but for what it was trained on here.]}}
"""


@dataclass
class World:
    """The study's folder and home, and what its stages printed."""

    path: Path
    home: Path
    said: list[str]


def question(number: int) -> str:
    fruit, taken = FRUITS[number % len(FRUITS)], number // len(FRUITS)
    return f"Ann has {12 - taken} {fruit} and gets {taken} {fruit} more. How many are there?"


def write_sources(folder: Path) -> None:
    """Half of the test problems are training problems, so that the ids of both prompts can be compared."""
    folder.mkdir(parents=True, exist_ok=True)
    apples = [{"question": question(number), "answer": "12", "solution": SOLUTION} for number in range(TRAIN)]
    fruits = [{"question": question(number), "answer": "12"} for number in (0, 3, 6, *range(TRAIN, TRAIN + TEST - 3))]
    for name, rows in (("apples", apples), ("fruits", fruits)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    path, home = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dvc.yaml", path)
    for name in ("recipes", "envs"):
        shutil.copytree(ROOT / name, path / name)
    write_sources(path / "data" / "sources")
    models = tmp_path_factory.mktemp("models")
    (path / "params.yaml").write_text(RECIPE.replace("TINY_MODELS", str(models)), encoding="utf-8")
    real = {name: find_environment(name, ROOT, its_home(ROOT)) for name in ("axolotl", "vllm")}
    kept = {name: os.environ.get(name) for name in ("ITS_HOME", "DVC_ROOT")}
    folder = Path.cwd()
    os.environ["ITS_HOME"] = str(home)
    os.environ.pop("DVC_ROOT", None)
    os.chdir(path)
    try:
        with preloaded(real["axolotl"], home) as environment, preloaded(real["vllm"], home):
            own = (ROOT / "recipes" / "prompts" / "chatml.jinja").read_text(encoding="utf-8")
            make_models(["r1_qwen", "smollm2"], models, environment, {"r1_qwen": own, "smollm2": own})
            said = [run_stage("prepare", name) for name in ("apples", "fruits")]
            said += [run_stage("persona"), run_stage("query")]
            said += [run_stage("train", MODEL, "apples", strategy, "1") for strategy in ("none", "random")]
            said += [run_stage(stage) for stage in ("generate", "grade", "judge", "measure", "report")]
            yield World(path, home, said)
    finally:
        os.chdir(folder)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def trained_rows(world: World, checkpoint: str) -> list[list[dict[str, str]]]:
    """What Axolotl was given for a checkpoint."""
    config = YAML(typ="safe").load((world.path / "models" / checkpoint / "axolotl.yaml").read_text(encoding="utf-8"))
    rows = Path(config["datasets"][0]["path"].replace("$ITS_HOME", str(world.home)))
    return [row["messages"] for row in lines(rows)]


@pytest.mark.parametrize("checkpoint", [NONE, RANDOM])
def test_every_row_is_trained_from_within_its_thought(world: World, checkpoint: str) -> None:
    rows = trained_rows(world, checkpoint)
    assert len(rows) == TRAIN
    assert {row[-1]["content"] for row in rows} == {SOLUTION.removeprefix("<think>\n")}
    parity = read(world.path / "models" / checkpoint / "its_parity.json")
    assert parity["rows"] == TRAIN and parity["faults"] == 0
    assert parity["end_of_turn"] == TINY["r1_qwen"].eos


def test_the_queries_keep_the_solution_whole(world: World) -> None:
    for strategy in ("none", "random"):
        rows = lines(world.path / "data" / "queries" / "train" / "apples" / f"{strategy}.jsonl")
        assert [row["solution"] for row in rows] == [SOLUTION] * TRAIN
    personas = lines(world.path / "data" / "personas" / "apples" / "random.jsonl")
    assert all(row["text"].startswith("You are a") for row in personas)


def test_the_template_of_the_recipe_is_trained_served_and_kept(world: World) -> None:
    """The folder's own template is ChatML, which no prompt of this study is written with."""
    source = (world.path / "recipes" / "prompts" / "r1_distill.jinja").read_text(encoding="utf-8")
    for checkpoint in (NONE, RANDOM):
        saved = (world.path / "models" / checkpoint / "chat_template.jinja").read_text(encoding="utf-8")
        assert saved.removesuffix("\n") == source.removesuffix("\n")
    sessions = read(world.path / "data" / "responses" / "sessions.json")
    assert "not compared" not in json.dumps(sessions)


def test_vllm_was_sent_the_ids_of_the_proof(world: World) -> None:
    """By hash, for the problems that are in both sets."""
    probes = read(world.path / "models" / NONE / "its_parity.json")["probes"]
    trained = {json.dumps(probe["messages"]): probe["prompt_sha256"] for probe in probes}
    queries = lines(world.path / "data" / "queries" / "test" / "fruits" / "none.jsonl")
    asked = {row["query_id"]: json.dumps(row["messages"]) for row in queries}
    rows = lines(world.path / "data" / "responses" / NONE / "fruits" / "none.jsonl")
    same = 0
    with Store(world.home / "store.sqlite") as store:
        for row in rows:
            ((_, stored),) = store.find([row["request_key"]])
            if (known := trained.get(asked[row["query_id"]])) is not None:
                assert stored["prompt_sha256"] == known
                same += 1
    assert same == 6 and len(rows) == 2 * TEST  # three problems, two responses each


def test_the_trained_model_thinks_and_answers(world: World) -> None:
    """Each response begins within the thought, ends it, and is graded by what follows.

    Under the strategy of its training: what a model does under another differs from processor to processor.
    """
    for checkpoint, strategy in ((NONE, "none"), (RANDOM, "random")):
        rows = lines(world.path / "data" / "responses" / checkpoint / "fruits" / f"{strategy}.jsonl")
        whole = [row for row in rows if (row["thinking"], row["text"]) == (THOUGHT, ANSWER)]
        assert len(rows) == 2 * TEST and len(whole) >= TEST
        assert all(row["finish_reason"] == "stop" and row["thinking_tokens"] > 0 for row in whole)
        verdicts = lines(world.path / "data" / "verdicts" / checkpoint / "fruits" / f"{strategy}.jsonl")
        assert sum(row["verdict"] == "correct" for row in verdicts) >= len(whole)
    cells = {(cell["checkpoint"], cell["test"]): cell for cell in read(world.path / "results" / "cells.json")["cells"]}
    assert len(cells) == 6
    assert cells[NONE, "none"]["avg"] > cells[BASE, "none"]["avg"]


def test_the_report_is_whole(world: World) -> None:
    page = (world.path / "results" / "report.html").read_text(encoding="utf-8")
    assert all(block in page for block in ("NN", "NX", "XN", "XX"))
    assert MODEL in page


def test_a_row_without_a_thought_is_refused(world: World) -> None:
    """Its prompt has begun a thought: the answer would be trained as one."""
    path = world.path / "data" / "queries" / "train" / "apples" / "none.jsonl"
    sound = path.read_bytes()
    rows = lines(path)
    rows[3]["solution"] = ANSWER
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    try:
        with pytest.raises(DataError, match="no whole thought"):
            run_stage("train", MODEL, "apples", "none", "1")
    finally:
        path.write_bytes(sound)
