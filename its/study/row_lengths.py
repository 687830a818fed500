"""The problems that stage `query` left out of training, since a row of them is longer than `train.sequence_length`."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from its.errors import DataError
from its.rows import read_json
from its.study.study import Study

LENGTHS_VERSION = 1


class _Lengths(BaseModel):
    """`data/queries/lengths.json`, as far as it is read."""

    model_config = ConfigDict(strict=True)
    lengths_version: int
    sequence_length: int
    dropped: dict[str, list[str]]


class LeftOut(NamedTuple):
    """The problems of one dataset that were left out, and the limit."""

    problem_ids: list[str]
    sequence_length: int


def left_out(study: Study, name: str) -> LeftOut | None:
    """What was left out of a dataset; None if nothing was, or the queries are not written.

    Raises:
        DataError: if the file is not one of stage `query`.
    """
    path = study.lengths_path()
    if not path.is_file():
        return None
    try:
        found = _Lengths.model_validate(read_json(path))
    except ValidationError as error:
        what = f"`{'.'.join(map(str, error.errors()[0]['loc']))}`: {error.errors()[0]['msg'].lower()}"
        raise DataError(f"{path}: {what}", "`dvc repro -f query` writes it") from error
    if found.lengths_version != LENGTHS_VERSION:
        wrong = f"`lengths_version` is {found.lengths_version}, this version of ITS reads {LENGTHS_VERSION}"
        raise DataError(f"{path}: {wrong}", "`dvc repro -f query` writes it")
    return LeftOut(found.dropped[name], found.sequence_length) if found.dropped.get(name) else None
