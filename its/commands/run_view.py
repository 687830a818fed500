"""What `its run` shows: one status line on a terminal, one line per change elsewhere; all on stderr."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from its.shown import bounded, shown


class View:
    """The state of a run, drawn on a stream.

    Args:
        costs: the folder `results/cost`, whose recorded seconds are the cost so far.
    """

    def __init__(self, costs: Path, stream: TextIO | None = None) -> None:
        self.progress: Path | None = None
        self.kept = 0
        self.ran: list[str] = []
        self.up_to_date = False
        self.more = False
        """Whether `--dry` stopped at a stage whose inputs do not exist yet."""
        self._costs, self._stream = costs, stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = time.monotonic()
        self._drawn = ""

    def begin(self, stage: str) -> None:
        """A stage begins: a separate line, with the cost so far."""
        self.ran.append(stage)
        if self.progress is not None:
            self.progress.unlink(missing_ok=True)  # the counts of the stage before
        self._began = time.monotonic()
        cost = recorded_seconds(self._costs)
        self.line(f"stage {stage}" + (f" (cost so far: {told_seconds(cost)} of models)" if cost else ""))

    def line(self, text: str) -> None:
        """One line of a stage or of DVC, above the status line."""
        self.clear()
        print(bounded(shown(text)), file=self._stream, flush=True)

    def redraw(self) -> None:
        """Replace the status line; without a terminal nothing is drawn."""
        if not self._live or not self.ran:
            return
        width = shutil.get_terminal_size().columns
        text = shown(status_text(self.ran[-1], self._counts(), time.monotonic() - self._began))[: max(width - 1, 1)]
        if text != self._drawn:
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()
            self._drawn = text

    def clear(self) -> None:
        """Remove the status line."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = ""

    def _counts(self) -> dict[str, Any]:
        try:
            found = json.loads(self.progress.read_text("utf-8")) if self.progress is not None else {}
        except (OSError, ValueError):  # not written yet
            return {}
        return found if isinstance(found, dict) else {}


def status_text(stage: str, counts: dict[str, Any], seconds: float) -> str:
    """The status line: stage, cell or training, items done, tokens a second, time left. Unknown ones are absent.

    Args:
        counts: as `its.progress` writes them; {} before a stage counted anything.
        seconds: since the stage began.
    """
    parts = [f"{stage}: {told_seconds(seconds)}"]
    if counts.get("total"):
        parts.append(f"{counts.get('done')} of {counts['total']} {counts.get('unit')}")
    if counts.get("tokens_per_second"):
        parts.append(f"{counts['tokens_per_second']:.0f} tokens/s")
    if counts.get("seconds_left"):
        parts.append(f"about {told_seconds(counts['seconds_left'])} left")
    if counts.get("note"):
        parts.append(str(counts["note"]))
    return ", ".join(parts)


def told_seconds(seconds: float) -> str:
    """A duration in its two largest units: `42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def recorded_seconds(folder: Path) -> float:
    """The seconds that the finished stages spent on models, as recorded in `results/cost`; unreadable files count 0."""
    total = 0.0
    for path in sorted(folder.glob("*.json")):
        try:
            rows = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        for row in rows if isinstance(rows, list) else []:
            value = row.get("seconds") if isinstance(row, dict) else None
            total += value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    return total
