"""The GPUs of a plan: how many, on how many machines, how large, and how fast that size usually is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from its.errors import DataError
from its.shown import quoted

FORM = re.compile(r"(?:([0-9]{1,4})x)?([0-9]{1,4})x([0-9]{1,4})(?:GB)?", re.IGNORECASE)
SPEEDS = {
    24: ("RTX 4090", 165, 1.0),
    40: ("A100 40 GB", 312, 1.6),
    48: ("L40S", 362, 0.86),
    80: ("H100", 989, 3.35),
    141: ("H200", 989, 4.8),
    192: ("B200", 2250, 8.0),
}
"""Gigabytes -> (GPU that is assumed, its dense bf16 TFLOP/s, its memory's TB/s), as the makers state them."""


@dataclass(frozen=True)
class Gpus:
    """Equal GPUs.

    Args:
        machines: how many machines.
        each: GPUs of one machine.
        gigabytes: memory of one GPU, in 1e9 bytes.
        tflops: peak of one GPU in bf16, dense; None if it is not known.
        terabytes: its memory's bandwidth a second; None if it is not known.
        model: the GPU whose speed is assumed; None if the speed was given, or is not known.
    """

    machines: int
    each: int
    gigabytes: int
    tflops: float | None
    terabytes: float | None
    model: str | None

    @property
    def count(self) -> int:
        return self.machines * self.each

    @property
    def bytes(self) -> int:
        """Bytes of one GPU that are counted. A GPU sold with 80 GB has some 85e9: the rest is for fragmentation."""
        return self.gigabytes * 10**9

    def text(self) -> str:
        """`2x8x80`, the form that is read."""
        return "x".join(map(str, [self.machines] * (self.machines > 1) + [self.each, self.gigabytes]))


def parse_gpus(text: str, tflops: float | None = None, terabytes: float | None = None) -> Gpus:
    """`8x80` (8 GPUs of 80 GB) or `2x8x141` (two machines of 8 GPUs of 141 GB each).

    Args:
        tflops: peak of one GPU, where the one that is assumed for its memory is not meant.
        terabytes: the bandwidth of its memory, likewise.

    Raises:
        DataError: if it is not of that form, or a number is 0.
    """
    found = FORM.fullmatch(text)
    numbers = [int(number) if number else 1 for number in found.groups()] if found else [0]
    if not all(numbers):
        raise DataError(
            f"`{quoted(text, 40)}` does not name GPUs: expected is [MACHINES x] GPUS x GIGABYTES",
            "such as 8x80 or 2x8x141",
        )
    machines, each, gigabytes = numbers
    name, peak, bandwidth = SPEEDS.get(gigabytes, (None, None, None))
    assumed = name if tflops is None or terabytes is None else None
    return Gpus(machines, each, gigabytes, tflops or peak, terabytes or bandwidth, assumed)
