"""Hostile data files: each ends in rows or in words, in flat memory, and what comes out can be written and shown."""

from __future__ import annotations

import json
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.hostile_files import FIELDS, GOOD, Case, cases
from hostile.outcomes import LONG

from its.cards.build import ProblemCounts, build_card
from its.cards.markdown import card_markdown
from its.cli.main import main
from its.errors import ItsError
from its.files import atomic_file
from its.recipe.cross_checks import cross_check_faults
from its.recipe.schema import Dataset
from its.rows import read_rows, row_file, write_json, write_rows
from its.shown import shown
from its.sources.load import load_problems
from its.types import Problem, Rejected

ALL = list(cases())
COSTLY = [
    case for case in ALL if case[0].endswith(".parquet") or not isinstance(case[1], bytes) or len(case[1]) > 10**5
]
"""A process or a large file each: every tenth runs always, all of them with ITS_HOSTILE_LONG."""
ALWAYS = {*(case[0] for case in COSTLY[::10]), "bomb of a dictionary.parquet", "bomb of rows.jsonl.zst", "pipe.parquet"}
CHOSEN = [pytest.param(case, id=case[0]) for case in ALL if LONG or case not in COSTLY or case[0] in ALWAYS]
MEMORY_BYTES = 2 * 1024**3


def _prepared(folder: Path, name: str, tolerated: int) -> int:
    """What stage `prepare` does with a source, but for curation; how many rows came out."""
    tolerate = {"tolerate": {"rows": tolerated}} if tolerated else {}
    declared = Dataset.model_validate({"source": {"kind": "files", "path": name}, "fields": FIELDS, **tolerate})
    rejected: list[Rejected] = []
    counts = ProblemCounts()
    stream = load_problems("x", declared, seed=1, project=folder, required=("solution",))
    with row_file(folder / "out" / "problems") as write:
        for row in stream:
            if isinstance(row, Rejected):
                rejected.append(row)
            else:
                counts.add(row)
                write(row)
    write_rows(folder / "out" / "quarantine", rejected)
    card = build_card(
        name="x",
        kind="dataset",
        declared=declared.model_dump(exclude_none=True),
        origin=stream.result,
        seed=1,
        steps=[],
        counts=counts,
        quarantine=[row.model_dump() for row in rejected],
        overlaps=[],
        files={},
        made_by={},
    )
    write_json(folder / "out" / "card.json", card)
    with atomic_file(folder / "out" / "card.md") as out:
        out.write(card_markdown(card))
    assert sum(1 for _ in read_rows(folder / "out" / "problems", Problem)) == counts.rows
    return counts.rows


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What a case may take beside what this process has: a row may have 64 MiB, and take several times that parsed."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    former = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, former)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("case", CHOSEN)
def test_a_hostile_file_ends_in_rows_or_in_words(case: Case, tally: Any, tmp_path: Path) -> None:
    name, content, end = case
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content(file)
    error: ItsError | None = tally("file", lambda: _prepared(tmp_path, name, 0))
    assert end == "any" or (error is None) == (end == "good"), error and error.lines()
    if error is not None:
        assert not list(tmp_path.glob("out/*")), "nothing half-written"
        assert all(shown(line) == line and len(line) < 3000 for line in error.lines())
    tally("file, faults tolerated", lambda: _prepared(tmp_path, name, 5))


