"""Stage `generate`: checkpoints, base and test queries -> `data/responses/CHECKPOINT/BENCHMARK/STRATEGY.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from its.engines.protocol import Completion, Request
from its.engines.session import Session
from its.home import STORE_FILE
from its.parity import COMPARED, PromptCheck
from its.progress import Progress, say
from its.recipe.schema import Sampling
from its.rows import count_lines, read_json, read_rows, row_file, write_json
from its.seeds import derive_seeds
from its.shown import counted
from its.store import Store
from its.study.days import Days, days_generated, span
from its.study.serving import OURS, control_tokens, cost_rows, open_serving, request_sampling
from its.study.study import Cell, Checkpoint, Study
from its.thinking import Cut, cut_thinking, thinking_tokens
from its.types import Query, Response


def run(study: Study) -> str:
    """Sample n responses to each test query from each checkpoint; stored responses are not generated again.

    Two passes over the queries, both streamed: the first has what is missing generated, the second writes the rows.
    """
    checkpoints = study.checkpoints()
    cells = study.cells()
    wanted = _count(study, cells)  # first: without queries, no model needs to be prepared
    of = study.recipe.generation.of
    measured = dict.fromkeys((checkpoint.model, benchmark) for checkpoint, benchmark, _ in cells)
    sampled: dict[str, list[Sampling]] = {}
    for model, benchmark in measured:
        sampled.setdefault(model, []).append(of(model, benchmark))
    with (
        Store(study.home / STORE_FILE) as store,
        open_serving(study, store, checkpoints, "generate", sampled) as session,
    ):
        prompts = _prompts(study, session, checkpoints, cells)
        session.check = prompts.check
        _ask(study, session, cells, wanted)
        tokens, broken, total = Counter[str](), Counter[str](), 0
        days: dict[str, list[Days | None]] = {checkpoint.name: [] for checkpoint in checkpoints}
        for cell in cells:
            written = _write_cell(study, session, prompts, cell, store)
            tokens[cell[0].name] += written.tokens
            days[cell[0].name].append(written.days)
            broken.update(written.broken)
            total += written.responses
        write_json(study.sessions_path(), _sessions(session, store, prompts.account()))
    whats = {checkpoint.name: f"generate {checkpoint.name}" for checkpoint in checkpoints}
    write_json(
        study.results("cost", "generate.json"),
        cost_rows(session, whats, tokens, {name: span(of) for name, of in days.items()}),
    )
    asked = sum(counts.generated for counts in session.counts.values())
    return (
        f"data/responses: {counted(total, 'response')} of {len(checkpoints)} checkpoints "
        f"({asked} generated, {total - asked} from the store){_broken(broken)}; {_compared(prompts.account())}"
    )


def _broken(counts: Mapping[str, int]) -> str:
    """Responses that ended neither by themselves nor at `max_tokens`, by the engine's reason: refused, too_long, ..."""
    if not counts:
        return ""
    shown = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"; {sum(counts.values())} have finish_reason error ({shown}), see `its store gc --refused`"


def _prompts(study: Study, session: Session, checkpoints: list[Checkpoint], cells: list[Cell]) -> PromptCheck:
    """The check that every prompt is as in training, by the parity proofs of the trained checkpoints."""
    probes: dict[str, list[dict[str, Any]]] = {}
    for checkpoint in checkpoints:
        path = study.model_path(checkpoint) / "its_parity.json"
        if checkpoint.train is not None and path.is_file():
            found = read_json(path).get("probes", [])
            probes.setdefault(checkpoint.name, []).extend(found)
            # Base is compared with trained checkpoints, so it must receive the same prompts.
            probes.setdefault(Checkpoint(checkpoint.model).name, []).extend(found)
    prompts = PromptCheck(session.models.values(), probes, fetch=study.recipe.engine.kind in OURS)
    control = control_tokens(study, session, checkpoints)
    named: dict[tuple[str, str], dict[str, list[str]]] = {}
    for checkpoint, benchmark, strategy in cells:
        named.setdefault((benchmark, strategy), {}).setdefault(checkpoint.model, []).append(checkpoint.name)
    for benchmark, strategy in study.pairs("test"):
        asking = named[benchmark, strategy]
        path = study.queries_path("test", benchmark, strategy).relative_to(study.project)
        # By model: a frame of one model may have a turn that the template of another refuses.
        chats: dict[str, list[list[dict[str, str]]]] = {model: [] for model in asking}
        for line, query in enumerate(_queries(study, benchmark, strategy), 1):
            for model in asking:
                chats[model].append(query.turns(model))
                turns = [(f"the {turn['role']} turn", turn["content"]) for turn in chats[model][-1]]
                if model == next(iter(asking)) or query.by_model:
                    control.look(f"{path}:{line}", f"`{query.query_id}`", turns)
        for model, own in chats.items():
            prompts.learn(own, asking[model])
    control.refuse()
    return prompts


def _compared(account: Mapping[str, str]) -> str:
    """For how many checkpoints the prompts were compared with training, and why not for the others."""
    good = sum(told == COMPARED for told in account.values())
    others = sorted({told for told in account.values() if told != COMPARED})
    return "; ".join([f"prompt ids equal to training: {good} of {len(account)} checkpoints", *others])


