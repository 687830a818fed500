"""Stage `solution`: train queries and references -> `data/solutions/SET/STRATEGY.jsonl`, one engine session for all.

The strategies are those with `solutions: regenerate` that a model is trained under, members of `mix` and `union` among
them. Where there is none, only an empty account is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import tee
from typing import Any

from its.control_tokens import ControlTokens
from its.engines.protocol import Completion, Request
from its.engines.session import Session
from its.errors import DataError, Fault, FaultsError
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.references import ungradable_references
from its.home import STORE_FILE
from its.model_files import model_control_tokens
from its.progress import Progress, say
from its.prompts.render import read_template
from its.prompts.token_ids import batches
from its.recipe.schema import SolutionWriter
from its.rows import write_json, write_rows
from its.seeds import derive_seed
from its.shown import counted
from its.store import Store
from its.strategies.query import query_messages
from its.strategies.solutions import (
    SOLUTIONS_VERSION,
    UNFIT,
    solution_summary,
    solution_text,
    solutions_needed,
    trained_summary,
)
from its.study.row_check import long_without_persona
from its.study.serving import OURS, cost_rows, open_serving, request_sampling
from its.study.solution_fit import NewSolution, SolutionFit
from its.study.study import Checkpoint, Study
from its.thinking import SOLUTION_MARKS
from its.types import Problem, Solution, SolutionVerdict

SHOWN = 20
"""Problems without a usable reference that an error names."""


@dataclass
class _Job:
    """One solution in the making; `keys` and `verdicts` are of its attempts, in order."""

    set_name: str
    strategy: str
    problem: Problem
    personas: list[str]
    keys: list[str] = field(default_factory=list)
    verdicts: list[SolutionVerdict] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    answer: str | None = None
    tokens: int = 0

    @property
    def kept(self) -> bool:
        return self.verdicts[-1:] == ["correct"]

    @property
    def name(self) -> str:
        return f"{self.set_name}/{self.problem.problem_id}/{self.strategy}"

    def settle(self, answer: str | None, unfit: str | None) -> None:
        """Keep a correct solution, unless there is a reason against it."""
        self.verdicts.append("correct" if unfit is None else "unfit")
        self.unfit += [] if unfit is None else [unfit]
        self.answer = answer if unfit is None else None


@dataclass
class _Part:
    """A dataset under a strategy: the problems that need a solution, in their order, and those asked for."""

    set_name: str
    strategy: str
    problems: list[Problem]
    jobs: list[_Job]


@dataclass(frozen=True)
class _Candidate:
    """A response that ended by itself, as a solution."""

    job: _Job
    text: str
    answer: str | None = None


def run(study: Study) -> str:
    """Regenerate solutions: the first attempt that the grader finds correct, and that fits, is kept.

    Raises:
        FaultsError: before any request, if a problem has no reference that an answer can be graded against, or a
            query contains a control token of the teacher.
        DataError: if no solution of a dataset under a strategy can be kept.
    """
    recipe = study.recipe
    trained = {name: names for side, name, names in study.sets() if side == "train"}
    parts = _parts(study, trained)
    writer = recipe.writer.solutions
    cost: list[dict[str, Any]] = []
    accounts: list[dict[str, Any]] = []
    if parts:
        assert writer is not None  # the recipe's checks see to it
        cost, accounts = _write(study, writer, parts)
    write_json(
        study.project / "data" / "solutions" / "summary.json",
        {
            "solutions_version": SOLUTIONS_VERSION,
            "grader_version": GRADER_VERSION,
            "teacher": recipe.writer.teacher if parts else None,
            "attempts": writer.attempts if writer is not None and parts else None,
            "reasons": UNFIT,
            "solutions": accounts,
            "trained": _trained(study, trained, parts),
        },
    )
    write_json(study.results("cost", "solution.json"), cost)
    if not parts:
        return "data/solutions: none is regenerated; every strategy trains on the solutions of its dataset"
    told = [
        f"{item['kept']} of {item['problems'] - item['not_asked']} of {item['set']} kept under `{item['strategy']}` "
        f"({counted(item['attempts'], 'request')}, {item['lost']} lost)"
        for item in accounts
    ]
    return f"data/solutions: {'; '.join(told)}"


def _parts(study: Study, trained: Mapping[str, Sequence[str]]) -> list[_Part]:
    """The datasets and strategies whose solutions are regenerated, with a job for each problem sent to the teacher."""
    recipe = study.recipe
    wanted: list[tuple[str, str, list[Problem]]] = []
    faults: list[Fault] = []
    for name, names in trained.items():
        if all(strategy.solutions == "keep" for strategy in recipe.strategies.values()):
            break
        problems = study.problems(name)
        needed = solutions_needed(recipe.strategies, names, [item.problem_id for item in problems], recipe.seed)
        anywhere: Set[str] = set().union(*needed.values())
        faults += _reference_faults(study, name, [item for item in problems if item.problem_id in anywhere])
        for strategy, ids in needed.items():
            wanted.append((name, strategy, [item for item in problems if item.problem_id in ids]))
    if faults:
        raise FaultsError(faults)
    # `query` leaves these out under every strategy, so nothing is asked for them.
    too_long = long_without_persona(study) if wanted else {}
    out = []
    for name, strategy, own in wanted:
        personas = study.persona_texts(name, strategy)
        jobs = []
        for problem in own:
            if problem.problem_id not in personas:
                raise DataError(
                    f"{study.personas_path(name, strategy)}: no persona row for problem_id `{problem.problem_id}`",
                    "`dvc repro -f persona`",
                )
            if problem.problem_id not in too_long.get(name, ()):
                jobs.append(_Job(name, strategy, problem, personas[problem.problem_id]))
        out.append(_Part(name, strategy, own, jobs))
    return out


def _reference_faults(study: Study, name: str, problems: Sequence[Problem]) -> list[Fault]:
    """Problems whose new solutions nothing can be graded against, the first of them by name."""
    path = study.problems_path(name).relative_to(study.project)
    hint = (
        f"`datasets.{name}.filters: [answer_agrees]` leaves out rows without a reference that can be graded; "
        "`fields.reference` names the column"
    )
    faults = [
        Fault(fault.where, f"{fault.message}, so a new solution cannot be graded", hint)
        for fault in ungradable_references(
            (f"{path}, problem_id `{item.problem_id}`", item.reference, "math") for item in problems
        )
    ]
    if len(faults) > SHOWN:
        rest = f"and {len(faults) - SHOWN} more of {len(problems)} problems whose new solution cannot be graded"
        faults = [*faults[:SHOWN], Fault(str(path), rest, hint)]
    return faults


def _write(
    study: Study, writer: SolutionWriter, parts: Sequence[_Part]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Have the solutions written and write their rows; the cost, and the accounts of data/solutions/summary.json."""
    grading, teacher = study.recipe.grading, Checkpoint(study.recipe.writer.teacher)
    jobs = [job for part in parts for job in part.jobs]
    with (
        Store(study.home / STORE_FILE) as store,
        open_serving(study, store, [teacher], "solution", {teacher.model: [writer.sampling]}) as session,
        Grader(grading.timeout_seconds, grading.workers, grading.fallback) as grader,
    ):
        asking = _Asking(study, writer, session, teacher)
        asking.look(jobs)
        fit = SolutionFit(study, asking.tokens)
        for attempt in range(writer.attempts):
            waiting = {job.name: job for job in jobs if not job.kept}
            if not waiting:
                break
            if attempt:
                say(f"solution: retrying {len(waiting)} of {len(jobs)} ({attempt + 1} of {writer.attempts})")
            with Progress("solutions", len(waiting), "solutions") as progress:
                session.ensure(
                    asking.requests(waiting.values(), attempt),
                    lambda _, tokens: progress.add(tokens=tokens, stored=not tokens),
                )
            correct = _correct(grader, _ended(asking, waiting, attempt))
            for group in batches(correct, lambda item: len(item.text)):
                found = fit.reasons([asking.written(item) for item in group])
                for item, reason in zip(group, found, strict=True):
                    item.job.settle(item.answer, reason)
        accounts = [_account(part) for part in parts]
        _refuse_none(accounts, teacher.model)
        for part in parts:
            write_rows(study.solutions_path(part.set_name, part.strategy), _rows(asking, part))
    tokens = {teacher.name: sum(job.tokens for job in jobs)}
    return cost_rows(session, {teacher.name: "solutions"}, tokens), accounts


