"""Change one file or parameter and ask `dvc status`: it names each stage whose rows change, and no engine for less.

The project is a copy under real DVC, run whole over the fake engines. Each change is made, `dvc status` asked, and the
stage run to see that its rows do change; then everything is put back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.environments import FakeEngines
from fakes.tiny_tokenizer import TinyTokenizer
from running import copy_project, user_environment
from sampled import spread
from studies.quick import Forks, opened

from its.recipe.document import read_document

TRAINED = "train@smollm2_135m-arithmetic-none-1"
STAGES = {
    "prepare@arithmetic": ["prepare", "arithmetic"],
    "prepare_benchmark@arithmetic_test": ["prepare", "arithmetic_test"],
    "persona": ["persona"],
    "query": ["query"],
    TRAINED: ["train", "smollm2_135m", "arithmetic", "none", "1"],
    "generate": ["generate"],
    "grade": ["grade"],
    "judge": ["judge"],
    "measure": ["measure"],
    "report": ["report"],
}
STORE = ("store.sqlite", "store.sqlite-wal", "store.sqlite-shm")
ASK_A_MODEL = {"persona", "generate", "judge", TRAINED, "train@smollm2_135m-arithmetic-random-1"}
CELL = "smollm2_135m-arithmetic-random-1/arithmetic_test/none.jsonl"
"""The first that the report shows a response of."""


NO_PERSONAS = """
_kept = Study.persona_texts
Study.persona_texts = lambda *args: dict.fromkeys(_kept(*args), [])
"""


def after(name: str, result: str) -> str:
    """Code at the end of a module, which gives a function of it another result; `out` is the former one."""
    call = f"out = _kept_{name}(*args, **kwargs)"
    return f"\n_kept_{name} = {name}\ndef {name}(*args, **kwargs):\n    {call}\n    return {result}\n"


@dataclass(frozen=True)
class Change:
    """`new` instead of `old` in a file, or behind its end where there is no `old`; what it does to rows.

    A file that is not there is made; one is removed where `new` is None.

    `stages` are named at once. `following` are named once `query` ran: what they do is in a file that it writes.
    """

    file: str
    new: str | None
    old: str = ""
    stages: tuple[str, ...] = field(default=())
    following: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.file} {' '.join((self.old or self.new or 'removed').split())[:40]}"


def code(file: str, new: str, *stages: str, old: str = "") -> Change:
    return Change(f"its/{file}", new, old, stages)


def param(old: str, new: str, *stages: str, following: tuple[str, ...] = ()) -> Change:
    return Change("params.yaml", new, old, stages, following)


ROWS = """
_kept = row_file
@contextmanager
def row_file(path):
    with _kept(path) as write:
        yield write
    with open(path, "a") as out:
        out.write("\\n")
"""
FILES = """
_kept = atomic_file
@contextmanager
def atomic_file(path, *more, **named):
    with _kept(path, *more, **named) as out:
        yield out
        out.write(" ")
"""
WORKER = """
_Kept = Worker
def Worker(models, options, say):
    return _Kept(models, options, lambda message: say(message | {"text": message.get("text", "") + "!"}))

if __name__"""
LOUDER = """(message | {"text": message.get("text", "") + "!"})"""
SAMPLING = """
_kept = Request.determinants
Request.determinants = lambda self: _kept(self) | {"sampling": {**self.sampling, "top_p": 0.5}}
"""
UNLIKE = """
_kept, _seen = canonical, []
def canonical(text):
    _seen.append(text)
    return f"{_kept(text)} {len(_seen)}"
"""
DOCUMENT = """
_kept = Document
class Document(_kept):
    def __init__(self, path, values, node, text=""):
        if "prompt" in values:
            values["prompt"]["user"] += "!"
        super().__init__(path, values, node, text)
"""
MODELS = """models:
  smollm2_135m:
    source: {kind: folder, path: base}
    dtype: bfloat16
    context_length: 4096
    special_tokens: {bos: <|im_start|>, eos: <|im_end|>, pad: <|im_end|>}

"""
SETS = """datasets:
  arithmetic:
    source:
      - {kind: files, path: data/sources/own.jsonl}
      - {kind: files, path: data/sources/shards/}
    preset: gsm8k
    filters: [no_figure]
    duplicates: {kind: exact}
    decontamination: {against: [arithmetic_test], action: flag}
    sample: {size: 5, seed: 1}

