"""What the Axolotl template of a recipe renders to: plain settings, of which none may run code unallowed.

The check and the training render by the same function, so that they cannot disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from its.errors import Fault, FaultsError
from its.prompts.render import read_template, render
from its.recipe.document import parse_document
from its.recipe.schema import Train
from its.recipe.trust import Code, axolotl_code, refused, told
from its.secrets import secrets_in

SAMPLE_ROWS = "/home/its/training/key/rows.jsonl"


def rendered_settings(template: str, name: str, train: Train, rows: str, seed: int) -> dict[str, Any]:
    """The settings, before the recipe's own are laid over them.

    Args:
        name: how errors call the template.
        rows: the path of the file to train on, the only one that `datasets` may name.

    Raises:
        DataError: if the template does not render to a YAML mapping (lines are those of the rendered text), holds
            what looks like a secret, or sets what may run code and the owner of the machine does not allow.
    """
    settings = _settings(template, name, train, rows, seed)
    faults = [Fault(f"{name}:1", *told(item)) for item in refused(axolotl_code(settings, rows))]
    for location, why in secrets_in(settings):
        faults.append(Fault(f"{name}:1", f"`{'.'.join(map(str, location))}` {why}", "leave it in the environment"))
    if faults:
        raise FaultsError(faults)
    return settings


def template_code(project: Path, train: Train) -> list[Code]:
    """The settings of a recipe's template that need an allowance, granted or not.

    Raises:
        DataError: if the template cannot be read or does not render to a YAML mapping.
    """
    template = read_template(project / "recipes" / train.template)
    return axolotl_code(_settings(template, f"recipes/{train.template}", train, SAMPLE_ROWS, 1), SAMPLE_ROWS)


def _settings(template: str, name: str, train: Train, rows: str, seed: int) -> dict[str, Any]:
    text = render(template, name, {"train": train, "rows": rows, "seed": seed})
    try:
        return parse_document(Path(name), text).values
    except FaultsError as error:
        faults = [Fault(item.where, f"rendered: {item.message}") for item in error.faults]
        raise FaultsError(faults) from error
