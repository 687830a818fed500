"""Files that a recipe names and git does not track, and model folders without a pinned hash.

A queued experiment (`dvc exp run --queue`, `--temp`) runs in a copy of what git and DVC know: a template or a source
that was never added is not in it, and the experiment fails there, or finds another file of that name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from its.data_files import named_files
from its.errors import ItsError
from its.recipe.schema import FilesSource, FolderSource, Recipe
from its.revisions import known_files


def untracked_files(project: Path, recipe: Recipe) -> list[str]:
    """Paths in the project, sorted, of templates, sources and models in folders that neither git nor DVC knows.

    Staged files (`git add`) are known. So are files that DVC tracks, or in a folder that it tracks, if git knows the
    `.dvc` file. [] without git or a repository.
    """
    named = {path for path in map(_plain, _named(project, recipe)) if os.path.lexists(project / path)}
    tracks = {path: [track for track in _tracks(path) if (project / track).is_file()] for path in named}
    known = known_files(project, sorted({*named, *(track for found in tracks.values() for track in found)}))
    if known is None:
        return []
    return sorted(path for path in named if path not in known and not known.intersection(tracks[path]))


def unwatched_models(recipe: Recipe) -> list[str]:
    """Models in folders without a pinned hash: DVC does not see a change of their weights."""
    return [
        name
        for name, model in recipe.models.items()
        if isinstance(model.source, FolderSource) and model.source.sha256 is None
    ]


def _tracks(path: str) -> Iterator[str]:
    """The `.dvc` files that would track a file, or a folder that contains it."""
    for place in (path, *map(str, PurePosixPath(path).parents)):
        if place != ".":
            yield f"{place}.dvc"


def _plain(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")


def _files(project: Path, path: str) -> list[str]:
    """The files that a path names; the path itself if it cannot be resolved, which its reader reports."""
    try:
        return named_files(project, path).names
    except ItsError:
        return [path]


def _named(project: Path, recipe: Recipe) -> Iterator[str]:
    for problems in (*recipe.datasets.values(), *recipe.benchmarks.values()):
        for source in problems.sources:
            if isinstance(source, FilesSource):
                yield from _files(project, source.path)
    overlays = (recipe.train.models, recipe.train.datasets, recipe.train.variants)
    templates = [
        recipe.train.template,
        *(item.template for table in overlays for item in table.values() if item.template),
    ]
    templates += [strategy.query for strategy in recipe.strategies.values() if strategy.query is not None]
    templates += [strategy.persona.template for strategy in recipe.strategies.values() if strategy.persona is not None]
    templates += [model.chat_template for model in recipe.models.values() if model.chat_template is not None]
    if recipe.grading.judge is not None:
        templates.append(recipe.grading.judge.template)
    yield from (f"recipes/{path}" for path in templates)
    for model in recipe.models.values():
        if isinstance(model.source, FolderSource):
            yield model.source.path
