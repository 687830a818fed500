"""A stand-in for the `axolotl` command: reads the config, runs the real ITS plugin on a tiny tokenizer, writes a model.

The model is the base of the config, changed, or three tensors of its own where the base is no folder with weights.
ITS_FAKE_TRAINING makes trouble: `fail` (exit 7; `fail_RATE` at that learning rate alone), `cut` (the trainer cuts a
row), `drop` (it leaves out a long one), `no_plugin` (parity is never proved), `endless` (the saved model has another
end of turn), `processes` (it runs as two), `steps` (it announces one more), `short` (it ends well after one step),
`killed_end` (it ends without the last hook), `killed_N` (it is killed after step N), `nan_loss`, `nan_norm`,
`skipped_norm` (at the second step; the last is what fp16's scaler does), `nothing` (no weights), `stub` (16 bytes),
`nan` (values that are not finite), `unchanged`, `missing` (a parameter), `shape`. The last six with `early_` in front
trouble an earlier checkpoint alone; `early_killed` is a kill while it is saved.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ruamel.yaml import YAML
from tiny_tokenizer import SPECIAL, TinyTokenizer, load
from tiny_weights import Tensors, save, values


def hash_of(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    trouble = os.environ.get("ITS_FAKE_TRAINING", "")
    assert sys.argv[1] == "train"
    config = YAML(typ="safe").load(Path(sys.argv[2]).read_text(encoding="utf-8"))
    print("axolotl was here", flush=True)
    if json.loads(Path(os.environ["ITS_TRAINING"]).read_text(encoding="utf-8"))["cpu"]:
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == "", "Axolotl would load the model on a GPU that it sees"
    machines, processes, rank = launched()
    if trouble == f"node_{rank}_fails":
        sys.exit(7)
    if trouble.startswith("node_"):  # it waits for the other one, which real processes do until a limit
        time.sleep(60)
    if trouble in ("fail", f"fail_{config['learning_rate']:g}"):
        sys.exit(7)
    lines = Path(config["datasets"][0]["path"]).read_text(encoding="utf-8").splitlines()
    tokenizer = load(Path(config["base_model"]))
    if "chat_template_jinja" in config:
        tokenizer.template = config["chat_template_jinja"]
    rows = [tokenizer.row(json.loads(line)["messages"]) for line in lines]
    if trouble == "cut":
        rows[0] = {key: value[:20] for key, value in rows[0].items()}
    if trouble == "drop":
        rows = [row for row in rows if len(row["input_ids"]) <= config["sequence_len"]]
    if trouble != "no_plugin":
        train(config, rows, tokenizer, trouble, machines * processes, rank == 0)
    if rank:
        return
    model = Path(config["output_dir"])
    model.mkdir(parents=True, exist_ok=True)
    eos = SPECIAL["<|endoftext|>" if trouble == "endless" else "<|im_end|>"]
    (model / "config.json").write_text(json.dumps({"eos_token_id": eos}), encoding="utf-8")
    tokenizer.save(model)
    (model / "debug.log").write_text("not kept", encoding="utf-8")
    if trouble == "stub":
        (model / "model.safetensors").write_bytes(b"\x08" + b"\0" * 15)
    elif trouble != "nothing":
        save(model / "model.safetensors", weights(config, lines, trouble))


def launched() -> tuple[int, int, int]:
    """(machines, processes on each, number of this machine) of the launcher's arguments."""
    given = dict(argument[2:].split("=", 1) for argument in sys.argv if argument.startswith("--") and "=" in argument)
    return int(given.get("nnodes", 1)), int(given.get("nproc_per_node", 1)), int(given.get("node_rank", 0))


