"""A study whose model's prompt opens a thought, or that gives its template a value: from rows to responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_tokenizer import CHATML
from running import run_stage

from its.errors import DataError
from its.rows import read_rows
from its.study.study import Study, load_study
from its.types import Persona, Query, Response

Edit = Callable[..., None]
DECLARES = "    chat_template: prompts/chatml.jinja\n"
THINKING = '    thinking: {start: "<think>", end: "</think>", opened_by: prompt}\n'
OPENS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and '</think>' in m['content'] %}{{ '<think>\\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
READS = "{% if effort is defined %}{{ '<|im_start|>system\\nEffort: ' + effort + '<|im_end|>\\n' }}{% endif %}" + CHATML


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Callable[..., Study]:
    """The quickstart with 8 problems on each side and a model in a folder."""
    model_in_folder()
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def change(template: str, more: str) -> Study:
        (project / "recipes" / "prompts" / "chatml.jinja").write_text(template, encoding="utf-8")
        edit((DECLARES, DECLARES + more))
        return load_study(project)

    return change


def _prepare(study: Study, solution: str) -> None:
    for name in ("arithmetic", "arithmetic_test"):
        run_stage("prepare", name)
    path = study.problems_path("arithmetic")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row | {"solution": solution.replace("SOLUTION", row["solution"])} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _trained_rows(study: Study) -> list[list[dict[str, str]]]:
    (path,) = study.home.glob("training/*/rows.jsonl")
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_r1_like_model_from_rows_to_responses(study: Callable[..., Study], engines: Any) -> None:
    made = study(OPENS, THINKING)
    _prepare(made, "<think>\nIt is a sum.\n</think>\n\nSOLUTION")
    engines.tell(persona="potter who likes the rain")
    run_stage("persona")
    run_stage("query")
    # `start` begins the answer itself, outside a thought: the personas of such a writer are not taken for thoughts.
    personas = list(read_rows(made.personas_path("arithmetic", "random"), Persona))
    assert {row.text for row in personas} == {"You are a potter who likes the rain."}
    for query in read_rows(made.queries_path("train", "arithmetic", "none"), Query):
        assert query.solution is not None and query.solution.startswith("<think>\nIt is a sum.\n</think>\n\n")
    run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    for *_, answer in _trained_rows(made):
        assert answer["content"].startswith("It is a sum.\n</think>\n\n")
    folder = made.project / "models" / "smollm2_135m-arithmetic-none-1"
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == OPENS
    probe = json.loads((folder / "its_parity.json").read_text(encoding="utf-8"))
    assert probe["faults"] == 0 and probe["rows"] == 8


@pytest.mark.parametrize("solution", ["SOLUTION", "Well. <think>a</think>SOLUTION", "<think>\nSOLUTION"])
def test_rows_without_a_thought_are_refused_before_training(
    study: Callable[..., Study], engines: Any, solution: str
) -> None:
    made = study(OPENS, THINKING)
    _prepare(made, solution)
    with pytest.raises(DataError, match="8 of 8 solutions cannot be trained on by `smollm2_135m`") as caught:
        run_stage("persona")
    assert "data/problems/arithmetic.jsonl, problem_id `train_00000`: the solution of `" in caught.value.message
    assert not engines.asked()


def test_a_value_is_in_training_engine_and_checkpoint(study: Callable[..., Study], engines: Any, edit: Edit) -> None:
    made = study(READS, "    template_kwargs: {effort: \"{{ 'low' }} é\"}\n")
    written = "{%- set effort = \"\\x7b\\x7b 'low' \\x7d\\x7d \\u00e9\" %}\n" + READS
    _prepare(made, "SOLUTION")
    run_stage("persona")
    run_stage("query")
    for strategy in ("none", "random"):
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
        folder = made.project / "models" / f"smollm2_135m-arithmetic-{strategy}-1"
        assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == written
        assert "set effort" in (folder / "axolotl.yaml").read_text(encoding="utf-8")
    assert "prompt ids equal to training: 3 of 3 checkpoints" in run_stage("generate")
    assert len(list(read_rows(next((made.project / "data" / "responses").rglob("*.jsonl")), Response))) == 8
    edit(('é"', 'è"'))
    with pytest.raises(DataError, match="it was trained with another chat template than the recipe's"):
        run_stage("generate")
