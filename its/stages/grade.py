"""Stage `grade`: responses -> `data/verdicts/CHECKPOINT/BENCHMARK/STRATEGY.jsonl`."""

from __future__ import annotations

from collections import Counter

from its.errors import DataError
from its.grading.grade import grade_response
from its.progress import Progress
from its.rows import read_rows, write_rows
from its.stages.study import load_study, split_query_id
from its.types import Response, Verdict


def run() -> str:
    """Grade every response of the design; each one gets exactly one verdict."""
    study = load_study()
    recipe = study.recipe
    counts: Counter[str] = Counter()
    cells = [(c, b, t) for c in study.checkpoints() for b in recipe.design.benchmarks for t in recipe.design.test]
    references = {b: {p.problem_id: p.reference for p in study.problems(b)} for b in recipe.design.benchmarks}
    with Progress("grade", len(cells), "cells") as progress:
        for checkpoint, benchmark, strategy in cells:
            path = study.responses_path(checkpoint, benchmark, strategy)
            verdicts: list[Verdict] = []
            for response in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
                _, problem_id, _ = split_query_id(response.query_id)
                reference = references[benchmark].get(problem_id)
                if reference is None:
                    raise DataError(
                        f"{path}: `{problem_id}` is not a problem of `{benchmark}`", "`dvc repro -f generate`"
                    )
                verdicts.append(
                    grade_response(
                        query_id=response.query_id,
                        sample_index=response.sample_index,
                        text=response.text,
                        reference=reference,
                        kind=recipe.benchmarks[benchmark].answer,
                        timeout_seconds=recipe.grading.timeout_seconds,
                    )
                )
            counts.update(verdict.verdict for verdict in verdicts)
            write_rows(study.verdicts_path(checkpoint, benchmark, strategy), verdicts)
            progress.add()
    shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"data/verdicts: {sum(counts.values())} verdicts ({shown})"
