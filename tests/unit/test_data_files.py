"""Folders and patterns: which files they name, in which order, under which pin, and what is refused in words."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from running import run_stage
from unit.source_samples import parted

from its import data_files
from its.cards.markdown import card_markdown
from its.checks.untracked import untracked_files
from its.commands.lineage import lineage
from its.data_files import named_files, natural
from its.errors import DataError, FaultsError, ItsError, MissingError
from its.recipe.cross_checks import cross_check_faults
from its.recipe.load import read_document, validate
from its.recipe.schema import Dataset
from its.rows import read_rows
from its.sources.load import load_problems
from its.study.study import load_study
from its.types import Problem

FOLDER = "data/sources/set"


def row(number: int) -> dict[str, Any]:
    return {"q": f"What is {number} and {number}?", "a": 2 * number, "s": f"It is \\boxed{{{2 * number}}}."}


def content(rows: list[Any], ending: str) -> bytes:
    """Rows as a file of an ending holds them."""
    kind, _, packing = ending.strip(".").partition(".")
    if kind in ("jsonl", "ndjson"):
        data = "".join(json.dumps(item) + "\n" for item in rows).encode()
    elif kind == "json":
        data = json.dumps(rows).encode()
    elif kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        lines = [list(rows[0]) if rows else ["q", "a", "s"], *([str(cell) for cell in item.values()] for item in rows)]
        data = "".join(mark.join(cells) + "\n" for cells in lines).encode()
    else:
        import io

        import pyarrow
        import pyarrow.parquet

        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
        data = sink.getvalue()
    zst = zstandard.ZstdCompressor()
    pack: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gz": gzip.compress, "zst": zst.compress}
    return pack[packing](data)


def shards(project: Path, names: list[str], ending: str, each: int = 3, folder: str = FOLDER) -> list[dict[str, Any]]:
    """Write shards, each with its rows numbered on in the order of the names; all rows."""
    rows = [row(number) for number in range(each * len(names))]
    for index, name in enumerate(names):
        path = project / folder / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(rows[each * index : each * (index + 1)], ending))
    return rows


def load(project: Path, path: str, **more: Any) -> tuple[list[Problem], dict[str, Any]]:
    source = {"kind": "files", "path": path, **more.pop("source", {})}
    fields = more.pop("fields", {"problem": "q", "reference": "a", "solution": "s"})
    declared = Dataset.model_validate({"source": source, "fields": fields, **more})
    rows = load_problems("d", declared, seed=1, project=project, required=("solution",))
    return parted(rows)[0], rows.result


def told(project: Path, source: Any) -> list[tuple[Any, str, str | None]]:
    """What the check of a recipe says of a source."""
    entry = {"source": source, "fields": {"problem": "q", "solution": "s"}}
    return list(cross_check_faults({"datasets": {"x": entry}}, project))


ORDERS = [
    ["part-1", "part-2", "part-10", "part-11", "part-100"],
    ["train-00000-of-00003", "train-00001-of-00003", "train-00002-of-00003"],
    ["2_b", "02_c", "10_a"],
    ["A", "B", "a", "b"],
    ["x1y10", "x2y2", "x2y10", "x10y1"],
]


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.zst"])
@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_shards_are_read_in_order_as_one_set(tmp_path: Path, names: list[str], ending: str) -> None:
    rows = shards(tmp_path, names, ending)
    for noise in ("_SUCCESS", ".part-0.crc", "README.md", "LICENSE", "_metadata.json", "set.dvc", "SHA256SUMS"):
        (tmp_path / FOLDER / noise).write_text("noise")
    found: list[tuple[list[Problem], dict[str, Any]]] = []
    for path in (FOLDER, f"{FOLDER}/", f"{FOLDER}/*{ending}", f"data/*/set/*{ending}"):
        problems, origin = load(tmp_path, path)
        assert [problem.text for problem in problems] == [item["q"] for item in rows], path
        assert [problem.problem_id for problem in problems] == [f"{number:06d}" for number in range(len(rows))]
        assert {problem.source for problem in problems} == {path}
        assert [file["path"] for file in origin["files"]] == [f"{FOLDER}/{name}{ending}" for name in names]
        for file in origin["files"]:
            assert file["sha256"] == hashlib.sha256((tmp_path / file["path"]).read_bytes()).hexdigest()
            assert file["rows"] == 3
        found.append((problems, origin))
    place = {".jsonl": ":1", ".ndjson": ":1", ".csv": ":2", ".tsv": ":2"}.get(f".{ending.split('.')[1]}", "[0]")
    assert found[0][0][3].row == f"{FOLDER}/{names[1]}{ending}{place}"
    assert found[0][1]["ignored"] == sorted(
        ["_SUCCESS", "README.md", "LICENSE", "_metadata.json", "set.dvc", "SHA256SUMS"], key=natural
    ), "hidden names differ from machine to machine"
    assert len({origin["sha256"] for _, origin in found[:3]}) == 1, "a folder and its pattern have one pin"


@given(st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{0,4}[a-z]{0,2}[0-9]{0,2}", fullmatch=True), unique=True))
def test_the_order_is_natural_and_total(names: list[str]) -> None:
    ordered = sorted(names, key=natural)
    assert ordered == sorted(random.sample(names, len(names)), key=natural)
    plain = [name for name in ordered if re.fullmatch("a[0-9]+", name)]
    assert [int(name[1:]) for name in plain] == sorted(int(name[1:]) for name in plain)


@pytest.mark.parametrize("path", [f"{FOLDER}/", f"{FOLDER}/*.jsonl", "data/sources/*/*.jsonl"])
@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_the_pin_of_a_set_is_what_the_shell_computes(tmp_path: Path, names: list[str], path: str) -> None:
    shards(tmp_path, [*names, "with space", "ünï"], ".jsonl")
    base, shown = ("data/sources", "set/*.jsonl") if path.startswith("data/sources/*") else (FOLDER, "*.jsonl")
    command = f"cd {base} && sha256sum {shown} | LC_ALL=C sort | sha256sum"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    pin = done.stdout.split()[0]
    assert load(tmp_path, path)[1]["sha256"] == pin
    assert load(tmp_path, path, source={"sha256": pin})[1]["sha256"] == pin
    assert told(tmp_path, {"kind": "files", "path": path, "sha256": pin}) == []
    ((location, message, _),) = told(tmp_path, {"kind": "files", "path": path, "sha256": "0" * 64})
    assert location == ("datasets", "x", "source", "sha256") and f"its sha256 is `{pin}`" in message


CHANGES: dict[str, Callable[[Path], object]] = {
    "a row": lambda folder: (folder / "b.jsonl").write_bytes(content([row(99)], ".jsonl")),
    "a name": lambda folder: (folder / "b.jsonl").rename(folder / "d.jsonl"),
    "added": lambda folder: (folder / "d.jsonl").write_bytes(b""),
    "removed": lambda folder: (folder / "b.jsonl").unlink(),
    "swapped": lambda folder: (
        (folder / "a.jsonl").rename(folder / "x")
        and (folder / "b.jsonl").rename(folder / "a.jsonl")
        and (folder / "x").rename(folder / "b.jsonl")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_a_set_changes_its_pin(tmp_path: Path, change: str) -> None:
    shards(tmp_path, ["a", "b", "c"], ".jsonl")
    pin = load(tmp_path, FOLDER)[1]["sha256"]
    CHANGES[change](tmp_path / FOLDER)
    with pytest.raises(DataError, match=f"data/sources/set: its sha256 is `[0-9a-f]{{64}}`, the recipe pins `{pin}`"):
        load(tmp_path, FOLDER, source={"sha256": pin})
    (tmp_path / FOLDER / "_SUCCESS").touch()


def test_faults_name_the_very_file_and_line(tmp_path: Path) -> None:
    shards(tmp_path, ["a", "b", "c"], ".jsonl")
    broken = [json.dumps(row(3)), "{", json.dumps({"q": "x", "s": ""})]
    (tmp_path / FOLDER / "b.jsonl").write_text("\n".join(broken) + "\n")
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, FOLDER)
    assert [fault.where for fault in caught.value.faults] == [f"{FOLDER}/b.jsonl:2", f"{FOLDER}/b.jsonl:3"]
    problems, _ = load(tmp_path, FOLDER, tolerate={"rows": 2})
    ids = [problem.problem_id for problem in problems]
    assert ids == ["000000", "000001", "000002", "000003", "000006", "000007", "000008"], "faulty rows count"


def test_a_shard_that_is_called_like_a_document_is_data(tmp_path: Path) -> None:
    rows = shards(tmp_path, ["changelog", "citation", "license", "readme"], ".jsonl")
    assert [problem.text for problem in load(tmp_path, FOLDER)[0]] == [item["q"] for item in rows]


def test_an_id_that_two_shards_have_names_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / FOLDER).mkdir(parents=True, exist_ok=True)
        (tmp_path / FOLDER / f"{name}.jsonl").write_bytes(content([{"id": 7, **row(1)}], ".jsonl"))
    fields = {"problem": "q", "solution": "s", "problem_id": "id"}
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, FOLDER, fields=fields)
    (fault,) = caught.value.faults
    assert (fault.where, fault.message) == (
        f"{FOLDER}/b.jsonl:1",
        f"duplicate problem_id `7`; first at {FOLDER}/a.jsonl:1",
    )


def test_a_shard_of_other_columns_is_one_error_that_names_it(tmp_path: Path) -> None:
    shards(tmp_path, ["a", "b", "c"], ".jsonl", each=30)
    other = [{"question": f"{number}?", "s": "x"} for number in range(30)]
    (tmp_path / FOLDER / "b.jsonl").write_bytes(content(other, ".jsonl"))
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, FOLDER)
    (fault,) = caught.value.faults
    assert fault.where == f"{FOLDER}/b.jsonl"
    assert fault.message == "no row has `q` (problem), `a` (reference); the rows have: `question`, `s`"


def test_empty_shards_are_shards_and_all_empty_is_no_row(tmp_path: Path) -> None:
    shards(tmp_path, ["a", "c"], ".jsonl")
    (tmp_path / FOLDER / "b.jsonl").touch()
    problems, origin = load(tmp_path, FOLDER)
    assert len(problems) == 6 and [file["rows"] for file in origin["files"]] == [3, 0, 3]
    assert origin["files"][1]["sha256"] == hashlib.sha256().hexdigest()
    for name in "ac":
        (tmp_path / FOLDER / f"{name}.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="data/sources/set: no row"):
        load(tmp_path, FOLDER)


def make(project: Path, *names: str) -> None:
    for name in names:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content([row(1)], ".jsonl"))


REFUSED: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    # what is there, the path, what is said, the remedy
    "mixed": (
        lambda project: make(project, f"{FOLDER}/a.jsonl", f"{FOLDER}/b.jsonl", f"{FOLDER}/c.csv"),
        FOLDER,
        "the files have 2 endings: 2 `.jsonl`: `a.jsonl`, `b.jsonl`; 1 `.csv`: `c.csv`",
        f"`path: {FOLDER}/*.jsonl`",
    ),
    "packed and not": (
        lambda project: make(project, f"{FOLDER}/a.jsonl", f"{FOLDER}/a.jsonl.gz"),
        f"{FOLDER}/*",
        "the files have 2 endings: 1 `.jsonl`: `a.jsonl`; 1 `.jsonl.gz`: `a.jsonl.gz`",
        f"`path: {FOLDER}/*.jsonl`",
    ),
    "unknown": (
        lambda project: make(project, f"{FOLDER}/a.txt", f"{FOLDER}/b.txt"),
        FOLDER,
        f"{FOLDER}/a.txt: unknown ending `.txt`",
        "known: `.jsonl`",
    ),
    "nothing": (
        lambda project: make(project, f"{FOLDER}/_x"),
        FOLDER,
        "contains no data file (not counted: `_x`)",
        "put",
    ),
    "nothing at all": (lambda project: (project / FOLDER).mkdir(parents=True), FOLDER, "contains no data file", "put"),
    "folders": (
        lambda project: make(project, f"{FOLDER}/data/a.jsonl", f"{FOLDER}/README.md"),
        FOLDER,
        "the folder contains folders: `data`",
        f"`path: {FOLDER}/data/`",
    ),
    "folder among files": (
        lambda project: make(project, f"{FOLDER}/more/a.jsonl", f"{FOLDER}/a.jsonl"),
        FOLDER,
        "the folder contains folders: `more`",
        f"`path: {FOLDER}/*/*.jsonl`",
    ),
    "a matched folder": (
        lambda project: make(project, f"{FOLDER}/a.parquet/part-0.parquet"),
        f"{FOLDER}/*.parquet",
        f"matches the folder {FOLDER}/a.parquet/",
        f"`path: {FOLDER}/a.parquet/`",
    ),
    "two stars": (
        lambda project: make(project, f"{FOLDER}/a/b.jsonl"),
        "data/sources/**/*.jsonl",
        "a pattern must not contain `**`",
        "each level",
    ),
    "no match": (
        lambda project: make(project, f"{FOLDER}/a.jsonl"),
        f"{FOLDER}/*.csv",
        "no file matches",
        f"`ls {FOLDER}/`",
    ),
    "no match above": (
        lambda project: make(project, f"{FOLDER}/a.jsonl"),
        "data/sources/sets/*.jsonl",
        "no file matches",
        f"did you mean `{FOLDER}/*.jsonl`?",
    ),
    "a link to the same": (
        lambda project: [
            make(project, f"{FOLDER}/a.jsonl"),  # type: ignore[func-returns-value]
            (project / FOLDER / "b.jsonl").symlink_to(project / FOLDER / "a.jsonl"),  # type: ignore[func-returns-value]
        ],
        FOLDER,
        f"`{FOLDER}/a.jsonl` and `{FOLDER}/b.jsonl` are one file",
        "remove the link",
    ),
    "a line end in a name": (
        lambda project: make(project, f"{FOLDER}/a\nb.jsonl"),
        FOLDER,
        "the file name `data/sources/set/a\\nb.jsonl` contains a character",
        "rename it",
    ),
    "a backslash in a name": (
        lambda project: make(project, f"{FOLDER}/a\\b.jsonl"),
        FOLDER,
        "contains a character",
        "ren",
    ),
    "no text": (
        lambda project: make(project, os.fsdecode(os.fsencode(f"{FOLDER}/") + b"\xff.jsonl")),
        FOLDER,
        "contains a character",
        "rename it",
    ),
    "saved by datasets": (
        lambda project: make(project, *(f"{FOLDER}/{name}" for name in ("data-0.arrow", "dataset_info.json"))),
        FOLDER,
        "the folder was written by `save_to_disk` of datasets (Arrow files)",
        'datasets.load_from_disk("data/sources/set").to_parquet("data/sources/set.parquet")',
    ),
    "saved with splits": (
        lambda project: make(project, *(f"{FOLDER}/{name}" for name in ("dataset_dict.json", "test/x.arrow"))),
        FOLDER,
        "the folder was written by `save_to_disk`",
        'datasets.load_from_disk("data/sources/set")["test"].to_parquet("data/sources/set_test.parquet")',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_set_of_files_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    arrange, path, message, remedy = REFUSED[name]
    arrange(tmp_path)
    with pytest.raises(ItsError) as caught:
        load(tmp_path, path)
    assert message in caught.value.message and remedy in str(caught.value.hint)
    ((location, said, hint),) = told(tmp_path, {"kind": "files", "path": path})
    assert location == ("datasets", "x", "source", "path")
    assert message.replace("`", "") in said.replace("`", "")
    assert remedy in str(hint)


@pytest.mark.parametrize("split", [None, "train"])
def test_what_datasets_saved_is_read_when_the_remedy_was_typed(tmp_path: Path, split: str | None) -> None:
    import datasets

    made = datasets.Dataset.from_list([row(number) for number in range(5)])
    saved = datasets.DatasetDict({split: made}) if split else made
    saved.save_to_disk(str(tmp_path / "data" / "sources" / "a b"))
    with pytest.raises(DataError) as caught:
        load(tmp_path, "data/sources/a b/")
    command, _, path = str(caught.value.hint).partition("`, then `path: ")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-c", command.removeprefix("`")], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    problems, _ = load(tmp_path, path.rstrip("`"))
    assert [problem.text for problem in problems] == [row(number)["q"] for number in range(5)]


def test_a_file_of_the_patterns_name_comes_first(tmp_path: Path) -> None:
    make(tmp_path, "data/sources/train[1].jsonl", "data/sources/train1.jsonl", "data/sources/*.jsonl")
    for path in ("data/sources/train[1].jsonl", "data/sources/*.jsonl"):
        assert load(tmp_path, path)[0][0].row == f"{path}:1"
    (tmp_path / "data/sources/train[1].jsonl").unlink()
    assert load(tmp_path, "data/sources/train[1].jsonl")[0][0].row == "data/sources/train1.jsonl:1"


@pytest.mark.parametrize(
    ("there", "path", "near"),
    [
        ("data/sources/Train.jsonl", "data/sources/train.jsonl", "data/sources/Train.jsonl"),
        ("data/sources/train.json", "data/sources/train.jsonl", "data/sources/train.json"),
        ("data/sources/train.jsonl.gz", "data/sources/train.jsonl", "data/sources/train.jsonl.gz"),
        ("data/sources/train.jsonl", "data/sources/trian.jsonl", "data/sources/train.jsonl"),
        ("data/sources/train.jsonl", "data/source/train.jsonl", "data/sources/train.jsonl"),
        ("data/sources/train.jsonl", "Data/sources/train.jsonl", "data/sources/train.jsonl"),
        ("data/sources/set/a.jsonl", "data/sources/Set/", "data/sources/set"),
        ("data/sources/set/a.jsonl", "data/sources/sett/b.jsonl", "data/sources/set/"),
    ],
)
def test_the_nearest_name_is_told(tmp_path: Path, there: str, path: str, near: str) -> None:
    make(tmp_path, there)
    for found in (told(tmp_path, {"kind": "files", "path": path})[0], _raised(tmp_path, path)):
        assert found[1].replace("`", "") == f"{path}: no such file"
        assert str(found[2]).startswith(f"did you mean `{near}`?")


def _raised(project: Path, path: str) -> tuple[None, str, str | None]:
    with pytest.raises(MissingError) as caught:
        load(project, path)
    return None, caught.value.message, caught.value.hint


def test_nothing_outside_of_the_project_is_told(tmp_path: Path) -> None:
    project = tmp_path / "study"
    make(tmp_path, "elsewhere/secret.jsonl")
    project.mkdir()
    (project / "out").symlink_to(tmp_path / "elsewhere")
    (project / "data" / "sources").mkdir(parents=True)
    held = tmp_path / "held"
    for path in ("../elsewhere/Secret.jsonl", f"{tmp_path}/elsewhere/Secret.jsonl", "out/Secret.jsonl"):
        assert "secret.jsonl" not in str(told(project, {"kind": "files", "path": path}))
    arrangements = [
        ["secret/a.jsonl"],
        ["secret.jsonl", "secret.csv"],
        ["_secret"],
        ["secret.txt"],
        ["secret.jsonl"],
        ["secret\n.jsonl"],
        ["dataset_dict.json", "secret/x.arrow"],
    ]
    for names in arrangements:
        shutil.rmtree(held, ignore_errors=True)
        make(tmp_path, *(f"held/{name}" for name in names))
        (held / "secret-link.jsonl").symlink_to(held / "secret.jsonl" if "secret.jsonl" in names else "/dev/zero")
        for path in ("../held", "../held/*", "../*/*", f"{held}/", "../held/*.jsonl", "../h*/*"):
            found = told(project, {"kind": "files", "path": path})
            assert found and "secret" not in str(found), found


def test_links_lead_nowhere_that_a_single_file_may_not(tmp_path: Path) -> None:
    project = tmp_path / "study"
    make(tmp_path, "elsewhere/x.jsonl", "study/data/sources/real/y.jsonl", f"study/{FOLDER}/a.jsonl")
    (project / FOLDER / "in.jsonl").symlink_to("../real/y.jsonl")
    assert told(project, {"kind": "files", "path": FOLDER}) == []
    (project / FOLDER / "out.jsonl").symlink_to(tmp_path / "elsewhere" / "x.jsonl")
    (project / "data" / "sources" / "linked").symlink_to(tmp_path / "elsewhere")
    for path, name in ((FOLDER, f"{FOLDER}/out.jsonl"), ("data/sources/l*/*.jsonl", "data/sources/linked/x.jsonl")):
        ((location, message, hint),) = told(project, {"kind": "files", "path": path})
        assert location[-1] == "path"
        assert message == f"`{name}` of `{path}` is outside `data/sources/` and has no `sha256`"
        pin = str(hint).removeprefix("add `sha256: ").removesuffix("`")
        assert told(project, {"kind": "files", "path": path, "sha256": pin}) == []
        assert load(project, path, source={"sha256": pin})[1]["sha256"] == pin


@pytest.mark.parametrize("kind", ["pipe", "circle", "nowhere", "device", "kernel"])
def test_what_is_no_file_among_the_shards_is_refused(tmp_path: Path, kind: str) -> None:
    make(tmp_path, f"{FOLDER}/a.jsonl")
    odd = tmp_path / FOLDER / "b.jsonl"
    targets = {"circle": "b.jsonl", "nowhere": "nowhere", "device": "/dev/zero", "kernel": "/proc/self/environ"}
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to(targets[kind])
    with pytest.raises(ItsError, match=r"data/sources/set/b\.jsonl"):
        load(tmp_path, FOLDER)
    ((_, message, _),) = told(tmp_path, {"kind": "files", "path": FOLDER})
    assert "data/sources/set/b.jsonl" in message


def test_the_number_of_files_and_of_entries_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "MAX_FILES", 5)
    monkeypatch.setattr(data_files, "MAX_ENTRIES", 20)
    make(tmp_path, *(f"{FOLDER}/{number}.jsonl" for number in range(6)))
    with pytest.raises(DataError, match="6 files, and at most 5 are read as one set"):
        load(tmp_path, FOLDER)
    make(tmp_path, *(f"{FOLDER}/_{number}" for number in range(20)))
    for path in (FOLDER, f"{FOLDER}/*.jsonl", "*/*/*/*"):
        with pytest.raises(DataError, match="more than 20 entries to search"):
            load(tmp_path, path)
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(ItsError):
        load(tmp_path, "*/" * 400 + "x.jsonl")


@pytest.mark.parametrize("path", ["/*/*/*/*", "/*", "//*/x.jsonl", "/./*/*", "{up}*/*.jsonl", "/[a-z]*/*/?.jsonl"])
def test_a_pattern_over_the_whole_disk_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(os, "scandir", lambda folder: pytest.fail(f"{folder} was read"))
    with pytest.raises(DataError, match="the pattern searches the whole disk"):
        load(tmp_path, path.format(up="../" * len(tmp_path.parts)))


@pytest.mark.parametrize(
    "path", ["/", "//", ".", "./", "..", "*", "/*", "[", "]", "[!a]*", "*" * 200, "*?" * 100, "a/*/.."]
)
def test_odd_paths_end_in_words(tmp_path: Path, path: str) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ItsError) as caught:
        load(tmp_path / "x", path)
    assert len(caught.value.message) < 2000


def test_the_check_tells_what_a_file_is_before_any_row_is_read(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "a.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    for path in (FOLDER, f"{FOLDER}/a.jsonl"):
        ((_, message, hint),) = told(tmp_path, {"kind": "files", "path": path})
        assert "`data/sources/set/a.jsonl`: a git-lfs pointer" in message and "git lfs pull" in str(hint)


def of_folder(project: Path, text: str = f"{{kind: files, path: {FOLDER}/}}") -> None:
    """The quickstart's dataset, read from a folder, and no longer held against its benchmark."""
    path = project / "params.yaml"
    lines = path.read_text(encoding="utf-8").split("\n")
    begin = lines.index("    source:", lines.index("datasets:"))
    end = next(at for at in range(begin + 1, len(lines)) if not lines[at].startswith("      "))
    begun = lines.index("    decontamination:")
    ended = next(at for at in range(begun + 1, len(lines)) if not lines[at].startswith("      "))
    del lines[begun:ended]
    lines[begin:end] = [f"    source: {text}", "    fields: {problem: q, reference: a, solution: s}"]
    path.write_text("\n".join(lines), encoding="utf-8")


