"""What a JSON file is that is not what its ending says, and how to make of it what is read.

    .jsonl     a row is a line            {"q": 1}
    .json      one array                  [{"q": 1}, {"q": 2}]

People have arrays under `.jsonl`, lines under `.json`, objects that are spread over lines, one object whose column
holds the rows, and tables column by column, as pandas writes them by default. Nothing is guessed: the error says what
it is, and `its data convert` rewrites it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from its.errors import DataError
from its.shown import counted, shown
from its.sources.lines import opened
from its.sources.records import RowFault
from its.values import exceeds

LOOKED_BYTES = 4 * 1024 * 1024
"""Of the start of a file, unpacked, and only where an error has to be explained."""
MAX_KEY = 100
"""Characters of a key that a command names."""
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"
_NAMED = 5


class Rows(NamedTuple):
    """Where an object contains the rows: lists of objects under `keys`, or a table `by` column or key."""

    keys: dict[str, str]
    """With what is there: `7473 rows`."""
    by: str | None = None


def mistaken_json(path: Path, label: str) -> DataError | None:
    """What a `.json` or `.jsonl` file is instead, with the remedy; None where its beginning does not say.

    Args:
        path: the file, whose first row could not be read.
        label: as a recipe names it.
    """
    try:
        with opened(path, label) as source:
            data = source.read(LOOKED_BYTES + 1)
    except DataError:
        return None  # what ails it was said
    text = data[:LOOKED_BYTES].decode("utf-8-sig", "replace")
    lines = PurePosixPath(label.lower().removesuffix(".gz").removesuffix(".zst")).suffix != ".json"
    try:
        return _mistaken(text, len(data) <= LOOKED_BYTES, label, lines)
    except (ValueError, RecursionError):  # hopelessly deep, or a number of thousands of digits
        return None


def _mistaken(text: str, whole: bool, label: str, lines: bool) -> DataError | None:
    begin = _next(text, 0)
    line = text.count("\n", 0, begin) + 1
    opening = text[begin : begin + 1]
    if opening == "[":
        if not lines or not _holds_objects(text, begin, whole):
            return None
        return DataError(
            f"{label}:{line}: a JSON array, and in a `.jsonl` file each line is a row",
            renamed(label, ".json"),
        )
    if opening != "{":
        return None
    first, end = _decoded(text, begin)
    if first is None:
        keys = {key: "rows" for key in _lists_of_objects(text, begin)}
        return None if whole or not keys else _placed(label, line, within(Rows(keys), label))
    following = _next(text, end)
    spread = "\n" in text[begin:end]
    if text[following : following + 1] in ("{", ","):
        if spread or lines or text[following] == ",":
            what = "JSON objects that are spread over lines" if spread else "JSON objects"
            if text[following] == ",":
                what += " with commas between them and no `[...]` around them"
            wanted = "and in a `.jsonl` file each line is a row" if lines else "expected one array, `[{...}, {...}]`"
            return DataError(f"{label}:{line}: {what}, {wanted}", converted(label))
        return DataError(
            f"{label}:{line}: JSON lines, and in a `.json` file all rows are one array",
            renamed(label, ".jsonl"),
        )
    if following < len(text) or not whole:
        return None
    found = rows_within(first)
    if found is not None:
        return _placed(label, line, within(found, label))
    if spread or not lines:
        wanted = "and in a `.jsonl` file each line is a row" if lines else "expected an array, `[{...}, {...}]`"
        return DataError(f"{label}:{line}: one JSON object, {wanted}", converted(label))
    return None


def _placed(label: str, line: int, fault: RowFault) -> DataError:
    return DataError(f"{label}:{line}: {fault.message}", fault.hint)


def rows_within(value: Any) -> Rows | None:
    """Where an object contains rows, if it is not a row itself."""
    if not isinstance(value, Mapping) or not value:
        return None
    keys = {str(key): counted(len(item), "row") for key, item in value.items() if _is_rows(item)}
    if keys:
        return Rows(keys)
    items = list(value.values())
    if all(isinstance(item, list) for item in items) and len({len(item) for item in items}) == 1 and items[0]:
        return Rows({}, "column") if len(items) > 1 else None
    if not all(isinstance(item, Mapping) and item for item in items):
        return None
    inner = [list(item) for item in items]
    if all(str(key).isdecimal() for key in inner[0]):  # as pandas numbers its rows
        return Rows({}, "column") if all(keys == inner[0] for keys in inner) else None
    return Rows({}, "key") if len(items) > 1 else None


def within(found: Rows, label: str) -> RowFault:
    """The message about a file with one object that contains the rows."""
    if found.by is not None:
        what = "column by column, as pandas writes it by default" if found.by == "column" else "each row under a key"
        return RowFault(f"one JSON object that contains the table {what}", converted(label))
    named = ", ".join(f"`{shown(key[:100])}` ({what})" for key, what in list(found.keys.items())[:_NAMED])
    message = f"one JSON object, and the rows are inside it: {named}"
    return RowFault(message, converted(label, next(iter(found.keys))))


def converted(label: str, key: str | None = None) -> str:
    """The hint that rewrites the file."""
    if key is not None and len(key) > MAX_KEY:
        return "write the list itself, as an array or line by line"
    path = PurePosixPath(label)
    plain = path.with_suffix("") if path.suffix.lower() in (".gz", ".zst") else path
    stem = plain.with_suffix("")
    if key is not None:
        stem = stem.with_name(f"{stem.name}_{''.join(c if c.isalnum() else '_' for c in key[:40])}")
    new = f"{stem}_rows.jsonl" if plain.suffix.lower() == ".jsonl" and key is None else f"{stem}.jsonl"
    words = ["its", "data", "convert", label, new, *(["--at", key] if key is not None else [])]
    return f"`{shown(shlex.join(words))}` writes the rows line by line; name that file"


def renamed(label: str, ending: str) -> str:
    """The hint to give a file the ending of its actual format."""
    path = PurePosixPath(label)
    packing = path.suffix if path.suffix.lower() in (".gz", ".zst") else ""
    plain = PurePosixPath(label.removesuffix(packing)) if packing else path
    new = f"{plain.with_suffix(ending)}{packing}"
    return f"name it `{ending}`: `{shown(shlex.join(['mv', label, new]))}`, and `path: {shown(new)}`"


def _next(text: str, at: int) -> int:
    """The place of the next character after any white space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The value that begins here, and where it ends; (None, at) where it is cut, broken, or of too many values."""
    if exceeds(text, at=at):
        return None, at
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        return None, at


def _holds_objects(text: str, at: int, whole: bool) -> bool:
    """Whether an array that begins here is one of rows: its first elements are objects, and no line could be a row."""
    at = _next(text, at + 1)
    if text[at : at + 1] == "]":
        return False
    first, end = _decoded(text, at)
    if not isinstance(first, dict):
        return False
    following = text[_next(text, end) : _next(text, end) + 1]
    return following == "," or (following == "]" and whole and _next(text, _next(text, end) + 1) == len(text))


def _lists_of_objects(text: str, at: int) -> Iterator[str]:
    """Of an object that is too long to be decoded here: the keys under which lists of objects begin."""
    at = _next(text, at + 1)
    while text[at : at + 1] == '"':
        key, end = _decoded(text, at)
        at = _next(text, end)
        if not isinstance(key, str) or text[at : at + 1] != ":":
            return
        at = _next(text, at + 1)
        if text[at : at + 1] == "[" and text[_next(text, at + 1) :][:1] == "{":
            yield key
        _, end = _decoded(text, at)
        if end == at:
            return
        at = _next(text, end)
        if text[at : at + 1] != ",":
            return
        at = _next(text, at + 1)


def _is_rows(value: Any) -> bool:
    """Whether a value is a list of objects, and not the turns of a chat."""
    rows = isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return rows and not any(all(key in item for item in value) for key in ("role", "from"))
