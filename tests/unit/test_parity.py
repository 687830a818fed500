"""Prompts that engines were sent, held against those that training saw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_tokenizer import CHATML, TinyTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from its.engines.protocol import Completion, EngineModel, Request
from its.errors import DataError, RunError
from its.parity import COMPARED, NO_PROOF, PromptCheck
from its.prompts.token_ids import PromptReader

CHAT = [{"role": "user", "content": "1 + 1?"}]
OTHER = CHATML.replace("assistant\\n", "assistant\\n<think>\\n\\n</think>\\n\\n")


def _sha256(chat: Sequence[dict[str, str]], template: str = CHATML) -> str:
    """As training and engines make it."""
    made = TinyTokenizer(template=template)
    text = made.apply_chat_template(list(chat), add_generation_prompt=True, tokenize=False)
    ids = made(text, add_special_tokens=False)["input_ids"]
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _model(folder: Path, name: str = "m", template: str = CHATML, **change: Any) -> EngineModel:
    folder.mkdir(exist_ok=True)
    TinyTokenizer(template=template).save(folder)
    return replace(EngineModel(name, str(folder), "f", "bfloat16", 64), **change)


def _probes(*chats: list[dict[str, str]], template: str = CHATML) -> list[dict[str, Any]]:
    return [{"messages": chat, "prompt_sha256": _sha256(chat, template)} for chat in chats or (CHAT,)]


def _answer(chat: list[dict[str, str]], sha256: str | None, index: int = 0) -> tuple[Request, Completion]:
    name = f"m/set/p{index}/none/0"
    return Request(name, chat, {"temperature": 0.0}, 1, model="m"), Completion(name, "text", "stop", 9, 3, sha256)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_the_ids_are_those_of_the_tokenizer_and_the_template(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("m")
    _model(folder)
    reader = PromptReader(folder / "tokenizer.json", CHATML, {})
    chats = [[{"role": "system", "content": text}, {"role": "user", "content": text[::-1]}] for text in texts]
    assert list(reader.prompt_hashes(chats)) == [_sha256(chat) for chat in chats]


def test_a_template_gets_what_transformers_gives_it(tmp_path: Path) -> None:
    _model(tmp_path)
    template = (
        "{{ bos_token }}{% if tools is none and documents is none %}{% set x = namespace(n=0) %}{% for m in messages %}"
        "{% set x.n = x.n + 1 %}{{ x.n }}{{ m.content.strip() | tojson }}{% endfor %}{% endif %}"
    )
    reader = PromptReader(tmp_path / "tokenizer.json", template, {"bos_token": "<|im_start|>"})
    ids = [1, *(10 + byte for byte in b'1"1 + 1?"')]
    assert list(reader.prompt_hashes([CHAT])) == [hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system turn') }}", "the chat template fails: templateerror: no system turn"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "processor time"),
    ],
)
def test_a_template_that_fails_is_told_and_bounded(tmp_path: Path, template: str, message: str) -> None:
    _model(tmp_path)
    with pytest.raises(DataError, match=message):
        list(PromptReader(tmp_path / "tokenizer.json", template, {}).prompt_hashes([CHAT]))


def test_equal_prompts_pass_and_unlike_ones_are_named(tmp_path: Path) -> None:
    check = PromptCheck([_model(tmp_path / "m")], {"m": _probes()}, fetch=True)
    chats = [[{"role": "user", "content": f"{index}?"}] for index in range(9)]
    check.learn(chats)
    check.check(_answer(chat, _sha256(chat), at) for at, chat in enumerate(chats))
    answers = [_answer(chat, _sha256(chat, OTHER if at % 2 else CHATML), at) for at, chat in enumerate(chats)]
    with pytest.raises(RunError) as caught:
        check.check(answers)
    assert caught.value.message.startswith(
        "4 responses are refused, since training and test would see different prompts: "
    )
    assert "the 9 prompt ids of `m/set/p1/none/0` are not those" in caught.value.message
    assert caught.value.message.endswith("; and 1 more")
    for request, completion in answers:
        check.count(request, completion)
    with pytest.raises(RunError, match=r"^4 responses are refused"):
        check.refuse()


def test_every_id_counts(tmp_path: Path) -> None:
    """One id more, less or other, anywhere in a prompt, is another prompt."""
    check = PromptCheck([_model(tmp_path / "m")], {"m": _probes()}, fetch=True)
    check.learn([CHAT])
    made = TinyTokenizer()
    text = made.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False)
    ids = made(text, add_special_tokens=False)["input_ids"]
    for at in range(len(ids)):
        for unlike in (
            [*ids[:at], 7, *ids[at:]],
            [*ids[:at], *ids[at + 1 :]],
            [*ids[:at], ids[at] + 1, *ids[at + 1 :]],
        ):
            sha256 = hashlib.sha256(",".join(map(str, unlike)).encode()).hexdigest()
            with pytest.raises(RunError):
                check.check([_answer(CHAT, sha256)])


def test_what_a_model_is_served_with_has_to_give_the_prompts_of_its_training(tmp_path: Path) -> None:
    """An adapter over a base with another template, a tokenizer that was changed after the training."""
    served = _model(tmp_path / "m", template=OTHER)
    with pytest.raises(RunError, match=r"make other ids than training for 1 of 1 prompts, the first: '1 \+ 1\?'"):
        PromptCheck([served], {"m": _probes()}, fetch=True)
    PromptCheck([served], {"m": _probes(template=OTHER)}, fetch=True)
    PromptCheck([replace(served, chat_template=CHATML)], {"m": _probes()}, fetch=True)


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    untold = _model(tmp_path / "u", "m")
    broken = _model(tmp_path / "b", "broken")
    (tmp_path / "b" / "tokenizer.json").write_text("{}", encoding="utf-8")
    silent = _model(tmp_path / "s", "silent")
    (tmp_path / "s" / "chat_template.jinja").unlink()
    models = [
        untold,
        broken,
        silent,
        _model(tmp_path / "good", "good"),
        _model(tmp_path / "unproven", "unproven"),
        EngineModel("absent", "", "f", "bfloat16", 64),
        EngineModel("hub", "owner/name", "f", "bfloat16", 64),
        EngineModel("bare", str(tmp_path / "bare"), "f", "bfloat16", 64),
    ]
    check = PromptCheck(models, {"m": _probes(), "good": _probes()}, fetch=False)
    check.learn([CHAT])
    for _ in range(3):
        check.count(*_answer(CHAT, None))
    check.refuse()
    account = check.account()
    assert account.pop("broken").startswith(f"not compared: {tmp_path / 'b' / 'tokenizer.json'}: not a readable")
    assert account == {
        "m": "not compared: the engine reported no ids for 3 prompts",
        "good": COMPARED,
        "unproven": NO_PROOF,
        "silent": "not compared: the model has no chat template",
        "absent": "not compared: the model is not here",
        "hub": "not compared: a model of the hub that was served elsewhere",
        "bare": "not compared: the model has no `tokenizer.json`",
    }


def test_each_model_learns_the_prompts_of_its_own_frame(tmp_path: Path) -> None:
    """A frame may have a turn that another model's template refuses."""
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
    models = [_model(tmp_path / "m"), _model(tmp_path / "strict", "strict", strict)]
    check = PromptCheck(models, {"m": _probes(), "strict": _probes()}, fetch=False)
    framed = [{"role": "system", "content": "be brief"}, *CHAT]
    check.learn([framed], ["m", "unknown"])
    check.learn([CHAT], ["strict"])
    check.check([_answer(framed, _sha256(framed))])
    with pytest.raises(DataError, match="no system turn"):
        check.learn([framed])
