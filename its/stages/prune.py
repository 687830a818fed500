"""Remove what checkpoints left behind that are no longer in the design; never anything outside the study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from its.home import remove
from its.stages.study import Study

_PLACES = (("models", "*-*-*-*", ""), ("results/loss", "*.csv", ""), ("results/cost", "train-*.json", "train-"))
"""(folder, files of checkpoints in it, what stands before the checkpoint's name)."""


def prune(study: Study, dry_run: bool) -> tuple[list[str], dict[str, str]]:
    """Remove what belongs to no checkpoint of the design.

    A symbolic link is removed as a link. What lies in a folder that is one is left: it may be shared, or no part of the
    study.

    Args:
        dry_run: only name it.

    Returns:
        What went, and what was left with the reason, as paths from the study's folder.
    """
    removed: list[str] = []
    left: dict[str, str] = {}
    for path in sorted(_found(study, left)):
        shown = path.relative_to(study.project).as_posix()
        if not dry_run:
            try:
                remove(path)
            except OSError as error:
                left[shown] = str(error.strerror).lower()
                continue
        removed.append(shown)
    return removed, left


def _found(study: Study, left: dict[str, str]) -> Iterator[Path]:
    kept = {checkpoint.name for checkpoint in study.checkpoints()}
    for place, pattern, prefix in _PLACES:
        folder = study.project / place
        linked = next((item for item in (folder.parent, folder) if item != study.project and item.is_symlink()), None)
        for path in folder.glob(pattern):
            if (path.name if place == "models" else path.stem).removeprefix(prefix) in kept:
                continue
            if linked is None:
                yield path
            else:
                shown = linked.relative_to(study.project).as_posix()
                left[path.relative_to(study.project).as_posix()] = f"`{shown}` is a symbolic link: look for yourself"
