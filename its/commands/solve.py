"""Solve one problem as the study's cells do: persona, query, n responses, and the answer that most of them agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from its.commands.solve_pair import Member
from its.commands.solve_problem import Given
from its.engines.protocol import Completion, Request
from its.engines.session import Session
from its.errors import DataError, RunError
from its.grading.classes import Answer, answer_classes, answer_of
from its.home import STORE_FILE
from its.parity import PromptCheck
from its.progress import Progress
from its.prompts.render import read_template
from its.recipe.schema.study import Generation
from its.rows import read_json
from its.shown import counted
from its.stages.generate import query_requests
from its.stages.grade import open_grader
from its.stages.persona import write_several
from its.store import Store
from its.strategies.controls import control_rows, with_sources
from its.strategies.members import members_of
from its.strategies.persona import fixed_text, has_persona
from its.strategies.query import query_messages
from its.study.serving import OURS, control_tokens, engine_model, open_serving, request_sampling
from its.study.study import Study, join_query_id
from its.thinking import cut_thinking
from its.types import Persona, Query

UNUSABLE = frozenset({"empty", "refuses"})
"""Rules for personas: what breaks one of them is a failure of the writer."""


@dataclass(frozen=True)
class _Row:
    """A query of one member, with the personas in it."""

    member: Member
    personas: Sequence[Persona]
    query: Query
    notes: Sequence[str]


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
    settings = {member: _sampling(study, member, given.benchmark, n) for member in members}
    for name in dict.fromkeys(member.strategy for member in members):
        _refuse_unfit(study, given, name)
    if study.recipe.engine.kind != "replay":
        for checkpoint in dict.fromkeys(member.checkpoint for member in members if member.checkpoint.train is not None):
            engine_model(study, checkpoint)  # before the writer is started
    personas = _personas(study, given, members)
    rows = [_row(study, given, member, personas) for member in members]
    responses, counts = _responses(study, rows, settings)
    failed = Counter(item["finish_reason"] for item in responses if item["finish_reason"] not in ("stop", "length"))
    if failed.total() == len(responses):
        reasons = ", ".join(f"{count} {shown}" for shown, count in sorted(failed.items()))
        raise RunError(
            f"no response to the problem was generated ({reasons})",
            "`too_long`: the problem exceeds the context of the model; `its store gc --refused` removes such responses",
        )
    return _document(study, given, members, rows, responses, failed, counts)


def _sampling(study: Study, member: Member, benchmark: str, n: int | None) -> Generation:
    found = study.recipe.generation.of(member.checkpoint.model, benchmark)
    n = found.n if n is None else n
    if n > 1 and found.temperature == 0:
        raise DataError(
            f"`generation.temperature` is 0: {counted(n, 'response')} of `{member.name}` would be the same one",
            "`--n 1`, or a recipe that samples",
        )
    return found.model_copy(update={"n": n})


def _part(study: Study, given: Given, name: str) -> str:
    """The strategy whose persona and template the problem gets: that one, or the one that a mix draws."""
    return members_of(study.recipe.strategies, name, given.problem.problem_id, study.recipe.seed)[0]


def _refuse_unfit(study: Study, given: Given, name: str) -> None:
    declared = study.recipe.strategies
    if declared[name].union is not None:
        raise DataError(
            f"strategy `{name}` is a union, which gives a problem several queries",
            "one of its members, or a vote over them: `--ensemble NAME` of `vote.strategies`",
        )
    for item in with_sources([_part(study, given, name)], declared):
        if declared[item].shuffled is not None:
            raise DataError(
                f"strategy `{name}` takes the persona of another problem (`{item}` is shuffled): one problem alone "
                "cannot be solved with it",
                f"another strategy, for example `{declared[item].derived_from}`",
            )


def _personas(study: Study, given: Given, members: Sequence[Member]) -> dict[str, list[Persona]]:
    """The rows of personas of the problem, by strategy, as the persona stage writes them."""
    recipe, problem = study.recipe, given.problem
    parts = [_part(study, given, member.strategy) for member in members]
    names = with_sources(dict.fromkeys(parts), recipe.strategies)
    asked = [name for name in names if recipe.strategies[name].persona is not None and _has(study, given, name)]
    written = write_several(study, given.set_name, asked, [problem], "solve-persona") if asked else {}
    out: dict[str, list[Persona]] = {}
    for name in names:
        strategy = recipe.strategies[name]
        if strategy.derived_from is not None:
            source = {problem.problem_id: out[strategy.derived_from]}
            out[name] = control_rows(strategy, name, [problem], source, recipe.seed)
        elif strategy.fixed is not None and _has(study, given, name):
            text = fixed_text(strategy.fixed, name, problem.problem_id, recipe.seed)
            out[name] = [Persona(problem_id=problem.problem_id, strategy=name, text=text, attempts=0)]
        else:
            out[name] = [item.persona for item in written.get(name, [])]
    for name in written:
        _refuse_unusable(study, name, out[name])
    return out


def _has(study: Study, given: Given, name: str) -> bool:
    return has_persona(study.recipe.strategies[name], name, given.problem.problem_id, study.recipe.seed)


def _refuse_unusable(study: Study, name: str, rows: Sequence[Persona]) -> None:
    for row in rows:
        if UNUSABLE & set(row.flags):
            raise RunError(
                f"the writer `{study.recipe.writer.model}` wrote no usable persona of `{name}` for this problem in "
                f"{counted(row.attempts, 'attempt')} (broken rules: {_code(row.flags)})",
                f"see `its strategy preview {name} --engine --problem TEXT`, or choose another `--strategy`",
            )


def _row(study: Study, given: Given, member: Member, personas: Mapping[str, Sequence[Persona]]) -> _Row:
    """The query of a member."""
    recipe, problem, part = study.recipe, given.problem, _part(study, given, member.strategy)
    strategy = recipe.strategies[part]
    own = [row for row in personas[part] if row.text]
    template = read_template(study.template_path(strategy.template))
    frame = recipe.prompt.of(member.checkpoint.model)
    query = Query(
        query_id=join_query_id(given.set_name, problem.problem_id, member.strategy),
        problem_id=problem.problem_id,
        strategy=member.strategy,
        messages=query_messages(strategy, template, frame, problem, [row.text for row in own]),
        member=part if part != member.strategy else None,
    )
    notes = [
        f"the persona of `{part}` breaks {', '.join(f'`{flag}`' for flag in row.flags)}" for row in own if row.flags
    ]
    if strategy.has_context and not own:
        notes.append(f"`{part}` gives this problem no persona: its `share`, or that of its source, leaves it out")
    return _Row(member, own, query, notes)


def _code(flags: Sequence[str]) -> str:
    return ", ".join(f"`{flag}`" for flag in flags)


def _responses(
    study: Study, rows: Sequence[_Row], settings: Mapping[Member, Generation]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The responses to all rows, in their order, and how many were generated."""
    checkpoints = list(dict.fromkeys(row.member.checkpoint for row in rows))
    sampled: dict[str, list[Any]] = {}
    for member, generation in settings.items():
        sampled.setdefault(member.checkpoint.model, []).append(generation)
    requests: list[tuple[int, Request]] = []
    for place, row in enumerate(rows):
        generation = settings[row.member]
        sampling = request_sampling(study.recipe, generation, row.member.checkpoint.model)
        own = query_requests(study, row.member.checkpoint, row.query, generation.n, sampling)
        requests += [(place, request) for request in own]
    with Store(study.home / STORE_FILE) as store, open_serving(study, store, checkpoints, "solve", sampled) as session:
        prompts = _prompts(study, session, rows)
        ordered = sorted((request for _, request in requests), key=lambda item: session.engine_index(item.model))
        with Progress("solve", len(ordered), "responses") as progress:
            session.ensure(ordered, lambda _, tokens: progress.add(tokens=tokens, stored=not tokens))
        read = list(session.read(request for _, request in requests))
        for request, _, completion in read:
            prompts.count(request, completion)
        prompts.refuse()
        generated = sum(counts.generated for counts in session.counts.values())
    found = [_response(study, rows[place], place, *item) for (place, _), item in zip(requests, read, strict=True)]
    return found, {"generated": generated, "from_store": len(found) - generated}


