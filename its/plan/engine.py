"""What in the options of vLLM decides over an engine's memory, and what of it the formulas do not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from its.plan.serving import USED, Formats
from its.shown import quoted

WEIGHTS = {
    "fp8": 1.0,
    "fp8_per_tensor": 1.0,
    "fp8_per_channel": 1.0,
    "fp8_per_block": 1.0,
    "int8_per_channel_weight_only": 1.0,
}
"""`quantization` -> bytes of a weight of a layer. vLLM 0.32 quantizes to these itself; others depend on files."""
CACHE = {"float16": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""`kv_cache_dtype` -> bytes of a number in the cache."""
NUMBERS = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4}
"""`dtype` -> bytes of a weight."""
UNCOUNTED = (
    *("cpu_offload_gb", "cpu_offload_params", "offload_backend", "offload_group_size", "offload_params"),
    *("kv_cache_memory_bytes", "num_gpu_blocks_override", "kv_cache_dtype_skip_layers", "kv_sharing_fast_prefill"),
    *("quantization_config", "hf_overrides", "additional_config", "kv_transfer_config"),
    *("speculative_config", "spec_method", "spec_model", "enable_dbo"),
)
"""Options that change memory in ways that the formulas do not have."""
ONE_ENGINE = ("data_parallel_size", "prefill_context_parallel_size", "decode_context_parallel_size")
"""Sizes that are counted only if they are 1: `vllm.LLM` refuses the first, the others divide the cache."""
SEQUENCES = 256
"""Sequences that an engine generates at once at most, where the recipe does not say (`max_num_seqs`)."""
MOST = 10**6


@dataclass(frozen=True)
class Engine:
    """The options of an engine that are counted.

    Args:
        tensor: GPUs that share each layer.
        pipeline: groups of them that share the layers.
        used: share of a GPU that the engine takes, in (0, 1].
        sequences: generated at once at most.
        window: tokens of the longest sequence; None is the model's context length.
        number: bytes of a weight; None is the model's format.
        weight: bytes of a weight of a layer; None is as `number`.
        cache: bytes of a number in the cache; None is as `number`.
        ray: whether its processes may be on several machines.
    """

    tensor: int = 1
    pipeline: int = 1
    used: float = USED
    sequences: int = SEQUENCES
    window: int | None = None
    number: int | None = None
    weight: float | None = None
    cache: int | None = None
    ray: bool = False

    @property
    def split(self) -> int:
        """GPUs of the engine."""
        return self.tensor * self.pipeline

    def formats(self, declared: int) -> Formats:
        """The bytes of its numbers.

        Args:
            declared: bytes of a weight in the model's own format.
        """
        number = self.number or declared
        return Formats(number, self.weight or number, self.cache or number)


def engine_settings(options: Mapping[str, Any]) -> tuple[Engine, list[str]]:
    """The settings of an engine, and notes on what of them is not counted; with a note its memory is not known."""
    notes: list[str] = []

    def whole(name: str, otherwise: int, most: int = MOST) -> int:
        value = options.get(name, otherwise)
        if type(value) is int and 1 <= value <= most:
            return value
        notes.append(f"unknown: {_named(options, name)} is not a whole number from 1 to {most:,}")
        return otherwise

    def listed(name: str, known: Mapping[str, Any]) -> Any:
        value = options.get(name)
        if _absent(value):
            return None
        if isinstance(value, str) and value in known:
            return known[value]
        notes.append(f"unknown: the memory under {_named(options, name)}")
        return None

    used = options.get("gpu_memory_utilization", USED)
    if not (type(used) in (int, float) and 0 < used <= 1):
        notes.append(f"unknown: {_named(options, 'gpu_memory_utilization')} is not a share above 0 and up to 1")
        used = USED
    for name in ONE_ENGINE:
        if options.get(name, 1) != 1 or type(options.get(name, 1)) is not int:
            notes.append(f"unknown: the engine under {_named(options, name)}; 1 is planned")
    for name in UNCOUNTED:
        if not _absent(options.get(name)):
            notes.append(f"unknown: the memory under {_named(options, name)}")
    return Engine(
        tensor=whole("tensor_parallel_size", 1),
        pipeline=whole("pipeline_parallel_size", 1),
        used=float(used),
        sequences=whole("max_num_seqs", SEQUENCES),
        window=whole("max_model_len", 1, 10**9) if not _absent(options.get("max_model_len")) else None,
        number=listed("dtype", NUMBERS),
        weight=listed("quantization", WEIGHTS),
        cache=listed("kv_cache_dtype", CACHE),
        ray=options.get("distributed_executor_backend") == "ray",
    ), notes


def _absent(value: Any) -> bool:
    """Whether a value leaves an option as it is without it."""
    return not value or value == "auto"


def _named(options: Mapping[str, Any], name: str) -> str:
    return f"`engine.options.{name}: {quoted(options.get(name), 40)}`"
