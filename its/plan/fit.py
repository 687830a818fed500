"""Which settings make a training fit: the cheapest first, those that change what is learned last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from its.plan.architecture import Architecture
from its.plan.settings import Memory
from its.plan.training import Parts, training_memory


@dataclass(frozen=True)
class Change:
    """A change of settings.

    Args:
        text: what to write.
        cost: how much slower the training becomes, as a rank: 0 not at all, 1 a recomputation, more for traffic with
            the host.
        settings: fields of `Memory` with their new values.
    """

    text: str
    cost: int
    settings: dict[str, object]


ROOMY = 0.95
"""Share of a GPU up to which memory is not tight: the formulas are not exact to the last 5 %, nor is an allocator."""


@dataclass(frozen=True)
class Fit:
    """Settings under which a training fits, `changes` to the recipe's, and its memory then."""

    changes: tuple[str, ...]
    parts: Parts


FUSED = Change("a fused loss (`liger_fused_linear_cross_entropy: true` with its plugin)", 0, {"loss": "fused"})
CHECKPOINTING = Change("`gradient_checkpointing: true`", 1, {"checkpointing": True})
ACTIVATIONS = Change(
    "`activation_offloading: hidden_states` with checkpointing", 2, {"offload_activations": True, "checkpointing": True}
)
OPTIMIZER = Change(
    "the optimizer's states on the host (`offload_optimizer: {device: cpu}` in `deepspeed.zero_optimization`)",
    6,
    {"offload_optimizer": True},
)
ZERO = Change("ZeRO stage 3 (`stage: 3` in `deepspeed.zero_optimization`)", 1, {"stage": 3})
ONE_ROW = Change("`train.micro_batch_size: 1`", 0, {"rows": 1})
EIGHT = Change("`optimizer: adamw_torch_8bit` (changes the numbers)", 0, {"optimizer": "8bit"})
ADAPTER = Change("`adapter: lora`, rank 32 (another kind of training)", 0, {"adapter": 32})
FOUR_BITS = Change("`load_in_4bit: true` under the adapter (another kind of training)", 0, {"quantized": 4})
SAME = (FUSED, CHECKPOINTING, ONE_ROW, ZERO, ACTIVATIONS, OPTIMIZER)
"""Changes that leave what is learned as it is, up to the order of sums; the cheaper ones first."""


def fitting(model: Architecture, settings: Memory, room: int, *, gpu: bool = True) -> Fit | None:
    """The cheapest changes after which a training needs at most `room` bytes of a GPU; None if no set is enough.

    A set after which the recipe would be refused (`Memory.divides`) is not one of them. Of equally cheap sets the
    smallest; changes of what is learned only where the others are not enough.
    """
    for several in _sets(settings):
        changed = settings
        for change in several:
            changed = replace(changed, **change.settings)  # type: ignore[arg-type]
        parts = training_memory(model, changed, gpu=gpu)
        if changed.divides and parts.total <= room:
            return Fit(tuple(change.text for change in several), parts)
    return None


def tight(needed: int, room: int) -> bool:
    """Whether `needed` bytes fit in `room`, with less than 5 % to spare."""
    return room * ROOMY < needed <= room


def fewest_gpus(model: Architecture, settings: Memory, room: int, most: int = 64) -> tuple[int, int] | None:
    """(the fewest GPUs on which a training fits as it is and a recipe is not refused, bytes of one); None if there are
    none up to `most`."""
    for count in range(1, most + 1):
        changed = replace(settings, devices=count)
        if changed.divides and (needed := training_memory(model, changed).total) <= room:
            return count, needed
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
    useful = [change for change in useful if change is not OPTIMIZER or not settings.fsdp]
    several = [each for count in range(len(useful) + 1) for each in combinations(useful, count)]
    allowed = [each for each in several if OPTIMIZER not in each or settings.stage or ZERO in each]
    yield from sorted(allowed, key=lambda each: (sum(change.cost for change in each), len(each)))
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
