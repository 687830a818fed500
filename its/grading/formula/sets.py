r"""Sets of real numbers: intervals, their unions, and the equivalent inequalities of one variable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key

from its.grading.formula.evaluate import PLACES, Evaluator, NotExactError, NoValueError, OpaqueError, TooLargeError
from its.grading.formula.labels import is_name_like
from its.grading.formula.nodes import Node, numeral, symbol

ZERO = numeral(0)
INFINITY = symbol("infinity")
_REALS = "set R"


@dataclass(frozen=True)
class Piece:
    """An interval; an end at infinity is open."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


@dataclass(frozen=True)
class RealSet:
    """Pieces in order that do not touch, and the variable that they bound, if one is named."""

    pieces: tuple[Piece, ...]
    name: str | None = None


class NoSetError(Exception):
    """Not a set of real numbers whose ends can be ordered."""


def real_set(node: Node) -> RealSet:
    """The set of real numbers that a node is.

    Raises:
        NoSetError: it is not one.
    """
    if node.op == "symbol":
        if node.text == _REALS:
            return RealSet((Piece(Node("negate", (INFINITY,)), False, INFINITY, False),))
        if node.text == "emptyset":
            return RealSet(())
    if node.op == "group" and len(node.parts) == 2 and len(node.text) == 2:
        low, high = node.parts
        if compare(low, high) >= 0:  # a point, not an interval
            raise NoSetError
        return RealSet(_ordered([_piece(low, node.text[0] == "[", high, node.text[1] == "]")]))
    if node.op == "set" or (node.op == "list" and node.text in (",", "{}") and not node.has("relation")):
        return RealSet(_ordered([_piece(part, True, part, True) for part in node.parts]))
    if node.op == "relation":
        return _of_relation(node)
    if node.op == "such_that":
        if node.parts[0].op == "symbol":
            found = real_set(node.parts[1])
            if found.name in (None, node.parts[0].text):
                return RealSet(found.pieces)
        if node.parts[0].op == "relation" and node.parts[0].text == "in" and node.parts[0].parts[1].text == _REALS:
            found = real_set(node.parts[1])
            if found.name in (None, node.parts[0].parts[0].text):
                return RealSet(found.pieces)
        raise NoSetError
    if node.op == "list" and node.text in ("or", "and"):
        sets = [real_set(part) for part in node.parts]
        names = {one.name for one in sets}
        if len(names) > 1:
            raise NoSetError
        joined = _union(sets) if node.text == "or" else _intersection(sets)
        return RealSet(joined, names.pop())
    if node.op in ("union", "intersection"):
        sets = [real_set(part) for part in node.parts]
        return RealSet(_union(sets) if node.op == "union" else _intersection(sets))
    if node.op == "difference":
        first, second = map(real_set, node.parts)
        return RealSet(_intersection([first, RealSet(_complement(second.pieces))]))
    raise NoSetError


def _piece(low: Node, low_closed: bool, high: Node, high_closed: bool) -> Piece:
    low_closed, high_closed = low_closed and not sign_of_infinity(low), high_closed and not sign_of_infinity(high)
    return Piece(low, low_closed, high, high_closed)


def _minus(node: Node) -> Node:
    return node.parts[0] if node.op == "negate" else Node("negate", (node,))


def sign_of_infinity(node: Node) -> int:
    """1 or -1 for positive or negative infinity, else 0."""
    if node == INFINITY:
        return 1
    if node.op == "negate":
        return -sign_of_infinity(node.parts[0])
    return sign_of_infinity(node.parts[0]) if node.op == "add" and len(node.parts) == 1 else 0


