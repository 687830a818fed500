"""Stage `prepare`: a declared source -> `data/problems/NAME.jsonl`; what is known of it -> `data/cards/NAME/`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import its
from its.cards.build import Tally, build_card
from its.cards.markdown import card_markdown
from its.curation.curate import Curated, curate
from its.curation.duplicates import near_repeats
from its.curation.filters import Tools
from its.files import atomic_file, file_sha256
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.references import reference_faults, references_agree
from its.models import tokenizer_path
from its.progress import say
from its.recipe.schema import Benchmark, Dataset
from its.rows import raise_faults, write_json, write_json_lines, write_rows
from its.sources.load import load_problems
from its.sources.records import Rejected
from its.stages.study import Study
from its.thinking import SOLUTION_MARKS
from its.types import Problem


def run(study: Study, name: str) -> str:
    """Prepare one dataset or benchmark of the recipe; return a line that says what is there.

    Raises:
        DataError: if its rows are faulty, or a reference cannot be graded against.
    """
    recipe = study.recipe
    declared: Dataset | Benchmark = recipe.benchmarks.get(name) or recipe.datasets[name]
    origin: dict[str, Any] = {}
    rejected: list[Rejected] = []
    tally = Tally()
    near: dict[str, int] | None = None
    path, folder = study.problems_path(name), study.card_path(name).parent
    with ExitStack() as stack:
        tools = _tools(study, stack)
        curated = _curated(study, name, declared, tools, origin, rejected)
        problems = tally.counting(curated.problems)
        if isinstance(declared, Benchmark):
            checked = _with_good_references(study, declared, list(problems))
            near = near_repeats(checked)
            problems = iter(checked)
        rows = write_rows(path, problems)
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
        tally=tally,
        quarantine=[row.model_dump() for row in rejected],
        overlaps=overlaps,
        near=near,
        files={str(path.relative_to(study.project)): file_sha256(path)},
        made_by={"its": its.__version__, "grader": GRADER_VERSION, **_locks(study.project)},
    )
    write_json(study.card_path(name), card)
    with atomic_file(folder / "card.md") as out:
        out.write(card_markdown(card))
    steps = ", ".join(f"{step.step}: {step.after}" for step in curated.steps)
    faulty = f"; faulty rows in data/cards/{name}/quarantine.jsonl: {len(rejected)}" if rejected else ""
    return f"{path.relative_to(study.project)}: {rows} problems ({steps}){faulty}"


def _curated(
    study: Study,
    name: str,
    declared: Dataset | Benchmark,
    tools: Tools,
    origin: dict[str, Any],
    rejected: list[Rejected],
) -> Curated:
    against = declared.decontamination.against if isinstance(declared, Dataset) and declared.decontamination else []
    benchmarks = {item: _whole(study, item, tools) for item in against}
    required = ("reference",) if isinstance(declared, Benchmark) else ("solution",)
    rows = load_problems(
        name,
        declared,
        seed=study.recipe.seed,
        project=study.project,
        required=required,
        origin=origin,
        rejected=rejected,
    )
    return curate(rows, declared, benchmarks, tools, name)


def _whole(study: Study, name: str, tools: Tools) -> list[Problem]:
    """A benchmark before its sample: what is not measured now may be measured next week. Its own side of a split."""
    declared = study.recipe.benchmarks[name].model_copy(update={"sample": None})
    return list(_curated(study, name, declared, tools, {}, []).problems)


def _with_good_references(study: Study, declared: Benchmark, problems: list[Problem]) -> list[Problem]:
    """The same problems, once every reference was read as what the benchmark says that it is."""
    grading = study.recipe.grading
    places = [(problem.row or f"`{problem.problem_id}`", problem.reference) for problem in problems]
    raise_faults(reference_faults(places, declared.answer, grading.timeout_seconds, grading.workers))
    return problems


def _tools(study: Study, stack: ExitStack) -> Tools:
    """What curation needs: tokenizers of declared models, loaded when first asked, and the grader."""
    grading = study.recipe.grading
    grader = stack.enter_context(Grader(grading.timeout_seconds, grading.workers))
    tokenizers: dict[str, Any] = {}

    def count_tokens(model: str, text: str) -> int:
        if model not in tokenizers:
            from tokenizers import Tokenizer

            path = tokenizer_path(model, study.recipe.models[model], study.project, study.home, say)
            tokenizers[model] = Tokenizer.from_file(str(path))
        return len(tokenizers[model].encode(text, add_special_tokens=False).ids)

    def verdict(problem: Problem, reference: str) -> str:
        solution = problem.solution or ""
        return grader.grade_one(Item(problem.problem_id, 0, solution, reference, "math", SOLUTION_MARKS)).verdict

    return Tools(
        count_tokens=count_tokens,
        answer_agrees=lambda problem: (
            None if problem.reference is None else verdict(problem, problem.reference) == "correct"
        ),
        solution_parses=lambda problem: verdict(problem, problem.reference or "0") not in ("no_answer", "grader_error"),
        references_agree=lambda one, other, kind: references_agree(one, other, kind, grader),
    )


def _locks(project: Path) -> dict[str, str]:
    """The SHA-256 of the core's lock, where it is there."""
    lock = project / "envs" / "core.txt"
    return {"envs/core.txt": file_sha256(lock)} if lock.is_file() else {}
