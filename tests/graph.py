"""The code that each stage of dvc.yaml depends on, from the imports: `python tests/graph.py` writes it into `deps`.

A stage depends on every file of the package that its module imports, at any level, and on what those import in turn;
on scripts of engine environments that such a file names; and on data beside the code that it names. Only what
cannot change a row is left out: the modules of `NEUTRAL`, and what they alone import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "its"
NEUTRAL = {
    "its/errors.py": "carries the message of a fault",
    "its/shown.py": "escapes foreign text in messages",
    "its/progress.py": "draws progress",
    "its/home.py": "finds the home, locks, removes",
    "its/recipe/load.py": "finds faults; the stage models the values itself (its/study/study.py)",
    "its/recipe/axolotl_keys.py": "finds faults",
    "its/recipe/trust.py": "finds faults",
    "its/sources/declared.py": "finds faults",
    "its/study/access.py": "refuses what is not declared",
    "its/frames/__init__.py": "data frames for Python: `its/__init__.py` imports it for users, no stage does",
}
"""Modules that can stop a stage and never change a row of it, with the reason."""


def stage_modules(text: str) -> dict[str, str]:
    """The module of each stage of dvc.yaml, by its name there."""
    found = re.findall(r"^  (\w+):\n(?:    .*\n)*?    cmd: python -m its (\w+)", text, re.MULTILINE)
    return {name: f"its/stages/{word}.py" for name, word in found}


def code_of(module: str) -> set[str]:
    """Every file of the package that can change a row of a stage's module, by its path from the project."""
    found: set[str] = set()
    waiting = [module, "its/__init__.py", "its/stages/__init__.py"]
    while waiting:
        path = waiting.pop()
        if path not in found and path not in NEUTRAL:
            found.add(path)
            waiting += _uses(path)
    return found


def entries(files: set[str]) -> list[str]:
    """The fewest paths that name exactly these files: a complete folder replaces its files."""
    out: set[str] = set()
    for path in files:
        whole = path
        for above in Path(path).parents:
            if above == Path("its") or not _held(str(above)) <= files:
                break
            whole = str(above)
        out.add(whole)
    return sorted(out)


def expanded(entry: str) -> set[str]:
    """The files of the package that an entry of `deps` names."""
    return {entry} if (ROOT / entry).is_file() else set(_held(entry))


def with_code(text: str) -> str:
    """The text of dvc.yaml with the code of every stage in its `deps`, behind the data."""
    out = []
    for name, block in _stages(text):
        module = stage_modules(block).get(name)
        if module is not None:
            lines = "".join(f"      - {entry}\n" for entry in entries(code_of(module)))
            block = re.sub(r"^      - its/.*\n", "", block, flags=re.MULTILINE)
            block = re.sub(r"(^    deps:\n(?:      - .*\n)*)", rf"\g<1>{lines}", block, flags=re.MULTILINE)
        out.append(block)
    return "".join(out)


def _stages(text: str) -> Iterator[tuple[str, str]]:
    """(name, text) of each stage; text between stages belongs to the block before it."""
    parts = re.split(r"(?m)^(?=  \w+:$|\S)", text)
    for part in parts:
        found = re.match(r"  (\w+):$", part, re.MULTILINE)
        yield (found[1] if found else "", part)


@cache
def _held(folder: str) -> frozenset[str]:
    held = (ROOT / folder).rglob("*")
    return frozenset(str(path.relative_to(ROOT)) for path in held if path.is_file() and "__pycache__" not in path.parts)


@cache
def _uses(path: str) -> tuple[str, ...]:
    """What a file imports of the package, and the files beside it or below it that it names in a text.

    A template names those that it includes.
    """
    if path.endswith(".j2"):
        included = re.findall(
            r"{%-?\s*(?:include|extends|import|from)\s+[\"']([^\"']+)", (ROOT / path).read_text(encoding="utf-8")
        )
        return tuple(sorted(set().union(*(_named(name, path) for name in included))))
    if not path.endswith(".py"):
        return ()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    skipped = {id(child) for node in ast.walk(tree) if _runs_nothing(node) for child in ast.walk(node)}
    out: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                out |= _module(alias.name, path)
        elif isinstance(node, ast.ImportFrom):
            for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                out |= _module(name, path)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            out |= _named(node.value, path)
            for name in re.findall(r"\bits(?:\.\w+)+", node.value):  # a program of a process: `from its.x import main`
                out |= _module(name, path)
    return tuple(sorted(out))


def _runs_nothing(node: ast.AST) -> bool:
    """Whether it is a docstring, or an import for the type checker alone."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _module(name: str, importer: str) -> set[str]:
    """The files that importing a module runs: its own, and the `__init__` of every package above it."""
    parts = name.split(".")
    if parts[0] != "its":  # scripts of an engine environment import the files beside them
        beside = f"{Path(importer).parent}/{parts[0]}.py"
        return {beside} if "/workers/" in beside and (ROOT / beside).is_file() else set()
    paths = [Path(*parts[:length]) for length in range(1, len(parts) + 1)]
    files = [str(path / "__init__.py") for path in paths] + [f"{paths[-1]}.py"]
    return {file for file in files if (ROOT / file).is_file()}


def _named(text: str, namer: str) -> set[str]:
    """The files of the namer's folder, or below, that have the last part of this text as their name."""
    name = text.rsplit("/", 1)[-1]
    folder = str(Path(namer).parent)
    return {file for file in _held(folder) if file.rsplit("/", 1)[-1] == name and file != namer}


if __name__ == "__main__":
    target = ROOT / "dvc.yaml"
    target.write_text(with_code(target.read_text(encoding="utf-8")), encoding="utf-8")