class _Asking:
    """The requests to the teacher, each the train query itself in the teacher's frame, and their responses."""

    def __init__(self, study: Study, writer: SolutionWriter, session: Session, teacher: Checkpoint) -> None:
        self._study, self._session, self._teacher = study, session, teacher
        self._sampling = request_sampling(study.recipe, writer.sampling, teacher.model)
        self._marks = study.recipe.models[teacher.model].thinking
        self._templates: dict[str, str] = {}
        model = session.models[teacher.name], study.recipe.models[teacher.model]
        fetch = study.recipe.engine.kind in OURS
        self.tokens = model_control_tokens([model], study.recipe.prompt, fetch=fetch)

    def look(self, jobs: Iterable[_Job]) -> None:
        """Refuse control tokens of the teacher in its requests, before it is started."""
        control = ControlTokens(self.tokens)
        for job in jobs:
            turns = self.turns(job, self._teacher.model)
            told = [(f"the {turn['role']} turn to the teacher", turn["content"]) for turn in turns]
            control.look(f"data/problems/{job.set_name}.jsonl", f"problem_id `{job.problem.problem_id}`", told)
        control.refuse()

    def turns(self, job: _Job, model: str) -> list[dict[str, str]]:
        """The query of a problem for a model."""
        recipe = self._study.recipe
        strategy = recipe.strategies[job.strategy]
        path = strategy.template
        if path not in self._templates:
            self._templates[path] = read_template(self._study.template_path(path))
        turns = query_messages(strategy, self._templates[path], recipe.prompt.of(model), job.problem, job.personas)
        return [{"role": turn.role, "content": turn.content} for turn in turns]

    def written(self, candidate: _Candidate) -> NewSolution:
        job = candidate.job
        return NewSolution(candidate.text, (job.set_name, job.strategy), partial(self.turns, job))

    def requests(self, jobs: Iterable[_Job], attempt: int | None = None) -> Iterator[Request]:
        """A request of each job; without an attempt the last one, whose solution is kept."""
        for job in jobs:
            number = len(job.verdicts) - 1 if attempt is None else attempt
            parts = (job.set_name, job.problem.problem_id, job.strategy, number)
            yield Request(
                request_id=job.name,
                messages=self.turns(job, self._teacher.model),
                sampling=self._sampling,
                seed=derive_seed(self._study.recipe.seed, "solution", *parts),
                sample_index=number,
                model=self._teacher.name,
            )

    def responses(self, jobs: Iterable[_Job], attempt: int | None = None) -> Iterator[tuple[str, str, Completion]]:
        """(name of the job, store key, response) of each, as `requests`."""
        for request, key, completion in self._session.read(self.requests(jobs, attempt)):
            yield request.request_id, key, completion

    def solution(self, completion: Completion) -> str:
        """A response that ended by itself as a solution; empty if it has none."""
        return solution_text(completion.text, completion.thinking, self._marks) or ""


