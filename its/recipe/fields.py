"""The fields of a recipe: where they are, what they may be, what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from its.errors import MissingError, did_you_mean, nearest
from its.recipe.json_schema import recipe_schema
from its.recipe.schema import Recipe, Section

FREE = "NAME"
"""In a path: a name that a recipe chooses."""
INDEX = "0"
"""In a path: an item of a list."""
TAGS = ("kind", "name")
"""Fields whose value selects the model."""


@dataclass(frozen=True)
class Field:
    """A field as the reference describes it.

    `type` is in words, with its choices; `choices` are the same as a list (None: any value of the type); `default` is
    JSON (None: absent); `unit` is None if there is none; `sections` are the paths of the sections it contains.
    """

    name: str
    type: str
    choices: list[Any] | None
    required: bool
    default: Any
    unit: str | None
    meaning: str
    sections: list[str]


@dataclass(frozen=True)
class SectionFields:
    """One model: the path it was found under, the tag that selects it (`kind: wheel`), its meaning, its fields."""

    path: str
    tag: str
    meaning: str
    fields: list[Field]


def section_fields(location: Sequence[str | int]) -> list[str]:
    """The names of the fields at a place of a recipe; [] where keys are free names."""
    return sorted({name for model in _models(_annotations(location)) for name in fields_of(model)})


def fields_of(model: type[Section]) -> dict[str, FieldInfo]:
    """The fields of a section by their names in a recipe (`except`, which Python reserves, has another in code)."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def described(path: str) -> list[SectionFields]:
    """The fields of a section, of all its variants; of the one field, if the path ends with one.

    Args:
        path: dotted, with a declared name, any other word or an index in place of a free name; a table of sections
            stands for one of them (`strategies`, `strategies.NAME`), and what is in a field without sections for the
            field (`vote.ensembles.NAME`, `design.train.0`). Empty for the top.

    Raises:
        MissingError: if there is no such section; the hint has the nearest.
    """
    location = path.split(".") if path else []
    if "" in location:
        hint = "single dots join the parts of a path, as in `generation.n`"
        raise MissingError(f"a recipe has no section or field `{path}`", hint)
    models: list[type[Section]] = []
    found, at = _annotations(location), list(location)
    while found and not (models := _models(found)):
        found, inner = _inside(found)
        at += inner
    if models:
        return [_section(".".join(at), model) for model in models]
    inside = len(location) if _annotations(location) else 1
    for end in range(len(location), max(len(location) - inside, 0), -1):
        *above, name = location[:end]
        owned = [_section(".".join(above), model) for model in _models(_annotations(above)) if name in fields_of(model)]
        if owned:
            return [
                SectionFields(section.path, section.tag, section.meaning, [field])
                for section in owned
                for field in section.fields
                if field.name == name
            ]
    raise MissingError(f"a recipe has no section or field `{path}`", _guess(location))


def sections() -> Iterator[tuple[list[str], SectionFields]]:
    """Every model of a recipe once, with all its paths, in the order of the file."""
    paths: dict[type[Section], list[str]] = {}
    waiting: list[tuple[tuple[str, ...], type[Section]]] = [((), Recipe)]
    while waiting:
        at, model = waiting.pop(0)
        paths.setdefault(model, []).append(".".join(at))
        below = [
            ((*at, *inner), child) for name, field in fields_of(model).items() for inner, child in _below(name, field)
        ]
        waiting = below + waiting
    for model, found in paths.items():
        yield found, _section(found[0], model)


def _below(name: str, field: FieldInfo) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    found = _leaves(field.annotation)
    at: tuple[str, ...] = (name,)
    while found:
        yield from ((at, model) for model in _models(found))
        found, inner = _inside(found)
        at += tuple(inner)


@cache
def _schema() -> dict[str, Any]:
    return recipe_schema()


def _section(path: str, model: type[Section]) -> SectionFields:
    schema = _schema() if model is Recipe else _schema()["$defs"][model.__name__]
    required, properties = schema.get("required", []), schema["properties"]
    tag = next((f"{key}: {properties[key]['const']}" for key in TAGS if "const" in properties.get(key, {})), "")
    fields = [
        Field(
            name=name,
            type=_type(properties[name]),
            choices=_choices(properties[name]),
            required=name in required,
            default=field.get_default(call_default_factory=True) if not field.is_required() else None,
            unit=_unit(properties[name]),
            meaning=" ".join((field.description or "").split()),
            sections=list(dict.fromkeys(".".join(filter(None, (path, *at))) for at, _ in _below(name, field))),
        )
        for name, field in fields_of(model).items()
    ]
    return SectionFields(path, tag, schema["description"], fields)


