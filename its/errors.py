"""The one error tree of ITS and its exit codes.

An expected failure is an `ItsError`: the command line prints its message and hint on stderr, without a
traceback, and exits with its `exit_code`. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from its.shown import LONGEST, bounded, shown

EXIT_RUN_FAILED = 1
EXIT_INVALID = 3
EXIT_MISSING = 4
EXIT_INTERRUPTED = 130
MAX_COMPARED = 200
"""Characters of a name that is compared with others: the time grows with the square of the length."""


class ItsError(Exception):
    """An expected failure: where it happened, what is wrong with the value found, what was expected.

    Args:
        message: lower case, no final stop, literals in backticks.
        hint: something the reader can type or change; None where there is no remedy to name.
    """

    exit_code = EXIT_RUN_FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> list[str]:
        """The error as printed: `error: ...`, then `hint: ...` where there is one; a line each.

        A message may quote what others wrote: control characters are visible, keys hidden, and it is not endless.
        """
        return _lines(self.message, self.hint)

    def as_json(self) -> list[dict[str, str | None]]:
        """The error as the `--json` document lists it."""
        return [_json(self.message, self.hint)]


class RunError(ItsError):
    """The run failed: an engine died, training diverged, a check of the product did not hold (exit 1)."""


class DataError(ItsError):
    """Rows, a template or a parameter are invalid (exit 3)."""

    exit_code = EXIT_INVALID


class MissingError(ItsError):
    """A GPU, a package, an engine environment, a file or the network is missing (exit 4)."""

    exit_code = EXIT_MISSING


@dataclass(frozen=True)
class Fault:
    """One fault of a file: `where` is `path:line:column` or `path:line`."""

    where: str
    message: str
    hint: str | None = None


class SettingFault(NamedTuple):
    """One fault of a setting that has no place in a file yet: `path` are the keys that lead to it.

    () is a fault of several settings together.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None


class FaultsError(DataError):
    """Every fault of a file at once, in the order of the file (exit 3)."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        if not faults:
            raise ValueError("FaultsError without a fault")
        self.faults = list(faults)
        super().__init__("; ".join(f"{fault.where}: {fault.message}" for fault in faults))

    def lines(self) -> list[str]:
        return [line for fault in self.faults for line in _lines(f"{fault.where}: {fault.message}", fault.hint)]

    def as_json(self) -> list[dict[str, str | None]]:
        return [{"where": fault.where, **_json(fault.message, fault.hint)} for fault in self.faults]


class FaultyRowsError(FaultsError):
    """More rows of a source are faulty than tolerated; `rows` is how many."""

    def __init__(self, faults: Sequence[Fault], rows: int) -> None:
        super().__init__(faults)
        self.rows = rows


def nearest(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names most similar to a mistyped one, best first; none where the name is longer than `MAX_COMPARED`.

    One that differs only in leading zeros of its numbers (`test_3`, `test_00003`) is meant, however long they are.

    Args:
        count: how many, at most.
        cutoff: the least similarity, in [0, 1], as `difflib` measures it.
    """
    if len(name) > MAX_COMPARED:
        return []
    candidates, plain = list(known), _unpadded(name)
    if meant := [other for other in candidates if _unpadded(other) == plain]:
        return meant[:count]
    import difflib  # here, as `redacted` below: a command without an error needs neither

    return difflib.get_close_matches(name, candidates, count, cutoff)


def _unpadded(name: str) -> str:
    return re.sub("(?<![0-9])0+(?=[0-9])", "", name)


def did_you_mean(names: Sequence[str], rest: str = "") -> str:
    """The hint that suggests names, then says `rest`; `rest` alone where there is none to suggest."""
    if not names:
        return rest
    return f"did you mean {' or '.join(f'`{name}`' for name in names)}? {rest}".rstrip()


def _json(message: str, hint: str | None) -> dict[str, str | None]:
    from its.secrets import redacted

    return {"message": redacted(message), "hint": hint and redacted(hint)}


def _lines(message: str, hint: str | None) -> list[str]:
    from its.secrets import redacted

    lines = [f"error: {message}", *([f"hint: {hint}"] if hint else [])]
    return [bounded(shown(redacted(line[: 2 * LONGEST]))) for line in lines]
