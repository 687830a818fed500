"""Read weights from safetensors files, tensor by tensor and without torch.

A file is 8 bytes of length, a JSON header of that length, then the tensors without gaps
(https://huggingface.co/docs/safetensors). A checkpoint of 65 GB in shards needs as much memory as one of 100 MB.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from its.errors import DataError
from its.files import open_regular, read_regular
from its.rows import unrepeated
from its.shown import shown

CHUNK = 2**23
"""Bytes read at once; a multiple of the size of every value."""
MAX_HEADER = 2**25
"""Bytes of a header or an index: one of a thousand tensors has 0.1 MB."""
MAX_DIMENSIONS = 16
MAX_SIZE = 2**53
"""Above every size and offset in a file; sizes are bounded before anything is multiplied."""
LONGEST_NAME = 200
"""Characters of a name that a message quotes."""
INDEX = ".safetensors.index.json"

_EXPONENT: dict[str, tuple[Any, int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F),  # has no infinity, only NaN: all bits but the sign's
    "F8_E8M0": (np.uint8, 0xFF),
    "C64": (np.uint32, 0x7F80_0000),
}
"""Type -> (unsigned integer of its bits, the bits that are all ones exactly if the value is not finite)."""
_WHOLE = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
"""Types whose every value is finite -> bytes of one."""
_SIZES = _WHOLE | {name: np.dtype(kind).itemsize for name, (kind, _) in _EXPONENT.items()} | {"C64": 8}
_FOREIGN_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
"""Types of safetensors whose values are not read here -> bits of one."""
_BITS = {name: 8 * size for name, size in _SIZES.items()} | _FOREIGN_BITS
_UNSIGNED = "F8_E8M0"
_PRECISION = {"F8_E4M3": 0, "F8_E5M2": 0, "BF16": 1, "F16": 1, "F32": 2, "F64": 3}


class Tensor(NamedTuple):
    """A tensor and the position of its bytes: `begin` to `end` of `file`, from the file's first byte."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def whole(self) -> bool:
        """Whether its values are integers: a buffer, or weights that a quantization packed in another shape."""
        return self.dtype in _WHOLE

    @property
    def foreign(self) -> bool:
        """Whether its values are not read here."""
        return self.dtype in _FOREIGN_BITS

    @property
    def quantized(self) -> bool:
        """Whether trained weights may be saved in another type, and without its scales."""
        return self.foreign or self.dtype.startswith("F8") or self.dtype in ("U8", "I8", "U32", "I32")


class Reading(NamedTuple):
    """The result of one pass over a file: its SHA-256, and the values that are not finite in each tensor with any."""

    sha256: str
    not_finite: dict[str, int]


