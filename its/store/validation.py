"""Check the rows of a store: one set of rules for reading, verify, export and import.

SQLite lets a column hold any type, a disk flips bits, and an untrusted file holds anything. So no column is trusted
before it has been checked here. Each fault is a ValueError whose message completes "the row: ...".
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
"""The year 4147: a response must have been created before."""
MAX_LABELS = 10_000
"""Limit of one list: a session is labelled with each checkpoint of its weights, in each study."""
MAX_SETTINGS = 100_000
"""Limit on values in an identity, in labels or in details: an engine has about a hundred settings."""
MAX_SEARCHES = 10
"""Limit on reconstructions of damaged identities in one store: each takes up to a second."""
SESSION_COLUMNS = "sha256, identity, about"
RESPONSE_COLUMNS = "key, session, prompt, details, created, checksum, body"
MAX_TOKENS = 2**53
_TEXTS = frozenset({"text", "finish_reason", "thinking", "prompt_sha256"})
_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "thinking_tokens"})
_SEARCHED_BYTES = 2048  # longest identity to reconstruct: it takes a second, the usual 600 bytes a tenth


@dataclass(frozen=True)
class Session:
    """A checked session.

    Args:
        identity, about: as the store keeps them; `text` is the identity in canonical JSON.
        fault: what was damaged and has been reconstructed or dropped; None if nothing was.
    """

    sha256: str
    identity: dict[str, Any]
    about: dict[str, Any]
    text: str
    fault: str | None


def parse_session(row: Sequence[Any], search: bool = False) -> Session:
    """Check the columns of a session. Labels determine nothing, so damaged ones are dropped.

    Args:
        row: its SESSION_COLUMNS.
        search: whether to reconstruct an identity with one damaged byte from its hash, which takes up to a second.

    Raises:
        ValueError: if the identity is lost.
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
        raise ValueError("its identity is damaged; the next run with it restores it")
    if not isinstance(identity, str) and not faults:
        faults.append("its identity is not text")
    try:
        labels = labels_of(about)
        if not isinstance(about, str):
            raise ValueError("not text")
    except (ValueError, RecursionError):
        labels = {}
        faults.append("its labels are damaged")
    return Session(digest, value, labels, canonical(value), ", ".join(faults) or None)


def labels_of(about: object) -> dict[str, Any]:
    """Decode the labels of a session from their column.

    Raises:
        ValueError, RecursionError: if they cannot be read.
    """
    labels = decode(_raw(about), MAX_SETTINGS)
    check_labels(labels)
    return labels


def check_labels(about: object) -> None:
    """Check the labels of a session.

    Raises:
        ValueError: if they are not a JSON object, or `checkpoints` is not a list of names.
    """
    if not isinstance(about, dict):
        raise ValueError("`about` is not an object")
    storable(about)
    names = about.get("checkpoints", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("`about.checkpoints` is not a list of names")
    for label, item in about.items():
        if isinstance(item, list) and (len(item) > MAX_LABELS or any(isinstance(part, dict | list) for part in item)):
            raise ValueError(f"`about.{quoted(label)}` is not a list of at most {MAX_LABELS} labels")


def parse_prompt(packer: Packer, sha256: object, body: object) -> tuple[str, str]:
    """(hash, canonical JSON) of a prompt; the hash is recomputed, and differs from a damaged column.

    Raises:
        ValueError: if it is not a prompt.
    """
    if not isinstance(body, bytes):
        raise ValueError("its content is damaged")
    text = packer.unpack(body).decode("utf-8", "surrogatepass")
    digest = prompt_sha256(text)
    if not isinstance(sha256, bytes) or sha256.hex() != digest:
        check_prompt(decode(text.encode("utf-8", "surrogatepass")))  # its hash no longer proves that it is one
    return digest, text


def check_prompt(value: object) -> None:
    """Check that a value is {messages, start}.

    Raises:
        ValueError: if not.
    """
    if not isinstance(value, dict) or set(value) != set(PROMPT_FIELDS):
        raise ValueError(f"a prompt has {', '.join(PROMPT_FIELDS)}")
    turns = value["messages"]
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and all(isinstance(part, str) for part in turn.values()) for turn in turns
    ):
        raise ValueError("`messages` is not a list of turns with texts")
    if not (value["start"] is None or isinstance(value["start"], str)):
        raise ValueError("`start` is not text")


def parse_response(packer: Packer, row: Sequence[Any]) -> bytes:
    """Check the columns of a response, all but the key (`check_key`), and return its unpacked body.

    Args:
        row: its RESPONSE_COLUMNS.

    Raises:
        ValueError: naming what is damaged.
    """
    key, session, prompt, details, created, stored_checksum, body = row
    if not isinstance(key, bytes) or not isinstance(body, bytes) or checksum(key, body) != stored_checksum:
        raise ValueError("its body does not match its checksum")
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
    """Check the type of each field of a response; `text` is required.

    A field that this version does not know may hold any JSON.

    Raises:
        ValueError: naming the field.
    """
    if type(value.get("text")) is not str:
        raise ValueError("`text` is not text")
    for name, item in value.items():
        kind = type(item)
        if name in _TEXTS:
            if not (kind is str or item is None):
                raise ValueError(f"`{name}` is not text")
        elif name in _COUNTS:
            if not (item is None or (kind is int and 0 <= item <= MAX_TOKENS)):
                raise ValueError(f"`{name}` is not a number of tokens")
        elif kind is not str:
            encode(item)


def check_key(key: bytes, session: str, prompt: str, details: str) -> None:
    """Check that a response's key is the hash of its session, prompt and details.

    Raises:
        ValueError: if not.
    """
    if join_key(session, prompt, details) != key.hex():
        raise ValueError("its key is not the hash of its session, prompt and details")


def storable(value: Mapping[str, Any]) -> str:
    """Encode settings or labels as canonical JSON for a text column.

    Raises:
        ValueError: for NaN, infinities and lone surrogates, which a column cannot store; for more than MAX_SETTINGS
            values.
    """
    try:
        text = canonical(value)
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it contains half of a character (a lone surrogate)") from error
    except (RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error
    if exceeds(text, MAX_SETTINGS):
        raise ValueError(f"more than {MAX_SETTINGS} values")
    return text


def _raw(column: object) -> bytes:
    if isinstance(column, str):
        return column.encode()
    if isinstance(column, bytes):
        return column
    raise ValueError("not text")


def _identity(column: object) -> tuple[dict[str, Any], str | None]:
    """(identity, its hash), or ({}, None) if the column holds no identity."""
    try:
        value = decode(_raw(column), MAX_SETTINGS)
        storable(value)
        return value, session_sha256(value)
    except (ValueError, RecursionError):
        return {}, None


def _is_almost(column: object, digest: str) -> bool:
    """Whether a column holds this hash with at most two damaged bytes, or something that is not a hash at all."""
    if isinstance(column, bytes):
        column = column.decode("latin-1")
    if not isinstance(column, str) or len(column) != len(digest):
        return True
    return sum(one != other for one, other in zip(column, digest, strict=True)) <= 2


def _searched(sha256: object, column: object) -> bytes | None:
    """The identity with this hash that differs from the column in one byte; None if there is none."""
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
