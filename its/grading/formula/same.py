r"""Whether an answer is the reference in another form.

Lists, sets, tuples, matrices and relations are compared part by part, sets of real numbers by their ends, and formulas
by their values.
"""

from __future__ import annotations

from collections.abc import Sequence

from its.grading.formula.labels import is_name, is_relation, name_and_value, unlabelled
from its.grading.formula.matrices import worked_out
from its.grading.formula.nodes import Node, is_scalar
from its.grading.formula.sets import NoSetError, compare, real_set
from its.grading.formula.values import UndecidedError, same_value
from its.grading.formula.zeros import difference, same_zeros

MAX_MATCHED = 64
"""Longer lists are compared in order."""


_SETS = ("union", "intersection", "difference", "such_that")


def same(given: Node, wanted: Node) -> bool:
    """Whether an answer is the reference in another form.

    Raises:
        UndecidedError: it cannot be decided.
    """
    if given == wanted:
        return True
    if given.op == "relation" and "~" in given.text and not is_relation(wanted) and _surely(given.parts[-1], wanted):
        return True  # `x \approx 3.14` where the reference is that value
    given, wanted = unlabelled(given, wanted), unlabelled(wanted, given)
    if given == wanted:
        return True
    if "words" in (given.op, wanted.op):
        return given.op == wanted.op and _plain(given.text) == _plain(wanted.text)
    for rule in (_same_sets, _same_lists, _same_relations, _same_rows, _same_groups):
        found = rule(given, wanted)
        if found is not None:
            return found
    return same_value(given, wanted)


def _plain(text: str) -> str:
    return "".join(text.split())


def _is_set(node: Node) -> bool:
    if node.op == "relation":
        return not set(node.text.split()) <= {"=", "~"} and set(node.text.split()) <= {"<", ">", "<=", ">=", "!=", "in"}
    if node.op == "list":
        return node.text in ("or", "and") and any(_is_set(part) for part in node.parts)
    return node.op in _SETS or (node.op == "symbol" and node.text in ("set R", "emptyset"))


def _same_sets(given: Node, wanted: Node) -> bool | None:
    if not (_is_set(given) or _is_set(wanted)):
        return None
    try:
        one, other = real_set(given), real_set(wanted)
    except NoSetError:
        return _same_unions(given, wanted)
    if one.name and other.name and one.name != other.name:
        return None if given.op == wanted.op == "relation" else False
    if len(one.pieces) != len(other.pieces):
        return False
    for first, second in zip(one.pieces, other.pieces, strict=True):
        if (first.low_closed, first.high_closed) != (second.low_closed, second.high_closed):
            return False
        if not (_same_end(first.low, second.low) and _same_end(first.high, second.high)):
            return False
    return True


def _same_end(one: Node, other: Node) -> bool:
    try:
        if compare(one, other) == 0:
            return True
        return same_value(one, other)  # a truncated decimal
    except NoSetError:
        return same_value(one, other)


def _same_unions(given: Node, wanted: Node) -> bool | None:
    """Unions whose ends are not numbers, compared part by part."""
    if given.op != wanted.op or given.op not in _SETS or len(given.parts) != len(wanted.parts):
        return None
    if given.op in ("union", "intersection"):
        return _matched(given.parts, wanted.parts)
    return all(same(one, other) for one, other in zip(given.parts, wanted.parts, strict=True))


def _same_lists(given: Node, wanted: Node) -> bool | None:
    kinds = {given.op, wanted.op}
    if not kinds & {"list", "set"}:
        return None
    if given.op == wanted.op == "list" and any(part.op == "opaque" for part in (*given.parts, *wanted.parts)):
        return _same_with_dots(given.parts, wanted.parts)
    if "group" in kinds and "list" in kinds:
        group, bare = (given, wanted) if given.op == "group" else (wanted, given)
        values = _values_in_order(bare.parts)
        if group.text == "()" and (values != bare.parts or bare.text == "{}") and len(group.parts) == len(values):
            return _in_order(values, group.parts)
        return False  # roots are not a point
    if "group" in kinds:
        return False  # a set is not a tuple
    one, other = _members(given), _members(wanted)
    if len(one) != len(other):
        one, other = _without_domains(one, other), _without_domains(other, one)
    one, other = _without_common_name(one, other), _without_common_name(other, one)
    if _has_names(one) != _has_names(other):  # `AB = 4, CD = 5` against `4, 5`
        one, other = _values_in_order(one), _values_in_order(other)
        if not (_has_names(one) or _has_names(other)):
            return _in_order(one, other)
    if len(one) == len(other) == 1:
        return same(one[0], other[0])
    if len(one) != len(other) or "set" in kinds:
        one, other = _distinct(one), _distinct(other)
    return _matched(one, other)


