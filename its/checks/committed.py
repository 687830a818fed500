"""The active recipe in git: a clone has no record of the recipe used last, but its params.yaml was committed."""

from __future__ import annotations

from pathlib import Path

from its.errors import ItsError
from its.files import read_regular
from its.recipe.document import MAX_BYTES
from its.revisions import blob_id, blobs, committed_content, experiments, last_commit


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


def experiment_with_params(project: Path) -> str | None:
    """The newest DVC experiment whose params.yaml is the current one, byte for byte; None if there is none.

    `dvc exp run -S` leaves its values in params.yaml and keeps the file with the experiment, so nothing is lost when it
    is overwritten. An edit after the run, a comment too, makes it another file.
    """
    current = blob_id(project, "params.yaml")
    if current is None:
        return None
    kept = experiments(project)
    found = blobs(project, "params.yaml", list(kept))
    return next((kept[reference] for reference, (content, _) in found.items() if content == current), None)
