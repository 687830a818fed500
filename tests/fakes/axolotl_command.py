"""A stand-in for the `axolotl` command: reads the config, runs the real ITS plugin on a tiny tokenizer, writes a model.

ITS_FAKE_TRAINING makes trouble: `fail` (exit 7), `cut` (the trainer cuts a row), `no_plugin` (parity is never proved),
`endless` (the saved model has another end of turn).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from ruamel.yaml import YAML
from tiny_tokenizer import SPECIAL, load


def hash_of(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    trouble = os.environ.get("ITS_FAKE_TRAINING", "")
    assert sys.argv[1] == "train"
    config = YAML(typ="safe").load(Path(sys.argv[2]).read_text(encoding="utf-8"))
    print("axolotl was here", flush=True)
    if trouble == "fail":
        sys.exit(7)
    lines = Path(config["datasets"][0]["path"]).read_text(encoding="utf-8").splitlines()
    tokenizer = load(Path(config["base_model"]))
    if "chat_template_jinja" in config:
        tokenizer.template = config["chat_template_jinja"]
    rows = [tokenizer.row(json.loads(line)["messages"]) for line in lines]
    if trouble == "cut":
        rows[0] = {key: value[:20] for key, value in rows[0].items()}
    if trouble != "no_plugin":
        module, _, name = config["plugins"][-1].partition(".")
        plugin = getattr(importlib.import_module(module), name)()
        trainer = SimpleNamespace(is_world_process_zero=lambda: True, processing_class=tokenizer, train_dataset=rows)
        plugin.post_trainer_create(config, trainer)
        (callback,) = plugin.add_callbacks_post_trainer(config, trainer)
        for step in (1, 2):
            state = SimpleNamespace(global_step=step, max_steps=2, is_world_process_zero=True)
            callback.on_log(None, state, None, {"loss": 1.0 / step, "learning_rate": config["learning_rate"]})
        callback.on_log(None, state, None, {"train_runtime": 1.0})
    model = Path(config["output_dir"])
    model.mkdir(parents=True, exist_ok=True)
    eos = SPECIAL["<|endoftext|>" if trouble == "endless" else "<|im_end|>"]
    (model / "config.json").write_text(json.dumps({"eos_token_id": eos}), encoding="utf-8")
    tokenizer.save(model)
    (model / "model.safetensors").write_text(f"{config['seed']} {hash_of(lines)}", encoding="utf-8")
    (model / "debug.log").write_text("not kept", encoding="utf-8")


main()
