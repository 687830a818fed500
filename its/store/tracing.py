"""What a stored response was asked, by its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from its.store.bodies import decode
from its.store.connection import explained
from its.store.sound import check_key, sound_prompt, sound_session

if TYPE_CHECKING:
    from its.store.database import Store

_CHUNK = 256


@dataclass(frozen=True)
class Traced:
    """A stored response with what determined it.

    Args:
        determinants: of the request: messages, start, sampling, seed (None where decoding is greedy), sample_index.
        session: the hash of the session, `identity` and `about` what it stands for.
        response: what the engine gave.
    """

    key: str
    determinants: dict[str, Any]
    session: str
    identity: dict[str, Any]
    about: dict[str, Any]
    response: dict[str, Any]


def trace(store: Store, key: str) -> Traced | None:
    """The response of a key with its request and session; None where it is not stored or is damaged."""
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
        session = sound_session(row[3:])
        prompt, text = sound_prompt(store.packer, *row[1:3])
        check_key(bytes.fromhex(key), session.sha256, prompt, str(row[0]))
        determinants = decode(text.encode("utf-8", "surrogatepass")) | decode(str(row[0]).encode())
    except ValueError:
        return None  # `its store verify` names it
    return Traced(key, determinants, session.sha256, session.identity, session.about, response)


def count_sessions(store: Store, keys: Iterable[str]) -> dict[str, int]:
    """By session, how many of the keys are its responses; those that are not stored are not counted."""
    wanted = [bytes.fromhex(key) for key in dict.fromkeys(keys)]
    found: Counter[str] = Counter()
    with explained(store.path):
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            counted = store.db.execute(
                "SELECT sha256, count(*) FROM responses JOIN sessions ON sessions.id = session "
                f"WHERE key IN ({marks}) GROUP BY sha256",
                chunk,
            ).fetchall()
            found.update({sha256: count for sha256, count in counted if isinstance(sha256, str)})
    return dict(found.most_common())
