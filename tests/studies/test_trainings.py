"""Change what a study trains: once `query` ran, `dvc status` names the trainings that change, and no other.

What stage `train` does for a combination is in a file that `query` writes, so that neither the section `train` nor the
design is a parameter of it. The project is a copy under real DVC, trained over the fake engines.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.environments import FakeEngines
from fakes.tiny_tokenizer import TinyTokenizer
from running import copy_project, run_stage, user_environment
from sampled import spread
from studies.quick import Forks, opened

ARITHMETIC = {f"train@m-arithmetic-{strategy}-1" for strategy in ("none", "random")}
MORE = {f"train@m-more-{strategy}-1" for strategy in ("none", "random")}
ALL = ARITHMETIC | MORE
MODEL = """models:
  m:
    source: {kind: folder, path: base}
    dtype: bfloat16
    context_length: 4096
    special_tokens: {bos: <|im_start|>, eos: <|im_end|>, pad: <|im_end|>}

"""
SET = """  {name}:
    source:
      kind: procedural
      generator: arithmetic
      size: {size}
      split: {split}
      steps: [2, 3]
      templates: [collection, boxes]
"""
DESIGN = """design:
  models: [m]
  datasets: [arithmetic, more]
  train: [none, random]
  seeds: [1]
  benchmarks: [arithmetic_test]
  test: [none, random]
  base: true
"""
TRAINED = """  models: {}
  datasets: {}
  variants:
    fast: {learning_rate: 5.0e-4}
"""
LATER = "  base: true\n"


@dataclass(frozen=True)
class Change:
    """Texts of params.yaml to replace, and the trainings that are others then; `added` ones are new."""

    what: str
    pairs: tuple[tuple[str, str], ...]
    stages: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.what


def change(what: str, *pairs: tuple[str, str], stages: set[str] = frozenset(), added: set[str] = frozenset()) -> Change:  # type: ignore[assignment]
    return Change(what, pairs, frozenset(stages), frozenset(added))


def design(lines: str) -> tuple[str, str]:
    return LATER, f"{LATER}{lines}"


LORA = "{fast: {learning_rate: 5.0e-4}, slow: {learning_rate: 1.0e-5}}\n"
VARIANTS = ("  variants:\n    fast: {learning_rate: 5.0e-4}\n", f"  variants: {LORA}")
CHANGES = [
    change("the learning rate", ("learning_rate: 1.0e-4", "learning_rate: 2.0e-4"), stages=ALL),
    change("an overlay of a dataset", ("  datasets: {}", "  datasets: {more: {epochs: 2}}"), stages=MORE),
    change("an overlay of the model", ("  models: {}", "  models: {m: {warmup_ratio: 0.2}}"), stages=ALL),
    change(
        "an overlay that keeps what the top changes",
        ("  epochs: 1\n", "  epochs: 2\n"),
        ("  datasets: {}", "  datasets: {more: {epochs: 1}}"),
        stages=ARITHMETIC,
    ),
    change("the table of axolotl", ("  datasets: {}", "  datasets: {more: {axolotl: {adam_beta1: 0.8}}}"), stages=MORE),
    change("a variant that the design does not name", ("learning_rate: 5.0e-4", "learning_rate: 6.0e-4")),
    change("a new variant", design("  variants: [default, fast]\n"), stages=ALL),
    change(
        "a new variant of one combination",
        VARIANTS,
        design(
            "  variants: [default, slow]\n  except: [{variant: slow, dataset: more}, {variant: slow, train: none}]\n"
        ),
        stages={"train@m-arithmetic-random-1"},
    ),
    change("a variant instead of the default", design("  variants: [fast]\n"), stages=ALL),
    change("an earlier checkpoint", design("  checkpoints: [last, 1/2]\n"), stages=ALL),
    change(
        "an earlier checkpoint of one dataset",
        design("  checkpoints: [1/2, last]\n  except: [{checkpoint: 1/2, dataset: arithmetic}]\n"),
        stages=MORE,
    ),
    change(
        "one combination left out", design("  except: [{dataset: more, train: none}]\n"), stages={"train@m-more-none-1"}
    ),
    change(
        "one dataset kept, and one combination of the other",
        design("  only: [{dataset: arithmetic}, {dataset: more, train: none}]\n"),
        stages={"train@m-more-random-1"},
    ),
    change("one cell left out", design("  except: [{dataset: more, train: none, test: random}]\n")),
    change("only base under a test strategy", design("  only: [{train: base}, {test: none}]\n")),
    change("the test strategies", ("  test: [none, random]", "  test: [none]")),
    change("the order of the lists", ("  datasets: [arithmetic, more]", "  datasets: [more, arithmetic]")),
    change("base", ("  base: true", "  base: false")),
    change("what happens to long rows", ("  sequence_length: 4096", "  sequence_length: 4096\n  long_rows: drop")),
    change("how responses are sampled", ("  max_tokens: 256", "  max_tokens: 200")),
    change("another seed", ("  seeds: [1]", "  seeds: [1, 2]"), added={stage.removesuffix("1") + "2" for stage in ALL}),
    change(
        "another strategy",
        ("  train: [none, random]", "  train: [none, random, twin]"),
        ("strategies:\n", "strategies:\n  twin:\n    query: prompts/query_plain.j2\n"),
        added={"train@m-arithmetic-twin-1", "train@m-more-twin-1"},
    ),
]


class Project:
    """A copy of the project, trained; `kept` holds what `put_back` puts back."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home, self.kept = folder / "study", folder / "home", folder / "kept"
        copy_project(self.project)
        self.script = folder / "script.json"
        FakeEngines(self.project, self.home, self.script, folder / "asked.jsonl").tell()
        self.params = self.project / "params.yaml"
        (self.project / "base").mkdir()
        (self.project / "base" / "config.json").write_text("{}", encoding="utf-8")
        TinyTokenizer().save(self.project / "base")
        text = self.params.read_text(encoding="utf-8").replace("smollm2_135m", "m")
        text = text[: text.index("models:")] + MODEL + text[text.index("writer:") :]
        sets = [SET.format(name=name, size=size, split="train") for name, size in (("arithmetic", 8), ("more", 12))]
        test = SET.format(name="arithmetic_test", size=4, split="test") + "    answer: integer\n    role: report\n"
        text = (
            text[: text.index("datasets:")]
            + f"datasets:\n{''.join(sets)}\nbenchmarks:\n{test}\n"
            + text[text.index("strategies:") :]
        )
        text = text[: text.index("design:")] + DESIGN + "\n" + text[text.index("prompt:\n") :]
        text = text.replace("  sequence_length: 256\n", f"  sequence_length: 4096\n{TRAINED}")
        self.sound = text.replace(
            "  global_batch_size: 8\n  micro_batch_size: 8", "  global_batch_size: 2\n  micro_batch_size: 2"
        )
        self.params.write_text(self.sound, encoding="utf-8")
        self.run("git", "init", "-q")
        forks = Forks(self.project, self.environment(), folder / "said.txt")
        try:
            forks.reproduce("train")
        finally:
            forks.close()
        for name in ("data", "models", "results", "dvc.lock"):
            source = self.project / name
            shutil.copytree(source, self.kept / name) if source.is_dir() else shutil.copy2(source, self.kept / name)

    def environment(self) -> dict[str, str]:
        return user_environment(self.home) | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "ITS_FAKE_SCRIPT": str(self.script),
        }

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.project, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def trainings(self) -> tuple[set[str], set[str]]:
        """The train stages whose dependencies changed, and those that never ran, as `dvc status` names them."""
        with opened(self.project) as repo:
            found = {stage.rpartition(":")[2]: items for stage, items in repo.status().items() if "train@" in stage}
        changed = {
            stage
            for stage, items in found.items()
            if any("changed deps" in item for item in items if isinstance(item, dict))
        }
        new = {
            stage
            for stage, items in found.items()
            if any("deleted" in (item.get("changed outs") or {}).values() for item in items if isinstance(item, dict))
        }
        return changed - new, new

    def put_back(self) -> None:
        self.params.write_text(self.sound, encoding="utf-8")
        for name in ("data", "models", "results", "dvc.lock"):
            source, target = self.kept / name, self.project / name
            if source.is_dir():
                shutil.rmtree(target)
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("trainings"))


