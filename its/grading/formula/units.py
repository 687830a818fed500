"""What follows a number: a unit, which is dropped, or a word that changes the number."""

from __future__ import annotations

from its.grading.formula import vocabulary as words
from its.grading.formula.cursor import Cursor, times
from its.grading.formula.nodes import Node, numeral
from its.grading.formula.signs import RELATIONS, SETS


class Units(Cursor):
    """Reads units."""

    def _changed_word(self) -> bool:
        token = self.peek()
        low = token.text.casefold()
        return token.kind in ("letters", "word", "upright") and (low in words.FACTORS or low.rstrip("s") in words.PARTS)

    def _changed(self, node: Node) -> Node | None:
        """Read a word after a number that changes it: `5 million`, `3 tenths`."""
        if not self._changed_word() or node.has("symbol", "call"):
            return None
        low = self.peek().text.casefold()
        self._at += 1
        if low in words.FACTORS:
            return times(node, numeral(words.FACTORS[low]))
        return Node("divide", (node, numeral(words.PARTS[low.rstrip("s")])))

    def _unit_end(self, node: Node) -> int | None:
        """Where the unit that begins here ends, which is at the end of the item; None if there is no unit."""
        if node.has("quantity", "list", "set", "relation", "words"):
            return None
        lettered = bool(node.symbols())  # `x \\text{ cm}`, but `n \\text{ is prime}`
        at, known = self._at, False
        while at < len(self._tokens):
            token = self._tokens[at]
            low = token.text.casefold()
            if token.kind in ("letters", "word", "upright"):
                if low in words.LINKS or low in words.CLAUSES:
                    break
                if not self._is_part_of_unit(at, known, lettered):
                    return None
                known = True
                at = self._power_at(at + 1) or at + 1
            elif token.text == "%" or (token.text == "." and known):
                known, at = True, at + 1
            elif token.text in ("/", "cdot", "-", "*") and at + 1 < len(self._tokens) and known:
                if self._tokens[at + 1].kind not in ("letters", "word", "upright"):
                    return None
                at += 1
            elif (
                token.text in (",", ";", ")", "]", "}", "\\}", "\\\\") or token.text in RELATIONS or token.text in SETS
            ):
                break
            elif known and token.text == "(":
                return None
            else:
                return None
        return at if known and at > self._at else None

    def _is_part_of_unit(self, at: int, known: bool, lettered: bool) -> bool:
        """Whether a word or letter belongs to a unit.

        Args:
            known: whether a part of the unit precedes it.
            lettered: whether variables precede the unit; then only known units count.
        """
        token = self._tokens[at]
        low = token.text.casefold()
        if low in words.NO_UNIT or low in words.VERBS or token.text in words.FUNCTIONS:
            return False
        if low in words.FACTORS or low.rstrip("s") in words.PARTS:
            return False
        if lettered and not words.is_unit(token.text, single=token.kind != "letters"):
            return False
        if token.kind == "word":
            if known or len(token.text) > 1:
                return True
            return words.is_unit(token.text, single=True)
        if token.kind == "upright":
            return words.is_unit(token.text, single=True) or words.is_word(token.text)
        if token.text in words.BARE_NAMES:
            return False
        wanted = self._single and (token.spaced or token.text not in "xyzabcdeijknpqrtuvwMNVWKJ")
        speed = token.spaced and [token.text for token in self._tokens[at : at + 3]] == ["m", "/", "s"]  # `9.8 m/s^2`
        return words.is_unit(token.text, single=known or wanted or speed) or words.is_word(token.text)

    def _power_at(self, at: int) -> int:
        """Where a power of a unit ends, `^2`, `^{-1}`; 0 if there is none."""
        rest = [token.text for token in self._tokens[at : at + 5]]
        if rest[:1] not in (["^"], ["**"]):
            return 0
        size = 1
        braces = rest[size : size + 1] == ["{"]
        size += braces
        size += rest[size : size + 1] == ["-"]
        if not (rest[size : size + 1] and rest[size].isdigit() and len(rest[size]) == 1):
            return 0
        size += 1
        if braces:
            if rest[size : size + 1] != ["}"]:
                return 0
            size += 1
        return at + size

    def _is_times_letter(self, node: Node) -> bool:
        """Whether an `x` is a times sign: `2.5 x 10^3`."""
        if node.op != "number" or self.peek().kind not in ("letters", "word") or self.peek().text not in ("x", "X"):
            return False
        return self.peek(1).text == "10" and self._is("^", "**", ahead=2)
