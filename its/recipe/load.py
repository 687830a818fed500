"""Read a recipe or params.yaml: YAML 1.2 with positions, validated, every fault at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from its.errors import Fault, FaultsError, MissingError
from its.recipe.references import reference_faults
from its.recipe.schema import RECIPE_VERSION, Recipe

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML file: plain values, and where each stands."""

    path: Path
    values: dict[str, Any]
    tree: Any

    def where(self, location: Sequence[str | int]) -> str:
        """`path:line:column` of a key or item; of the nearest parent that exists if it is absent."""
        node, line, column = self.tree, 1, 1
        for part in location:
            try:
                position = node.lc.item(part) if isinstance(part, int) else node.lc.key(part)
                node = node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
            line, column = position[0] + 1, position[1] + 1
        return f"{self.path}:{line}:{column}"


def read_document(path: Path) -> Document:
    """Parse a YAML mapping (YAML 1.2: `5e-6` is a number, `no` is a word).

    Raises:
        MissingError: if there is no such file.
        FaultsError: on broken YAML, a duplicate key, or a file that is not a mapping.
    """
    yaml = YAML(typ="rt")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file", "`its recipe list` names the recipes") from error
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(f"{path}:1:1", f"not UTF-8 at byte {error.start}", "re-encode the file")]) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{path}:1:1"
        problem = str(error.problem or "broken YAML").splitlines()[0]
        raise FaultsError([Fault(where, f"broken YAML: {problem}")]) from error
    except YAMLError as error:  # a character that YAML does not allow
        raise FaultsError([Fault(f"{path}:1:1", f"broken YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(tree, Mapping):
        raise FaultsError([Fault(f"{path}:1:1", "not a mapping", "a recipe begins with `recipe_version: 1`")])
    return Document(path, _plain(tree), tree)


def load_recipe(path: Path, project: Path) -> Recipe:
    """Validate a recipe with everything it refers to (templates, local files).

    Args:
        path: the recipe or params.yaml.
        project: the folder that holds `recipes/` and `data/`.

    Raises:
        MissingError: if there is no such file.
        FaultsError: with every fault, in the order of the file.
    """
    document = read_document(path)
    recipe, faults = validate(document, project)
    if recipe is None:
        raise FaultsError(faults)
    return recipe


def validate(document: Document, project: Path) -> tuple[Recipe | None, list[Fault]]:
    """The recipe, or None and every fault of it."""
    version = document.values.get("recipe_version")
    if version != RECIPE_VERSION or isinstance(version, bool):
        seen = "missing" if version is None else f"`{version}`"
        return None, [
            Fault(
                document.where(["recipe_version"]),
                f"`recipe_version` is {seen}; this version of ITS reads {RECIPE_VERSION}",
                f"begin the file with `recipe_version: {RECIPE_VERSION}` and see docs/design.md for what changed",
            )
        ]
    found: list[tuple[Location, str, str | None]] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        found.extend(_schema_fault(document.values, dict(item)) for item in error.errors())
    found.extend(reference_faults(document.values, project))
    name = document.values.get("recipe")
    if document.path.resolve().parent == (project / "recipes").resolve() and name != document.path.stem:
        found.append((("recipe",), f"`recipe` is `{name}` but the file is `{document.path.name}`", "let both agree"))
    faults = [Fault(document.where(location), message, hint) for location, message, hint in found]
    faults = list({(fault.where, fault.message): fault for fault in faults}.values())
    faults.sort(key=lambda fault: tuple(int(part) for part in fault.where.rsplit(":", 2)[1:]))
    return (None if faults else recipe), faults


def section_fields(location: Sequence[str | int]) -> list[str]:
    """The fields that a place of the recipe knows; [] where keys are free names."""
    types: list[Any] = [Recipe]
    for part in location:
        following: list[Any] = []
        for kind in types:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if str(part) in kind.model_fields:
                    following.extend(_leaves(kind.model_fields[str(part)].annotation))
            elif get_origin(kind) in (dict, list):
                following.extend(_leaves(get_args(kind)[-1]))
        types = following
    models = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sorted({field for model in models for field in model.model_fields})


def _leaves(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (dict, list):
        return [annotation]
    if hasattr(annotation, "__metadata__"):
        return _leaves(annotation.__origin__)
    if origin is Union or type(annotation).__name__ == "UnionType":
        return [leaf for item in get_args(annotation) for leaf in _leaves(item)]
    return [annotation]


def _schema_fault(values: Any, item: dict[str, Any]) -> tuple[Location, str, str | None]:
    location = _real_location(values, item["loc"])
    dotted = ".".join(str(part) for part in location)
    parent, last = location[:-1], str(location[-1]) if location else ""
    known = section_fields(parent)
    shown = ".".join(str(part) for part in parent)
    listing = f"`its recipe fields {shown}` lists them all" if shown else "`its recipe fields` lists them all"
    kind, seen = item["type"], item.get("input")
    hint: str | None
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(last, known, n=1)
        hint = f"did you mean `{close[0]}`? {listing}" if close else listing
        return location, f"unknown field `{dotted}`", hint
    if kind == "missing":
        return location, f"missing field `{dotted}`", f"add `{last}:`; {listing}"
    if kind == "string_pattern_mismatch" and item["ctx"]["pattern"] == r"^[a-z0-9_]+$":
        return (
            location,
            f"`{seen}` is not a name: names are [a-z0-9_]+",
            f"for example `{''.join(c if c.isalnum() else '_' for c in str(seen).lower())}`; DVC joins names with `-`",
        )
    shown_value = f"`{seen}`" if isinstance(seen, str | int | float | bool) or seen is None else f"a {_kind(seen)}"
    message = f"`{dotted}` is {shown_value}: {item['msg'][0].lower()}{item['msg'][1:]}"
    hint = None
    if kind == "literal_error" and isinstance(seen, str):
        options = [option.strip(" '") for option in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        close = difflib.get_close_matches(seen, options, n=1)
        hint = f"did you mean `{close[0]}`?" if close else None
    return location, message, hint


def _real_location(values: Any, loc: Sequence[str | int]) -> Location:
    """Pydantic's location without its own marks (union tags, `[key]`)."""
    out: list[str | int] = []
    node = values
    for index, part in enumerate(loc):
        if part == "[key]":
            continue
        if isinstance(node, Mapping) and part not in node and node.get("kind") == part:
            continue
        if not isinstance(node, Mapping | list) and index:
            continue
        out.append(part)
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
    return tuple(out)


def _kind(value: Any) -> str:
    return {"dict": "mapping", "list": "list"}.get(type(value).__name__, type(value).__name__)


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key) if isinstance(key, str) else key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node