def _members(node: Node) -> tuple[Node, ...]:
    return node.parts if node.op in ("list", "set") else (node,)


def _has_names(parts: Sequence[Node]) -> bool:
    return any(part.op == "relation" for part in parts)


def _values_in_order(parts: tuple[Node, ...]) -> tuple[Node, ...]:
    """The values of `x = 1, y = 2` if the names are in order; else the parts."""
    named = [name_and_value(part) if part.op == "relation" and part.text == "=" else (None, None) for part in parts]
    names = [name for name, _ in named if name is not None]
    values = [value for _, value in named if value is not None]
    if len(names) != len(parts) or len(values) != len(parts) or len(set(names)) != len(names):
        return parts
    letters = [name.text for name in names if name.op == "symbol"]
    return tuple(values) if not letters or letters == sorted(letters) else parts


def _without_domains(parts: tuple[Node, ...], others: tuple[Node, ...]) -> tuple[Node, ...]:
    """The parts without the domain of a variable, if the other side names none: `k \\in \\mathbb{Z}`."""
    if any(_is_domain(part) for part in others):
        return parts
    return tuple(part for part in parts if not _is_domain(part)) or parts


def _is_domain(node: Node) -> bool:
    return (
        node.op == "relation"
        and node.text == "in"
        and node.parts[0].op == "symbol"
        and any(part.text.startswith("set ") for part in node.parts[1].walk())
    )


def _without_common_name(parts: tuple[Node, ...], others: tuple[Node, ...]) -> tuple[Node, ...]:
    """`x = 1, x = 2` as `1, 2`, unless the other side has names too."""
    if any(part.op == "relation" for part in others):
        return parts
    named = [name_and_value(part) if part.op == "relation" and part.text == "=" else (None, None) for part in parts]
    names = {name for name, _ in named}
    if len(names) == 1 and None not in names:
        return tuple(value for _, value in named if value is not None)
    if parts and names - {None} and len(named) > 1 and named[0][0] is not None:
        rest = [value for name, value in named[1:] if name is not None]
        if not rest and named[0][1] is not None:  # `x = 1, 2`
            return (named[0][1], *parts[1:])
    return parts


def _distinct(parts: tuple[Node, ...]) -> tuple[Node, ...]:
    found: list[Node] = []
    for part in parts[:MAX_MATCHED]:
        if not any(_surely(part, known) for known in found):
            found.append(part)
    return (*found, *parts[MAX_MATCHED:])


def _surely(one: Node, other: Node) -> bool:
    try:
        return same(one, other)
    except UndecidedError:
        return False


def _same_with_dots(given: Sequence[Node], wanted: Sequence[Node]) -> bool:
    """Compare lists with dots, in order; different ends make different lists."""
    ends = [(given[0], wanted[0]), (given[-1], wanted[-1])]
    for one, other in ends:
        if "opaque" not in (one.op, other.op) and not same(one, other):
            return False
    if len(given) == len(wanted):
        pairs = list(zip(given, wanted, strict=True))
        if all((one.op == "opaque") == (other.op == "opaque") for one, other in pairs):
            return all(one == other or same(one, other) for one, other in pairs if one.op != "opaque")
    raise UndecidedError("lists with dots are compared at their ends only")


def _in_order(given: Sequence[Node], wanted: Sequence[Node]) -> bool:
    return len(given) == len(wanted) and all(same(*pair) for pair in zip(given, wanted, strict=True))


