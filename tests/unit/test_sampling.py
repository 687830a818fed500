"""Sampling: what each engine is sent, what enters a key, which settings a recipe may give, and those of each cell."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.test_measure import RIGHT, WRONG, Written

from its.checks.engine import engine_faults
from its.engines.fleet.wire import request_body
from its.engines.options import VllmSettings
from its.engines.pipe import WorkerEngine
from its.engines.protocol import EngineModel, Request
from its.engines.vllm import WORKER, engine_groups, serving_arguments
from its.errors import DataError, RunError, SettingFault
from its.recipe.load import load_recipe, read_document, validate
from its.recipe.sampling_checks import generations
from its.recipe.schema import Model, Sampling
from its.recipe.schema.study import Generation, GenerationOverlay
from its.report.tables import csv_table, text_table
from its.rows import write_rows
from its.stages import generate
from its.stages.report import summary
from its.store.keys import response_key
from its.study.serving import request_sampling
from its.study.study import load_study
from its.types import Message, Query

Edit = Callable[..., None]
ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
PLAIN: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "stop": []}
ALL: dict[str, Any] = PLAIN | {
    "temperature": 0.6,
    "top_k": 20,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
}
MODEL = EngineModel(name="m", path="a_model", fingerprint="f", dtype="bfloat16", context_length=64)
# Recorded before these settings existed: the key of one request with the sampling of each shipped recipe.
KEYS = {
    ("quickstart", "generation"): "30b6ebd60735d343d62b504f79fb0cfecb1dd9cd0e0dcd2562c1bf740b261894",
    ("quickstart", "writer"): "1b7d521696ccf4122e2b95865d23f306c7a868bdb26e1c830d2879722df77cad",
    ("arithmetic_4x4", "generation"): "30b6ebd60735d343d62b504f79fb0cfecb1dd9cd0e0dcd2562c1bf740b261894",
    ("arithmetic_4x4", "writer"): "1b7d521696ccf4122e2b95865d23f306c7a868bdb26e1c830d2879722df77cad",
}
GENERATION: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 256, "n": 1}


def _request(sampling: dict[str, Any], **more: Any) -> Request:
    return Request("r", [{"role": "user", "content": "hi"}], sampling, **{"seed": 1, "model": "m", **more})


def _key(sampling: dict[str, Any]) -> str:
    return response_key("0" * 64, _request(sampling).determinants())


@pytest.mark.parametrize(("name", "where"), KEYS)
def test_without_the_new_settings_keys_are_as_they_were(name: str, where: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml", ROOT)
    sampling = recipe.writer.sampling.model_copy(update={"max_tokens": 32})  # which the recipes had then
    if where == "generation":
        sampling = recipe.generation.of(recipe.design.models[0], recipe.design.benchmarks[0])
    assert _key(request_sampling(recipe, sampling, recipe.design.models[0])) == KEYS[name, where]


def test_what_is_given_is_in_the_key_even_where_it_changes_nothing() -> None:
    """Whether a value has an effect is the engine's business: 1 is no penalty, but what was sent."""
    base = Sampling(temperature=0.0, top_p=1.0, max_tokens=8)
    keys = [_key(base.settings())]
    for given in ({"top_k": 1}, {"min_p": 1}, {"repetition_penalty": 1}, {"presence_penalty": 0}, {"extra": {"a": 1}}):
        keys.append(_key(base.model_copy(update=given).settings()))
    assert len(set(keys)) == len(keys)
    assert _key(base.model_copy(update={"extra": {}}).settings()) == keys[0]
    assert _request({**ALL, "temperature": 0.0}).determinants()["seed"] is None  # greedy, penalties or not


def test_an_overlay_that_changes_nothing_changes_no_key() -> None:
    same: dict[str, Any] = {"temperature": 0.0, "max_tokens": 256, "n": 1}
    plain = Generation(**GENERATION)
    overlaid = Generation(
        **GENERATION,
        models={"m": GenerationOverlay()},
        benchmarks={"b": GenerationOverlay(**same), "other": GenerationOverlay(temperature=0.7)},
    )
    assert overlaid.of("m", "b").settings() == plain.of("m", "b").settings()
    assert overlaid.of("m", "third").settings() == plain.settings()
    assert overlaid.of("m", "other").settings() != plain.settings()


