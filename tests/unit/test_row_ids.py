"""Which row an id means."""

from __future__ import annotations

from typing import Any

import pytest

from its.errors import DataError
from its.row_ids import SetIds, Target, find_target

SETS = {
    "train_set": SetIds("train", ["p1", "a/b", "a/b/none"], ["none", "random"]),
    "bench": SetIds("test", ["p1", "q1", "q1/random/0"], ["none", "random"]),
}
CHECKPOINTS = ["m-base", "m-train_set-random-1"]


def _find(text: str, samples: int = 2, **options: Any) -> Target:
    return find_target(
        text, sets=SETS, checkpoints=CHECKPOINTS, samples=lambda checkpoint, benchmark: samples, **options
    )


@pytest.mark.parametrize(
    ("text", "options", "kind", "full"),
    [
        ("q1", {}, "problem", "bench/q1"),
        ("bench/p1", {}, "problem", "bench/p1"),
        ("train_set/a/b", {}, "problem", "train_set/a/b"),
        ("a/b", {}, "problem", "train_set/a/b"),
        ("train_set/a/b/random", {}, "query", "train_set/a/b/random"),
        ("train_set/a/b/none/none", {}, "query", "train_set/a/b/none/none"),
        ("bench/p1/none", {}, "query", "bench/p1/none"),
        ("m-base/bench/p1/none/1", {}, "response", "m-base/bench/p1/none/1"),
        ("m-base/bench/q1/random/0/random/1", {}, "response", "m-base/bench/q1/random/0/random/1"),
        ("bench/p1/none", {"checkpoint": "m-base", "sample": 1}, "response", "m-base/bench/p1/none/1"),
        ("bench/p1/none/1", {"checkpoint": "m-base"}, "response", "m-base/bench/p1/none/1"),
        ("m-base/bench/p1/none", {"sample": 0}, "response", "m-base/bench/p1/none/0"),
        ("m-base", {}, "checkpoint", "m-base"),
    ],
)
def test_an_id_names_a_row(text: str, options: dict[str, Any], kind: str, full: str) -> None:
    target = _find(text, **options)
    assert (target.kind, target.id) == (kind, full)
    assert _find(target.id) == target


UNION = {"train_set": SetIds("train", ["p1", "a/b"], ["none", "all+none", "all+near"])}


@pytest.mark.parametrize("text", ["train_set/p1/all+near", "train_set/a/b/all+none"])
def test_a_row_of_a_union_has_its_members_name(text: str) -> None:
    target = find_target(text, sets=UNION, checkpoints=[], samples=lambda *_: 1)
    assert (target.kind, target.side, target.id) == ("query", "train", text)


def test_the_name_of_a_union_means_all_its_rows() -> None:
    with pytest.raises(DataError, match=r"matches 2 rows: `train_set/p1/all[+]none`, `train_set/p1/all[+]near`"):
        find_target("train_set/p1/all", sets=UNION, checkpoints=[], samples=lambda *_: 1)
    with pytest.raises(DataError, match=r"no row of this study has the id `train_set/p1/all[+]`"):
        find_target("train_set/p1/all+", sets=UNION, checkpoints=[], samples=lambda *_: 1)


NAMES = ["m-base", "m-d-near-1", "m-d-near-1-lora-1of3"]


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_of_variants_and_shares(name: str) -> None:
    for text in (name, f"{name}/bench/p1/none/0"):
        assert find_target(text, sets=SETS, checkpoints=NAMES, samples=lambda *_: 1).id == text


def test_a_cell_that_is_not_in_the_design_has_no_responses() -> None:
    cells = {("m-base", "bench", "none"), ("m-d-near-1", "bench", "random")}

    def find(text: str, **options: Any) -> Target:
        return find_target(text, sets=SETS, checkpoints=NAMES, samples=lambda *_: 1, cells=cells, **options)

    assert find("bench/p1/none", sample=0).id == "m-base/bench/p1/none/0"
    for text in ("m-base/bench/p1/random/0", "m-d-near-1-lora-1of3/bench/p1/none/0"):
        with pytest.raises(DataError, match="no row of this study has the id"):
            find(text)


def test_the_side_is_the_sets() -> None:
    assert (_find("train_set/p1/none").side, _find("bench/p1/none").side) == ("train", "test")


def test_the_only_sample_need_not_be_named() -> None:
    assert _find("m-base/bench/p1/none", samples=1).id == "m-base/bench/p1/none/0"


@pytest.mark.parametrize(
    ("text", "options", "count", "named"),
    [
        ("p1", {}, 2, ["`train_set/p1`", "`bench/p1`"]),
        ("train_set/a/b/none", {}, 2, ["`train_set/a/b/none`"]),  # a problem, and a query of another one
        ("m-base/bench/p1/none", {}, 2, ["`m-base/bench/p1/none/0`", "`m-base/bench/p1/none/1`"]),
        ("bench/p1/none", {"sample": 1}, 2, ["`m-base/bench/p1/none/1`", "`m-train_set-random-1/bench/p1/none/1`"]),
        ("bench/q1/random/0", {}, 3, ["`bench/q1/random/0`", "`m-base/bench/q1/random/0`"]),
    ],
)
def test_an_ambiguous_id_lists_what_it_may_mean(
    text: str, options: dict[str, Any], count: int, named: list[str]
) -> None:
    with pytest.raises(DataError, match=f"matches {count} rows") as caught:
        _find(text, **options)
    for name in named:
        assert name in caught.value.message


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("bench/p11/none", "bench/p1"),
        ("bench/p1/nome", "bench/p1/none"),
        ("m-bas", "m-base"),
        ("m-base/bench/p1/none/2", None),  # two samples: 0 and 1
        ("train_set/p1/none/0", None),  # a train query has no responses
        ("", None),
    ],
)
def test_an_unknown_id_names_the_nearest(text: str, nearest: str | None) -> None:
    with pytest.raises(DataError, match="no row of this study has the id") as caught:
        _find(text)
    assert nearest is None or f"`{nearest}`" in str(caught.value.hint)
    assert "CHECKPOINT/SET/PROBLEM/STRATEGY/SAMPLE" in str(caught.value.hint)


def test_options_that_contradict_the_id_find_nothing() -> None:
    with pytest.raises(DataError, match="no row"):
        _find("m-base/bench/p1/none/1", sample=0)
    with pytest.raises(DataError, match="no row"):
        _find("train_set/p1/none", checkpoint="m-base")
    with pytest.raises(DataError, match="the design has no checkpoint `other`"):
        _find("bench/p1/none", checkpoint="other")
