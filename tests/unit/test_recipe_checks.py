"""`check_recipes` as a library calls it: finished values, nothing printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from its.checks.recipes import CheckedRecipe, Remarks, check_recipes, recipe_counts, remark_lines
from its.errors import MissingError
from its.model_files import final_template
from its.models import ready_model
from its.study.study import load_study

Edit = Callable[..., None]


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def test_valid_recipes_in_the_order_of_their_names(project: Path) -> None:
    found = check_recipes(project, ["params.yaml", "quickstart"])
    assert found.faults == ()
    counts = recipe_counts(project, load_study(project).recipe)
    assert found.recipes == [
        CheckedRecipe(name, [], {}, Remarks([], [], []), counts) for name in ("params.yaml", "recipes/quickstart.yaml")
    ]


def test_without_names_every_recipe_and_params(project: Path) -> None:
    wanted = [f"recipes/{path.name}" for path in sorted((project / "recipes").glob("*.yaml"))]
    assert [item.name for item in check_recipes(project).recipes] == [*wanted, "params.yaml"]
    (project / "params.yaml").unlink()
    assert [item.name for item in check_recipes(project).recipes] == wanted


def test_faults_are_returned_with_places_in_the_project(project: Path, edit: Edit) -> None:
    edit(("  role: report", "  rol: report"), ("grading:\n", "gradng:\n"))
    outside = project.parent / "outside.yaml"
    outside.symlink_to(project / "params.yaml")
    (project / "recipes" / "away.yaml").symlink_to(outside)
    found = check_recipes(project)
    assert found.recipes == ()
    places = [fault.where.rpartition(":")[0].rpartition(":")[0] for fault in found.faults]
    assert places == ["recipes/away.yaml", *["params.yaml"] * 4]
    assert "a link leads out of recipes/" in found.faults[0].message


def test_a_recipe_that_was_named_and_does_not_exist_raises(project: Path) -> None:
    for name in ("nothing", "nothing.yaml"):
        with pytest.raises(MissingError, match="nothing"):
            check_recipes(project, ["quickstart", name])


def test_remarks(project: Path, model_in_folder: Callable[[], None]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    subprocess.run(["git", "add", "recipes"], cwd=project, check=True)
    model_in_folder()
    (item,) = check_recipes(project, ["params.yaml"]).recipes
    assert (item.remarks.untracked, item.remarks.unpinned) == (["base"], ["smollm2_135m"])
    lines = remark_lines([replace(item.remarks, notes=[])] * 2)
    assert [line.partition(":")[0] for line in lines] == [
        "git does not track `base`",
        "the folder of `smollm2_135m` is not pinned",
    ]


def test_lines_name_ten_of_each() -> None:
    names = [f"n{number:02}" for number in range(12)]
    lines = remark_lines([Remarks(["one", "two"]), Remarks(["two", "three"], names, names)])
    assert lines[:3] == ["one", "two", "three"]
    assert "`n09` and 2 more: a queued" in lines[3] and "n10" not in lines[3]
    assert len(lines) == 3 + 1 + 10


# Chat templates, with what the recipe sends to a model.

TEMPLATE = "recipes/prompts/chatml.jinja"
DECLARES = "    chat_template: prompts/chatml.jinja\n"
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
HERE = "`models.smollm2_135m.chat_template`: recipes/prompts/chatml.jinja:1: "


def _faults(project: Path, template: str | None = None) -> list[str]:
    if template is not None:
        (project / TEMPLATE).write_text(template, encoding="utf-8")
    return [fault.message for fault in check_recipes(project, ["params.yaml"]).faults]


def test_a_template_without_a_system_turn_is_refused_if_the_recipe_sends_one(project: Path, edit: Edit) -> None:
    assert _faults(project, NO_SYSTEM) == []
    wrong = [f"{HERE}the chat template fails with a system turn: templateerror: no system turn"]
    plain = (project / "params.yaml").read_text(encoding="utf-8")
    sends = {
        "the frame": [('  user: "{{ query }}"\n', '  user: "{{ query }}"\n  system: Solve it.\n')],
        "the frame of the model": [
            ('  user: "{{ query }}"\n', '  user: "{{ query }}"\n  models: {smollm2_135m: {system: Solve it.}}\n')
        ],
        "a persona": [
            (
                "      - theatre\n    query: prompts/query_persona_first.j2\n",
                "      - theatre\n    query: prompts/query_plain.j2\n    place: system\n",
            )
        ],
        "the writer": [("persona_random.j2\n", "persona_random.j2\n      system: You write personas.\n")],
    }
    for name, changes in sends.items():
        (project / "params.yaml").write_text(plain, encoding="utf-8")
        edit(*changes)
        found = check_recipes(project, ["params.yaml"]).faults
        assert [fault.message for fault in found] == wrong, name
        assert "it comes from `" in str(found[0].hint), name
    (project / "params.yaml").write_text(plain, encoding="utf-8")
    edit(*sends["the frame"])
    edit(("  system: Solve it.\n", "  system: Solve it.\n  models: {smollm2_135m: {system: null}}\n"))
    assert _faults(project) == []  # this model is sent none


def test_values_of_a_template_are_those_that_it_reads(project: Path, edit: Edit) -> None:
    reads = "{% if enable_thinking %}{% endif %}" + CHATML
    assert _faults(project, reads) == [f"{HERE}the chat template reads `enable_thinking`, which nothing gives"]
    edit((DECLARES, DECLARES + "    template_kwargs: {enable_thinking: false}\n"))
    assert _faults(project) == []
    assert _faults(project, CHATML) == [
        f"{HERE}`template_kwargs` has `enable_thinking`, and the chat template never reads it"
    ]
    edit(("{enable_thinking: false}", "{enable_thinkin: false}"))
    found = check_recipes(project, ["params.yaml"]).faults
    (project / TEMPLATE).write_text(reads, encoding="utf-8")
    found = check_recipes(project, ["params.yaml"]).faults
    assert {fault.message for fault in found} == {
        f"{HERE}the chat template reads `enable_thinking`, which nothing gives",
        f"{HERE}`template_kwargs` has `enable_thinkin`, and the chat template never reads it",
    }
    assert any("did you mean `enable_thinking`?" in str(fault.hint) for fault in found)


@pytest.mark.parametrize("value", [".inf", "[1]", "{a: 1}", '"false"', '"True"', '" FALSE"'])
def test_a_value_is_a_scalar(project: Path, edit: Edit, value: str) -> None:
    edit((DECLARES, DECLARES + f"    template_kwargs: {{effort: {value}}}\n"))
    messages = _faults(project, "{{ effort is defined }}" + CHATML)
    assert len(messages) == 1 and "template_kwargs.effort" in messages[0]


def test_the_own_template_of_a_folder_is_checked_too(
    project: Path, model_in_folder: Callable[[], None], edit: Edit
) -> None:
    model_in_folder()
    edit((DECLARES, ""))
    assert _faults(project) == []
    own = project / "base" / "chat_template.jinja"
    own.write_text(CHATML.replace("<|im_end|>", ""), encoding="utf-8")
    (message,) = _faults(project)
    assert message.startswith(f"`models.smollm2_135m.source.path`: {own}:1: the chat template never writes")
    own.write_text("{{ strftime_now('%d') }}" + CHATML, encoding="utf-8")
    (message,) = _faults(project)
    assert "writes today's date" in message


def test_a_folder_without_a_template_is_refused(project: Path, model_in_folder: Callable[[], None], edit: Edit) -> None:
    model_in_folder()
    (project / "base" / "chat_template.jinja").unlink()
    assert _faults(project) == []  # one is declared
    edit((DECLARES, ""))
    assert _faults(project) == ["`models.smollm2_135m.source.path`: the model in `base` has no chat template"]
    (project / "base" / "config.json").unlink()
    assert _faults(project) == []  # no model is there yet


def test_a_byte_order_mark_is_not_part_of_a_template(
    project: Path, model_in_folder: Callable[[], None], edit: Edit
) -> None:
    declared = "\ufeff" + CHATML
    assert _faults(project, declared) == []
    model_in_folder()
    model = load_study(project).recipe.models["smollm2_135m"]
    ready = ready_model("smollm2_135m", model, project, project / "home", lambda text: None)
    assert (final_template(ready) or "").startswith("{% for")
    edit((DECLARES, ""))
    (project / "base" / "chat_template.jinja").write_text(declared, encoding="utf-8")
    (message,) = _faults(project)
    assert "the chat template begins every prompt with a byte order mark" in message


@pytest.mark.parametrize("token", ["eos", "pad", "bos"])
def test_a_special_token_is_not_empty(project: Path, edit: Edit, token: str) -> None:
    own = {"eos": "eos: <|im_end|>", "pad": "pad: <|im_end|>", "bos": "bos: <|im_start|>"}[token]
    edit((own, f'{token}: ""'))
    assert any(f"special_tokens.{token}" in message for message in _faults(project))


def test_thinking_and_the_template_agree(project: Path, edit: Edit) -> None:
    opens = CHATML.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif")
    found = check_recipes(project, ["params.yaml"]).faults if _faults(project, opens) else ()
    assert [fault.message for fault in found] == [
        "`models.smollm2_135m`: `recipes/prompts/chatml.jinja` ends the prompt within `<think>`, and the model has no "
        "`thinking`: thoughts would be answers"
    ]
    edit((DECLARES, DECLARES + '    thinking: {start: "<think>", end: "</think>", opened_by: prompt}\n'))
    (message,) = _faults(project)
    assert "the prompt differs between training and test, before a solution with a thought" in message
    marked = opens.replace("+ m.content", "+ ('<think>\\n' if '</think>' in m.content else '') + m.content")
    assert _faults(project, marked) == []


def test_what_the_check_cannot_see_is_said(project: Path, edit: Edit) -> None:
    edit((DECLARES, ""))
    (item,) = check_recipes(project, ["params.yaml"]).recipes
    assert "the chat template of `smollm2_135m` is not here: `query` checks it with rows" in remark_lines(
        [item.remarks]
    )


def test_many_models_are_checked_in_bounded_time(project: Path, edit: Edit) -> None:
    """Slow templates use up the time of the check together; the rest is named, not rendered."""
    slow = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{# NAME #}" + CHATML
    text = (project / "params.yaml").read_text(encoding="utf-8")
    begin, end = text.index("  smollm2_135m:\n"), text.index("\nwriter:")
    more = ""
    for number in range(30):
        (project / "recipes" / "prompts" / f"slow{number}.jinja").write_text(slow.replace("NAME", str(number)))
        block = text[begin:end].replace("smollm2_135m", f"m{number}", 1).replace("chatml.jinja", f"slow{number}.jinja")
        more += block.rstrip("\n") + "\n"
    (project / "params.yaml").write_text(text[:end].rstrip("\n") + "\n" + more + text[end:], encoding="utf-8")
    messages = _faults(project)
    slow_ones = [message for message in messages if "takes more than" in message and "processor time" in message]
    late = [message for message in messages if "the templates before" in message]
    assert 1 <= len(slow_ones) <= 12 and late and len(slow_ones) + len(late) == 30


SERVER = (
    "engine:\n  kind: openai\n  options: {chat_template_kwargs: {effort: low, common: 1}}\n"
    "  openai: {servers: [{url: 'http://localhost:1/v1'}], concurrency: 1, timeout_seconds: 1, retries: 1}\n"
)


@pytest.mark.parametrize(("value", "same"), [("low", True), ("high", False), ("null", False)])
def test_a_server_is_sent_one_value(project: Path, edit: Edit, value: str, same: bool) -> None:
    path = project / "params.yaml"
    text = re.sub(r"(?ms)^engine:\n(  .*?\n|\n)+", SERVER, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    edit((DECLARES, DECLARES + f"    template_kwargs: {{effort: {value}}}\n"))
    messages = _faults(project, "{{ effort is defined }}" + CHATML)
    assert messages == (
        []
        if same
        else [
            "`models.smollm2_135m.template_kwargs.effort` and `engine.options.chat_template_kwargs.effort` differ",
        ]
    )
    if same:
        (item,) = check_recipes(project, ["params.yaml"]).recipes
        assert any("a server renders prompts with its own chat template" in line for line in item.remarks.notes)
