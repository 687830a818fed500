"""Whether a row of the store is what it should be: one judgement for readers, verify, export, import and migration.

SQLite lets a column hold any type, a disk flips bits, and a stranger writes what he likes. So nothing of a row is taken
for what its column says before it was judged here; each fault is a ValueError in words that complete "the row: ...".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from its.shown import quoted
from its.store.encoding import Packer, checksum, decode, encode
from its.store.keys import PROMPT_FIELDS, canonical, join_key, prompt_sha256, session_sha256
from its.values import exceeds

LAST_SECOND = 2**36
"""Of the year 4147: when a response was made must lie before."""
MAX_LABELS = 10_000
"""Of one list: a session is labelled with each checkpoint of its weights, in each study."""
MAX_SETTINGS = 100_000
"""Values in an identity, in labels or in details: an engine has some hundred settings."""
MAX_SEARCHES = 10
"""Of damaged identities in one store: each takes a second at most."""
SESSION_COLUMNS = "sha256, identity, about"
RESPONSE_COLUMNS = "key, session, prompt, details, created, checksum, body"
MAX_TOKENS = 2**53
_TEXTS = frozenset({"text", "finish_reason", "thinking", "prompt_sha256"})
_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "thinking_tokens"})
_SEARCHED_BYTES = 2048  # of an identity: the longest takes a second, the usual 600 bytes a tenth


@dataclass(frozen=True)
class Session:
    """A session of which everything is known.

    Args:
        identity, about: as the store keeps them; `text` is the identity in canonical JSON.
        fault: what was damaged and could be worked out again; None if nothing was.
    """

    sha256: str
    identity: dict[str, Any]
    about: dict[str, Any]
    text: str
    fault: str | None


def parse_session(row: Sequence[Any], search: bool = False) -> Session:
    """A session out of its columns. Labels determine nothing, so that damaged ones are dropped.

    Args:
        row: its SESSION_COLUMNS.
        search: for an identity of which one byte is damaged: its hash tells what it was. It takes up to a second.

    Raises:
        ValueError: if nothing says any more what the identity was.
    """
    sha256, identity, about = row
    faults = []
    value, digest = _identity(identity)
    if digest is None or digest != sha256:
        if digest is not None and _is_almost(sha256, digest):
            faults.append("its hash is damaged")
        else:
            value, digest = _identity(_searched(sha256, identity) if search else None)
            faults.append("its identity is damaged")
    if digest is None:
        raise ValueError("its identity is damaged; the next run with it writes it anew")
    if not isinstance(identity, str) and not faults:
        faults.append("its identity is no text")
    try:
        labels = labels_of(about)
        if not isinstance(about, str):
            raise ValueError("no text")
    except (ValueError, RecursionError):
        labels = {}
        faults.append("its labels are damaged")
    return Session(digest, value, labels, canonical(value), ", ".join(faults) or None)


def labels_of(about: object) -> dict[str, Any]:
    """A session's labels out of their column.

    Raises:
        ValueError, RecursionError: if they cannot be read.
    """
    labels = decode(_raw(about), MAX_SETTINGS)
    check_labels(labels)
    return labels


def check_labels(about: object) -> None:
    """Whether these can be a session's `about`.

    Raises:
        ValueError: if they are no object, are no JSON, or `checkpoints` is no list of names.
    """
    if not isinstance(about, dict):
        raise ValueError("`about` is no object")
    storable(about)
    names = about.get("checkpoints", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("`about.checkpoints` is no list of names")
    for label, item in about.items():
        if isinstance(item, list) and (len(item) > MAX_LABELS or any(isinstance(part, dict | list) for part in item)):
            raise ValueError(f"`about.{quoted(label)}` is no list of at most {MAX_LABELS} labels")


def parse_prompt(packer: Packer, sha256: object, body: object) -> tuple[str, str]:
    """(hash, canonical JSON) of a prompt; the hash is worked out anew, so that a damaged column tells a wrong one.

    Raises:
        ValueError: if it is no prompt.
    """
    if not isinstance(body, bytes):
        raise ValueError("its content is damaged")
    text = packer.unpack(body).decode("utf-8", "surrogatepass")
    digest = prompt_sha256(text)
    if not isinstance(sha256, bytes) or sha256.hex() != digest:
        check_prompt(decode(text.encode("utf-8", "surrogatepass")))  # its hash says no more that it is one
    return digest, text


def check_prompt(value: object) -> None:
    """Whether it is {messages, start}.

    Raises:
        ValueError: if not.
    """
    if not isinstance(value, dict) or set(value) != set(PROMPT_FIELDS):
        raise ValueError(f"a prompt has {', '.join(PROMPT_FIELDS)}")
    turns = value["messages"]
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        raise ValueError("`messages` is no list of turns with texts")
    if not (value["start"] is None or isinstance(value["start"], str)):
        raise ValueError("`start` is no text")


def parse_response(packer: Packer, row: Sequence[Any]) -> bytes:
    """The body of a response, unpacked; all of its row is sound but the key, which `check_key` judges.

    Args:
        row: its RESPONSE_COLUMNS.

    Raises:
        ValueError: if not, with what is damaged.
    """
    key, session, prompt, details, created, told, body = row
    if not isinstance(key, bytes) or not isinstance(body, bytes) or checksum(key, body) != told:
        raise ValueError("its body does not have its checksum")
    try:
        raw = packer.unpack(body)
        check_response(decode(raw))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its body cannot be read: {error}") from error
    if type(created) is not int or not 0 <= created < LAST_SECOND:
        raise ValueError("its date is damaged")
    if not isinstance(details, str):
        raise ValueError("its details are damaged")
    if type(session) is not int or type(prompt) is not int:
        raise ValueError(f"its {'session' if type(session) is not int else 'prompt'} is missing")
    return raw


def check_response(value: Mapping[str, Any]) -> None:
    """Whether a stored response is one: of what it tells, each part has its type.

    A part that this version does not know may be any JSON, and `text` alone must be there.

    Raises:
        ValueError: if not.
    """
    if type(value.get("text")) is not str:
        raise ValueError("`text` is no text")
    for name, item in value.items():
        kind = type(item)
        if name in _TEXTS:
            sound = kind is str or item is None
        elif name in _COUNTS:
            sound = item is None or (kind is int and 0 <= item <= MAX_TOKENS)
        else:
            sound = True
            if kind is not str:
                encode(item)
        if not sound:
            raise ValueError(f"`{name}` is no {'text' if name in _TEXTS else 'count of tokens'}")


def check_key(key: bytes, session: str, prompt: str, details: str) -> None:
    """Whether a response's key is the hash of what determines it.

    Raises:
        ValueError: if not.
    """
    if join_key(session, prompt, details) != key.hex():
        raise ValueError("its key is not that of its session, prompt and details")


def storable(value: Mapping[str, Any]) -> str:
    """Canonical JSON of what goes into a column of text.

    Raises:
        ValueError: for NaN, infinities and half a surrogate pair, which no column takes; for more values than settings
            have.
    """
    try:
        text = canonical(value)
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("half of a character (a surrogate) is in it") from error
    except (RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error
    if exceeds(text, MAX_SETTINGS):
        raise ValueError(f"more than {MAX_SETTINGS} values")
    return text


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(part, str) for part in turn.values())


def _raw(column: object) -> bytes:
    if isinstance(column, str):
        return column.encode()
    if isinstance(column, bytes):
        return column
    raise ValueError("no text")


def _identity(column: object) -> tuple[dict[str, Any], str | None]:
    """(identity, its hash), ({}, None) where it is none."""
    try:
        value = decode(_raw(column), MAX_SETTINGS)
        storable(value)
        return value, session_sha256(value)
    except (ValueError, RecursionError):
        return {}, None


def _is_almost(column: object, digest: str) -> bool:
    """Whether a column holds this hash but for a byte or two, or something that is no hash at all."""
    if isinstance(column, bytes):
        column = column.decode("latin-1")
    if not isinstance(column, str) or len(column) != len(digest):
        return True
    return sum(one != other for one, other in zip(column, digest, strict=True)) <= 2


def _searched(sha256: object, column: object) -> bytes | None:
    """The identity that has the hash and differs from the column in one byte."""
    try:
        raw, wanted = bytearray(_raw(column)), bytes.fromhex(str(sha256))
    except ValueError:
        return None
    if len(wanted) != 32 or len(raw) > _SEARCHED_BYTES:
        return None
    for place in range(len(raw)):
        head = hashlib.sha256(raw[:place])
        tail = bytes(raw[place + 1 :])
        for byte in range(256):
            attempt = head.copy()
            attempt.update(bytes((byte,)) + tail)
            if attempt.digest() == wanted:
                raw[place] = byte
                return bytes(raw)
    return None
