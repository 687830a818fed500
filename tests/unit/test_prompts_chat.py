"""Chat templates against the conversations of a study: what is refused, with what to write, and what is not."""

# ruff: noqa: E501 - a template is one line

from __future__ import annotations

import importlib
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pace import processor_seconds

from its.errors import Fault
from its.prompts import chat
from its.prompts.chat import chat_template_faults, checked_chat_template, generation_prompt, opening_fault
from its.prompts.clock import own_names, pinned_template, reads_parts
from its.prompts.conversations import ChatUse
from its.thinking import PlainMarks

chat_trial: Any = importlib.import_module("its.prompts.workers.chat_trial")
EOS = (("eos_token", "<|im_end|>"),)
QWEN3 = PlainMarks("<think>", "</think>", "model")
R1 = PlainMarks("<think>", "</think>", "prompt")
PLAIN = ChatUse(trained=(False,), asked=(), tokens=EOS)
BOTH = ChatUse(trained=(False, True), asked=(True,), tokens=EOS, system_of="`prompt.system`")
THINKS = ChatUse(trained=(False,), asked=(False,), tokens=EOS, marks=QWEN3, thoughts=True)
OPENED = ChatUse(trained=(False,), asked=(False,), tokens=EOS, marks=R1, thoughts=True)

TURN = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


def _each(turn: str, asks: str = ASKS) -> str:
    return "{% for m in messages %}" + turn + "{% endfor %}" + asks


