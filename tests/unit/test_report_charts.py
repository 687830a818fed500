"""The drawings of the report: what is drawn is what was measured, rows that are left out are counted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from unit.results_samples import NESTED, RATES, SELECTION, VOTE, cell

from its.report.build import build_report
from its.report.data import ReportData
from its.report.loss_chart import LINE, loss_chart
from its.report.strips import MOST_ROWS, choice_strip, held_out_strip, length_strips, similarity_strip, vote_strip

STEPS = [{"step": step, "loss": 2.0 / step} for step in range(1, 9)]


def study(**values: Any) -> ReportData:
    return ReportData.model_validate({"cells": [cell(train, test) for train, test in RATES], **values})


def rows(chart: dict[str, Any] | None) -> list[dict[str, Any]]:
    assert chart is not None
    return [row for group in chart["groups"] for row in group["rows"]]


def persona(strategy: str, auc: float | None, name: str = "sums") -> dict[str, Any]:
    interval = None if auc is None else [max(0.0, auc - 0.05), min(1.0, auc + 0.05)]
    found = {"mean": 0.3, "others": 0.1, "auc": auc, "auc_interval": interval}
    return {"set": name, "strategy": strategy, "personas": 400, "similarity": found}


def test_all_trainings_are_in_one_drawing_and_named_by_what_they_differ_in() -> None:
    trained = [cell("none", "none"), cell("random", "none"), cell("random", "none", 2)]
    names = [row["checkpoint"] for row in trained]
    chart = loss_chart(study(cells=trained, losses=dict.fromkeys(names, STEPS)))
    assert chart is not None
    assert [s["label"] for s in chart["series"]] == ["none, seed 1", "random, seed 1", "random, seed 2"]
    assert len({(s["colour"], s["dash"]) for s in chart["series"]}) == 3
    assert chart["title"] == "Training loss of smollm2_135m on arithmetic"
    other = {**cell("none", "none"), "checkpoint": "gemma-arithmetic-none-1", "model": "gemma"}
    chart = loss_chart(study(cells=[trained[0], other], losses={names[0]: STEPS, other["checkpoint"]: STEPS}))
    assert chart is not None
    assert [s["label"] for s in chart["series"]] == ["smollm2_135m, none", "gemma, none"]
    assert chart["title"] == "Training loss"


@pytest.mark.parametrize("count", [1, 7, 30, 31])
def test_names_of_lines_do_not_overlap(count: int) -> None:
    """All lines end at the same loss, the worst case; more than 30 are named in a list."""
    chart = loss_chart(study(cells=[], losses={f"training-{n}": STEPS for n in range(count)}))
    assert chart is not None
    places = sorted(s["place"] for s in chart["series"])
    if chart["named"]:
        assert all(after - before >= LINE - 0.11 for before, after in pairwise(places))
        assert places[0] > 0
        assert places[-1] <= chart["box"]["bottom"]
    assert chart["named"] == (count <= 30)
    page = build_report(study(cells=[], losses={f"training-{n}": STEPS for n in range(count)}))
    assert page.count('class="named') == (count if count <= 30 else 0)
    assert page.count("ends at 0.25") == 2 * count  # in the title for a screen reader, and in the list


def test_a_study_whose_losses_are_all_not_finite_says_so() -> None:
    found = study(losses={"training": [{"step": 1, "loss": None}, {"step": 2, "loss": float("inf")}]})
    assert "No finite loss to draw; steps of training: 2" in build_report(found)


def test_similarity_has_the_same_axis_for_every_set() -> None:
    personas = [persona("similar", 0.9), persona("similar", 0.4, "aime"), persona("random", None)]
    chart = similarity_strip(study(personas=personas))
    assert [(row["marks"][0]["dot"], row["marks"][0]["span"]) for row in rows(chart)] == [
        (90, (85, 95)),
        (40, (35, 45)),
    ]
    assert chart is not None
    assert chart["axes"][0]["zero"] == 50
    assert [group["name"] for group in chart["groups"]] == ["sums", "aime"]
    assert similarity_strip(study(personas=[persona("random", None)])) is None


def test_shrinkage_is_the_way_from_ring_to_dot() -> None:
    (row,) = rows(choice_strip(study(selection=[SELECTION])))
    mark = row["marks"][0]
    assert mark["words"] == "+4.5 → +0.0"
    assert mark["dot"] == 0
    assert mark["span"] == (mark["dot"], mark["ring"])
    assert mark["ring"] > 80
    assert choice_strip(study(selection=[{**SELECTION, "report": []}])) is None
    (row,) = rows(held_out_strip(study(nested=[NESTED])))
    assert row["marks"][0]["words"] == "25.1\xa0%, largest cell 27.0\xa0%"


def test_a_vote_is_beside_the_mean_of_its_members() -> None:
    members = {**VOTE, "accuracy": 0.3, "low": 0.2, "high": 0.4}
    (row,) = rows(vote_strip(study(votes=[members])))
    assert row["marks"][0]["words"] == "30.0\xa0%, members 26.2\xa0%"
    (row,) = rows(vote_strip(study(votes=[members], cells=[cell("none", "none")])))
    assert (row["marks"][0]["words"], row["marks"][0]["ring"]) == ("30.0\xa0%", None)


def test_lengths_keep_the_most_truncated_cells_and_count_the_others() -> None:
    cells = [
        {**cell("none", "none"), "test": f"t{n}", "truncated_rate": n / 100, "completion_tokens": 10.0 + n}
        for n in range(MOST_ROWS + 5)
    ]
    (chart,) = length_strips(study(cells=cells))
    drawn = rows(chart)
    assert (len(drawn), chart["more"]) == (MOST_ROWS, 5)
    assert drawn[0]["name"] == "test t5"
    assert [row["marks"][1]["alert"] for row in drawn] == [True] * MOST_ROWS
    assert drawn[-1]["marks"][1]["bars"] == [MOST_ROWS + 4]
    assert "5 more rows are not drawn" in build_report(study(cells=cells))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_everything_correct_stays_on_the_axis(value: float) -> None:
    """Zero tokens, one problem, nothing to choose: every place is a number from 0 to 100."""
    cells = [
        {**cell("none", test), "avg": value, "low": value, "high": value, "completion_tokens": 0.0, "problems": 1}
        for test in ("none", "random")
    ]
    vote = {**VOTE, "accuracy": value, "low": value, "high": value}
    nested = {**NESTED, "held_out_score": value, "low": value, "high": value, "optimism": 0.0}
    selection = {**SELECTION, "select": {**SELECTION["select"], "gain": 0.0}}
    found = study(cells=cells, votes=[vote], nested=[nested], selection=[selection], personas=[persona("p", value)])
    charts = [choice_strip(found), held_out_strip(found), vote_strip(found), similarity_strip(found)]
    places = [
        place
        for chart in [*charts, *length_strips(found)]
        for row in rows(chart)
        for mark in row["marks"]
        for place in [mark["dot"], mark["ring"], *(mark["span"] or ()), *mark["bars"]]
    ]
    assert all(place is None or 0 <= place <= 100 for place in places)
    assert '="nan' not in build_report(found)
