"""`its strategy`: what goes in and what comes out, without and with an engine."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from running import run_stage

from its.cli.recipe import recipe
from its.cli.strategy import strategy
from its.errors import DataError, FaultsError, MissingError
from its.rows import read_rows, write_json, write_rows
from its.strategies.members import members_of
from its.strategies.persona import has_persona
from its.study.study import Study, load_study
from its.types import Persona, Problem

Edit = Callable[..., None]
Its = Callable[..., str]
MARK = "[the persona, written by `smollm2_135m`]"
TEX = r"What is $\frac{{1}}{2}$ of {{ 24 }}?"


@pytest.fixture
def its(project: Path, capsys: pytest.CaptureFixture[str]) -> Its:
    """Run `its strategy WORDS` in this process: its stdout."""

    def run(*words: str, group: click.Group = strategy) -> str:
        group.main(list(words), standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], engines: Any) -> Study:
    """The shipped strategies, 8 problems on each side, a model in a folder."""
    shutil.copy(project / "recipes" / "strategies.yaml", project / "params.yaml")
    model_in_folder()
    study = load_study(project)
    for name in ("arithmetic", "arithmetic_test"):
        problems = [
            Problem(
                problem_id=f"{name}_{index}", text=f"{word} of {name} sell 3 of 8 cards.", reference="5", source=name
            )
            for index, word in enumerate(["Ann", "Bob", "Cem", "Dan", "Eva", "Fay", "Gus", "Hal"])
        ]
        write_rows(study.problems_path(name), problems)
    return study


def test_list(its: Its) -> None:
    lines = its("list", "--recipe", "strategies").splitlines()
    assert [line.split()[0] for line in lines][:3] == ["none", "similar", "panel"]
    assert lines[2].split("  ")[-1].strip() == "not in the design" and "written, 3 of them" in lines[2]
    found = {item["name"]: item for item in json.loads(its("list", "--recipe", "strategies", "--json"))["strategies"]}
    assert (found["half_random"]["share"], found["similar_system"]["place"]) == (0.5, "system")
    assert (found["shuffled"]["persona"], found["shuffled"]["train"], found["shuffled"]["test"]) == (
        "shuffled of similar",
        False,
        True,
    )
    assert [line.split()[0] for line in its("list").splitlines()] == ["none", "similar", "unsimilar", "random"]


def test_show_has_the_warnings_of_the_last_run(its: Its, project: Path) -> None:
    def row(name: str, flagged: int) -> dict[str, Any]:
        found = {"set": "arithmetic", "strategy": name, "personas": 40, "asked": 50, "flagged": flagged}
        return {**found, "flags": {"overlong": flagged} if flagged else {}}

    path = project / "data" / "personas" / "summary.json"
    write_json(path, {"personas": [row("random", 9), row("similar", 0)]})
    told = "warning of the last run: personas of random that were kept after the last attempt: 9 of 40 break a rule "
    told += "(overlong 9): ask for fewer than "
    assert told in its("show", "random")
    found = json.loads(its("show", "random", "--json"))
    assert len(found["warnings"]) == 1 and found["notes"] == []
    assert json.loads(its("show", "similar", "--json"))["warnings"] == []
    write_json(path, {"personas": [row("similar", 9)]})
    assert json.loads(its("show", "similar", "--json"))["warnings"] != []
    assert json.loads(its("show", "similar", "--recipe", "strategies", "--json"))["warnings"] == [], "another recipe"
    write_json(path, {"personas": [row("random", 8)]})
    assert json.loads(its("show", "random", "--json"))["warnings"] == [], "as the report: above a fifth"
    for text in ("", "{}", "[]", '{"personas": 3}', '{"personas": [{}]}', "\0"):
        path.write_text(text, encoding="utf-8")
        (note,) = json.loads(its("show", "random", "--json"))["notes"]
        assert note.startswith("the warnings of the last run are not known: ")


def test_show(its: Its) -> None:
    shown = its("show", "random")
    assert shown.startswith("random:\n  persona:\n    template: prompts/persona_random.j2\n")
    assert (
        "recipes/prompts/persona_random.j2:\n  In one sentence, describe a person whose field is {{ domain }}." in shown
    )
    document = json.loads(its("show", "none", "--json"))
    assert document["strategy"] == {"none": {"query": "prompts/query_plain.j2", "place": "user"}}
    assert document["templates"] == {"recipes/prompts/query_plain.j2": "{{ problem.text }}\n"}


def test_new_and_its_first_preview(its: Its, project: Path) -> None:
    said = its("new", "witness")
    assert said.splitlines()[:2] == [
        "wrote recipes/prompts/persona_witness.j2",
        "wrote recipes/prompts/query_witness.j2",
    ]
    assert "  witness:\n    persona:\n      template: prompts/persona_witness.j2\n" in said
    assert (
        its("new", "second", "--recipe", "params.yaml")
        .splitlines()[-1]
        .startswith("added `strategies.second` to params.yaml; name it under")
    )
    shown = its("preview", "second", "--problem", TEX)
    assert f"[user]\n  Problem: {TEX}\n" in shown and shown.endswith(f"[user]\n  {MARK}\n\n  {TEX}\n")


def test_a_recipe_is_scaffolded(its: Its, project: Path) -> None:
    said = its("new", "mine", group=recipe)
    assert said == "wrote recipes/mine.yaml; edit it, then `its recipe use mine`\n"
    assert its("list", "--recipe", "mine").startswith("none ")
    with pytest.raises(DataError, match="already exists"):
        its("new", "mine", "--from", "strategies", group=recipe)


def test_preview_without_an_engine_marks_the_place_of_the_persona(its: Its) -> None:
    found = json.loads(its("preview", "similar", "--problem", TEX, "--json"))
    assert found["version"] == 1 and found["personas"] is None and found["notes"] == []
    (request,) = found["requests"]
    assert request["start"] == "You are a" and TEX in request["messages"][-1]["content"]
    assert found["query"] == [{"role": "user", "content": f"{MARK}\n\n{TEX}"}]
    plain = json.loads(its("preview", "none", "--problem", TEX, "--json"))
    assert (plain["requests"], plain["personas"], plain["writer"]) == ([], None, None)
    assert plain["query"] == [{"role": "user", "content": TEX}]


def test_preview_of_each_shipped_strategy(its: Its, study: Study) -> None:
    """Where the persona stands, and what stands for it, for each kind."""
    shown = {}
    for name in study.recipe.strategies:
        if not study.recipe.strategies[name].members:
            shown[name] = json.loads(its("preview", name, "--set", "arithmetic_test", "--json"))
    text = study.problems("arithmetic_test")[0].text
    contents = {name: [turn["content"] for turn in found["query"]] for name, found in shown.items()}
    assert contents["none"] == [text]
    assert contents["similar_last"] == [f"{text}\n\n{MARK}"]
    assert contents["similar_system"] == [MARK, text]
    assert contents["background"] == [f"Background: {MARK}\n\n{text}"]
    assert contents["noise"][0].startswith("[noise like similar: the persona, written by `smollm2_135m`]")
    panel = "".join(f"- [persona {number}, written by `smollm2_135m`]\n" for number in (1, 2, 3))
    assert contents["panel"] == [f"People who look at this problem:\n{panel}\n{text}"]
    other = next(
        item for item in study.problems("arithmetic_test") if item.problem_id == shown["shuffled"]["taken_from"]
    )
    assert other.text != text and other.text in shown["shuffled"]["requests"][0]["messages"][-1]["content"]
    assert text not in str(shown["shuffled"]["requests"]) and text in contents["shuffled"][0]
    strategy = study.recipe.strategies["half_random"]
    chosen = has_persona(strategy, "half_random", "arithmetic_test_0", study.recipe.seed)
    assert bool(shown["half_random"]["notes"]) != chosen


def test_preview_with_an_engine_is_what_the_stage_writes(its: Its, study: Study, engines: Any) -> None:
    target = study.problems("arithmetic_test")[2]
    engines.tell(personas={target.text: [" man with 3 hats.", " seller of cards and boxes."]})
    words = ["preview", "similar", "--set", "arithmetic_test", "--problem-id", target.problem_id, "--engine"]
    found = json.loads(its(*words, "--json"))
    (written,) = found["personas"]
    assert [(item["text"], item["flags"]) for item in written["attempts"]] == [
        ("You are a man with 3 hats.", ["digits"]),
        ("You are a seller of cards and boxes.", []),
    ]
    assert (written["text"], written["flags"]) == ("You are a seller of cards and boxes.", [])
    assert 0.0 <= written["similarity"] <= 1.0 and 0.0 <= written["auc"] <= 1.0
    assert found["query"][0]["content"] == f"{written['text']}\n\n{target.text}"
    asked = len(engines.asked())
    shown = its(*words)  # from the store
    assert "[attempt 1: breaks digits]\n  You are a man with 3 hats." in shown
    assert "[kept; similarity to the problem 0." in shown and shown.endswith(f"{target.text}\n")
    assert len(engines.asked()) == asked == 2
    run_stage("persona")
    rows = {row.problem_id: row for row in read_rows(study.personas_path("arithmetic_test", "similar"), Persona)}
    assert (rows[target.problem_id].text, rows[target.problem_id].attempts) == (written["text"], 2)
    assert len(engines.asked()) == 2 + 15  # what the preview asked was stored
    for name in ("noise", "shuffled"):
        shown = json.loads(its("preview", name, *words[2:], "--json"))
        (row,) = (
            row
            for row in read_rows(study.personas_path("arithmetic_test", name), Persona)
            if row.problem_id == target.problem_id
        )
        assert (shown["personas"][0]["text"], shown["taken_from"]) == (row.text, row.taken_from)


def test_a_typed_problem_is_written_for_too(its: Its, study: Study, engines: Any) -> None:
    found = json.loads(its("preview", "panel", "--problem", "How many?", "--engine", "--json"))
    assert [item["index"] for item in found["personas"]] == [0, 1, 2]
    assert found["personas"][0]["auc"] is None  # one problem alone has no others
    assert len({asked["seed"] for asked in engines.asked()}) == 3


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["simlar", "--problem", "x"], DataError, "declares no strategy `simlar`"),
        (["similar", "--problem", " "], DataError, "the problem is blank"),
        (["similar", "--set", "nothing"], DataError, "no dataset or benchmark `nothing`"),
        (["similar", "--set", "arithmetic"], MissingError, "no such file"),
        (["shuffled", "--problem", "x", "--recipe", "strategies"], DataError, "takes the persona of another problem"),
        (["similar"], click.UsageError, "give a problem"),
        (["similar", "--problem", "x", "--set", "arithmetic"], click.UsageError, "give a problem"),
        (["similar", "--problem", "x", "--problem-id", "y"], click.UsageError, "give a problem"),
    ],
)
def test_what_cannot_be_previewed(its: Its, words: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        its("preview", *words)
    assert isinstance(caught.value, click.UsageError) or getattr(caught.value, "hint", None)


def test_a_problem_that_the_set_lacks(its: Its, study: Study) -> None:
    with pytest.raises(DataError, match="no problem `arithmetic_test` among 8") as caught:
        its("preview", "similar", "--set", "arithmetic_test", "--problem-id", "arithmetic_test")
    assert "`arithmetic_test_" in str(caught.value.hint)


def test_preview_of_a_mix_is_that_of_the_member_it_draws(its: Its, study: Study) -> None:
    for problem in study.problems("arithmetic_test"):
        words = ("--set", "arithmetic_test", "--problem-id", problem.problem_id)
        found = json.loads(its("preview", "mixed", *words, "--json"))
        (member,) = members_of(study.recipe.strategies, "mixed", problem.problem_id, study.recipe.seed)
        plain = json.loads(its("preview", member, *words, "--json"))
        (row,) = found["rows"]
        assert row == {key: value for key, value in plain.items() if key != "version"}
    assert f"=== mixed, a mix of similar 0.5, background 0.5: {member}\n" in its("preview", "mixed", *words)


def test_preview_of_a_union_has_each_member_in_order(its: Its, study: Study, engines: Any) -> None:
    words = ("preview", "both", "--set", "arithmetic_test")
    assert [row["strategy"] for row in json.loads(its(*words, "--json"))["rows"]] == ["none", "similar"]
    shown = its(*words, "--engine")
    assert shown.index("--- the query, none") < shown.index("--- from the writer") < shown.index("the query, similar")
    assert len(engines.asked()) == 1


def test_preview_of_a_fixed_text_is_what_the_stage_writes(its: Its, study: Study, edit: Edit) -> None:
    control = "  like_reminder:\n    noise: {like: reminder}\n    query: prompts/query_persona_first.j2\n"
    edit(("\ndesign:\n", f"\n{control}\ndesign:\n"), ("  test: [none, similar,", "  test: [like_reminder, reminder,"))
    run_stage("persona")
    for name in ("reminder", "like_reminder"):
        for row in read_rows(study.personas_path("arithmetic_test", name), Persona):
            words = ("preview", name, "--set", "arithmetic_test", "--problem-id", row.problem_id, "--json")
            found = json.loads(its(*words))
            assert found["query"][0]["content"].startswith(f"{row.text}\n\n") and found["requests"] == []


@pytest.mark.parametrize(
    ("options", "lines", "written"),
    [
        (["--kind", "fixed"], "    fixed:\n      texts:\n", ["query_mine.j2"]),
        (["--kind", "union", "--of", "none", "--of", "similar"], "    union:\n      of: [none, similar]\n", []),
        (
            ["--kind", "mix", "--of", "none", "--of", "similar", "--of", "random"],
            "    mix:\n      shares:\n        none: 0.3333\n        similar: 0.3333\n        random: 0.3334\n",
            [],
        ),
    ],
)
def test_new_scaffolds_each_kind(its: Its, project: Path, options: list[str], lines: str, written: list[str]) -> None:
    its("new", "mine", "--recipe", "params.yaml", *options)
    assert f"  mine:\n{lines}" in (project / "params.yaml").read_text(encoding="utf-8")
    load_study(project)  # valid
    found = sorted(path.name for path in (project / "recipes" / "prompts").glob("*_mine.j2"))
    assert found == written
    assert its("preview", "mine", "--problem", TEX).endswith(f"  {TEX}\n")
    assert f"  other:\n{lines}" in its("new", "other", *options)


@pytest.mark.parametrize("count", range(2, 40))
def test_equal_shares_add_up(its: Its, project: Path, count: int) -> None:
    of = [word for number in range(count) for word in ("--of", f"s{number}")]
    said = its("new", "mine", "--kind", "mix", *of)
    shares = [float(line.split(": ")[1]) for line in said.splitlines() if line.startswith("        s")]
    assert len(shares) == count and abs(math.fsum(shares) - 1) < 1e-9


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["mine", "--kind", "mix"], click.UsageError, "at least 2 members"),
        (["mine", "--kind", "union", "--of", "none"], click.UsageError, "at least 2 members"),
        (["mine", "--kind", "union", "--of", "none", "--of", "none"], click.UsageError, "names a strategy twice"),
        (["mine", "--of", "none", "--of", "similar"], click.UsageError, "--of is for --kind mix and --kind union"),
        (["mine", "--kind", "mix", "--of", "No", "--of", "none"], DataError, "`No` is not a name of a strategy"),
        (["last"], DataError, "`last` is the checkpoint at the end of a training"),
        (["default"], DataError, "`default` is the training without a variant's settings"),
    ],
)
def test_what_cannot_be_scaffolded(its: Its, words: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        its("new", *words)


def test_an_undeclared_member_writes_nothing(its: Its, project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(FaultsError) as caught:
        its("new", "mine", "--recipe", "params.yaml", "--kind", "mix", "--of", "none", "--of", "simlar")
    assert "strategy `simlar` is not declared" in caught.value.faults[0].message
    assert (project / "params.yaml").read_bytes() == before


def test_show_and_list_of_what_combines(its: Its) -> None:
    found = json.loads(its("show", "mixed", "--recipe", "strategies", "--json"))
    assert list(found["strategy"]) == ["mixed", "similar", "background"]
    assert found["strategy"]["mixed"] == {"mix": {"shares": {"similar": 0.5, "background": 0.5}}}
    assert len(found["templates"]) == 4
    listed = {item["name"]: item for item in json.loads(its("list", "--recipe", "strategies", "--json"))["strategies"]}
    assert (listed["both"]["persona"], listed["both"]["place"]) == ("union of none, similar", None)
    assert listed["reminder"]["persona"] == "fixed, one of 2 texts"
    (line,) = [line for line in its("list", "--recipe", "strategies").splitlines() if line.startswith("both ")]
    assert line.split("  ")[-1].strip() == "not in the design" and " -  " in line
