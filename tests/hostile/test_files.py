"""Hostile data files: each ends in rows or in words, in flat memory, and what comes out can be written and shown."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_files import FIELDS, Case, cases

from its.cards.build import Tally as CardTally
from its.cards.build import build_card
from its.cards.markdown import card_markdown
from its.errors import ItsError
from its.files import atomic_file
from its.recipe.schema import Dataset
from its.rows import read_rows, write_json, write_rows
from its.sources.load import load_problems
from its.sources.records import Rejected
from its.types import Problem

ALL = list(cases())
COSTLY = [
    case for case in ALL if case[0].endswith(".parquet") or not isinstance(case[1], bytes) or len(case[1]) > 10**5
]
"""A process or a large file each: every tenth runs always, all of them among the integration tests."""
ALWAYS = {*(case[0] for case in COSTLY[::10]), "bomb of a dictionary.parquet", "bomb of rows.jsonl.zst", "pipe.parquet"}
MARKED = [
    pytest.param(case, id=case[0], marks=[pytest.mark.integration] if case in COSTLY and case[0] not in ALWAYS else [])
    for case in ALL
]
MEMORY_BYTES = 2 * 1024**3


def _prepared(folder: Path, name: str, tolerated: int) -> int:
    """What stage `prepare` does with a source, but for curation; how many rows came out."""
    tolerate = {"tolerate": {"rows": tolerated}} if tolerated else {}
    declared = Dataset.model_validate({"source": {"kind": "files", "path": name}, "fields": FIELDS, **tolerate})
    origin: dict[str, Any] = declared.source.model_dump()
    rejected: list[Rejected] = []
    tally = CardTally()
    problems = load_problems(
        "x", declared, seed=1, project=folder, required=("solution",), origin=origin, rejected=rejected
    )
    rows = write_rows(folder / "out" / "problems", tally.counting(problems))
    write_rows(folder / "out" / "quarantine", rejected)
    card = build_card(
        name="x",
        kind="dataset",
        declared=declared.model_dump(exclude_none=True),
        origin=origin,
        seed=1,
        steps=[],
        tally=tally,
        quarantine=[row.model_dump() for row in rejected],
        overlaps=[],
        files={},
        made_by={},
    )
    write_json(folder / "out" / "card.json", card)
    with atomic_file(folder / "out" / "card.md") as out:
        out.write(card_markdown(card))
    assert sum(1 for _ in read_rows(folder / "out" / "problems", Problem)) == rows
    return rows


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
@pytest.mark.parametrize("case", MARKED)
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
        assert all(line.isprintable() and len(line) < 3000 for line in error.lines())
    tally("file, faults tolerated", lambda: _prepared(tmp_path, name, 5))


def test_there_are_many() -> None:
    assert len(ALL) >= 400
    assert len({case[0] for case in ALL}) == len(ALL)
