"""What the Axolotl template of a recipe renders to: plain settings, none of which runs code without an allowance.

The check and the training render by the same function, so that they cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from its.errors import Fault, FaultsError
from its.prompts.render import read_template, render
from its.recipe.axolotl_keys import FIELDS, key_faults, plugin_faults
from its.recipe.document import parse_document
from its.recipe.schema import Train
from its.recipe.trust import Code, axolotl_code, refusal, refused
from its.secrets import secrets_in

SAMPLE_ROWS = "/home/its/training/key/rows.jsonl"


def rendered_settings(template: str, name: str, train: Train, rows: str, seed: int) -> dict[str, Any]:
    """The settings of the template, before `train.axolotl` is applied over them.

    Args:
        name: of the template, for errors.
        rows: the path of the file to train on, the only one that `datasets` may name.

    Raises:
        DataError: if the template does not render to a YAML mapping (lines are those of the rendered text), contains
            what looks like a secret, sets what may run code and the owner of the machine does not allow, or sets what
            Axolotl does not know or another field sets.
    """
    settings = _settings(template, name, train, rows, seed)
    same = {setting: getattr(train, field) for setting, field in FIELDS.items()} | {"seed": seed}
    here = ("train", "axolotl")
    unfit = [*key_faults(settings, here, same), *plugin_faults(settings, plugins_of(settings, train), here)]
    faults = [Fault(line_of(template, name, where), message, hint) for where, message, hint in unfit]
    unnamed = {where for where, _, _ in unfit}
    for item in refused(axolotl_code(settings, rows)):
        if item.where not in unnamed:
            faults.append(Fault(line_of(template, name, item.where), *refusal(item)))
    for location, why in secrets_in(settings):
        faults.append(
            Fault(
                line_of(template, name, location),
                f"`{'.'.join(map(str, location))}` {why}",
                "leave it in the environment of the shell",
            )
        )
    if faults:
        raise FaultsError(faults)
    return settings


def sharing(settings: Mapping[str, Any]) -> int:
    """Processes that share one sequence, by Axolotl's settings: a step has that many times fewer rows."""
    context = settings.get("context_parallel_size") or settings.get("sequence_parallel_degree")
    sizes = (context, settings.get("tensor_parallel_size"))
    return math.prod(size for size in sizes if type(size) is int and size > 0)


def plugins_of(settings: Mapping[str, Any], train: Train) -> Any:
    """The plugins of the whole configuration: the recipe's list replaces the template's."""
    return train.axolotl.get("plugins", settings.get("plugins"))


def line_of(template: str, name: str, where: Sequence[str | int]) -> str:
    """`NAME:LINE` of the deepest setting of a path that begins a line of the template; line 1 if there is none."""
    for part in reversed(where):
        if isinstance(part, str):
            key = re.compile(rf"\s*(- +)*[\"']?{re.escape(part)}[\"']?\s*:")
            for number, line in enumerate(template.splitlines(), 1):
                if key.match(line):
                    return f"{name}:{number}"
    return f"{name}:1"


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