def _ended(asking: _Asking, waiting: Mapping[str, _Job], attempt: int) -> Iterator[_Candidate]:
    """The responses that are solutions; the attempts of all others get their verdicts."""
    for name, key, completion in asking.responses(waiting.values(), attempt):
        job = waiting[name]
        job.keys.append(key)
        job.tokens += completion.completion_tokens
        if completion.finish_reason != "stop":
            job.verdicts.append("cut" if completion.finish_reason == "length" else "failed")
        elif text := asking.solution(completion):
            yield _Candidate(job, text)
        else:
            job.verdicts.append("no_answer")


def _correct(grader: Grader, candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    """The correct ones, with their answers; the attempts of all others get their verdicts."""
    graded, asked = tee(candidates)
    for candidate, verdict in zip(graded, grader.grade(map(_item, asked)), strict=True):
        if verdict.verdict == "correct":
            yield replace(candidate, answer=verdict.answer)
        else:
            candidate.job.verdicts.append(verdict.verdict)


def _item(candidate: _Candidate) -> Item:
    """A solution as the grader reads it, with the reference of its problem."""
    problem = candidate.job.problem
    return Item(
        query_id=candidate.job.name,
        sample_index=0,
        text=candidate.text,
        reference=problem.reference or "",
        kind="math",
        thinking=SOLUTION_MARKS,
        question=problem.text,
    )


def _account(part: _Part) -> dict[str, Any]:
    jobs = {job.problem.problem_id: job for job in part.jobs}
    tried = [(item.problem_id, job.verdicts if (job := jobs.get(item.problem_id)) else []) for item in part.problems]
    unfit = Counter(reason for job in part.jobs for reason in job.unfit)
    return solution_summary(part.set_name, part.strategy, tried, unfit, sum(job.tokens for job in part.jobs))


def _refuse_none(accounts: Iterable[Mapping[str, Any]], teacher: str) -> None:
    """An error for each dataset and strategy without any solution to train on: most likely nothing will help but this.

    Raises:
        FaultsError: naming the verdicts.
    """
    faults = []
    for item in accounts:
        if item["kept"] or not item["attempts"]:
            continue
        told = ", ".join(f"{count} {name}" for name, count in item["verdicts"].items())
        told += "".join(f"; {count} unfit since {UNFIT[name]}" for name, count in item["unfit"].items())
        faults.append(
            Fault(
                f"data/solutions/{item['set']}/{item['strategy']}.jsonl",
                f"none of {item['attempts']} responses of `{teacher}` is a solution to keep: {told}",
                "change `writer.solutions`: another `model`, more `max_tokens` if they are cut, more `attempts`",
            )
        )
    if faults:
        raise FaultsError(faults)


def _rows(asking: _Asking, part: _Part) -> Iterator[Solution]:
    """The rows in the order of the problems; the texts that are kept come from the store again, one at a time."""
    jobs = {job.problem.problem_id: job for job in part.jobs}
    responses = asking.responses(job for job in part.jobs if job.kept)
    for problem in part.problems:
        job = jobs.get(problem.problem_id)
        text, key = "", None
        if job is not None and job.kept:
            _, key, completion = next(responses)
            text = asking.solution(completion)
        yield Solution(
            problem_id=problem.problem_id,
            strategy=part.strategy,
            text=text,
            answer=None if job is None else job.answer,
            verdicts=[] if job is None else job.verdicts,
            request_key=key,
            rejected_keys=[] if job is None else [other for other in dict.fromkeys(job.keys) if other != key],
            grader_version=GRADER_VERSION,
        )


def _trained(study: Study, trained: Mapping[str, Sequence[str]], parts: Sequence[_Part]) -> list[dict[str, Any]]:
    """What each train strategy of a dataset lost, where solutions of the dataset are regenerated."""
    out = []
    for name, names in trained.items():
        own = [part for part in parts if part.set_name == name]
        lost = {part.strategy: {job.problem.problem_id for job in part.jobs if not job.kept} for part in own}
        if own:
            ids = [problem.problem_id for problem in study.problems(name)]
            out += trained_summary(study.recipe.strategies, name, names, ids, lost, study.recipe.seed)
    return out
