"""Stage `judge`: verdicts -> `data/judge.json`, a model's second opinion; verdicts do not change.

A stage of its own, so that grading depends on no engine. Where the recipe names no judge, the file says so.
"""

from __future__ import annotations

import hashlib
from typing import Any

from its.engines.protocol import Request
from its.grading.judge import Opinion, Opinions, judge_opinion
from its.home import STORE_FILE
from its.progress import Progress
from its.prompts.render import read_template, render
from its.recipe.schema import Judge
from its.rows import read_rows, write_json
from its.seeds import derive_seed
from its.store import Store
from its.study.serving import control_tokens, open_serving, request_sampling
from its.study.study import Cell, Checkpoint, Study, cell_name, split_query_id
from its.thinking import cut_thinking
from its.types import Problem, Verdict

JUDGE_VERSION = 2


def run(study: Study) -> str:
    """Request the judge's opinion on each distinct answer to a problem; list where it differs from the grader."""
    path = study.project / "data" / "judge.json"
    judge = study.recipe.grading.judge
    if judge is None:
        write_json(path, {"version": JUDGE_VERSION, "judge": None})
        return "data/judge.json: the recipe names no judge (`grading.judge`)"
    found = _judged(study, judge, study.cells())
    write_json(path, {"version": JUDGE_VERSION, "judge": judge.model_dump(), **found})
    counts = found["counts"]
    return (
        f"data/judge.json: judge {judge.model}: {found['asked']} answers, "
        f"{counts['disagree']} of {sum(counts.values())} verdicts disputed, {counts['unclear']} unclear"
    )


def _judged(study: Study, judge: Judge, cells: list[Cell]) -> dict[str, Any]:
    """The judge's opinions compared with the verdicts, and their keys in the store."""
    model, marks = Checkpoint(judge.model), study.recipe.models[judge.model].thinking
    template = read_template(study.template_path(judge.template))
    problems = {b: {p.problem_id: p for p in study.problems(b)} for b in {cell[1] for cell in cells}}
    requests: dict[str, Request] = {}
    for cell in cells:
        for verdict in read_rows(study.verdicts_path(*cell), Verdict):
            if verdict.answer is not None:
                problem = problems[cell[1]][split_query_id(verdict.query_id)[1]]
                name = _question(cell[1], problem, verdict.answer)
                if name not in requests:
                    requests[name] = _request(study, judge, template, problem, verdict.answer, name, model)
    said: dict[str, tuple[Opinion, str]] = {}
    sampled = {judge.model: [judge.sampling]}
    with Store(study.home / STORE_FILE) as store, open_serving(study, store, [model], "judge", sampled) as session:
        control = control_tokens(study, session, [model])
        for request in requests.values():
            control.look("data/verdicts", f"`{request.request_id}`", [("the question", request.messages[0]["content"])])
        control.refuse()
        with Progress("judge", len(requests), "answers") as progress:
            session.ensure(requests.values(), lambda _, tokens: progress.add(tokens=tokens, stored=not tokens))
        keys = []
        for request, key, completion in session.read(requests.values()):
            keys.append(key)
            cut_short = completion.finish_reason == "length"
            words = cut_thinking(completion.text, marks, cut_short, completion.thinking).answer
            said[request.request_id] = judge_opinion(words), words
    opinions, graders = Opinions(), set()
    for cell in cells:
        for verdict in read_rows(study.verdicts_path(*cell), Verdict):
            graders.add(verdict.grader_version)
            if verdict.answer is not None:
                problem = problems[cell[1]][split_query_id(verdict.query_id)[1]]
                opinion, words = said[_question(cell[1], problem, verdict.answer)]
                opinions.add(
                    [(verdict, opinion, words)],
                    cell=cell_name(cell),
                    reference=str(problem.reference),
                )
    return {
        "grader_version": ", ".join(sorted(graders)),
        "asked": len(requests),
        "counts": opinions.counts,
        "request_keys": sorted(keys),
        "disagreements": opinions.disagreements,
    }


def _question(benchmark: str, problem: Problem, answer: str) -> str:
    return f"{benchmark}/{problem.problem_id}/{hashlib.sha256(answer.encode()).hexdigest()[:16]}"


def _request(
    study: Study, judge: Judge, template: str, problem: Problem, answer: str, name: str, model: Checkpoint
) -> Request:
    values = {"problem": problem, "reference": problem.reference, "answer": answer}
    return Request(
        request_id=name,
        messages=[{"role": "user", "content": render(template, judge.template, values)}],
        sampling=request_sampling(study.recipe, judge.sampling, judge.model),
        seed=derive_seed(study.recipe.seed, "judge", name),
        model=model.name,
    )
