"""The grader against published verdicts on public data; what differs is named one by one (docs/grading.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from its.grading.extract import extract_answer
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind, normalise_answer
from its.grading.references import ungradable_references
from its.metrics.rates import pass_at_k
from its.seeds import derive_random

SHARED = Path(os.environ.get("ITS_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

# Lines of math_verify_tests.jsonl that test an option that ITS does not have, or has fixed the other way.
NOT_FOR_US = {
    32: "its LaTeX extractor alone, which reads no plain number",
    33: "its LaTeX extractor alone, which reads no plain number",
    134: "precision 2: ours is fixed at six places",
    140: "precision 2: ours is fixed at six places",
    188: "allow_set_relation_comp false: ours lets an interval stand for its relation, both ways",
    254: "strict false: ours never renames variables",
}
# Lines on which ITS and math-verify's tests differ.
DIFFERS = {
    191: "\\\\boxed{35 cm} ++++++ \\\\boxed{4}: for us plus signs make no list",
    264: "1-1/e against 1+1/e: theirs is an oversight, the fraction was lost in parsing",
}


def _rows(name: str) -> list[dict[str, Any]]:
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not there; set ITS_SHARED_DATA")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as opened:
        yield opened


def _disagreements(grader: Grader, rows: list[dict[str, Any]], kind: AnswerKind) -> list[int]:
    items = (Item(str(n), 0, row["response"], row["gold"], kind) for n, row in enumerate(rows, 1))
    return [
        number
        for number, (row, verdict) in enumerate(zip(rows, grader.grade(items), strict=True), 1)
        if (verdict.verdict == "correct") != row["expected"] or verdict.verdict == "grader_error"
    ]


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_gsm8k_four_models_agrees_in_all(grader: Grader, kind: AnswerKind) -> None:
    rows = _rows("grading/gsm8k_four_models")
    assert len(rows) == 5276
    assert _disagreements(grader, rows, kind) == []


PHRASES = (
    "The answer is {}. Check: 7 * 2 = 14.",
    "**Answer:** {}\n\nNote that 7 is another number.",
    "So the final answer is ${}$ dollars, which is 7 more.",
    "Answer: {} apples\n7",
    "{} is the answer. There are 7 more.",
    "\u7b54\u6848\u662f{}\u3002\u56e0\u4e3a 7\u3002",
    "So the answer is $\\boxed {}$. Note 7.",
)


@pytest.mark.parametrize("phrase", PHRASES)
def test_gsm8k_verdicts_stay_in_other_words(grader: Grader, phrase: str) -> None:
    """The published verdicts, where each response says its answer in another phrase and goes on about 7."""
    rows = []
    for row in _rows("grading/gsm8k_four_models"):
        head, mark, answer = row["response"].rpartition("\nA: ")
        if mark and answer.replace(",", "").replace(".", "", 1).lstrip("-").isdigit():
            rows.append(row | {"response": f"{head}\n{phrase.replace('{}', answer)}"})
    assert len(rows) > 5200
    for kind in ("integer", "math"):
        assert _disagreements(grader, rows, kind) == []


@pytest.mark.parametrize(
    "phrase",
    [
        *("The answer is ${}$. It uses 7.", "Answer: \\({}\\)\n7", "So ${}$ is the answer. There are 7 more."),
        *("The answer is {}. Check: 7 * 2 = 14.", "So the final answer is: $${}$$\n7", "It is ${}$ for $n$.", "{}"),
    ],
)
def test_references_of_math500_are_read_whole_in_every_phrase(phrase: str) -> None:
    references = [str(row["answer"]) for row in _rows("problems/math500")]
    lost = []
    for reference in references:
        found = extract_answer(phrase.replace("{}", reference), "math")
        if found is None or normalise_answer(found.answer, "math") != normalise_answer(reference, "math"):
            lost.append(reference)
    assert lost == []


def test_processbench_differs_in_four(grader: Grader) -> None:
    rows = _rows("grading/processbench_gsm8k")
    assert _disagreements(grader, rows, "integer") == [71, 75, 239, 320]
    assert 1 - 4 / len(rows) >= 0.99


def test_math_verify_tests(grader: Grader) -> None:
    rows = _rows("grading/math_verify_tests")
    assert len(rows) == 268
    items = []
    for row in rows:
        reference = row["gold"]
        if "boxed" in reference or len(reference) > 120:  # a whole solution: its answer is the reference
            found = extract_answer(reference, "math")
            reference = found.answer if found else reference
        plain = row["meta"].get("match_types") == "['expr']"  # its extractor of plain numbers is our kind `number`
        items.append(Item("q", 0, row["response"], reference, "number" if plain else "math"))
    differs = {
        number
        for number, (row, verdict) in enumerate(zip(rows, grader.grade(items), strict=True), 1)
        if (verdict.verdict == "correct") != row["expected"]
    }
    assert differs - set(NOT_FOR_US) == set(DIFFERS)
    assert 1 - len(DIFFERS) / (len(rows) - len(NOT_FOR_US)) >= 0.97


def test_samples_of_qwen_and_pass_at_k(grader: Grader) -> None:
    rows = _rows("generations/qwen25math_math100x8")
    pairs = [(row, sample) for row in rows for sample in row["samples"]]
    items = (Item(row["id"], 0, sample["response"], row["answer"], "math") for row, sample in pairs)
    ours = [verdict.verdict for verdict in grader.grade(items)]
    theirs = [bool(sample["correct"]) for _, sample in pairs]
    differs = [n for n, (one, two) in enumerate(zip(ours, theirs, strict=True)) if (one == "correct") != two]
    assert [(pairs[n][0]["id"], pairs[n][0]["answer"], pairs[n][1]["pred"]) for n in differs] == [
        ("mathcot-72", "10{,}000", "10000")  # right, and published as wrong
    ]
    assert 1 - len(differs) / len(pairs) >= 0.995
    right = [one == "correct" for one in ours]
    assert [_pass_at(right, k) for k in (1, 2, 4, 8)] == pytest.approx([91.13, 93.54, 95.6, 97.0], abs=0.005)
    right[differs[0]] = False  # as published
    assert [_pass_at(right, k) for k in (1, 2, 4, 8)] == pytest.approx([91.0, 93.29, 95.1, 96.0], abs=0.005)


def _pass_at(right: list[bool], k: int) -> float:
    return 100 * fmean(pass_at_k(8, sum(right[at : at + 8]), k) for at in range(0, len(right), 8))


# Kinds of fault in field_cases.jsonl that are about where an answer stands.
STANDS = (
    *("an answer said in words", "letters in wrappers", "a box without braces", "a lone letter behind the answer"),
    *("nothing was answered", "an option line is an answer", "word for word"),
)


def test_field_cases_of_where_an_answer_stands(grader: Grader) -> None:
    rows = [row for row in _rows("grading/field_cases") if row["fault"] in STANDS]
    rows += [row for row in _rows("grading/field_cases") if "invisible" in row["fault"] and row["kind"] == "choice"]
    assert len(rows) >= 22
    items = (Item("q", 0, row["response"], row["reference"], row["kind"]) for row in rows)
    wrong = [
        (row["response"], verdict.verdict, row["want"])
        for row, verdict in zip(rows, grader.grade(items), strict=True)
        if (verdict.verdict == "correct" if row["want"] == "not correct" else verdict.verdict != row["want"])
    ]
    assert wrong == []


def test_choice_letters_of_lighteval(grader: Grader) -> None:
    rows = [row for row in _rows("grading/lighteval_metric_cases") if row["metric"].startswith("gpqa_instruct")]
    assert len(rows) == 32
    for row in rows:
        texts = (Item("q", 0, text, row["gold"][0], "choice") for text in row["samples"])
        right = sum(verdict.verdict == "correct" for verdict in grader.grade(texts))
        (wanted,) = row["expected"].values()
        n, k = len(row["samples"]), row["params"].get("k", 1)
        assert pass_at_k(n, right, min(k, n)) == pytest.approx(wanted), row["id"]


@pytest.mark.parametrize(
    ("name", "field", "kind", "rest"),
    [("math500", "answer", "math", 0.05), ("gsm8k_test", "answer", "integer", 0.05)],
)
def test_known_ends(grader: Grader, name: str, field: str, kind: AnswerKind, rest: float) -> None:
    references = [str(row[field]).rpartition("#### ")[2] for row in _rows(f"problems/{name}")]
    boxed = [f"\\boxed{{{reference}}}" for reference in references]

    def share(texts: list[str], verdict: str) -> float:
        items = (Item("q", 0, text, known, kind) for text, known in zip(texts, references, strict=True))
        return fmean(found.verdict == verdict for found in grader.grade(items))

    assert share(boxed, "correct") == 1.0
    assert share([""] * len(boxed), "no_answer") == 1.0
    shuffled = list(range(len(boxed)))
    derive_random("shuffled", name).shuffle(shuffled)
    chance = sum(references.count(known) for known in references) / len(references) ** 2
    assert share([boxed[n] for n in shuffled], "correct") == pytest.approx(chance, abs=rest)


@pytest.mark.parametrize(
    ("name", "field", "kind"),
    [
        ("math500.jsonl", "answer", "math"),
        ("aime24.jsonl", "answer", "integer"),
        ("aime24_qwq.jsonl", "answer", "integer"),
        ("amc23.jsonl", "answer", "integer"),
        ("svamp.jsonl", "Answer", "number"),
        ("math_train_numeric_3k.jsonl", "ground_truth", "math"),
    ],
)
def test_published_references_have_no_fault(name: str, field: str, kind: AnswerKind) -> None:
    rows = _rows(f"problems/{name.removesuffix('.jsonl')}")
    assert ungradable_references((f"{name}:{n}", str(row[field]), kind) for n, row in enumerate(rows, 1)) == []
