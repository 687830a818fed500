"""`check_recipes` as a library calls it: finished values, nothing printed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from its.checks.recipes import CheckedRecipe, Remarks, check_recipes, remark_lines
from its.errors import MissingError

Edit = Callable[..., None]


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def test_valid_recipes_in_the_order_of_their_names(project: Path) -> None:
    found = check_recipes(project, ["params.yaml", "quickstart"])
    assert found.faults == ()
    assert found.recipes == [
        CheckedRecipe(name, [], {}, Remarks([], [], [])) for name in ("params.yaml", "recipes/quickstart.yaml")
    ]


def test_without_names_every_recipe_and_params(project: Path) -> None:
    wanted = [f"recipes/{path.name}" for path in sorted((project / "recipes").glob("*.yaml"))]
    assert [item.name for item in check_recipes(project).recipes] == [*wanted, "params.yaml"]
    (project / "params.yaml").unlink()
    assert [item.name for item in check_recipes(project).recipes] == wanted


def test_faults_are_returned_with_places_in_the_project(project: Path, edit: Edit) -> None:
    edit(("  role: report", "  rol: report"), ("grading:\n", "gradng:\n"))
    outside = project.parent / "outside.yaml"
    outside.symlink_to(project / "params.yaml")
    (project / "recipes" / "away.yaml").symlink_to(outside)
    found = check_recipes(project)
    assert found.recipes == ()
    places = [fault.where.rpartition(":")[0].rpartition(":")[0] for fault in found.faults]
    assert places == ["recipes/away.yaml", *["params.yaml"] * 4]
    assert "a link leads out of recipes/" in found.faults[0].message


def test_a_recipe_that_was_named_and_does_not_exist_raises(project: Path) -> None:
    for name in ("nothing", "nothing.yaml"):
        with pytest.raises(MissingError, match="nothing"):
            check_recipes(project, ["quickstart", name])


def test_remarks(project: Path, model_in_folder: Callable[[], None]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    subprocess.run(["git", "add", "recipes"], cwd=project, check=True)
    model_in_folder()
    (item,) = check_recipes(project, ["params.yaml"]).recipes
    assert item.remarks == Remarks([], ["base"], ["smollm2_135m"])
    lines = remark_lines([item.remarks, item.remarks])
    assert [line.partition(":")[0] for line in lines] == [
        "git does not track `base`",
        "the folder of `smollm2_135m` is not pinned",
    ]


def test_lines_name_ten_of_each() -> None:
    names = [f"n{number:02}" for number in range(12)]
    lines = remark_lines([Remarks(["one", "two"]), Remarks(["two", "three"], names, names)])
    assert lines[:3] == ["one", "two", "three"]
    assert "`n09` and 2 more: a queued" in lines[3] and "n10" not in lines[3]
    assert len(lines) == 3 + 1 + 10
