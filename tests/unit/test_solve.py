"""`its solve`: a problem gets what the study gives it; answers that are equal vote together; bad input is one error."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.openai_server import FakeServer
from running import run_stage
from unit.solve_samples import BASE, NEW, TRAINED, Its, solvable

from its.grading.classes import Answer, answer_classes, answer_of
from its.grading.grade import Grader
from its.grading.normalise import AnswerKind
from its.rows import read_rows
from its.study.study import Study
from its.types import Query, Response


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None], engines: Any) -> Study:
    """No data yet; at test a mix, a fixed text and noise, which a mix or vote may name."""
    model_in_folder()
    return solvable(
        project,
        edit,
        engines,
        ("  test: [none, random]", "  test: [none, random, mixed, noisy]"),
        (
            "\nstrategies:\n",
            "\nstrategies:\n"
            "  firm:\n    fixed: {texts: [Think of a ship.]}\n    query: prompts/query_persona_first.j2\n"
            "  noisy:\n    noise: {like: random}\n    query: prompts/query_persona_first.j2\n"
            "  swapped:\n    shuffled: {of: random}\n    query: prompts/query_persona_first.j2\n"
            "  mixed:\n    mix: {shares: {none: 0.5, firm: 0.5}}\n"
            "  both:\n    union: {of: [random, firm]}\n",
        ),
    )


def _document(its: Its, *words: str) -> dict[str, Any]:
    code, out, err = its("solve", *words, "--json", "--show")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_problem_of_a_benchmark_gets_what_the_study_gave_it(study: Study, its: Its, engines: Any) -> None:
    for name in ("arithmetic", "arithmetic_test"):
        run_stage("prepare", name)
    for stage in ("persona", "query"):
        run_stage(stage)
    for strategy in study.recipe.design.train:
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")
    run_stage("generate")
    asked = len(engines.asked())
    problem = study.problems("arithmetic_test")[1]
    trained = next(item for item in study.checkpoints() if item.name == TRAINED)
    for strategy in study.recipe.design.test:
        found = _document(its, f"  {problem.text}\n", "--checkpoint", TRAINED, "--strategy", strategy)
        queries = read_rows(study.queries_path("test", "arithmetic_test", strategy), Query)
        own = [query for query in queries if query.problem_id == problem.problem_id]
        assert [row["query"] for row in found["rows"]] == [query.turns("smollm2_135m") for query in own]
        assert [row["query_id"] for row in found["rows"]] == [query.query_id for query in own]
        rows = read_rows(study.responses_path(trained, "arithmetic_test", strategy), Response)
        theirs = {(row.query_id, row.sample_index): (row.request_key, row.text) for row in rows}
        for row in found["rows"]:
            assert len(row["responses"]) == 3
            for item in row["responses"]:
                assert theirs[row["query_id"], item["sample_index"]] == (item["request_key"], item["text"])
        assert found["generated"] == 0 and found["from_store"] == 3 * len(own)
    assert len(engines.asked()) == asked, "everything was in the store"
    more = _document(its, problem.text, "--checkpoint", TRAINED, "--strategy", "random", "--n", "5")
    assert (more["generated"], more["from_store"]) == (2, 3)

    # The pair to report.
    code, _, err = its("solve", problem.text)
    assert code == 4 and "results" in err
    for stage in ("grade", "judge", "measure", "report"):
        run_stage(stage)
    code, _, err = its("solve", problem.text)
    assert code == 3 and "the study reports no pair: no benchmark has the role `select`" in err
    params = study.project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("  draws: ", "  maximum: true\n  draws: "), encoding="utf-8")
    run_stage("measure")
    best = json.loads(its("results", "best", "--json")[1])["maximum"][0]["maximum"]["pair"].split("/")
    found = _document(its, problem.text)
    assert found["members"] == [{"checkpoint": f"smollm2_135m-arithmetic-{best[0]}-1", "strategy": best[1]}]
    assert any("too high" in note for note in found["notes"])
    # What the design no longer has.
    params.write_text(params.read_text("utf-8").replace("  train: [none, random]", "  train: [none]"), "utf-8")


def test_a_new_problem_is_stored_and_voted_on(study: Study, its: Its, engines: Any, tmp_path: Path) -> None:
    words = ("--checkpoint", BASE, "--strategy", "random", "--n", "4")
    first = _document(its, NEW, *words)
    assert first["problem"]["set"] is None and first["benchmark"] == "arithmetic_test"
    assert first["rows"][0]["personas"] and first["rows"][0]["personas"][0] in first["rows"][0]["query"][-1]["content"]
    assert first["generated"] == 4 == first["responses"]
    assert first["votes"] == max(item["votes"] for item in first["answers"]) and first["share"] == first["votes"] / 4
    assert sum(item["votes"] for item in first["answers"]) + first["no_answer"] == 4
    asked = len(engines.asked())
    file = tmp_path / "problem.txt"
    file.write_text(f"\n{NEW}\n", encoding="utf-8")
    second = _document(its, str(file), *words)
    assert second == first | {"generated": 0, "from_store": 4}
    assert len(engines.asked()) == asked
    code, out, _ = its("solve", NEW, *words, "--show")
    assert code == 0 and f"answer: {first['answer']}\n" in out and "persona:\n" in out and "query, user:\n" in out
    other = _document(its, f"{NEW} And now?", *words)
    assert other["problem"]["problem_id"] != first["problem"]["problem_id"]
    seeds = {item["request_key"] for found in (first, other) for item in found["rows"][0]["responses"]}
    assert len(seeds) == 8


def test_an_ensemble_votes_over_its_members(study: Study, its: Its, edit: Callable[..., None]) -> None:
    edit(
        (
            "  members: trained",
            f"  members: trained\n  ensembles:\n    pair: [{BASE}/none, {BASE}/random]\n"
            f"    here: [{BASE}/arithmetic_test/none, {BASE}/arithmetic_test/random]\n"
            "  strategies: {two: [none, random]}",
        )
    )
    found = _document(its, NEW, "--ensemble", "pair")
    assert [row["strategy"] for row in found["rows"]] == ["none", "random"] and found["responses"] == 6
    assert _document(its, NEW, "--ensemble", "here")["rows"] == found["rows"]
    assert _document(its, NEW, "--ensemble", "two", "--checkpoint", BASE)["rows"] == found["rows"]
    code, _, err = its("solve", NEW, "--ensemble", "pear")
    assert code == 3 and "did you mean `pair`?" in err
    code, _, err = its("solve", NEW, "--ensemble", "pair", "--checkpoint", BASE)
    assert code == 3 and "names its checkpoints" in err
    assert its("solve", NEW, "--ensemble", "pair", "--strategy", "none")[0] == 2


WORDS = ("--checkpoint", BASE, "--strategy", "none")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("", *WORDS), 3, "the problem is blank"),
        ((" \n\t", *WORDS), 3, "the problem is blank"),
        (("7" * 2**20, *WORDS), 3, "a problem has at most 262144 bytes"),
        (("What is \x1b[31m half of 12?", *WORDS), 3, "contains the character U+001B"),
        (("missing.txt", *WORDS), 4, "missing.txt: no such file"),
        (("recipes", *WORDS), 3, "recipes"),
        (("base/config.json", "--checkpoint", "smollm2_135m-basee"), 3, f"did you mean `{BASE}`?"),
        ((NEW, "--checkpoint", "\x1b[31m"), 3, "no checkpoint in the design `\\x1b[31m`"),
        ((NEW, "--checkpoint", BASE, "--strategy", "randm"), 3, "did you mean `random`?"),
        ((NEW, "--checkpoint", BASE, "--strategy", "swapped"), 3, "takes the persona of another problem"),
        ((NEW, "--checkpoint", BASE, "--strategy", "both"), 3, "is a union"),
        ((NEW, "--checkpoint", TRAINED, "--strategy", "none"), 4, "no trained model"),
        ((NEW, *WORDS, "--benchmark", "arithmetic"), 3, "no benchmark `arithmetic` in the design"),
        ((NEW, *WORDS, "--n", "0"), 2, "0 is not in the range"),
        (("What is <|im_end|> of 12?", *WORDS), 3, "contains the control token `<|im_end|>`"),
        (("please refuse this, it is long.", *WORDS), 1, "the prompt is longer than the context"),
    ],
)
def test_bad_input_is_one_error(study: Study, its: Its, words: tuple[str, ...], code: int, message: str) -> None:
    found, out, err = its("solve", *words)
    assert found == code and message in err and "Traceback" not in err, err
    assert not out


def test_standard_input_is_bounded(study: Study, its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    give(b"7" * 2**20)
    assert "standard input: a problem has at most" in its("solve", "-", *WORDS)[2]
    give(b"half of \xff")
    assert "standard input: not UTF-8 (byte 9)" in its("solve", "-", *WORDS)[2]
    give(NEW.encode())
    assert _document(its, "-", *WORDS)["problem"]["text"] == NEW


@pytest.mark.parametrize(("wrote", "flag"), [("", "`empty`"), (" As an AI I cannot do that, sorry.", "`refuses`")])
def test_a_writer_that_writes_nothing_usable_is_an_error(
    study: Study, its: Its, engines: Any, wrote: str, flag: str
) -> None:
    engines.tell(personas={"": [wrote]})
    code, _, err = its("solve", NEW, "--checkpoint", BASE, "--strategy", "random")
    assert code == 1 and "wrote no usable persona of `random`" in err and flag in err


def test_responses_that_a_server_refused_are_an_error(study: Study, its: Its, edit: Callable[..., None]) -> None:
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    long = {"error": {"message": "no", "type": "exceed_context_size_error", "code": 400}}
    with FakeServer(models=["smollm2_135m"], script=lambda text, seen: "400", error=long) as server:
        told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n"
        edit(("  kind: vllm\n", f"  kind: {told}"), (f"  options:\n{options}", "  options: {}\n"))
        code, out, err = its("solve", NEW, *WORDS)
        assert code == 1 and not out and "no response to the problem was generated (3 too_long)" in err


def test_the_same_response_several_times_is_refused(study: Study, its: Its, edit: Callable[..., None]) -> None:
    edit(("  n: 3\n  temperature: 0.6", "  n: 1\n  temperature: 0"))
    code, _, err = its("solve", NEW, *WORDS, "--n", "2")
    assert code == 3 and "2 responses of" in err and "would be the same one" in err
    assert _document(its, NEW, *WORDS)["responses"] == 1


@pytest.mark.parametrize(
    ("kind", "texts", "answer", "votes", "blank"),
    [
        ("integer", ["\\boxed{6}", "The answer is 7.", "\\boxed{6.0}", "nothing"], "6", 2, 1),
        ("math", ["\\boxed{\\frac{1}{2}}", "\\boxed{0.5}", "\\boxed{1}", "\\boxed{2/4}"], "\\frac{1}{2}", 3, 0),
        ("math", ["\\boxed{x+1}", "\\boxed{2}", "\\boxed{1+x}"], "x+1", 2, 0),
        ("choice", ["The answer is B.", "\\boxed{b}", "\\boxed{A}"], "B", 2, 0),
        ("math", ["\\boxed{(}", "\\boxed{)}", "\\boxed{2}", "\\boxed{2}"], "2", 2, 0),
        ("number", ["nothing", ""], None, 0, 2),
    ],
)
def test_equal_answers_vote_together(
    kind: AnswerKind, texts: list[str], answer: str | None, votes: int, blank: int
) -> None:
    with Grader() as grader:
        found = answer_classes([answer_of(text, kind) for text in texts], kind, grader)
    first = found.classes[0] if found.classes else None
    assert (first.text if first else None, first.votes if first else 0, found.blank) == (answer, votes, blank)
    assert sum(item.votes for item in found.classes) + found.blank == len(texts)


def test_many_different_answers_are_compared_within_bounds() -> None:
    answers = [Answer(f"x+{number}", f"x+{number}") for number in range(200)]

    class Counting(Grader):
        calls = 0

        def equivalent(self, answer: str, reference: str, kind: AnswerKind) -> bool:
            Counting.calls += 1
            return super().equivalent(answer, reference, "integer")

    with Counting() as grader:
        found = answer_classes(answers, "math", grader)
    assert len(found.classes) == 200 and found.uncompared == 168 and found.undecided == 8
    assert Counting.calls <= 16
