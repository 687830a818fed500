"""How decontamination is measured: on made-up lists against what the rules themselves say, then on the public one."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from its.curation.measured import Measured, Pair, Report, measure
from its.curation.overlaps import Benchmarks
from its.recipe.schema import OverlapRule
from its.types import Problem

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ITS_SHARED_DATA", ROOT.parent / "shared" / "data"))
NAMES = ("Maria", "Ali", "Chen", "Olga", "Tom", "Ines")
THINGS = ("apples", "tulips", "bowls", "stamps", "kites", "drums")
PLACES = ("market", "harbour", "station", "library", "castle", "orchard")


def _told(draw: random.Random) -> str:
    numbers = draw.sample(range(3, 90), 4)
    return (
        f"{draw.choice(NAMES)} sells {numbers[0]} {draw.choice(THINGS)} at the {draw.choice(PLACES)} every day, at "
        f"${numbers[1]} each. After {numbers[2]} days a third of what was earned is spent on {numbers[3]} new "
        f"{draw.choice(THINGS)}. How much money is left in the end?"
    )


def _changed(text: str, draw: random.Random) -> str:
    """What a list of overlaps holds: copies, renamed ones, other numbers, cut ones."""
    way = draw.randrange(5)
    if way == 0:
        return text.upper()
    if way == 1:
        return text.replace(next(name for name in NAMES if name in text), draw.choice(NAMES))
    if way == 2:
        return text.replace("$", f"${draw.randrange(10)}")
    if way == 3:
        return f"Say first who won. {text[: len(text) // 2]} It rained. {text[len(text) // 2 :]}"
    return " ".join(draw.sample(text.split(), len(text.split())))


def _lists(seed: int) -> tuple[list[Pair], list[str], list[str]]:
    draw = random.Random(seed)
    benchmark = [_told(draw) for _ in range(25)]
    pairs = [Pair(_changed(text, draw), text) for text in draw.sample(benchmark, 15)]
    return pairs, [_told(draw) for _ in range(120)], benchmark


def _problems(texts: list[str]) -> list[Problem]:
    return [Problem(problem_id=str(at), text=text, source="s") for at, text in enumerate(texts)]


def _rule(report: Report, name: str) -> Measured:
    return next(rule for rule in report.rules if rule.rule == name)


@pytest.mark.parametrize("seed", range(6))
def test_at_their_own_thresholds_the_rules_find_what_decontamination_finds(seed: int) -> None:
    pairs, others, benchmark = _lists(seed)
    report = measure(pairs, others, benchmark)
    index = Benchmarks({"b": _problems(benchmark)})
    found = 0
    for pair, (_, overlaps) in zip(pairs, index.overlaps(_problems([pair.row for pair in pairs])), strict=True):
        found += any(overlap.benchmark_text == pair.problem for overlap in overlaps)
    assert _rule(report, "all rules").own.found == found / len(pairs)
    flagged = sum(bool(overlaps) for _, overlaps in index.overlaps(_problems(others)))
    assert _rule(report, "all rules").own.flagged == flagged / len(others)


@pytest.mark.parametrize("seed", range(6))
def test_a_margin_is_not_below_zero_exactly_where_its_rule_holds(seed: int) -> None:
    pairs, others, benchmark = _lists(seed)
    index = Benchmarks({"b": _problems(benchmark)})
    rows = _problems([*(pair.row for pair in pairs), *others, *benchmark])
    order = get_args(OverlapRule)
    for (_, overlaps), (_, comparisons) in zip(index.overlaps(rows), index.comparisons(rows), strict=True):
        found = {overlap.benchmark_problem_id: overlap.rule for overlap in overlaps}
        for comparison in comparisons:
            held = [rule for rule in order if comparison.margins.get(rule, -1.0) >= 0]
            assert held[:1] == [rule for rule in [found.get(comparison.benchmark_problem_id)] if rule]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_moved_thresholds_flag_no_more_than_is_wanted(seed: int, share: float) -> None:
    report = measure(*_lists(seed), share)
    for rule in report.rules:
        assert rule.moved.flagged <= share, rule.rule
        threshold = -math.inf if rule.moved.threshold is None else rule.moved.threshold
        looser = threshold <= (rule.own.threshold or 0.0)
        assert (rule.moved.found >= rule.own.found) if looser else (rule.moved.found <= rule.own.found), rule.rule
        assert rule.own.flagged <= share or not looser


def test_the_kinds_say_what_a_pair_shares() -> None:
    problem = "Ann has 12 apples and 7 pears in a basket of her own and eats 3 of them. How many are left?"
    figure = "[asy]draw((0,0)--(3,0)--(0,4)--cycle);label(5);[/asy]"
    pairs = [
        Pair(problem.replace("Ann", "Bob"), problem),
        Pair(problem.replace("12", "13"), problem),
        Pair("After a meal of 3, what remains of 7 pieces of one fruit and 12 of another?", problem, "paraphrase"),
        Pair(f"How long is it? {figure}", f"Who wins, then? {figure}"),
    ]
    report = measure(pairs, ["What is 2 + 2?"] * 3, [])
    assert report.groups == {"same numbers": 1, "other numbers": 1, "no shared words": 2, "paraphrase": 1}
    found = _rule(report, "all rules").own.by_group
    assert (found["same numbers"], found["no shared words"], found["paraphrase"]) == (1.0, 0.0, 0.0)
    assert report.not_compared >= 1


def test_known_overlaps_are_no_false_flags() -> None:
    pairs, others, benchmark = _lists(1)
    more = [pairs[0].row.upper(), benchmark[0], benchmark[1].replace(" ", "  ")]
    report = measure(pairs, [*more, *others], benchmark)
    assert (report.left_out, report.others) == (3, len(others))


def test_what_cannot_be_measured_is_refused() -> None:
    pairs, others, benchmark = _lists(1)
    for bad in ([], others, 0.01), (pairs, [], 0.01), (pairs, others, 0.0), (pairs, others, 1.0):
        with pytest.raises(ValueError, match="are needed"):
            measure(bad[0], bad[1], benchmark, bad[2])


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "decontamination.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ITS_SHARED_DATA": "/nowhere"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_anyones_list_is_measured_from_the_command_line(tmp_path: Path) -> None:
    pairs, others, benchmark = _lists(2)
    rows = [{"row": pair.row, "problem": str(benchmark.index(pair.problem)), "label": "mine"} for pair in pairs]
    files: dict[str, list[Any]] = {
        "pairs.jsonl": rows,
        "bench.json": [{"id": at, "question": text} for at, text in enumerate(benchmark)],
        "others.jsonl": [{"prompt": text} for text in others],
    }
    for name, values in files.items():
        lines = json.dumps(values) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in values)
        (tmp_path / name).write_text(lines, encoding="utf-8")
    words = ["--pairs", str(tmp_path / "pairs.jsonl"), "--benchmark", str(tmp_path / "bench.json")]
    done = _run(*words, "--others", f"{tmp_path}/others.jsonl:prompt")
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout).values()
    wanted = measure(pairs, others, benchmark)
    assert (report["pairs"], report["others"]) == (15, wanted.others) and report["groups"]["mine"] == 15
    assert [rule["own"]["found"] for rule in report["rules"]] == [rule.own.found for rule in wanted.rules]
    table = _run(*words, "--others", f"{tmp_path}/others.jsonl:prompt", "--table").stdout
    assert table.startswith("| rule, as it is | ") and "| rule, at 1 % false flags | " in table
    done = _run(*words, "--others", f"{tmp_path}/others.jsonl")
    assert (
        done.returncode == 1
        and "others.jsonl, row 1: no text `problem / question / text`; it has `prompt`" in done.stderr
    )
    done = _run("--pairs", str(tmp_path / "none.jsonl"), "--benchmark", str(tmp_path / "bench.json"), "--others", "x")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "none.jsonl" in done.stderr


def test_the_page_shows_what_is_measured_on_the_public_list() -> None:
    if not (SHARED / "overlap").is_dir():
        pytest.skip(f"no public data at {SHARED}")
    command = [sys.executable, str(ROOT / "benchmarks" / "decontamination.py"), "--pairs", "--table"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ITS_SHARED_DATA": str(SHARED)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    page = (ROOT / "docs" / "curation.md").read_text(encoding="utf-8")
    for line in done.stdout.splitlines():
        if line.startswith("|"):
            assert line in page, "docs/curation.md shows other figures"
