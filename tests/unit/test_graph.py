"""dvc.yaml lists what can change a stage's rows: its code by the imports, data and parameters by what a stage reads."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graph
import pytest
from running import run_stage

from its.errors import DataError
from its.recipe.document import read_document
from its.study.access import stage_study
from its.study.study import load_study

TEXT = (graph.ROOT / "dvc.yaml").read_text(encoding="utf-8")
STAGES: dict[str, dict[str, Any]] = read_document(graph.ROOT / "dvc.yaml").values["stages"]
MODULES = graph.stage_modules(TEXT)
WORDS = {
    "prepare": ["prepare", "arithmetic"],
    "prepare_benchmark": ["prepare", "arithmetic_test"],
    "train": ["train", "smollm2_135m", "arithmetic", "random", "1"],
}
Edit = Callable[..., None]


def test_the_modules_of_stages_are_the_stages_of_the_graph() -> None:
    assert set(MODULES) == set(STAGES)
    assert MODULES["prepare_benchmark"] == MODULES["prepare"]  # DVC has no matrix over two tables
    files = {str(path.relative_to(graph.ROOT)) for path in (graph.PACKAGE / "stages").rglob("*.py")}
    assert {*MODULES.values()} == files - {"its/stages/__init__.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_imports_and_on_no_other(stage: str) -> None:
    declared = {entry for entry in STAGES[stage]["deps"] if entry.startswith("its/")}
    files = {file for entry in declared for file in graph.expanded(entry)}
    wanted = graph.code_of(MODULES[stage])
    assert files == wanted, "`make graph` rewrites dvc.yaml"


def test_no_dependency_is_an_empty_file() -> None:
    """DVC warns of each, at every stage."""
    listed = {entry for stage in STAGES.values() for entry in stage["deps"]}
    assert not [entry for entry in listed if (path := graph.ROOT / entry).is_file() and not path.stat().st_size]


def test_a_template_depends_on_those_it_includes() -> None:
    assert "its/report/explorer/explorer.html.j2" in graph.code_of("its/stages/report.py")


def test_make_graph_has_nothing_to_write() -> None:
    assert graph.with_code(TEXT) == TEXT


def test_the_writer_repairs_wrong_dependencies() -> None:
    lines = TEXT.splitlines(keepends=True)
    code = [index for index, line in enumerate(lines) if line.startswith("      - its/")]
    for index in code[:: len(code) // 40]:
        assert graph.with_code("".join(lines[:index] + lines[index + 1 :])) == TEXT
    strange = TEXT.replace("      - its/types.py\n", "      - its/types.py\n      - its/cli/output.py\n")
    assert graph.with_code(strange) == TEXT


def test_neutral_modules_are_few_and_there() -> None:
    assert len(graph.NEUTRAL) <= 10
    assert all((graph.ROOT / path).is_file() for path in graph.NEUTRAL)


def test_what_cannot_be_followed_is_not_used() -> None:
    """The closure reads imports; it would miss one that is built from a text at run time."""
    for path in graph.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
            )
            index = path == graph.PACKAGE / "cli" / "index.py"  # of commands: no stage imports them
            if "workers" not in path.parts and not index:
                assert not names & {"import_module", "__import__", "run_path", "run_module"}, f"{path}: {names}"


@pytest.mark.parametrize("stage", ["prepare", "query", "grade", "measure"])
def test_stages_that_ask_no_model_load_no_engine(stage: str) -> None:
    code = f"import sys, its.stages.{stage}; print(*(name for name in sys.modules if name.startswith('its.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "its.engines.session" not in loaded and "its.store" not in loaded
    assert stage in ("prepare", "query") or "its.models" not in loaded  # these read tokenizers


@pytest.mark.parametrize(
    ("importing", "found"),
    [
        ("import its.seeds", "its/seeds.py"),
        ("from its import seeds", "its/seeds.py"),
        ("from its.seeds import derive_seed", "its/seeds.py"),
        ("def late():\n    from its.store.keys import canonical", "its/store/keys.py"),
        ("if True:\n    import its.store.keys as k", "its/store/__init__.py"),
        ("START = 'from its.grading.worker import main'", "its/grading/worker.py"),
        ("PROGRAM = Path('workers') / 'vllm_worker.py'", "its/engines/workers/vllm_worker.py"),
    ],
)
def test_imports_are_found_at_any_level(
    importing: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(graph.PACKAGE, tmp_path / "its", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "its" / "engines" / "made.py").write_text(importing, encoding="utf-8")
    monkeypatch.setattr(graph, "ROOT", tmp_path)
    graph._held.cache_clear()
    graph._uses.cache_clear()
    try:
        assert found in graph.code_of("its/engines/made.py")
    finally:
        monkeypatch.undo()
        graph._held.cache_clear()
        graph._uses.cache_clear()


def _words(stage: str) -> list[str]:
    return WORDS.get(stage, [stage])


@pytest.fixture
def small(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Path:
    """The quickstart with 4 problems on each side, a judge and new solutions, run whole over the fake engines."""
    model_in_folder()
    sampling = "sampling: {temperature: 0, top_p: 1, max_tokens: 9}"
    judge = f"  timeout_seconds: 5\n  judge: {{model: smollm2_135m, template: prompts/judge.j2, {sampling}}}"
    fresh = "writer:\n  solutions: {attempts: 1, sampling: {temperature: 0, top_p: 1, max_tokens: 64}}\n"
    none = "  none:\n    query: prompts/query_plain.j2\n"
    edit(
        ("  draws: #", "  draws: 200"),
        ("  timeout_seconds: #", judge),
        ("writer:\n", fresh),
        (none, f"{none}    solutions: regenerate\n"),
    )
    path = project / "params.yaml"
    lines = ["      size: 4" if line.startswith("      size: ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for stage in STAGES:
        if stage == "solution":
            problems = load_study(project).problems("arithmetic")
            engines.tell(answers={problem.text: problem.reference for problem in problems})
        run_stage(*_words(stage))
        if stage == "train":
            run_stage("train", "smollm2_135m", "arithmetic", "none", "1")
    return project


UNREAD = {
    # By a procedural source, without a filter by tokens: another recipe reads them.
    ("prepare", "data/sources"),
    ("prepare", "recipes/prompts"),
    ("prepare", "models"),
    ("prepare_benchmark", "data/sources"),
    # By a study with one dataset: only a curve over rows counts them.
    ("measure", "data/queries/train"),
}
LOCKS = re.compile(r"envs/\w+\.txt")
"""The versions of the libraries that a stage uses. An environment that is there is known by its lock."""


def test_a_stage_cannot_read_what_it_does_not_declare(small: Path) -> None:
    """Each entry of data and parameters is removed in turn: the stage stops, and names what dvc.yaml lacks."""
    sound = (small / "dvc.yaml").read_text(encoding="utf-8")
    silent = []
    for stage, declared in STAGES.items():
        begin = sound.index(f"\n  {stage}:\n")
        where = f"dvc.yaml:{sound[:begin].count(chr(10)) + 2}:3: stage `{stage}` reads "
        deps = [entry for entry in declared["deps"] if not entry.startswith("its/") and not LOCKS.fullmatch(entry)]
        params = [entry for entry in declared["params"] if isinstance(entry, str)]
        for section, entry in [*(("deps", entry) for entry in deps), *(("params", entry) for entry in params)]:
            line = f"      - {entry}\n"
            place = sound.index(line, sound.index(f"    {section}:\n", begin))
            (small / "dvc.yaml").write_text(sound[:place] + sound[place + len(line) :], encoding="utf-8")
            try:
                run_stage(*_words(stage))
            except DataError as error:
                assert where in error.message, entry
                assert f"to its `{section}`" in str(error.hint), entry
            else:
                silent.append((stage, entry))
        (small / "dvc.yaml").write_text(sound, encoding="utf-8")
        run_stage(*_words(stage))
    assert set(silent) == UNREAD


def test_a_stage_reads_no_other_file_of_the_project(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is opened, and whatever a library makes of the error; a file outside the project is not checked."""
    (small / "notes.txt").write_text("x", encoding="utf-8")
    (small / "data" / "odd.bin").write_bytes(b"x")
    (small / "data" / "problems.old").write_text("x", encoding="utf-8")
    (small.parent / "free.txt").write_text("x", encoding="utf-8")
    monkeypatch.chdir(small / "data")
    readers: list[Callable[[], object]] = [
        lambda: (small / "notes.txt").read_text(),
        lambda: open("../notes.txt"),  # noqa: SIM115
        lambda: os.open("odd.bin", os.O_RDONLY),
        lambda: open("problems.old"),  # noqa: SIM115
        lambda: open(b"odd.bin", "r+b"),  # noqa: SIM115
        lambda: os.open(small / "data" / "odd.bin", os.O_RDWR),
        lambda: shutil.copy(small / "notes.txt", small.parent / "copy.txt"),
        lambda: json.load((small / "params.yaml").parent.joinpath("notes.txt").open()),
        lambda: (small / "recipes" / "quickstart.yaml").read_bytes(),
        lambda: (small / "data" / "verdicts" / "x" / ".." / ".." / "odd.bin").resolve().read_bytes(),
    ]
    for read in readers:
        with pytest.raises(DataError, match="stage `query` reads the file `"), stage_study("query"):
            read()
        refused = pytest.raises(DataError, match="stage `query` reads the file `")
        with refused, stage_study("query"), contextlib.suppress(Exception):  # as a library may
            read()
    with stage_study("query") as study:
        (small / "data" / "queries" / "new.txt").write_text("written, not read", encoding="utf-8")
        (small / "elsewhere.txt").write_text("written, not read", encoding="utf-8")
        assert (small.parent / "free.txt").read_text() == "x"
        assert (study.project / "data" / "problems" / "arithmetic.jsonl").read_text()
        assert (small / "params.yaml").read_text() and Path(sys.executable).read_bytes()[:1]
    assert (small / "notes.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("stage", "read", "named"),
    [
        ("query", lambda recipe: recipe.engine, "`engine`"),
        ("prepare", lambda recipe: recipe.design.seeds, "`design`"),
        ("persona", lambda recipe: recipe.train.of("smollm2_135m", "arithmetic"), "`train`"),
        ("query", lambda recipe: recipe.model_dump(), "the whole recipe"),
        ("persona", lambda recipe: recipe.train.learning_rate, "`train.learning_rate`"),
        ("measure", lambda recipe: recipe.prompt.user, "`prompt`"),
        ("grade", lambda recipe: recipe.seed, "`seed`"),
        ("train", lambda recipe: [*recipe.models], "`models`"),
        ("train", lambda recipe: recipe.models.values(), "`models`"),
        ("train", lambda recipe: len(recipe.models), "`models`"),
        ("prepare", lambda recipe: recipe.datasets["other"], "`datasets.other`"),
        ("prepare", lambda recipe: recipe.datasets.get("other"), "`datasets.other`"),
    ],
)
def test_a_stage_reads_no_other_section(
    stage: str, read: Callable[[Any], object], named: str, project: Path, edit: Edit
) -> None:
    other = "  other:\n    source: {kind: hub, id: a/b, split: train}\n    preset: gsm8k\n"
    edit(("  arithmetic:\n    source:", f"{other}  arithmetic:\n    source:"))
    message = re.escape(f"reads {named}, which it does not declare")
    with pytest.raises(DataError, match=message), stage_study(*_words(stage)) as study:
        read(study.recipe)


