"""Counts in messages: `1 row`, `2 rows`. A bare count before a plural noun would be `1 rows`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from its.shown import counted

PACKAGE = Path(__file__).parents[2] / "its"
NOUNS = [
    *("cells", "checkpoints", "claims", "comparisons", "contrasts", "faults", "personas", "problems", "prompts"),
    *("requests", "responses", "rows", "sessions", "steps", "verdicts", "votes"),
]
BARE = re.compile(rf" (?:more |other |different |damaged )?({'|'.join(NOUNS)})\b")
LIMIT = re.compile(r"(?:\b(?:of|than|most|least|over|to|all|by|the|first) |`)$")
"""Before a number that is a limit or a total, which is seldom 1: `of 30 problems`, `at most 8 rows`."""
NEVER_ONE = {
    "sources/procedural.py": "its texts are problems, with numbers that it draws itself",
    "recipe/design_checks.py": "more than a limit of thousands",
    "recipe/source_checks.py": "more than a limit of thousands",
    "curation/thin.py": "at least 20",
    "stages/persona.py": "a list of numbers",
    "row_ids.py": "an id that several rows have",
}
"""Files whose counts are not 1 -> why."""


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 rows are"), (1, "1 row is"), (2, "2 rows are"), (1.0, "1 row is"), (-1, "-1 rows are")]
)
def test_one_has_its_own_word(count: float, said: str) -> None:
    assert counted(int(count), "row is", "rows are") == said
    assert counted(int(count), "query", "queries").endswith("query" if count == 1 else "queries")
    assert counted(int(count), "more row").endswith(" more row" if count == 1 else " more rows")


def test_no_message_counts_one_rows() -> None:
    found = [place for path in sorted(PACKAGE.rglob("*.py")) for place in _bare(path)]
    assert found == [], "use `its.shown.counted`"


def _bare(path: Path) -> Iterator[str]:
    """The f-strings of a file in which a noun in the plural follows a number; workers import nothing of `its`."""
    if "workers" in path.parts or str(path.relative_to(PACKAGE)) in NEVER_ONE:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = {
        id(node.orelse) for node in ast.walk(tree) if isinstance(node, ast.IfExp)
    }  # `... if n == 1 else f"{n} rows"`
    bugs = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and _is_bug(node)]
    chosen |= {id(inner) for node in bugs for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr) or id(node) in chosen:
            continue
        for at, (value, text) in enumerate(zip(node.values, node.values[1:], strict=False)):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            before = node.values[at - 1] if at else None
            led = isinstance(before, ast.Constant) and LIMIT.search(str(before.value))
            constant = isinstance(value.value, ast.Name) and value.value.id.isupper()
            if (noun := BARE.match(str(text.value))) and not led and not constant:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}: {{{ast.unparse(value.value)}}}{noun.group()}"


def _is_bug(node: ast.Raise) -> bool:
    """Whether it raises what no user sees as a message."""
    return isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") in ("ValueError", "TypeError")
