"""The responses section of the report in a real browser: filters, search, permalinks, keys, texts that attack."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from browser.pages import Given, page
from playwright import sync_api

HOSTILE = [
    "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">",
    "</script><script>document.title='ran'</script><!-- <script>",
    "javascript:document.title='ran' $\\frac{<img src=x onerror=alert(1)>}{2}$ http://evil.example/x.png",
    "\u202eright to left\u2066 \u2028 \x00 \x1b[31m \ud800 end",
    "$" + "{" * 5000 + "$ \\(" + "\\frac" * 300 + "\\)",
    "long " * 40_000,
    "\\[x" * 60_000,
    "\\(" * 90_000,
]


def opened(tab: sync_api.Page, path: Path, fragment: str = "") -> None:
    tab.goto(f"{path.as_uri()}{fragment}")
    tab.wait_for_selector("#explorer[data-ready=yes]", timeout=20_000)


def counted(tab: sync_api.Page, pattern: str) -> None:
    """Wait until the count says this; the page's policy does not allow a function to be polled."""
    sync_api.expect(tab.locator("#x-count")).to_have_text(re.compile(pattern), timeout=5_000)


def listed(tab: sync_api.Page) -> list[str]:
    return [text.removeprefix("p/") for text in tab.locator("#x-table tbody th").all_inner_texts()]


def expected(given: list[Given], **wanted: object) -> list[str]:
    """The problems with a response that has all the values wanted."""
    found = {row.problem for row in given if all(getattr(row, name) == value for name, value in wanted.items())}
    return [str(number) for number in sorted(found)]


def test_each_filter_shows_the_problems_that_the_rows_say(tab: sync_api.Page, tmp_path: Path) -> None:
    given = page(tmp_path / "report.html")
    opened(tab, tmp_path / "report.html")
    assert listed(tab) == expected(given)
    for mark, verdict in {"c": "correct", "i": "incorrect", "n": "no_answer", "e": "grader_error"}.items():
        tab.select_option("#x-verdict", mark)
        assert listed(tab) == expected(given, verdict=verdict)
        tab.select_option("#x-cell", "m-d-s1-1/sums/t0")
        assert listed(tab) == expected(given, verdict=verdict, cell=2)
        tab.select_option("#x-cut", "yes")
        assert listed(tab) == expected(given, verdict=verdict, cell=2, cut=True)
        tab.click("#x-reset")
    for rule in ("box", "last_number", "whole"):
        tab.select_option("#x-rule", label=rule)
        assert listed(tab) == expected(given, rule=rule)
    tab.click("#x-reset")
    tab.select_option("#x-right", "m-d-s0-1/sums/t1")
    tab.select_option("#x-wrong", "m-d-s1-1/sums/t1")
    right = {row.problem for row in given if row.cell == 1 and row.verdict == "correct"}
    wrong = {row.problem for row in given if row.cell == 3 and row.verdict != "correct"}
    assert listed(tab) == [str(number) for number in sorted(right & wrong)]
    assert tab.inner_text("#x-count").startswith(f"{len(right & wrong)} of 20 problems, ")


def test_search_finds_a_response_and_a_persona_in_any_case(tab: sync_api.Page, tmp_path: Path) -> None:
    given = page(tmp_path / "report.html", problems=60, samples=2)
    opened(tab, tmp_path / "report.html")
    for words, wanted in (("TOKEN3x17x1.", ["17"]), ("nowhere", []), ("problem 41?", ["41"])):
        tab.fill("#x-search", words)
        counted(tab, f"^{len(wanted)} of")
        assert listed(tab) == wanted
    tab.fill("#x-search", "you count T1")
    counted(tab, "^60 of")
    assert f", {sum(row.cell % 2 for row in given)} responses match" in tab.inner_text("#x-count")


def test_a_problem_opens_side_by_side_and_its_link_survives_a_reload(tab: sync_api.Page, tmp_path: Path) -> None:
    given = page(tmp_path / "report.html", samples=3)
    opened(tab, tmp_path / "report.html")
    tab.click("#x-table tbody tr:nth-child(5) td:nth-child(3) button")
    tab.select_option("#x-sample", index=2)
    cards = tab.locator("#x-case .cards .card")
    said = cards.all_inner_texts()
    for at, text in enumerate(said):
        row = next(row for row in given if (row.cell, row.problem, row.sample) == (at, 4, 2))
        assert f": {row.verdict.replace('_', ' ')}" in text
        assert f"token{at}x4x2." in text
    assert tab.locator("#x-case mfrac").count() > 0
    tab.locator(".chooser input").nth(1).uncheck()
    assert cards.count() == 3
    url = tab.url
    tab.reload()
    tab.wait_for_selector("#explorer[data-ready=yes]")
    assert tab.url == url
    assert cards.all_inner_texts() == [text for at, text in enumerate(said) if at != 1]
    cards.first.locator("summary", has_text="query as sent").click()
    assert "[user]\nYou count t0.\n\nWhat is problem 4?" in cards.first.inner_text()


