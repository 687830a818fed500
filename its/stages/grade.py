"""Stage `grade`: responses -> `data/verdicts/CHECKPOINT/BENCHMARK/STRATEGY.jsonl`, and what a new grader changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from its.engines.protocol import Request
from its.errors import DataError, MissingError, RunError
from its.grading.changes import Changes
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.judge import Opinion, Opinions, judge_opinion
from its.progress import Progress
from its.prompts.render import render
from its.recipe.schema import Judge
from its.rows import read_rows, write_json, write_rows
from its.seeds import derive_seed
from its.stages.study import Checkpoint, Study, load_study, split_query_id
from its.store import Store
from its.thinking import cut_thinking
from its.types import Problem, Response, Verdict

JUDGE_VERSION = 2
Cell = tuple[Checkpoint, str, str]


def run() -> str:
    """Grade every response of the design; each one gets exactly one verdict. Memory does not grow with them."""
    study = load_study()
    counts: Counter[str] = Counter()
    cells = _cells(study)
    with Progress("grade", len(cells), "cells") as progress, _grader(study) as grader:
        for cell in cells:
            verdicts = _counted(grader.grade(_items(study, cell)), counts)
            write_rows(study.verdicts_path(*cell), verdicts)
            progress.add()
    shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    judged = _judge(study, study.recipe.grading.judge, cells) if study.recipe.grading.judge is not None else ""
    return f"data/verdicts: {sum(counts.values())} verdicts ({shown}){judged}"


def regrade(dry_run: bool) -> Changes:
    """Grade the stored responses again and tell what changed; nothing is generated.

    DVC does the grading (`dvc repro --single-item --force grade`), so that its lock knows the new verdicts and
    `dvc repro` goes on with what depends on them. A dry run grades beside it and writes nothing.

    Raises:
        MissingError: there are no former verdicts or no responses.
        RunError: DVC failed.
    """
    study = load_study()
    cells = _cells(study)
    verdicts = study.project / "data" / "verdicts"
    if not verdicts.is_dir():
        raise MissingError(f"{verdicts}: no such folder", "`dvc repro grade` grades for the first time")
    changes = Changes()
    if dry_run:
        with Progress("regrade", len(cells), "cells") as progress, _grader(study) as grader:
            for cell in cells:
                path = study.verdicts_path(*cell)
                changes.add(_name(cell), _former(path), grader.grade(_items(study, cell)))
                progress.add()
        return changes
    with tempfile.TemporaryDirectory(prefix="its-regrade-") as kept:
        former = Path(kept) / "verdicts"
        shutil.copytree(verdicts, former)
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "grade"]
        done = subprocess.run(command, cwd=study.project, stdout=sys.stderr, check=False)
        if done.returncode:
            raise RunError(
                f"`dvc repro --single-item --force grade` failed (exit {done.returncode})",
                "`dvc checkout data/verdicts` brings the former verdicts back",
            )
        for cell in cells:
            path = study.verdicts_path(*cell)
            changes.add(_name(cell), _former(former / path.relative_to(verdicts)), read_rows(path, Verdict))
    return changes


def _cells(study: Study) -> list[Cell]:
    design = study.recipe.design
    return [(c, b, t) for c in study.checkpoints() for b in design.benchmarks for t in design.test]


def _name(cell: Cell) -> str:
    return f"{cell[0].name}/{cell[1]}/{cell[2]}"


def _grader(study: Study) -> Grader:
    return Grader(study.recipe.grading.timeout_seconds, study.recipe.grading.workers)


def _items(study: Study, cell: Cell) -> Iterator[Item]:
    """The responses of a cell beside their references.

    `generate` took the thinking out already; of a response without any, whose marks the recipe got later, it is taken
    out here.
    """
    checkpoint, benchmark, test = cell
    path = study.responses_path(*cell)
    references = {problem.problem_id: problem.reference for problem in study.problems(benchmark)}
    kind = study.recipe.benchmarks[benchmark].answer
    marks = study.recipe.models[checkpoint.model].thinking
    for response in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
        set_name, problem_id, strategy = split_query_id(response.query_id)
        reference = references.get(problem_id)
        if reference is None or (set_name, strategy) != (benchmark, test):
            told = f"`{response.query_id}` is no query of `{benchmark}` under test strategy `{test}`"
            raise DataError(f"{path}: {told}", "`dvc repro` makes the rows that belong")
        yield Item(
            query_id=response.query_id,
            sample_index=response.sample_index,
            text=response.text,
            reference=reference,
            kind=kind,
            thinking=marks if response.thinking is None else None,
            cut_short=response.finish_reason == "length",
        )


def _counted(verdicts: Iterable[Verdict], counts: Counter[str]) -> Iterator[Verdict]:
    for verdict in verdicts:
        counts[verdict.verdict] += 1
        yield verdict


def _former(path: Path) -> Iterable[Verdict]:
    return read_rows(path, Verdict) if path.is_file() else ()


def _judge(study: Study, judge: Judge, cells: list[Cell]) -> str:
    """Ask the judge about each distinct answer to a problem; list where it differs. Verdicts stay as they are."""
    model, marks = Checkpoint(judge.model), study.recipe.models[judge.model].thinking
    template = study.template(judge.template)
    problems = {b: {p.problem_id: p for p in study.problems(b)} for b in study.recipe.design.benchmarks}
    requests: dict[str, Request] = {}
    for cell in cells:
        for verdict in read_rows(study.verdicts_path(*cell), Verdict):
            if verdict.answer is not None:
                problem = problems[cell[1]][split_query_id(verdict.query_id)[1]]
                name = _question(cell[1], problem, verdict.answer)
                if name not in requests:
                    requests[name] = _request(study, judge, template, problem, verdict.answer, name, model)
    said: dict[str, tuple[Opinion, str]] = {}
    with Store(study.home / "store.sqlite") as store, study.session(store, [model], "grade") as session:
        with Progress("judge", len(requests), "answers") as progress:
            session.ensure(requests.values(), partial(_advance, progress))
        for request, _, completion in session.read(requests.values()):
            cut_short = completion.finish_reason == "length"
            words = cut_thinking(completion.text, marks, cut_short, completion.thinking).answer
            said[request.request_id] = judge_opinion(words), words
    opinions = Opinions()
    for cell in cells:
        for verdict in read_rows(study.verdicts_path(*cell), Verdict):
            if verdict.answer is not None:
                problem = problems[cell[1]][split_query_id(verdict.query_id)[1]]
                opinion, words = said[_question(cell[1], problem, verdict.answer)]
                opinions.add([(verdict, opinion, words)], cell=_name(cell), reference=str(problem.reference))
    write_json(
        study.project / "data" / "verdicts" / "judge.json",
        {
            "version": JUDGE_VERSION,
            "judge": judge.model_dump(),
            "grader_version": GRADER_VERSION,
            "asked": len(requests),
            "counts": opinions.counts,
            "disagreements": opinions.disagreements,
        },
    )
    counts = opinions.counts
    return (
        f"; judge {judge.model}: {len(requests)} answers, {counts['disagree']} of {sum(counts.values())} verdicts "
        f"disputed, {counts['unclear']} unclear (data/verdicts/judge.json)"
    )


def _question(benchmark: str, problem: Problem, answer: str) -> str:
    return f"{benchmark}/{problem.problem_id}/{hashlib.sha256(answer.encode()).hexdigest()[:16]}"


def _request(
    study: Study, judge: Judge, template: str, problem: Problem, answer: str, name: str, model: Checkpoint
) -> Request:
    values = {"problem": problem, "reference": problem.reference, "answer": answer}
    return Request(
        request_id=name,
        messages=[{"role": "user", "content": render(template, judge.template, values)}],
        sampling=judge.sampling.model_dump(),
        seed=derive_seed(study.recipe.seed, "judge", name),
        model=model.name,
    )


def _advance(progress: Progress, request: Request, tokens: int) -> None:
    progress.add(tokens=tokens, stored=not tokens)
