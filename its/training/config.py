"""Render the Axolotl config of one checkpoint from its template and the recipe."""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from its.recipe.axolotl import rendered_settings, sharing
from its.recipe.schema import SpecialTokens, Train

PLUGIN = "its_axolotl.ItsPlugin"
CHECKPOINTS_PLUGIN = "its_checkpoints.EarlierCheckpoints"
FLOAT32_PLUGIN = "its_float32.NoAutocast"
PROCESSES_PLUGIN = "its_processes.Processes"


def axolotl_config(
    *,
    template: str,
    train: Train,
    tokens: SpecialTokens,
    base_model: str,
    revision: str | None,
    rows: str,
    work: str,
    seed: int,
    chat_template: str | None = None,
) -> dict[str, Any]:
    """The config as Axolotl 0.19 reads it. Paths are only under `base_model`, `datasets`, `*_path`, `*_dir`.

    Later entries win: the template, `train.axolotl`, the recipe's named fields, then what ITS relies on: paths, the
    plugin that proves prompt parity, the seed. `its recipe check` refuses settings that would be overwritten
    (`its.recipe.axolotl_keys`).

    Args:
        chat_template: replaces the model's own, here as in the engine.

    Raises:
        DataError: as `rendered_settings`.
    """
    name = f"recipes/{train.template}"
    config = rendered_settings(template, name, train, rows, seed)
    copies = max(1, train.devices // sharing(config | train.axolotl))
    named: dict[str, Any] = {
        "sequence_len": train.sequence_length,
        "num_epochs": train.epochs,
        "learning_rate": train.learning_rate,
        "lr_scheduler": train.lr_scheduler,
        "warmup_ratio": train.warmup_ratio,
        "weight_decay": train.weight_decay,
        "micro_batch_size": train.micro_batch_size,
        "gradient_accumulation_steps": max(1, train.global_batch_size // (train.micro_batch_size * copies)),
        "logging_steps": 1,
        "val_set_size": 0,
        "special_tokens": {f"{key}_token": token for key, token in tokens.model_dump().items() if token},
    }
    if train.save_every_steps is None:
        named |= {"save_strategy": "no", "save_only_model": True}
    else:
        named |= {"save_steps": train.save_every_steps, "save_total_limit": 1, "auto_resume_from_checkpoints": True}
    if chat_template is not None:
        named |= {"chat_template": "jinja", "chat_template_jinja": chat_template}
    config |= named | train.axolotl
    config |= named
    config["plugins"] = [*(config.get("plugins") or []), PLUGIN]
    if revision is not None:
        config["revision_of_model"] = revision
    return config | {
        "base_model": base_model,
        "output_dir": f"{work}/model",
        "dataset_prepared_path": f"{work}/prepared",  # a new path per content: Axolotl's own hash ignores content
        "seed": seed,
    }


def yaml_text(config: dict[str, Any]) -> str:
    """A config as YAML 1.1, keys in order: Axolotl reads with PyYAML, to which a bare `no` is False.

    In ASCII and without line folding: ruamel 0.19 folds a long text behind a backslash so that PyYAML reads a space
    more, and writes U+0085 so that it reads a space. A chat template with `\\n` was trained as `\\ n`.
    """
    yaml = YAML()
    yaml.version = (1, 1)
    yaml.width = 2**30
    yaml.allow_unicode = False
    yaml.default_flow_style = False
    out = StringIO()
    yaml.dump(config, out)
    return out.getvalue()
