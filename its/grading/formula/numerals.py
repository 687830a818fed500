r"""Numerals: `1,234.5`, `0.1\overline{6}`, `3\frac12`, `1011_2`, `12^{\text{th}}`, `64^\circ 21'`."""

from __future__ import annotations

import re
from fractions import Fraction

from its.grading.formula import vocabulary as words
from its.grading.formula.cursor import END, Cursor
from its.grading.formula.nodes import Node, numeral
from its.grading.formula.tokens import ReadError

_DIGITS = {letter: value for value, letter in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_IN_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_BASES = {word: base for base, word in enumerate(_IN_WORDS, 2)} | {"sixteen": 16}


class Numerals(Cursor):
    """Reads numerals and their superscript marks."""

    def _number(self) -> Node:
        token = self.peek()
        self._at += 1
        if token.text.endswith("."):
            return self._repeating(token.text[:-1], "")
        if not re.fullmatch(r"[0-9.]+(?:[eE][-+]?[0-9]+)?", token.text):
            return Node("number", text=token.text, number=Fraction(0))  # digits of a base; `_indexed` reads them
        if "." in token.text and self._is("overline", "bar") and self.peek(1).text == "{":
            whole, _, places = token.text.partition(".")
            return self._repeating(whole, places)
        value = _value_of(token.text)
        places = token.text.partition(".")[2]
        if self._is("dots") and len(places) > 2 and places.isdigit() and len(set(places[-3:])) == 1:
            self._at += 1  # 73.333... repeats its last digit
            return numeral(value + Fraction(int(places[-1]), 9 * 10 ** len(places)))
        if token.text.isdigit():
            mixed = self._mixed(value)
            if mixed is not None:
                return mixed
        return numeral(value, token.text)

    def _repeating(self, whole: str, places: str) -> Node:
        self._at += 1
        self._wanted("{")
        period = self.peek()
        if period.kind != "number" or not period.text.isdigit():
            raise ReadError("the repeating digits are missing")
        self._at += 1
        self._wanted("}")
        once = Fraction(int(places + period.text) - int(places or 0), 10 ** len(places) * (10 ** len(period.text) - 1))
        return numeral(int(whole or 0) + once)

    def _mixed(self, whole: Fraction) -> Node | None:
        """The rest of `3\\frac{1}{2}` or of `3 1/2`."""
        if self._is("frac"):
            texts = [token.text for token in self._tokens[self._at + 1 : self._at + 8]]
            braced = texts[:1] == texts[3:4] == ["{"] and texts[2:3] == texts[5:6] == ["}"]
            top, below = (texts[1], texts[4]) if braced else ("", "")
            if len(texts) > 0 and texts[0].isdigit() and len(texts[0]) == 2:
                top, below = texts[0][0], texts[0][1]
            if top.isdigit() and below.isdigit() and int(below) and not self._is("^", "_", ahead=7 if braced else 2):
                self._at += 7 if braced else 2
                return numeral(whole + Fraction(int(top), int(below)))
        elif (
            self.peek().kind == "number"
            and self.peek().spaced
            and self._is("/", ahead=1)
            and self.peek(2).kind == "number"
        ):
            top_text, below_text = self.peek().text, self.peek(2).text
            if top_text.isdigit() and below_text.isdigit() and int(below_text):
                self._at += 3
                return numeral(whole + Fraction(int(top_text), int(below_text)))
        return None

    def _based_word(self, node: Node) -> bool:
        return (
            node.op == "number"
            and self.peek().text == "base"
            and (self.peek(1).text in _BASES or self.peek(1).text.isdigit())
        )

    def _ordinal(self) -> bool:
        token = self.peek()
        if (
            token.kind in ("letters", "word", "upright")
            and token.text.casefold() in words.ORDINALS
            and not token.spaced
        ):
            self._at += 1
            return True
        return False

    def _degrees(self, node: Node, inside: bool = False) -> Node:
        degree = Node("degrees", (node,))
        return degree if inside else self._scale(degree)

    def _minutes(self, degree: Node) -> Node:
        """`64^\\circ 21'`, maybe with seconds."""
        size = degree.parts[0].number
        for part in (60, 3600):
            marks = ("'", "''") if part == 60 else ("''", '"')
            if size is None or self.peek().kind != "number" or not self.peek().text.isdigit():
                break
            primes = 0
            while self._is("'", ahead=1 + primes):
                primes += 1
            quoted = self._is('"', ahead=1)
            if ("'" * primes not in marks and not (quoted and part == 3600)) or not (primes or quoted):
                break
            size += Fraction(int(self.peek().text), part)
            self._at += 1 + primes + quoted
        return degree if size is None or size == degree.parts[0].number else Node("degrees", (numeral(size),))

    def _scale(self, degree: Node) -> Node:
        """`^\\circ C`: a temperature."""
        token = self.peek()
        if token.kind in ("letters", "word", "upright") and token.text in ("C", "F", "Celsius", "Fahrenheit"):
            following = self.peek(1)
            if following is END or following.text in (",", ";", ")", "}"):
                self._at += 1
                return Node("quantity", degree.parts, f"degrees {token.text}")
        return self._minutes(degree)


def _value_of(text: str) -> Fraction:
    digits, _, exponent = text.lower().partition("e")
    if len(exponent) > 5:
        raise ReadError(f"the power of ten {exponent[:20]} is too large")
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)


def numeral_of_base(digits: str, base: str) -> Node:
    """A numeral in a base from 2 to 36; in base ten it is a number.

    Raises:
        ReadError: a digit does not exist in the base.
    """
    known = _BASES.get(base) or (int(base) if base.isdigit() and len(base) < 3 else 0)
    if not 2 <= known <= 36 or any(_DIGITS.get(digit, 99) >= known for digit in digits):
        raise ReadError(f"`{digits}` is not a numeral in base {base[:10]}")
    if known == 10:
        return numeral(int(digits), digits)
    return Node("based", text=f"{digits.lstrip('0') or '0'}_{known}")
