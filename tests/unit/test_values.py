"""The number of values in a piece of JSON, counted before it is decoded."""

from __future__ import annotations

import pytest

from its.values import exceeds


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1,2,3]", 3),  # a bracket and two commas
        ('{"a":"b"}', 3),
        ('{"a":[{},{}],"b":"x"}', 9),
        (r'["a\"],[{", 1]', 3),  # marks within a text do not count
        ('["a,[{', 2),  # an unclosed text extends to the end
    ],
)
def test_texts_commas_and_opening_brackets_are_counted(text: str, values: int) -> None:
    assert not exceeds(text, values)
    assert not exceeds(text.encode(), values)
    assert exceeds(text, values - 1)
    assert exceeds(text.encode(), values - 1)


def test_only_the_first_value_counts_unless_every_one_is_wanted() -> None:
    text = "[1,2]\n[3,4]\n[5,6]\n"
    assert not exceeds(text, 2)
    assert exceeds(text, 2, every=True)
    assert not exceeds(text, 6, every=True)
    assert not exceeds(text, 2, at=6)
    assert exceeds(text, 1, at=6)
