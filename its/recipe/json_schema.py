"""The schema of a recipe as JSON schema (draft 2020-12), for editors and other validators.

It never refuses what ITS accepts. It accepts what takes more than one value to see (undeclared names, numbers that must
fit each other), what a validator of ours reads (dates, languages, names such as `on`) and `2.0` for an integer, which
JSON schema does not tell from `2`: `its recipe check` sees those.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from its.recipe.schema import ONE, SEVERAL, Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe; each property has the description of its field."""
    found = _plain(Recipe.model_json_schema(schema_generator=_Generator))
    return {"$schema": DIALECT, "title": "A recipe of ITS", **found}


def schema_text() -> str:
    """The text of recipes/recipe.schema.json."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Unions as conditions on the tag, so that a validator names the fault of the variant that is meant."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        variants = {str(tag): self.generate_inner(choice) for tag, choice in schema["choices"].items()}
        if variants.keys() == {ONE, SEVERAL}:
            return {"if": {"type": "array"}, "then": variants[SEVERAL], "else": variants[ONE]}
        if "plain" in variants:  # a filter
            plain = variants.pop("plain")
            return {"if": {"type": "string"}, "then": plain, "else": _by_tag("name", variants)}
        return _by_tag("kind", variants)


def _by_tag(key: str, variants: dict[str, JsonSchemaValue]) -> JsonSchemaValue:
    return {
        "type": "object",
        "properties": {key: {"enum": list(variants)}},
        "required": [key],
        "allOf": [
            {"if": {"properties": {key: {"const": tag}}, "required": [key]}, "then": variant}
            for tag, variant in variants.items()
        ],
    }


def _plain(node: Any) -> Any:
    """Without titles and null defaults, which editors would show and insert; names of a table as `propertyNames`."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):  # names, not keywords
            out[key] = {name: _plain(item) for name, item in value.items()}
        elif key == "description":
            out[key] = "\n\n".join(" ".join(part.split("\n")) for part in value.split("\n\n"))
        elif key == "patternProperties":
            ((pattern, item),) = value.items()
            out["propertyNames"] = {"pattern": pattern} | node.get("propertyNames", {})
            out["additionalProperties"] = _plain(item)
        elif key == "propertyNames" and key in out:  # with their pattern already
            continue
        elif key != "title" and not (key == "default" and value is None):
            out[key] = _plain(value)
    return out
