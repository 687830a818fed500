"""The page of 20,000 responses: how long it takes to build, how large it is, how fast it is in a browser.

    python benchmarks/report.py

Texts are drawn from 3,000 words, about 1,200 characters each, with an own persona for each problem, so that they
compress about as poorly as real solutions. Needs Chromium; opens no connection.
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser.pages import FLAGS, page
from playwright.sync_api import sync_playwright

RUNS = 5
CELLS, PROBLEMS = 20, 1_000


def main() -> None:
    draw = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(3_000)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        began = time.perf_counter()
        page(path, cells=CELLS, problems=PROBLEMS, words=words, length=180)
        took = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"built in {took:.1f} s with the texts drawn, {path.stat().st_size / 1e6:.2f} MB, peak {peak:.0f} MiB")
        _browse(path)


def _browse(path: Path) -> None:
    paints, ready, filters = [], [], []
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=FLAGS,
            chromium_sandbox=False,
        )
        for _ in range(RUNS):
            tab = browser.new_page(viewport={"width": 1400, "height": 900}, bypass_csp=True)
            began = time.perf_counter()
            tab.goto(path.as_uri())
            tab.wait_for_selector("#explorer[data-ready=yes]", timeout=60_000)
            ready.append(time.perf_counter() - began)
            paints.append(
                tab.evaluate("performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0]")
            )
            filters.append(
                tab.evaluate(
                    """() => {
                        const select = document.getElementById("x-verdict"), began = performance.now();
                        select.value = "i";
                        select.dispatchEvent(new Event("change"));
                        document.body.getBoundingClientRect();
                        return performance.now() - began;
                    }"""
                )
            )
            tab.close()
        browser.close()
    print(f"first paint {median(paints):.0f} ms, usable {median(ready):.2f} s, a filter {median(filters):.0f} ms")


if __name__ == "__main__":
    main()