benchmarks:
  arithmetic_test:
    source:
      kind: procedural
      generator: arithmetic
      size: 6
      split: test
      steps: [2, 3]
      templates: [collection, boxes, purchase]
    answer: integer
    role: report

"""
NOISE = """strategies:
  noise:
    noise: {like: random}
    query: prompts/query_persona_first.j2
"""
CHECKS = """      max_words: 30
      language: en
      checks: [empty, refuses, leaks, language]

design"""
JUDGE = """  timeout_seconds: 5
  judge:
    model: smollm2_135m
    template: prompts/judge.j2
    sampling: {temperature: 1.0, top_p: 1, max_tokens: 9}
"""
DATASET, BENCHMARK = "prepare@arithmetic", "prepare_benchmark@arithmetic_test"

CHANGES = [
    # code
    code("__init__.py", '\n__version__ = "9"\n', DATASET, BENCHMARK, "report"),
    code(
        "files.py",
        FILES,
        DATASET,
        BENCHMARK,
        "persona",
        "query",
        "generate",
        "grade",
        "judge",
        "measure",
        "report",
    ),
    code("rows.py", ROWS, DATASET, BENCHMARK, "persona", "query", "generate", "grade"),
    code("rows.py", after("_row_json", "out + ' '"), "query", "grade"),
    code("seeds.py", after("derive_seed", "out // 2"), BENCHMARK, "persona", TRAINED, "generate", "measure"),
    code(
        "types.py",
        "    solution: str | None = None\n    made_by: str = 'x'\n",
        DATASET,
        BENCHMARK,
        old="    solution: str | None = None\n",
    ),
    code("recipe/schema/strategies.py", '= "system"', "query", old='= "user"'),
    code(
        "recipe/schema/models.py",
        'default_factory=lambda: [\'x\'])\n    """Texts that end',
        "generate",
        old='default_factory=list)\n    """Texts that end',
    ),
    code("recipe/schema/study.py", "maximum: bool = True", "measure", old="maximum: bool = False"),
    code(
        "recipe/scalars.py",
        after("scalar_value", "out + 1 if out == 17 else out"),
        "persona",
        TRAINED,
        "measure",
    ),
    code(
        "recipe/document.py",
        DOCUMENT,
        "query",
    ),
    code(
        "recipe/presets.py",
        '\nPRESETS["gsm8k"] = Preset(Fields(problem="answer", solution="answer"), "x", None, "file")\n',
        DATASET,
    ),
    code("recipe/axolotl.py", after("rendered_settings", "out | {'adam_beta1': 0.7}"), TRAINED),
    code(
        "sources/problems.py",
        after("map_series", "(row.model_copy(update={'text': row.text + '?'}) for row in out)"),
        DATASET,
    ),
    code("sources/text.py", after("as_text", "out + '!'"), DATASET),
    code("sources/procedural.py", "\nNAMES = NAMES[1:]\n", BENCHMARK),
    code("sources/lines.py", after("bounded_lines", "reversed(list(out))"), DATASET),
    code("curation/sample.py", after("sampled", "reversed(list(out))"), DATASET),
    code("curation/duplicates.py", after("without_exact", "(next(out), out)[1]"), DATASET),
    code(
        "curation/filters.py",
        after("check_of", "lambda problem: 'no' if problem.problem_id.endswith('1') else None"),
        DATASET,
    ),
    code(
        "curation/comparable_text.py",
        UNLIKE,
        DATASET,
    ),
    code("language.py", after("language_of", "'de'"), "persona"),
    code("cards/build.py", after("build_card", "out | {'rows': 77}"), DATASET, BENCHMARK),
    code("cards/markdown.py", after("card_markdown", "out + 'x'"), DATASET, BENCHMARK),
    code("models.py", after("folder_fingerprint", "out + 'x'"), "persona", "generate"),
    code("strategies/persona.py", after("persona_text", "out + ' x'"), "persona"),
    code("strategies/controls.py", after("noise_text", "out + ' x'"), "persona"),
    code("strategies/rules.py", after("persona_flags", "[*out, 'odd']"), "persona"),
    code("strategies/leaks.py", after("leaks", "True"), "persona"),
    code("strategies/similarity.py", '\nSIMILARITY_VERSION = "9"\n', "persona"),
    code("strategies/summary.py", after("persona_summary", "out | {'asked': 0}"), "persona"),
    code("strategies/query.py", after("query_messages", "[*out, *out]"), "query"),
    code("prompts/render.py", after("render", "out + '!' if 'prompts/' in args[1] else out"), "persona", "query"),
    code("prompts/sandbox.py", after("rendered", "out + '!' if 'problem' in args[1] else out"), "persona", "query"),
    code("prompts/filters.py", after("_strip", "out + '!'"), "query"),
    code(
        "engines/protocol.py",
        SAMPLING,
        "persona",
        "generate",
    ),
    code("engines/workers/vllm_worker.py", WORKER, "persona", "generate", "judge", old="\nif __name__"),
    code("engines/workers/its_worker.py", LOUDER, "persona", "generate", "judge", old="(message)"),
    code("store/keys.py", after("vllm_identity", "out | {'more': 1}"), "persona", "generate"),
    code("study/study.py", after("join_query_id", "out + '/'"), "query"),
    code("study/votes.py", after("benchmark_votes", "out[1:]"), "measure"),
    code("study/row_check.py", after("_document", "out | {'more': 1}"), "query"),
    code("study/study.py", NO_PERSONAS, "query"),
    code("training/config.py", after("axolotl_config", "out | {'learning_rate': 0.5}"), TRAINED),
    code("training/run.py", '\nKEPT = (*KEPT, ".log")\n', TRAINED),
    code("grading/extract.py", after("extract_answer", "None"), "grade"),
    code("grading/normalise.py", after("read_answer", "Answer('0')"), "grade"),
    code("grading/equal.py", after("compare_answer", "True"), "grade"),
    code("grading/judge.py", after("judge_opinion", "'unclear'"), "judge"),
    code("metrics/loops.py", after("ends_in_loop", "True"), "measure"),
    code("metrics/cells.py", after("cell_rows", "[row.model_copy(update={'avg': 0.25}) for row in out]"), "measure"),
    code("metrics/pairing.py", after("cell_means", "dict.fromkeys(out, 0.5)"), "measure"),
    code("metrics/votes.py", after("ballot_classes", "[None for _ in out]"), "measure"),
    code("engines/determinism.py", after("determinism_notes", "['never']"), "report"),
    code("report/sentences.py", after("headline_sentences", "['nothing']"), "report"),
    code("report/numbers.py", after("percent", "'one'"), "report"),
    Change("its/report/style.css", "\nbody { color: red; }\n", stages=("report",)),
    Change("its/report/report.html.j2", "<p>more</p>", stages=("report",)),
    # the locks of the environments
    Change("envs/core.txt", "\n# another\n", stages=(DATASET, BENCHMARK)),
    # templates
    Change("recipes/prompts/persona_random.j2", "\nIn French.", stages=("persona",)),
    Change("recipes/prompts/query_plain.j2", "\nThink.", stages=("query",)),
    Change("recipes/prompts/judge.j2", "Are both the same", "Is the given answer the same", stages=("judge",)),
    Change("recipes/axolotl/full_cpu.yaml.j2", "\nadam_beta1: 0.8\n", stages=(TRAINED,)),
    # data
    Change("data/sources/own.jsonl", '{"question": "One more?", "answer": "Two. #### 2"}\n', stages=(DATASET,)),
    Change("data/sources/shards/part-2.jsonl", "the books of", "the pens of", (DATASET,)),
    Change("data/sources/shards/part-3.jsonl", '{"question": "Another?", "answer": "#### 3"}\n', stages=(DATASET,)),
    Change("data/sources/shards/part-2.jsonl", None, stages=(DATASET,)),
    Change("data/problems/arithmetic_test.jsonl", '"text":"Now, ', '"text":"', stages=("query", "report")),
    Change("data/personas/arithmetic/random.jsonl", '"text":"Once', '"text":"You', stages=("query",)),
    Change("data/queries/train/arithmetic/none.jsonl", '"solution":"Well, ', '"solution":"', stages=(TRAINED,)),
    Change("data/queries/test/arithmetic_test/none.jsonl", "How very many", "How many", stages=("generate",)),
    Change(f"data/responses/{CELL}", '"text":"Hm. ', '"text":"', stages=("grade", "report")),
    Change(f"data/verdicts/{CELL}", '"incorrect"', '"correct"', stages=("measure", "report")),
    # parameters
    param("seed: 17", "seed: 18", BENCHMARK, "persona", TRAINED, "measure", "report"),
    param("recipe: quickstart", "recipe: mine", "measure"),
    param("description: Two", "description: Some", "report"),
    param("    temperature: 0.7", "    temperature: 0.6", "persona", "report"),
    param("attempts: 3", "attempts: 2", "report"),
    param("size: 6\n", "size: 5\n", BENCHMARK, "report"),
    param("sample: {size: 5,", "sample: {size: 4,", DATASET, "report"),
    param("      - astronomy\n", "", "persona", "report"),
    param('user: "{{ query }}"', 'user: "Now {{ query }}"', "query", "report"),
    param("query: prompts/query_persona_first.j2", "query: prompts/query_persona_last.j2", "query"),
    param("learning_rate: 1.0e-4", "learning_rate: 2.0e-4", "query", "report", following=(TRAINED,)),
    param("  sequence_length: 4096", "  sequence_length: 4095", "query", "report", following=(TRAINED,)),
    param("  sequence_length: 4096", "  sequence_length: 4096\n  long_rows: drop", "query", "report"),
    param("  sequence_length: 4096", "  sequence_length: 61\n  long_rows: drop", "persona"),
    param("dtype: bfloat16", "dtype: float16", "persona", "generate", "report"),
    param("enforce_eager: true", "enforce_eager: false", "persona", "generate", "report"),
    param("  max_tokens: 256", "  max_tokens: 255", "generate", "report"),
    param("  n: 2", "  n: 1", "generate", "report"),
    param("max_tokens: 9", "max_tokens: 8", "judge", "report"),
    param("answer: integer", "answer: choice", "grade"),
    param("timeout_seconds: 5", "timeout_seconds: 6", "report"),
    param("members: trained", "members: all", "measure", "report"),
    param("draws: 200", "draws: 300", "report"),
    param("maj_k: [1]", "maj_k: [1, 2]", "measure", "report"),
    param("role: report", "role: select", "measure"),
    param("examples: 6", "examples: 5", "report"),
]

