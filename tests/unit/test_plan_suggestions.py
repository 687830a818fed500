"""What the plan of a study suggests does fit: each suggestion is applied to the recipe, which is loaded and planned."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from its.commands.plan import Options, Plan, TrainingPlan, plan_study
from its.commands.plan_text import plan_lines
from its.plan import fit

QWEN_7B = {"kind": "hub", "id": "Qwen/Qwen2.5-7B-Instruct", "revision": "a" * 40}
R1_1_5B = {"kind": "hub", "id": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "revision": "a" * 40}
PLAIN_LOSS = {"liger_fused_linear_cross_entropy": False}
ZERO_2 = {"zero_optimization": {"stage": 2}}
FSDP = {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}
# Name -> (recipe, model's source, changes of `train`). Rows of a micro batch, stages and losses all differ.
RECIPES: dict[str, tuple[str, dict[str, Any] | None, dict[str, Any]]] = {
    "32b": ("ot1k_qwen2_5_32b", None, {}),
    "32b-rows": ("ot1k_qwen2_5_32b", None, {"micro_batch_size": 2, "global_batch_size": 48}),
    "lora": ("qwen3_0_6b_lora", None, {}),
    "lora-7b": ("qwen3_0_6b_lora", QWEN_7B, {"axolotl": PLAIN_LOSS}),
    "1.5b-rows": (
        "qwen3_0_6b_lora",
        R1_1_5B,
        {"template": "axolotl/full_gpu.yaml.j2", "micro_batch_size": 8, "axolotl": PLAIN_LOSS},
    ),
    "7b": ("qwen3_0_6b_lora", QWEN_7B, {"template": "axolotl/full_gpu.yaml.j2"}),
    "7b-zero2": ("ot1k_qwen2_5_32b", QWEN_7B, {"axolotl": {"deepspeed": ZERO_2}}),
    "7b-fsdp": ("ot1k_qwen2_5_32b", QWEN_7B, {"axolotl": {"deepspeed": None, **FSDP}}),
}
GPUS = ("1x24", "1x30", "1x80", "2x12", "8x23", "8x40", "3x80", "8x80", "12x80", "5x80", "2x8x80", "16x40")
ZERO_CONFIG = {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}
SETTINGS: dict[str, dict[str, Any]] = {
    fit.FUSED.text: {
        "plugins": ["axolotl.integrations.liger.LigerPlugin"],
        "liger_fused_linear_cross_entropy": True,
    },
    fit.CHECKPOINTING.text: {"gradient_checkpointing": True},
    fit.ACTIVATIONS.text: {"activation_offloading": "hidden_states", "gradient_checkpointing": True},
    fit.OPTIMIZER.text: {"deepspeed": {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}},
    fit.ZERO.text: {"deepspeed": {"zero_optimization": {"stage": 3}}},
    fit.EIGHT.text: {"optimizer": "adamw_torch_8bit"},
    fit.ADAPTER.text: {"adapter": "lora", "lora_r": 32, "lora_alpha": 64, "lora_target_linear": True},
    fit.FOUR_BITS.text: {"load_in_4bit": True},
}
"""A suggestion -> what it is under `train.axolotl`."""


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("gpus", GPUS)
def test_what_is_suggested_fits_when_it_is_applied(project: Path, name: str, gpus: str) -> None:
    recipe = _recipe(project, name)
    plan = _planned(project, recipe, gpus)
    item = plan.trainings[0]
    for applied, on in _applied(recipe, item, gpus):
        again = _planned(project, applied, on).trainings[0]
        assert again.fits and again.memory is not None, (on, applied["train"], again.unknown)
    assert item.fits is not None and (item.fits or item.settings.divides or item.unknown)


def test_the_suggestions_of_all_recipes_are_seen(project: Path) -> None:
    """The cases above apply suggestions of every kind but those that no recipe of them needs."""
    seen = set()
    for name in RECIPES:
        for gpus in ("1x24", "8x23", "8x80"):
            item = _planned(project, _recipe(project, name), gpus).trainings[0]
            for found in (item.fit, item.roomy):
                seen |= set(found.changes) if found is not None else set()
            seen |= {"gpus"} if item.gpus_needed else set()
            seen |= {"length"} if item.longest else set()
    assert seen >= {fit.FUSED.text, fit.ACTIVATIONS.text, fit.ZERO.text, fit.ONE_ROW.text, fit.ADAPTER.text}
    assert seen >= {"gpus", "length"}


@pytest.mark.parametrize(("gpus", "needed"), [("3x80", 16), ("12x80", 16), ("5x80", 16), ("8x80", 16), ("1x141", 8)])
def test_the_fewest_gpus_are_such_that_the_recipe_loads(project: Path, gpus: str, needed: int) -> None:
    item = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus=gpus)).trainings[0]
    assert item.fits is False and item.gpus_needed == needed


def test_what_is_tight_is_shown_as_tight(project: Path) -> None:
    plan = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="2x8x80"))
    lines = list(plan_lines(plan))
    assert plan.fits and plan.tight and "79.1 GB of 80: fits, 1.2% to spare: tight" in "\n".join(lines)
    assert lines[-1].startswith("fits, but tight")
    plan = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="8x80"))
    item, text = plan.trainings[0], "\n".join(plan_lines(plan))
    assert item.fit is not None and item.roomy is not None and item.roomy.parts.total <= 0.95 * 80e9
    assert "78.2 GB, 2.2% to spare: tight" in text and "fits with 5% to spare with:" in text
    assert "on 16 GPUs (`train.devices: 16`): 79.1 GB of one, 1.2% to spare: tight" in text
    plan = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="8x141"))
    assert plan.fits and not plan.tight and list(plan_lines(plan))[-1] == "fits"


def _recipe(project: Path, name: str) -> dict[str, Any]:
    base, source, train = RECIPES[name]
    recipe: dict[str, Any] = yaml.safe_load((project / "recipes" / f"{base}.yaml").read_text("utf-8"))
    if source is not None:
        next(iter(recipe["models"].values()))["source"] = source
    recipe["train"] |= train
    recipe["train"].setdefault("axolotl", {})
    return recipe


def _planned(project: Path, recipe: dict[str, Any], gpus: str) -> Plan:
    (project / "params.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return plan_study(project, None, Options(gpus=gpus))


def _applied(recipe: dict[str, Any], item: TrainingPlan, gpus: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(recipe, GPUs) after each suggestion for a training."""
    gigabytes = gpus.rpartition("x")[2]
    devices = item.settings.devices
    for found in (item.fit, item.roomy):
        if found is not None:
            out = _on(recipe, devices)
            for text in found.changes:
                _change(out["train"], text)
            yield out, gpus
    if item.gpus_needed is not None:
        yield _on(recipe, item.gpus_needed), f"{item.gpus_needed}x{gigabytes}"
    if item.longest and item.settings.divides:
        out = _on(recipe, devices)
        out["train"]["sequence_length"] = item.longest
        yield out, gpus


def _on(recipe: dict[str, Any], devices: int) -> dict[str, Any]:
    out = copy.deepcopy(recipe)
    out["train"] |= {"devices": devices, "launcher": "torchrun", "launcher_args": [f"--nproc_per_node={devices}"]}
    return out


def _change(train: dict[str, Any], text: str) -> None:
    if text == fit.ONE_ROW.text:
        train["micro_batch_size"] = 1
        return
    for key, value in SETTINGS[text].items():
        if key == "deepspeed":  # a nested value replaces that of the template: it is written as a whole
            whole = copy.deepcopy(train["axolotl"].get(key) or ZERO_CONFIG)
            whole["zero_optimization"] |= value["zero_optimization"]
            value = whole
        train["axolotl"][key] = value
