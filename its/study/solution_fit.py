"""Whether the models of the design can be trained on a new solution.

`query` and `train` check every row again, and would end the study over one: a solution that they refuse is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from its.control_tokens import ControlTokens, declared_control_tokens
from its.errors import DataError
from its.model_files import model_control_tokens
from its.models import ready_model
from its.progress import say
from its.prompts.token_ids import Chat
from its.strategies.members import expanded
from its.strategies.query import UnfitSolution, solution_turn
from its.strategies.solutions import has_known_marks
from its.study.row_check import RowReader, row_readers
from its.study.study import Study


@dataclass(frozen=True)
class NewSolution:
    """A solution and its query.

    Args:
        pair: its dataset and strategy.
        turns: the query's turns for a model, by its name.
    """

    text: str
    pair: tuple[str, str]
    turns: Callable[[str], list[dict[str, str]]]


class SolutionFit:
    """Checks solutions against the models of the design.

    Of one whose tokenizer is not on this machine only what the recipe says is known: its special tokens and marks.

    Args:
        tokens: further control tokens that a solution must not contain, each with its origin.
    """

    def __init__(self, study: Study, tokens: Mapping[str, str]) -> None:
        recipe = study.recipe
        self._limit = recipe.train.sequence_length
        self._readers, away = row_readers(study)
        self._away = [(recipe.models[name].thinking, _trained_pairs(study, [name])) for name in away]
        declared_tokens = declared_control_tokens({name: recipe.models[name] for name in away})
        models = []
        self._pairs = [_trained_pairs(study, reader.models) for reader in self._readers]
        for reader in self._readers:
            reader.tokenize_whole()  # exact for any text; parted rows would have to be compared with whole ones
            for name in reader.models:
                declared = recipe.models[name]
                found = ready_model(name, declared, study.project, study.home, say, make=False)
                models.append((found, declared))
        allowed = recipe.prompt.control_tokens == "allow"
        found_tokens = model_control_tokens(models, recipe.prompt) | dict(tokens)
        self._control = ControlTokens(found_tokens | ({} if allowed else declared_tokens))

    def reasons(self, solutions: Sequence[NewSolution]) -> list[str | None]:
        """For each why it does not fit, by its name in `its.strategies.solutions.UNFIT`; None if it does."""
        out = [self._of_text(item) for item in solutions]
        for reader, pairs in zip(self._readers, self._pairs, strict=True):
            left = [index for index, item in enumerate(solutions) if out[index] is None and item.pair in pairs]
            for index, reason in zip(left, self._of_rows(reader, [solutions[at] for at in left]), strict=True):
                out[index] = reason
        return out

    def _of_text(self, item: NewSolution) -> str | None:
        if not has_known_marks(item.text):
            return "marks"
        if self._control.look("", "", [("", item.text)]):
            return "control_token"
        here = zip(self._readers, self._pairs, strict=True)
        kinds = [(reader.declared.thinking, reader.closed, pairs) for reader, pairs in here]
        kinds += [(marks, False, pairs) for marks, pairs in self._away]
        for marks, closed, pairs in kinds:
            try:
                if item.pair in pairs:
                    solution_turn(item.text, marks, closed)
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


def _trained_pairs(study: Study, models: Sequence[str]) -> set[tuple[str, str]]:
    """The datasets that some models are trained on, each with the strategies of its rows: members in place of mixes."""
    strategies = study.recipe.strategies
    return {
        (name, member) for name, trained in study.pairs("train", models) for member in expanded(strategies, [trained])
    }


def _length(reader: RowReader, chat: Chat) -> int | None:
    """The tokens of a row; None if the chat template does not render it."""
    try:
        return reader.lengths([chat])[0]
    except DataError:
        return None
