"""Statements of the documents that the code can check: lists, tables and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unit.test_imports import ALLOWED

ROOT = Path(__file__).parents[2]


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _section(name: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", _read(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section `{heading}`"
    return found[1]


def _rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of a Markdown table, without its head."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_rooms_are_those_of_the_code_in_an_order_that_imports_allow() -> None:
    (block,) = re.findall(r"\n\n((?:    [a-z_ ]+\n)+)\n", _section("CONTRIBUTING.md", "Rooms"))
    layers = [line.split() for line in block.strip().split("\n")]
    height = {room: -at for at, rooms in enumerate(layers) for room in rooms}
    rooms = {room: allowed for room, allowed in ALLOWED.items() if not room.startswith("__")}
    assert sorted(height) == sorted(rooms)
    for room, allowed in rooms.items():
        above = [name for name in allowed - {room} if name in height and height[name] >= height[room]]
        assert not above, f"`{room}` may import {above}, which are not below it"


def test_every_benchmark_is_listed() -> None:
    listed = re.findall(r"`(\w+\.py)`", _section("CONTRIBUTING.md", "Benchmarks"))
    scripts = [
        path.name for path in ROOT.glob("benchmarks/*.py") if '__name__ == "__main__"' in path.read_text("utf-8")
    ]
    assert sorted(listed) == sorted(set(scripts) - {"raw_vllm.py"})  # run by others, in vLLM's environment


def test_the_stages_are_those_of_the_graph() -> None:
    stages = re.findall(r"^  ([a-z_]+):$", _read("dvc.yaml").split("\nstages:\n")[1], re.MULTILINE)
    listed = [name for first, *_ in _rows(_section("docs/design.md", "Graph")) for name in _names(first)]
    assert listed == stages


def _names(cell: str) -> list[str]:
    return [name.strip() for name in re.sub(r"\(.*?\)", "", cell).split(",")]