COMMENT = "\n# Said otherwise, done the same.\n"
NOTHING = [
    *(
        Change(f"its/{file}", COMMENT)
        for file in (
            *(
                "errors.py",
                "shown.py",
                "progress.py",
                "home.py",
                "interrupts.py",
                "recipe/load.py",
                "recipe/cross_checks.py",
            ),
            *(
                "recipe/template_checks.py",
                "recipe/trust.py",
                "recipe/safe_settings.py",
                "recipe/scaffold.py",
                "sources/declared.py",
            ),
            *(
                "cli/main.py",
                "cli/stages.py",
                "study/access.py",
                "commands/lineage.py",
                "checks/data.py",
                "store/verify.py",
            ),
            *(
                "store/exporting.py",
                "recipe/key_issuers.py",
                "metrics/cells.py",
                "report/build.py",
                "grading/references.py",
            ),
        )
    ),
    Change("its/errors.py", "hint - ", "hint: "),
    Change("its/recipe/load.py", "this ITS reads", "this version of ITS reads"),
    Change("its/report/style.css", "\nbody { color: red; }\n"),
    Change("README.md", "\nMore.\n"),
    Change("docs/design.md", "\nMore.\n"),
    Change("tests/conftest.py", COMMENT),
    Change("recipes/quickstart.yaml", COMMENT),
    param("recipe: quickstart", "recipe: mine"),
    param("description: Two", "description: Some"),
    param("members: trained", "members: all"),
    param("examples: 6", "examples: 5"),
    Change("params.yaml", COMMENT),
]


