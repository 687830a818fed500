r"""The fallback: what stands for an answer that is not said, what does not, and that it can be switched off."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import processor_seconds

from its.grading.extract import extract_answer
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind
from its.types import FALLBACK_RULES

FOUND: list[tuple[str, AnswerKind, str]] = [
    ("There are $3$ values of $n$.", "math", "3"),
    ("There are 3 values of $n$.", "math", "3"),
    ("There are 3 values of $x_1$.", "math", "3"),
    ("There are 3 values of $x_1$.", "integer", "3"),
    ("The function is $f(x) = 2x$ for all $x \\in \\mathbb{R}$.", "math", "f(x) = 2x"),
    ("The minimum is $5$ when $x = 3$.", "math", "5"),
    ("The minimum is 5 when $x = 3$.", "math", "5"),
    ("So it is $a$. We stop when $x = 3$.", "math", "x = 3"),
    ("The area is 12 cm^2.", "integer", "12"),
    ("The area is 12 cm^2.", "math", "12"),
    ("The area is 12 m2.", "number", "12"),
    ("The value is 2 on the $x$-axis.", "math", "2"),
    ("So it is $C$.", "math", "C"),
    ("\\[f(x) = -x + 1.\\] This is the only form for \\(f(x)\\) to be injective.", "math", "f(x) = -x + 1."),
    ("Thus the triangle has area $\\frac{1}{2}$, and $\\triangle ABC$ is right.", "math", "\\frac{1}{2}"),
    ("the total is 18. So (1/2", "math", "18"),
    ("the total is 18. So x = 3 +", "integer", "18"),
    ("the total is 18. So it is 1/", "number", "18"),
    ("We get 7.\nThen \\( y = \\frac{3}{4", "math", "7"),
    ("I get 12.\n\n3.", "integer", "12"),
    ("I get 12.\n\n3)", "integer", "12"),
    ("I get 12.\n\n**3.**", "integer", "12"),
    ("I get 12. Step 4", "integer", "12"),
    ("I get 12. Is that 13?", "integer", "12"),
    ("So the total is 18, right?", "integer", "18"),
    ("It costs 3 and then 1,000.", "integer", "1,000"),
    ("wins with probability 2/3. <|im_start|>", "math", "2/3"),
    ("it costs 2,74 now", "number", "2,74"),
    ("(since it is 5.", "integer", "5"),
    ("First 1) we add 3, 2) we get 5", "integer", "5"),
    ("It is in [0, 1)", "math", "1"),
    ("so it is $5$ ($n$ is odd)", "math", "5"),
    ("The result: **12**", "math", "12"),
    ("the sum is $10$ (where $a, b, c$ are the sides)", "math", "10"),
    ("It is $5$ for the sequence $\\{a_n\\}$", "math", "5"),
    ("The solution set is $\\mathbb{R}$.", "math", "\\mathbb{R}"),
    ("It is $\\pi$ for $n$.", "math", "\\pi"),
    ("It is $3$. $\\blacksquare$", "math", "3"),
    ("So it must be B", "choice", "B"),
]


@pytest.mark.parametrize(("text", "kind", "answer"), FOUND)
def test_what_stands_for_an_answer(text: str, kind: AnswerKind, answer: str) -> None:
    found = extract_answer(text, kind)
    assert found is not None and found.answer == answer and found.rule in FALLBACK_RULES
    assert answer in text[found.start : found.end]
    assert extract_answer(text, kind, fallback=False) is None


NOTHING: list[tuple[str, AnswerKind]] = [
    ("So (1/2", "math"),
    ("\\frac{1}{2", "math"),
    ("It is \\frac{1}{2", "math"),
    ("So x = \\frac{1}", "math"),
    ("so $x = 12", "math"),
    ("so \\[ x = 12", "math"),
    ("so $$ x = 12", "integer"),
    ("\\boxed{5", "integer"),
    ("\\boxed{5", "math"),
    ("Evaluate $(1+2i)6-3i$. \\boxed{}. \\boxed{}.", "math"),
    ("What is 3 + 4?", "integer"),
    ("a room K2A", "number"),
    ("It is :( 5", "integer"),
    ("I do not know", "math"),
    ("Let me think", "math"),
    ("Evaluate 3+4.\nAnswer:", "math"),
    ("Evaluate $3+4$. The answer is", "math"),
    ("We have 5 + 7. <answer></answer>", "integer"),
    ("5+7\n####", "integer"),
    ("the values are 1, 2,", "integer"),
    ("so $2^{", "math"),
    ("x = 3 \\times", "integer"),
    ("it is {1, 2", "math"),
    ("\\fbox{}", "number"),
    ("So it is 5. \\boxed{\\quad}", "integer"),
]


@pytest.mark.parametrize(("text", "kind"), NOTHING)
def test_where_nothing_was_answered(text: str, kind: AnswerKind) -> None:
    assert extract_answer(text, kind) is None


WHOLE: list[tuple[str, AnswerKind, str]] = [
    ("**12**", "integer", "**12**"),
    ("odd $n$", "math", "odd $n$"),
    ("Evelyn", "math", "Evelyn"),
    ("no solution", "math", "no solution"),
    ("12 apples", "math", "12"),
    ("12 apples", "integer", "12"),
    ("$x = 5$", "math", "x = 5"),
    ("x = 5.", "math", "x = 5."),
    ("2 and 3", "math", "2 \\text{and} 3"),
    ("5 million", "math", "5 million"),
    ("Yes", "math", "Yes"),
    ("$n$", "math", "n"),
    ("\\(12\\)", "integer", "12"),
    ("$18.", "integer", "$18."),
]


@pytest.mark.parametrize(("text", "kind", "answer"), WHOLE)
def test_a_response_that_is_its_answer_needs_no_fallback(text: str, kind: AnswerKind, answer: str) -> None:
    found = extract_answer(text, kind, fallback=False)
    assert found is not None and (found.answer, found.rule) == (answer, "whole")


@pytest.mark.parametrize("number", ["7", "12.5", "1,000", "3/4"])
@pytest.mark.parametrize(
    "cut",
    ["({}", "[0, {}", "\\frac{{1}}{{{}", "\\sqrt{{{}", "$x = {}", "\\( x = {}", "\\[ {}", "f({}", "x = {} +", "{}/"],
)
def test_a_formula_that_was_cut_off_is_no_answer(cut: str, number: str) -> None:
    for kind in ("integer", "number", "math"):
        for lead in ("So we get ", "", "It is "):
            assert extract_answer(lead + cut.format(number), kind) is None
            found = extract_answer(f"The total is 18. {lead}" + cut.format(number), kind)
            assert found is not None and found.answer == "18"


def test_a_copy_of_the_question_is_no_answer() -> None:
    question = "What is 5 + 7 in base 10?"
    for text in (question, "5 + 7 in base 10", f"{question} Let us see", f"{question}\n{question}"):
        assert extract_answer(text, "integer", question=question) is None
    found = extract_answer(f"{question}\nIt comes to 12, I say", "integer", question=question)
    assert found is not None and found.answer == "12"
    found = extract_answer("7", "integer", question="Is 7 prime? Say 7 or 8.")  # a whole response
    assert found is not None and found.answer == "7"


def test_a_grader_without_the_fallback() -> None:
    texts = ["\\boxed{5}", "The answer is 5. Check: 7", "<answer>5</answer>", "#### 5", "5", "A: 5", "so it comes to 5"]
    items = [Item("q", index, text, "5", "integer") for index, text in enumerate(texts)]
    with Grader(workers=1, fallback=False) as strict, Grader(workers=1) as loose:
        assert [found.verdict for found in strict.grade(items)] == ["correct"] * 6 + ["no_answer"]
        assert [found.rule in FALLBACK_RULES for found in loose.grade(items)] == [False] * 6 + [True]


@pytest.mark.parametrize("text", ["odd $n$", "$n$ is odd", "all primes, and 1", "Let it be."])
def test_a_response_that_is_its_reference_word_for_word_is_correct(text: str) -> None:
    with Grader(workers=1, fallback=False) as grader:
        found = grader.grade_one(Item("q", 0, f"\n{text} ", text, "math"))
        assert (found.verdict, found.rule, found.span) == ("correct", "whole", [1, 1 + len(text)])
        assert grader.grade_one(Item("q", 0, "", "", "math")).verdict == "no_answer"


PIECES = [
    *(
        "The answer is ",
        "answer: ",
        "Answer",
        "A:",
        "\n",
        " ",
        "is the answer",
        "18",
        "-3",
        "$",
        "x",
        "=",
        "(",
        ")",
        "[",
        "]",
    ),
    *(
        "{",
        "}",
        "\\boxed{",
        "\\boxed ",
        "\\frac",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "$$",
        "**",
        "not ",
        "but ",
        "or ",
        "C",
        ") ",
    ),
    *(
        "B.",
        "(C)",
        "correct",
        "option ",
        "I",
        "a",
        ",",
        ".",
        "?",
        "!",
        ":",
        "\u7b54\u6848\u662f",
        "\u200b",
        "\uff21",
        "about ",
    ),
    *(
        "####",
        "<answer>",
        "</answer>",
        "sin",
        "pi",
        "\\text{",
        "ab",
        "...",
        "%",
        "/",
        "^",
        "_",
        "|",
        "<",
        "\u0130",
        "\u00b2",
    ),
]


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["integer", "number", "math", "choice"]))
def test_places_are_true_and_the_fallback_only_adds(pieces: list[str], kind: AnswerKind) -> None:
    text = "".join(pieces)
    found, said = extract_answer(text, kind), extract_answer(text, kind, fallback=False)
    assert found is None or (found.answer and 0 <= found.start < found.end <= len(text))
    if said is not None:
        assert said == found and said.rule not in FALLBACK_RULES
    elif found is not None:
        assert found.rule in FALLBACK_RULES


@pytest.mark.parametrize(
    "mark",
    [
        *(
            "when $x = 3$ ",
            "for all $x>0$ ",
            "$n$ ",
            "$f(x)$ ",
            "values of $n$. ",
            "1? ",
            "step 1 ",
            "x_1 ",
            "$x$-axis ",
        ),
        *(
            "The answer is ",
            "The answer is $",
            "The answer is (",
            "The answer is 1,",
            "the answer, ",
            "Answer:\n",
            "A: 1, ",
        ),
        *(
            "is the answer ",
            "1 is the answer ",
            "If the answer is 5, ",
            "The answer is not ",
            "The answer is {",
            "C) x\n",
        ),
        *("The answer is approximately 3. ", "the answer is to 3 to 3 ", "C is correct ", "I choose ", "\\boxed 1 "),
        *(
            "\\boxed ",
            "\\boxed(1",
            "\u200b",
            "\uff21",
            "\u7b54\u6848\u662f",
            "answer     ",
            "The answer is \\begin{a}",
            "3 + ",
        ),
    ],
)
def test_a_model_that_loops_costs_little(mark: str) -> None:
    text = mark * (100_000 // len(mark))
    with processor_seconds(4):
        for kind in ("integer", "math", "choice"):
            for looped in (text, f"The answer is {text}1", f"{text}\nThe answer is 5"):
                extract_answer(looped, kind, question="What is 5 + 7?")
