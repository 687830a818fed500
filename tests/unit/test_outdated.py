"""Whether `its results` says that what it shows is not of the study as it is now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pace import processor_seconds
from running import run_stage
from unit.test_measure import RIGHT, WRONG, Written

from its.commands.finished_runs import changed_files
from its.commands.outdated import MEASURED, outdated, recipe_edited
from its.commands.side_settings import STAGES
from its.commands.sides import open_side
from its.recipe.apply import recipe_path, use_recipe
from its.recipe.document import read_document

Edit = Callable[..., None]
Its = Callable[..., tuple[int, str, str]]
CODE = "its/metrics.py"


@pytest.fixture
def written(project: Path, edit: Edit) -> Written:
    """A finished study with the dvc.lock that DVC would have written."""
    edit(("  n: #", "  n: 1"), ("  draws: #", "  draws: 200"), file="recipes/quickstart.yaml")
    use_recipe(project, recipe_path(project, "quickstart"), force=True)
    made = Written(project)
    made.write(lambda c, b, t, place, index: RIGHT if c.train and place < 9 else WRONG)
    run_stage("measure")
    (project / CODE).parent.mkdir()
    (project / CODE).write_text("x = 1\n", encoding="utf-8")
    (project / "dvc.lock").write_text(_lock(project), encoding="utf-8")
    return made


def _lock(project: Path, prepared: str = "arithmetic") -> str:
    """Of three stages; the files and the folder as they are, so nothing is outdated."""
    values = read_document(project / "params.yaml").values
    entries: dict[str, Any] = {
        f"prepare@{prepared}": {
            "cmd": "x",
            "deps": [_file(project, CODE)],
            "params": {"params.yaml": {"seed": values["seed"]}},
        },
        "grade": {
            "cmd": "x",
            "deps": [_file(project, "recipes/prompts")],
            "params": {"params.yaml": {"generation": values["generation"]}},
            "outs": [{"path": "data/verdicts", "hash": "md5", "md5": "a" * 32 + ".dir"}],
        },
        "measure": {
            "cmd": "x",
            "deps": [{"path": "data/verdicts", "hash": "md5", "md5": "a" * 32 + ".dir"}, _file(project, CODE)],
            "params": {"params.yaml": {"measure": values["measure"], "design": values["design"]}},
            "outs": [_file(project, "results/cells.json")],
        },
        "report": {"cmd": "x", "deps": [_file(project, "envs/core.txt")]},
    }
    return "\n".join(["schema: '2.0'", "stages:", *_lines(entries, 2)]) + "\n"


def _file(project: Path, path: str) -> dict[str, str]:
    """An entry of a file or folder, whose MD5 is written down here a second time, after dvc-data 3.18."""
    place = project / path
    if place.is_file():
        digest = hashlib.md5(place.read_bytes()).hexdigest()
    else:
        files = sorted(each for each in place.rglob("*") if each.is_file())
        found = [
            {"md5": hashlib.md5(file.read_bytes()).hexdigest(), "relpath": str(file.relative_to(place))}
            for file in files
        ]
        digest = hashlib.md5(json.dumps(found, sort_keys=True).encode()).hexdigest() + ".dir"
    return {"path": path, "hash": "md5", "md5": digest}


def _lines(value: Any, depth: int) -> Iterator[str]:
    """YAML as DVC writes it: block style, lists not indented."""
    pad = " " * depth
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{pad}{key}:"
            yield from _lines(item, depth + 2)
        elif key in ("deps", "outs"):
            yield f"{pad}{key}:"
            for each in item:
                yield from (f"{pad}{'- ' if at == 0 else '  '}{k}: {v}" for at, (k, v) in enumerate(each.items()))
        else:
            yield f"{pad}{key}: {json.dumps(item)}"


def test_a_finished_study_has_no_note(written: Written, its: Its) -> None:
    assert outdated(written.study.project) == recipe_edited(written.study.project) == []
    for words in (["table"], ["best"], ["show", "p1"]):
        assert its("results", *words)[2] == ""
        assert json.loads(its("results", *words, "--json")[1])["notes"] == []


CHANGES: dict[str, tuple[tuple[str, str, str], str]] = {
    "a parameter": (("params.yaml", "  draws: 200", "  draws: 300"), "are outdated, changed since: measure.draws"),
    "of another stage": (("params.yaml", "  n: 1", "  n: 2"), "are outdated, changed since: generation.n"),
    "of the report alone": (("params.yaml", "  examples: #", "  examples: 7"), ""),
    "a prompt": (("recipes/prompts/query_plain.j2", "{{ problem.text }}", "{{ problem.text }}?"), "recipes/prompts"),
    "code": ((CODE, "x = 1", "x = 2"), "with other code of ITS: 1 file differs"),
    "of the report's environment": (("envs/core.txt", "dvc==", "dvc-x=="), ""),
    "a result": (("results/cells.json", '"version"', ' "version"'), "of the last run: results/cells.json"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noted_and_undone(written: Written, edit: Edit, name: str) -> None:
    (file, before, after), told = CHANGES[name]
    path = written.study.project / file
    text = path.read_text(encoding="utf-8")
    if "#" in before:
        edit((before, after), file=file)
    else:
        assert before in text
        path.write_text(text.replace(before, after, 1), encoding="utf-8")
    notes = outdated(written.study.project)
    assert [told in note for note in notes] == ([True] if told else [])
    path.write_text(text, encoding="utf-8")
    assert outdated(written.study.project) == []


def test_what_dvc_ignores_in_a_folder_changes_nothing(written: Written) -> None:
    prompts = written.study.project / "recipes" / "prompts"
    (prompts / "__pycache__").mkdir()
    (prompts / "__pycache__" / "x.pyc").write_bytes(b"1")
    (prompts / ".gitignore").write_bytes(b"1")
    assert outdated(written.study.project) == []
    (prompts / "new.j2").write_bytes(b"1")
    assert len(outdated(written.study.project)) == 1
    (written.study.project / ".dvcignore").write_text("new.j2\n", encoding="utf-8")
    assert outdated(written.study.project) == [], "which files count is left to DVC"


def test_an_unfinished_run_is_noted(written: Written) -> None:
    project = written.study.project
    lock = (project / "dvc.lock").read_text(encoding="utf-8")
    graded = lock.replace("a" * 32, "b" * 32, 1)  # by `grade`, and `measure` has not read them
    (project / "dvc.lock").write_text(graded, encoding="utf-8")
    assert outdated(project) == ["the results are outdated, changed since: data/verdicts"]
    (project / "dvc.lock").write_text(lock.partition("  measure:\n")[0], encoding="utf-8")
    assert outdated(project) == ["whether the results are outdated is not known: dvc.lock has no run of `measure`"]
    assert outdated(project, "verdicts", STAGES) == [], "grade has run"
    for text in ("stages: [", "stages: 3", "stages: {measure: 3}", "", "\x00", "a: &x [*x]"):
        (project / "dvc.lock").write_text(text, encoding="utf-8")
        assert "whether the results are outdated is not known" in outdated(project)[0]
    (project / "dvc.lock").unlink()
    assert outdated(project) == []


def test_a_dvc_lock_of_someone_else_costs_little(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    for at in range(100):
        (tmp_path / "large" / f"{at}.txt").write_bytes(b"x" * 2**12)
    entry = "    - path: {}\n      hash: md5\n      md5: {}\n"
    inputs = "".join(entry.format("./" * at + "large", "0" * 32 + ".dir") for at in range(1, 2000))
    inputs += entry.format("/proc", "0" * 32 + ".dir") + entry.format("/dev/zero", "0" * 32)
    outputs = "".join(entry.format(f"out/{at}", "0" * 32 + ".dir") for at in range(2000))
    lock = f"stages:\n  a:\n    deps:\n{inputs}    outs:\n{outputs}"
    with processor_seconds(10):
        assert set(changed_files(tmp_path, lock)) <= {"./" * at + "large" for at in range(1, 2000)}


def test_a_dataset_that_the_design_no_longer_has_is_not_noted(written: Written) -> None:
    project = written.study.project
    lock = _lock(project, "formerly").replace("seed: ", "seed: 1")
    code = f"md5: {hashlib.md5((project / CODE).read_bytes()).hexdigest()}"
    (project / "dvc.lock").write_text(lock.replace(code, f"md5: {'0' * 32}", 1), encoding="utf-8")
    assert outdated(project, stages=MEASURED) == []


def test_an_edited_recipe_is_noted_and_an_experiment_is_not(written: Written, its: Its, edit: Edit) -> None:
    project = written.study.project
    edit(("  draws: 200", "  draws: 300"), file="recipes/quickstart.yaml")
    (note,) = recipe_edited(project)
    assert note.startswith("recipes/quickstart.yaml was edited after `its recipe use quickstart`")
    assert note.endswith("has the former values: measure.draws") and outdated(project) == []
    assert note in its("results", "best")[2]
    edit(("  n: 1", "  n: 2"))
    assert recipe_edited(project) == [], "params.yaml was changed on purpose, as `dvc exp run -S` does"
    (project / "recipes" / "quickstart.yaml").unlink()
    assert recipe_edited(project) == []


def test_every_form_keeps_stdout_and_warns_on_stderr(written: Written, its: Its, edit: Edit) -> None:
    before = {form: its("results", "table", "--format", form)[1] for form in ("text", "csv", "latex")}
    edit(("  draws: 200", "  draws: 300"))
    told = "note: the results are outdated, changed since: measure.draws\nhint: `dvc repro` runs what is out of date\n"
    for form, out in before.items():
        assert its("results", "table", "--format", form) == (0, out, told)
    assert json.loads(its("results", "table", "--json")[1])["notes"] == [told.split("\n")[0].removeprefix("note: ")]
    assert its("results", "show", "p1")[2] == "", "responses do not depend on it"
    edit(("seed: 17", "seed: 18"))
    code, out, err = its("results", "show", "p1")
    assert code == 0 and "outdated" not in out
    assert err.startswith("note: the responses and verdicts are outdated, changed since: seed\n")
    side = open_side("workspace")
    (found,) = side.scores(side.cells[0]).notes
    assert found == "workspace: the verdicts are outdated, changed since: seed"
