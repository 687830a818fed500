"""The reference of the fields as text: what `its recipe fields` prints, and docs/recipe.md."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from its.recipe.document import Document, Node
from its.recipe.fields import FREE, Field, SectionFields, sections

WIDTH = 100
"""Columns of the text; a table of docs/recipe.md is as wide as it is."""
INTRODUCTION = """\
# The recipe

Every field of a recipe, generated from `its/recipe/schema/`; `pytest tests/unit/test_recipe_fields.py --update-golden`
regenerates this page. `its recipe fields SECTION` prints the same with the line of `params.yaml` that sets a field.
`NAME` is a name that the recipe chooses, `0` an item of a list. The first line of a recipe,

    # yaml-language-server: $schema=recipe.schema.json

lets editors complete and check it (VS Code: the extension "YAML" by Red Hat), offline. The file is
[recipes/recipe.schema.json](../recipes/recipe.schema.json), a JSON schema (draft 2020-12) that `its recipe schema`
prints. `its recipe check` checks more: names, templates, files, and numbers that must fit each other.
"""


def fields_text(found: Sequence[SectionFields], document: Document | None) -> str:
    """Sections and their fields for a terminal.

    Args:
        document: params.yaml, for the lines of the fields; None leaves them out.
    """
    blocks = []
    for section in found:
        title = f"{section.path}, {section.tag}" if section.tag else section.path or "a recipe"
        placed = document if document is not None and _is_declared(section, document) else None
        lines = [*_wrapped(f"{title}: {_folded(section.meaning)}", "    "), ""]
        for field in section.fields:
            place = _place(section, field, placed)
            lines += _wrapped("; ".join([f"{field.name}  {_typed(field)}", _presence(field), *place]), "        ")
            lines += _wrapped(f"    {field.meaning}", "    ")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def field_rows(found: Sequence[SectionFields], document: Document | None) -> list[dict[str, Any]]:
    """Sections and their fields as one row a field: its section, its place in params.yaml, the rest of `Field`.

    Args:
        document: params.yaml; without it every `line` is None.
    """
    return [
        {
            "section": section.path,
            "tag": section.tag or None,
            **asdict(field),
            "line": None if document is None else line_of(document, section, field.name),
        }
        for section in found
        for field in section.fields
    ]


def line_of(document: Document, section: SectionFields, name: str) -> int | None:
    """The line of a document that sets a field; None if none does."""
    node = _node_at(document, section.path)
    return node.keys[name][0] if node is not None and name in node.keys and _is_declared(section, document) else None


def _node_at(document: Document, path: str) -> Node | None:
    node = document.node
    for part in filter(None, path.split(".")):
        key = int(part) if isinstance(node.value, list) and part.isdigit() else part
        if key not in node.items:
            return None
        node = node.items[key]
    return node


def _is_declared(section: SectionFields, document: Document) -> bool:
    """Whether a section may be the document's: not of another `kind` than is set there."""
    node = _node_at(document, section.path)
    key, _, word = section.tag.partition(": ")
    return node is None or not section.tag or (isinstance(node.value, dict) and node.value.get(key) == word)


def reference_page() -> str:
    """docs/recipe.md."""
    blocks = [INTRODUCTION]
    for paths, section in sections():
        title = ", ".join(f"`{path}`" for path in paths if path) or "Top"
        title += f", `{section.tag}`" if section.tag else ""
        rows = [
            f"| `{field.name}` | {_escaped(_typed(field))} | {_escaped(_presence(field))} | {_escaped(field.meaning)} |"
            for field in section.fields
        ]
        table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
        blocks.append(f"## {title}\n\n{_folded(section.meaning)}\n\n{table}\n")
    return "\n".join(blocks)


def _typed(field: Field) -> str:
    below = f" ({', '.join(f'`{path}`' for path in field.sections)})" if field.sections else ""
    return f"{field.type}{below}" + (f"; in {field.unit}" if field.unit else "")


def _presence(field: Field) -> str:
    if field.required:
        return "required"
    return "optional" if field.default in (None, [], {}) else f"default `{json.dumps(field.default)}`"


def _place(section: SectionFields, field: Field, document: Document | None) -> list[str]:
    if document is None or FREE in section.path.split("."):
        return []
    line = line_of(document, section, field.name)
    return ["not set" if line is None else f"{document.path.name}:{line}"]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
