"""What a file is that cannot be read as data, judged by its name or its first bytes, and how to fix that.

People name what they have: a spreadsheet, an archive, a pointer that git-lfs left, the page of a login saved under the
name of a data set. Each has a remedy that can be typed. Nothing here reads more than the start of a file, and a pickle,
which may run code when it is loaded, is never loaded.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import PurePosixPath

from its.shown import shown

START_BYTES = 1024
"""That are looked at; a tar archive says at byte 257 that it is one."""

_PICKLED = ("loading it runs code, so it is never read", "have its owner write JSON lines or Parquet")
_SHEET = ("a spreadsheet", "save the sheet as `CSV UTF-8`, and name that file")
_ENDINGS: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".dill"), (f"a pickle: {_PICKLED[0]}", _PICKLED[1])),
    **dict.fromkeys((".pt", ".pth", ".npy", ".npz", ".bin", ".ckpt"), (f"maybe a pickle: {_PICKLED[0]}", _PICKLED[1])),
    ".arrow": ("an Arrow file, as datasets keeps it", "{arrow}"),
    ".feather": ("an Arrow file", "{feather}"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".tbz2", ".txz"), ("an archive", "unpack it: `{unpack}`")),
    **dict.fromkeys((".7z", ".rar"), ("an archive", "unpack it, and name what is in it")),
    ".bz2": ("packed by bzip2", "unpack it: `bunzip2 -k {file}`"),
    ".xz": ("packed by xz", "unpack it: `unxz -k {file}`"),
    ".lz4": ("packed by lz4", "unpack it: `lz4 -d {file}`"),
    ".txt": ("text in no stated format", "give it the ending of its format (JSON lines: `mv {file} {stem}.jsonl`)"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), ("a database", "export the table as CSV or JSON lines")),
    **dict.fromkeys((".avro", ".orc", ".tfrecord"), ("a format that is not read", "convert it to Parquet")),
    **dict.fromkeys((".yaml", ".yml", ".toml", ".xml"), ("a format that is not read", "convert it to JSON lines")),
    **dict.fromkeys(
        (".html", ".htm"), ("a page", "get the file itself; on the hub its address has `resolve`, not `blob`")
    ),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".tex"), ("a document", "write its problems as rows")),
}

_HTML = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1\x15", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    *((b"BZh%d1AY&SY" % level, "bzip2") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"SQLite format 3\0", "database"),
    (b"\xd0\xcf\x11\xe0", "spreadsheet"),
    (b"\x93NUMPY", "pickle"),
    *((b"\x80" + bytes([version]), "pickle") for version in range(2, 6)),
    (b"%PDF-", "document"),
    (b"<?xml", "xml"),
)
_RENAMED = {"gzip": ".gz", "zstd": ".zst", "parquet": ".parquet"}
_SAID = {
    "zip": (
        "a zip archive (or a spreadsheet, which is one)",
        "unpack it: `unzip {file} -d {stem}`; a sheet: save it as CSV",
    ),
    "tar": ("a tar archive", "unpack it: `tar -xf {file} -C {folder}`"),
    "gzip": ("packed by gzip", "rename it: `mv {file} {new}`"),
    "zstd": ("packed by zstd", "rename it: `mv {file} {new}`"),
    "parquet": ("a Parquet file", "rename it: `mv {file} {new}`"),
    "arrow": ("an Arrow file", "{arrow}"),
    "bzip2": ("packed by bzip2", "unpack it: `bunzip2 -c {file} > {plain}`"),
    "xz": ("packed by xz", "unpack it: `xz -dc {file} > {plain}`"),
    "7z": ("an archive", "unpack it, and name what is in it"),
    "rar": ("an archive", "unpack it, and name what is in it"),
    "database": ("a database", "export the table as CSV or JSON lines"),
    "spreadsheet": ("a spreadsheet", "save the sheet as `CSV UTF-8`, and name that file"),
    "pickle": (f"a pickle: {_PICKLED[0]}", _PICKLED[1]),
    "document": ("a PDF", "write its problems as rows"),
    "lfs": ("a git-lfs pointer, not the file itself", "`git lfs pull`, where the file came from by git"),
    "xml": ("XML, not the file (an error of a storage service?)", "get the file itself"),
    "html": (
        "a web page, not the file (a login, or an error)",
        "get the file itself; on the hub its address has `resolve`, not `blob`, and a gated set needs a token",
    ),
}
_LFS = b"version https://git-lfs.github.com/spec/"


def foreign_ending(name: str) -> tuple[str, str | None]:
    """What an ending that is not read stands for, to follow `unknown ending`, and a remedy; empty and None: unknown."""
    path = PurePosixPath(name)
    last = path.suffix.lower()
    if path.name.lower().endswith((".tar.gz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        last = ".tar"
    if path.name.lower().endswith((".parquet.gz", ".parquet.zst")):
        tool = "gunzip -k" if last == ".gz" else "zstd -d"
        return ": Parquet packs by itself", f"unpack it: `{_filled(f'{tool} {{file}}', name)}`"
    what, remedy = _ENDINGS.get(last, ("", ""))
    if not what:
        return "", None
    return f": {what}", _filled(remedy, name)


def foreign_start(start: bytes, name: str, packed: bool = False) -> tuple[str, str] | None:
    """What a data file is by its first bytes, and a remedy, where it is not what its name says; None where it may be.

    Args:
        start: the first START_BYTES, or all.
        name: the file's, as a recipe has it.
        packed: the bytes are what it unpacks to.
    """
    lower = name.lower()
    kind = _kind(start)
    wanted = "" if packed else {".gz": "gzip", ".zst": "zstd"}.get(PurePosixPath(lower).suffix, "")
    wanted = "parquet" if lower.endswith(".parquet") else wanted
    if kind is None or kind == wanted:
        return None
    what, remedy = _SAID[kind]
    if packed and kind in _RENAMED:
        return f"{what} again inside", "unpack it"
    return what, _filled(remedy, name, _RENAMED.get(kind, ""))


def _kind(start: bytes) -> str | None:
    if start.startswith(_LFS):
        return "lfs"
    if _HTML.match(start.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    if start[257:262] == b"ustar":
        return "tar"
    return next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)


def _filled(remedy: str, name: str, ending: str = "") -> str:
    """A remedy with the names of this file in it, each quoted for a shell."""
    path = PurePosixPath(name)
    plain = name.removesuffix(path.suffix)
    new = f"{name}{ending}" if ending in (".gz", ".zst") else f"{plain}{ending}"
    unpack = "unzip {file} -d {stem}" if path.suffix.lower() == ".zip" else "tar -xf {file} -C {folder}"
    remedy = remedy.replace("{unpack}", unpack)
    target = f"{plain}_rows.parquet" if path.suffix.lower() == ".parquet" else f"{plain}.parquet"
    old, parquet = python_text(name), python_text(target)
    filled = remedy.format(
        file=shlex.quote(name),
        stem=shlex.quote(plain),
        new=shlex.quote(new),
        plain=shlex.quote(f"{plain}_unpacked{path.suffix}"),
        folder=shlex.quote(str(path.parent)),
        arrow=python_command(f"import datasets; datasets.Dataset.from_file({old}).to_parquet({parquet})"),
        feather=python_command(f"import pandas; pandas.read_feather({old}).to_parquet({parquet})"),
    )
    return shown(filled)


def python_command(code: str) -> str:
    """A command that runs a line of Python, as a reader types it; in backticks."""
    return f"`{shlex.join(['python', '-c', code])}`"


def python_text(text: str) -> str:
    """A text as Python writes it, in double quotes: a shell's line has single ones around it."""
    return json.dumps(text)
