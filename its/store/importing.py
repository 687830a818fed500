"""Add an exported file to a store: all of the file is checked before any of it is inserted.

The file is read once. Each line is checked as it comes, with the checks that reading, verify and export make of stored
rows, and kept in a temporary database until the last line has passed. So a file that is refused at its last line adds
nothing, and nothing that was imported can turn out to be damaged later.

Keys are hashes of the file's content and are recomputed. The bodies of responses are covered by the trailer's hash
alone, which guards against damage and not against a forger.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn

import zstandard

from its.errors import DataError
from its.files import open_regular
from its.shown import quoted
from its.store.connection import explained, writing
from its.store.database import Store
from its.store.encoding import MAX_BYTES, Packer, decode, encode
from its.store.exporting import FORMAT, VERSION
from its.store.inserting import insert_packed_prompt, insert_response
from its.store.keys import canonical, join_key, prompt_sha256, session_sha256, without_secrets
from its.store.validation import LAST_SECOND, check_labels, check_prompt, check_response, storable
from its.values import MAX_VALUES

BATCH = 1000  # responses in one transaction
_ROWS = (
    "SELECT responses.id, key, session, prompt, details, created, responses.body, prompts.body "
    "FROM responses JOIN prompts ON sha256 = prompt WHERE responses.id > ? ORDER BY responses.id LIMIT ?"
)
MAX_SESSIONS = 10_000
"""Limit for one file: a thousand checkpoints under ten settings each."""
MAX_RATIO = 2000
"""Unpacked bytes for each packed one, above FREE_BYTES. An export of reasoning has 8; one in which every response of
100 kB repeats a word has 900, since keys and hashes do not compress."""
FREE_BYTES = 2**28
MANIFEST_VALUES = 4_000_000
"""Limit on values in the first line: each of the sessions has about a hundred settings and labels."""
_CACHE_KIB = 16 * 1024
_KEYS = {
    "manifest": {"format", "version", "its", "created", "counts", "sessions"},
    "session": {"sha256", "identity", "about"},
    "prompt": {"kind", "sha256", "body"},
    "response": {"kind", "key", "session", "prompt", "details", "created", "body"},
}
_TABLES = """
CREATE TABLE prompts (sha256 BLOB PRIMARY KEY, body BLOB);
CREATE TABLE responses (
    id INTEGER PRIMARY KEY, key BLOB UNIQUE, session TEXT, prompt BLOB, details TEXT, created INTEGER, body BLOB
);
"""


@dataclass(frozen=True)
class Imported:
    """How many responses of a file were new and how many were stored already."""

    new: int
    known: int


def import_store(store: Store, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Imported:
    """Check the whole file, then insert what is new; a stored response is left as it is.

    The file is read once, into a hidden copy beside the store, which takes as much space again. An import that is
    killed keeps whole transactions, and repeating it continues. The file replaces damaged responses of the store.

    Args:
        progress: receives (responses done, responses in all) while inserting.

    Raises:
        MissingError: if there is no such file.
        DataError: if an export did not write it so, with the line; nothing is imported then.
        RunError: if the disk is full.
    """
    with closing(_stage(store.path, store.packer, path)) as staged:
        for identity, about in staged.sessions:
            store.register(identity, about)
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


class _Staged:
    """The checked content of a file, in an unlinked database that disappears with its process.

    Attributes:
        sessions: (identity, labels) of each session.
        responses: how many there are.
        db: tables `prompts` (sha256, body) and `responses` (id, key, session, prompt, details, created, body); bodies
            are packed.
    """

    def __init__(self, folder: Path) -> None:
        self.sessions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.responses = 0
        handle, name = tempfile.mkstemp(dir=folder, prefix=".import-", suffix=".tmp")
        os.close(handle)
        try:
            self.db = sqlite3.connect(name, isolation_level=None)
            self.db.execute("PRAGMA journal_mode = OFF")
            self.db.execute("PRAGMA synchronous = OFF")
            self.db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            for statement in _TABLES.strip().split(";"):
                self.db.execute(statement)
        finally:
            os.unlink(name)  # the file lives on while it is open

    def close(self) -> None:
        self.db.close()


def _stage(store_path: Path, packer: Packer, path: Path) -> _Staged:
    """Check a whole file and return its content; raises as `import_store` does."""
    with open_regular(path, hint="`its store export FILE` writes one") as source, explained(store_path):
        staged = _Staged(Path(os.path.realpath(store_path)).parent)
        try:
            staged.db.execute("BEGIN")
            _Reader(path, staged, packer).read(source)
            staged.db.execute("COMMIT")
        except BaseException:
            staged.close()
            raise
    return staged


class _Reader:
    """Checks the lines of a file one by one and puts them into `staged`."""

    def __init__(self, path: Path, staged: _Staged, packer: Packer) -> None:
        self._path, self._staged, self._packer = path, staged, packer
        self._sessions: set[str] | None = None
        self._prompts: set[bytes] = set()

    def read(self, source: IO[bytes]) -> None:
        """Check every line, and that all of them are there."""
        digest = hashlib.sha256()
        number, trailer = 0, None
        for number, line in _lines(self._path, source):
            if trailer is not None:
                _refuse(self._path, number, "a line after the trailer")
            try:
                value = decode(line, MANIFEST_VALUES if self._sessions is None else MAX_VALUES)
                if self._sessions is not None and value["kind"] == "trailer":
                    trailer = value
                    continue
                self._take(value)
            except json.JSONDecodeError as error:
                _refuse(self._path, number, f"broken JSON: {error.msg.lower()}")
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                what = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else quoted(error, 200)
                _refuse(self._path, number, what)
            digest.update(line)
        if trailer is None:
            _refuse(self._path, number + 1, "the file is cut off: the trailer is missing")
        expected = {
            "kind": "trailer",
            "prompts": len(self._prompts),
            "responses": self._staged.responses,
            "sha256": digest.hexdigest(),
        }
        if trailer != expected:
            _refuse(
                self._path, number, "the trailer does not match the lines before it: the file is damaged or was changed"
            )

    def _take(self, value: dict[str, Any]) -> None:
        if self._sessions is None:
            self._sessions = self._manifest(value)
        elif value["kind"] == "prompt":
            self._prompt(value)
        elif value["kind"] == "response":
            self._response(value, self._sessions)
        else:
            raise ValueError(f"unknown kind `{quoted(value['kind'])}`")

    def _manifest(self, value: dict[str, Any]) -> set[str]:
        if value.get("format") != FORMAT:
            raise ValueError("not the first line of an export")
        if value.get("version") != VERSION:
            version = quoted(value.get("version"))
            raise DataError(
                f"{self._path}: an export of version {version}; this version of ITS reads {VERSION}", "update ITS"
            )
        _check_keys("manifest", value)
        if not isinstance(value["sessions"], list) or len(value["sessions"]) > MAX_SESSIONS:
            raise ValueError(f"`sessions` is not a list of at most {MAX_SESSIONS}")
        found: set[str] = set()
        for session in value["sessions"]:
            _check_keys("session", session)
            identity, about, sha256 = session["identity"], session["about"], session["sha256"]
            if not isinstance(identity, dict):
                raise TypeError("`identity` is not an object")
            storable(identity)
            if session_sha256(without_secrets(identity)) != sha256:
                raise ValueError(f"the session `{quoted(sha256)}` has another identity")
            check_labels(about)
            if sha256 in found:
                raise ValueError(f"the session `{sha256}` occurs twice")
            found.add(sha256)
            self._staged.sessions.append((identity, about))
        return found

    def _prompt(self, value: dict[str, Any]) -> None:
        _check_keys("prompt", value)
        check_prompt(value["body"])
        text = canonical(value["body"])
        if prompt_sha256(text) != value["sha256"]:
            raise ValueError(f"the prompt `{quoted(value['sha256'], 64)}` has another content")
        sha256 = bytes.fromhex(value["sha256"])
        if sha256 not in self._prompts:
            self._prompts.add(sha256)
            body = self._packer.pack(text.encode("utf-8", "surrogatepass"))
            self._staged.db.execute("INSERT INTO prompts VALUES (?, ?)", (sha256, body))

    def _response(self, value: dict[str, Any], sessions: set[str]) -> None:
        _check_keys("response", value)
        if not isinstance(value["details"], dict):
            raise TypeError("`details` is not an object")
        details = storable(value["details"])
        key, session, prompt = value["key"], value["session"], value["prompt"]
        if join_key(session, prompt, details) != key:
            raise ValueError(f"the key `{quoted(key, 64)}` is not the hash of its session, prompt and details")
        if session not in sessions:
            raise ValueError(f"no session `{quoted(session, 64)}` in the manifest")
        if bytes.fromhex(prompt) not in self._prompts:
            raise ValueError(f"no prompt `{quoted(prompt, 64)}` before its response")
        body = value["body"]
        if not isinstance(body, dict):
            raise TypeError("`body` is not an object")
        check_response(body)
        created = int(datetime.fromisoformat(value["created"]).timestamp())
        if not 0 <= created < LAST_SECOND:
            raise ValueError(f"`created` is out of range: {quoted(value['created'])}")
        packed = self._packer.pack(encode(body))
        row = (bytes.fromhex(key), session, bytes.fromhex(prompt), details, created, packed)
        try:
            self._staged.db.execute(
                "INSERT INTO responses (key, session, prompt, details, created, body) VALUES (?, ?, ?, ?, ?, ?)", row
            )
        except sqlite3.IntegrityError as error:
            raise ValueError(f"the response `{key}` occurs twice") from error
        self._staged.responses += 1


def _check_keys(kind: str, value: dict[str, Any]) -> None:
    """Refuse unknown fields, which no check covers; a format with other fields has another version."""
    unknown = sorted(value.keys() - _KEYS[kind])
    if unknown:
        raise ValueError(f"`{quoted(unknown[0])}` is not a field of a {kind}")


def _lines(path: Path, source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the unpacked file; a last line without a line end keeps having none."""
    number = unpacked = 0
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True, closefd=False)
        lines = io.BufferedReader(reader, 2**20)
        while line := lines.readline(MAX_BYTES + 1):
            number += 1
            unpacked += len(line)
            if len(line) > MAX_BYTES:
                _refuse(path, number, f"longer than {MAX_BYTES} bytes, the limit of a line")
            if unpacked > FREE_BYTES and unpacked > MAX_RATIO * source.tell():
                _refuse(
                    path, number, f"the file unpacks to more than {MAX_RATIO} times its size, the limit for an export"
                )
            yield number, line
    except zstandard.ZstdError as error:
        if number == 0:
            raise DataError(
                f"{path}: not an export of a store: {error}", "`its store export FILE` writes one"
            ) from error
        _refuse(path, number + 1, f"the compressed data is damaged: {error}")


def _refuse(path: Path, line: int, what: str) -> NoReturn:
    """Refuse the whole file because of a line."""
    raise DataError(f"{path}:{line}: {what}; nothing was imported", "fetch or export the file again")
