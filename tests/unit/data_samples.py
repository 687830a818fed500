"""A small finished study, written by hand: what the tests of `its data` look at."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from its.cards.build import ProblemCounts, build_card
from its.rows import write_json, write_rows
from its.store import PutItem, Store, response_key, vllm_identity
from its.study.study import Study
from its.types import Message, Persona, Problem, Query, Response, Row, Verdict

TRAINED, BASE = "smollm2_135m-arithmetic-random-1", "smollm2_135m-base"
TRAINING_KEY = "0123456789abcdef"
TEXT = r"How many is $\frac{{%d}}{1}$ <b> | `x`?"
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 32, "stop": ["\n"]}
ORIGIN = {"kind": "files", "path": "data/sources/train.jsonl"}


def problem(index: int, side: str) -> Problem:
    return Problem(
        problem_id=f"{side}_{index:05d}",
        text=TEXT % index,
        reference=str(index),
        solution=f"<think>{index}</think> The final answer is \\boxed{{{index}}}." if side == "train" else None,
        source="data/sources/train.jsonl" if side == "train" else "procedural",
        row=f"data/sources/train.jsonl:{index + 1}" if side == "train" else None,
        meta={"level": index} if side == "train" else {},
    )


def write_study(study: Study, count: int = 3) -> dict[str, str]:
    """Everything up to verdicts for `count` problems a side; what was asked of the writer goes into the store.

    Returns:
        problem_id -> the store's key of its persona's response.
    """
    source = study.project / "data" / "sources" / "train.jsonl"
    source.write_text("".join(f'{{"question": "number {index}"}}\n' for index in range(count)), encoding="utf-8")
    keys: dict[str, str] = {}
    with Store(Path(os.environ["ITS_HOME"]) / "store.sqlite") as store:
        session = store.register(vllm_identity("sha256:aa", {"dtype": "bfloat16"}, {}, "lock"), {"checkpoints": [BASE]})
        for side, name in (("train", "arithmetic"), ("test", "arithmetic_test")):
            problems = [problem(index, side) for index in range(count)]
            write_set(study, name, "dataset" if side == "train" else "benchmark", problems)
            for strategy in ("none", "random"):
                personas = [persona(store, session, item, strategy) for item in problems]
                keys |= {row.problem_id: row.request_key for row in personas if row.request_key}
                write_rows(study.personas_path(name, strategy), personas)
                write_rows(
                    study.queries_path(side, name, strategy),
                    [_query(side, name, item, row) for item, row in zip(problems, personas, strict=True)],
                )
    summary = {"set": "arithmetic", "strategy": "random", "personas": count, "asked": 2 * count, "flags": {"digits": 1}}
    write_json(
        study.project / "data" / "personas" / "summary.json",
        {"rules_version": "1", "rules": {}, "personas": [summary, summary | {"set": "arithmetic_test"}]},
    )
    for checkpoint in study.checkpoints():
        for strategy in ("none", "random"):
            responses = [_response(problem(index, "test"), strategy) for index in range(count)]
            write_rows(study.responses_path(checkpoint, "arithmetic_test", strategy), responses)
            write_rows(study.verdicts_path(checkpoint, "arithmetic_test", strategy), map(_verdict, responses))
        if checkpoint.train is not None:
            folder = study.model_path(checkpoint)
            folder.mkdir(parents=True)
            (folder / "axolotl.yaml").write_text(f"path: $ITS_HOME/training/{TRAINING_KEY}/rows.jsonl\n", "utf-8")
            write_json(folder / "its_parity.json", {"faults": 0, "rows": count, "examples": []})
    told = {"session": "s" * 64, "model": "sha256:bb", "engine": "vllm", "environment": "lock"}
    write_json(study.sessions_path(), {checkpoint.name: told for checkpoint in study.checkpoints()})
    return keys


def counted(problems: Iterable[Problem]) -> ProblemCounts:
    """What a card says of the problems."""
    counts = ProblemCounts()
    for item in problems:
        counts.add(item)
    return counts


def write_set(study: Study, name: str, kind: str, problems: list[Problem], **more: Any) -> None:
    """Problems and their card, as stage `prepare` leaves them."""
    path = study.problems_path(name)
    counts = counted(problems)
    count = write_rows(path, problems)
    values: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "declared": {"source": ORIGIN, "filters": ["has_box"]},
        "origin": ORIGIN if kind == "dataset" else {"kind": "procedural"},
        "seed": 17,
        "steps": [
            {"step": "loaded", "before": count + 2, "after": count + 2, "note": None},
            {"step": "filter has_box", "before": count + 2, "after": count, "note": "2 without a box"},
        ],
        "counts": counts,
        "quarantine": [],
        "overlaps": [],
        "files": {f"data/problems/{name}.jsonl": hashlib.sha256(path.read_bytes()).hexdigest()},
        "made_by": {"its": "0.1.0", "core lock": "c" * 64},
    }
    write_json(study.project / "data" / "cards" / name / "card.json", build_card(**values | more))


def persona(store: Store, session: str, item: Problem, strategy: str) -> Persona:
    if strategy == "none":
        return Persona(problem_id=item.problem_id, strategy=strategy, text="", attempts=0)
    keys = []
    for attempt in range(2):
        asked = {
            "messages": [{"role": "user", "content": f"A persona of botany for: {item.text}"}],
            "sampling": SAMPLING,
            "seed": int(item.problem_id[-5:]) * 10 + attempt,
            "sample_index": attempt,
            "start": "You are a",
        }
        keys.append(response_key(session, asked))
        store.put_many(
            [PutItem(keys[-1], session, asked, {"text": f" botanist, try {attempt}", "finish_reason": "stop"})]
        )
    return Persona(
        problem_id=item.problem_id,
        strategy=strategy,
        text="You are a botanist.",
        domain="botany",
        attempts=2,
        request_key=keys[1],
        rejected_keys=keys[:1],
    )


def edit_rows(path: Path, change: Any) -> None:
    """Rewrite a file of rows: `change` takes the list of its values and returns another one."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)), encoding="utf-8")


def _query(side: str, name: str, item: Problem, row: Persona) -> Row:
    content = f"{row.text}\n\n{item.text}" if row.text else item.text
    return Query(
        query_id=f"{name}/{item.problem_id}/{row.strategy}",
        problem_id=item.problem_id,
        strategy=row.strategy,
        messages=[Message(role="user", content=content)],
        solution=item.solution if side == "train" else None,
    )


def _response(item: Problem, strategy: str) -> Response:
    return Response(
        query_id=f"arithmetic_test/{item.problem_id}/{strategy}",
        sample_index=0,
        text=f"The final answer is {item.reference}.",
        finish_reason="stop",
        prompt_tokens=9,
        completion_tokens=7,
        seed=5,
        request_key="e" * 64,
    )


def _verdict(row: Response) -> Verdict:
    return Verdict(query_id=row.query_id, sample_index=0, answer=row.text[20:-1], verdict="correct", grader_version="3")
