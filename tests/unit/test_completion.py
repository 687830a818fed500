"""Shell completion of recipes, and suggestions for mistyped commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from its.commands.names import recipe_names

Its = Callable[..., tuple[int, str, str]]


def test_recipes_complete_and_a_folder_without_a_study_has_none(
    project: Path, tmp_path: Path, its: Its, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (("COMP_WORDS", "its recipe use quick"), ("COMP_CWORD", "3")):
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("_ITS_COMPLETE", "bash_complete")
    code, out, err = its()
    assert (code, out, err) == (0, "plain,quickstart\n", "")
    monkeypatch.delenv("_ITS_COMPLETE")
    monkeypatch.chdir(tmp_path)
    assert recipe_names() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(its: Its, shell: str) -> None:
    code, out, _ = its("completion", shell)
    assert code == 0 and f"_ITS_COMPLETE={shell}_complete" in out


@pytest.mark.parametrize("word", ["prun", "prunes", "run_", "rune"])
def test_no_suggestion_deletes(its: Its, word: str) -> None:
    code, _, err = its(word)
    assert code == 2 and f"No such command '{word}'" in err and "`prune`" not in err


def test_a_mistyped_command_gets_a_suggestion(its: Its) -> None:
    assert "Did you mean `recipe`?" in its("recipes")[2]
    assert "\x1b" not in its("\x1b[2J")[2]


def test_an_edited_recipe_is_used_again_without_its_name(project: Path, its: Its, edit: Callable[..., None]) -> None:
    assert its("recipe", "use", "quickstart")[0] == 0
    assert its("recipe", "use")[1].endswith("params.yaml had these values already\n")
    edit(("\nseed: 17", "\nseed: 3"), file="recipes/quickstart.yaml")
    code, out, _ = its("recipe", "use")
    assert code == 0 and out.endswith("\nseed: 17 -> 3\n")
    edit(("\nseed: 3", "\nseed: 4"))
    code, _, err = its("recipe", "use")
    assert code == 3 and "`seed`" in err
