"""Similarity: what is about its problem scores above what is not, and chance scores one half."""

from __future__ import annotations

import random

import numpy as np
import pytest

from its.strategies.similarity import SimilarityIndex
from its.strategies.summary import own_texts, persona_summary
from its.types import Persona

TOPICS = ["trains and wagons", "bakery rolls", "garden tulips", "violin lessons", "mountain hiking", "pottery kilns"]
PROBLEMS = {f"p{index}": f"There are {index + 2} {topic}. How many?" for index, topic in enumerate(TOPICS * 5)}
ABOUT = [
    (problem_id, f"You are a person who loves {text.split(None, 3)[3][:-11]}.") for problem_id, text in PROBLEMS.items()
]


def test_a_persona_about_its_problem_is_found_similar() -> None:
    found = SimilarityIndex(PROBLEMS, 17).summary(ABOUT)
    assert found is not None and found.personas == 30
    # Four of the 29 other problems share the topic and are ties: (25 + 4 / 2) / 29.
    assert found.auc == pytest.approx(27 / 29)
    assert found.mean > 0.3 > found.others and found.nothing_shared == 0.0
    assert found.quartiles[0] <= found.quartiles[1] <= found.quartiles[2]
    assert found.auc_interval == pytest.approx((found.auc, found.auc))  # all alike


def test_what_has_nothing_to_do_with_the_problem_scores_one_half() -> None:
    index = SimilarityIndex(PROBLEMS, 17)
    alike = index.summary([(problem_id, "You are a judge.") for problem_id in PROBLEMS])
    assert alike is not None and (alike.auc, alike.mean, alike.nothing_shared) == (0.5, 0.0, 1.0)
    texts = [text for _, text in ABOUT]
    aucs = []
    for turn in range(20):
        random.Random(turn).shuffle(texts)
        shuffled = index.summary(list(zip(PROBLEMS, texts, strict=True)))
        assert shuffled is not None
        aucs.append(shuffled.auc)
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.05)


def test_a_persona_that_avoids_its_problem_scores_below() -> None:
    other = [text for _, text in ABOUT]
    found = SimilarityIndex(PROBLEMS, 17).summary(list(zip(PROBLEMS, other[1:] + other[:1], strict=True)))
    assert found is not None and found.auc < 0.5


def test_the_cosine_is_that_of_the_pieces() -> None:
    index = SimilarityIndex({"a": "bakery", "b": "violin"}, 1)
    assert index.similarity("bakery", "a") == pytest.approx(1.0)
    assert 0.3 < index.similarity("bakers", "a") < 0.9
    assert index.similarity("violin", "a") == 0.0
    assert index.similarity("the of and 12", "a") == 0.0
    assert SimilarityIndex({"a": r"$\\frac{1}{2}$", "b": "violin"}, 1).similarity("fraction", "a") == 0.0


def test_rare_words_weigh_more_than_those_of_every_problem() -> None:
    index = SimilarityIndex({f"p{n}": f"Apples and {word}" for n, word in enumerate(["kilns", "violins", "tulips"])}, 1)
    assert index.similarity("kilns", "p0") > index.similarity("apples", "p0") > 0.0


def test_a_large_set_is_stood_for_by_some_of_it() -> None:
    """Each persona names its own problem and no other: the AUC is 1 whichever 200 stand for the rest."""
    letters = [f"{a}{b}{c}{a}{b}" for a in "bcdfghjk" for b in "aeiou" for c in "lmnprstv"]
    problems = {word: f"The {word} story" for word in letters}
    found = SimilarityIndex(problems, 17).summary([(word, f"You know {word}") for word in letters])
    assert found is not None and found.personas == 320
    assert found.auc == pytest.approx(1.0)


def test_nothing_is_measured_of_nothing() -> None:
    assert SimilarityIndex(PROBLEMS, 17).summary([]) is None
    assert SimilarityIndex({"a": "bakery"}, 17).summary([("a", "bakery")]) is None


def _row(problem_id: str, text: str, attempts: int = 1, *flags: str, taken_from: str | None = None) -> Persona:
    return Persona(
        problem_id=problem_id, strategy="s", text=text, attempts=attempts, flags=list(flags), taken_from=taken_from
    )


def test_the_summary_counts_what_was_accepted_retried_and_kept() -> None:
    rows = [
        _row("p0", "You are calm."),
        _row("p1", "You are quiet and calm.", 2),
        _row("p2", "You own 3 hats.", 3, "digits"),
        _row("p3", "", 0, "not_in_share"),
    ]
    tries: list[list[list[str]]] = [[[]], [["digits", "solves"], []], [["empty"], ["digits"], ["digits"]]]
    found = persona_summary("a", "s", rows, tries, SimilarityIndex(PROBLEMS, 1))
    assert (found["problems"], found["personas"], found["asked"], found["retried"]) == (4, 3, 6, 2)
    assert (found["accepted"], found["at_once"], found["flagged"]) == (2, 1, 1)
    assert found["rules"] == {
        "empty": {"attempts": 1, "retried": 1, "accepted": 0, "kept": 0},
        "solves": {"attempts": 1, "retried": 1, "accepted": 1, "kept": 0},
        "digits": {"attempts": 3, "retried": 2, "accepted": 1, "kept": 1},
    }
    assert found["flags"] == {"digits": 1, "not_in_share": 1} and found["without"] == {"not_in_share": 1}
    assert (found["words"], found["distinct"], len(found["examples"])) == (4.0, 3, 3)
    assert found["similarity"]["personas"] == 3


def test_a_shuffled_persona_may_be_word_for_word_the_own_one() -> None:
    sources = [_row("p0", "You are calm."), _row("p1", "You are calm."), _row("p2", "You are noisy.")]
    rows = [
        _row("p0", "You are calm.", 0, taken_from="p1"),
        _row("p1", "You are noisy.", 0, taken_from="p2"),
        _row("p2", "You are calm.", 0, taken_from="p0"),
    ]
    assert own_texts(rows, sources) == 1
