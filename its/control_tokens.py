"""Find control tokens in texts: a `<|im_end|>` inside a problem ends its turn, and the rest is read as another turn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault, FaultsError
from its.files import read_regular
from its.recipe.schema import Model

SHOWN = 20
MAX_TOKENIZER_BYTES = 2**28
"""Limit of a `tokenizer.json`: those of large vocabularies have 30 MB."""
THINKING = frozenset({"<think>", "</think>"})
"""Marks of reasoning are part of a solution; recipes declare others (`models.NAME.thinking`)."""
_MARK = re.compile(r"[<\[]\S+[>\]]")
_ALLOW = "remove it from the text, or allow control tokens: `prompt: {control_tokens: allow}`"


def declared_control_tokens(models: Mapping[str, Model]) -> dict[str, str]:
    """The tokens in a recipe, with their place: `special_tokens` of its models, without marks of reasoning."""
    out: dict[str, str] = {}
    for name, model in models.items():
        for key, token in model.special_tokens.model_dump().items():
            if token and token not in thinking_marks(model):
                out.setdefault(token, f"`models.{name}.special_tokens.{key}`")
    return out


def thinking_marks(model: Model) -> frozenset[str]:
    """The marks of reasoning of a model, which texts may contain."""
    return THINKING | ({model.thinking.start, model.thinking.end} if model.thinking else set())


def tokenizer_control_tokens(tokenizer: Path, template: str | None) -> set[str]:
    """The tokens of a `tokenizer.json` that a text must not contain, because they mean more than their letters.

    They are those marked as special, and other added ones in `<>` or `[]` that the chat template writes (DeepSeek's
    mark of a user's turn is not marked). Marks of reasoning are not among them.

    Raises:
        DataError: if it is not a tokenizer.
    """
    try:
        found = json.loads(read_regular(tokenizer, MAX_TOKENIZER_BYTES))
        added: list[dict[str, Any]] = found.get("added_tokens") or []
        pairs = [(str(token["content"]), bool(token["special"])) for token in added]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{tokenizer}: not a tokenizer that can be read: {error!r}"[:300]) from error
    written = template or ""
    return {text for text, special in pairs if special or (_MARK.fullmatch(text) and text in written)} - THINKING - {""}


class ControlTokens:
    """Finds control tokens in texts, and reports all of them at once.

    Args:
        tokens: token -> its origin, for the message.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = dict(tokens)
        # Longer ones first: a token may begin with another one.
        ordered = sorted(self._tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._faults: dict[tuple[str, str, str, int, str], Fault] = {}

    def empty(self) -> ControlTokens:
        """One for the same tokens that has found nothing yet."""
        other = ControlTokens({})
        other._tokens, other._pattern = self._tokens, self._pattern
        return other

    def look(self, where: str, name: str, parts: Iterable[tuple[str, str]]) -> bool:
        """Record every control token in the parts of one row; whether there is one.

        Args:
            where: the file of the row and its line.
            name: the row's name in its file.
            parts: (what it is, its text).
        """
        found = False
        for what, text in parts if self._pattern is not None else ():
            assert self._pattern is not None
            for match in self._pattern.finditer(text):
                message = (
                    f"{name}: {what} contains the control token `{match[0]}` ({self._tokens[match[0]]}) "
                    f"at character {match.start() + 1}"
                )
                found = True
                self._faults.setdefault((where, name, what, match.start(), match[0]), Fault(where, message, _ALLOW))
        return found

    def refuse(self) -> None:
        """End the stage if any were found.

        Raises:
            FaultsError: with the first of them, and the number of the others.
        """
        faults: Sequence[Fault] = list(self._faults.values())
        if len(faults) > SHOWN:
            rest = Fault(faults[SHOWN].where, f"and {len(faults) - SHOWN} more control tokens in texts", _ALLOW)
            faults = [*faults[:SHOWN], rest]
        if faults:
            raise FaultsError(faults)
