"""The store: every response that an engine returned, committed as it arrives and found by what determines it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from its.errors import DataError, RunError
from its.shown import quoted
from its.store.claims import NO_OWNER, Owner, is_alive
from its.store.connection import connect, damaged, explained, file_bytes, limited, share, writing
from its.store.encoding import MAX_BYTES, Packer, checksum, decode, encode
from its.store.inserting import insert_prompt, insert_response, insert_session, session_id
from its.store.keys import canonical, join_key, prompt_sha256, session_sha256, split_determinants, without_secrets
from its.store.schema import check_schema, prepare
from its.store.validation import MAX_LABELS, MAX_SETTINGS, SESSION_COLUMNS, labels_of, parse_session
from its.values import MAX_VALUES, exceeds

CHUNK = 256  # keys in one statement, and rows in memory at once: some 25 MB where responses have 100 kB
MEMORY_BYTES = 32 * 2**20  # packed bodies in memory at once, if there is more than one


@dataclass(frozen=True, slots=True)
class PutItem:
    """A response to store.

    Args:
        key: `response_key` of the next two.
        session_sha256: of a registered session.
        determinants: of the request.
        response: as the engine returned it, in JSON's types.
    """

    key: str
    session_sha256: str
    determinants: Mapping[str, Any]
    response: Mapping[str, Any]


@dataclass(frozen=True)
class SessionInfo:
    """A stored session: its identity determines responses, `about` holds labels, `responses` is their number."""

    sha256: str
    identity: dict[str, Any]
    about: dict[str, Any]
    responses: int

    @property
    def label(self) -> str:
        """The names of its checkpoints, else the beginning of the model's fingerprint; safe to print."""
        names = ", ".join(self.about.get("checkpoints", []))
        return quoted(names, 1000) if names else quoted(self.identity.get("model", self.sha256), 23).removesuffix("...")


@dataclass(frozen=True)
class DamagedSession:
    """A stored session whose identity is lost."""

    row_id: int
    responses: int


