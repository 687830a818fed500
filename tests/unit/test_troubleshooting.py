"""Each error of docs/troubleshooting.md is one that the code raises, with a cause and a remedy."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from unit.test_wording import strings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### ([^\n]+)\n\n(.+?)(?=\n\n##|\Z)", PAGE, re.M | re.S)
MESSAGES = [
    " ".join(text.replace("`", "").split())
    for path in sorted((ROOT / "its").rglob("*.py"))
    for _, text in strings(ast.parse(path.read_text(encoding="utf-8")), whole=False)
]


def _parts(heading: str) -> list[str]:
    """The fixed parts of a quoted error."""
    return [part.strip(" `") for part in heading.replace("`", "").split("...") if part.strip(" `:,;")]


def _raised(heading: str) -> bool:
    """Whether one text of the code has all fixed parts, in order."""
    pattern = re.compile(".*?".join(map(re.escape, _parts(heading))))
    return any(pattern.search(message) for message in MESSAGES)


def test_the_page_has_the_errors_that_are_met_most() -> None:
    headings = [heading for heading, _ in ENTRIES]
    assert len(headings) >= 40 and len(set(headings)) == len(headings) == PAGE.count("\n### ")


@pytest.mark.parametrize(("heading", "text"), ENTRIES, ids=[heading for heading, _ in ENTRIES])
def test_an_error_of_the_page_is_raised(heading: str, text: str) -> None:
    assert _parts(heading), "nothing but values"
    assert _raised(heading), f"no text of its/ contains {_parts(heading)}"
    assert text.count(".") >= 2 or ":" in text, "a cause and a remedy"


@pytest.mark.parametrize(
    "heading", ["`no recipes ... under recipes/`", "`the engine dies`", "`under recipes/ ... no recipe`"]
)
def test_an_error_that_the_code_does_not_raise_is_found(heading: str) -> None:
    assert not _raised(heading)