def _prompts(study: Study, session: Session, rows: Sequence[_Row]) -> PromptCheck:
    """The check that prompts are as in training, as in stage `generate`; control tokens in them are refused."""
    probes = {}
    for checkpoint in dict.fromkeys(row.member.checkpoint for row in rows):
        path = study.model_path(checkpoint) / "its_parity.json"
        if checkpoint.train is not None and path.is_file():
            probes[checkpoint.name] = read_json(path).get("probes", [])
    control = control_tokens(study, session, [row.member.checkpoint for row in rows])
    prompts = PromptCheck(session.models.values(), probes, fetch=study.recipe.engine.kind in OURS)
    session.check = prompts.check
    for row in rows:
        turns = row.query.turns(row.member.checkpoint.model)
        named = [(f"the {turn['role']} turn", turn["content"]) for turn in turns]
        control.look("the problem", f"`{row.query.query_id}`", named)
    control.refuse()
    for row in rows:
        prompts.learn([row.query.turns(row.member.checkpoint.model)], [row.member.checkpoint.name])
    return prompts


def _response(
    study: Study, row: _Row, place: int, request: Request, key: str, completion: Completion
) -> dict[str, Any]:
    marks = study.recipe.models[row.member.checkpoint.model].thinking
    cut = cut_thinking(completion.text, marks, completion.finish_reason == "length", completion.thinking)
    return {
        "row": place,
        "sample_index": request.sample_index,
        "text": cut.answer,
        "thinking": cut.thinking,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "request_key": key,
    }


