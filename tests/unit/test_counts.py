"""What a study takes: trainings, checkpoints, cells and requests, exactly or per problem of what is not known yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.checks.sizes import set_sizes
from its.recipe.schema import Recipe, Strategy
from its.rows import write_rows
from its.strategies.members import problems_needed
from its.study.counts import Amount, Counts, Size, _personas, _written, study_counts
from its.study.study import Study, load_study
from its.types import Problem

Edit = Callable[..., None]
SIZES = {"arithmetic": Size(400), "arithmetic_test": Size(200)}
LORA = "  variants:\n    lora: {learning_rate: 2.0e-4}\n"


@pytest.fixture
def recipe(project: Path) -> Recipe:
    return load_study(project).recipe


def _with(recipe: Recipe, path: str, value: Any) -> Recipe:
    """The recipe with another value at a dotted path."""
    values = recipe.model_dump(by_alias=True, exclude_none=True)
    *above, last = path.split(".")
    node = values
    for part in above:
        node = node[part]
    node[last] = value
    return Recipe.model_validate(values)


def _counts(recipe: Recipe, sizes: Mapping[str, Size] = SIZES) -> Counts:
    return study_counts(Study(Path(), recipe), sizes)


def test_the_quickstart(recipe: Recipe) -> None:
    found = _counts(recipe)
    assert (found.trainings, found.named_trainings, found.checkpoints, found.cells) == (2, 2, 3, 6)
    assert found.responses == found.requests == Amount(1200)
    assert (found.personas, found.attempts) == (Amount(600, at_most=True), 3)
    assert not found.solutions and not found.judged
    assert found.lines() == [
        "2 trainings, 3 checkpoints, 6 cells",
        "responses: 1200",
        "personas: at most 600, each in at most 3 requests",
    ]


def test_variants_seeds_and_earlier_checkpoints_multiply(recipe: Recipe) -> None:
    """Earlier checkpoints are no trainings of their own."""
    recipe = _with(recipe, "train.variants", {"fast": {"learning_rate": 2e-4}})
    for name, values in (("variants", ["default", "fast"]), ("seeds", [1, 2, 3]), ("checkpoints", ["last", "1/3"])):
        recipe = _with(recipe, f"design.{name}", values)
    found = _counts(recipe)
    assert (found.trainings, found.checkpoints, found.cells) == (2 * 2 * 3, 2 * 2 * 3 * 2 + 1, (2 * 2 * 3 * 2 + 1) * 2)


def test_only_and_except_are_counted_as_they_leave(recipe: Recipe) -> None:
    found = _counts(_with(recipe, "design.except", [{"train": "random", "test": "none"}, {"train": "base"}]))
    assert (found.trainings, found.checkpoints, found.cells, found.responses) == (2, 2, 3, Amount(600))


def test_n_of_a_model_on_a_benchmark(recipe: Recipe) -> None:
    recipe = _with(recipe, "generation.temperature", 1.0)
    assert _counts(_with(recipe, "generation.benchmarks", {"arithmetic_test": {"n": 4}})).responses == Amount(4800)


def test_equal_trainings_are_one_and_so_are_their_requests(recipe: Recipe) -> None:
    """The second plain strategy has the same rows; at test time it has seeds of its own."""
    twin = recipe.strategies["none"].model_dump(exclude_none=True)
    recipe = _with(recipe, "strategies.twin", twin)
    recipe = _with(recipe, "design.train", ["none", "twin", "random"])
    found = _counts(recipe)
    assert (found.trainings, found.named_trainings, found.checkpoints) == (2, 3, 4)
    assert (found.responses, found.requests) == (Amount(1600), Amount(1200))
    assert found.lines()[0] == "2 trainings (3 named, 1 equal to another), 4 checkpoints, 8 cells"
    assert found.lines()[1] == "responses: 1600 from 1200 requests"
    tested = _counts(_with(recipe, "design.test", ["none", "twin"]))
    assert tested.requests == Amount(1200)


@pytest.mark.parametrize("strategy", ["random", "similar"])
def test_strategies_whose_rows_are_drawn_or_written_are_never_taken_for_equal(recipe: Recipe, strategy: str) -> None:
    twin = recipe.strategies[strategy].model_dump(exclude_none=True)
    recipe = _with(_with(recipe, "strategies.twin", twin), "design.train", [strategy, "twin"])
    assert _counts(recipe).trainings == 2


def test_a_variant_that_equals_another_on_one_dataset_is_trained_once_there(recipe: Recipe) -> None:
    for path, value in (
        ("datasets.more", recipe.datasets["arithmetic"].model_dump(exclude_none=True)),
        ("design.datasets", ["arithmetic", "more"]),
        ("train.datasets", {"more": {"epochs": 3}}),
        ("train.variants", {"longer": {"epochs": 3}}),
        ("design.variants", ["default", "longer"]),
    ):
        recipe = _with(recipe, path, value)
    found = _counts(recipe, SIZES | {"more": Size(400)})
    assert (found.named_trainings, found.trainings) == (8, 6)


def test_two_names_of_one_model_are_one(recipe: Recipe) -> None:
    recipe = _with(recipe, "models.again", recipe.models["smollm2_135m"].model_dump(exclude_none=True))
    recipe = _with(recipe, "design.models", ["smollm2_135m", "again"])
    found = _counts(recipe)
    assert (found.named_trainings, found.trainings) == (4, 2)
    assert (found.responses, found.requests) == (Amount(2400), Amount(1200))
    server = {"servers": [{"url": "http://127.0.0.1:1/v1"}]}
    served = _with(recipe, "engine", {"kind": "openai", "openai": server})
    assert _counts(served).requests == Amount(2400)  # a server answers by name


@pytest.mark.parametrize("larger", ["smollm2_135m", "again"])
def test_equal_checkpoints_of_unlike_n_share_the_requests_of_the_smaller(recipe: Recipe, larger: str) -> None:
    twice = _with(recipe, "models.again", recipe.models["smollm2_135m"].model_dump(exclude_none=True))
    twice = _with(twice, "design.models", ["smollm2_135m", "again"])
    twice = _with(_with(twice, "generation.temperature", 0.5), "generation.models", {larger: {"n": 4}})
    found = _counts(twice)
    assert (found.responses, found.requests) == (Amount(1200 * 5), Amount(1200 * 4))


def test_equal_checkpoints_that_are_sampled_differently_share_no_request(recipe: Recipe) -> None:
    twice = _with(recipe, "models.again", recipe.models["smollm2_135m"].model_dump(exclude_none=True))
    twice = _with(twice, "design.models", ["smollm2_135m", "again"])
    found = _counts(_with(twice, "generation.models", {"again": {"temperature": 0.5}}))
    assert found.trainings == 2
    assert found.responses == found.requests == Amount(2400)


def _mixed(recipe: Recipe, **shares: float) -> Recipe:
    return _with(recipe, "strategies.mixed", {"mix": {"shares": shares}})


@pytest.mark.parametrize(
    ("test", "requests"),
    [
        (["none", "random", "mixed"], Amount(1200)),  # all of the mix are asked anyway
        (["none", "mixed"], Amount(1200, at_most=True)),  # some are
        (["mixed"], Amount(600)),
    ],
)
def test_a_mix_asks_nothing_twice(recipe: Recipe, test: list[str], requests: Amount) -> None:
    recipe = _with(_mixed(recipe, none=0.5, random=0.5), "design.test", test)
    assert _counts(recipe).requests == requests
    assert _counts(recipe).responses == Amount(600 * len(test))


def test_two_mixes_share_what_both_draw_for_a_problem(recipe: Recipe) -> None:
    recipe = _mixed(recipe, none=0.5, random=0.5)
    recipe = _with(recipe, "strategies.other", {"mix": {"shares": {"random": 0.3, "similar": 0.7}}})
    recipe = _with(recipe, "strategies.apart", {"mix": {"shares": {"unsimilar": 0.3, "similar": 0.7}}})
    for test, at_most in ((["mixed", "other"], True), (["mixed", "apart"], False)):
        found = _counts(_with(recipe, "design.test", test))
        assert found.requests == Amount(1200, at_most=at_most)


@pytest.mark.parametrize(
    ("train", "each"),
    [
        (["mixed"], 1),
        (["random", "mixed"], 2),
        (["random", "similar", "mixed"], 2),
        (["both"], 2),
        (["both", "mixed"], 2),
    ],
)
def test_personas_of_members(recipe: Recipe, train: list[str], each: int) -> None:
    recipe = _mixed(recipe, similar=0.5, random=0.5)
    recipe = _with(recipe, "strategies.both", {"union": {"of": ["similar", "random"]}})
    recipe = _with(_with(recipe, "design.train", train), "design.test", ["none"])
    assert _counts(recipe).personas == Amount(400 * each, at_most=True)


def test_solutions_regenerated(recipe: Recipe) -> None:
    sampling = {"temperature": 0.8, "top_p": 1.0, "max_tokens": 64}
    recipe = _with(recipe, "writer.solutions", {"sampling": sampling, "attempts": 4})
    recipe = _with(recipe, "strategies.random.solutions", "regenerate")
    found = _counts(recipe)
    assert found.solutions == Amount(400, at_most=True)
    assert found.lines()[-1] == "solutions: at most 400, each in at most 4 requests"
    recipe = _with(_mixed(recipe, none=0.5, random=0.5), "design.train", ["mixed"])
    assert _counts(recipe).solutions.known == 400


def test_a_judge_is_asked_at_most_once_for_each_response(recipe: Recipe) -> None:
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9}
    judge = {"model": "smollm2_135m", "template": "prompts/judge.j2", "sampling": sampling}
    assert _counts(_with(recipe, "grading.judge", judge)).lines()[-1] == "judge: at most one request for each response"


def test_what_is_not_known_is_told_per_problem(recipe: Recipe) -> None:
    recipe = _with(recipe, "benchmarks.more", recipe.benchmarks["arithmetic_test"].model_dump(exclude_none=True))
    recipe = _with(recipe, "design.benchmarks", ["arithmetic_test", "more"])
    found = _counts(recipe, {"arithmetic": Size(400, at_most=True), "arithmetic_test": Size(200)})
    assert found.responses == Amount(1200, {"more": 6})
    assert found.lines()[1:] == [
        "responses: 1200 + 6 per problem of more",
        "personas: at most 600 + 1 per problem of more, each in at most 3 requests",
    ]
    assert _counts(recipe, {}).lines()[1] == "responses: 6 per problem of arithmetic_test, more"
    assert json.loads(json.dumps(found.as_json()))["responses"]["per_problem"] == {"more": 6}


PERSONA = {"template": "prompts/persona_random.j2", "examples": []}
STRATEGIES = {
    name: Strategy.model_validate(values)
    for name, values in {
        "none": {"query": "q.j2"},
        "a": {"query": "q.j2", "persona": PERSONA},
        "b": {"query": "q.j2", "persona": PERSONA | {"count": 3}},
        "noise_a": {"query": "q.j2", "noise": {"like": "a"}},
        "noise_b": {"query": "q.j2", "noise": {"like": "b"}},
        "shuffled_b": {"query": "q.j2", "shuffled": {"of": "b"}},
        "mix_an": {"mix": {"shares": {"a": 0.5, "none": 0.5}}},
        "mix_ab": {"mix": {"shares": {"a": 0.2, "b": 0.8}}},
        "mix_noise": {"mix": {"shares": {"noise_a": 0.4, "noise_b": 0.6}}},
        "mix_shuffled": {"mix": {"shares": {"shuffled_b": 0.4, "a": 0.6}}},
        "union_ab": {"union": {"of": ["a", "b"]}},
        "union_nn": {"union": {"of": ["none", "noise_a"]}},
    }.items()
}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(sorted(STRATEGIES)), min_size=1, unique=True), st.integers(0, 2**31))
def test_no_more_personas_are_written_than_counted(names: list[str], seed: int) -> None:
    """Against the problems that stage `persona` writes for, drawn with any seed."""
    ids = [f"p{at}" for at in range(40)]
    needed = problems_needed(STRATEGIES, names, ids, seed)
    written = sum(len(wanted) * (3 if name == "b" else 1) for name, wanted in needed.items() if name in ("a", "b"))
    assert written <= 40 * _personas(STRATEGIES, names)
    assert {_written(STRATEGIES, name) for name in needed} >= {name for name in needed if name in ("a", "b")}


@pytest.mark.parametrize(
    ("change", "size"),
    [
        (("      size: 400\n", "      size: 300\n"), Size(300, at_most=True)),  # decontamination may drop some
        (("      action: drop\n", "      action: flag\n"), Size(400)),
        (("      action: drop\n", "      action: drop\n    sample: {size: 50, seed: 1}\n"), Size(50)),
        (("      action: drop\n", "      action: flag\n    filters: [no_figure]\n"), Size(400, at_most=True)),
        (("      action: drop\n", "      action: flag\n    duplicates: {kind: exact}\n"), Size(400, at_most=True)),
    ],
)
def test_the_size_of_a_set_before_it_is_prepared(
    project: Path, edit: Edit, change: tuple[str, str], size: Size
) -> None:
    edit(change)
    assert set_sizes(project, load_study(project).recipe) == {"arithmetic": size, "arithmetic_test": Size(200)}


def test_a_prepared_set_is_counted_by_its_card_while_the_recipe_declares_the_same(
    project: Path, edit: Edit, its: Callable[..., tuple[int, str, str]]
) -> None:
    from running import run_stage

    edit(("      size: 400\n", "      size: 40\n"), ("      size: 200\n", "      size: 20\n"))
    run_stage("prepare", "arithmetic_test")
    run_stage("prepare", "arithmetic")
    study = load_study(project)
    kept = len(study.problems("arithmetic"))
    assert set_sizes(project, study.recipe) == {"arithmetic": Size(kept), "arithmetic_test": Size(20)}
    card = study.card_path("arithmetic")
    sound = card.read_text(encoding="utf-8")
    for broken in ("{", "[]", sound.replace('"card_version": ', '"card_version": 9')):
        card.write_text(broken, encoding="utf-8")
        assert set_sizes(project, study.recipe)["arithmetic"] == Size(40, at_most=True)
    card.write_text(sound, encoding="utf-8")
    study.problems_path("arithmetic").unlink()
    assert set_sizes(project, study.recipe)["arithmetic"] == Size(40, at_most=True)
    write_rows(study.problems_path("arithmetic"), [Problem(problem_id="x", text="x", source="x")])
    assert set_sizes(project, study.recipe)["arithmetic"] == Size(kept)
    edit(("      size: 20\n", "      size: 21\n"))  # of the benchmark that the dataset is compared with
    assert set_sizes(project, load_study(project).recipe) == {
        "arithmetic": Size(40, at_most=True),
        "arithmetic_test": Size(21),
    }


def test_a_benchmark_of_a_hub_is_told_per_problem(project: Path, edit: Edit) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    at = text.index("  arithmetic_test:\n    source:\n")
    end = text.index("    answer: integer\n")
    hub = "  arithmetic_test:\n    source: {kind: hub, id: nobody/nothing, split: test}\n    preset: gsm8k\n"
    path.write_text(text[:at] + hub + text[end:], encoding="utf-8")
    assert set_sizes(project, load_study(project).recipe) == {"arithmetic": Size(400, at_most=True)}


def test_the_line_of_the_stage_counts_what_is_to_come(
    project: Path, edit: Edit, model_in_folder: Callable[[], None]
) -> None:
    from running import run_stage
    from unit.test_row_check import _write

    model_in_folder()
    study = load_study(project)
    _write(study, ["a" * 40, "b" * 50])
    edit(("  base: true\n", "  base: true\n  except: [{train: random, test: none}]\n"))
    said = run_stage("query")
    assert "4 train, 4 test queries; 2 trainings, 3 checkpoints, 5 cells, responses: 10; longest train row" in said
