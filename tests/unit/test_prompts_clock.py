"""Chat templates that would write another prompt on another day: found, or given one day for good."""

from __future__ import annotations

import itertools
from datetime import date

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.errors import FaultsError
from its.prompts.chat import chat_template_faults
from its.prompts.clock import clock_faults, pinned_template

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
LLAMA = (
    "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n    {%- else %}\n'
    '        {%- set date_string = "26 Jul 2024" %}\n    {%- endif %}\n{%- endif %}\n'
    '{{- "Today Date: " + date_string + "\\n\\n" }}' + TURNS
)
SMOLLM3 = "{%- set today = strftime_now('%d %B %Y') -%}\n{{- 'Today Date: ' ~ today ~ '\\n' -}}" + TURNS
MISTRAL = (
    '{%- set today = strftime_now("%Y-%m-%d") %}\n{%- set system = "It is " + today + "." %}\n{{ system }}\n' + TURNS
)
WITHIN_A_MACRO = (
    "{%- macro head(name) %}\n{{- 'Current date: ' + strftime_now(\"%Y-%m-%d\") + name }}\n{%- endmacro %}"
    "{{ head('x') }}" + TURNS
)
TWO_FORMS = "  {% if true %}{{ strftime_now('%A') }}, {{ strftime_now(\"%d \\u00e9 }} %m\") }}\n  {% endif %}" + TURNS
CLOCKS = [LLAMA, SMOLLM3, MISTRAL, WITHIN_A_MACRO, TWO_FORMS]


def _rendered(source: str, day: str) -> str:
    """As transformers 5.16 renders it, on that day."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = date.fromisoformat(day).strftime
    return environment.from_string(source).render(messages=[{"role": "user", "content": "1 + 1?"}])


@pytest.mark.parametrize("source", CLOCKS)
def test_the_date_of_the_day_is_refused_without_a_pinned_one(source: str) -> None:
    found = clock_faults(source, "c.jinja", None)
    assert found and all("the chat template writes today's date (`strftime_now`)" in f.message for f in found)
    assert found[0].hint is not None and 'date: "2025-01-31"' in found[0].hint
    with pytest.raises(FaultsError):
        pinned_template(source, "c.jinja", None)


@pytest.mark.parametrize("source", CLOCKS)
def test_a_pinned_template_writes_on_every_day_what_it_writes_on_that_one(source: str) -> None:
    pinned = pinned_template(source, "c.jinja", "2025-01-31")
    assert _rendered(source, "2025-01-31") != _rendered(source, "2026-12-01")
    for day in ("2025-01-31", "2026-12-01"):
        assert _rendered(pinned, day) == _rendered(source, "2025-01-31")
    assert clock_faults(pinned, "c.jinja", None) == []
    assert chat_template_faults(pinned, "c.jinja") == ()
    assert pinned_template(source, "c.jinja", "2025-02-01") != pinned


@pytest.mark.parametrize(
    "source",
    [
        "{{ strftime_now(form) }}",
        "{{ strftime_now('%d' + '%m') }}",
        "{{ strftime_now() }}",
        "{{ strftime_now('%d', 1) }}",
        "{{ strftime_now(format='%d') }}",
        "{% set now = strftime_now %}{{ now('%d') }}",
        "{{ [strftime_now][0]('%d') }}",
        "{{ {'now': strftime_now}.now('%d') }}",
        "{{ namespace(now=strftime_now).now('%d') }}",
        "{{ ['%d'] | map(strftime_now) | first }}",
        "{% macro f(now=strftime_now) %}{{ now('%d') }}{% endmacro %}{{ f() }}",
        "{% for now in [strftime_now] %}{{ now('%d') }}{% endfor %}",
        "{% generation %}{{ strftime_now(form) }}{% endgeneration %}",
    ],
)
@pytest.mark.parametrize("pinned", [None, "2025-01-31"])
def test_no_way_around_the_pin(source: str, pinned: str | None) -> None:
    with pytest.raises(FaultsError, match="strftime_now"):
        pinned_template(source + TURNS, "c.jinja", pinned)


@pytest.mark.parametrize("source", ["{{ lipsum() }}", "{{ [1, 2] | random }}", "{% set l = lipsum %}{{ l(n=1) }}"])
def test_chance_is_refused_whatever_is_pinned(source: str) -> None:
    for pinned in (None, "2025-01-31"):
        assert "the chat template depends on chance" in clock_faults(source, "c.jinja", pinned)[0].message


@pytest.mark.parametrize(
    "source",
    [
        TURNS,
        "{% if strftime_now is defined %}{% endif %}" + TURNS,
        "{{ 'strftime_now' }} strftime_now('%d') {# strftime_now('%d') #}" + TURNS,
        '{% if not date_string is defined %}{% set date_string = "26 Jul 2024" %}{% endif %}{{ date_string }}' + TURNS,
    ],
)
def test_a_template_without_a_clock_stays_as_it_is_and_takes_no_date(source: str) -> None:
    assert pinned_template(source, "c.jinja", None) == source
    (fault,) = clock_faults(source, "c.jinja", "2025-01-31")
    assert (fault.message, fault.hint) == (
        "`date` is 2025-01-31, and the chat template does not use a date",
        "remove `date`: the prompt does not contain today's date",
    )


def test_every_fault_is_told_at_once_with_its_line() -> None:
    lines = ["{{ strftime_now('%d') }}", "{{ lipsum() }}", "{{ strftime_now(x) }}"]
    for order in itertools.permutations(lines):
        found = clock_faults("\n".join(order), "c.jinja", None)
        assert sorted(fault.where for fault in found) == ["c.jinja:1", "c.jinja:2", "c.jinja:3"]


@pytest.mark.parametrize("source", ["{% for %}", "{{ " + "(" * 5000 + ")" * 5000 + " }}", "{{ " + "9" * 5000 + " }}"])
def test_what_is_no_template_is_left_to_the_other_check(source: str) -> None:
    assert clock_faults(source, "c.jinja", None) == []
    assert chat_template_faults(source, "c.jinja")


@pytest.mark.parametrize("link", ["+", "~", " and ", ".a+", "|a + ", "(b)+", " if a else "])
def test_a_long_chain_is_looked_through(link: str) -> None:
    chain = link.join(["a"] * 9000)
    assert clock_faults("{{ " + chain + " }}", "c.jinja", None) == []
    found = clock_faults("{{ strftime_now('%d') + " + chain + " }}", "c.jinja", None)
    assert not found or "`strftime_now`" in found[0].message  # where it is no template, the other check says so
