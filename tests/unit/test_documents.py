"""Code in the documents is code: commands parse and many run, YAML validates, the rest is listed with a reason."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from dvc.cli.parser import get_main_parser
from running import run_stage
from unit.test_wording import strings

from its.cli.main import cli
from its.commands.sweep_file import read_sweep
from its.recipe.document import read_document
from its.recipe.schema import Dataset, Fields, Recipe
from its.recipe.schema.study import OpenAISection
from its.study.study import load_study

ROOT = Path(__file__).parents[2]
Its = Callable[..., tuple[int, str, str]]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "recipes" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]

OUTPUT = {
    "arithmetic_test (report), ": "what a study printed, with its commit",
    "arithmetic_all (report), ": "the same, of a pool",
    "dvc.yaml     the study as a graph": "a picture of the folders",
    "cli frames\nserver\ncommands\n": "the rooms; tests/unit/test_statements.py compares them with the code",
    "recipes/NAME.yaml --(": "a picture of the parts",
    "Problem: {{ problem.text }}": "a template; the recipe beside it is checked with it",
    '{"format":"its-store"': "lines of an export, shortened",
    "<think>": "the form of a solution",
}
"""Blocks that are neither YAML nor commands: how they begin -> what they are."""

PRINTED = ("```text", "```jinja")
"""Fences of what a command printed, and of templates; tests/studies/test_tutorial.py compares and renders them."""

FOREIGN = {
    *("curl", "head", "source"),
    *("git", "mv", "mkdir", "ln", "cd", "for", "pipx", "pre-commit", "sha256sum", "(cd"),
    *("vllm", "ray", "sbatch", "CUDA_VISIBLE_DEVICES=$((2*i)),$((2*i+1))"),
}
"""Programs of others: not installed where tests run, or of the shell."""

UNPARSED = {
    "python make_problems.py": "the script that the tutorial shows",
}

RUN_IN_A_CLONE = [
    "its recipe list",
    "its recipe use arithmetic_4x4",
    "its recipe new mine --from quickstart",
    "its strategy new rival --recipe mine",
    'its strategy preview rival --problem "What is half of 12?"',
    "its strategy new mentor --recipe mine",
    'its strategy preview mentor --recipe mine --problem "What is half of 12?"',
    "its strategy new frame --kind fixed",
    "its strategy new both --kind mix --of similar --of random",
    "its strategy new each --kind union --of similar --of random",
    "its recipe check mine",
    "its recipe diff quickstart arithmetic_axes",
    "its strategy list --recipe strategies",
    "its strategy show panel --recipe strategies",
    'its strategy preview panel --recipe strategies --problem "What is half of 12?"',
    "its strategy new witness --recipe mine",
    "its env list",
    "its data show",
]
"""Commands of the documents that run here in a fresh clone, in this order."""

RUN_AFTER_A_STUDY = [
    "its data show",
    "its data lineage smollm2_135m-arithmetic-random-1/arithmetic_test/test_00003/random/0",
    "its data lineage arithmetic/train_00000/random",
    "its data lineage train_00000",
    "its data lineage smollm2_135m-arithmetic-random-1",
    "its data export arithmetic exported --strategy random",
    "its results table",
    "its results table --format latex",
    "its regrade --dry-run",
    "its grade answers.jsonl --kind math --output graded.jsonl",
    "its store stats",
    "its store verify",
    "its store export responses.jsonl.zst --used",
    "its store import responses.jsonl.zst",
    "its results cases --right smollm2_135m-arithmetic-random-1/arithmetic_test/random"
    " --wrong smollm2_135m-arithmetic-none-1/arithmetic_test/none",
    "its results show test_00003",
    "its home",
    "its training list",
    "its prune --dry-run",
    "its store gc",
]
"""Commands of the documents that run here on a small study, in this order; all others are parsed."""


@dataclass(frozen=True)
class Block:
    path: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The code blocks of a Markdown file, fenced or indented by four."""
    lines = path.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("```"):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].startswith("```"))
            if line not in PRINTED:
                yield Block(path, at + 2, "\n".join(lines[at + 1 : end]))
            at = end + 1
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(path, at + 1, "\n".join(text[4:] for text in lines[at:end]).rstrip())
            at = end
        else:
            at += 1


BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]


def is_python(block: Block) -> bool:
    return block.text.lstrip().startswith(("import ", "from "))


def _values(text: str, folder: Path) -> Any:
    """The values of a text of YAML, as a recipe is read; None if it is no mapping."""
    path = folder / "block.yaml"
    path.write_text(
        text.replace("revision: ...", f"revision: {'a' * 40}").replace("model: NAME", "model: smollm2_135m"),
        encoding="utf-8",
    )
    try:
        return read_document(path).values
    except Exception:
        return None


def is_yaml(block: Block) -> bool:
    return re.match(r"[a-z_]+:( |$)", block.text.lstrip(), re.MULTILINE) is not None


def is_output(block: Block) -> bool:
    return block.text.lstrip().startswith(tuple(OUTPUT))


def commands(block: Block) -> Iterator[str]:
    """The command lines of a block, comments left out, continued lines joined, `&&` and `&` taken apart."""
    for line in block.text.replace("\\\n", " ").split("\n"):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        for part in re.split(r" && | &(?: |$)", bare):
            if part.strip() not in ("", "done"):
                yield part.strip()


def _written() -> Iterator[tuple[str, str]]:
    """(place, command) of every command line, in blocks and in the text between backticks."""
    for block in BLOCKS:
        if not (is_yaml(block) or is_output(block) or is_python(block)):
            for command in commands(block):
                yield block.where, command
    for path in DOCUMENTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            for found in re.findall(r"`((?:its|dvc|make|pytest|python) [^`]+)`", line):
                yield f"{path.relative_to(ROOT)}:{number}", found


WRITTEN = sorted({command: place for place, command in reversed(list(_written()))}.items())
"""Each command once, with the first place that has it."""


def test_the_documents_have_code() -> None:
    assert len(BLOCKS) > 60 and len(WRITTEN) > 100, "the reader of blocks reads nothing"
    assert sum(map(is_yaml, BLOCKS)) > 15


@pytest.mark.parametrize(("command", "place"), WRITTEN, ids=[command for command, _ in WRITTEN])
def test_a_written_command_exists_with_its_options(command: str, place: str) -> None:
    for variant in _variants(command):
        fault = _fault(variant)
        assert fault is None, f"{place}: `{command}`: {fault}"


