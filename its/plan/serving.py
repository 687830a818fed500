"""The memory of one GPU in an engine: the weights, and how many tokens of cache are left beside them."""

from __future__ import annotations

from dataclasses import dataclass

from its.plan.architecture import Architecture

RESERVED = 3_000_000_000
"""Bytes of a GPU for activations, graphs and CUDA itself beside weights and cache; an assumption."""
USED = 0.9
"""Share of a GPU that the engine takes where the recipe does not say (`gpu_memory_utilization`)."""


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
    model: Architecture, *, gpu_bytes: int, split: int, window: int, number: int = 2, used: float = USED
) -> Served:
    """An engine on `split` GPUs.

    Args:
        gpu_bytes: of one GPU.
        window: tokens of prompt and response together.
        number: bytes of a weight and of a number in the cache.
        used: share of a GPU that the engine takes, in (0, 1].
    """
    weights = -(-model.parameters * number // split)
    heads = max(1, -(-model.kv_heads // split))  # fewer heads than GPUs are kept more than once
    token = 2 * model.layers * heads * model.head_dim * number
    return Served(weights, token, int(gpu_bytes * used) - RESERVED - weights, window)
