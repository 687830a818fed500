"""Stage `prepare`: a declared source -> `data/problems/NAME.jsonl`; what is known of it -> `data/cards/NAME/`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import its
from its.cards.build import ProblemCounts, build_card
from its.cards.markdown import card_markdown
from its.curation.curate import curate, whole
from its.curation.duplicates import near_repeats
from its.curation.filters import Tools
from its.curation.thin import thin_steps
from its.files import atomic_file, file_sha256
from its.grading.grade import GRADER_VERSION, Grader
from its.models import tokenizer_path
from its.progress import say
from its.recipe.schema import Benchmark, Dataset
from its.rows import row_file, write_json, write_json_lines, write_rows
from its.shown import counted
from its.sources.load import TRIMMED
from its.study.problem_sets import as_text_note, compared_as_text, grading_tools, read_set, ungraded_row
from its.study.study import Study
from its.types import Problem


def run(study: Study, name: str) -> str:
    """Prepare one dataset or benchmark of the recipe; return a summary line.

    Raises:
        DataError: if its rows are faulty, or a reference cannot be graded against.
    """
    recipe = study.recipe
    declared: Dataset | Benchmark = recipe.benchmarks.get(name) or recipe.datasets[name]
    near: dict[str, int] | None = None
    as_text: list[tuple[str, str]] | None = None
    path, folder = study.problems_path(name), study.card_path(name).parent
    with ExitStack() as stack:
        tools = _tools(study, stack)
        against = declared.decontamination.against if isinstance(declared, Dataset) and declared.decontamination else []
        benchmarks = {item: _whole(study, item, tools) for item in against}
        source = read_set(name, declared, recipe.seed, study.project)
        curating = curate(source, declared, benchmarks, tools, name)
        problems: Iterable[Problem] = curating
        if isinstance(declared, Benchmark):
            problems = measured = list(curating)
            near = near_repeats(measured)
            as_text = compared_as_text(measured, declared.answer)
        counts = ProblemCounts()
        with row_file(path) as write:
            for problem in problems:
                counts.add(problem)
                write(problem)
    curated = curating.result
    origin = {**source.result}
    trimmed = origin.pop(TRIMMED, 0)
    if declared.licence is not None:
        origin["licence"] = declared.licence
    rejected = [*curated.rejected, *(ungraded_row(problem, fault) for problem, fault in curated.ungraded)]
    write_rows(folder / "quarantine.jsonl", rejected)
    overlaps = [asdict(overlap) for overlap in curated.overlaps]
    write_json_lines(folder / "overlap.jsonl", overlaps)
    card = build_card(
        name=name,
        kind="dataset" if isinstance(declared, Dataset) else "benchmark",
        declared=declared.model_dump(exclude_none=True),
        origin=origin,
        seed=recipe.seed,
        steps=[asdict(step) for step in curated.steps],
        counts=counts,
        quarantine=[row.model_dump() for row in rejected],
        overlaps=overlaps,
        near=near,
        as_text=None if as_text is None else len(as_text),
        trimmed=trimmed,
        files={str(path.relative_to(study.project)): file_sha256(path)},
        made_by={"its": its.__version__, "grader": GRADER_VERSION, **_locks(study.project)},
    )
    write_json(study.card_path(name), card)
    with atomic_file(folder / "card.md") as out:
        out.write(card_markdown(card))
    steps = ", ".join(f"{step.step}: {step.after}" for step in curated.steps)
    faulty = f"; faulty rows in data/cards/{name}/quarantine.jsonl: {len(rejected)}" if rejected else ""
    text = f"; {as_text_note(as_text)}" if as_text else ""
    trims = f"; white space at the ends of {trimmed} solutions removed" if trimmed else ""
    thin = "".join(f"; {told}" for told in thin_steps(curated.steps))
    return f"{path.relative_to(study.project)}: {counted(counts.rows, 'problem')} ({steps}){thin}{faulty}{trims}{text}"


def _whole(study: Study, name: str, tools: Tools) -> list[Problem]:
    declared = study.recipe.benchmarks[name]
    rows = read_set(name, declared, study.recipe.seed, study.project)
    return list(whole((row for row in rows if isinstance(row, Problem)), declared, tools))


def _tools(study: Study, stack: ExitStack) -> Tools:
    """What curation needs: tokenizers of declared models, loaded on first use, and the grader."""
    grading = study.recipe.grading
    grader = stack.enter_context(Grader(grading.timeout_seconds, grading.workers))
    tokenizers: dict[str, Any] = {}

    def count_tokens(model: str, text: str) -> int:
        if model not in tokenizers:
            from tokenizers import Tokenizer

            path = tokenizer_path(model, study.recipe.models[model], study.project, study.home, say)
            tokenizers[model] = Tokenizer.from_file(str(path))
        return len(tokenizers[model].encode(text, add_special_tokens=False).ids)

    return grading_tools(grader, count_tokens)


def _locks(project: Path) -> dict[str, str]:
    """The SHA-256 of the core's lock, if it exists."""
    lock = project / "envs" / "core.txt"
    return {"envs/core.txt": file_sha256(lock)} if lock.is_file() else {}
