"""Who speaks where a path reaches a turn of a conversation, by index or by a selector, or an expression takes a
turn's text.

`messages.0.content` is the user's turn in most rows of a set and the system's in those that have one: the text of
another speaker is a text all the same, and the error would go unnoticed. So the speaker of the turn is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from its.shown import shown
from its.sources.paths import ABSENT, Step, step_into, steps_of, under
from its.sources.records import RowFault

SPEAKER_KEYS = ("role", "from", "speaker", "sender", "author", "author.role", "type")
"""Of a turn, where it says who speaks; all but the first two only with a speaker's word, for they may hold anything."""
USERS, ASSISTANTS, SYSTEMS = ("user", "human"), ("assistant", "gpt", "model", "bot", "ai"), ("system", "developer")
WANTED = {"problem": USERS, "solution": ASSISTANTS, "thinking": ASSISTANTS}
"""By field, who must speak; other fields take any turn, the same speaker's in every row."""
_QUOTED = re.compile(r"['\"](\w+)['\"]")
_NAME = re.compile(r"[^.\[\]=,{}]+")
"""A name that a path can contain unchanged."""
_BY_PLACE = re.compile(r"\[\s*-?\d+\s*\]|\.\d|\|\s*(?:first|last)\b")


class Turn(NamedTuple):
    """A turn that a path reaches; `speaker` is None where it alone does not say who speaks."""

    parts: tuple[str, ...]
    """Of the path, down to the list of turns."""
    rest: tuple[str, ...]
    key: str
    speaker: str | None
    turns: list[Any]


def turn_of(row: Mapping[str, Any], path: str) -> Turn | None:
    """The last turn that a path reaches on its way through a row; None where there is none."""
    if path in row:
        return None  # a column of that name
    value: Any = row
    found: tuple[int, tuple[str, ...], str, Any, list[Any]] | None = None
    steps = steps_of(path)
    way: tuple[str, ...] = ()
    for at, step in enumerate(steps):
        if isinstance(value, Mapping) and step.text in value:  # no list, so no turn
            way, value = (*way, step.text), value[step.text]
            continue
        following = step_into(value, step)
        if following is ABSENT:
            break
        turns, before = value, way
        if step.name:
            turns, before = step_into(value, Step(step.name)), (*way, step.name)
        if isinstance(turns, list) and (key := _speaker_key(turns)) is not None:
            found = at, before, key, following, turns
        way = (*way[:-1], way[-1] + step.text) if step.word is not None and not step.name else (*way, step.text)
        value = following
    if found is None:
        return None
    at, before, key, turn, turns = found
    return Turn(before, tuple(step.text for step in steps[at + 1 :]), key, _speaker(turn, key), turns)


def _speaker_key(items: list[Any]) -> str | None:
    """Where the items of a list say who speaks; None if they are not turns."""
    turns = [item for item in items if isinstance(item, Mapping)]
    for key in SPEAKER_KEYS:
        for turn in turns:
            if key in ("role", "from"):
                if key in turn:
                    return key
            elif _speaker(turn, key) in (*USERS, *ASSISTANTS, *SYSTEMS):
                return key
    return None


def _words(turns: list[Any], key: str) -> list[str]:
    """For who speaks in any of the turns, as the row has them."""
    return [str(told) for turn in turns if (told := under(turn, tuple(key.split(".")))) is not None]


def _speaker(turn: Any, key: str) -> str | None:
    told = under(turn, tuple(key.split(".")))
    return told.strip().lower() if isinstance(told, str) else None


