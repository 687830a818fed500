"""Axolotl plugin that ITS puts on the import path of a training run (Axolotl 0.19, `plugins:` in the config).

Runs in the training environment and imports nothing of `its`. It does what a config cannot:

- refuses to begin if a step would not hold `global_batch_size` rows, or the trainer announces other steps than that;
- proves prompt parity on the rows that will really be trained, token by token, before the first step;
- on a CPU, asks for bf16 autocast over float32 weights (`bf16: true` in the YAML is refused there, and with both the
  weights themselves become bf16 and learn worse);
- writes one JSON line a step (`progress`), which the stage draws and the loss plot is made of;
- stops at the first loss or gradient norm that is not finite, and says at the end how many steps were done (`ended`);
- dies with the stage that started it.

The file named by ITS_TRAINING holds {rows, progress, parity, stopped, ended, cpu, end_of_turn, global_batch_size,
steps}; `steps` is null where only the trainer can count them (packed rows). Why a training was stopped is written to
`stopped`: {message, hint}.
"""

from __future__ import annotations

import ctypes
import json
import math
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


def batch_fault(cfg: Any, args: Any, wanted: int) -> str | None:
    """Why a step of the trainer does not hold the rows that the recipe says; None if it does.

    Processes that share one sequence (context or tensor parallel) count once. Several GPUs in one process without a
    launcher split a batch among them, which `train_batch_size` counts.
    """
    shared = int(cfg.get("context_parallel_size") or 1) * int(cfg.get("tensor_parallel_size") or 1)
    processes, micro, steps = int(args.world_size), int(args.train_batch_size), int(args.gradient_accumulation_steps)
    found = processes // shared * micro * steps
    if found == wanted and processes % shared == 0:
        return None
    over = f" over {shared} that share a sequence" if shared > 1 else ""
    return (
        f"a step would hold {found} rows and `train.global_batch_size` is {wanted}: "
        f"{processes} processes{over} x {micro} rows x {steps} accumulated"
    )


def long_rows(rows: list[dict[str, Any]], tokenizer: Any, limit: int) -> str | None:
    """Why rows longer than `limit` tokens make a training fail: Axolotl drops or cuts them; None if there are none."""
    lengths = [
        (len(tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)), number + 1)
        for number, row in enumerate(rows)
    ]
    count = sum(length > limit for length, _ in lengths)
    if not count:
        return None
    longest, number = max(lengths)
    return (
        f"{count} of {len(rows)} rows are longer than `train.sequence_length`, {limit} tokens: "
        f"the longest, row {number}, has {longest}"
    )


class Stop(SystemExit):
    """Ends the process; the message goes to the log and, by `stopped`, to the user."""

    def __init__(self, path: str, message: str, hint: str, diverged: bool = False) -> None:
        told = {"message": message, "hint": hint, "diverged": diverged}
        Path(path).write_text(json.dumps(told) + "\n", encoding="utf-8")
        super().__init__(f"{message}\n{hint}")


class ProgressCallback(TrainerCallback):
    """Appends {step, steps, epoch, loss, learning_rate, grad_norm, seconds} after every logged step.

    `logging_steps` is 1, so that every step is logged. A gradient norm that is not finite is let pass, and counted,
    where the loss scaler of fp16 saw it too and left the step out: that is how it finds its scale.
    """

    def __init__(self, settings: dict[str, Any], trainer: Any) -> None:
        self.settings, self.trainer = settings, trainer
        self.left_out = 0
        # What the model's class leaves unread in a checkpoint (heads of another task), and so never saves.
        self.unread = sorted(getattr(getattr(trainer, "model", None), "_keys_to_ignore_on_load_unexpected", None) or ())
        self.started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        expected = self.settings["steps"]
        if expected is not None and state.max_steps != expected:
            raise Stop(
                self.settings["stopped"],
                f"the trainer announces {state.max_steps} steps, and rows, batch and epochs make {expected}",
                "what in `train.axolotl` or the template changes the number of steps?",
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        loss, norm = float(logs["loss"]), logs.get("grad_norm")
        norm = None if norm is None else float(norm)
        rate = float(logs.get("learning_rate", 0.0))
        skipped = bool(getattr(getattr(self.trainer, "accelerator", None), "optimizer_step_was_skipped", False))
        self.left_out += skipped
        wrong = None if math.isfinite(loss) else f"the loss is {loss}"
        if wrong is None and norm is not None and not math.isfinite(norm) and not skipped:
            wrong = f"the norm of the gradients is {norm}"
        if wrong is not None:
            raise Stop(
                self.settings["stopped"],
                f"the training diverged at step {state.global_step} of {state.max_steps}: {wrong}, "
                f"at a learning rate of {rate:.3g}",
                "a lower `train.learning_rate`, or a higher `train.warmup_ratio`; nothing of this training is kept",
                diverged=True,
            )
        row = {
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": round(float(logs.get("epoch", 0.0)), 4),
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm if norm is None or math.isfinite(norm) else None,
            "seconds": round(time.monotonic() - self.started, 3),
        }
        with Path(self.settings["progress"]).open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        ended = {
            "done": state.global_step,
            "announced": state.max_steps,
            "epochs": round(float(state.epoch or 0.0), 4),
            "left_out": self.left_out,
            "unread": self.unread,
        }
        Path(self.settings["ended"]).write_text(json.dumps(ended) + "\n", encoding="utf-8")


class ItsPlugin(BasePlugin):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = json.loads(Path(os.environ["ITS_TRAINING"]).read_text(encoding="utf-8"))

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        # By its default the trainer of transformers logs a loss that is not finite as the mean of those before, or 0.
        shown: dict[str, Any] = {"logging_nan_inf_filter": False}
        if not self.settings["cpu"]:
            return shown
        return shown | {"use_cpu": True, "bf16": True, "dataloader_pin_memory": False}

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        fault = batch_fault(cfg, trainer.args, self.settings["global_batch_size"])
        if fault is not None:
            hint = "let `train.devices` be the number of processes that `train.launcher` and `launcher_args` start"
            raise Stop(self.settings["stopped"], fault, hint)
        if not trainer.is_world_process_zero():
            return
        with Path(self.settings["rows"]).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        tokenizer = trainer.processing_class
        report = prove_parity(rows, trainer.train_dataset, tokenizer, self.settings["end_of_turn"])
        Path(self.settings["parity"]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if report["faults"]:
            fault = long_rows(rows, tokenizer, int(cfg.get("sequence_len") or 0) or sys.maxsize)
            if fault is not None:
                hint = "raise it, or leave such rows out: `filters: [{name: tokens, ...}]` of the dataset"
                raise Stop(self.settings["stopped"], fault, hint)
            raise SystemExit(f"prompt parity failed: {report['examples']}")

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return [ProgressCallback(self.settings, trainer)]
