"""The names that a shell completes: cheap to find, and none where the project cannot be read."""

from __future__ import annotations

from pathlib import Path

from its.home import find_above, is_study


def _project() -> Path | None:
    try:
        return find_above(Path.cwd(), is_study)
    except OSError:
        return None


def recipe_names() -> list[str]:
    """The recipes of `recipes/`, sorted."""
    project = _project()
    return sorted(path.stem for path in (project / "recipes").glob("*.yaml")) if project else []
