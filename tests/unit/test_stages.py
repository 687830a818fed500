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
from fakes.tiny_tokenizer import CHATML
from running import run_stage

from its.cli.main import main
from its.errors import DataError, FaultsError, ItsError, MissingError, RunError
from its.results import read_cost
from its.rows import read_rows
from its.seeds import derive_seed
from its.store import Store
from its.store.stats import store_stats
from its.study.study import Study, load_study
from its.types import Persona, Problem, Query, Response, Verdict

Edit = Callable[..., None]
CHECKPOINTS = ["smollm2_135m-base", "smollm2_135m-arithmetic-none-1", "smollm2_135m-arithmetic-random-1"]
MARK = "potter who likes the rain"


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Study:
    """The quickstart with 8 problems on each side and a model in a folder."""
    model_in_folder()
    edit(("  draws: #", "  draws: 200"))
    path = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_study(project)


def _prepare() -> None:
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")


def _train() -> None:
    for strategy in ("none", "random"):
        run_stage("train", "smollm2_135m", "arithmetic", strategy, "1")


def _script(study: Study, engines: Any, **more: Any) -> None:
    """Right answers from the checkpoint trained with personas, where it is asked with one; wrong ones elsewhere."""
    answers = {problem.text: problem.reference for problem in study.problems("arithmetic_test")}
    engines.tell(answers=answers, right="arithmetic-random", persona=MARK, **more)


def _run(study: Study, engines: Any) -> None:
    _prepare()
    _script(study, engines)
    run_stage("persona")
    run_stage("query")
    _train()
    run_stage("generate")
    run_stage("grade")
    run_stage("measure")


def _count(folder: Path, kind: type[Any]) -> dict[str, int]:
    found = {}
    for path in sorted(folder.rglob("*.jsonl")):
        found[str(path.relative_to(folder).with_suffix(""))] = len(list(read_rows(path, kind)))
    return found


def _cost(study: Study) -> dict[str, tuple[int | None, ...]]:
    """Responses of each checkpoint: all, generated in this run, from the store."""
    rows = read_cost(study.results("cost", "generate.json"))
    return {row.what: (row.responses, row.generated, row.from_store) for row in rows if row.counts is None}


