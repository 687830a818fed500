"""Engines in a plan: what vLLM refuses does not fit, what is not counted is unknown, hours pass on the GPUs in use."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from its.commands.plan import Options, Plan, plan_study
from its.commands.plan_serving import ServingPlan
from its.commands.plan_text import plan_lines
from its.plan.architecture import Architecture, known_architecture
from its.plan.costs import costs
from its.plan.engine import ONE_ENGINE, UNCOUNTED, engine_settings
from its.plan.serving import Formats, served, split_fault

Its = Callable[..., tuple[int, str, str]]


def _known(name: str) -> Architecture:
    found = known_architecture(name)
    assert found is not None
    return found


SIZES = {"7b": "Qwen/Qwen2.5-7B-Instruct", "32b": "Qwen/Qwen2.5-32B-Instruct", "0.6b": "Qwen/Qwen3-0.6B"}
QWEN_32B, QWEN_7B = _known(SIZES["32b"]), _known(SIZES["7b"])


def _plan(project: Path, size: str, engine: dict[str, Any], gpus: str, **changes: Any) -> Plan:
    """The plan of the LoRA recipe with another model and engine, and other values of dotted fields."""
    recipe = yaml.safe_load((project / "recipes" / "qwen3_0_6b_lora.yaml").read_text("utf-8"))
    recipe["models"]["qwen3_0_6b"]["source"] |= {"id": SIZES[size], "revision": "a" * 40}
    recipe["engine"] = {"kind": "vllm", **engine}
    price = changes.pop("price", None)
    for where, value in changes.items():
        section, _, field = where.partition("__")
        recipe[section][field] = copy.deepcopy(value)
    (project / "params.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return plan_study(project, None, Options(gpus=gpus, price=price))


def _only(plan: Plan) -> ServingPlan:
    assert plan.serving is not None
    (item,) = plan.serving
    return item


@pytest.mark.parametrize(
    ("engine", "gpus", "why"),
    [
        ({"replicas": 16, "options": {"tensor_parallel_size": 2}}, "8x80", "takes 32 GPUs, of 8"),
        ({"replicas": 2, "options": {"tensor_parallel_size": 4}}, "2x4x80", "engines take 8 GPUs of one machine"),
        (
            {"options": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}},
            "2x4x80",
            "distributed_executor_backend",
        ),
        ({"options": {"tensor_parallel_size": 3}}, "3x80", "does not divide 28 attention heads"),
        ({"options": {"tensor_parallel_size": 7}}, "7x80", "neither divides 4 key heads"),
        ({"options": {"pipeline_parallel_size": 32}}, "32x80", "more than 28 layers"),
    ],
)
def test_what_a_stage_or_vllm_refuses_does_not_fit(project: Path, engine: dict[str, Any], gpus: str, why: str) -> None:
    plan = _plan(project, "7b", engine, gpus)
    assert _only(plan).fits is False and plan.fits is False and why in " ".join(_only(plan).unknown)
    assert list(plan_lines(plan))[-1] == "does not fit"


def test_an_engine_over_machines_fits_with_ray(project: Path) -> None:
    options = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}
    assert _only(_plan(project, "7b", {"options": options}, "2x4x80")).fits
    plan = _plan(project, "32b", {"options": options}, "2x4x14")
    assert _only(plan).fits and _only(plan).fits_with is None  # one machine is not enough
    assert "the fewest GPUs" not in "\n".join(plan_lines(plan)) and "no number of" not in "\n".join(plan_lines(plan))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpus", ["1x80", "3x80", "8x6", "8x24", "2x8x24", "7x24"])
@pytest.mark.parametrize("replicas", [1, 16])
@pytest.mark.parametrize("split", [(1, 1), (8, 1), (2, 2)])
def test_a_suggested_split_fits_when_it_is_applied(
    project: Path, size: str, gpus: str, replicas: int, split: tuple[int, int]
) -> None:
    options = {"tensor_parallel_size": split[0], "pipeline_parallel_size": split[1]}
    item = _only(_plan(project, size, {"replicas": replicas, "options": options}, gpus))
    if item.fits_with is None:
        return
    applied = options | {"tensor_parallel_size": item.fits_with}
    again = _only(_plan(project, size, {"replicas": item.replicas_with, "options": applied}, gpus))
    assert again.fits, (item, again)


@given(st.sampled_from([QWEN_32B, QWEN_7B]), st.integers(1, 64))
def test_a_split_that_is_not_refused_divides_the_heads(model: Architecture, tensor: int) -> None:
    if split_fault(model, tensor) is None:
        assert model.heads % tensor == 0 and model.intermediate % tensor == 0


def test_pipeline_stages_share_the_layers_and_not_the_heads(project: Path) -> None:
    options = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}
    memory = _only(_plan(project, "32b", {"options": options}, "2x8x80", models__qwen3_0_6b=_qwen_32b())).memory
    assert memory is not None and memory.sequences == 120  # half the layers, one key head on each GPU
    one = served(QWEN_32B, gpu_bytes=80 * 10**9, window=32768, tensor=8)
    two = served(QWEN_32B, gpu_bytes=80 * 10**9, window=32768, tensor=8, pipeline=2)
    assert two.token * 2 == one.token and one.weights / 2 <= two.weights < one.weights * 0.52


def _qwen_32b() -> dict[str, Any]:
    root = Path(__file__).parents[2] / "recipes" / "ot1k_qwen2_5_32b.yaml"
    recipe: dict[str, Any] = yaml.safe_load(root.read_text("utf-8"))
    return {**recipe["models"]["qwen2_5_32b"], "context_length": 32768}


def test_quantized_weights_and_caches_are_counted(project: Path) -> None:
    item = _only(_plan(project, "32b", {"options": {"quantization": "fp8"}}, "1x80"))
    assert item.memory is not None and item.fits and 33e9 < item.memory.weights < 35e9
    plain = served(QWEN_7B, gpu_bytes=80 * 10**9, window=1000)
    assert served(QWEN_7B, gpu_bytes=80 * 10**9, window=1000, formats=Formats(2, 2, 1)).token * 2 == plain.token
    engine, notes = engine_settings({"kv_cache_dtype": "fp8", "quantization": "fp8", "max_num_seqs": 8})
    assert engine.formats(2) == Formats(2, 1.0, 1) and not notes and engine.sequences == 8


@pytest.mark.parametrize(
    "options",
    [
        {"quantization": "awq"},
        {"kv_cache_dtype": "nvfp4"},
        {"data_parallel_size": 4},
        {"gpu_memory_utilization": 5},
        {"gpu_memory_utilization": "0.9"},
        {"tensor_parallel_size": "8"},
        {"pipeline_parallel_size": 0},
        {"max_num_seqs": -1},
        {"cpu_offload_gb": 10},
        {"num_gpu_blocks_override": 100},
        {"kv_cache_memory_bytes": 10**9},
    ],
)
def test_an_option_that_is_not_counted_is_named_and_nothing_is_said_to_fit(
    project: Path, options: dict[str, Any], its: Its
) -> None:
    plan = _plan(project, "7b", {"options": options}, "1x80")
    item, (name,) = _only(plan), options
    assert item.fits is None and item.memory is None and item.hours is None and plan.fits is not True
    assert any(note.startswith("unknown: ") and f"engine.options.{name}" in note for note in item.unknown)
    text = "\n".join(plan_lines(plan))
    assert not text.endswith("\nfits") and "generation unknown at" in text and "+ generation unknown on" in text


@given(st.dictionaries(st.sampled_from(["quantization", "dtype", *UNCOUNTED, *ONE_ENGINE]), st.none() | st.booleans()))
def test_an_option_at_what_it_is_anyway_changes_nothing(options: dict[str, Any]) -> None:
    same = {name: value for name, value in options.items() if not value and name not in ONE_ENGINE}
    assert engine_settings(same) == engine_settings({})


@given(
    st.lists(st.none() | st.floats(0, 1e6), max_size=4),
    st.none() | st.lists(st.none() | st.floats(0, 1e6), max_size=4),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 64),
)
def test_hours_pass_on_the_gpus_in_use_and_all_are_paid(
    training: list[float | None], generation: list[float | None] | None, gpus: int, trained: int, served: int
) -> None:
    found = costs(
        training, generation, gpus=gpus, training_gpus=trained, generation_gpus=served, complete=True, price=2.5
    )
    assert found.complete == (generation is not None and None not in [*training, *generation])
    if found.elapsed is None:
        assert found.price is None
        return
    assert found.price is not None and found.price >= 2.4999 * found.gpu_hours - 1e-9  # idle GPUs are paid too
    assert found.elapsed <= found.gpu_hours + 1e-9
    assert found.training_gpus <= gpus and (found.generation_gpus or 0) <= gpus


def test_idle_gpus_are_named_and_priced(project: Path) -> None:
    plan = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="2x8x80", price=2.5))
    text = "\n".join(plan_lines(plan))
    found = plan.costs
    assert found is not None and found.elapsed is not None and found.training and found.generation
    assert found.elapsed == pytest.approx(found.training / 16 + found.generation / 8)
    assert found.price == pytest.approx(found.elapsed * 16 * 2.5)
    assert "training 12.0 on 16 GPUs + generation 20.5 on 8 GPUs" in text and "8 of 16 GPUs idle" in text
    plan = _plan(project, "7b", {}, "8x80")
    assert "leaves 7 of 8 GPUs idle: `engine.replicas: 8` uses 8" in "\n".join(plan_lines(plan))
    quick, slow = (_plan(project, "7b", {"replicas": count}, "8x80", price=1.0).costs for count in (8, 1))
    assert quick is not None and slow is not None and (quick.price or 0) < (slow.price or 0)
    assert quick.generation == slow.generation and quick.generation_gpus == 8


def test_personas_and_solutions_are_in_the_hours(project: Path) -> None:
    plan = plan_study(project, "instructions", Options())
    item = _only(plan)
    solutions = next(each for each in item.requests if each.kind == "solutions")
    assert solutions.requests == 450 * 4 and solutions.tokens == 450 * 4 * 6000
    assert (item.kind_hours["solutions"] or 0) > 0 and item.hours == pytest.approx(
        sum(each or 0 for each in item.kind_hours.values())
    )
    assert "at most 450, each in at most 4 requests" in "\n".join(plan_lines(plan))
    short, long = (
        _only(
            _plan(project, "0.6b", {}, "1x80", writer__sampling={"temperature": 0.6, "top_p": 1.0, "max_tokens": most})
        )
        for most in (2048, 16384)
    )
    assert (long.kind_hours["personas"] or 0) > (short.kind_hours["personas"] or 0) > 0


def test_a_model_that_only_writes_is_served_for_what_it_writes(project: Path) -> None:
    recipe = yaml.safe_load((project / "recipes" / "qwen3_0_6b_lora.yaml").read_text("utf-8"))
    recipe["models"]["big"] = _qwen_32b()
    recipe["writer"]["model"] = "big"
    (project / "params.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    plan = plan_study(project, None, Options(gpus="8x80"))
    assert plan.serving is not None
    kinds = {item.model: [each.kind for each in item.requests] for item in plan.serving}
    assert kinds == {"qwen3_0_6b": ["responses"], "big": ["personas"]}
    assert all((item.hours or 0) > 0 or item.fits is False for item in plan.serving)


@pytest.mark.parametrize("kind", ["transformers", "openai"])
def test_an_engine_that_is_not_planned_is_not_said_to_fit(project: Path, kind: str) -> None:
    engine: dict[str, Any] = {"kind": kind, "options": {"device_map": "cuda"}}
    if kind == "openai":
        engine = {"kind": kind, "openai": {"servers": [{"url": "http://localhost:8000/v1"}]}}
    plan = _plan(project, "0.6b", engine, "1x80")
    lines = list(plan_lines(plan))
    assert plan.fits is None and plan.serving is None and plan.costs is not None and not plan.costs.complete
    assert "generation not planned" in "\n".join(lines) and " known in all" in "\n".join(lines)
    assert lines[-1] == "not known whether it fits: the engine is not planned"


def test_disk_of_a_model_that_is_not_known_is_unknown(project: Path, its: Its) -> None:
    recipe = yaml.safe_load((project / "recipes" / "qwen3_0_6b_lora.yaml").read_text("utf-8"))
    recipe["models"]["qwen3_0_6b"]["source"]["id"] = "Qwen/Qwen3-30B-A3B"
    (project / "params.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    out = its("recipe", "plan")[1]
    assert "disk: unknown: that of `qwen3_0_6b`" in out
    disk = json.loads(its("recipe", "plan", "--json")[1])["disk"]
    assert disk["checkpoints"] is None and disk["models"] is None and disk["unknown"] == ["qwen3_0_6b"]
    text = "\n".join(plan_lines(plan_study(project, "arithmetic_axes", Options())))
    assert " GB known = 3 x checkpoints" in text and "; unknown: that of `teacher`" in text


EXTREMES = ["1e-320", "1e-300", "1e300", "0", "-1", "inf", "nan", "0.001", "1", "1000", "100000", "0.01"]


@pytest.mark.parametrize("option", ["--mfu", "--mbu", "--tflops", "--bandwidth", "--price"])
@pytest.mark.parametrize("value", EXTREMES)
def test_every_number_of_the_json_is_finite_or_the_option_is_refused(
    project: Path, its: Its, option: str, value: str
) -> None:
    code, out, err = its("recipe", "plan", "qwen3_0_6b_lora", f"{option}={value}", "--json")
    if code:
        assert code == 2 and option in err and "Traceback" not in err and len(json.loads(out)["errors"]) == 1
        return
    json.loads(out, parse_constant=lambda name: pytest.fail(name))
    text = its("recipe", "plan", "qwen3_0_6b_lora", f"{option}={value}")[1]
    assert " inf" not in text and "nan" not in text and max(map(len, text.splitlines())) < 400
