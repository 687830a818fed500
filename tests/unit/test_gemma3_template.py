"""The chat template of Gemma 3: what the model's makers publish, content verbatim, and no system turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.prompts.render import read_template

TEMPLATE = Path(__file__).parents[2] / "recipes" / "prompts" / "gemma3.jinja"


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _rendered(*turns: tuple[str, str], prompt: bool = False) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as transformers sets it
    environment.globals["raise_exception"] = _refuse
    messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
    return environment.from_string(read_template(TEMPLATE)).render(messages=messages, add_generation_prompt=prompt)


def test_a_dialog_has_the_form_that_is_published() -> None:
    assert _rendered(("user", "Hello there"), ("assistant", "Hi."), ("user", "Why?"), prompt=True) == (
        "<bos><start_of_turn>user\nHello there<end_of_turn>\n<start_of_turn>model\nHi.<end_of_turn>\n"
        "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_prompt_is_the_beginning_of_the_row_that_is_trained() -> None:
    whole = _rendered(("user", "q"), ("assistant", "a"))
    prompt = _rendered(("user", "q"), prompt=True)
    assert whole == prompt + "a<end_of_turn>\n"


@pytest.mark.parametrize("content", [" a ", "\na\n\n", "a  ", r"\frac{{1}}{2} {# x #}", "<td>", "{{ x }}"])
def test_content_is_verbatim(content: str) -> None:
    assert f"<start_of_turn>model\n{content}<end_of_turn>\n" in _rendered(("user", "q"), ("assistant", content))
    assert f"<start_of_turn>user\n{content}<end_of_turn>\n" in _rendered(("user", content))


def test_a_system_turn_is_refused_with_the_way_out() -> None:
    with pytest.raises(TemplateError, match=r"no system turn: put the text into the first user turn \(`prompt.user`\)"):
        _rendered(("system", "Think."), ("user", "q"))


def test_a_turn_of_another_role_is_refused() -> None:
    with pytest.raises(TemplateError, match="not of `tool`"):
        _rendered(("user", "q"), ("tool", "x"))
