"""Which settings Axolotl 0.19 knows, and which of them another field of a recipe sets.

Axolotl ignores a setting that it does not know: a misspelt one would do nothing without a message. And one that a field
of the recipe sets would contradict that field. Both are refused, in `train.axolotl` and in the template, whatever their
value. What the others may be set to is defined in `its.recipe.safe_axolotl_settings`.

The names are those of Axolotl's own schema, written by `its/training/workers/axolotl_schema.py --keys`; a test compares
them with the training environment if that is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from its.errors import did_you_mean, nearest
from its.files import read_regular
from its.recipe.safe_axolotl_settings import SHIPPED_PLUGINS
from its.recipe.scalars import quoted
from its.recipe.schema import TrainOverlay
from its.recipe.values import Found, Location

KEYS = Path(__file__).with_name("axolotl_keys.json")
FIELDS = {
    "num_epochs": "epochs",
    "learning_rate": "learning_rate",
    "lr_scheduler": "lr_scheduler",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "micro_batch_size": "micro_batch_size",
    "sequence_len": "sequence_length",
}
"""Setting -> field of `train` with the same value."""
SET_ELSEWHERE = {
    **{setting: f"`train.{field}` sets it" for setting, field in FIELDS.items()},
    "max_steps": "`train.epochs` sets the length",
    "warmup_steps": "`train.warmup_ratio` sets it",
    "max_packed_sequence_len": "`train.sequence_length` sets it",
    **dict.fromkeys(["gradient_accumulation_steps", "batch_size"], "`train.global_batch_size` sets it"),
    "auto_find_batch_size": "`train.micro_batch_size` sets it",
    **dict.fromkeys(
        ["save_strategy", "save_steps", "saves_per_epoch", "save_total_limit", "save_only_model"],
        "`train.save_every_steps` sets it",
    ),
    **dict.fromkeys(["auto_resume_from_checkpoints", "resume_from_checkpoint"], "`train.save_every_steps` sets it"),
    "special_tokens": "`special_tokens` of the model sets them",
    **dict.fromkeys(["base_model", "revision_of_model", "model_revision"], "`source` of the model sets it"),
    "seed": "`design.seeds` sets it",
    **dict.fromkeys(["logging_steps", "val_set_size", "output_dir", "dataset_prepared_path"], "ITS sets it"),
}
"""Setting -> which field sets it, or that ITS does."""
NESTED = {
    ("optim_args", "lr"): "learning_rate",
    ("optim_args", "learning_rate"): "learning_rate",
    ("optim_args", "weight_decay"): "weight_decay",
    ("deepspeed", "scheduler"): "lr_scheduler",
    ("deepspeed", "optimizer", "params", "lr"): "learning_rate",
    ("deepspeed", "optimizer", "params", "weight_decay"): "weight_decay",
    ("deepspeed", "train_batch_size"): "batch_size",
    ("deepspeed", "train_micro_batch_size_per_gpu"): "micro_batch_size",
    ("deepspeed", "gradient_accumulation_steps"): "gradient_accumulation_steps",
    ("accelerator_config", "gradient_accumulation_kwargs", "num_steps"): "gradient_accumulation_steps",
}
"""Nested setting that the optimizer, DeepSpeed or Accelerate prefers to Axolotl's own -> the latter."""
_FIELD = re.compile(r"`train\.(\w+)`")
_MOST = 100
"""Settings of one table that are checked; there are 400 in all."""


@cache
def known_keys() -> Mapping[str, Mapping[str, Any]]:
    """By plugin, the settings that it adds (Axolotl's own: an empty name), each with its nested ones or None."""
    found: dict[str, dict[str, Any]] = json.loads(read_regular(KEYS, 2**20))
    return found


