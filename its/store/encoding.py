"""How responses and prompts are stored: as JSON, compressed where that makes them shorter, with a checksum."""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import zstandard
from pydantic_core import PydanticSerializationError, from_json, to_json

from its.values import MAX_VALUES, exceeds

# Measured on 8 kB of reasoning: level 3 packs 8.3 kB to 2.9 in 40 us; level 9 saves 3 % more in seven times the time.
LEVEL = 3
MAX_BYTES = 2**26
"""Limit of an unpacked body, and so of a line of an export: a hundred times a response of 100,000 tokens. It keeps a
forged length from exhausting the memory."""
MAX_DEPTH = 200
"""Limit on nested lists and objects, the same as `from_json`'s; a body has a depth of 1, an engine's settings of 5."""
_MAGIC = zstandard.FRAME_HEADER


def encode(value: Any) -> bytes:
    """Encode a value as one line of JSON in UTF-8; a lone surrogate is escaped, all other characters stay as they are.

    Raises:
        ValueError: for NaN and infinities.
    """
    try:
        raw = to_json(value)  # four times as fast as json.dumps, but it writes NaN and refuses a lone surrogate
    except PydanticSerializationError:
        return json.dumps(value, allow_nan=False).encode()
    if b"NaN" in raw or b"Infinity" in raw:
        json.dumps(value, allow_nan=False)
    return raw


def decode(raw: bytes, values: int = MAX_VALUES) -> dict[str, Any]:
    """Decode a JSON object.

    Args:
        values: how many values it may hold.

    Raises:
        ValueError: if `raw` is not a JSON object, holds NaN or too many values, or is nested deeper than MAX_DEPTH.
    """
    if exceeds(raw, values):
        raise ValueError(f"more than {values} values")
    try:
        value = from_json(raw, allow_inf_nan=False)  # three times as fast as json.loads
    except ValueError:
        value = _decode_slowly(raw)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _decode_slowly(raw: bytes) -> Any:
    """Decode JSON with lone surrogates, which `from_json` refuses."""
    try:
        value = json.loads(raw.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [item for outer in containers for item in (outer.values() if isinstance(outer, dict) else outer)]
        if not level:
            return value
    raise ValueError("nested too deeply")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is not valid JSON")


def checksum(key: bytes, body: bytes) -> int:
    """The checksum of a stored body and its key; it detects damage, not forgery."""
    return zlib.crc32(body, zlib.crc32(key))


class Packer:
    """Compresses and decompresses bodies; not thread-safe."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def pack(self, raw: bytes) -> bytes:
        """Compress `raw`, or return it unchanged where that does not shorten it (below about 150 bytes).

        Raises:
            ValueError: if it is longer than MAX_BYTES, which `unpack` would refuse.
        """
        if len(raw) > MAX_BYTES:
            raise ValueError(f"{len(raw)} bytes; the store takes at most {MAX_BYTES} of one text")
        packed = self._compressor.compress(raw)
        return packed if len(packed) < len(raw) else raw

    def unpack(self, body: bytes) -> bytes:
        """Return what was packed.

        Raises:
            ValueError: if the body is damaged.
        """
        if not body.startswith(_MAGIC):
            if len(body) > MAX_BYTES:
                raise ValueError("longer than any response")
            return body
        try:
            # `pack` writes no frame without its length; such a frame may unpack to any size.
            if not 0 <= zstandard.frame_content_size(body) <= MAX_BYTES:
                raise ValueError("longer than any response")
            return self._decompressor.decompress(body)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error

    def unpacked_bytes(self, body: bytes) -> int:
        """The length of the unpacked body, without unpacking it; of a damaged body the stored length."""
        try:
            size = zstandard.frame_content_size(body) if body.startswith(_MAGIC) else len(body)
        except zstandard.ZstdError:
            return len(body)
        return size if 0 <= size <= MAX_BYTES else len(body)
