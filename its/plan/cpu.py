"""The minutes of a study on this machine's CPU, from what it multiplies in a second, measured when asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from its.plan.architecture import Architecture

TRAINING_SHARE = 0.5
GENERATION_SHARE = 0.3
"""Shares of the measured rate that trainings and engines reached in the quickstart (docs/plan.md, "On a CPU")."""
TRANSFORMERS_SLOWER = 4
"""How many times as long as vLLM the engine `transformers` takes on the same cores (docs/scale.md, "Machines without a
build of vLLM")."""
_MEASUREMENTS = 4  # over a second in all
_BUSY = 2
_OWN = 0.75
"""A machine is busy if rates differ by more than the first factor, or if what measures them had a core for less than
the second share of the time: on two cores beside two busy processes 0.06 to 0.44."""
_SIDE = 1024
_SECONDS = 0.3
_WARM_UP = 2


@dataclass(frozen=True)
class CpuTime:
    """What the study takes on this CPU; None where a model or a set is not known, or the engine is elsewhere.

    Args:
        gflops: 1e9 operations a second that this CPU multiplied matrices with, in float32, the best of several
            measurements.
        slowest_gflops: the slowest of them.
        core_share: share of the time in which they had a core.
        training: minutes of all trainings.
        personas, solutions, judge: minutes at most: each in as many requests as the recipe allows, with all the tokens
            that the plan counts for one.
        generation: minutes of all responses with the tokens that the plan counts for each.
    """

    gflops: float
    slowest_gflops: float
    core_share: float
    training: float | None
    personas: float | None
    solutions: float | None
    judge: float | None
    generation: float | None

    @property
    def busy(self) -> bool:
        """Whether something else ran while the rate was measured."""
        return self.gflops > _BUSY * self.slowest_gflops or self.core_share < _OWN


def measured_gflops() -> float:
    """1e9 float32 operations a second of this machine's cores now, the best of several products of matrices.

    The first products are not measured: threads start in them, and a core reaches its speed.
    """
    left = np.full((_SIDE, _SIDE), 0.5, np.float32)
    for _ in range(_WARM_UP):
        left @ left
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best / 1e9


def repeated(measure: Callable[[], float]) -> tuple[list[float], float]:
    """What repeated measurements give, and the share of the time in which this thread had a core, in (0, 1]."""
    began, own = time.perf_counter(), time.thread_time()
    rates = [measure() for _ in range(_MEASUREMENTS)]
    wall, own = time.perf_counter() - began, time.thread_time() - own
    return rates, min(1.0, own / wall) if wall > _SECONDS else 1.0


def training_minutes(operations: float, gflops: float) -> float:
    """Minutes of `operations` floating point operations (`its.plan.compute.training_operations`)."""
    return operations / (gflops * 1e9 * TRAINING_SHARE) / 60


def generation_minutes(model: Architecture, tokens: float, gflops: float, kind: str = "vllm") -> float:
    """Minutes of an engine that generates `tokens` tokens, many sequences at once: 2 operations a parameter.

    Prompts are not counted.

    Args:
        kind: `vllm` or `transformers`.
    """
    share = GENERATION_SHARE / (TRANSFORMERS_SLOWER if kind == "transformers" else 1)
    return tokens * 2 * model.multiplied / (gflops * 1e9 * share) / 60
