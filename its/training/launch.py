"""Start Axolotl's processes on this machine, follow them, and end them with this process, or when a machine fails."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from its.child_process import die_with_parent
from its.devices import usable_cores
from its.environments import Environment, environment_variables
from its.recipe.launcher import machines
from its.recipe.schema import Train
from its.training.nodes import Meeting, launcher_arguments

PLUGIN_FOLDER = Path(__file__).parent / "workers"
CONFIG, SETTINGS = "axolotl.yaml", "its.json"
"""Files in a training's folder: the configuration, and what the plugins read (`ITS_TRAINING`)."""
POLL_SECONDS = 0.5


def run_axolotl(
    folder: Path,
    train: Train,
    environment: Environment,
    *,
    offline: bool,
    log: Path,
    meeting: Meeting | None = None,
    look: Callable[[], None] = lambda: None,
) -> tuple[int, str | None]:
    """Run the processes of this machine to their end.

    Args:
        offline: whether the model is on this machine.
        log: receives their output, after what it has.
        meeting: the other machines, if there are any.
        look: called again and again while they run, and once after their end.

    Returns:
        (exit code of the launcher, why it was ended because of another machine or None).
    """
    variables = environment_variables("axolotl", environment) | {
        "PYTHONPATH": str(PLUGIN_FOLDER),
        "ITS_TRAINING": str(folder / SETTINGS),
    }
    if offline:
        variables["HF_HUB_OFFLINE"] = "1"
    arguments = list(train.launcher_args)
    if train.hardware == "cpu":
        here = max(1, train.devices // (machines(train.launcher, arguments) or 1))
        variables["OMP_NUM_THREADS"] = str(max(1, len(usable_cores()) // here))
        variables["CUDA_VISIBLE_DEVICES"] = ""  # or Axolotl loads the model on a GPU that it sees
    if meeting is not None:
        arguments = launcher_arguments(arguments, meeting.node, meeting.run)
    command = [str(environment.path / "bin" / "axolotl"), "train", str(folder / CONFIG), "--launcher", train.launcher]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [*command, *(["--", *arguments] if arguments else [])],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=variables,
            cwd=folder,
            preexec_fn=die_with_parent,
        )
    lost = None
    try:
        while process.poll() is None and lost is None:
            look()
            lost = None if meeting is None else meeting.lost()
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()  # the launcher: the kernel ends its processes with it
        process.wait()
    look()
    return process.returncode, lost


def progress_reader(steps: Path, progress: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
    """What reports each new whole line of the progress file when it is called."""
    position = 0

    def look() -> None:
        nonlocal position
        if not steps.is_file():
            return
        with steps.open("rb") as lines:
            lines.seek(position)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                position += len(line)
                progress(json.loads(line))

    return look
