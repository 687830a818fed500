"""Statements of the documents that the code can check: lists, tables and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from unit.test_imports import ALLOWED

from its.grading.grade import Grader, Item
from its.prompts.filters import declared_filters, declared_tests
from its.recipe.load import load_recipe
from its.recipe.presets import PRESETS
from its.recipe.schema import EngineSection, PlainFilter, Sampling
from its.strategies.rules import RULES

ROOT = Path(__file__).parents[2]


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _section(name: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", _read(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section `{heading}`"
    return found[1]


def _rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of a Markdown table, without its head."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_rooms_are_those_of_the_code_in_an_order_that_imports_allow() -> None:
    (block,) = re.findall(r"\n\n((?:    [a-z_ ]+\n)+)\n", _section("CONTRIBUTING.md", "Rooms"))
    layers = [line.split() for line in block.strip().split("\n")]
    height = {room: -at for at, rooms in enumerate(layers) for room in rooms}
    rooms = {room: allowed for room, allowed in ALLOWED.items() if not room.startswith("__")}
    assert sorted(height) == sorted(rooms)
    for room, allowed in rooms.items():
        above = [name for name in allowed - {room} if name in height and height[name] >= height[room]]
        assert not above, f"`{room}` may import {above}, which are not below it"


def test_every_benchmark_is_listed() -> None:
    listed = re.findall(r"`(\w+\.py)`", _section("CONTRIBUTING.md", "Benchmarks"))
    scripts = [
        path.name for path in ROOT.glob("benchmarks/*.py") if '__name__ == "__main__"' in path.read_text("utf-8")
    ]
    assert sorted(listed) == sorted(set(scripts) - {"raw_vllm.py"})  # run by others, in vLLM's environment


def test_the_stages_are_those_of_the_graph() -> None:
    stages = re.findall(r"^  ([a-z_]+):$", _read("dvc.yaml").split("\nstages:\n")[1], re.MULTILINE)
    listed = [name for first, *_ in _rows(_section("docs/design.md", "Graph")) for name in _names(first)]
    assert listed == stages


def _names(cell: str) -> list[str]:
    return [name.strip() for name in re.sub(r"\(.*?\)", "", cell).split(",")]


def test_every_result_is_listed() -> None:
    written = set(re.findall(r"^      - (results/\w+(?:\.\w+)?(?:/[a-z]+\.\w+)?)", _read("dvc.yaml"), re.MULTILINE))
    listed = {
        name for first, *_ in _rows(_section("README.md", "Read the results")) for name in re.findall("`(.+?)`", first)
    }
    files = {name for name in listed if name.startswith("results/")}
    assert {name for name in written if not any(name.startswith(file.rstrip("/")) for file in files)} == set()
    assert {file for file in files if not any(name.startswith(file.rstrip("/")) for name in written)} == set()


def test_every_engine_is_listed() -> None:
    kinds = get_args(EngineSection.model_fields["kind"].annotation)
    assert sorted(first.strip("`") for first, *_ in _rows(_section("README.md", "Engines and home"))) == sorted(kinds)


def test_every_shipped_recipe_is_listed() -> None:
    listed = [first.strip("`") for first, *_ in _rows(_read("recipes/README.md").split("## ")[0])]
    assert sorted(listed) == sorted(path.stem for path in ROOT.glob("recipes/*.yaml"))


def _firsts(name: str, heading: str) -> list[str]:
    """The names between backticks in the first column of a section's tables."""
    return [word for first, *_ in _rows(_section(name, heading)) for word in re.findall("`([a-z0-9_]+)`", first)]


def test_every_rule_for_personas_is_listed() -> None:
    assert _firsts("docs/strategies.md", "Rules") == list(RULES)


def test_every_preset_is_listed() -> None:
    tables = re.findall(r"^\| `(\w+)` \|", _read("docs/sources.md"), re.MULTILINE)
    assert set(PRESETS) <= set(tables)


def test_every_filter_is_listed() -> None:
    plain = get_args(PlainFilter)
    assert _firsts("docs/curation.md", "Filters")[: len(plain) + 3] == [*plain, "tokens", "language", "column"]


def test_the_kinds_of_strategies_have_examples_in_a_recipe() -> None:
    recipe = load_recipe(ROOT / "recipes" / "strategies.yaml", ROOT)
    examples = [last.strip("`") for *_, last in _rows(_section("docs/strategies.md", "Kinds"))]
    assert len(examples) > 8 and set(examples) <= set(recipe.strategies)


def test_what_templates_may_use_is_listed() -> None:
    """A document and a refusal must not say different things."""
    rows = {first: rest[0] for first, *rest in _rows(_section("docs/security.md", "Code")) if rest}
    filters, tests = (set(re.findall("[a-z_]{1,}", rows[name].split("`; in")[0])) for name in ("filters", "tests"))
    assert filters == set(declared_filters()) and tests == {name for name in declared_tests() if name.isidentifier()}


