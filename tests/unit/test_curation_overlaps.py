"""Decontamination: each rule on made-up problems, then finds and false flags on the public data."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from its.curation.overlaps import BATCH, Benchmarks, Overlap
from its.types import Problem

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ITS_SHARED_DATA", ROOT.parent / "shared" / "data"))

SHOP = (
    "Maria sells 12 apples and 30 pears at the market every day, at $2 an apple and $3 a pear. After 5 days she spends "
    "half of what she earned on a new cart. How much money does she have left?"
)
ROOTS = r"Let $r$ and $s$ be the roots of $3x^2 - 17x + 5 = 0$. Find $\frac{1}{r^2} + \frac{1}{s^2}$."
FORM = (
    r"The probability can be written as $\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. "
    "Find $m + n$."
)
DICE = (
    "Anna throws 4 fair dice and Bob throws 7 fair dice; whoever shows the larger sum wins, and ties are broken by a "
    f"coin of which Bob knows that it lands heads in 3 of 5 throws. Bob has already shown a sum of 29. {FORM}"
)
LETTERS = "Determine the number of ways to arrange the letters of the word ELLIPSE."
FIGURE = "What is the area of the triangle in the figure? [asy]draw((0,0)--(3,0)--(0,4)--cycle);label(5);[/asy]"
BENCHMARK = [SHOP, ROOTS, DICE, LETTERS, FIGURE]


def _problems(texts: list[str]) -> list[Problem]:
    return [Problem(problem_id=str(at), text=text, source="s") for at, text in enumerate(texts)]


def _overlaps(text: str) -> list[Overlap]:
    ((_, found),) = Benchmarks({"bench": _problems(BENCHMARK)}).overlaps(_problems([text]))
    return found


@pytest.mark.parametrize(
    ("text", "at", "rules"),
    [
        (SHOP, 0, {"same"}),
        (SHOP.replace("12", "twelve").replace("30", "thirty").upper(), 0, {"same"}),
        ("Answer in \\boxed{}.\n" + ROOTS.replace("$", " ").replace("\\frac", "\\dfrac"), 1, {"contained"}),
        (ROOTS.replace(" Find", "\n\nBefore you go on: there are 3 of them, they say.\n\nFind"), 1, {"contained"}),
        (f"{DICE[:120]} (see page 11) {DICE[120:]}", 2, {"contained"}),
        (DICE.replace("Bob has already shown a sum of 29. ", ""), 2, {"words13"}),
        (SHOP.replace("Maria", "Ali").replace("apple", "tulip").replace("pear", "rose"), 0, {"rewritten", "words13"}),
        (
            "Ali sells twelve mugs and thirty bowls at the fair every day, at two dollars a mug and three dollars a "
            "bowl. After five days he spends half of what he earned on a new tent. How much money does he have left?",
            0,
            {"rewritten"},
        ),
        (
            r"For the roots $u$ and $v$ of the equation $3t^2-17t+5=0$ compute $\frac{1}{u^2}+\frac{1}{v^2}$, please.",
            1,
            {"maths", "rewritten"},
        ),
        (FIGURE, 4, {"same"}),
    ],
)
def test_what_asks_the_same_is_found(text: str, at: int, rules: set[str]) -> None:
    found = _overlaps(text)
    assert [overlap.benchmark_problem_id for overlap in found] == [str(at)]
    assert found[0].rule in rules
    assert 0 < found[0].score <= 1
    assert found[0].text == text


@pytest.mark.parametrize(
    "text",
    [
        SHOP.replace("12", "14").replace("30", "25").replace("$2", "$4").replace("5 days", "9 days"),
        ROOTS.replace("17", "19").replace("5", "7"),
        f"A deck of 40 cards is cut. {FORM}",
        LETTERS.replace("ELLIPSE", "TEPEE"),
        FIGURE.replace("(3,0)--(0,4)", "(8,1)--(2,9)").replace("label(5)", "label(7)"),
        "What is 2 + 2?",
        "$x$",
        "[asy]draw((0,0)--(1,1));[/asy]",
        "?!",
    ],
)
def test_what_asks_something_else_is_not(text: str) -> None:
    assert _overlaps(text) == []


def test_a_row_may_overlap_several_benchmarks() -> None:
    known = {"one": _problems([SHOP, ROOTS]), "two": _problems([ROOTS])}
    ((_, found),) = Benchmarks(known).overlaps(_problems([f"{SHOP}\n\n{ROOTS}"]))
    assert {(o.benchmark, o.benchmark_problem_id) for o in found} == {("one", "0"), ("one", "1"), ("two", "0")}


def test_rows_keep_their_order_over_batches() -> None:
    rows = _problems([SHOP if at == BATCH else f"Add {at}." for at in range(BATCH + 5)])
    found = list(Benchmarks({"bench": _problems(BENCHMARK)}).overlaps(iter(rows)))
    assert [row for row, _ in found] == rows
    assert [row.problem_id for row, overlaps in found if overlaps] == [str(BATCH)]


def test_benchmarks_may_be_empty() -> None:
    assert [found for _, found in Benchmarks({"bench": []}).overlaps(_problems([SHOP]))] == [[]]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark's own module: the plants are made there."""
    if not SHARED.is_dir():
        pytest.skip(f"no public data at {SHARED}")
    folder = ROOT / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("decontamination_benchmark", folder / "decontamination.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


def test_plants_are_found_and_other_rows_are_not_flagged(bench: ModuleType) -> None:
    against = bench.benchmarks()
    index = Benchmarks(against)
    everything = [problem for known in against.values() for problem in known]
    tune, held, _ = bench.math_train()
    rewriter = bench.Rewriter([problem.text for problem in everything] + tune)
    sources = everything[::20]
    for kind, least in {"unchanged": 1.0, "reformatted": 1.0, "cut in two": 1.0, "rewritten": 0.95}.items():
        rows = bench.problems(kind, bench.planted(sources, kind, rewriter, tune))
        found = [
            any(overlap.benchmark_problem_id == source.problem_id for overlap in overlaps)
            for source, (_, overlaps) in zip(sources, index.overlaps(rows), strict=True)
        ]
        assert sum(found) >= least * len(found), kind
    assert bench.flagged(index, held)["flagged"] <= 10