def test_the_marks_of_a_limited_thought_are_in_its_key() -> None:
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", ROOT)
    (name,) = recipe.design.models
    marks = {"start": "<think>", "end": "</think>"}
    thinker = recipe.model_copy(
        update={"models": {name: Model.model_validate(recipe.models[name].model_dump() | {"thinking": marks})}}
    )
    limited = recipe.generation.model_copy(update={"thinking_budget": 64})
    assert request_sampling(thinker, recipe.generation, name) == recipe.generation.settings()
    assert request_sampling(recipe, limited, name) == {**recipe.generation.settings(), "thinking_budget": 64}
    found = request_sampling(thinker, limited, name)
    assert (found["thinking_budget"], found["thinking_marks"]) == (64, ["<think>", "</think>"])


def test_a_server_receives_every_setting_by_its_name() -> None:
    sampling = {
        **ALL,
        "thinking_budget": 9,
        "thinking_marks": ["<t>", "</t>"],
        "extra": {"min_tokens": 3, "a": {"b": 1}},
    }
    body = json.loads(request_body(_request(sampling), "served", {}))
    wanted = {**ALL, "thinking_token_budget": 9, "min_tokens": 3, "a": {"b": 1}, "model": "served"}
    wanted |= {"seed": 1, "n": 1, "stream": False, "messages": [{"role": "user", "content": "hi"}]}
    del wanted["stop"]
    assert body == wanted


def test_extra_overwrites_nothing_in_a_body() -> None:
    extra = {"model": "x", "messages": [], "seed": 9, "n": 9, "stream": True, "stop": ["x"], "max_tokens": 9}
    plain = request_body(_request(PLAIN), "served", {})
    assert json.loads(request_body(_request({**PLAIN, "extra": extra}), "served", {})) == json.loads(plain)


