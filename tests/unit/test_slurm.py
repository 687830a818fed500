"""The job files of `scripts/` as they are, over stand-ins for sbatch and srun that run everything on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from running import run_stage

ROOT = Path(__file__).parents[2]
NAME = "smollm2_135m-arithmetic-none-1"
TWO = "  launcher: torchrun\n  launcher_args: [--nnodes=2, --nproc_per_node=1]"


@pytest.fixture
def job(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command line in the project, where `its` is this checkout's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    its = programs / "its"
    its.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m its "$@"\n', encoding="utf-8")
    its.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ROOT / 'tests/fakes/slurm'}:{programs}:{os.environ['PATH']}")

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=project, env=os.environ | variables, capture_output=True, text=True, timeout=100, check=False
        )

    return run


@pytest.fixture
def queries(project: Path, engines: Any, edit: Callable[..., None], model_in_folder: Callable[[], None]) -> None:
    """The quickstart with one strategy, 8 rows and two machines, up to its queries."""
    model_in_folder()
    edit(
        ("  launcher: python", TWO),
        ("  devices: 1", "  devices: 2"),
        ("  global_batch_size: 8", "  global_batch_size: 2"),
        ("  micro_batch_size: 8", "  micro_batch_size: 1"),
    )
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for words in (["prepare", "arithmetic"], ["prepare", "arithmetic_test"], ["persona"], ["query"]):
        run_stage(*words)


@pytest.mark.usefixtures("queries")
def test_a_training_job_trains_on_all_its_nodes(job: Callable[..., Any], project: Path) -> None:
    """And a node that fails ends the job."""
    done = job("sbatch", str(ROOT / "scripts/slurm/train.sh"), ITS_FAKE_TRAINING="node_1_fails")
    assert done.returncode != 0 and "axolotl failed (exit code 7)" in done.stderr
    assert not (project / "models").exists()
    done = job("sbatch", str(ROOT / "scripts/slurm/train.sh"), NAME)
    assert done.returncode == 0, done.stderr
    assert f"node 1 of 2: {NAME}: its part is done" in done.stdout and f"models/{NAME}: trained" in done.stdout
    assert json.loads((project / "models" / NAME / "its_sound.json").read_text())["steps"]["done"] == 4
    # Another job, at another place: the same training, found.
    task = YAML(typ="safe").load(ROOT / "scripts/skypilot/train.yaml")
    said = []
    for rank in (0, 1):
        place = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
        own = {"ITS_HOME": os.environ["ITS_HOME"], "CHECKOUT": str(project), "CHECKPOINTS": NAME}
        said.append(job("bash", "-c", task["run"], **{**task["envs"], **place, **own}))
    assert [each.returncode for each in said] == [0, 0], said
    assert f"models/{NAME}: reused" in said[0].stdout and f"{NAME}: was finished already" in said[1].stdout


def test_servers_are_started_on_each_node(job: Callable[..., Any], project: Path, tmp_path: Path) -> None:
    server = tmp_path / "python"
    server.write_text('#!/bin/sh\necho "$SLURM_PROCID: $@"\n', encoding="utf-8")
    server.chmod(0o755)
    script = str(ROOT / "scripts/slurm/servers.sh")
    words = ("MODEL", "name", "--tensor-parallel-size", "8")
    done = job("sbatch", "--nodes=2", script, *words, ITS_VLLM_PYTHON=str(server))
    assert done.returncode == 0, done.stderr
    line = (
        "-m vllm.entrypoints.openai.api_server --model MODEL --served-model-name name --port 8000 --generation-config"
    )
    assert sorted(done.stdout.splitlines()) == [f"{rank}: {line} vllm --tensor-parallel-size 8" for rank in (0, 1)]
    listed = YAML(typ="safe").load(project / "servers-17.yaml")
    assert listed == {"servers": [{"url": "http://localhost:8000/v1"}] * 2}
    assert job("sbatch", script).returncode == 2


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_a_training_job_without_trainings_says_so(job: Callable[..., Any], nodes: str) -> None:
    done = job("sbatch", f"--nodes={nodes}", str(ROOT / "scripts/slurm/train.sh"))
    assert (done.returncode, done.stdout) == (4, "")
    assert "no trainings in data/queries/trainings: run `dvc repro query`" in done.stderr


def test_one_node_trains_each_checkpoint_by_its_name(job: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "programs" / "its").write_text('#!/bin/sh\necho "$# $@"\n', encoding="utf-8")
    done = job("sbatch", "--nodes=1", str(ROOT / "scripts/slurm/train.sh"), NAME, "*")
    assert done.stdout == f"2 train {NAME}\n2 train *\n"


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts/slurm").glob("*.sh")))
def test_a_job_file_without_slurm_names_sbatch(job: Callable[..., Any], script: str) -> None:
    done = job("env", "-u", "SLURM_JOB_ID", "bash", str(ROOT / "scripts/slurm" / script), "MODEL", "NAME")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"not a job of SLURM: sbatch scripts/slurm/{script}" in done.stderr and "unbound" not in done.stderr


def test_servers_without_an_environment_name_the_command(job: Callable[..., Any], tmp_path: Path) -> None:
    done = job("sbatch", str(ROOT / "scripts/slurm/servers.sh"), "MODEL", "NAME", ITS_HOME=str(tmp_path / "none"))
    assert done.returncode == 4 and "no environment of vLLM: run `its env sync vllm" in done.stderr
    assert "cannot access" not in done.stderr


def test_a_task_of_skypilot_without_checkpoints_is_refused(job: Callable[..., Any], project: Path) -> None:
    task = YAML(typ="safe").load(ROOT / "scripts/skypilot/train.yaml")
    place = {"SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "10.0.0.1"}
    done = job("bash", "-c", task["run"], **{**task["envs"], **place, "CHECKOUT": str(project)})
    assert done.returncode == 2 and "CHECKPOINTS names no training" in done.stderr


def test_a_study_job_runs_dvc(job: Callable[..., Any], tmp_path: Path) -> None:
    dvc = tmp_path / "programs" / "dvc"
    dvc.write_text('#!/bin/sh\necho "dvc $@"\nexit 3\n', encoding="utf-8")
    dvc.chmod(0o755)
    done = job("sbatch", str(ROOT / "scripts/slurm/study.sh"), "query")
    assert (done.returncode, done.stdout) == (3, "dvc repro query\n")


def test_no_script_closes_a_pipe_before_its_writer_is_done() -> None:
    """Under `pipefail` a writer that is not done ends the script with 141: now and then, and with many nodes always."""
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file()] + [ROOT / ".ci" / "run"]
    assert len(scripts) >= 6
    early = re.compile(r"\|\s*(head|grep -\w*q|sed -n [^|]*q\b)")
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        found = [line for line in text.splitlines() if early.search(line)]
        assert "pipefail" not in text or not found, (path, found)
