"""What `fields` takes out of a row: texts, options and meta; every fault of the row is named at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from its.errors import Fault, FaultsError
from its.recipe.schema import Fields
from its.sources.columns import columns_fault
from its.sources.expressions import ExpressionError, Getter, getter, is_expression
from its.sources.paths import ABSENT, Step, reach, step_into, steps_of, under
from its.sources.records import FaultyRow, RowFault
from its.sources.shapes import rows_within, within
from its.sources.text import NoValueError, as_json, as_text, damage
from its.sources.turns import Speakers, misspoken

TEXTS = ("problem", "reference", "solution", "thinking", "problem_id")
_LOOKED_ROWS, _COLUMNS = 20, 200
"""Rows of a table, and columns of a row, that an error looks at where no row has a field."""
_REACH_IN = "a path reaches into it, such as `messages[role=user].content` or `choices.0`"
KEPT = ("choices", "original_solution", "thought_form")
"""What the loader itself keeps in `meta`; `fields.meta` cannot take these names."""


@dataclass
class Values:
    """What a row holds; a text that is optional and absent is None. The first of the options is the correct one."""

    texts: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)


def field_faults(fields: Fields, required: tuple[str, ...]) -> list[tuple[str, RowFault]]:
    """What is wrong with `fields` before any row is seen.

    Args:
        fields: of a recipe or a preset.
        required: fields beside `problem` that every row must have.

    Returns:
        (name, fault) with the name as it stands below `fields`, empty where the fault is of the whole.
    """
    faults = []
    for name, path in _paths(fields):
        try:
            getter(path)
        except ExpressionError as error:
            faults.append((name, error.fault))
    return faults + [("", fault) for fault in _conflicts(fields, required)]


class FieldReader:
    """`fields`, compiled; remembers which of them no row of a table, and no row at all, has had.

    Args:
        fields: of a recipe or a preset.
        required: fields beside `problem` that every row must have.
        source: how errors call the source.
        preset: whose `fields` these are; None: the recipe's own.

    Raises:
        FaultsError: with all `field_faults`.
    """

    def __init__(self, fields: Fields, required: tuple[str, ...], source: str, preset: str | None = None) -> None:
        faults = field_faults(fields, required)
        if faults:
            raise FaultsError(
                [Fault(source, f"`fields.{name}`: {f.message}" if name else f.message, f.hint) for name, f in faults]
            )
        compiled = [(name, path, getter(path)) for name, path in _paths(fields)]
        self._texts = [item for item in compiled if item[0] in TEXTS]
        self._options = [item for item in compiled if item[0].startswith("choices.")]
        self._meta = [item for item in compiled if item[0].startswith("meta.")]
        # `thinking` is never optional where it is mapped: a row without it would train a model not to think.
        self._required = {"problem", "problem_id", "thinking", *required}
        self._by_turn = [(name, path) for name, path in _paths(fields) if _may_reach_a_turn(path)]
        self._speakers = Speakers()
        self._fields, self._preset = fields, preset
        self._unseen = dict(_paths(fields))
        self._absent = dict(self._unseen)
        self._columns: dict[str, Any] = {}
        self._lacked: Counter[str] = Counter()
        self._rows = 0

    def begin(self) -> None:
        """A table begins."""
        self._absent = dict(_paths(self._fields))
        self._columns = {}
        self._lacked.clear()
        self._rows = 0

    def values(self, row: Any) -> Values:
        """What the row holds.

        Raises:
            FaultyRow: with everything that is wrong with it.
        """
        if not isinstance(row, Mapping):
            fault = RowFault(f"the row is a {type(row).__name__}, not an object", "expected `{...}` with named fields")
            raise FaultyRow([fault])
        self._rows += 1
        faults: list[RowFault] = []
        values = Values()
        for name, path, get in self._texts:
            text = self._text(name, path, get, row, name in self._required, faults)
            if text is not None:
                values.texts[name] = text
        for name, path, get in self._options:
            option = self._text(name, path, get, row, True, faults)
            if option is not None:
                values.options.append(option.strip())
        for name, path, get in self._meta:
            try:
                value = get(row)
                if value is not ABSENT:
                    self._absent.pop(name, None)
                    values.meta[name.removeprefix("meta.")] = as_json(value)
            except ExpressionError as error:
                faults.append(_named(name, error.fault))
            except NoValueError as error:
                hint = "write `null` in its place, as pandas' `to_json` does, or leave it out of `fields`"
                faults.append(RowFault(f"`{path}` ({name}) is or contains {error.told}", hint))
            except TypeError as error:
                faults.append(
                    RowFault(f"`{path}` ({name}) contains a {error}: JSON has none", "leave it out of `fields`")
                )
        for name, path in self._by_turn:
            if (misread := self._speakers.fault(name, path, row)) is not None:
                faults.append(misread)
        if (
            "thinking" in values.texts
            and "solution" not in values.texts
            and not any(f.lacks == "solution" for f in faults)
        ):
            alone = "there is `thinking` and no `solution`"
            faults.append(RowFault(alone, "fix or remove the row", lacks="solution"))
        if (self._absent or faults) and self._rows <= _LOOKED_ROWS:
            self._columns.update((key, item) for key, item in islice(row.items(), _COLUMNS) if item is not None)
            self._columns |= {key: None for key in islice(row, _COLUMNS) if key not in self._columns}
        if faults:
            self._lacked.update(fault.lacks for fault in faults if fault.lacks is not None)
            raise FaultyRow(faults)
        return values

    def _text(
        self, name: str, path: str, get: Getter, row: Mapping[str, Any], needed: bool, faults: list[RowFault]
    ) -> str | None:
        """One text, checked; None where it is absent, or faulty and noted in `faults`."""
        try:
            value = get(row)
            if value is not ABSENT and self._absent:
                self._absent.pop(name, None)
            if value is ABSENT or value is None:
                if needed:
                    faults.append(_missing(name, path, value, row))
                return None
            text = as_text(value)
        except ExpressionError as error:
            faults.append(_named(name, error.fault))
            return None
        except NoValueError as error:
            remove = "fix or remove the row; `tolerate: {rows: N}` sets so many aside"
            hint = (
                remove if needed else "write `null` in its place, as pandas' `to_json` does: then the field is left out"
            )
            faults.append(RowFault(f"`{path}` ({name}) is {error.told}", hint))
            return None
        except TypeError as error:
            reach_in = _REACH_IN if isinstance(value, list | Mapping) else None
            lacks = name if isinstance(value, list | Mapping) else None  # a table column by column is one row
            faults.append(RowFault(f"`{path}` ({name}) is a {error}: expected text or a number", reach_in, lacks))
            return None
        fault = None
        if (needed or name != "solution") and not text.strip():
            fault = RowFault("empty", "fix or remove the row")
        fault = fault or damage(text)
        if fault is None and is_expression(path) and (fault := misspoken(name, path, text, row)) is not None:
            faults.append(fault)
            return None
        if fault is not None:
            faults.append(RowFault(f"`{path}` ({name}): {fault.message}", fault.hint))
            return None
        return text

    def ended(self, table: str) -> tuple[list[str], Fault] | None:
        """At the end of a table: the fields that none of its rows had, if one is needed, and one fault for them."""
        for name in self._unseen.keys() - self._absent.keys():
            del self._unseen[name]
        lacked = {name for name, count in self._lacked.items() if count == self._rows and name in self._absent}
        if not lacked:
            whole = self._within(table) if self._lacked else None
            return None if whole is None else (list(self._lacked), whole)
        absent = {name: path for name, path in self._absent.items() if name in lacked or not self._is_needed(name)}
        return list(absent), self._fault(table, absent)

    def raise_unseen(self, source: str) -> None:
        """A field that no row of the source had is a misspelt one.

        Raises:
            FaultsError: that names every such field.
        """
        if self._unseen:
            raise FaultsError([self._fault(source, self._unseen)])

    def _is_needed(self, name: str) -> bool:
        return name in self._required or name.startswith("choices.")

    def _fault(self, table: str, absent: Mapping[str, str]) -> Fault:
        return self._within(table) or columns_fault(table, absent, self._fields, self._preset, self._columns)

    def _within(self, table: str) -> Fault | None:
        """The fault of a file with one object that contains the rows."""
        if self._rows != 1 or table.startswith("hub:"):
            return None
        found = rows_within(self._columns)
        told = within(found, table) if found is not None else None
        return told and Fault(table, told.message, told.hint)


def _may_reach_a_turn(path: str) -> bool:
    return not is_expression(path) and any(step.text.isdigit() or step.word is not None for step in steps_of(path))


def _paths(fields: Fields) -> Iterator[tuple[str, str]]:
    """(name below `fields`, path or expression) of everything that is mapped."""
    for name in TEXTS:
        path = getattr(fields, name)
        if path is not None:
            yield name, path
    if fields.choices is not None:
        yield "choices.correct", fields.choices.correct
        for index, path in enumerate(fields.choices.wrong):
            yield f"choices.wrong.{index}", path
    for name, path in fields.meta.items():
        yield f"meta.{name}", path


def _conflicts(fields: Fields, required: tuple[str, ...]) -> Iterator[RowFault]:
    if fields.choices is not None and fields.reference is not None:
        yield RowFault("`fields` has `choices` and `reference`", "the letter of the correct option is the reference")
    if fields.choices is not None and len(fields.choices.wrong) > 25:
        yield RowFault("`fields.choices` has more than 26 options", "the letters end at Z")
    if fields.thinking is not None and fields.solution is None:
        yield RowFault("`fields` has `thinking` and no `solution`", "map both: they become one text")
    for name in KEPT:
        if name in fields.meta:
            yield RowFault(f"`fields.meta` keeps `{name}`, which the loader writes itself", "choose another name")
    for name in required:
        if getattr(fields, name) is None and not (name == "reference" and fields.choices is not None):
            yield RowFault(f"`fields` has no `{name}`: every row needs one here", f"map it: `fields: {{{name}: ...}}`")


def _named(name: str, fault: RowFault) -> RowFault:
    return RowFault(f"{name}: {fault.message}", fault.hint, None if fault.lacks is None else name)


def _missing(name: str, path: str, value: Any, row: Mapping[str, Any]) -> RowFault:
    if value is None:
        return RowFault(f"`{path}` ({name}) has no value", "fix or remove the row")
    if is_expression(path):
        return RowFault(f"`{path}` ({name}) finds nothing", "fix `fields:` or the row", lacks=name)
    keys = ", ".join(f"`{key}`" for key in list(row)[:20])
    message = f"no `{path}` ({name}); the row has: {keys or 'nothing'}"
    return RowFault(message, _unpicked(path, row) or "fix `fields:` or the row", lacks=name)


def _unpicked(path: str, row: Mapping[str, Any]) -> str | None:
    """A hint for a path that picks an item of a list and finds none, or is written in another way than ours."""
    value: Any = row
    for step in steps_of(path):
        items = reach(value, step.name, [Step(step.name)]) if step.name else value
        if step.word is not None and isinstance(items, list) and step.chosen(items) is None:
            words = dict.fromkeys(str(told) for item in items if (told := under(item, step.key)) is not None)
            there = ", ".join(f"`{word[:40]}`" for word in list(words)[:10]) or "none"
            return f"no item of `{step.name or 'the list'}` has `{'.'.join(step.key)}` `{step.word}`; there: {there}"
        value = step_into(value, step)
        if value is ABSENT:
            break
    found = re.search(r"\[(?:(\d+)|['\"]([^\[\]=,'\"]+)['\"])\]", path)
    if found and path not in row:
        return f"a path has dots: `{path[: found.start()]}.{found[1] or found[2]}{path[found.end() :]}`"
    return None
