"""`its init`: what a wheel brings, a study outside the clone, its upgrade, and the code that its stages depend on."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import subprocess
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graph
import pytest

from its.commands.init import RECORD, create_study, read_record, record_code, upgrade_study
from its.commands.sweep_file import Sweep
from its.commands.sweep_state import _watched, sweep_state
from its.errors import DataError, FaultsError, ItsError, MissingError, RunError
from its.installed.code import changed_code, code_texts, write_code
from its.installed.files import FOLDER, study_files
from its.installed.graph import CODE_STAGE, PACKAGES, code_file, stage_entries, study_graph
from its.recipe.document import read_document
from its.revisions import standing
from its.study.access import stage_study

Its = Callable[..., tuple[int, str, str]]
CLONE = (graph.ROOT / "dvc.yaml").read_text(encoding="utf-8")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new study, which is the current folder."""
    folder = tmp_path / "mine"
    create_study(folder, "quickstart")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_wheel_has_what_init_writes_and_what_the_stages_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(graph.ROOT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of setuptools on import
        import setuptools

        build: Any = runpy.run_path("setup.py")["BuildWithStudy"]
        declared = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
        packages = setuptools.find_namespace_packages(include=declared["packages"]["find"]["include"])
        command = build(
            setuptools.Distribution(
                {"packages": packages, "package_data": declared["package-data"], "script_name": "setup.py"}
            )
        )
        command.build_lib = "lib"
        command.finalize_options()
        carried = {str(Path(path).relative_to("lib")) for path in command.get_outputs(include_bytecode=False)}
    code = {file for entries in stage_entries(CLONE).values() for entry in entries for file in graph.expanded(entry)}
    assert not code - carried, "`package-data` of pyproject.toml lacks them"
    assert {f"its/{FOLDER}/{name}" for name in study_files()} == {name for name in carried if f"/{FOLDER}/" in name}
    listed = subprocess.run(
        ["git", "ls-files", "its", "recipes", "envs", ".dvc"], capture_output=True, text=True, check=True
    )
    tracked = [name for name in listed.stdout.split() if not name.endswith("README.md")]
    assert tracked and not [name for name in tracked if not {name, f"its/{FOLDER}/{name}"} & carried]


def test_the_graph_of_a_study_is_that_of_the_clone_with_files_for_the_code(study: Path) -> None:
    """Else what is tested of the clone's graph would not hold outside."""
    ours: dict[str, Any] = read_document(study / "dvc.yaml").values
    clones: dict[str, Any] = read_document(graph.ROOT / "dvc.yaml").values
    written = {next(iter(out)) for out in ours["stages"].pop(CODE_STAGE)["outs"]}
    assert written == {*map(code_file, clones["stages"]), PACKAGES} == set(code_texts())
    for name, stage in clones["stages"].items():
        kept = [entry for entry in stage["deps"] if not entry.startswith("its/")]
        assert sorted(ours["stages"][name].pop("deps")) == sorted([*kept, code_file(name), PACKAGES])
        stage.pop("deps")
    assert ours == clones


def test_the_file_of_a_stage_lists_its_code() -> None:
    texts = code_texts()
    for stage, entries in stage_entries(CLONE).items():
        lines = texts[code_file(stage)].splitlines()
        assert {line[66:] for line in lines} == {file for entry in entries for file in graph.expanded(entry)}
        assert all(re.fullmatch(r"[0-9a-f]{64}  its/\S+", line) for line in lines)
    assert stage_entries(CLONE).keys() == graph.stage_modules(CLONE).keys()


def test_a_new_study_has_every_file_staged(study: Path) -> None:
    shown = subprocess.run(["git", "status", "--short", "-uall"], cwd=study, capture_output=True, text=True, check=True)
    states = shown.stdout.splitlines()
    assert len(states) == len(study_files()) + len(code_texts()) + 2  # params.yaml and the record
    assert {line[:3] for line in states} == {"A  "}
    assert (study / "params.yaml").read_bytes() == (study / "recipes" / "quickstart.yaml").read_bytes()


def test_a_second_init_is_refused_and_an_interrupted_one_is_finished(study: Path) -> None:
    before = _files(study)
    with pytest.raises(DataError, match="is a study already"):
        create_study(study, "quickstart")
    (study / RECORD).unlink()
    (study / "recipes" / "paper.yaml").unlink()
    create_study(study, "quickstart")
    assert _files(study) == before


def test_every_file_in_the_way_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "data").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (folder / "params.yaml").mkdir()
    (folder / "envs").write_text("a file", encoding="utf-8")
    (folder / "recipes").symlink_to(tmp_path)
    (folder / ".gitignore").symlink_to("nowhere")
    before = sorted(folder.rglob("*"))
    with pytest.raises(FaultsError) as caught:
        create_study(folder, "quickstart")
    named = {Path(fault.where).relative_to(folder).parts[0] for fault in caught.value.faults}
    assert named == {"dvc.yaml", "params.yaml", "envs", "recipes", ".gitignore"}
    assert sorted(folder.rglob("*")) == before and not list(tmp_path.glob("*.yaml"))


def test_other_files_stay_and_a_repository_above_is_used(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "deep" / "mine").mkdir(parents=True)
    (tmp_path / "deep" / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    made = create_study(tmp_path / "deep" / "mine", "arithmetic_4x4")
    assert not made.new_repository and made.unstaged is None
    assert (made.folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert read_document(made.folder / "params.yaml").values["recipe"] == "arithmetic_4x4"


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text("#!/bin/sh\necho 'fatal: disk is full' >&2\nexit 128\n", encoding="utf-8")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent))
    with pytest.raises(RunError, match="`git init` failed: fatal: disk is full"):
        create_study(tmp_path / "a" / "mine", "quickstart")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]
    git.unlink()
    with pytest.raises(MissingError, match="git is not installed"):
        create_study(tmp_path / "mine", "quickstart")
    with pytest.raises(MissingError, match="no recipe"):
        create_study(tmp_path / "mine", "../quickstart")


