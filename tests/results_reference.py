"""Writes docs/results.md, the reference of `results/*.json`, from the models: `python tests/results_reference.py`."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from its import results
from its.results import BenchmarkMetrics, Cells, Comparisons, CostRow, Metrics, Selection, Votes

PATH = Path(__file__).parents[1] / "docs" / "results.md"
HEAD = f"""# Results

Generated from `its/results.py` by `python tests/results_reference.py`; do not edit.
Version {results.RESULTS_VERSION} of the files.

`measure` writes these files, the report and `its results` read them through the same models. From Python:

    from its.results import Cells, read_results

    for cell in read_results("results/cells.json", Cells).cells:
        print(cell.checkpoint, cell.test, cell.avg)

A file of another version, an unknown key, a missing key and a value out of range are errors that name file, row, key
and value. Shares are between 0 and 1. Differences are shares, too: 0.03 is 3 percentage points.
[statistics.md](statistics.md) says how the numbers are computed.
"""


def _rows_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model, then the models within it, in the order of their first use."""
    found = [model]
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            found += [inner for inner in _rows_of(part) if inner not in found]
    return found


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


FILES: tuple[type[BaseModel], ...] = (Cells, Comparisons, Votes, Selection)
SECTIONS = [_rows_of(kind) for kind in FILES] + [[Metrics, BenchmarkMetrics], [CostRow]]
MODELS = [model for section in SECTIONS for model in section if model is not Metrics]


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    for first, *others in SECTIONS:
        title, rest = _summary(first)
        parts.append(f"## {title}\n\n{rest}\n" + (_table(first) if first is not Metrics else ""))
        for model in others:
            parts.append(f"### {model.__name__}\n\n{' '.join(_summary(model)).strip()}\n" + _table(model))
    return "\n".join(parts)


def _summary(model: type[BaseModel]) -> tuple[str, str]:
    """What a docstring names (a file) and what it says of it."""
    said = " ".join((model.__doc__ or "").split())
    file = re.match(r"(`results/[^`]+`): ", said)
    if file is None:
        return "", said
    return file.group(1), said[file.end() :][:1].upper() + said[file.end() + 1 :]


def _table(model: type[BaseModel]) -> str:
    lines = ["", "| key | type | meaning | null |", "|---|---|---|---|"]
    for key, field in model.model_fields.items():
        meaning, _, absent = " ".join((field.description or "").split()).partition(" None: ")
        kind = _kind(field.annotation, field.metadata)
        cells = (f"`{key}`", kind, meaning, absent.rstrip("."))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _kind(annotation: Any, metadata: Any = (), many: bool = False) -> str:
    """A type in words; `many` in the plural."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == results.Bounds:
        return "[low, high] of shares" if many else "[low, high]"
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:], many)
    if origin in (Union, UnionType):
        kinds = dict.fromkeys(_kind(part, many=many) for part in arguments if part is not NoneType)
        return " or ".join(kinds)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list{'s' * many} of {_kind(arguments[0], many=True)}"
    if origin is dict:
        return f"object{'s' * many} of {_kind(arguments[1], many=True)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return f"text{'s' * many}"
    share = any(getattr(item, "func", None) is results._share for item in metadata)
    kind = ("share" if share else "number") if annotation is float else "count" if metadata else "integer"
    return f"{kind}{'s' * many}"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(f"wrote {PATH}")