@pytest.mark.parametrize(
    "command",
    [
        "its result table",
        "its recipe chek",
        "its results table --fmt latex",
        "its results table --format html",
        "its recipe use quickstart arithmetic_4x4",
        "its data export arithmetic",
        "dvc reproduce",
        "dvc repro --forced",
        "dvc repro generates",
        "dvc exp run -S generation.max_token=5",
        "dvc exp run -S generation.max_tokens=many",
        "export ITS_HOUSE=/local",
        "make tests",
        "pytest --update-goldens",
        "python benchmarks/rendering.py",
        "python benchmarks/decontamination.py --pear",
        "scripts/gpu_first.sh swapped",
        "itz recipe list",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    assert _fault(command) is not None


@pytest.mark.parametrize(
    "text",
    ["generation:\n  max_token: 5", "filters: [has_boxes]", "engine:\n  kind: sglang", "problem: q\nreferences: a"],
)
def test_yaml_that_is_no_part_of_a_recipe_is_found(text: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, AssertionError)):
        Recipe.model_validate(_completed(_values(text, tmp_path)))


def _variants(command: str) -> Iterator[str]:
    """A synopsis as commands: with what is in brackets and without, each alternative of `a | b`."""
    command = re.sub(r"\s+#.*$", "", command)
    if found := re.fullmatch(r"(its \w+) (\w+(?: \| \w+)+)", command):
        for word in found[2].split(" | "):
            yield f"{found[1]} {word}"
        return
    bare = command
    while "[" in bare and re.search(r" \[[^\[\]]*\]", bare) and "=[" not in bare:
        bare = re.sub(r" \[[^\[\]]*\]", "", bare)
    yield re.sub(r"\b(\w+)\|\w+\b", r"\1", bare)
    if bare != command:
        yield re.sub(r"\b(\w+)\|\w+\b", r"\1", command.replace("[", " ").replace("]", " "))


def _fault(command: str) -> str | None:
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if not words or words[0] in FOREIGN or command.startswith(tuple(UNPARSED)):
        return None
    program, *rest = words
    if program == "its":
        return _its_fault(rest)
    if program == "dvc":
        return _dvc_fault(rest)
    if program == "export":
        return _variables_fault(rest)
    if program == "make":
        known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return next((f"no target `{word}` in the Makefile" for word in rest if word not in known), None)
    if program == "python":
        return _python_fault(rest)
    if program == "pytest":
        text = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
        return next((f"no option `{word}`" for word in rest if word.startswith("--") and word not in text), None)
    if program == "scripts/gpu_first.sh":
        text = (ROOT / program).read_text(encoding="utf-8")
        known = re.findall(r"^step (\w+) ", text, re.MULTILINE) + re.findall(r"^ +(--\w+)\)", text, re.MULTILINE)
        return next((f"no step or option `{word}`" for word in rest if word not in known), None)
    return f"no such program: `{program}`"


def _its_fault(words: list[str]) -> str | None:
    command: click.Command = cli
    context = click.Context(cli, info_name="its", **cli.context_settings)
    while isinstance(command, click.Group):
        if not words:
            return None
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            return f"`{context.command_path}` has no command `{name}`"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    try:
        values, left, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if left:
        return f"`{context.command_path}` takes no {left}"
    arguments = [option for option in command.params if isinstance(option, click.Argument)]
    named = any(
        not option.value_is_missing(values.get(option.name or "")) for option in arguments
    )  # else it is a mention
    for option in command.params:
        value = values.get(option.name or "")
        if isinstance(option.type, click.Choice) and isinstance(value, str) and value not in option.type.choices:
            return f"`{option.name}` is one of {option.type.choices}, not `{value}`"
        if named and option.value_is_missing(value) and option.required:
            return f"`{option.name}` is missing"
    return None


def _dvc_fault(words: list[str]) -> str | None:
    if len(words) == 1 or words == ["exp", "show"]:
        words = [*words, "--help"] if words == ["remote"] else words
    graph = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    stages = re.findall(r"^  ([a-z_]+):$", graph, re.MULTILINE)
    try:
        parsed = get_main_parser().parse_args([word.replace("...", "URL") for word in words])
    except SystemExit:
        return "dvc does not take it"
    except Exception as error:  # DVC's own class; its text says what is wrong
        if words != ["add"]:
            return f"dvc does not take it: {error}"
        return None
    for target in getattr(parsed, "targets", None) or []:
        if words[0] == "repro" and target.split("@")[0] not in [*stages, "X"]:
            return f"no stage `{target}` in dvc.yaml"
    for change in getattr(parsed, "set_param", None) or []:
        fault = _parameter_fault(change)
        if fault:
            return fault
    return None


def _parameter_fault(change: str) -> str | None:
    place, _, value = change.partition("=")
    values = read_document(ROOT / "params.yaml").values
    *above, last = place.split(".")
    section: Any = values
    for part in above:
        section = section.get(part)
        if not isinstance(section, dict):
            return f"params.yaml has no `{place}`"
    first = value.strip("'\"").split(",")[0] if not value.startswith("[") else value
    section[last] = read_value(first)
    try:
        Recipe.model_validate(values)
    except ValueError as error:
        return str(error)
    return None


def read_value(text: str) -> Any:
    if text.startswith("["):
        return [word.strip() for word in text.strip("[]").split(",")]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _variables_fault(words: list[str]) -> str | None:
    names = [word.split("=")[0] for word in words]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "its").rglob("*.py"))
    return next((f"no code reads {name}" for name in names if name.startswith("ITS_") and name not in code), None)


