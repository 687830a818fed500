"""Read the file that `its.store.exporting` wrote into a store: all of it is verified before any of it is used.

Keys are hashes of what stands in the file and are computed anew. The bodies of responses are covered by the trailer's
hash alone, which guards against damage and not against a forger.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import zstandard

from its.errors import DataError, MissingError, RunError
from its.store.bodies import decode, encode
from its.store.connection import explained, writing
from its.store.exporting import FORMAT, VERSION
from its.store.inserting import insert_prompt, insert_response
from its.store.keys import PROMPT_FIELDS, canonical, join_key, prompt_sha256, session_sha256, without_secrets

if TYPE_CHECKING:
    from its.store.database import Store

BATCH = 1000  # responses in one transaction
_AGAIN = "fetch or export the file again"


@dataclass(frozen=True)
class Imported:
    """How many responses of a file were new here, and how many were known."""

    new: int
    known: int


@dataclass(frozen=True)
class _Response:
    key: str
    session: str
    prompt: str
    details: str
    created: int
    body: dict[str, Any]


def import_store(store: Store, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Imported:
    """Verify the whole file, then insert what is new; a response that is stored here stays as it is.

    An interrupted import keeps whole transactions; the same import again goes on. A damaged response of the store is
    replaced by the file's.

    Args:
        progress: is told (responses done, responses in all) while inserting.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not what an export wrote, named by its line; nothing was imported then.
        RunError: if the disk is full.
    """
    try:
        source = path.open("rb")
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file", "`its store export FILE` writes one") from error
    with source:
        total = _verify(path, source)
        source.seek(0)
        return _insert(store, path, source, total, progress)


def _verify(path: Path, source: IO[bytes]) -> int:
    """Check every line, and that all of them are there; how many responses there are."""
    digest, prompts, responses = hashlib.sha256(), set[bytes](), 0
    sessions: set[str] | None = None
    number, trailer = 0, None
    for number, line in _lines(path, source):
        if trailer is not None:
            _refuse(path, number, "a line after the trailer")
        try:
            value = decode(line)
            if sessions is None:
                sessions = _manifest(path, value)
            elif value["kind"] == "prompt":
                prompts.add(bytes.fromhex(_prompt(value)[0]))
            elif value["kind"] == "response":
                response = _response(value)
                if response.session not in sessions:
                    raise ValueError(f"no session `{response.session}` in the manifest")
                if bytes.fromhex(response.prompt) not in prompts:
                    raise ValueError(f"no prompt `{response.prompt}` before its response")
                responses += 1
            elif value["kind"] == "trailer":
                trailer = value
                continue
            else:
                raise ValueError(f"an unknown kind `{value['kind']}`")
        except json.JSONDecodeError as error:
            _refuse(path, number, f"broken JSON: {error.msg.lower()}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
            _refuse(path, number, what)
        digest.update(line)
    if trailer is None:
        _refuse(path, number + 1, "the file is cut off: the trailer is missing")
    told = {"kind": "trailer", "prompts": len(prompts), "responses": responses, "sha256": digest.hexdigest()}
    if trailer != told:
        _refuse(path, number, "the trailer does not fit the lines before it: the file is damaged or was changed")
    return responses


def _insert(store: Store, path: Path, source: IO[bytes], total: int, progress: Callable[[int, int], None]) -> Imported:
    new = done = 0
    prompts: dict[str, str] = {}  # those whose first response is still to come, or in the batch
    batch: list[tuple[_Response, bytes]] = []
    lines = _lines(path, source)
    for session in decode(next(lines)[1])["sessions"]:
        store.register(session["identity"], session["about"])
    for _, line in lines:
        value = decode(line)
        if value["kind"] == "prompt":
            sha256, text = _prompt(value)
            prompts[sha256] = text
        elif value["kind"] == "response":
            response = _response(value)
            batch.append((response, store.packer.pack(encode(response.body))))
        if len(batch) == BATCH or value["kind"] == "trailer":
            new += _insert_batch(store, batch, prompts)
            done += len(batch)
            batch.clear()
            progress(done, total)
    return Imported(new=new, known=done - new)


def _insert_batch(store: Store, batch: list[tuple[_Response, bytes]], prompts: dict[str, str]) -> int:
    known = store.contains([response.key for response, _ in batch])
    new = 0
    with explained(store.path), writing(store.db):
        sessions = {sha256: store.session_id(sha256) for sha256 in {response.session for response, _ in batch}}
        for response, body in batch:
            text = prompts.pop(response.prompt, None)
            if response.key in known and text is None:
                continue
            prompt_id = insert_prompt(store.db, store.packer, bytes.fromhex(response.prompt), text)
            if response.key in known:
                continue  # its prompt is there, or is there again
            if prompt_id is None:
                raise RunError(f"{store.path}: responses were deleted while others came in", "run the import again")
            key, session = bytes.fromhex(response.key), sessions[response.session]
            new += insert_response(store.db, key, session, prompt_id, response.details, response.created, body)
    return new


def _manifest(path: Path, value: dict[str, Any]) -> set[str]:
    if value.get("format") != FORMAT:
        raise ValueError("not the first line of an export")
    if value.get("version") != VERSION:
        raise DataError(f"{path}: an export of version {value.get('version')}; this ITS reads {VERSION}", "update ITS")
    found = set()
    for session in value["sessions"]:
        if session_sha256(without_secrets(session["identity"])) != session["sha256"]:
            raise ValueError(f"the session `{session['sha256']}` has another identity")
        if not isinstance(session["about"], dict):
            raise TypeError("`about` is no object")
        found.add(session["sha256"])
    return found


def _prompt(value: dict[str, Any]) -> tuple[str, str]:
    """(hash, canonical text) of a prompt line."""
    if set(value["body"]) != set(PROMPT_FIELDS):
        raise ValueError(f"a prompt has {', '.join(PROMPT_FIELDS)}")
    text = canonical(value["body"])
    if prompt_sha256(text) != value["sha256"]:
        raise ValueError(f"the prompt `{value['sha256']}` has another content")
    return value["sha256"], text


def _response(value: dict[str, Any]) -> _Response:
    details = canonical(value["details"])
    if join_key(value["session"], value["prompt"], details) != value["key"]:
        raise ValueError(f"the key `{value['key']}` is not that of its session, prompt and details")
    if not isinstance(value["body"], dict):
        raise TypeError("`body` is no object")
    created = int(datetime.fromisoformat(value["created"]).timestamp())
    return _Response(value["key"], value["session"], value["prompt"], details, created, value["body"])


def _lines(path: Path, source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the unpacked file; a last line without an end is given without one."""
    number = 0
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True, closefd=False)
        for number, line in enumerate(io.BufferedReader(reader, 2**20), start=1):
            yield number, line
    except zstandard.ZstdError as error:
        if number == 0:
            raise DataError(
                f"{path}: not an export of a store: {error}", "`its store export FILE` writes one"
            ) from error
        _refuse(path, number + 1, f"the compressed data is damaged: {error}")


def _refuse(path: Path, line: int, what: str) -> NoReturn:
    raise DataError(f"{path}:{line}: {what}; nothing was imported", _AGAIN)
