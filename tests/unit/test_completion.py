"""Shell completion of recipes, and suggestions for mistyped commands."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from its.commands import names
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


def _rows(study: Path) -> None:
    for name in ("verdicts", "responses"):
        for checkpoint in ("m-base", "m-arithmetic-random-1"):
            folder = study / "data" / name / checkpoint / "arithmetic_test"
            folder.mkdir(parents=True)
            (folder / "none.jsonl").touch()
    trainings = study / "data" / "queries" / "trainings"
    trainings.mkdir(parents=True)
    (trainings / "m-arithmetic-random-1.json").touch()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("strategy show s", ["similar"]),
        ("strategy show --recipe strategies mixtu", ["mixture"]),
        ("strategy preview none --set arithmetic_", ["arithmetic_test"]),
        ("strategy new x --of n", ["none"]),
        ("strategy list --recipe arithmetic_a", ["arithmetic_axes"]),
        ("prepare a", ["arithmetic", "arithmetic_test"]),
        ("data card arithmetic --strategy u", ["unsimilar"]),
        ("data diff HEAD workspace --set a", ["arithmetic", "arithmetic_test"]),
        ("data lineage x --checkpoint m", ["m-arithmetic-random-1", "m-base"]),
        ("train s", ["smollm2_135m"]),
        ("train m", ["m-arithmetic-random-1"]),
        ("train smollm2_135m a", ["arithmetic"]),
        ("train smollm2_135m arithmetic r", ["random"]),
        ("train smollm2_135m arithmetic random r", []),
        ("results compare m-b", ["m-base/arithmetic_test/none"]),
        ("results compare x m-b", ["m-base/arithmetic_test/none"]),
        ("results cases --right m-b", ["m-base/arithmetic_test/none"]),
        ("results show x --cell m-b", ["m-base/arithmetic_test/none"]),
        ("recipe diff quickstart p", ["paper", "params.yaml"]),
        ("pr", ["prepare", "prune"]),
        ("nothing x", []),
        ("strategy show \x1b", []),
    ],
)
def test_what_a_command_takes_completes(
    project: Path, its: Its, monkeypatch: pytest.MonkeyPatch, words: str, found: list[str]
) -> None:
    _rows(project)
    recipe = (project / "recipes" / "strategies.yaml").read_text(encoding="utf-8")
    (project / "recipes" / "strategies.yaml").write_text(
        recipe.replace("\nstrategies:", "\nstrategies:  # all\n  mixture: {}", 1)
    )
    monkeypatch.setenv("COMP_WORDS", f"its {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    monkeypatch.setenv("_ITS_COMPLETE", "bash_complete")
    code, out, err = its()
    assert (code, out.split(), err) == (0, [f"plain,{name}" for name in found], "")


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "not UTF-8": lambda path: path.write_bytes(b"strategies:\n  \xff: 1\n"),
    "huge": lambda path: path.write_bytes(b"strategies:\n" + b"  a: 1\n" * 10**5),
    "names for a shell": lambda path: path.write_text(
        "strategies:\n  $(id): 1\n  a b: 1\n  `id`: 1\n  -x: 1\n  a;b: 1\n"
    ),
    "tags": lambda path: path.write_text("strategies: !!python/object/apply:os.system ['id']\n"),
    "in braces": lambda path: path.write_text("strategies: {a: 1}\n"),
    "nothing below": lambda path: path.write_text("strategies:\nother:\n  a: 1\n"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_file_breaks_completion(project: Path, kind: str) -> None:
    path = project / "params.yaml"
    path.unlink()
    HOSTILE[kind](path)
    assert names.declared_names(["strategies"]) == names.declared_names(["strategies"], "\0") == []
    assert names.cell_names() == names.checkpoint_names() == names.training_names() == []


def test_names_of_files_are_plain(project: Path) -> None:
    for folder in ("verdicts", "responses"):
        for name in ("$(id)", "a b", "\x1b[2J", "-x", "\udcff", "good-base"):
            (project / "data" / folder / name / "set").mkdir(parents=True)
            (project / "data" / folder / name / "set" / "none.jsonl").touch()
            (project / "data" / folder / name / "set" / "$(id).jsonl").touch()
    (project / "recipes" / "$(id).yaml").touch()
    assert names.checkpoint_names() == ["good-base"]
    assert names.cell_names() == ["good-base/set/none"]
    assert "$(id)" not in recipe_names()


def test_completion_loads_nothing_heavy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, its.commands.names as n; assert n.declared_names(['strategies']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "ruamel", "numpy", "filelock", "its.rows"} & set(ast.literal_eval(done.stdout))


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
