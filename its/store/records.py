"""A stored response together with the request and the session that produced it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from its.store.connection import explained
from its.store.database import Store
from its.store.encoding import decode
from its.store.validation import check_key, parse_prompt, parse_session


@dataclass(frozen=True)
class Record:
    """A stored response with everything that determined it.

    Args:
        determinants: of the request: messages, start, sampling, seed (None for greedy decoding), sample_index.
        session: the hash of the session; `identity` and `about` describe it.
        response: as the engine returned it.
    """

    key: str
    determinants: dict[str, Any]
    session: str
    identity: dict[str, Any]
    about: dict[str, Any]
    response: dict[str, Any]


def find_record(store: Store, key: str) -> Record | None:
    """The response of a key with its request and session; None if it is not stored or is damaged."""
    with explained(store.path):
        row = store.db.execute(
            "SELECT details, prompts.sha256, prompts.body, sessions.sha256, identity, about FROM responses "
            "JOIN prompts ON prompts.id = prompt JOIN sessions ON sessions.id = session WHERE key = ?",
            (bytes.fromhex(key),),
        ).fetchone()
    response = dict(store.find([key])).get(key)
    if row is None or response is None:
        return None
    try:
        session = parse_session(row[3:])
        prompt, text = parse_prompt(store.packer, *row[1:3])
        check_key(bytes.fromhex(key), session.sha256, prompt, str(row[0]))
        determinants = decode(text.encode("utf-8", "surrogatepass")) | decode(str(row[0]).encode())
    except ValueError:
        return None  # `its store verify` reports it
    return Record(key, determinants, session.sha256, session.identity, session.about, response)
