"""Print the table of model families: each template, trained by Axolotl and served by vLLM with a tiny model.

    python benchmarks/families.py

Needs both engine environments; takes a few minutes on two cores. docs/templates.md has the last table.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from integration.test_families import made, table


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = made(Path(folder))
    print(table(world))
    print("\nrefused:")
    for name, message in world.refused.items():
        print(f"- {name}: {message}")
    print("\nseconds:", ", ".join(f"{name} {value:.1f}" for name, value in world.seconds.items()))


if __name__ == "__main__":
    main()
