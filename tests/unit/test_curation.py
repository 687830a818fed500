"""Curation: filters, duplicates, split, sample and the steps as a whole, on made-up problems."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from its.curation.curate import Curated, curate, whole
from its.curation.duplicates import near_groups
from its.curation.filters import Tools, check_of, has_box, is_complete, needs_figure
from its.curation.sample import sampled, shares
from its.curation.split import one_side
from its.errors import DataError, Fault, FaultsError
from its.recipe.schema import Benchmark, Dataset, Filter, Sample, Split
from its.types import Problem, Rejected, VerdictName

TOOLS = Tools(
    count_tokens=lambda model, text: len(text.split()),
    answer_agrees=lambda p: _verdict(p),
    solution_parses=lambda p: "=" in (p.solution or ""),
    references_agree=lambda one, other, kind: False,
    ungradable=lambda problems, kind: [
        Fault(str(p.row), f"odd {kind}") if p.reference == "odd" else None for p in problems
    ],
)
SOURCE = {"kind": "files", "path": "data/sources/a.jsonl"}


def _verdict(row: Problem) -> VerdictName | None:
    if row.reference is None or row.reference in ("silent", "odd"):
        return {None: None, "silent": "no_answer", "odd": "grader_error"}[row.reference]
    return "correct" if (row.solution or "").endswith(row.reference) else "incorrect"


def problem(text: str, problem_id: str = "p", **more: Any) -> Problem:
    return Problem(problem_id=problem_id, text=text, source=more.pop("source", "s"), **more)


def dataset(**more: Any) -> Dataset:
    return Dataset.model_validate({"source": SOURCE, **more})


def benchmark(**more: Any) -> Benchmark:
    return Benchmark.model_validate({"source": SOURCE, "answer": "math", "role": "report", **more})


def run(rows: list[Problem], declared: Dataset | Benchmark, **benchmarks: list[Problem]) -> tuple[list[str], Curated]:
    curating = curate(rows, declared, benchmarks, TOOLS, "train_set")
    return [row.problem_id for row in curating], curating.result


# Filters


@pytest.mark.parametrize(
    ("solution", "held"),
    [
        (r"so \boxed{\frac{1}{2}}", True),
        (r"\boxed{ }, then \boxed {3}", True),
        (r"\boxed{\{1, 2\}}", True),
        (r"\boxed{}", False),
        (r"\boxed{\frac{1}{2}", False),
        ("boxed 3", False),
    ],
)
def test_has_box(solution: str, held: bool) -> None:
    assert has_box(solution) is held


@pytest.mark.parametrize(
    ("solution", "complete"),
    [
        ("<think>\nhm\n</think>\n\n3", True),
        ("just 3", True),
        ("<think>\nhm", False),
        ("<think>\nhm\n</think>\n", False),
        ("<think>\n</think>\n\n3", False),
        ("hm</think>3", False),
        ("<think>a<think>b</think>3", False),
        ("  ", False),
    ],
)
def test_complete_trace(solution: str, complete: bool) -> None:
    assert is_complete(solution) is complete


@pytest.mark.parametrize(
    "text",
    [
        "Find x. [asy]draw((0,0));[/asy]",
        r"\includegraphics[width=3cm]{a.png} Find x.",
        "![](https://a.b/c.png) What is x?",
        "In the figure, find x.",
        "In the diagram below, find x.",
        "Two circles meet as shown. Find x.",
        "The graph of f is shown below. Find f(3).",
        "What is the area of the shaded region?",
        "As shown in Figure 3, AB = 4.",
    ],
)
def test_needs_a_figure(text: str) -> None:
    assert needs_figure(text)


@pytest.mark.parametrize(
    "text",
    [
        "Draw a diagram and find x.",
        "A figure with five sides has angles that add up to x.",
        "The results are shown in the table.",
        "As shown in the table below, 3 boys play.",
        "How many pictures did he draw?",
        "The part outside the circle is shaded. What is the area of the shaded region?",
        "Find the graph of the equation with the highest slope.",
        "On the number line, how far is 3 from 5?",
    ],
)
def test_needs_no_figure(text: str) -> None:
    assert not needs_figure(text)


@pytest.mark.parametrize(
    ("declared", "row", "reason"),
    [
        ("has_box", problem("q"), "no solution"),
        ("has_box", problem("q", solution="3"), "no box"),
        ("has_final_answer", problem("q", solution="The Final Answer is 3"), None),
        ("has_final_answer", problem("q", solution="3"), "no final answer"),
        ("complete_trace", problem("q", solution="<think>"), "not complete"),
        ("no_figure", problem("as shown, q"), "needs a figure"),
        ("answer_agrees", problem("q", solution="= 3", reference="3"), None),
        ("answer_agrees", problem("q", solution="= 4", reference="3"), "another answer"),
        ("answer_agrees", problem("q", solution="= 4"), "no reference"),
        ("answer_agrees", problem("q", solution="hm", reference="silent"), "no answer"),
        ("answer_agrees", problem("q", solution="hm", reference="odd"), "the grader cannot tell"),
        ("solution_parses", problem("q", solution="4"), "no answer can be read"),
        (
            {"name": "tokens", "of": "problem", "model": "m", "at_least": 2, "at_most": 3},
            problem("a"),
            "under 2 tokens",
        ),
        ({"name": "tokens", "of": "problem", "model": "m", "at_least": 2, "at_most": 3}, problem("a b"), None),
        ({"name": "tokens", "of": "problem", "model": "m", "at_least": 2, "at_most": 3}, problem("a b c"), None),
        (
            {"name": "tokens", "of": "solution", "model": "m", "at_most": 1},
            problem("a", solution="a b"),
            "over 1 tokens",
        ),
        ({"name": "language", "keep": ["en"]}, problem("$x$"), None),
        (
            {"name": "language", "keep": ["en"]},
            problem("Bestimme alle reellen Zahlen und gib dann ihre Summe an."),
            "language de",
        ),
    ],
)
def test_filter(declared: Any, row: Problem, reason: str | None) -> None:
    parsed = TypeAdapter[Any](Filter).validate_python(declared)
    assert check_of(parsed, TOOLS)(row) == reason


# Duplicates

TRAIN = "A train leaves at noon and runs 60 miles an hour for 3 hours. How far from the station is the train by then?"


def test_near_duplicates_differ_in_little() -> None:
    texts = [
        TRAIN,
        TRAIN.replace("60", "70"),
        TRAIN.replace("by then", "in the end"),
        TRAIN.replace("60", "sixty").upper(),
        "Something else about 60 miles and 3 hours, told at length and with other words than before.",
        "Let $x$ be a number so that $x + 3 = 60$ holds for it. Find the number $x$.",
        r"Let $y$ be a number so that \(y+3=60\) holds for it. Find the number \(y\)!",
    ]
    assert near_groups(texts) == [0, 1, 0, 0, 4, 5, 5]


def test_another_figure_is_another_problem() -> None:
    one, other = (f"Find the area. [asy]draw((0,0)--(3,{y}));[/asy]" for y in (4, 5))
    assert near_groups([one, other, one]) == [0, 1, 0]


@given(st.lists(st.text("abc 12", max_size=12), max_size=30), st.randoms(use_true_random=False))
def test_near_groups_do_not_depend_on_the_order(texts: list[str], draw: random.Random) -> None:
    def parts(order: list[int]) -> set[frozenset[int]]:
        groups: dict[int, set[int]] = {}
        for at, group in zip(order, near_groups([texts[at] for at in order]), strict=True):
            groups.setdefault(group, set()).add(at)
        return {frozenset(group) for group in groups.values()}

    order = list(range(len(texts)))
    before = parts(order)
    draw.shuffle(order)
    assert parts(order) == before


def test_the_first_duplicate_stays_and_groups_are_reported() -> None:
    rows = [problem(text, str(at)) for at, text in enumerate([TRAIN, "Find $x$.", TRAIN.upper(), r"find \(x\)"])]
    ids, curated = run(rows, dataset(duplicates={"kind": "exact"}))
    assert ids == ["0", "1"]
    assert curated.duplicates == {"0": ["2"], "1": ["3"]}
    assert curated.steps[-1].note == "2 groups, the largest of 2"
    ids, curated = run([*rows, problem(TRAIN.replace("by then", "at last"), "4")], dataset(duplicates={"kind": "near"}))
    assert ids == ["0", "1"]
    assert curated.duplicates["0"] == ["2", "4"]


# Split

WORDS = st.lists(st.sampled_from([TRAIN, TRAIN.lower(), TRAIN.replace("60", "61"), "Find 3.", "Add 4 to 5.", "find 3"]))


@given(WORDS, st.integers(0, 50), st.randoms(use_true_random=False))
def test_sides_partition_a_set_in_any_order(texts: list[str], seed: int, draw: random.Random) -> None:
    rows = [problem(text, str(at)) for at, text in enumerate(texts)]
    sides = {}
    for keep in ("train", "select"):
        draw.shuffle(rows)
        sides[keep] = {r.problem_id for r in one_side(rows, Split(seed=seed, select=0.4, keep=keep))}
    assert not sides["train"] & sides["select"]
    assert sides["train"] | sides["select"] == {row.problem_id for row in rows}
    groups = near_groups(texts)
    for at, group in enumerate(groups):
        assert (str(at) in sides["train"]) == (str(group) in sides["train"]), "near duplicates stand on both sides"


def test_the_share_is_near_and_new_rows_move_none() -> None:
    rows = [problem(f"What is {at} times {at + 7}?", str(at)) for at in range(1500)]
    declared = Split(seed=1, select=0.2, keep="select")
    before = [row.problem_id for row in one_side(rows[:1000], declared)]
    after = [row.problem_id for row in one_side(rows, declared)]
    assert 150 <= len(before) <= 250
    assert after[: len(before)] == before


def test_sides_of_a_dataset_and_a_benchmark_share_nothing_whatever_is_filtered() -> None:
    rows = [problem(TRAIN, str(at), solution="yes" if at % 2 else r"\boxed{1}", reference="1") for at in range(6)]
    rows += [problem(f"Add {at} to 5.", str(at), solution=r"\boxed{1}", reference="1") for at in range(6, 40)]
    for seed in range(8):
        split = {"seed": seed, "select": 0.5}
        declared = dataset(split={**split, "keep": "train"}, filters=["has_box"])
        benchmark = Benchmark.model_validate(
            {"source": SOURCE, "split": {**split, "keep": "select"}, "answer": "integer", "role": "select"}
            | {"duplicates": {"kind": "exact"}}
        )
        train, select = (run(rows, side)[0] for side in (declared, benchmark))
        assert not set(train) & set(select)
        texts = {row.problem_id: row.text for row in rows}
        assert not {texts[at] for at in train} & {texts[at] for at in select}


# Sample


def test_a_plain_sample_is_ranked_by_a_hash_of_seed_and_id() -> None:
    rows = [problem("q", f"id-{at}") for at in range(50)]
    rank = {row.problem_id: hashlib.sha256(f"9\x1f{row.problem_id}".encode()).digest() for row in rows}
    best = sorted(rank, key=rank.__getitem__)[:7]
    ids = [row.problem_id for row in sampled(iter(rows), Sample(size=7, seed=9), "s")]
    assert ids == [row.problem_id for row in rows if row.problem_id in best]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 40), min_size=1, max_size=12))
def test_shares_are_exact_but_for_rounding_and_nested(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    before = dict.fromkeys(sizes, 0)
    for size in range(1, total + 1):
        now = shares(sizes, size)
        assert sum(now.values()) == size
        for name, of in sizes.items():
            assert size * of // total <= now[name] <= -(-size * of // total)
            assert before[name] <= now[name] <= of
        before = now


@given(st.lists(st.sampled_from("xyz"), min_size=1, max_size=40), st.integers(0, 9), st.data())
def test_a_larger_sample_holds_a_smaller_one(strata: list[str], seed: int, data: st.DataObject) -> None:
    rows = [problem("q", str(at), meta={"topic": value}) for at, value in enumerate(strata)]
    large = data.draw(st.integers(1, len(rows)))
    small = data.draw(st.integers(1, large))
    by = data.draw(st.sampled_from([None, "source", "topic"]))
    shuffled = data.draw(st.permutations(rows))
    sets = [
        {row.problem_id for row in sampled(these, Sample(size=size, seed=seed, stratify_by=by), "s")}
        for these, size in ((rows, large), (shuffled, large), (rows, small))
    ]
    assert [len(ids) for ids in sets] == [large, large, small]
    assert sets[0] == sets[1]
    assert sets[2] <= sets[0]


def test_a_stratum_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:3: no `meta\.topic`"):
        list(sampled([problem("q", row="a.jsonl:3")], Sample(size=1, seed=1, stratify_by="topic"), "s"))


def test_a_sample_holds_no_more_than_it_keeps() -> None:
    alive = Counter[str]()

    class Held(Problem):
        def __del__(self) -> None:
            alive["now"] -= 1

    def rows() -> Iterator[Problem]:
        for at in range(3000):
            alive["now"] += 1
            alive["most"] = max(alive["most"], alive["now"])
            yield Held(problem_id=str(at), text="q", source="s", solution="x")

    assert len(list(curate(rows(), dataset(sample={"size": 20, "seed": 1}), {}, TOOLS, "d"))) == 20
    assert alive["most"] < 40


# The whole


def test_steps_are_named_and_counted_in_order() -> None:
    rows = [problem(f"Add {at} to 5.", str(at), solution=r"\boxed{1}" if at < 8 else "no") for at in range(10)]
    rows.append(problem("add 3 to 5", "10", solution=r"\boxed{1}"))
    declared = dataset(
        filters=["has_box", {"name": "tokens", "of": "problem", "model": "m", "at_most": 9}],
        duplicates={"kind": "exact"},
        decontamination={"against": ["bench"], "action": "drop"},
        sample={"size": 4, "seed": 1, "stratify_by": "source"},
    )
    ids, curated = run(rows, declared, bench=[problem("Add 2 to 5.", "b2")])
    assert len(ids) == 4 and "2" not in ids
    assert [(step.step, step.before, step.after, step.note) for step in curated.steps] == [
        ("loaded", 11, 11, None),
        ("filter has_box", 11, 9, "no box: 2"),
        ("filter tokens of the problem (m): 0 to 9", 9, 9, None),
        ("exact duplicates", 9, 8, "1 groups, the largest of 2"),
        ("decontamination (bench)", 8, 7, "same: 1"),
        ("sample 4 by source", 7, 4, None),
    ]


def test_overlaps_are_flagged_or_stop_the_stage() -> None:
    rows = [problem(f"Add {at} to 5.", str(at), solution="s", row=f"a.jsonl:{at + 1}") for at in range(3)]
    bench = [problem("Add one to 5.", "b1"), problem("Add 8 to 5.", "b8")]
    declared = dataset(decontamination={"against": ["bench"], "action": "flag"})
    curating = curate(rows, declared, {"bench": bench}, TOOLS, "d")
    assert [row.meta for row in curating] == [{}, {"overlaps": ["bench/b1"]}, {}]
    (overlap,) = curating.result.overlaps
    assert (overlap.problem_id, overlap.benchmark, overlap.benchmark_problem_id) == ("1", "bench", "b1")
    assert (overlap.rule, overlap.score, overlap.text) == ("same", 1.0, "Add 1 to 5.")
    assert overlap.benchmark_text == "Add one to 5."
    declared = dataset(decontamination={"against": ["bench"], "action": "fail"})
    with pytest.raises(DataError, match=r"`d`: 1 row overlaps a benchmark: a\.jsonl:2 \(same: bench/b1\)"):
        list(curate(rows, declared, {"bench": bench}, TOOLS, "d"))


def test_nothing_left_and_too_few_say_what_took_them() -> None:
    rows = [problem("Add 3 to 5.", "1", solution="s")]
    with pytest.raises(DataError, match=r"no problem left \(loaded: 1, filter has_box: 0\)"):
        run(rows, dataset(filters=["has_box"]))
    with pytest.raises(DataError, match=r"`train_set` has 1 problem left to sample from; `sample.size` is 5"):
        run(rows, dataset(sample={"size": 5, "seed": 1}))


def test_filters_stream() -> None:
    seen = []

    def rows() -> Iterator[Problem]:
        for at in range(5):
            seen.append(at)
            yield problem(f"Add {at}.", str(at), solution=r"\boxed{1}")

    curating = curate(rows(), dataset(filters=["has_box"], duplicates={"kind": "exact"}), {}, TOOLS, "d")
    assert seen == []
    assert next(curating).problem_id == "0"
    assert seen == [0]


# Benchmarks


def _asked(text: str, at: int, reference: str = "1", **meta: Any) -> Problem:
    return problem(text, str(at), reference=reference, row=f"a.jsonl:{at + 1}", meta=meta)


def test_a_benchmark_has_its_steps_in_order_and_its_references_read_behind_the_filters() -> None:
    rows = [_asked(f"Add {at} to 5.", at, level=at % 3) for at in range(12)]
    rows[1] = _asked("As shown, add 1 to 5.", 1, "odd", level=1)  # out before its reference is read
    rows[2] = _asked("Add 0 to 5.", 2, "odd", level=2)  # out before it could repeat row 0
    rows[3] = _asked("Add 11 to 5.", 3, level=1)
    declared = benchmark(
        filters=["no_figure", {"name": "column", "of": "level", "at_most": 2}],
        tolerate={"rows": 1},
        duplicates={"kind": "exact"},
        sample={"size": 8, "seed": 1},
    )
    ids, curated = run(rows, declared)
    assert len(ids) == 8
    assert [(step.step, step.before, step.after, step.note) for step in curated.steps] == [
        ("loaded", 12, 12, None),
        ("filter no_figure", 12, 11, "needs a figure: 1"),
        ("filter level: 2 or less", 11, 11, f"kept {_levels(rows)}"),
        ("gradable references", 11, 10, "cannot be graded: 1"),
        ("exact duplicates", 10, 9, "1 groups, the largest of 2"),
        ("sample 8", 9, 8, None),
    ]
    assert [(row.problem_id, fault.where) for row, fault in curated.ungraded] == [("2", "a.jsonl:3")]


def _levels(rows: list[Problem]) -> str:
    counts = Counter(row.meta["level"] for row in rows if not row.text.startswith("As shown"))
    return ", ".join(f"{level}: {count}" for level, count in counts.most_common())


@pytest.mark.parametrize("seed", range(5))
def test_a_row_that_no_rule_takes_out_stops_a_benchmark(seed: int) -> None:
    """Any mixture of unreadable rows, odd references and what is tolerated: all of them within the rule, or none."""
    draw = random.Random(seed)
    for _ in range(40):
        odd, unread, tolerated = draw.randrange(4), draw.randrange(3), draw.randrange(6)
        size = draw.randrange(odd + 1, 2500) if draw.random() < 0.1 else draw.randrange(odd + 1, 12)
        places = set(draw.sample(range(size), odd))
        rows = [_asked(f"Add {at} to 5.", at, "odd" if at in places else "1") for at in range(size)]
        declared = benchmark(**({"tolerate": {"rows": tolerated}} if tolerated else {}))
        rejected = [Rejected(row="a.jsonl:9", reasons=["broken"], remedies=[], raw="")] * min(unread, tolerated)
        curating = curate([*rejected, *rows], declared, {}, TOOLS, "b")
        if odd and odd + len(rejected) > tolerated:
            with pytest.raises(FaultsError) as caught:
                list(curating)
            assert [fault.message for fault in caught.value.faults[:-1]] == ["odd math"] * odd
            last = caught.value.faults[-1]
            assert last.message.startswith(f"{odd} of {size} references cannot be graded")
            assert str(last.hint).startswith(
                f"`tolerate: {{rows: {odd + len(rejected)}}}`" if 2 * odd <= size else "is `answer` the kind"
            )
        else:
            kept = {int(row.problem_id) for row in curating}
            assert kept == set(range(size)) - places
            assert {int(row.problem_id) for row, _ in curating.result.ungraded} == places
            assert curating.result.rejected == rejected
            loaded = curating.result.steps[0]
            unreadable = f"cannot be read: {len(rejected)}" if rejected else None
            assert (loaded.before, loaded.after, loaded.note) == (size + len(rejected), size, unreadable)


def test_the_faults_of_a_source_its_references_and_its_repetitions_come_at_once() -> None:
    def rows() -> Iterator[Problem]:
        yield from (_asked("Add 1.", 0), _asked("Add 2.", 1, "odd"), _asked("Add 1.", 2))
        raise FaultsError([Fault("a.jsonl:9", "broken JSON")])

    with pytest.raises(FaultsError) as caught:
        list(curate(rows(), benchmark(), {}, TOOLS, "b"))
    assert [(fault.where, fault.message) for fault in caught.value.faults] == [
        ("a.jsonl:9", "broken JSON"),
        ("a.jsonl:2", "odd math"),
        ("`b`", "1 of 3 references cannot be graded"),
        ("a.jsonl:3", "the problem of a.jsonl:1 again"),
        ("`b`", "3 rows hold 2 different problems: each would count as a separate problem"),
    ]


def test_a_filter_settles_what_would_repeat() -> None:
    rows = [_asked("Add 1.", 0, "2", part="a"), _asked("Add 1.", 1, "3", part="b"), _asked("Add 2.", 2, part="a")]
    with pytest.raises(FaultsError, match="again with another reference"):
        run(rows, benchmark())
    assert run(rows, benchmark(filters=[{"name": "column", "of": "part", "keep": ["a"]}]))[0] == ["0", "2"]


def test_training_data_is_held_against_all_of_a_benchmark() -> None:
    rows = [_asked(f"Add {at}.", at, "odd" if at == 3 else "1", level=at) for at in range(6)] + [_asked("add 0", 6)]
    declared = benchmark(filters=[{"name": "column", "of": "level", "keep": [1]}], sample={"size": 1, "seed": 1})
    assert [row.problem_id for row in whole(rows, declared, TOOLS)] == ["0", "1", "2", "3", "4", "5"]
    split = {"seed": 1, "select": 0.5, "keep": "select"}
    side = {row.problem_id for row in whole(rows, benchmark(split=split), TOOLS)}
    assert side == {row.problem_id for row in one_side(rows, Split.model_validate(split))} - {"6"}
