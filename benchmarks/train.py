"""A training through ITS against bare `axolotl train` with the same configuration and rows, in turns.

    python benchmarks/train.py --rows 96 --turns 3     # on a machine that does nothing else

Both train the quickstart's model for one epoch on the same rows (a problem and its worked answer), in new folders. The
bare run has no plugin of ITS. `steps` is the ratio of tokens a second within the trainer (its `train_runtime`), `whole`
that of the commands from start to end, in which ITS also proves the prompts, saves, and checks the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import PROJECT, Bench, median, note

from its.environments import environment_variables, find_environment
from its.home import its_home
from its.prompts.render import read_template
from its.training.config import yaml_text
from its.training.run import Training, train_checkpoint

RUNTIME = re.compile(r"'train_runtime': '?([0-9.]+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    training = training_of(given.rows)
    turns: list[dict[str, Any]] = []
    for turn in range(given.turns):
        # In turns, and each first once: what the machine does meanwhile meets both.
        pair = [("its", through_its), ("bare", bare)]
        found = {}
        for name, run in pair if turn % 2 == 0 else reversed(pair):
            with tempfile.TemporaryDirectory(prefix="its-benchmark-") as folder:
                found[name] = run(training, Path(folder))
        its, raw = found["its"], found["bare"]
        row = {
            "steps": raw["steps"] / its["steps"],
            "whole": raw["whole"] / its["whole"],
            **{f"{name}_{part}_seconds": round(found[name][part], 1) for name in found for part in ("steps", "whole")},
            # Axolotl prints four digits.
            "losses_equal": len(its["losses"]) == len(raw["losses"])
            and all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(its["losses"], raw["losses"], strict=True)),
        }
        note(f"turn {turn + 1}: {row}")
        turns.append(row)
    out = {
        "rows": given.rows,
        "steps": training.steps,
        "ratio_steps": round(median([row["steps"] for row in turns]), 4),
        "ratio_whole": round(median([row["whole"] for row in turns]), 4),
        "turns": turns,
    }
    print(json.dumps(out, indent=2))


def training_of(rows: int) -> Training:
    """The quickstart's model and settings, one epoch of so many rows."""
    bench = Bench(1, base=True)
    recipe, (model,) = bench.study.recipe, bench.models.values()
    declared = next(iter(recipe.models.values()))
    chats = bench.problems(rows)
    messages = [
        [*chat, {"role": "assistant", "content": f"Step {at}: work it out.\n\nThe answer is \\boxed{{{at}}}."}]
        for at, chat in enumerate(chats)
    ]
    return Training(
        messages=messages,
        train=recipe.train.model_copy(update={"epochs": 1, "save_every_steps": None}),
        template=read_template(PROJECT / "recipes" / recipe.train.template),
        tokens=declared.special_tokens,
        base=model,
        seed=7,
        environment=find_environment("axolotl", PROJECT, its_home(PROJECT)),
    )


def through_its(training: Training, home: Path) -> dict[str, Any]:
    """Seconds of the command and of its steps, and the losses."""
    began = time.monotonic()
    trained = train_checkpoint(training, home=home, say=lambda line: None, progress=lambda row: None)
    whole = time.monotonic() - began
    text = "".join(path.read_text(errors="replace") for path in (home / "training").rglob("*.log"))
    return {"whole": whole, "steps": _runtime(text), "losses": [row["loss"] for row in trained.losses]}


def bare(training: Training, folder: Path) -> dict[str, Any]:
    """The same of `axolotl train` alone."""
    rows, log = folder / "rows.jsonl", folder / "axolotl.log"
    rows.write_text("".join(json.dumps({"messages": row}) + "\n" for row in training.messages), encoding="utf-8")
    config = training.config(training.base.path, str(rows), str(folder))
    del config["plugins"]
    (folder / "axolotl.yaml").write_text(yaml_text(config), encoding="utf-8")
    variables = environment_variables("axolotl", training.environment) | {
        "OMP_NUM_THREADS": str(os.cpu_count() or 1),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
    }
    command = [str(training.environment.path / "bin" / "axolotl"), "train", "axolotl.yaml", "--launcher", "python"]
    began = time.monotonic()
    with log.open("wb") as sink:
        subprocess.run(command, cwd=folder, env=variables, stdout=sink, stderr=sink, check=True)
    whole = time.monotonic() - began
    text = log.read_text(errors="replace")
    losses = [float(value) for value in re.findall(r"'loss': '?([0-9.e+-]+)", text)]
    return {"whole": whole, "steps": _runtime(text), "losses": losses}


def _runtime(log: str) -> float:
    found = RUNTIME.findall(log)
    if not found:
        raise SystemExit("the trainer printed no `train_runtime`: " + log[-2000:])
    return float(found[-1])


if __name__ == "__main__":
    main()
