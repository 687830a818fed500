"""`its training` and `its home`: what is kept, what uses it, and that nothing is removed that was not named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.stage_samples import prepare_sets

from its.commands.home_entries import home_content, used_bytes
from its.commands.trainings import Uses, finished_keys, remove_halves, remove_trainings, stored_trainings
from its.errors import ItsError, MissingError, RunError
from its.home import key_lock
from its.study.study import Study

Its = Callable[..., tuple[int, str, str]]
NOTHING = Uses({}, {}, [])
HASH = "ab" * 32


def _training(home: Path, key: str, *, done: bool = True, **change: Any) -> Path:
    """A training's folder, written by hand; `change` is of its record."""
    folder = home / "training" / key
    (folder / "model" / "checkpoint-2").mkdir(parents=True)
    (folder / "model" / "checkpoint-2" / "optimizer.pt").write_bytes(b"x" * 50_000)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    (folder / "axolotl.yaml").write_text(f"%YAML 1.1\n---\na: 1\nbase_model: {home}/models/tiny-0123\n")
    (folder / "progress.jsonl").write_text('{"step": 1, "steps": 9}\n{"step": 2, "steps": 9}\n{"step": 3, "st')
    sound = {"version": 1, "steps": {"done": 9, "epochs": 1, "left_out": 0}, "compared": "x", "changed": None}
    sound["files"] = {"model.safetensors": {"bytes": 7, "sha256": HASH}}
    record = {"seconds": 1.5, "sound": sound, **change}
    if done:
        (folder / "done.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def home(project: Path) -> Path:
    return Path(os.environ["ITS_HOME"])


def test_each_state_is_listed(home: Path) -> None:
    _training(home, "a" * 16)
    _training(home, "b" * 16, done=False)
    _training(home, "c" * 16, sound="of a former version")
    _training(home, "d" * 16)
    (home / "training" / "notes").mkdir()
    with key_lock(home, "train", "d" * 16):
        found = {item.key[0]: item for item in stored_trainings(home, NOTHING)}
    assert {key: item.state for key, item in found.items()} == {
        "a": "finished",
        "b": "unfinished",
        "c": "unfinished",
        "d": "running",
    }
    first = found["a"]
    assert (first.base, first.steps, first.of, first.used_by) == ("tiny-0123", 2, 9, [])
    assert first.bytes > first.saved_states >= 50_000
    assert finished_keys(home) == ["a" * 16, "d" * 16]  # with a record that is valid, as the plan counts them


@pytest.mark.parametrize("damage", ["", "base_model:\n", "base_model: \x1b[31m\n", "\0" * 100])
def test_a_damaged_folder_is_listed_and_shown_safely(home: Path, its: Its, damage: str) -> None:
    folder = _training(home, "a" * 16, done=False)
    (folder / "axolotl.yaml").write_text(damage)
    (folder / "progress.jsonl").write_bytes(b"\xff\xfe[1]\n{}\nnull\n")
    code, out, err = its("training", "list")
    assert code == 0 and out.startswith("a" * 16) and "unfinished" in out and "\x1b" not in out + err


def test_rm_removes_what_is_named_and_nothing_else(home: Path, its: Its) -> None:
    kept, gone = _training(home, "a" * 16), _training(home, "b" * 16)
    assert its("training", "rm", "b" * 16, "--dry-run")[1].startswith(f"would remove {'b' * 16}")
    assert gone.is_dir()
    code, out, _ = its("training", "rm", "b" * 16, "b" * 16)
    assert code == 0 and out.count("removed") == 1 and "1 training" in out
    assert [path.name for path in (home / "training").iterdir()] == [kept.name]


@pytest.mark.parametrize("key", ["c" * 16, "../envs", "", "a" * 15, "*", "a" * 16 + "/", ".aaaa"])
def test_a_key_of_no_training_removes_nothing(home: Path, key: str) -> None:
    folder = _training(home, "a" * 16)
    (home / "envs").mkdir()
    with pytest.raises(MissingError, match="no training `"):
        list(remove_trainings(home, ["a" * 16, key], dry_run=False))
    assert folder.is_dir() and (home / "envs").is_dir()


def test_a_running_training_is_not_removed_nor_another_with_it(home: Path) -> None:
    folders = [_training(home, "a" * 16), _training(home, "b" * 16)]
    with key_lock(home, "train", "b" * 16), pytest.raises(RunError, match=r"`b+` is running"):
        list(remove_trainings(home, ["a" * 16, "b" * 16], dry_run=False))
    removing = remove_trainings(home, ["a" * 16, "b" * 16], dry_run=False)
    next(removing)
    with key_lock(home, "train", "b" * 16), pytest.raises(RunError, match=r"`b+` is running"):  # it has started since
        next(removing)
    assert [folder.is_dir() for folder in folders] == [False, True]


def test_the_rest_of_an_interrupted_removal_goes_and_is_named(home: Path) -> None:
    half = home / "training" / f".{'a' * 16}.rm.tmp"
    half.mkdir(parents=True)
    (home / "training" / ".mine.rm.tmp").mkdir()
    assert remove_halves(home) == ["a" * 16]
    assert [path.name for path in (home / "training").iterdir()] == [".mine.rm.tmp"]


def test_what_the_study_uses(study: Study, its: Its, engines: Any) -> None:
    prepare_sets()
    _training(study.home, "a" * 16)
    code, out, err = its("training", "list")
    assert code == 0 and "used by: not decided" in out
    assert "not decided: smollm2_135m-arithmetic-none-1: " in err
    code, out, err = its("training", "rm", "--unused")
    assert code == 1 and "what this study uses cannot be determined: smollm2_135m-arithmetic-" in err
    assert "(1 other likewise)" in err
    engines.tell(persona="You like sums.")
    for words in (["persona"], ["query"], ["train", "smollm2_135m", "arithmetic", "none", "1"]):
        run_stage(*words)
    listed = json.loads(its("training", "list", "--json")[1])
    used = {item["key"]: item["used_by"] for item in listed["trainings"]}
    assert listed["undecided"] == [] and used.pop("a" * 16) == []
    (key,) = used
    name = "smollm2_135m-arithmetic-none-1"
    assert used[key] == [f"params.yaml ({name})", f"models/{name}"]
    code, _, err = its("training", "rm", "--unused")
    assert code == 1 and "not this study's own home" in err
    (study.project / ".its").symlink_to(study.home)
    code, out, _ = its("training", "rm", "--unused")
    assert code == 0 and f"removed {'a' * 16}" in out
    assert [path.name for path in (study.home / "training").iterdir()] == [key]
    assert "nothing to remove" in its("training", "rm", "--unused")[1]


@pytest.mark.parametrize("words", [[], ["a" * 16, "--unused"]])
def test_either_keys_or_unused(its: Its, words: list[str]) -> None:
    code, _, err = its("training", "rm", *words)
    assert code == 2 and "Give either keys or --unused." in err


def test_the_home_lists_everything_once(home: Path, its: Its, tmp_path: Path) -> None:
    assert home_content(home).entries == []
    _training(home, "a" * 16)
    for name in ("envs/vllm_cpu-1", "models/tiny-0123", "wheels", "logs", "locks", "fingerprints", "mine; rm"):
        (home / name).mkdir(parents=True)
    (home / "store.sqlite").write_bytes(b"x" * 10_000)
    (home / "store.sqlite-wal").write_bytes(b"x" * 10_000)
    (home / "envs" / "elsewhere").symlink_to(tmp_path)
    entries = {entry.name: entry for entry in home_content(home).entries}
    assert {*entries} == {
        *("envs/elsewhere", "envs/vllm_cpu-1", "fingerprints", "locks", "logs", "mine; rm", "models/tiny-0123"),
        *("store.sqlite", "training", "wheels"),
    }
    assert entries["training"].remove == "`its training rm KEY`"
    assert entries["store.sqlite"].bytes >= 20_000
    assert entries["envs/vllm_cpu-1"].what == "of another lock or Python"
    assert entries["mine; rm"].remove.startswith("nothing")
    code, out, _ = its("home")
    assert code == 0 and len(out.splitlines()) == 1 + len(entries)
    assert len(json.loads(its("home", "--json")[1])["entries"]) == len(entries)


def test_nothing_behind_a_link_is_offered_for_removal(home: Path, tmp_path: Path) -> None:
    """A shared disk has what other machines use: docs/scale.md."""
    for name in ("envs/vllm-1", "models/tiny-1", "wheels"):
        (tmp_path / "shared" / name).mkdir(parents=True)
    home.mkdir(exist_ok=True)
    for name in ("envs", "wheels"):
        (home / name).symlink_to(tmp_path / "shared" / name)
    (home / "models").mkdir()
    (home / "models" / "tiny-1").symlink_to(tmp_path / "shared" / "models" / "tiny-1")
    (home / "models" / "tiny-2").mkdir()
    found = {entry.name: entry.remove for entry in home_content(home).entries}
    assert found.pop("models/tiny-2") == f"`rm -r {home}/models/tiny-2`"
    assert set(found) == {"envs/vllm-1", "models/tiny-1", "wheels"}
    for name, remove in found.items():
        assert remove.startswith("nothing here: ") and f"{tmp_path}/shared/" in remove and "rm" not in remove, name


def test_a_file_with_two_names_counts_once_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "one").write_bytes(b"x" * 100_000)
    alone = used_bytes(folder)
    os.link(folder / "one", folder / "two")
    (folder / "up").symlink_to(tmp_path)
    assert used_bytes(folder) < alone + 50_000
    assert used_bytes(tmp_path / "missing") == 0


def test_an_error_is_one_of_its_own(home: Path) -> None:
    with pytest.raises(ItsError):
        list(remove_trainings(home / "nowhere", ["a" * 16], dry_run=True))
