"""Axolotl plugin for a training of several processes; loaded where `train.devices` is above 1.

Runs in the training environment and imports nothing of `its`. Where and how processes meet changes no number, so this
file is not part of a training's key.

- On a CPU they meet over gloo and hold the model on the CPU. Axolotl 0.19 takes the rank of a process for the number of
  its GPU, and accelerate makes no group of processes where it finds no GPU, unless it is asked for a CPU.
- A process whose launcher died while it imported its libraries ends: nobody would wait for it or end it.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

LAUNCHERS = (b"torchrun", b"accelerate")


def launcher_died() -> bool:
    """Whether the parent of this process is not a launcher any more: another process has adopted it."""
    try:
        command = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:  # no Linux, or no such process
        return Path("/proc/self").exists()
    return not any(launcher in command for launcher in LAUNCHERS)


class Processes(BasePlugin):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        # `its_axolotl` was loaded before, and from then on the kernel ends this process with its launcher.
        if "LOCAL_RANK" in os.environ and launcher_died():
            raise SystemExit("the launcher of this process died")
        self.cpu = bool(json.loads(Path(os.environ["ITS_TRAINING"]).read_text(encoding="utf-8"))["cpu"])
        if self.cpu:
            from accelerate import PartialState

            os.environ["ACCELERATE_USE_CPU"] = "true"  # the trainer of Axolotl forgets the state, and reads this
            # Before Axolotl does it, without `cpu`; the limit of a collective operation is read as there.
            PartialState(cpu=True, timeout=timedelta(seconds=int(os.environ.get("AXOLOTL_NCCL_TIMEOUT", "1800"))))

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        """Loads none; it is called after the device was chosen and before the model is loaded."""
        if self.cpu:
            cfg.device_map = {"": "cpu"}