def _spoken(row: Mapping[str, Any], text: str) -> Iterator[Turn]:
    """The turns of a row, wherever they are, whose text is exactly this, except for white space at its ends."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), row)]
    while waiting:
        parts, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*parts, str(key)), item) for key, item in value.items() if isinstance(item, Mapping | list)]
        elif isinstance(value, list):
            key = _speaker_key(value)
            for at, item in enumerate(value):
                here = (*parts, str(at))
                if key is not None and isinstance(item, Mapping):
                    told = [name for name, said in item.items() if isinstance(said, str) and said.strip() == text]
                    yield from (Turn(parts, (str(name),), key, _speaker(item, key), value) for name in told)
                if isinstance(item, Mapping | list):
                    waiting.append((here, item))


class Speakers:
    """Holds every turn that a field reaches against who must speak there, and against the rows before."""

    def __init__(self) -> None:
        self._first: dict[str, str | None] = {}

    def fault(self, name: str, path: str, row: Mapping[str, Any]) -> RowFault | None:
        """What is wrong with the speaker of the turn that field `name` reaches in a row.

        Args:
            name: of the field, as below `fields`.
            path: a dotted path, no expression.
        """
        turn = turn_of(row, path)
        if turn is None:
            return None
        where = (
            f"`{path}` ({name}) is a turn of `{turn.speaker}`"
            if turn.speaker
            else f"`{path}` ({name}) is a turn without a speaker"
        )
        wanted = WANTED.get(name)
        if wanted is not None:
            if turn.speaker in wanted:
                return None
            return RowFault(f"{where}: expected {' or '.join(wanted[:2])}", _remedy(turn, wanted))
        first = self._first.setdefault(name, turn.speaker)
        if turn.speaker == first:
            return None
        return RowFault(f"{where}, in the first row one of `{first}`", _remedy(turn, (first or "user",) * 2))


def turn_path(name: str, column: str, turns: Any, key: str) -> str | None:
    """The path that picks the text of field `name` from a column of turns by who speaks; None where there is none.

    Args:
        key: of a turn, that is looked for first; the only one with a text stands for it.
    """
    wanted = WANTED.get(name)
    told = _speaker_key(turns) if wanted is not None and isinstance(turns, list) else None
    if wanted is None or told is None:
        return None
    turn = next((turn for turn in turns if _speaker(turn, told) in wanted), None)
    if turn is None:
        return None
    texts = [item for item, said in turn.items() if isinstance(said, str) and item != told and _NAME.fullmatch(item)]
    text = key if key in texts else texts[0] if len(texts) == 1 else None
    if text is None or not _fits_a_path(column):
        return None
    return f"{column}[{told}={_speaker(turn, told)}].{text}"


def misspoken(name: str, expression: str, text: str, row: Mapping[str, Any]) -> RowFault | None:
    """What is wrong with the text that an expression gave to field `name`: another speaker's turn holds just this.

    A turn of the system is the wrong one however it was reached, unless the expression names that speaker; any other
    speaker's where the expression takes a turn by its place (`[0]`, `first`).
    """
    wanted, text = WANTED.get(name), text.strip()
    if wanted is None or not text:
        return None
    found = list(_spoken(row, text))
    if any(turn.speaker in wanted for turn in found):
        return None
    wrong = (*SYSTEMS, *USERS, *ASSISTANTS) if _BY_PLACE.search(expression) else SYSTEMS
    named = {word.lower() for word in _QUOTED.findall(expression)}
    turn = next((turn for turn in found if turn.speaker in wrong and turn.speaker not in named), None)
    if turn is None:
        return None
    message = f"`{shown(expression)}` ({name}) is a turn of `{turn.speaker}`: expected {' or '.join(wanted[:2])}"
    return RowFault(message, _remedy(turn, wanted))


def _remedy(turn: Turn, wanted: tuple[str, ...]) -> str:
    usual = wanted[0] if turn.key == "role" else wanted[1]
    words = _words(turn.turns, turn.key)
    speaker = next((word for word in words if word.strip().lower() in wanted and "'" not in word), usual)
    if all(map(_fits_a_path, (*turn.parts, *turn.rest, speaker))):
        picked = ".".join([f"{'.'.join(turn.parts)}[{turn.key}={speaker}]", *turn.rest])
    else:
        turns = "row" + "".join(map(_step, turn.parts))
        chosen = f"{turns} | selectattr('{turn.key}', 'equalto', '{speaker}') | first"
        picked = f"{{{{ ({chosen}){''.join(map(_step, turn.rest))} }}}}"
    return f"pick by who speaks: `{picked}`"


def _fits_a_path(name: str) -> bool:
    return _NAME.fullmatch(name) is not None or steps_of(name)[0].word is not None


def _step(part: str) -> str:
    if part.isascii() and part.isdigit():
        return f"[{part}]"
    return f".{part}" if part.isidentifier() else f"[{part!r}]"
