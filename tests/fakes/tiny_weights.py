"""Safetensors files written by hand: what a saver of weights leaves, whole or broken."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

Tensors = dict[str, tuple[str, list[int], bytes]]
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}


def values(shape: list[int], seed: int = 0, dtype: str = "F32") -> tuple[str, list[int], bytes]:
    """A tensor of small numbers, the same for a seed."""
    numbers = np.random.default_rng(seed).normal(size=math.prod(shape)).astype(np.float32)
    if dtype == "BF16":
        return dtype, shape, (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return dtype, shape, numbers.astype({"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype]).tobytes()


def save(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write a file; the tensors lie in the order of the mapping."""
    entries: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, (dtype, shape, content) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(content)]}
        place += len(content)
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(item[2] for item in tensors.values()))
    return path
