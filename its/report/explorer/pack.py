"""Responses and verdicts -> two blocks of the page: marks of all responses, and the texts that fit.

Each block is raw deflate in base64. `marks` is one JSON document. `texts` is a line of JSON for each response whose
text is kept. Texts are kept in a seeded order, the first response of every problem before the second, until the
block is full: which are kept depends on no verdict and on no length but the last one's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from its.secrets import redacted
from its.shown import bounded, shown
from its.types import Response, Verdict, VerdictName

MOST_TEXT_BYTES = 3_200_000
"""Of the compressed texts: 4.3 MB in base64, so that a page of 20,000 responses is smaller than 5 MB."""
MOST_CHARACTERS = 64_000_000
"""Of the texts that are compressed at all: deflate makes at most a twentieth of it from texts that repeat."""
MOST_CASE_CELLS = 12
"""Cells of a problem that the page shows without its script; a browser with it shows all."""
LONGEST_CASE = 2_000
"""Characters of a text that the page shows without its script."""
_MARKS: dict[VerdictName, str] = {"correct": "c", "incorrect": "i", "no_answer": "n", "grader_error": "e"}
_VERDICTS = {mark: verdict for verdict, mark in _MARKS.items()}
_LAST_BLOCK = b"\x03\x00"
"""An empty last block of deflate: it ends a stream that was cut behind a flush."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CaseCell(_Value):
    """The first response to a problem in one cell; texts are cut at LONGEST_CASE characters."""

    checkpoint: str
    train: str | None
    test: str
    persona: str
    response: str
    answer: str | None
    verdict: VerdictName | None


class Case(_Value):
    """A problem with its cells side by side, readable without the script of the page."""

    benchmark: str
    problem_id: str
    problem: str
    reference: str | None
    cells: list[CaseCell]
    more: int
    """Further cells, which are not listed."""


class Explored(_Value):
    """What the page contains of the responses; counts are of responses."""

    marks: str
    texts: str
    responses: int
    kept: int
    """Responses whose text is in the page."""
    generated: str | None = None
    """The day in UTC on which the responses were generated, or `FIRST to LAST`. None: not known."""
    cases: list[Case] = []
    """Problems to read without the script, the first in the order in which texts are kept."""


@dataclass(frozen=True)
class ExploredCell:
    """A cell with the ids of its benchmark's problems, in order, and what is known of each response but its text."""

    checkpoint: str
    benchmark: str
    test: str
    train: str | None
    path: str
    """Where its responses are, from the project's folder."""
    problems: Sequence[str]
    samples: int
    """Responses to each problem, at least 1."""
    marks: list[str] = field(default_factory=list)
    rules: list[str | None] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        places = len(self.problems) * self.samples
        self.marks.extend("." * places)
        self.rules.extend([None] * places)
        self.ends.extend("." * places)
        self.tokens.extend([0] * places)

    def answered(self, problem: int, response: Response) -> None:
        """Note a response to the problem at a place of `problems`; one without a verdict keeps the mark `?`."""
        at = problem * self.samples + response.sample_index
        self.marks[at] = "?" if self.marks[at] == "." else self.marks[at]
        self.ends[at] = response.finish_reason[0]
        self.tokens[at] = response.completion_tokens

    def graded(self, problem: int, verdict: Verdict) -> None:
        """Note the verdict of a response."""
        at = problem * self.samples + verdict.sample_index
        self.marks[at] = _MARKS[verdict.verdict]
        self.rules[at] = verdict.rule


@dataclass(frozen=True)
class Text:
    """What the page shows of one response when it is opened. `cell` and `problem` are places in the lists packed."""

    cell: int
    problem: int
    sample: int
    response: str
    thinking: str | None
    answer: str | None
    reason: str | None
    question: str
    reference: str | None
    personas: Sequence[str]
    turns: Sequence[Mapping[str, str]]


def kept_order(problems: Iterable[tuple[str, str]], samples: int, seed: int) -> list[tuple[int, str, str]]:
    """(sample, benchmark, problem_id) in the order in which texts are kept: by sample, then by a seeded shuffle."""

    def drawn(problem: tuple[str, str]) -> bytes:
        return hashlib.sha256(json.dumps([seed, *problem]).encode()).digest()

    order = sorted(problems, key=drawn)
    return [(sample, *problem) for sample in range(samples) for problem in order]


def packed(
    cells: Sequence[ExploredCell],
    texts: Sequence[Text],
    cases: int = 0,
    generated: str | None = None,
    most_bytes: int = MOST_TEXT_BYTES,
) -> Explored:
    """Pack all marks, and texts in the order given until the next would make more than `most_bytes` bytes.

    Args:
        cells: of the study, with their marks.
        texts: the first response to a problem in all cells one after the other.
        cases: problems that are shown without the script as well, at most.
        generated: the day on which the responses were generated, if it is known.
        most_bytes: of the compressed texts.
    """
    block, kept = _packed_texts(texts, most_bytes)
    responses = sum(mark != "." for cell in cells for mark in cell.marks)
    return Explored(
        marks=_base64(_deflated(_marks(cells))),
        texts=_base64(block),
        responses=responses,
        kept=kept,
        generated=generated,
        cases=_cases(cells, texts, cases),
    )


