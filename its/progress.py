"""Progress of long tasks: a bar on a terminal, one plain line every 30 s elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from its.shown import shown as visible

PLAIN_INTERVAL_SECONDS = 30.0
FILE_INTERVAL_SECONDS = 0.5
FILE_VARIABLE = "ITS_PROGRESS"
"""Names the file that receives the latest counts, for the view of `its run`; nothing else reads them."""
Item = TypeVar("Item")


class Progress:
    """Counts items and tokens; use as a context manager. Everything goes to stderr."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._tokens = self._first = 0
        self._began: float | None = None  # the clock starts with the first item: loading an engine is not work done
        self._said = time.monotonic()
        self._written = 0.0
        self._bar: Any = None
        if sys.stderr.isatty() and total:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted when the next one is taken."""
        for item in items:
            yield item
            self.add()

    def add(self, items: int = 1, tokens: int = 0, note: str = "", stored: bool = False) -> None:
        """Count finished items and their tokens; `note` is shown after the rate.

        Args:
            stored: they were stored already, so they do not count towards the rate.
        """
        self._done += items
        self._tokens += tokens
        if stored:
            self._first += items
        elif self._began is None:
            self._began = time.monotonic()
            self._first += items
        seconds = time.monotonic() - (self._began or time.monotonic())
        rate = f"{self._tokens / seconds:.0f} tokens/s" if self._tokens and seconds > 1 else ""
        shown = ", ".join(part for part in (rate, note) if part)
        self._write(seconds, note)
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(items)
        elif time.monotonic() - self._said >= PLAIN_INTERVAL_SECONDS:
            self._said = time.monotonic()
            seconds_left = self._seconds_left(seconds)
            left = f"about {seconds_left:.0f} s left" if seconds_left is not None else ""
            say(
                f"{self._what}: "
                + ", ".join(filter(None, [f"{self._done} of {self._total} {self._unit}", shown, left]))
            )

    def _seconds_left(self, seconds: float) -> float | None:
        """An estimate by the rate so far; None until a tenth is done.

        What works at many items at once finishes none for minutes, then many: the first ones say nothing of the rest.
        """
        since = self._done - self._first
        if since <= 0 or since < (self._total - self._first) / 10:
            return None
        return (self._total - self._done) * seconds / since

    def _write(self, seconds: float, note: str) -> None:
        """Replace the file of `FILE_VARIABLE`; a failure is ignored: the work must not end because of its view."""
        path, now = os.environ.get(FILE_VARIABLE), time.monotonic()
        if not path or (now - self._written < FILE_INTERVAL_SECONDS and self._done < self._total):
            return
        self._written = now
        counts = {
            "what": self._what,
            "done": self._done,
            "total": self._total,
            "unit": self._unit,
            "note": note,
            "tokens_per_second": self._tokens / seconds if self._tokens and seconds > 1 else None,
            "seconds_left": self._seconds_left(seconds),
        }
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="utf-8") as out:
                json.dump(counts, out)
            os.replace(f"{path}.new", path)


def say(text: str) -> None:
    """One plain line on stderr, whatever foreign text it contains."""
    print(visible(text), file=sys.stderr, flush=True)
