"""A whole study on real parts: DVC, vLLM and Axolotl on the CPU, SmolLM2-135M; killed in three stages on its way."""

from __future__ import annotations

import json
import re
import time

import pytest
from integration.clone import NONE, RANDOM, SAVED, STEPS, TEST, TRAIN, Clone, Facts, lines, read

from its.environments import find_environment
from its.store import Store

pytestmark = pytest.mark.integration


def test_nothing_outlives_a_kill(study: Facts) -> None:
    assert study.survivors == []


def test_stored_responses_are_not_generated_again(clone: Clone, study: Facts) -> None:
    persona = read(clone.path / "results" / "cost" / "persona.json")[0]
    assert study.personas_before_kill >= 5
    assert persona["from_store"] >= study.personas_before_kill
    assert persona["generated"] + persona["from_store"] == persona["responses"]
    generate = read(clone.path / "results" / "cost" / "generate.json")
    assert sum(item["from_store"] for item in generate) >= study.responses_before_kill >= 5
    assert sum(item["generated"] for item in generate) == 3 * 2 * TEST - sum(item["from_store"] for item in generate)


def test_training_resumes_from_its_last_saved_step(clone: Clone, study: Facts) -> None:
    """Steps after the last save are taken twice, those before it once."""
    redone = study.steps_taken - STEPS
    assert 1 <= redone <= study.steps_before_kill - SAVED
    curve = (clone.path / "results" / "loss" / NONE / f"{NONE}.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in curve] == list(range(1, STEPS + 1))


def test_every_row_is_there_once(clone: Clone, study: Facts) -> None:
    data = clone.path / "data"
    for strategy in ("none", "random"):
        assert len(lines(data / "personas" / "arithmetic" / f"{strategy}.jsonl")) == TRAIN
        assert len(lines(data / "queries" / "train" / "arithmetic" / f"{strategy}.jsonl")) == TRAIN
        for checkpoint in ("smollm2_135m-base", NONE, RANDOM):
            responses = lines(data / "responses" / checkpoint / "arithmetic_test" / f"{strategy}.jsonl")
            verdicts = lines(data / "verdicts" / checkpoint / "arithmetic_test" / f"{strategy}.jsonl")
            assert len({row["query_id"] for row in responses}) == len(responses) == len(verdicts) == TEST
    cells = read(clone.path / "results" / "cells.json")["cells"]
    assert len(cells) == 6
    assert all(0 <= cell["low"] <= cell["avg"] <= cell["high"] <= 1 for cell in cells)


def test_personas_are_written_by_the_model(clone: Clone, study: Facts) -> None:
    rows = lines(clone.path / "data" / "personas" / "arithmetic" / "random.jsonl")
    assert all(row["text"].startswith("You are a") for row in rows)
    assert len({row["text"] for row in rows}) > TRAIN * 0.8
    assert all(row["request_key"] for row in rows)


def test_parity_was_proved_on_the_trained_rows(clone: Clone, study: Facts) -> None:
    for checkpoint in (NONE, RANDOM):
        report = read(clone.path / "models" / checkpoint / "its_parity.json")
        assert report["rows"] == TRAIN and report["faults"] == 0
        assert report["end_of_turn"] == "<|im_end|>"
        config = (clone.path / "models" / checkpoint / "axolotl.yaml").read_text(encoding="utf-8")
        assert str(clone.home) not in config and "its_axolotl.ItsPlugin" in config


def test_engine_saw_the_tokens_that_training_would(clone: Clone, study: Facts) -> None:
    """The prompt that vLLM tokenised equals the training environment's tokens of the same query, by hash."""
    query = lines(clone.path / "data" / "queries" / "test" / "arithmetic_test" / "random.jsonl")[0]
    response = lines(clone.path / "data" / "responses" / RANDOM / "arithmetic_test" / "random.jsonl")[0]
    assert query["query_id"] == response["query_id"]
    program = (
        "import hashlib, json, sys; from transformers import AutoTokenizer;"
        "t = AutoTokenizer.from_pretrained(sys.argv[1]);"
        "m = json.loads(sys.argv[2]);"
        "ids = t.apply_chat_template(m, add_generation_prompt=True, tokenize=True, return_dict=False);"
        "print('hash', hashlib.sha256(','.join(map(str, ids)).encode()).hexdigest())"
    )
    python = find_environment("axolotl", clone.path, clone.home).python
    text = clone.run(str(python), "-c", program, f"models/{RANDOM}", json.dumps(query["messages"]))
    hashed = next(line.split()[1] for line in text.splitlines() if line.startswith("hash "))
    with Store(clone.home / "store.sqlite") as store:
        ((_, stored),) = store.find([response["request_key"]])
    assert stored["prompt_sha256"] == hashed


def test_trained_models_stop_by_themselves(clone: Clone, study: Facts) -> None:
    """48 rows are enough to learn to end the turn; a model that never learned it runs to the limit."""
    rows = lines(clone.path / "data" / "responses" / NONE / "arithmetic_test" / "none.jsonl")
    assert sum(row["finish_reason"] == "stop" for row in rows) >= TEST * 0.8


def test_report_is_whole(clone: Clone, study: Facts) -> None:
    page = (clone.path / "results" / "report.html").read_text(encoding="utf-8")
    assert "135M" in page and "noise" in page
    for block in ("NN", "NX", "XN", "XX"):
        assert block in page
    table = clone.run("its", "results", "table")
    assert "random" in table and "report.html" in table


def test_second_run_runs_nothing(clone: Clone, study: Facts) -> None:
    text = clone.run("dvc", "repro")
    assert "Running stage" not in text
    assert "up to date" in text


def test_forced_stage_starts_no_engine(clone: Clone, study: Facts) -> None:
    before = clone.stored()
    rows = (clone.path / "data" / "responses" / NONE / "arithmetic_test" / "none.jsonl").read_bytes()
    text = clone.run("dvc", "repro", "-f", "-s", "generate")
    assert "starting vLLM" not in text
    assert clone.stored() == before
    assert (clone.path / "data" / "responses" / NONE / "arithmetic_test" / "none.jsonl").read_bytes() == rows


def test_regrade_tells_what_another_grader_changes(clone: Clone, study: Facts) -> None:
    """Verdicts as a former grader would have left them: `its regrade` has DVC grade again, and asks no model."""
    clone.run("dvc", "repro")
    cells, stored = read(clone.path / "results" / "cells.json"), clone.stored()
    path = clone.path / "data" / "verdicts" / NONE / "arithmetic_test" / "none.jsonl"
    sound = path.read_bytes()
    rows = [row | {"grader_version": "1"} for row in lines(path)]
    right = sum(row["verdict"] == "correct" for row in rows)
    rows[0]["verdict"] = "incorrect" if rows[0]["verdict"] == "correct" else "correct"
    path.unlink()  # DVC may have linked it to its cache
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    changed = path.read_bytes()
    told = clone.run("its", "regrade", "--dry-run")
    assert f"1 of {3 * 2 * TEST} verdicts would change" in told and path.read_bytes() == changed
    told = clone.run("its", "regrade")
    assert f"1 of {3 * 2 * TEST} verdicts changed" in told and "starting vLLM" not in told
    assert f"{NONE}/arithmetic_test/none: correct " in told and f" -> {right}\n" in told
    assert path.read_bytes() == sound and clone.stored() == stored
    text = clone.run("dvc", "repro")
    assert "Running stage 'generate" not in text and "Running stage 'grade" not in text
    assert read(clone.path / "results" / "cells.json") == cells


def test_fewer_test_strategies_train_nothing(clone: Clone, study: Facts) -> None:
    clone.run("dvc", "repro")
    text = clone.run("dvc", "exp", "run", "-S", "design.test=[none]")
    assert "Running stage 'train" not in text and "starting vLLM" not in text
    assert len(read(clone.path / "results" / "cells.json")["cells"]) == 3
    clone.run("git", "checkout", "-q", "params.yaml")
    clone.run("dvc", "repro")
    assert len(read(clone.path / "results" / "cells.json")["cells"]) == 6


def test_queued_sweep(clone: Clone, study: Facts) -> None:
    """Two queued experiments share the home: nothing is trained or generated again."""
    before = clone.stored()
    clone.run("dvc", "exp", "run", "--queue", "-S", "measure.draws=500,600")
    clone.run("dvc", "queue", "start", "-j", "2")
    limit = time.monotonic() + 300
    while True:  # DVC lists what runs before what waits: one that starts in between is in neither list
        shown = clone.run("dvc", "queue", "status")
        ended = re.findall(r"^\w{7}\s+(\S+) .*(Success|Failed)\s*$", shown, re.MULTILINE)
        if len(ended) == 2:
            break
        assert time.monotonic() < limit, shown
        time.sleep(2)
    for name, status in ended:
        assert status == "Success", clone.run("dvc", "queue", "logs", name)
    assert clone.stored() == before


def test_dvc_says_something_useful(clone: Clone, study: Facts) -> None:
    assert "generate" in clone.run("dvc", "dag")
    assert "arithmetic_test.XX" in clone.run("dvc", "metrics", "show")
    clone.run("its", "recipe", "use", "quickstart", "--force")
    assert "datasets.arithmetic.source.size" in clone.run("dvc", "params", "diff")
    clone.run("git", "checkout", "-q", "params.yaml")
    clone.run("dvc", "plots", "show")
    assert (clone.path / "dvc_plots" / "index.html").is_file()


def test_an_engine_that_cannot_start_is_one_clear_error(
    clone: Clone, study: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.run("git", "checkout", "-q", "params.yaml")
    text = (clone.path / "params.yaml").read_text(encoding="utf-8")
    (clone.path / "params.yaml").write_text(
        text.replace("enforce_eager: true", "no_such_option: true"), encoding="utf-8"
    )
    refused = clone.run("python", "-m", "its", "generate", code=3)
    assert "`engine.options.no_such_option` is not known to be harmless" in refused
    monkeypatch.setenv("ITS_ALLOW_CODE", "engine.options.no_such_option")
    told = clone.run("python", "-m", "its", "generate", code=1)
    assert "error: the engine failed" in told and "no_such_option" in told and "its log: " in told
    assert "Traceback" not in told
    clone.run("git", "checkout", "-q", "params.yaml")
