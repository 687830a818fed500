"""The chat templates of model families: each renders what the family's own public pages show, and keeps every text.

Prompts are compared with literal texts. What a template writes beside them (the answer that is trained) is checked by
rules: the answer verbatim, then the end of turn once, and the prompt is what the text of training begins with.
"""

# ruff: noqa: RUF001 - the bars in DeepSeek's tokens

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from its.errors import DataError
from its.prompts.chat import chat_template_faults, generation_prompt, opening_fault, rendered_chats
from its.prompts.clock import clock_faults
from its.prompts.conversations import ChatUse
from its.thinking import OpenedBy, PlainMarks

PROMPTS = Path(__file__).parents[2] / "recipes" / "prompts"
Chat = list[dict[str, str]]

SYSTEM, USER, ASSISTANT = "You are a pirate.", "What is 2+2?", "It is 4."
THOUGHT = "<think>\nTwo and two.\n</think>\n\nIt is 4."
ONE: Chat = [{"role": "user", "content": USER}]
TOLD: Chat = [{"role": "system", "content": SYSTEM}, *ONE]
SHOTS: Chat = [*TOLD, {"role": "assistant", "content": ASSISTANT}, {"role": "user", "content": "And 3+3?"}]


class Family(NamedTuple):
    """A template and what it writes.

    Args:
        file: in `recipes/prompts/`.
        end: the token that ends a turn.
        one, told, shots: the prompts of a question, with a system turn, and after an answered question.
        kwargs: set at the top of the template, as values of `template_kwargs` are.
        opening: what the prompt says after the marks of the assistant's turn.
        system: whether the format has a place for a system turn.
    """

    file: str
    end: str
    one: str
    told: str
    shots: str
    kwargs: str = ""
    opening: str = ""
    system: bool = True