def _cases(cells: Sequence[ExploredCell], texts: Iterable[Text], most: int) -> list[Case]:
    """The first problems of `texts` with the first response in each cell."""
    found: dict[tuple[str, int], list[Text]] = {}
    for text in texts:
        if text.sample:
            break
        key = (cells[text.cell].benchmark, text.problem)
        if key not in found and len(found) == most:
            break
        found.setdefault(key, []).append(text)
    return [
        Case(
            benchmark=benchmark,
            problem_id=_clean(cells[rows[0].cell].problems[problem]),
            problem=_short(rows[0].question),
            reference=None if rows[0].reference is None else _short(rows[0].reference),
            cells=[_case_cell(cells[row.cell], row) for row in rows[:MOST_CASE_CELLS]],
            more=max(0, len(rows) - MOST_CASE_CELLS),
        )
        for (benchmark, problem), rows in found.items()
    ]


def _case_cell(cell: ExploredCell, text: Text) -> CaseCell:
    return CaseCell(
        checkpoint=cell.checkpoint,
        train=cell.train,
        test=cell.test,
        persona=_short("\n\n".join(filter(None, text.personas))),
        response=_short(text.response),
        answer=None if text.answer is None else _short(text.answer),
        verdict=_VERDICTS.get(cell.marks[text.problem * cell.samples]),
    )


def _short(text: str) -> str:
    return bounded(_clean(text), LONGEST_CASE)


def _marks(cells: Sequence[ExploredCell]) -> bytes:
    rules: dict[str | None, int] = {None: 0}
    problems: dict[str, list[str]] = {}
    rows = []
    for cell in cells:
        problems.setdefault(cell.benchmark, [_clean(each) for each in cell.problems])
        row: dict[str, Any] = {
            "checkpoint": cell.checkpoint,
            "benchmark": cell.benchmark,
            "test": cell.test,
            "train": cell.train,
            "path": cell.path,
            "samples": cell.samples,
            "marks": "".join(cell.marks),
            "rules": [rules.setdefault(rule, len(rules)) for rule in cell.rules],
            "ends": "".join(cell.ends),
            "tokens": cell.tokens,
        }
        rows.append(row)
    names = [None if rule is None else _clean(rule) for rule in rules]
    return _json({"cells": rows, "rules": names, "problems": problems})


def _packed_texts(texts: Iterable[Text], most_bytes: int) -> tuple[bytes, int]:
    """(the compressed lines, how many)."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces: list[bytes] = []
    size = kept = 0
    said: dict[tuple[Any, ...], int] = {}
    for text in texts:
        piece = stream.compress(_line(text, said)) + stream.flush(zlib.Z_SYNC_FLUSH)
        if size + len(piece) + len(_LAST_BLOCK) > most_bytes:
            break
        pieces.append(piece)
        size += len(piece)
        kept += 1
    return b"".join([*pieces, _LAST_BLOCK]), kept


def _line(text: Text, said: dict[tuple[Any, ...], int]) -> bytes:
    """One response as JSON; a question, a persona or a query that an earlier line has is its number there."""

    def once(value: Any, *key: Any) -> Any:
        number = said.get(key)
        if number is None:
            said[key] = len(said)
            return value
        return number

    question, personas = _clean(text.question), [_clean(each) for each in text.personas]
    turns = [[turn["role"], _parted(_clean(turn["content"]), [question, *personas])] for turn in text.turns]
    known = once([question, _cleaned(text.reference)], "problem", text.problem, question, text.reference)
    persona = once(personas, "persona", text.problem, tuple(personas))
    query = once(turns, "query", json.dumps(turns))
    thinking, answer, reason = _cleaned(text.thinking), _cleaned(text.answer), _cleaned(text.reason)
    line = [text.cell, text.problem, text.sample, _clean(text.response), thinking, answer, reason]
    return _json([*line, known, persona, query]) + b"\n"


def _parted(content: str, parts: Sequence[str]) -> list[str | int]:
    """A query as texts, and as the number of the part (the problem 0, personas from 1) where one is in it."""
    pieces: list[str | int] = [content]
    for number, part in enumerate(parts):
        if not part:
            continue
        split: list[str | int] = []
        for piece in pieces:
            if isinstance(piece, int):
                split.append(piece)
                continue
            for place, between in enumerate(piece.split(part)):
                split += [between] if place == 0 else [number, between]
        pieces = split
    return [piece for piece in pieces if piece != ""]


def _clean(text: str) -> str:
    """A text as the page shows it: escape sequences, marks of direction and lone surrogates are written out.

    What looks like a key is `[key]` here; it stays as it is in `data/responses/`.
    """
    return shown(redacted(text.replace("\r\n", "\n").replace("\0", "\ufffd")), lines=True)


def _cleaned(text: str | None) -> str | None:
    return None if text is None else _clean(text)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
