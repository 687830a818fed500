"""Plain technical English in what a user or maintainer reads; single words are in `_typos.toml`.

CONTRIBUTING.md, "Wording", has the rules with examples. A pattern here matches a phrase of the former idiom and nothing
else: if it flags good English, narrow the pattern.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "its" / "training" / "workers" / "its_axolotl.py"
"""Its bytes are part of every training key: another word in it trains every checkpoint again, so its wording waits for
the next change of the plugin."""

LINKS = "and|as|at|below|beside|for|from|in|is|on|over|so|that|to|which|with"
PHRASES = {
    r"(can|cannot|could|has to|is to|are to) be had": "is (not) available",
    r"(is|are|was|were|be|been|being) told(?! apart)": "receives; is reported; is given",
    r"(is|are|was|were|be|been|being) said|said in words": "is reported; is stated",
    r"(is|are|was|were|be|been|being) asked(?! to\b)": "is requested; is generated",
    r"within (the )?noise": "not significant",
    r"could have seen": "minimum detectable difference",
    r"would (have )?move[ds]?": "may change",
    r"measured on others": "held-out score",
    r"(is|are) worth": "held-out score",
    r"with (\d+|\{\}) % at least": "one-sided 95 % lower bound",
    r"\w+ at least(?=[,.;:)]|$)": "at least N",
    r"(\d+|\{\}|the|of|these|many) looks": "comparisons",
    r"(?<!-)stands?(?! for\b|-in|-alone|alone\b)": "is; is in; is written",
    r"lies? (in(?! \[)|at|beside|under|on|there)": "is in; is stored in",
    r"(go|goes|going|went|gone) on(?! with\b)": "continues; resumes",
    r"at hand": "available",
    r"(?<!here\x20)(?<!which\x20)(is|are|was|were) no (?!longer|more|less|better|worse|different|such)\w+": "is not a",
    rf"of (its|their) own(?!-| (?!{LINKS})\w)": "its own; separate",
    r"by (its|their) numbers?": "by index",
    r"comes? to(?= (\d|\{\}|`))": "totals",
    r"tests? (that )?holds?|holds? (it|that|them) by a test|held by (a )?tests?": "a test checks it",
    r"nobody's": "unmodified; no one's",
    r"heard of": "unknown",
    r"(has|have|knows?|finds?|reads?|sees?|needs?|does) (it|them) not": "does not have it",
    r"once in all": "once in total",
    r"(of|are|is|under|with) unlike": "different",
    r"odd (rows?|files?|names?|characters?|values?|texts?|types?|things?)": "unusual; unexpected",
    r"in so many words": "explicitly",
    r"by word": "in text",
    r"told no": "reports no",
    r"(set|preset|server|request|column|YAML|DVC) wants": "needs; requires",
    r"(Kept|Left) and named": "keeps and lists",
}
"""A phrase of the former idiom (a regular expression; a space is any white space) -> what to write."""

PATTERNS = {re.compile(rf"\b(?:{phrase})(?!\w)".replace(" ", " +")): better for phrase, better in PHRASES.items()}


def _without_wording_rules(text: str) -> str:
    """CONTRIBUTING.md without its section on wording, which quotes the phrases; lines keep their numbers."""
    return re.sub(r"^## Wording\n.*?(?=^## |\Z)", lambda found: "\n" * found[0].count("\n"), text, flags=re.M | re.S)


def strings(tree: ast.Module, whole: bool) -> Iterator[tuple[int, str]]:
    """Docstrings (`whole`, or the first line), and every text that may be a message: line, text."""
    documented: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                documented.add(id(body[0].value))
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield body[0].lineno, text if whole else text.split("\n", 1)[0]
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            yield (
                node.lineno,
                "".join(str(value.value) if isinstance(value, ast.Constant) else "{}" for value in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | documented:
            yield node.lineno, node.value


def _texts() -> Iterator[tuple[Path, int, str]]:
    for path in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[er]*/README.md"))):
        yield path, 1, _without_wording_rules(path.read_text(encoding="utf-8"))
    for path in (ROOT / "dvc.yaml", *sorted(ROOT.glob("recipes/*.yaml")), ROOT / "its" / "report" / "report.html.j2"):
        yield path, 1, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "its").rglob("*.py")):
        if path == PLUGIN:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, text in strings(tree, whole="cli" in path.relative_to(ROOT).parts):
            yield path, line, text


def flagged(text: str) -> list[tuple[int, str, str]]:
    """Phrases of the former idiom in a text: line within it (from 0), phrase, what to write."""
    found = (
        (text.count("\n", 0, match.start()), " ".join(match[0].split()), better)
        for pattern, better in PATTERNS.items()
        for match in pattern.finditer(text.replace("\n", " "))
    )
    return sorted(found)


def test_no_text_uses_the_former_idiom() -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{start + line}: `{phrase}` -> {better}"
        for path, start, text in _texts()
        for line, phrase, better in flagged(text)
    ]
    assert not hits, f"{len(hits)} phrases\n" + "\n".join(hits)


@pytest.mark.parametrize(
    "text",
    [
        "the environment cannot be had",
        "the file is told of",
        "XX - NN: within the\nnoise",
        "`x` is no list",
        "the row stands in a.jsonl",
        "the training goes on from step 4",
        "a folder of its own",
        "12 looks",
        "a gated set wants a token",
        "the engine told no ids",
    ],
)
def test_the_former_idiom_is_flagged(text: str) -> None:
    assert flagged(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no store; n stands for the count",
        "a stand-in for the server",
        "the server is asked to retry",
        "it looks up the key and looks for the file",
        "there are no rows, and there is no longer a file",
        "at least 95 %",
        "the standard error is 2",
    ],
)
def test_good_english_is_not_flagged(text: str) -> None:
    assert not flagged(text)
