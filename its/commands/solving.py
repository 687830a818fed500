"""The steps from a problem to the responses of the study's cells, whoever requests them, and the vote over these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from its.commands.solve_pair import Member
from its.commands.solve_problem import Given
from its.control_tokens import ControlTokens
from its.engines.protocol import Completion, Request
from its.engines.steps import Steps
from its.errors import DataError, RunError
from its.grading.classes import Answer, answer_classes, answer_of
from its.grading.grade import Grader
from its.prompts.render import read_template
from its.recipe.schema.study import Generation
from its.shown import counted
from its.stages.generate import query_requests, response_seeds
from its.stages.persona import Written, writing
from its.strategies.controls import control_rows, with_sources
from its.strategies.members import members_of
from its.strategies.persona import fixed_text, has_persona
from its.strategies.query import query_messages
from its.study.serving import request_sampling
from its.study.study import Study, join_query_id
from its.thinking import cut_thinking
from its.types import Persona, Query

UNUSABLE = frozenset({"empty", "refuses"})
"""Rules for personas: what breaks one of them is a failure of the writer."""
SEARCHED = 1024
"""Samples of a query among which a seed is looked up."""


@dataclass(frozen=True)
class Row:
    """A query of one member, with the personas in it."""

    member: Member
    personas: Sequence[Persona]
    query: Query
    notes: Sequence[str]


class Batch(NamedTuple):
    """The requests of one step: for personas, or for responses."""

    what: Literal["personas", "responses"]
    requests: list[Request]


class Checks(Protocol):
    """What is checked before something is requested."""

    def writer_control(self) -> ControlTokens:
        """Finds control tokens in requests to the writer."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Check queries before their models receive anything.

        Raises:
            ItsError: if one contains a control token; or if its chat template does not render it, which a server finds
                later, with the queries of other jobs.
        """


@dataclass(frozen=True)
class Solved:
    """The queries of a problem and the responses to them, each of which has the number of its `row`.

    Args:
        answers_N: what each response answers; None if it states nothing.
        writer: tokens of the writer, `prompt_tokens` and `completion_tokens`.
    """

    given: Given
    members: Sequence[Member]
    rows: Sequence[Row]
    responses: Sequence[dict[str, Any]]
    answers_N: Sequence[Answer | None]
    writer: Mapping[str, int]


def solving(
    study: Study,
    given: Given,
    settings: Mapping[Member, Generation],
    checks: Checks,
    seed: int | None = None,
) -> Steps[Batch, Solved]:
    """The steps of solving a problem: first the writer's, then one for all responses.

    Args:
        settings: the members, and how the responses of each are sampled.
        seed: of the first response, the next ones having the next seeds. The seed of one of the study's samples of the
            query stands for that sample, if one response is requested. None: the seeds of the study.

    Raises:
        DataError: if a strategy cannot be used here.
        RunError: if the writer writes no usable persona, or no response was generated.
    """
    members = list(settings)
    for name in dict.fromkeys(member.strategy for member in members):
        _refuse_unfit(study, given, name)
    personas, writer = yield from _personas(study, given, members, checks)
    rows = [_row(study, given, member, personas) for member in members]
    checks.rows(rows)
    requests = [
        (place, request)
        for place, row in enumerate(rows)
        for request in _requests(study, row, settings[row.member], seed)
    ]
    answers = yield Batch("responses", [request for _, request in requests])
    responses = [
        _response(study, rows[place], place, *item) for (place, _), item in zip(requests, answers, strict=True)
    ]
    _refuse_failed(responses)
    answers_N = [_answer(study, given, rows[item["row"]], item) for item in responses]
    return Solved(given, members, rows, responses, answers_N, writer)


def member_sampling(study: Study, member: Member, benchmark: str, n: int | None) -> Generation:
    """How the responses of a member are sampled; n None is that of the recipe.

    Raises:
        DataError: if that gives the same response several times.
    """
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


def _personas(
    study: Study, given: Given, members: Sequence[Member], checks: Checks
) -> Steps[Batch, tuple[dict[str, list[Persona]], Counter[str]]]:
    """The rows of personas of the problem, by strategy, as the persona stage writes them, and tokens of the writer."""
    recipe, problem = study.recipe, given.problem
    parts = [_part(study, given, member.strategy) for member in members]
    names = with_sources(dict.fromkeys(parts), recipe.strategies)
    asked = [name for name in names if recipe.strategies[name].persona is not None and _has(study, given, name)]
    written: dict[str, list[Written]] = {}
    tokens = Counter[str]()
    if asked:
        steps = writing(study, given.set_name, asked, [problem], checks.writer_control())
        written, tokens = yield from _as_batches(steps)
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
    return out, tokens


def _as_batches(
    steps: Steps[list[Request], dict[str, list[Written]]],
) -> Steps[Batch, tuple[dict[str, list[Written]], Counter[str]]]:
    """The steps of the writer as batches, and its tokens: `prompt_tokens` and `completion_tokens`."""
    tokens = Counter[str]()
    try:
        requests = next(steps)
        while True:
            answers = list((yield Batch("personas", requests)))
            for _, _, completion in answers:
                tokens.update(prompt_tokens=completion.prompt_tokens, completion_tokens=completion.completion_tokens)
            requests = steps.send(answers)
    except StopIteration as end:
        written: dict[str, list[Written]] = end.value
        return written, tokens


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


def _row(study: Study, given: Given, member: Member, personas: Mapping[str, Sequence[Persona]]) -> Row:
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
    return Row(member, own, query, notes)


def _code(flags: Sequence[str]) -> str:
    return ", ".join(f"`{flag}`" for flag in flags)


def _requests(study: Study, row: Row, generation: Generation, seed: int | None) -> list[Request]:
    sampling = request_sampling(study.recipe, generation, row.member.checkpoint.model)
    own = list(query_requests(study, row.member.checkpoint, row.query, generation.n, sampling))
    if seed is None or not generation.temperature:
        return own
    if len(own) == 1:
        seeds = response_seeds(study, row.query, SEARCHED)
        found = next((index for index, own_seed in enumerate(seeds) if own_seed == seed), None)
        if found is not None:
            return list(query_requests(study, row.member.checkpoint, row.query, found + 1, sampling))[-1:]
    return [replace(request, seed=(seed + request.sample_index) % 2**31) for request in own]


def _response(study: Study, row: Row, place: int, request: Request, key: str, completion: Completion) -> dict[str, Any]:
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


def _failed(responses: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter(item["finish_reason"] for item in responses if item["finish_reason"] not in ("stop", "length"))


def _refuse_failed(responses: Sequence[Mapping[str, Any]]) -> None:
    failed = _failed(responses)
    if failed.total() == len(responses):
        raise RunError(
            f"no response to the problem was generated ({_reasons(failed)})",
            "`too_long`: the problem exceeds the context of the model; `its store gc --refused` removes such responses",
        )


def _reasons(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items()))


def _answer(study: Study, given: Given, row: Row, response: Mapping[str, Any]) -> Answer | None:
    marks = study.recipe.models[row.member.checkpoint.model].thinking
    return answer_of(
        response["text"],
        study.recipe.benchmarks[given.benchmark].answer,
        thinking=marks if response["thinking"] is None else None,  # as stage `grade` reads a response
        cut_short=response["finish_reason"] == "length",
        fallback=study.recipe.grading.fallback,
        question=given.problem.text,
    )


def solved_document(study: Study, solved: Solved, grader: Grader, counts: Mapping[str, int]) -> dict[str, Any]:
    """The vote over the responses, and all that it is about, as one document.

    Args:
        counts: `generated` and `from_store`.
    """
    given, rows, responses = solved.given, solved.rows, solved.responses
    kind = study.recipe.benchmarks[given.benchmark].answer
    found = answer_classes(solved.answers_N, kind, grader)
    failed = _failed(responses)
    first = found.classes[0] if found.classes else None
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    if failed:
        notes.append(f"{counted(failed.total(), 'response')} failed ({_reasons(failed)})")
    if found.undecided:
        notes.append(f"the grader could not decide {counted(found.undecided, 'comparison')} of answers")
    if found.uncompared:
        notes.append(f"{counted(found.uncompared, 'answer')} with the fewest votes compared as text")
    for_rows: list[list[dict[str, Any]]] = [[] for _ in rows]
    for item, answer in zip(responses, solved.answers_N, strict=True):
        shown = {name: value for name, value in item.items() if name != "row"}
        for_rows[item["row"]].append({**shown, "answer": None if answer is None else answer.text})
    return {
        "problem": {"set": given.known_in, "problem_id": given.problem.problem_id, "text": given.problem.text},
        "benchmark": given.benchmark,
        "kind": kind,
        "members": [{"checkpoint": member.checkpoint.name, "strategy": member.strategy} for member in solved.members],
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