def tensors_of(folder: Path, spare: bool = False) -> dict[str, Tensor]:
    """Every tensor of a saved model or adapter, by name; {} if the folder has no safetensors file.

    Args:
        spare: ignore files that the index does not name, as a loader does (someone else's model may contain its
            weights twice), and accept types that are not read here; otherwise both are errors.

    Raises:
        DataError: if a file is broken, a type is unknown, a tensor appears twice, or files and index disagree.
    """
    indexes = sorted(folder.glob(f"*{INDEX}"))
    if len(indexes) > 1:
        raise DataError(f"{folder}: contains {len(indexes)} indexes of weights", "keep the one that belongs to it")
    named = _index(indexes[0]) if indexes else {}
    files = {path.name for path in folder.glob("*.safetensors")}
    if spare and indexes:
        files &= set(named.values())
    elif spare and "model.safetensors" in files:
        files = {"model.safetensors"}
    out: dict[str, Tensor] = {}
    for name in sorted(files):
        for tensor, found in header(folder / name).items():
            if tensor in out:
                raise DataError(
                    f"{folder / name}: {called(tensor)} is in `{out[tensor].file.name}` too", "keep one of them"
                )
            if found.foreign and not spare:
                raise _unknown_type(folder / name, tensor, found.dtype)
            out[tensor] = found
    if indexes and {name: tensor.file.name for name, tensor in out.items()} != named:
        wrong = next((called(name) for name in sorted(named.keys() ^ out.keys())), "a tensor is in another file")
        raise DataError(f"{indexes[0]}: index and files disagree: {wrong}", "the checkpoint is incomplete")
    return out


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file according to its header, in the order of their bytes, which fill the file exactly.

    Raises:
        DataError: otherwise.
    """
    with open_regular(path) as source:
        return _header(source, path)[1]


def read_through(path: Path) -> Reading:
    """Read a whole file once: check every value and compute the hash.

    Raises:
        DataError: as `header`.
    """
    not_finite: dict[str, int] = {}
    with open_regular(path) as source:
        head, tensors = _header(source, path)
        digest = hashlib.sha256(head)
        for name, tensor in tensors.items():
            count = 0
            for chunk in _chunks(source, tensor, CHUNK):
                digest.update(chunk)
                count += _not_finite(chunk, tensor.dtype)
            if count:
                not_finite[name] = count
    return Reading(digest.hexdigest(), not_finite)


def differs(trained: Tensor, base: Tensor) -> bool | None:
    """Whether two tensors of one shape differ in a value; None if their types cannot be compared.

    Zeros of both signs are equal. If the types differ, the coarser one is used for the comparison, so that saving in
    another type is not a change.
    """
    if trained.foreign or base.foreign:
        return None
    if trained.dtype == base.dtype:
        return any(
            left != right and _differing(left, right, base.dtype) for left, right in _pairs(trained, base, CHUNK)
        )
    if not {trained.dtype, base.dtype} <= {"BF16", "F16", "F32", "F64"}:
        return None
    coarse = min(trained.dtype, base.dtype, key=_PRECISION.__getitem__)
    return any(
        not np.array_equal(_rounded(left, trained.dtype, coarse), _rounded(right, base.dtype, coarse))
        for left, right in _pairs(trained, base, CHUNK)
    )


def any_nonzero(tensor: Tensor) -> bool:
    """Whether any value is not zero, of either sign."""
    if tensor.dtype not in _EXPONENT:
        return any(any(chunk) for chunk in _opened(tensor, CHUNK))
    kind, magnitude = _magnitude(tensor.dtype)
    return any(bool(np.any(np.frombuffer(chunk, kind) & magnitude)) for chunk in _opened(tensor, CHUNK))


def called(name: str) -> str:
    """A name as a message quotes it, cut if it is long."""
    return f"`{shown(name[:LONGEST_NAME])}{'...' if len(name) > LONGEST_NAME else ''}`"


def _magnitude(dtype: str) -> tuple[np.dtype[Any], Any]:
    """The unsigned integer of a type's bits, and all of them but the sign's."""
    kind = np.dtype(_EXPONENT[dtype][0])
    return kind, kind.type(2 ** (8 * kind.itemsize - (dtype != _UNSIGNED)) - 1)


def _differing(left: bytes, right: bytes, dtype: str) -> bool:
    """Whether the values differ, given that the bytes do."""
    if dtype not in _EXPONENT:
        return True
    kind, magnitude = _magnitude(dtype)
    first, second = np.frombuffer(left, kind), np.frombuffer(right, kind)
    return bool(np.any((first != second) & (((first | second) & magnitude) != 0)))


def _index(path: Path) -> dict[str, str]:
    content = read_regular(path, MAX_HEADER)
    try:
        named = json.loads(content, object_pairs_hook=_once)["weight_map"]
        if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
            raise TypeError("not a mapping of names")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not an index of weights ({error})", "the checkpoint is incomplete") from error
    there = {file.name for file in path.parent.glob("*.safetensors") if file.is_file()}
    if missing := sorted(set(named.values()) - there):
        raise DataError(f"{path}: names {called(missing[0])}, which is missing", "the checkpoint is incomplete")
    return named


def _header(source: BufferedReader, path: Path) -> tuple[bytes, dict[str, Tensor]]:
    """The bytes before the first tensor, and the tensors; the source is then at the first tensor."""
    size = os.fstat(source.fileno()).st_size
    begin = source.read(8)
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or length > min(size - 8, MAX_HEADER):
        raise _broken(path, f"{size} bytes without a header")
    text = source.read(length)
    try:
        entries = json.loads(text, object_pairs_hook=_once)
        out = _tensors(entries, path, 8 + length)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, f"the header cannot be read ({error})") from error
    place = 8 + length
    for name, tensor in out.items():
        values = math.prod(tensor.shape)
        if tensor.dtype not in _BITS:
            raise _unknown_type(path, name, tensor.dtype)
        if tensor.begin != place or 8 * (tensor.end - tensor.begin) != values * _BITS[tensor.dtype]:
            raise _broken(path, f"the position of {called(name)} does not match its shape and the tensor before it")
        place = tensor.end
    if place != size:
        raise _broken(path, f"{size} bytes, but its header says {place}")
    return begin + text, out


def _tensors(entries: Any, path: Path, start: int) -> dict[str, Tensor]:
    if not isinstance(entries, dict):
        raise TypeError("not a mapping")
    found = []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape = entry["shape"]
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"the shape of {called(name)} is not a list of at most {MAX_DIMENSIONS} dimensions")
        if not all(type(number) is int and 0 <= number < MAX_SIZE for number in (begin, end, *shape)):
            raise ValueError(f"{called(name)} has invalid offsets or sizes")
        found.append((name, Tensor(path, str(entry["dtype"]), tuple(shape), start + begin, start + end)))
    return dict(sorted(found, key=lambda item: (item[1].begin, item[1].end)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return unrepeated(pairs, lambda name: f"{called(name)} appears twice")


def _unknown_type(path: Path, name: str, dtype: str) -> DataError:
    return DataError(f"{path}: {called(name)} has the unsupported type {called(dtype)}", "save it in bfloat16")


def _broken(path: Path, what: str) -> DataError:
    return DataError(f"{path}: not a complete safetensors file: {what}", "it was not saved completely")


def _chunks(source: BufferedReader, tensor: Tensor, size: int) -> Iterator[bytes]:
    """The bytes of a tensor, from the source's current position."""
    left = tensor.end - tensor.begin
    while left:
        chunk = source.read(min(size, left))
        if not chunk:
            raise _broken(tensor.file, "it was truncated while it was read")
        left -= len(chunk)
        yield chunk


