"""The renderer: data untouched, nothing undefined, no way out of the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from its.errors import DataError, MissingError
from its.prompts.render import read_template, render, template_faults
from its.types import Problem

TEX = r"$\frac{{1}}{2} < x$ & {{ a }} {# b #} {% c %} 'd' \"e\""
PROBLEM = Problem(problem_id="p", text=TEX, source="s", meta={"level": 3})


def test_data_passes_untouched() -> None:
    assert render("Q: {{ problem.text }}", "t", {"problem": PROBLEM}) == f"Q: {TEX}"
    assert render("{{ problem.meta.level }}", "t", {"problem": PROBLEM}) == "3"


@given(st.text(min_size=1).filter(lambda text: text == text.strip()))
def test_any_text_passes_untouched(text: str) -> None:
    assert render("{{ text }}", "t", {"text": text}) == text


def test_outer_white_space_is_stripped_and_blocks_leave_no_lines() -> None:
    source = "\n{% if persona %}\n{{ persona }}\n\n{% endif %}\n{{ text }}\n"
    assert render(source, "t", {"persona": "", "text": "a"}) == "a"
    assert render(source, "t", {"persona": "b", "text": "a"}) == "b\n\na"


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            "a\nb {{ problem_text }}",
            r"^q\.j2:2: undefined variable `problem_text`; given: `persona`, `problem`$",
            "prob",
        ),
        ("{{ problem.txt }}", r"^q\.j2:1: .*'txt'", "`problem` has text, problem_id"),
        ("\n\n{% for %}", r"^q\.j2:3: template syntax: Expected", None),
        ("{{ problem.meta.x.y }}", r"^q\.j2:1: ", None),
        ("{{ persona + 1 }}", r"^q\.j2:1: the template fails: typeerror", None),
        ("{{ range(10 ** 9) }}", r"^q\.j2:1: templates have no calls", "loop over a list"),
        ("\n{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", r"^q\.j2:\d: templates have no ", None),
        ("\n{{ 1 / 0 }}", r"^q\.j2:2: the template fails: zerodivisionerror", None),
    ],
)
def test_a_fault_names_template_and_line(source: str, message: str, hint: str | None) -> None:
    with pytest.raises(DataError, match=message) as caught:
        render(source, "q.j2", {"problem": PROBLEM, "persona": "x"})
    assert caught.value.exit_code == 3
    if hint:
        assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ problem.__class__.__init__.__globals__ }}",
        "{{ problem.text.__getattribute__('__class__').__base__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ problem.meta.update({'level': 4}) }}",
        "{{ problem.meta.clear() }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(problem) }}",
    ],
)
def test_no_way_out_of_the_sandbox(source: str) -> None:
    with pytest.raises(DataError, match=r"^q\.j2:1: (the template tries to leave the sandbox|templates have no calls)"):
        render(source, "q.j2", {"problem": PROBLEM})
    assert template_faults(source, "q.j2", {"problem": PROBLEM})
    assert PROBLEM.meta == {"level": 3}


def test_faults_without_data_name_every_unknown_variable() -> None:
    source = "{{ a }}\n{{ b }} {{ a }}\n{% set c = 1 %}{{ c }}{{ problem }}"
    faults = template_faults(source, "q.j2", {"problem": PROBLEM})
    assert sorted(fault.where for fault in faults) == ["q.j2:1", "q.j2:2", "q.j2:2"]
    assert all("given: `problem`" in fault.message for fault in faults)


def test_a_good_template_has_no_fault() -> None:
    assert template_faults("{{ problem.text }}{{ persona | upper }}", "q", {"problem": PROBLEM, "persona": "p"}) == []


def test_a_template_that_is_not_there_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"x\.j2: no such file"):
        read_template(tmp_path / "x.j2")
    (tmp_path / "x.j2").write_bytes(b"a\xff")
    with pytest.raises(DataError, match=r"x\.j2: not UTF-8 at byte 1"):
        read_template(tmp_path / "x.j2")