@pytest.fixture
def project(trained: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The trained project as the current folder, for stages in this process: DVC takes seconds to start."""
    monkeypatch.chdir(trained.project)
    monkeypatch.setenv("ITS_HOME", str(trained.home))
    monkeypatch.setenv("ITS_FAKE_SCRIPT", str(trained.script))
    yield trained
    trained.put_back()


def _edit(project: Project, pairs: tuple[tuple[str, str], ...]) -> None:
    text = project.sound
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    project.params.write_text(text, encoding="utf-8")


def test_nothing_is_named_before_a_change(project: Project) -> None:
    assert project.trainings() == (set(), set())


@pytest.mark.parametrize("change", spread(CHANGES, 2), ids=str)
def test_a_change_names_the_trainings_that_it_changes_and_no_other(project: Project, change: Change) -> None:
    _edit(project, change.pairs)
    for stage in ("persona", "query"):
        run_stage(stage)
    assert project.trainings() == (set(change.stages), set(change.added))


def test_what_runs_then_trains_what_is_new_and_leaves_out_what_left(project: Project) -> None:
    """One combination left out, another with a variant and an earlier checkpoint, two as they were."""
    shutil.rmtree(project.home / "training")  # what is finished there has not saved an earlier checkpoint
    _edit(
        project,
        (
            design(
                "  variants: [default, fast]\n  checkpoints: [last, 1/2]\n  except:\n"
                "    - {dataset: more, train: none}\n"
                "    - {dataset: more, variant: fast}\n    - {dataset: more, checkpoint: 1/2}\n"
                "    - {dataset: arithmetic, train: none, variant: fast}\n"
                "    - {dataset: arithmetic, train: none, checkpoint: 1/2}\n"
            ),
        ),
    )
    said = project.run("dvc", "repro", "train")
    ran = {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}
    assert {stage for stage in ran if stage.startswith("train@")} == {
        "train@m-more-none-1",
        "train@m-arithmetic-random-1",
    }
    assert project.trainings() == (set(), set())
    models = project.project / "models"
    assert list((models / "m-more-none-1").iterdir()) == []
    made = {path.parent.relative_to(models).as_posix() for path in models.rglob("its_parity.json")}
    assert made == {
        *("m-arithmetic-none-1", "m-more-random-1", "m-arithmetic-random-1"),
        *(f"m-arithmetic-random-1/{part}" for part in ("fast", "1of2", "fast-1of2")),
    }
    assert sorted(path.name for path in (project.project / "results" / "loss" / "m-arithmetic-random-1").iterdir()) == [
        "m-arithmetic-random-1-fast.csv",
        "m-arithmetic-random-1.csv",
    ]
    again = project.run("dvc", "repro", "train")
    assert "Running stage" not in again