def test_the_keyboard_alone_reads_a_case(tab: sync_api.Page, tmp_path: Path) -> None:
    page(tmp_path / "report.html")
    opened(tab, tmp_path / "report.html")
    for key in ("j", "j", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    assert tab.inner_text("#x-case-title") == "Problem p/1"
    tab.keyboard.press("n")
    assert tab.inner_text("#x-case-title") == "Problem p/2"
    tab.keyboard.press("Escape")
    assert tab.locator("#x-case").is_hidden()
    label = "document.activeElement.getAttribute('aria-label')"
    assert str(tab.evaluate(label)).startswith("p/1, s0 → t1: ")
    tab.keyboard.press("/")
    tab.keyboard.type("problem 7")
    counted(tab, "^1 of")
    assert "search=problem+7" in tab.url


def test_no_text_of_a_model_runs(tab: sync_api.Page, tmp_path: Path) -> None:
    page(tmp_path / "report.html", problems=8, hostile=HOSTILE)
    opened(tab, tmp_path / "report.html")
    for number in range(len(HOSTILE)):
        tab.click(f"#x-table tbody tr:nth-child({number + 1}) td button")
        assert "token0x" in tab.inner_text("#x-case")
        assert tab.locator("#x-case img, #x-case script, #x-case a, #x-case iframe").count() == 0
    assert tab.title() != "ran"
    text = (tmp_path / "report.html").read_text("utf-8")
    assert len(re.findall("<script", text)) == 3


PRICES = [
    "Ben buys 3 apples for $6 each and pays with $120. How much change does Ben get?",
    "It is 9 * 2 = $<<9*2=18>>18 a day and $2, so $4 a week. She makes $<<18+4=22>>22.",
    "It costs $18 - $12 = $6, or $1,000-$2,000, and 5$ or 7$.",
    "Prices: $5, $a and b$ are two of three. $rate of growth$",
]
FORMULAS = ["$x$", "$ 2 + 3 $", "$\\frac{1}{2}$.", "$120 = 2^3 \\times 15$", "$$5$$", "$x = 5 \\text{ apples in all}$"]


def test_prices_stay_as_they_are_written_and_formulas_are_drawn(tab: sync_api.Page, tmp_path: Path) -> None:
    page(tmp_path / "report.html", cells=1, words=["so"], hostile=[f" {text}" for text in [*PRICES, *FORMULAS]])
    opened(tab, tmp_path / "report.html")
    for number, text in enumerate([*PRICES, *FORMULAS]):
        tab.click(f"#x-table tbody tr:nth-child({number + 1}) td button")
        assert (tab.locator("#x-case math").count() == 0) == (text in PRICES), text
        assert (text in tab.inner_text("#x-case")) == (text in PRICES), text


def test_the_policy_stops_a_script_that_is_not_the_page_s(browser: sync_api.Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    page(path)
    text = path.read_text("utf-8")
    path.write_text(text.replace("</main>", "<script>document.title='ran'</script></main>"), "utf-8")
    tab = browser.new_page()
    opened(tab, path)
    assert tab.title() != "ran"
    tab.close()


def test_without_scripts_a_sentence_says_where_the_rows_are(browser: sync_api.Browser, tmp_path: Path) -> None:
    page(tmp_path / "report.html")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((tmp_path / "report.html").as_uri())
    assert "data/responses/" in tab.inner_text("#explorer-off")
    assert tab.locator("#explorer").is_hidden()
    context.close()


def test_what_does_not_fit_is_counted_and_its_verdicts_stay(tab: sync_api.Page, tmp_path: Path) -> None:
    words = [random.Random(n).randbytes(8).hex() for n in range(400)]
    given = page(tmp_path / "report.html", words=words, length=60, most_bytes=3_000)
    opened(tab, tmp_path / "report.html")
    assert listed(tab) == expected(given)
    assert "of them are in this page" in tab.inner_text("section[aria-labelledby=responses]")
    tab.click("#x-table tbody tr:last-child td button")
    assert "The text is not in this page: data/responses/0.jsonl" in tab.inner_text("#x-case")
    tab.fill("#x-search", "token3x19x0.")
    counted(tab, "were not searched")


@pytest.mark.parametrize(("cells", "problems"), [(1, 1), (40, 3)])
def test_zero_correct_one_cell_and_forty_strategies(
    tab: sync_api.Page, tmp_path: Path, cells: int, problems: int
) -> None:
    page(tmp_path / "report.html", cells=cells, problems=problems, verdicts=["no_answer"])
    opened(tab, tmp_path / "report.html")
    assert tab.locator("#x-table tbody td").count() == cells * problems
    assert (
        tab.inner_text("#x-count")
        == {
            (1, 1): "1 of 1 problem, 1 response matches",
            (40, 3): "3 of 3 problems, 120 responses match",
        }[cells, problems]
    )


def test_a_link_from_another_page_of_the_study_opens_its_cell(tab: sync_api.Page, tmp_path: Path) -> None:
    page(tmp_path / "report.html")
    opened(tab, tmp_path / "report.html", "#cell=m-d-s1-1/sums/t0&problem=p%2F3")
    assert tab.input_value("#x-cell") == "m-d-s1-1/sums/t0"
    assert tab.inner_text("#x-case-title") == "Problem p/3"
    opened(tab, tmp_path / "report.html", "#cell=unknown/x/y&verdict=<script>")
    assert tab.locator("#x-table tbody tr").count() == 20
