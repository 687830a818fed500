"""The active recipe in git: a clone has no record of the recipe used last, but its params.yaml was committed."""

from __future__ import annotations

from pathlib import Path

from its.errors import ItsError
from its.files import read_regular
from its.recipe.document import MAX_BYTES
from its.revisions import committed_content, last_commit


def recipe_committed_with_params(project: Path, name: str) -> str | None:
    """The text of a recipe at the commit of the current params.yaml.

    None where params.yaml is not as the newest commit has it, since then somebody changed it, or where git has no such
    recipe.

    Args:
        name: of a recipe of `recipes/`.
    """
    commit = last_commit(project, "params.yaml")
    content = None if commit is None else committed_content(project, "params.yaml", "HEAD", MAX_BYTES)
    try:
        if commit is None or content is None or read_regular(project / "params.yaml", MAX_BYTES) != content:
            return None
        recipe = committed_content(project, f"recipes/{name}.yaml", commit, MAX_BYTES)
        return None if recipe is None else recipe.decode("utf-8")
    except (ItsError, UnicodeDecodeError):
        return None
