"""From a row back to its source, every step with its facts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from unit.data_samples import BASE, SAMPLING, TRAINED, TRAINING_KEY, edit_rows, write_study

from its.commands.lineage import _stages, lineage
from its.errors import DataError, FaultsError, MissingError
from its.recipe.schema import FilesSource
from its.row_ids import Target
from its.study.study import Study, load_study

Keys = dict[str, str]


@pytest.fixture
def study(project: Path) -> Study:
    study = load_study(project)
    source = FilesSource(kind="files", path="data/sources/train.jsonl")
    datasets = study.recipe.datasets
    datasets["arithmetic"] = datasets["arithmetic"].model_copy(update={"source": source})
    return study


@pytest.fixture
def keys(study: Study) -> Keys:
    return write_study(study)


def _steps(study: Study, row_id: str, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lineage(study, row_id, **options)["steps"]
    return found


def _facts(steps: list[dict[str, Any]], what: str) -> dict[str, Any]:
    (step,) = [step for step in steps if step["what"] == what]
    facts: dict[str, Any] = step["facts"]
    return facts


def test_a_verdict_leads_back_to_its_problem(study: Study, keys: Keys) -> None:
    steps = _steps(study, f"{TRAINED}/arithmetic_test/test_00002/random/0")
    assert [step["what"] for step in steps] == [
        "verdict",
        "response",
        "request",
        "engine session",
        "checkpoint",
        "query",
        "persona",
        "persona request",
        "problem",
        "source row",
    ]
    places = {step["what"]: step["where"] for step in steps}
    assert places["verdict"] == f"data/verdicts/{TRAINED}/arithmetic_test/random.jsonl:3"
    assert places["query"] == "data/queries/test/arithmetic_test/random.jsonl:3"
    assert places["problem"] == "data/problems/arithmetic_test.jsonl:3"
    assert _facts(steps, "verdict")["answer"] == "2"
    assert _facts(steps, "response")["request_key"] == "e" * 64
    assert "not in the store" in _facts(steps, "request")["missing"]
    assert _facts(steps, "engine session")["model"] == "sha256:bb"
    checkpoint = _facts(steps, "checkpoint")
    assert checkpoint["training_key"] == TRAINING_KEY
    assert checkpoint["train_queries"] == "data/queries/train/arithmetic/random.jsonl"
    assert checkpoint["parity"] == {"faults": 0, "rows": 3}
    assert _facts(steps, "query")["template"] == "recipes/prompts/query_persona_first.j2"
    assert len(_facts(steps, "query")["template_sha256"]) == 64
    persona = _facts(steps, "persona")
    assert (persona["domain"], persona["attempts"], persona["request_key"]) == ("botany", 2, keys["test_00002"])
    assert len(persona["rejected_keys"]) == 1
    request = _facts(steps, "persona request")
    assert request["messages"][0]["content"].startswith("A persona of botany for: How many is")
    assert (request["sampling"], request["seed"], request["start"]) == (SAMPLING, 21, "You are a")
    assert (request["completion"], request["model"], request["environment_lock"]) == (
        " botanist, try 1",
        "sha256:aa",
        "lock",
    )
    assert _facts(steps, "problem")["steps"] == ["loaded: 5 -> 5", "filter has_box: 5 -> 3"]


def test_the_query_of_a_response_has_the_messages_that_its_model_got(study: Study, keys: Keys) -> None:
    own = [{"role": "user", "content": "the frame of this model"}]

    def framed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "by_model": {"smollm2_135m": own, "other": []}} for row in rows]

    edit_rows(study.queries_path("test", "arithmetic_test", "random"), framed)
    query = _facts(_steps(study, f"{TRAINED}/arithmetic_test/test_00002/random/0"), "query")
    assert query["messages"] == own and "by_model" not in query
    query = _facts(_steps(study, "arithmetic_test/test_00002/random"), "query")
    assert query["messages"] != own and query["by_model"]["smollm2_135m"] == own


def test_a_base_response_has_no_training(study: Study, keys: Keys) -> None:
    steps = _steps(study, "arithmetic_test/test_00000/none", checkpoint=BASE)
    assert _facts(steps, "checkpoint")["trained"] == "no: this is the base model"
    assert "training_key" not in _facts(steps, "checkpoint")
    assert "persona request" not in [step["what"] for step in steps]  # nobody was asked


def test_a_training_row_leads_to_the_line_of_its_source(study: Study, keys: Keys) -> None:
    steps = _steps(study, "arithmetic/train_00001/random")
    assert [step["what"] for step in steps] == ["query", "persona", "persona request", "problem", "source row"]
    assert _facts(steps, "query")["trains"] == [TRAINED]
    assert steps[-1]["where"] == "data/sources/train.jsonl:2"
    assert _facts(steps, "source row")["line"] == '{"question": "number 1"}'


def test_a_checkpoint_is_a_row_too(study: Study, keys: Keys) -> None:
    (step,) = _steps(study, TRAINED)
    assert step["facts"]["training_key"] == TRAINING_KEY
    assert len(step["facts"]["train_queries_sha256"]) == 64
    assert (step["facts"]["variant"], step["facts"]["saved_at"]) == ("default", "last")


def test_a_checkpoint_of_a_variant_names_it_and_when_it_was_saved(
    project: Path, edit: Callable[..., None], study: Study, keys: Keys
) -> None:
    edit(
        ("  base: true\n", "  base: true\n  variants: [default, fast]\n  checkpoints: [last, 1/2]\n"),
        ("  sequence_length: #\n", "  sequence_length: 256\n  variants: {fast: {learning_rate: 1.0}}\n"),
    )
    study = load_study(project)
    facts = {
        name: _steps(study, name)[0]["facts"] for name in (f"{TRAINED}-1of2", f"{TRAINED}-fast", f"{TRAINED}-fast-1of2")
    }
    assert [(fact["variant"], fact["saved_at"]) for fact in facts.values()] == [
        ("default", "1/2"),
        ("fast", "last"),
        ("fast", "1/2"),
    ]


def test_a_source_that_changed_or_is_missing_is_reported(study: Study, keys: Keys) -> None:
    source = study.project / "data" / "sources" / "train.jsonl"
    card = study.project / "data" / "cards" / "arithmetic" / "card.json"
    origin = '"path": "data/sources/train.jsonl"'
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(origin, f'{origin}, "sha256": "{"0" * 64}"'), encoding="utf-8")
    assert "another SHA-256" in _facts(_steps(study, "train_00001"), "source row")["changed"]
    source.unlink()
    assert "does not exist" in _facts(_steps(study, "train_00001"), "source row")["missing"]


@pytest.mark.parametrize("where", ["{secret}:1", "../secret.jsonl:1", "data/sources/../../../secret.jsonl:1", "link:1"])
def test_a_row_shows_no_other_file_than_its_source(study: Study, keys: Keys, tmp_path: Path, where: str) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text("hunter2\n")
    (study.project / "link").symlink_to(secret)
    row = where.format(secret=secret)
    edit_rows(study.problems_path("arithmetic"), lambda rows: [item | {"row": row} for item in rows])
    steps = _steps(study, "train_00001")
    assert "hunter2" not in str(steps)
    assert "not a file that params.yaml declares" in _facts(steps, "source row")["missing"]


def test_without_a_store_the_rest_is_shown(study: Study, keys: Keys) -> None:
    (Path(os.environ["ITS_HOME"]) / "store.sqlite").unlink()
    steps = _steps(study, "arithmetic/train_00001/random")
    assert "there is no store" in _facts(steps, "persona request")["missing"]
    assert not (Path(os.environ["ITS_HOME"]) / "store.sqlite").exists()  # looking makes none
    assert _facts(steps, "problem")["reference"] == "1"


def test_a_persona_of_another_problem_leads_to_that_one(
    study: Study, keys: Keys, edit: Callable[..., None], project: Path
) -> None:
    edit(
        (
            "  unsimilar:\n    persona:",
            "  swapped:\n    query: prompts/query_persona_first.j2\n"
            "    shuffled: {of: random}\n  unsimilar:\n    persona:",
        ),
        ("  train: [none, random]", "  train: [none, random, swapped]"),
    )
    study = load_study(project)
    for folder in ("personas/arithmetic", "queries/train/arithmetic"):
        path = project / "data" / folder / "random.jsonl"
        text = path.read_text(encoding="utf-8").replace('"strategy":"random"', '"strategy":"swapped"')
        path.with_stem("swapped").write_text(text.replace('/random"', '/swapped"'), encoding="utf-8")
    edit_rows(
        study.personas_path("arithmetic", "swapped"),
        lambda rows: [
            {
                "problem_id": row["problem_id"],
                "strategy": "swapped",
                "text": "t",
                "attempts": 0,
                "taken_from": "train_00002",
            }
            for row in rows
        ],
    )
    steps = _steps(study, "arithmetic/train_00000/swapped")
    personas = [step for step in steps if step["what"] == "persona"]
    assert [step["id"] for step in personas] == ["arithmetic/train_00000/swapped", "arithmetic/train_00002/random"]
    assert personas[0]["facts"]["taken_from"] == "train_00002"
    assert _facts(steps, "persona request")["request_key"] == keys["train_00002"]


def test_outside_a_dvc_repository_that_is_said(study: Study, keys: Keys) -> None:
    standing = lineage(study, "train_00001")["standing"]
    assert standing["changed_stages"] is None
    assert "not in a DVC repository" in standing["unknown"]


def test_unknown_and_ambiguous_ids(study: Study, keys: Keys) -> None:
    with pytest.raises(DataError) as caught:
        _steps(study, "arithmetic/train_0001/random")
    assert "`arithmetic/train_00001" in str(caught.value.hint)
    with pytest.raises(DataError, match="matches 3 rows"):  # one response of each checkpoint
        _steps(study, "arithmetic_test/test_00000/none", sample=0)


def test_rows_that_are_missing_or_broken_are_named(study: Study, keys: Keys) -> None:
    queries = study.queries_path("train", "arithmetic", "random")
    edit_rows(queries, lambda rows: rows[:1])
    with pytest.raises(FaultsError, match=r"random\.jsonl: no query of `arithmetic/train_00001/random`"):
        _steps(study, "arithmetic/train_00001/random")
    queries.write_text('{"query_id": \n', encoding="utf-8")
    with pytest.raises(FaultsError, match=r"random\.jsonl:1:\d+: broken JSON"):
        _steps(study, "arithmetic/train_00001/random")
    queries.unlink()
    with pytest.raises(MissingError, match="no such file"):
        _steps(study, "arithmetic/train_00001/random")


def test_nothing_prepared(study: Study) -> None:
    with pytest.raises(MissingError, match="no data set of this study is prepared"):
        _steps(study, "train_00001")


@pytest.mark.parametrize(
    ("kind", "last"),
    [("problem", "prepare_benchmark"), ("query", "query"), ("checkpoint", "train"), ("response", "grade")],
)
def test_a_row_is_of_all_stages_up_to_its_own(
    kind: Literal["problem", "query", "response", "checkpoint"], last: str
) -> None:
    assert _stages(Target(kind))[-1] == last
