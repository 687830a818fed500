"""The whole page in a real browser: contrast, width, print, names for a screen reader, links of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.pages import page
from playwright import sync_api
from unit import test_report

# The contrast of every text that is shown, with all folded parts open: [ratio, text] of those under the limit, and how
# many texts there are. Colours with an alpha are laid over what is behind them.
CONTRAST = """least => {
  const parse = (colour) => (colour.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (top, under) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => alpha * top[i] + (1 - alpha) * under[i]);
  };
  const behind = (node) => {
    if (!node) return [255, 255, 255];
    const own = parse(getComputedStyle(node).backgroundColor);
    return own[3] === undefined || own[3] === 1 ? own.slice(0, 3) : over(own, behind(node.parentElement));
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const part of document.querySelectorAll("details")) part.open = true;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = [];
  let count = 0;
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.getClientRects().length) continue;
    if (parent.closest("title, script, style, option")) continue;
    const style = getComputedStyle(parent);
    const back = behind(parent);
    const ink = over(parse(parent.closest("svg") ? style.fill : style.color), back);
    const [high, dark] = [light(ink), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (dark + 0.05);
    count += 1;
    if (ratio < least) low.push([ratio.toFixed(2), parent.className + ": " + node.data.slice(0, 40)]);
  }
  return [low, count];
}"""
NAMED = "svg, table, [role=region], select, input, button, article"
NAMELESS = """(named) => [...document.querySelectorAll(named)].filter((part) => {
  if (part.getAttribute("aria-hidden") === "true" || part.closest("[hidden]")) return false;
  const owner = part.tagName === "TABLE" ? part.closest("[aria-label]") : part;
  const by = owner && (owner.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id));
  const name = owner && (owner.getAttribute("aria-label") || by.map((each) => each ? each.textContent : "").join("")
    || (owner.labels && owner.labels.length ? owner.labels[0].textContent : "")
    || (owner.querySelector(":scope > title, :scope > h3, :scope > h4") || {}).textContent
    || (owner.tagName === "BUTTON" ? owner.textContent : ""));
  return !(name || "").trim();
}).map((part) => part.outerHTML.slice(0, 120))"""
CASE = "#benchmark=sums&problem=p%2F3&sample=0"
KEY = "hf_abcdefghijABCDEFGHIJ0123456789"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the study of the unit tests, which has every section, with responses."""
    samples: Any = test_report
    study = samples.study.__wrapped__()
    study |= {"departures": ["measure.draws: 7, in the recipe 9"], "parameters": "recipe: generated"}
    out = tmp_path_factory.mktemp("page") / "report.html"
    texts: dict[str, Any] = {"words": ["so", "7", "apples"], "hostile": [f" The key is {KEY}."]}
    page(out, problems=8, samples=2, study=samples.data(study), **texts)
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_4_5_and_every_part_a_name(tab: sync_api.Page, path: Path, scheme: Any) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(path.as_uri() + CASE)
    tab.wait_for_selector("#x-case .card")
    low, count = tab.evaluate(CONTRAST, 4.5)
    assert count > 400
    assert low == []
    assert tab.evaluate(NAMELESS, NAMED) == []


def test_on_a_phone_only_tables_scroll(tab: sync_api.Page, path: Path) -> None:
    tab.set_viewport_size({"width": 420, "height": 900})
    tab.goto(path.as_uri() + CASE)
    tab.wait_for_selector("#x-case .card")
    tab.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 420
    hint = "[...document.querySelectorAll('.scroll')].map((part) => [part.scrollWidth > part.clientWidth, "
    hint += "getComputedStyle(part, '::before').content.includes('scrolls')])"
    told = tab.evaluate(hint)
    assert all(scrolls == said for scrolls, said in told) and [True, True] in told
    spare = "document.querySelector('#loss-title').parentElement.getBoundingClientRect().right - Math.max("
    spare += "...[...document.querySelectorAll('polyline')].map((line) => line.getBoundingClientRect().right))"
    assert 0 < tab.evaluate(spare) < 25, "the names are in a list, so the lines have their room"


def test_print_folds_parameters_and_shows_cases_in_place_of_the_explorer(tab: sync_api.Page, path: Path) -> None:
    tab.goto(path.as_uri())
    tab.wait_for_selector("#explorer[data-ready=yes]")
    assert tab.locator("#explorer-off").is_hidden() and tab.locator(".print-only").is_hidden()
    tab.emulate_media(media="print")
    assert tab.locator("#explorer").is_hidden() and tab.locator(".folded").first.is_hidden()
    tab.set_viewport_size({"width": 718, "height": 1047})  # A4 less its margins, at 96 dots an inch
    wide = "[...document.querySelectorAll('table')].filter((part) => part.getBoundingClientRect().right > 719)"
    assert tab.evaluate(f"{wide}.map((part) => part.outerHTML.slice(0, 200))") == [], "a table is cut at the edge"
    assert tab.locator("#provenance").is_hidden(), "a title without what it is of"
    assert "3 problems drawn at random" in tab.inner_text(".print-only")
    assert tab.locator("#explorer-off .card").count() == 12 and tab.locator("#explorer-off .card").first.is_visible()


def test_a_key_in_a_response_is_hidden_and_a_link_opens_several_seeds(tab: sync_api.Page, path: Path) -> None:
    assert KEY not in path.read_text("utf-8")
    seeds = ["m-d-s0-1/sums/t0", "m-d-s1-1/sums/t0"]
    tab.goto(path.as_uri() + "#" + "&".join(f"cell={seed}" for seed in seeds))
    tab.wait_for_selector("#explorer[data-ready=yes]")
    assert tab.input_value("#x-cell") == " ".join(seeds)
    assert "8 of 8 problems, 32 responses match" in tab.inner_text("#x-count")
    tab.fill("#x-search", "the key is [key]")
    sync_api.expect(tab.locator("#x-count")).to_contain_text("1 of 8 problems")
    assert tab.url.count("cell=") == 2
    tab.reload()
    tab.wait_for_selector("#explorer[data-ready=yes]")
    assert tab.locator("#x-table tbody tr").count() == 1
    tab.click("#x-table tbody button")
    assert "The key is [key]." in tab.inner_text("#x-case .card >> nth=0") and KEY not in tab.content()
