"""`its sweep`: a file is checked whole, points become DVC experiments, done ones are not run again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import user_environment

from its.commands.sweep_slots import Machine, slots, this_machine
from its.errors import MissingError
from its.recipe.document import read_document
from its.recipe.schema import Recipe

Its = Callable[..., tuple[int, str, str]]
GRID = "recipe: quickstart\ngrid:\n  generation.max_tokens: [64, 128]\n  seed: [1, 2]\n"
STAGE = """
import json, os, sys, time
from ruamel.yaml import YAML
tokens = YAML(typ="safe").load(open("params.yaml"))["generation"]["max_tokens"]
open(os.environ["RAN"], "a").write(f"{tokens}\\n")
if tokens == int(os.environ.get("SLEEP", "0")):
    time.sleep(60)
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
    deps: [stage.py, recipes/prompts]
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
    code, _, error = its("sweep", "absent.yaml", "--dry")
    assert code == 4 and "absent.yaml: no such file" in error and "recipe list" not in error


def test_a_graph_that_is_not_yaml_is_refused_before_a_point_runs(
    its: Its, sweep_file: Callable[[str], str], project: Path
) -> None:
    (project / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    code, _, error = its("sweep", sweep_file(GRID), "--dry")
    assert code == 3 and "dvc.yaml:1" in error


def _commit(project: Path) -> None:
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=u", "-c", "user.email=u@u", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=project, check=True)


def test_a_sweep_needs_git_and_the_files_of_its_points_in_it(
    its: Its, sweep_file: Callable[[str], str], project: Path
) -> None:
    file = sweep_file(GRID)
    code, _, error = its("sweep", file)
    assert code == 4 and "no git commit" in error
    _commit(project)
    recipe = project / "recipes" / "quickstart.yaml"
    shutil.copy(project / "recipes" / "prompts" / "query_plain.j2", project / "recipes" / "prompts" / "mine.j2")
    recipe.write_text(recipe.read_text("utf-8").replace("prompts/query_plain.j2", "prompts/mine.j2"), encoding="utf-8")
    code, _, error = its("sweep", file)
    assert code == 3 and "git does not track `recipes/prompts/mine.j2`" in error and "git add recipes" in error
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    code, _, error = its("sweep", file)
    assert code == 4 and "not in a DVC repository" in error


def _recipe(project: Path, **changes: object) -> Recipe:
    values = read_document(project / "recipes" / "quickstart.yaml").values
    for path, value in changes.items():
        section, _, key = path.partition("__")
        values[section][key] = value
    return Recipe.model_validate(values)


def test_jobs_follow_the_gpus_and_what_a_point_needs(project: Path) -> None:
    one = _recipe(project)
    two = _recipe(project, engine__options={"tensor_parallel_size": 2})
    server = _recipe(project, engine__kind="replay")
    four = Machine(["0", "1", "2", "GPU-ab"], None)
    assert slots([one], None, four) == [("0",), ("1",), ("2",), ("GPU-ab",)]
    assert slots([one, two], None, four) == [("0", "1"), ("2", "GPU-ab")]
    assert slots([two], 1, four) == [("0", "1")]
    assert slots([_recipe(project, engine__replicas=3)], None, four) == [("0", "1", "2")]
    assert slots([server], None, four) == [()] and slots([server], 3, four) == [()] * 3
    assert slots([one], None, Machine([], None)) == [()]
    assert slots([two], None, Machine(["0"], None)) == [()], "the engine explains what is missing"
    with pytest.raises(MissingError, match="`--jobs 3` needs 6 GPUs, 2 for each point: 4 visible"):
        slots([two], 3, four)


def test_jobs_on_a_cpu_must_fit_in_memory(project: Path) -> None:
    recipe = _recipe(project, engine__environment={"VLLM_CPU_KVCACHE_SPACE": "4"})
    machine = Machine([], 10 * 2**30)
    assert slots([recipe], None, machine) == [()] and slots([recipe], 2, machine) == [(), ()]
    with pytest.raises(MissingError, match=r"needs 12\.0 GiB .* 10\.0 GiB are available") as caught:
        slots([recipe], 3, machine)
    assert "`--jobs 2`" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("given", "gpus"), [("0,1", ["0", "1"]), ("", []), ("-1", []), ("2,-1,3", ["2"]), (" 1 , GPU-a", ["1", "GPU-a"])]
)
def test_visible_gpus_are_those_of_cuda(monkeypatch: pytest.MonkeyPatch, given: str, gpus: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert this_machine().gpus == gpus


class Study:
    """Real DVC over a toy stage, which fails for the value in a file."""

    def __init__(self, project: Path, tmp_path: Path, values: list[int]) -> None:
        self.path, self.ran, self.fails = project, tmp_path / "ran", tmp_path / "fails"
        (project / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
        (project / "stage.py").write_text(STAGE, encoding="utf-8")
        (project / "sweep.yaml").write_text(
            f"recipe: quickstart\ngrid:\n  generation.max_tokens: {values}\n", encoding="utf-8"
        )
        self.fails.write_text("64", encoding="utf-8")
        self.environment = user_environment(tmp_path / "home") | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAN": str(self.ran),
            "FAILS": str(self.fails),
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{role}_NAME": "u", f"GIT_{role}_EMAIL": "u@u"}
        for words in ("git init -q", "dvc init -q", "git add .", "git commit -qm a"):
            assert self.run(*words.split()).returncode == 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)

    def sweep(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.run(sys.executable, "-m", "its", "sweep", "sweep.yaml", "--json", *words)
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["planned"] == found["done"] + found["failed"] + found["left"]
        return found | {"states": [point["state"] for point in found["points"]], "stderr": done.stderr}


def test_points_run_as_experiments_and_a_second_sweep_runs_what_is_left(
    project: Path, tmp_path: Path, its: Its
) -> None:
    study = Study(project, tmp_path, values=[32, 64])

    def dry() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(its("sweep", "sweep.yaml", "--dry", "--json")[1])
        return found | {"states": [point["state"] for point in found["points"]]}

    params = project / "params.yaml"
    params.write_text(params.read_text("utf-8") + "# mine\n", encoding="utf-8")
    before = study.run("git", "status", "--porcelain").stdout
    first = study.sweep("--jobs", "2", code=1)
    assert first["states"] == ["done", "failed"] and "error: the engine died" in first["stderr"]
    assert dry()["states"] == ["done", "failed"], "known without running it"
    assert study.run("git", "status", "--porcelain").stdout == before, "the working tree is only read"
    assert params.read_text("utf-8").endswith("# mine\n")

    study.fails.write_text("0", encoding="utf-8")
    assert study.sweep()["states"] == ["done", "done"]
    assert sorted(study.ran.read_text("utf-8").split()) == ["32", "64", "64"]
    assert not list((project / ".dvc" / "tmp" / "exps" / "its-sweep").iterdir())

    (project / "dvc.yaml").write_text(f"# a comment\n{PIPELINE}", encoding="utf-8")
    assert dry()["states"] == ["done", "done"]
    (project / "stage.py").write_text(f"# another\n{STAGE}", encoding="utf-8")
    stale = dry()
    assert stale["states"] == ["stale", "stale"] and (stale["done"], stale["left"]) == (0, 2)
    assert [point["changed"] for point in stale["points"]] == [["stage.py"], ["stage.py"]]


def test_a_killed_sweep_leaves_no_change_and_the_next_one_runs_the_rest(
    project: Path, tmp_path: Path, its: Its
) -> None:
    study = Study(project, tmp_path, values=[32])
    study.fails.write_text("0", encoding="utf-8")

    def killed(number: int) -> tuple[int, str]:
        study.ran.unlink(missing_ok=True)
        words = [sys.executable, "-m", "its", "sweep", "sweep.yaml"]
        environment = study.environment | {"SLEEP": "32"}
        with subprocess.Popen(words, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as process:
            until = time.monotonic() + 120
            while not study.ran.exists():
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(number)
            said = process.communicate()[1]
        assert study.run("git", "status", "--porcelain").stdout == ""
        return process.returncode, said

    code, said = killed(signal.SIGTERM)
    assert code == 143 and "1 planned: 0 done, 0 failed, 1 left" in said
    assert killed(signal.SIGKILL)[0] == -signal.SIGKILL
    code, _, error = its("sweep", "sweep.yaml")
    # One or two: some shells stay beside the command that DVC has them run.
    assert code == 1 and "a killed sweep left " in error, "SIGTERM ended its stage, SIGKILL cannot"
    (left,) = re.findall(r"`kill ([\d ]+)`", error)
    for stage in left.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(stage), signal.SIGKILL)
        while Path(f"/proc/{stage}/cwd").exists():
            time.sleep(0.05)
    assert study.sweep()["states"] == ["done"]
