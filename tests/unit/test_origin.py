"""The day on which responses were generated, and how params.yaml differs from the recipe that it names."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.store_samples import fill

from its.store import Store
from its.study.origin import MOST_DEPARTURES, days_generated, recipe_departures


def test_the_days_are_those_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        keys = [item.key for item in fill(store, 3)]
        for key, second in zip(keys, (86_399, 86_400, 3 * 86_400), strict=True):
            store.db.execute("UPDATE responses SET created = ? WHERE key = ?", (second, bytes.fromhex(key)))
    assert days_generated(path, [*keys, keys[0]]) == "1970-01-01 to 1970-01-04"
    assert days_generated(path, keys[1:2]) == "1970-01-02"


@pytest.mark.parametrize("keys", [[], ["00" * 32], ["no key"], [""]])
def test_the_day_is_not_known_where_a_response_is_not_stored(tmp_path: Path, keys: list[str]) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        known = [item.key for item in fill(store, 1)]
    assert days_generated(path, [*(known if keys else []), *keys]) is None
    assert days_generated(tmp_path / "none.sqlite", known) is None and not (tmp_path / "none.sqlite").exists()
    path.write_bytes(b"not a store" * 100)
    assert days_generated(path, known) is None


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