def _said(tmp_path: Path, *samplings: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """What the fake vLLM received of requests with some sampling, and what came back or was raised."""
    log = tmp_path / "asked.jsonl"
    variables = {**os.environ, "PYTHONPATH": str(FAKES), "ITS_FAKE_LOG": str(log)}
    engine = WorkerEngine(Path(sys.executable), WORKER, [MODEL], options, variables, tmp_path / "e.log")
    back: list[Any] = []
    try:
        for index, sampling in enumerate(samplings):
            engine.submit(replace(_request(sampling), request_id=f"r{index}"))
        end = time.monotonic() + 60
        while len(back) < len(samplings) and time.monotonic() < end:
            try:
                back += engine.poll(10.0)
            except RunError as error:
                back.append(error)
    finally:
        engine.close()
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return [json.loads(line)["sampling"] for line in lines], back


def test_vllm_receives_every_setting_by_its_name(tmp_path: Path) -> None:
    limited = {**PLAIN, "thinking_budget": 0, "thinking_marks": ["<t>", "</t>"]}
    extra = {**PLAIN, "extra": {"logit_bias": {"12": 3}, "max_tokens": 9, "seed": 9}}
    asked, back = _said(tmp_path, PLAIN, ALL, limited, extra)
    assert asked == [
        {**PLAIN, "seed": 1},
        {**ALL, "seed": 1},
        {**PLAIN, "seed": 1, "thinking_token_budget": 0},
        {**PLAIN, "seed": 1, "logit_bias": {"12": 3.0}},  # JSON again: an integer in vLLM
    ]
    assert len(back) == 4


@pytest.mark.parametrize(
    ("extra", "said"), [({"min_tokenz": 2}, "Unexpected keyword"), ({"min_tokens": 9}, "less than or equal")]
)
def test_settings_that_vllm_refuses_are_a_refused_request(tmp_path: Path, extra: dict[str, Any], said: str) -> None:
    _, (fault,) = _said(tmp_path, {**PLAIN, "extra": extra})
    assert said in fault.message and "`r0`" in fault.message
    assert "its recipe check --engine" in fault.hint


def test_marks_of_thinking_reach_the_engine_and_no_key() -> None:
    marks = replace(MODEL, thinking_marks=("<think>", "</think>"))
    config = {"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}
    assert serving_arguments([MODEL], {"a": 1}, "vllm") == {"a": 1}
    assert serving_arguments([marks], {"a": 1}, "vllm") == {"a": 1, "reasoning_config": config}
    for own in ({"reasoning_parser": "qwen3"}, {"reasoning_config": {"reasoning_end_str": "So.</think>"}}):
        assert serving_arguments([marks], own, "vllm") == own  # what the recipe says of the engine wins


def test_models_with_other_marks_have_engines_of_their_own() -> None:
    models = [replace(MODEL, name=name, group="g") for name in "abc"]
    models[1] = replace(models[1], thinking_marks=("<t>", "</t>"))
    assert [[model.name for model in group] for group in engine_groups(models)] == [["a", "c"], ["b"]]


# The recipe's check.


def _faults(project: Path) -> list[tuple[str, str, str]]:
    """(line of the key, message, hint) of params.yaml."""
    faults = validate(read_document(project / "params.yaml"), project)[1]
    lines = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    places = [fault.where.rsplit(":", 2) for fault in faults]
    keys = [lines[int(line) - 1][int(column) - 1 :].split(":")[0] for _, line, column in places]
    return [(key, fault.message, str(fault.hint)) for key, fault in zip(keys, faults, strict=True)]


def _with(edit: Edit, text: str, kind: str = "vllm", *more: tuple[str, str]) -> None:
    """Add lines to `generation` of the quickstart."""
    edit(("  n: 1\n  temperature: 0.0\n", f"  n: 1\n  temperature: 0.0\n{text}\n"), *more)
    if kind != "vllm":
        options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: 4096\n"
        edit(("  kind: vllm\n", f"  kind: {kind}\n"), (f"  options:\n{options}", ""))
        edit(('  environment:\n    VLLM_CPU_KVCACHE_SPACE: "1"\n', ""))
    if kind == "openai":
        edit(("  kind: openai\n", "  kind: openai\n  openai: {servers: [{url: http://localhost:8000/v1}]}\n"))


SOUND = [
    ("vllm", "  top_k: 1\n  min_p: 1\n  repetition_penalty: 1.0\n  presence_penalty: 0\n  frequency_penalty: -2"),
    ("transformers", "  top_k: 100000000\n  min_p: 0.05\n  repetition_penalty: 100\n  presence_penalty: 2"),
    ("openai", "  top_k: 20\n  thinking_budget: 0\n  extra: {user: me, reasoning_effort: low, tools: []}"),
    ("replay", "  thinking_budget: 9\n  extra: {anything: [1]}"),
    ("vllm", "  extra: {min_tokens: 2, logit_bias: {'12': -1.5}, bad_words: ['a b'], stop_token_ids: [2]}"),
    ("vllm", "  extra: {repetition_detection: {max_pattern_size: 20, min_count: 4}, skip_special_tokens: false}"),
    ("vllm", "  models: {}\n  benchmarks: {arithmetic_test: {}}"),
    ("vllm", "  models: {smollm2_135m: {temperature: 0.6, n: 4}}\n  benchmarks: {arithmetic_test: {max_tokens: 64}}"),
    ("vllm", "  benchmarks: {arithmetic_test: {n: 16, temperature: 0.6, top_k: null}}"),
]


@pytest.mark.parametrize(("kind", "text"), SOUND)
def test_sound_sampling_is_accepted(project: Path, edit: Edit, kind: str, text: str) -> None:
    _with(edit, text, kind)
    assert _faults(project) == []


REFUSED = [
    ("vllm", "  top_k: 0", "top_k", "greater than or equal to 1", ""),
    ("vllm", "  top_k: 1.5", "top_k", "integer", ""),
    ("vllm", "  top_k: true", "top_k", "integer", ""),
    ("vllm", "  top_k: 1000000000000", "top_k", "less than or equal", ""),
    ("vllm", "  min_p: .nan", "min_p", "nan", ""),
    ("vllm", "  presence_penalty: 2.5", "presence_penalty", "less than or equal to 2", ""),
    ("vllm", "  repetition_penalty: 0", "repetition_penalty", "greater than 0", ""),
    ("transformers", "  thinking_budget: 9", "thinking_budget", "cannot end a thought", "`engine.kind: vllm`"),
    ("transformers", "  extra: {a: 1}", "extra", "no further settings", "its recipe fields generation"),
    ("vllm", "  thinking_budget: 9", "thinking_budget", "declares no marks", "models.smollm2_135m.thinking"),
    ("vllm", "  extra: {top_k: 1}", "top_k", "has this setting itself", "write `generation.top_k`"),
    ("openai", "  extra: {stop: [a]}", "stop", "has this setting itself", "write `generation.stop`"),
    ("openai", "  extra: {model: gpt}", "model", "gets this from ITS", "`models`"),
    ("replay", "  extra: {seed: 2}", "seed", "gets this from ITS", "`seed`"),
    ("vllm", "  extra: {n: null}", "n", "gets this from ITS", "`generation.n`"),
    (
        "openai",
        "  extra: {max_completion_tokens: 5}",
        "max_completion_tokens",
        "gets this from ITS",
        "max_tokens: null",
    ),
    ("openai", "  extra: {chat_template_kwargs: {a: 1}}", "chat_template_kwargs", "from ITS", "template_kwargs"),
    ("openai", "  extra: {user: null}", "user", "is `null`", "remove it"),
    (
        "openai",
        "  extra: {extra_body: {min_tokens: 2}}",
        "extra_body",
        "ignores the name",
        "into `generation.extra` itself",
    ),
    (
        "vllm",
        "  top_k: 20\n  models: {smollm2_135m: {top_k: null, temperature: null}}",
        "top_k",
        "`generation.models.smollm2_135m.top_k` is `null`, which does not remove `generation.top_k`",
        "not in `generation`",
    ),
    (
        "vllm",
        "  models: {smollm2_135m: {min_p: 0.1}}\n  benchmarks: {arithmetic_test: {min_p: null}}",
        "min_p",
        "does not remove `generation.models.smollm2_135m.min_p`",
        "not in `generation.models.smollm2_135m`",
    ),
    (
        "vllm",
        "  extra: {min_tokens: 2}\n  benchmarks: {arithmetic_test: {extra: null}}",
        "extra",
        "does not remove `generation.extra`",
        "`extra: {}`",
    ),
    (
        "vllm",
        "  stop: [a]\n  benchmarks: {arithmetic_test: {stop: null}}",
        "stop",
        "does not remove `generation.stop`",
        "`stop: []`",
    ),
    ("vllm", "  stop:\n    - ''", "''", "at least 1 character", ""),
    ("openai", "  models: {smollm2_135m: {stop: ['a', '']}}", "'']}}", "at least 1 character", ""),
    (
        "openai",
        "  thinking_budget: 300\n  models: {smollm2_135m: {max_tokens: 300}}",
        "thinking_budget",
        "`generation.thinking_budget` is 300: with `generation.models.smollm2_135m.max_tokens` of 300 no token is left",
        "at most 299",
    ),
    ("vllm", "  extra: {prompt_logprobs: 5}", "prompt_logprobs", "does not keep", "remove it"),
    ("vllm", "  extra: {detokenize: false}", "detokenize", "would not be the model's text", "remove it"),
    ("vllm", "  extra: {trace_decode_token_ids: [1]}", "trace_decode_token_ids", "not be the model's text", "remove"),
    ("vllm", "  extra: {_eos_token_id: 1}", "_eos_token_id", "is not a setting of a request", "remove it"),
    (
        "vllm",
        "  extra: {structured_outputs: {regex: '(a+)+'}}",
        "structured_outputs",
        "any time and memory",
        "ITS_ALLOW",
    ),
    ("vllm", "  extra: {extra_args: {kv_transfer_params: {}}}", "extra_args", "connectors", "ITS_ALLOW_CODE"),
    ("vllm", "  extra: {logits_processors: [a.B]}", "logits_processors", "imports", "ITS_ALLOW_CODE=generation.extra"),
    ("vllm", "  extra: {min_tokens: [../../etc]}", "min_tokens", "not known to be harmless", "ITS_ALLOW_CODE"),
    ("openai", "  extra: {api_key: abcdef}", "api_key", "looks like a secret", "leave it in the environment"),
    ("vllm", "  models: {smollm2: {n: 1}}", "smollm2", "model `smollm2` is not declared", "mean `smollm2_135m`"),
    ("vllm", "  benchmarks: {arithmetic: {n: 1}}", "arithmetic", "benchmark `arithmetic` is not declared", "_test`"),
    (
        "vllm",
        "  benchmarks: {arithmetic_test: {n: 4}}",
        "n",
        "is 4 at temperature 0 (`generation.temperature`)",
        "n: 1`",
    ),
    ("vllm", "  models: {smollm2_135m: {max_tokens: 1024}}", "max_tokens", "has a context of 1024", "leave room"),
]


@pytest.mark.parametrize(("kind", "text", "key", "said", "hint"), REFUSED, ids=[case[1].strip() for case in REFUSED])
def test_bad_sampling_is_one_clear_error(
    project: Path, edit: Edit, kind: str, text: str, key: str, said: str, hint: str
) -> None:
    _with(edit, text, kind)
    ((where, message, told),) = _faults(project)
    assert where == key
    assert said in message and hint in told


def test_a_k_beyond_the_n_of_an_overlay_is_named_with_the_overlay(project: Path, edit: Edit) -> None:
    _with(edit, "  benchmarks: {arithmetic_test: {n: 2, temperature: 0.6}}", "vllm", ("  maj_k: [1]", "  maj_k: [4]"))
    edit(("  n: 1\n  temperature: 0.0", "  n: 8\n  temperature: 0.6"))
    message = "maj@4 needs at least 4 responses per problem; `generation.benchmarks.arithmetic_test.n` is 2"
    ((_, said, hint),) = _faults(project)
    assert (said, hint) == (message, "set `generation.benchmarks.arithmetic_test.n: 4`, or use k <= 2")


def test_a_field_of_a_server_is_set_in_one_place(project: Path, edit: Edit) -> None:
    _with(edit, "  top_k: 20\n  extra: {user: me}", "openai")
    edit(("  kind: openai\n", "  kind: openai\n  options: {top_k: 5, user: you, temperature: null, other: 1}\n"))
    assert [(key, message) for key, message, _ in _faults(project)] == [
        ("top_k", "`generation.top_k` and `engine.options.top_k` set the same field of a request"),
        ("user", "`generation.extra.user` and `engine.options.user` set the same field of a request"),
    ]


def test_a_budget_is_not_measured_against_a_limit_that_is_not_sent(project: Path, edit: Edit) -> None:
    _with(edit, "  thinking_budget: 300", "openai")
    options = "  options: {max_tokens: null, max_completion_tokens: 400}\n"
    edit(("  kind: openai\n", f"  kind: openai\n{options}"))
    assert _faults(project) == []


def test_the_owner_of_the_machine_may_allow_a_grammar(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(edit, "  extra: {structured_outputs: {choice: [a, b]}}")
    monkeypatch.setenv("ITS_ALLOW_CODE", "generation.extra.structured_outputs")
    assert _faults(project) == []


def test_frames_of_models_are_checked_as_the_frame_is(project: Path, edit: Edit) -> None:
    edit(("prompt:\n", "prompt:\n  models: {smollm2_135m: {user: 'always this'}, nobody: {system: a}}\n"))
    assert [(key, message) for key, message, _ in _faults(project)] == [
        ("user", "`prompt.models.smollm2_135m.user` does not use `query`: every prompt would be the same"),
        ("nobody", "`prompt.models.nobody`: model `nobody` is not declared"),
    ]


@pytest.mark.parametrize(
    ("section", "told"), [("generation", "`writer.sampling` is how it is sampled"), ("prompt", "have no frame")]
)
def test_an_overlay_for_the_writer_alone_is_refused(project: Path, edit: Edit, section: str, told: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    block = text[text.index("  smollm2_135m:") : text.index("\nwriter:")]
    edit(("models:\n  smollm2_135m:", f"models:\n{block.replace('smollm2_135m:', 'scribe:')}\n  smollm2_135m:"))
    edit(("writer:\n  model: smollm2_135m", "writer:\n  model: scribe"))
    edit((f"\n{section}:\n", f"\n{section}:\n  models: {{scribe: {{}}}}\n"))
    ((where, message, hint),) = _faults(project)
    assert where == "scribe" and "not a model of the design" in message and told in hint


def test_what_is_checked_is_what_cells_are_generated_with() -> None:
    """The check reads plain values, the stages the model: both must resolve overlays alike."""
    chance = random.Random(7)
    choices: dict[str, list[Any]] = {
        "n": [1, 2],
        "temperature": [0.0, 0.5],
        "top_k": [None, 5],
        "extra": [{}, {"a": 1}],
        "stop": [[], ["x"]],
    }
    seen = set()
    for _ in range(300):

        def overlay() -> dict[str, Any]:
            return {name: chance.choice(values) for name, values in choices.items() if chance.random() < 0.4}

        declared = {
            **GENERATION,
            "stop": [],
            "models": {name: overlay() for name in "ab" if chance.random() < 0.5},
            "benchmarks": {name: overlay() for name in "uv" if chance.random() < 0.5},
        }
        design = {"models": ["a", "b"], "benchmarks": ["u", "v"]}
        checked = [item.values for item in generations({"design": design, "generation": declared})]
        generation = Generation.model_validate(declared)
        cells = [generation.of(model, benchmark) for model in "ab" for benchmark in "uv"]
        wanted = [{"n": cell.n, **cell.settings()} for cell in cells]
        found = [{name: value for name, value in item.items() if (name, value) != ("extra", {})} for item in checked]
        assert all(item in found for item in wanted) and all(item in wanted for item in found)
        seen.add(len(found))
    assert seen == {1, 2, 4}


def test_many_overlays_are_checked_in_a_moment() -> None:
    names = [f"n{number}" for number in range(1000)]
    values = {
        "design": {"models": names, "benchmarks": names},
        "generation": {**GENERATION, "models": {name: {"n": 2} for name in names}, "benchmarks": dict.fromkeys(names)},
    }
    begin = time.monotonic()
    assert 1000 <= len(generations(values)) <= 10_000
    assert time.monotonic() - begin < 5


def test_faults_of_vllm_are_placed_where_the_setting_is(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(edit, "  extra: {min_tokens: 2}\n  benchmarks: {arithmetic_test: {temperature: 3.0}}")
    seen: list[dict[str, Any]] = []

    def faults(environment: Any, settings: list[VllmSettings], log: Path) -> list[list[SettingFault]]:
        seen.extend(dict(item.sampling) for item in settings if item.sampling is not None)
        return [
            [
                SettingFault(("sampling", "temperature"), "too hot"),
                SettingFault(("sampling", "extra", "min_tokens"), "no"),
            ]
            if (item.sampling or {}).get("temperature") == 3.0
            else []
            for item in settings
        ]

    monkeypatch.setattr("its.checks.engine.find_environment", lambda *_: None)
    monkeypatch.setattr("its.checks.engine.option_faults", faults)
    document = read_document(project / "params.yaml")
    found = engine_faults(project, [(document, load_recipe(project / "params.yaml", project))])
    assert [fault.message for fault in found] == [
        "`generation.benchmarks.arithmetic_test.temperature`: too hot",
        "`generation.extra.min_tokens`: no",
    ]
    assert {"temperature": 3.0, "top_p": 1.0, "max_tokens": 256, "extra": {"min_tokens": 2}} in seen
    assert all("n" not in sampling for sampling in seen)


# The stages.


def _two_benchmarks(project: Path, edit: Edit, overlay: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    block = text[text.index("  arithmetic_test:") : text.index("\nstrategies:")]
    edit(("\nstrategies:", f"{block.replace('  arithmetic_test:', '  other:')}\nstrategies:"))
    edit(("  benchmarks: [arithmetic_test]", "  benchmarks: [arithmetic_test, other]"))
    edit(("generation:\n  n: 1\n", f"generation:\n  n: 1\n  benchmarks: {overlay}\n"), ("  draws: #", "  draws: 200"))


def test_a_cell_is_requested_with_its_own_sampling_and_frame(project: Path, edit: Edit) -> None:
    _two_benchmarks(project, edit, "{other: {n: 3, temperature: 0.6, top_k: 20}}")
    study = load_study(project)
    own = [Message(role="user", content="hi, you")]
    for name in ("arithmetic_test", "other"):
        path = study.queries_path("test", name, "none")
        query = Query(
            query_id=f"{name}/p/none",
            problem_id="p",
            strategy="none",
            messages=[Message(role="system", content="s"), Message(role="user", content="hi")],
            by_model={"smollm2_135m": own} if name == "other" else None,
        )
        write_rows(path, [query])
    trained = study.checkpoints()[1]
    plain = list(generate._requests(study, trained, "arithmetic_test", "none"))
    overlaid = list(generate._requests(study, trained, "other", "none"))
    assert [request.sampling for request in plain] == [
        {"temperature": 0.0, "top_p": 1.0, "max_tokens": 256, "stop": []}
    ]
    assert [request.sample_index for request in overlaid] == [0, 1, 2]
    assert overlaid[0].sampling == {**plain[0].sampling, "temperature": 0.6, "top_k": 20}
    assert [turn["role"] for turn in plain[0].messages] == ["system", "user"]
    assert overlaid[0].messages == [{"role": "user", "content": "hi, you"}]
    cells = [(trained, name, "none") for name in ("arithmetic_test", "other")]
    assert generate._count(study, cells) == 4


def test_each_cell_is_measured_with_its_n_and_tables_say_how_it_was_sampled(project: Path, edit: Edit) -> None:
    _two_benchmarks(project, edit, "{other: {n: 4, temperature: 0.6}}")
    written = Written(project)
    written.write(lambda checkpoint, benchmark, test, place, index: RIGHT if (place + index) % 2 else WRONG)
    run_stage("measure")
    assert {(cell["benchmark"], cell["n"]) for cell in written.results("cells")["cells"]} == {
        ("arithmetic_test", 1),
        ("other", 4),
    }
    found = summary(written.study)
    text = text_table(found)
    assert "12 problems, n = 1, temperature 0.0, grader v1" in text
    assert "12 problems, n = 4, temperature 0.6, grader v1" in text
    header, *rows = csv_table(found).splitlines()
    assert "sampling" in header.split(",") and any("temperature 0.6" in row for row in rows)
    # Cells of one benchmark are sampled the same way, so nothing is flagged.
    assert all(item["different_settings"] == {} for item in written.results("comparisons")["comparisons"])


def test_tables_of_a_study_without_overlays_are_as_they_were(project: Path, edit: Edit) -> None:
    edit(("  draws: #", "  draws: 200"))
    written = Written(project)
    written.write(lambda checkpoint, benchmark, test, place, index: RIGHT if place % 2 else WRONG)
    run_stage("measure")
    assert "temperature" not in text_table(summary(written.study))
    assert "sampling" not in csv_table(summary(written.study)).splitlines()[0].split(",")


def test_models_that_were_sampled_otherwise_are_flagged_where_they_are_compared(project: Path, edit: Edit) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    block = text[text.index("  smollm2_135m:") : text.index("\nwriter:")]
    edit(("models:\n  smollm2_135m:", f"models:\n{block.replace('smollm2_135m:', 'thinker:')}\n  smollm2_135m:"))
    edit(("  models: [smollm2_135m]", "  models: [smollm2_135m, thinker]"), ("  draws: #", "  draws: 200"))
    edit(("generation:\n", "generation:\n  models: {thinker: {temperature: 0.6, n: 2}}\n"))
    written = Written(project)
    written.write(lambda checkpoint, benchmark, test, place, index: RIGHT if (place + index) % 2 else WRONG)
    run_stage("measure")
    for item in written.results("comparisons")["comparisons"]:
        assert item["different_settings"] == {"generation.n": ["1", "2"], "generation.temperature": ["0.0", "0.6"]}
    blocks = {row["block"]: row for row in written.results("cells")["blocks"]}
    assert blocks["NN"]["cells"] == 2


def test_a_k_beyond_n_names_the_cells(project: Path, edit: Edit) -> None:
    """The recipe's check says it first; this is for a library that calls the stage."""
    from its.metrics.cells import check_k
    from its.stages.measure import _by_n

    _two_benchmarks(project, edit, "{other: {n: 4, temperature: 0.6}}")
    places = _by_n(load_study(project))
    assert places == {1: ["arithmetic_test"], 4: ["other"]}
    with pytest.raises(DataError, match="other has n = 4"):
        check_k({"pass": [8]}, 4, places[4])


def test_the_report_lists_the_settings_of_overlays(project: Path, edit: Edit) -> None:
    from its.stages.report import _generation

    _two_benchmarks(project, edit, "{other: {n: 4, temperature: 0.6}}")
    generation = load_study(project).recipe.generation
    assert _generation(generation) == {
        **{"temperature": 0.0, "top_p": 1.0, "max_tokens": 256, "stop": [], "n": 1},
        **{"benchmarks.other.n": 4, "benchmarks.other.temperature": 0.6},
    }
