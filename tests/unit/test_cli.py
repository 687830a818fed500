"""The command line: exit codes, one JSON document, one message on stderr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from its.cli.main import main

Edit = Callable[..., None]
pytestmark = pytest.mark.usefixtures("project")


Its = Callable[..., tuple[int, str, str]]


def test_list(its: Its) -> None:
    code, out, err = its("recipe", "list")
    assert (code, err) == (0, "")
    assert any(line.startswith("* quickstart ") for line in out.splitlines())
    document = json.loads(its("recipe", "list", "--json")[1])
    assert document["version"] == 1
    assert "quickstart" in [item["name"] for item in document["recipes"]]


def test_show(its: Its, project: Path) -> None:
    text = (project / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    assert its("recipe", "show", "quickstart") == (0, text, "")
    assert json.loads(its("recipe", "show", "quickstart", "--json")[1])["recipe"]["seed"] == 17


COUNTED = """  2 trainings, 3 checkpoints, 6 cells
  responses: 1200
  personas: at most 600, each in at most 3 requests
"""


def test_check(its: Its) -> None:
    assert its("recipe", "check", "quickstart", "params.yaml") == (
        0,
        f"recipes/quickstart.yaml: valid\n{COUNTED}params.yaml: valid\n{COUNTED}",
        "",
    )
    document = json.loads(its("recipe", "check", "quickstart", "--json")[1])
    counts = document.pop("counts")["recipes/quickstart.yaml"]
    assert document == {"version": 1, "valid": ["recipes/quickstart.yaml"], "errors": []}
    assert (counts["trainings"], counts["checkpoints"], counts["cells"]) == (2, 3, 6)
    assert counts["responses"] == {"known": 1200, "per_problem": {}, "at_most": False}


def test_check_lists_the_cells(its: Its) -> None:
    models = ("smollm2_135m-base", "smollm2_135m-arithmetic-none-1", "smollm2_135m-arithmetic-random-1")
    cells = [f"{model}/arithmetic_test/{test}" for model in models for test in ("none", "random")]
    told = "".join(f"    {cell}\n" for cell in cells)
    assert its("recipe", "check", "quickstart", "--cells") == (
        0,
        f"recipes/quickstart.yaml: valid\n{COUNTED}  6 cells:\n{told}",
        "",
    )
    assert json.loads(its("recipe", "check", "quickstart", "--cells", "--json")[1])["cells"] == {
        "recipes/quickstart.yaml": cells
    }


def test_check_without_names_checks_all(its: Its, project: Path) -> None:
    for path in (project / "recipes").glob("*.yaml"):
        if path.stem != "quickstart":
            path.unlink()
    assert its("recipe", "check")[1] == f"recipes/quickstart.yaml: valid\n{COUNTED}params.yaml: valid\n{COUNTED}"


def test_check_names_every_fault(its: Its, edit: Edit) -> None:
    edit(("  role: report", "  rol: report"), ("grading:\n", "gradng:\n"))
    code, out, err = its("recipe", "check", "params.yaml")
    assert (code, out) == (3, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert all(re.match(r"error: params\.yaml:\d+:\d+: (unknown|missing) field `", line) for line in errors)
    assert len(errors) == 4
    assert "hint: did you mean `role`? `its recipe fields benchmarks.arithmetic_test` explains the fields" in err


def test_use_and_diff(its: Its, edit: Edit, project: Path) -> None:
    assert its("recipe", "diff") == (0, "params.yaml is recipe `quickstart`\n", "")
    edit(("seed: 17", "seed: 18"))
    code, out, _ = its("recipe", "diff")
    assert code == 0 and out.startswith("seed: 17 -> 18\nstages that read this: prepare, prepare_benchmark, persona, ")
    assert json.loads(its("recipe", "diff", "--json")[1])["differences"] == [
        {"path": "seed", "recipe": 17, "params": 18}
    ]
    code, out, err = its("recipe", "use", "quickstart")
    assert (code, out) == (3, "")
    assert "differs from its recipe `quickstart` (`seed`) and would be overwritten" in err
    assert "hint: " in err
    assert "seed: 18" in (project / "params.yaml").read_text(encoding="utf-8")
    code, out, err = its("recipe", "use", "quickstart", "--force")
    assert (code, out) == (0, f"params.yaml: quickstart; run it with `dvc repro`\n{COUNTED}")
    assert err.startswith("the former params.yaml is kept as .its/replaced/params-")
    assert its("recipe", "diff")[1] == "params.yaml is recipe `quickstart`\n"


def test_fields(its: Its) -> None:
    code, out, err = its("recipe", "fields", "writer")
    assert (code, err) == (0, "") and out.index("\nmodel  ") < out.index("\nsampling  ") < out.index("\nattempts  ")
    fields = json.loads(its("recipe", "fields", "vote", "--json")[1])["fields"]
    assert [field["name"] for field in fields] == ["members", "ensembles", "strategies"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["recipe", "show", "nothing"], 4, "error: no recipe `nothing` under recipes/"),
        (["recipe", "check", "nothing.yaml"], 4, "error: nothing.yaml: no such file"),
        (["recipe", "nonsense"], 2, "No such command 'nonsense'"),
        (["recipe", "show"], 2, "Missing argument 'NAME'"),
        (["train", "m", "d", "s", "one"], 2, "'one' is not a valid integer"),
        (
            ["train", "m-d-s-1", "--node", "2", "--nodes", "2", "--rendezvous", "h:1"],
            3,
            "`--node` is 2, and `--nodes` is",
        ),
        (["train", "m-d-s-1", "--node", "0"], 3, "`--node` without `--nodes` and `--rendezvous`"),
        (["train", "m-d-s-1", "--nodes", "2"], 3, "`--nodes` without `--node` and `--rendezvous`"),
        (["train", "m-d-s-1", "--rendezvous", "h:1", "--wait", "5"], 3, "`--rendezvous` without"),
        (["train", "m-d-s-1", "--wait", "5"], 2, "--wait is for --node, --nodes and --rendezvous"),
        (["train", "m", "d", "s", "1", "--wait", "5"], 2, "--wait is for --node"),
        (["train", "m-d-s"], 2, "or one CHECKPOINT: `m-d-s` is not MODEL-DATASET-STRATEGY-SEED"),
        (["train", "m-d-s-1-lora", "--node", "0"], 2, "`m-d-s-1-lora` is not MODEL-DATASET-STRATEGY-SEED"),
        (["train", "m--s-1"], 2, "`m--s-1` is not MODEL-DATASET-STRATEGY-SEED"),
        (["train", "m-d-s-one"], 2, "'one' is not a valid integer"),
        (["train", "m", "d"], 2, "or one CHECKPOINT, found 2 words"),
        (["prepare", "nothing"], 3, "error: params.yaml declares no dataset or benchmark `nothing`"),
        (["query"], 4, "error: .*personas/.*: no such file"),
        (["generate"], 4, "error: .*no such file"),
        (["report"], 4, r"error: .*results/.*\.json: no such file"),
        (["results", "table"], 4, r"error: .*cells\.json: no such file"),
        (["store", "stats"], 4, r"error: .*store\.sqlite: no store yet"),
        (["persona"], 4, "error: .*problems/.*: no such file"),
    ],
)
def test_exit_codes(its: Its, words: list[str], code: int, message: str) -> None:
    found, out, err = its(*words)
    assert (found, out) == (code, "")
    assert re.search(message, err)
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["m-d-s-1", "smollm2_135m-arithmetic-nine-1"])
def test_a_checkpoint_is_named_in_one_word_or_four(its: Its, name: str) -> None:
    code, _, err = its("train", name)
    assert code == 3 and "declares no" in err and its("train", *name.split("-")) == (code, "", err)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "m-d-s-1", "--node", "1", "--nodes", "2", "--rendezvous", "h:1", "--wait", "nan"],
        *(["recipe", "plan", option, "-nan"] for option in ("--mfu", "--mbu", "--price", "--tflops", "--bandwidth")),
    ],
)
def test_what_is_no_number_is_in_no_range(its: Its, words: list[str]) -> None:
    """A wait of nan seconds never ends, and a price of nan is a sum of nan."""
    code, out, err = its(*words)
    assert (code, out) == (2, "") and f"{words[-1]} is not in the range" in err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["recipe", "show", "nothing", "--json"], 4),
        (["recipe", "diff", "nothing", "--json"], 4),
        (["recipe", "check", "nothing", "--json"], 4),
        (["recipe", "show", "--json"], 2),
        (["results", "table", "--json"], 4),
        (["store", "stats", "--json"], 4),
    ],
)
def test_json_is_one_document_also_on_failure(its: Its, words: list[str], code: int) -> None:
    found, out, err = its(*words)
    assert found == code
    document: dict[str, Any] = json.loads(out)
    assert document["version"] == 1
    assert document["errors"][0]["message"]
    assert err


def test_json_faults_say_where(its: Its, edit: Edit) -> None:
    edit(("grading:\n", "gradng:\n"))
    code, out, _ = its("recipe", "check", "params.yaml", "--json")
    assert code == 3
    first = json.loads(out)["errors"][0]
    assert set(first) == {"where", "message", "hint"}
    assert re.fullmatch(r"params\.yaml:\d+:\d+", first["where"])


def test_traceback_shows_where_an_error_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    from its.errors import MissingError

    with pytest.raises(MissingError, match="no recipe `nothing`"):
        main(["--traceback", "recipe", "show", "nothing"])
    assert capsys.readouterr().out == ""


def test_an_interruption_has_its_own_code(its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(study: object, name: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("its.stages.prepare.run", interrupt)
    code, out, err = its("prepare", "arithmetic")
    assert (code, out) == (130, "")
    assert "interrupted; run the same command again to continue" in err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.stages.prepare.run", lambda study, name: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        main(["prepare", "arithmetic"])


def test_outside_a_project(its: Its, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = its("recipe", "list")
    assert code == 4
    assert "no dvc.yaml here or above" in err


def test_a_full_disk_leaves_nothing(its: Its, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("its.files.os.fsync", full)
    code, _, err = its("prepare", "arithmetic")
    assert code == 1
    assert re.search(r"error: .*arithmetic\.jsonl: no space left on the disk\nhint: free some space", err)
    assert list((project / "data" / "problems").iterdir()) == []


@pytest.mark.parametrize("place", ["/sys/x", "/proc/x", "/sys/x/below"])
@pytest.mark.parametrize("words", [["env", "sync", "axolotl"], ["env", "sync", "axolotl", "--build", "cuda"]])
def test_a_home_that_cannot_be_created_is_one_clear_error(
    its: Its, place: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_HOME", place)
    code, out, err = its(*words)
    assert (code, out) == (3, "") and "Traceback" not in err
    assert err.startswith(f"error: `ITS_HOME` is `{place}`: ") and "hint: name a folder that can be created" in err


def test_an_error_elsewhere_is_not_blamed_on_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(study: object, name: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(tmp_path / "home" / "x"))

    monkeypatch.setenv("ITS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("its.stages.prepare.run", absent)
    with pytest.raises(FileNotFoundError):
        main(["prepare", "arithmetic"])


def test_a_stage_as_dvc_calls_it(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "its", "prepare", "nothing"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[0] == "error: params.yaml declares no dataset or benchmark `nothing`"


def test_a_folder_that_was_removed_is_one_clear_error(
    its: Its, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, said = its("recipe", "list")
    assert code == 4 and said.startswith("error: the current folder no longer exists")