def test_a_stage_reads_a_folder_and_its_card_lists_every_file(project: Path) -> None:
    shards(project, ["part-2", "part-10"], ".jsonl")
    (project / FOLDER / "_SUCCESS").touch()
    of_folder(project)
    assert "6 problems (loaded: 6)" in run_stage("prepare", "arithmetic")
    study = load_study(project)
    card = json.loads(study.card_path("arithmetic").read_text())
    assert [file["path"] for file in card["origin"]["files"]] == [f"{FOLDER}/part-{n}.jsonl" for n in (2, 10)]
    assert card["origin"]["ignored"] == ["_SUCCESS"] and card["sources"] == {f"{FOLDER}/": 6}
    page = card_markdown(card)
    assert "2 files, read in this order:" in page and f"| {FOLDER}/part-10.jsonl | " in page.replace("\\", "")
    ids = [item.problem_id for item in read_rows(study.problems_path("arithmetic"), Problem)]
    step = lineage(study, f"arithmetic/{ids[4]}")["steps"][-1]
    assert step["where"] == f"{FOLDER}/part-10.jsonl:2"
    assert json.loads(step["facts"]["line"]) == row(4)
    assert step["facts"]["sha256"] == card["origin"]["files"][1]["sha256"]
    assert step["facts"]["sha256_of_set"] == card["origin"]["sha256"] and "files" not in step["facts"]
    (project / FOLDER / "part-10.jsonl").write_text("{}\n" * 5)
    assert "another SHA-256" in lineage(study, f"arithmetic/{ids[4]}")["steps"][-1]["facts"]["changed"]