def test_a_whole_run(study: Study, engines: Any) -> None:
    _run(study, engines)
    said = run_stage("report")
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
    # A response's seed is of its problem and test strategy, the same for every checkpoint: 8 x 2, not 8.
    assert len({asked["seed"] for asked in engines.asked()[16:]}) == 16
    assert _cost(study) == {f"generate {name}": (16, 16, 0) for name in CHECKPOINTS}

    metrics = json.loads(study.results("metrics.json").read_text(encoding="utf-8"))["arithmetic_test"]
    assert metrics == {"base": 0.0, "NN": 0.0, "XX": 1.0, "XX_NN": 1.0, "codesign": 1.0}
    with study.results("plots", "cells.csv").open(encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 6
    for checkpoint in study.checkpoints()[1:]:
        folder = study.model_path(checkpoint)
        assert json.loads((folder / "its_parity.json").read_text(encoding="utf-8"))["faults"] == 0
        assert str(study.home) not in (folder / "axolotl.yaml").read_text(encoding="utf-8")
        assert (
            study.results("loss", checkpoint.name, f"{checkpoint.name}.csv")
            .read_text(encoding="utf-8")
            .startswith("step,loss")
        )
    with study.results("plots", "loss.csv").open(encoding="utf-8") as lines:
        losses = list(csv.DictReader(lines))
    assert {row["training"] for row in losses} == {checkpoint.name for checkpoint in study.checkpoints()[1:]}
    assert all(float(row["loss"]) > 0 and int(row["step"]) > 0 for row in losses)
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "arithmetic_test" in page
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []  # one file, offline
    assert "results/report.html" in said


def test_a_second_run_generates_nothing_and_changes_nothing(study: Study, engines: Any) -> None:
    _run(study, engines)
    asked = len(engines.asked())
    before = {path: path.read_bytes() for path in (study.project / "data").rglob("*.json*")}
    before |= {path: path.read_bytes() for path in (study.project / "models").rglob("*") if path.is_file()}
    for folder in ("data", "models", "results"):
        kept = study.project / folder
        if folder == "data":
            for part in ("cards", "personas", "queries", "responses", "verdicts", "problems"):
                shutil.rmtree(kept / part)
        else:
            shutil.rmtree(kept)
    engines.tell(personas={"": ["another"]})
    _prepare()
    run_stage("persona")
    run_stage("query")
    _train()
    assert "(0 generated, 48 from the store)" in run_stage("generate")
    assert _cost(study) == {f"generate {name}": (16, 0, 16) for name in CHECKPOINTS}
    run_stage("grade")
    run_stage("measure")
    assert len(engines.asked()) == asked
    assert {path: path.read_bytes() for path in before} == before


def test_replay_needs_no_engine_and_says_what_it_lacks(study: Study, engines: Any, edit: Edit) -> None:
    _prepare()
    run_stage("persona")
    edit(("  kind: vllm", "  kind: replay"))
    run_stage("persona")
    run_stage("query")
    _train()
    with pytest.raises(MissingError, match=r"48 responses are not in the store .*16 of 16 to smollm2_135m-base"):
        run_stage("generate")
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
def test_a_bad_persona_is_retried_then_fixed_or_flagged(study: Study, engines: Any, edit: Edit, case: str) -> None:
    completions, flags, text, attempts = BAD[case]
    edit(("  train: [none, random]", "  train: [none, similar]"), ("  test: [none, random]", "  test: [none, similar]"))
    _prepare()
    target = study.problems("arithmetic")[3]
    engines.tell(personas={target.text: completions})
    said = run_stage("persona")
    broken = [f"`similar` of arithmetic: 1 of 8 breaks a rule ({flag} 1): " for flag in flags]
    assert [text for text in broken if text not in said] == [] and (" breaks a rule" in said) == bool(flags)
    assert ("`strategies.similar.limits.max_words` (30)" in said) == ("overlong" in flags)
    rows = list(read_rows(study.personas_path("arithmetic", "similar"), Persona))
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in study.problems("arithmetic")]
    row = rows[3]
    assert (row.flags, row.attempts) == (flags, attempts)
    assert text is None or row.text == text
    assert all(other.attempts == 1 and not other.flags for other in rows if other is not row)
    seeds = [asked["seed"] for asked in engines.asked() if target.text in asked["prompt"]]
    assert len(seeds) == len(set(seeds)) == attempts
    run_stage("query")
    assert len(list(read_rows(study.queries_path("train", "arithmetic", "similar"), Query))) == 8
    summary = json.loads((study.project / "data" / "personas" / "summary.json").read_text(encoding="utf-8"))
    (own,) = (item for item in summary["personas"] if item["set"] == "arithmetic")
    assert own["flags"] == dict.fromkeys(flags, 1)
    assert (own["personas"], own["retried"], own["asked"]) == (8, 1, 7 + attempts)


SIMILAR = """  similar:
    persona:
      template: prompts/persona_similar.j2
"""
NONE_TWICE = ("  train: [none, random]", "  train: [none]")


def test_several_personas_are_checked_and_retried_one_by_one(study: Study, engines: Any, edit: Edit) -> None:
    edit(NONE_TWICE, ("  test: [none, random]", "  test: [similar]"), (SIMILAR, f"{SIMILAR}      count: 3\n"))
    _prepare()
    target = study.problems("arithmetic_test")[3]
    told = [" man with hats.", " man with 731 shoes.", " man with gloves.", " man with socks."]
    engines.tell(personas={target.text: told})
    run_stage("persona")
    rows = list(read_rows(study.personas_path("arithmetic_test", "similar"), Persona))
    assert [(row.problem_id, row.index) for row in rows] == [
        (problem.problem_id, index) for problem in study.problems("arithmetic_test") for index in range(3)
    ]
    own = [row for row in rows if row.problem_id == target.problem_id]
    texts = ["You are a man with hats.", "You are a man with socks.", "You are a man with gloves."]
    assert [row.text for row in own] == texts
    assert [row.attempts for row in own] == [1, 2, 1] and sum(row.attempts for row in rows) == 25
    assert len({row.request_key for row in rows}) == 24
    run_stage("query")
    queries = read_rows(study.queries_path("test", "arithmetic_test", "similar"), Query)
    (shown,) = (row for row in queries if row.problem_id == target.problem_id)
    assert shown.messages[-1].content == "\n\n".join([*texts, target.text])
    seeds = {asked["seed"] for asked in engines.asked()}
    parts = (study.recipe.seed, "persona", "arithmetic_test", target.problem_id, "similar")
    assert {derive_seed(*parts, *last) for last in ((0, 0), (0, 1), (0, 2), (1, 1))} <= seeds
    assert len(seeds) == 25
    (found,) = _summary(study)
    assert (found["problems"], found["personas"], found["asked"], found["at_once"]) == (8, 24, 25, 23)
    assert found["rules"] == {"digits": {"attempts": 1, "retried": 1, "accepted": 1, "kept": 0}}


