"""The files of results/ as a library reads them, what is refused, and their reference in docs/results.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import results_reference
from unit.results_samples import (
    CURVE,
    EFFICIENCY,
    NESTED,
    NOT_POSSIBLE,
    POOL,
    SELECTION,
    VOTE,
    block,
    cell,
    comparison,
    pair,
    pair_test,
)

from its.errors import DataError, FaultsError, MissingError
from its.report.build import build_report
from its.report.data import ReportData, ReportedCell
from its.report.sentences import headline_sentences, selection_sentences
from its.report.tables import TABLES
from its.results import (
    RESULTS_VERSION,
    Cells,
    Comparisons,
    Selection,
    Votes,
    read_cost,
    read_metrics,
    read_results,
    write_results,
)
from its.rows import MAX_FAULTS

ROOT = Path(__file__).parents[2]
HEAD = {"version": RESULTS_VERSION, "recipe": "quickstart"}
FILES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "cells.json": (
        Cells,
        {
            **HEAD,
            "cells": [cell("none", "none"), cell("random", "none"), cell(None, "none")],
            "blocks": [block("NN")],
            "pairs": [pair("none", "none", [1])],
            "curves": [CURVE],
            "pools": [POOL],
        },
    ),
    "comparisons.json": (
        Comparisons,
        {
            **HEAD,
            "comparisons": [comparison("XX - NN", -0.02, -0.061, 0.02, 0.4)],
            "tests": [pair_test("none/none", "base/none", 0.22, 0.0001, found=True)],
            "efficiency": [EFFICIENCY],
            "not_possible": [NOT_POSSIBLE],
        },
    ),
    "votes.json": (Votes, {**HEAD, "votes": [VOTE]}),
    "selection.json": (Selection, {**HEAD, "selection": [SELECTION], "nested": [NESTED], "not_possible": []}),
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, Any], Path]:
    def write(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_with_types_and_written_as_it_was(name: str, written: Any, tmp_path: Path) -> None:
    kind, value = FILES[name]
    found = read_results(written(name, value), kind)
    assert found.recipe == "quickstart" and found.version == RESULTS_VERSION
    write_results(tmp_path / "again.json", found)
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == value


def test_a_library_reads_cells_by_their_fields(written: Any) -> None:
    cells = read_results(str(written("cells.json", FILES["cells.json"][1])), Cells).cells
    assert [(cell.train, cell.test, cell.avg) for cell in cells][-1] == (None, "none", 0.03)
    with pytest.raises(ValueError, match="frozen"):
        cells[0].avg = 1.0  # type: ignore[misc]


def test_every_value_that_does_not_fit_is_named_at_once(written: Any) -> None:
    value = json.loads(json.dumps(FILES["cells.json"][1]))
    del value["cells"][2]["avg"], value["cells"][2]["low"]
    value["cells"][1] |= {"high": None, "avg": 1.5, "within_noise": True}
    value["pairs"][0]["seeds"] = "1"
    with pytest.raises(FaultsError) as caught:
        read_results(written("cells.json", value), Cells)
    path = caught.value.faults[0].where
    assert caught.value.lines() == [
        f"error: {path}: `cells[1].avg` is 1.5: a share is between 0 and 1",
        f"error: {path}: `cells[1].high` is null, expected a number",
        f"error: {path}: `cells[1].within_noise` is not a key of these results",
        f"error: {path}: `cells[2]` lacks `avg`, `low`",
        f"error: {path}: `pairs[0].seeds` is '1', expected a list",
        "hint: `dvc repro -f measure` writes it again",
    ]
    value["cells"] = [{}] * 100
    with pytest.raises(FaultsError, match=r"81 more faults") as caught:  # with the one of `pairs`
        read_results(written("cells.json", value), Cells)
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert caught.value.lines()[-1] == "hint: `dvc repro -f measure` writes it again"


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("cells.json", ("version",), True, "`version` is true, expected an integer"),
        ("cells.json", ("cells", 0, "n"), True, "`cells[0].n` is true, expected an integer"),
        ("cells.json", ("cells", 0, "avg"), float("nan"), "`cells[0].avg` is NaN: a share is between 0 and 1"),
        (
            "cells.json",
            ("cells", 0, "saved_at"),
            "1/0",
            "`cells[0].saved_at` is '1/0': `last` or a share of the steps such as `1/3` is expected",
        ),
        (
            "cells.json",
            ("cells", 0, "block"),
            "nn",
            "`cells[0].block` is 'nn': input should be 'base', 'NN', 'NX', 'XN', 'XX', 'NC', 'CN', 'XC', 'CX' or 'CC'",
        ),
        (
            "cells.json",
            ("cells", 1, "grader_version"),
            "\ud800",
            "`cells[1].grader_version` is '\\ud800': has the character U+D800, which is not allowed in text",
        ),
        (
            "selection.json",
            ("nested", 0, "chosen"),
            {"a\x1b": 0.5},
            "`nested[0].chosen.a\\x1b` is 'a\\x1b': has the character U+001B, which is not allowed in text",
        ),
        (
            "cells.json",
            ("cells", 0, "thinking_tokens"),
            -1,
            "`cells[0].thinking_tokens` is -1: input should be greater than or equal to 0",
        ),
        (
            "comparisons.json",
            ("comparisons", 0, "difference"),
            1.5,
            "`comparisons[0].difference` is 1.5: a difference of shares is between -1 and 1",
        ),
        (
            "comparisons.json",
            ("tests", 0, "difference"),
            -1.5,
            "`tests[0].difference` is -1.5: a difference of shares is between -1 and 1",
        ),
    ],
)
def test_a_value_is_named_as_the_file_has_it_with_what_is_wanted(
    name: str, at: tuple[str | int, ...], value: Any, message: str, written: Any
) -> None:
    kind, whole = FILES[name]
    changed = json.loads(json.dumps(whole))
    node = changed
    for part in at[:-1]:
        node = node[part]
    node[at[-1]] = value
    path = written(name, changed)
    with pytest.raises(FaultsError) as caught:
        read_results(path, kind)
    assert caught.value.lines() == [f"error: {path}: {message}", "hint: `dvc repro -f measure` writes it again"]


def test_the_difference_of_differences_has_twice_the_range(written: Any) -> None:
    kind, whole = FILES["comparisons.json"]
    row = comparison("co-design: (XX - XN) - (NX - NN)", 1.5, 0.5, 2.5, 0.4)
    found = read_results(written("comparisons.json", {**whole, "comparisons": [row]}), kind)
    assert found.comparisons[0].difference == 1.5


@pytest.mark.parametrize("text", ["{", "\ufeff{}", '{"version": 2,', "\x00"])
def test_what_is_no_json_is_written_again(text: str, tmp_path: Path) -> None:
    (tmp_path / "cells.json").write_text(text, encoding="utf-8")
    with pytest.raises(FaultsError, match="broken JSON") as caught:
        read_results(tmp_path / "cells.json", Cells)
    assert caught.value.lines()[1] == "hint: `dvc repro -f measure` writes it again"


@pytest.mark.parametrize(("value", "fits"), [(-0.01, False), (-1e-12, True), (1 + 1e-12, True), (1.01, False)])
def test_a_share_has_two_ends(written: Any, value: float, fits: bool) -> None:
    path = written("cells.json", {**FILES["cells.json"][1], "cells": [cell("none", "none", avg=value)]})
    if fits:
        assert read_results(path, Cells).cells[0].avg == value
        return
    with pytest.raises(FaultsError, match=rf"`cells\[0\]\.avg` is {value}: a share is between 0 and 1"):
        read_results(path, Cells)


@pytest.mark.parametrize("version", [RESULTS_VERSION - 1, RESULTS_VERSION + 1])
def test_another_version_is_measured_again(written: Any, version: int) -> None:
    with pytest.raises(
        DataError, match=rf"version {version} of the results; this ITS reads version {RESULTS_VERSION}"
    ) as caught:
        read_results(written("cells.json", {**FILES["cells.json"][1], "version": version}), Cells)
    assert caught.value.lines()[1] == "hint: `dvc repro -f measure` writes it again"


def test_what_is_no_results_file(written: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_results(tmp_path / "cells.json", Cells)
    with pytest.raises(DataError, match=r"cells\.json: the file is \[\], expected an object"):
        read_results(written("cells.json", []), Cells)
    (tmp_path / "cells.json").write_text("{", encoding="utf-8")
    with pytest.raises(FaultsError, match="broken JSON"):
        read_results(tmp_path / "cells.json", Cells)


def test_cost_and_metrics_are_read_too(written: Any) -> None:
    rows = read_cost(written("generate.json", [{"what": "servers", "counts": {"retries": 3, "cost": 0.5}}]))
    assert rows[0].counts == {"retries": 3, "cost": 0.5} and rows[0].generated is None
    with pytest.raises(FaultsError, match=r"train-m-d-none-1\.json: `\[0\]\.asked` is not a key") as caught:
        read_cost(written("train-m-d-none-1.json", [{"what": "x", "asked": 1}]))
    assert caught.value.lines()[1] == "hint: `dvc repro -f train` writes it again"
    metrics = read_metrics(written("metrics.json", {"sums": {"XX": 0.5}}))
    assert metrics.root["sums"].XX == 0.5 and metrics.root["sums"].codesign is None


UNUSUAL: list[Any] = [None, True, -1, 1.5, float("nan"), 10**400, "x", [], [None], {}]


def _replaced(value: Any, unusual: Any) -> Iterator[Any]:
    """The value with each of its values, one at a time, replaced or (of an object) left out."""
    yield unusual
    if isinstance(value, dict):
        for key, item in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from ({**value, key: changed} for changed in _replaced(item, unusual))
    elif isinstance(value, list):
        for at, item in enumerate(value[:1]):
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in _replaced(item, unusual))


@pytest.mark.parametrize("name", FILES)
def test_results_that_were_changed_are_shown_or_refused(name: str, written: Any) -> None:
    """Whatever the change: an error that names it, or a page and tables without one."""
    kind, value = FILES[name]
    refused = shown = 0
    for index, unusual in enumerate(UNUSUAL):
        for number, changed in enumerate(_replaced(value, unusual)):
            try:
                found = read_results(written(name, changed), kind)
            except DataError as error:
                refused += 1
                assert "\n" not in error.message and error.lines()[-1].startswith("hint: ")
                continue
            shown += 1
            study = ReportData(
                **{key: rows for key, rows in found if key not in ("version", "cells")}, cells=_cells(found)
            )
            # Every reader meets every place, not every value: a page takes 30 ms.
            readers = [build_report, headline_sentences, *TABLES.values()]
            readers[(index + number) % len(readers)](study)
            selection_sentences(study.selection, study.nested)
    assert refused > 99 and shown > 5


def _cells(found: Any) -> list[ReportedCell]:
    return [ReportedCell(**dict(row)) for row in getattr(found, "cells", [])]


def test_the_reference_is_that_of_the_models() -> None:
    path = ROOT / "docs" / "results.md"
    assert path.read_text(encoding="utf-8") == results_reference.text(), (
        "docs/results.md is out of date: `python tests/results_reference.py` writes it"
    )


def test_every_field_has_a_text() -> None:
    for model in results_reference.MODELS:
        for key, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{key} has no docstring below it"
            nullable = type(None) in getattr(field.annotation, "__args__", ())
            assert nullable == ("None: " in field.description), f"{model.__name__}.{key}: say when it is null"
