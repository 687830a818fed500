"""Whether a chat template of a recipe can be used: it parses, renders in bounded time, and shows its turns.

Chat templates are written for the environment of transformers, which has more than the sandbox of ITS: string methods,
`namespace`, `macro`. Those that do not need it are tried in the sandbox; the others in a separate process whose
processor time and memory the kernel limits. The engines render them in transformers' sandbox, per conversation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault
from its.prompts.render import render
from its.prompts.sandbox import MAX_CHARACTERS
from its.shown import shown, unshowable
from its.thinking import Marks, PlainMarks, cut_thinking

TRIAL = Path(__file__).parent / "workers" / "chat_trial.py"
TRIAL_SECONDS = 2  # of processor time, plus
CHATS_A_SECOND = 50  # at least: ordinary templates take a hundredth of that
WAIT_SECONDS = 30.0  # wall time beyond it: a busy machine may be slow to start the trial

_QUESTION, _ANSWER = "What is 6 times 7?", "The answer is 42."
_CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": _QUESTION}], "add_generation_prompt": True},
    {
        "messages": [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}],
        "add_generation_prompt": False,
    },
]
_BESIDE: dict[str, Any] = {
    **{name: f"<{name}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")},
    **{"tools": None, "documents": None},  # as transformers passes them
}


@lru_cache(maxsize=32)
def chat_template_faults(source: str, name: str) -> tuple[Fault, ...]:
    """Every fault of a chat template that two short conversations reveal.

    Args:
        source: the template.
        name: its name in faults, e.g. its path.
    """
    if len(source) > MAX_CHARACTERS:
        return (Fault(f"{name}:1", f"the template has {len(source)} characters; the limit is {MAX_CHARACTERS}"),)
    texts = _texts(source, name)
    if isinstance(texts, str):
        return (Fault(f"{name}:1", texts, "it is rendered as transformers renders chat templates"),)
    for chat, text in zip(_CHATS, texts, strict=True):
        if found := unshowable(text):
            return (Fault(f"{name}:1", f"the chat template writes {found}"),)
        for turn in chat["messages"]:
            if turn["content"] not in text:
                message = f"the chat template does not show the turn of the {turn['role']}"
                return (Fault(f"{name}:1", message, "the text must contain the `content` of every turn"),)
    return ()


def default_template(found: Any) -> str | None:
    """The chat template in a `tokenizer_config.json`: a text, or the one named `default` of several."""
    if isinstance(found, list):
        found = next(
            (item.get("template") for item in found if isinstance(item, dict) and item.get("name") == "default"), None
        )
    return found if isinstance(found, str) else None


def generation_prompt(source: str, name: str) -> str | None:
    """What a chat template writes after a question, before the model continues; None if it fails."""
    texts = _texts(source, name) if len(source) <= MAX_CHARACTERS else ""
    return None if isinstance(texts, str) else texts[0].rpartition(_QUESTION)[2]


def opening_fault(source: str, name: str, marks: Marks) -> tuple[str, str] | None:
    """The fault if `opened_by` contradicts the template, and the remedy; None if it agrees, or the template fails.

    Args:
        source: the chat template.
        name: its name in the fault.
        marks: as the recipe declares them.
    """
    prompt, opened_by = generation_prompt(source, name), marks.opened_by
    if prompt is None:
        return None
    opens = not cut_thinking(prompt, PlainMarks(marks.start.strip(), marks.end.strip(), "model"), False).finished
    start = shown(marks.start)
    if opens and opened_by != "prompt":
        return (
            f"`{name}` ends the prompt within `{start}`: every response begins within a thought",
            "`opened_by: prompt`",
        )
    if opened_by == "prompt" and not opens:
        wrong = f"`{name}` does not end the prompt within `{start}`: an answer without marks would be a thought"
        return wrong, "`opened_by: model`"
    return None


def closes_thought(source: str, name: str, marks: Marks) -> bool:
    """Whether a chat template ends the prompt after a thought, as Qwen3's does with `enable_thinking: false`.

    Args:
        source: the chat template, with its values written into it.
        name: its name in faults.
        marks: as the recipe declares them.
    """
    prompt = generation_prompt(source, name)
    return prompt is not None and prompt.rstrip().endswith(marks.end.strip())


@lru_cache(maxsize=32)
def _texts(source: str, name: str) -> list[str] | str:
    """The text of each conversation, or what is wrong with the template."""
    chats = [chat | _BESIDE for chat in _CHATS]
    try:
        return [render(source, name, chat) for chat in chats]
    except DataError:
        return _tried(source, chats)


def rendered_chats(source: str, chats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The text of each conversation, rendered as in transformers, in a separate process.

    Args:
        source: the chat template.
        chats: {messages, add_generation_prompt} and the named tokens of each.

    Raises:
        DataError: if the template fails on one, or takes too long.
    """
    texts = _tried(source, [{"tools": None, "documents": None, **chat} for chat in chats])
    if isinstance(texts, str):
        raise DataError(texts, "an engine could not render it either")
    return texts


def _tried(source: str, chats: list[dict[str, Any]]) -> list[str] | str:
    """The texts, or what is wrong with the template, from a separate process."""
    seconds = TRIAL_SECONDS + len(chats) // CHATS_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(TRIAL), str(seconds)],
            input=json.dumps({"source": source, "chats": chats}).encode(),
            capture_output=True,
            env={},
            timeout=WAIT_SECONDS + seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the chat template does not finish within {WAIT_SECONDS + seconds:.0f} s"
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return f"the chat template takes more than {seconds} s of processor time or 1 GiB of memory"
    texts: list[str] | str = found["fault"] if "fault" in found else found["texts"]
    return texts