CHATML = _each(TURN)
TRIMS = _each(TURN.replace("m.content", "(m.content | trim)"))
SPACED = _each(
    "{{ m.role + ':' + ' ' + m.content + '<|im_end|>' }}", "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
OFF = "{{ '<think>\\n\\n</think>\\n\\n' if not think }}"
SWITCHED = "{% set think = think | default(true) %}" + _each(
    "{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    + OFF
    + "{% endif %}{{ m.content + '<|im_end|>\\n' }}",
    ASKS + "{% if add_generation_prompt %}" + OFF + "{% endif %}",
)
OPENING = _each(
    "{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and '</think>' in m.content %}{{ '<think>\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
)
WITHIN_USER = _each(
    "{% if m.role == 'system' %}{% elif m.role == 'user' and loop.index == 2 and messages[0].role == 'system' %}"
    "{{ '[INST] ' + messages[0].content + '\\n\\n' + m.content + '[/INST]' }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}{% else %}{{ ' ' + m.content + '<|im_end|>' }}{% endif %}",
    "",
)

GOOD = {
    "chatml": (CHATML, BOTH),
    "trims turns, which have no outer white space": (TRIMS, BOTH),
    "a space before an answer, which is learned": (SPACED, BOTH),
    "a thought as it is": (CHATML, THINKS),
    "ends a thought": (pinned_template(SWITCHED, "", None, {"think": False}), THINKS),
    "no value": (SWITCHED, THINKS),
    "opens a thought": (OPENING, OPENED),
    "the system turn within the first question": (WITHIN_USER, BOTH),
    "nothing after the turn": (CHATML.replace("<|im_end|>\\n", "<|im_end|>"), BOTH),
    "a default system turn": (
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nHi<|im_end|>\\n' }}{% endif %}" + CHATML,
        BOTH,
    ),
    "generation": (_each("{% generation %}" + TURN + "{% endgeneration %}"), BOTH),
    "tokens": (_each(TURN.replace("'<|im_end|>\\n'", "eos_token")), BOTH),
    "loopcontrols": (_each("{% if not m %}{% break %}{% endif %}" + TURN), BOTH),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_template_has_no_fault(name: str) -> None:
    source, use = GOOD[name]
    assert [fault.message for fault in chat_template_faults(source, "c.jinja", use)] == []
    assert opening_fault(generation_prompt(source), "c.jinja", use.marks) is None


def _cut(condition: str, turn: str = TURN) -> str:
    return turn.replace("m.content", f"(m.content if {condition} else '')")


QWEN3_OWN = _each(
    "{% if m.role == 'assistant' %}{% set parts = m.content.split('</think>') %}"
    "{{ '<|im_start|>assistant\\n<think>\\n' + (parts[0].split('<think>')[-1].strip() if parts[1:] else '')"
    " + '\\n</think>\\n\\n' + parts[-1].lstrip() + '<|im_end|>\\n' }}{% else %}" + TURN + "{% endif %}"
)
R1_OWN = _each(
    "{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}"
    "{% else %}" + TURN + "{% endif %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
)
GEMMA_OWN = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
BAD: dict[str, tuple[str, ChatUse, str, str]] = {
    # name: template, use, part of the message, part of the hint
    "names a function": ("{{ raise_exception }}" + CHATML, PLAIN, "which differs from run to run", "call it with `()`"),
    "begins with a byte order mark": ("\ufeff" + CHATML, PLAIN, "a byte order mark", "save it without one"),
    "refuses a system turn": (GEMMA_OWN, BOTH, "fails with a system turn: templateerror: System role not", "from `prompt.system`"),
    "hides a system turn": (_each("{% if m.role != 'system' %}" + TURN + "{% endif %}"), BOTH, "does not show the turn of the system", "from `prompt.system`"),
    "hides the question beside a system turn": (_each("{% if not (m.role == 'user' and messages[0].role == 'system') %}" + TURN + "{% endif %}"), BOTH, "does not show the turn of the user", "the `content` of every turn"),
    "a constant for a question": (_each(TURN.replace("m.content", "('What is 6 times 7?' if m.role == 'user' else m.content)")), PLAIN, "does not show the turn of the user", ""),
    "a constant for a solution": (_each(TURN.replace("m.content", "('The answer is 42.' if m.role == 'assistant' else m.content)")), PLAIN, "changes a solution: 'a0", "as it is"),
    "long questions": (_each(_cut("m.content | length < 2000 or m.role != 'user'")), PLAIN, "does not show the turn of the user as it is", ""),
    "long solutions": (_each(_cut("m.content | length < 20000 or m.role != 'assistant'")), PLAIN, "changes a solution", ""),
    "short solutions": (_each(_cut("m.content | length > 1 or m.role != 'assistant'")), PLAIN, "changes a solution: ", ""),
    "many turns": (_each(_cut("loop.index < 6")), BOTH, "does not show the turn of the user", ""),
    "braces": (_each(TURN.replace("m.content", "m.content.replace('{{', '{')")), PLAIN, "does not show the turn of the user", ""),
    "blank lines": (_each(TURN.replace("m.content", "m.content.replace('\\n\\n', '\\n')")), PLAIN, "does not show the turn of the user", ""),
    "escapes": (_each(TURN.replace("m.content", "(m.content | e)")), PLAIN, "does not show the turn of the user", ""),
    "JSON": (_each(TURN.replace("m.content", "(m.content | tojson)")), PLAIN, "does not show the turn of the user", ""),
    "no prompt": (_each(TURN, ""), PLAIN, "writes '<|im_start|>assistant\\n' between prompt and solution, which no engine is sent", "with `add_generation_prompt` too"),
    "another prompt": (CHATML.replace("assistant\\n", "Assistant\\n"), PLAIN, "the prompt differs between training and test: an engine is sent", "what `add_generation_prompt` writes"),
    "by the number of turns": ("{{ 'a' if messages | length == 1 else 'b' }}" + CHATML, PLAIN, "differs between training and test", ""),
    "the system turn within the last question (Mistral's own)": (WITHIN_USER.replace("loop.index == 2", "loop.last"), BOTH, "differs between training and test", ""),
    "by add_generation_prompt": ("{{ 'a' if add_generation_prompt }}" + CHATML, PLAIN, "differs between training and test", ""),
    "never ends a turn": (_each(TURN.replace("<|im_end|>", "")), PLAIN, "never writes `special_tokens.eos`, `<|im_end|>`, right after a solution", "eos_token"),
    "ends a turn otherwise": (_each(TURN.replace("<|im_end|>", "<|eot_id|>")), PLAIN, "right after a solution: it writes '<|eot_id|>\\n'", "give the model the `eos`"),
    "ends a turn late": (_each(TURN.replace("<|im_end|>", "\\n<|im_end|>")), PLAIN, "writes '\\n' between a solution and its end of turn", ""),
    "ends a turn twice": (_each(TURN, "{% if not add_generation_prompt %}<|im_end|>{% endif %}" + ASKS), PLAIN, "`<|im_end|>`, twice", "stops at the first"),
    "ends a conversation": (_each(TURN, "{% if not add_generation_prompt %}<|endoftext|>{% endif %}" + ASKS), PLAIN, "writes '\\n<|endoftext|>' after the end of the last turn", ""),
    "Qwen3's, without a thought": (QWEN3_OWN, THINKS, "writes '<think>\\n\\n</think>\\n\\n' between prompt and solution without a thought", ""),
    "DeepSeek's": (R1_OWN, OPENED, "the prompt differs between training and test, before a solution with a thought", ""),
    "cuts thoughts": (_each(TURN.replace("m.content", "m.content.split('</think>')[-1]")), THINKS, "changes a solution with a thought", "thoughts too"),
    "cuts empty thoughts": (_each(TURN.replace("m.content", "m.content.replace('<think>\\n\\n</think>\\n\\n', '')")), THINKS, "changes a solution with a thought", ""),
    "opens every turn": (OPENING.replace(" and '</think>' in m.content", ""), OPENED, "opens a thought before an earlier turn without one", "only before a turn that contains `</think>`"),
    "reads a value": ("{{ effort }}" + CHATML, PLAIN, "reads `effort`, which nothing gives", "template_kwargs: {effort: VALUE}"),
    "asks for a value": ("{% if enable_thinking %}x{% endif %}" + CHATML, PLAIN, "reads `enable_thinking`, which nothing gives", "enable_thinking is defined"),
    "parts": (_each("{{ '<|im_start|>' + m.role + '\\n' }}{% for c in m.content %}{{ c }}{% endfor %}{{ '<|im_end|>\\n' }}"), PLAIN, "vLLM passes a content as a list of parts to a template that loops over `content`", "without a loop"),
    "parts that fail": (_each("{% for c in m.content %}{% endfor %}" + TURN), PLAIN, "and for that it fails: typeerror", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_template_is_refused_with_what_to_write(name: str) -> None:
    source, use, message, hint = BAD[name]
    found = chat_template_faults(source, "c.jinja", use)
    assert any(message in fault.message and hint in (fault.hint or "") for fault in found), found
    assert all(fault.where == "c.jinja:1" and fault.hint for fault in found)
    assert len(found) <= 4


def test_a_fault_of_the_syntax_has_its_line() -> None:
    (fault,) = chat_template_faults(CHATML + "\n\n{% if %}", "c.jinja", PLAIN)
    assert fault.where == "c.jinja:3" and fault.message.startswith("template syntax: Expected an expression")


@pytest.mark.parametrize("read", ["{{ x is defined }}", "{{ x | default('a') }}", "{{ x if x is defined }}"])
def test_a_value_with_a_default_need_not_be_given(read: str) -> None:
    assert chat_template_faults(read + CHATML, "c.jinja", PLAIN) == ()


def test_what_a_template_sets_itself_is_not_a_value_that_lacks() -> None:
    source = "{% if messages | length > 9 %}{% set long = true %}{% endif %}{{ 'x' if long }}" + CHATML
    assert own_names(source) == {"long", "m"}
    assert chat_template_faults(source, "c.jinja", PLAIN) == ()


def test_a_writer_may_have_a_template_that_no_training_could_use() -> None:
    """Only what is sent to it counts: questions, examples, a started answer."""
    use = ChatUse(asked=(False,), examples=True, starts=("You are",), marks=R1)
    assert chat_template_faults(R1_OWN, "c.jinja", use) == ()
    assert chat_template_faults(_each(TURN, ""), "c.jinja", ChatUse(asked=(False,))) == ()


@pytest.mark.parametrize(
    ("source", "start", "message"),
    [
        (OPENING, "You are", None),
        (OPENING, "<think>\n\n</think>\n\nYou are", "writes `<think>` before a `start` that begins with it"),
        (OPENING.replace("in m.content", "in m.content and '<think>' not in m.content"), "<think>\n</think>You", None),
        (OPENING, "\n</think>\n\nYou are", None),
        (
            OPENING.replace(" and '</think>' in m.content", ""),
            "You are",
            "opens a thought before a `start` without one",
        ),
        (
            _each("{% if m.role == 'user' %}" + TURN + "{% endif %}"),
            "You are",
            "does not show the turn of the assistant",
        ),
    ],
)
def test_a_started_answer(source: str, start: str, message: str | None) -> None:
    use = ChatUse(asked=(False,), examples=False, starts=(start,), marks=R1)
    found = [fault.message for fault in chat_template_faults(source, "c.jinja", use)]
    assert found == [] if message is None else any(message in item for item in found), found


def test_who_begins_the_thought() -> None:
    assert opening_fault("assistant\n<think>\n", "c", None) == (
        "`c` ends the prompt within `<think>`, and the model has no `thinking`: thoughts would be answers",
        'thinking: {start: "<think>", end: "</think>", opened_by: prompt}',
    )
    for marks in (None, QWEN3, PlainMarks("<think>", "</think>")):
        assert opening_fault("assistant\n<think>\n\n</think>\n\n", "c", marks) is None
        assert opening_fault(None, "c", marks) is None


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (CHATML, False),
        ("{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for c in m['content'] %}{{ c }}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for c in m['content'] | list %}{{ c }}{% endfor %}{% endfor %}", True),
        ("{% set content = messages[0].content %}{% for c in content %}{{ c }}{% endfor %}", True),
        ("{% macro f(x) %}{% for c in x %}{{ c }}{% endfor %}{% endmacro %}{{ f(messages[0].content) }}", True),
        ("{% macro f(x) %}{% for c in x %}{{ c }}{% endfor %}{% endmacro %}{{ f(x=messages[0].content) }}", True),
        ("{% macro f(x) %}{% for c in x %}{{ c }}{% endfor %}{% endmacro %}{{ f([1]) }}", False),
        ("{% for t in tools or [] %}{{ t }}{% endfor %}" + CHATML, False),
        ("{% for %}", False),
    ],
)
def test_where_vllm_passes_parts(source: str, parts: bool) -> None:
    assert reads_parts(source) is parts


def test_no_template_can_know_the_contents_beforehand() -> None:
    """They depend on the text of the template: one that writes those of another one shows nothing of its own."""
    asked = checked_chat_template(CHATML, "c", PLAIN)
    assert asked.faults == () and asked.prompt == "<|im_end|>\n<|im_start|>assistant\n"
    first = chat_template_faults("{{ messages[0].content }}", "c", ChatUse())[0]
    assert "the turn of the assistant" in first.message


def test_of_many_names_that_nothing_gives_some_are_named() -> None:
    found = chat_template_faults("".join(f"{{{{ x{at:02} }}}}" for at in range(30)) + CHATML, "c", PLAIN)
    assert [fault.message for fault in found][-1] == (
        "the chat template reads `x09`, which nothing gives; nor 20 more names"
    )
    assert len(found) == 10


SLOW = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "for long turns": _each("{% for a in m.content %}{% for b in m.content %}{% endfor %}{% endfor %}" + TURN),
    "memory": "{{ 'a' * 10**10 }}",
    "much text": "{% for a in range(9000) %}{{ 'abcdefgh' * 9999 }}{% endfor %}" + CHATML,
    "texts that grow": _each(TURN.replace("m.content", "m.content * 300")),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_or_large_template_ends_in_time(name: str) -> None:
    with processor_seconds(5):
        found: Any = chat_template_faults(SLOW[name], "c.jinja", BOTH)
        messages = [fault.message for fault in found]
        assert any("takes more than" in text or "characters for turns of" in text for text in messages), messages


# Mutants of good templates: whichever breaks a training in random conversations has a fault.

CHANGES = [
    *((r"'assistant'", "'user'"), (r"'system'", "'user'"), (r"m\\.content", "m.role"), (r"m\\.role", "m.content")),
    *(
        (r"in messages", "in messages[1:]"),
        (r"in messages", "in messages[:-1]"),
        (r"in messages", "in messages | reverse"),
    ),
    *((r"add_generation_prompt", "not add_generation_prompt"), (r"add_generation_prompt", "true")),
    *(
        (r"add_generation_prompt", "messages | length > 1"),
        (r"<\\|im_end\\|>", "<|endoftext|>"),
        (r"<\\|im_end\\|>", ""),
    ),
    *(
        (r"==", "!="),
        (r"\\band\\b", "or"),
        (r"\\bnot\\b", ""),
        (r"\\\\n", ""),
        (r"\\\\n", " "),
        (r"</think>", "</thinking>"),
    ),
    *((r"<think>", ""), (r" -?%}", " -%}"), (r"{% ", "{%- "), (r"{{ ", "{{- ")),
]
WRAPS = [
    *(
        "| trim",
        "| upper",
        "| title",
        "| e",
        "| tojson",
        "| truncate(200)",
        "| striptags",
        "| wordwrap(80)",
        "| indent",
    ),
    *("[:200]", "[:2000]", "[:20000]", "[1:]", "[:-1]", ".split('</think>')[-1]", ".split('\\n')[0]", ".rstrip('\\n')"),
    *(".replace('\\n\\n', '\\n')", ".replace('  ', ' ')", " if m.content | length < 1000 else ''"),
    *(" if m.content | length > 20 else ''", " if loop.index < 2 else ''", " if loop.index0 else ''"),
    *(
        " if '<' not in m.content else ''",
        " if messages | length < 3 else ''",
        " if '</think>' not in m.content else 'x'",
    ),
    *(" if messages[0].role != 'system' else ''", " if m.role != 'assistant' or loop.last else ''"),
    *(" if m.role != 'assistant' or not loop.last else ''", " if not add_generation_prompt else 'Solve it.'"),
]


def _mutants(source: str) -> Iterator[str]:
    pieces = re.split(r"(\{[{%].*?[}%]\})", source)
    for at, piece in enumerate(pieces):
        if piece.strip():
            yield "".join(pieces[:at] + pieces[at + 1 :])
            yield "".join([*pieces[:at], piece, *pieces[at:]])
            yield "".join(pieces[:at] + pieces[at + 1 : at + 3] + [piece] + pieces[at + 3 :])
    for pattern, new in [*CHANGES, *((r"m\.content(?!\))", f"(m.content{wrap})") for wrap in WRAPS)]:
        for found in re.finditer(pattern, source):
            yield source[: found.start()] + new + source[found.end() :]
        yield re.sub(pattern, lambda _, new=new: new, source)  # type: ignore[misc]


def _texts(chance: random.Random, size: int) -> str:
    words = [
        "The",
        "sum",
        "is",
        "42",
        "$x^2$",
        "\\frac{1}{2}",
        "\n",
        "\n\n",
        "  ",
        "<b>",
        "&",
        "\u00e9",
        "\u65e5",
        "{}",
        "1.",
    ]
    return "".join(f"{chance.choice(words)} " for _ in range(size)).strip() or "7"


def _breaks(source: str, use: ChatUse, chance: random.Random) -> bool:
    """Whether a template trains something else than prompt, answer and end of turn, or hides a turn."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = chat_trial.to_json
    try:
        template = environment.from_string(source)
        for system in use.trained:
            for size in (0, 1, 4, 30, 90, 300, 6000):
                asked, thought, answer = (_texts(chance, size) for _ in range(3))
                turns = [{"role": "system", "content": _texts(chance, 2 + size // 3)}] if system else []
                turns.append({"role": "user", "content": asked})
                prompt = template.render(messages=turns, add_generation_prompt=True, eos_token="<|im_end|>")
                if not all(turn["content"] in prompt for turn in turns):
                    return True
                body = f"{thought}\n</think>\n\n{answer}"
                opened = use.marks is not None and use.marks.opened_by == "prompt"
                for turn in [body] if opened else [answer, f"<think>\n{body}"] if use.thoughts else [answer]:
                    if not opened and turn != answer and prompt.rstrip().endswith("</think>"):
                        continue
                    row = [*turns, {"role": "assistant", "content": turn}]
                    whole = template.render(messages=row, add_generation_prompt=False, eos_token="<|im_end|>")
                    before, found, after = whole[len(prompt) :].partition(f"{turn}<|im_end|>")
                    if not whole.startswith(prompt) or not found or before.strip() or after.strip():
                        return True
    except (TemplateError, TypeError, ValueError):
        return True
    return False


@pytest.mark.parametrize(("source", "use"), [(CHATML, BOTH), (SWITCHED, THINKS), (OPENING, OPENED), (SPACED, BOTH)])
def test_no_mutant_that_breaks_a_training_passes(source: str, use: ChatUse, monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(text: str, chats: list[dict[str, Any]]) -> Any:
        """As the trial process does, in this one: there are hundreds."""
        found = chat_trial.tried({"source": text, "chats": json.loads(json.dumps(chats))})
        if "fault" in found:
            return str(found["fault"])
        results = [item["text"] if "text" in item else Fault("", item["fault"]) for item in found["results"]]
        return chat._Tried(results, found["undefined"])

    monkeypatch.setattr(chat, "_tried", tried)
    chance, broken = random.Random(3), 0
    for mutant in sorted(set(_mutants(source)) - {source}):
        if _breaks(mutant, use, chance):
            broken += 1
            check = checked_chat_template(mutant, "mutant", use)
            assert check.faults or opening_fault(check.prompt, "mutant", use.marks), mutant
    assert broken > 40
