"""How params.yaml differs from the recipe that it names."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from its.study.origin import MOST_DEPARTURES, recipe_departures


def test_what_params_change_of_the_committed_recipe(project: Path, edit: Callable[..., None]) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=u", "-c", "user.email=u@u", *words], cwd=project, check=True)

    git("init", "-q")
    git("add", "recipes/quickstart.yaml")
    git("commit", "-qm", "a")
    assert recipe_departures(project) == []
    edit(("  draws: #", "  draws: 1234"))
    (line,) = recipe_departures(project)
    assert line.startswith("measure.draws: 1234, in the recipe ")
    path = project / "params.yaml"
    path.write_text("recipe: quickstart\nhf: hf_abcdefghijABCDEFGHIJ0123456789\nnew: \u202e\n", encoding="utf-8")
    lines = recipe_departures(project)
    assert len(lines) == MOST_DEPARTURES + 1 and lines[-1].endswith(" more values")
    path.write_text(path.read_text("utf-8").replace("quickstart", "other"), encoding="utf-8")
    assert recipe_departures(project) == ["recipes/other.yaml is not in this commit"]
