"""`its sweep`: a file is checked whole, points become DVC experiments, done ones are not run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import user_environment

from its.recipe.document import read_document

Its = Callable[..., tuple[int, str, str]]
GRID = "recipe: quickstart\ngrid:\n  generation.max_tokens: [64, 128]\n  seed: [1, 2]\n"
STAGE = """
import json, os, sys
from ruamel.yaml import YAML
tokens = YAML(typ="safe").load(open("params.yaml"))["generation"]["max_tokens"]
open(os.environ["RAN"], "a").write(f"{tokens}\\n")
if tokens == int(open(os.environ["FAILS"]).read()):
    sys.exit("error: the engine died")
os.makedirs("results", exist_ok=True)
json.dump({"sums": {"XX": tokens / 1000}}, open("results/metrics.json", "w"))
json.dump({}, open("results/cells.json", "w"))
"""
PIPELINE = """
stages:
  measure:
    cmd: python stage.py
    params: [generation]
    outs:
      - results/cells.json: {cache: false}
    metrics:
      - results/metrics.json: {cache: false}
"""


@pytest.fixture
def sweep_file(project: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (project / "sweep.yaml").write_text(text, encoding="utf-8")
        return "sweep.yaml"

    return write


def test_a_dry_sweep_lists_every_point_with_its_own_name(its: Its, sweep_file: Callable[[str], str]) -> None:
    file = sweep_file(GRID + "points:\n  - {generation.max_tokens: 32}\n")
    code, out, error = its("sweep", file, "--dry", "--json")
    assert code == 0, error
    found = json.loads(out)
    assert (found["planned"], found["done"], found["failed"], found["left"]) == (5, 0, 0, 5)
    assert found["points"][0]["values"] == {"generation.max_tokens": 64, "seed": 1}
    assert found["points"][0]["name"].startswith("sweep-max_tokens_64-seed_1-")
    assert len({point["name"] for point in found["points"]}) == 5
    assert "5 planned: 0 done, 0 failed, 5 left" in its("sweep", file, "--dry")[1]


def test_the_name_follows_the_recipe(its: Its, sweep_file: Callable[[str], str], project: Path) -> None:
    file = sweep_file(GRID)
    before = json.loads(its("sweep", file, "--dry", "--json")[1])["points"]
    recipe = project / "recipes" / "quickstart.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("draws: ", "draws: 1"), encoding="utf-8")
    after = json.loads(its("sweep", file, "--dry", "--json")[1])["points"]
    assert not {point["name"] for point in before} & {point["name"] for point in after}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "recipe: quickstart\ngrid: {generation.max_token: [1], seed: [x]}\n",
            ["sweep.yaml:2:31: unknown field", "sweep.yaml:2:42: `seed` is `x`"],
        ),
        ("recipe: quickstart\ngird: {seed: [1]}\n", ["sweep.yaml:2:1: unknown field", "neither `grid` nor `points`"]),
        ("recipe: [quickstart]\ngrid: {seed: 1}\n", ["sweep.yaml:1:1: `recipe`", "sweep.yaml:2:8: `seed` is `1`"]),
        ("recipe: quickstart\ngrid: {nothing.here: [1]}\n", ["`nothing.here`: the recipe has no such section"]),
        ("recipe: quickstart\ngrid: {design.test.0: [none]}\n", ["`design.test.0`: the recipe has no such section"]),
        ("recipe: quickstart\ngrid: {recipe: [other]}\n", ["`recipe` is the name of the recipe"]),
        ("recipe: quickstart\ngrid: {seed: [1, 1]}\n", ["seed=1 is 2 times in the sweep"]),
        ("recipe: quickstart\ngrid: {generation: [{}], generation.n: [1]}\n", ["is within `generation`"]),
        ("recipe: quickstart\npoints: [{seed: 1}, 5, {}]\n", ["sweep.yaml:2:21: point 2 is `5`", "point 3 is empty"]),
        (f"recipe: quickstart\ngrid: {{seed: {list(range(257))}}}\n", ["257 points: at most 256"]),
        ("recipe: quickstart\n", ["neither `grid` nor `points`"]),
        ("recipe: quickstart\ngrid: !!python/object:os.system {}\n", ["sweep.yaml:2:"]),
    ],
)
def test_a_faulty_file_is_refused_whole(
    its: Its, sweep_file: Callable[[str], str], text: str, faults: list[str]
) -> None:
    code, out, error = its("sweep", sweep_file(text), "--dry")
    assert code == 3 and not out and "Traceback" not in error
    assert all(fault in error for fault in faults), error


def test_no_such_recipe_and_no_such_file(its: Its, sweep_file: Callable[[str], str]) -> None:
    assert its("sweep", sweep_file("recipe: absent\ngrid: {seed: [1]}\n"), "--dry")[0] == 4
    assert its("sweep", "absent.yaml", "--dry")[0] == 4


def test_params_that_are_another_recipe_are_kept(its: Its, sweep_file: Callable[[str], str], project: Path) -> None:
    file = sweep_file(GRID)
    code, _, error = its("sweep", file)
    assert code == 4 and "no git commit" in error
    params = project / "params.yaml"
    text = params.read_text("utf-8").replace("seed: 0", "seed: 77", 1)
    params.write_text(text + "\n# mine\n", encoding="utf-8")
    shutil.copy(project / "recipes" / "arithmetic_4x4.yaml", params)
    text = params.read_text("utf-8")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=u", "-c", "user.email=u@u", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    code, _, error = its("sweep", file)
    assert code == 3 and "params.yaml is not the recipe `quickstart`" in error and "its recipe use quickstart" in error
    assert params.read_text("utf-8") == text


def test_points_run_as_experiments_and_a_second_sweep_runs_what_is_left(project: Path, tmp_path: Path) -> None:
    """Real DVC over a stage that fails for one value; then it does not, and only that point runs."""
    (project / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (project / "stage.py").write_text(STAGE, encoding="utf-8")
    (project / "sweep.yaml").write_text(
        "recipe: quickstart\ngrid:\n  generation.max_tokens: [32, 64]\n", encoding="utf-8"
    )
    fails = tmp_path / "fails"
    fails.write_text("64", encoding="utf-8")
    root = str(Path(__file__).parents[2])
    environment = user_environment(tmp_path / "home") | {
        "PYTHONPATH": root,
        "RAN": str(tmp_path / "ran"),
        "FAILS": str(fails),
        "GIT_AUTHOR_NAME": "u",
        "GIT_AUTHOR_EMAIL": "u@u",
        "GIT_COMMITTER_NAME": "u",
        "GIT_COMMITTER_EMAIL": "u@u",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)

    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "."], ["git", "commit", "-qm", "a"]):
        assert run(*words).returncode == 0
    before = (project / "params.yaml").read_bytes()
    sweep = (sys.executable, "-m", "its", "sweep", "sweep.yaml", "--json")
    first = run(*sweep)
    assert first.returncode == 1, first.stderr
    assert "error: the engine died" in first.stderr
    found = json.JSONDecoder().raw_decode(first.stdout)[0]
    assert [point["state"] for point in found["points"]] == ["done", "failed"]
    assert found["planned"] == found["done"] + found["failed"] + found["left"] == 2
    assert (project / "params.yaml").read_bytes() == before

    # What `kill -9` leaves: the parameters of a point in params.yaml.
    listed = run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (kept,) = [name for name in listed if name.rpartition("/")[2].startswith("sweep-")]
    (project / "params.yaml").write_text(run("git", "show", f"{kept}:params.yaml").stdout, encoding="utf-8")
    fails.write_text("0", encoding="utf-8")
    second = run(*sweep)
    assert second.returncode == 0, second.stderr
    assert [point["state"] for point in json.loads(second.stdout)["points"]] == ["done", "done"]
    assert (project / "params.yaml").read_bytes() == before
    assert (tmp_path / "ran").read_text("utf-8").split() == ["32", "64", "64"]
    assert read_document(project / "params.yaml").values["recipe"] == "quickstart"
    assert not [name for name in os.listdir(project) if name.endswith(".tmp")]
