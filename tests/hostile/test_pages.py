"""Hostile texts in pages and cards: shown, not obeyed; the page keeps its width and its structure."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from its.cards.build import ProblemCounts, build_card, build_strategy_card
from its.cards.markdown import card_markdown
from its.commands.export import _front_matter
from its.report.build import build_report, page_values
from its.report.data import ReportData
from its.shown import NO_TEXT
from its.types import Problem

TEXTS = {
    "line end": "a\n\n# Heading\n\n| a | b |\n|---|---|\n",
    "return": "a\r# Heading\r\n- item",
    "separators": "a\u2028# Heading\u2029# Heading\x85# Heading\x0b# Heading\x0c# Heading",
    "fence": "```\n# Heading\n````\n~~~",
    "ticks": "`a` `` ``` b",
    "table": "a | b \\| c \\\\| d",
    "html": "</td></textarea><script>alert(1)</script><img src=x onerror=alert(1)><!--",
    "attributes": '" onmouseover="alert(1)" x=\'y\' style="a" `',
    "entities": "&lt;script&gt; &#60;b&#62; &amp;",
    "link": "[click](javascript:alert(1)) ![x](http://x/y.png) <http://x> http://evil.example www.evil.example",
    "reference link": "[a]: http://x\n[a]",
    "emphasis": "**bold** __bold__ _x_ ~~y~~ *z*",
    "front matter": "---\ntitle: x\n---\n",
    "yaml": "a: b\n- c\n!!python/object:os.system {}\n# d\n'\"",
    "escapes": "\x1b[31mred\x1b]0;title\x07\x1b]8;;http://x\x07link",
    "override": "\u202eabc\u2066\u2069\u202a",
    "surrogate": "\ud800 \udfff",
    "nul": "a\0b",
    "marks": "a" + "\u0301" * 2000,
    "zalgo": "".join(letter + "\u0334\u0353\u0489\u030d" * 60 for letter in "zalgo"),
    "marks alone": "\u0e33" * 3000,
    "stacked": "\u0f40" + "\u0f71\u0fb1" * 3000,
    "unbroken": "W" * 100_000,
    "fixed spaces": "a\u00a0" * 20_000,
    "wide": "\ufdfd" * 500,
    "joiners": "a\u200b\u200d" * 5000,
    "latex": "\\href{javascript:alert(1)}{x} \\input{/etc/passwd} $\\write18{id}$",
    "jinja": "{{ 1/0 }}{% raw %}",
    "formula": '=HYPERLINK("http://x")',
    "empty": "",
    "spaces": "   ",
}


def _report_study() -> dict[str, Any]:
    """A study with every section of the page: that of the unit tests."""
    path = Path(__file__).parents[1] / "unit" / "test_report.py"
    spec = importlib.util.spec_from_file_location("report_samples", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))  # the samples that it imports are beside it
        spec.loader.exec_module(module)
    made: dict[str, Any] = module.study.__wrapped__()
    return made


@pytest.fixture
def report_study() -> dict[str, Any]:
    return _report_study()


CODE_SPAN = re.compile(r"(?<![`\\])(`+)(?!`).*?(?<!`)\1(?!`)")
CELL_END = re.compile(r"(?<!\\)(?:\\\\)*\|")
EACH = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def _card(text: str) -> dict[str, Any]:
    valid = text.encode("utf-8", "replace").decode() or "x"  # no problem holds half a character
    problems = [Problem(problem_id=f"p{valid}", text=valid, reference=valid, solution=valid, source=f"s{valid}")]
    counts = ProblemCounts()
    counts.add(problems[0])
    return build_card(
        name="sums",
        kind="dataset",
        declared={"source": text},
        origin={"kind": "files", f"k{text}": text},
        seed=1,
        steps=[{"step": f"s{text}", "before": 2, "after": 1, "note": text, "more": text}],
        counts=counts,
        quarantine=[{"reasons": [f"r{text}"]}],
        overlaps=[{"benchmark": f"b{text}"}],
        files={f"f{text}": text},
        made_by={f"m{text}": text},
    )


def _strategy_card(text: str) -> dict[str, Any]:
    return build_strategy_card(
        problems=_card(text),
        strategy="random",
        declared={"random": {"query": text}},
        templates=[{"role": text, "path": text, "sha256": text}],
        prompt={"system": text},
        writer={"model": text, f"w{text}": text},
        sessions=[{"responses": 1, "engine": text, f"s{text}": text}],
        personas={"set": "sums", "strategy": "random", "examples": [], f"n{text}": text},
        rows=1,
        files={f"f{text}": text},
        standing={
            "commit": f"c{text}",
            "changed_files": [f"f{text}"],
            "changed_stages": {f"s{text}": [f"r{text}"]},
            "unknown": f"u{text}",
        },
        examples=[{"problem_id": f"p{text}", "personas": [text or "x"], "domain": text or "x", "query": text or "x"}],
    )


def _outside_fences(markdown: str) -> Iterator[str]:
    """Lines that Markdown reads, by the rule of CommonMark: a fence ends with one as long, alone on its line."""
    fence = ""
    for line in markdown.split("\n"):
        found = re.match(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})", line)
        if fence:
            if found and found.group(1).startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            continue
        if found:
            fence = found.group(1)
            yield "FENCE"
            continue
        yield line
    assert not fence, "a fence is open"


def _skeleton(markdown: str) -> list[str]:
    """What a reader of Markdown makes of each line, without its words."""
    out = []
    for line in _outside_fences(markdown):
        begins = line[:2] if line[:1] in ("#", "-", "|") else ""
        out.append(f"{begins}{len(CELL_END.findall(CODE_SPAN.sub('CODE', line)))}")
    return out


@EACH
@pytest.mark.parametrize("make", [_card, _strategy_card])
def test_a_card_has_one_structure_whatever_its_texts(
    make: Callable[[str], dict[str, Any]], text: str, tally: Any
) -> None:
    written: list[str] = []
    tally("page", lambda: written.append(card_markdown(make(text))))
    (markdown,) = written
    assert _skeleton(markdown) == _skeleton(card_markdown(make("x")))
    outside = "\n".join(_outside_fences(markdown))
    bare = CODE_SPAN.sub("CODE", outside)
    for own in ("**Not as dvc.lock says**", "**Not as committed:**"):
        bare = bare.replace(own, "")
    assert "<" not in bare
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]*~]", bare)
    assert not re.search(r"https?://|www\.\w", bare)
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", markdown), "nothing a terminal obeys"
    assert max(map(len, outside.split("\n"))) < 6000


@EACH
def test_front_matter_is_one_document_of_the_same_keys(text: str, tally: Any) -> None:
    from ruamel.yaml import YAML

    written: list[str] = []
    tally("page", lambda: written.append(_front_matter(f"sums {text}", "train", 3, "mit")))
    (matter,) = written
    lines = matter.splitlines()
    assert "---" not in lines and "..." not in lines
    found = YAML(typ="safe").load(matter.encode("utf-8", "backslashreplace").decode())
    assert sorted(found) == ["configs", "license", "pretty_name", "size_categories"]


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


FIXED = {
    "train",
    "test",
    "benchmark",
    "model",
    "dataset",
    "first",
    "second",
    "problem_id",
    "group",
    "set",
}
"""Words by which rows are matched: changed alike, not replaced."""
CHOICES = {"kind", "verdict", "role", "block", "interval_method", "p_value_method", "tokens", "accuracy", "saved_at"}
"""Words of a closed list, which nobody else writes."""


def _spoilt(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _spoilt(item, text, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spoilt(item, text, key) for item in value]
    if isinstance(value, str) and key not in CHOICES:
        return value + text if key in FIXED or not text.strip() else text
    return value


data = ReportData.model_validate
ROWS = ("cells", "blocks", "pairs", "comparisons", "tests", "efficiency", "selection", "nested", "votes", "cost")
"""Rows of results/: their types refuse what a page cannot show (tests/unit/test_results.py)."""


def _spoilt_study(study: Mapping[str, Any], text: str) -> dict[str, Any]:
    spoilt = {name: _spoilt(part, text, name) for name, part in study.items()}
    shown = NO_TEXT.sub("", text)
    if text.strip() and not shown.strip():
        shown = "x"
    return spoilt | {name: _spoilt(study[name], shown, name) for name in ROWS if name in study}


@EACH
def test_a_report_has_one_structure_whatever_its_texts(text: str, report_study: dict[str, Any], tally: Any) -> None:
    plain = _spoilt(report_study, "x") if text.strip() else report_study
    written: list[str] = []
    tally("page", lambda: written.append(build_report(data(_spoilt_study(report_study, text or " ")))))
    assert _Tags(written[0]).found == _Tags(build_report(data(plain))).found
    written[0].encode("utf-8")


def test_a_template_is_given_nothing_but_values(report_study: dict[str, Any]) -> None:
    kinds = set()

    def walk(value: Any) -> None:
        kinds.add(type(value).__name__)
        if isinstance(value, Mapping):
            for name, item in value.items():
                walk(name)
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)

    walk(page_values(data(report_study)))
    assert kinds <= {"dict", "list", "tuple", "str", "int", "float", "bool", "NoneType", "Markup"}


MEASURE = """<script>addEventListener('load', () => {
  document.querySelectorAll('details').forEach(part => part.open = true);
  const told = innerWidth + ' ' + document.documentElement.scrollWidth;
  document.documentElement.setAttribute('data-width', told);
  if (parent != window) parent.postMessage(told, '*');
})</script>"""


COLLECT = """<script>const told = {};
addEventListener('message', event => {
  const frame = [...document.querySelectorAll('iframe')].find(frame => frame.contentWindow === event.source);
  told[frame.name] = event.data;
  document.documentElement.setAttribute('data-told', JSON.stringify(told));
})</script>"""
WIDTHS = (1400, 420)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every page says in a frame of each width: how wide it is, and its content. Chromium starts once."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    folder, study, frames = tmp_path_factory.mktemp("pages"), _report_study(), ""
    for number, (name, text) in enumerate(TEXTS.items()):
        # Enough to be wider than any window; in every place of the page, 100,000 characters take minutes to lay out.
        page = re.sub("<meta http-equiv[^>]*>", "", build_report(data(_spoilt_study(study, text[:3000]))))
        (folder / f"{number}.html").write_text(page.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
        frames += "".join(
            f'<iframe name="{name} {width}" src={number}.html width={width} height=900></iframe>' for width in WIDTHS
        )
    (folder / "frames.html").write_text(COLLECT + frames, encoding="utf-8")
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    shown = subprocess.run(
        [browser, *words, f"file://{folder}/frames.html"], capture_output=True, text=True, timeout=600, check=False
    )
    found = re.search(r'data-told="([^"]*)"', shown.stdout)
    assert found, shown.stderr[-500:]
    values: dict[str, str] = json.loads(unescape(found[1]))
    return values


@pytest.mark.integration
@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_as_wide_as_its_window(told: dict[str, str], name: str) -> None:
    for width in WIDTHS:
        inner, content = map(int, told[f"{name} {width}"].split())
        assert inner == width
        assert content <= width
