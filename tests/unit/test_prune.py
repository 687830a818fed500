"""`its prune` removes what left the design: nothing else, nothing by halves, nothing that a symbolic link names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.data_samples import TRAINED

from its.commands.prune import _remove, prune
from its.home import remove
from its.recipe.schema import CellSelection
from its.study.study import Study, load_study

Its = Callable[..., tuple[int, str, str]]

GONE = "old-sums-none-1"


@pytest.fixture
def study(project: Path) -> Path:
    for folder in ("models", "results/loss", "results/cost"):
        (project / folder).mkdir(parents=True, exist_ok=True)
    return project


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "axolotl.yaml", "its_parity.json"):
        (folder / name).write_text("{}")
    return folder


def _files(study: Path) -> dict[str, int]:
    return {str(path.relative_to(study)): path.lstat().st_size for path in study.rglob("*")}


def _checkpoint(study: Path, name: str) -> list[str]:
    """All that a training writes; the paths that prune names."""
    _model(study / "models" / name)
    _losses(study, name)
    (study / f"results/cost/train-{name}.json").write_text("x")
    return [f"models/{name}", f"results/cost/train-{name}.json", f"results/loss/{name}"]


def _losses(study: Path, name: str) -> Path:
    (study / "results" / "loss" / name).mkdir()
    (study / "results" / "loss" / name / f"{name}.csv").write_text("x")
    return study / "results" / "loss" / name


def test_what_left_the_design_goes(study: Path) -> None:
    wanted = _checkpoint(study, GONE)
    _checkpoint(study, TRAINED)
    for name in ("results/cost/generate.json", "results/loss/notes.csv", "models/README.md", "results/metrics.json"):
        (study / name).write_text("of the user, or of another stage")
    before = _files(study)
    assert prune(load_study(study), dry_run=True) == (wanted, {})
    assert _files(study) == before
    assert prune(load_study(study), dry_run=False) == (wanted, {})
    after = {path: size for path, size in before.items() if not any(path.startswith(gone) for gone in wanted)}
    assert _files(study) == after
    assert prune(load_study(study), dry_run=False) == ([], {})


def test_what_it_prints(study: Path, its: Its) -> None:
    assert its("prune") == (0, "nothing to remove: every training is in the design\n", "")
    _checkpoint(study, GONE)
    (_model(study / "models" / "my-own-model-1") / "axolotl.yaml").unlink()
    kept = "kept models/my-own-model-1: it has no `axolotl.yaml` and `its_parity.json`: `train` did not write it\n"
    lines = [f"models/{GONE}", f"results/cost/train-{GONE}.json", f"results/loss/{GONE}"]
    assert its("prune", "--dry-run") == (0, "".join(f"would remove {line}\n" for line in lines), kept)
    assert its("prune") == (0, "".join(f"removed {line}\n" for line in lines), kept)
    assert its("prune") == (0, "", kept)


@pytest.mark.parametrize(
    "change", [("  train: [none, random]", "  train: [none]"), ("  seeds: [1]", "  seeds: [2]")], ids=["train", "seeds"]
)
def test_the_design_decides(study: Path, edit: Callable[..., None], change: tuple[str, str]) -> None:
    none = "smollm2_135m-arithmetic-none-1"
    _checkpoint(study, none)
    wanted = _checkpoint(study, TRAINED)
    assert prune(load_study(study), dry_run=False) == ([], {})
    edit(change)
    removed, _ = prune(load_study(study), dry_run=False)
    assert set(wanted) <= set(removed)
    assert (study / "models" / none).is_dir() == ("train" in change[0])


def test_loss_curves_of_former_versions_go_even_of_the_design(study: Path) -> None:
    """They were single files; now each combination has a folder."""
    _checkpoint(study, TRAINED)
    old = [f"results/loss/{TRAINED}.csv", f"results/loss/{GONE}.csv"]
    for path in old:
        (study / path).touch()
    assert prune(load_study(study), dry_run=False) == (sorted(old), {})


def _parts(study: Path, name: str, *parts: str) -> Path:
    for part in parts:
        _model(study / "models" / name / part)
    return study / "models" / name


@pytest.mark.parametrize("parts", [["lora"], ["lora", "lora-1of3", "1of3"], ["2of3"]])
def test_a_combination_goes_with_its_variants_and_earlier_checkpoints(study: Path, parts: list[str]) -> None:
    for name in (GONE, "older-sums-none-2"):
        folder = _parts(study, name, *parts)
        if name == GONE:
            for file in ("config.json", "axolotl.yaml", "its_parity.json"):
                (folder / file).write_text("{}")
    removed, left = prune(load_study(study), dry_run=False)
    assert (removed, left) == ([f"models/{GONE}", "models/older-sums-none-2"], {})


@pytest.mark.parametrize("strange", ["notes.txt", "Lora", "lora-1of3-old", "a/lora"])
def test_a_folder_with_something_else_beside_the_variants_stays(study: Path, strange: str) -> None:
    folder = _parts(study, GONE, "lora")
    if strange == "notes.txt":
        (folder / strange).touch()
    else:
        _model(folder / strange)
    removed, left = prune(load_study(study), dry_run=False)
    assert (removed, list(left)) == ([], [f"models/{GONE}"])


def test_a_loss_folder_with_something_else_stays(study: Path) -> None:
    (_losses(study, GONE) / "notes.txt").touch()
    assert prune(load_study(study), dry_run=False) == (
        [],
        {f"results/loss/{GONE}": "it is not a folder of loss curves"},
    )


def test_what_a_stage_writes_of_a_combination_that_is_left_out_stays(study: Path) -> None:
    """The stage is in the graph all the same: DVC would run it again. A model that was trained before goes."""
    out = "smollm2_135m-arithmetic-none-1"
    recipe = load_study(study).recipe
    design = recipe.design.model_copy(update={"except_": [CellSelection(train="none")]})
    left = Study(study, recipe.model_copy(update={"design": design}))
    for path in (f"models/{out}", f"results/loss/{out}"):
        (study / path).mkdir()
    (study / "results" / "cost" / f"train-{out}.json").write_text("[]")
    assert prune(left, dry_run=False) == ([], {})
    (study / "models" / out).rmdir()
    _model(study / "models" / out)
    assert prune(left, dry_run=False) == ([f"models/{out}"], {})


def test_models_of_a_combination_in_the_design_stay_whole(study: Path) -> None:
    """`dvc repro` writes the folder of a stage regenerated where its variants change."""
    _parts(study, TRAINED, "lora", "1of3")
    assert prune(load_study(study), dry_run=False) == ([], {})


class Killed(BaseException):
    """No handler of the code under test may catch it, as none catches SIGKILL."""


@pytest.mark.parametrize("at", range(10))
def test_a_kill_in_the_middle_leaves_no_half_model(study: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whatever was removed before the kill, the model is whole under its name or gone, and the next run ends it."""
    wanted = _checkpoint(study, GONE)
    whole = sorted(path.name for path in (study / "models" / GONE).iterdir())
    steps = 0

    def dying(act: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps > at:
                raise Killed
            return act(*args, **named)

        return run

    with monkeypatch.context() as patched:
        for name in ("unlink", "rmdir", "rename"):
            patched.setattr(os, name, dying(getattr(os, name)))
        try:
            prune(load_study(study), dry_run=False)
        except Killed:
            pass
        else:
            assert at == 9, "every step of a run was a place to die"
    model = study / "models" / GONE
    assert not model.exists() or sorted(path.name for path in model.iterdir()) == whole
    prune(load_study(study), dry_run=False)
    assert not [path for path in wanted if (study / path).exists()]
    assert not list((study / "models").iterdir())


def test_what_a_kill_left_goes_before_the_same_model_goes_again(study: Path) -> None:
    half = _model(study / "models" / f".{GONE}.prune.tmp")
    model = _model(study / "models" / GONE)
    removed, left = prune(load_study(study), dry_run=False)
    assert (set(removed), left) == ({f"models/{half.name}", f"models/{GONE}"}, {})
    half.mkdir()
    (half / "weights").touch()
    _remove(_model(model))
    assert not half.exists() and not model.exists()


def test_what_cannot_be_removed_is_named_and_the_rest_goes(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _checkpoint(study, GONE)

    def refusing(path: Path) -> None:
        if path.parent.name == "loss":
            raise PermissionError(1, "Operation not permitted")
        remove(path)

    monkeypatch.setattr("its.commands.prune.remove", refusing)
    removed, left = prune(load_study(study), dry_run=False)
    assert (removed, left) == (wanted[:2], {wanted[2]: "operation not permitted"})


@pytest.mark.parametrize("place", [f"results/loss/{GONE}.csv", f"results/cost/train-{GONE}.json"])
def test_a_folder_that_is_named_as_a_file_of_ours_is_left(study: Path, place: str) -> None:
    (study / place).mkdir()
    assert prune(load_study(study), dry_run=False) == ([], {place: "it is not a file"})
    assert (study / place).is_dir()


def test_a_study_without_any_output(study: Path) -> None:
    for folder in ("models", "results"):
        shutil.rmtree(study / folder)
    assert prune(load_study(study), dry_run=False) == ([], {})


def test_a_link_goes_and_what_it_names_stays(study: Path, tmp_path: Path) -> None:
    outside = _model(tmp_path / "elsewhere")
    (study / "models" / GONE).symlink_to(outside)
    (study / "models" / "dangling-sums-none-1").symlink_to("nowhere")
    (study / "models" / "circle-sums-none-1").symlink_to("circle-sums-none-1")
    inner = _model(study / "models" / "inner-sums-none-1")
    (inner / "link").symlink_to(outside)
    (study / "results" / "loss" / f"{GONE}.csv").symlink_to(outside / "config.json")
    (study / "results" / "loss" / GONE).symlink_to(outside)
    removed, left = prune(load_study(study), dry_run=False)
    assert len(removed) == 6
    assert not left
    assert not list((study / "models").iterdir())
    assert (outside / "config.json").read_text() == "{}"


@pytest.mark.parametrize("place", ["models", "results", "results/loss"])
def test_a_model_in_a_linked_folder_is_kept_and_named(study: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "elsewhere"
    (study / place).rename(outside)
    (study / place).symlink_to(outside)
    _model(study / "models" / GONE)
    _model(study / "models" / f".{GONE}.prune.tmp")
    (study / "results" / "loss" / f"{GONE}.csv").touch()
    _losses(study, GONE)
    removed, left = prune(load_study(study), dry_run=False)
    assert (study / "models" / f".{GONE}.prune.tmp").exists() == (place == "models")
    left.pop(f"models/.{GONE}.prune.tmp", None)
    for path in (f"models/{GONE}", f"results/loss/{GONE}.csv", f"results/loss/{GONE}"):
        behind = path.startswith(place)
        assert (study / path).exists() == (path in left) == behind
        assert (path in removed) != behind
    assert all(f"`{place}` is a symbolic link" in why for why in left.values())


@pytest.mark.parametrize("name", ["Qwen2.5-Math-7B-Instruct", "a-b-c-d", "old-sums-none-1-2", "Old-sums-none-1"])
def test_what_has_no_name_of_a_checkpoint_is_left_and_named(study: Path, name: str) -> None:
    model = _model(study / "models" / name)
    for path in (f"results/loss/{name}.csv", f"results/cost/train-{name}.json"):
        (study / path).touch()
    removed, left = prune(load_study(study), dry_run=False)
    assert removed == []
    assert list(left) == [f"models/{name}"]
    assert model.is_dir()
    assert (study / "results" / "loss" / f"{name}.csv").exists()


@pytest.mark.parametrize("missing", ["its_parity.json", "axolotl.yaml"])
def test_a_model_that_train_did_not_write_is_left(study: Path, missing: str) -> None:
    model = _model(study / "models" / GONE)
    (model / missing).unlink()
    removed, left = prune(load_study(study), dry_run=False)
    assert (removed, list(left)) == ([], [f"models/{GONE}"])
    assert model.is_dir()


@pytest.mark.parametrize("recipe", ["params.yaml", "recipes/other.yaml", "recipes/deep/other.yml"])
@pytest.mark.parametrize(
    "path", [f"models/{GONE}", f"./models/../models/{GONE}/", f"models/{GONE}/rows.jsonl", f"base/{GONE}"]
)
def test_what_a_recipe_names_is_left(study: Path, recipe: str, path: str) -> None:
    (study / "base").symlink_to("models")
    model = _model(study / "models" / GONE)
    (study / recipe).parent.mkdir(exist_ok=True)
    loaded = load_study(study)
    with (study / recipe).open("a") as out:
        out.write(f"\nmore:\n  x:\n    - source: {{kind: folder, path: {path}}}\n")
    removed, left = prune(loaded, dry_run=False)
    assert (removed, left) == ([], {f"models/{GONE}": f"{recipe} names it"})
    assert model.is_dir()


def test_a_recipe_that_cannot_be_read_may_name_anything(study: Path) -> None:
    model = _model(study / "models" / GONE)
    (study / "recipes" / "broken.yaml").write_text("a: [")
    removed, left = prune(load_study(study), dry_run=False)
    assert (removed, list(left)) == ([], [f"models/{GONE}"])
    assert model.is_dir()