def _summary(study: Study) -> list[dict[str, Any]]:
    found = json.loads((study.project / "data" / "personas" / "summary.json").read_text(encoding="utf-8"))
    assert found["rules_version"] == "4" and set(found["rules"]) > {"leaks", "copies"}
    return list(found["personas"])


def test_the_seed_of_a_single_persona_has_no_index(study: Study, engines: Any) -> None:
    """The seeds of a strategy without a count hold no index: what is stored stays valid."""
    _prepare()
    run_stage("persona")
    wanted = {
        derive_seed(study.recipe.seed, "persona", name, problem.problem_id, "random", 0)
        for name in ("arithmetic", "arithmetic_test")
        for problem in study.problems(name)
    }
    assert {asked["seed"] for asked in engines.asked()} == wanted
    line = study.personas_path("arithmetic", "random").read_text(encoding="utf-8").splitlines()[0]
    assert list(json.loads(line)) == ["problem_id", "strategy", "text", "domain", "attempts", "flags", *KEYS]


KEYS = ["request_key", "rejected_keys"]
CONTROLS = """
  noise:
    noise: {like: similar}
    query: prompts/query_persona_first.j2
  shuffled:
    shuffled: {of: similar}
    query: prompts/query_persona_first.j2
  half:
    noise: {like: shuffled}
    share: 0.5
    query: prompts/query_persona_first.j2
"""


def test_controls_have_what_they_are_made_of_written_too(study: Study, engines: Any, edit: Edit) -> None:
    test = ("  test: [none, random]", "  test: [none, noise, shuffled, half]")
    edit(NONE_TWICE, test, ("\ndesign:\n", f"{CONTROLS}\ndesign:\n"))
    _prepare()
    problems = study.problems("arithmetic_test")
    words = ["calm", "quiet", "old", "young", "glad", "proud", "tall", "shy"]
    engines.tell(personas={problem.text: [f" {word} potter."] for problem, word in zip(problems, words, strict=True)})
    said = run_stage("persona")
    assert said.startswith("data/personas: 8 personas written, 0 kept with a flag")
    assert len(engines.asked()) == 8
    found = {
        name: {row.problem_id: row for row in read_rows(study.personas_path("arithmetic_test", name), Persona)}
        for name in ("similar", "noise", "shuffled", "half")
    }
    assert not study.personas_path("arithmetic", "similar").exists()
    assert all(list(rows) == [problem.problem_id for problem in problems] for rows in found.values())
    for problem_id, own in found["similar"].items():
        noise, other = found["noise"][problem_id], found["shuffled"][problem_id]
        assert len(noise.text.split()) == len(own.text.split()) and noise.text != own.text
        assert other.taken_from not in (None, problem_id)
        source = found["similar"][str(other.taken_from)]
        assert (other.text, other.request_key) == (source.text, source.request_key)
        half = found["half"][problem_id]
        assert len(half.text.split()) == (0 if half.flags == ["not_in_share"] else len(other.text.split()))
    assert {row.taken_from for row in found["shuffled"].values()} == set(found["similar"])
    assert 0 < sum(bool(row.text) for row in found["half"].values()) < 8
    summary = {item["strategy"]: item for item in _summary(study)}
    assert set(summary) == {"similar", "noise", "shuffled", "half"}
    assert (summary["shuffled"]["source"], summary["shuffled"]["own_text"]) == ("similar", 0)
    assert (summary["noise"]["asked"], summary["noise"]["personas"], summary["noise"]["words"]) == (0, 8, 5.0)
    assert summary["similar"]["similarity"]["personas"] == 8
    run_stage("query")
    for name in ("noise", "shuffled"):
        queries = list(read_rows(study.queries_path("test", "arithmetic_test", name), Query))
        texts = [found[name][problem.problem_id].text for problem in problems]
        wanted = [f"{text}\n\n{problem.text}" for text, problem in zip(texts, problems, strict=True)]
        assert [row.messages[-1].content for row in queries] == wanted
    assert not (study.project / "data" / "queries" / "test" / "arithmetic_test" / "similar.jsonl").exists()


