"""`its prune` removes what left the design, and nothing that a symbolic link names."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.data_samples import TRAINED

from its.stages.prune import prune
from its.stages.study import load_study

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


def test_what_left_the_design_goes(study: Path) -> None:
    gone, kept = _model(study / "models" / GONE), _model(study / "models" / TRAINED)
    for name in ("loss/{}.csv", "cost/train-{}.json"):
        for checkpoint in (GONE, TRAINED):
            (study / "results" / name.format(checkpoint)).touch()
    wanted = [f"models/{GONE}", f"results/cost/train-{GONE}.json", f"results/loss/{GONE}.csv"]
    assert prune(load_study(study), dry_run=True) == (wanted, {})
    assert gone.is_dir()
    assert prune(load_study(study), dry_run=False) == (wanted, {})
    assert not gone.exists()
    assert kept.is_dir()
    assert (study / "results" / "loss" / f"{TRAINED}.csv").exists()


def test_a_link_goes_and_what_it_names_stays(study: Path, tmp_path: Path) -> None:
    outside = _model(tmp_path / "elsewhere")
    (study / "models" / GONE).symlink_to(outside)
    (study / "models" / "dangling-sums-none-1").symlink_to("nowhere")
    (study / "models" / "circle-sums-none-1").symlink_to("circle-sums-none-1")
    inner = _model(study / "models" / "inner-sums-none-1")
    (inner / "link").symlink_to(outside)
    (study / "results" / "loss" / f"{GONE}.csv").symlink_to(outside / "config.json")
    removed, left = prune(load_study(study), dry_run=False)
    assert len(removed) == 5
    assert not left
    assert not list((study / "models").iterdir())
    assert (outside / "config.json").read_text() == "{}"


@pytest.mark.parametrize("place", ["models", "results", "results/loss"])
def test_what_lies_behind_a_linked_folder_is_left_and_named(study: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "elsewhere"
    (study / place).rename(outside)
    (study / place).symlink_to(outside)
    _model(study / "models" / GONE)
    (study / "results" / "loss" / f"{GONE}.csv").touch()
    removed, left = prune(load_study(study), dry_run=False)
    for path in (f"models/{GONE}", f"results/loss/{GONE}.csv"):
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


def test_a_model_that_train_did_not_make_is_left(study: Path) -> None:
    model = _model(study / "models" / GONE)
    (model / "its_parity.json").unlink()
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