def _matched(given: Sequence[Node], wanted: Sequence[Node]) -> bool:
    """Whether the parts of both sides are the same, in any order."""
    if len(given) != len(wanted):
        return False
    if len(given) > MAX_MATCHED:
        return _in_order(given, wanted)
    left, undecided = list(wanted), None
    for part in given:
        for place, other in enumerate(left):
            try:
                if (part.op == "set") == (other.op == "set") and same(part, other):  # within a set {2} is not 2
                    del left[place]
                    break
            except UndecidedError as error:
                undecided = error
        else:
            if undecided is not None:
                raise undecided
            return False
    return True


def _same_groups(given: Node, wanted: Node) -> bool | None:
    groups = [node for node in (given, wanted) if node.op == "group"]
    if not groups:
        return None
    if len(groups) == 2:
        return given.text == wanted.text and _in_order(given.parts, wanted.parts)
    return False


def _same_rows(given: Node, wanted: Node) -> bool | None:
    given, wanted = worked_out(given), worked_out(wanted)
    if "rows" not in (given.op, wanted.op):
        return None
    if given.op != "rows" or wanted.op != "rows":
        rows, other = (given, wanted) if given.op == "rows" else (wanted, given)
        if rows.text != "matrix" or other.op not in ("group", "list"):
            return False if rows.text != "determinant" and rows.op == "rows" and is_scalar(other) else None
        if other.op == "group" and other.text != "()":
            return False
        if all(len(row.parts) == 1 for row in rows.parts):
            cells = [row.parts[0] for row in rows.parts]
        elif len(rows.parts) == 1:
            cells = list(rows.parts[0].parts)
        else:
            return False
        return _in_order(cells, other.parts)
    if given.text != wanted.text or [len(row.parts) for row in given.parts] != [len(row.parts) for row in wanted.parts]:
        return False
    if given.text == "cases":
        return _matched_rows(given.parts, wanted.parts)
    return all(_in_order(one.parts, other.parts) for one, other in zip(given.parts, wanted.parts, strict=True))


def _matched_rows(given: Sequence[Node], wanted: Sequence[Node]) -> bool:
    left = list(wanted)
    for row in given:
        found = next((other for other in left if _in_order(row.parts, other.parts)), None)
        if found is None:
            return False
        left.remove(found)
    return True


_TURNED = {">": "<", ">=": "<=", "=": "=", "!=": "!=", "<": ">", "<=": ">=", "~": "~", "==": "=="}


def _same_relations(given: Node, wanted: Node) -> bool | None:
    if "relation" not in (given.op, wanted.op):
        return None
    if given.op != wanted.op:
        return False
    one, other = _upward(given), _upward(wanted)
    signs = one.text.replace("~", "=")
    if signs != other.text.replace("~", "="):
        return False
    if all(_surely(*pair) for pair in zip(one.parts, other.parts, strict=True)):
        return True
    if one.text in ("=", "!=") and _surely(one.parts[0], other.parts[1]) and _surely(one.parts[1], other.parts[0]):
        return True
    if len(one.parts) != 2 or any(not is_scalar(part) for part in (*one.parts, *other.parts)):
        pairs = list(zip(one.parts, other.parts, strict=True))
        return all(same(*pair) for pair in pairs)  # undecided where a part is
    if signs not in ("=", "<", "<=", "!="):
        return all(same(*pair) for pair in zip(one.parts, other.parts, strict=True))
    if signs == "=" and is_name(one.parts[0]) and one.parts[0] == other.parts[0]:
        return same(one.parts[1], other.parts[1])
    applied = [side for side in (one.parts[0], other.parts[0]) if side.op == "call" and side.text.endswith(" of")]
    if (
        signs == "=" and applied
    ):  # definitions of functions; the argument's name does not matter if the value is constant
        heads = one.parts[0].text == other.parts[0].text and all(
            part.op == "symbol" for node in applied for part in node.parts
        )
        return len(applied) == 2 and heads and not one.parts[1].symbols() and same(one.parts[1], other.parts[1])
    return same_zeros(difference(one), difference(other), positive=signs not in ("=", "!="))


def _upward(node: Node) -> Node:
    """A chain of inequalities, rewritten to start from the smaller side."""
    signs = node.text.split()
    if set(signs) <= {">", ">=", "="} and set(signs) & {">", ">="}:
        return Node("relation", node.parts[::-1], " ".join(_TURNED[sign] for sign in reversed(signs)))
    return node
