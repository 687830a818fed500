"""The minutes of a study on this machine's CPU, from what it multiplies in a second, measured when asked."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from its.plan.architecture import Architecture

TRAINING_SHARE = 0.5
GENERATION_SHARE = 0.3
"""Shares of the measured rate that trainings and engines reached in the quickstart (docs/plan.md, "On a CPU")."""
_SIDE = 1024
_SECONDS = 0.3


@dataclass(frozen=True)
class CpuTime:
    """What the study takes on this CPU; None where a model or a set is not known, or the engine is elsewhere.

    Args:
        gflops: 1e9 operations a second that this CPU multiplied matrices with, in float32.
        training: minutes of all trainings.
        personas, solutions, judge: minutes at most: each in as many requests as the recipe allows, with all the tokens
            that the plan counts for one.
        generation: minutes of all responses with the tokens that the plan counts for each.
    """

    gflops: float
    training: float | None
    personas: float | None
    solutions: float | None
    judge: float | None
    generation: float | None


def measured_gflops() -> float:
    """1e9 float32 operations a second of this machine's cores now, the best of several products of matrices."""
    left = np.full((_SIDE, _SIDE), 0.5, np.float32)
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best / 1e9


def training_minutes(operations: float, gflops: float) -> float:
    """Minutes of `operations` floating point operations (`its.plan.compute.training_operations`)."""
    return operations / (gflops * 1e9 * TRAINING_SHARE) / 60


def generation_minutes(model: Architecture, tokens: float, gflops: float) -> float:
    """Minutes of an engine that generates `tokens` tokens, many sequences at once: 2 operations a parameter.

    Prompts are not counted.
    """
    return tokens * 2 * model.multiplied / (gflops * 1e9 * GENERATION_SHARE) / 60
