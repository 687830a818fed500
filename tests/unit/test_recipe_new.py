"""Scaffolds: what is written is valid at once, and nothing that is there is overwritten or moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from its.errors import DataError, FaultsError, MissingError
from its.prompts.render import render
from its.recipe.load import load_recipe, read_document
from its.recipe.scaffold import new_recipe, new_strategy
from its.types import Problem

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("source", SHIPPED)
def test_a_recipe_is_begun_from_another(project: Path, source: str) -> None:
    path = new_recipe(project, "mine", source)
    assert path == project / "recipes" / "mine.yaml"
    recipe, old = load_recipe(path, project), load_recipe(project / "recipes" / f"{source}.yaml", project)
    assert recipe.model_dump(exclude={"recipe", "description"}) == old.model_dump(exclude={"recipe", "description"})
    assert (recipe.recipe, recipe.description) == ("mine", f"mine, based on {source}")
    text = path.read_text(encoding="utf-8")
    head = text.partition("recipe_version")[0]
    assert "its recipe use mine" in head and "To edit" in head and "No number was measured" in head
    assert all(line.startswith("#") for line in head.splitlines())
    # What stands behind the header is the source's, comments and all.
    body = (project / "recipes" / f"{source}.yaml").read_text(encoding="utf-8").splitlines()
    kept = [
        line for line in body[body.index("recipe_version: 1") :] if not line.startswith(("recipe:", "description:"))
    ]
    assert [line for line in text.splitlines() if line in kept][-len(kept) :] == kept


def test_a_long_description_is_replaced_whole(project: Path) -> None:
    path = project / "recipes" / "quickstart.yaml"
    text = path.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if line.startswith("description:"))
    path.write_text(text.replace(first, "description: >-\n  one line\n  and another"), encoding="utf-8")
    assert load_recipe(new_recipe(project, "mine", "quickstart"), project).description == "mine, based on quickstart"


@pytest.mark.parametrize(
    ("name", "source", "error", "message"),
    [
        ("quickstart", "quickstart", DataError, r"^recipes/quickstart\.yaml: already exists"),
        ("My-Study", "quickstart", DataError, "`My-Study` is not a name of a recipe: names are"),
        ("../mine", "quickstart", DataError, "is not a name"),
        ("", "quickstart", DataError, "`` is not a name"),
        ("mine", "nothing", MissingError, "no recipe `nothing` under recipes/"),
    ],
)
def test_a_bad_name_or_source_writes_nothing(
    project: Path, name: str, source: str, error: type[Exception], message: str
) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(error, match=message) as caught:
        new_recipe(project, name, source)
    assert getattr(caught.value, "hint", None)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_a_source_with_faults_is_not_copied(project: Path) -> None:
    path = project / "recipes" / "quickstart.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("grading:\n", "gradng:\n"), encoding="utf-8")
    with pytest.raises(FaultsError, match="unknown field `gradng`"):
        new_recipe(project, "mine", "quickstart")
    assert not (project / "recipes" / "mine.yaml").exists()


def test_a_strategy_has_two_templates_and_some_lines(project: Path) -> None:
    made = new_strategy(project, "witness", None)
    assert [path.name for path in made.templates] == ["persona_witness.j2", "query_witness.j2"]
    problem = Problem(problem_id="p", text="What is {{ 1 }}?", source="s")
    asked, query = (path.read_text(encoding="utf-8") for path in made.templates)
    shown = render(asked, "asked", {"problem": problem})
    assert shown.startswith("Problem: What is {{ 1 }}?\n\nIn one sentence") and "#}" not in shown
    with_one = {"problem": problem, "persona": "You are x.", "personas": ["You are x."]}
    assert render(query, "query", with_one) == "You are x.\n\nWhat is {{ 1 }}?"
    assert render(query, "query", {"problem": problem, "persona": "", "personas": []}) == "What is {{ 1 }}?"
    assert made.recipe is None and made.lines.startswith("  witness:\n    persona:\n")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_strategy_is_put_into_a_recipe_and_nothing_else_moves(project: Path, name: str) -> None:
    path = project / "recipes" / f"{name}.yaml"
    before = path.read_text(encoding="utf-8")
    old = list(load_recipe(path, project).strategies)
    made = new_strategy(project, "witness", name)
    after = path.read_text(encoding="utf-8")
    assert made.recipe == path and after.count(made.lines) == 1
    assert after.replace(made.lines, "") == before
    assert list(load_recipe(path, project).strategies) == [*old, "witness"]


ODD = {
    "last section": lambda text: text.replace(_section(text), "") + _section(text).rstrip("\n"),
    "comment behind": lambda text: text.replace("\ndesign:", "\n# which cells\n\ndesign:"),
    "comment inside": lambda text: text.replace("  none:\n", "  # the plain one\n  none: # here\n"),
    "indented by four": lambda text: text.replace(
        _section(text),
        "".join(f"  {line}" if line[0] == " " else line for line in _section(text).splitlines(True) if line.strip())
        + "\n",
    ),
}


def _section(text: str) -> str:
    begin = text.index("strategies:\n")
    return text[begin : text.index("design:\n")]


@pytest.mark.parametrize("case", ODD)
def test_comments_and_other_shapes_are_kept(project: Path, case: str) -> None:
    path = project / "params.yaml"
    before = ODD[case](path.read_text(encoding="utf-8"))
    path.write_text(before, encoding="utf-8")
    old = load_recipe(path, project)
    new_strategy(project, "witness", "params.yaml")
    after = path.read_text(encoding="utf-8")
    # Without the new lines every line is as before, in its place (but for an end of the file that had no end of line).
    kept = iter(after.splitlines())
    assert all(line in kept for line in before.splitlines())
    assert len(after.splitlines()) == len(before.splitlines()) + 8
    recipe = load_recipe(path, project)
    assert {key: value for key, value in recipe.strategies.items() if key != "witness"} == old.strategies
    assert recipe.strategies["witness"].query == "prompts/query_witness.j2"


@pytest.mark.parametrize(
    ("name", "recipe", "old", "new", "message"),
    [
        ("none", "quickstart", "", "", r"quickstart\.yaml:\d+:3: strategy `none` already exists"),
        ("similar", None, "", "", r"^recipes/prompts/persona_similar\.j2: already exists"),
        ("a-b", None, "", "", "`a-b` is not a name of a strategy"),
        ("x", "nothing", "", "", "no recipe `nothing`"),
        ("x", "quickstart", "strategies:\n", "strategies: {}\nothers:\n", r"quickstart\.yaml:\d+:1: no strategies"),
        ("x", "quickstart", "strategies:\n", "strategies: {a: {}}\nothers:\n", "is not an indented block"),
    ],
)
def test_a_strategy_that_cannot_be_added_writes_nothing(
    project: Path, name: str, recipe: str | None, old: str, new: str, message: str
) -> None:
    path = project / "recipes" / "quickstart.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1) if old else path.read_text(encoding="utf-8"))
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises((DataError, MissingError), match=message):
        new_strategy(project, name, recipe)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_the_lines_stand_where_the_document_says(project: Path) -> None:
    new_strategy(project, "witness", "quickstart")
    path = project / "recipes" / "quickstart.yaml"
    document = read_document(path)
    line = int(document.where(["strategies", "witness"]).rsplit(":", 2)[1])
    assert path.read_text(encoding="utf-8").splitlines()[line - 1] == "  witness:"