def test_a_duplicate_persona_stops_the_queries(study: Study, engines: Any) -> None:
    _prepare()
    run_stage("persona")
    path = study.personas_path("arithmetic", "none")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    with pytest.raises(FaultsError, match=r"none\.jsonl:9: duplicate of line 1"):
        run_stage("query")


def test_train_and_test_prompts_come_from_one_function(study: Study, engines: Any) -> None:
    _prepare()
    run_stage("persona")
    run_stage("query")
    for side, name in (("train", "arithmetic"), ("test", "arithmetic_test")):
        for row in read_rows(study.queries_path(side, name, "random"), Query):
            problem = next(item for item in study.problems(name) if item.problem_id == row.problem_id)
            assert row.messages[-1].content == f"You are a {MARK}.\n\n{problem.text}"
            assert row.query_id == f"{name}/{problem.problem_id}/random"
            assert row.solution == (problem.solution if side == "train" else None)


def test_problem_ids_may_contain_a_slash(study: Study, engines: Any) -> None:
    _prepare()
    for name in ("arithmetic", "arithmetic_test"):
        path = study.problems_path(name)
        path.write_text(path.read_text(encoding="utf-8").replace('"problem_id":"', '"problem_id":"a/b/'), "utf-8")
    _script(study, engines)
    run_stage("persona")
    run_stage("query")
    _train()
    run_stage("generate")
    run_stage("grade")
    assert run_stage("measure").startswith("results: 6 cells")


def test_an_engine_that_dies_keeps_what_it_answered(study: Study, engines: Any) -> None:
    _prepare()
    path = study.problems_path("arithmetic_test")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[-1].replace('"text":"', '"text":"please die ')]), encoding="utf-8")
    _show_the_problem(study)
    with pytest.raises(RunError, match="the engine died") as caught:
        run_stage("persona")
    assert "log" in str(caught.value.hint)
    assert not (study.project / "data" / "personas").exists()
    path.write_text("".join(lines), encoding="utf-8")
    run_stage("persona")
    assert len(list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))) == 8


def test_a_refused_request_stops_the_stage(study: Study, engines: Any) -> None:
    _prepare()
    path = study.problems_path("arithmetic")
    path.write_text(path.read_text(encoding="utf-8").replace('"text":"', '"text":"please refuse ', 1), encoding="utf-8")
    with pytest.raises(RunError, match="refused request `arithmetic/train_00000/random`"):
        _show_the_problem(study)
        run_stage("persona")


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
        (f"{TRAIN}.jsonl", '"text":"', '"text":', "persona", FaultsError, r"arithmetic\.jsonl:1:\d+: broken JSON"),
        (f"{TRAIN}.jsonl", "train_00001", "train_00000", "persona", FaultsError, ":2: duplicate of line 1"),
        (f"{TRAIN}.jsonl", '"text"', '"txt"', "persona", FaultsError, ":1: `text`: field required"),
        (
            "personas/arithmetic/none.jsonl",
            "train_00001",
            "x",
            "query",
            DataError,
            "no persona row for .*`train_00001`",
        ),
        ("queries/train/arithmetic/none.jsonl", '"solution"', '"s"', "train", FaultsError, "`s`: extra inputs"),
        (f"queries/{CELL}", '"role":"user"', '"role":"usr"', "generate", FaultsError, "role"),
        (
            f"responses/{BASE}",
            "test_00000",
            "other",
            "grade",
            DataError,
            "`arithmetic_test/other/none` is not a query of `arithmetic_test` under test strategy `none`",
        ),
        (f"verdicts/{BASE}", '"incorrect"', '"wrong"', "measure", FaultsError, "`verdict`: input should be"),
    ],
    ids=["json", "duplicate", "field", "persona", "query", "role", "response", "verdict"],
)
def test_a_bad_row_stops_its_stage_and_is_named(
    study: Study,
    engines: Any,
    file: str,
    old: str,
    new: str,
    stage: str,
    error: type[ItsError],
    message: str,
) -> None:
    _prepare()
    steps = ["persona", "query", "train", "generate", "grade", "measure"]
    for step in steps[: steps.index(stage)]:
        _train() if step == "train" else run_stage(step)
    _spoil(study.project / "data" / file, old, new)
    with pytest.raises(error, match=message):
        _train() if stage == "train" else run_stage(stage)


