"""Operations of a training, tokens a second of an engine, and the hours that they take at a stated utilisation."""

from __future__ import annotations

from its.plan.architecture import Architecture
from its.plan.serving import HALF, Formats

TRAINING_USE = 0.2
"""Share of the GPU's peak that a training reaches, recomputation counted as work; an assumption. Published trainings of
this kind reached 0.05 to 0.27 (docs/plan.md)."""
GENERATION_USE = 0.3
"""Share of the memory's bandwidth that generation reaches; an assumption."""


def training_operations(
    model: Architecture, tokens: float, row: float, *, checkpointing: bool, adapter: bool = False
) -> float:
    """Floating point operations of all passes over `tokens` tokens.

    Forward 2 for each parameter that a token is multiplied with and 2 x row x heads x head_dim for the attention of a
    layer; backward twice that, or once under an adapter, whose base has no gradients; recomputation once more.

    Args:
        row: mean tokens of a row.
    """
    forward = 2 * model.multiplied + 2 * row * model.layers * model.heads * model.head_dim
    return tokens * forward * (1 + (1 if adapter else 2) + checkpointing)


def gpu_hours(operations: float, tflops: float, use: float) -> float:
    """Hours of one GPU.

    Args:
        tflops: its peak, in 1e12 operations a second.
        use: share of the peak, in (0, 1].
    """
    return operations / (tflops * 1e12 * use) / 3600


def generated_per_second(
    model: Architecture,
    *,
    split: int,
    terabytes: float,
    sequences: int,
    context: float,
    use: float,
    formats: Formats = HALF,
) -> float:
    """Tokens a second of one engine on `split` GPUs, bound by the memory that each step reads: weights and cache.

    Args:
        terabytes: a second of one GPU's memory.
        sequences: generated at once, at least 1.
        context: mean tokens that a sequence has in the cache.
        use: share of the bandwidth, in (0, 1].
    """
    cache = 2 * model.layers * model.kv_heads * model.head_dim * formats.cache * context
    weights = model.layers * model.layer * formats.weight + model.embedding * formats.number
    read = weights + sequences * cache
    return sequences * terabytes * 1e12 * split * use / read
