"""The names that a shell completes: cheap to find, and none where the project cannot be read."""

from __future__ import annotations

from pathlib import Path

from its.errors import ItsError
from its.home import find_above, is_study
from its.recipe.document import read_document


def _project() -> Path | None:
    try:
        return find_above(Path.cwd(), is_study)
    except OSError:
        return None


def recipe_names() -> list[str]:
    """The recipes of `recipes/`, sorted."""
    project = _project()
    return sorted(path.stem for path in (project / "recipes").glob("*.yaml")) if project else []


def section_names(*sections: str) -> list[str]:
    """The names in sections of params.yaml, sorted; [] if it cannot be read."""
    project = _project()
    try:
        values = read_document(project / "params.yaml").values if project else {}
    except ItsError:
        return []
    found = [values.get(section) for section in sections]
    return sorted({str(name) for names in found if isinstance(names, dict) for name in names})


def checkpoint_names() -> list[str]:
    """The folders of `models/`, sorted."""
    project = _project()
    try:
        return sorted(item.name for item in (project / "models").iterdir() if item.is_dir()) if project else []
    except OSError:
        return []
