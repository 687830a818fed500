r"""Tokens to a tree, up to the last token; anything else is a `ReadError`. No number inside a text is the whole answer.

Ambiguous plain text has one reading: `1/2x` is half of x (a ratio of two numerals is one number), `a/2b`
is a over 2b, `\sin 2x` the sine of 2x, `\sin x (1+x)` a product, `3\frac12` three and a half, `\frac12` a half,
`\sqrt12` the root of 12, `x^12` the twelfth power.
"""

from __future__ import annotations

from its.grading.formula import vocabulary as words
from its.grading.formula.cursor import times
from its.grading.formula.factors import Factors
from its.grading.formula.nodes import Node, symbol
from its.grading.formula.signs import RELATIONS, SETS
from its.grading.formula.tokens import ReadError, Token, spelled

MAX_ITEMS = 256


def parse(tokens: list[Token], single_units: bool) -> Node:
    """The tree of an answer.

    Args:
        single_units: one letter after a number may be a unit (`3 m`), since no variable is expected.

    Raises:
        ReadError: the tokens are not a formula up to the last one.
    """
    parser = _Parser(tokens, single_units)
    node = parser.items()
    if parser.more():
        raise ReadError(f"`{parser.peek().text}` is unexpected")
    return node


class _Parser(Factors):
    """Reads lists, relations, sums and products."""

    def items(self) -> Node:
        """Read relations and expressions, separated by commas and words."""
        self._deeper()
        found, links = [self._item()], list[str]()
        while (link := self._link()) is not None:
            if not self.more() or self._is(")", "]", "\\}", "}"):
                if link in (",", ";"):
                    break  # a comma at the end
                raise ReadError("a list ends with a word")
            links.append(link)
            found.append(self._item())
            if len(found) > MAX_ITEMS:
                raise ReadError(f"a list of more than {MAX_ITEMS} items")
        self._depth -= 1
        if ";" in links and set(links) != {";"}:  # `x = 1, y = 2; x = 3, y = 4`
            rows: list[list[Node]] = [[found[0]]]
            for link, node in zip(links, found[1:], strict=True):
                if link == ";":
                    rows.append([])
                rows[-1].append(node)
            found = [row[0] if len(row) == 1 else Node("list", tuple(row), ",") for row in rows]
        found = [
            part for node in found for part in (node.parts if (node.op, node.text) == ("list", "clause") else (node,))
        ]
        if len(found) == 1:
            return found[0]
        return Node("list", tuple(found), "or" if "or" in links else "and" if "and" in links else ",")

    def _link(self) -> str | None:
        """Read the comma or the word between two items, or both."""
        found = None
        while True:
            token = self.peek()
            word = token.text.casefold() if token.kind in ("letters", "word") else ""
            if self._is(",", ";"):
                found = found or token.text
            elif self._is("\\\\") and self._at and self.more():
                found = found or ","
            elif word in ("and", "und", "et") or self._is("land"):
                found = "and"
            elif word in ("or", "oder", "ou") or self._is("lor"):
                found = "or"
            else:
                return found
            self._at += 1

    def _item(self) -> Node:
        if self._is("=", "approx") or (self.peek().text.casefold() in ("about", "approximately", "exactly", "approx")):
            self._at += 1
        node = self._relation()
        if self._is("(") and node.op != "words":
            node = self._remark(node)
        token = self.peek()
        if (token.kind in ("letters", "word") and token.text.casefold() in words.CLAUSES) or self._is("forall"):
            clause = self._clause()
            return node if clause is None else Node("list", (node, clause), "clause")
        return node

    def _remark(self, node: Node) -> Node:
        """Read a condition in parentheses after a formula: `2k\\pi (k \\in \\mathbb{Z})`; words alone are dropped."""
        inside = self._tokens[self._at + 1 : self._closing(self._at)]
        if not _is_condition(inside):
            return node
        if any(token.kind in ("mark", "command") and token.text in RELATIONS for token in inside):
            inner = self._brackets()
            return Node("list", (node, *inner.parts), "clause")
        self._at += len(inside) + 2
        return node

    def _clause(self) -> Node | None:
        """Read a clause about the variables; None if it only names their domain in words."""
        first = self._at
        depth = 0
        while self.more():
            if self._is("(", "[", "\\{", "{"):
                depth += 1
            elif self._is(")", "]", "\\}", "}"):
                if not depth:
                    break
                depth -= 1
            self._at += 1
        inside = self._tokens[first : self._at]
        bounds = any(
            token.kind in ("mark", "command") and token.text in ("<", ">", "le", "ge", "ne", "=") for token in inside
        )
        return Node("words", text=spelled(inside)) if bounds else None

    def _relation(self) -> Node:
        sides, signs = [self._applied() or self._sets()], []
        while True:
            token = self.peek()
            name = RELATIONS.get(token.text) if token.kind in ("mark", "command") else None
            if token.kind == "letters" and token.text == "in" and sides[-1].op == "symbol":
                name = "in"
            if name == "mid" and self._bars == 0 and self._in_set:
                break
            if name is None:
                break
            self._at += 1
            if name in ("<", ">") and self._take("="):
                name += "="
            if name == "=" and self._take("<", ">"):
                name = "<=" if self._tokens[self._at - 1].text == "<" else "=>"
            signs.append(name)
            sides.append(self._sets())
        if self._is("pmod", "mod", "pod") or (self._is("(") and self._is("mod", ahead=1)) or self._modulo_word():
            closing = self._take("(")
            self._at += 1
            sides.append(self._group() if self._is("{") else self._sum())
            if closing:
                self._wanted(")")
            if not signs:
                return Node("call", tuple(sides), "mod")
            signs.append("mod")
        return Node("relation", tuple(sides), " ".join(signs)) if signs else sides[0]

    def _name_in_words(self) -> int | None:
        """How many tokens before an equals sign are words: `\\text{Average} = 64`."""
        size, is_words = 0, False
        while self.peek(size).kind in ("letters", "word", "upright") or self.peek(size).text in ("'", "-"):
            token = self.peek(size)
            if token.text.casefold() in words.VERBS or size > 8:
                return None
            is_words = is_words or (
                token.kind != "mark" and words.is_word(token.text) and token.text not in words.FUNCTIONS
            )
            size += 1
        return size if is_words and self._is("=", ahead=size) else None

    def _applied(self) -> Node | None:
        """Read `f(x)` before an equals sign: a function and its argument, where elsewhere it is a product."""
        before, token = self._at, self.peek()
        if token.kind not in ("letters", "word", "upright", "bold"):
            return None
        if (size := self._name_in_words()) is not None:
            self._at += size
            return symbol(spelled(self._tokens[before : self._at]))
        if len(token.text) != 1:
            return None
        self._at += 1
        try:
            while self._is("_", "'"):
                self._at += 1
                if self._tokens[self._at - 1].text == "_":
                    self._skip_group() if self._is("{") else self._argument()
            name = "".join(token.text for token in self._tokens[before : self._at])
            following = self._closing(self._at) + 1
            if self._is("(") and following < len(self._tokens) and self._tokens[following].text == "=":
                group = self._brackets()
                if group.text == "()":
                    return Node("call", group.parts, f"{name} of")
        except ReadError:
            pass
        self._at = before
        return None

    def _modulo_word(self) -> bool:
        if self._is("(") and self.peek(1).text == "mod":
            return True
        return self.peek().kind in ("letters", "word", "upright") and self.peek().text == "mod"

    def _sets(self) -> Node:
        node = self._joined()
        while self._is(":") and not (self._in_set and self._bars == 0):
            self._at += 1
            sides = node.parts if node.op == "group" and node.text == ":" else (node,)
            node = Node("group", (*sides, self._joined()), ":")
        return node

    def _joined(self) -> Node:
        node = self._sum()
        while self.more() and self.peek().kind == "command" and self.peek().text in SETS:
            op = SETS[self.peek().text]
            self._at += 1
            other = self._sum()
            parts = (*node.parts, other) if node.op == op and op != "difference" else (node, other)
            node = Node(op, parts)
        return node

    def _sum(self) -> Node:
        self._deeper()
        terms: list[Node] = []
        while True:
            sign = ""
            if self._is("+", "-", "pm", "mp"):
                sign = self.peek().text
                self._at += 1
            elif terms:
                break
            term = self._term() if not self._is("+", "-") else self._signed()
            if sign == "-":
                term = Node("negate", (term,))
            elif sign in ("pm", "mp"):
                term = Node("plus_minus" if sign == "pm" else "minus_plus", (term,))
            terms.append(term)
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def _signed(self) -> Node:
        """Read one more sign after a sign: `2 - -3`."""
        negative = self.peek().text == "-"
        self._at += 1
        term = self._term()
        return Node("negate", (term,)) if negative else term

    def _term(self) -> Node:
        node = self._factor()
        while self.more():
            if self._is("*", "times", "cdot", "ast", "bullet"):
                self._at += 1
                node = times(node, self._factor())
            elif self._is("/", "div"):
                self._at += 1
                node = self._over(node)
            elif self._is_times_letter(node):
                self._at += 1
                node = times(node, self._factor())
            elif (changed := self._changed(node)) is not None:
                node = changed
            elif (end := self._unit_end(node)) is not None:
                unit = spelled(self._tokens[self._at : end])
                self._at = end
                return Node("quantity", (node,), unit)
            elif (self._is("(") and self.peek(1).text in ("mod", "pmod")) or (
                self._is("(") and _is_condition(self._tokens[self._at + 1 : self._closing(self._at)])
            ):
                break
            elif self._starts_factor():
                if self.peek().kind == "number" and self._tokens[self._at - 1].kind == "number":
                    beside = node.parts if node.op == "group" and node.text == "beside" else (node,)
                    node = Node("group", (*beside, self._factor()), "beside")
                    continue
                node = times(node, self._factor())
            else:
                break
        return node

    def _over(self, top: Node) -> Node:
        below = self._factor()
        if top.op == "number" and below.op == "number" and top.number is not None and below.number is not None:
            return Node("divide", (top, below))
        while self._starts_factor() and not self._is("(", "[", "\\{", "|") and self.peek().text not in words.FUNCTIONS:
            if self._unit_end(below) is not None or self._changed_word():
                break
            below = times(below, self._factor())
        return Node("divide", (top, below))


def _is_condition(inside: list[Token]) -> bool:
    """Whether parentheses are a condition and not a factor: `(k \\in \\mathbb{Z})`, `(n is an integer)`."""
    depth = 0
    for token in inside:
        if token.kind in ("mark", "command"):
            depth += {"(": 1, ")": -1, "|": 0, "{": 1, "}": -1}.get(token.text, 0)
            if not depth and token.text in RELATIONS and token.text not in ("mid", "to"):
                return True
        elif (
            (token.kind == "word" and len(token.text) > 1) or (token.kind == "letters" and words.is_word(token.text))
        ) and not (token.text in words.FUNCTIONS or words.names_in(token.text)):
            return True
    return False
