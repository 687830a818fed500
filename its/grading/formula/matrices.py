"""Sums, products and multiples of matrices, entry by entry."""

from __future__ import annotations

from collections.abc import Callable

from its.grading.formula.nodes import Node, is_scalar, numeral
from its.grading.formula.values import UndecidedError

MAX_ENTRIES = 10_000
"""Most products of entries in one product of matrices."""


def worked_out(node: Node) -> Node:
    """Sums, products and multiples of matrices evaluated entry by entry; other nodes are returned unchanged."""
    if not node.has("rows") or node.op == "rows":
        return node
    if node.op == "negate":
        inner = worked_out(node.parts[0])
        return _times_factor(inner, (numeral(-1),)) if inner.op == "rows" else node
    if node.op == "add":
        terms = [worked_out(part) for part in node.parts]
        if any(term.op != "rows" or _shape(term) != _shape(terms[0]) for term in terms):
            return node
        return _by_entry(terms[0], lambda row, column: Node("add", tuple(_entry(term, row, column) for term in terms)))
    if node.op == "multiply":
        parts = [worked_out(part) for part in node.parts]
        factor = tuple(part for part in parts if part.op != "rows")
        matrices = [part for part in parts if part.op == "rows"]
        if not matrices or any(not is_scalar(part) for part in factor):
            return node
        found = matrices[0]
        for other in matrices[1:]:
            if not _shape(found) or not _shape(other) or _shape(found)[1] != _shape(other)[0]:
                return node
            found = _product(found, other)
        return _times_factor(found, factor) if factor else found
    if node.op == "divide":
        inner = worked_out(node.parts[0])
        if inner.op == "rows" and is_scalar(node.parts[1]):
            return _times_factor(inner, (Node("divide", (numeral(1), node.parts[1])),))
    return node


def _shape(node: Node) -> tuple[int, ...]:
    """Rows and columns of a matrix; () if rows differ in length."""
    widths = {len(row.parts) for row in node.parts}
    return (len(node.parts), widths.pop()) if len(widths) == 1 and node.text == "matrix" else ()


def _entry(node: Node, row: int, column: int) -> Node:
    return node.parts[row].parts[column]


def _by_entry(like: Node, entry: Callable[[int, int], Node]) -> Node:
    rows = (
        Node("group", tuple(entry(row, column) for column in range(len(cells.parts))), "row")
        for row, cells in enumerate(like.parts)
    )
    return Node("rows", tuple(rows), like.text)


def _times_factor(rows: Node, factor: tuple[Node, ...]) -> Node:
    return _by_entry(rows, lambda row, column: Node("multiply", (*factor, _entry(rows, row, column))))


def _product(one: Node, other: Node) -> Node:
    (height, inner), width = _shape(one), _shape(other)[1]
    if height * inner * width > MAX_ENTRIES:
        raise UndecidedError("a product of large matrices is not evaluated")
    rows = []
    for row in range(height):
        cells = []
        for column in range(width):
            terms = (Node("multiply", (_entry(one, row, at), _entry(other, at, column))) for at in range(inner))
            cells.append(Node("add", tuple(terms)))
        rows.append(Node("group", tuple(cells), "row"))
    return Node("rows", tuple(rows), "matrix")
