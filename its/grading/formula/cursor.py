"""The position of a parser in its tokens, and the methods its parts call on each other."""

from __future__ import annotations

from its.grading.formula.nodes import Node
from its.grading.formula.tokens import ReadError, Token

MAX_DEPTH = 40
END = Token("mark", "")
"""The token after the last one."""


class Cursor:
    """Tokens and a position in them.

    Args:
        tokens: of the text; letters in a row are split in place as they are read.
        single_units: one letter after a number may be a unit (`3 m`), since no variable is expected.
    """

    def __init__(self, tokens: list[Token], single_units: bool) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._single = single_units
        self._bars = 0  # open `|`
        self._in_set = False  # within `\\{...}`, where `|` separates an element from its condition
        self._turned = False  # within `]0, 1[`

    def more(self) -> bool:
        return self._at < len(self._tokens)

    def peek(self, ahead: int = 0) -> Token:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else END

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.text in texts and token.kind in ("mark", "command")

    def _take(self, *texts: str) -> bool:
        if self._is(*texts):
            self._at += 1
            return True
        return False

    def _wanted(self, text: str) -> None:
        if not self._take(text):
            raise ReadError(f"`{text}` is missing before `{self.peek().text or 'the end'}`")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ReadError("it is nested too deep")

    def _closing(self, at: int) -> int:
        """Where the parenthesis that opens at `at` closes; the end if it does not."""
        depth = 0
        for place in range(at, len(self._tokens)):
            if self._tokens[place].kind == "mark":
                depth += {"(": 1, ")": -1}.get(self._tokens[place].text, 0)
                if not depth:
                    return place
        return len(self._tokens)

    def _skip_group(self) -> None:
        depth = 0
        while self.more():
            depth += self._is("{") - self._is("}")
            self._at += 1
            if not depth:
                return
        raise ReadError("a `{` is not closed")

    def _one_bar(self) -> bool:
        """Whether a group in braces, whose content begins here, has a single `|`: `{x | x > 0}`."""
        depth, bars = 0, 0
        for token in self._tokens[self._at :]:
            if token.kind == "mark":
                depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(token.text, 0)
                bars += token.text == "|" and depth == 0
            if depth < 0:
                break
        return bars == 1

    # Methods that the parts call on each other; see `parse.py`, `factors.py` and `brackets.py`.

    def items(self) -> Node:
        """Relations and expressions, separated by commas and words."""
        raise NotImplementedError

    def _item(self) -> Node:
        raise NotImplementedError

    def _sum(self) -> Node:
        raise NotImplementedError

    def _term(self) -> Node:
        raise NotImplementedError

    def _factor(self) -> Node:
        raise NotImplementedError

    def _atom(self) -> Node:
        raise NotImplementedError


def times(one: Node, other: Node) -> Node:
    """A product; an existing product gets one more factor."""
    return Node("multiply", (*(one.parts if one.op == "multiply" else (one,)), other))
