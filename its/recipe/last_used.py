"""What `its recipe use` wrote last: a params.yaml that still equals it is unmodified.

The record is in `.its/` of this checkout and not in the home, which several checkouts may share. git ignores it, so a
clone has none; it may be removed at any time, and then params.yaml is compared with its recipe.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from its.errors import ItsError
from its.files import atomic_binary_file, atomic_file, read_regular
from its.recipe.document import Document, read_document

USED = Path(".its") / "used.yaml"
REPLACED = Path(".its") / "replaced"
"""Files params.yaml that `--force` overwrote, named after their content, so that one content is kept once."""
_MOST = 2**30
_HEADER = "# What `its recipe use` wrote to params.yaml last. ITS compares; to change the study, edit params.yaml.\n"


def last_used(project: Path) -> Document | None:
    """What was written last; None if there is no record, or it cannot be read."""
    try:
        return read_document(project / USED)
    except ItsError:
        return None


def note_used(project: Path, document: Document) -> None:
    """Record what is about to be written: if the write then fails, params.yaml counts as modified, never as unmodified.

    Raises:
        DataError, RunError: as `atomic_file` raises.
    """
    text = _HEADER + document.text
    used = last_used(project)
    if used is None or used.text != text:
        with atomic_file(project / USED) as out:
            out.write(text)


def keep_copy(project: Path, path: Path) -> Path:
    """Copy a file that is about to be overwritten to `.its/replaced/`.

    Returns:
        The copy, relative to the project.

    Raises:
        DataError, RunError: if it cannot be read or the copy not be written; then it must not be overwritten.
    """
    content = read_regular(path, _MOST)
    copy = REPLACED / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
    with atomic_binary_file(project / copy) as out:
        out.write(content)
    return copy
