r"""What is between brackets and bars: `(1, 2]`, `\{x \mid x > 0\}`, `|x|`, matrices and cases."""

from __future__ import annotations

from its.grading.formula.cursor import Cursor
from its.grading.formula.nodes import Node, symbol
from its.grading.formula.tokens import ReadError, spelled

_MATRICES = (
    "matrix",
    "pmatrix",
    "bmatrix",
    "vmatrix",
    "Bmatrix",
    "Vmatrix",
    "array",
    "cases",
    "smallmatrix",
    "aligned",
)


class Brackets(Cursor):
    """Reads brackets of all kinds."""

    def _between_bars(self) -> Node:
        self._wanted("|")
        self._bars += 1
        inner = self.items()
        self._bars -= 1
        self._wanted("|")
        return Node("call", (inner,), "abs")

    def _brackets(self) -> Node:
        """Read a tuple, an interval, a set, or an expression in parentheses, which is a group of one."""
        opening = self.peek().text
        self._at += 1
        bars, self._bars = self._bars, 0
        outside, self._in_set = self._in_set, opening == "\\{"
        turned, self._turned = self._turned, opening == "]"
        self._deeper()
        if self._is("\\}") and opening == "\\{":
            self._at += 1
            self._bars, self._in_set, self._turned = bars, outside, turned
            self._depth -= 1
            return symbol("emptyset")
        inner = self.items()
        if opening == "\\{" and (self._is("mid", "|", ":")):
            self._at += 1
            self._in_set = False
            inner = Node("such_that", (inner, self.items()))
        if self._is("choose"):
            self._at += 1
            inner = Node("call", (inner, self.items()), "binomial")
        self._bars, self._in_set, self._turned = bars, outside, turned
        self._depth -= 1
        if (
            opening == "\\{" and not self.more() and inner.op in ("rows", "list")
        ):  # a system, whose `\\right.` was removed
            cells = [row.parts for row in inner.parts] if inner.op == "rows" else [(part,) for part in inner.parts]
            if inner.op == "list" or all(len(row) == 1 for row in cells):
                return Node("list", tuple(row[0] for row in cells), ",")
            return Node("rows", inner.parts, "cases")
        closing = self.peek().text
        self._at += 1
        if inner.op == "such_that":
            if closing != "\\}":
                raise ReadError("a set is not closed")
            return inner
        parts = inner.parts if inner.op == "list" else (inner,)
        if opening == "\\{":
            if closing != "\\}":
                raise ReadError("a set is not closed")
            return Node("set", parts)
        if opening == "langle":
            if closing != "rangle":
                raise ReadError("a `\\langle` is not closed")
            return Node("group", parts, "()")
        if opening == "]":  # `]0, 1[` is open at both ends
            if closing not in ("[", "]") or len(parts) != 2:
                raise ReadError("unmatched `]`")
            return Node("group", parts, "(" + (")" if closing == "[" else "]"))
        if closing == "[" and len(parts) == 2:
            closing = ")"
        if closing not in (")", "]") or (opening + closing in ("(]", "[)") and len(parts) != 2):
            raise ReadError(f"a `{opening}` is not closed")
        return Node("group", parts, opening + closing)

    def _rows(self) -> Node:
        """Read a matrix or cases: rows of entries."""
        self._wanted("{")
        name = ""
        while not self._is("}") and self.more():
            name += self.peek().text
            self._at += 1
        self._wanted("}")
        if name == "array" and self._is("{"):
            self._skip_group()
        if name not in _MATRICES:
            raise ReadError(f"the environment `{name}` is not supported")
        bars, self._bars = self._bars, 0
        rows: list[Node] = []
        cells: list[Node] = []
        while True:
            if self._is("end"):
                break
            if self._take("\\\\"):
                rows.append(Node("group", tuple(cells), "row"))
                cells = []
            elif self._take("&"):
                continue
            elif not self.more():
                raise ReadError("a matrix is not closed")
            else:
                cells.append(self._cell())
        if cells:
            rows.append(Node("group", tuple(cells), "row"))
        self._at += 1
        self._skip_group()
        self._bars = bars
        if name in ("cases", "aligned") and rows and all(len(row.parts) == 1 for row in rows):
            return Node("list", tuple(row.parts[0] for row in rows), ",")  # a system of equations
        kind = (
            "cases"
            if name in ("cases", "aligned")
            else "matrix"
            if name not in ("vmatrix", "Vmatrix")
            else "determinant"
        )
        return Node("rows", tuple(row for row in rows if row.parts), kind)

    def _cell(self) -> Node:
        """Read one entry, or the words of a condition."""
        first = self._at
        try:
            node = self._item()
            while self._take(","):
                if not self._is("&", "\\\\", "end"):
                    node = Node("list", (node, self._item()), ",")
            if self._is("&", "\\\\", "end"):
                return node
        except ReadError:
            pass
        self._at = first
        depth = 0
        while self.more() and not (depth == 0 and self._is("&", "\\\\", "end")):
            depth += self._is("{") - self._is("}")
            self._at += 1
        text = spelled(self._tokens[first : self._at])
        return Node("words", text=text.removeprefix("if ").removeprefix("for ").strip())
