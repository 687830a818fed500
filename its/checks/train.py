"""Whether Axolotl accepts the configurations of a recipe: checked by its own schema, without loading a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from its.environments import find_environment
from its.errors import Fault, SettingFault
from its.home import its_home
from its.prompts.render import read_template
from its.recipe.axolotl import SAMPLE_ROWS, line_of
from its.recipe.axolotl_keys import FIELDS
from its.recipe.document import Document
from its.recipe.schema import Recipe, Train
from its.recipe.trainings import Training, recipe_trainings
from its.recipe.values import dotted
from its.training.config import axolotl_config
from its.training.schema import schema_faults


def train_faults(project: Path, recipes: Sequence[tuple[Document, Recipe]]) -> list[Fault]:
    """The faults of the Axolotl configurations of those recipes: of each different training of the design.

    The place of a fault is that of the setting: in `train.axolotl`, in a field of the recipe or in that of an overlay,
    else in the template.

    Raises:
        MissingError: if Axolotl's environment is not installed.
        RunError: if the check itself fails.
    """
    home = its_home(project)
    asked: list[tuple[Document, Training, Train, str, dict[str, Any]]] = []
    for document, recipe in recipes:
        for training, model, train in recipe_trainings(recipe):
            template = read_template(project / "recipes" / train.template)
            config = sample_config(recipe, model, train, template)
            asked.append((document, training, train, template, config))
    if not asked:
        return []
    found = schema_faults(
        find_environment("axolotl", project, home),
        [(config, train.hardware == "gpu", train.devices) for _, _, train, _, config in asked],
        home / "logs" / "check-axolotl.log",
    )
    faults = [_placed(fault, *context) for context, several in zip(asked, found, strict=True) for fault in several]
    return list(dict.fromkeys(faults))


def sample_config(recipe: Recipe, model: str, train: Train, template: str) -> dict[str, Any]:
    """The Axolotl configuration of a training of a declared model, with names in place of files.

    Args:
        template: text of `train.template`.
    """
    return axolotl_config(
        template=template,
        train=train,
        tokens=recipe.models[model].special_tokens,
        base_model=model,
        revision=None,
        rows=SAMPLE_ROWS,
        work="training",
        seed=1,
    )


def _placed(
    fault: SettingFault, document: Document, training: Training, train: Train, template: str, config: dict[str, Any]
) -> Fault:
    path = fault.path or _mentioned(fault.message, train.axolotl, config)
    said = re.sub(r"\s+", " ", fault.message).strip().removeprefix("Value error, ").rstrip(".")
    key = str(path[0]) if path else ""
    named = f"`{dotted(path)}`" if path else "the configuration"
    message = f"Axolotl refuses {named}: {said}"
    if key in train.axolotl:
        return Fault(document.where(training.setting(*path)), message)
    if not path or key in FIELDS or key not in _settings_of(template):
        return Fault(document.where(training.place(FIELDS.get(key, "template"))), message)
    return Fault(line_of(template, f"recipes/{train.template}", path), message)


def _mentioned(message: str, own: dict[str, Any], config: dict[str, Any]) -> tuple[str | int, ...]:
    """The setting that a message without a place names, the recipe's own first; () if it names none that is set."""
    for table in (own, config):
        named = [key for key in table if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", message)]
        if named:
            return (max(named, key=len),)
    return ()


def _settings_of(template: str) -> set[str]:
    return set(re.findall(r"^[\"']?(\w+)[\"']?\s*:", template, flags=re.MULTILINE))
