"""The disk of a training: whether it has enough before it starts, and copies that take none where that is possible."""

from __future__ import annotations

import fcntl
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from its.errors import RunError
from its.files import free_bytes
from its.training.weights import Tensor

_FICLONE = 0x40049409
"""Linux's request to share the blocks of a file with another until one of them is written (linux/fs.h)."""
_ADAMW = ("adamw_torch", "adamw_torch_fused", "adamw_apex_fused", "adamw_hf")
_ADAMW_8BIT = ("adamw_torch_8bit", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit")
_GIB = 2**30


def required_bytes(
    config: Mapping[str, Any], base: Mapping[str, Tensor], *, float32: bool, steps: int | None, earlier: int
) -> int:
    """The most that a full training has on the disk at once, as a lower bound; 0 for an adapter or an unknown base.

    Earlier checkpoints, and either two saved states (the trainer writes the next one before it removes the last) or one
    and the model at the end. A state has the weights and, with AdamW, two moments for each parameter; with DeepSpeed
    also weights in float32. An optimizer that is not known counts for nothing. Parts of a base that are not trained (a
    vision tower) count as if they were.

    Args:
        config: the Axolotl config.
        base: the tensors of the base; {} if they are not known.
        float32: whether weights are trained, and saved, in float32; otherwise in 2 bytes a parameter.
        steps: of the whole training; None if only the trainer can count them.
        earlier: how many checkpoints before the last are saved.
    """
    if config.get("adapter"):
        return 0
    parameters, number = _parameters(base), 4 if float32 else 2
    weights, optimizer = parameters * number, str(config.get("optimizer") or "")
    moments = 0
    if optimizer in _ADAMW and not config.get("save_only_model"):
        moments = 8 if config.get("deepspeed") else 2 * number
    elif optimizer in _ADAMW_8BIT and not config.get("save_only_model"):
        moments = 2
    state = weights + parameters * (moments + (4 if config.get("deepspeed") and moments else 0))
    every = config.get("save_steps")
    states = 0 if every is None else 1 if steps is None else min(2, steps // every)
    return earlier * weights + max(states * state, min(states, 1) * state + weights)


def require_space(
    folder: Path,
    config: Mapping[str, Any],
    base: Mapping[str, Tensor],
    *,
    float32: bool,
    steps: int | None,
    earlier: int,
    copied_to: Path | None = None,
) -> None:
    """Refuse a training whose disk is too small for what it writes; what a killed run left there counts as free.

    Args:
        config, base, float32, steps, earlier: as in `required_bytes`.
        copied_to: where its models are copied when it is done: they need space too, on that disk, but for a file system
            with reflinks. DVC's cache, which may need it once more, is not counted.

    Raises:
        RunError: if too little is free where its folder is, or would be, or where its models are copied.
    """
    wanted = required_bytes(config, base, float32=float32, steps=steps, earlier=earlier)
    if not wanted:
        return
    kept = (1 + earlier) * _parameters(base) * (4 if float32 else 2)
    other = copied_to is not None and _device(copied_to) != _device(folder)
    if copied_to is not None and not other and not _shares_blocks(folder):
        wanted = max(wanted, 2 * kept)  # saved states are removed before the copy is made
    parts = [path for part in ("model", "at") for path in (folder / part).rglob("*")]
    there = sum(path.lstat().st_size for path in parts if path.is_file())
    free = free_bytes(folder)
    if free + there < wanted:
        raise RunError(
            f"too little disk space for this training: {(free + there) / _GIB:.1f} GiB are free at {folder.parent}, "
            f"at least {wanted / _GIB:.1f} GiB are needed",
            "`its home` shows what can be removed; or set `ITS_HOME` to a folder on another disk",
        )
    if copied_to is not None and other and (free := free_bytes(copied_to)) < kept:
        raise RunError(
            f"too little disk space for the models of this training: {free / _GIB:.1f} GiB are free at "
            f"{copied_to.parent}, at least {kept / _GIB:.1f} GiB are needed",
            "`its prune` removes checkpoints that no design has; `dvc gc --workspace` removes files of DVC's cache",
        )


def _parameters(base: Mapping[str, Tensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in base.values())


def _existing(place: Path) -> Path:
    return next(path for path in (place, *place.parents) if path.is_dir())


def _device(place: Path) -> int:
    """The number of the file system where a folder is, or would be."""
    return _existing(place).stat().st_dev


def _shares_blocks(place: Path) -> bool:
    """Whether the file system of a folder, which need not exist, can copy a file by a reflink; tried with an empty one.

    False also where the folder cannot be written to.
    """
    try:
        with tempfile.TemporaryFile(dir=_existing(place)) as one, tempfile.TemporaryFile(dir=_existing(place)) as two:
            fcntl.ioctl(two.fileno(), _FICLONE, one.fileno())
    except OSError:
        return False
    return True


def clone_file(source: Path, target: Path) -> None:
    """Copy a file with its times. Where the file system can, the copy shares the blocks (a reflink) and takes no space.

    Never a hard link: the copy in `models/` is handed to DVC and to the user, who may write to it or change its
    permissions, and a training in the home whose weights changed is trained again.
    """
    try:
        with source.open("rb") as read, target.open("wb") as written:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
    except OSError:  # another file system, or one without reflinks
        shutil.copyfile(source, target)
    shutil.copystat(source, target)
