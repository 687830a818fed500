r"""Names and units around a value: `x = 5`, `5 cm`, `f(x) = 2x`; and both values of `\pm`."""

from __future__ import annotations

from its.grading.formula.nodes import Node, symbol

_SETS_IN_WORDS = {
    **dict.fromkeys(("all real numbers", "all reals", "all real values", "the real numbers", "real numbers"), "set R"),
    **dict.fromkeys(("all real numbers x", "all real x", "the set of all real numbers"), "set R"),
    **dict.fromkeys(("empty set", "the empty set"), "emptyset"),
}


def unlabelled(node: Node, other: Node) -> Node:
    """An answer without what the other side does not state, for a comparison: a unit, a name, degrees on a number.

    Both values of `\\pm` become a list, a set in words the set.
    """
    if node.op == "words" and node.text in _SETS_IN_WORDS:
        return symbol(_SETS_IN_WORDS[node.text])
    if node.op == "quantity":
        letters = node.parts[0], symbol(node.text)
        if len(node.text) == 1 and node.text in {name.casefold() for name in other.symbols()}:
            return Node("multiply", letters)  # `6\text{g}` beside `6g`
        return unlabelled(node.parts[0], other)
    if node.op == "multiply" and [part.op for part in node.parts] == ["symbol", "group"] and other.op != "multiply":
        point, place = node.parts
        if len(place.parts) > 1 and point.text[0].isupper():
            return place  # the point `A(1,2)`
    if node.op == "degrees" and other.op in ("number", "degrees", "negate", "quantity"):
        return node.parts[0]
    if node.op == "negate" and node.parts[0].op in ("degrees", "quantity"):
        return Node("negate", (node.parts[0].parts[0],))
    if node.op in ("list", "set"):
        parts = _split_chains([value for part in node.parts for value in _expanded(part)])
        return Node(node.op, tuple(parts), node.text) if len(parts) > 1 or node.op == "set" else parts[0]
    both = _expanded(node)
    if len(both) > 1:
        return Node("list", tuple(both), "or")
    chain = _split_chains(both)
    if len(chain) > 1:
        return Node("list", tuple(chain), ",")
    node = chain[0]
    if node.op == "relation" and set(node.text.split()) <= {"=", "~"} and not is_relation(other):
        _, value = name_and_value(node)
        return node if value is None else unlabelled(value, other)
    if node.op == "relation" and node.text == "in" and is_name(node.parts[0]) and not is_relation(other):
        return node.parts[1]
    return node


def labelled_value(node: Node, of_number: bool = False) -> tuple[Node | None, Node | None]:
    """The name and the value of an answer that is one value: (x, 5) of `x = 5`, (None, 5) of `5 cm`; else two Nones.

    Args:
        of_number: a number is expected, so what follows the last equals sign is the value.
    """
    name: Node | None = None
    if node.op == "relation" and set(node.text.split()) <= {"=", "~"}:
        name, value = name_and_value(node)
        if value is None and of_number:
            value = node.parts[-1]
        if value is None or (len(node.parts) > 2 and not of_number and len(_split_chains([node])) > 1):
            return None, None
        node = value
    while node.op in ("quantity", "degrees"):
        node = node.parts[0]
    if node.op == "negate" and node.parts[0].op in ("quantity", "degrees"):
        node = Node("negate", (node.parts[0].parts[0],))
    return name, node


def is_relation(node: Node) -> bool:
    """Whether an answer is an equation, an inequality or the like, or a list with one."""
    if node.op == "list":
        return any(is_relation(part) for part in node.parts)
    return node.op == "relation"


def is_name(node: Node) -> bool:
    """A letter, `f(x)`, or a tuple of letters."""
    if node.op == "symbol":
        return bool(node.symbols())
    if node.op == "call":
        return node.text.endswith(" of")
    return node.op == "group" and all(part.op == "symbol" for part in node.parts)


def name_and_value(node: Node) -> tuple[Node | None, Node | None]:
    """The name and the value of an equation that states a value; (None, None) for any other equation.

    The name is a variable, or anything with variables where the value has none: `f(x) = 2x`, `AB = 4`, `20 + 5 = 25`.
    An approximation (`\\approx`) is not the value unless nothing else is stated.
    """
    sides = _exact_sides(node)
    first, last = sides[0], sides[-1]
    if len(sides) == 1:
        return None, last
    if is_name(first):
        return first, last
    if len(sides) == 2 and is_name(last) and not first.symbols():
        return last, first
    if not last.symbols() and (not first.symbols() or is_name_like(first)):
        return first if first.symbols() else None, last
    return None, None


def is_name_like(node: Node) -> bool:
    """What can have a value beside a variable: `AB`, `|AB|`, `f(0)`, `\\cos x`, `V_1 : V_2`, `\\frac{NO}{BO}`."""
    if node.op == "symbol":
        return True
    if node.op == "multiply":
        letters = [part.text for part in node.parts if part.op == "symbol"]
        applied = len(letters) == 2 and letters[0] in ("f", "g", "h")
        return len(letters) == len(node.parts) and (applied or all(letter[0].isupper() for letter in letters))
    if node.op == "call":
        return True
    return node.op in ("divide", "group") and all(is_name_like(part) for part in node.parts)


def _exact_sides(node: Node) -> tuple[Node, ...]:
    signs = node.text.split()
    if "~" not in signs:
        return node.parts
    kept = node.parts[: signs.index("~") + 1]
    if len(kept) == 1 and kept[0].symbols():
        return (kept[0], node.parts[1])
    return kept


def _split_chains(parts: list[Node]) -> list[Node]:
    """`a = b = 1` as `a = 1, b = 1`."""
    found = []
    for part in parts:
        signs = part.text.split() if part.op == "relation" else []
        names = [side for side in part.parts[:-1] if is_name(side)] if len(signs) > 1 and set(signs) == {"="} else []
        if len(names) > 1 and len(names) == len(part.parts) - 1:
            found += [Node("relation", (name, part.parts[-1]), "=") for name in names]
        else:
            found.append(part)
    return found


def _expanded(node: Node) -> list[Node]:
    """Both values of a formula with `\\pm`, all its signs read together."""
    if not node.has("plus_minus", "minus_plus"):
        return [node]
    return [_signed(node, above) for above in (True, False)]


def _signed(node: Node, above: bool) -> Node:
    if node.op in ("plus_minus", "minus_plus"):
        inner = _signed(node.parts[0], above)
        return inner if (node.op == "plus_minus") == above else Node("negate", (inner,))
    if not node.parts:
        return node
    return Node(node.op, tuple(_signed(part, above) for part in node.parts), node.text, node.number)
