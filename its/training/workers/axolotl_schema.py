"""List Axolotl's settings, or check some against its own schema (training environment, Axolotl 0.19).

    python axolotl_schema.py --keys > its/recipe/axolotl_keys.json     # the list that `its recipe check` reads
    python axolotl_schema.py < CONFIGS > FAULTS                       # for `its recipe check --train`

CONFIGS: a list of {config, gpu, devices}. FAULTS: for each a list of [[part of the path, ...], message]; an empty path
is a fault in a combination of settings. No model is loaded and no GPU needed: a `gpu` is assumed to support bf16, tf32
and fp8. Imports nothing of `its`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import typing
from typing import Any

ANSWER = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what libraries print is not the answer

import torch  # noqa: E402
from axolotl.integrations.base import PluginManager  # noqa: E402
from axolotl.integrations.cut_cross_entropy.args import CutCrossEntropyArgs  # noqa: E402
from axolotl.integrations.liger.args import LigerArgs  # noqa: E402
from axolotl.utils.config import prepare_plugins, validate_config  # noqa: E402
from axolotl.utils.dict import DictDefault  # noqa: E402
from axolotl.utils.schemas.config import AxolotlInputConfig  # noqa: E402
from pydantic import BaseModel, ValidationError  # noqa: E402

SHIPPED = {
    "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin": CutCrossEntropyArgs,
    "axolotl.integrations.liger.LigerPlugin": LigerArgs,
}
"""Plugins that a recipe may name without an allowance, with the settings that they add."""
GPU = {"bf16": True, "fp8": True, "tf32": True, "compute_capability": "sm_90"}
CPU = {"bf16": False, "fp8": False, "tf32": False, "compute_capability": None}


def main() -> None:
    if sys.argv[1:] == ["--keys"]:
        lists = {"": keys(AxolotlInputConfig)} | {name: keys(kind) for name, kind in SHIPPED.items()}
        ANSWER.write(json.dumps(lists, indent=1, sort_keys=True) + "\n")
    else:
        json.dump([faults(item) for item in json.load(sys.stdin)], ANSWER)
    ANSWER.flush()


def keys(kind: type[BaseModel]) -> dict[str, Any]:
    """The names of a section's fields and their aliases; each with those below it, or null if anything is allowed."""
    out: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        below: dict[str, Any] = {}
        for inner in sections(field.annotation):
            below |= keys(inner)
        out |= {word: below or None for word in (name, field.alias) if word is not None}
    return out


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type, including those in lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for inner in typing.get_args(annotation) for kind in sections(inner)]


def faults(item: dict[str, Any]) -> list[tuple[list[Any], str]]:
    """The faults of a configuration: those of its datasets first, without which Axolotl checks nothing else."""
    config = item["config"]
    config["plugins"] = [name for name in config.get("plugins") or [] if name in SHIPPED]
    machine = {**(GPU if item["gpu"] else CPU), "n_gpu": item["devices"]}
    found = refused(config, machine)
    if any(path[:1] == ["datasets"] for path, _ in found):
        found += refused(config | {"datasets": [{"path": "rows.jsonl", "type": "chat_template"}]}, machine)
    return list({json.dumps(fault): fault for fault in found}.values())


def refused(config: dict[str, Any], machine: dict[str, Any]) -> list[tuple[list[Any], str]]:
    PluginManager.get_instance().plugins.clear()
    try:
        made = DictDefault(config)
        prepare_plugins(made)
        validate_config(made, machine, {"torch_version": str(torch.__version__).split("+", maxsplit=1)[0]})
    except ValidationError as error:
        inside = ["datasets"] if error.title.endswith("Dataset") else []
        return [([*inside, *map(plain, fault["loc"])], fault["msg"]) for fault in error.errors(include_url=False)]
    except Exception as error:  # validators raise anything: NotImplementedError, DeprecationWarning, ImportError
        return [([], f"{error}" or type(error).__name__)]
    return []


def plain(part: Any) -> str | int:
    return part if isinstance(part, int) else re.sub(r"\s+", " ", str(part))


if __name__ == "__main__":
    main()