class Ran:
    """A copy of the project in which every stage ran; `digests` are those of each stage's outs."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home, self.kept = folder / "study", folder / "home", folder / "kept"
        copy_project(self.project)
        self.script = folder / "script.json"
        self.engines = FakeEngines(self.project, self.home, self.script, folder / "asked.jsonl")
        self._declare()
        self.forks = Forks(self.project, self.environment(), folder / "said.txt")
        try:
            self._make()
        except BaseException:
            self.forks.close()
            raise

    def _make(self) -> None:
        self.run("git", "init", "-q")
        self.reproduce("prepare_benchmark")
        problems = (
            (self.project / "data" / "problems" / "arithmetic_test.jsonl").read_text(encoding="utf-8").splitlines()
        )
        rows = [json.loads(line) for line in problems]
        right = {row["text"]: row["reference"] for row in rows[::2]}
        self.engines.tell(answers={"Is the given answer the same": "correct", **right})
        self.reproduce()
        self.outs = self._outs()
        self.digests = {stage: self.digest(stage) for stage in STAGES}
        for stage in STAGES:
            for out in self.outs[stage]:
                self._copy(self.project / out, self.kept / stage / out)

    def _declare(self) -> None:
        base = self.project / "base"
        base.mkdir()
        (base / "config.json").write_text("{}", encoding="utf-8")
        TinyTokenizer().save(base)
        rows = [{"question": f"Ann has {n} pens. How many?", "answer": f"She has {n}. #### {n}"} for n in range(1, 9)]
        text = "".join(json.dumps(row) + "\n" for row in [*rows, rows[0]])
        (self.project / "data" / "sources" / "own.jsonl").write_text(text, encoding="utf-8")
        for name in ("part-1", "part-2"):
            shard = self.project / "data" / "sources" / "shards" / f"{name}.jsonl"
            shard.parent.mkdir(exist_ok=True)
            row = {"question": f"Who has the pens of {name}?", "answer": "Ann. #### 1"}
            shard.write_text(json.dumps(row) + "\n", encoding="utf-8")
        plain = self.project / "recipes" / "prompts" / "query_plain.j2"
        plain.write_text("{{ problem.text | strip }}", encoding="utf-8")
        path = self.project / "params.yaml"
        text = path.read_text(encoding="utf-8")
        text = text[: text.index("models:")] + MODELS + text[text.index("writer:") :]
        text = text[: text.index("datasets:")] + SETS + text[text.index("strategies:") :]
        checks = "      max_words: 30\n      checks: [empty, overlong, refuses, solves, digits]\n\ndesign"
        for old, new in (
            ("  test: [none, random]", "  test: [none, random, noise]"),
            ("  draws: 10000", "  draws: 200"),
            ("  sequence_length: 256", "  sequence_length: 4096"),
            ("  n: 1\n  temperature: 0.0", "  n: 2\n  temperature: 1.0"),
            ("strategies:\n", NOISE),
            (checks, CHECKS),
            ("  timeout_seconds: 5\n", JUDGE),
        ):
            assert old in text, old
            text = text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")

    def reproduce(self, *targets: str) -> None:
        self.forks.reproduce(*targets)

    def environment(self) -> dict[str, str]:
        return user_environment(self.home) | {
            "PYTHONDONTWRITEBYTECODE": "1",
            "ITS_FAKE_SCRIPT": str(self.script),
        }

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=self.project, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
        return done

    def stage(self, stage: str) -> None:
        """Run a stage's command with a home in which nothing was asked or trained yet."""
        for name in STORE:
            (self.home / name).unlink(missing_ok=True)
        shutil.rmtree(self.home / "training", ignore_errors=True)
        self.forks.run(*STAGES[stage])

    def status(self) -> dict[str, set[str]]:
        """By stage that DVC would run for itself, what of its dependencies changed."""
        with opened(self.project) as repo:
            found: dict[str, list[Any]] = repo.status()
        return {
            stage.rpartition(":")[2]: {
                name for item in items if isinstance(item, dict) for name in item.get("changed deps", {})
            }
            for stage, items in found.items()
        }

    def digest(self, stage: str) -> str:
        digest = hashlib.sha256()
        for out in self.outs[stage]:
            if out.startswith("results/cost"):  # seconds are never the same
                continue
            path = self.project / out
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in files:
                if file.is_file() and file.name != ".gitignore":
                    digest.update(f"{file.relative_to(self.project)}\0".encode() + file.read_bytes())
        return digest.hexdigest()

    def restore(self, stage: str) -> None:
        for out in self.outs[stage]:
            path = self.project / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            self._copy(self.kept / stage / out, path)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)

    def _outs(self) -> dict[str, list[str]]:
        stages = read_document(self.project / "dvc.yaml").values["stages"]
        out = {}
        for stage, words in STAGES.items():
            item = dict(zip(["model", "dataset", "strategy", "seed"], words[1:], strict=False))
            if stage.startswith("prepare"):
                item = {"dataset": words[1], "benchmark": words[1]}
            declared = stages[stage.partition("@")[0]]
            listed = [*declared["outs"], *declared.get("metrics", [])]
            texts = [text if isinstance(text, str) else next(iter(text)) for text in listed]
            for key, value in item.items():
                texts = [text.replace(f"${{item.{key}}}", value) for text in texts]
            out[stage] = texts
        return out


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    ran = Ran(tmp_path_factory.mktemp("graph"))
    yield ran
    ran.forks.close()


