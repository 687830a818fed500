r"""Factors: numbers, letters, functions with their arguments, roots and fractions, and what follows them."""

from __future__ import annotations

from its.grading.formula import vocabulary as words
from its.grading.formula.brackets import Brackets
from its.grading.formula.cursor import END, times
from its.grading.formula.nodes import CONSTANTS, Node, numeral, symbol
from its.grading.formula.numerals import Numerals, numeral_of_base
from its.grading.formula.signs import ACCENTS, BIG, INVERSE, NO_FACTOR, RELATIONS, SETS, WORK, WRAPPED
from its.grading.formula.tokens import ReadError, Token
from its.grading.formula.units import Units


class Factors(Units, Numerals, Brackets):
    """Reads factors."""

    def _starts_factor(self) -> bool:
        token = self.peek()
        if token is END:
            return False
        if token.kind in ("number", "bold", "alphabet", "upright"):
            return True
        if token.kind in ("letters", "word"):
            low = token.text.casefold()
            return low not in words.LINKS and low not in words.CLAUSES and low != "mod"
        if token.kind == "mark":
            if token.text == "|":
                return self._bars == 0 and not self._in_set
            return token.text in ("(", "{", "\\{") or (token.text == "[" and not self._turned)
        if token.text in RELATIONS or token.text in SETS or (token.text == "Vert" and self._bars):
            return False
        return token.text not in NO_FACTOR

    def _factor(self) -> Node:
        if self._is("-"):
            self._at += 1
            return Node("negate", (self._factor(),))
        if self._is("+"):
            self._at += 1
            return self._factor()
        self._deeper()
        node = self._postfix(self._atom())
        self._depth -= 1
        return node

    def _postfix(self, node: Node) -> Node:
        raised = False
        while self.more():
            if self._is("!"):
                self._at += 1
                node = Node("call", (node,), "double_factorial" if self._take("!") else "factorial")
            elif self._is("^", "**"):
                self._at += 1
                changed = self._raised(node)
                if changed is None:
                    if raised:
                        raise ReadError("a power has two exponents")
                    raised = True
                    node = Node("power", (node, self._exponent()))
                else:
                    node = changed
            elif self._is("circ") and node.op in ("number", "symbol") and not self._factor_after(1):
                self._at += 1
                node = self._degrees(node)
            elif self._is("_"):
                self._at += 1
                node = self._indexed(node)
            elif self._is("'"):
                self._at += 1
                node = symbol(node.text + "'") if node.op == "symbol" else Node("call", (node,), "prime")
            elif node.op == "number" and self._ordinal():
                continue
            elif node.op == "symbol" and self._is("(") and self._is_applied(node.text):
                node = Node("call", self._brackets().parts, f"{node.text} of")
            elif self._based_word(node):
                self._at += 1
                node = numeral_of_base(node.text, self.peek().text)
                self._at += 1
            else:
                break
        return node

    def _is_applied(self, name: str) -> bool:
        """Whether a letter before a parenthesis is a function: `f(x+1)`, `P(A)`, `y(0)`, but not `n(n+1)`."""
        if name.rstrip("'") in ("f", "g"):
            return True
        if name in CONSTANTS or " " in name or not name[0].isalpha():
            return False
        inside = self.peek(1)
        return inside.kind in ("number", "letters") and len(inside.text) == 1 and self._is(")", ahead=2)

    def _factor_after(self, ahead: int) -> bool:
        token = self.peek(ahead)
        return token.kind in ("letters", "bold") and token.text not in ("C", "F") and not token.spaced

    def _raised(self, node: Node) -> Node | None:
        """What a superscript mark makes of a node: degrees, an ordinal, a prime, an asterisk; None for a power."""
        size = 1
        inner = self.peek()
        braces = self._is("{")
        if braces:
            inner = self.peek(1)
            depth = 0
            for size in range(1, len(self._tokens) - self._at + 1):
                text = self.peek(size - 1).text
                depth += (text == "{") - (text == "}")
                if not depth:
                    break
            if size != 3 and not (inner.text == "circ" or inner.text == "'"):
                return None
        if inner.text == "circ" and inner.kind == "command":
            self._at += 1 + braces
            degree = self._degrees(node, inside=braces)
            if braces:
                self._wanted("}")
                degree = self._scale(degree)
            return degree
        if inner.kind in ("letters", "word", "upright") and inner.text.casefold() in words.ORDINALS:
            self._at += size
            return node
        if inner.text == "'":
            primes = self._tokens[self._at : self._at + size]
            if all(token.text in ("'", "{", "}") for token in primes):
                self._at += size
                marks = "'" * sum(token.text == "'" for token in primes)
                return symbol(node.text + marks) if node.op == "symbol" else Node("call", (node,), "prime")
            return None
        if inner.text in ("*", "+", "-", "dagger", "times", "perp", "top", "ast", "star") and node.op == "symbol":
            following = self.peek(size)
            if braces or following is END or following.text in (",", ";", ")", "}", "=", "]", "in", "cup"):
                self._at += size
                return symbol(f"{node.text}^{inner.text}")
        return None

    def _exponent(self) -> Node:
        if self._is("-", "+"):
            negative = self._is("-")
            self._at += 1
            node = self._exponent()
            return Node("negate", (node,)) if negative else node
        if self._is("{"):
            return self._group()
        node = self._atom()
        while self._is("!"):
            self._at += 1
            node = Node("call", (node,), "factorial")
        if self._take("^", "**"):  # a tower in plain text is evaluated from the right
            self._deeper()
            node = Node("power", (node, self._exponent()))
            self._depth -= 1
        return node

    def _indexed(self, node: Node) -> Node:
        """A letter with its index, or a numeral with its base."""
        first = self._at
        if self._is("{"):
            self._skip_group()
        else:
            self._at += 1
            if not self._tokens[first : self._at]:
                raise ReadError("a subscript is missing")
        index = "".join(
            token.text for token in self._tokens[first : self._at] if token.text not in ("{", "}", "(", ")")
        )
        if node.op == "symbol":
            return symbol(f"{node.text}_{index}")
        if node.op == "power" and node.parts[0].op == "symbol":
            return Node("power", (symbol(f"{node.parts[0].text}_{index}"), node.parts[1]))
        bare = node.parts[0] if node.op == "group" and len(node.parts) == 1 else node
        if bare.op == "number":
            return numeral_of_base(bare.text, index)
        if node.op == "call":
            return Node("call", node.parts, f"{node.text}_{index}")
        raise ReadError("a subscript after something that has none")

    def _group(self) -> Node:
        """Read a group in braces."""
        self._wanted("{")
        bars, self._bars = self._bars, 0
        outside, self._in_set = self._in_set, self._one_bar()
        node = self.items()
        self._in_set = outside
        if self._bars == 0 and self._is("|", "mid") and node.op != "list":
            self._at += 1
            node = Node("such_that", (node, self.items()))
        elif self._take("choose"):
            node = Node("call", (node, self.items()), "binomial")
        elif self._take("over"):
            node = Node("divide", (node, self.items()))
        self._bars = bars
        self._wanted("}")
        return Node("list", node.parts, "{}") if node.op == "list" and node.text == "," else node

    def _argument(self) -> Node:
        """Read the argument of a command: a group, one digit, one letter, or one command."""
        if self._is("{"):
            return self._group()
        token = self.peek()
        if token.kind in ("number", "letters") and len(token.text) > 1:
            if not token.text.isalnum():
                raise ReadError(f"`{token.text}` cannot be split")
            self._tokens[self._at : self._at + 1] = [
                Token(token.kind, token.text[0], token.spaced),
                Token(token.kind, token.text[1:]),
            ]
        return self._atom()

    def _atom(self) -> Node:
        token = self.peek()
        if token is END:
            raise ReadError("the formula is incomplete")
        if token.kind == "number":
            return self._number()
        if token.kind == "bold":
            self._at += 1
            return symbol(f"{token.text} vector" if token.text in "ijk" else token.text)
        if token.kind == "alphabet":
            self._at += 1
            return symbol(f"set {token.text}")
        if token.kind in ("letters", "word", "upright"):
            return self._letters()
        if token.kind == "command":
            return self._named()
        if token.text in ("(", "[", "\\{", "]"):
            group = self._brackets()
            return (
                group.parts[0]
                if group.text in ("()", "[]") and len(group.parts) == 1 and group.op == "group"
                else group
            )
        if token.text == "{":
            return self._group()
        if token.text == "|":
            return self._between_bars()
        raise ReadError(f"`{token.text}` is unexpected")

    def _letters(self) -> Node:
        token = self.peek()
        if token.text in words.FUNCTIONS:
            self._at += 1
            return self._function(token.text)
        if (
            token.text in words.SYMBOLS
            and (len(token.text) > 1 or token.kind != "letters")
            and token.text not in ("Re", "Im")
        ):
            self._at += 1
            return symbol(words.SYMBOLS[token.text])
        if len(token.text) == 1:
            self._at += 1
            return symbol(token.text)
        if (
            token.text.casefold() in ("am", "pm")
            and self._at
            and self._tokens[self._at - 1].kind == "number"
            and self.peek(1) is END
        ):
            raise ReadError("a time of day")
        if token.kind in ("word", "upright") and not (token.kind == "upright" and not words.is_word(token.text)):
            raise ReadError(f"`{token.text}` is a word")
        names = words.names_in(token.text)
        if names is None and words.is_word(token.text):
            raise ReadError(f"`{token.text}` is a word")
        pieces = names if names is not None else list(token.text)
        self._tokens[self._at : self._at + 1] = [
            Token("letters", piece, token.spaced and not place) for place, piece in enumerate(pieces)
        ]
        return self._letters()

    def _named(self) -> Node:
        """Read what a command begins."""
        name = self.peek().text
        self._at += 1
        if name == "circ":
            return symbol("circ")
        if name in words.FUNCTIONS:
            return self._function(name)
        if name in words.SYMBOLS:
            return symbol(words.SYMBOLS[name])
        if name == "frac":
            return Node("divide", (self._argument(), self._argument()))
        if name == "binom":
            return Node("call", (self._argument(), self._argument()), "binomial")
        if name == "cbrt":
            return Node("call", (numeral(3), self._argument()), "root")
        if name in ("angle", "triangle") and self.peek().kind == "letters":
            self._at += 1
            return symbol(f"{name} {self._tokens[self._at - 1].text}")
        if name in ("angle", "triangle"):
            return Node("call", (self._factor(),), name)
        if name == "dots":
            return Node("opaque", text="dots")
        if name in ACCENTS:
            return self._accented(name)
        if name in WRAPPED:
            closing, function = WRAPPED[name]
            self._bars += name == "Vert"
            inner = self.items()
            self._bars -= name == "Vert"
            self._wanted(closing)
            return Node("call", (inner,), function)
        if name == "langle":
            self._at -= 1
            return self._brackets()
        if name == "begin":
            return self._rows()
        if name in BIG or name in WORK:
            return self._big(name)
        if name in NO_FACTOR or name in RELATIONS or name in SETS:
            raise ReadError(f"`\\{name}` has no operand")
        return Node("opaque", text=f"\\{name}")

    def _accented(self, name: str) -> Node:
        if name in ("overset", "stackrel"):
            self._argument()
        inner = self._argument()
        name = {"overline": "bar", "widehat": "hat", "widetilde": "tilde"}.get(name, name)
        if inner.op == "symbol":
            return symbol(f"{name} {inner.text}")
        return Node("call", (inner,), name)

    def _function(self, name: str) -> Node:
        if name == "sqrt":
            return self._root()
        name = {"tg": "tan", "ctg": "cot", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "Arg": "arg"}.get(
            name, name
        )
        index = power = None
        while self._is("^", "_", "'"):
            raised = self._is("^")
            self._at += 1
            if raised:
                power = self._exponent()
            elif name == "log" or name in ("max", "min"):
                index = self._atom() if self.peek().kind == "number" else self._argument()
            else:
                raise ReadError(f"`{name}` has a subscript or a prime")
        if self._is("|") and self._bars:
            raise ReadError(f"the argument of `{name}` is missing")
        if self._is("(", "["):
            group = self._brackets()
            arguments = group.parts
        elif self._is("{"):
            group = self._group()
            arguments = group.parts if group.op in ("set", "list") else (group,)
        else:
            arguments = (self._bare_argument(name),)
        if name == "log" and index is not None:
            call = Node("call", (index, *arguments), "log_base")
        elif name == "lg":
            call = Node("call", (numeral(10), *arguments), "log_base")
        else:
            if name in INVERSE and power is not None and power.op == "negate" and power.parts[0].number == 1:
                name, power = INVERSE[name], None
            call = Node("call", arguments if index is None else (*arguments, index), name)
        return call if power is None else Node("power", (call, power))

    def _bare_argument(self, name: str) -> Node:
        if self._is("-"):
            self._at += 1
            return Node("negate", (self._bare_argument(name),))
        self._deeper()
        node = self._factor()
        while (
            self._starts_factor()
            and not self._is("(", "[", "|", "\\{")
            and self.peek().text not in words.FUNCTIONS
            and not (self.peek().kind == "number" and self._tokens[self._at - 1].kind == "number")
            and self._unit_end(node) is None
        ):
            node = times(node, self._factor())
        self._depth -= 1
        return node

    def _root(self) -> Node:
        order = None
        if self._is("["):
            self._at += 1
            order = self._sum()
            self._wanted("]")
        if self._is("{"):
            inner = self._group()
        elif self._is("("):
            group = self._brackets()
            inner = group.parts[0] if len(group.parts) == 1 else group
        else:
            inner = self._atom()
        return Node("call", (inner,), "sqrt") if order is None else Node("call", (order, inner), "root")

    def _big(self, name: str) -> Node:
        """Read a sum, a product, an integral or a limit: its bounds and its body."""
        below = above = None
        while self._is("_", "^"):
            lower = self._is("_")
            self._at += 1
            bound = self._group() if self._is("{") else self._argument()
            below, above = (bound, above) if lower else (below, bound)
        body = self._term()
        named = below is not None and below.op == "relation" and below.text == "=" and below.parts[0].op == "symbol"
        if name in BIG and named and below is not None and above is not None:
            return Node(BIG[name], (body, below.parts[1], above), below.parts[0].text)
        return Node("opaque", tuple(part for part in (body, below, above) if part is not None), name)
