"""The text of `its results table` and `show` on a terminal: colours, blocks of columns, cells side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import run_stage
from unit.test_measure import RIGHT, WRONG, Written

from its.cli.results import STEPS, _styled
from its.commands.problem_text import columns_of, problem_lines, wrapped
from its.commands.show_problem import show_problem
from its.report.tables import text_table
from its.rows import write_rows
from its.stages.report import summary
from its.study.study import join_query_id
from its.types import Message, Persona, Query

Edit = Callable[..., None]
Its = Callable[..., tuple[int, str, str]]


@pytest.fixture
def written(project: Any, edit: Edit) -> Written:
    edit(("  n: #", "  n: 1"), ("  draws: #", "  draws: 200"))
    made = Written(project)
    made.write(lambda c, b, t, place, index: RIGHT if c.train and place < 9 else WRONG)
    return made


def test_a_table_that_does_not_fit_is_printed_in_blocks(written: Written) -> None:
    run_stage("measure")
    found = summary(written.study)
    plain = text_table(found)
    assert text_table(found, 400) == plain and "test strateg" not in plain
    narrow = text_table(found, 40)
    assert all(len(line) <= 40 for line in narrow.splitlines() if line.startswith(("train", "base", "none", "random")))
    count = len(written.study.recipe.design.test)
    assert f"test strategy 1 of {count}:" in narrow and f"test strategy {count} of {count}:" in narrow
    means = re.compile(r"[0-9.]+ % \[")
    assert sorted(means.findall(narrow)) == sorted(means.findall(plain)), "every cell is there once"


def test_colour_follows_the_mean_and_changes_no_text(written: Written) -> None:
    run_stage("measure")
    found = summary(written.study)
    coloured = text_table(found, None, _styled)
    unstyled = "\n".join(line.rstrip() for line in click.unstyle(coloured).split("\n"))
    assert unstyled == text_table(found), "but for the ground behind the padding of the last column"
    assert f"48;5;{STEPS[4][0]}m75.0 %" in coloured and f"48;5;{STEPS[0][0]}m0.0 %" in coloured
    assert _styled("x", 1.0) == click.style("x", fg=STEPS[-1][1], bg=STEPS[-1][0])


def test_what_is_piped_has_no_colour(written: Written, its: Its) -> None:
    run_stage("measure")
    _, out, _ = its("results", "table")
    assert "\x1b" not in out and out.startswith(text_table(summary(written.study)))


def test_cells_are_side_by_side_where_two_fit(written: Written) -> None:
    found = show_problem(written.study, "p4", (), None)
    stacked = list(problem_lines(found))
    assert list(problem_lines(found, 82)) == stacked, "a terminal of 80 characters"
    beside = list(problem_lines(found, 83))
    assert all(len(line) <= 83 for line in beside)
    assert sum(line.startswith("== ") for line in beside) == -(-len(found["cells"]) // 2)
    assert sum(line.count("-- sample 0") for line in beside) == len(found["cells"])


def test_under_a_mix_the_persona_is_that_of_the_member(written: Written) -> None:
    study = written.study
    (benchmark,) = study.recipe.design.benchmarks
    turns = [Message(role="user", content="x")]
    query_id = join_query_id(benchmark, "p4", "random")
    row = Query(query_id=query_id, problem_id="p4", strategy="random", messages=turns, member="similar")
    write_rows(study.queries_path("test", benchmark, "random"), [row])
    persona = Persona(problem_id="p4", strategy="similar", text="You are a member.", attempts=1)
    write_rows(study.personas_path(benchmark, "similar"), [persona])
    shown = {row["cell"]: row["personas"] for row in show_problem(study, "p4", (), None)["cells"]}
    assert {cell: texts for cell, texts in shown.items() if texts} == {
        cell: ["You are a member."] for cell in shown if cell.endswith("/random")
    }
    assert any(cell.endswith("/random") for cell in shown)


def test_hostile_text_stays_in_its_column(written: Written) -> None:
    found = show_problem(written.study, "p4", (), None)
    for text in ("\x1b[2J" * 30, "\u202eabc", "\u6f22" * 100, "x" * 200_000, "a\tb", "e\u0301" * 100):
        for row in found["cells"]:
            row["responses"][0]["text"] = text
        lines = list(problem_lines(found, 100))
        assert all(columns_of(line) <= 100 for line in lines)
        assert not any("\x1b" in line or "\u202e" in line for line in lines)


@given(st.text(), st.integers(2, 50))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    line = " ".join(text.split())
    parts = list(wrapped(line, width))
    assert all(columns_of(part) <= width for part in parts) and parts
    assert "".join("".join(parts).split()) == "".join(line.split())
