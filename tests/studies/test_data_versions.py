"""Data sets as versions: two clones make the same bytes, old states are read, a remote carries them. No engine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT, Clone, lines
from ruamel.yaml import YAML
from running import copy_project

pytestmark = pytest.mark.integration

DVC_YAML = """\
stages:
  prepare:
    cmd: python make.py
    deps: [make.py, rows.jsonl]
    outs: [data/problems/bench.jsonl]
  persona:
    cmd: python make_personas.py
    deps: [make_personas.py, data/problems]
    outs: [data/personas]
"""
MAKE = "import pathlib, shutil\npathlib.Path('data/problems').mkdir(parents=True, exist_ok=True)\n"
MAKE += "shutil.copy('rows.jsonl', 'data/problems/bench.jsonl')\n"
MAKE_PERSONAS = """\
import json, pathlib
folder = pathlib.Path('data/personas/bench')
folder.mkdir(parents=True)
rows = [json.loads(line) for line in open('data/problems/bench.jsonl')]
made = [{'problem_id': row['problem_id'], 'text': 'You like ' + row['text']} for row in rows]
(folder / 'random.jsonl').write_text(''.join(json.dumps(row) + chr(10) for row in made))
"""


def _rows(**texts: str) -> str:
    return "".join(json.dumps({"problem_id": name, "text": text, "source": "s"}) + "\n" for name, text in texts.items())


def _its(made: Clone, *words: str, code: int = 0) -> str:
    """Run `its` of this package."""
    return made.run(sys.executable, "-m", "its", *words, code=code)


def _difference(made: Clone, *words: str) -> dict[str, Any]:
    done = json.loads(_its(made, "data", "diff", *words, "--json"))
    return {file["path"]: file for file in done["files"]}


@pytest.fixture
def versions(tmp_path: Path) -> Clone:
    """A study in miniature with two commits of its data, `b` changed, `c` came, `a` went; and one before any run."""
    made = Clone(tmp_path / "study", tmp_path / "home")
    made.path.mkdir()
    for name, text in (("dvc.yaml", DVC_YAML), ("make.py", MAKE), ("make_personas.py", MAKE_PERSONAS)):
        (made.path / name).write_text(text, encoding="utf-8")
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    made.run("dvc", "config", "core.analytics", "false")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "no run")
    for rows, message in ((_rows(a="one", b="two"), "first"), (_rows(b="TWO", c="three"), "second")):
        (made.path / "rows.jsonl").write_text(rows, encoding="utf-8")
        made.run("dvc", "repro", "-q")
        made.run("git", "add", "-A")
        made.run("git", "commit", "-qm", message)
    return made


def _expect_both_changes(found: dict[str, Any]) -> None:
    assert set(found) == {"data/problems/bench.jsonl", "data/personas/bench/random.jsonl"}
    for file in found.values():
        assert [row["id"] for row in file["added"]] == ["c"]
        assert [row["id"] for row in file["removed"]] == ["a"]
        assert [row["id"] for row in file["changed"]] == ["b"]
    assert found["data/problems/bench.jsonl"]["changed"][0]["fields"] == {"text": ["two", "TWO"]}


def test_revisions_experiments_and_the_files_at_hand_are_compared(versions: Clone) -> None:
    _expect_both_changes(_difference(versions, "HEAD~1", "HEAD"))
    _expect_both_changes(_difference(versions, "HEAD~1"))
    assert "3 rows: equal" not in _its(versions, "data", "diff", "HEAD")
    assert all(
        file["added"] == file["removed"] == file["changed"] == [] for file in _difference(versions, "HEAD").values()
    )

    (versions.path / "rows.jsonl").write_text(_rows(b="TWO", c="three", d="four"), encoding="utf-8")
    versions.run("dvc", "exp", "run", "-q", "-n", "with-four")
    versions.run("git", "checkout", "-q", "--", ".")
    versions.run("dvc", "checkout", "-q")
    found = _difference(versions, "workspace", "with-four", "--set", "bench")
    assert [row["id"] for row in found["data/personas/bench/random.jsonl"]["added"]] == ["d"]

    said = _its(versions, "data", "diff", "nothing", code=3)
    assert "no git revision and no DVC experiment `nothing`" in said


def test_a_remote_carries_every_version_to_another_clone(versions: Clone, tmp_path: Path) -> None:
    # DVC 3.67 reads each commit's own remotes, and skips commits that are older than the first; --local counts for all.
    for where in ("--project", "--local"):
        versions.run("dvc", "remote", "add", "-q", where, "-d", "storage", str(tmp_path / "remote"))
    versions.run("git", "commit", "-qam", "remote")
    versions.run("dvc", "push", "-q", "--all-commits")
    versions.run("git", "clone", "-q", str(versions.path), str(tmp_path / "other"))
    other = Clone(tmp_path / "other", tmp_path / "home")
    assert not list((other.path / "data").rglob("*.jsonl"))
    _expect_both_changes(_difference(other, "HEAD~2", "HEAD"))  # out of the remote, nothing was pulled
    other.run("dvc", "pull", "-q")
    for name in ("data/problems/bench.jsonl", "data/personas/bench/random.jsonl"):
        assert (other.path / name).read_bytes() == (versions.path / name).read_bytes()
    assert "up to date" in other.run("dvc", "status")


def test_data_that_is_nowhere_is_named_with_the_remedy(versions: Clone) -> None:
    said = _its(versions, "data", "diff", "HEAD~2", code=4)
    assert "is recorded in `HEAD~2`" in said and "dvc pull" not in said and "`git add dvc.lock" in said
    shutil.rmtree(versions.path / ".dvc" / "cache" / "files")
    said = _its(versions, "data", "diff", "HEAD~1", code=4)
    assert "of `HEAD~1` is neither in DVC's cache nor in its remote" in said
    assert "hint: `dvc pull --all-commits`" in said
    # A remote that cannot be reached is not a remote that has nothing.
    versions.run("dvc", "remote", "add", "-q", "-d", "storage", "hdfs://nowhere/data")
    said = _its(versions, "data", "diff", "HEAD~1", code=4)
    assert "error: DVC cannot read `HEAD~1`: hdfs is supported, but requires 'dvc-hdfs'" in said


# Two clean clones of the project itself.


@pytest.fixture
def clean_clone(tmp_path: Path) -> Callable[[str], Clone]:
    """A clean clone of the project, with its own home and without engine environments."""

    def make(name: str) -> Clone:
        made = Clone(tmp_path / name, tmp_path / f"home_{name}")
        copy_project(made.path)
        shutil.copy2(ROOT / "recipes" / "quickstart.yaml", made.path / "params.yaml")
        _add_file_source(made.path)
        made.run("git", "init", "-q")
        made.run("git", "add", "-A")
        made.run("git", "commit", "-qm", "start")
        return made

    return make


def _add_file_source(path: Path) -> None:
    """A benchmark out of a file of 60 rows, sampled, beside the quickstart's procedural sets."""
    rows = [{"question": f"What is {n} + {n}?", "answer": 2 * n, "id": f"r{n}"} for n in range(60)]
    (path / "data" / "sources" / "sums.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    params = path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    entry = (
        "benchmarks:\n  sums:\n    source: {kind: files, path: data/sources/sums.jsonl}\n"
        "    fields: {problem: question, reference: answer, problem_id: id}\n    sample: {size: 20, seed: 3}\n"
        "    answer: integer\n    role: select\n"
    )
    assert text.count("benchmarks:\n  arith") == 1
    params.write_text(text.replace("benchmarks:\n", entry, 1), encoding="utf-8")


