"""A whole run, prepare to report, over fake engine environments: stages, worker and plugin are the real ones."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.stage_samples import (
    CHECKPOINTS,
    Edit,
    prepare_sets,
    responses_of,
    run_prepared,
    run_through,
    train_all,
)

from its.cli.main import main
from its.errors import MissingError
from its.rows import read_rows
from its.study.study import Study
from its.types import Persona, Problem, Query, Response, Verdict


def _count(folder: Path, kind: type[Any]) -> dict[str, int]:
    found = {}
    for path in sorted(folder.rglob("*.jsonl")):
        found[str(path.relative_to(folder).with_suffix(""))] = len(list(read_rows(path, kind)))
    return found


def test_a_whole_run(study: Study, engines: Any) -> None:
    run_through(study, engines)
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
    assert responses_of(study) == {f"generate {name}": (16, 16, 0) for name in CHECKPOINTS}

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
    run_through(study, engines)
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
    prepare_sets()
    run_stage("persona")
    run_stage("query")
    train_all()
    assert "(0 generated, 48 from the store)" in run_stage("generate")
    assert responses_of(study) == {f"generate {name}": (16, 0, 16) for name in CHECKPOINTS}
    run_stage("grade")
    run_stage("measure")
    assert len(engines.asked()) == asked
    assert {path: path.read_bytes() for path in before} == before


def test_replay_needs_no_engine_and_says_what_it_lacks(study: Study, engines: Any, edit: Edit) -> None:
    prepare_sets()
    run_stage("persona")
    edit(("  kind: vllm", "  kind: replay"))
    run_stage("persona")
    run_stage("query")
    train_all()
    with pytest.raises(MissingError, match=r"48 responses are not in the store .*16 of 16 to smollm2_135m-base"):
        run_stage("generate")
    assert not (study.project / "data" / "responses").exists()


def test_problem_ids_may_contain_a_slash(study: Study, engines: Any) -> None:
    prepare_sets()
    for name in ("arithmetic", "arithmetic_test"):
        path = study.problems_path(name)
        path.write_text(path.read_text(encoding="utf-8").replace('"problem_id":"', '"problem_id":"a/b/'), "utf-8")
    run_prepared(study, engines)
    assert run_stage("measure").startswith("results: 6 cells")


def test_a_checkpoint_that_was_not_trained_is_named(study: Study, engines: Any) -> None:
    prepare_sets()
    run_stage("persona")
    run_stage("query")
    with pytest.raises(MissingError, match="arithmetic-none-1: no trained model") as caught:
        run_stage("generate")
    assert "dvc repro" in str(caught.value.hint)


def test_a_missing_environment_is_named_with_its_remedy(study: Study) -> None:
    shutil.rmtree(study.home / "envs")
    prepare_sets()
    with pytest.raises(MissingError, match="the engine environment `vllm` is not installed") as caught:
        run_stage("persona")
    assert caught.value.hint == "`its env sync vllm`"


def test_the_card_tells_what_happened(study: Study) -> None:
    prepare_sets()
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
    run_through(study, engines)
    assert run_stage("report")


def test_the_table_is_printed(study: Study, engines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run_through(study, engines)
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
    run_through(study, engines)
    capable = {item["model"] for item in engines.asked() if "worker_extension_cls" in item["options"]}
    assert len(capable) == 2  # the trained ones share an engine; the base's folder is of another shape here


def test_cells_generated_with_different_settings_are_flagged(study: Study, engines: Any) -> None:
    run_through(study, engines)
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
