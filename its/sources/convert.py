"""A data file as JSON lines, whichever of the shapes that are known here it has; each value stays as it is written."""

from __future__ import annotations

import csv
import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from its.data_files import ending_of
from its.errors import DataError
from its.rows import MAX_LINE_BYTES
from its.sources.arrays import Text
from its.sources.files import DECODER, SEPARATORS, CsvLines
from its.sources.lines import opened
from its.sources.shapes import rows_within

_HEADER_BYTES = 64 * 1024
_HALF = re.compile("[\ud800-\udfff]")
_ONE_LINE = str.maketrans("\r\n", "  ")
"""Within a JSON value line ends occur between its marks only: a text contains none."""


def json_lines(path: Path, label: str, at: str | None = None) -> Iterator[str]:
    """Yield each row of a file as JSON on one line.

    JSON may be an array, lines, objects with anything or nothing between them, one object whose list `at` holds the
    rows, or one that holds a table column by column or row by key. CSV may have any separator that is known.

    Args:
        label: how errors call it.
        at: the key of the list; None where the file is not such an object, or has one such list.

    Raises:
        DataError: if it is none of these; FaultsError, a DataError, with the place where it is broken.
        MissingError: if there is no such file.
    """
    ending = ending_of(label)
    if ending == ".parquet":
        raise DataError(f"{label}: Parquet is read as it is", "name it as a source")
    if ending in (".csv", ".tsv"):
        yield from _table_rows(path, label)
        return
    with opened(path, label) as source:
        text = Text(source, label)
        opening = text.mark()
        if opening == "[":
            yield from _raw(text)
            _require_end(text)
        elif opening == "{":
            yield from _of_objects(path, label, text, at)
        else:
            raise DataError(f"{label}:1: neither an array nor an object", "is it JSON?")


def _of_objects(path: Path, label: str, text: Text, at: str | None) -> Iterator[str]:
    """The rows of a text that begins with an object."""
    if at is not None:
        yield from _list_at(text, label, at)
        return
    first = text.element(DECODER, MAX_LINE_BYTES)
    raw = text.raw.translate(_ONE_LINE)
    following = text.mark()
    found = None if following else rows_within(first)
    if found is None:
        yield raw
        while following:
            if following == ",":
                text.at += 1
                following = text.mark()
                continue
            text.element(DECODER, MAX_LINE_BYTES)
            yield text.raw.translate(_ONE_LINE)
            following = text.mark()
        return
    if len(found.keys) > 1:
        named = ", ".join(f"`--at {key}`" for key in found.keys)
        raise DataError(f"{label}: several lists of rows", f"name one: {named}")
    with opened(path, label) as source:  # once more, value by value
        again = Text(source, label)
        again.mark()
        if found.keys:
            yield from _list_at(again, label, next(iter(found.keys)))
        elif found.by == "column":
            yield from _by_column(again)
        else:
            yield from _by_key(again)


def _list_at(text: Text, label: str, at: str) -> Iterator[str]:
    known = []
    for key in _keys(text):
        known.append(key)
        if key != at:
            text.element(DECODER, MAX_LINE_BYTES)
        elif text.mark() == "[":
            yield from _raw(text)
            return
        else:
            raise DataError(f"{label}: `{at}` is not a list", "name the key of a list")
    raise DataError(f"{label}: no key `{at}`", f"it has: {', '.join(f'`{key}`' for key in known[:20])}")


def _by_column(text: Text) -> Iterator[str]:
    columns: dict[str, list[str]] = {}
    for key in _keys(text):
        if text.mark() == "[":
            columns[key] = list(_raw(text))
        else:
            columns[key] = []
            for _ in _keys(text):
                text.element(DECODER, MAX_LINE_BYTES)
                columns[key].append(text.raw.translate(_ONE_LINE))
    names = [_json(key) for key in columns]
    for cells in zip(*columns.values(), strict=True):
        yield "{" + ", ".join(f"{name}: {cell}" for name, cell in zip(names, cells, strict=True)) + "}"


def _by_key(text: Text) -> Iterator[str]:
    """Each row with its key in the object as `key`, unless the row has a `key`."""
    for key in _keys(text):
        row = text.element(DECODER, MAX_LINE_BYTES)
        raw = text.raw.translate(_ONE_LINE)
        yield raw if "key" in row else f'{{"key": {_json(key)}, {raw[1:].lstrip()}'


def _keys(text: Text) -> Iterator[str]:
    """The keys of the object that begins here, each before its value is taken; then the text is behind its end."""
    text.at += 1
    following = text.mark()
    while following != "}":
        key = text.element(DECODER, MAX_LINE_BYTES)
        if not isinstance(key, str) or text.mark() != ":":
            raise text.broken("expecting a key and ':'", 0)
        text.at += 1
        text.mark()
        yield key
        following = text.mark()
        if following not in (",", "}"):
            raise text.broken("expecting ',' delimiter", 0)
        if following == ",":
            text.at += 1
            text.mark()
    text.at += 1


def _raw(text: Text) -> Iterator[str]:
    """The texts of the elements of the array that begins here."""
    for _ in text.listed(DECODER, MAX_LINE_BYTES):
        yield text.raw.translate(_ONE_LINE)


def _require_end(text: Text) -> None:
    if text.mark():
        raise text.broken("extra data", 0)


def _table_rows(path: Path, label: str) -> Iterator[str]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with opened(path, label) as source:
        assert isinstance(source, io.BufferedReader)
        start = source.peek(_HEADER_BYTES)
        if start.removeprefix(BOM_UTF8).lower().startswith(b"sep="):  # a line for Excel
            source.readline(_HEADER_BYTES)
            start = source.peek(_HEADER_BYTES)
        separator = _separator(start.decode("utf-8", "replace"))
        lines = CsvLines(source, label, separator)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        names: list[str] | None = None
        while True:
            number = lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(
                    f"{label}:{number}: broken CSV: {error}", "is a quote left open, or not doubled?"
                ) from error
            if names is None:
                names = cells
            elif len(cells) == len(names):
                if any(_HALF.search(cell) for cell in cells):  # how a byte that is not UTF-8 is carried
                    hint = "`iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW`, if Excel wrote it"
                    raise DataError(f"{label}:{number}: not UTF-8", hint)
                yield _json({name: cell or None for name, cell in zip(names, cells, strict=True)})
            elif cells:
                said = f"{label}:{number}: the row has {len(cells)} columns, the header {len(names)}"
                raise DataError(said, f"quote cells that contain {SEPARATORS[separator]} or line ends")


def _separator(start: str) -> str:
    """The mark that parts the header and the row behind it into equally many cells, more than one."""
    counts = {mark: _cells(start, mark) for mark in SEPARATORS}
    return max(counts, key=lambda mark: (counts[mark][0] == counts[mark][1] > 1, counts[mark][0]))


def _cells(start: str, separator: str) -> tuple[int, int]:
    """How many cells the first two rows have."""
    try:
        rows = list(islice(csv.reader(io.StringIO(start, newline=""), delimiter=separator), 2))
    except csv.Error:
        return 0, 0
    return len(rows[0]) if rows else 0, len(rows[1]) if len(rows) > 1 else 0


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if _HALF.search(text) else text
