"""Variants, earlier checkpoints and combinations of a study: what stage `train` does for each, and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.stage_samples import Edit, prepare_sets, responses_of, script_answers, train_all

from its.errors import DataError, FaultsError, ItsError, RunError
from its.results import read_cost
from its.study.study import Study, load_study


def _varied(edit: Edit, *, seeds: str = "[1]", design: str = "") -> Study:
    """Two variants and a checkpoint in the middle of each training, up to the queries."""
    edit(
        ("  seeds: [1]\n", f"  seeds: {seeds}\n  variants: [default, fast]\n  checkpoints: [last, 1/2]\n{design}"),
        (
            "  hardware: cpu\n",
            "  hardware: cpu\n  datasets: {arithmetic: {global_batch_size: 2, micro_batch_size: 2}}\n"
            "  variants: {fast: {learning_rate: 3.0e-4}}\n",
        ),
    )
    study = load_study()
    prepare_sets()
    run_stage("persona")
    run_stage("query")
    return study


def _trained(folder: Path) -> dict[str, bytes]:
    """The weights of each checkpoint in a combination's folder, by its place there."""
    return {
        str(path.parent.relative_to(folder)): (path.parent / "model.safetensors").read_bytes()
        for path in folder.rglob("its_sound.json")
    }


def test_a_whole_run_of_variants_and_earlier_checkpoints(study: Study, engines: Any, edit: Edit) -> None:
    study = _varied(edit)
    script_answers(study, engines)
    train_all()
    for strategy in ("none", "random"):
        name = f"smollm2_135m-arithmetic-{strategy}-1"
        weights = _trained(study.project / "models" / name)
        assert weights.keys() == {".", "1of2", "fast", "fast-1of2"} and len(set(weights.values())) == 4
        for place in weights:
            folder = study.project / "models" / name / place
            assert json.loads((folder / "its_parity.json").read_text(encoding="utf-8"))["faults"] == 0
            assert (folder / "axolotl.yaml").is_file() and not (folder / "its_saved.json").exists()
        curves = {path.name for path in study.results("loss", name).iterdir()}
        assert curves == {f"{name}.csv", f"{name}-fast.csv"}
        costs = read_cost(study.results("cost", f"train-{name}.json"))
        assert [row.what for row in costs] == [f"train {name}", f"train {name}-fast"]
    run_stage("generate")
    names = {checkpoint.name for checkpoint in study.checkpoints()}
    assert len(names) == 1 + 2 * 2 * 2
    assert {path.name for path in (study.project / "data" / "responses").iterdir() if path.is_dir()} == names
    assert responses_of(study) == {f"generate {name}": (16, 16, 0) for name in names}


def test_equal_trainings_are_one_whatever_they_are_called(study: Study, engines: Any, edit: Edit) -> None:
    """And it saves what any of them wants."""
    study = _varied(edit)
    name = "smollm2_135m-arithmetic-none-1"
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    first, second = json.loads(path.read_text(encoding="utf-8"))["trainings"]
    first["checkpoints"] = ["last"]
    same = {**first, "variant": "same", "checkpoints": ["1/2", "last"]}
    path.write_text(json.dumps({"trainings": [first, second, same]}), encoding="utf-8")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "1").splitlines()
    weights = _trained(study.project / "models" / name)
    assert weights.keys() == {".", "same", "same-1of2", "fast", "fast-1of2"}
    assert weights["same"] == weights["."] != weights["same-1of2"]
    costs = read_cost(study.results("cost", f"train-{name}.json"))
    assert [row.what for row in costs] == [f"train {name} and {name}-same", f"train {name}-fast"]
    assert len(list(study.home.glob("training/*/done.json"))) == 2
    assert f"{name}-same: the same training" in said[0] and "1/2 is step 2" in said[0]


def test_a_combination_that_the_design_leaves_out_is_empty(study: Study, engines: Any, edit: Edit) -> None:
    left_out = "{train: none, seed: 2}, {train: random, variant: fast, checkpoint: last}"
    study = _varied(edit, seeds="[1, 2]", design=f"  except: [{left_out}]\n")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "2")
    name = "smollm2_135m-arithmetic-none-2"
    assert said == f"models/{name}: not in the design (`design.only`, `design.except`): nothing to train"
    assert list((study.project / "models" / name).iterdir()) == []
    (curve,) = study.results("loss", name).iterdir()  # a folder that git keeps
    assert curve.read_text(encoding="utf-8") == "step,loss,learning_rate,grad_norm\n"
    assert read_cost(study.results("cost", f"train-{name}.json")) == []
    run_stage("train", "smollm2_135m", "arithmetic", "random", "1")
    name = "smollm2_135m-arithmetic-random-1"
    assert _trained(study.project / "models" / name).keys() == {".", "1of2", "fast-1of2"}
    assert len(list(study.results("loss", name).iterdir())) == 2