def test_a_field_that_a_recipe_may_leave_out_stops_persona_without_being_declared(project: Path, edit: Edit) -> None:
    """DVC refuses a parameter that is not in params.yaml."""
    edit(("  sequence_length: #", "  sequence_length: 256\n  long_rows: drop"))
    with stage_study("persona") as study:
        assert (study.recipe.train.sequence_length, study.recipe.train.long_rows) == (256, "drop")


def test_the_design_is_whole_for_every_stage_that_reads_it(project: Path, edit: Edit) -> None:
    """`except`, which code calls otherwise; cells that are computed once; settings with their overlays."""
    left_out = "  except: [{train: random, test: none}]\n"
    edit(("  base: true\n", f"  base: true\n{left_out}"))
    whole = load_study()
    for stage in ("persona", "query", "generate", "grade", "judge", "measure", "report"):
        with stage_study(*_words(stage)) as study:
            assert study.recipe.design.except_ == whole.recipe.design.except_
            assert study.cells() == whole.cells() and len(whole.cells()) == 5
    with stage_study("query") as study:
        assert study.recipe.train.of("smollm2_135m", "arithmetic", "default").epochs == 1
        assert study.recipe.strategies["none"].members == []
    text = (project / "dvc.yaml").read_text(encoding="utf-8")
    for declared, message in (("design.except", None), ("design.only", "reads `design.except`, which it does not")):
        begin = text.index("\n  query:\n")
        at = text.index("      - design\n", begin)
        lines = f"      - {declared}\n      - design.models\n"
        (project / "dvc.yaml").write_text(text[:at] + lines + text[at + len("      - design\n") :], encoding="utf-8")
        refused = pytest.raises(DataError, match=message) if message else contextlib.nullcontext()
        with refused, stage_study("query") as study:
            assert study.recipe.design.except_ == whole.recipe.design.except_