def train(
    config: dict[str, Any],
    rows: list[dict[str, Any]],
    tokenizer: TinyTokenizer,
    trouble: str,
    world: int,
    first: bool,
) -> None:
    """What Axolotl calls of the plugin, step by step."""
    plugins = []
    for entry in config["plugins"]:
        module, _, name = entry.partition(".")
        if module.startswith("its_"):
            plugins.append(getattr(importlib.import_module(module), name)())
    args = SimpleNamespace(
        world_size=2 if trouble == "processes" else world,
        train_batch_size=config["micro_batch_size"],
        gradient_accumulation_steps=config["gradient_accumulation_steps"],
    )
    batch = world * config["micro_batch_size"] * config["gradient_accumulation_steps"]
    steps = math.ceil(len(rows) * config["num_epochs"] / batch) + (trouble == "steps")
    trainer = SimpleNamespace(
        args=args,
        is_world_process_zero=lambda: first,
        processing_class=tokenizer,
        train_dataset=rows,
        accelerator=SimpleNamespace(optimizer_step_was_skipped=False, wait_for_everyone=lambda: None),
        is_fsdp_enabled=False,
    )
    assert plugins[0].get_training_args(config)["logging_nan_inf_filter"] is False
    for plugin in plugins:
        plugin.post_trainer_create(config, trainer)
    callbacks = [callback for plugin in plugins for callback in plugin.add_callbacks_post_trainer(config, trainer)]
    states = [int(path.name[11:]) for path in Path(config["output_dir"]).glob("checkpoint-*")]
    state = SimpleNamespace(global_step=max(states, default=0), max_steps=steps, epoch=0.0, is_world_process_zero=first)
    trainer.save_model = lambda folder, _internal_call: save_early(config, Path(folder), state.global_step, trouble)
    for callback in callbacks:
        callback.on_train_begin(args, state, None)
    for step in range(state.global_step + 1, 2 if trouble == "short" else steps + 1):
        state.global_step, state.epoch = step, config["num_epochs"] * step / steps
        second = step == 2
        logs = {"loss": 1.0 / step, "grad_norm": 2.0, "learning_rate": config["learning_rate"]}
        if second and trouble in ("nan_loss", "nan_norm", "skipped_norm"):
            logs["loss" if trouble == "nan_loss" else "grad_norm"] = math.nan
        trainer.accelerator.optimizer_step_was_skipped = second and trouble == "skipped_norm"
        for callback in callbacks:
            callback.on_step_end(args, state, None)
        for callback in callbacks:
            callback.on_log(args, state, None, logs)
        if "save_steps" in config and step % config["save_steps"] == 0:
            (Path(config["output_dir"]) / f"checkpoint-{step}").mkdir(parents=True)
        if trouble == f"killed_{step}":
            os.kill(os.getpid(), signal.SIGKILL)
    for callback in callbacks:
        callback.on_log(args, state, None, {"train_runtime": 1.0})
    if trouble != "killed_end":
        for callback in callbacks:
            callback.on_train_end(args, state, None)


def save_early(config: dict[str, Any], folder: Path, step: int, trouble: str) -> None:
    """An earlier checkpoint: weights that the step determines, and small files that are not those of the last one."""
    trouble = trouble.removeprefix("early_") if trouble.startswith("early_") else ""
    if trouble == "killed":
        (folder / "model.safetensors").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "stub":
        (folder / "model.safetensors").write_bytes(b"\x08" + b"\0" * 15)
    elif trouble != "nothing":
        lines = Path(config["datasets"][0]["path"]).read_text(encoding="utf-8").splitlines()
        save(folder / "model.safetensors", weights(config, [*lines, f"step {step}"], trouble))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": -1}), encoding="utf-8")
    (folder / "training_args.bin").write_bytes(b"")


def weights(config: dict[str, Any], lines: list[str], trouble: str) -> Tensors:
    """The tensors of the trained model."""
    base = Path(config["base_model"]) / "model.safetensors"
    if base.is_file():
        raw = base.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        out: Tensors = {
            name: (entry["dtype"], entry["shape"], raw[slice(*(start + at for at in entry["data_offsets"]))])
            for name, entry in json.loads(raw[8:start]).items()
        }
    else:
        out = {name: values([4, 2], number) for number, name in enumerate(("first", "second", "third"))}
    last = list(out)[-1]
    if trouble != "unchanged":
        shape = out[last][1]
        out[last] = values(
            shape, int(hash_of([str(config["seed"]), str(config["learning_rate"]), *lines])[:8], 16), out[last][0]
        )
    if trouble == "missing":
        del out[last]
    elif trouble == "shape":
        out[last] = values([*out[last][1], 2])
    elif trouble == "nan":
        dtype, shape, content = out[last]
        out[last] = (dtype, shape, b"\xff" * len(content))
    return out


main()