def _variants(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema, without null."""
    if "anyOf" in node:
        return [item for item in node["anyOf"] if item != {"type": "null"}]
    if "if" in node:
        return sorted([node["then"], node["else"]], key=lambda item: bool(item.get("type") == "array"))
    return [node]


def _choices(node: dict[str, Any]) -> list[Any] | None:
    found = []
    for item in _variants(node):
        if item is not node:
            found += _choices(item) or []
        elif "const" in item or "enum" in item:
            found += item.get("enum", [item.get("const")])
        elif item.get("type") == "array":
            found += _choices(item["items"]) or []
    return found or None


def _unit(node: dict[str, Any]) -> str | None:
    return next((item["x-unit"] for item in _variants(node) if "x-unit" in item), None)


def _type(node: dict[str, Any]) -> str:
    """A schema in words: `integer, 1 to 20`."""
    several = _variants(node)
    if several != [node]:
        return " or ".join(dict.fromkeys(map(_type, several)))
    if "enum" in node or "const" in node:
        words = [f"`{value}`" for value in node.get("enum", [node.get("const")])]
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if "$ref" in node or "allOf" in node:
        return "section"
    if isinstance(node.get("type"), list):
        return "text, number, true, false or null"
    kind = str(node.get("type", "any value"))
    if kind == "array":
        return f"list of {_type(node['items'])}{_range(node.get('minItems'), node.get('maxItems'), ' items')}"
    if kind == "object":
        return f"table of {_type(inner)}" if isinstance(inner := node["additionalProperties"], dict) else "table"
    if kind in ("integer", "number"):
        return kind + _bounds(node)
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)


def _bounds(node: dict[str, Any]) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node or "exclusiveMaximum" in node:
        low = f"above {node['exclusiveMinimum']:,}" if "exclusiveMinimum" in node else f"at least {least:,}"
        below = node.get("exclusiveMaximum", 0)
        high = "below 2^63" if below == 2**63 else f"below {below:,}" if below else f"at most {most:,}"
        return f", {low}, {high}" if below or most is not None else f", {low}"
    return _range(least, most)


def _range(least: float | None, most: float | None, what: str = "") -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f", at least {least:,}{what}"
    return f", at most {most:,}{what}" if least is None else f", {least:,} to {most:,}{what}"


def _guess(location: Sequence[str]) -> str:
    """The nearest paths to one that does not exist."""
    known = section_fields(location[:-1])
    if close := nearest(location[-1], known):
        return did_you_mean([".".join([*location[:-1], *close])])
    paths = [path for found, section in sections() for top in found for path in _paths(top, section)]
    word = ".".join(location)
    guesses = [path for path in paths if path.split(".")[-1] == location[-1]]
    guesses = nearest(word, sorted(set(guesses)), 3, cutoff=0.0) or nearest(word, sorted(set(paths)), 3)
    return did_you_mean(guesses, "`its recipe fields` lists the sections")


def _paths(top: str, section: SectionFields) -> list[str]:
    return [top, *(".".join(filter(None, (top, field.name))) for field in section.fields)]


def _annotations(location: Sequence[str | int]) -> list[Any]:
    """The types at a place of a recipe; [] where there is nothing."""
    types: list[Any] = [Recipe]
    for part in location:
        following: list[Any] = []
        for kind in types:
            if isinstance(kind, type) and issubclass(kind, Section):
                if str(part) in (own := fields_of(kind)):
                    following.extend(_leaves(own[str(part)].annotation))
            elif get_origin(kind) is dict or (get_origin(kind) is list and str(part).isdigit()):
                following.extend(_leaves(get_args(kind)[-1]))
        types = following
    return types


def _models(types: Sequence[Any]) -> list[type[Section]]:
    return [kind for kind in types if isinstance(kind, type) and issubclass(kind, Section)]


def _inside(types: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """What tables and lists contain, and the part of the path that stands for a key or an index."""
    inner = [kind for kind in types if get_origin(kind) in (dict, list)]
    part = [FREE if get_origin(kind) is dict else INDEX for kind in inner[:1]]
    return [leaf for kind in inner for leaf in _leaves(get_args(kind)[-1])], part


def _leaves(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (dict, list):
        return [annotation]
    if hasattr(annotation, "__metadata__"):
        return _leaves(annotation.__origin__)
    if origin is Union or type(annotation).__name__ == "UnionType":
        return [leaf for item in get_args(annotation) for leaf in _leaves(item)]
    return [annotation]
