"""The page of `dvc plots show` with the libraries of its charts inside: `python tests/plots_page.py` writes it.

DVC's own page loads Vega from a server. The libraries are those of DVC, in its versions, from the npm registry.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from dvc_render.vega import VegaRenderer  # type: ignore[import-untyped]

PAGE = Path(__file__).parents[1] / ".dvc" / "plots" / "page.html"
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>Plots of the study</title>
<link rel="icon" href="data:,">
<!-- python tests/plots_page.py writes this file. Libraries, each with its license: {libraries} -->
"""
BODY = """<style>
body { margin: 16px; background: #fff; color: #17202b; font: 16px/1.5 system-ui, sans-serif; }
table { border-spacing: 15px; }
</style>
{refresh_tag}
</head>
<body>
{plot_divs}
</body>
</html>
"""


def libraries() -> dict[str, str]:
    """Library -> version, as the page of the installed DVC loads them."""
    return dict(re.findall(r"/npm/([\w-]+)@([\d.]+)", VegaRenderer.SCRIPTS))


def write_page() -> None:
    """Fetch the libraries and write the page."""
    named = libraries()
    parts = [HEAD.replace("{libraries}", ", ".join(f"{name}@{version}" for name, version in named.items()))]
    with tempfile.TemporaryDirectory() as folder:
        for name, version in named.items():
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)
            with tarfile.open(Path(folder) / f"{name}-{version}.tgz") as package:
                license_text, code = (_member(package, path) for path in ("LICENSE", f"build/{name}.min.js"))
            code = re.sub(r"\n//# sourceMappingURL=.*", "", code).replace("</script", "<\\/script")
            told = f"{name} {version}\n{license_text.replace('*/', '* /').strip()}"
            parts.append(f"<script>\n/* {told}\n*/\n{code.strip()}\n</script>\n")
    PAGE.write_text("".join([*parts, BODY]), encoding="utf-8")


def _member(package: tarfile.TarFile, path: str) -> str:
    found = package.extractfile(f"package/{path}")
    assert found is not None
    return found.read().decode("utf-8")


if __name__ == "__main__":
    write_page()
