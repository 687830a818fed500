"""Stage `persona`: problems -> `data/personas/SET/STRATEGY.jsonl`, one engine session for all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from its.engines.protocol import Completion, Request
from its.progress import Progress, say
from its.recipe.schema import Strategy
from its.rows import write_json, write_rows
from its.seeds import derive_seed
from its.stages.study import Checkpoint, Study, cost_rows, load_study
from its.store import Store
from its.strategies.persona import (
    RULES,
    RULES_VERSION,
    best_attempt,
    draw_domain,
    has_persona,
    persona_flags,
    persona_messages,
    persona_text,
    truncate,
)
from its.types import Persona, Problem

EXAMPLES = 3


@dataclass
class _Job:
    """One persona in the making; `tries` are (text, broken rules, store key), in order."""

    set_name: str
    strategy_name: str
    strategy: Strategy
    problem: Problem
    domain: str | None
    tries: list[tuple[str, list[str], str]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return bool(self.tries) and not self.tries[-1][1]

    @property
    def name(self) -> str:
        return f"{self.set_name}/{self.problem.problem_id}/{self.strategy_name}"


def run() -> str:
    """Write every persona of the design; ask again what a rule finds bad, then keep the best and flag it."""
    study = load_study()
    recipe = study.recipe
    personas: dict[tuple[str, str], dict[str, Persona]] = {}
    jobs: list[_Job] = []
    for _, set_name, strategies in study.sets():
        problems = study.problems(set_name)
        for strategy_name in strategies:
            strategy = recipe.strategies[strategy_name]
            rows = personas.setdefault((set_name, strategy_name), {})
            for problem in problems:
                # Keeps the order of the problems; filled below where a persona is written.
                rows[problem.problem_id] = _without(problem, strategy_name, strategy)
                if has_persona(strategy, strategy_name, problem.problem_id, recipe.seed):
                    domain = draw_domain(strategy, strategy_name, problem.problem_id, recipe.seed)
                    jobs.append(_Job(set_name, strategy_name, strategy, problem, domain))
    cost = _write(study, jobs) if jobs else []
    for job in jobs:
        personas[(job.set_name, job.strategy_name)][job.problem.problem_id] = _chosen(job)
    summary = []
    for (set_name, strategy_name), rows in personas.items():
        write_rows(study.personas_path(set_name, strategy_name), rows.values())
        if recipe.strategies[strategy_name].persona is not None:
            summary.append(_summary(set_name, strategy_name, list(rows.values())))
    write_json(
        study.project / "data" / "personas" / "summary.json",
        {"rules_version": RULES_VERSION, "rules": RULES, "personas": summary},
    )
    write_json(study.results("cost", "persona.json"), cost)
    flagged = sum(sum(item["flags"].values()) for item in summary)
    return f"data/personas: {len(jobs)} personas written, {flagged} flags kept after {recipe.writer.attempts} attempts"


def _write(study: Study, jobs: list[_Job]) -> list[dict[str, Any]]:
    recipe = study.recipe
    writer = Checkpoint(recipe.writer.model)
    sampling = recipe.writer.sampling.model_dump()
    asked = {job.strategy.persona.template for job in jobs if job.strategy.persona is not None}
    templates = {path: study.template(path) for path in asked}
    tokens = 0
    with Store(study.home / "store.sqlite") as store, study.session(store, [writer], "persona") as session:
        for attempt in range(recipe.writer.attempts):
            waiting = {job.name: job for job in jobs if not job.settled}
            if not waiting:
                break
            if attempt:
                say(f"persona: asking {len(waiting)} of {len(jobs)} again ({attempt + 1} of {recipe.writer.attempts})")
            requests = [
                _request(recipe.seed, job, attempt, sampling, templates, writer.name) for job in waiting.values()
            ]
            with Progress("personas", len(requests), "personas") as progress:
                session.ensure(requests, partial(_count, progress))
            for request, key, completion in session.read(requests):
                _settle(waiting[request.request_id], key, completion)
                tokens += completion.completion_tokens
    return cost_rows(session, {writer.name: "personas"}, {writer.name: tokens})


def _count(progress: Progress, request: Request, tokens: int) -> None:
    progress.add(tokens=tokens, stored=not tokens)


def _request(
    seed: int, job: _Job, attempt: int, sampling: dict[str, Any], templates: dict[str, str], writer: str
) -> Request:
    asked = job.strategy.persona
    assert asked is not None
    return Request(
        request_id=job.name,
        messages=persona_messages(asked, templates[asked.template], job.problem, job.domain),
        sampling=sampling,
        seed=derive_seed(seed, "persona", job.set_name, job.problem.problem_id, job.strategy_name, attempt),
        sample_index=attempt,
        start=asked.start,
        model=writer,
    )


def _settle(job: _Job, key: str, completion: Completion) -> None:
    asked, limits = job.strategy.persona, job.strategy.limits
    assert asked is not None and limits is not None
    text = persona_text(asked.start, completion.text)
    job.tries.append((text, persona_flags(text, completion.finish_reason, limits, job.problem), key))


def _chosen(job: _Job) -> Persona:
    limits = job.strategy.limits
    assert limits is not None
    text, flags, key = job.tries[best_attempt([(text, flags) for text, flags, _ in job.tries])]
    if "overlong" in flags:
        text = truncate(text, limits.max_words)
    return Persona(
        problem_id=job.problem.problem_id,
        strategy=job.strategy_name,
        text=text,
        domain=job.domain,
        attempts=len(job.tries),
        flags=flags if text else sorted({*flags, "empty"}),
        request_key=key,
        rejected_keys=[other for _, _, other in job.tries if other != key],
    )


def _without(problem: Problem, name: str, strategy: Strategy) -> Persona:
    flags = ["not_in_share"] if strategy.persona is not None else []
    return Persona(problem_id=problem.problem_id, strategy=name, text="", attempts=0, flags=flags)


def _summary(set_name: str, strategy_name: str, rows: list[Persona]) -> dict[str, Any]:
    written = [row for row in rows if row.attempts]
    return {
        "set": set_name,
        "strategy": strategy_name,
        "personas": len(written),
        "asked": sum(row.attempts for row in written),
        "retried": sum(row.attempts > 1 for row in written),
        "flags": dict(Counter(flag for row in rows for flag in row.flags).most_common()),
        "distinct": len({row.text for row in written}),
        "examples": [row.text for row in written[:EXAMPLES]],
    }
