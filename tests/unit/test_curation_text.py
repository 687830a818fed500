"""The two views of a text that comparisons take: its canonical spelling and its words."""

from __future__ import annotations

import pytest

from its.curation.comparable_text import canonical, figure_words, words
from its.curation.shared_words import in_two_pieces, longest_run, shape, shared_in_order


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\dfrac12 + x^{2}$.", "Find \\( \\frac{1}{2}+x^2 \\)"),
        (r"If $a \leq b$, is $\left(a, b\right)$ empty?", "if a \u2264 b ,  is (a,b) empty"),
        (r"$3 \cdot 4$", "3 \u00d7 4"),
        (r"$x^2$ and $1{,}000$", "x\u00b2 and 1,000"),
        ("Line one\n\nline  two", "line one line two"),
    ],
)
def test_one_canonical_spelling(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("$3 - 2$", "$3 + 2$"), ("$2(3+4)$", "$2 3+4$"), ("$12$", "$1 2$"), ("Find [asy]a[/asy]", "Find [asy]b[/asy]")],
)
def test_what_asks_another_thing_is_spelt_otherwise(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Eighty thousand and 80,000 and $80{,}000$", ["80000", "and", "80000", "and", "80000"]),
        ("twenty-five, two hundred and five", ["25", "205"]),
        ("one point five or 1.50", ["1.5", "or", "1.5"]),
        ("five thousand, one more", ["5000", "1", "more"]),
        ("between one hundred and two hundred", ["between", "100", "and", "200"]),
        ("two three", ["2", "3"]),
        ("3 million", ["3000000"]),
        ("1/2 of it", [r"\frac", "1", "2", "of", "it"]),
        ("an 8-pound Bob's", ["an", "8", "pound", "bob"]),
        ("a set X of $a$", ["a", "set", "$x", "of", "$a"]),
        ("the word ELLIPSE in triangle $ABC$", ["the", "word", "ELLIPSE", "in", "triangle", "$abc"]),
        ("As shown. [asy]draw((0,0)--(1,2));[/asy]", ["as", "shown"]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_a_figure_has_words_of_its_own() -> None:
    assert figure_words("As shown. [asy]draw((0,1));[/asy]") == ["draw", "0", "1"]
    assert figure_words("No figure") == []


def test_the_names_of_variables_do_not_change_the_shape() -> None:
    assert shape(words("$f(x) = x + y$ at $x$")) == shape(words("$g(t) = t + u$ at $t$"))
    assert shape(words("$x + x$")) != shape(words("$x + y$"))


def test_shared_words() -> None:
    one, other = list("abcdef"), list("xabycdezf")
    assert shared_in_order(one, other) == 6
    assert shared_in_order(other, one) == 6
    assert shared_in_order(one, one[::-1]) == 1
    assert longest_run(one, other) == 3
    assert longest_run(one, []) == 0


@pytest.mark.parametrize(
    ("row", "covered"),
    [
        ("x a b c d e f y", 6),
        ("a b c x y z d e f", 6),
        ("d e f x a b c", 3),
        ("a b x c d x e f", 4),
        ("q", 0),
    ],
)
def test_two_pieces_in_order(row: str, covered: int) -> None:
    assert sum(in_two_pieces(list("abcdef"), row.split())) == covered
