"""What `fields` takes out of a row: texts, options and meta, with every fault of the row named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from its.errors import Fault, FaultsError
from its.recipe.schema import Fields
from its.sources.expressions import ABSENT, ExpressionError, Getter, getter, is_expression
from its.sources.records import FaultyRow, RowFault
from its.sources.text import as_json, as_text, damage
from its.sources.turns import Speakers, misspoken

TEXTS = ("problem", "reference", "solution", "thinking", "problem_id")
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
    """`fields`, compiled; remembers which of them no row has had.

    Args:
        fields: of a recipe or a preset.
        required: fields beside `problem` that every row must have.
        source: how errors call the source.

    Raises:
        FaultsError: with all `field_faults`.
    """

    def __init__(self, fields: Fields, required: tuple[str, ...], source: str) -> None:
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
        self._by_number = [(name, path) for name, path in _paths(fields) if _has_number(path)]
        self._speakers = Speakers()
        self._unseen = {name: path for name, path in _paths(fields) if not name.startswith("choices.")}

    def values(self, row: Any) -> Values:
        """What the row holds.

        Raises:
            FaultyRow: with everything that is wrong with it.
        """
        if not isinstance(row, Mapping):
            fault = RowFault(f"the row is a {type(row).__name__}, not an object", "wanted `{...}` with named fields")
            raise FaultyRow([fault])
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
                    self._unseen.pop(name, None)
                    values.meta[name.removeprefix("meta.")] = as_json(value)
            except ExpressionError as error:
                faults.append(_named(name, error.fault))
            except TypeError as error:
                faults.append(RowFault(f"`{path}` ({name}) holds a {error}: JSON has none", "leave it out of `fields`"))
        for name, path in self._by_number:
            if (misread := self._speakers.fault(name, path, row)) is not None:
                faults.append(misread)
        if faults:
            raise FaultyRow(faults)
        return values

    def _text(
        self, name: str, path: str, get: Getter, row: Mapping[str, Any], needed: bool, faults: list[RowFault]
    ) -> str | None:
        """One text, checked; None where it is absent, or faulty and noted in `faults`."""
        try:
            value = get(row)
            if value is not ABSENT:
                self._unseen.pop(name, None)
            if value is ABSENT or value is None:
                if needed:
                    faults.append(_missing(name, path, value, row))
                return None
            text = as_text(value)
        except ExpressionError as error:
            faults.append(_named(name, error.fault))
            return None
        except TypeError as error:
            hint = "a path reaches into it, e.g. `messages.1.content`" if isinstance(value, list | Mapping) else None
            faults.append(RowFault(f"`{path}` ({name}) is a {error}: wanted text or a number", hint))
            return None
        fault = None
        if (needed or name != "solution") and not text.strip():
            fault = RowFault("empty", "remove the row or mend it")
        fault = fault or damage(text)
        if fault is None and is_expression(path) and (fault := misspoken(name, path, text, row)) is not None:
            faults.append(fault)
            return None
        if fault is not None:
            faults.append(RowFault(f"`{path}` ({name}): {fault.message}", fault.hint))
            return None
        return text

    def raise_unseen(self, source: str) -> None:
        """A field that no row of the source had is a misspelt one.

        Raises:
            FaultsError: with every such field.
        """
        if self._unseen:
            raise FaultsError(
                [
                    Fault(source, f"no row has `{path}` ({_asked(name, path)})", "mend the name, or leave it out")
                    for name, path in self._unseen.items()
                ]
            )


def _asked(name: str, path: str) -> str:
    """What asks for a column: a filter keeps the ones that it names in `meta` under their own names."""
    return f"`fields.{name}`" + (" or a filter" if name == f"meta.{path}" else "")


def _has_number(path: str) -> bool:
    return not is_expression(path) and any(part.isdigit() for part in path.split("."))


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
    return RowFault(f"{name}: {fault.message}", fault.hint)


def _missing(name: str, path: str, value: Any, row: Mapping[str, Any]) -> RowFault:
    if value is None:
        return RowFault(f"`{path}` ({name}) has no value", "remove the row or mend it")
    if is_expression(path):
        return RowFault(f"`{path}` ({name}) finds nothing", "mend `fields:` or the row")
    keys = ", ".join(f"`{key}`" for key in list(row)[:20])
    return RowFault(f"no `{path}` ({name}); the row has: {keys or 'nothing'}", "mend `fields:` or the row")
