"""The state of each recipe's runs, and differences between recipes, parameters, revisions and experiments."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from its.commands.finished_runs import LOCK_BYTES
from its.commands.recipe_sides import open_side, stages_reading
from its.commands.recipe_states import COMPARED, recipe_states
from its.errors import DataError, ItsError, MissingError

Its = Callable[..., tuple[int, str, str]]
MINE = """\
recipe: mine
description: a small one  # a comment
seed: 1
generation: {max_tokens: 8, stop: ["\\n\\n", "\u00e9: x"]}
"""
LOCK = """\
schema: '2.0'
stages:
  query:
    cmd: python -m its query
    outs:
    - path: data/queries
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 4
  measure:
    cmd: python -m its measure
    deps:
    - path: its/code.py
      hash: md5
      md5: CODE
      size: 4
    - path: data/queries
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 4
    params:
      params.yaml:
        seed: SEED
    outs:
    - path: results/m.json
      hash: md5
      md5: CODE
      size: 4
  report:
    cmd: python -c "print(1,
      2)"
    deps:
    - path: results/m.json
      hash: md5
      md5: CODE
      size: 4
    params:
      params.yaml:
        description: a small one
        generation:
          max_tokens: 8
          stop:
          - "\\n\\n"
          - '\u00e9: x'
        recipe: mine
        seed: SEED
    outs:
    - path: results/p.json
      hash: md5
      md5: 92204b17c83151e2da0baceae64bb270
      size: 134
"""
"""As DVC 3.67 writes it."""
CODE = b"x=1\n"
SEED = "other values in its run: seed"
PARTLY = "stages ran, and not all of them"
NOTHING = ["HAED", "--all", "a b", "HEAD\n", "", ":", "HEAD:", "HEAD:no.yaml", "HEAD:a blob", "HEAD:../params.yaml"]
NOTHING += ["HEAD:recipes", "HEAD:recipes/a blob 5", "\x1b[2J", "-", "HEAD:\n", "recipes/no.yaml"]


def _lock(seed: int) -> str:
    md5 = hashlib.md5(CODE, usedforsecurity=False).hexdigest()
    return LOCK.replace("CODE", md5).replace("SEED", str(seed))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recipes, of which `mine` is the active one and has run in the workspace."""
    for folder in ("recipes", "its", "results"):
        (tmp_path / folder).mkdir()
    files = {
        "recipes/mine.yaml": MINE,
        "recipes/other.yaml": MINE.replace("mine", "other"),
        "params.yaml": MINE,
        "dvc.lock": _lock(1),
        "its/code.py": CODE.decode(),
        "results/m.json": CODE.decode(),
        "dvc.yaml": "stages:\n  measure: {cmd: x, params: [seed]}\n  generate: {cmd: x, params: [generation.n]}\n"
        "  report:\n    cmd: x\n    params:\n      - params.yaml:\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _git(study: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=study, check=True, capture_output=True)


def _write(study: Path, name: str, old: str, new: str) -> None:
    text = (study / name).read_text(encoding="utf-8")
    assert old in text
    (study / name).write_text(text.replace(old, new), encoding="utf-8")


def _told(study: Path, name: str = "mine") -> tuple[str, str | None, str | None]:
    (found,) = [item for item in recipe_states(study)[0] if item.name == name]
    return found.state, found.where, found.reason


def test_a_finished_run_in_the_workspace(study: Path) -> None:
    assert _told(study) == ("done", "workspace", None)
    assert _told(study, "other") == ("never run", None, None)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda study: _write(study, "recipes/mine.yaml", "seed: 1", "seed: 2"), f"stale: {SEED}, edited"),
        (lambda study: _write(study, "recipes/mine.yaml", "# a comment", "# another"), "done"),
        (lambda study: _write(study, "params.yaml", "seed: 1", "seed: 2"), "done, edited"),
        (lambda study: _write(study, "its/code.py", "x=1", "x=2"), "stale: changed since: its/code.py"),
        (lambda study: _write(study, "results/m.json", "x=1", "x=2"), "stale: changed since: results/m.json"),
        (lambda study: (study / "its" / "code.py").unlink(), "stale: changed since: its/code.py"),
        (lambda study: (study / "results" / "m.json").unlink(), "done"),
        (lambda study: (study / "dvc.lock").unlink(), "never run"),
        (lambda study: _write(study, "dvc.lock", "  report:", "  judge:"), f"unfinished: {PARTLY}"),
        (lambda study: (study / "params.yaml").unlink(), "done, not active"),
        (lambda study: _write(study, "dvc.lock", " recipe: mine\n", " recipe: mine\n        a: [\n"), "unknown"),
        (lambda study: (study / "dvc.lock").write_bytes(b"#" * (LOCK_BYTES + 1)), "unknown"),
    ],
)  # fmt: skip
def test_what_makes_a_run_stale(study: Path, change: Callable[[Path], object], state: str) -> None:
    change(study)
    (found,) = [item for item in recipe_states(study)[0] if item.name == "mine"]
    said = found.state + (f": {found.reason}" if found.reason else "")
    said += ", edited" if found.edited else "" if found.active else ", not active"
    assert said.startswith(state) and (said == state or state == "unknown")


