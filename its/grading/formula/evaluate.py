r"""The value of a formula at given values of its letters: a fraction where it is exact, else an mpmath number.

Fractions stay fractions through `+ - * /`, whole powers, exact roots and factorials, so two rational numbers,
or two polynomials at rational places, are compared without any tolerance. Numbers of too many digits are refused.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from its.grading.formula.nodes import Node
from its.grading.formula.vocabulary import names_of

MAX_BITS = 200_000
"""Size of an exact number; longer ones are refused."""
MAX_FACTORIAL = 20_000
MAX_TERMS = 10_000
"""Longest sum or product that is evaluated."""
PLACES = 60
"""Digits of an inexact value, unless more are requested."""
_MAX_EXPONENT = 1_000_000
"""Bits before the point of an inexact power."""
_EXACT_WORK = 5_000
"""Operations on numbers of up to 1,000 bits that one value may take in the exact path; more go to a worker."""

Value = Any
"""A Fraction, or mpmath's mpf or mpc; mpmath has no types for mypy."""


class NoValueError(Exception):
    """No (real) value here, as for a division by zero or the root of a negative number; elsewhere there may be one."""


class NotExactError(Exception):
    """There may be a value, but it is not a fraction."""


class TooLargeError(Exception):
    """A number of too many digits; the message says which."""


class OpaqueError(Exception):
    """A part of the formula cannot be evaluated: an integral, a set, words."""