def test_missing_verdicts_stop_the_measure(study: Study, engines: Any) -> None:
    _run(study, engines)
    path = study.verdicts_path(study.checkpoints()[0], "arithmetic_test", "none")
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="`test_00007` has 0 verdicts, n is 1"):
        run_stage("measure")


def test_a_checkpoint_that_was_not_trained_is_named(study: Study, engines: Any) -> None:
    _prepare()
    run_stage("persona")
    run_stage("query")
    with pytest.raises(MissingError, match="arithmetic-none-1: no trained model") as caught:
        run_stage("generate")
    assert "dvc repro" in str(caught.value.hint)


def test_a_missing_environment_is_named_with_its_remedy(study: Study) -> None:
    shutil.rmtree(study.home / "envs")
    _prepare()
    with pytest.raises(MissingError, match="the engine environment `vllm` is not installed") as caught:
        run_stage("persona")
    assert caught.value.hint == "`its env sync vllm`"


def test_the_card_tells_what_happened(study: Study) -> None:
    _prepare()
    card = json.loads(study.card_path("arithmetic").read_text(encoding="utf-8"))
    assert [step["step"] for step in card["steps"]] == ["loaded", "decontamination (arithmetic_test)"]
    assert (card["rows"], card["with_reference"], card["with_solution"]) == (8, 8, 8)
    folder = study.card_path("arithmetic").parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "card.md",
        "overlap.jsonl",
        "quarantine.jsonl",
    ]
    assert "8 problems" in (folder / "card.md").read_text(encoding="utf-8")


def test_more_examples_than_problems(study: Study, engines: Any, edit: Edit) -> None:
    edit(("  examples: #", "  examples: 20"))
    _run(study, engines)
    assert run_stage("report")