def test_a_pinned_folder_elsewhere_in_the_project_is_open_to_the_stage(project: Path) -> None:
    shards(project, ["a", "b"], ".jsonl", folder="elsewhere")
    pin = named_files(project, "elsewhere").pin(
        [hashlib.sha256((project / f"elsewhere/{name}.jsonl").read_bytes()).hexdigest() for name in "ab"]
    )
    of_folder(project, f'{{kind: files, path: "elsewhere/*.jsonl", sha256: {pin}}}')
    assert "6 problems" in run_stage("prepare", "arithmetic")
    (project / "elsewhere" / "c.jsonl").write_text("{}\n")
    _, faults = validate(read_document(project / "params.yaml"), project)
    assert ["has changed" in fault.message for fault in faults] == [True]


def test_each_shard_that_git_does_not_know_is_named(project: Path) -> None:
    shards(project, ["a", "b"], ".jsonl")
    of_folder(project)
    for words in (["init", "-q"], ["add", "-A", "."]):
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)
    recipe = load_study(project).recipe
    assert untracked_files(project, recipe) == []
    shards(project, ["a", "b", "c"], ".jsonl")
    assert untracked_files(project, recipe) == [f"{FOLDER}/c.jsonl"]
    (project / FOLDER / "c.jsonl").unlink()
    assert untracked_files(project, recipe) == []