def test_what_is_declared_is_the_recipe_itself(project: Path) -> None:
    whole = load_study().recipe
    with stage_study("train", "smollm2_135m", "arithmetic", "none", "1") as study:
        assert study.recipe.seed == whole.seed and study.recipe.prompt == whole.prompt
        assert study.recipe.models["smollm2_135m"] == whole.models["smollm2_135m"]
        assert "smollm2_135m" in study.recipe.models and "nobody" not in study.recipe.models
        assert study.recipe.models.get("nobody") is None
    with stage_study("report") as study:
        assert study.recipe == whole


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["prepare", "nothing"], "declares no dataset or benchmark `nothing`", "arithmetic, arithmetic_test"),
        (["train", "smollm2_135m", "arithmetic", "similar", "1"], "declares no strategy `similar`", "none, random"),
        (["train", "smollm2_135m", "arithmetic", "none", "2"], "declares no seed `2`", "declared: 1"),
    ],
)
def test_a_value_outside_the_matrix_is_named(words: list[str], message: str, hint: str, project: Path) -> None:
    with pytest.raises(DataError, match=message) as caught, stage_study(*words):
        pass
    assert hint in str(caught.value.hint)


def test_a_graph_without_the_stage(project: Path, edit: Edit) -> None:
    edit(("    cmd: python -m its query\n", "    cmd: echo query\n"), file="dvc.yaml")
    with pytest.raises(DataError, match=r"dvc\.yaml: no stage runs `python -m its query`"), stage_study("query"):
        pass


