"""Faults of strategies: each at its line, with what is wrong and what to type."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.recipe.document import read_document
from its.recipe.load import load_recipe, validate
from its.recipe.strategy_checks import OF_MEMBERS, strategy_faults

Edit = Callable[..., None]
QUERY = "    query: prompts/query_persona_first.j2\n"
PLAIN = "    query: prompts/query_plain.j2\n"


TEACHER = "writer:\n  solutions: {attempts: 1, sampling: {temperature: 0.5, top_p: 1.0, max_tokens: 64}}\n"


def _faults(project: Path) -> list[tuple[str, str, str]]:
    """(the line in params.yaml, message, hint) of each fault."""
    path = project / "params.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    _, faults = validate(read_document(path), project)
    return [
        (lines[int(fault.where.rsplit(":", 2)[1]) - 1].strip(), fault.message, fault.hint or "") for fault in faults
    ]


@pytest.fixture
def declare(project: Path, edit: Edit) -> Callable[..., list[tuple[str, str, str]]]:
    """The faults of the quickstart with some lines more under `strategies`, and its sides."""

    def change(lines: str, train: str = "none, random", test: str = "none, random") -> list[tuple[str, str, str]]:
        edit(
            ("\ndesign:\n", f"\n{lines}\ndesign:\n"),
            ("  train: [none, random]", f"  train: [{train}]"),
            ("  test: [none, random]", f"  test: [{test}]"),
        )
        return _faults(project)

    return change


def _mix(shares: str, more: str = "") -> str:
    return f"  mine:\n    mix:\n      shares: {{{shares}}}\n{more}"


def _union(of: str, more: str = "") -> str:
    return f"  mine:\n    union:\n      of: [{of}]\n{more}"


SOUND = {
    "two shares": _mix("none: 0.5, random: 0.5"),
    "thirds": _mix("none: 0.3333333333, random: 0.3333333333, similar: 0.3333333333"),
    "tenths, whose sum in floats is not 1": _mix("none: 0.1, random: 0.2, similar: 0.7"),
    "a seed": _mix("none: 0.5, random: 0.5", "      seed: 3\n"),
    "a union": _union("random, none"),
    "a union of two draws of one kind": (
        f"  a:\n    noise: {{like: random}}\n{QUERY}  b:\n    noise: {{like: random}}\n{QUERY}" + _union("a, b")
    ),
    "the same template with and without its solution": (
        f"  a:\n    fixed: {{texts: [Go on.]}}\n{QUERY}  b:\n    fixed: {{texts: [Go on.]}}\n{QUERY}    share: 0.5\n"
        + _union("a, b")
    ),
    "a fixed text": f"  mine:\n    fixed: {{texts: [Go on.]}}\n{QUERY}",
    "a fixed text in the system turn": f"  mine:\n    fixed: {{texts: [Go on.]}}\n{PLAIN}    place: system\n",
    "a fixed text with braces": "  mine:\n    fixed: {texts: ['{{1, 2}} is a set; {% is a percent sign']}\n" + QUERY,
    "noise like a fixed text": (
        f"  mine:\n    fixed: {{texts: [Go on.]}}\n{QUERY}  other:\n    noise: {{like: mine}}\n{QUERY}"
    ),
    "a control as a member": f"  control:\n    noise: {{like: random}}\n{QUERY}" + _mix("none: 0.5, control: 0.5"),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_ones_pass(declare: Callable[..., Any], project: Path, case: str) -> None:
    assert declare(SOUND[case], train="none, mine") == []
    assert "mine" in load_recipe(project / "params.yaml", project).strategies


WRONG: dict[str, tuple[str, str, str, str]] = {
    "too small a sum": (
        _mix("none: 0.5, random: 0.4"),
        "shares: {none: 0.5, random: 0.4}",
        "`strategies.mine.mix.shares` add up to 0.9, not 1",
        "for example `random: 0.5`",
    ),
    "too large a sum": (
        _mix("none: 0.9, random: 0.9"),
        "shares: {none: 0.9, random: 0.9}",
        "add up to 1.8, not 1",
        "`random: 0.1`",
    ),
    "a sum that no last share completes": (
        _mix("none: 0.6, random: 0.6, similar: 0.1"),
        "shares: {none: 0.6, random: 0.6, similar: 0.1}",
        "add up to 1.3, not 1",
        "each is a part of 1",
    ),
    "rounded thirds": (
        _mix("none: 0.333, random: 0.333, similar: 0.333"),
        "shares: {none: 0.333, random: 0.333, similar: 0.333}",
        "add up to 0.999, not 1",
        "`similar: 0.334`",
    ),
    "a member of a mix that is not declared": (
        _mix("none: 0.5, rndom: 0.5"),
        "shares: {none: 0.5, rndom: 0.5}",
        "strategy `rndom` is not declared",
        "did you mean `random`?",
    ),
    "a member of a union that is not declared": (
        _union("none, rndom"),
        "of: [none, rndom]",
        "`strategies.mine.union.of.1`: strategy `rndom` is not declared",
        "did you mean `random`?",
    ),
    "itself": (_union("none, mine"), "of: [none, mine]", "`mine` is a member of itself", "name other strategies"),
    "a member twice": (_union("none, none"), "of: [none, none]", "`none` is already a member", "take one of them out"),
    "the same strategy by another name": (
        f"  plain:\n{PLAIN}" + _union("none, plain"),
        "of: [none, plain]",
        "`plain` is the same as `none`, and every problem has the same row there",
        "take one of them out",
    ),
    "the same text by another name": (
        f"  a:\n    fixed: {{texts: [Go on.]}}\n{QUERY}  b:\n    fixed: {{texts: [Go on.]}}\n{QUERY}"
        + _mix("a: 0.5, b: 0.5"),
        "shares: {a: 0.5, b: 0.5}",
        "`b` is the same as `a`",
        "take one of them out",
    ),
    "a mix as a member": (
        "  inner:\n    mix:\n      shares: {none: 0.5, random: 0.5}\n" + _union("none, inner"),
        "of: [none, inner]",
        "`inner` is itself a mix",
        "name the members of `inner`",
    ),
    "a union as a member": (
        "  inner:\n    union: {of: [none, random]}\n" + _mix("none: 0.5, inner: 0.5"),
        "shares: {none: 0.5, inner: 0.5}",
        "`inner` is itself a union",
        "name the members of `inner`",
    ),
    "two ways": (
        _mix("none: 0.5, random: 0.5", "    fixed: {texts: [Go on.]}\n"),
        "mine:",
        "`strategies.mine` has `fixed` and `mix`",
        "keep one of them",
    ),
    "three ways": (
        _mix("none: 0.5, random: 0.5", "    noise: {like: random}\n    union: {of: [none, random]}\n"),
        "mine:",
        "has `noise` and `mix` and `union`",
        "keep one of them",
    ),
    "no template": (
        "  mine:\n    fixed: {texts: [Go on.]}\n",
        "mine:",
        "missing field `strategies.mine.query`",
        "`query:`",
    ),
    "nothing at all": ("  mine: {}\n", "mine: {}", "missing field `strategies.mine.query`", "`query:`"),
    "noise like a mix": (
        _mix("none: 0.5, random: 0.5") + f"  control:\n    noise: {{like: mine}}\n{QUERY}",
        "noise: {like: mine}",
        "`mine` is a mix and has no personas itself",
        "name a member of `mine`",
    ),
    "shuffled of a union": (
        _union("none, random") + f"  control:\n    shuffled: {{of: mine}}\n{QUERY}",
        "shuffled: {of: mine}",
        "`mine` is a union and has no personas itself",
        "name a member of `mine`",
    ),
    "shuffled of a fixed text": (
        f"  mine:\n    fixed: {{texts: [Go on., Stop.]}}\n{QUERY}  control:\n    shuffled: {{of: mine}}\n{QUERY}",
        "shuffled: {of: mine}",
        "the texts of `mine` do not depend on the problem",
        "`noise: {like: mine}`",
    ),
    "a repeated text": (
        f"  mine:\n    fixed: {{texts: [Go on., Stop., 'Go  on. ']}}\n{QUERY}",
        "fixed: {texts: [Go on., Stop., 'Go  on. ']}",
        "`strategies.mine.fixed.texts.2` is the text of `strategies.mine.fixed.texts.0` again",
        "take it out",
    ),
    "a text that is meant as a template": (
        "  mine:\n    fixed: {texts: ['Solve {{ problem.text }}.']}\n" + QUERY,
        "fixed: {texts: ['Solve {{ problem.text }}.']}",
        "contains `{{ problem`: it is a text and not a template",
        "`query`",
    ),
    "domains without a writer": (
        f"  mine:\n    fixed: {{texts: [Go on.]}}\n{QUERY}    domains: [law]\n",
        "domains: [law]",
        "`strategies.mine.domains` has no effect",
        "take it out",
    ),
    "a template that ignores the text": (
        f"  mine:\n    fixed: {{texts: [Go on.]}}\n{PLAIN}",
        "query: prompts/query_plain.j2",
        "the template does not show the persona",
        "place: system",
    ),
    "a solution for a strategy that is not trained on": (
        f"  mine:\n{PLAIN}    solutions: regenerate\n",
        "solutions: regenerate",
        "`strategies.mine.solutions` is `regenerate`, and no strategy in `design.train` is `mine`",
        "name `mine` under `design.train`",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_fault_has_its_line_and_remedy(declare: Callable[..., Any], edit: Edit, case: str) -> None:
    lines, place, message, hint = WRONG[case]
    if "regenerate" in lines:
        edit(("writer:\n", TEACHER))
    ((at, said, remedy),) = declare(lines)
    assert at == place
    assert message in said
    assert hint in remedy


@pytest.mark.parametrize("way", ["mix: {none: 0.5, random: 0.5}", "union: {none: 1}", "fixed: {text: [Go on.]}"])
def test_a_way_without_its_field_has_an_example(declare: Callable[..., Any], way: str) -> None:
    query = QUERY if way.startswith("fixed") else ""
    hints = [hint for _, message, hint in declare(f"  mine:\n    {way}\n{query}") if "missing field" in message]
    assert len(hints) == 1 and hints[0].startswith(f"for example `{way.partition(' ')[0]} {{")


def test_several_solutions_of_a_problem_in_a_union(declare: Callable[..., Any], edit: Edit) -> None:
    """The rows differ: a solution is drawn by the name of its strategy, whatever else is the same."""
    edit(("writer:\n", TEACHER))
    twice = "".join(
        f"  {name}:\n    fixed: {{texts: [Go on.]}}\n    solutions: regenerate\n{QUERY}" for name in ("once", "again")
    )
    assert declare(twice + _union("once, again"), train="none, mine") == []


@pytest.mark.parametrize("field", OF_MEMBERS)
@pytest.mark.parametrize("made", [_mix("none: 0.5, random: 0.5"), _union("none, random")])
def test_what_combines_has_no_field_of_its_members(declare: Callable[..., Any], field: str, made: str) -> None:
    value = {
        "query": "prompts/query_plain.j2",
        "place": "user",
        "domains": "[law]",
        "share": 0.5,
        "limits": "{max_words: 3, checks: []}",
        "solutions": "keep",
    }[field]
    ((at, said, remedy),) = declare(f"{made}    {field}: {value}\n")
    assert at == f"{field}: {value}"
    assert re.search(rf"`strategies.mine.{field}`: a (mix|union) has no `{field}`, only its members do", said)
    assert "take it out" in remedy


@pytest.mark.parametrize("name", ["base", "default", "last"])
def test_reserved_words_name_no_strategy(declare: Callable[..., Any], name: str) -> None:
    assert (f"{name}:", "give the strategy another name") in [
        (at, remedy) for at, said, remedy in declare(f"  {name}:\n{PLAIN}") if f"`{name}` is" in said
    ]


def test_a_union_is_no_test_strategy(declare: Callable[..., Any]) -> None:
    ((at, said, remedy),) = declare(_union("none, random"), test="none, mine")
    assert at == "test: [none, mine]"
    assert said == ("`design.test` names `mine`, a union: at test time each of its members is a separate query")
    assert "`vote.strategies: {mine: [none, random]}`" in remedy


@pytest.mark.parametrize("made", [_mix("none: 0.5, written: 0.5"), _union("none, written"), ""])
def test_a_solution_is_written_for_members_too(declare: Callable[..., Any], edit: Edit, made: str) -> None:
    own = f"  written:\n{PLAIN}    solutions: regenerate\n"
    edit(("writer:\n", TEACHER))
    assert declare(own + made, train="none, mine" if made else "none, written") == []


def test_a_refused_word_is_not_taken_for_no_solution(declare: Callable[..., Any], edit: Edit) -> None:
    """Whether solutions are regenerated is not known then."""
    edit(("writer:\n", TEACHER))
    ((line, _, hint),) = declare(
        f"  mine:\n    fixed: {{texts: [Go on.]}}\n    solutions: regenerated\n{QUERY}", train="none, mine"
    )
    assert (line, hint) == ("solutions: regenerated", "did you mean `regenerate`?")


def test_members_that_cannot_be_one_are_not_offered(declare: Callable[..., Any]) -> None:
    ((_, message, hint),) = declare(f"{_union('none, random').replace('mine', 'both')}{_mix('nosuch: 0.5, none: 0.5')}")
    assert "strategy `nosuch` is not declared" in message
    assert hint == "declared: `none`, `similar`, `unsimilar`, `random`"


def test_every_fault_is_named_at_once(declare: Callable[..., Any]) -> None:
    lines = (
        _mix("none: 0.5, rndom: 0.4", "    place: system\n    share: 0.5\n")
        + "  last:\n    union: {of: [mine, none, none]}\n"
        + "  control:\n    noise: {like: mine}\n"
    )
    messages = [said for _, said, _ in declare(lines)]
    for part in (
        "add up to 0.9",
        "`rndom` is not declared",
        "mine.place`",
        "mine.share`",
        "`last` is the checkpoint",
        "`mine` is itself a mix",
        "`none` is already a member",
        "missing field `strategies.control.query`",
        "`mine` is a mix and has no personas",
    ):
        assert sum(part in said for said in messages) == 1, (part, messages)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.sampled_from(["none", "mine", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["of", "shares", "texts"]), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["none", "mine", "last", "x"])
FIELDS = ["persona", "fixed", "noise", "shuffled", "mix", "union", *OF_MEMBERS]


@settings(max_examples=300, deadline=None)
@given(
    entries=st.dictionaries(NAMES, st.dictionaries(st.sampled_from(FIELDS), VALUES)),
    train=VALUES,
    test=VALUES,
)
def test_no_value_breaks_the_check(entries: dict[str, Any], train: Any, test: Any) -> None:
    """Before the schema's own faults are taken out, values have any type: nothing but faults may come of it."""
    for location, message, hint in strategy_faults({"strategies": entries, "design": {"train": train, "test": test}}):
        assert location[0] in ("strategies", "design") and message and hint
