"""What git alone knows of a study; DVC's part is tested with a real repository (tests/integration)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from its.errors import MissingError
from its.revisions import committed_content, known_files, last_commit, repository_root


def _git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study in a subfolder of a repository, with one committed file that has changed since."""
    study = tmp_path / "studies" / "one"
    (study / "data").mkdir(parents=True)
    _git(tmp_path, "init", "-q")
    (study / "data" / "a.txt").write_text("12345")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "first")
    (study / "data" / "a.txt").write_text("changed")
    (study / "data" / "new.txt").touch()
    return study


def test_a_committed_file_is_read_up_to_its_limit(study: Path) -> None:
    assert committed_content(study, "data/a.txt", "HEAD", 5) == b"12345"
    assert committed_content(study, "data/a.txt", "HEAD", 4) is None
    assert committed_content(study, "data/new.txt", "HEAD", 5) is None
    assert committed_content(study, "data/a.txt", "no-such-revision", 5) is None
    assert committed_content(study.parents[1].parent, "data/a.txt", "HEAD", 5) is None


def test_tracked_files_and_their_folders_are_known(study: Path) -> None:
    assert known_files(study, ["data/a.txt", "data/new.txt", "data", "other"]) == {"data/a.txt", "data"}
    assert known_files(study, []) == set()
    assert known_files(study.parents[1].parent, ["data"]) is None


def test_the_last_commit_of_a_file(study: Path) -> None:
    assert last_commit(study, "data/a.txt") == _git(study, "rev-parse", "HEAD")
    assert last_commit(study, "data/new.txt") is None


def test_the_repository_is_searched_upwards(study: Path) -> None:
    with pytest.raises(MissingError, match="not in a DVC repository"):
        repository_root(study)
    (study.parents[1] / ".dvc").touch()  # a file is not a repository
    with pytest.raises(MissingError, match="not in a DVC repository"):
        repository_root(study)
    (study.parents[1] / ".dvc").unlink()
    (study.parents[1] / ".dvc").mkdir()
    assert repository_root(study) == study.parents[1]