def _of_relation(node: Node) -> RealSet:
    signs, sides = node.text.split(), list(node.parts)
    if signs == ["in"] and sides[0].op == "symbol":
        return RealSet(real_set(sides[1]).pieces, sides[0].text)
    names = [place for place, side in enumerate(sides) if side.symbols()]
    if len(names) != 1 or not signs or not set(signs) <= {"<", ">", "<=", ">=", "!=", "="}:
        symbols = [at for at, side in enumerate(sides) if side.op == "symbol" and side.symbols()]
        others = {name for at, side in enumerate(sides) if at not in symbols for name in side.symbols()}
        names = [at for at in symbols if sides[at].text not in others]
        names = [at for at in names if sides[at].text in "xyzt"] if len(names) > 1 else names
        if len(names) != 1 or not set(signs) <= {"<", ">", "<=", ">=", "!=", "="}:
            raise NoSetError
    place = names[0]
    subject = sides[place]
    if subject.op == "call" and subject.text == "abs" and subject.parts[0].op == "symbol":
        inner = _of_relation(Node("relation", (*sides[:place], subject.parts[0], *sides[place + 1 :]), node.text))
        half = _intersection([inner, RealSet((Piece(ZERO, True, INFINITY, False),))])
        turned = [_piece(_minus(one.high), one.high_closed, _minus(one.low), one.low_closed) for one in half]
        return RealSet(_ordered([*half, *turned]), inner.name)
    if not is_name_like(subject):
        raise NoSetError
    name = subject.text if subject.op == "symbol" else repr(subject)
    if len(sides) == 2:
        sign = signs[0] if place == 0 else {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(signs[0], signs[0])
        other = sides[1 - place]
        below = Node("negate", (INFINITY,))
        pieces = {
            "<": [_piece(below, False, other, False)],
            "<=": [_piece(below, False, other, True)],
            ">": [_piece(other, False, INFINITY, False)],
            ">=": [_piece(other, True, INFINITY, False)],
            "!=": [_piece(below, False, other, False), _piece(other, False, INFINITY, False)],
            "=": [_piece(other, True, other, True)],
        }[sign]
        return RealSet(_ordered(pieces), name)
    if len(sides) == 3 and place == 1:
        if set(signs) <= {"<", "<="}:
            return RealSet(_ordered([_piece(sides[0], signs[0] == "<=", sides[2], signs[1] == "<=")]), name)
        if set(signs) <= {">", ">="}:
            return RealSet(_ordered([_piece(sides[2], signs[1] == ">=", sides[0], signs[0] == ">=")]), name)
    raise NoSetError


def compare(one: Node, other: Node) -> int:
    """-1, 0 or 1 as one end is below, equal to or above another.

    Raises:
        NoSetError: they cannot be ordered.
    """
    signs = sign_of_infinity(one), sign_of_infinity(other)
    if signs != (0, 0):
        return (signs[0] > signs[1]) - (signs[0] < signs[1])
    if one == other:
        return 0
    try:
        work = Evaluator({}, places=PLACES)
        first, second = work.value(one), work.value(other)
    except (NoValueError, NotExactError, OpaqueError, TooLargeError) as error:
        raise NoSetError from error
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return (first > second) - (first < second)
    difference = work.float(first) - work.float(second)
    if hasattr(difference, "imag") and difference.imag != 0:
        raise NoSetError
    if abs(difference) < work.float(Fraction(1, 10 ** (PLACES - 20))) * (1 + abs(work.float(first))):
        return 0
    return 1 if difference > 0 else -1


def _ordered(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Pieces in order, without empty ones, with touching ones joined; a single piece may have ends of any kind."""
    try:
        kept = [piece for piece in pieces if not _is_empty(piece)]
    except NoSetError:
        if len(pieces) == 1:
            return tuple(pieces)
        raise
    kept.sort(key=cmp_to_key(lambda one, two: compare(one.low, two.low) or (two.low_closed - one.low_closed)))
    joined: list[Piece] = []
    for piece in kept:
        last = joined[-1] if joined else None
        if last is not None:
            order = compare(last.high, piece.low)
            if order > 0 or (order == 0 and (last.high_closed or piece.low_closed)):
                further = compare(last.high, piece.high)
                if further < 0:
                    joined[-1] = Piece(last.low, last.low_closed, piece.high, piece.high_closed)
                elif further == 0:
                    joined[-1] = Piece(last.low, last.low_closed, last.high, last.high_closed or piece.high_closed)
                continue
        joined.append(piece)
    return tuple(joined)


def _is_empty(piece: Piece) -> bool:
    order = compare(piece.low, piece.high)
    return order > 0 or (order == 0 and not (piece.low_closed and piece.high_closed))


def _union(sets: list[RealSet]) -> tuple[Piece, ...]:
    return _ordered([piece for one in sets for piece in one.pieces])


def _intersection(sets: list[RealSet]) -> tuple[Piece, ...]:
    found = sets[0].pieces
    for other in sets[1:]:
        both = []
        for one in found:
            for two in other.pieces:
                low, high = compare(one.low, two.low), compare(one.high, two.high)
                left = one if low > 0 or (low == 0 and not one.low_closed) else two
                right = one if high < 0 or (high == 0 and not one.high_closed) else two
                both.append(Piece(left.low, left.low_closed, right.high, right.high_closed))
        found = _ordered(both)
    return found


def _complement(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    low, closed = Node("negate", (INFINITY,)), False
    found = []
    for piece in pieces:
        found.append(Piece(low, closed, piece.low, not piece.low_closed))
        low, closed = piece.high, not piece.high_closed
    found.append(Piece(low, closed, INFINITY, False))
    return _ordered([_piece(one.low, one.low_closed, one.high, one.high_closed) for one in found])
