r"""The tree that a text is parsed into; nodes are frozen.

| op | parts | text | is |
|---|---|---|---|
| number | | the digits as written | `number`, a fraction |
| symbol | | its name, `x_max` | a letter; `pi`, `e`, `i`, `infinity` are the constants |
| opaque | | its text | what cannot be evaluated: an integral, a limit, dots |
| add, multiply | two and more | | |
| divide, power | two | | |
| negate, degrees | one | | |
| plus_minus, minus_plus | one | | the two values that a sign gives |
| call | the arguments | the function; `f of` for an unknown one | |
| sum, product | body, first, last | the variable | |
| based | | `digits_base` | a numeral in a base other than ten |
| quantity | one | the unit | |
| group | any | its brackets, `()`, `(]` | a tuple or an interval; `beside`: numbers side by side |
| set | any | | with braces |
| list | any | their separator: `,`, `and`, `or`; `{}` in braces without a backslash | bare |
| such_that | two | | `{x | x > 0}` |
| union, intersection, difference | two and more | | |
| relation | the sides | the signs between them, separated by spaces | |
| rows | `group` for each row | the environment | a matrix, or cases |
| words | | lower case, single spaces | |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Node:
    """One node; see the table above."""

    op: str
    parts: tuple[Node, ...] = ()
    text: str = ""
    number: Fraction | None = None

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.parts)

    def has(self, *ops: str) -> bool:
        """Whether this node or one below it has one of these ops."""
        return any(node.op in ops for node in self.walk())

    def symbols(self) -> set[str]:
        """The variables in it: letters that may have any value."""
        return {node.text for node in self.walk() if node.op == "symbol"} - CONSTANTS


CONSTANTS = frozenset({"pi", "e", "i", "infinity"})


def numeral(value: Fraction | int, text: str = "") -> Node:
    """A number; `text` is its spelling in the answer."""
    return Node("number", text=text, number=Fraction(value))


def symbol(name: str) -> Node:
    """A letter or a constant."""
    return Node("symbol", text=name)


def is_scalar(node: Node) -> bool:
    """Whether a formula consists of numbers and letters alone."""
    return not node.has(*_NO_SCALARS)


def is_constant(node: Node) -> bool:
    """Whether a formula has one value and no variables: a sum, a root, `2\\pi`."""
    return not node.symbols() and not node.has("words", "list", "set", "group", "relation", "rows", "opaque", "based")


_NO_SCALARS = frozenset({"group", "set", "list", "rows", "words", "relation", "based", "opaque"})
_NO_SCALARS |= {"union", "intersection", "difference", "such_that"}
