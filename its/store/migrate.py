"""Schema 1 to schema 2: responses keep their text and get the keys under which they are looked for today.

Schema 1 was one table, `responses(key, request, response, created)`, with the whole request in each row and a key over
all of it: a seed in the key of a greedy response, settings that change nothing but speed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from its.errors import RunError
from its.store.bodies import Packer, check_response, decode, encode
from its.store.connection import is_damage
from its.store.inserting import insert_prompt, insert_response, insert_session
from its.store.keys import canonical, join_key, prompt_sha256, session_sha256, split_determinants, vllm_identity
from its.store.sound import LAST_SECOND, check_prompt, storable

LONG_SECONDS = 3.0
AGAIN_SECONDS = 30.0


def migrate(db: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    """Carry the rows of `responses_1` over, within the caller's transaction. Says something only where it takes long.

    Raises:
        RunError: if the old table cannot be read.
    """
    packer = Packer()
    count = done = unknown = 0
    said, next_word = False, time.monotonic() + LONG_SECONDS
    try:
        count = db.execute("SELECT count(*) FROM responses_1").fetchone()[0]
        for request, response, created in db.execute("SELECT request, response, created FROM responses_1"):
            try:
                _carry_over(db, packer, decode(_raw(request)), decode(_raw(response)), created)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
                unknown += 1
            done += 1
            if time.monotonic() > next_word:
                say(f"{path}: bringing the store to schema 2, once: {done} of {count} responses")
                said, next_word = True, time.monotonic() + AGAIN_SECONDS
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        raise RunError(
            f"{path}: the store is damaged and cannot be brought to schema 2: {error}",
            "move it away; what is lost is asked again",
        ) from error
    if unknown:
        say(f"{path}: {unknown} of {count} rows of schema 1 are no responses of an engine and were left out")
    elif said:
        say(f"{path}: the store has schema 2 now")


def _raw(column: object) -> bytes:
    return column.encode() if isinstance(column, str) else b""


def _carry_over(
    db: sqlite3.Connection, packer: Packer, request: dict[str, Any], response: dict[str, Any], created: str
) -> None:
    identity = vllm_identity(
        request["model"], dict(request["arguments"]), dict(request["variables"]), request["environment"]
    ) | {"engine": request["engine"]}
    greedy = not request["sampling"]["temperature"]
    prompt, details = split_determinants(
        {
            "messages": request["messages"],
            "sampling": request["sampling"],
            "seed": None if greedy else request["seed"],
            "sample_index": request["sample_index"],
            "start": request["start"],
        }
    )
    check_response(response)
    check_prompt(decode(prompt.encode("utf-8", "surrogatepass")))
    storable({"identity": identity, "details": details})
    when = int(datetime.fromisoformat(created).timestamp())
    if not 0 <= when < LAST_SECOND:
        raise ValueError("not a date")
    session, hashed = session_sha256(identity), prompt_sha256(prompt)
    prompt_id = insert_prompt(db, packer, bytes.fromhex(hashed), prompt)
    insert_response(
        db,
        bytes.fromhex(join_key(session, hashed, details)),
        insert_session(db, session, canonical(identity), "{}"),
        prompt_id,
        details,
        when,
        packer.pack(encode(response)),
        older_stays=True,  # two greedy responses of schema 1 may have differed in nothing but an idle seed
    )
