"""Pages of generated studies, and a headless Chromium that opens them without a network."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from its.report.build import build_report
from its.report.data import ReportData
from its.report.explorer.pack import ExploredCell, Text, packed
from its.types import Response, Verdict, VerdictName

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VERDICTS: list[VerdictName] = ["correct", "incorrect", "no_answer", "grader_error"]
RULES = ["box", "last_number", "whole"]


class Given(NamedTuple):
    """A response as it was put into a page, to compute from it what a filter has to show."""

    cell: int
    problem: int
    sample: int
    verdict: VerdictName
    rule: str | None
    cut: bool
    text: str


def page(
    path: Path,
    *,
    cells: int = 4,
    problems: int = 20,
    samples: int = 1,
    words: Sequence[str] = ("apples", "boxes", "is $\\frac{1}{2}$", "\\boxed{7}", "then", "so"),
    length: int = 12,
    hostile: Sequence[str] = (),
    most_bytes: int = 3_200_000,
    verdicts: Sequence[VerdictName] = VERDICTS,
    study: ReportData | None = None,
) -> list[Given]:
    """Write a page of a study with random responses; those of the first problems end with the hostile texts."""
    draw = random.Random(17)
    names = [f"p/{number}" for number in range(problems)]
    listed = [
        ExploredCell(f"m-d-s{n // 2}-1", "sums", f"t{n % 2}", f"s{n // 2}", f"data/responses/{n}.jsonl", names, samples)
        for n in range(cells)
    ]
    given, texts = [], []
    for sample in range(samples):
        for number in range(problems):
            for at, cell in enumerate(listed):
                verdict = draw.choice(verdicts)
                rule = None if verdict == "no_answer" else draw.choice(RULES)
                cut = draw.random() < 0.3
                text = " ".join(draw.choices(words, k=length)) + f" token{at}x{number}x{sample}."
                text += hostile[number] if number < len(hostile) else ""
                common: dict[str, Any] = {"query_id": "q", "sample_index": sample}
                cell.answered(
                    number,
                    Response(
                        **common,
                        text=text,
                        finish_reason="length" if cut else "stop",
                        prompt_tokens=1,
                        completion_tokens=5,
                        seed=1,
                        request_key="k",
                    ),
                )
                answer = None if verdict == "no_answer" else "7"
                cell.graded(number, Verdict(**common, verdict=verdict, rule=rule, answer=answer, grader_version="3"))
                given.append(Given(at, number, sample, verdict, rule, cut, text))
                question = f"What is problem {number}?" + (hostile[number] if number < len(hostile) else "")
                persona = f"You count {cell.test}."
                turns = [{"role": "user", "content": f"{persona}\n\n{question}"}]
                texts.append(
                    Text(at, number, sample, text, "Let me see.", answer, None, question, "7", [persona], turns)
                )
    explorer = packed(listed, texts, 3, None, most_bytes)
    shown = (study or ReportData(recipe="generated")).model_copy(update={"explorer": explorer})
    path.write_text(build_report(shown), encoding="utf-8")
    return given
