"""Whether two equations or inequalities are equivalent."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from its.grading.formula.evaluate import (
    PLACES,
    Evaluator,
    NotExactError,
    NoValueError,
    OpaqueError,
    TooLargeError,
    Value,
)
from its.grading.formula.nodes import Node
from its.grading.formula.values import WANTED, UndecidedError, drawn_places, tenth, values_at


def difference(node: Node) -> Node:
    """The right side of a relation less its left side."""
    return Node("add", (node.parts[1], Node("negate", (node.parts[0],))))


def same_zeros(one: Node, other: Node, positive: bool) -> bool:
    """Whether `0 = one` is equivalent to `0 = other`, or `0 < one` to `0 < other`, by a constant factor.

    Raises:
        UndecidedError: they are not multiples of each other, and no point distinguishes them.
    """
    if one.symbols() != other.symbols():
        return False
    names = sorted(one.symbols())
    ratios: list[Value] = []
    told_apart = False
    for values in drawn_places(one, other, names):
        pair = values_at(one, other, values)
        if pair is None:
            continue
        first, second, work = pair
        if positive:
            told_apart = told_apart or (_sign_of(first) > 0) != (_sign_of(second) > 0)
        if second == 0 or first == 0:
            if first != second and not (_tiny(first) and _tiny(second)):
                told_apart = True
            continue
        ratio = (
            first / second
            if isinstance(first, Fraction) and isinstance(second, Fraction)
            else (work.float(first) / work.float(second))
        )
        ratios.append(ratio)
        if len(ratios) >= 2 * WANTED:
            break
    if told_apart:
        return False
    if len(ratios) >= (WANTED if names else 1):
        constant = all(_close(ratio, ratios[0]) for ratio in ratios)
        if constant:
            return not positive or _sign_of(ratios[0]) > 0
        if positive:
            raise UndecidedError("inequalities of different forms are not solved")
        return _same_roots(one, other, names)
    raise UndecidedError("no point was found at which both relations have values")


def _sign_of(value: Value) -> int:
    if hasattr(value, "imag") and value.imag != 0:
        return 0
    return int(value > 0) - int(value < 0)


def _tiny(value: Value) -> bool:
    return abs(value) < Fraction(1, 10**40) if isinstance(value, Fraction) else bool(abs(value) < tenth(40))


def _close(one: Value, other: Value) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    if isinstance(one, Fraction) or isinstance(other, Fraction):
        work = Evaluator({}, places=PLACES)
        one, other = work.float(one), work.float(other)
    return bool(abs(one - other) <= abs(one) * tenth(40))


def _same_roots(one: Node, other: Node, names: list[str]) -> bool:
    """Whether each zero found of one is a zero of the other; the search starts from seeded points.

    Raises:
        UndecidedError: too few were found.
    """
    tried = 0
    for first, second in ((one, other), (other, one)):
        found = 0
        for trial in range(3 * WANTED):
            draw = random.Random(f"zeros {trial}")
            name = names[trial % len(names)]
            others: dict[str | Node, Value] = {
                known: Fraction(draw.randint(-300, 300), 100) for known in names if known != name
            }
            start = draw.uniform(-4, 4)
            try:
                root = _zero(first, name, others, start)
                value = Evaluator({**others, name: root}, places=PLACES).value(second)
            except (NoValueError, OpaqueError, NotExactError, ValueError, ZeroDivisionError):
                continue
            except TooLargeError as error:
                raise UndecidedError(str(error)) from error
            if abs(value) > tenth(15):
                return False
            found += 1
        tried += found >= 2
    if tried < 2:
        raise UndecidedError("equations of different forms are not solved")
    return True


def _zero(node: Node, name: str, others: dict[str | Node, Value], start: float) -> Any:
    import mpmath

    def at(value: Any) -> Any:
        work = Evaluator({**others, name: value}, places=PLACES)
        return work.float(work.value(node))

    at(mpmath.mpf(start))
    return mpmath.findroot(at, (mpmath.mpf(start), mpmath.mpf(start) + mpmath.mpf(1) / 8), tol=1e-40, maxsteps=80)
