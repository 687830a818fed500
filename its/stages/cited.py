"""Which responses of the store a study's rows name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from its.errors import Fault
from its.rows import raise_faults, read_json_lines

FOLDERS = ("data/personas", "data/responses")
_KEY = re.compile(r"[0-9a-f]{64}")


def cited_keys(project: Path) -> Iterator[str]:
    """Yield the `request_key` of every persona and response row that lies in the project, some of them twice.

    Rows that name none (a strategy without a persona) are passed over. What another branch or a queued experiment of
    the study cites is not seen.

    Raises:
        FaultsError: after the last good row, naming every row that cannot be read or names no key of a store.
    """
    faults: list[Fault] = []
    for folder in FOLDERS:
        for path in sorted((project / folder).rglob("*.jsonl")):
            for line_number, row in read_json_lines(path, faults):
                key = row.get("request_key") if isinstance(row, dict) else "in no object"
                if key is None:
                    continue
                if isinstance(key, str) and _KEY.fullmatch(key):
                    yield key
                else:
                    what = f"`request_key` is {str(key)[:40]!r}, wanted are 64 hexadecimal digits"
                    faults.append(Fault(f"{path}:{line_number}", what, "`dvc repro` writes the row anew"))
    raise_faults(faults)
