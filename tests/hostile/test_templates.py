"""Untrusted templates: nothing runs, nothing is read, nothing hangs, in any place that takes a template."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hostile.outcomes import Tally
from jinja2 import StrictUndefined
from jinja2.runtime import LoopContext
from pace import processor_seconds
from ruamel.yaml import YAML

from its.errors import DataError
from its.prompts import render as rendering
from its.prompts.chat import chat_template_faults
from its.prompts.filters import declared_filters, declared_tests
from its.prompts.render import render, template_faults
from its.recipe.axolotl import rendered_settings
from its.recipe.schema import PersonaRequest, Prompt, Strategy, Train
from its.recipe.template_checks import PERSONAS, SAMPLE_PROBLEM
from its.sources import expressions
from its.sources.expressions import ExpressionError, getter
from its.sources.paths import ABSENT
from its.strategies.persona import persona_messages
from its.strategies.query import query_messages
from its.types import Problem

CASES = YAML(typ="safe").load(Path(__file__).with_name("templates") / "cases.yaml")
SECRET = "the-secret-of-the-machine"
PROBLEM = Problem(problem_id="p", text="What is 6 x 7?", reference="42", solution="42", source="s", meta={"level": 3})
TRAIN = Train.model_validate(
    {
        "template": "axolotl/full_cpu.yaml.j2",
        **{"hardware": "cpu", "launcher": "python", "epochs": 1.0, "learning_rate": 1e-4, "lr_scheduler": "cosine"},
        **{"warmup_ratio": 0.1, "weight_decay": 0.0, "global_batch_size": 8, "micro_batch_size": 8, "devices": 1},
        "sequence_length": 512,
    }
)
GIVEN: dict[str, dict[str, Any]] = {
    "query": {"problem": PROBLEM, "persona": "You are a poet.", "personas": PERSONAS},
    "persona": {"problem": PROBLEM, "domain": "botany"},
    "frame": {"query": "What is 6 x 7?"},
    "judge": {"problem": PROBLEM, "reference": "42", "answer": "42"},
    "axolotl": {"train": TRAIN, "rows": "rows.jsonl", "seed": 1},
}
ROW = {"question": "What is 6 x 7?", "answer": "#### 42", "problem": {"text": "x", "meta": {}}}


def _text(template: str | list[Any]) -> str:
    parts = [template] if isinstance(template, str) else template
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)


def _places(source: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every place that takes a template, as something to run that gives text or raises an ItsError."""

    def rendered(given: dict[str, Any]) -> str:
        faults = template_faults(source, "t.j2", given)
        try:
            text = render(source, "t.j2", given)
        except DataError:
            assert faults, "the check passes it and the run does not"
            raise
        if faults:  # a name that is not given, in a branch that is not taken
            raise DataError(faults[0].message)
        return text

    for place, given in GIVEN.items():
        yield place, partial(rendered, given)
    if "{{" in source:
        yield "fields", lambda: _expression(source)


def _expression(source: str) -> str:
    try:
        found = getter(source)(ROW)
    except ExpressionError as error:
        raise DataError(error.fault.message) from error
    return "" if found is ABSENT else str(found)