class Store:
    """An open store: a context manager for one thread; any number of processes may share the file.

    Args:
        path: of the database, on a local disk. A missing one is created.

    Attributes:
        db: the connection, for the modules of this package.
        damaged: how many damaged responses were found and deleted, so that they are generated again.

    Raises:
        RunError: if the file is damaged, not a store of ITS or of another schema, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.packer = Packer()
        self._owner: Owner | None = None
        # Another process may collect a session without responses, so `put_many` may have to insert it again.
        self._registered: dict[str, tuple[str, dict[str, Any]]] = {}
        self.db = connect(path)
        try:
            with explained(path):
                check_schema(self.db, path)
                share(self.db, path)
                prepare(self.db, path)
        except BaseException:
            self.db.close()  # the caller never gets the store
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up all claims and close the file; may be called twice."""
        self.release()
        self.db.close()

    @property
    def locks(self) -> Path:
        """The folder of the owners' locks, beside the real file: two links to one store have the same owners."""
        return Path(os.path.realpath(self.path)).parent / "locks"

    @property
    def owner(self) -> str | None:
        """The name under which it holds claims; None before the first."""
        return None if self._owner is None else self._owner.name

    # Sessions

    def register(self, identity: Mapping[str, Any], about: Mapping[str, Any]) -> str:
        """Store a session's identity if it is new, add to its labels, and return its hash.

        Args:
            identity: everything that determines a response apart from its request. A value under the name of a secret,
                here or in `about`, is neither stored nor hashed.
            about: labels that determine nothing. A list is merged with the stored one, up to MAX_LABELS entries; any
                other value replaces the stored one. Stored labels that cannot be read are left as they are.

        Raises:
            DataError: if a setting holds a lone surrogate, which a column cannot store, or there are more than
                MAX_SETTINGS.
            ValueError: if one is NaN or an infinity.
        """
        identity, about = without_secrets(identity), without_secrets(about)
        text, sha256 = _storable(identity), session_sha256(identity)
        with explained(self.path):
            stored = self._session_row(sha256)
            labels = {} if stored is None else stored[1]
            if stored is None or stored[0] != text or (labels is not None and labels != _merged(labels, about)):
                with writing(self.db):
                    insert_session(self.db, sha256, text, "{}")
                    self.db.execute("UPDATE sessions SET identity = ? WHERE sha256 = ?", (text, sha256))
                    _, labels = self._session_row(sha256) or (text, None)
                    if labels is not None:
                        labels = _merged(labels, about)
                        self.db.execute("UPDATE sessions SET about = ? WHERE sha256 = ?", (_storable(labels), sha256))
        self._registered[sha256] = text, labels or {}
        return sha256

    def sessions(self, model: str | None = None, checkpoint: str | None = None) -> list[SessionInfo]:
        """The stored sessions, oldest first, without damaged ones, which `its store verify` reports.

        Args:
            model: only those whose identity has this fingerprint as `model`.
            checkpoint: only those that were registered with this name among their `checkpoints`.
        """
        return [
            session
            for session in self.all_sessions()
            if isinstance(session, SessionInfo)
            and (model is None or session.identity.get("model") == model)
            and (checkpoint is None or checkpoint in session.about.get("checkpoints", ()))
        ]

    def all_sessions(self) -> Iterator[SessionInfo | DamagedSession]:
        """Every stored session, oldest first, including those whose identity is lost."""
        rows, room = [], file_bytes(self.path)
        with explained(self.path), limited(self.db, self.path):
            for row in self.db.execute(
                f"SELECT id, {SESSION_COLUMNS}, (SELECT count(*) FROM responses WHERE session = sessions.id) "
                "FROM sessions ORDER BY id"
            ):
                room -= sum(len(column) for column in row if isinstance(column, str | bytes))
                if room < 0:  # all rows of a forged file may refer to the same pages
                    raise damaged(self.path, "its sessions are longer than the file")
                rows.append(row)
        for row_id, *columns, responses in rows:
            try:
                found = parse_session(columns)
            except ValueError:
                yield DamagedSession(row_id, responses)
            else:
                yield SessionInfo(found.sha256, found.identity, found.about, responses)

    def session_id(self, sha256: str) -> int:
        """The row id of a registered session; within a write transaction, since it may have to be inserted again.

        Raises:
            ValueError: if it is neither stored nor registered.
        """
        found = session_id(self.db, sha256)
        if found is not None:
            return found
        if sha256 not in self._registered:
            raise ValueError(f"the session `{sha256}` is not registered")
        text, about = self._registered[sha256]
        return insert_session(self.db, sha256, text, canonical(about))

    # Responses

    def contains(self, keys: Sequence[str]) -> set[str]:
        """The keys whose response is stored and undamaged; a damaged one is deleted and counted."""
        found: set[str] = set()
        for rows in self._intact_rows(keys):
            found.update(key.hex() for _, key, _ in rows)
        return found

    def find(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (key, response) for each stored key, in the order given; a damaged one is deleted and counted.

        Responses are unpacked one at a time; drop each before the next to keep memory flat. A key that is given twice
        is yielded once per `CHUNK`. The store may be written to during the iteration.
        """
        for rows in self._intact_rows(keys):
            for row_id, key, body in rows:
                try:
                    yield key.hex(), decode(self.packer.unpack(body))
                except ValueError:
                    self._delete_damaged([row_id])

    def written(self, keys: Sequence[str]) -> tuple[int, int] | None:
        """When the first and the last of these responses were stored, in seconds since 1970.

        None if one of them is not stored, or without keys. Their contents are not read.
        """
        found: dict[bytes, int] = {}
        for chunk in _chunks(keys):
            with explained(self.path):
                rows = self.db.execute(
                    f"SELECT key, created FROM responses WHERE key IN ({_marks(chunk)})", chunk
                ).fetchall()
            found.update((key, created) for key, created in rows if type(created) is int)
        if not found or len(found) < len({bytes.fromhex(key) for key in keys}):
            return None
        return min(found.values()), max(found.values())

    def put(self, key: str, session_sha256: str, determinants: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        """Commit one response; see `put_many`."""
        self.put_many([PutItem(key, session_sha256, determinants, response)])

    def put_many(self, items: Sequence[PutItem]) -> int:
        """Commit responses, all or none, and end their claims; a key that is stored keeps its first response.

        Returns:
            How many were new.

        Raises:
            DataError: if the determinants hold a lone surrogate outside of the prompt, or a text is longer than
                `encoding.MAX_BYTES`.
            ValueError: if a key is not that of its session and determinants, or a session is not registered.
        """
        created = int(time.time())
        rows: list[tuple[str, str, str, str, bytes]] = []
        for item in items:
            prompt, details = split_determinants(item.determinants)
            hashed = prompt_sha256(prompt)
            if join_key(item.session_sha256, hashed, details) != item.key:
                raise ValueError(f"`{item.key}` is not the key of its session and determinants")
            _check_storable(details)
            raw = encode(item.response)
            if exceeds(raw) or exceeds(prompt):
                raise DataError(f"a response or its prompt has more than {MAX_VALUES} values", "use fewer messages")
            for what, text, hint in (
                ("response", raw, "use a smaller `max_tokens`"),
                ("prompt", prompt.encode("utf-8", "surrogatepass"), "use a shorter template, or shorter problems"),
            ):
                if len(text) > MAX_BYTES:
                    raise DataError(f"a {what} has {len(text)} bytes; the store takes at most {MAX_BYTES}", hint)
            rows.append((item.session_sha256, hashed, prompt, details, self.packer.pack(raw)))
        new = 0
        with explained(self.path), writing(self.db):
            sessions = {sha256: self.session_id(sha256) for sha256 in {row[0] for row in rows}}
            for item, (session, hashed, prompt, details, body) in zip(items, rows, strict=True):
                key = bytes.fromhex(item.key)
                prompt_id = insert_prompt(self.db, self.packer, bytes.fromhex(hashed), prompt)
                new += insert_response(self.db, key, sessions[session], prompt_id, details, created, body)
                self.db.execute("DELETE FROM claims WHERE key = ?", (key,))
        return new

    # Claims

    def claim(self, keys: Sequence[str]) -> set[str]:
        """Claim keys, so that this store alone requests their responses, and return those that were granted.

        Not granted are keys that are stored or that another living owner has claimed; the claims of a dead owner are
        taken over. What this store has already claimed is granted again. A claim ends with its response,
        with `give_up`, with `release` or with the process.
        """
        granted: set[str] = set()
        with explained(self.path), writing(self.db):
            if self._owner is None:
                self._owner = Owner(self.locks)
            alive = {self._owner.name: False}  # our own claims are no obstacle
            for chunk in _chunks(keys):
                marks = _marks(chunk)
                stored = {row[0] for row in self.db.execute(f"SELECT key FROM responses WHERE key IN ({marks})", chunk)}
                self.db.execute(f"DELETE FROM claims WHERE key IN ({marks}) AND {NO_OWNER}", chunk)
                claims = self.db.execute(f"SELECT key, owner FROM claims WHERE key IN ({marks})", chunk).fetchall()
                for name in {name for _, name in claims} - alive.keys():
                    alive[name] = is_alive(self.locks, name)
                    if not alive[name]:
                        self.db.execute("DELETE FROM claims WHERE owner = ?", (name,))
                free = set(chunk) - stored - {key for key, name in claims if alive[name]}
                self.db.executemany(
                    "INSERT OR REPLACE INTO claims VALUES (?, ?)", [(key, self._owner.name) for key in free]
                )
                granted.update(key.hex() for key in free)
        return granted

    def give_up(self, keys: Sequence[str]) -> None:
        """End this store's claims of these keys; claims of others stay. Never fails: `release` ends them too."""
        if self._owner is None or not keys:
            return
        with contextlib.suppress(RunError), explained(self.path), writing(self.db):
            for chunk in _chunks(keys):
                condition = f"owner = ? AND key IN ({_marks(chunk)})"
                self.db.execute(f"DELETE FROM claims WHERE {condition}", [self._owner.name, *chunk])

    def release(self) -> None:
        """Give up all claims of this store. Never fails: the claims of an owner that is gone are void."""
        if self._owner is not None:
            with contextlib.suppress(RunError), explained(self.path), writing(self.db):
                self.db.execute("DELETE FROM claims WHERE owner = ?", (self._owner.name,))
            self._owner.leave()
            self._owner = None

    def discard(self, key: str) -> None:
        """Delete a response, so that it is generated again."""
        with explained(self.path), writing(self.db):
            self.db.execute("DELETE FROM responses WHERE key = ?", (bytes.fromhex(key),))

    def _intact_rows(self, keys: Sequence[str]) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """(id, key, body) of responses that match their checksum, in the order of the keys, MEMORY_BYTES at once."""
        for chunk in self._fitting(keys):
            with explained(self.path):
                # Read all rows at once: an open statement would keep the log from being written back.
                rows = self.db.execute(
                    f"SELECT id, key, body, checksum FROM responses WHERE key IN ({_marks(chunk)})", chunk
                ).fetchall()
            intact = [row[:3] for row in rows if has_checksum(*row[1:])]
            if len(intact) < len(rows):
                self._delete_damaged([row[0] for row in rows if not has_checksum(*row[1:])])
            del rows
            place = {key: at for at, key in enumerate(chunk)}
            yield sorted(intact, key=lambda row: place[row[1]])

    def _fitting(self, keys: Sequence[str]) -> Iterator[list[bytes]]:
        """The keys in lists whose bodies fit into memory together; sizes are read without the bodies."""
        for chunk in _chunks(keys):
            with explained(self.path):
                sizes: dict[bytes, int] = dict(
                    self.db.execute(
                        f"SELECT key, length(body) FROM responses WHERE key IN ({_marks(chunk)})", chunk
                    ).fetchall()
                )
            part, part_bytes = list[bytes](), 0
            for key in dict.fromkeys(chunk):
                size = sizes.get(key) or 0
                if part and part_bytes + size > MEMORY_BYTES:
                    yield part
                    part, part_bytes = [], 0
                part.append(key)
                part_bytes += size
            yield part

    def _delete_damaged(self, row_ids: Sequence[int]) -> None:
        with explained(self.path), writing(self.db):
            for row_id in row_ids:
                # Another process may have deleted it since, and a new response may have its id.
                row = self.db.execute("SELECT key, body, checksum FROM responses WHERE id = ?", (row_id,)).fetchone()
                if row is not None and not self._is_intact(*row):
                    self.db.execute("DELETE FROM responses WHERE id = ?", (row_id,))
        self.damaged += len(row_ids)

    def _is_intact(self, key: object, body: object, stored_checksum: object) -> bool:
        if not (has_checksum(key, body, stored_checksum) and isinstance(body, bytes)):
            return False
        try:
            decode(self.packer.unpack(body))
        except ValueError:
            return False
        return True

    def _session_row(self, sha256: str) -> tuple[object, dict[str, Any] | None] | None:
        """The stored (identity, labels), None if there is no such session; labels that cannot be read are None."""
        row = self.db.execute("SELECT identity, about FROM sessions WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            return None
        try:
            return row[0], labels_of(row[1])
        except (ValueError, RecursionError):
            return row[0], None


def _merged(stored: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(stored)
    for name, value in new.items():
        old = out.get(name)
        if isinstance(value, list | tuple) and isinstance(old, list):
            known = set(old)
            out[name] = [*old, *(item for item in dict.fromkeys(value) if item not in known)][:MAX_LABELS]
        else:
            out[name] = list(value[:MAX_LABELS]) if isinstance(value, list | tuple) else value
    return dict(stored) if stored and exceeds(canonical(out), MAX_SETTINGS) else out


def _chunks(keys: Sequence[str]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), CHUNK):
        yield [bytes.fromhex(key) for key in keys[start : start + CHUNK]]


def has_checksum(key: object, body: object, stored_checksum: object) -> bool:
    """Whether a row matches its checksum; a column may hold any type."""
    return type(key) is bytes and type(body) is bytes and checksum(key, body) == stored_checksum


def _storable(value: Mapping[str, Any]) -> str:
    text = canonical(value)
    if exceeds(text, MAX_SETTINGS):
        raise DataError(f"the settings or labels of an engine have more than {MAX_SETTINGS} values", "use fewer")
    _check_storable(text)
    return text


def _check_storable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = quoted(text[max(0, error.start - 20) : error.end])
        raise DataError(
            f"a setting contains half of a character (a lone surrogate): {where}", "write the whole character"
        ) from error


def _marks(chunk: Sequence[bytes]) -> str:
    return ",".join("?" * len(chunk))
