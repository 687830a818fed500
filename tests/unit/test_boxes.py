r"""The one reading of boxes: what they hold, with braces and without; sources, curation and grading share it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from its.boxes import last_box, opens_box, run_of_boxes
from its.curation.filters import has_box
from its.grading.extract import extract_answer
from its.sources.expressions import boxed

FILLED = [
    (r"so \boxed{204}.", "204"),
    (r"\fbox{12}", "12"),
    (r"\boxed {3}", "3"),
    (r"\\boxed{5}", "5"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\boxed{12}}", "12"),
    (r"\boxed{1} and \boxed{2}", "2"),
    (r"\boxed{4} and then \boxed{}", "4"),
    (r"\boxed{4} and then \boxed{5", "4"),
    (r"\boxed{4} and then \boxed{\ldots}", "4"),
    (r"} \boxed{4} {", "4"),
    (r"\boxed{-}", "-"),
    (r"\boxed{\emptyset}", r"\emptyset"),
    # Without braces: one number or token.
    (r"So $\boxed 12$. Note 7.", "12"),
    (r"\boxed12", "12"),
    (r"\boxed x", "x"),
    (r"\fbox 5.", "5"),
    (r"\boxed 3.5, then", "3.5"),
    (r"\boxed 1,234 apples", "1,234"),
    (r"\boxed -5", "-5"),
    (r"\(\boxed 12\)", "12"),
    (r"\boxed\frac12", r"\frac12"),
    (r"$\boxed \frac{1}{2}$", r"\frac{1}{2}"),
    (r"\boxed 2\sqrt{3}$", r"2\sqrt{3}"),
    (r"\boxed\pi", r"\pi"),
    (r"\boxed(1,2)", "(1,2)"),
    (r"\boxed\text{yes}", r"\text{yes}"),
    (r"\boxed 7 and \boxed{x}", "x"),
    (r"\boxed{x} and \boxed 7", "7"),
]
EMPTY = [
    *(r"\boxed{}", r"\boxed{ }", r"\boxed{$$}", r"\boxed{\quad}", r"\boxed{\ldots}", r"\boxed{...}", r"\boxed{?}"),
    *(r"\boxed{\text{}}", r"\boxed{\boxed{}}", r"\boxed{", r"\boxed{\frac{1}{2}", "boxed 3", "boxed{3}"),
]
MENTIONED = [
    *(r"use the \boxed command", r"in a \boxed environment 5", r"a \boxed a nice one", r"`\boxed`", r"$\boxed$"),
    *(r"\boxed\textit", r"\boxed \end{document}", r"\boxed I think"),
]


@pytest.mark.parametrize(("text", "content"), FILLED)
def test_what_a_box_holds(text: str, content: str) -> None:
    box = last_box(text)
    assert box is not None and box.content == content
    assert text[box.start : box.end].strip() == content
    assert text[box.left : box.right].lstrip("\\").startswith(("boxed", "fbox"))


@pytest.mark.parametrize("text", EMPTY + MENTIONED)
def test_what_is_no_box(text: str) -> None:
    assert last_box(text) is None


@pytest.mark.parametrize("text", [text for text in EMPTY if "\\boxed{" in text])
def test_an_empty_box_was_opened(text: str) -> None:
    assert opens_box(text)


@pytest.mark.parametrize("text", MENTIONED)
def test_a_box_that_is_only_spoken_of_was_not(text: str) -> None:
    assert not opens_box(text)


@pytest.mark.parametrize("text", [text for text, _ in FILLED] + EMPTY + MENTIONED)
def test_all_rooms_read_alike(text: str) -> None:
    box = last_box(text)
    found = extract_answer(text, "math", fallback=False)
    assert boxed(text) == (None if box is None else box.content)
    assert has_box(text) == (box is not None)
    if box is not None:
        assert found is not None and found.rule in ("box", "boxes")
        assert found.rule == "boxes" or found.answer == box.content


@given(st.text(alphabet="a1{}\\ boxed\n$", max_size=60))
def test_any_text_is_read_and_places_are_true(text: str) -> None:
    box = last_box(text)
    assert has_box(text) == (box is not None)
    if box is not None:
        assert 0 <= box.left < box.start <= box.end <= box.right <= len(text)
        assert text[box.start : box.end].strip() == box.content
        run_of_boxes(text, box)


@given(st.text(alphabet="a{}\\ ", max_size=30), st.sampled_from([content for _, content in FILLED[:14]]))
def test_a_filled_box_is_found_behind_anything(text: str, content: str) -> None:
    box = last_box(f"{text} \\boxed{{{content}}}!")
    assert box is not None and box.content == content


def test_a_letter_may_be_asked_for() -> None:
    def is_letter(content: str) -> bool:
        return content in "AB"

    box = last_box(r"\boxed{A}, then \boxed{12}", is_letter)
    assert box is not None and box.content == "A"
    assert last_box(r"\boxed{12}", is_letter) is None