def _opened(tensor: Tensor, size: int) -> Iterator[bytes]:
    with open_regular(tensor.file) as source:
        source.seek(tensor.begin)
        yield from _chunks(source, tensor, size)


def _pairs(left: Tensor, right: Tensor, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Corresponding values of two tensors of one shape, a chunk at a time."""
    values = size // 8
    yield from zip(
        _opened(left, values * _SIZES[left.dtype]), _opened(right, values * _SIZES[right.dtype]), strict=True
    )


def _not_finite(chunk: bytes, dtype: str) -> int:
    if dtype not in _EXPONENT:
        return 0
    kind, ones = _EXPONENT[dtype]
    bits = np.frombuffer(chunk, kind)
    mask = np.dtype(kind).type(ones)
    return int(np.count_nonzero((bits & mask) == mask))


def _rounded(chunk: bytes, dtype: str, coarse: str) -> NDArray[Any]:
    """Values as float64, rounded to the precision of `coarse`."""
    if dtype == "BF16":
        values = (np.frombuffer(chunk, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(chunk, {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype])
    if coarse == "BF16" and dtype != "BF16":
        bits = values.astype(np.float32).view(np.uint32)
        bits = bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))  # to the nearest, ties to even
        values = (bits & np.uint32(0xFFFF_0000)).view(np.float32)
    elif coarse != "BF16":
        with np.errstate(over="ignore"):
            values = values.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[coarse])
    return values.astype(np.float64)