@pytest.mark.parametrize("name", CASES["refused"])
def test_a_hostile_template_is_refused_everywhere(
    name: str, tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, secret = tmp_path / "marker", tmp_path / "secret.json"
    secret.write_text(f'{{"problem_id": "p", "text": "{SECRET}", "source": "s"}}', encoding="utf-8")
    monkeypatch.setenv("ITS_HOSTILE_SECRET", SECRET)
    source = _text(CASES["refused"][name]).replace("{marker}", str(marker)).replace("{secret_file}", str(secret))
    for place, act in _places(source):
        with processor_seconds(2, f"{place} takes long to refuse it"):
            error = tally("templates", act)
            assert error is not None, f"{place} takes it"
            assert SECRET not in error.message
            assert len(error.message) < 1000
    if marker.exists():
        tally.escaped("templates", f"{name} wrote a file")


@pytest.mark.parametrize("name", CASES["harmless"])
def test_a_harmless_template_renders_everywhere(name: str, tally: Tally) -> None:
    for place, act in _places(_text(CASES["harmless"][name])):
        assert tally("templates", act) is None, place


PIECES = (
    *("problem", "persona", "personas", "loop", "a", "self", "''", "'x'", "[1, 2]", "{'k': 1}", "1", "1.5", "none"),
    *("(", ")", "[", "]", "{", "}", ".", ",", ":", "|", "~", "+", "-", "*", "**", "/", "//", "%", "==", "<", "="),
    *("in", "not", "and", "or", "is", "if", "else", "text", "meta", "__class__", "__init__", "__globals__", "mro"),
    *("parse_raw", "model_dump", "format", "upper", "[0]", "[1:]", "['__class__']", "('x')", "()", "attribute="),
    *("{{", "}}", "{%", "%}", "{#", "#}", "for", "endfor", "endif", "set", "endset", "macro", "include", "-%}"),
    *(*declared_filters(), *declared_tests(), "attr", "random", "lipsum", "range", "cycler", "namespace"),
)


def test_templates_made_at_random(tally: Tally) -> None:
    drawn = random.Random(11)
    for _ in range(1500):
        inner = " ".join(drawn.choice(PIECES) for _ in range(drawn.randint(1, 8)))
        shape = drawn.choice(
            ["{{{{ {} }}}}", "{{{{ problem.text | {} }}}}", "{{% for a in {} %}}x{{% endfor %}}", "{}"]
        )
        source = shape.format(inner)
        for _, act in _places(source):
            error = tally("templates", act, seconds=2)
            if error is None and "object at 0x" in str(act()):
                tally.escaped("templates", f"{source} shows an object")


PLAIN = (str, int, float, bool, type(None), dict, list, tuple, Decimal)


def _walk(value: Any) -> Iterator[Any]:
    yield value
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    for part in parts if isinstance(value, dict | list | tuple) else ():
        yield from _walk(part)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The values that templates are given, as they come to the sandbox."""
    found: list[dict[str, Any]] = []
    for module in (rendering, expressions):

        def seen(template: Any, values: dict[str, Any], inner: Any = module.rendered) -> Any:
            found.append(values)
            return inner(template, values)

        monkeypatch.setattr(module, "rendered", seen)
    return found


def test_templates_see_plain_data_alone(seen: list[dict[str, Any]]) -> None:
    strategy = Strategy.model_validate({"query": "prompts/q.j2", "persona": {"template": "prompts/p.j2"}})
    query_messages(strategy, "{{ problem.text }}", Prompt(user="{% if query %}{{ query }}{% endif %}"), PROBLEM, ["x"])
    persona_messages(PersonaRequest(template="prompts/p.j2"), "{{ problem.text }}", PROBLEM, "botany")
    for given in GIVEN.values():
        render("x", "t", given)
    getter("{{ row.question }}")(ROW)
    assert len(seen) == 3 + len(GIVEN) + 1
    for value in (item for values in seen for item in _walk(values)):
        assert type(value) in PLAIN, f"a template is given a {type(value).__name__}"


@pytest.mark.parametrize(
    "value",
    [
        PROBLEM,
        TRAIN,
        SAMPLE_PROBLEM,
        "text",
        1,
        1.5,
        True,
        None,
        [1],
        (1,),
        {"k": 1},
        Decimal("1.5"),
        len,
        os,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_attribute_of_anything_is_read(value: Any) -> None:
    plain = value.model_dump() if isinstance(value, Problem | Train) else {}
    for name in dir(value):
        if name not in plain:
            assert template_faults(f"{{{{ x.{name} }}}}", "t", {"x": value}), name
            assert template_faults(f"{{{{ x['{name}'] }}}}", "t", {"x": value}), name
            assert template_faults(f"{{{{ x.{name}() }}}}", "t", {"x": value}), name
            with pytest.raises(ExpressionError):
                getter(f"{{{{ row.x.{name} }}}}")({"x": value})


def test_of_a_loop_only_its_place_is_read() -> None:
    shown = [
        name
        for name in dir(LoopContext([1], StrictUndefined))
        if not template_faults(
            f"{{% for a in [1] %}}{{% if loop.{name} is defined %}}{{% endif %}}{{% endfor %}}", "t", {}
        )
        and render(f"{{% for a in [1] %}}{{{{ loop.{name} is defined }}}}{{% endfor %}}", "t", {}) == "True"
    ]
    assert sorted(shown) == ["depth", "depth0", "first", "index", "index0", "last", "length", "revindex", "revindex0"]


def test_an_honest_template_of_a_long_problem_renders() -> None:
    problem = Problem(problem_id="p", text="0123456789 " * 200_000, source="s")
    source = "{{ problem.text | trim | replace('0', 'zero') | upper }}{{ problem.text if '9' in problem.text }}"
    assert len(render(source, "t", {"problem": problem})) > 4_000_000


def test_the_allowance_does_not_depend_on_what_was_rendered_before() -> None:
    hostile = "{% set l = '0123456789' * 1000 %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}"
    for _ in range(3):
        assert template_faults(hostile, "t", {})
        assert render("{{ 'x' * 1000 }}", "t", {}) == "x" * 1000


CHATS = {
    "broken": ("{% for m in messages %}{{ m }", "template syntax"),
    "no user": ("{{ bos_token }}", "does not show the turn of the user"),
    "no assistant": ("{{ messages[0].content }}", "does not show the turn of the assistant"),
    "an undefined name": ("{{ nothing.x }}", "'nothing' is undefined"),
    "raises": ("{{ raise_exception('not for you') }}", "not for you"),
    "class": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "memory": ("{{ 'a' * 10**10 }}", "takes more than"),
    "endless": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes more than"),
    "long": ("x" * 200_000, "the limit is"),
}


@pytest.mark.parametrize("name", CHATS)
def test_a_broken_chat_template_is_found(name: str, tally: Tally) -> None:
    source, message = CHATS[name]
    found: list[Any] = []
    assert tally("templates", lambda: found.extend(chat_template_faults(source, "c.jinja"))) is None
    assert message in found[0].message


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '\n' }}{% endfor %}",
        "{% set n = namespace(x='') %}{% for m in messages %}{{ m.content.strip() }}{% set n.x = m.role %}{% endfor %}",
        "{% macro turn(m) %}{{ m.content }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{{ strftime_now('%d') }}",
    ],
)
def test_a_chat_template_may_use_what_transformers_gives(source: str) -> None:
    assert chat_template_faults(source, "c.jinja") == ()


AXOLOTL = {
    "plugins: [evil.Plugin]": "`train.axolotl.plugins` imports and runs what it names",
    "trust_remote_code: true": "`train.axolotl.trust_remote_code` runs code",
    "datasets: [{path: /etc/passwd, type: chat_template}]": "`train.axolotl.datasets.path`",
    "datasets: [{path: {{ rows | tojson }}, type: evil.strategy}]": "`train.axolotl.datasets.type`",
    "{% if train.epochs > 0 %}wandb_project: x{% endif %}": "`train.axolotl.wandb_project`",
    "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\n" + "c: [" + "*b, " * 9000 + "]": "",
    "a: !!python/object/apply:os.system [true]": "",
    "hf_token: abc": "looks like a secret",
    "sequence_len: 256\nlearning_rate: 0.5": "full_cpu.yaml.j2:2: `learning_rate` does not belong here",
    "sequence_len: 255": "full_cpu.yaml.j2:1: `sequence_len` does not belong here: `train.sequence_length` sets it",
    "a_key_of_a_later_axolotl: 1": "is not a setting of Axolotl 0.19",
    "datasets: [{path: {{ rows | tojson }}, type: chat_template, shard: 2}]": "did you mean `shards`?",
    "resume_from_checkpoint: /tmp/x": "`train.save_every_steps` sets it",
    "liger_rope: true": "`liger_rope` does nothing without its plugin",
    "{{ train.parse_raw }}: 1": "has no attribute",
    "- a": "not a mapping",
    "[" * 500: "",
    "": "not a mapping",
}


@pytest.mark.parametrize("text", AXOLOTL, ids=range(len(AXOLOTL)))
def test_an_axolotl_template_is_rendered_by_the_check(
    text: str, project: Path, its: Callable[..., tuple[int, str, str]], tally: Tally
) -> None:
    (project / "recipes" / "axolotl" / "full_cpu.yaml.j2").write_text(text, encoding="utf-8")
    found: list[Any] = []
    assert tally("templates", lambda: found.append(its("recipe", "check", "quickstart"))) is None
    code, _, said = found[0]
    assert code == 3 and "`train.template`: recipes/axolotl/full_cpu.yaml.j2" in said and AXOLOTL[text] in said
    with pytest.raises(DataError):
        rendered_settings(text, "t.yaml.j2", TRAIN, "rows.jsonl", 1)


def test_the_owner_of_the_machine_may_allow_a_plugin(
    project: Path, its: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / "recipes" / "axolotl" / "full_cpu.yaml.j2"
    path.write_text(path.read_text(encoding="utf-8") + "plugins: [my.Plugin]\n", encoding="utf-8")
    assert its("recipe", "check", "quickstart")[0] == 3
    monkeypatch.setenv("ITS_ALLOW_CODE", "train.axolotl.plugins")
    code, said, _ = its("recipe", "check", "quickstart")
    assert code == 0 and "runs code: train.axolotl.plugins" in said


LONG = "ab" * 200_000
ROWS: dict[str, tuple[str, Any]] = {
    "before a long mark": ("{{ row.x | before('ab' ~ row.x) }}", LONG),
    "after a long mark": ("{{ row.x | after(row.x[1:]) }}", LONG),
    "within long tags": ("{{ row.x | tag(row.x[1:]) }}", LONG),
    "stripped of a long text": ("{{ row.x | trim(row.x[1:] ~ 'c') }}", LONG),
    "one hash": ("{{ row.x | unique | first }}", [(2**61 - 1) * index for index in range(20_000)]),
    "batches": ("{{ (row.x * 4) | batch(1) | length }}", "x" * 4_000_000),
    "slices": ("{{ (row.x * 2) | slice(900000) | list | length }}", "x" * 8_000_000),
    "many values, written": ("{{ row.x }}", [{"": 0}] * 2_000_000),
    "many values, joined": ("{{ row.x | join }}", [{"": 0}] * 2_000_000),
    "boxes that never close": ("{{ row.x | boxed }}", "\\boxed{" * 100_000),
}


@pytest.mark.parametrize("name", ROWS)
def test_an_expression_over_a_long_row_ends(name: str, tally: Tally) -> None:
    source, value = ROWS[name]
    with processor_seconds(4):

        def act() -> None:
            try:
                getter(source)({"x": value})
            except ExpressionError as error:
                raise DataError(error.fault.message) from error

        tally("templates", act)


def test_counting_a_long_list_costs_nothing() -> None:
    assert getter("{{ row.x | length }}")({"x": [{"": 0}] * 1_000_000}) == "1000000"


def test_a_rendered_text_holds_no_character_that_no_prompt_has() -> None:
    for number in (*range(32), 127, 0x85, 0xD800, 0xDFFF):
        if chr(number) not in "\t\n\r":
            assert template_faults(f'{{{{ "\\u{number:04x}" }}}}', "t", {}), hex(number)
