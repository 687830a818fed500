"""What GPUs cost: the hours that pass while each kind of work runs on the GPUs that it uses, and the rental of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """The costs of what is known.

    Args:
        training: GPU hours of all trainings; None if none of them is known.
        generation: GPU hours of all requests; None if none of them is known, or the engine is not planned.
        training_gpus: GPUs that a training uses.
        generation_gpus: GPUs that engines use together; None if they are not planned.
        complete: whether all is known.
        elapsed: hours until all is done, one kind of work after the other; None if nothing is known.
        price: of all GPUs for that time, idle ones too; None without a price.
    """

    training: float | None
    generation: float | None
    training_gpus: int
    generation_gpus: int | None
    complete: bool
    elapsed: float | None
    price: float | None

    @property
    def gpu_hours(self) -> float:
        """GPU hours of what is known."""
        return (self.training or 0.0) + (self.generation or 0.0)


def costs(
    training: Sequence[float | None],
    generation: Sequence[float | None] | None,
    *,
    gpus: int,
    training_gpus: int,
    generation_gpus: int,
    complete: bool,
    price: float | None,
) -> Costs:
    """The costs of a study.

    Args:
        training, generation: GPU hours, None where they are not known; `generation` is None if it is not planned.
        gpus: all that are rented; no kind of work uses more.
        complete: false if something else of the hours is not known.
        price: of one GPU hour.
    """
    used = min(training_gpus, gpus)
    served = None if generation is None else min(generation_gpus, gpus)
    trained, generated = _known(training), None if generation is None else _known(generation)
    elapsed = None
    if trained is not None or generated is not None:
        elapsed = (trained or 0.0) / used + (0.0 if served is None else (generated or 0.0) / served)
    return Costs(
        training=trained,
        generation=generated,
        training_gpus=used,
        generation_gpus=served,
        complete=complete and generation is not None and None not in [*training, *generation],
        elapsed=elapsed,
        price=None if price is None or elapsed is None else elapsed * gpus * price,
    )


def _known(hours: Sequence[float | None]) -> float | None:
    known = [each for each in hours if each is not None]
    return sum(known) if known or not hours else None
