"""A command that writes to a path which a user typed replaces a regular file, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.store_truth import content, fill

from its.cli.main import main
from its.errors import ItsError
from its.files import atomic_binary_file, atomic_file
from its.store import Store
from its.store.exporting import export_store

Tally = Callable[..., ItsError | None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a store that a running process has open, so that its log is there."""
    home = tmp_path_factory.mktemp("home")
    for folder in ("locks", "envs", "training", "logs"):
        (home / folder).mkdir()
    (home / "locks" / "training-aa.lock").touch()
    return home


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Store]:
    with Store(home / "store.sqlite") as store:
        fill(store, 4)
        yield store


def _made(folder: Path, kind: str) -> Path:
    """A path of that kind, and what must be there afterwards as it was."""
    path = folder / "out"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a socket":
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind(str(path))
    elif kind == "a device":
        path = Path("/dev/null")
    elif kind == "a full device":
        path = Path("/dev/full")
    elif kind == "a link to a device":
        path.symlink_to("/dev/null")
    elif kind == "a link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to(folder / "pipe")
    elif kind == "a link to a link to a folder":
        (folder / "a").mkdir()
        (folder / "b").symlink_to(folder / "a")
        path.symlink_to(folder / "b")
    elif kind == "a loop":
        path.symlink_to(path)
    elif kind == "below a file":
        (folder / "file").touch()
        path = folder / "file" / "out"
    elif kind == "a long name":
        path = folder / ("x" * 300)
    elif kind == "a database":
        with Store(path):
            pass
    else:
        raise AssertionError(kind)
    return path


KINDS = [
    "a pipe",
    "a folder",
    "a socket",
    "a device",
    "a full device",
    "a link to a device",
    "a link to a pipe",
    "a link to a link to a folder",
    "a loop",
    "below a file",
    "a long name",
    "a database",
]


def _grade(folder: Path, path: Path) -> None:
    from its.commands.grade_file import grade_file

    source = folder / "answers.jsonl"
    source.write_text(json.dumps({"reference": "4", "response": "4"}) + "\n")
    grade_file(source, path, "integer", None)


def _write_text(path: Path) -> None:
    with atomic_file(path) as out:
        out.write("x")


def _write_bytes(path: Path) -> None:
    with atomic_binary_file(path, typed=True) as out:
        out.write(b"x")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_not_replaced(tally: Tally, running: Store, tmp_path: Path, kind: str) -> None:
    path = _made(tmp_path, kind)
    before = _state(path)
    acts: list[Callable[[], Any]] = [
        lambda: export_store(running, path),
        lambda: _grade(tmp_path, path),
        lambda: _write_text(path),
        lambda: _write_bytes(path),
    ]
    for act in acts:
        assert tally("output", act) is not None
        assert _state(path) == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def _state(path: Path) -> tuple[Any, ...] | None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return stat.S_IFMT(found.st_mode), found.st_ino, found.st_rdev, os.readlink(path) if path.is_symlink() else None
    return None


OWN = [
    "store.sqlite",
    "store.sqlite-wal",
    "store.sqlite-shm",
    "store.sqlite-journal",
    "STORE.SQLITE-WAL",
    "./locks/../store.sqlite-wal",
    "locks/training-aa.lock",
    "locks/new",
    "LOCKS/new",
    "envs/vllm/bin/python",
    "training/aa/model.safetensors",
    "logs/../locks/x",
    "a hard link to store.sqlite",
    "a link to store.sqlite",
    "a link to store.sqlite-wal",
    "a link to store.sqlite-shm",
    "a link to locks",
]


@pytest.mark.parametrize("name", OWN)
def test_what_belongs_to_the_store_is_not_replaced(
    tally: Tally, running: Store, home: Path, tmp_path: Path, name: str
) -> None:
    path = home / name
    if " link to " in name:
        path = tmp_path / "out"
        target = home / name.split(" link to ")[1]
        if name.startswith("a hard"):
            try:
                os.link(target, path)
            except OSError:
                pytest.skip("no hard links from here to there")
        else:
            path.symlink_to(target)
        if target.is_dir():
            path = path / "new"
    before = {file.name: file.stat().st_ino for file in home.iterdir()}
    known = content(running)
    for act in (lambda: export_store(running, path), lambda: _grade(tmp_path, path)):
        assert tally("output", act) is not None
    assert {file.name: file.stat().st_ino for file in home.iterdir()} == before
    with Store(home / "store.sqlite") as store:
        assert content(store) == known


def test_the_command_says_so_in_words(
    running: Store, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ITS_HOME", str(home))
    for path in ("/dev/null", str(home / "store.sqlite-wal"), str(home / "locks" / "x")):
        with pytest.raises(SystemExit) as caught:
            main(["store", "export", path])
        assert caught.value.code == 3
        assert capsys.readouterr().err.startswith(f"error: {path}: ")


def test_a_link_that_was_typed_stays_a_link(running: Store, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "saved.zst", tmp_path / "saved.zst"
    link.symlink_to(target)
    for _ in range(2):  # first to a file that is not there yet
        export_store(running, link)
        assert link.is_symlink()
        assert target.stat().st_size > 100
        target.chmod(0o600)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_that_nobody_typed_is_replaced(tmp_path: Path) -> None:
    """What a stage writes must not reach a file that a foreign link, or DVC's cache, points at."""
    victim, link = tmp_path / "thesis.tex", tmp_path / "rows.jsonl"
    victim.write_text("years of work")
    link.symlink_to(victim)
    _write_text(link)
    assert (victim.read_text(), link.read_text(), link.is_symlink()) == ("years of work", "x", False)


@pytest.mark.parametrize(("former", "then"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o755, 0o755)])
def test_a_file_keeps_its_permissions(tmp_path: Path, former: int, then: int) -> None:
    path = tmp_path / "out"
    path.write_text("")
    path.chmod(former)
    _write_text(path)
    assert stat.S_IMODE(path.stat().st_mode) == then
