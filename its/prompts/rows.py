"""Whether a chat template writes a row to train on as an engine is sent its prompt and as the model is to answer.

The proof within a training (`its_axolotl.py`) compares every row as it reaches the loss; here a few rows are
compared with their prompts, and every row shows its turns, without the training environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from its.shown import quoted
from its.thinking import Marks

SHOWN = 60
_OWN = "a copy of it that {} as `models.{}.chat_template`"


class RowFault(NamedTuple):
    """What is wrong with a row; `kind` is the same for the same fault of another row."""

    kind: str
    message: str
    hint: str


def prompt_fault(model: str, turns: Sequence[Mapping[str, str]], text: str) -> RowFault | None:
    """The fault of a prompt that does not show one of its turns, or None; outer white space may be trimmed.

    Args:
        model: its name in the recipe.
        text: the rendered prompt.
    """
    for turn in turns:
        if turn["content"].strip() not in text:
            role = turn["role"]
            wrong = f"does not show the {role} turn: {_shown(turn['content'])}"
            hint = _OWN.format(f"writes `message.content` of the {role} turn", model)
            if role == "system":
                hint = f"`prompt.models: {{{model}: {{system: null}}}}`, or {hint}"
            return RowFault(f"drops {role}", wrong, hint)
    return None


def shows_row(chat: Sequence[Mapping[str, str]], text: str, end_of_turn: str) -> bool:
    """Whether a rendered row ends in its solution and the end of turn, with every other turn before them.

    `prompt_fault` and `row_fault` find more, and say what is wrong; this needs no other text.
    """
    behind = chat[-1]["content"] + end_of_turn
    text = text.rstrip()
    if not text.endswith(behind.rstrip()):
        return False
    before = text[: len(text) - len(behind.rstrip())]
    return all(turn["content"].strip() in before for turn in chat[:-1])


def row_fault(
    model: str,
    prompt: tuple[str, Sequence[int]],
    whole: tuple[str, Sequence[int]],
    turn: str,
    end_of_turn: tuple[str, int],
    marks: Marks | None,
) -> RowFault | None:
    """The fault of one row, or None.

    Args:
        model: its name in the recipe.
        prompt: the text with the generation prompt, and its ids.
        whole: the text with the assistant's turn, and its ids.
        turn: the content of the assistant's turn.
        end_of_turn: the token, and its id.
        marks: around a thought in `turn`, if there are some.
    """
    asked, asked_ids = prompt
    full, full_ids = whole
    if not full.startswith(asked):
        at = next((i for i, pair in enumerate(zip(asked, full, strict=False)) if pair[0] != pair[1]), len(full))
        begin = max(0, at - 10)
        return RowFault(
            "prompt",
            f"gives training another prompt than the engine: from character {at} the engine receives "
            f"{_shown(asked[begin:])}, training {_shown(full[begin:])}",
            _OWN.format("writes the same before the assistant's turn with and without `add_generation_prompt`", model),
        )
    rest = full[len(asked) :]
    text, id_ = end_of_turn
    before, found, after = rest.partition(turn + text)
    if not found:
        return _changed(model, rest, turn, text, marks)
    if before.strip():
        return RowFault(
            "between",
            f"writes {_shown(before)} between the prompt and the solution, which no engine receives: "
            "training would see another prompt",
            _OWN.format("writes it in both or in none", model),
        )
    if list(full_ids[: len(asked_ids)]) != list(asked_ids):
        return RowFault(
            "merged",
            "gives training other ids than the engine: the tokenizer joins the end of the prompt, "
            f"{_shown(asked[-20:])}, with the beginning of the solution, {_shown(rest)}",
            _OWN.format(
                "ends the prompt in a special token or a line end, and begins the turn without white space", model
            ),
        )
    ends = list(full_ids[len(asked_ids) :]).count(id_)
    if ends != 1:
        return RowFault(
            "ends",
            f"writes the end of turn `{text}` {ends} times in the assistant's turn: the model stops at the first",
            _OWN.format("writes it once", model) if turn.count(text) == 0 else "remove it from the solution",
        )
    if after.strip():
        return RowFault(
            "after",
            f"writes {_shown(after)} after the end of turn `{text}`, where only white space is expected",
            _OWN.format(f"ends the assistant's turn with `{text}`", model),
        )
    return None


def _changed(model: str, rest: str, turn: str, end: str, marks: Marks | None) -> RowFault:
    """Why the solution and the end of turn are not in what the template writes after the prompt."""
    if turn in rest:
        behind = rest.partition(turn)[2]
        if end not in behind:
            return RowFault(
                "no end",
                f"never writes the end of turn `{end}` after the assistant's turn, but {_shown(behind) or 'nothing'}: "
                "the model would never learn to stop",
                f"set `models.{model}.special_tokens.eos` to the token that ends a turn, or declare "
                + _OWN.format("writes it", model),
            )
        return RowFault(
            "before end",
            f"writes {_shown(behind.partition(end)[0])} between the solution and the end of turn `{end}`",
            _OWN.format(f"writes `{end}` right after the solution", model),
        )
    if turn.strip() and turn.strip() in rest:
        return RowFault(
            "trims",
            f"trims the solution, which {'begins' if turn[:1].isspace() else 'ends'} with white space: "
            f"{_shown(turn if turn[:1].isspace() else turn[-20:])}",
            "`its prepare` removes outer white space: `dvc repro -f prepare`, or declare "
            + _OWN.format("writes `message.content` as it is", model),
        )
    if marks is not None and marks.end in turn:
        answer = turn.rpartition(marks.end)[2].strip()
        if answer and answer in rest and marks.end not in rest:
            return RowFault(
                "reasoning",
                f"cuts the reasoning from the solution: of {len(turn)} characters it writes {len(rest)}, "
                "and the thought would never be trained",
                _OWN.format("keeps it", model) + ", such as `prompts/r1_distill.jinja`",
            )
    if not rest.replace(end, "").strip():
        return RowFault(
            "drops",
            f"does not show the assistant's turn: after the prompt it writes {_shown(rest) or 'nothing'}",
            _OWN.format("writes `message.content` of every turn", model),
        )
    return RowFault(
        "changes",
        f"changes the solution: it writes {_shown(rest)} instead of {_shown(turn + end)}",
        _OWN.format("writes `message.content` as it is", model),
    )


def _shown(text: str) -> str:
    return f"`{quoted(text, SHOWN)}`" if text else ""
