"""What an error suggests for a mistyped name, and differences of recipes as YAML that can be copied."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from its.errors import nearest
from its.recipe.shareable import shareable_yaml

IDS = [f"test_{number:05d}" for number in range(400)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("test_3", "test_00003"),
        ("test_003", "test_00003"),
        ("test_0", "test_00000"),
        ("test_399", "test_00399"),
        ("test_00000399", "test_00399"),
        ("tset_00012", "test_00012"),
    ],
)
def test_a_number_without_its_zeros_is_the_one_that_is_meant(name: str, meant: str) -> None:
    assert nearest(name, IDS) == [meant]


def test_zeros_that_are_digits_count() -> None:
    assert nearest("run_10", ["run_1", "run_100", "run_0010"]) == ["run_0010"]


# What a recipe may have: no control characters.
_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"), max_size=12)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4), max_leaves=8
)


@given(_values.filter(lambda value: value is not None))
def test_a_difference_is_printed_as_it_is_written_in_a_recipe(value: Any) -> None:
    line = shareable_yaml("report.note", value)
    assert "\n" not in line
    assert YAML(typ="safe", pure=True).load(f"note: {line}\n") == {"note": value}


def test_a_key_that_is_written_otherwise_may_hold_any_value() -> None:
    assert shareable_yaml("report.note", {"?0": date(2024, 1, 1)}) == '{"?0": "2024-01-01"}'


def test_what_a_recipe_lacks_is_said_in_words() -> None:
    assert shareable_yaml("train.axolotl", None) == "not set"
    assert shareable_yaml("engine.options", {"api_key": "sk-abcdefghijklmnopqrstuvwx", "seed": 1}) == "{seed: 1}"