def test_two_clean_clones_prepare_the_same_bytes(clean_clone: Callable[[str], Clone]) -> None:
    found = []
    for name in ("one", "two"):
        made = clean_clone(name)
        made.run("dvc", "repro", "-q", "prepare", "prepare_benchmark")
        files = {
            path.relative_to(made.path).as_posix(): path.read_bytes()
            for folder in ("problems", "cards")
            for path in sorted((made.path / "data" / folder).rglob("*"))
            if path.is_file() and path.name != ".gitignore"
        }
        # DVC writes the stages of dvc.lock in the order in which it ran them.
        lock = YAML(typ="safe", pure=True).load((made.path / "dvc.lock").read_text(encoding="utf-8"))
        found.append(files | {"dvc.lock": lock})
        assert len(lines(made.path / "data" / "problems" / "sums.jsonl")) == 20
        assert os.fspath(made.path).encode() not in b"".join(files.values())  # no path of this machine
    assert {"data/problems/arithmetic.jsonl", "data/problems/sums.jsonl"} <= set(found[0])
    assert found[0] == found[1]


def test_the_sets_of_a_prepared_clone_are_shown(clean_clone: Callable[[str], Clone]) -> None:
    made = clean_clone("one")
    made.run("dvc", "repro", "-q", "prepare_benchmark@sums")
    (own,) = json.loads(_its(made, "data", "show", "sums", "--json"))["sets"]
    assert (own["rows"], own["kind"], own["card"]) == (20, "benchmark", "read")
    assert (own["files"][0]["stage"], own["files"][0]["as_locked"]) == ("prepare_benchmark@sums", True)
    first = lines(made.path / "data" / "problems" / "sums.jsonl")[0]["problem_id"]
    traced = json.loads(_its(made, "data", "lineage", f"sums/{first}", "--json"))["lineage"]
    assert traced["steps"][-1]["where"] == f"data/sources/sums.jsonl:{int(first[1:]) + 1}"
    assert f'"id": "{first}"' in traced["steps"][-1]["facts"]["line"]
    assert "prepare_benchmark@arithmetic_test" in traced["standing"]["changed_stages"]
    assert "prepare_benchmark@sums" not in traced["standing"]["changed_stages"]
    assert "| sample" in _its(made, "data", "card", "sums")


def test_another_size_is_prepared_again_there_and_back(clean_clone: Callable[[str], Clone]) -> None:
    """DVC 3.67 leaves every key named `size` out of the key of its run cache (`dvc/stage/cache.py`)."""
    made = clean_clone("one")
    params = made.path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert text.count("sample: {size: 20, seed: 3}") == 1
    for size in (20, 12, 20, 12):
        params.write_text(text.replace("sample: {size: 20", f"sample: {{size: {size}"), encoding="utf-8")
        made.run("dvc", "repro", "-q", "prepare_benchmark@sums")
        assert len(lines(made.path / "data" / "problems" / "sums.jsonl")) == size
