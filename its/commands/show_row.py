"""The tokens of a row as a training sees them, trained or masked, by the model's own tokenizer and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from its.errors import DataError, nearest
from its.prompts.rows import row_fault
from its.rows import count_lines, read_rows
from its.study.row_check import row_reader
from its.study.study import Checkpoint, Study
from its.types import Query


class Token(NamedTuple):
    """An id, its part of the row's text, and whether the loss covers it."""

    id: int
    text: str
    trained: bool


@dataclass(frozen=True)
class ShownRow:
    """A row of a training.

    Args:
        file: the path of its query from the project.
        number: its number there, from 1.
        tokens: in order; those of the prompt, the trained ones, and what the template writes after the end of turn.
        prompt, trained, after: how many tokens each part has.
        limit: `train.sequence_length`.
    """

    checkpoint: str
    file: str
    number: int
    query_id: str
    tokens: list[Token]
    prompt: int
    trained: int
    after: int
    limit: int


def show_row(study: Study, name: str, number: int) -> ShownRow:
    """A row of the training of a checkpoint.

    Args:
        name: `MODEL-DATASET-STRATEGY-SEED`, whose rows its variants and earlier checkpoints share, or that of one of
            these.
        number: of the row in its file, from 1.

    Raises:
        DataError: if the design has no such checkpoint or it is not trained, the file has fewer rows, or the chat
            template writes the row so that a training would refuse it.
        MissingError: if the queries, or the model's tokenizer, are not available.
    """
    checkpoint = _checkpoint(study, name)
    assert checkpoint.dataset is not None and checkpoint.train is not None
    path = study.queries_path("train", checkpoint.dataset, checkpoint.train)
    file = str(path.relative_to(study.project))
    query = next(islice(read_rows(path, Query), number - 1, None), None)
    if query is None:
        rows = count_lines(path)
        has = f"{file}: has {rows} {'row' if rows == 1 else 'rows'}, so there is no row {number}"
        raise DataError(has, f"`--show-row {rows}` is the last" if rows else "`dvc repro query`")
    item = row_reader(study, checkpoint.model)
    where = f"{file}:{number}"
    solutions = item.solutions()
    chat = item.chat(query, solutions, where)
    solutions.refuse()
    asked = item.reader.rendered([chat[:-1]], prompt=True)[0]
    whole = item.reader.rendered([chat], prompt=False)[0]
    pieces = item.reader.pieces(whole)
    ids, prompt = [id_ for id_, _ in pieces], item.reader.ids(asked)
    eos = item.declared.special_tokens.eos
    eos_id = item.reader.token_id(eos)
    if eos_id is None:
        raise DataError(
            f"`models.{checkpoint.model}.special_tokens.eos`: `{eos}` is not a token of the tokenizer",
            "the token that ends a turn",
        )
    fault = row_fault(checkpoint.model, (asked, prompt), (whole, ids), chat[-1]["content"], (eos, eos_id), item.marks)
    if fault is not None:
        raise DataError(f"{where}: the chat template of `{checkpoint.model}` {fault.message}", fault.hint)
    end = ids.index(eos_id, len(prompt)) + 1
    return ShownRow(
        checkpoint=name,
        file=file,
        number=number,
        query_id=query.query_id,
        tokens=[Token(id_, text, len(prompt) <= at < end) for at, (id_, text) in enumerate(pieces)],
        prompt=len(prompt),
        trained=end - len(prompt),
        after=len(ids) - end,
        limit=study.recipe.train.sequence_length,
    )


def _checkpoint(study: Study, name: str) -> Checkpoint:
    checkpoints = study.checkpoints()
    known = {checkpoint.name: checkpoint for checkpoint in checkpoints}
    trained = [each for each, checkpoint in known.items() if checkpoint.train is not None]
    if name in trained:
        return known[name]
    if (same := next((item for item in checkpoints if item.train and item.combination == name), None)) is not None:
        return same  # the design has only variants or earlier checkpoints of it
    if name in known or name.removesuffix("-base") in study.recipe.models:
        raise DataError(f"`{name}` is not trained, so it has no rows", f"trained: {', '.join(trained[:10])}")
    close = nearest(name, trained) or trained[:10]
    raise DataError(
        f"the design has no checkpoint `{name}`", f"`MODEL-DATASET-STRATEGY-SEED`, such as {', '.join(close)}"
    )