def key_faults(settings: Mapping[str, Any], here: Location, same: Mapping[str, Any] | None = None) -> Iterator[Found]:
    """The settings of a table that Axolotl does not know, or that another field of the recipe sets.

    A plugin that is not part of Axolotl may add settings: if a table names one, unknown settings in that table are left
    to the owner of the machine (`its.recipe.trust`).

    Args:
        settings: `train.axolotl`, or what a template renders to.
        here: the place of the table.
        same: the recipe's values, by setting; repeating them is not a fault. None: it is one.
    """
    lists = known_keys()
    plugins = settings.get("plugins")
    foreign = isinstance(plugins, list) and any(name not in SHIPPED_PLUGINS for name in plugins)
    added = {name for plugin, table in lists.items() if plugin for name in table}
    for key in list(settings)[:_MOST]:
        word, where = str(key), (*here, str(key))
        if word in SET_ELSEWHERE and (same is None or word not in same or same[word] != settings[key]):
            yield where, f"{quoted(word)} does not belong here: {SET_ELSEWHERE[word]}", _instead(word, here)
        elif word in lists[""]:
            yield from _below(settings[key], lists[""][word], where, word)
        elif word not in added and not foreign:
            yield where, *_unknown(word, added | lists[""].keys())
    yield from _overriding(settings, here, same or {})


def _instead(word: str, here: Location) -> str:
    """The remedy for a setting that a field sets: in an overlay that field of the overlay, if it has it."""
    found = _FIELD.match(SET_ELSEWHERE[word])
    if found is None or len(here) != 4 or found.group(1) not in TrainOverlay.model_fields:
        return "take it out"
    return f"write {quoted('.'.join(map(str, (*here[:3], found.group(1)))))}"


def plugin_faults(settings: Mapping[str, Any], plugins: Any, here: Location) -> Iterator[Found]:
    """The settings of a table that do nothing, because the plugin that knows them is not enabled.

    Args:
        plugins: those of the whole configuration.
    """
    named = plugins if isinstance(plugins, list) else []
    for plugin, table in known_keys().items():
        for key in list(settings)[:_MOST]:
            if plugin and plugin not in named and key in table:
                yield (*here, key), f"{quoted(key)} does nothing without its plugin", f"add `plugins: [{plugin}]`"


def _overriding(settings: Mapping[str, Any], here: Location, same: Mapping[str, Any]) -> Iterator[Found]:
    """Nested settings that override the recipe; DeepSpeed's `auto` takes the recipe's value."""
    for path, setting in NESTED.items():
        table: Any = settings
        where = (*here, *path)
        for part in path[:-1]:
            table = table.get(part) if isinstance(table, Mapping) else None
            if part == "optim_args" and isinstance(table, str):  # as Axolotl and transformers take it apart
                pairs = (item.partition("=") for item in table.replace(" ", "").split(","))
                table, where = {name: _number(value) for name, _, value in pairs}, (*here, part)
        if not isinstance(table, Mapping) or path[-1] not in table:
            continue
        value = table[path[-1]]
        if (value == "auto" and path[0] == "deepspeed") or (setting in same and _number(value) == same[setting]):
            continue
        hint = 'write "auto", or take it out' if path[0] == "deepspeed" and path[-1] != "scheduler" else "take it out"
        yield where, f"{quoted('.'.join(path))} does not belong here: {SET_ELSEWHERE[setting]}", hint


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _below(value: Any, known: Mapping[str, Any] | None, here: Location, parent: str) -> Iterator[Found]:
    """The same for the tables within a setting, where Axolotl lists their settings."""
    if known is None:
        return
    if isinstance(value, list):
        for index, item in enumerate(value[:_MOST]):
            yield from _below(item, known, (*here, index), parent)
    elif isinstance(value, Mapping):
        for key in list(value)[:_MOST]:
            word = str(key)
            name = word.removeprefix("fsdp_") if parent == "fsdp_config" and word not in known else word
            if name in known:
                yield from _below(value[key], known[name], (*here, word), name)
            else:
                yield (*here, word), *_unknown(word, known)


def _unknown(word: str, known: Mapping[str, Any] | set[str]) -> tuple[str, str]:
    hint = did_you_mean(nearest(word, known), "otherwise take it out")
    return f"{quoted(word)} is not a setting of Axolotl 0.19, which would ignore it", hint
