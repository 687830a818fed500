"""Whether a card's file contains a card: files are pulled from other machines and are untrusted."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from its.cards.build import CARD_VERSION
from its.errors import DataError
from its.shown import shown

_HINT = "`dvc repro -f prepare prepare_benchmark` writes it again"


class _Step(BaseModel):
    model_config = ConfigDict(strict=True)
    step: str
    before: int
    after: int


class _Quarantine(BaseModel):
    model_config = ConfigDict(strict=True)
    rows: int
    reasons: dict[str, int]


class _Overlaps(BaseModel):
    model_config = ConfigDict(strict=True)
    rows: int
    benchmarks: dict[str, int]


class _NearRepeats(BaseModel):
    model_config = ConfigDict(strict=True)
    problems: int
    of: int


class _File(BaseModel):
    model_config = ConfigDict(strict=True)
    path: str
    sha256: str
    rows: int


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str
    kind: str
    sha256: str | None = None
    rows: int
    files: list[_File] = Field(default_factory=list)


class _Origin(BaseModel):
    model_config = ConfigDict(strict=True)
    licence: str | None = None
    sha256: str | None = None
    files: list[_File] = Field(default_factory=list)
    ignored: list[str] = Field(default_factory=list)
    parts: list[_Part] = Field(default_factory=list)


class _Example(BaseModel):
    model_config = ConfigDict(strict=True)
    problem_id: str


class _Card(BaseModel):
    """What `its.cards.build.build_card` makes, as far as anything reads it."""

    model_config = ConfigDict(strict=True)
    card_version: int
    name: str
    kind: str
    made_by: dict[str, Any]
    declared: dict[str, Any]
    origin: _Origin
    seed: int
    steps: list[_Step]
    rows: int
    with_reference: int
    with_solution: int
    sources: dict[str, int]
    quarantine: _Quarantine
    overlaps: _Overlaps
    near_repeats: _NearRepeats | None = None
    references_as_text: int | None = None
    solutions_trimmed: int | None = None
    files: dict[str, str]
    examples: list[_Example]


def checked_card(card: Any, where: str) -> dict[str, Any]:
    """The card of a problem set, as read from its file.

    Args:
        where: how errors call the file.

    Raises:
        DataError: if it is of another version, or no card.
    """
    version = card.get("card_version") if isinstance(card, dict) else None
    if type(version) is int and version != CARD_VERSION:
        raise DataError(f"{where}: `card_version` is `{version}`, this version of ITS reads {CARD_VERSION}", _HINT)
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        field = shown(".".join(map(str, first["loc"]))[:100])
        raise DataError(f"{where}: not what `prepare` writes: `{field}`: {first['msg'].lower()}", _HINT) from error
    found: dict[str, Any] = card
    return found
