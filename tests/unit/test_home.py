"""Where the home is, and that one process at a time holds a key's lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from its.errors import DataError, MissingError
from its.home import its_home, key_lock


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ITS_HOME", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    study = tmp_path / "study"
    study.mkdir()
    (study / "dvc.yaml").touch()
    return study


def test_its_home_wins_over_everything(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITS_HOME", str(tmp_path / "big_disk"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    assert its_home(study) == tmp_path / "big_disk"
    assert not (tmp_path / "big_disk").exists()


def test_a_relative_its_home_is_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ITS_HOME", "here")
    assert its_home() == tmp_path / "here"


def test_dvc_root_comes_next(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    assert its_home(study) == tmp_path / "main" / ".its"


def test_the_nearest_dvc_yaml_above(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = study / "data" / "problems"
    below.mkdir(parents=True)
    assert its_home(below) == study / ".its"
    monkeypatch.chdir(below)
    assert its_home() == study / ".its"


@pytest.mark.parametrize("workspace", ["tmp1a2b", "standalone/tmp1a2b", "tmp1a2b/.dvc/tmp/exps/tmp3c4d"])
def test_an_experiment_shares_the_home_of_its_main_checkout(
    study: Path, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = study / ".dvc" / "tmp" / "exps" / workspace
    (inside / ".dvc").mkdir(parents=True)
    (inside / "dvc.yaml").touch()
    assert its_home(inside) == study / ".its"
    monkeypatch.setenv("DVC_ROOT", str(inside))
    assert its_home(study) == study / ".its"


def test_a_study_in_a_subfolder_agrees_with_dvc_root(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "studies" / "one").mkdir(parents=True)
    (tmp_path / "studies" / "one" / "dvc.yaml").touch()
    assert its_home(tmp_path / "studies" / "one") == tmp_path / ".its"


def test_a_lock_leaves_no_name_of_its_holder(tmp_path: Path) -> None:
    with key_lock(tmp_path, "train", "k"):
        assert (tmp_path / "locks" / "train-k.holder").is_file()
    assert not (tmp_path / "locks" / "train-k.holder").exists()  # the next one to wait would name the wrong process


def test_no_study_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no `dvc\.yaml` in .* or above") as caught:
        its_home(tmp_path)
    assert "ITS_HOME" in str(caught.value.hint)


def test_a_key_has_to_name_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file name"), key_lock(tmp_path, "train", "../other"):
        pass


def test_a_second_thread_waits_and_is_told_once(tmp_path: Path) -> None:
    messages: list[str] = []
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with key_lock(tmp_path, "train", "k"):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with key_lock(tmp_path, "train", "k", messages.append):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert messages == [f"waiting for process {os.getpid()}, which holds `train-k`"]


def test_a_free_or_another_key_waits_for_nobody(tmp_path: Path) -> None:
    messages: list[str] = []
    with key_lock(tmp_path, "train", "a", messages.append), key_lock(tmp_path, "train", "b", messages.append):
        pass
    with key_lock(tmp_path, "train", "a", messages.append):
        pass
    assert messages == []


def test_kill_9_of_the_holder_frees_the_key(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom its.home import key_lock\n"
        "with key_lock(Path(sys.argv[1]), 'train', 'k'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    messages: list[str] = []

    def kill(message: str) -> None:
        messages.append(message)
        holder.kill()
        holder.wait()

    began = time.monotonic()
    with key_lock(tmp_path, "train", "k", kill):
        assert time.monotonic() - began < 5
    holder.stdout.close()
    assert messages == [f"waiting for process {holder.pid}, which holds `train-k`"]


@pytest.mark.parametrize("variable", ["ITS_HOME", "DVC_ROOT"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~nosuchuser", "there is no such user"),
        ("~nosuchuser/x", "there is no such user"),
        ("{folder}/file", "is not a folder"),
        ("{folder}/file/below", "is not a folder"),
        ("{folder}/pipe", "is not a folder"),
        ("{folder}/pipe/below", "is not a folder"),
        ("{folder}/circle/below", "too many levels of symbolic links"),
        ("{folder}/dangling", "is not a folder"),
        ("/dev/null", "is not a folder"),
        ("a" * 300, "file name too long"),
        ("a/" * 2600, "file name too long"),
        ("\x1b[31m" + "a" * 300, "file name too long"),
    ],
)
def test_a_home_that_cannot_be_is_one_clear_error(
    variable: str, value: str, message: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.setenv(variable, value.format(folder=tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        its_home(study)
    assert variable in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


def test_a_home_behind_a_link_is_taken(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    monkeypatch.setenv("ITS_HOME", str(tmp_path / "link" / "new" / "home"))
    assert its_home(study) == tmp_path / "link" / "new" / "home"