@contextmanager
def made(ran: Ran, change: Change) -> Iterator[None]:
    """A change in the project, which is put back."""
    path = ran.project / change.file
    facts = path.stat() if path.exists() else None
    sound = path.read_bytes() if facts else b""
    text = sound.decode("utf-8")
    assert not change.old or change.old in text, f"{change.file} has no {change.old!r}"
    path.unlink(missing_ok=True)  # a link of DVC's cache becomes a file
    if change.new is not None:
        path.write_text(text.replace(change.old, change.new, 1) if change.old else text + change.new, encoding="utf-8")
    try:
        yield
    finally:
        if facts is None:
            path.unlink()
        else:
            path.write_bytes(sound)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def status_after(ran: Ran, changes: list[Change]) -> dict[str, set[str]]:
    """What DVC names after all these changes, which are put back."""
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(made(ran, change))
        return ran.status()


@pytest.fixture
def changed(ran: Ran, change: Change) -> Iterator[Ran]:
    """The project with a change in it, which is put back."""
    with made(ran, change):
        yield ran


def test_a_study_is_up_to_date_when_it_ran(ran: Ran) -> None:
    assert ran.status() == {}
    for stage in STAGES:
        ran.stage(stage)
        assert ran.digest(stage) == ran.digests[stage], f"{stage} does not make the same bytes again"
        ran.restore(stage)
    assert ran.status() == {}