def _age(study: Path, *names: str) -> None:
    """Make files of a study those of an earlier version, as its record then has them."""
    record = json.loads((study / RECORD).read_text(encoding="utf-8"))
    for name in names:
        (study / name).write_text("of an earlier version\n", encoding="utf-8")
        record["files"][name] = "b40bd61fb54e7d6a6a75e49ebb2dd41eb4a6cb7e5d65d9a2c3c2f1ee8b9a5a23"
    (study / RECORD).write_text(json.dumps(record), encoding="utf-8")


def _record_as_written(study: Path, *names: str) -> None:
    record = json.loads((study / RECORD).read_text(encoding="utf-8"))
    for name in names:
        record["files"][name] = hashlib.sha256((study / name).read_bytes()).hexdigest()
    (study / RECORD).write_text(json.dumps(record), encoding="utf-8")


def test_an_upgrade_replaces_what_is_unedited_and_names_the_rest(study: Path) -> None:
    new = _files(study)
    unedited, edited, gone, retired = "dvc.yaml", "recipes/quickstart.yaml", "recipes/paper.yaml", "recipes/old.yaml"
    _age(study, unedited, edited, gone, retired)
    _record_as_written(study, unedited, retired)  # the others differ from what was written
    (study / gone).unlink()
    (study / "params.yaml").write_text("mine: 1\n", encoding="utf-8")
    (study / "recipes" / "strategies.yaml").write_text("edited, and no newer version\n", encoding="utf-8")
    added = "recipes/prompts/qwen3.jinja"
    record = json.loads((study / RECORD).read_text(encoding="utf-8"))
    del record["files"][added]
    (study / RECORD).write_text(json.dumps(record), encoding="utf-8")
    (study / added).unlink()
    (study / code_file("grade")).write_text("of an earlier version\n", encoding="utf-8")

    found = upgrade_study(study)
    assert (found.written, found.added) == ([unedited, code_file("grade")], [added])
    assert (found.kept, found.missing, found.retired) == ([edited], [gone], [retired])
    after = _files(study)
    mine = {edited, gone, retired, "params.yaml", "recipes/strategies.yaml", RECORD}
    assert {name: text for name, text in after.items() if name not in mine} == {
        name: text for name, text in new.items() if name not in mine
    }
    assert after["params.yaml"] == b"mine: 1\n" and after[edited] == after[retired] == b"of an earlier version\n"
    again = upgrade_study(study)
    assert not again.written and not again.added and again.kept == [edited], "named until it is taken over"


@pytest.mark.parametrize(
    "content", ["[]", '{"version": 1}', '{"version": 1, "its": "0", "graph": "", "files": []}', "{"]
)
def test_a_damaged_record_is_refused(content: str, study: Path) -> None:
    (study / RECORD).write_text(content, encoding="utf-8")
    before = _files(study)
    with pytest.raises(ItsError, match=re.escape(RECORD)):
        upgrade_study(study)
    assert _files(study) == before


def test_a_stage_does_not_run_with_code_that_dvc_would_not_record(study: Path) -> None:
    with stage_study("query") as guarded:
        assert guarded.project == study
    assert changed_code(study) == []
    for path in (code_file("query"), PACKAGES):
        (study / path).write_text("of an earlier version\n", encoding="utf-8")
        refused = pytest.raises(DataError, match=f"stage `query`: the installed code is not that of {path}")
        with refused, stage_study("query"):
            pass
        assert changed_code(study) == [path]
        changes = standing(study, ["query", "grade"]).changed_stages or {}
        assert [name for name, why in changes.items() if f"installed code: {path} (modified)" in why] == (
            ["query"] if path != PACKAGES else ["query", "grade"]
        )
        assert write_code(study) == [path] and write_code(study) == []


def test_a_sweep_sees_an_upgrade_of_its(study: Path) -> None:
    """Stage `code` writes these files, but no other stage determines them: they are an input of a point."""
    assert {*code_texts()} <= {*_watched(study)} and "data/problems" not in _watched(study)
    (study / PACKAGES).write_text("numpy==0\n", encoding="utf-8")
    sweep = Sweep(Path("sweep.yaml"), [])
    with pytest.raises(DataError, match=f"the installed code is not that of {PACKAGES}"):
        sweep_state(study, sweep)


def test_the_code_of_another_graph_is_not_recorded(study: Path) -> None:
    assert record_code(study) == []
    record = json.loads((study / RECORD).read_text(encoding="utf-8")) | {"graph": "0", "its": "0.0.1"}
    (study / RECORD).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match=r"the graph of ITS 0\.0\.1") as caught:
        record_code(study)
    assert "its init --upgrade" in str(caught.value.hint)
    upgrade_study(study)
    assert record_code(study) == [] and read_record(study).its != "0.0.1"


def test_the_commands_say_what_they_did(project: Path, its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = its("init", "new")
    assert code == 0 and "params.yaml: quickstart" in out and not err
    code, out, _ = its("init", "--show", "dvc.yaml")
    assert out == study_graph(CLONE)
    assert its("init", "--show", "nothing")[0] == 3 and its("init", "--show", "x", "--upgrade")[0] == 2
    code, _, err = its("code")
    assert code == 4 and "`its init` wrote no study there" in err
    monkeypatch.chdir(project / "new")
    assert its("code") == (0, "code: unchanged\n", "")
    assert json.loads(its("init", "--upgrade", "--json")[1])["kept"] == []
