"""The templates for GPUs of 80 GB train a tiny model of their architecture: as they are on a GPU, nearly so on a CPU.

On a CPU exactly the settings of CPU_LACKS are replaced, each of which stops Axolotl 0.19 there; bf16 weights, 8-bit
states with stochastic rounding, activations that wait elsewhere and a base of 4 bits are as written. On a GPU
(scripts/gpu_first.sh) nothing is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT
from integration.preloaded import preloaded
from integration.test_families import Case, declared
from integration.tiny_models import make_models

from its.engines.protocol import EngineModel
from its.environments import Environment, find_environment
from its.home import its_home
from its.models import ready_model
from its.prompts.render import read_template
from its.recipe.axolotl import rendered_settings
from its.recipe.schema import Model, Train
from its.training.run import Training, train_checkpoint

pytestmark = pytest.mark.integration

CASE = Case("qwen2_5", "qwen2_5")
STEPS = 2
KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
CPU_LACKS: dict[str, tuple[Any, str]] = {
    "tf32": (False, "a format of NVIDIA's GPUs; the trainer refuses it elsewhere"),
    "liger_fused_linear_cross_entropy": (False, "a Triton kernel, and Triton finds no active driver"),
    "deepspeed": (None, "it is not in the lock for a CPU"),
    **dict.fromkeys(KERNELS, (False, "Axolotl turns them on for an adapter, and they ask for a stream of CUDA")),
}
"""Setting -> (what replaces it on a CPU, why)."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Environment, Model, EngineModel]]:
    """The home, Axolotl's environment, and a tiny model of the architecture of Qwen2.5."""
    folder = tmp_path_factory.mktemp("templates")
    home, models = folder / "home", folder / "models"
    home.mkdir()
    model = declared(CASE, models)
    with pytest.MonkeyPatch.context() as patch, _axolotl(home) as environment:
        patch.setenv("HF_HUB_OFFLINE", "1")
        template = (ROOT / "recipes/prompts/qwen2_5.jinja").read_text(encoding="utf-8")
        make_models([CASE.model], models, environment, {CASE.model: template})
        yield home, environment, model, ready_model(CASE.model, model, ROOT, home, print)


@contextmanager
def _axolotl(home: Path) -> Iterator[Environment]:
    """Its environment; on a CPU with its libraries imported once, and without compiling the 8-bit optimizer (60 s)."""
    real = find_environment("axolotl", ROOT, its_home(ROOT))
    if real.build == "axolotl":
        yield real
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHDYNAMO_DISABLE", "1")
        with preloaded(real, home) as environment:
            yield environment


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        # `bf16: true` makes the weights bf16; on a CPU the model's format adds, or not, autocast.
        ("full_8x80", "float32"),
        ("full_16x80", "float32"),
        ("full_7b_80", "float32"),
        ("lora_80", "bfloat16"),
    ],
)
def test_the_template_trains(name: str, dtype: str, world: tuple[Path, Environment, Model, EngineModel]) -> None:
    home, environment, model, base = world
    gpu = environment.build == "axolotl"
    settings = Train.model_validate(
        {
            **{"template": f"axolotl/{name}.yaml.j2", "hardware": "gpu" if gpu else "cpu", "devices": 1},
            **{"epochs": 1, "learning_rate": 1e-3, "lr_scheduler": "constant", "warmup_ratio": 0, "weight_decay": 0},
            **{"global_batch_size": 2, "micro_batch_size": 1, "sequence_length": 256, "launcher": "python"},
            "axolotl": {"dataset_num_proc": 1, "dataloader_num_workers": 0},
        }
    )
    text = read_template(ROOT / "recipes" / settings.template)
    written = rendered_settings(text, name, settings, "rows.jsonl", 1)
    if gpu and "deepspeed" in written:
        settings = settings.model_copy(update={"launcher": "torchrun", "launcher_args": ["--nproc_per_node=1"]})
    if not gpu:
        used = {*written, *(KERNELS if written.get("adapter") else ())}
        lacking = {key: value for key, (value, _) in CPU_LACKS.items() if key in used}
        assert lacking, "this template needs no GPU"
        settings = settings.model_copy(update={"axolotl": settings.axolotl | lacking})
    training = Training(
        messages=[
            [{"role": "user", "content": f"What is {n} + 5?"}, {"role": "assistant", "content": f"{n + 5}"}]
            for n in range(2 * STEPS)
        ],
        train=settings,
        template=text,
        tokens=model.special_tokens,
        base=replace(base, dtype=dtype),
        seed=1,
        environment=environment,
    )
    trained = train_checkpoint(training, home=home, say=print, progress=lambda row: None)
    assert trained.sound["steps"]["done"] == STEPS and trained.sound["changed"]
    assert trained.sound["kind"] == ("adapter" if written.get("adapter") else "model")
    for row in trained.losses:
        assert math.isfinite(row["loss"]) and 0 < row["grad_norm"] < 100
