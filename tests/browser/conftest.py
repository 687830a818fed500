"""One headless Chromium for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from browser.pages import FLAGS
from playwright import sync_api

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.integration)
            if BROWSER is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium found: `apt-get install chromium` installs it"))


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=FLAGS, chromium_sandbox=False)
        yield found
        found.close()


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A tab that fails the test at any error, dialog or request but that of the page itself."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda line: faults.extend([line.text] if line.type == "error" else []))
    tab.on("request", lambda made: faults.extend([] if made.url.startswith(("file:", "data:,")) else [made.url]))

    def refused(dialog: sync_api.Dialog) -> None:
        faults.append("dialog")
        dialog.dismiss()

    tab.on("dialog", refused)
    yield tab
    context.close()
    assert faults == []
