"""A `dvc repro` that finds nothing to do, against the same graph with trivial commands, in turns.

    python benchmarks/noop.py --turns 5

The graph of a recipe with small files in place of its outputs, recorded with `dvc commit`. `trivial` is the same graph
with the command `exit 0`; `bare` has its stages and outputs, and neither the code nor the parameters that ITS has DVC
look at: what it costs that a change of either is noticed. All in processes of their own, as typed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import PROJECT, median, note
from dvc.repo import Repo
from ruamel.yaml import YAML

DVC = [sys.executable, "-m", "dvc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="arithmetic_4x4")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="its-benchmark-"))
    its = _study(root / "its", given.recipe)
    folders = {
        "its": its,
        "trivial": _study(root / "trivial", given.recipe, "exit 0"),
        "bare": _bare(root / "bare", its),
    }
    turns: list[dict[str, float]] = []
    for turn in range(given.turns):
        names = list(folders) if turn % 2 == 0 else list(folders)[::-1]
        turns.append({name: _repro(folders[name]) for name in names})
        note(f"turn {turn + 1}: " + ", ".join(f"{name} {turns[-1][name]:.2f} s" for name in folders))
    with Repo(str(its)) as repo:
        stages = len(repo.index.stages)
    out = {
        "recipe": given.recipe,
        "stages": stages,
        "seconds": {name: round(median([row[name] for row in turns]), 2) for name in folders},
        "its_over_trivial": round(median([row["its"] / row["trivial"] for row in turns]), 3),
        "its_over_bare": round(median([row["its"] / row["bare"] for row in turns]), 3),
        "ratios": [round(row["its"] / row["trivial"], 3) for row in turns],
    }
    print(json.dumps(out, indent=2))
    shutil.rmtree(root)


def _study(folder: Path, recipe: str, command: str | None = None) -> Path:
    folder.mkdir()
    for name in ("its", "recipes", "envs", "data/sources"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / name, folder)
    shutil.copy(PROJECT / "recipes" / f"{recipe}.yaml", folder / "params.yaml")
    if command is not None:
        text = (folder / "dvc.yaml").read_text(encoding="utf-8")
        (folder / "dvc.yaml").write_text(re.sub(r"(?m)^( +cmd:) .*$", rf"\1 {command}", text), encoding="utf-8")
    return _recorded(folder)


def _bare(folder: Path, study: Path) -> Path:
    folder.mkdir()
    shutil.copy(PROJECT / ".dvcignore", folder)
    stages: dict[str, Any] = {}
    with Repo(str(study)) as repo:
        made = {out.def_path for stage in repo.index.stages for out in stage.outs}
        for stage in repo.index.stages:
            kinds: dict[str, list[Any]] = {}
            for out in stage.outs:
                kind = "metrics" if out.metric else "plots" if out.plot else "outs"
                kinds.setdefault(kind, []).append(out.def_path if out.use_cache else {out.def_path: {"cache": False}})
            needed = [
                dep.def_path
                for dep in stage.deps
                if any(dep.def_path == out or dep.def_path.startswith(f"{out}/") for out in made)
            ]
            stages[stage.name.replace("@", "-")] = {"cmd": "exit 0", **({"deps": needed} if needed else {}), **kinds}
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump({"stages": stages}, file)
    return _recorded(folder)


def _recorded(folder: Path) -> Path:
    for command in (["git", "init", "-q"], [*DVC, "init", "-q"], [*DVC, "config", "core.analytics", "false"]):
        _run(command, folder)
    with Repo(str(folder)) as repo:
        paths = {out.def_path for stage in repo.index.stages for out in stage.outs}
        nested = {dep.def_path for stage in repo.index.stages for dep in stage.deps}
    for path in paths:
        files = [folder / name for name in nested if name.startswith(f"{path}/")]
        if not files:
            files = [folder / path] if Path(path).suffix else [folder / path / f"{at}.jsonl" for at in range(3)]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.suffix:
                file.mkdir(exist_ok=True)
                file /= "0.jsonl"
            file.write_text('{"row": 1}\n', encoding="utf-8")
    _run([*DVC, "commit", "-f", "-q"], folder)
    return folder


def _repro(folder: Path) -> float:
    began = time.monotonic()
    said = _run([*DVC, "repro"], folder)
    seconds = time.monotonic() - began
    if "up to date" not in said:
        raise SystemExit(f"{folder}: something ran:\n{said[-2000:]}")
    return seconds


def _run(command: list[str], folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"} | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{folder}: {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
