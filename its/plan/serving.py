"""The memory of one GPU in an engine: the weights, and how many tokens of cache are left beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from its.plan.architecture import Architecture

RESERVED = 3_000_000_000
"""Bytes of a GPU for activations, graphs and CUDA itself beside weights and cache; an assumption."""
USED = 0.9
"""Share of a GPU that the engine takes where the recipe does not say (`gpu_memory_utilization`)."""


@dataclass(frozen=True)
class Formats:
    """Bytes of a number in an engine.

    Args:
        number: of a weight that is not quantized: embeddings and the output matrix never are.
        weight: of a weight of a layer.
        cache: of a key or value in the cache.
    """

    number: int = 2
    weight: float = 2
    cache: int = 2


HALF = Formats()


@dataclass(frozen=True)
class Served:
    """One engine.

    Args:
        weights: bytes on one GPU.
        token: bytes of cache that one token has on one GPU.
        cache: bytes of a GPU that are left for the cache; not above 0 if the weights do not fit.
        window: tokens of the longest sequence.
    """

    weights: int
    token: int
    cache: int
    window: int

    @property
    def sequences(self) -> int:
        """Sequences of a full window that are held at once."""
        return max(0, self.cache) // (self.token * self.window)

    @property
    def fits(self) -> bool:
        return self.sequences >= 1


def served(
    model: Architecture,
    *,
    gpu_bytes: int,
    window: int,
    tensor: int = 1,
    pipeline: int = 1,
    formats: Formats = HALF,
    used: float = USED,
) -> Served:
    """An engine on `tensor` x `pipeline` GPUs: the fullest of them.

    Tensor parallel GPUs share the weights and the key heads of each layer; fewer heads than GPUs are kept more than
    once. Pipeline parallel ones share the layers: the first has the embedding, the last the output matrix.

    Args:
        gpu_bytes: of one GPU.
        window: tokens of prompt and response together.
        used: share of a GPU that the engine takes, in (0, 1].
    """
    layers = -(-model.layers // pipeline)
    embeddings = 1 if model.tied or pipeline > 1 else 2
    whole = layers * model.layer * formats.weight
    whole += (embeddings * model.embedding + model.hidden) * formats.number
    weights = math.ceil(whole / tensor)
    heads = max(1, -(-model.kv_heads // tensor))
    token = 2 * layers * heads * model.head_dim * formats.cache
    return Served(weights, token, int(gpu_bytes * used) - RESERVED - weights, window)


def split_fault(model: Architecture, tensor: int, pipeline: int = 1) -> str | None:
    """Why vLLM refuses at its start to divide a model so, as a clause; None if it does not."""
    size = f"`engine.options.tensor_parallel_size: {tensor}`"
    if model.heads % tensor:
        return f"{size} does not divide {model.heads} attention heads"
    if model.kv_heads % tensor and tensor % model.kv_heads:
        return f"{size} neither divides {model.kv_heads} key heads nor is a multiple of them"
    if model.intermediate % tensor:
        return f"{size} does not divide the MLP's width, {model.intermediate}"
    if pipeline > model.layers:
        return f"`engine.options.pipeline_parallel_size: {pipeline}` is more than {model.layers} layers"
    return None