def test_the_table_is_printed(study: Study, engines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _run(study, engines)
    run_stage("report")
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


def test_cells_generated_with_different_settings_are_flagged(study: Study, engines: Any) -> None:
    _run(study, engines)
    path = study.sessions_path()
    sessions = json.loads(path.read_text(encoding="utf-8"))
    assert set(sessions) == set(CHECKPOINTS)
    assert sessions[CHECKPOINTS[1]]["model"].startswith("sha256:")
    comparisons = json.loads(study.results("comparisons.json").read_text(encoding="utf-8"))["comparisons"]
    assert [item["different_settings"] for item in comparisons] == [{}] * len(comparisons)
    sessions[CHECKPOINTS[1]]["arguments"]["dtype"] = "bfloat16"
    path.write_text(json.dumps(sessions), encoding="utf-8")
    run_stage("measure")
    comparisons = json.loads(study.results("comparisons.json").read_text(encoding="utf-8"))["comparisons"]
    flagged = {item["name"] for item in comparisons if item["different_settings"]}
    assert flagged == {"trained - base", "XX - NN", "XX - NX", "co-design: (XX - XN) - (NX - NN)"}
    assert comparisons[0]["different_settings"] == {"arguments.dtype": ["bfloat16", "float32"]}
    run_stage("report")
    page = study.results("report.html").read_text(encoding="utf-8")
    assert "cells generated with different settings are compared" in page and "bfloat16 / float32" in page
    assert "vLLM on a CPU: the same requests in the same order give the same texts" in page


# What Qwen3's template writes where a request turns thinking off: the engine is sent ids that training never saw.
UNLIKE = CHATML.replace("assistant\\n", "assistant\\n<think>\\n\\n</think>\\n\\n")


def test_answers_to_prompts_that_training_did_not_see_are_refused(study: Study, engines: Any) -> None:
    _prepare()
    _script(study, engines, template=UNLIKE)
    run_stage("persona")
    run_stage("query")
    _train()
    personas = len(engines.asked())
    with pytest.raises(RunError, match="training and test would see different prompts: ") as caught:
        run_stage("generate")
    assert "`smollm2_135m-base/arithmetic_test/test_0000" in caught.value.message
    assert not list((study.project / "data" / "responses").rglob("*.jsonl"))
    asked = len(engines.asked())
    assert personas < asked < personas + 48, "it goes on asking"
    with Store(study.home / "store.sqlite") as store:
        assert store_stats(store)["responses"] == personas, "a refused answer is kept"
    _script(study, engines)
    assert "(48 generated, 0 from the store); prompt ids equal to training: 3 of 3 checkpoints" in run_stage("generate")
    sessions = json.loads(study.sessions_path().read_text(encoding="utf-8"))
    assert {session["prompt_ids"] for session in sessions.values()} == {"compared"}


def test_stored_answers_to_other_prompts_are_refused_too(
    study: Study, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepare()
    _script(study, engines, template=UNLIKE)
    run_stage("persona")
    run_stage("query")
    _train()
    with monkeypatch.context() as patched:
        patched.setattr("its.parity.PromptCheck.check", lambda self, answers: None)  # as former versions did
        with pytest.raises(RunError, match=r"^8 responses are refused, since"):
            run_stage("generate")
    assert not list((study.project / "data" / "responses").rglob("*.jsonl"))
    with pytest.raises(RunError, match=r"^8 responses are refused, .*; and 5 more$"):
        run_stage("generate")


def test_rejected_personas_are_cited_and_replayed(study: Study, engines: Any, edit: Edit) -> None:
    _prepare()
    problems = {problem.text: ["cut: potter", " potter."] for problem in study.problems("arithmetic_test")}
    engines.tell(personas={text[:60]: tries for text, tries in problems.items()})
    run_stage("persona")
    before = {path: path.read_bytes() for path in (study.project / "data" / "personas").rglob("*.jsonl")}
    rows = list(read_rows(study.personas_path("arithmetic_test", "random"), Persona))
    assert all(row.attempts == len(row.rejected_keys) + 1 for row in rows)
    edit(("  kind: vllm", "  kind: replay"))
    run_stage("persona")
    assert before == {path: path.read_bytes() for path in before}


def _served(study: Study, edit: Edit, server: FakeServer, more: str = "") -> None:
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n{more}"
    edit(("  kind: vllm\n", f"  kind: {told}"), (f"  options:\n{options}", "  options: {}\n"))
    _prepare()
    run_stage("persona")
    run_stage("query")
    _train()


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
    _prepare()
    options = "    enforce_eager: true\n    enable_chunked_prefill: false\n    max_num_batched_tokens: #\n"
    with FakeServer(models=["smollm2_135m", *CHECKPOINTS[1:]]) as server:
        told = f"openai\n  openai:\n    servers: [{{url: '{server.url}'}}]\n    price: {{prompt: 1.0, completion: 2.0}}"
        edit(("  kind: vllm", f"  kind: {told}"), (f"  options:\n{options}", "  options: {top_k: 5}\n"))
        run_stage("persona")
        run_stage("query")
        _train()
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


def _varied(edit: Edit, *, seeds: str = "[1]", design: str = "") -> Study:
    """Two variants and a checkpoint in the middle of each training, up to the queries."""
    edit(
        ("  seeds: [1]\n", f"  seeds: {seeds}\n  variants: [default, fast]\n  checkpoints: [last, 1/2]\n{design}"),
        (
            "  hardware: cpu\n",
            "  hardware: cpu\n  datasets: {arithmetic: {global_batch_size: 2, micro_batch_size: 2}}\n"
            "  variants: {fast: {learning_rate: 3.0e-4}}\n",
        ),
    )
    study = load_study()
    _prepare()
    run_stage("persona")
    run_stage("query")
    return study


def _trained(folder: Path) -> dict[str, bytes]:
    """The weights of each checkpoint in a combination's folder, by its place there."""
    return {
        str(path.parent.relative_to(folder)): (path.parent / "model.safetensors").read_bytes()
        for path in folder.rglob("its_sound.json")
    }


def test_a_whole_run_of_variants_and_earlier_checkpoints(study: Study, engines: Any, edit: Edit) -> None:
    study = _varied(edit)
    _script(study, engines)
    _train()
    for strategy in ("none", "random"):
        name = f"smollm2_135m-arithmetic-{strategy}-1"
        weights = _trained(study.project / "models" / name)
        assert weights.keys() == {".", "1of2", "fast", "fast-1of2"} and len(set(weights.values())) == 4
        for place in weights:
            folder = study.project / "models" / name / place
            assert json.loads((folder / "its_parity.json").read_text(encoding="utf-8"))["faults"] == 0
            assert (folder / "axolotl.yaml").is_file() and not (folder / "its_saved.json").exists()
        curves = {path.name for path in study.results("loss", name).iterdir()}
        assert curves == {f"{name}.csv", f"{name}-fast.csv"}
        costs = read_cost(study.results("cost", f"train-{name}.json"))
        assert [row.what for row in costs] == [f"train {name}", f"train {name}-fast"]
    run_stage("generate")
    names = {checkpoint.name for checkpoint in study.checkpoints()}
    assert len(names) == 1 + 2 * 2 * 2
    assert {path.name for path in (study.project / "data" / "responses").iterdir() if path.is_dir()} == names
    assert _cost(study) == {f"generate {name}": (16, 16, 0) for name in names}


def test_equal_trainings_are_one_whatever_they_are_called(study: Study, engines: Any, edit: Edit) -> None:
    """And it saves what any of them wants."""
    study = _varied(edit)
    name = "smollm2_135m-arithmetic-none-1"
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    first, second = json.loads(path.read_text(encoding="utf-8"))["trainings"]
    first["checkpoints"] = ["last"]
    same = {**first, "variant": "same", "checkpoints": ["1/2", "last"]}
    path.write_text(json.dumps({"trainings": [first, second, same]}), encoding="utf-8")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "1").splitlines()
    weights = _trained(study.project / "models" / name)
    assert weights.keys() == {".", "same", "same-1of2", "fast", "fast-1of2"}
    assert weights["same"] == weights["."] != weights["same-1of2"]
    costs = read_cost(study.results("cost", f"train-{name}.json"))
    assert [row.what for row in costs] == [f"train {name} and {name}-same", f"train {name}-fast"]
    assert len(list(study.home.glob("training/*/done.json"))) == 2
    assert f"{name}-same: the same training" in said[0] and "1/2 is step 2" in said[0]


def test_a_combination_that_the_design_leaves_out_is_empty(study: Study, engines: Any, edit: Edit) -> None:
    left_out = "{train: none, seed: 2}, {train: random, variant: fast, checkpoint: last}"
    study = _varied(edit, seeds="[1, 2]", design=f"  except: [{left_out}]\n")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "2")
    name = "smollm2_135m-arithmetic-none-2"
    assert said == f"models/{name}: not in the design (`design.only`, `design.except`): nothing to train"
    assert list((study.project / "models" / name).iterdir()) == []
    (curve,) = study.results("loss", name).iterdir()  # a folder that git keeps
    assert curve.read_text(encoding="utf-8") == "step,loss,learning_rate,grad_norm\n"
    assert read_cost(study.results("cost", f"train-{name}.json")) == []
    run_stage("train", "smollm2_135m", "arithmetic", "random", "1")
    name = "smollm2_135m-arithmetic-random-1"
    assert _trained(study.project / "models" / name).keys() == {".", "1of2", "fast-1of2"}
    assert len(list(study.results("loss", name).iterdir())) == 2