class Evaluator:
    """Evaluates formulas.

    Args:
        values: of the variables, and of nodes that cannot be evaluated (`opaque`).
        complex_numbers: whether roots of negative numbers have a value; otherwise their odd roots are real.
        exact: return fractions only, with little work; `NotExactError` for anything else. mpmath is not imported.
    """

    def __init__(
        self,
        values: Mapping[str | Node, Value],
        complex_numbers: bool = False,
        exact: bool = False,
        places: int = PLACES,
    ) -> None:
        self._values, self._complex, self._exact = values, complex_numbers, exact
        self._work = 0
        self._mp: Any = None
        if not exact:
            import mpmath

            self._mp = mpmath.mp
            self._mp.dps = places

    def value(self, node: Node) -> Value:
        """The value of a formula.

        Raises:
            NoValueError, NotExactError, TooLargeError, OpaqueError: see their docstrings.
        """
        return self._bounded(self._of(node))

    def _takes(self, work: int) -> None:
        self._work += work
        if self._exact and self._work > _EXACT_WORK:
            raise NotExactError

    def _of(self, node: Node) -> Value:
        if node.op == "number":
            return node.number
        if node.op == "symbol":
            return self._symbol(node.text)
        rule = _RULES.get(node.op)
        return self._opaque(node) if rule is None else rule(self, node)

    def _opaque(self, node: Node) -> Value:
        """The value given for a node that cannot be evaluated."""
        known = self._values.get(node)
        if known is None:
            raise OpaqueError(node.text or node.op)
        return known

    def _symbol(self, name: str) -> Value:
        known = self._values.get(name)
        if known is not None:
            return known
        if name == "infinity":
            raise NoValueError
        if self._exact:
            raise NotExactError
        if name == "pi":
            return +self._mp.pi
        if name == "e":
            return +self._mp.e
        if name == "i":
            return self._mp.mpc(0, 1)
        raise OpaqueError(name)

    def float(self, value: Value) -> Value:
        """A value as an mpmath number."""
        if isinstance(value, Fraction):
            if self._exact:
                raise NotExactError
            return self._mp.mpf(value.numerator) / value.denominator
        return value

    def _bounded(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            bits = max(value.numerator.bit_length(), value.denominator.bit_length())
            self._takes(1 + bits // 1000)
            if bits > MAX_BITS:
                raise TooLargeError("a number with too many digits")
            return value
        if not self._mp.isfinite(value):
            raise NoValueError
        if isinstance(value, self._mp.mpc):
            if self._complex or abs(value.imag) > abs(value.real) * self._mp.mpf(10) ** (8 - self._mp.dps):
                if not self._complex:
                    raise NoValueError
                return value
            return value.real
        return value

    def _both(self, one: Value, other: Value) -> tuple[Value, Value]:
        if isinstance(one, Fraction) and isinstance(other, Fraction):
            return one, other
        return self.float(one), self.float(other)

    # One rule for each operation.

    def _add(self, node: Node) -> Value:
        total: Value = Fraction(0)
        for part in node.parts:
            one, other = self._both(total, self._of(part))
            total = self._bounded(one + other)
        return total

    def _multiply(self, node: Node) -> Value:
        total: Value = Fraction(1)
        for part in node.parts:
            one, other = self._both(total, self._of(part))
            total = self._bounded(one * other)
        return total

    def _divide(self, node: Node) -> Value:
        top, below = self._both(*map(self._of, node.parts))
        if below == 0:
            raise NoValueError
        return self._bounded(top / below)

    def _negate(self, node: Node) -> Value:
        return -self._of(node.parts[0])

    def _degrees(self, node: Node) -> Value:
        inner = self._of(node.parts[0])
        if self._exact and inner == 0:
            return inner
        return self.float(inner) * self._symbol("pi") / 180

    def _power(self, node: Node) -> Value:
        base, exponent = map(self._of, node.parts)
        return self.power(base, exponent, roots=not node.parts[1].symbols())

    def power(self, base: Value, exponent: Value, roots: bool = True) -> Value:
        """A power; with `roots`, an odd root of a negative real number is negative."""
        if isinstance(exponent, Fraction):
            if exponent.denominator == 1 and isinstance(base, Fraction):
                return self._whole_power(base, exponent.numerator)
            if exponent.denominator != 1 and isinstance(base, Fraction):
                root = _exact_root(base, exponent.denominator) if roots and exponent.denominator < 1000 else None
                if root is not None and (base > 0 or not self._complex or root == 0):
                    return self._whole_power(root, exponent.numerator)
        if self._exact:
            raise NotExactError
        one = self.float(base)
        if one == 0:
            if (exponent.real if not isinstance(exponent, Fraction) else exponent) <= 0:
                raise NoValueError
            return self._mp.mpf(0)
        other = self.float(exponent)
        size = abs(other) * max(1, abs(self._mp.log(abs(one), 2)))
        if size > _MAX_EXPONENT:
            raise TooLargeError("a tower of powers is not evaluated")
        real_root = isinstance(exponent, Fraction) and exponent.denominator % 2 == 1 and exponent.denominator > 1
        if roots and not self._complex and real_root and not isinstance(one, self._mp.mpc) and one < 0:
            sign = -1 if exponent.numerator % 2 else 1
            return self._bounded(sign * self._mp.power(-one, other))
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self._bounded(one ** int(exponent))
        return self._bounded(self._mp.power(one, other))

    def _whole_power(self, base: Fraction, exponent: int) -> Fraction:
        if exponent == 0 or base in (0, 1, -1):
            if base == 0 and exponent <= 0:
                if exponent == 0:
                    return Fraction(1)
                raise NoValueError
            return base ** (exponent % 2 if base == -1 else min(1, abs(exponent)))
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) > MAX_BITS:
            if abs(exponent) > MAX_BITS:
                raise TooLargeError(
                    f"a power of {str(exponent)[:20] if bits < 64 else 'a large number'} is not evaluated"
                )
            raise TooLargeError("a tower of powers is not evaluated")
        return base**exponent

    def _call(self, node: Node) -> Value:
        if node.text.endswith(" of"):
            return self._applied(node)
        rule = _FUNCTIONS.get(node.text)
        if rule is None:
            return self._opaque(node)
        count, act = rule
        if count and len(node.parts) != count:
            return self._opaque(node)
        return self._bounded(act(self, *map(self._of, node.parts)))

    def _applied(self, node: Node) -> Value:
        """An unknown function: one value for each argument, however the argument is written."""
        if self._exact:
            raise NotExactError
        places = [self._mp.nstr(self.float(self._of(part)), 30) for part in node.parts]
        return Fraction(random.Random(f"{node.text} {places}").randint(1, 3_000_000), 1_000_037)

    def _repeated(self, node: Node) -> Value:
        if not has_rule(node):
            return self._opaque(node)
        body, first, last = node.parts
        begin, end = self._of(first), self._of(last)
        if not all(isinstance(bound, Fraction) and bound.denominator == 1 for bound in (begin, end)):
            raise NoValueError
        if end - begin > MAX_TERMS or end < begin - 1:
            raise OpaqueError("a sum of many terms")
        total: Value = Fraction(node.op == "product")
        inner = copy.copy(self)
        for place in range(int(begin), int(end) + 1):
            inner._values, inner._work = {**self._values, node.text: Fraction(place)}, 0
            one, other = self._both(total, inner.value(body))
            total = self._bounded(one * other if node.op == "product" else one + other)
            self._takes(inner._work)  # the work of the terms counts here too, however deep sums are nested
        return total

    def _quantity(self, node: Node) -> Value:
        return self._of(node.parts[0])

    def root(self, value: Value, order: Value) -> Value:
        """The root of a given order."""
        if order == 0:
            raise NoValueError
        return self.power(value, 1 / order)

    def whole(self, value: Value) -> int:
        """A value as an int.

        Raises:
            NoValueError: if it is not a whole number.
        """
        if isinstance(value, Fraction) and value.denominator == 1:
            return value.numerator
        raise NoValueError

    def factorial(self, value: Value) -> Value:
        """n!; between whole numbers by the gamma function."""
        if isinstance(value, Fraction) and value.denominator == 1:
            if value < 0:
                raise NoValueError
            if value > MAX_FACTORIAL:
                raise TooLargeError("a large factorial is not evaluated")
            self._takes(int(value) // 10)
            return Fraction(math.factorial(int(value)))
        value = self.float(value)
        if abs(value) > MAX_FACTORIAL:
            raise TooLargeError("a large factorial is not evaluated")
        return self._mp.gamma(value + 1)

    def double_factorial(self, value: Value) -> Value:
        """n!!, for whole numbers from -1."""
        count = self.whole(value)
        if count < -1:
            raise NoValueError
        if count > MAX_FACTORIAL:
            raise TooLargeError("a large factorial is not evaluated")
        return Fraction(math.prod(range(count, 0, -2)))

    def binomial(self, n: Value, k: Value) -> Value:
        """n over k."""
        if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1 and n >= 0:
            if k < 0:
                return Fraction(0)
            if n > 5 * MAX_FACTORIAL:
                raise TooLargeError("a large binomial coefficient is not evaluated")
            self._takes(int(n) // 20)
            return Fraction(math.comb(int(n), int(k)))
        one, other = self.float(n), self.float(k)
        if max(abs(one), abs(other)) > MAX_FACTORIAL:
            raise TooLargeError("a large binomial coefficient is not evaluated")
        return self._mp.binomial(one, other)

    def absolute(self, value: Value) -> Value:
        """|x|."""
        return abs(value)

    def rounded(self, value: Value, up: bool) -> Value:
        """Floor or ceiling."""
        if isinstance(value, Fraction):
            return Fraction(math.ceil(value) if up else math.floor(value))
        if isinstance(value, self._mp.mpc):
            raise NoValueError
        if abs(value) > 10**40:
            raise TooLargeError("a large number is not rounded")
        return Fraction(int(self._mp.ceil(value) if up else self._mp.floor(value)))

    def of_mpmath(self, name: str) -> Callable[[Value], Value]:
        """A function of mpmath, applied to one argument."""

        def act(value: Value) -> Value:
            given = self.float(value)
            if name in _GROWING and abs(given) > _MAX_EXPONENT:
                raise TooLargeError("a tower of powers is not evaluated")
            if abs(given) > self._mp.mpf(10) ** 1000:
                raise TooLargeError("a number with too many digits")
            try:
                found = getattr(self._mp, name)(given)
            except (ValueError, ZeroDivisionError) as error:
                raise NoValueError from error
            return found

        return act

    def logarithm(self, value: Value, base: Value | None = None) -> Value:
        """The natural logarithm, or that to a base."""
        if base is not None and isinstance(value, Fraction) and isinstance(base, Fraction):
            exact = _exact_logarithm(value, base)
            if exact is not None:
                return exact
        if value == 1:
            return Fraction(0)
        given = self.float(value)
        if given == 0:
            raise NoValueError
        found = self._mp.log(given)
        if base is None:
            return found
        below = self._mp.log(self.float(base)) if base != 0 else 0
        if below == 0:
            raise NoValueError
        return found / below


def _exact_root(value: Fraction, order: int) -> Fraction | None:
    """The root of a fraction if it is a fraction; of a negative number for odd orders only."""
    negative = value < 0
    if negative and order % 2 == 0:
        return None
    parts = [_integer_root(part, order) for part in (abs(value.numerator), value.denominator)]
    if parts[0] is None or parts[1] is None:
        return None
    return Fraction(-parts[0] if negative else parts[0], parts[1])


def _integer_root(value: int, order: int) -> int | None:
    if value < 2:
        return value
    if order == 2:
        found = math.isqrt(value)
        return found if found * found == value else None
    if value.bit_length() <= order:
        return None
    low, high = 1, 1 << (value.bit_length() // order + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**order <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**order == value else None


def _exact_logarithm(value: Fraction, base: Fraction) -> Fraction | None:
    """The logarithm if it is a whole number."""
    if value <= 0 or base <= 0 or base == 1:
        return None
    one, other = (max(part.numerator.bit_length(), part.denominator.bit_length()) for part in (value, base))
    guess = round((one - 1) / max(other - 1, 1)) if other > 1 else 0
    for power in range(max(0, guess - 2), guess + 3):
        for exponent in (power, -power):
            if abs(exponent) * other < MAX_BITS and base**exponent == value:
                return Fraction(exponent)
    return None


_RULES: dict[str, Callable[[Evaluator, Node], Value]] = {
    "add": Evaluator._add,
    "multiply": Evaluator._multiply,
    "divide": Evaluator._divide,
    "negate": Evaluator._negate,
    "power": Evaluator._power,
    "degrees": Evaluator._degrees,
    "call": Evaluator._call,
    "sum": Evaluator._repeated,
    "product": Evaluator._repeated,
    "quantity": Evaluator._quantity,
}


_GROWING = ("exp", "sinh", "cosh", "tanh", "coth", "sech", "csch")


def _by_mpmath(name: str) -> Callable[..., Value]:
    return lambda self, value: self.of_mpmath(name)(value)


def _gcd(self: Evaluator, *values: Value) -> Value:
    return Fraction(math.gcd(*(self.whole(value) for value in values)))


def _lcm(self: Evaluator, *values: Value) -> Value:
    return Fraction(math.lcm(*(self.whole(value) for value in values)))


def _extreme(largest: bool) -> Callable[..., Value]:
    def act(self: Evaluator, *values: Value) -> Value:
        if any(hasattr(value, "imag") and value.imag != 0 for value in values):
            raise NoValueError
        if not all(isinstance(value, Fraction) for value in values):
            values = tuple(self.float(value) for value in values)
        return max(values) if largest else min(values)

    return act


def _modulo(self: Evaluator, value: Value, modulus: Value) -> Value:
    if self.whole(modulus) == 0:
        raise NoValueError
    return Fraction(self.whole(value) % self.whole(modulus))


def _sign(self: Evaluator, value: Value) -> Value:
    if hasattr(value, "imag") and value.imag != 0:
        raise NoValueError
    return Fraction((value > 0) - (value < 0))


def _functions(named: dict[str, str]) -> dict[str, tuple[int, Callable[..., Value]]]:
    return {name: (1, _by_mpmath(known)) for name, known in named.items()}


_FUNCTIONS: dict[str, tuple[int, Callable[..., Value]]] = {
    "sqrt": (1, lambda self, value: self.power(value, Fraction(1, 2))),
    "root": (2, lambda self, order, value: self.root(value, order)),
    "abs": (1, Evaluator.absolute),
    "floor": (1, lambda self, value: self.rounded(value, up=False)),
    "ceil": (1, lambda self, value: self.rounded(value, up=True)),
    "factorial": (1, Evaluator.factorial),
    "double_factorial": (1, Evaluator.double_factorial),
    "binomial": (2, Evaluator.binomial),
    "ln": (1, Evaluator.logarithm),
    "log": (1, Evaluator.logarithm),
    "log_base": (2, lambda self, base, value: self.logarithm(value, base)),
    "gcd": (0, _gcd),
    "lcm": (0, _lcm),
    "max": (0, _extreme(True)),
    "min": (0, _extreme(False)),
    "mod": (2, _modulo),
    "sgn": (1, _sign),
    "sign": (1, _sign),
}
_FUNCTIONS |= _functions({name: name for name in names_of("sin cos tan cot sec csc sinh cosh tanh coth sech csch exp")})
_FUNCTIONS |= _functions({f"arc{name}": f"a{name}" for name in names_of("sin cos tan cot sec csc sinh cosh tanh")})
_FUNCTIONS |= _functions({"arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "Re": "re", "Im": "im"})
_FUNCTIONS |= _functions({name: name for name in ("asinh", "acosh", "atanh", "arg")})
_FUNCTIONS |= _functions({"overline": "conj", "bar": "conj"})


def exact_value(node: Node) -> Fraction | None:
    """The rational value of a formula without variables; None if it has none, or if fractions do not suffice.

    Raises:
        TooLargeError: a number of too many digits.
    """
    try:
        found = Evaluator({}, exact=True).value(node)
    except (NoValueError, NotExactError, OpaqueError):
        return None
    return found if isinstance(found, Fraction) else None


def has_finite_value(node: Node) -> bool:
    """Whether a formula without variables has a value or is infinite; True where finding out would take much work."""
    if any(part.text == "infinity" for part in node.walk()):
        return True
    try:
        Evaluator({}, exact=True).value(node)
    except NoValueError:
        return False
    except (NotExactError, OpaqueError, TooLargeError):
        return True
    return True


def has_rule(node: Node) -> bool:
    """Whether a node can be evaluated from the values of its parts."""
    if node.op in ("number", "symbol"):
        return True
    if node.op in ("sum", "product"):
        return not any(
            part.has("opaque") or part.text == "infinity" for bound in node.parts[1:] for part in bound.walk()
        )
    if node.op == "call" and node.text.endswith(" of"):
        return True
    if node.op == "call":
        count = _FUNCTIONS.get(node.text, (-1, None))[0]
        return count == 0 or count == len(node.parts)
    return node.op in _RULES
