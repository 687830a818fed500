"""Every recipe that ships is valid, and its templates pass LaTeX through."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from its.prompts.render import read_template, render
from its.recipe.load import load_recipe, read_document, validate
from its.recipe.schema import Recipe
from its.sources.fields import FieldReader
from its.sources.thoughts import Trace, normal_trace
from its.strategies.persona import draw_domain, persona_messages
from its.strategies.query import query_messages, solution_turn
from its.study.study import Study
from its.study.votes import benchmark_votes
from its.training.config import axolotl_config
from its.types import Problem

ROOT = Path(__file__).parents[2]
SHIPPED = (
    "arithmetic_4x4",
    "arithmetic_axes",
    "arithmetic_gemma3",
    "instructions",
    "limo_qwen2_5_32b",
    "ot1k_qwen2_5_32b",
    "paper",
    "quickstart",
    "qwen3_0_6b_lora",
    "r1_distill_1_5b",
    "strategies",
)
TEX = r"If $\frac{{1}}{2}x < 3$ & {{ braces }} {# stay #} {% raw %}, what is $x$?"
PROBLEM = Problem(problem_id="tex", text=TEX, reference="5", solution="5", source="test")


def _recipe(name: str) -> Recipe:
    return load_recipe(ROOT / "recipes" / f"{name}.yaml", ROOT)


def test_all_are_found() -> None:
    found = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert tuple(path.stem for path in found) == SHIPPED
    assert all(path.parent == ROOT / "recipes" for path in found)


def test_the_quickstart_is_in_charge_of_a_fresh_clone() -> None:
    """To the byte: `make quickstart` leaves params.yaml as it was committed."""
    committed = [
        subprocess.run(["git", "show", f"HEAD:{name}"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in ("params.yaml", "recipes/quickstart.yaml")
    ]
    assert committed[0] == committed[1]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    recipe = _recipe(name)
    assert recipe.recipe == name
    assert recipe.description


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_begins_with_its_command(name: str) -> None:
    head = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").partition("recipe_version")[0]
    assert all(line.startswith("#") or not line for line in head.splitlines())
    assert "dvc repro" in head or "make quickstart" in head
    assert "Hardware" in head


def test_the_papers_study_is_whole() -> None:
    study = Study(ROOT, _recipe("paper"))
    trained = [checkpoint for checkpoint in study.checkpoints() if checkpoint.train is not None]
    assert (len(trained), len(study.checkpoints()), len(study.cells())) == (24, 26, 416)
    for benchmark in study.recipe.design.benchmarks:
        votes = benchmark_votes(study, benchmark)
        assert [len(vote.cells) for vote in votes] == [4] * 2 * 3 * 4 + [3]
        assert [vote.ensemble for vote in votes if vote.ensemble is not None] == ["paper"]
    small, large = (study.recipe.datasets[name] for name in ("ot_1k", "ot_15k"))
    assert small.sample is not None and large.sample is not None
    assert (small.sample.size, large.sample.size) == (1_000, 15_000)
    same = {"sample": small.sample.model_copy(update={"size": 15_000})}
    assert small.model_copy(update=same) == large, "then the smaller sample is part of the larger one"


@pytest.mark.parametrize("name", ["limo_qwen2_5_32b", "ot1k_qwen2_5_32b", "paper"])
def test_gpqa_is_taken_out_as_its_comment_says(name: str, tmp_path: Path) -> None:
    recipe = read_document(ROOT / "recipes" / f"{name}.yaml").values
    del recipe["benchmarks"]["gpqa_diamond"], recipe["generation"]["benchmarks"]["gpqa_diamond"]
    recipe["design"]["benchmarks"].remove("gpqa_diamond")
    path = tmp_path / f"{name}.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(recipe, out)
    assert validate(read_document(path), ROOT)[1] == []


def test_a_row_of_limo_has_a_thought_for_a_model_whose_prompt_opens_one() -> None:
    recipe = _recipe("paper")
    fields = recipe.datasets["limo"].fields
    assert fields is not None
    row = {"question": "1 + 1?", "solution": "Okay, so 1 + 1.\n\n**Final Answer**\n\n\\boxed{2}", "answer": 2}
    texts = FieldReader(fields, ("solution", "reference"), "limo").values(row).texts
    trace = normal_trace(texts["solution"], texts["thinking"])
    assert isinstance(trace, Trace) and texts["reference"] == "2"
    before, thought, after = re.split("<think>\n|\n</think>\n\n", trace.text)
    assert (before, thought, after) == ("", row["solution"], "**Final Answer**\n\n\\boxed{2}")
    turns = {name: solution_turn(trace.text, recipe.models[name].thinking) for name in recipe.design.models}
    assert turns == {"qwen2_5_32b": trace.text, "r1_distill_qwen_32b": trace.text.removeprefix("<think>\n")}


def test_the_judges_request_holds_problem_reference_and_answer() -> None:
    template = read_template(ROOT / "recipes" / "prompts" / "judge.j2")
    said = render(template, "judge.j2", {"problem": PROBLEM, "reference": r"\frac{{1}}{2}", "answer": "{{ 7 }}"})
    assert TEX in said and r"Reference answer: \frac{{1}}{2}" in said and "Given answer: {{ 7 }}" in said


@pytest.mark.parametrize("name", SHIPPED)
def test_latex_passes_through_every_template(name: str) -> None:
    recipe = _recipe(name)
    for key, strategy in recipe.strategies.items():
        if strategy.members:
            continue
        template = read_template(ROOT / "recipes" / strategy.template)
        personas = [r"You love \LaTeX{} & {{ braces }}.", "You hate {# it #}."] if strategy.has_context else []
        messages = query_messages(strategy, template, recipe.prompt, PROBLEM, personas)
        whole = "\n".join(turn.content for turn in messages)
        assert TEX in messages[-1].content, key
        assert all(whole.count(persona) == 1 for persona in personas), key
        assert whole.count("{{ braces }}") == 1 + bool(personas), key
        if strategy.persona is None:
            continue
        asked = read_template(ROOT / "recipes" / strategy.persona.template)
        domain = draw_domain(strategy, key, "tex", recipe.seed)
        last = persona_messages(strategy.persona, asked, PROBLEM, domain)[-1]["content"]
        assert TEX in last or (domain is not None and domain in last), key


@pytest.mark.parametrize("name", SHIPPED)
def test_the_axolotl_template_renders(name: str) -> None:
    recipe = _recipe(name)
    for model in recipe.design.models:
        config = axolotl_config(
            template=read_template(ROOT / "recipes" / recipe.train.template),
            train=recipe.train,
            tokens=recipe.models[model].special_tokens,
            base_model="base",
            revision=None,
            rows="rows.jsonl",
            work="work",
            seed=1,
        )
        assert config["datasets"][0]["path"] == "rows.jsonl"
        assert config["sequence_len"] == recipe.train.sequence_length
        assert config["num_epochs"] == recipe.train.epochs
        assert config["plugins"][-1] == "its_axolotl.ItsPlugin"
        whole = config["micro_batch_size"] * config["gradient_accumulation_steps"] * recipe.train.devices
        assert whole == recipe.train.global_batch_size


def test_the_example_study_in_charge_is_a_recipe() -> None:
    params = read_document(ROOT / "params.yaml").values
    assert params["recipe"] in SHIPPED
