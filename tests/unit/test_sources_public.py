"""Published files in their publishers' own shapes: how many rows go in, how many come out, and why they differ.

`python -m pytest -s tests/unit/test_sources_public.py -k table` prints the table of docs/sources.md.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from unit.source_samples import mapped_table

from its.recipe.presets import PRESETS
from its.recipe.schema import Fields
from its.sources.files import read_file
from its.types import Problem, Rejected

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ITS_SHARED_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Case:
    """A file, its mapping (a preset, or `fields` of at most ten lines), rows in and why some do not come out."""

    fields: str | dict[str, Any]
    rows: int
    faults: dict[str, int] = field(default_factory=dict)
    references: int | None = None
    form: str | None = None
    required: str = "reference"


CASES = {
    "problems/gsm8k_train.jsonl": Case("gsm8k", 7473, required="solution"),
    "problems/gsm8k_test.jsonl": Case("gsm8k", 1319),
    "problems/math500.jsonl": Case("math_500", 500),
    "problems/math500.parquet": Case(
        {
            "problem": "prompt.0.content",
            "reference": "reward_model.ground_truth",
            "solution": "extra_info.solution",
            "problem_id": "extra_info.unique_id",
            "meta": {"subject": "extra_info.subject"},
        },
        500,
    ),
    "problems/math_train_numeric_3k.jsonl": Case(
        {"problem": "question", "reference": "ground_truth", "solution": "solution", "problem_id": "unique_id"}, 3000
    ),
    "problems/aime24.jsonl": Case(
        {"problem": "problem", "reference": "answer", "solution": "solution", "problem_id": "id"}, 30
    ),
    "problems/aime24_qwq.jsonl": Case(
        {"problem": "{{ row.prompt | before('\\nPlease reason step by step') }}", "reference": "answer"}, 30
    ),
    "problems/amc23.jsonl": Case("amc_23", 40),
    "problems/aime_1983_2023.json": Case(
        {
            "problem": "problem",
            "reference": "answer",
            "solution": "solution",
            "problem_id": "{{ row.year }}-{{ row.aime_number }}-{{ row.problem_number }}",
            "meta": {"year": "year"},
        },
        975,
    ),
    "problems/multiarith.jsonl": Case({"problem": "input", "reference": "target"}, 600),
    "problems/svamp.jsonl": Case(
        {"problem": "{{ row.Body }} {{ row.Question }}", "reference": "Answer", "problem_id": "ID"}, 1000
    ),
    "traces/cs336_math_sft.jsonl": Case(
        {
            "problem": "{{ row.prompt | after('User: ') | before('\\nAssistant: <think>') }}",
            "thinking": "{{ row.response | before('</think>') }}",
            "solution": "{{ row.response | after('</think>') }}",
            "reference": "ground_truth",
        },
        1767,
        {"(thinking): empty": 3, "yet the text contains `<think>`": 1},
        form="fields",
        required="solution",
    ),
    "traces/numina_cot_2k.jsonl": Case(
        {"problem": "instruction", "solution": "response", "reference": "{{ row.response | boxed }}"},
        2000,
        references=2000 - 74,
        required="solution",
    ),
    "traces/skyt1_long_traces_correct.jsonl": Case(
        {"problem": "problem", "solution": "solution", "reference": "answer", "problem_id": "id"},
        129,
        form="openthoughts",
        required="solution",
    ),
    "traces/r1_openrouter_5.json": Case(
        {
            "problem": "problem",
            "thinking": "message_thinking",
            "solution": "message_content",
            "reference": "gtruth_answer",
        },
        5,
        form="fields",
        required="solution",
    ),
    "overlap/contamination_openthoughts_c_lex.jsonl": Case(
        {"problem": "train_problem", "problem_id": "id", "meta": {"test_id": "test_id"}}, 93, references=0
    ),
    "generations/qwen25math_math100x8.jsonl": Case(
        {"problem": "problem", "reference": "answer", "problem_id": "id"}, 100
    ),
    "grading/lighteval_metric_cases.jsonl": Case(
        {"problem": "question", "reference": "gold.0", "problem_id": "id"}, 79, {"`gold.0` (reference): empty": 1}
    ),
    "grading/math_verify_tests.jsonl": Case(
        {"problem": "response", "reference": "gold"},
        268,
        {"`\\frac` was probably meant": 1, "`\\text` was probably meant": 1},
    ),
}
NO_PROBLEMS = {
    "grading/field_cases.jsonl": "reference and response alone",
    "grading/gsm8k_four_models.jsonl": "gold and response alone",
    "grading/processbench_gsm8k.jsonl": "gold and response alone",
}


def _fields(case: Case) -> Fields:
    return PRESETS[case.fields].fields if isinstance(case.fields, str) else Fields.model_validate(case.fields)


@cache
def _load(name: str) -> tuple[list[Problem], list[Rejected]]:
    if not (SHARED / name).is_file():
        pytest.skip(f"no {name} under ITS_SHARED_DATA or ../shared/data")
    case = CASES[name]
    required = (case.required,) if case.required != "reference" or case.references is None else ()
    return mapped_table(read_file(SHARED / name, name), _fields(case), name, required, tolerated=10)


@pytest.mark.parametrize("name", CASES)
def test_rows_in_and_rows_out(name: str) -> None:
    problems, rejected = _load(name)
    case = CASES[name]
    assert len(problems) + len(rejected) == case.rows
    why = {text: sum(text in item.reasons[0] for item in rejected) for text in case.faults}
    assert why == case.faults
    assert len(rejected) == sum(case.faults.values()), [item.reasons for item in rejected]
    out = len(problems)
    assert sum(problem.reference is not None for problem in problems) == (
        out if case.references is None else case.references
    )
    assert Counter(problem.meta.get("thought_form") for problem in problems) == {case.form: out}
    assert all(str(problem.row).startswith(name) for problem in problems)


def test_every_file_is_tried() -> None:
    if not SHARED.is_dir():
        pytest.skip("no ITS_SHARED_DATA or ../shared/data")
    files = {
        str(path.relative_to(SHARED)) for path in SHARED.rglob("*") if path.suffix in (".json", ".jsonl", ".parquet")
    }
    assert files == {*CASES, *NO_PROBLEMS}


def test_no_mapping_has_more_than_ten_lines() -> None:
    for name, case in CASES.items():
        if isinstance(case.fields, dict):
            meta = case.fields.get("meta", {})
            assert len(case.fields) + len(meta) <= 10, name


def test_what_the_rows_hold() -> None:
    answers = {name: {p.reference for p in _load(name)[0]} for name in ("problems/amc23.jsonl", "problems/svamp.jsonl")}
    assert all("." not in str(answer) for answer in answers["problems/amc23.jsonl"]), "27.0 is read as 27"
    gsm8k = _load("problems/gsm8k_train.jsonl")[0]
    assert all(str(p.reference).lstrip("-").replace(",", "").replace(".", "").isdigit() for p in gsm8k)
    cs336 = _load("traces/cs336_math_sft.jsonl")[0]
    assert all(p.text.strip() and "<think>" not in p.text and "Assistant:" not in p.text for p in cs336)
    assert all(str(p.solution).startswith("<think>\n") and str(p.solution).count("</think>\n\n") == 1 for p in cs336)
    sky = _load("traces/skyt1_long_traces_correct.jsonl")[0]
    assert sum("</think>" not in str(p.solution) for p in sky) == 1, "one trace was cut within its thought"
    assert all("<|" not in str(p.solution) and "<|" in p.meta["original_solution"] for p in sky)


def test_table() -> None:
    if not SHARED.is_dir():
        pytest.skip("no ITS_SHARED_DATA or ../shared/data")
    lines = ["| file | mapping | rows in | rows out | why they differ |", "|---|---|---:|---:|---|"]
    for name, case in CASES.items():
        problems, _ = _load(name)
        how = f"preset `{case.fields}`" if isinstance(case.fields, str) else f"{len(case.fields)} fields"
        why = "; ".join(f"{count}: {text}" for text, count in case.faults.items())
        lines.append(f"| {name} | {how} | {case.rows} | {len(problems)} | {why} |")
    print("\n" + "\n".join(lines))
    page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    for line in lines:
        assert line in page, "docs/sources.md shows another table"


def test_the_page_lists_every_preset() -> None:
    page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        told = "; ".join(filter(None, [preset.note, preset.faulty and f"**{preset.faulty}**: `tolerate: {{rows: N}}`"]))
        line = f"| `{name}` | {preset.hub} | {preset.answer or ''} | {preset.seen} | {told} |"
        assert line in page, "docs/sources.md shows another preset"
