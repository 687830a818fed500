"""The stage `measure` on what a study varies: variants, checkpoints, holes, pools, contrasts, votes over strategies."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.test_measure import RIGHT, WRONG, Answer, Written
from unit.test_votes import _recipe

from its.report.build import build_report
from its.report.sentences import headline_sentences
from its.report.tables import csv_table, latex_table, markdown_table, text_table
from its.results import Cells, read_results
from its.rows import read_json, write_rows
from its.seeds import derive_random
from its.stages.report import summary
from its.study.study import Checkpoint, load_study, split_query_id
from its.study.votes import benchmark_votes, pool_votes
from its.types import Response, Verdict

Change = Callable[[dict[str, Any]], None]


def _varied(values: dict[str, Any]) -> None:
    """Two variants, three checkpoints, a mix, a fixed context, a control, a pool, contrasts, and holes."""
    query = values["strategies"]["random"]["query"]
    values["strategies"] |= {
        "noisy": {"noise": {"like": "random"}, "query": query},
        "advice": {"fixed": {"texts": ["Check each step."]}, "query": query},
        "half": {"mix": {"shares": {"none": 0.5, "random": 0.5}}},
    }
    values["train"]["variants"] = {"slow": {"learning_rate": 1e-6}}
    values["design"] |= {
        "models": ["large"],
        "train": ["none", "random", "half"],
        "variants": ["default", "slow"],
        "seeds": [1, 2],
        "checkpoints": ["last", "1/3", "2/3"],
        "test": ["none", "noisy", "advice"],
        "except": [
            {"dataset": "more", "variant": "slow"},
            {"train": "half", "seed": 2},
            {"train": "none", "test": "advice", "benchmark": "hard"},
        ],
    }
    values["vote"]["strategies"] = {"team": ["none", "advice"]}
    values["measure"] |= {
        "maj_k": [1, 2],
        "pool": {"both": ["easy", "hard"]},
        "contrasts": [
            {"name": "size", "of": {"dataset": "more"}, "against": {"dataset": "sums"}},
            {"name": "mixing", "of": {"train": "half"}, "against": {"train": ["none", "random"]}},
            {"name": "middle", "of": {"checkpoint": "1/3"}, "against": {"checkpoint": "last"}, "benchmarks": ["both"]},
            {"name": "gain", "of": {"dataset": "sums"}, "against": {"train": "base"}},
            {
                "name": "advised",
                "of": {"train": "none", "test": "advice"},
                "against": {"train": "none", "test": "none"},
            },
        ],
    }


def _drawn(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    drawn = derive_random(checkpoint.name, benchmark, test, place, index).random()
    rate = 0.3 + 0.2 * (checkpoint.train is not None) + 0.1 * (checkpoint.saved_at == "last")
    return RIGHT if drawn < rate else WRONG if drawn < 0.9 else ("3", "incorrect")


@pytest.fixture
def written(project: Path) -> Written:
    _recipe(project, _varied)
    made = Written(project, problems=6)
    made.write(_drawn)
    return made


def _mean(rows: list[dict[str, Any]]) -> float:
    return float(sum(row["avg"] for row in rows) / len(rows))


def test_every_row_names_its_place_on_every_axis(written: Written) -> None:
    told = run_stage("measure")
    cells = written.results("cells")["cells"]
    assert "not possible: advised on hard (no cell matches `of`); advised on both" in told and "contrasts" in told
    keys = [tuple(c[k] for k in ("model", "dataset", "train", "variant", "seed", "saved_at")) for c in cells]
    places = [(*key, cell["benchmark"], cell["test"]) for key, cell in zip(keys, cells, strict=True)]
    assert len(set(places)) == len(places)
    assert {key[3:] for key in keys if key[2] is None} == {(None, None, None)}
    assert {c["saved_at"] for c in cells if c["train"]} == {"last", "1/3", "2/3"}
    names = {c["checkpoint"] for c in cells}
    assert {"large-base", "large-sums-none-1", "large-sums-none-1-slow", "large-sums-none-1-slow-1of3"} <= names
    assert {(c["train"], c["test"]): c["block"] for c in cells if c["train"]} == {
        (train, test): {"none": "N", "random": "X", "half": "X"}[train]
        + {"none": "N", "noisy": "C", "advice": "X"}[test]
        for train in ("none", "random", "half")
        for test in ("none", "noisy", "advice")
    }
    with written.study.results("plots", "cells.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len({(row["benchmark"], row["train"], row["test"]) for row in rows}) == len(rows) == len(cells)
    assert any(row["train"] == "large-sums-slow, none, seed 1, checkpoint 1/3" for row in rows)
    read_results(written.study.results("cells.json"), Cells)


def test_contrasts_of_the_recipe_by_hand(written: Written) -> None:
    run_stage("measure")
    found = written.results("comparisons")
    rows = {(row["benchmark"], row["name"]): row for row in found["comparisons"]}
    cells = [c for c in written.results("cells")["cells"] if c["benchmark"] == "easy" and c["saved_at"] != "2/3"]
    last = [c for c in cells if c["saved_at"] in (None, "last")]
    size = rows["easy", "size"]
    assert (size["of"], size["against"]) == ({"dataset": ["more"]}, {"dataset": ["sums"]})
    sides = [[c for c in last if (c["dataset"], c["variant"]) == (dataset, "default")] for dataset in ("more", "sums")]
    by_seed = [
        _mean([c for c in sides[0] if c["seed"] == s]) - _mean([c for c in sides[1] if c["seed"] == s]) for s in (1, 2)
    ]
    assert size["difference"] == pytest.approx(sum(by_seed) / 2)
    assert (size["of_cells"], size["against_cells"], size["unmatched_cells"], size["seeds"]) == (15, 15, 15, 2)
    mixing = rows["easy", "mixing"]
    half = [c for c in last if c["train"] == "half"]
    others = [c for c in last if c["train"] in ("none", "random") and c["seed"] == 1]
    assert mixing["difference"] == pytest.approx(_mean(half) - _mean(others))
    assert (mixing["of_cells"], mixing["against_cells"], mixing["seeds"]) == (len(half), len(others), 1)
    gain = rows["easy", "gain"]
    assert (gain["against_cells"], gain["unmatched_cells"]) == (3, 0)
    assert ("easy", "middle") not in rows and rows["both", "middle"]["against"] == {"checkpoint": ["last"]}
    assert rows["both", "middle"]["unmatched_cells"] == 0 and rows["both", "middle"]["difference"] < 0
    assert [(row["benchmark"], row["name"]) for row in found["not_possible"]] == [
        ("hard", "advised"),
        ("both", "advised"),
    ]
    assert ("easy", "advised") in rows
    metrics = written.results("metrics")
    assert list(metrics) == ["both"], "a pool stands for its benchmarks"
    assert metrics["both"]["XX_NN"] == round(rows["both", "XX - NN"]["difference"], 4)
    planned = [row["name"] for row in found["comparisons"] if row["benchmark"] == "hard" and row["of"] is None]
    assert planned == ["trained - base", "XX - NN", "XX - XN"], "no cell of hard is NX"


def test_a_pool_has_the_numbers_of_one_benchmark_with_all_the_problems(project: Path, written: Written) -> None:
    """Every row of the pool is that of a study whose only benchmark has the problems of both, but for its names."""
    run_stage("measure")
    names = ("cells", "comparisons", "votes", "selection")
    pooled = {name: written.results(name) for name in names}
    study = written.study
    rows: dict[Path, list[Any]] = {}
    for side in (Verdict, Response):
        kind = "verdicts" if side is Verdict else "responses"
        for checkpoint, benchmark, test in study.cells():
            source = getattr(study, f"{kind}_path")(checkpoint, benchmark, test)
            target = getattr(study, f"{kind}_path")(checkpoint, "both", test)
            for line in source.read_text(encoding="utf-8").splitlines():
                row = side.model_validate_json(line)
                _, problem, strategy = split_query_id(row.query_id)
                query_id = f"both/{benchmark}/{problem}/{strategy}"
                rows.setdefault(target, []).append(row.model_copy(update={"query_id": query_id}))
    problems = [
        problem.model_copy(update={"problem_id": f"{name}/{problem.problem_id}"})
        for name in ("easy", "hard")
        for problem in study.problems(name)
    ]

    def one(values: dict[str, Any]) -> None:
        _varied(values)
        values["benchmarks"] = {"both": values["benchmarks"]["easy"]}
        values["design"]["benchmarks"] = ["both"]
        values["design"]["except"][2]["benchmark"] = "both"
        values["measure"]["pool"] = {}
        del values["measure"]["contrasts"][-1]  # none of its cells is in the pool

    _recipe(project, one)
    alone = load_study(project)
    write_rows(alone.problems_path("both"), problems)
    for path, found in rows.items():
        write_rows(path, found)
    run_stage("measure")
    whole = {name: read_json(alone.results(f"{name}.json")) for name in names}
    different: set[str] = set()
    for name, tables in whole.items():
        for table, wanted in tables.items():
            if isinstance(wanted, list) and table != "pools":
                own = [row for row in pooled[name][table] if row.get("benchmark") in ("both", None)]
                own = [row for row in own if row.get("name") != "advised"]
                assert len(own) == len(wanted), (name, table)
                for row, expected in zip(own, wanted, strict=True):
                    for key in row:
                        if isinstance(row[key], float):
                            assert row[key] == pytest.approx(expected[key], abs=1e-12), (name, table, key)
                        elif row[key] != expected[key]:
                            different.add(key)
    assert different <= {"pool"}
    assert pooled["cells"]["pools"] == [
        {
            "name": "both",
            "benchmarks": ["easy", "hard"],
            "problems": 12,
            "cells": len([row for row in whole["cells"]["cells"]]),
            "left_out": pooled["cells"]["pools"][0]["left_out"],
        }
    ]
    assert len(pooled["cells"]["pools"][0]["left_out"]) == 18


def test_the_answers_of_one_checkpoint_under_several_strategies_vote(written: Written) -> None:
    run_stage("measure")
    votes = [vote for vote in written.results("votes")["votes"] if vote["strategies"] is not None]
    on_easy = [vote for vote in votes if vote["benchmark"] == "easy"]
    checkpoints = {checkpoint.name for checkpoint in written.study.checkpoints()}
    assert {vote["members"][0]["checkpoint"] for vote in on_easy} == checkpoints
    assert not any("-none-" in vote["members"][0]["checkpoint"] for vote in votes if vote["benchmark"] == "hard")
    vote = next(v for v in on_easy if v["members"][0]["checkpoint"] == "large-sums-random-2-slow-1of3")
    assert vote["name"] == "team, strategies@2, large-sums-random-2-slow-1of3"
    assert (vote["strategies"], vote["ensemble"], vote["test"], vote["variant"]) == ("team", None, None, "slow")
    assert [member["test"] for member in vote["members"]] == ["none", "advice"]
    checkpoint = Checkpoint("large", "sums", "random", 2, "slow", "1/3")
    credits = []
    for place in range(written.problems):
        said = [_drawn(checkpoint, "easy", test, place, index)[0] for test in ("none", "advice") for index in (0, 1)]
        most = max(said.count(answer) for answer in said)
        top = {answer for answer in said if said.count(answer) == most}
        credits.append(("1" in top) / len(top))
    assert vote["accuracy"] == pytest.approx(sum(credits) / len(credits))


def test_default_votes_are_of_last_checkpoints_of_one_variant(written: Written) -> None:
    votes = [vote for vote in benchmark_votes(written.study, "hard") if vote.strategies is None]
    found = {vote.name: [checkpoint.name for checkpoint, _, _ in vote.cells] for vote in votes}
    assert {name.partition(", ")[2] for name in found} == {
        f"large-{table}, test {test}" for table in ("more", "sums", "sums-slow") for test in ("none", "noisy", "advice")
    }
    assert found["ensemble@5, large-sums-slow, test none"] == [
        f"large-sums-{train}-slow" for train in ("none-1", "none-2", "random-1", "random-2", "half-1")
    ]
    assert found["ensemble@3, large-more, test advice"] == [
        f"large-more-{train}" for train in ("random-1", "random-2", "half-1")
    ]
    names = [vote.name for vote in benchmark_votes(written.study, "easy")]
    assert len(names) == len(set(names))
    pooled = {vote.name for vote in pool_votes(written.study, "both")}
    assert pooled == {vote.name for vote in benchmark_votes(written.study, "hard")}, "hard has the holes"


def test_ensembles_of_a_design_with_holes_vote_where_all_members_are(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        _varied(values)
        values["vote"]["ensembles"] = {"paper": ["large-sums-none-1/easy/advice", "large-base/easy/advice"]}

    _recipe(project, change)
    study = load_study(project)
    named = {b: [v.name for v in benchmark_votes(study, b) if v.ensemble] for b in ("easy", "hard")}
    assert named == {"easy": ["paper, ensemble@2"], "hard": []} and not [
        v for v in pool_votes(study, "both") if v.ensemble
    ]


def test_the_range_over_checkpoints_is_in_every_table(written: Written) -> None:
    run_stage("measure")
    pair = next(
        row
        for row in written.results("cells")["pairs"]
        if (row["benchmark"], row["dataset"], row["variant"], row["train"], row["test"])
        == ("easy", "more", "default", "random", "none")
    )
    over = pair["over_checkpoints"]
    assert over["checkpoints"] == ["2/3", "last"] and over["lowest"] <= pair["avg"] <= over["highest"]
    found = summary(written.study)
    shown = f"]; {100 * over['lowest']:.0f} to {100 * over['highest']:.0f}"
    assert shown in text_table(found) and shown in markdown_table(found) and shown in latex_table(found)
    assert "after the interval: range over the checkpoints 2/3, last" in text_table(found)
    assert "easy (report), large trained on sums, variant slow: 6 problems" in text_table(found)
    assert "both (report), large trained on sums: 12 problems of easy and hard" in text_table(found)
    assert "mean over training seeds 1, 2 that a cell has" in text_table(found)
    rows = list(csv.DictReader(csv_table(found).splitlines()))
    assert len(rows) == len(found.cells) and {row["saved_at"] for row in rows} == {"", "last", "1/3", "2/3"}


def test_the_page_shows_what_was_varied(written: Written) -> None:
    run_stage("measure")
    found = summary(written.study)
    page = build_report(found)
    for words in (
        "large trained on sums, variant slow",
        "seed 1 only",
        "trained with a context, tested under a control",
        "dataset more against dataset sums",
        "15 cells without a partner left out",
        "<li>hard: advised: no cell matches `of`</li>",
        "easy, large on sums, variant slow: share of the training&#39;s steps",
        "easy, large on several datasets: rows trained on",
        "easy, large on more: responses that vote",
        "team, strategies@2, large-base",
        "<dt>except</dt><dd>dataset more, variant slow; train half, seed 2; train none, test advice, benchmark hard<",
    ):
        assert words in page, words
    said = " ".join(headline_sentences(found))
    left = (
        "The pool both is without 18 cells that were not measured on all of easy and hard (large-more-none-1/advice, "
    )
    assert left in said and said.count(" and 15 more).") == 1
    assert "size (dataset more against dataset sums; 15 cells without a partner left out) = " in said
    assert "middle (checkpoint 1/3 against checkpoint last) = -" in said
    assert "Not possible on hard: advised (no cell matches `of`)." in said
    assert "The vote team over the test strategies none, advice has on easy " in said


def test_curves_by_rows_count_the_rows_that_were_trained_on(written: Written) -> None:
    run_stage("measure")
    curves = [row for row in written.results("cells")["curves"] if row["axis"] == "rows"]
    assert {row["variant"] for row in curves} == {"default"}, "slow has one dataset"
    counted = {p["label"]: p["at"] for row in curves for p in row["points"]}
    assert counted == {"more": 10, "sums": 20}


def test_a_design_without_anything_new_has_rows_with_the_usual_values(project: Path) -> None:
    _recipe(project)
    made = Written(project)
    made.write(_drawn)
    assert run_stage("measure") == "results: 40 cells, 10 comparisons of blocks and 80 of cells, 16 votes"
    cells = made.results("cells")
    assert {(c["variant"], c["saved_at"]) for c in cells["cells"]} == {("default", "last"), (None, None)}
    assert cells["pools"] == [] and {row["axis"] for row in cells["curves"]} <= {"rows"}
    assert all(row["over_checkpoints"] is None for row in cells["pairs"])
    compared = made.results("comparisons")
    assert compared["not_possible"] == [] and {row["unmatched_cells"] for row in compared["comparisons"]} == {0}
    page = build_report(summary(made.study))
    assert (
        ", variant" not in page
        and "<dt>variants" not in page
        and "checkpoints" not in json.dumps(summary(made.study).design)
    )


def test_base_is_the_partner_of_earlier_checkpoints(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        _varied(values)
        values["measure"]["contrasts"] = [{"name": "early", "of": {"checkpoint": "1/3"}, "against": {"train": "base"}}]

    _recipe(project, change)
    made = Written(project, problems=6)
    made.write(_drawn)
    run_stage("measure")
    rows = [row for row in made.results("comparisons")["comparisons"] if row["name"] == "early"]
    assert {row["benchmark"] for row in rows} >= {"easy", "hard"}
    assert all(row["of_cells"] > row["against_cells"] > 0 == row["unmatched_cells"] for row in rows)


def test_a_training_without_its_last_checkpoint_has_a_table_of_its_latest(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        _varied(values)
        values["design"]["except"].append({"variant": "slow", "checkpoint": "last"})

    _recipe(project, change)
    made = Written(project, problems=6)
    made.write(_drawn)
    run_stage("measure")
    found = summary(made.study)
    assert "easy (report), large trained on sums, variant slow, checkpoint 2/3: 6 problems" in text_table(found)
    assert not [row for row in found.pairs if row.variant == "slow"], "the choice and the tests are of last checkpoints"
    said = " ".join(headline_sentences(found))
    assert "large trained on sums, variant slow, checkpoint 2/3 has " in said and "only base was measured" not in said
    build_report(found)
