"""The one error tree of ITS and its exit codes.

An expected failure is an `ItsError`: the command line prints its message and hint on stderr, without a
traceback, and exits with its `exit_code`. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_OBEYED = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

EXIT_RUN_FAILED = 1
EXIT_INVALID = 3
EXIT_MISSING = 4
EXIT_INTERRUPTED = 130


class ItsError(Exception):
    """An expected failure: where it happened, what is wrong with the value seen, what was wanted.

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
        """The error as printed: `error: ...`, then `hint: ...` where there is one."""
        out = [f"error: {self.message}"]
        if self.hint:
            out.append(f"hint: {self.hint}")
        return out

    def as_json(self) -> list[dict[str, str | None]]:
        """The error as the `--json` document lists it."""
        return [{"message": self.message, "hint": self.hint}]


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


class FaultsError(DataError):
    """Every fault of a file at once, in the order of the file (exit 3)."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        if not faults:
            raise ValueError("FaultsError without a fault")
        self.faults = list(faults)
        super().__init__("; ".join(f"{fault.where}: {fault.message}" for fault in faults))

    def lines(self) -> list[str]:
        out = []
        for fault in self.faults:
            out.append(f"error: {fault.where}: {fault.message}")
            if fault.hint:
                out.append(f"hint: {fault.hint}")
        return out

    def as_json(self) -> list[dict[str, str | None]]:
        return [{"where": f.where, "message": f.message, "hint": f.hint} for f in self.faults]


def printable(text: str, keep: str = "") -> str:
    """Foreign text as it can be shown: what a terminal or a page would obey, or could not write, stands as its escape.

    That is control characters, separators of lines, what changes the direction of the text behind it, and halves of
    characters.

    Args:
        keep: control characters that stay, `\\n\\t` where the text has lines of its own.
    """
    return _OBEYED.sub(lambda found: found.group() if found.group() in keep else _escape(found.group()), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
