"""Whether the models of the design can be trained on a new solution.

`query` and `train` check every row again, and would end the study over one: a solution that they refuse is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from its.control_tokens import ControlTokens
from its.errors import DataError
from its.model_files import model_control_tokens
from its.models import ready_model
from its.progress import say
from its.prompts.token_ids import Chat
from its.strategies.query import UnfitSolution, solution_turn
from its.strategies.solutions import has_known_marks
from its.study.row_check import RowReader, row_readers
from its.study.study import Study


@dataclass(frozen=True)
class NewSolution:
    """A solution and its query.

    Args:
        turns: the query's turns for a model, by its name.
    """

    text: str
    turns: Callable[[str], list[dict[str, str]]]


class SolutionFit:
    """Checks solutions against the models of the design whose files are on this machine.

    Args:
        tokens: further control tokens that a solution must not contain, each with its origin.
    """

    def __init__(self, study: Study, tokens: Mapping[str, str]) -> None:
        recipe = study.recipe
        self._limit = recipe.train.sequence_length
        self._readers = row_readers(study)[0]
        models = []
        for reader in self._readers:
            reader.tokenize_whole()  # exact for any text; parted rows would have to be compared with whole ones
            for name in reader.models:
                declared = recipe.models[name]
                found = ready_model(name, declared, study.project, study.home, say, make=False)
                models.append((found, declared))
        self._control = ControlTokens(model_control_tokens(models, recipe.prompt) | dict(tokens))

    def reasons(self, solutions: Sequence[NewSolution]) -> list[str | None]:
        """For each why it does not fit, by its name in `its.strategies.solutions.UNFIT`; None if it does."""
        out = [self._of_text(item.text) for item in solutions]
        for reader in self._readers:
            left = [index for index, reason in enumerate(out) if reason is None]
            for index, reason in zip(left, self._of_rows(reader, [solutions[at] for at in left]), strict=True):
                out[index] = reason
        return out

    def _of_text(self, text: str) -> str | None:
        if not has_known_marks(text):
            return "marks"
        if self._control.look("", "", [("", text)]):
            return "control_token"
        for reader in self._readers:
            try:
                solution_turn(text, reader.declared.thinking, reader.closed)
            except UnfitSolution:
                return "thought"
        return None

    def _of_rows(self, reader: RowReader, solutions: Sequence[NewSolution]) -> Iterator[str | None]:
        chats = [
            [
                *item.turns(reader.name),
                {"role": "assistant", "content": solution_turn(item.text, reader.declared.thinking, reader.closed)},
            ]
            for item in solutions
        ]
        try:
            lengths: list[int | None] = [*reader.lengths(chats)]
        except DataError:  # it renders all at once, and does not say which it cannot
            lengths = [_length(reader, chat) for chat in chats]
        for tokens in lengths:
            yield "template" if tokens is None else "too_long" if tokens > self._limit else None


def _length(reader: RowReader, chat: Chat) -> int | None:
    """The tokens of a row; None if the chat template does not render it."""
    try:
        return reader.lengths([chat])[0]
    except DataError:
        return None
