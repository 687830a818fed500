"""The responses of a cell with their verdicts, one row each; none is without the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from typing import Any

from its.commands.scores import VERDICTS
from its.errors import Fault
from its.rows import raise_faults, read_rows
from its.study.study import Cell, Study, join_query_id
from its.types import Response, Verdict

REMEDY = "`dvc repro` writes the rows of data/responses and data/verdicts again"


def cell_rows(study: Study, cell: Cell, problems: Set[str]) -> Iterator[dict[str, Any]]:
    """A row for each response of a cell, as RESPONSES has the columns, in the order of the file.

    Args:
        problems: the problem_ids of the benchmark.

    Raises:
        MissingError, FaultsError: as `read_rows`.
        FaultsError: if a response has no verdict or the reverse, if it is to another problem, or if problems of the
            benchmark have none or fewer: a mean over the rest would be of another benchmark.
    """
    checkpoint, benchmark, test = cell
    path = study.responses_path(*cell)
    ids = {join_query_id(benchmark, problem_id, test): problem_id for problem_id in problems}
    verdicts = {
        (row.query_id, row.sample_index): row
        for row in read_rows(study.verdicts_path(*cell), Verdict, key=lambda row: (row.query_id, row.sample_index))
    }
    trained = checkpoint.train is not None
    place = {
        "checkpoint": checkpoint.name,
        "model": checkpoint.model,
        "dataset": checkpoint.dataset,
        "train": checkpoint.train,
        "variant": checkpoint.variant if trained else None,
        "seed": checkpoint.seed,
        "saved_at": checkpoint.saved_at if trained else None,
        "benchmark": benchmark,
        "test": test,
    }
    faults: list[Fault] = []
    counts = Counter(dict.fromkeys(ids, 0))
    for row in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
        verdict = verdicts.pop((row.query_id, row.sample_index), None)
        problem_id = ids.get(row.query_id)
        if problem_id is None or verdict is None:
            lacks = "is to no problem of the benchmark" if problem_id is None else "has no verdict"
            faults.append(Fault(str(path), f"sample {row.sample_index} of `{row.query_id}` {lacks}", REMEDY))
            continue
        counts[row.query_id] += 1
        yield place | {
            "problem_id": problem_id,
            "sample_index": row.sample_index,
            "score": VERDICTS[verdict.verdict],
            "verdict": verdict.verdict,
            "answer": verdict.answer,
            "rule": verdict.rule,
            "reason": verdict.reason,
            "text": row.text,
            "thinking": row.thinking,
            "finish_reason": row.finish_reason,
            "prompt_tokens": row.prompt_tokens,
            "completion_tokens": row.completion_tokens,
            "thinking_tokens": row.thinking_tokens,
            "sampling_seed": row.seed,
            "request_key": row.request_key,
            "grader_version": verdict.grader_version,
        }
    for query_id, index in verdicts:
        faults.append(Fault(str(path), f"sample {index} of `{query_id}` has a verdict and no response", REMEDY))
    most = max(counts.values(), default=0)
    for query_id, count in counts.items():
        if count < most or not most:
            faults.append(Fault(str(path), f"`{query_id}` has {count} of {most or 'its'} responses", REMEDY))
    raise_faults(faults)