def _document(
    study: Study,
    given: Given,
    members: Sequence[Member],
    rows: Sequence[_Row],
    responses: Sequence[dict[str, Any]],
    failed: Counter[str],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    kind = study.recipe.benchmarks[given.benchmark].answer
    answers: list[Answer | None] = []
    for item in responses:
        marks = study.recipe.models[rows[item["row"]].member.checkpoint.model].thinking
        answers.append(
            answer_of(
                item["text"],
                kind,
                thinking=marks if item["thinking"] is None else None,  # as stage `grade` reads a response
                cut_short=item["finish_reason"] == "length",
                fallback=study.recipe.grading.fallback,
                question=given.problem.text,
            )
        )
    with open_grader(study) as grader:
        found = answer_classes(answers, kind, grader)
    first = found.classes[0] if found.classes else None
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    if failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items()))
        notes.append(f"{counted(failed.total(), 'response')} failed ({reasons})")
    if found.undecided:
        notes.append(f"the grader could not decide {counted(found.undecided, 'comparison')} of answers")
    if found.uncompared:
        notes.append(f"{counted(found.uncompared, 'answer')} with the fewest votes compared as text")
    for_rows: list[list[dict[str, Any]]] = [[] for _ in rows]
    for item, answer in zip(responses, answers, strict=True):
        shown = {name: value for name, value in item.items() if name != "row"}
        for_rows[item["row"]].append({**shown, "answer": None if answer is None else answer.text})
    return {
        "problem": {"set": given.known_in, "problem_id": given.problem.problem_id, "text": given.problem.text},
        "benchmark": given.benchmark,
        "kind": kind,
        "members": [{"checkpoint": member.checkpoint.name, "strategy": member.strategy} for member in members],
        "answer": None if first is None else first.text,
        "votes": 0 if first is None else first.votes,
        "responses": len(responses),
        "share": 0.0 if first is None else first.votes / len(responses),
        "tied": [item.text for item in found.classes[1:] if first is not None and item.votes == first.votes],
        "answers": [asdict(item) for item in found.classes],
        "no_answer": found.blank,
        **counts,
        "tokens": {name: sum(item[name] for item in responses) for name in ("prompt_tokens", "completion_tokens")},
        "notes": notes,
        "rows": [
            {
                "checkpoint": row.member.checkpoint.name,
                "strategy": row.query.member or row.member.strategy,
                "query_id": row.query.query_id,
                "personas": [persona.text for persona in row.personas],
                "query": [turn.model_dump() for turn in row.query.messages],
                "responses": own,
            }
            for row, own in zip(rows, for_rows, strict=True)
        ],
    }