def _python_fault(words: list[str]) -> str | None:
    if words[0] == "-m":
        return (
            None if words[1] in ("its", "vllm.entrypoints.openai.api_server", "venv", "pip") else f"module {words[1]}"
        )
    script = ROOT / words[0]
    if not script.is_file():
        return f"no file `{words[0]}`"
    text = script.read_text(encoding="utf-8")
    return next(
        (f"no option `{word}`" for word in words[1:] if word.startswith("--") and f'"{word}"' not in text), None
    )


def test_the_commands_in_messages_exist() -> None:
    """Hints are typed as they are printed; `{}` stands for a value of the code."""
    found, faults = 0, []
    for path in sorted((ROOT / "its").rglob("*.py")):
        for line, text in strings(ast.parse(path.read_text(encoding="utf-8")), whole=True):
            for command in re.findall(r"`((?:its|dvc) [a-z][^`]*)`", text):
                found += 1
                whole = " ".join(command.replace("{}", "X").replace("...", "X").split())
                whole = re.sub(r" -S$", " -S generation.n=1", whole)
                for variant in _variants(whole):
                    if fault := _fault(variant):
                        faults.append(f"{path.relative_to(ROOT)}:{line}: `{command}`: {fault}")
    assert found > 100 and not faults, "\n".join(faults)


SWEEPS = [block for block in BLOCKS if is_yaml(block) and "\ngrid:" in block.text]
YAML = [block for block in BLOCKS if is_yaml(block) and block not in SWEEPS]


def test_a_written_sweep_is_valid(project: Path) -> None:
    assert SWEEPS
    for block in SWEEPS:
        (project / "sweep.yaml").write_text(block.text, encoding="utf-8")
        assert read_sweep(project, project / "sweep.yaml").points, block.where


@pytest.mark.parametrize("block", YAML, ids=[block.where for block in YAML])
def test_written_yaml_is_valid_in_a_recipe(block: Block, tmp_path: Path) -> None:
    values = _values(block.text, tmp_path)
    parts = [values] if isinstance(values, dict) else [_values(line, tmp_path) for line in block.text.split("\n")]
    for part in parts:
        assert isinstance(part, dict), f"{block.where}: no YAML"
        Recipe.model_validate(_completed(part))


TABLES = {"benchmarks", "datasets", "models", "strategies"}


def _completed(part: dict[str, Any]) -> dict[str, Any]:
    """A fragment within the quickstart: sections in their place, fields of a set or of `fields` in a data set."""
    values: dict[str, Any] = read_document(ROOT / "recipes" / "quickstart.yaml").values
    if set(part) <= set(Recipe.model_fields):
        for name, section in part.items():
            if name in TABLES:
                values[name] = {**values[name], **{key: _whole(name, entry) for key, entry in section.items()}}
            else:
                values[name] = _over(values[name], section)
        return values
    dataset = values["datasets"]["arithmetic"]
    base = {key: value for key, value in dataset.items() if key in ("source", "fields")}
    base |= {"source": {"kind": "files", "path": "data/sources/rows.jsonl"}}
    base |= {"fields": {"problem": "question", "reference": "answer"}}
    if set(part) <= set(Dataset.model_fields):
        values["datasets"]["written"] = {**base, **part}
    elif set(part) <= set(Fields.model_fields):
        values["datasets"]["written"] = {**base, "fields": {"problem": "question", **part}}
    elif set(part) <= set(OpenAISection.model_fields):
        server = {"servers": [{"url": "http://node1:8000/v1"}], "concurrency": 8, "timeout_seconds": 60, "retries": 2}
        values["engine"] = {"kind": "openai", "openai": {**server, **part}}
    else:
        raise AssertionError(f"{sorted(part)}: fields of no section")
    return values


