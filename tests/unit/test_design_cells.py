"""The cells of a design that is no full product: what each entry of `only` and `except` keeps, and what is read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import processor_seconds
from running import run_stage

from its.recipe.schema import AXES, BASE, CellSelection, Design
from its.study.study import Cell, Checkpoint, Study, cell_name, design_cells, load_study

Edit = Callable[..., None]
VALUES: dict[str, list[Any]] = {
    "model": ["m", "o"],
    "dataset": ["d", "e"],
    "train": ["none", "near"],
    "variant": ["default", "lora"],
    "seed": [1, 2],
    "checkpoint": ["last", "1/3"],
    "benchmark": ["b", "c"],
    "test": ["none", "near"],
}
WITH_BASE = VALUES | {"train": [*VALUES["train"], BASE]}


def _design(**more: Any) -> Design:
    lists = {AXES[axis]: values for axis, values in VALUES.items()}
    return Design.model_validate({**lists, "base": True, **more})


def _values(cell: Cell) -> dict[str, Any]:
    return {**cell[0].axes(), "benchmark": cell[1], "test": cell[2]}


def _entries() -> st.SearchStrategy[list[dict[str, Any]] | None]:
    entry = st.fixed_dictionaries(
        {},
        optional={
            axis: st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, unique=True)
            for axis, values in WITH_BASE.items()
        },
    )
    return st.none() | st.lists(entry, min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(_entries(), _entries())
def test_every_cell_is_kept_or_left_out_as_its_entries_say(
    only: list[dict[str, Any]] | None, left_out: list[dict[str, Any]] | None
) -> None:
    """Against `Selection.matches`, cell by cell."""
    every = design_cells(_design())
    assert len(every) == 2**8 + 2 * 2 * 2
    kept = [CellSelection.model_validate(entry) for entry in only or ()]
    gone = [CellSelection.model_validate(entry) for entry in left_out or ()]

    def wanted(cell: Cell) -> bool:
        values = _values(cell)
        if any(entry.matches(values) for entry in gone):
            return False
        if values["train"] == BASE and not any(entry.reaches_base for entry in kept):
            return True
        return only is None or any(entry.matches(values) for entry in kept)

    more = {key: value for key, value in (("only", only), ("except", left_out)) if value is not None}
    assert design_cells(_design(**more)) == [cell for cell in every if wanted(cell)]


def test_a_thousand_entries_over_many_cells_take_seconds() -> None:
    names = [f"s{at}" for at in range(100)]
    entries = [{"train": name, "test": name, "seed": [1, 2]} for name in names for _ in range(10)]
    design = _design(train=names, test=names, **{"except": entries})
    with processor_seconds(20):
        cells = design_cells(design)
        assert len(cells) == 2 * 2 * 100 * 2 * 2 * 2 * 2 * 99 + 2 * 2 * 100


def _study(design: Design, project: Path) -> Study:
    recipe = load_study(project).recipe
    return Study(project, recipe.model_copy(update={"design": design}))


def test_the_sets_and_pairs_are_those_with_a_cell(project: Path) -> None:
    left_out = [{"dataset": "d", "train": "near"}, {"benchmark": "c", "test": "near"}, {"model": "o", "dataset": "e"}]
    study = _study(_design(**{"except": left_out}), project)
    assert list(study.sets()) == [
        ("train", "d", ["none"]),
        ("train", "e", ["none", "near"]),
        ("test", "b", ["none", "near"]),
        ("test", "c", ["none"]),
    ]
    assert study.pairs("train", ["o"]) == [("d", "none")]
    assert study.pairs("test", ["o"]) == study.pairs("test") == [("b", "none"), ("b", "near"), ("c", "none")]
    assert study.trainings("o", "e", "none", 1) == [] != study.trainings("m", "e", "none", 1)


def test_the_order_of_the_design_does_not_change_what_a_combination_trains(project: Path) -> None:
    """The file of its trainings is what the stage depends on."""
    design = {"variants": ["lora", "ahead", "default"], "checkpoints": ["2/3", "1/2", "last", "1/3"]}
    turned = {key: value[::-1] for key, value in design.items()}
    found = [_study(_design(**each), project).trainings("m", "d", "none", 1) for each in (design, turned)]
    assert found[0] == found[1]
    assert [several[0].variant for several in found[0]] == ["default", "ahead", "lora"]
    assert [item.saved_at for item in found[0][0]] == ["last", "1/3", "1/2", "2/3"]


def test_a_checkpoint_without_a_cell_is_not_saved(project: Path) -> None:
    study = _study(_design(**{"except": [{"checkpoint": "1/3", "seed": 2}]}), project)
    assert [[item.saved_at for item in several] for several in study.trainings("m", "d", "none", 2)] == [["last"]] * 2
    assert [[item.saved_at for item in several] for several in study.trainings("m", "d", "none", 1)] == [
        ["last", "1/3"]
    ] * 2


def test_a_design_with_holes_runs_and_writes_its_cells_alone(
    project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any
) -> None:
    """Every stage up to the judge, on fake engines; `random` is not asked of base, and `none` not of one checkpoint."""
    model_in_folder()
    sampling = "sampling: {temperature: 0, top_p: 1, max_tokens: 9}"
    judge = f"  timeout_seconds: 5\n  judge: {{model: smollm2_135m, template: prompts/judge.j2, {sampling}}}"
    left_out = "  except: [{train: base, test: random}, {train: random, test: none}, {train: none, test: none}]\n"
    edit(
        ("  timeout_seconds: #", judge),
        ("  base: true\n", f"  base: true\n{left_out}"),
        ("      size: 400", "      size: 4"),
        ("      size: 200", "      size: 4"),
        ("  seeds: [1]", "  seeds: [1, 2]\n  only: [{train: random, seed: 1}, {train: none, seed: 2}]"),
    )
    for words in (["prepare", "arithmetic"], ["prepare", "arithmetic_test"], ["persona"], ["query"]):
        run_stage(*words)
    trained = {("random", "1"), ("none", "2")}
    for strategy, seed in product(("none", "random"), ("1", "2")):
        said = run_stage("train", "smollm2_135m", "arithmetic", strategy, seed)
        assert ("not in the design" in said) == ((strategy, seed) not in trained)
    said = run_stage("generate")
    study = load_study()
    names = {
        "smollm2_135m-base/arithmetic_test/none",
        *(f"smollm2_135m-arithmetic-{strategy}-{seed}/arithmetic_test/random" for strategy, seed in trained),
    }
    assert {cell_name(cell) for cell in study.cells()} == names
    assert said.startswith("data/responses: 12 responses of 3 checkpoints (12 generated")
    for stage in ("grade", "judge"):
        run_stage(stage)
    for kind in ("responses", "verdicts"):
        written = (project / "data" / kind).rglob("*.jsonl")
        assert {path.relative_to(project / "data" / kind).with_suffix("").as_posix() for path in written} == names
    assert not list((project / "models" / "smollm2_135m-arithmetic-none-1").iterdir())


@pytest.mark.parametrize(
    ("checkpoint", "name", "folder"),
    [
        (Checkpoint("m"), "m-base", "m-base"),
        (Checkpoint("m", "d", "near", 1), "m-d-near-1", "m-d-near-1"),
        (Checkpoint("m", "d", "near", 1, "lora"), "m-d-near-1-lora", "m-d-near-1/lora"),
        (Checkpoint("m", "d", "near", 1, saved_at="1/3"), "m-d-near-1-1of3", "m-d-near-1/1of3"),
        (Checkpoint("m", "d", "near", 1, "lora", "1/3"), "m-d-near-1-lora-1of3", "m-d-near-1/lora-1of3"),
    ],
)
def test_names_and_folders(checkpoint: Checkpoint, name: str, folder: str) -> None:
    assert (checkpoint.name, checkpoint.folder) == (name, folder)


def test_every_checkpoint_has_a_name_and_a_folder_of_its_own(project: Path) -> None:
    found = _study(_design(), project).checkpoints()
    assert len({item.name for item in found}) == len({item.folder for item in found}) == len(found)
    assert len(found) == len(list(product(*(VALUES[axis] for axis in list(AXES)[:6])))) + 2