LIMITS = {
    "docs/security.md": [
        "sandbox.MAX_CHARACTERS sandbox.MAX_NODES sandbox.MAX_DEPTH sandbox.MAX_NESTED_LOOPS",
        "filters.MAX_MARK filters.MAX_PARTS",
        "recipe.MAX_BYTES recipe.MAX_DEPTH recipe.MAX_TEXT recipe.MAX_KEY recipe.MAX_NAME recipe.MAX_BITS",
        "rows.MAX_LINE_BYTES",
        "data_files.MAX_FILES data_files.MAX_ENTRIES recipe.MAX_PARTS",
        "rows.MAX_DOCUMENT_BYTES",
        "fleet.ANSWER_BYTES fleet.ERROR_BYTES",
        "fleet.MOST_TEXT",
        "values.MAX_VALUES",
        "store.MAX_SESSIONS store.MAX_RATIO rows.MAX_DEPTH",
        "wheels.ALWAYS_BYTES",
        "recipe.MAX_FAULTS",
    ],
    "docs/sources.md": [
        "values.MAX_VALUES",
        "parquet.MEMORY_BYTES",
        "parquet.MAX_COLUMNS",
        "data_files.MAX_FILES data_files.MAX_ENTRIES",
        "shapes.LOOKED_BYTES",
        "rows.MAX_LINE_BYTES sources.MAX_ROW_LINES",
    ],
    "docs/store.md": ["rows.MAX_LINE_BYTES", "values.MAX_VALUES", "store.MAX_SESSIONS", "store.MAX_RATIO"],
    "docs/openai.md": ["fleet.ANSWER_BYTES fleet.ERROR_BYTES"],
    "docs/design.md": ["recipe.MAX_BYTES recipe.MAX_DEPTH recipe.NODE_SIZE"],
}
"""Constants (of a module, or of what is in a folder) whose numbers a row of a table, or a paragraph, has together."""


@pytest.mark.parametrize(
    ("name", "constants"), [(name, constants) for name, limits in LIMITS.items() for constants in limits]
)
def test_a_limit_is_that_of_the_code(name: str, constants: str) -> None:
    numbers = [_written(*constant.split(".")) for constant in constants.split()]
    wanted = [re.compile(rf"(?<![\d,])({'|'.join(numbers)})(?![\d,]*\d)") for numbers in numbers]
    parts = (" ".join(part.split()) for part in re.split(r"\n\n|\n(?=\|)", _read(name)))
    assert any(all(number.search(part) for number in wanted) for part in parts), numbers


