"""Chat templates that would write another prompt on another day: found, or given one day for good."""

from __future__ import annotations

import itertools
import json
import random
import string
from datetime import date
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.errors import FaultsError
from its.prompts.chat import chat_template_faults
from its.prompts.clock import clock_faults, is_pinned_template, pinned_template, value_faults

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


# The values of `template_kwargs`.

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 7, 2**63, -(2**63), 0.1, -0.5, 1e-7, 1e16, -1e300, 5e-324, 123456.789),
    *(
        "",
        " ",
        "a",
        "'",
        '"',
        "\\",
        "\\\\",
        "\\n",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "\x7f",
        "\u2028",
        "\u0085",
        "\u00e9",
        "\u65e5",
        "\U0001f600",
    ),
    *(
        "{{ 1 }}",
        "{% raw %}",
        "{# no #}",
        "%}",
        "-%}",
        "}}",
        "#}",
        '" %}{{ lipsum() }}{% set x = "',
        "' }}",
        "{% endraw %}",
    ),
    *(
        "\\x7b{",
        "\\u007b",
        "${x}",
        "$(id)",
        "`id`",
        "None",
        "true",
        "1",
        "__class__",
        "# comment",
        "## x",
        "\n# for",
        "<think>\n",
    ),
]
SHOWS = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{{ value | tojson }}{% if value is string %}<{{ value }}>{% endif %}"
)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    return environment


def _same(source: str, values: dict[str, Any], **given: Any) -> None:
    """The written template renders as the first one does with the values beside it."""
    chat = {"messages": [{"role": "user", "content": "1 + 1?"}], **given}
    environment = _environment()
    written = pinned_template(source, "c.jinja", None, values)
    assert environment.from_string(written).render(chat) == environment.from_string(source).render(chat | values)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_arrives_as_it_is(value: Any) -> None:
    text = _environment().from_string(pinned_template(SHOWS, "c", None, {"value": value})).render(messages=[])
    assert text == json.dumps(value, ensure_ascii=False) + (f"<{value}>" if isinstance(value, str) else "")


def test_generated_texts_arrive_as_they_are() -> None:
    chance = random.Random(0)
    parts = [
        *string.printable,
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "\\x",
        "\\u",
        "\\U",
        "\u00e9",
        "\u65e5",
        "\U0001f600",
        "\ufeff",
    ]
    for _ in range(2000):
        value = "".join(chance.choices(parts, k=chance.randrange(12)))
        text = _environment().from_string(pinned_template(SHOWS, "c", None, {"value": value})).render(messages=[])
        assert text == json.dumps(value, ensure_ascii=False) + f"<{value}>", repr(value)
        assert is_pinned_template(pinned_template(SHOWS, "c", None, {"value": value}), None, {"value": value})


READERS = [
    "{% if value is defined and value is false %}off{% else %}on{% endif %}",
    "{% set value = value if value is defined else 'own' %}{{ value }}",
    "{% if value is not defined %}{% set value = 3 %}{% endif %}{{ value }}",
    "{{ value | default('own') }}",
    "{% macro f(x) %}{{ x }}{{ value }}{% endmacro %}{{ f(1) }}",
    "{% set ns = namespace(v=value) %}{% for m in messages %}{{ ns.v }}{% set ns.v = 2 %}{% endfor %}{{ ns.v }}",
    "{% for m in messages %}{% set value = 9 %}{{ value }}{% endfor %}{{ value }}",
    "{% block b %}{{ value }}{% endblock %}",
    "{{ [value, value] | length }}{{ value }}",
    "  {% if value %}\n  yes\n  {% endif %}\nend\n",
    "\n\n{{ value }}\n",
    "{# c #}\n  {%- if value %}x{% endif %} {{- value }}",
    "{% generation %}{{ value }}{% endgeneration %}" if False else "{{ value }}\r\n{% if value %}\r\n a{% endif %}",
]


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("value", [None, True, False, 0, 2.5, "text", "{{ 1 }}"], ids=repr)
def test_a_template_with_its_values_renders_as_with_arguments(source: str, value: Any) -> None:
    _same(source, {"value": value})


