"""`its results compare` over real git and DVC: commits, experiments, folders, and verdicts that are outdated."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT, user_environment

from its.commands.compare import Comparison, compare
from its.errors import ItsError

CELL = "m-base/sums/none"
PIPELINE = """
stages:
  generate:
    cmd: mkdir -p data/responses && cp sessions.json data/responses
    params: [seed]
    outs: [data/responses]
  grade:
    cmd: mkdir -p data/verdicts/m-base/sums && cp versions/${generation.n}.jsonl data/verdicts/m-base/sums/none.jsonl
    deps: [data/responses]
    params: [generation]
    outs: [data/verdicts]
"""
PARAMS = "design: {models: [m]}\nseed: 1\ngeneration: {n: 1}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of the two stages that matter, whose verdicts are right on as many of six problems as n says."""
    folder = tmp_path / "study"
    (folder / "versions").mkdir(parents=True)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (folder / "sessions.json").write_text('{"m-base": {"engine": "vllm", "session": "s"}}', encoding="utf-8")
    problems = [{"problem_id": f"p{number}", "text": f"problem {number}", "reference": "1"} for number in range(6)]
    (folder / "data" / "problems").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in problems)
    (folder / "data" / "problems" / "sums.jsonl").write_text(lines, encoding="utf-8")
    for n in (1, 4):
        rows = [
            {
                "query_id": f"sums/p{number}/none",
                "sample_index": 0,
                "verdict": "correct" if number < n else "incorrect",
                "grader_version": "1",
            }
            for number in range(6)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "versions" / f"{n}.jsonl").write_text(text, encoding="utf-8")
    environment = user_environment(tmp_path / "home") | {
        f"GIT_{who}_{what}": "u@u" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    def run(command: str) -> None:
        done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"

    run("git init -q")
    run("git add .")
    run("git commit -qm first")
    run("dvc exp run -q --name few")
    session = '{"m-base": {"engine": "vllm", "session": "t", "arguments": {"dtype": "float32"}}}'
    (folder / "sessions.json").write_text(session, encoding="utf-8")
    run("dvc exp run -q -f --name many -S generation.n=4")
    run("git add params.yaml dvc.lock sessions.json")
    run("git commit -qm many")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


def _difference(found: Comparison) -> float:
    (row,) = found.rows
    assert len(row.paired.pairs) == 6 and row.cell == CELL
    return round(row.contrast.difference * 6)


def test_commits_experiments_and_folders(study: Path) -> None:
    found = compare("many", "few")
    assert _difference(found) == 3 and found.notes == []
    assert found.differs == {"generation.n": ["4", "1"], "sessions.arguments.dtype": ["float32", "-"]}
    assert _difference(compare("HEAD", f"few:{CELL}")) == 3
    assert _difference(compare("few", "./")) == -3

    (study / "params.yaml").write_text(PARAMS.replace("seed: 1", "seed: 2"), encoding="utf-8")
    (note,) = compare("./", "many").notes
    assert note == "./: the verdicts are outdated, changed since: seed, generation.n"
    lock = (study / "dvc.lock").read_text(encoding="utf-8")
    digest = lock.partition("data/responses")[2].partition("md5: ")[2].partition("\n")[0]
    (study / "params.yaml").write_text(PARAMS.replace("n: 1", "n: 4"), encoding="utf-8")
    (study / "dvc.lock").write_text(lock.replace(digest, f"{'0' * 32}.dir", 1), encoding="utf-8")
    (note,) = compare("./", "many").notes
    assert note.endswith("changed since: data/responses"), "the responses were generated again, and not graded"

    with pytest.raises(ItsError, match="`nothing`: not a cell of this study, a file, a git revision"):
        compare("nothing", "few")
