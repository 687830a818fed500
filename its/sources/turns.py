"""Who speaks where a path reaches a turn of a conversation by its number.

`messages.0.content` is the user's turn in most rows of a set and the system's in those that have one: the text of
another speaker is a text all the same, and nobody would see it. So the turn's speaker is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from its.sources.records import RowFault

SPEAKER_KEYS = ("role", "from")
USERS, ASSISTANTS = ("user", "human"), ("assistant", "gpt", "model", "bot")
WANTED = {"problem": USERS, "solution": ASSISTANTS, "thinking": ASSISTANTS}
"""By field, who must speak; other fields take any turn, the same speaker's in every row."""


class Turn(NamedTuple):
    """A turn that a path reaches by its number; `speaker` is None where it alone does not say who speaks."""

    parts: tuple[str, ...]
    """Of the path, down to the number."""
    rest: tuple[str, ...]
    key: str
    speaker: str | None
    words: tuple[str, ...]
    """For who speaks in any of the turns, as the row has them."""


def turn_of(row: Mapping[str, Any], path: str) -> Turn | None:
    """The last turn that a path reaches by its number on its way through a row; None where there is none."""
    if path in row:
        return None  # a column of that name
    value: Any = row
    found: Turn | None = None
    parts = path.split(".")
    for at, part in enumerate(parts):
        if isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            key = next(
                (key for key in SPEAKER_KEYS for turn in value if isinstance(turn, Mapping) and key in turn), None
            )
            turns, value = value, value[int(part)]
            if key is not None:
                told = value.get(key) if isinstance(value, Mapping) else None
                speaker = told.strip().lower() if isinstance(told, str) else None
                words = tuple(str(turn[key]) for turn in turns if isinstance(turn, Mapping) and key in turn)
                found = Turn(tuple(parts[: at + 1]), tuple(parts[at + 1 :]), key, speaker, words)
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return found
    return found


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
            else f"`{path}` ({name}) is nobody's turn"
        )
        wanted = WANTED.get(name)
        if wanted is not None:
            if turn.speaker in wanted:
                return None
            return RowFault(f"{where}: wanted {' or '.join(wanted[:2])}", _remedy(turn, wanted))
        first = self._first.setdefault(name, turn.speaker)
        if turn.speaker == first:
            return None
        return RowFault(f"{where}, in the first row one of `{first}`", _remedy(turn, (first or "user",) * 2))


def _remedy(turn: Turn, wanted: tuple[str, ...]) -> str:
    usual = wanted[0] if turn.key == "role" else wanted[1]
    speaker = next((word for word in turn.words if word.strip().lower() in wanted and "'" not in word), usual)
    turns = "row" + "".join(map(_step, turn.parts[:-1]))
    picked = f"{turns} | selectattr('{turn.key}', 'equalto', '{speaker}') | first"
    return f"pick by who speaks: `{{{{ ({picked}){''.join(map(_step, turn.rest))} }}}}`"


def _step(part: str) -> str:
    if part.isascii() and part.isdigit():
        return f"[{part}]"
    return f".{part}" if part.isidentifier() else f"[{part!r}]"
