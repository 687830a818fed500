"""The page of `dvc plots show` in a real browser without a network: both plots are drawn, nothing is requested."""

from __future__ import annotations

from pathlib import Path

import plots_page
from dvc_render import VegaRenderer, render_html  # type: ignore[import-untyped]
from playwright import sync_api

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


def test_the_page_of_plots_needs_no_network(tmp_path: Path, tab: sync_api.Page) -> None:
    folder = plots_page.PAGE.parent
    plots = [
        VegaRenderer(CELLS, "Accuracy", template="heatmap", template_dir=folder, x="test", y="train"),
        VegaRenderer(LOSSES, "Loss", template="loss", template_dir=folder, x="step", y="loss"),
    ]
    path = tmp_path / "index.html"
    render_html(plots, path, plots_page.PAGE)
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
