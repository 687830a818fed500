"""The reference of the recipe's fields: complete, current, and easy to ask for a part of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from its.errors import MissingError
from its.recipe.document import read_document
from its.recipe.field_texts import WIDTH, fields_text, reference_page
from its.recipe.fields import SectionFields, described, sections
from its.recipe.json_schema import schema_text

ROOT = Path(__file__).parents[2]
Its = Callable[..., tuple[int, str, str]]
MODELS = [section for _, section in sections()]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.mark.parametrize("section", MODELS, ids=lambda section: f"{section.path}{section.tag}")
def test_every_field_says_what_it_means(section: SectionFields) -> None:
    """A meaning is a sentence that says more than the name; an optional field says what its absence does."""
    assert section.meaning.endswith((".", ":")), section.path
    for field in section.fields:
        where = f"{section.path}.{field.name}"
        assert re.match(r"[A-Z`A-Z].*[.)]$", field.meaning), where
        assert _words(field.meaning) - _words(field.name) - {"the", "a", "an", "of"}, where
        assert len(field.meaning) >= 12, where
        if field.default in (None, [], {}) and not field.required:
            assert re.search(r"Absent: |Default: |required |Of a control", field.meaning), f"{where}: what if absent?"


def test_the_reference_has_every_field_of_every_section() -> None:
    assert sum(len(section.fields) for section in MODELS) > 200
    paths = [path for found, _ in sections() for path in found]
    for wanted in ("strategies.NAME.persona.examples.0", "engine.openai.servers.0", "grading.judge.sampling", ""):
        assert wanted in paths


@pytest.mark.parametrize(
    ("file", "text", "regenerate"),
    [
        ("docs/recipe.md", reference_page, "pytest tests/unit/test_recipe_fields.py --update-golden"),
        ("recipes/recipe.schema.json", schema_text, "its recipe schema > recipes/recipe.schema.json"),
    ],
)
def test_generated_files_are_current(
    file: str, text: Callable[[], str], regenerate: str, request: pytest.FixtureRequest
) -> None:
    path = ROOT / file
    if request.config.getoption("--update-golden"):
        path.write_text(text(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text(), f"{file} is not that of the models: {regenerate}"


def test_a_section_says_type_range_unit_choices_default_and_line(project: Path, its: Its) -> None:
    code, out, _ = its("recipe", "fields", "generation")
    lines = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    line = lines.index("generation:") + 2
    assert code == 0 and out.startswith("generation: How responses to test queries are sampled.\n\n")
    assert f"\nn  integer, 1 to 100,000; in responses per query; required; params.yaml:{line}\n    Responses" in out
    assert "\ntop_p  number, above 0, at most 1; required; params.yaml:" in out
    assert "\nstop  list of text, at most 100 items; optional; not set\n" in out
    assert max(map(len, out.splitlines())) <= WIDTH
    _, out, _ = its("recipe", "fields", "engine")
    assert "\nkind  `vllm`, `transformers`, `openai` or `replay`; required; params.yaml:" in out
    _, out, _ = its("recipe", "fields", "engine.openai")
    assert "retries  integer, 0 to 100; default `8`; not set" in out


def test_lines_are_those_of_the_fields(project: Path) -> None:
    """Whatever is printed as `params.yaml:N` names the field at the start of line N."""
    document = read_document(project / "params.yaml")
    lines = document.text.splitlines()
    for path in ("", "strategies.similar.persona", "models.smollm2_135m.source", "datasets.arithmetic", "train"):
        text = fields_text(described(path), document)
        found = re.findall(r"^(\w+)  (?:(?!\n\w).)*?params\.yaml:(\d+)", text, re.DOTALL | re.MULTILINE)
        assert found
        for name, line in found:
            assert lines[int(line) - 1].strip().removeprefix("- ").startswith(f"{name}:"), (path, name)


def test_the_lines_are_of_the_kind_that_is_declared(project: Path) -> None:
    document = read_document(project / "params.yaml")
    wheel, *others = fields_text(described("models.smollm2_135m.source"), document).split("\n\nmodels.")
    assert len(others) == 3
    assert "params.yaml:" in wheel and "params.yaml:" not in "".join(others)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("strategies", "strategies.NAME"),
        ("strategies.NAME.limits", "strategies.NAME.limits"),
        ("strategies.similar.persona.examples", "strategies.similar.persona.examples.0"),
        ("strategies.similar.persona.examples.2", "strategies.similar.persona.examples.2"),
        ("engine.openai.servers", "engine.openai.servers.0"),
    ],
)
def test_a_table_or_list_stands_for_what_it_contains(path: str, found: str) -> None:
    assert [section.path for section in described(path)] == [found]


@pytest.mark.parametrize(
    ("path", "section", "field"),
    [
        ("vote.ensembles.NAME", "vote", "ensembles"),
        ("vote.ensembles.mine.0", "vote", "ensembles"),
        ("measure.pool.aime", "measure", "pool"),
        ("design.train.0", "design", "train"),
        ("design.except.0.seed.1", "design.except.0", "seed"),
        ("strategies.NAME.mix.shares.none", "strategies.NAME.mix", "shares"),
        ("generation.extra.min_tokens", "generation", "extra"),
    ],
)
def test_what_is_in_a_field_without_sections_is_described_by_the_field(path: str, section: str, field: str) -> None:
    (found,) = described(path)
    assert (found.path, [item.name for item in found.fields]) == (section, [field])


@pytest.mark.parametrize("path", ["design.train.none", "design.train.0.x", "generation.n.0", "vote.ensembles.a.b"])
def test_what_a_field_cannot_contain_is_not_described(path: str) -> None:
    with pytest.raises(MissingError, match="a recipe has no section or field"):
        described(path)


def test_one_field_is_printed_alone(its: Its) -> None:
    code, out, _ = its("recipe", "fields", "measure.draws")
    assert code == 0 and "\ndraws  integer" in out and "maj_k" not in out
    assert [section.tag for section in described("datasets.x.source.path")] == ["kind: files"]


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("generatoin", "`generation`"),
        ("generation.temprature", "`generation.temperature`"),
        ("strategies.NAME.persona.limits", "`strategies.NAME.limits`"),
        ("sampling", "`writer.sampling`"),
        ("measure.draws.x", "`measure.draws`"),
        ("zzzzzz", "`its recipe fields` lists the sections"),
    ],
)
def test_an_unknown_section_names_the_nearest(path: str, near: str, its: Its) -> None:
    with pytest.raises(MissingError, match=f"no section or field `{re.escape(path)}`") as caught:
        described(path)
    assert near in str(caught.value.hint)
    code, out, err = its("recipe", "fields", path)
    assert (code, out) == (4, "") and near in err


@pytest.mark.parametrize("path", [".", "..", "generation.", ".generation", "generation..n", "strategies..query"])
def test_a_path_with_an_empty_part_is_no_path(path: str) -> None:
    with pytest.raises(MissingError, match=f"no section or field `{re.escape(path)}`") as caught:
        described(path)
    assert caught.value.hint == "single dots join the parts of a path, as in `generation.n`"


def test_json_has_the_same(project: Path, its: Its) -> None:
    code, out, _ = its("recipe", "fields", "train", "--json")
    found = {field["name"]: field for field in json.loads(out)["fields"]}
    assert code == 0 and json.loads(out)["version"] == 1
    assert found["hardware"]["choices"] == ["cpu", "gpu"] and found["hardware"]["required"]
    assert found["save_every_steps"]["unit"] == "steps" and found["save_every_steps"]["line"] is None
    line = found["epochs"]["line"]
    assert (project / "params.yaml").read_text(encoding="utf-8").splitlines()[line - 1].startswith("  epochs:")


def test_the_reference_needs_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, its: Its) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = its("recipe", "fields", "generation")
    assert code == 0 and "params.yaml" not in out and "temperature  number" in out


def test_the_command_prints_the_schema_that_ships(its: Its) -> None:
    code, out, _ = its("recipe", "schema")
    assert code == 0 and out == (ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8")
