"""The disk of a training: refused before anything is written, saved states removed at its end, copies of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.test_training import _base, run  # noqa: F401

from its.errors import RunError
from its.training import space
from its.training.run import Trained
from its.training.space import clone_file, required_bytes
from its.training.weights import Tensor

BASE = {"w": Tensor(Path("f"), "BF16", (1000, 1000), 0, 2_000_000)}
Run = Callable[..., Trained]


@pytest.mark.parametrize(
    ("config", "float32", "steps", "earlier", "megabytes"),
    [
        ({}, False, 100, 0, 2),  # the model
        ({}, True, 100, 2, 12),  # and two earlier checkpoints
        ({"save_steps": 50, "optimizer": "adamw_torch_fused"}, False, 100, 0, 12),  # two states: weights, two moments
        ({"save_steps": 50, "optimizer": "adamw_torch_fused"}, True, 100, 1, 28),
        ({"save_steps": 60, "optimizer": "adamw_torch_8bit"}, False, 100, 0, 6),  # one state, and the model
        ({"save_steps": 50, "optimizer": "adamw_torch", "deepspeed": {"a": 1}}, False, 100, 0, 28),
        ({"save_steps": 50, "optimizer": "lion"}, False, 100, 0, 4),  # what is not known counts for nothing
        ({"save_steps": 50, "optimizer": "adamw_torch_4bit"}, True, 100, 0, 8),
        ({"save_steps": 50, "optimizer": "adamw_torch", "save_only_model": True}, False, 100, 0, 4),
        ({"save_steps": 50, "optimizer": "adamw_torch"}, False, None, 0, 8),
        ({"save_steps": 500, "optimizer": "adamw_torch"}, False, 100, 0, 2),  # none is saved
        ({"adapter": "lora", "save_steps": 5, "optimizer": "adamw_torch"}, False, 100, 3, 0),
    ],
)
def test_the_estimate(config: dict[str, Any], float32: bool, steps: int | None, earlier: int, megabytes: int) -> None:
    assert required_bytes(config, BASE, float32=float32, steps=steps, earlier=earlier) == megabytes * 1_000_000
    assert required_bytes(config, {}, float32=float32, steps=steps, earlier=earlier) == 0


def test_a_training_that_does_not_fit_on_the_disk_writes_nothing(
    run: Run,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, training = _base(tmp_path / "m"), Path(os.environ["ITS_HOME"]) / "training"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=27))  # of 28 bytes, 14 parameters
    with pytest.raises(RunError, match=r"too little disk space for this training: 0\.0 GiB are free at .*ing") as e:
        run(base=base)
    assert "`its home`" in str(e.value.hint)
    assert not training.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=28))
    assert not run(base=base).reused


@pytest.mark.parametrize(
    ("device", "reflinks", "needed"),
    [
        ({}, False, 56),  # the model in the home and its copy
        ({}, True, 28),
        ({"models": 2}, False, 28),  # on each of two disks
    ],
    ids=["one disk", "with reflinks", "two disks"],
)
def test_the_copy_in_models_needs_space_too(
    run: Run,  # noqa: F811
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: dict[str, int],
    reflinks: bool,
    needed: int,
) -> None:
    base, models = _base(tmp_path / "m"), project / "models"
    monkeypatch.setattr(space, "_shares_blocks", lambda place: reflinks)
    monkeypatch.setattr(space, "_device", lambda place: device.get(place.parent.name, 1))
    what, where = ("the models of this training", "models") if device else ("this training", "training")

    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=needed - (not device or path in (project, models)))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    text = rf"^too little disk space for {what}: 0\.0 GiB are free at .*/{where}, at least"
    with pytest.raises(RunError, match=text):
        run(base=base, copied_to=models / "c")
    assert not (Path(os.environ["ITS_HOME"]) / "training").exists() and not models.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    assert not run(base=base, copied_to=models / "c").reused


def test_whether_blocks_are_shared_is_tried_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert space._shares_blocks(tmp_path / "no" / "such") in (True, False)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert space._device(tmp_path / "no" / "such") == tmp_path.stat().st_dev


def test_saved_states_are_removed_when_the_training_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("ITS_FAKE_TRAINING", "killed_2")
    with pytest.raises(RunError):
        run(save_every_steps=1)
    state, *_ = Path(os.environ["ITS_HOME"]).glob("training/*/model/checkpoint-*")
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    folder = run(save_every_steps=1).folder
    assert folder == state.parent
    assert not list(folder.glob("checkpoint-*"))
    state.mkdir()  # of a run that was killed between its record and here, or of a former version
    (folder / "checkpoint-notes").mkdir()
    assert run(save_every_steps=1).reused
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-notes"]


def test_a_copy_can_be_changed_without_the_original(tmp_path: Path) -> None:
    """With reflinks or without: DVC and the user write to `models/`."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"weights" * 1000)
    os.utime(source, ns=(10**18, 10**18))
    target.write_bytes(b"older and longer" * 1000)
    clone_file(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 10**18
    assert source.stat().st_nlink == 1
    target.write_bytes(b"other")
    assert source.read_bytes() == b"weights" * 1000
