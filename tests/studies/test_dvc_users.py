"""Keep a run as docs/dvc.md says: `git add`, `dvc exp save`, another run, `dvc exp apply`; no metric is lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT, user_environment

PIPELINE = """
stages:
  measure:
    cmd: mkdir -p results && sed s/sums/measured/ params.yaml > results/metrics.yaml
    params: [sums]
    metrics:
      - results/metrics.yaml: {cache: false}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline with our DVC settings, whose metrics are its parameters."""
    study = tmp_path / "study"
    study.mkdir()
    (study / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (study / "params.yaml").write_text("sums: {XX: 0.5, codesign: null}\n", encoding="utf-8")
    return study


def test_a_kept_run_has_its_metrics_and_comes_back(folder: Path, tmp_path: Path) -> None:
    environment = user_environment(tmp_path / "home") | {
        f"GIT_{who}_{what}": "u@u" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    def run(command: str) -> str:
        done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("git init -q")
    run("dvc init -q")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    run("git add .")
    run("git commit -qm first")
    run("dvc repro -q")
    run("git add dvc.lock params.yaml results")
    run("dvc exp save --name first")
    run("dvc exp run -q --name second -S sums.XX=0.75")
    assert "XX: 0.75" in (folder / "results" / "metrics.yaml").read_text("utf-8")
    shown = run("dvc exp show --csv")
    rows = {line.split(",")[0]: line.split(",") for line in shown.splitlines()}
    column = rows["Experiment"].index("measured.XX")
    assert (rows["first"][column], rows["second"][column]) == ("0.5", "0.75")
    run("dvc exp apply first")
    assert "0.5" in (folder / "params.yaml").read_text("utf-8")
    assert "XX: 0.5" in (folder / "results" / "metrics.yaml").read_text("utf-8")
    assert "up to date" in run("dvc status")
    run("git add dvc.lock params.yaml results")
    run("git commit -qm kept")
    run("dvc exp run -q --name third -S sums.XX=1.0")
    run("git checkout HEAD params.yaml dvc.lock results")
    run("dvc checkout")
    assert "XX: 0.5" in (folder / "results" / "metrics.yaml").read_text("utf-8")
    assert "XX: 0.5" in (folder / "params.yaml").read_text("utf-8")
