"""Solve one problem as the study's cells do: persona, query, n responses, and the answer that most of them agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from its.commands.solve_pair import Member
from its.commands.solve_problem import Given
from its.commands.solving import Batch, Row, member_sampling, solved_document, solving
from its.control_tokens import ControlTokens
from its.engines.session import Session
from its.engines.steps import Answer, run_steps
from its.home import STORE_FILE
from its.parity import PromptCheck
from its.progress import Progress, say
from its.recipe.schema import Sampling
from its.recipe.schema.study import Generation
from its.rows import read_json
from its.stages.grade import open_grader
from its.store import Store
from its.study.serving import OURS, control_tokens, engine_model, open_serving
from its.study.study import Checkpoint, Study


def solve(study: Study, given: Given, members: Sequence[Member], n: int | None) -> dict[str, Any]:
    """The answer, its votes, and every persona, query and response behind it, as one document.

    A problem of a benchmark has the personas, prompts and seeds of the study: what is in the store is not generated
    again. The reference, where there is one, is used as in the persona stage (rules for personas) and nowhere else.

    Args:
        n: responses to each query of each member. None: as in the recipe.

    Raises:
        DataError: if n or a strategy cannot be used here.
        MissingError: if a checkpoint is not trained, or an engine is not installed.
        RunError: if the writer writes no persona, the engine fails, or no response was generated.
    """
    settings = {member: member_sampling(study, member, given.benchmark, n) for member in members}
    if study.recipe.engine.kind != "replay":
        for checkpoint in dict.fromkeys(member.checkpoint for member in members if member.checkpoint.train is not None):
            engine_model(study, checkpoint)  # before the writer is started
    with ExitStack() as stack:
        sessions = _Sessions(study, settings, stack)
        solved = run_steps(solving(study, given, settings, sessions), sessions.ask)
    generated = sessions.generated
    counts = {"generated": generated, "from_store": len(solved.responses) - generated}
    with open_grader(study) as grader:
        return solved_document(study, solved, grader, counts)


class _Sessions:
    """The writer's session, then that of the checkpoints; one is open at a time, until the end of `stack`."""

    def __init__(self, study: Study, settings: Mapping[Member, Generation], stack: ExitStack) -> None:
        self._study, self._settings, self._stack = study, settings, stack
        self._session: Session
        self._prompts: PromptCheck
        self._attempts = self.generated = 0

    def writer_control(self) -> ControlTokens:
        recipe = self._study.recipe
        writer = Checkpoint(recipe.writer.model)
        self._open([writer], "solve-persona", {writer.model: [recipe.writer.sampling]})
        return control_tokens(self._study, self._session, [writer])

    def rows(self, rows: Sequence[Row]) -> None:
        sampled: dict[str, list[Sampling]] = {}
        for member, generation in self._settings.items():
            sampled.setdefault(member.checkpoint.model, []).append(generation)
        checkpoints = list(dict.fromkeys(row.member.checkpoint for row in rows))
        self._stack.close()  # the writer's engine, before another one starts
        self._open(checkpoints, "solve", sampled)
        self._prompts = prompt_check(self._study, self._session, checkpoints)
        self._session.check = self._prompts.check
        control = control_tokens(self._study, self._session, checkpoints)
        refuse_control(rows, control)
        for row in rows:
            self._prompts.learn([row.query.turns(row.member.checkpoint.model)], [row.member.checkpoint.name])

    def ask(self, batch: Batch) -> Iterable[Answer]:
        session, requests = self._session, batch.requests
        if batch.what == "personas":
            self._attempts += 1
            if self._attempts > 1:
                say(f"persona: attempt {self._attempts} of {self._study.recipe.writer.attempts}")
            with Progress("personas", len(requests), "personas") as progress:
                session.ensure(requests, lambda _, tokens: progress.add(tokens=tokens, stored=not tokens))
            return session.read(requests)
        ordered = sorted(requests, key=lambda item: session.engine_index(item.model))
        with Progress("solve", len(ordered), "responses") as progress:
            session.ensure(ordered, lambda _, tokens: progress.add(tokens=tokens, stored=not tokens))
        return self._counted(requests)

    def _counted(self, requests: Sequence[Any]) -> Iterator[Answer]:
        read = list(self._session.read(requests))
        for request, _, completion in read:
            self._prompts.count(request, completion)
        self._prompts.refuse()
        self.generated = sum(counts.generated for counts in self._session.counts.values())
        yield from read

    def _open(self, checkpoints: Sequence[Checkpoint], log: str, sampled: Mapping[str, Sequence[Sampling]]) -> None:
        store = self._stack.enter_context(Store(self._study.home / STORE_FILE))
        self._session = self._stack.enter_context(open_serving(self._study, store, checkpoints, log, sampled))


def prompt_check(study: Study, session: Session, checkpoints: Sequence[Checkpoint]) -> PromptCheck:
    """The check that prompts are as in training, as in stage `generate`."""
    probes = {}
    for checkpoint in checkpoints:
        path = study.model_path(checkpoint) / "its_parity.json"
        if checkpoint.train is not None and path.is_file():
            probes[checkpoint.name] = read_json(path).get("probes", [])
    return PromptCheck(session.models.values(), probes, fetch=study.recipe.engine.kind in OURS)


def refuse_control(rows: Sequence[Row], control: ControlTokens) -> None:
    """Refuse control tokens in queries.

    Raises:
        FaultsError: naming them.
    """
    for row in rows:
        turns = row.query.turns(row.member.checkpoint.model)
        named = [(f"the {turn['role']} turn", turn["content"]) for turn in turns]
        control.look("the problem", f"`{row.query.query_id}`", named)
    control.refuse()
