"""The responses in the store that the rows of a study cite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from its.errors import Fault, FaultsError
from its.rows import raise_faults, read_json, read_json_lines

FOLDERS = ("data/personas", "data/solutions", "data/responses")
_KEY = re.compile(r"[0-9a-f]{64}")


def cited_keys(project: Path) -> Iterator[str]:
    """Yield every key that a persona, solution or response row in the project names, or the judge's file.

    That is `request_key` and, of personas and solutions, `rejected_keys`: a replay goes through the rejected attempts
    again. Some keys come twice.

    Rows that name none (a strategy without a persona) are passed over. What another branch or a queued experiment of
    the study cites is not seen.

    Raises:
        FaultsError: after the last good row, naming every row that cannot be read or names no key of a store.
    """
    faults: list[Fault] = []
    for folder in FOLDERS:
        for path in sorted((project / folder).rglob("*.jsonl")):
            for line in read_json_lines(path):
                if isinstance(line, Fault):
                    faults.append(line)
                    continue
                place, row = f"{path}:{line.number}", line.value
                if not isinstance(row, dict):
                    faults.append(Fault(place, "the line is not an object", "`dvc repro` rewrites it"))
                    continue
                rejected = row.get("rejected_keys", [])
                for key in [row.get("request_key"), *(rejected if isinstance(rejected, list) else [rejected])]:
                    if isinstance(key, str) and _KEY.fullmatch(key):
                        yield key
                    elif key is not None:
                        what = f"a key is {str(key)[:40]!r}, expected 64 hexadecimal digits"
                        faults.append(Fault(place, what, "`dvc repro` rewrites the row"))
    raise_faults(faults)
    judged = project / "data" / "judge.json"
    found = read_json(judged) if judged.is_file() else {}
    keys = found.get("request_keys", []) if isinstance(found, dict) else []
    for key in keys if isinstance(keys, list) else [keys]:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            what = f"a key is {str(key)[:40]!r}, expected 64 hexadecimal digits"
            raise FaultsError([Fault(f"{judged}:1", what, "`dvc repro judge` rewrites it")])
        yield key
