r"""Whether two formulas have the same value wherever both have one.

They are evaluated at points drawn with a fixed seed: rational functions in fractions, without any tolerance; others to
60 digits, and again to 250 if those differ or there are no variables. Variables are real numbers of both signs, or
whole ones where a formula has values at those alone (`(2k-1)!!`); with an `i` formulas are complex.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
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
    has_rule,
)
from its.grading.formula.nodes import Node
from its.grading.formula.sets import sign_of_infinity

SIGNIFICANT = 6
"""A decimal of so many significant digits stands for the non-terminating one that it was truncated from."""
_MORE_PLACES = 250
_AGREED = 12  # twelve points where both are 0, which is weak evidence, or four others
WANTED = 4  # points at which formulas with variables have to agree
_REAL_TRIALS, _WHOLE_TRIALS = 16, 40
_OF_WHOLE_NUMBERS = frozenset({"factorial", "double_factorial", "binomial", "gcd", "lcm", "mod"})
_SIZES = (Fraction(1), Fraction(1, 4), Fraction(1), Fraction(8))
"""Sizes of variables, for functions defined on a part of the real numbers."""


class UndecidedError(Exception):
    """It cannot be decided; the message says why."""


def same_value(given: Node, wanted: Node) -> bool:
    """Whether two formulas have the same value wherever both have one.

    Raises:
        UndecidedError: at no point drawn both have a value, or a part cannot be evaluated.
    """
    ends = sign_of_infinity(given), sign_of_infinity(wanted)
    if ends != (0, 0):
        return ends[0] == ends[1]
    names = sorted(given.symbols() | wanted.symbols())
    unknown = [part for node in (given, wanted) for part in node.walk() if not has_rule(part)]
    agreed, needed = 0, _AGREED if names or unknown else 1
    for values in drawn_places(given, wanted, names, unknown):
        pair = values_at(given, wanted, values)
        if pair is None:
            if not values and _has_value(wanted) and not _has_value(given):
                return False  # a division by zero is not a number
            continue
        if not _agree(given, wanted, values, *pair[:2]):
            if not names and not unknown and _is_cut_from(given, wanted, *pair):
                return True
            if any(_is_work(node) for node in unknown):
                if _depends(given, wanted):
                    return False
                raise UndecidedError("integrals, limits and dots are not evaluated")
            return False
        agreed += 1 if pair[0] == 0 else _AGREED // WANTED
        if agreed >= needed:
            return True
    raise UndecidedError("no point was found at which both have a value")


def _is_work(node: Node) -> bool:
    """Whether a node has a value that is not evaluated."""
    return node.op in ("opaque", "rows", "sum", "product") or (node.op == "call" and not node.text.endswith(" of"))


def _depends(given: Node, wanted: Node) -> bool:
    """Whether one side has variables and dots, and the other has neither."""
    sides = (given, wanted)
    return any(
        side.symbols()
        and not other.symbols()
        and {node.text for node in side.walk() if node.op == "opaque"} == {"dots"}
        for side, other in (sides, sides[::-1])
    )


def drawn_places(
    given: Node, wanted: Node, names: list[str], unknown: Iterable[Node] = ()
) -> Iterable[dict[str | Node, Value]]:
    """Values for the variables, drawn with a fixed seed; whole numbers last, for what has values at those alone."""
    if not names and not unknown:
        yield {}
        return
    complex_numbers = _is_complex(given, wanted)
    whole = _whole_letters(given, wanted) or set(names)
    for trial in range(_REAL_TRIALS + _WHOLE_TRIALS):
        draw = random.Random(f"place {trial}")
        values: dict[str | Node, Value] = {}
        size = _SIZES[trial // 4 % len(_SIZES)]
        for place, name in enumerate(names):
            if trial >= _REAL_TRIALS and name in whole:
                # With a common factor in two trials of three: most numbers have none, and 1 hides a gcd.
                values[name] = Fraction(draw.randint(1, 8 + trial // 4) * (trial % 3 + 1))
            else:  # each variable has both signs, the first four in all combinations
                value = size * Fraction(draw.randint(50, 3_000_000), 1_000_003)
                values[name] = -value if trial >> place % 4 & 1 and not complex_numbers else value
        for node in unknown:
            values[node] = Fraction(random.Random(f"{trial} {node!r}").randint(1, 3_000_000), 1_000_033)
        yield values


def _is_complex(*nodes: Node) -> bool:
    return any(part.op == "symbol" and part.text == "i" for node in nodes for part in node.walk())


def _whole_letters(*nodes: Node) -> set[str]:
    """Variables that may have to be whole numbers: in exponents, in bounds, and in functions of whole numbers."""
    found: set[str] = set()
    for node in nodes:
        for part in node.walk():
            if part.op == "power":
                found |= part.parts[1].symbols()
            elif part.op in ("sum", "product") or (part.op == "call" and part.text in _OF_WHOLE_NUMBERS):
                found |= part.symbols()
    return found


def values_at(
    given: Node, wanted: Node, values: dict[str | Node, Value], places: int = PLACES
) -> tuple[Value, Value, Evaluator] | None:
    """The values of both sides at one point, and the evaluator; None if one side has no value there.

    Raises:
        UndecidedError: a part cannot be evaluated.
    """
    work = Evaluator(values, _is_complex(given, wanted), places=places)
    try:
        return work.value(given), work.value(wanted), work
    except (NoValueError, NotExactError):
        return None
    except TooLargeError as error:
        raise UndecidedError(str(error)) from error
    except OpaqueError as error:
        raise UndecidedError(f"`{error}` is not evaluated") from error


def _has_value(node: Node) -> bool:
    try:
        return values_at(node, node, {}) is not None
    except UndecidedError:
        return False


def tenth(places: int) -> Any:
    """10 to the power of `-places`, as an mpmath number."""
    import mpmath

    return mpmath.mpf(10) ** -places


def _agree(given: Node, wanted: Node, values: dict[str | Node, Value], one: Value, other: Value) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    work = Evaluator(values, places=PLACES)
    distance = abs(work.float(one) - work.float(other))
    again = values_at(given, wanted, values, _MORE_PLACES)
    if again is None:
        raise UndecidedError("the value changes with the precision")
    work = again[2]
    first, second = work.float(again[0]), work.float(again[1])
    closer = abs(first - second)
    # A rounding error shrinks with more digits; a difference does not.
    return bool(closer <= max(abs(first), abs(second)) * tenth(200) or closer < distance * tenth(150))


def _is_cut_from(given: Node, wanted: Node, one: Value, other: Value, work: Evaluator) -> bool:
    """Whether one side is a decimal with enough digits, and the other the number that it was truncated from."""
    for node, short, endless in ((given, one, other), (wanted, other, one)):
        places = places_written(node)
        if places is None or not isinstance(short, Fraction):
            continue
        if isinstance(endless, Fraction):
            if is_cut_from(short, endless, places):
                return True
        elif endless.imag == 0 and _digits_that_count(short, places) >= SIGNIFICANT:
            return bool(abs(work.float(short) - endless) < tenth(places))
    return False


def places_written(node: Node) -> int | None:
    """How many decimal places a decimal is written to, less its exponent; None for anything else."""
    while node.op in ("negate", "quantity", "degrees"):
        node = node.parts[0]
    if node.op != "number" or "." not in node.text:
        return None
    digits, _, exponent = node.text.lower().partition("e")
    return len(digits.partition(".")[2]) - int(exponent or 0)


def is_cut_from(short: Fraction, endless: Fraction, places: int) -> bool:
    """Whether a decimal of so many places stands for a rational number whose decimal expansion never ends.

    It has at least six places and six significant digits, and they differ by less than one unit in the last place.
    """
    if places < SIGNIFICANT or decimal_places(endless) is not None or _digits_that_count(short, places) < SIGNIFICANT:
        return False
    return abs(short - endless) < Fraction(1) / Fraction(10) ** places


def _digits_that_count(value: Fraction, places: int) -> int:
    return len(str(abs(int(value * Fraction(10) ** places)))) if -1000 < places < 1000 else 0


def decimal_places(number: Fraction) -> int | None:
    """How many decimal places a number has; None if its expansion never ends."""
    rest = number.denominator
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None
