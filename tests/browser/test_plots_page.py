"""The page of `dvc plots show` in a real browser without a network: both plots are drawn, nothing is requested."""

from __future__ import annotations

import shutil
from pathlib import Path

import plots_page
import pytest
from browser.pages import FLAGS
from dvc_render import VegaRenderer, render_html  # type: ignore[import-untyped]
from playwright import sync_api

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium found: `apt-get install chromium` installs it"),
]
CELLS = [
    {"benchmark": b, "train": t, "test": s, "accuracy": a, "rev": "workspace"}
    for b in ("sums", "aime")
    for t, s, a in (("base", "none", "0.02"), ("none, seed 1", "none", "0.9"))
]
LOSSES = [
    {"training": f"m-d-{t}-1", "step": str(i), "loss": "" if i == 3 else str(2 / i), "rev": "workspace"}
    for t in ("none", "random")
    for i in range(1, 9)
]


def test_the_page_of_plots_needs_no_network(tmp_path: Path) -> None:
    folder = plots_page.PAGE.parent
    plots = [
        VegaRenderer(CELLS, "Accuracy", template="heatmap", template_dir=folder, x="test", y="train"),
        VegaRenderer(LOSSES, "Loss", template="loss", template_dir=folder, x="step", y="loss"),
    ]
    path = tmp_path / "index.html"
    render_html(plots, path, plots_page.PAGE)
    faults: list[str] = []
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=FLAGS, chromium_sandbox=False)
        tab = browser.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda line: faults.extend([line.text] if line.type == "error" else []))
        tab.on("request", lambda made: faults.extend([] if made.url.startswith(("file:", "data:")) else [made.url]))
        tab.goto(path.as_uri())
        for plot in ("Accuracy", "Loss"):
            tab.wait_for_selector(f"#{plot} canvas", timeout=20_000)
            colours = tab.evaluate(
                f"""() => {{
                    const canvas = document.querySelector('#{plot} canvas');
                    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                    const seen = new Set();
                    for (let i = 0; i < data.length; i += 4) seen.add(data[i] + ',' + data[i + 1] + ',' + data[i + 2]);
                    return seen.size;
                }}"""
            )
            assert colours > 20, f"{plot} is empty"
        browser.close()
    assert faults == []