def test_runs_in_git(study: Path) -> None:
    _git(study, "init", "-q")
    _git(study, "add", "-A")
    _git(study, "commit", "-qm", "x")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=study, capture_output=True, text=True, check=True).stdout
    (study / "dvc.lock").write_text(_lock(2), encoding="utf-8")
    _write(study, "params.yaml", "seed: 1", "seed: 2")
    _git(study, "stash", "-q")
    _git(study, "update-ref", f"refs/exps/ab/{'c' * 38}/short", "stash@{0}")
    assert _told(study) == ("done", "workspace", None)
    _write(study, "recipes/mine.yaml", "seed: 1", "seed: 2")
    assert _told(study) == ("done", "experiment short", None)
    (study / "dvc.lock").write_text(_lock(3), encoding="utf-8")
    _write(study, "recipes/mine.yaml", "seed: 2", "seed: 1")
    assert _told(study) == ("done", f"commit {commit[:7]}", None)

    assert open_side(study, "short").values["seed"] == 2
    assert open_side(study, "HEAD").values["seed"] == open_side(study, "params.yaml").values["seed"] == 1
    assert open_side(study, "HEAD:recipes/other.yaml").values["recipe"] == "other"
    assert open_side(study, "short:./recipes/other.yaml").values["recipe"] == "other"
    for name in NOTHING:
        with pytest.raises(ItsError) as caught:
            open_side(study, name)
        assert caught.value.hint and "\x1b" not in "".join(caught.value.lines()), name
    with pytest.raises(MissingError, match="shart") as missing:
        open_side(study, "shart")
    assert "`short`" in str(missing.value.hint)


def test_many_runs_are_not_all_read(study: Path) -> None:
    _git(study, "init", "-q")
    for seed in range(2, COMPARED + 4):
        (study / "dvc.lock").write_text(_lock(seed), encoding="utf-8")
        _git(study, "add", "-A")
        _git(study, "commit", "-qm", str(seed))
    state, _, reason = _told(study)
    assert state == "unknown" and f"{COMPARED + 2} runs" in str(reason)


def test_no_damage_of_a_lock_is_a_crash(study: Path) -> None:
    """Each state is a true one or `unknown`: of a cut lock never `done`."""
    draw, lock = random.Random(7), _lock(1)
    end = lock.index("    outs:", lock.index("  report:"))
    for step in range(60):
        at = draw.randrange(len(lock))
        other = draw.choice(
            ["", "\t", "&a [*a]", "\x00", "\n", "  report:\n", "'", "!!python/object:os.system ", "- " * 9]
        )
        text = lock[:at] if step % 3 == 0 else lock[:at] + other + lock[at + draw.randrange(40) :]
        (study / "dvc.lock").write_text(text, encoding="utf-8", errors="replace")
        state, _, _ = _told(study)
        assert state != "done" or step % 3 or at >= end, text


def test_the_list_as_a_user_sees_it(study: Path, its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)  # `its` has its own
    _write(study, "recipes/mine.yaml", "seed: 1", "seed: 2")
    code, out, err = its("recipe", "list")
    assert (code, err) == (0, "")
    assert out == (
        "* mine   stale       a small one\n"
        "         other values in its run: seed\n"
        "         params.yaml has other values: `its recipe diff`\n"
        "  other  never run   a small one\n"
    )
    mine, other = json.loads(its("recipe", "list", "--json")[1])["recipes"]
    assert (mine["state"], mine["active"], mine["edited"], mine["where"]) == ("stale", True, True, "workspace")
    assert (other["state"], other["active"], other["reason"]) == ("never run", False, None)


def test_a_difference_names_the_stages_that_read_it(study: Path, its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)  # `its` has its own
    assert its("recipe", "diff", "mine", "params.yaml") == (0, "`mine` and `params.yaml` have the same values\n", "")
    assert its("recipe", "diff") == (0, "params.yaml is recipe `mine`\n", "")
    _write(study, "recipes/mine.yaml", "seed: 1", "seed: 2")
    assert its("recipe", "diff", "mine", "params.yaml")[1] == "seed: 2 -> 1\nstages that read this: measure, report\n"
    found = json.loads(its("recipe", "diff", "mine", "other", "--json")[1])
    assert (found["a"], found["b"], found["stages"]) == ("mine", "other", ["measure", "report"])
    assert found["differences"][-1] == {"path": "seed", "a": 2, "b": 1}
    assert its("recipe", "diff", "mine", "--used")[0] == 2


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("seed", ["measure", "report"]),
        ("generation.n", ["generate", "report"]),
        ("generation", ["generate", "report"]),
        ("generation.n.m", ["generate", "report"]),
        ("generation.no", ["report"]),
        ("seeds", ["report"]),
    ],
)
def test_stages_reading(study: Path, path: str, stages: list[str]) -> None:
    assert stages_reading(study, [path]) == stages


@pytest.mark.parametrize(
    "text", ["", "a", "stages: [1]", "stages: {a: 1, b: {params: 3}}", "stages: {a: {params: [[1]]}}"]
)
def test_no_dvc_yaml_is_a_crash(study: Path, text: str) -> None:
    (study / "dvc.yaml").write_text(text, encoding="utf-8")
    assert stages_reading(study, ["seed"]) == []


def test_a_large_file_in_git_is_refused(study: Path) -> None:
    _git(study, "init", "-q")
    (study / "params.yaml").write_text("a: " + "x" * 10**6, encoding="utf-8")
    _git(study, "add", "-A")
    _git(study, "commit", "-qm", "x")
    with pytest.raises(DataError, match="HEAD: has 1000003 bytes"):
        open_side(study, "HEAD")
