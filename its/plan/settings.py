"""What in an Axolotl configuration decides over memory, and what of it the formulas do not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from its.shown import quoted

FUSED = {
    "liger_fused_linear_cross_entropy": "axolotl.integrations.liger.LigerPlugin",
    "cut_cross_entropy": "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin",
}
"""Setting that computes the loss without keeping the logits -> the plugin that it takes."""
ADAM = frozenset(("adamw_torch", "adamw_torch_fused", "adamw_apex_fused", "adamw_anyprecision"))
EIGHT_BITS = frozenset(("adamw_torch_8bit", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "ademamix_8bit"))


@dataclass(frozen=True)
class Memory:
    """The settings of a training that its memory depends on.

    Args:
        devices: processes, one a GPU.
        rows: of one micro batch.
        length: tokens of the longest row.
        stage: ZeRO stage, 0 to 3; FSDP is 3.
        fsdp: whether it is FSDP, which has no settings of ZeRO.
        number: bytes of a weight in the forward pass: 2 or 4.
        optimizer: `adam`, or `8bit`.
        adapter: rank of a LoRA adapter on all linear modules; None for full fine-tuning.
        quantized: bits of the base's weights under an adapter: 4, 8, or 16.
        checkpointing: whether activations are recomputed.
        offload_activations: whether the kept activations are moved to the host.
        offload_optimizer: whether the optimizer's states are on the host.
        loss: `plain` keeps the logits, `fused` does not.
        batch: rows of a step, over all processes.
        shared: processes that share one sequence.
        eager: whether attention keeps its matrix of length x length.
        live: parameters that ZeRO-3 keeps gathered at most; a lower stage gathers none.
    """

    devices: int
    rows: int
    length: int
    stage: int = 0
    fsdp: bool = False
    number: Literal[2, 4] = 2
    optimizer: Literal["adam", "8bit"] = "adam"
    adapter: int | None = None
    quantized: int = 16
    checkpointing: bool = True
    offload_activations: bool = False
    offload_optimizer: bool = False
    loss: Literal["plain", "fused"] = "plain"
    batch: int = 1
    shared: int = 1
    eager: bool = False
    live: int = 0

    @property
    def together(self) -> int:
        """Rows that all processes take in one micro batch."""
        return self.rows * max(1, self.devices // self.shared)

    @property
    def accumulates(self) -> bool:
        """Whether a step has several micro batches."""
        return self.batch > self.together

    @property
    def divides(self) -> bool:
        """Whether the micro batches of the processes make up a step; a recipe of which that is not true is refused."""
        return self.devices % self.shared == 0 and self.batch % self.together == 0


def memory_settings(
    config: Mapping[str, Any], *, devices: int, batch: int, hardware: str, shared: int
) -> tuple[Memory, list[str]]:
    """The settings of a rendered configuration, and notes on what is counted as something else.

    Args:
        devices: processes.
        batch: rows of a step.
        hardware: `cpu` or `gpu`.
        shared: processes that share one sequence.
    """
    notes: list[str] = []
    deepspeed = config.get("deepspeed")
    zero = deepspeed.get("zero_optimization") if isinstance(deepspeed, Mapping) else None
    zero = zero if isinstance(zero, Mapping) else {}
    fsdp = bool(config.get("fsdp") or config.get("fsdp_config"))
    stage = 3 if fsdp else _whole(zero.get("stage"), 0, 3, 0)
    if isinstance(deepspeed, str):
        notes.append(
            "unknown: the DeepSpeed settings are in a file; counted as without ZeRO; write them in the template"
        )
    optimizer = str(config.get("optimizer", "adamw_torch"))
    if optimizer not in ADAM | EIGHT_BITS:
        notes.append(f"unknown: the states of `optimizer: {quoted(optimizer, 40)}`; counted as those of AdamW")
    adapter = config.get("adapter")
    if adapter not in (None, "", "lora", "qlora"):
        notes.append(f"unknown: `adapter: {quoted(adapter, 40)}`; counted as LoRA")
    rows = _whole(config.get("micro_batch_size"), 1, 10**6, 1)
    quantized = 4 if config.get("load_in_4bit") else 8 if config.get("load_in_8bit") else 16
    fsdp_config = config.get("fsdp_config")
    offload = _offloads(zero.get("offload_optimizer")) or bool(
        isinstance(fsdp_config, Mapping) and fsdp_config.get("offload_params")
    )
    reduced = hardware == "gpu" and any(config.get(name) for name in ("bf16", "fp16", "bfloat16", "float16"))
    return Memory(
        devices=devices,
        rows=rows,
        length=_whole(config.get("sequence_len"), 1, 10**9, 1),
        stage=stage,
        fsdp=fsdp,
        number=2 if reduced else 4,
        optimizer="8bit" if optimizer in EIGHT_BITS else "adam",
        adapter=_whole(config.get("lora_r"), 1, 10**5, 8) if adapter else None,
        quantized=quantized if adapter else 16,
        checkpointing=bool(config.get("gradient_checkpointing")),
        offload_activations=bool(config.get("activation_offloading")),
        offload_optimizer=offload,
        loss="fused" if _fused(config) else "plain",
        batch=batch,
        shared=shared,
        eager=config.get("attn_implementation") == "eager",
        live=0 if fsdp else _whole(zero.get("stage3_max_live_parameters"), 0, 10**12, 10**9),
    ), notes


def _fused(config: Mapping[str, Any]) -> bool:
    """Whether the loss keeps no logits; a setting without its plugin does nothing."""
    plugins = config.get("plugins")
    there = plugins if isinstance(plugins, list) else []
    return any(config.get(setting) and plugin in there for setting, plugin in FUSED.items())


def _offloads(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("device") in ("cpu", "nvme")


def _whole(value: Any, least: int, most: int, otherwise: int) -> int:
    return value if type(value) is int and least <= value <= most else otherwise
