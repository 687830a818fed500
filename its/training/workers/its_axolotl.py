"""Axolotl plugin that ITS puts on the import path of a training run (Axolotl 0.19, `plugins:` in the config).

Runs in the training environment and imports nothing of `its`. It does four things that a config cannot:

- proves prompt parity on the rows that will really be trained, token by token, before the first step;
- on a CPU, asks for bf16 autocast over float32 weights (`bf16: true` in the YAML is refused there, and with both the
  weights themselves become bf16 and learn worse);
- writes one JSON line a step (`progress`), which the stage draws and the loss plot is made of;
- dies with the stage that started it.

The file named by ITS_TRAINING holds {rows, progress, parity, cpu, end_of_turn}.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

IGNORED = -100  # the label that cross entropy skips
SHOWN = 3  # mismatches to quote in full


def prove_parity(rows: list[dict[str, Any]], dataset: Any, tokenizer: Any, end_of_turn: str) -> dict[str, Any]:
    """Compare what the trainer will see with what the engine will be sent; return counts and faults.

    For each row: (a) the untrained prefix equals the chat template's prompt with the generation prompt appended,
    (b) the trained part is the whole solution and the end-of-turn token, nothing else, (c) no row is cut or missing.
    """
    faults: list[str] = []
    eot_id = tokenizer.convert_tokens_to_ids(end_of_turn)
    if tokenizer.eos_token_id != eot_id:
        faults.append(
            f"the tokenizer's eos token is {tokenizer.eos_token!r} but turns end with {end_of_turn!r}: "
            "the model would never learn to stop"
        )
    expected: dict[tuple[int, ...], tuple[int, list[int], str]] = {}
    wanted: Counter[tuple[int, ...]] = Counter()
    for number, row in enumerate(rows):
        messages = row["messages"]
        prompt = tokenizer.apply_chat_template(
            messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        full = tuple(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
        expected[full] = (number, prompt, messages[-1]["content"])
        wanted[full] += 1
    trained_tokens = prompt_tokens = 0
    for item in dataset:
        ids, labels = tuple(item["input_ids"]), list(item["labels"])
        wanted[ids] -= 1
        if ids not in expected:
            faults.append(f"a row was changed or cut on its way to the trainer: {tokenizer.decode(ids)[:200]!r}")
            continue
        number, prompt, solution = expected[ids]
        if list(ids[: len(prompt)]) != prompt:
            faults.append(f"row {number + 1}: the prompt is not what the engine would be sent")
        if any(label != IGNORED for label in labels[: len(prompt)]):
            faults.append(f"row {number + 1}: the loss covers a part of the prompt")
        learned = [label for label in labels if label != IGNORED]
        if not learned or learned[-1] != eot_id:
            faults.append(f"row {number + 1}: the end-of-turn token {end_of_turn!r} is not trained")
        elif tokenizer.decode(learned[:-1]) != solution:
            faults.append(
                f"row {number + 1}: the loss does not cover exactly the solution: {tokenizer.decode(learned)[:200]!r}"
            )
        trained_tokens += len(learned)
        prompt_tokens += len(prompt)
    missing = sum(count for count in wanted.values() if count > 0)
    if missing:
        faults.append(f"{missing} of {len(rows)} rows did not reach the trainer")
    surplus = -sum(wanted[ids] for ids in expected if wanted[ids] < 0)
    if surplus:
        faults.append(f"{surplus} rows reached the trainer more often than they stand in the data")
    return {
        "rows": len(rows),
        "prompt_tokens": prompt_tokens,
        "trained_tokens": trained_tokens,
        "end_of_turn": end_of_turn,
        "faults": len(faults),
        "examples": faults[:SHOWN],
    }


class ProgressCallback(TrainerCallback):
    """Appends {step, steps, epoch, loss, learning_rate, grad_norm, seconds} after every logged step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        row = {
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": round(float(logs.get("epoch", 0.0)), 4),
            "loss": float(logs["loss"]),
            "learning_rate": float(logs.get("learning_rate", 0.0)),
            "grad_norm": float(logs.get("grad_norm", 0.0)),
            "seconds": round(time.monotonic() - self.started, 3),
        }
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


class ItsPlugin(BasePlugin):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = json.loads(Path(os.environ["ITS_TRAINING"]).read_text(encoding="utf-8"))

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        if not self.settings["cpu"]:
            return {}
        return {"use_cpu": True, "bf16": True, "dataloader_pin_memory": False}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        if not trainer.is_world_process_zero():
            return
        with Path(self.settings["rows"]).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        tokenizer = trainer.processing_class
        report = prove_parity(rows, trainer.train_dataset, tokenizer, self.settings["end_of_turn"])
        Path(self.settings["parity"]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if report["faults"]:
            raise SystemExit(f"prompt parity failed: {report['examples']}")

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return [ProgressCallback(Path(self.settings["progress"]))]