def test_a_training_that_was_finished_before_another_failed_is_reused(
    study: Study, engines: Any, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _varied(edit)
    name = "smollm2_135m-arithmetic-none-1"
    monkeypatch.setenv("ITS_FAKE_TRAINING", "fail_0.0003")
    with pytest.raises(RunError, match="axolotl failed"):
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    assert not (study.project / "models" / name).exists()
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "1").splitlines()
    assert f"models/{name}: reused" in said[0] and f"models/{name}/fast: trained" in said[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "../../../evil"}, "not what `query` writes"),
        ({"variant": "/tmp/evil"}, "not what `query` writes"),
        ({"checkpoints": ["../1/2"]}, "not what `query` writes"),
        ({"checkpoints": []}, "not what `query` writes"),
        ({"axolotl": {"trainer_cls": "evil.Trainer"}}, "`train.axolotl.trainer_cls` imports and runs what it names"),
        ({"launcher_args": ["--module"]}, "`train.launcher_args.--module` runs something other than the training"),
        ({"template": "../params.yaml"}, "`../params.yaml` is outside `recipes/axolotl/`"),
        ({"epochs": -1}, "not what `query` writes"),
    ],
)
def test_trainings_of_someone_else_run_no_code_and_stay_in_their_folder(
    study: Study, engines: Any, edit: Edit, change: dict[str, Any], message: str
) -> None:
    """The file may have been pulled from someone else's remote; what params.yaml says of `train` is not in it."""
    study = _varied(edit)
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    row = json.loads(path.read_text(encoding="utf-8"))["trainings"][0]
    if set(change) <= {"variant", "checkpoints"}:
        row |= change
    else:
        row["train"] |= change
    path.write_text(json.dumps({"trainings": [row]}), encoding="utf-8")
    with pytest.raises(ItsError) as caught:
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    assert message in str(caught.value) and path.name in str(caught.value)
    assert not (study.project / "models").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"trainings": 5}', '{"trainings": [{}]}', '{"trainings": [{"variant": "a"}]}', "{"]
)
def test_trainings_that_query_did_not_write_are_named(study: Study, engines: Any, edit: Edit, text: str) -> None:
    study = _varied(edit)
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=path.name):
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")


def test_finished_trainings_without_a_checkpoint_are_named_at_once(study: Study, engines: Any, edit: Edit) -> None:
    study = _varied(edit)
    words = ("train", "smollm2_135m", "arithmetic", "none", "1")
    run_stage(*words)
    edit(("  checkpoints: [last, 1/2]\n", "  checkpoints: [last, 1/4, 1/2, 3/4]\n"))
    run_stage("query")
    with pytest.raises(FaultsError) as caught:
        run_stage(*words)
    folders = sorted((study.home / "training").iterdir())
    assert len(folders) == len(caught.value.faults) == 2
    for folder in folders:
        (fault,) = [fault for fault in caught.value.faults if str(folder) in fault.message]
        assert fault.where == "params.yaml" and "its checkpoints at `1/4` and `3/4` were not saved" in fault.message
        assert fault.hint is not None and f"`rm -r {folder}`" in fault.hint
        shutil.rmtree(folder)
    run_stage(*words)


def test_a_checkpoint_without_its_own_step_is_named_before_any_training(study: Study, engines: Any, edit: Edit) -> None:
    """With every fault at once, and the trainings that have it."""
    edit(
        ("  seeds: [1]\n", "  seeds: [1]\n  variants: [default, long]\n  checkpoints: [last, 1/3, 1/9]\n"),
        ("  hardware: cpu\n", "  hardware: cpu\n  variants: {long: {epochs: 4}}\n"),
        ("  epochs: #\n", "  epochs: 3\n"),
        ("  global_batch_size: #\n", "  global_batch_size: 8\n"),
        ("  micro_batch_size: #\n", "  micro_batch_size: 8\n"),
    )
    prepare_sets()
    run_stage("persona")
    with pytest.raises(FaultsError) as caught:
        run_stage("query")
    name = "smollm2_135m-arithmetic-none-1"
    assert [fault.message for fault in caught.value.faults] == [
        f"`design.checkpoints`: a training of 3 steps has no step before its last at `1/9` ({name} and 1 more)",
        f"`design.checkpoints`: a training of 4 steps has no step before its last at `1/9` ({name}-long and 1 more)",
    ]
