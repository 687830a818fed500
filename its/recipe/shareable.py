"""A recipe without secrets: screens are shared, and logs of continuous integration are public."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from its.recipe.document import Document
from its.secrets import redacted, secrets_in, writable

SETTINGS = ("engine", "train")
"""Where the name of a setting can reveal a secret; elsewhere names are chosen by the recipe."""
HIDDEN = "[key]"


def shareable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe without secrets; unchanged if it has none."""
    return {name: _shareable(name, value) for name, value in values.items()}


def shareable_text(document: Document) -> str:
    """A recipe's text; if its values contain secrets, the others as new YAML, since YAML can spell one in many ways."""
    values = shareable(document.values)
    if values == document.values:
        return redacted(document.text)
    out = io.StringIO()
    YAML().dump(values, out)
    return "# Without its comments and what looks like a secret\n" + out.getvalue()


def shareable_at(path: str, value: Any) -> Any:
    """A value at a dotted path of a recipe, or `[key]` if its place marks it as a secret."""
    section, *parts = path.split(".")
    for part in reversed(parts):
        value = {part: value}
    shown = _shareable(section, value)
    for part in parts:
        shown = shown.get(redacted(part), HIDDEN)
        if shown == HIDDEN:
            break
    return shown


def shareable_yaml(path: str, value: Any) -> str:
    """The same as one line of YAML, which can be written behind its field; for None, which stands for it, `not set`."""
    if value is None:
        return "not set"
    shown, out, yaml = shareable_at(path, value), io.StringIO(), YAML(typ="safe", pure=True)  # as recipes are read
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = True, 2**30, True
    yaml.dump(shown, out)
    line = out.getvalue().removesuffix("...\n").strip()
    try:
        sound = "\n" not in line and yaml.load(line) == shown
    except YAMLError:
        sound = False
    # ruamel writes some keys (`?0`) bare that it then reads as something else; JSON is YAML too.
    return line if sound else json.dumps(shown, ensure_ascii=False, default=str)


def shareable_path(path: str) -> str:
    """A dotted path of a recipe, without API keys in it."""
    return redacted(path)


def _shareable(section: str, value: Any) -> Any:
    names = section in SETTINGS
    if next(secrets_in(value, names=names), None) is None:
        return value
    return writable(value, names=names)
