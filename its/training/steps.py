"""How many steps a training has, and at which of them its earlier checkpoints are saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

MORE_STEPS = "leave it out, or more rows, epochs or a smaller `global_batch_size`: more steps"
"""What to do where a training has no step for a fraction."""


def expected_steps(rows: int, batch: int, epochs: float) -> int:
    """Steps of a training whose rows are not packed, as Axolotl 0.19 counts them for the trainer.

    Rows times epochs over the global batch, rounded up; the trainer's own count, epoch by epoch, is not used. If the
    batch does not divide the rows, the last step of each epoch is smaller, and so the last epoch is cut short.
    """
    return math.ceil(rows * epochs / batch)


def saved_step(fraction: str, steps: int) -> int:
    """The step of a fraction such as `1/3`: the nearest one, the later of two. The plugin has the same function."""
    top, bottom = map(int, fraction.split("/"))
    return (2 * top * steps + bottom) // (2 * bottom)


def fraction_faults(fractions: Collection[str], steps: int) -> list[str]:
    """Why a training of that many steps cannot save its model at each fraction; [] if it can."""
    at = {fraction: saved_step(fraction, steps) for fraction in fractions}
    out = [
        f"a training of {_counted(steps)} has no step before its last at `{fraction}`"
        for fraction, step in at.items()
        if not 0 < step < steps
    ]
    for step, count in Counter(at.values()).items():
        if count > 1 and 0 < step < steps:
            names = " and ".join(f"`{fraction}`" for fraction, own in at.items() if own == step)
            out.append(f"in a training of {_counted(steps)} {names} are one checkpoint, step {step}")
    return out


def _counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"