def _whole(table: str, entry: Any) -> Any:
    if table == "datasets" and "preset" not in entry and "fields" not in entry:
        return {**entry, "fields": {"problem": "question"}}
    return entry


def _over(under: Any, upper: Any) -> Any:
    if isinstance(under, dict) and isinstance(upper, dict):
        return {**under, **{key: _over(under.get(key), value) for key, value in upper.items()}}
    return upper


def test_written_python_imports_what_exists() -> None:
    for block in filter(is_python, BLOCKS):
        lines: list[ast.stmt] = [
            line for line in ast.parse(block.text).body if isinstance(line, ast.Import | ast.ImportFrom)
        ]
        exec(compile(ast.Module(lines, []), block.where, "exec"), {})


def test_what_is_listed_is_written() -> None:
    """A list of exceptions only grows unless each must be used."""
    texts = {command for command, _ in WRITTEN}
    starts = {command.split()[0] for command in texts}
    bare = {re.sub(r"\s+#.*$", "", command) for command in texts}
    assert [command for command in RUN_IN_A_CLONE + RUN_AFTER_A_STUDY if command not in bare] == []
    assert [start for start in OUTPUT if not any(block.text.lstrip().startswith(start) for block in BLOCKS)] == []
    assert [name for name in UNPARSED if not any(command.startswith(name) for command in texts)] == []
    assert sorted(FOREIGN - starts) == []


def test_written_commands_run_in_a_clone(project: Path, its: Its) -> None:
    _run_all(RUN_IN_A_CLONE, its)
    assert load_study(project).recipe.recipe == "arithmetic_4x4"


def _run_all(commands: list[str], its: Its) -> None:
    for command in commands:
        words = shlex.split(command)[1:]
        if words[:3] == ["strategy", "preview", "rival"]:
            words += ["--recipe", "mine"]  # the document has it in params.yaml by then
        code, out, err = its(*words)
        assert code == 0, f"{command}: exit {code}\n{out}{err}"
        assert out.strip() or err.strip(), f"{command} prints nothing"


def test_written_commands_run_after_a_study(
    project: Path,
    engines: Any,
    model_in_folder: Callable[[], None],
    edit: Callable[..., None],
    its: Its,
) -> None:
    model_in_folder()
    edit(("  draws: #", "  draws: 200"))
    params = project / "params.yaml"
    lines = ["      size: 8" if line.startswith("      size: ") else line for line in params.read_text().splitlines()]
    params.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for words in (
        *("prepare arithmetic", "prepare arithmetic_test", "persona", "query", "train smollm2_135m arithmetic none 1"),
        *("train smollm2_135m arithmetic random 1", "generate", "grade", "judge", "measure", "report"),
    ):
        run_stage(*words.split())
    (project / "answers.jsonl").write_text('{"reference": "6", "response": "It is 6."}\n', encoding="utf-8")
    _run_all(RUN_AFTER_A_STUDY, its)


def test_the_readmes_own_strategy_is_a_valid_recipe(project: Path, its: Its) -> None:
    written = [block for block in BLOCKS if block.path.name == "README.md" and block.text.startswith("strategies:")]
    (template,) = (block for block in BLOCKS if block.text.startswith("Problem: {{ problem.text }}"))
    (project / "recipes" / "prompts" / "persona_rival.j2").write_text(template.text, encoding="utf-8")
    recipe = project / "recipes" / "quickstart.yaml"
    text = recipe.read_text(encoding="utf-8").replace("recipe: quickstart", "recipe: rivals")
    lines = written[0].text.split("\n", 1)[1]
    assert text.count("\nstrategies:\n") == 1
    (project / "recipes" / "rivals.yaml").write_text(
        text.replace("\nstrategies:\n", f"\nstrategies:\n{lines}\n"), encoding="utf-8"
    )
    code, out, err = its("recipe", "check", "rivals")
    assert (code, out.partition("\n")[0]) == (0, "recipes/rivals.yaml: valid"), err
