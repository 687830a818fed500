"""Streams: no result can be read before it is whole."""

from __future__ import annotations

import ast
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from its.streams import Stream, streamed


@streamed
def _counted(size: int, broken_at: int | None = None) -> Generator[int, None, list[int]]:
    seen = []
    for number in range(size):
        if number == broken_at:
            raise ValueError("broken")
        seen.append(number)
        yield number
    return seen


@pytest.mark.parametrize("taken", range(4))
def test_a_result_is_there_once_the_last_item_was_taken(taken: int) -> None:
    stream = _counted(3)
    for _ in range(taken):
        next(stream)
    with pytest.raises(RuntimeError, match="before its last item"):
        _ = stream.result
    assert list(stream) == [0, 1, 2][taken:]
    assert (stream.result, stream.taken) == ([0, 1, 2], 3)
    assert list(stream) == [] and stream.result == [0, 1, 2]


def test_a_stream_that_failed_has_no_result_however_often_it_is_asked() -> None:
    stream = _counted(3, broken_at=1)
    with pytest.raises(ValueError, match="broken"):
        list(stream)
    assert list(stream) == []
    with pytest.raises(RuntimeError, match="before its last item"):
        _ = stream.result


def test_an_empty_stream_has_a_result() -> None:
    empty: Stream[int, list[int]] = _counted(0)
    assert (list(empty), empty.result) == ([], [])


PACKAGE = Path(__file__).parents[2] / "its"
FILLING = {"append", "appendleft", "add", "update", "setdefault", "extend", "insert", "__setitem__"}
FILLED: dict[tuple[str, str], str] = {}
"""(module, generator function) that may fill a parameter, or a variable around it, with the reason."""


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _filled(source: str) -> Iterator[tuple[str, str]]:
    """(function, variable) of each generator function that fills what it did not create itself; `self` is its own."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(_own_nodes(function))
        if not any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
            continue
        created = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        given = {item.arg for item in ast.walk(function.args) if isinstance(item, ast.arg)}
        for node in nodes:
            target: ast.AST | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FILLING:
                target = node.func.value
            elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                target = node.value
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id in given:
                target = node.target  # `texts += [...]` fills a list
            elif isinstance(node, ast.Nonlocal):
                yield from ((function.name, name) for name in node.names)
            while isinstance(target, ast.Attribute | ast.Subscript):
                target = target.value
            if isinstance(target, ast.Name) and target.id != "self" and target.id not in created - given:
                yield function.name, target.id


def test_no_generator_fills_what_it_was_given() -> None:
    """Such a value is half full until the last item was taken, which no type says; a generator returns a result."""
    found = {
        (path.relative_to(PACKAGE).as_posix(), name): variable
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, variable in _filled(path.read_text(encoding="utf-8"))
    }
    assert found.keys() == FILLED.keys(), found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("def f(out):\n    out.append(1)\n    yield 1", [("f", "out")]),
        ("def f(out):\n    out[1] += 1\n    yield 1", [("f", "out")]),
        ("def f(out):\n    out += [1]\n    yield 1", [("f", "out")]),
        ("def f(given):\n    given.counts.setdefault(1, []).append(1)\n    yield 1", [("f", "given")]),
        ("def f():\n    out = []\n    def g():\n        out.append(1)\n        yield 1", [("g", "out")]),
        ("def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n        yield 1", [("g", "n")]),
        ("def f(given):\n    out = []\n    out.append(given[0])\n    out[0] = 1\n    yield 1\n    return out", []),
        ("def f(out):\n    out.append(1)", []),
    ],
)
def test_a_filled_parameter_is_found(body: str, found: list[tuple[str, str]]) -> None:
    assert list(_filled(body)) == found