# https://huggingface.co/Qwen/Qwen2.5-7B-Instruct: the default system turn that its tokenizer writes.
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
CHATML_ONE = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
CHATML_TOLD = f"<|im_start|>system\nYou are a pirate.<|im_end|>\n{CHATML_ONE}"
CHATML_SHOTS = f"{CHATML_TOLD}It is 4.<|im_end|>\n<|im_start|>user\nAnd 3+3?<|im_end|>\n<|im_start|>assistant\n"
# https://huggingface.co/blog/qwen-3-chat-template-deep-dive: `enable_thinking=False` ends the prompt so; earlier
# answers have no thought.
QWEN3_OFF = "<think>\n\n</think>\n\n"
# https://huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B: tokenizer_config.json since its commit 530ca3e1.
R1_ONE = "<｜User｜>What is 2+2?<｜Assistant｜>"
R1_SHOTS = (
    "<｜begin▁of▁sentence｜>You are a pirate.<｜User｜>What is 2+2?<｜Assistant｜>It is 4.<｜end▁of▁sentence｜>"
    "<｜User｜>And 3+3?<｜Assistant｜><think>\n"
)
# https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct/discussions/14: a conversation as its tokenizer renders it.
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
LLAMA_ONE = (
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
LLAMA_SHOTS = (
    f"{LLAMA}You are a pirate.{LLAMA_ONE}It is 4.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd 3+3?"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)
# https://huggingface.co/HuggingFaceTB/SmolLM3-3B/blob/main/chat_template.jinja: without tools nothing closes the system
# turn, and with /no_think every answer follows an empty thought.
SMOLLM3 = (
    "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 08 July 2025\n"
    "Reasoning Mode: {}\n\n## Custom Instructions\n\n"
)
SMOLLM3_OFF = "<think>\n\n</think>\n"
SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face.\n\n"
PIRATE = "You are a pirate.\n\n"


def dated(text: str) -> str:
    return text.replace("26 Jul 2024", "01 Jan 2026")


FAMILIES = {
    # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, without the default system turn of its own template
    "chatml": Family("chatml", "<|im_end|>", CHATML_ONE, CHATML_TOLD, CHATML_SHOTS),
    "qwen2_5": Family("qwen2_5", "<|im_end|>", QWEN + CHATML_ONE, CHATML_TOLD, CHATML_SHOTS),
    "qwen3": Family("qwen3", "<|im_end|>", CHATML_ONE, CHATML_TOLD, CHATML_SHOTS),
    "qwen3-off": Family(
        "qwen3",
        "<|im_end|>",
        CHATML_ONE + QWEN3_OFF,
        CHATML_TOLD + QWEN3_OFF,
        CHATML_SHOTS + QWEN3_OFF,
        "enable_thinking = false",
        QWEN3_OFF,
    ),
    "r1_distill": Family(
        "r1_distill",
        "<｜end▁of▁sentence｜>",
        f"<｜begin▁of▁sentence｜>{R1_ONE}<think>\n",
        f"<｜begin▁of▁sentence｜>You are a pirate.{R1_ONE}<think>\n",
        R1_SHOTS,
        opening="<think>\n",
    ),
    "llama3": Family("llama3", "<|eot_id|>", LLAMA + LLAMA_ONE, f"{LLAMA}You are a pirate.{LLAMA_ONE}", LLAMA_SHOTS),
    "llama3-date": Family(
        "llama3",
        "<|eot_id|>",
        dated(LLAMA + LLAMA_ONE),
        dated(f"{LLAMA}You are a pirate.{LLAMA_ONE}"),
        dated(LLAMA_SHOTS),
        kwargs="date_string = '01 Jan 2026'",
    ),
    # https://huggingface.co/google/gemma-3-1b-it and https://ai.google.dev/gemma/docs/core/prompt-structure
    "gemma3": Family(
        "gemma3",
        "<end_of_turn>",
        "<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n",
        "",
        "<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\nIt is 4.<end_of_turn>\n"
        "<start_of_turn>user\nAnd 3+3?<end_of_turn>\n<start_of_turn>model\n",
        system=False,
    ),
    # https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.3/discussions/37: "<s>[INST] Hello[/INST] Hi there!</s>
    # [INST] How are you?[/INST]"; a system turn stands before the last question, as mistral-common does it.
    "mistral": Family(
        "mistral",
        "</s>",
        "<s>[INST] What is 2+2?[/INST]",
        "<s>[INST] You are a pirate.\n\nWhat is 2+2?[/INST]",
        "<s>[INST] What is 2+2?[/INST] It is 4.</s>[INST] You are a pirate.\n\nAnd 3+3?[/INST]",
    ),
    # https://huggingface.co/mistralai/Mistral-Small-24B-Instruct-2501, "Basic Instruct Template (V7-Tekken)"
    "mistral_v7": Family(
        "mistral_v7",
        "</s>",
        "<s>[INST]What is 2+2?[/INST]",
        "<s>[SYSTEM_PROMPT]You are a pirate.[/SYSTEM_PROMPT][INST]What is 2+2?[/INST]",
        "<s>[SYSTEM_PROMPT]You are a pirate.[/SYSTEM_PROMPT][INST]What is 2+2?[/INST]It is 4.</s>[INST]And 3+3?[/INST]",
    ),
    # https://huggingface.co/microsoft/phi-4, "Input Formats"
    "phi4": Family(
        "phi4",
        "<|im_end|>",
        "<|im_start|>user<|im_sep|>What is 2+2?<|im_end|><|im_start|>assistant<|im_sep|>",
        "<|im_start|>system<|im_sep|>You are a pirate.<|im_end|>"
        "<|im_start|>user<|im_sep|>What is 2+2?<|im_end|><|im_start|>assistant<|im_sep|>",
        "<|im_start|>system<|im_sep|>You are a pirate.<|im_end|>"
        "<|im_start|>user<|im_sep|>What is 2+2?<|im_end|><|im_start|>assistant<|im_sep|>It is 4.<|im_end|>"
        "<|im_start|>user<|im_sep|>And 3+3?<|im_end|><|im_start|>assistant<|im_sep|>",
    ),
    # https://huggingface.co/microsoft/Phi-4-mini-instruct, "Chat format"
    "phi4_mini": Family(
        "phi4_mini",
        "<|end|>",
        "<|user|>What is 2+2?<|end|><|assistant|>",
        "<|system|>You are a pirate.<|end|><|user|>What is 2+2?<|end|><|assistant|>",
        "<|system|>You are a pirate.<|end|><|user|>What is 2+2?<|end|><|assistant|>It is 4.<|end|>"
        "<|user|>And 3+3?<|end|><|assistant|>",
    ),
    # https://huggingface.co/microsoft/Phi-3.5-mini-instruct, "Input Formats"
    "phi3_5": Family(
        "phi3_5",
        "<|end|>",
        "<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\n",
        "<|system|>\nYou are a pirate.<|end|>\n<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\n",
        "<|system|>\nYou are a pirate.<|end|>\n<|user|>\nWhat is 2+2?<|end|>\n<|assistant|>\nIt is 4.<|end|>\n"
        "<|user|>\nAnd 3+3?<|end|>\n<|assistant|>\n",
    ),
    "smollm3": Family(
        "smollm3",
        "<|im_end|>",
        SMOLLM3.format("/think") + SMOLLM + CHATML_ONE,
        SMOLLM3.format("/think") + PIRATE + CHATML_ONE,
        SMOLLM3.format("/think")
        + PIRATE
        + CHATML_SHOTS.removeprefix("<|im_start|>system\nYou are a pirate.<|im_end|>\n"),
    ),
    "smollm3-off": Family(
        "smollm3",
        "<|im_end|>",
        SMOLLM3.format("/no_think") + SMOLLM + CHATML_ONE + SMOLLM3_OFF,
        SMOLLM3.format("/no_think") + PIRATE + CHATML_ONE + SMOLLM3_OFF,
        SMOLLM3.format("/no_think")
        + PIRATE
        + CHATML_SHOTS.removeprefix("<|im_start|>system\nYou are a pirate.<|im_end|>\n").replace(
            "assistant\n", "assistant\n" + SMOLLM3_OFF
        ),
        "enable_thinking = false",
        SMOLLM3_OFF,
    ),
}
WHO: list[OpenedBy] = ["prompt", "model"]
EACH = pytest.mark.parametrize("name", FAMILIES)


def source_of(name: str) -> str:
    """The text of a template, with its values as `template_kwargs` writes them into it."""
    family = FAMILIES[name]
    text = (PROMPTS / f"{family.file}.jinja").read_text(encoding="utf-8")
    return f"{{%- set {family.kwargs} %}}\n{text}" if family.kwargs else text


def rendered(name: str, *chats: Chat, prompt: bool = False) -> list[str]:
    return rendered_chats(source_of(name), [{"messages": chat, "add_generation_prompt": prompt} for chat in chats])


def pairs(name: str, rows: list[tuple[Chat, str]]) -> list[tuple[str, str]]:
    """The prompt of each chat, and the text of the chat with its answer; all in one process."""
    given = [
        {"messages": messages, "add_generation_prompt": prompt}
        for chat, answer in rows
        for messages, prompt in ((chat, True), (answered(chat, answer), False))
    ]
    texts = rendered_chats(source_of(name), given)
    return list(zip(texts[::2], texts[1::2], strict=True))


def answered(chat: Chat, answer: str) -> Chat:
    return [*chat, {"role": "assistant", "content": answer}]


def chats_of(name: str) -> list[Chat]:
    shots = SHOTS if FAMILIES[name].system else SHOTS[1:]
    return [ONE, TOLD, shots] if FAMILIES[name].system else [ONE, shots]


def test_every_chat_template_is_listed() -> None:
    assert {family.file for family in FAMILIES.values()} == {path.stem for path in PROMPTS.glob("*.jinja")}
    assert len({family.file for family in FAMILIES.values()}) == 12


@EACH
def test_prompts_are_those_of_the_public_pages(name: str) -> None:
    family = FAMILIES[name]
    expected = [family.one, family.told, family.shots] if family.system else [family.one, family.shots]
    assert rendered(name, *chats_of(name), prompt=True) == expected


@EACH
def test_it_passes_the_checks_of_a_recipe(name: str) -> None:
    """It needs no `date`, and its prompt ends in a thought only if the family's does."""
    source, family, opens = source_of(name), FAMILIES[name], name == "r1_distill"
    use = ChatUse(
        trained=(False, True) if family.system else (False,),
        asked=(False, True) if family.system else (False,),
        starts=("You are a",),
        system_of="`prompt.system`",
        tokens=(("eos_token", family.end),),
        marks=PlainMarks("<think>", "</think>", "prompt" if opens else "model"),
        thoughts=not family.opening.endswith("</think>\n\n") and not family.kwargs.startswith("enable"),
        plain=not opens,
    )
    assert chat_template_faults(source, name, use) == ()
    assert clock_faults(source, name, None) == []
    prompt = generation_prompt(source) or ""
    assert prompt.endswith(family.opening)
    found = {who: opening_fault(prompt, name, PlainMarks("<think>", "</think>", who)) for who in WHO}
    assert [who for who in WHO if found[who] is None] == ["prompt" if opens else "model"]


@EACH
def test_it_writes_the_same_whatever_a_renderer_does_with_line_breaks(name: str) -> None:
    """Other renderers (servers in C++, the sandbox of ITS) may not trim blocks as transformers does."""
    plain = ImmutableSandboxedEnvironment()
    plain.globals["raise_exception"] = str
    chats = chats_of(name)
    template = plain.from_string(source_of(name).replace("%}\n", "%}", 1) if FAMILIES[name].kwargs else source_of(name))
    texts = [text for pair in pairs(name, [(chat, THOUGHT) for chat in chats]) for text in pair]
    assert texts == [
        template.render(messages=messages, add_generation_prompt=prompt)
        for chat in chats
        for messages, prompt in ((chat, True), (answered(chat, THOUGHT), False))
    ]


def awkward(seed: int) -> str:
    """A text with white space at its ends, braces, marks of Jinja, quotes, other scripts."""
    pieces = [
        " ",
        "\n",
        "\t",
        "{{ x }}",
        "{% if %}",
        "{#",
        "\\frac{{1}}{2}",
        '"',
        "'",
        "\\n",
        "ж",
        "你",
        "[INST]",
        "a",
        "4",
    ]
    chosen = random.Random(seed)
    return "".join(chosen.choice(pieces) for _ in range(chosen.randrange(1, 12))) + "x"


@EACH
def test_every_text_stands_as_it_is_and_training_begins_with_the_prompt(name: str) -> None:
    """The rules of the parity proof, on awkward texts."""
    family = FAMILIES[name]
    rows: list[tuple[Chat, str]] = []
    for seed in range(20):
        told, asked, answer, end = (awkward(10 * seed + number) for number in range(4))
        chat: Chat = [{"role": "system", "content": told}] if family.system else []
        thought = "</think>" if family.opening == "<think>\n" else ""
        rows.append(([*chat, {"role": "user", "content": asked}], f"{answer[::-1]}{thought}{end} \n"))
    for (chat, answer), (prompt, whole) in zip(rows, pairs(name, rows), strict=True):
        assert whole.startswith(prompt + answer + family.end)
        rest = whole.removeprefix(prompt + answer)
        assert rest.strip() == family.end
        assert all(turn["content"] in prompt for turn in chat)


@EACH
def test_a_plain_answer_and_one_with_a_thought_follow_the_prompt(name: str) -> None:
    """With R1's template only an answer with a thought can: its prompt has begun one."""
    family, opening = FAMILIES[name], "<think>\n" if name == "r1_distill" else ""
    answers = [ASSISTANT, "4", "\\boxed{4}", THOUGHT.removeprefix(opening)]
    rows = [(chat, answer) for chat in chats_of(name) for answer in answers]
    for (_, answer), (prompt, whole) in zip(rows, pairs(name, rows), strict=True):
        follows = name != "r1_distill" or "</think>" in answer
        assert whole.startswith(prompt + answer + family.end) == follows
        assert whole.startswith(prompt) == follows


@EACH
def test_a_started_answer_is_continued(name: str) -> None:
    """As transformers 5.16 does it: it appends a mark to the last turn and cuts the text before it.

    A started answer is a persona: R1's template opens no thought for it.
    """
    family, mark = FAMILIES[name], "CONTINUE_FINAL_MESSAGE_TAG "
    rows = [(chat, start + mark) for chat in chats_of(name) for start in ("You are a", "You")]
    for (_, answer), (prompt, whole) in zip(rows, pairs(name, rows), strict=True):
        opened = prompt.removesuffix(family.opening) if name == "r1_distill" else prompt
        assert whole[: whole.rindex(mark.strip())] == opened + answer.removesuffix(mark)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "chatml"])  # it has a turn for every role
def test_what_a_family_has_no_turn_for_is_refused(name: str) -> None:
    family = FAMILIES[name]
    with pytest.raises(DataError, match=family.file if family.file != "gemma3" else "Gemma") as found:
        rendered(name, [*ONE, {"role": "tool", "content": "4"}])
    assert found.value.message.startswith("the chat template fails: ")
    if not family.system:
        with pytest.raises(DataError, match="system turn"):
            rendered(name, TOLD, prompt=True)