@pytest.mark.parametrize("how", ["plain", "through a link", "a link into the project", "of a library"])
def test_the_home_and_caches_may_be_in_the_project(
    how: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project / "homely"
    home.mkdir()
    (home / "kept.txt").write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to(project if how == "through a link" else home)
    named = {"through a link": tmp_path / "link" / "homely", "a link into the project": tmp_path / "link"}.get(
        how, home
    )
    monkeypatch.setenv("HF_HOME" if how == "of a library" else "ITS_HOME", str(named))
    with stage_study("query"):
        assert (home / "kept.txt").read_text() == (named / "kept.txt").read_text() == "x"


def test_a_pinned_model_may_be_named_from_the_root(
    project: Path, model_in_folder: Callable[[], None], edit: Edit
) -> None:
    model_in_folder()
    edit(("path: base}", f"path: {project}/base}}"))
    with stage_study("generate"):
        assert (project / "base" / "config.json").read_text()


def test_the_order_of_a_table_is_no_change(project: Path, edit: Edit) -> None:
    """DVC compares tables without their order, so nothing may be made of it."""
    before = json.dumps(load_study().recipe.model_dump())
    first = "    enforce_eager: true\n    enable_chunked_prefill: false\n"
    edit((first, ""), ("    max_num_batched_tokens: #\n", f"    max_num_batched_tokens: 4096\n{first}"))
    assert json.dumps(load_study().recipe.model_dump()) == before
