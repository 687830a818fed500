"""The documents as a site: it builds without a warning, the navigation has every page, and none needs a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from its.cli.main import cli
from its.recipe.document import read_document

ROOT = Path(__file__).parents[2]
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("img", "srcset")}
"""Attributes whose address a browser loads by itself; a link is followed by the reader alone."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ADDRESS = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class _Page(HTMLParser):
    """What a page loads and links to, and the ids in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is not None and (tag, name) in LOADED and dict(attrs).get("rel") != "canonical":
                self.loaded.append(value)
            if value is not None and tag == "a" and name == "href":
                self.linked.append(value)
            if value is not None and name == "id":
                self.ids.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning fails the build."""
    folder = tmp_path_factory.mktemp("site")
    done = _build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def _build(project: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", str(project / "mkdocs.yml"), "-d", str(folder)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_document_is_a_page(site: Path) -> None:
    sources = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    pages = [path.with_suffix(".html") for path in sources]
    assert len(pages) > 20
    assert [str(page) for page in pages if not (site / page).is_file()] == []
    navigation = _Page((site / "index.html").read_text(encoding="utf-8")).linked
    assert not set(map(str, pages)) - {urlsplit(link).path for link in navigation} - {"index.html"}


def test_no_page_loads_anything_from_a_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    addresses = [(page, address) for page in pages for address in _Page(page.read_text(encoding="utf-8")).loaded]
    for sheet in site.rglob("*.css"):
        found = ADDRESS.findall(sheet.read_text(encoding="utf-8"))
        addresses += [(sheet, one or other) for one, other in found]
    assert len(addresses) > len(pages)
    for page, address in addresses:
        parts = urlsplit(address)
        if parts.scheme == "data" or address.startswith("#"):
            continue
        where = f"{page.relative_to(site)}: {address}"
        assert not parts.scheme and not parts.netloc, where
        if page.name != "404.html":  # a server's page, with addresses from the root
            assert (page.parent / unquote(parts.path)).is_file(), where


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    checked = 0
    for path, page in pages.items():
        for link in page.linked:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path.relative_to(site)}: {link}"
            checked += 1
    assert checked > 500


def test_the_search_has_the_pages_and_needs_no_worker_from_a_server(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and "minimum detectable difference" in index
    assert "iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_search_finds_a_word_in_pages_opened_as_files(site: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    no_network = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *options, *no_network, f"{(site / 'index.html').as_uri()}?q=quarantine"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.findall(r'href="([^"?#]+)[^"]*" class="md-search-result__link"', done.stdout)
    assert any(link.endswith("/glossary.html") for link in found), found


def test_the_page_of_commands_has_every_command(site: Path) -> None:
    text = (site / "commands.html").read_text(encoding="utf-8")
    names = list(_paths(cli, "its"))
    assert len(names) > 30
    assert [name for name in names if f"<code>{name}</code>" not in text] == []
    assert "every command --" not in text


def _paths(command: click.Command, path: str) -> list[str]:
    children: list[str] = []
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            children += [] if child.hidden else _paths(child, f"{path} {name}")
    return [path, *children]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a page](nowhere.md)", "nowhere.md"),
        ("[a part](index.md#nowhere)", "nowhere"),
        ("[a file](../recipes/nowhere.yaml)", "nowhere.yaml"),
        ("[a document](../README.md)", "README.md"),
    ],
)
def test_a_dead_link_fails_the_build(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Read me\n", encoding="utf-8")
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n", encoding="utf-8")
    (tmp_path / "docs" / "hooks.py").write_text((ROOT / "docs" / "hooks.py").read_text(encoding="utf-8"))
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    settings = settings[: settings.index("\nnav:")].replace("polyfills: [javascripts/iframe-worker.js]", "")
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    done = _build(tmp_path, tmp_path / "site")
    assert done.returncode != 0 and fault in done.stderr


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = read_document(ROOT / "CITATION.cff").values
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["type"], citation["license"]) == ("1.2.0", "software", "Apache-2.0")
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper) and paper["identifiers"][0]["value"] == "arXiv:2508.13654"
