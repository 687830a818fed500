"""Put what `its.store.exporting` wrote into a store: all of it is checked before any of it is used.

Keys are hashes of what stands in the file and are computed anew. The bodies of responses are covered by the trailer's
hash alone, which guards against damage and not against a forger.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from its.store.connection import explained, writing
from its.store.inserting import insert_packed_prompt, insert_response
from its.store.staging import Staged, stage

if TYPE_CHECKING:
    from its.store.database import Store

BATCH = 1000  # responses in one transaction
_ROWS = (
    "SELECT responses.id, key, session, prompt, details, created, responses.body, prompts.body "
    "FROM responses JOIN prompts ON sha256 = prompt WHERE responses.id > ? ORDER BY responses.id LIMIT ?"
)


@dataclass(frozen=True)
class Imported:
    """How many responses of a file were new here, and how many were known."""

    new: int
    known: int


def import_store(store: Store, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Imported:
    """Check the whole file, then insert what is new; a response that is stored here stays as it is.

    The file is read once, into a hidden copy beside the store, so that it takes as much room again. An import that is
    killed keeps whole transactions; the same import again goes on. A damaged response of the store is replaced by the
    file's.

    Args:
        progress: receives (responses done, responses in all) while inserting.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not what an export wrote, named by its line; nothing was imported then.
        RunError: if the disk is full.
    """
    with closing(stage(store.path, store.packer, path)) as staged:
        for identity, about in staged.sessions:
            store.register(identity, about)
        return _insert(store, staged, progress)


def _insert(store: Store, staged: Staged, progress: Callable[[int, int], None]) -> Imported:
    new = done = last = 0
    while rows := staged.db.execute(_ROWS, (last, BATCH)).fetchall():
        last = rows[-1][0]
        new += _insert_batch(store, rows)
        done += len(rows)
        progress(done, staged.responses)
    return Imported(new=new, known=done - new)


def _insert_batch(store: Store, rows: list[tuple[Any, ...]]) -> int:
    known = store.contains([row[1].hex() for row in rows])
    new = 0
    with explained(store.path), writing(store.db):
        sessions = {sha256: store.session_id(sha256) for sha256 in {row[2] for row in rows}}
        for _, key, session, prompt, details, created, body, prompt_body in rows:
            if key.hex() in known:
                continue
            prompt_id = insert_packed_prompt(store.db, prompt, prompt_body)
            new += insert_response(store.db, key, sessions[session], prompt_id, details, created, body)
    return new