def test_a_training_that_was_finished_before_another_failed_is_reused(
    study: Study, engines: Any, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _varied(edit)
    name = "smollm2_135m-arithmetic-none-1"
    monkeypatch.setenv("ITS_FAKE_TRAINING", "fail_0.0003")
    with pytest.raises(RunError, match="axolotl failed"):
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    assert not (study.project / "models" / name).exists()
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    said = run_stage("train", "smollm2_135m", "arithmetic", "none", "1").splitlines()
    assert f"models/{name}: reused" in said[0] and f"models/{name}/fast: trained" in said[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "../../../evil"}, "not what `query` writes"),
        ({"variant": "/tmp/evil"}, "not what `query` writes"),
        ({"checkpoints": ["../1/2"]}, "not what `query` writes"),
        ({"checkpoints": []}, "not what `query` writes"),
        ({"axolotl": {"trainer_cls": "evil.Trainer"}}, "`train.axolotl.trainer_cls` imports and runs what it names"),
        ({"launcher_args": ["--module"]}, "`train.launcher_args.--module` runs something other than the training"),
        ({"template": "../params.yaml"}, "`../params.yaml` is outside `recipes/axolotl/`"),
        ({"epochs": -1}, "not what `query` writes"),
    ],
)
def test_trainings_of_someone_else_run_no_code_and_stay_in_their_folder(
    study: Study, engines: Any, edit: Edit, change: dict[str, Any], message: str
) -> None:
    """The file may have been pulled from someone else's remote; what params.yaml says of `train` is not in it."""
    study = _varied(edit)
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    row = json.loads(path.read_text(encoding="utf-8"))["trainings"][0]
    if set(change) <= {"variant", "checkpoints"}:
        row |= change
    else:
        row["train"] |= change
    path.write_text(json.dumps({"trainings": [row]}), encoding="utf-8")
    with pytest.raises(ItsError) as caught:
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    assert message in str(caught.value) and path.name in str(caught.value)
    assert not (study.project / "models").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"trainings": 5}', '{"trainings": [{}]}', '{"trainings": [{"variant": "a"}]}', "{"]
)
def test_trainings_that_query_did_not_write_are_named(study: Study, engines: Any, edit: Edit, text: str) -> None:
    study = _varied(edit)
    path = study.trainings_path("smollm2_135m", "arithmetic", "none", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=path.name):
        run_stage("train", "smollm2_135m", "arithmetic", "none", "1")