@pytest.mark.parametrize("change", spread(CHANGES, 3), ids=str)
def test_a_change_of_rows_is_named(changed: Ran, change: Change) -> None:
    assert change.stages
    _compare(changed, change.stages)
    if change.following:
        assert not {*change.following} & changed.status().keys()
        try:
            changed.stage("query")
            _compare(changed, change.following)
        finally:
            changed.restore("query")


def _compare(changed: Ran, stages: tuple[str, ...]) -> None:
    """Assert that DVC names each of these stages, and that each makes other rows."""
    status = changed.status()
    silent, same = [], []
    for stage in stages:
        try:
            changed.stage(stage)
            if changed.digest(stage) == changed.digests[stage]:
                same.append(stage)
        finally:
            changed.restore(stage)
        if not status.get(stage):
            silent.append(stage)
    assert not silent, f"`dvc status` is silent on {silent}; it names {sorted(status)}"
    assert not same, f"no row of {same} changed: not the change that is expected here"


def test_changes_of_no_row_start_no_engine(ran: Ran) -> None:
    """All at once: a stage names the files of which it depends, so that none hides another."""
    assert not status_after(ran, NOTHING).keys() & ASK_A_MODEL


def test_a_copied_recipe_is_measured_and_reported_again(ran: Ran) -> None:
    """`its recipe new` copies a recipe and changes its name: nothing but the name is new, and the page says it."""
    path, lock = ran.project / "params.yaml", ran.project / "dvc.lock"
    sound, locked = path.read_text(encoding="utf-8"), lock.read_bytes()
    (ran.project / "recipes" / "own.yaml").write_text(
        sound.replace("recipe: quickstart", "recipe: own"), encoding="utf-8"
    )
    ran.run("its", "recipe", "new", "mine", "--from", "own")
    ran.run("its", "recipe", "use", "mine", "--force")
    said = ran.run("dvc", "repro").stdout
    assert [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")] == [
        "measure",
        "report",
    ]
    assert ran.status() == {}
    ran.run("its", "results", "table")
    path.write_text(sound, encoding="utf-8")
    lock.write_bytes(locked)
    for stage in ("measure", "report"):
        ran.restore(stage)


def test_every_change_was_put_back(ran: Ran) -> None:
    assert ran.status() == {}
    assert {stage: ran.digest(stage) for stage in STAGES} == ran.digests


def test_there_are_many() -> None:
    assert len(CHANGES) >= 40 and len(NOTHING) >= 20
    assert {stage for change in CHANGES for stage in (*change.stages, *change.following)} == set(STAGES)
