"""Rooms import one way, click stays in cli, and `its --help` loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "its"
BASE = {"types", "boxes", "errors", "latex", "secrets", "shown", "streams", "thinking", "values"}
# What each room may import beside itself: what lies below it, and no more than its work needs.
ALLOWED = {
    "__init__": {"frames"},  # at the first use of its functions, never by `import its`
    "__main__": {"cli", "interrupts"},
    "interrupts": set(),
    "child_process": set(),
    "devices": set(),
    "types": set(),
    "boxes": set(),
    "latex": set(),
    "thinking": set(),
    "errors": {"secrets", "shown"},
    "secrets": set(),
    "shown": set(),
    "seeds": set(),
    "streams": set(),
    "values": set(),
    "progress": {"shown"},
    "home": {"errors", "shown"},
    "files": {*BASE, "home"},
    "installed": {"errors", "files"},
    "foreign_files": {"shown"},
    "data_files": {*BASE, "foreign_files"},
    "rows": {*BASE, "files"},
    "prompts": {*BASE, "files"},
    "store": {*BASE, "files"},  # an export appears whole, as every file of ITS does
    # A recipe's templates, and the files that it names, are checked with it.
    "recipe": {*BASE, "files", "data_files", "devices", "foreign_files", "rows", "prompts"},
    # Of recipe the schema, the presets and the parts of a source alone, below.
    "sources": {*BASE, "files", "data_files", "foreign_files", "rows", "seeds", "recipe", "prompts"},
    "language": set(),
    "curation": {*BASE, "recipe", "language"},
    "strategies": {*BASE, "prompts", "seeds", "recipe", "language"},
    "engines": {*BASE, "devices", "rows", "store", "environments"},
    "environments": {"child_process", "errors", "home", "rows"},
    "wheels": {*BASE, "files", "recipe"},
    "control_tokens": {*BASE, "files", "recipe"},
    "model_files": {*BASE, "control_tokens", "files", "rows", "engines", "prompts", "recipe"},
    "models": {
        *{*BASE, "files", "rows", "home", "environments", "engines", "model_files", "prompts", "recipe", "wheels"},
        "child_process",
    },
    "parity": {*BASE, "engines", "model_files", "prompts"},
    "training": {
        *BASE,
        "devices",
        "files",
        "rows",
        "home",
        "environments",
        "engines",
        "prompts",
        "recipe",
        "child_process",
    },
    "grading": {*BASE, "child_process"},
    "results": {"errors", "rows", "shown"},
    "metrics": {*BASE, "results"},  # they give and take the rows of results/
    "report": {*BASE, "results"},
    "cards": BASE,
    "plan": {"errors", "shown"},  # formulas: sizes and settings in, bytes and hours out
    "row_ids": {"errors"},
    "revisions": {"errors", "files", "home", "installed"},  # the one room that imports DVC
}
LOWER = {*ALLOWED} - {"__main__"}
# The rooms that bring the others together, each with what it may import of its like.
ALLOWED |= {
    "study": LOWER,
    "checks": {*LOWER, "study"},
    "stages": {*LOWER, "study"},
    "commands": {*LOWER, "study", "checks", "stages"},
    "frames": {*LOWER, "study", "commands"},
    "server": {*LOWER, "study", "commands", "stages"},
    "cli": {
        *{"study", "checks", "stages", "commands", "server"},
        *{"__init__", "interrupts", "recipe", "errors", "report", "environments", "home", "store", "cards", "shown"},
    },
}
OUTSIDE = {"subprocess", "socket", "urllib", "requests", "httpx", "httpx2", "sqlite3", "tempfile"}
FILES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    """Full names of imported modules, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "its":
                yield from (f"its.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def _own(path: Path) -> set[str]:
    """Rooms of its that a file imports."""
    names = [name.split(".") for name in _imports(path)]
    return {parts[1] if len(parts) > 1 else "__init__" for parts in names if parts[0] == "its"}


def _heads(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_the_files_are_found() -> None:
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_room_imports_only_what_lies_below(path: Path) -> None:
    if "workers" in path.parts:
        assert "its" not in _heads(path), "workers run in environments without its"
        return
    room = _room(path)
    assert room in ALLOWED, f"a new room `{room}`: say here what it may import"
    assert _own(path) - {room} <= ALLOWED[room]


@pytest.mark.parametrize("room", ["sources", "strategies", "training", "curation"])
def test_of_the_recipe_only_the_schema_is_used(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        assert {name for name in _imports(path) if name.startswith("its.recipe")} <= {
            "its.recipe.axolotl",  # of `training`: the check renders the same settings
            "its.recipe.launcher",  # of `training`: the check counts the same processes
            "its.recipe.schema",
            "its.recipe.presets",
            "its.recipe.source_parts",
        }


def test_a_stage_imports_no_other_stage() -> None:
    for path in (PACKAGE / "stages").glob("*.py"):
        assert not [name for name in _imports(path) if name.startswith("its.stages")], path.name


def test_no_stage_sets_up_its_own_guard() -> None:
    """The command line does, and hands the guarded study over."""
    for path in [*(PACKAGE / "stages").glob("*.py"), *(PACKAGE / "study").glob("*.py")]:
        assert "its.study.access" not in set(_imports(path)), path.name


def test_click_is_in_cli_alone() -> None:
    assert {_room(path) for path in FILES if "click" in _heads(path)} == {"cli"}


def test_the_command_line_does_no_work_itself() -> None:
    """It parses, calls and prints; what searches, starts, copies or computes is in the room that it calls."""
    working = {"subprocess", "shutil", "platform", "concurrent", "threading", "hashlib", "tempfile", "importlib", "re"}
    for path in (PACKAGE / "cli").glob("*.py"):
        allowed = {"importlib"} if path.name == "index.py" else set()  # which imports the module of a command
        assert _heads(path) & working <= allowed, path.name


def test_the_command_line_raises_faults_and_finds_none() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
        assert "Fault" not in names, path.name
        assert not {"its.recipe.load", "its.recipe.trust", "its.checks.untracked"} & set(_imports(path)), path.name


@pytest.mark.parametrize("room", ["metrics", "report", "grading", "strategies", "curation", "cards"])
def test_pure_rooms_start_no_process_and_need_no_network(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        assert not _heads(path) & OUTSIDE, path


def test_no_engine_library_is_imported_outside_the_workers() -> None:
    for path in FILES:
        if "workers" not in path.parts:
            assert not _heads(path) & {"torch", "vllm", "axolotl", "transformers"}, path


def test_dvc_is_imported_in_one_place() -> None:
    assert {_room(path) for path in FILES if "dvc" in _heads(path)} == {"revisions"}


HEAVY = ["dvc", "datasets", "numpy", "pydantic", "jinja2", "sympy", "torch"]
HEAVY += ["ruamel", "pyarrow", "huggingface_hub", "math_verify", "tqdm", "sqlite3", "httpx2", "zstandard"]
HEAVY += ["py3langid", "tokenizers", "pandas", "starlette", "uvicorn"]


@pytest.mark.parametrize("words", [["--help"], ["recipe", "--help"], ["generate", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, its.cli.main\n"
        "try:\n    its.cli.main.main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"found = sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r}))\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_two_test_files_have_one_name() -> None:
    """Without packages, pytest imports a file by its bare name: a second one of that name ends the whole collection."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