def test_finished_trainings_without_a_checkpoint_are_named_at_once(study: Study, engines: Any, edit: Edit) -> None:
    study = _varied(edit)
    words = ("train", "smollm2_135m", "arithmetic", "none", "1")
    run_stage(*words)
    edit(("  checkpoints: [last, 1/2]\n", "  checkpoints: [last, 1/4, 1/2, 3/4]\n"))
    run_stage("query")
    with pytest.raises(FaultsError) as caught:
        run_stage(*words)
    folders = sorted((study.home / "training").iterdir())
    assert len(folders) == len(caught.value.faults) == 2
    for folder in folders:
        (fault,) = [fault for fault in caught.value.faults if str(folder) in fault.message]
        assert fault.where == "params.yaml" and "its checkpoints at `1/4` and `3/4` were not saved" in fault.message
        assert fault.hint is not None and f"`rm -r {folder}`" in fault.hint
        shutil.rmtree(folder)
    run_stage(*words)


def test_a_checkpoint_without_its_own_step_is_named_before_any_training(study: Study, engines: Any, edit: Edit) -> None:
    """With every fault at once, and the trainings that have it."""
    edit(
        ("  seeds: [1]\n", "  seeds: [1]\n  variants: [default, long]\n  checkpoints: [last, 1/3, 1/9]\n"),
        ("  hardware: cpu\n", "  hardware: cpu\n  variants: {long: {epochs: 4}}\n"),
        ("  epochs: #\n", "  epochs: 3\n"),
        ("  global_batch_size: #\n", "  global_batch_size: 8\n"),
        ("  micro_batch_size: #\n", "  micro_batch_size: 8\n"),
    )
    _prepare()
    run_stage("persona")
    with pytest.raises(FaultsError) as caught:
        run_stage("query")
    name = "smollm2_135m-arithmetic-none-1"
    assert [fault.message for fault in caught.value.faults] == [
        f"`design.checkpoints`: a training of 3 steps has no step before its last at `1/9` ({name} and 1 more)",
        f"`design.checkpoints`: a training of 4 steps has no step before its last at `1/9` ({name}-long and 1 more)",
    ]