def test_there_are_many() -> None:
    assert len(ALL) >= 400
    assert len({case[0] for case in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/sources/absent.jsonl", "no such file"),
        ("data/sources/good.jsonl/x.jsonl", "no such file"),
        ("data/sources", "the folder contains folders: `inner`, `outer`, `real`"),
        ("data/sources/pipe.jsonl", "is not a regular file"),
        ("data/sources/circle.jsonl", "circle"),
        ("data/sources/zero.jsonl", "is not a regular file"),
        ("data/sources/environment.jsonl", "the kernel provides it"),
        ("/proc/self/environ", "the kernel provides it"),
        ("/dev/stdin", "not a regular file|the kernel provides it|unknown ending|cannot be read"),
        ("data/sources/" + "a" * 300 + ".jsonl", "too long"),
        ("a/" * 3000 + "a.jsonl", "too long"),
        ("data/sources/a\0.jsonl", "no file can have that name"),
        ("data/sources/\ud800.jsonl", "no file can have that name"),
        ("data/sources/\x1b[31m.jsonl", "no such file"),
        ("data/sources/out.jsonl", "is outside `data/sources/` and has no `sha256`"),
        ("data/sources/outer/good.jsonl", "is outside `data/sources/` and has no `sha256`"),
        ("data/sources/../../elsewhere/good.jsonl", "is outside `data/sources/` and has no `sha256`"),
        ("data/sources/good.jsonl", None),
        ("data/sources/in.jsonl", None),
        ("data/sources/inner/good.jsonl", None),
    ],
)
def test_a_recipe_names_a_watched_regular_file(path: str, message: str | None, tmp_path: Path, tally: Any) -> None:
    sources, elsewhere = tmp_path / "data" / "sources", tmp_path / "elsewhere"
    (sources / "real").mkdir(parents=True)
    elsewhere.mkdir()
    for folder in (sources, sources / "real", elsewhere):
        (folder / "good.jsonl").write_bytes(GOOD)
    os.mkfifo(sources / "pipe.jsonl")
    links = {"circle": "circle.jsonl", "zero": "/dev/zero", "environment": "/proc/self/environ", "in": "good.jsonl"}
    for name, target in {**links, "out": str(elsewhere / "good.jsonl")}.items():
        (sources / f"{name}.jsonl").symlink_to(target)
    (sources / "inner").symlink_to("real")
    (sources / "outer").symlink_to(elsewhere)
    entry = {"source": {"kind": "files", "path": path}, "fields": {"problem": "q", "solution": "s"}}
    found: list[Any] = []
    tally("file, named by a recipe", lambda: found.extend(cross_check_faults({"datasets": {"x": entry}}, tmp_path)))
    told = [text for location, text, _ in found if location == ("datasets", "x", "source", "path")]
    if message is None:
        assert not told
    else:
        assert len(told) == 1
        assert re.search(message, told[0]), told


ANSWER = '"response": "\\\\boxed{1}"'
GRADED = {
    "deep": f'{{"reference": "1", {ANSWER}, "m": {"[" * 900}{"]" * 900}}}',
    "deepest": "[" * 200_000,
    "309 digits": f'{{"reference": {"1" * 309}, {ANSWER}}}',
    "5,000 digits": f'{{"reference": {"1" * 5000}, {ANSWER}}}',
    "1e400": f'{{"reference": 1e400, {ANSWER}}}',
    "NaN": f'{{"reference": NaN, {ANSWER}}}',
    "half a character as key": '{"\\ud800": 1}',
    "half a character as kind": f'{{"reference": "1", {ANSWER}, "kind": "\\ud800"}}',
    "half a character elsewhere": f'{{"reference": "1", {ANSWER}, "m": "\\ud800"}}',
    "escape as key": '{"\\u001b[31m": 1}',
    "kind is a list": f'{{"reference": "1", {ANSWER}, "kind": ["math"]}}',
    "nul": "\0",
}


@pytest.mark.parametrize("line", GRADED.values(), ids=GRADED)
@pytest.mark.parametrize("as_json", [False, True])
def test_any_file_can_be_graded_or_is_refused_in_words(
    line: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], tally: Any
) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    words = ["grade", str(tmp_path / "rows.jsonl"), "--kind", "math", "--output", str(tmp_path / "out.jsonl")]
    codes: list[Any] = []

    def act() -> None:
        with pytest.raises(SystemExit) as ended:
            main([*words, *(["--json"] if as_json else [])])
        codes.append(ended.value.code)

    tally("file, graded", act)
    told = capsys.readouterr()
    assert codes == [0] if (tmp_path / "out.jsonl").exists() else codes == [3]
    assert shown(told.out + told.err, lines=True) == told.out + told.err
    if as_json:
        json.loads(told.out)
