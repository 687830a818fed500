"""A study whose engine is a server: under which names it is asked, what it refuses, what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fakes.openai_server import FakeServer
from running import run_stage
from unit.stage_samples import CHECKPOINTS, Edit, prepare_sets, train_all

from its.rows import read_rows
from its.study.study import Study
from its.types import Response, Verdict


def _served(study: Study, edit: Edit, server: FakeServer, more: str = "") -> None:
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n{more}"
    edit(("  kind: vllm\n", f"  kind: {told}"), (f"  options:\n{options}", "  options: {}\n"))
    prepare_sets()
    run_stage("persona")
    run_stage("query")
    train_all()


def _bases(study: Study) -> list[Response]:
    """The base's responses without a persona."""
    return list(read_rows(study.responses_path(study.checkpoints()[0], "arithmetic_test", "none"), Response))


def test_what_a_server_has_under_another_name_is_another_model(study: Study, engines: Any, edit: Edit) -> None:
    """Each name answers for itself, when it is asked and from the store."""

    def tell(answer: dict[str, Any]) -> None:
        answer["choices"][0]["message"]["content"] += f", says {answer['model']}"

    with FakeServer(models=["one", "two", "smollm2_135m", *CHECKPOINTS[1:]], extra=tell) as server:
        _served(study, edit, server, "    served: {smollm2_135m: one}\n")
        for change, name, asks in [
            (None, "one", True),
            (("served: {smollm2_135m: one}", "served: {smollm2_135m: two}"), "two", True),
            (("    served: {smollm2_135m: two}\n", ""), "smollm2_135m", True),
            (("  openai:\n", "  openai:\n    served: {smollm2_135m: one}\n"), "one", False),
        ]:
            if change is not None:
                edit(change)
            before = len(server.bodies)
            run_stage("generate")
            assert {row.text.rpartition(", says ")[2] for row in _bases(study)} == {name}
            assert (len(server.bodies) > before) == asks


def test_a_prompt_that_a_server_refuses_is_a_response_and_the_run_goes_on(
    study: Study, engines: Any, edit: Edit, its: Callable[..., tuple[int, str, str]]
) -> None:
    poison: list[str] = []
    takes = {"all": False}
    long = {"error": {"message": "no", "type": "exceed_context_size_error", "code": 400}}

    def script(text: str, seen: int) -> str | None:
        return "400" if not takes["all"] and any(problem in text for problem in poison) else None

    with FakeServer(models=["smollm2_135m", *CHECKPOINTS[1:]], script=script, error=long) as server:
        _served(study, edit, server)
        problem = study.problems("arithmetic_test")[3]
        poison.append(problem.text)
        assert "; 6 have finish_reason error (6 too_long), see `its store gc --refused`;" in run_stage("generate")
        asked = len(server.bodies)
        assert "6 too_long" in run_stage("generate") and len(server.bodies) == asked, "it is stored"
        found = {row.query_id: row for row in _bases(study)}[f"arithmetic_test/{problem.problem_id}/none"]
        assert (found.text, found.finish_reason, found.completion_tokens) == ("", "error", 0)
        cost = json.loads(study.results("cost", "generate.json").read_text(encoding="utf-8"))
        assert all(row.get("generated", 0) == 0 for row in cost)
        run_stage("grade")
        verdicts = list(read_rows(study.verdicts_path(study.checkpoints()[0], "arithmetic_test", "none"), Verdict))
        assert {v.verdict for v in verdicts if v.query_id == found.query_id} == {"no_answer"}
        run_stage("measure")
        run_stage("report")
        cells = json.loads(study.results("cells.json").read_text(encoding="utf-8"))["cells"]
        assert {cell["errors"] for cell in cells} == {1}
        page = study.results("report.html").read_text(encoding="utf-8")
        assert "1 of 8 responses were refused, withheld or interrupted" in page
        takes["all"] = True
        assert "removed 6 empty responses to refused prompts" in its("store", "gc", "--refused")[1]
        assert "finish_reason" not in run_stage("generate") and len(server.bodies) == asked + 6
        assert {row.finish_reason for row in _bases(study)} == {"stop"}


def test_servers_answer_a_study(study: Study, engines: Any, edit: Edit) -> None:
    """Personas and responses from a server; the untrained model is asked by its name in the recipe."""
    prepare_sets()
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    with FakeServer(models=["smollm2_135m", *CHECKPOINTS[1:]]) as server:
        told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n    price: {{prompt: 1.0, completion: 2.0}}"
        edit(("  kind: vllm", f"  kind: {told}"), (f"  options:\n{options}", "  options: {top_k: 5}\n"))
        run_stage("persona")
        run_stage("query")
        train_all()
        run_stage("generate")
        bodies = list(server.bodies)
    assert {body["model"] for body in bodies} == {"smollm2_135m", *CHECKPOINTS[1:]}
    assert all(body["top_k"] == 5 for body in bodies)
    assert engines.asked() == []
    started = [body for body in bodies if body["messages"][-1] == {"role": "assistant", "content": "You are a"}]
    assert len(started) >= 16 and all(body["continue_final_message"] for body in started)
    cost = json.loads(study.results("cost", "generate.json").read_text(encoding="utf-8"))
    assert cost[-1]["what"] == "servers" and cost[-1]["counts"]["cost"] > 0
    sessions = json.loads(study.sessions_path().read_text(encoding="utf-8"))
    assert {session["engine"] for session in sessions.values()} == {"openai"}
    run_stage("grade")
    run_stage("measure")
    run_stage("report")
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "servers: " in page and "not known; a seed is sent" in page
    assert {session["served"] for session in sessions.values()} == {"smollm2_135m", *CHECKPOINTS[1:]}
    comparisons = json.loads(study.results("comparisons.json").read_text(encoding="utf-8"))["comparisons"]
    assert not any(item["different_settings"] for item in comparisons), (
        "checkpoints have names of their own by their nature"
    )
    assert "not compared: the engine reported no ids for 16 prompts" in page
