"""Stage `persona`: problems -> `data/personas/SET/STRATEGY.jsonl`, one engine session for all.

The strategies are those of the design, the members of its mixes and unions, and those that controls are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from its.control_tokens import ControlTokens
from its.engines.protocol import Completion, Request
from its.engines.steps import Answer, Steps, run_steps
from its.home import STORE_FILE
from its.progress import Progress, say
from its.prompts.render import read_template
from its.recipe.schema import PersonaRequest, Recipe, Strategy
from its.rows import write_json, write_rows
from its.seeds import derive_seed
from its.shown import counted
from its.store import Store
from its.strategies.controls import NOT_IN_MIX, NOT_IN_SHARE, REASONS, ROW_TOO_LONG, control_rows, with_sources
from its.strategies.members import problems_needed, realized
from its.strategies.persona import (
    best_attempt,
    draw_domain,
    fixed_text,
    has_persona,
    persona_answer,
    persona_indices,
    persona_messages,
    truncate,
)
from its.strategies.remedies import flagged_text, rule_remedies
from its.strategies.rules import RULES, RULES_VERSION, WORD_LETTERS, persona_flags
from its.strategies.similarity import SimilarityIndex
from its.strategies.summary import own_texts, persona_summary
from its.study.row_check import long_without_persona
from its.study.serving import control_tokens, cost_rows, open_serving, request_sampling
from its.study.study import Checkpoint, Study
from its.thinking import Marks
from its.types import Persona, Problem


@dataclass
class _Job:
    """One persona in the making; `tries` are (text, broken rules, store key), in order."""

    set_name: str
    strategy_name: str
    strategy: Strategy
    problem: Problem
    index: int | None
    domain: str | None
    tries: list[tuple[str, list[str], str]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return bool(self.tries) and not self.tries[-1][1]

    @property
    def asked(self) -> PersonaRequest:
        assert self.strategy.persona is not None
        return self.strategy.persona

    @property
    def name(self) -> str:
        name = f"{self.set_name}/{self.problem.problem_id}/{self.strategy_name}"
        return name if self.index is None else f"{name}/{self.index}"


@dataclass(frozen=True)
class Written:
    """A persona and the (text, broken rules) of each attempt."""

    persona: Persona
    tries: list[tuple[str, list[str]]]


@dataclass
class _Set:
    """The problems of a set, its strategies in the order of writing, and what was written so far."""

    name: str
    problems: list[Problem]
    strategies: list[str]
    needed: Mapping[str, Set[str]]
    """By strategy, the problems that some row of the design takes its persona for."""
    mixes: list[str]
    jobs: dict[str, list[_Job]] = field(default_factory=dict)
    rows: dict[str, list[Persona]] = field(default_factory=dict)
    left_out: Set[str] = frozenset()
    """The problem_ids that no model is trained on, since their rows are too long with any persona."""


def run(study: Study) -> str:
    """Write every persona of the design; retry one that breaks a rule, then keep the best attempt and flag it.

    Raises:
        FaultsError: before a model is asked, if rows are too long to train on whatever their persona is.
    """
    recipe = study.recipe
    too_long = long_without_persona(study)
    sets = [_set(study, name, strategies, too_long.get(name, set())) for _, name, strategies in study.sets()]
    for made in sets:
        made.jobs = {name: _jobs(study, made.name, name, _asked(study, made, name)) for name in made.strategies}
    jobs = [job for made in sets for several in made.jobs.values() for job in several]
    cost = _write(study, jobs, "persona") if jobs else []
    summary, mixes = [], []
    for made in sets:
        mixes += _mixes(study, made)
        index = SimilarityIndex({problem.problem_id: problem.text for problem in made.problems}, recipe.seed)
        for name in made.strategies:
            made.rows[name] = _rows(study, made, name)
            write_rows(study.personas_path(made.name, name), made.rows[name])
            if recipe.strategies[name].has_context:
                summary.append(_summary(study, made, name, index))
    write_json(
        study.project / "data" / "personas" / "summary.json",
        {
            "rules_version": RULES_VERSION,
            "rules": RULES,
            "reasons": {flag: why for flag, why in REASONS.items() if mixes or flag != NOT_IN_MIX},
            "personas": summary,
            **({"mixes": mixes} if mixes else {}),
        },
    )
    write_json(study.results("cost", "persona.json"), cost)
    flagged = sum(item["flagged"] for item in summary if item["asked"])
    attempts = f"{recipe.writer.attempts} attempts"
    text = f"data/personas: {counted(len(jobs), 'persona')} written, {flagged} kept with a flag after {attempts}"
    left_out = sum(len(made.left_out) for made in sets)
    if left_out:
        text += (
            f"; none for {left_out} {'problem' if left_out == 1 else 'problems'}, whose rows are too long without one"
        )
    broken = [_broken(recipe, item) for item in summary if item["asked"] and item["flagged"]]
    return "; ".join([text, *broken, *map(_told, mixes)])


def _broken(recipe: Recipe, item: dict[str, Any]) -> str:
    """The rules that the kept personas of one strategy break, how many break each, and what to change."""
    name = item["strategy"]
    return f"`{name}` of {item['set']}: {flagged_text(item, rule_remedies(recipe, name))}"


def _set(study: Study, name: str, strategies: Sequence[str], left_out: Set[str]) -> _Set:
    declared, problems = study.recipe.strategies, study.problems(name)
    ids = [problem.problem_id for problem in problems]
    return _Set(
        name,
        problems,
        with_sources(strategies, declared),  # before `problems_needed`, which would not end on a circle
        needed=problems_needed(declared, strategies, ids, study.recipe.seed),
        mixes=[item for item in strategies if declared[item].mix is not None],
        left_out=left_out,
    )


def _mixes(study: Study, made: _Set) -> list[dict[str, Any]]:
    """Each mix of a set: the share and the number of problems of each member, without those that are left out."""
    ids = [problem.problem_id for problem in made.problems if problem.problem_id not in made.left_out]
    out = []
    for name in made.mixes:
        mix = study.recipe.strategies[name].mix
        assert mix is not None
        counts = realized(study.recipe.strategies, name, ids, study.recipe.seed)
        out.append({"set": made.name, "strategy": name, "shares": dict(mix.shares), "problems": counts})
    return out


def _told(mix: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{member} {count}" for member, count in mix["problems"].items())
    return f"`{mix['strategy']}` of {mix['set']}: {counts} problems"


def write_personas(study: Study, set_name: str, name: str, problems: Sequence[Problem]) -> list[Written]:
    """Write some personas as the stage does, with its seeds and its store, regardless of `share`.

    Args:
        name: a strategy with `persona`.
    """
    return write_several(study, set_name, [name], problems, "preview")[name]


def write_several(
    study: Study, set_name: str, names: Sequence[str], problems: Sequence[Problem], log: str
) -> dict[str, list[Written]]:
    """The same for several strategies in one engine session; the log of the engine is called `log`."""
    jobs = {name: _jobs(study, set_name, name, problems) for name in names}
    _write(study, [job for several in jobs.values() for job in several], log)
    return _written(jobs)


def writing(
    study: Study, set_name: str, names: Sequence[str], problems: Sequence[Problem], control: ControlTokens
) -> Steps[list[Request], dict[str, list[Written]]]:
    """The same in steps: it yields the writer's requests and is sent each with its store key and its completion.

    Raises:
        FaultsError: if `control` finds control tokens in a request.
    """
    jobs = {name: _jobs(study, set_name, name, problems) for name in names}
    yield from _attempts(study, [job for several in jobs.values() for job in several], control)
    return _written(jobs)


def _written(jobs: Mapping[str, Sequence[_Job]]) -> dict[str, list[Written]]:
    return {
        name: [Written(_chosen(job), [(text, flags) for text, flags, _ in job.tries]) for job in several]
        for name, several in jobs.items()
    }


def _jobs(study: Study, set_name: str, name: str, problems: Sequence[Problem]) -> list[_Job]:
    strategy, seed = study.recipe.strategies[name], study.recipe.seed
    if strategy.persona is None:
        return []
    return [
        _Job(set_name, name, strategy, problem, index, draw_domain(strategy, name, problem.problem_id, seed, index))
        for problem in problems
        for index in persona_indices(strategy.persona)
    ]


def _asked(study: Study, made: _Set, name: str) -> list[Problem]:
    """The problems whose personas are requested: trained or tested with the strategy, and in its share."""
    strategy, seed = study.recipe.strategies[name], study.recipe.seed
    wanted = made.needed[name] - made.left_out
    return [
        problem
        for problem in made.problems
        if problem.problem_id in wanted and has_persona(strategy, name, problem.problem_id, seed)
    ]


def _rows(study: Study, made: _Set, name: str) -> list[Persona]:
    """The rows of one strategy in the order of the problems; those of its source exist already."""
    strategy = study.recipe.strategies[name]
    source = strategy.derived_from
    if source is not None:
        rows = control_rows(strategy, name, made.problems, _by_problem(made.rows[source]), study.recipe.seed)
        having = _by_problem([row for row in rows if row.problem_id in made.needed[name]])
    elif strategy.fixed is not None:
        having = {problem.problem_id: [_fixed(study, name, problem)] for problem in _asked(study, made, name)}
    else:
        having = _by_problem([_chosen(job) for job in made.jobs[name]])
    out: list[Persona] = []
    for problem in made.problems:
        flag = NOT_IN_SHARE if problem.problem_id in made.needed[name] else NOT_IN_MIX
        flag = ROW_TOO_LONG if problem.problem_id in made.left_out else flag
        flags = [flag] if strategy.has_context else []
        none = Persona(problem_id=problem.problem_id, strategy=name, text="", attempts=0, flags=flags)
        out += having.get(problem.problem_id, [none])
    return out


def _fixed(study: Study, name: str, problem: Problem) -> Persona:
    """The row of a text of the recipe; `limits`, if any, flag what breaks a rule."""
    strategy = study.recipe.strategies[name]
    assert strategy.fixed is not None
    text = fixed_text(strategy.fixed, name, problem.problem_id, study.recipe.seed)
    flags = persona_flags(text, "stop", strategy.limits, problem) if strategy.limits is not None else []
    return Persona(problem_id=problem.problem_id, strategy=name, text=text, attempts=0, flags=flags)


def _by_problem(rows: Sequence[Persona]) -> dict[str, list[Persona]]:
    out: dict[str, list[Persona]] = {}
    for row in rows:
        out.setdefault(row.problem_id, []).append(row)
    return out


def _summary(study: Study, made: _Set, name: str, index: SimilarityIndex) -> dict[str, Any]:
    tries = [[flags for _, flags, _ in job.tries] for job in made.jobs[name]]
    out = persona_summary(made.name, name, made.rows[name], tries, index)
    source = study.recipe.strategies[name].derived_from
    if source is not None:
        out |= {"source": source, "own_text": own_texts(made.rows[name], made.rows[source])}
    return out


def _write(study: Study, jobs: list[_Job], stage: str) -> list[dict[str, Any]]:
    writer, sampling = Checkpoint(study.recipe.writer.model), study.recipe.writer.sampling
    attempt = 0
    with (
        Store(study.home / STORE_FILE) as store,
        open_serving(study, store, [writer], stage, {writer.model: [sampling]}) as session,
    ):

        def ask(requests: list[Request]) -> Iterator[Answer]:
            nonlocal attempt
            attempt += 1
            if attempt > 1:
                say(f"persona: retrying {len(requests)} of {len(jobs)} ({attempt} of {study.recipe.writer.attempts})")
            with Progress("personas", len(requests), "personas") as progress:
                session.ensure(requests, lambda _, tokens: progress.add(tokens=tokens, stored=not tokens))
            return session.read(requests)

        tokens = run_steps(_attempts(study, jobs, control_tokens(study, session, [writer])), ask)
    return cost_rows(session, {writer.name: "personas"}, {writer.name: tokens})


def _attempts(study: Study, jobs: Sequence[_Job], control: ControlTokens) -> Steps[list[Request], int]:
    """Yields the requests of each attempt for the jobs that need one, and is sent their answers, which settle them.

    Returns:
        The completion tokens of all answers.
    """
    tokens = 0
    recipe = study.recipe
    writer = Checkpoint(recipe.writer.model)
    sampling = request_sampling(recipe, recipe.writer.sampling, writer.model)
    marks = recipe.models[writer.model].thinking
    templates = {path: read_template(study.template_path(path)) for path in {job.asked.template for job in jobs}}
    for attempt in range(recipe.writer.attempts):
        waiting = {job.name: job for job in jobs if not job.settled}
        if not waiting:
            break
        requests = [_request(recipe.seed, job, attempt, sampling, templates, writer.name) for job in waiting.values()]
        if not attempt:
            for request, job in zip(requests, waiting.values(), strict=True):
                turns = [(f"the {turn['role']} turn to the writer", turn["content"]) for turn in request.messages]
                control.look(f"data/problems/{job.set_name}.jsonl", f"problem_id `{job.problem.problem_id}`", turns)
            control.refuse()
        for request, key, completion in (yield requests):
            _settle(waiting[request.request_id], key, completion, marks)
            tokens += completion.completion_tokens
    return tokens


def _request(
    seed: int, job: _Job, attempt: int, sampling: dict[str, Any], templates: dict[str, str], writer: str
) -> Request:
    # Without a count the index is not part of the seed, so that strategies with one persona keep their stored ones.
    parts: list[str | int] = ["persona", job.set_name, job.problem.problem_id, job.strategy_name, attempt]
    return Request(
        request_id=job.name,
        messages=persona_messages(job.asked, templates[job.asked.template], job.problem, job.domain),
        sampling=sampling,
        seed=derive_seed(seed, *parts, *([] if job.index is None else [job.index])),
        sample_index=attempt,
        start=job.asked.start,
        model=writer,
    )


def _settle(job: _Job, key: str, completion: Completion, marks: Marks | None) -> None:
    limits = job.strategy.limits
    assert limits is not None
    cut_short = completion.finish_reason == "length"
    text = persona_answer(job.asked.start, completion.text, marks, cut_short, completion.thinking)
    flags = persona_flags(text, completion.finish_reason, limits, job.problem)
    if "overlong" in flags:  # no more than `truncate` reads: every attempt at every persona is kept in memory
        text = text[: WORD_LETTERS * limits.max_words]
    job.tries.append((text, flags, key))


def _chosen(job: _Job) -> Persona:
    limits = job.strategy.limits
    assert limits is not None
    text, flags, key = job.tries[best_attempt([(text, flags) for text, flags, _ in job.tries])]
    if "overlong" in flags:
        text = truncate(text, limits.max_words)
    return Persona(
        problem_id=job.problem.problem_id,
        strategy=job.strategy_name,
        index=job.index,
        text=text,
        domain=job.domain,
        attempts=len(job.tries),
        flags=flags if text else sorted({*flags, "empty"}),
        request_key=key,
        rejected_keys=[other for _, _, other in job.tries if other != key],
    )
