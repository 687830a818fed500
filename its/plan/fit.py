"""Which settings make a training fit: the fewest changes first, none that changes what is learned before one that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from its.plan.architecture import Architecture
from its.plan.settings import Memory
from its.plan.training import Parts, training_memory


@dataclass(frozen=True)
class Change:
    """A change of settings that has an effect on a training: `text` is what to write."""

    text: str
    settings: dict[str, object]


@dataclass(frozen=True)
class Fit:
    """Settings under which a training fits, `changes` to the recipe's, and its memory then."""

    changes: tuple[str, ...]
    parts: Parts


FUSED = Change("a fused loss (`cut_cross_entropy: true` with its plugin)", {"loss": "fused"})
CHECKPOINTING = Change("`gradient_checkpointing: true`", {"checkpointing": True})
ACTIVATIONS = Change(
    "`activation_offloading: hidden_states` with checkpointing", {"offload_activations": True, "checkpointing": True}
)
OPTIMIZER = Change(
    "the optimizer's states on the host (ZeRO `offload_optimizer: {device: cpu}`)", {"offload_optimizer": True}
)
ZERO = Change("ZeRO stage 3", {"stage": 3})
ONE_ROW = Change("`train.micro_batch_size: 1`", {"rows": 1})
EIGHT = Change("`optimizer: adamw_torch_8bit` (changes the numbers)", {"optimizer": "8bit"})
ADAPTER = Change("`adapter: lora`, rank 32 (another kind of training)", {"adapter": 32})
FOUR_BITS = Change("`load_in_4bit: true` under the adapter (another kind of training)", {"quantized": 4})
SAME = (FUSED, CHECKPOINTING, ONE_ROW, ZERO, ACTIVATIONS, OPTIMIZER)
"""Changes that leave what is learned as it is, up to the order of sums; the cheaper ones first."""


def fitting(model: Architecture, settings: Memory, room: int, *, gpu: bool = True) -> Fit | None:
    """The fewest changes after which a training needs at most `room` bytes of a GPU; None if no set of them is enough.

    Of as many changes the cheaper ones; those that change what is learned only where the others are not enough.
    """
    for several in _sets(settings):
        changed = settings
        for change in several:
            changed = replace(changed, **change.settings)  # type: ignore[arg-type]
        parts = training_memory(model, changed, gpu=gpu)
        if parts.total <= room:
            return Fit(tuple(change.text for change in several), parts)
    return None


def longest(model: Architecture, settings: Memory, room: int, *, gpu: bool = True) -> int:
    """The most tokens of a row that fit with the settings as they are; 0 if none do."""
    low, high = 0, settings.length
    while low < high:
        middle = (low + high + 1) // 2
        fits = training_memory(model, replace(settings, length=middle), gpu=gpu).total <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _sets(settings: Memory) -> Iterator[tuple[Change, ...]]:
    """Sets of changes that change something, in the order in which they are tried."""
    useful = [change for change in SAME if _changes(settings, change)]
    # ZeRO divides nothing on one GPU; states on the host are a setting of ZeRO.
    useful = [change for change in useful if change is not ZERO or settings.devices > 1]
    for count in range(len(useful) + 1):
        for several in combinations(useful, count):
            if OPTIMIZER not in several or settings.stage or ZERO in several:
                yield several
    cheap = tuple(change for change in (FUSED, CHECKPOINTING) if change in useful)
    offloaded = (*cheap, *(change for change in (ACTIVATIONS,) if change in useful))
    if settings.adapter is None:
        for base in (cheap, offloaded):
            yield (*base, EIGHT)
        for base in (cheap, offloaded):
            yield (*base, ADAPTER)
        yield (*offloaded, ADAPTER, FOUR_BITS)
    elif settings.quantized != 4:
        for base in (cheap, offloaded):
            yield (*base, FOUR_BITS)


def _changes(settings: Memory, change: Change) -> bool:
    if change is OPTIMIZER and settings.adapter is not None:
        return False
    return any(getattr(settings, name) != value for name, value in change.settings.items())
