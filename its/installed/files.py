"""The files of a new study, by their paths in it: a wheel carries them inside the package, a clone has them beside it.

`setup.py` runs this module by its path to put the files into the wheel, so it imports nothing of ITS at its start.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = "_study"
"""The folder of the package that has the files in a wheel; not in a clone."""
PATTERNS = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/plots/*",
    ".dvcignore",
    ".gitignore",
    "data/sources/README.md",
    "dvc.yaml",
    "envs/*.txt",
    "recipe.schema.json",
    "recipes/*.yaml",
    "recipes/recipe.schema.json",
    "recipes/axolotl/*.j2",
    "recipes/prompts/*.j2",
    "recipes/prompts/*.jinja",
)
"""Of the root of the clone. params.yaml is not among them: `its init` writes it from a recipe."""


def listed(root: Path) -> list[str]:
    """The files of `root` that `PATTERNS` name, by their paths from it.

    Raises:
        FileNotFoundError: if a pattern names none, as in an incomplete copy of the clone.
    """
    found = {pattern: [path for path in root.glob(pattern) if path.is_file()] for pattern in PATTERNS}
    if missing := [pattern for pattern, paths in found.items() if not paths]:
        raise FileNotFoundError(f"{root}: no {', '.join(missing)}")
    return sorted({path.relative_to(root).as_posix() for paths in found.values() for path in paths})


def installed_root() -> Path:
    """The folder that has the files: of this wheel, or the clone that this package is part of.

    Raises:
        MissingError: if there is neither: the package was copied without them.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / FOLDER, package.parent):
        if (root / "dvc.yaml").is_file() and (root / "envs").is_dir():
            return root
    from its.errors import MissingError

    raise MissingError(
        f"{package}: the files of a new study are not in this installation of ITS",
        "install the wheel again: `pip install --force-reinstall --no-deps`",
    )


def study_files() -> dict[str, bytes]:
    """Path in the study -> content, of all files that `its init` writes except params.yaml and those of `code/`.

    Raises:
        MissingError: if one is not in this installation.
    """
    from its.errors import MissingError
    from its.installed.graph import GRAPH, study_graph

    root = installed_root()
    try:
        found = {name: (root / name).read_bytes() for name in listed(root)}
    except FileNotFoundError as error:
        raise MissingError(
            f"this installation of ITS is incomplete: {error}",
            "install the wheel again: `pip install --force-reinstall --no-deps`",
        ) from error
    return found | {GRAPH: study_graph(found[GRAPH].decode("utf-8")).encode()}
