r"""Answers said in words: how models phrase them, and what only looks like one; every phrase with every answer."""

from __future__ import annotations

import pytest

from its.grading.extract import Extracted, extract_answer
from its.grading.normalise import AnswerKind, normalise_answer

NUMERIC: tuple[AnswerKind, ...] = ("integer", "number", "math")
ANSWERS: dict[AnswerKind, list[str]] = {
    "integer": ["18", "-3", "1,234", "0", "025", "1000000"],
    "number": ["18", "2.5", "-0.75", "3/4", "1,234.50", "\\frac{3}{4}"],
    "math": [
        *("18", "x+1", "(-1,6)", "\\frac{3}{4}", "2.5", "-3", "2\\sqrt{3}", "[0, 1)", "x = 5", "\\{1, 2\\}", "3, -3"),
        *("y = 2x + 1", "1/2", "10^{-9}", "f(x) = 2x", "\\pi", "3 + 2i", "x^2 - 5x + 6", "(1, 2), (3, 4)", "x \\ge 3"),
        *("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "-\\infty", "1,234", "arccos(2/3)", "sqrt(3)", "ab"),
    ],
}
PHRASES = [
    "The answer is @@.",
    "The answer is @@. Check: 7 * 2 = 14.",
    "The answer is @@, which is the total of the 7 fields.",
    "The answer is: @@.",
    "the answer is @@",
    "Answer: @@",
    "answer: @@",
    "Answer = @@",
    "ANSWER: @@",
    "Therefore, the answer is: $@@$.",
    "Therefore, the answer is $@@$. I hope it is correct. Note that $n = 7$.",
    "**Answer:** @@",
    "**Answer**: @@",
    "**Final Answer:** @@",
    "**Final Answer**\n\n@@",
    "## Final Answer\n@@",
    "### Answer\n\n@@\n",
    "Final Answer: The final answer is $@@$. I hope it is correct.",
    "The final answer is @@. It took 7 steps.",
    "So the correct answer is **@@**. We used 7 fields.",
    "The answer to the question is @@. There are 7 others.",
    "The answer to this problem is therefore @@.\n\nNote that 7 is prime.",
    "Thus our answer would be @@; the other root, 7, is rejected.",
    "The answer must be @@ since 7 is odd.",
    "The answer is @@ because 7 divides it.",
    "The answer is @@ (since 7 > 5).",
    "The answer is @@.\n\nStep 7: done.",
    "My answer is @@!\nThere are 7 more.",
    "So @@ is the answer. There are 7 more.",
    "Hence $@@$ is the final answer, with $n=7$.",
    "The answer is\n\n\\[@@\\]\n\nwhich uses 7.",
    "The answer is \\(@@\\).  It has 7 parts.",
    "The answer is not 7 but @@.",
    "The answer turns out to be @@. Check 7.",
    "The answer comes out to @@. Check 7.",
    "Answer (in meters): @@\n\n7 was given.",
    "The answer, in simplest form, is @@. We used 7.",
    "The answer for part (a) is @@. We used 7.",
    "The answer in dollars is @@. We used 7.",
    "Final answer: @@\n\nLet me verify with 7.",
    "The final answer: @@\n7",
    "the answer is: `@@` and 7 is a factor",
    'The answer is "@@". 7.',
    "\u7b54\u6848\u662f @@\u3002\u56e0\u4e3a 7 \u662f\u5947\u6570\u3002",
    "\u7b54\u6848\uff1a@@\n7",
    "\u6240\u4ee5\u7b54\u6848\u4e3a\uff1a$@@$\u30027",
    "La respuesta es @@. 7.",
    "Die Antwort lautet @@. 7 ist eine Primzahl.",
    "Ans: @@\n7 is a factor.",
    "The answers are @@. 7.",
    "Since 7 > 5, the answer is @@. And 7 > 6.",
    "We get the answer @@. And 7 > 6.",
    "\\boxed{} is empty. The answer is @@. 7.",
    "The answer is @@.<|im_end|>7",
    "The answer is @@.\nQ: no",
    "If we add 7, the answer is @@. 7.",
    "I think the answer is @@. 7.",
    "The answer should be @@. 7.",
    "The answer equals @@. 7.",
    "The answer -> @@\n7.",
    "The answer is indeed @@. 7.",
    "The answer is thus @@. 7.",
    "The answer is exactly @@. 7.",
    "<p>The answer is @@</p> 7",
    "> **Answer:** @@\n\n7",
    "* Answer: @@\n7",
    "- **Final answer:** @@\n7",
    "1. The answer is @@.\n2. 7",
]
"""Each names 7, or asks for it, beside the answer."""


def _found(text: str, kind: AnswerKind) -> Extracted | None:
    return extract_answer(text, kind, fallback=False)


@pytest.mark.parametrize("kind", NUMERIC)
@pytest.mark.parametrize("phrase", PHRASES)
def test_an_answer_is_read_in_every_phrase(phrase: str, kind: AnswerKind) -> None:
    for answer in ANSWERS[kind]:
        if answer == "ab" and ("$" not in phrase and "\\" not in phrase):
            continue  # a word to a reader
        text = phrase.replace("@@", answer)
        found = _found(text, kind)
        assert found is not None and found.rule == "final_answer", text
        assert normalise_answer(found.answer, kind) == normalise_answer(answer, kind), text
        assert 0 <= found.start < found.end <= len(text)


SAID: list[tuple[str, tuple[AnswerKind, ...], str]] = [
    ("\\boxed{5}. Check that the answer is right: 2+3=5", NUMERIC, "5"),
    ("So $\\boxed{2}$ and $\\boxed{3}$ are candidates. The answer is: 2.", NUMERIC, "2"),
    ("\\boxed{10}. The answer is approximately 3.16.", NUMERIC, "10"),
    ("\\boxed{12} The answer is a polynomial of degree 1.", NUMERIC, "12"),
    ("\\boxed{12} and so the answer is 12 since 6*2 = 12.", NUMERIC, "12"),
    ("\\boxed{12}\n\nThe answer is not 7.", NUMERIC, "12"),
    ("The answer is the sum of 3 and 4, 7", NUMERIC, "7"),
    ("The answer is the number of eggs, which is 18. She has 7 fields.", NUMERIC, "18"),
    ("The answer is that Janet makes 18 dollars. She has 7 fields.", NUMERIC, "18"),
    ("The answer is 2.5 hours", NUMERIC, "2.5"),
    ("the answer is \\$1,234.50.", NUMERIC, "1,234.50"),
    ("The answer is $1,234.50. And 7.", NUMERIC, "1,234.50"),
    ("The answer is $18 per day, $7 less.", NUMERIC, "18"),
    ("The answer is $18/day. 7", NUMERIC, "18"),
    ("The answer is 18 eggs/day. 7", NUMERIC, "18"),
    ("The answer is 10 km/h. 7", NUMERIC, "10"),
    ("The answer is 28%. 7", NUMERIC, "28"),
    ("The answer is 5 million. 7", NUMERIC, "5 million"),
    ("The answer is 5 hours and 30 minutes. 7", NUMERIC, "5 hours and 30 minutes"),
    ("The answer is 3 + 4 = 7. Note 8.", NUMERIC, "7"),
    ("The answer is 3 apples + 4 apples = 7 apples. Note 8.", NUMERIC, "7"),
    ("The answer is 18 as 18 * 2 = 36.", NUMERIC, "18"),
    ("The answer is 18, because 36 / 2 = 18", NUMERIC, "18"),
    ("The answer is $m+n = 5+7 = 12$.", NUMERIC, "12"),
    ("The answer is m + n = 5 + 7 = 12.", NUMERIC, "12"),
    ("The answer is 5! = 120.", NUMERIC, "120"),
    ("A: 26", NUMERIC, "26"),
    ("She has 7.\nA: 26\n", NUMERIC, "26"),
    ("Answer: The total is 72.", NUMERIC, "72"),
    ("Answer: 72 clips\n", NUMERIC, "72"),
    ("Answer: 72 clips altogether in April and May.\n7", NUMERIC, "72"),
    ("Answer to 2 decimal places: 3.14", NUMERIC, "3.14"),
    ("The answer is not 5 but 6.", NUMERIC, "6"),
    ("The answer is right, 6.", NUMERIC, "6"),
    ("The answer is as follows:\n\n18\n\n7", NUMERIC, "18"),
    ("The answer is given by $x$, 6", ("math",), "x, 6"),
    ("The answer is 5.\nWait, that is wrong. The answer is 6.", NUMERIC, "6"),
    ("The answer is 18 (9 eggs at $2 = $18). 7", NUMERIC, "18"),
    ("The answer is Evelyn. 7", ("math",), "Evelyn"),
    ("The answer is no solution.", ("math",), "no solution"),
    ("The answer is yes.", ("math",), "yes"),
    ("The answer is $5$ or $6$. 7", ("math",), "5\\text{ or }6"),
    ("The answer is 5 and 6. 7", ("math",), "5\\text{ and }6"),
    ("The answer is $x=5$, $y=6$. 7", ("math",), "x=5, y=6"),
    ("The answer is x < 1 or x > 3. 7", ("math",), "x < 1\\text{ or }x > 3"),
    ("The answer is 2x + 3y, where x > 0.", ("math",), "2x + 3y"),
    ("The answer is f(x) = cx for any constant c.", ("math",), "f(x) = cx"),
    ("The answer is sqrt(3). 7", ("math",), "sqrt(3)"),
    ("The answer is 2*pi. 7", ("math",), "2*pi"),
    ("The answer is arccos(2/3). 7", ("math",), "arccos(2/3)"),
    ("The answer is \u221a3/2. 7", ("math",), "\u221a3/2"),
    ("The answer is x\u00b2. 7", ("math",), "x\u00b2"),
    ("The answer is 1, 2, ..., n. 7", ("math",), "1, 2, ..., n"),
    ("The answer is 3:2. 7", ("math",), "3:2"),
    ("The answer is |x| = 3. 7", ("math",), "|x| = 3"),
    ("The answer is {1, 2, 3}. 7", ("math",), "{1, 2, 3}"),
    ("The answer is (0, 1] \u222a [2, \u221e). 7", ("math",), "(0, 1] \u222a [2, \u221e)"),
    ("The answer is 3(x-2)^2 = 4. 7", ("math",), "3(x-2)^2 = 4"),
    ("The answer is 12 meters. 7", ("math",), "12"),
    ("The answer is **18 dollars**. 7", NUMERIC, "18"),
    ("The answer is **$18**. 7", NUMERIC, "18"),
    ("**The answer is 18.** 7", NUMERIC, "18"),
    ("The answer is (18). 7", ("integer", "number"), "18"),
    ("Final Answer: The largest $n$ is 34.", NUMERIC, "34"),
    ("Final Answer: The volume is 120. I hope it is.", NUMERIC, "120"),
    ("The answer is 18.Check: 7", NUMERIC, "18"),
    ("The answer is 18 and I hope it is right. 7", NUMERIC, "18"),
    ("The answer is 18, I hope. 7", NUMERIC, "18"),
    ("The answer is 18 so 7 remain", NUMERIC, "18"),
    ("The answer is 18\nThe question: 7", NUMERIC, "18"),
    ("The answer is 18 \u2013 that is, 7 fewer", NUMERIC, "18"),
    ("The answer is 18 - that is, 7 fewer", NUMERIC, "18"),
    ("The answer is 18\u20147 fewer", ("integer",), "18"),
    ("The answer is -18. 7", NUMERIC, "-18"),
    ("The answer is \u221218. 7", NUMERIC, "-18"),
    ("the answer is 12:30 pm. 7", ("math",), "12:30 pm"),
    ("The answer is 3 in 4. 7", ("math",), "3 in 4"),
    ("The answer is 1,000.99\u20ac. 7", ("number",), "1000.99"),
    ("The answer is \u20ac5. 7", NUMERIC, "5"),
    ("The answer is Rs. 500. 7", NUMERIC, "500"),
    ("The answer is 3rd. 7", NUMERIC, "3rd"),
    ("The answer is \\text{Evelyn}. 7", ("math",), "\\text{Evelyn}"),
    ("The answer is $\\text{Evelyn}$. 7", ("math",), "\\text{Evelyn}"),
    ("18 is the answer.", NUMERIC, "18"),
    ("Since 7 > 5, 18 is the answer. 7", NUMERIC, "18"),
    ("which gives 18 as the final answer. 7", NUMERIC, "18"),
    ("**Answer:** Verna received $18.00 in change.", NUMERIC, "18"),
    ("**The answer is $18.**", NUMERIC, "18"),
    ("The answer is **$18 per day**", NUMERIC, "18"),
    ("Answer 18", NUMERIC, "18"),
    ("The answer is 1/2 or 0.5.", ("math",), "1/2"),
    ("The correct answer is option B: 18. 7", NUMERIC, "18"),
    ("The final answer is (B) $18$. 7", NUMERIC, "18"),
    ("The final answer is D) $18$. 7", NUMERIC, "18"),
    ("The answer is the interval [0, 1). 7", ("math",), "[0, 1)"),
    ("The answer is the restored triangle $ABC$. 7", ("math",), "ABC"),
    ("The answer is encapsulated as $18$. 7", NUMERIC, "18"),
    ("The answer is found to be 18. 7", NUMERIC, "18"),
    ("The answer is 18, 19, or 20. 7", ("math",), "18, 19\\text{or}20"),
    ("Answer: all odd $n$.", ("math",), "all odd $n$"),
    ("The answer is $x\\in[0,1)$, i.e. 7", ("math",), "x\\in[0,1)"),
    ("The answer is $\\sqrt{10}$. So the answer is approximately 3.16.", ("math",), "\\sqrt{10}"),
    ("The answer is 5.\n#### 10", ("integer", "number"), "10"),
    ("The answer is 18 (18/1=18). 7", NUMERIC, "18"),
    ("It said 5.\n<answer>The answer is 6, not 7.</answer>", NUMERIC, "6"),
]


@pytest.mark.parametrize(("text", "kinds", "answer"), SAID)
def test_what_is_said(text: str, kinds: tuple[AnswerKind, ...], answer: str) -> None:
    for kind in kinds:
        found = _found(text, kind)
        assert found is not None, kind
        assert normalise_answer(found.answer, kind) == normalise_answer(answer, kind)


NOT_SAID: list[tuple[str, tuple[AnswerKind, ...]]] = [
    ("A: 3 cars arrive, then 2 more, so 5.", NUMERIC),
    ("Answer: 3 cars are there and 2 more arrive, so there are 3 + 2 = 5 cars.", NUMERIC),
    ("Answer: 5 + 3 = 8. So she has 8 apples, and half of it is 8/2 = 4.", NUMERIC),
    ("Answer: There are 15 trees originally. Then 6 are planted.", NUMERIC),
    ("The answer is an integer between 0 and 999.", NUMERIC),
    ("The answer must be a number with 3 digits.", NUMERIC),
    ("The answer should be rounded to 2 decimal places.", NUMERIC),
    ("The final answer should be given to 3 significant figures.", NUMERIC),
    ("The answer is obtained by dividing by 2. We get 6.", NUMERIC),
    ("If the answer is 5, then we are done.", NUMERIC),
    ("Suppose the answer is 5. Then 6.", NUMERIC),
    ("Is the answer 5? No, 6.", NUMERIC),
    ("The answer is 5? No, 6.", NUMERIC),
    ("Check whether the answer is 5. It is 6.", NUMERIC),
    ("The student's answer is 5. It is 6.", NUMERIC),
    ("The wrong answer is 5. It is 6.", NUMERIC),
    ("The answer isn't 5. It is 6.", NUMERIC),
    ("The answer cannot be 5. It is 6.", NUMERIC),
    ("The answer is not 5. It is 6.", NUMERIC),
    ("To answer 3 questions, she takes 6 minutes.", NUMERIC),
    ("Amy answers 80% of them correctly, or 6.", NUMERIC),
    ("The answer choices are 5, 6, 7. It's 6.", NUMERIC),
    ("The answer key says 5.", NUMERIC),
    ("The answer is in the range 1 to 6.", NUMERIC),
    ("The answer is at least 5. So 6.", NUMERIC),
    ("The answer is less than 5. So 4.", NUMERIC),
    ("The answer is between 5 and 6.", NUMERIC),
    ("The answer is unknown. 6", NUMERIC),
    ("5 is not the answer. 6", NUMERIC),
    ("The book says the answer is 5. It is 6", NUMERIC),
    ("The answer is (1/2", NUMERIC),
    ("The answer is \\frac{1}{2", NUMERIC),
    ("The answer is 3 +", NUMERIC),
    ("The answer is $x = 12", NUMERIC),
    ("The answer is eighteen. So 7", ("integer",)),
    ("Answer 1: She has 5.\nAnswer 2: 7", NUMERIC),
    ("Let's say the answer is x. Then 5", NUMERIC),
    ("The answer is \\boxed{}.", NUMERIC),
    ("The answer is", NUMERIC),
    ("A:", NUMERIC),
    ("A: ", NUMERIC),
    ("A:\n5 and 6", NUMERIC),
    ("Answer:", NUMERIC),
    ("Answer", NUMERIC),
    ("answer", NUMERIC),
]


@pytest.mark.parametrize(("text", "kinds"), NOT_SAID)
def test_what_is_no_statement(text: str, kinds: tuple[AnswerKind, ...]) -> None:
    for kind in kinds:
        assert _found(text, kind) is None, kind


@pytest.mark.parametrize("kind", NUMERIC)
@pytest.mark.parametrize(
    "behind",
    [
        *("Check that the answer is right: 2+3=5", "The answer is a polynomial of degree 1.", "The answer is not 7."),
        *(
            "The answer is approximately 3.16.",
            "If the answer is 7, we are wrong.",
            "So the answer is (B).",
            "Answer: B",
        ),
        *("The answer is the number of eggs, which is 7.", "The answer is in the box.", "My final answer is right."),
        *("The wrong answer is 7.", "Is the answer 7?", "The answer is 7?", "#### Step 7"),
        *("We can check our answer: $7 + 5 = 12$", "There are 12 pairs with $ab = 7,$ which is the answer."),
    ],
)
def test_words_behind_a_box_need_a_value_at_once(behind: str, kind: AnswerKind) -> None:
    found = _found(f"\\boxed{{12}}. {behind}", kind)
    assert found is not None and (found.answer, found.rule) == ("12", "box")


@pytest.mark.parametrize("kind", NUMERIC)
@pytest.mark.parametrize("first", ["\\boxed{9}.", "<answer>9</answer>", "The answer is 9.", "#### 9\n", "A: 9\n"])
@pytest.mark.parametrize(
    ("last", "rule"),
    [
        ("so \\boxed{12}", "box"),
        ("<answer>12</answer>", "tag"),
        ("Wait. The answer is 12.", "final_answer"),
        ("Wait.\n**Answer:** $12$\n", "final_answer"),
        ("\nA: 12", "final_answer"),
        ("\n#### 12", "hashes"),
    ],
)
def test_of_what_is_said_outright_the_last_counts(first: str, last: str, rule: str, kind: AnswerKind) -> None:
    found = _found(f"{first} {last}", kind)
    assert found is not None and (found.answer, found.rule) == ("12", rule)


def test_invisible_characters_leave_the_places_true() -> None:
    text = "\u200bThe\u200b answer\ufeff is: 1\u200b8\u2060.\u200b Check 7"
    found = _found(text, "integer")
    assert found is not None and found.answer == "18"
    assert text[found.start : found.end] == "1\u200b8"
