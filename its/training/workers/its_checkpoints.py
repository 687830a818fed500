"""Axolotl plugin that saves the model at earlier steps too; loaded only where a study evaluates such checkpoints.

Runs in the training environment and imports nothing of `its`. A saved model changes no later step, so what is saved is
not part of a training's key, and neither is this file: a test compares the last weights with and without it.

The file named by ITS_TRAINING holds `at`: {folder, fractions}, the folder to save in and, by fraction (`1/3`), the name
of its model there. A model appears there whole or not at all, with `its_saved.json`, {step, steps}. Its weights are
what counts; its tokenizer and configuration are replaced by those of the finished training.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from its_axolotl import Stop
from transformers import TrainerCallback

REMEDY = "`checkpoints: [last]` in `design`, or an entry of `design.except` that leaves these checkpoints out"
CHANGED_AT_END = ("relora", "qat", "llmcompressor")
"""Settings with which the model that is saved at the end is not the one that is being trained."""
SAVED = "its_saved.json"


def saved_step(fraction: str, steps: int) -> int:
    """The step of a fraction: the nearest one, the later of two. The same as `its.training.steps.saved_step`."""
    top, bottom = map(int, fraction.split("/"))
    return (2 * top * steps + bottom) // (2 * bottom)


def fraction_fault(fractions: Any, steps: int) -> str | None:
    """Why a training of that many steps cannot save its model at each fraction; None if it can."""
    at = {fraction: saved_step(fraction, steps) for fraction in fractions}
    counted = "1 step" if steps == 1 else f"{steps} steps"
    for fraction, step in at.items():
        if not 0 < step < steps:
            return f"a training of {counted} has no step before its last at `{fraction}`"
    step, count = Counter(at.values()).most_common(1)[0]
    if count == 1:
        return None
    names = " and ".join(f"`{fraction}`" for fraction, own in at.items() if own == step)
    return f"in a training of {counted} {names} are one checkpoint, step {step}"


class SavingCallback(TrainerCallback):
    """Saves the model after the optimizer's step and before anything else happens at it, a saved state above all.

    So a state that a killed training resumes from never lies behind a checkpoint that was not saved.
    """

    def __init__(self, settings: dict[str, Any], cfg: Any, trainer: Any) -> None:
        self.stopped, self.folder = settings["stopped"], Path(settings["at"]["folder"])
        self.names: dict[str, str] = settings["at"]["fractions"]
        self.cfg, self.trainer = cfg, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        fault = fraction_fault(self.names, state.max_steps)
        if fault is not None:
            raise Stop(self.stopped, fault, REMEDY)
        for fraction, name in self.names.items():
            step = saved_step(fraction, state.max_steps)
            if step <= state.global_step and not (self.folder / name / SAVED).is_file():
                raise Stop(
                    self.stopped,
                    f"the training would resume after step {state.global_step}, and `{fraction}`, step {step}, was "
                    "not saved",
                    f"`rm -r {self.folder.parent}` removes what was saved of it, so that it is trained again",
                )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for fraction, name in self.names.items():
            if state.global_step == saved_step(fraction, state.max_steps):
                self._save(self.folder / name, {"step": state.global_step, "steps": state.max_steps})

    def _save(self, target: Path, saved: dict[str, int]) -> None:
        """On every rank: a sharded model is gathered by all of them."""
        partial, first = target.with_name(f".{target.name}.partial"), self.trainer.is_world_process_zero()
        if first:
            for path in (partial, target):
                if path.exists():
                    shutil.rmtree(path)
            partial.mkdir(parents=True)
        self.trainer.accelerator.wait_for_everyone()
        with gathered(self.cfg, self.trainer) as save:
            save(str(partial))
        self.trainer.accelerator.wait_for_everyone()
        if first:
            whole, sharded = partial / "model.safetensors", partial / "model.safetensors.index.json"
            if whole.exists() and sharded.exists():  # ZeRO-3 leaves an empty model beside the shards
                whole.unlink()
            (partial / SAVED).write_text(json.dumps(saved) + "\n", encoding="utf-8")
            partial.rename(target)


@contextmanager
def gathered(cfg: Any, trainer: Any) -> Any:
    """What saves the model in a folder, as Axolotl does at the end of a training (`axolotl.train`)."""
    if not trainer.is_fsdp_enabled:
        yield lambda folder: trainer.save_model(folder, _internal_call=True)  # which does not push to a hub
        return
    if cfg.get("adapter") and str(cfg.get("fsdp_version")) == "2":
        from axolotl.integrations.expert_parallel.shard import save_fsdp2_lora_adapter

        yield lambda folder: save_fsdp2_lora_adapter(trainer.model, folder)
        return
    plugin = trainer.accelerator.state.fsdp_plugin
    before = plugin.state_dict_type
    plugin.set_state_dict_type("FULL_STATE_DICT")  # `save_model` saves nothing of a sharded one
    try:
        yield lambda folder: trainer.save_model(folder, _internal_call=True)
    finally:
        plugin.set_state_dict_type(before)


class EarlierCheckpoints(BasePlugin):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = json.loads(Path(os.environ["ITS_TRAINING"]).read_text(encoding="utf-8"))

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        found = [name for name in CHANGED_AT_END if cfg.get(name)]
        if cfg.get("adapter") and int(cfg.get("expert_parallel_size") or 1) > 1:
            found.append("expert_parallel_size")
        if found:
            message = f"with `{found[0]}` a model is not saved before the end of its training"
            raise Stop(self.settings["stopped"], message, REMEDY)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return [SavingCallback(self.settings, cfg, trainer)]