def _count(study: Study, cells: list[Cell]) -> int:
    """The number of responses of the cells; n may differ between models and benchmarks."""
    lines: dict[tuple[str, str], int] = {}
    for _, benchmark, strategy in cells:
        if (benchmark, strategy) not in lines:
            lines[benchmark, strategy] = count_lines(study.queries_path("test", benchmark, strategy))
    n_of = study.recipe.generation.of
    return sum(n_of(item.model, benchmark).n * lines[benchmark, strategy] for item, benchmark, strategy in cells)


def _ask(study: Study, session: Session, cells: list[Cell], wanted: int) -> None:
    by_engine = sorted(cells, key=lambda cell: session.engine_index(cell[0].name))
    with Progress("generate", wanted, "responses") as progress:

        def finished(request: Request, tokens: int) -> None:
            progress.add(tokens=tokens, note=request.model, stored=not tokens)

        session.ensure((request for cell in by_engine for request in _requests(study, *cell)), finished)


def _requests(study: Study, checkpoint: Checkpoint, benchmark: str, strategy: str) -> Iterator[Request]:
    recipe = study.recipe
    generation = recipe.generation.of(checkpoint.model, benchmark)
    sampling = request_sampling(recipe, generation, checkpoint.model)
    for query in _queries(study, benchmark, strategy):
        yield from query_requests(study, checkpoint, query, generation.n, sampling)


def query_requests(
    study: Study, checkpoint: Checkpoint, query: Query, n: int, sampling: dict[str, Any]
) -> Iterator[Request]:
    """The n requests of a query to a checkpoint, each with its seed.

    Args:
        sampling: from `request_sampling`.
    """
    messages = query.turns(checkpoint.model)
    for index, seed in enumerate(response_seeds(study, query, n)):
        yield Request(
            request_id=f"{checkpoint.name}/{query.query_id}/{index}",
            messages=messages,
            sampling=sampling,
            seed=seed,
            sample_index=index,
            model=checkpoint.name,
        )


def response_seeds(study: Study, query: Query, n: int) -> Iterator[int]:
    """The seeds of the n responses to a query."""
    # Under a mix the seed is the member's: where that is a test strategy too, it is one request.
    return derive_seeds(study.recipe.seed, "response", query.problem_id, query.member or query.strategy, count=n)


def _queries(study: Study, benchmark: str, strategy: str) -> Iterator[Query]:
    return read_rows(study.queries_path("test", benchmark, strategy), Query, key=lambda row: row.query_id)


@dataclass(frozen=True)
class _Written:
    """The counts of a cell's responses.

    Args:
        broken: by the engine's reason, those with finish_reason `error`.
        days: on which the first and the last one were generated, if that is known.
    """

    responses: int
    tokens: int
    broken: Counter[str]
    days: Days | None


def _write_cell(study: Study, session: Session, prompts: PromptCheck, cell: Cell, store: Store) -> _Written:
    checkpoint, benchmark, strategy = cell
    thinking = study.recipe.models[checkpoint.model].thinking
    responses = tokens = began = 0
    keys: list[str] = []
    broken: Counter[str] = Counter()
    with row_file(study.responses_path(*cell)) as write:
        for request, key, completion in session.read(_requests(study, *cell)):
            prompts.count(request, completion)
            query_id = request.request_id.removeprefix(f"{checkpoint.name}/").rsplit("/", 1)[0]
            cut = cut_thinking(completion.text, thinking, completion.finish_reason == "length", completion.thinking)
            row = _response(request, query_id, key, completion, cut)
            write(row)
            keys.append(key)
            responses += 1
            tokens += completion.completion_tokens
            began += cut.began_within and completion.thinking is None
            if row.finish_reason == "error":
                broken[completion.finish_reason] += 1
        if thinking is not None and thinking.opened_by != "prompt" and began:
            say(
                f"{checkpoint.name}/{benchmark}/{strategy}: {counted(began, 'response ends', 'responses end')} "
                "a thought that they did not begin. "
                f"Set `models.{checkpoint.model}.thinking.opened_by: prompt`: otherwise a response that never ends its "
                f"thought and was not cut counts as an answer"
            )
        prompts.refuse()  # before the file appears
    return _Written(responses, tokens, broken, days_generated(store, keys))


def _response(request: Request, query_id: str, key: str, completion: Completion, cut: Cut) -> Response:
    apart = completion.thinking is not None
    return Response(
        query_id=query_id,
        sample_index=request.sample_index,
        text=cut.answer,
        thinking=cut.thinking,
        finish_reason="stop"
        if completion.finish_reason == "stop"
        else "length"
        if completion.finish_reason == "length"
        else "error",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        thinking_tokens=thinking_tokens(cut, completion.completion_tokens, completion.thinking_tokens, apart),
        seed=request.seed,
        request_key=key,
    )


def _sessions(session: Session, store: Store, prompts: Mapping[str, str]) -> dict[str, Any]:
    """The engine settings of each checkpoint's responses: `measure` flags comparisons between different ones."""
    known = {info.sha256: info for info in store.sessions()}
    out = {}
    for name, sha256 in session.sessions.items():
        info = known[sha256]
        out[name] = {
            "session": sha256,
            **info.identity,
            "build": info.about.get("build"),
            "dtype": info.about.get("dtype"),
            "prompt_ids": prompts[name],
        }
    return out
