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
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

IGNORED = -100  # the label that cross entropy skips
SHOWN = 3  # mismatches to quote in full
SHOWN_IDS, SHOWN_TEXT = 12, 200
PROBES = 8  # prompts kept with the hash of their ids
REMEDY = (
    "give the model a chat template that writes every turn as it stands, and the same prompt in training and at test "
    "(`models.NAME.chat_template`)"
)


def prove_parity(rows: list[dict[str, Any]], dataset: Any, tokenizer: Any, end_of_turn: str) -> dict[str, Any]:
    """Compare what the trainer will see with what the engine will be sent; return counts, faults and probes.

    For each row the chat template must write the prompt as an engine is sent it, then the solution as it stands, then
    the end of turn, once. The row that is trained must have just those ids, and these labels: the prompt masked, every
    id up to and with the end of turn trained, and masked what the template may write after it. Nothing else is right,
    and no row may be missing, cut, or there twice.

    `probes` are some prompts with the hash of their ids as they are here: what reads the trained model later must
    give the same (`its.parity`).
    """
    faults: list[str] = []
    eot_id = tokenizer.convert_tokens_to_ids(end_of_turn)
    if _ids(tokenizer, end_of_turn) != [eot_id]:
        faults.append(f"{end_of_turn!r}, which ends a turn, is no single token of the tokenizer")
    elif tokenizer.eos_token_id != eot_id:
        faults.append(
            f"the tokenizer's eos token is {tokenizer.eos_token!r} but turns end with {end_of_turn!r}: "
            "the model would never learn to stop"
        )
    trained: dict[tuple[int, ...], tuple[int, int]] = {}  # [begin, end) of the ids that the loss covers
    wanted: Counter[tuple[int, ...]] = Counter()
    numbers: dict[tuple[int, ...], int] = {}
    prompts: list[dict[str, Any]] = []
    trained_tokens = prompt_tokens = 0
    for number, row in enumerate(rows, 1):
        messages = row["messages"]
        asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        prompt, full = _ids(tokenizer, asked), tuple(_ids(tokenizer, whole))
        prompts.append({"messages": messages[:-1], "prompt_sha256": _sha256(prompt)})
        wanted[full] += 1
        numbers.setdefault(full, number)
        wrong = _template_fault(tokenizer, asked, whole, full, messages[-1]["content"], end_of_turn)
        if wrong is not None:
            faults.append(f"row {number}: {wrong}")
            continue
        end = full.index(eot_id, len(prompt)) + 1
        trained[full] = (len(prompt), end)
        prompt_tokens += len(prompt)
        trained_tokens += end - len(prompt)
    for item in dataset:
        ids, labels = tuple(item["input_ids"]), list(item["labels"])
        wanted[ids] -= 1
        if ids not in numbers:
            faults.append(_strange_row(tokenizer, ids, numbers))
        elif ids in trained and labels != _labels(ids, *trained[ids]):
            faults.append(f"row {numbers[ids]}: {_label_fault(tokenizer, ids, labels, *trained[ids])}")
        elif not all(item.get("attention_mask", ())):
            faults.append(f"row {numbers[ids]}: the attention mask hides a part of it from the model")
    missing = sum(count for count in wanted.values() if count > 0)
    if missing:
        faults.append(f"{missing} of {len(rows)} rows did not reach the trainer")
    surplus = -sum(wanted[ids] for ids in numbers if wanted[ids] < 0)
    if surplus:
        faults.append(f"{surplus} rows reached the trainer more often than they stand in the data")
    return {
        "rows": len(rows),
        "prompt_tokens": prompt_tokens,
        "trained_tokens": trained_tokens,
        "end_of_turn": end_of_turn,
        "faults": len(faults),
        "examples": faults[:SHOWN],
        "probes": prompts[:: max(1, len(prompts) // PROBES)][:PROBES],
    }


def _ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text that holds its special tokens already, as engines and Axolotl make them of a rendered chat."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _sha256(ids: Sequence[int]) -> str:
    """As the engines' workers hash the ids of a prompt."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _labels(ids: Sequence[int], begin: int, end: int) -> list[int]:
    return [IGNORED] * begin + list(ids[begin:end]) + [IGNORED] * (len(ids) - end)


def _shown(tokenizer: Any, ids: Sequence[int]) -> str:
    """Some ids and their text, for a message."""
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return f"{list(ids[:SHOWN_IDS])}{more}, {tokenizer.decode(ids[:SHOWN_IDS])!r}"


def _template_fault(
    tokenizer: Any, asked: str, whole: str, full: tuple[int, ...], solution: str, end_of_turn: str
) -> str | None:
    """What is wrong with how the chat template writes one conversation, or None."""
    prompt = _ids(tokenizer, asked)
    if not whole.startswith(asked) or list(full[: len(prompt)]) != prompt:
        at = next((i for i, pair in enumerate(zip(prompt, full, strict=False)) if pair[0] != pair[1]), len(full))
        return (
            f"the prompt is not what the engine would be sent: from id {at} on the engine is sent "
            f"{_shown(tokenizer, prompt[at:])}, training has {_shown(tokenizer, full[at:])}; {REMEDY}"
        )
    rest = whole[len(asked) :]
    before, found, _ = rest.partition(solution + end_of_turn)
    if not found:
        return (
            f"the chat template does not write the solution as it stands: {rest[:SHOWN_TEXT]!r} "
            f"instead of {(solution + end_of_turn)[:SHOWN_TEXT]!r}; {REMEDY}"
        )
    # Mistral's templates begin an answer with a space; it is trained, so the model learns to write it.
    if before.strip():
        between = _ids(tokenizer, before)
        return (
            f"between the prompt and the solution the chat template writes {len(between)} ids that the engine is "
            f"never sent and the solution does not have: {_shown(tokenizer, between)}; {REMEDY}"
        )
    ends = full[len(prompt) :].count(tokenizer.convert_tokens_to_ids(end_of_turn))
    if ends != 1:
        return (
            f"the end-of-turn token {end_of_turn!r} stands {ends} times in the assistant's turn and must stand once: "
            "the model stops at the first"
        )
    return None


def _label_fault(tokenizer: Any, ids: Sequence[int], labels: list[int], begin: int, stop: int) -> str:
    """What is wrong with the labels of a row, whose loss has to cover the ids [begin, stop) and no other."""
    right = _labels(ids, begin, stop)
    if len(labels) != len(ids):
        return f"it has {len(ids)} ids and {len(labels)} labels"
    end = max(index for index, label in enumerate(right) if label != IGNORED)
    at = next(index for index, pair in enumerate(zip(labels, right, strict=True)) if pair[0] != pair[1])
    if labels[at] not in (IGNORED, ids[at]):
        return f"label {at} is {labels[at]}, where the id is {_shown(tokenizer, ids[at : at + 1])}"
    run = at
    while run < len(ids) and labels[run] != right[run]:
        run += 1
    what = f"{run - at} ids ({_shown(tokenizer, ids[at:run])})"
    if at < begin:
        return f"the loss covers a part of the prompt: {what} from id {at} on"
    if at > end:
        return f"the loss goes on after the end of turn: {what} from id {at} on"
    if at == end:
        return f"the end-of-turn token {tokenizer.decode([ids[end]])!r} is not trained"
    if at == begin:
        return (
            f"between the prompt and the first trained id {what} are masked: the model is never taught them; {REMEDY}"
        )
    return f"the loss leaves out {what} of the solution, from id {at} on"


def _strange_row(tokenizer: Any, ids: tuple[int, ...], numbers: dict[tuple[int, ...], int]) -> str:
    """A row that is none of the data's: cut, if one of those begins so."""
    for full, number in numbers.items():
        if ids and full[: len(ids)] == ids:
            return (
                f"row {number} was cut to {len(ids)} of its {len(full)} ids on its way to the trainer: "
                "`train.sequence_length` is too small for it"
            )
    return f"a row was changed on its way to the trainer: {tokenizer.decode(ids)[:SHOWN_TEXT]!r}"


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
        (len(_ids(tokenizer, tokenizer.apply_chat_template(row["messages"], tokenize=False))), number)
        for number, row in enumerate(rows, 1)
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