def _written(where: str, name: str) -> list[str]:
    """A constant of the code in the forms that a document may have."""
    paths = [path for path in (ROOT / "its").rglob("*.py") if where in (path.stem, *path.relative_to(ROOT).parts[1:-1])]
    found = {
        text for path in paths for text in re.findall(rf"^{name} = ([\d *_<]+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(found) == 1, f"`{name}` in `{where}`: {found}"
    number = int(eval(found.pop()))
    sizes = [f"{number >> bits} {unit}" for bits, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")) if number >> bits]
    return [f"{number:,}", *sizes[:1]]


def _listed(sampling: Sampling) -> str:
    penalty = sampling.repetition_penalty
    assert penalty is not None
    return (
        f"temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, top_k {sampling.top_k}, "
        f"repetition penalty {penalty:g}"
    )


@pytest.mark.parametrize("name", ["ot1k_qwen2_5_32b", "limo_qwen2_5_32b"])
def test_the_choices_of_the_large_recipes_are_those_that_are_listed(name: str) -> None:
    text = _section("recipes/README.md", "What the paper leaves open, and what we chose")
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml", ROOT)
    sampling, train, generation = recipe.writer.sampling, recipe.train, recipe.generation
    limits = recipe.strategies["random"].limits
    domains = recipe.strategies["random"].domains
    assert limits is not None and domains is not None
    for wanted in (
        f"{_listed(sampling)}, {sampling.max_tokens} tokens, {recipe.writer.attempts} attempts",
        f"overlong ({limits.max_words} words)",
        f"{len(domains)} fields",
        f"{train.epochs:g}, {train.global_batch_size} rows",
        f"{train.sequence_length:,}",
        f"n = {generation.n}; {generation.benchmarks['gpqa_diamond'].n} on GPQA",
        f"Qwen2.5: {_listed(generation)};",
        f"up to {generation.max_tokens:,} tokens",
        train.lr_scheduler,
    ):
        assert wanted in text, wanted
    assert f"{train.learning_rate:.0e}".replace("e-0", "e-") in text


ELSEWHERE = {
    "recipes/prompts/persona_rival.j2": "a template to be written",
    "recipes/mine.yaml": "a recipe to be written",
    "recipes/shop.yaml": "written in the tutorial",
    "recipes/prompts/persona_shopper.j2": "written in the tutorial",
    "recipes/prompts/query_shopper.j2": "written in the tutorial",
    "tests/unit/metrics/test_cases/": "of lighteval",
}


def test_every_file_that_a_document_names_exists() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: `{name}`"
        for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "recipes" / "README.md")
        if path.name != "CHANGELOG.md"  # of its time
        for name in re.findall(
            r"`((?:its|tests|benchmarks|recipes|envs|docs|\.ci|\.github)/[a-z0-9_./]*)`", path.read_text("utf-8")
        )
        if not (ROOT / name).exists() and name not in ELSEWHERE
    ]
    assert not missing, "\n".join(missing)


GRADED = [
    *[("integer", "25", a, True) for a in ("025", "25.0", r"\$25", r"25 \text{ cm}", "x = 25", "20 + 5 = 25", "5^2")],
    *[("integer", "25", a, True) for a in (r"\textbf{(C)}\ 25", r"25^{\text{th}}", r"\sqrt{625}")],
    *[("number", r, a, True) for r, a in (("2500", r"2.5 \times 10^{3}"), ("2.5", "2,5"), ("1/6", r"0.1\overline{6}"))],
    *[("math", r, a, False) for r, a in (("10^{-8}", "0.0000001"), ("2^{-98}", "2^{-99}"), ("3", "2.999999"))],
    *[("math", "3", a, a == r"3 \text{ m}") for a in ("3m", r"3 \text{ m}")],
    *[("math", r, a, True) for r, a in (("10\\pi", "31.4159"), (r"|x|", r"\sqrt{x^2}"), (r"2 \ln x", r"\ln x^2"))],
    *[("math", "1/2", a, "circ" in a) for a in (r"\cos 60^\circ", r"\cos 60")],
    *[
        ("math", r, a, True)
        for r, a in (("10", "10 km/h"), ("10", "10 cm^2"), ("12", "12 apples"), ("9.8", "9.8 m/s^2"))
    ],
    *[("math", r, a, True) for r, a in (("5000000", "5 million"), ("36", "3 dozen"), ("2/5", "4 tenths"))],
    *[("math", r, a, False) for r, a in (("12", "12 below zero"), ("2 p.m.", "2 a.m."), ("AB", "ab"), ("r", "R"))],
    *[
        ("math", r, a, False)
        for r, a in (("X = 5", "x = 5"), ("(-2,1)", "-2, 1"), ("y = 2", "x = 2"), ("4", r"4\sqrt(2)"))
    ],
    *[("math", r, a, True) for r, a in (("(-2,1)", "x = -2, y = 1"), ("(-2,2)", "|x| < 2"), ("2x + 1", "y = 2x + 1"))],
    *[("math", r, r"\textbf{(C)}\ 12", True) for r in ("C", "12")],
    *[("math", r, a, True) for r, a in (("x/2", "1/2x"), ("7/2", r"3\frac12"), ("x^{12}", "x^12"), ("0.5", "½"))],
]
"""Kind, reference, answer, whether docs/grading.md calls it correct."""


def test_the_examples_of_grading_are_graded_so() -> None:
    text = _read("docs/grading.md")
    with Grader(workers=1) as grader:
        for kind, reference, answer, right in GRADED:
            assert answer in text, answer
            item = Item("q", 0, f"\\boxed{{{answer}}}", reference, kind, None)  # type: ignore[arg-type]
            verdict = grader.grade_one(item).verdict
            assert (verdict == "correct") == right, f"{answer} against {reference}: {verdict}"


def test_what_comments_and_docstrings_name_exists() -> None:
    """Modules and what they define, documents, benchmarks and tests, wherever a text of the code names them."""
    missing = []
    for path in sorted((*ROOT.glob("its/**/*.py"), *ROOT.glob("benchmarks/*.py"))):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            for name in re.findall(r"`(its(?:\.\w+)+)`", line):
                if not _is_there(name.split(".")):
                    missing.append(f"{path.relative_to(ROOT)}:{number}: `{name}`")
            for name in re.findall(r"(?<![\w/.])((?:docs|benchmarks|tests/\w+)/\w+\.\w+)", line):
                if not (ROOT / name).exists():
                    missing.append(f"{path.relative_to(ROOT)}:{number}: {name}")
    assert not missing, "\n".join(missing)


def _is_there(parts: list[str]) -> bool:
    """Whether a dotted name is a module, or is defined in one."""
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            return all(re.search(rf"\b{name}\b", text) for name in parts[length:])
    return False