def test_a_value_that_the_template_never_reads_is_a_fault() -> None:
    source = "{% if enable_thinking is defined and enable_thinking %}x{% endif %}" + TURNS
    found = value_faults(source, "c.jinja", {"enable_thinkin": True, "enable_thinking": True, "zebra": 1})
    assert [(fault.where, fault.message) for fault in found] == [
        ("c.jinja:1", "`template_kwargs` has `enable_thinkin`, and the chat template never reads it"),
        ("c.jinja:1", "`template_kwargs` has `zebra`, and the chat template never reads it"),
    ]
    assert [fault.hint for fault in found] == [
        "did you mean `enable_thinking`? it reads `enable_thinking`",
        "it reads `enable_thinking`",
    ]
    assert value_faults(TURNS, "c.jinja", {"a": 1})[0].hint == "it reads none: remove them"
    assert value_faults(source, "c.jinja", {}) == []
    # What it sets itself before it reads it, it does not read from outside.
    assert value_faults("{% set a = 1 %}{{ a }}" + TURNS, "c.jinja", {"a": 2})
    with pytest.raises(FaultsError, match="never reads it"):
        pinned_template(TURNS, "c.jinja", None, {"a": 1})


def test_values_are_written_once() -> None:
    source = "{{ value }}" + TURNS
    written = pinned_template(source, "c.jinja", None, {"value": 1})
    with pytest.raises(FaultsError, match="never reads it"):
        pinned_template(written, "c.jinja", None, {"value": 1})
    assert pinned_template(source, "c.jinja", None, {}) == source


@pytest.mark.parametrize("source", CLOCKS)
def test_a_template_has_its_date_and_its_values(source: str) -> None:
    both = pinned_template("{{ value }}" + source, "c.jinja", "2025-01-31", {"value": "x{{ y }}"})
    assert _rendered(both, "2026-12-01") == _rendered("{{ 'x{{ y }}' }}" + source, "2025-01-31")
    assert clock_faults(both, "c.jinja", None) == []
    for pinned, values, right in (
        ("2025-01-31", {"value": "x{{ y }}"}, True),
        ("2025-02-01", {"value": "x{{ y }}"}, False),
        ("2025-01-31", {"value": "other"}, False),
        ("2025-01-31", {"value": "x{{ y }}", "more": 1}, False),
        (None, {"value": "x{{ y }}"}, False),
    ):
        assert is_pinned_template(both, pinned, values) is right
        assert is_pinned_template(both.replace("\n", "\r\n"), pinned, values) is right
    assert not is_pinned_template("{{ value }}" + source, "2025-01-31", {"value": "x{{ y }}"})


def test_a_date_that_is_written_already_is_not_another() -> None:
    pinned = pinned_template(LLAMA, "c.jinja", "2025-01-31")
    assert pinned_template(pinned, "c.jinja", "2025-01-31") == pinned
    with pytest.raises(FaultsError, match="another date is written into it"):
        pinned_template(pinned, "c.jinja", "2025-02-01")


@pytest.mark.parametrize("setting", ["{% set d = strftime_now('%d') %}", "{% set d = [strftime_now] %}"])
def test_no_clock_before_the_line_of_the_date(setting: str) -> None:
    pinned = pinned_template(LLAMA, "c.jinja", "2025-01-31")
    assert clock_faults(setting + pinned, "c.jinja", None)


def test_a_format_of_any_characters_has_its_date() -> None:
    source = "{{ strftime_now('%d \U0001f600 \u65e5') }}" + TURNS
    assert _rendered(pinned_template(source, "c.jinja", "2025-01-31"), "2026-12-01").startswith("31 \U0001f600 \u65e5")
