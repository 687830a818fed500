"""Stage `generate`: checkpoints, base and test queries -> `data/responses/CHECKPOINT/BENCHMARK/STRATEGY.jsonl`."""

from __future__ import annotations

from its.engines.protocol import Completion, Request
from its.progress import Progress, say
from its.recipe.schema import Thinking
from its.rows import read_rows, write_json, write_rows
from its.seeds import derive_seed
from its.stages.study import Checkpoint, Study, load_study, split_query_id
from its.store import Store
from its.types import Query, Response


def run() -> str:
    """Draw n responses for each test query from each checkpoint, in one engine session a checkpoint."""
    study = load_study()
    total, cost = 0, []
    with Store(study.home / "store.sqlite") as store:
        for checkpoint in study.checkpoints():
            count, spent = _generate(study, store, checkpoint)
            total += count
            cost.append(spent)
    write_json(study.results("cost", "generate.json"), cost)
    asked = sum(int(str(item["asked"])) for item in cost)
    return (
        f"data/responses: {total} responses of {len(cost)} checkpoints ({asked} asked, {total - asked} from the store)"
    )


def _generate(study: Study, store: Store, checkpoint: Checkpoint) -> tuple[int, dict[str, object]]:
    recipe = study.recipe
    sampling = recipe.generation.model_dump(exclude={"n"})
    thinking = recipe.models[checkpoint.model].thinking
    requests: list[Request] = []
    cells: dict[tuple[str, str], dict[str, Response | None]] = {}
    for benchmark in recipe.design.benchmarks:
        for strategy in recipe.design.test:
            cell = cells.setdefault((benchmark, strategy), {})
            for query in read_rows(
                study.queries_path("test", benchmark, strategy), Query, key=lambda row: row.query_id
            ):
                for index in range(recipe.generation.n):
                    request_id = f"{query.query_id}/{index}"
                    cell[request_id] = None
                    requests.append(
                        Request(
                            request_id=request_id,
                            messages=[{"role": turn.role, "content": turn.content} for turn in query.messages],
                            sampling=sampling,
                            seed=derive_seed(recipe.seed, "response", query.problem_id, strategy, index),
                            sample_index=index,
                        )
                    )
    with study.session(store, study.engine_model(checkpoint), "generate") as session:
        say(f"generate: {checkpoint.name}, {len(requests)} responses")
        with Progress(f"generate {checkpoint.name}", len(requests), "responses") as progress:
            for request, key, completion in session.complete(requests):
                query_id = request.request_id.rsplit("/", 1)[0]
                benchmark, _, strategy = split_query_id(query_id)
                cells[(benchmark, strategy)][request.request_id] = _response(
                    request, query_id, key, completion, thinking
                )
                progress.add(tokens=completion.completion_tokens)
    for (benchmark, strategy), rows in cells.items():
        write_rows(
            study.responses_path(checkpoint, benchmark, strategy), [row for row in rows.values() if row is not None]
        )
    tally = session.tally
    return len(requests), {
        "what": f"generate {checkpoint.name}",
        "responses": tally.requests,
        "asked": tally.asked,
        "from_store": tally.from_store,
        "tokens": tally.tokens,
        "seconds": round(tally.seconds, 1),
    }


def _response(request: Request, query_id: str, key: str, completion: Completion, thinking: Thinking | None) -> Response:
    text, thought, share = completion.text, None, 0.0
    if thinking is not None:
        head, mark, tail = text.partition(thinking.end)
        if mark:
            thought, text = head.removeprefix(thinking.start).strip(), tail.strip()
        elif thinking.start in text or completion.finish_reason == "length":
            thought, text = head.removeprefix(thinking.start).strip(), ""  # unfinished thinking is no answer
        share = len(thought or "") / max(len(completion.text), 1)
    return Response(
        query_id=query_id,
        sample_index=request.sample_index,
        text=text,
        thinking=thought,
        finish_reason="stop"
        if completion.finish_reason == "stop"
        else "length"
        if completion.finish_reason == "length"
        else "error",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        # The engine counts the whole completion; the part in thinking is by its share of the characters.
        thinking_tokens=round(share * completion.completion_tokens),
        seed=request.seed,
        request_key=key,
    )
