"""The plots of `dvc plots show`: a page that loads nothing, templates that draw the columns of the tables."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import plots_page

from its.recipe.document import read_document
from its.report.data import LossStep
from its.stages.report import _write_losses

PLOTS = plots_page.PAGE.parent


def test_the_page_has_the_libraries_of_the_installed_dvc_inside() -> None:
    """A new version of DVC may name others: `python tests/plots_page.py` writes the page again."""
    page = plots_page.PAGE.read_text(encoding="utf-8")
    versions = plots_page.libraries()
    assert set(versions) == {"vega", "vega-lite", "vega-embed"}
    assert all(f"/* {name} {version}\n" in page for name, version in versions.items())
    assert f"Vega {versions['vega']}" in (PLOTS.parents[1] / "docs" / "dvc.md").read_text(encoding="utf-8")
    assert page.count("{plot_divs}") == 1
    assert "{scripts}" not in page
    assert "default-src 'none'" in page
    markup = re.sub(r"(?s)<script>.*?</script>", "", page)
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"|url\(|@import', markup) == []
    config = (PLOTS.parent / "config").read_text(encoding="utf-8")
    assert "html_template = plots/page.html" in config


def test_a_plot_has_a_template_and_its_columns(tmp_path: Path) -> None:
    """One plot for all losses, whatever the number of trainings; a loss that is not finite leaves a gap."""
    plots = read_document(plots_page.PAGE.parents[2] / "dvc.yaml").values["plots"]
    found = {
        file: (plot["template"], plot["x"], column)
        for p in plots
        for plot in p.values()
        for file, column in plot["y"].items()
    }
    assert found["results/plots/loss.csv"] == ("loss", "step", "loss")
    assert all((PLOTS / f"{template}.json").is_file() for template, _, _ in found.values())
    path = tmp_path / "loss.csv"
    steps = [LossStep(step=1, loss=0.5), LossStep(step=2, loss=math.nan), LossStep(step=3, loss=None)]
    _write_losses(path, {"m-d-none-1": steps, "m-d-random-1": steps[:1]})
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["training"], row["step"], row["loss"]) for row in rows] == [
        ("m-d-none-1", "1", "0.5"),
        ("m-d-none-1", "2", ""),
        ("m-d-none-1", "3", ""),
        ("m-d-random-1", "1", "0.5"),
    ]
    assert '"training"' in (PLOTS / "loss.json").read_text(encoding="utf-8")
