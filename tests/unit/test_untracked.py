"""What a queued experiment would run without: files of a recipe that neither git nor DVC knows."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from its.checks.untracked import untracked_files
from its.cli.recipe import write_params
from its.study.study import load_study

Its = Callable[..., tuple[int, str, str]]
TEMPLATES = ["recipes/prompts/mine.j2", "recipes/prompts/far/away.j2", "recipes/axolotl/mine.yaml.j2"]
SOURCES = ["data/sources/a.jsonl", "data/sources/deep/b.jsonl"]


def _git(project: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)


@pytest.fixture
def repository(project: Path, edit: Callable[..., None]) -> Path:
    """A repository of the quickstart's files, whose recipe then names three templates and two sources of its own."""
    _git(project, "init", "-q")
    _git(project, "add", "-A")
    text = (project / "params.yaml").read_text(encoding="utf-8")
    recipe = load_study(project).recipe
    chosen = [recipe.strategies["none"].template, recipe.strategies["random"].template, recipe.train.template]
    assert len(set(chosen)) == 3
    for path, was in zip(TEMPLATES, chosen, strict=True):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text((project / "recipes" / was).read_text(encoding="utf-8"), encoding="utf-8")
        text = text.replace(f": {was}", f": {path.removeprefix('recipes/')}")
    rows = [{"q": f"What is {number} and {number}?", "a": 2 * number, "s": f"{2 * number}"} for number in range(1, 9)]
    lines = text.splitlines()
    for path in SOURCES:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        at = lines.index("      kind: procedural")
        end = next(place for place in range(at, len(lines)) if not lines[place].startswith("      "))
        lines[at - 1 : end] = [
            f"    source: {{kind: files, path: {path}}}",
            "    fields: {problem: q, reference: a, solution: s}",
        ]
    (project / "params.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _git(project, "add", "params.yaml")
    return project


def test_check_and_use_name_what_git_does_not_know(
    repository: Path, its: Its, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = its("recipe", "check", "params.yaml")
    assert code == 0 and out.startswith("params.yaml: valid\n  2 trainings, ")
    assert err.count("\n") == 1 and err.startswith("note: git does not track ") and "would run without" in err
    assert all(f"`{path}`" in err for path in [*TEMPLATES, *SOURCES])
    document = json.loads(its("recipe", "check", "params.yaml", "--json")[1])
    assert document["untracked"] == {"params.yaml": sorted([*TEMPLATES, *SOURCES])} and document["errors"] == []
    (repository / "recipes" / "mine.yaml").write_text(
        (repository / "params.yaml").read_text(encoding="utf-8").replace("recipe: quickstart", "recipe: mine"),
        encoding="utf-8",
    )
    code, out, err = its("recipe", "use", "mine", "--force")
    assert code == 0 and "`data/sources/a.jsonl`" in err
    capsys.readouterr()
    write_params(repository, "mine", force=True, queued=False)  # of `its run`, which runs in this folder
    assert capsys.readouterr().err == ""
    _git(repository, "add", "-A")
    assert its("recipe", "use", "mine", "--force")[2] == ""
    assert "git does not track" not in its("recipe", "check")[2]


@pytest.mark.parametrize("seed", range(12))
def test_each_file_is_known_in_each_way(repository: Path, seed: int) -> None:
    """Added, committed, ignored, tracked by DVC alone or with its folder, or not at all."""
    draw = random.Random(seed)
    recipe = load_study(repository).recipe
    ways = ["nothing", "staged", "committed", "ignored", "dvc", "dvc unknown", "folder"]
    wanted = []
    for path in [*TEMPLATES, *SOURCES]:
        way = draw.choice(ways)
        if way == "folder" and path != SOURCES[1]:
            way = "dvc"
        if way == "staged":
            _git(repository, "add", path)
        elif way == "committed":
            _git(repository, "add", path)
            _git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x", path)
        elif way == "ignored":
            with (repository / ".gitignore").open("a", encoding="utf-8") as ignored:
                ignored.write(f"/{path}\n")
        elif way in ("dvc", "dvc unknown", "folder"):
            tracked = f"{Path(path).parent if way == 'folder' else path}.dvc"
            (repository / tracked).write_text("outs: []\n", encoding="utf-8")
            if way != "dvc unknown":
                _git(repository, "add", tracked)
        if way in ("nothing", "ignored", "dvc unknown"):
            wanted.append(path)
    assert untracked_files(repository, recipe) == sorted(wanted)


def test_without_a_repository_or_git_nothing_is_said(
    project: Path, its: Its, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert its("recipe", "check", "quickstart")[2] == ""
    _git(project, "init", "-q")
    assert "note: git does not track" in its("recipe", "check", "quickstart")[2]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert its("recipe", "check", "quickstart")[2] == ""


def test_a_study_below_the_root_of_its_repository(project: Path, its: Its) -> None:
    _git(project.parent, "init", "-q")
    _git(project.parent, "add", "study")
    assert its("recipe", "check", "quickstart")[2] == ""
    template = load_study(project).recipe.train.template
    _git(project.parent, "rm", "-q", "--cached", f"study/recipes/{template}")
    assert f"git does not track `recipes/{template}`: a queued" in its("recipe", "check", "quickstart")[2]


def test_a_model_folder_that_nothing_pins_is_named(
    project: Path, model_in_folder: Callable[[], None], its: Its, edit: Callable[..., None]
) -> None:
    model_in_folder()
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 0 and "note: the folder of `smollm2_135m` is not pinned" in err
    edit(("path: base}", f"path: base, sha256: {'a' * 64}}}"))
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 0 and "pinned" not in err
