"""Hostile recipes: whatever stands in one, it ends in faults with their places, in time, and nothing is written."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from its.checks.data import data_checked
from its.cli.main import main
from its.errors import DataError, FaultsError, ItsError
from its.recipe.apply import readable, recipe_path, use_recipe
from its.recipe.document import MAX_BYTES, Document, Node, parse_document, read_document
from its.recipe.load import MAX_CHARACTERS, MAX_FAULTS, load_recipe, validate
from its.recipe.scaffold import new_recipe, new_strategy
from its.recipe.schema import Recipe
from its.shown import shown
from its.study.study import design_cells

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "recipes"
SECONDS = 5.0
"""For one recipe, whatever is in it; honest ones take a hundredth."""
Tally = Callable[..., ItsError | None]


def _lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def _written_out(value: Any) -> Any:
    """A value of the data files: see their README.md."""
    if isinstance(value, dict) and list(value) == ["$text"]:
        return "".join(part if isinstance(part, str) else part[0] * part[1] for part in value["$text"])
    if isinstance(value, dict) and list(value) == ["$list"]:
        return [_written_out(value["$list"][0])] * value["$list"][1]
    if isinstance(value, dict) and list(value) == ["$range"]:
        return list(range(*value["$range"]))
    if isinstance(value, dict):
        return {key: _written_out(item) for key, item in value.items()}
    return [_written_out(item) for item in value] if isinstance(value, list) else value


BASE = read_document(DATA / "base.yaml").values
TEXTS = _lines("texts.jsonl")
VALUES = _lines("values.jsonl")
NAMES = _lines("names.jsonl")


def _bounded(text: str | None) -> bool:
    return text is None or (len(text) <= MAX_CHARACTERS + 3 and shown(text) == text)


def _judge(document: Document, project: Path) -> Recipe:
    """The recipe; every fault of another has a place in the file, and is a line that a terminal can show."""
    recipe, faults = validate(document, project)
    assert (recipe is None) == bool(faults)
    for fault in faults:
        path, line, column = fault.where.rsplit(":", 2)
        assert path == str(document.path) and int(line) >= 1 and int(column) >= 1
        assert _bounded(fault.message) and _bounded(fault.hint), fault
    assert len(faults) <= MAX_FAULTS + 1
    if recipe is None:
        raise FaultsError(faults)
    return recipe


def _changed(at: list[Any], row: dict[str, Any]) -> dict[str, Any]:
    values = copy.deepcopy(BASE)
    node: Any = values
    for part in at[:-1]:
        node = node[part]
    if "value" in row:
        node[at[-1]] = _written_out(row["value"])
    else:
        del node[at[-1]]
    return values


def _children(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())


def _document(path: Path, values: dict[str, Any]) -> Document:
    """A document of values as if each stood on a line of its own: much faster than to write and read YAML."""
    line = 0

    def node(value: Any) -> Node:
        nonlocal line
        line += 1
        made = Node(value, line, 1)
        for key, item in _children(value):
            made.items[key] = node(item)
            made.keys[key] = (made.items[key].line, 1)
        return made

    return Document(path, values, node(values))


def _messages(error: ItsError | None) -> list[str]:
    return [] if error is None else [fault.message for fault in error.faults] if isinstance(error, FaultsError) else []


def test_a_small_recipe_is_valid(project: Path) -> None:
    shutil.copy(DATA / "base.yaml", project / "recipes" / "base.yaml")
    assert data_checked(read_document(project / "recipes" / "base.yaml"), project, {}).recipe == "base"


def test_there_are_many_cases() -> None:
    assert len(VALUES) > 600 and len(TEXTS) > 100 and len(NAMES) > 50


def test_a_value_of_any_kind_anywhere(project: Path, tally: Tally) -> None:
    wrong = []
    for number, row in enumerate(VALUES):
        values = _changed([_written_out(part) for part in row["at"]], row)

        def act(values: dict[str, Any] = values, number: int = number) -> None:
            path = project / "params.yaml"
            _judge(parse_document(path, json.dumps(values)) if number % 5 == 0 else _document(path, values), project)

        error = tally("recipes", act, SECONDS)
        told = _messages(error)
        if (row["wanted"] is None) != (error is None) or (error and not any(row["wanted"] in item for item in told)):
            wrong.append((row["at"], row["wanted"], told[:3]))
    assert not wrong


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: row["name"])
def test_a_text_that_is_no_recipe(tmp_path: Path, tally: Tally, row: dict[str, Any]) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(_written_out(row["text"]).encode())
    error = tally("recipes", lambda: _judge(read_document(path), tmp_path), SECONDS)
    assert error is not None and row["wanted"] in error.message
    if isinstance(error, FaultsError):
        assert error.faults[0].where.startswith(f"{path}:{row['line']}:")
        assert all(_bounded(fault.message) and _bounded(fault.hint) for fault in error.faults)


LONG = {
    "100,000 items": "a: [" + "1," * 100_000 + "]\n",
    "20,000 keys": "{" + "".join(f"k{i}: 1, " for i in range(20_000)) + "}",
    "20,000 anchors": "".join(f"- &a{i} x\n" for i in range(18_000)),
    "80,000 aliases": "a: &a x\nb: [" + "*a," * 80_000 + "]\n",
    "a text of 1 MB": "a: " + "x" * 1_000_000,
    "a text of 250 KB in words": "a: " + "x " * 125_000,
    "a comment of 250 KB": "#" + "x" * 250_000 + "\na: [",
    "blank lines": "\n" * 250_000 + "a: [",
    "many documents": "--- {}\n" * 10_000,
    "10,000 unknown keys": "recipe_version: 1\n" + "".join(f"k{i}: 1\n" for i in range(7_000)),
    "nested [": "[" * 100_000,
    "nested in one line": "{a: " * 60_000,
    "quotes": "a: " + "'" * 200_000,
    "block of lines": "a: |\n" + " x\n" * 80_000,
    "escapes": 'a: "' + "\\n" * 120_000 + '"',
    "colons": ": " * 120_000,
    "question marks": "? " * 120_000,
    "tags": "a: " + "!" * 200_000,
    "folded": "a: >\n" + " x\n\n" * 60_000,
    "strategies": "recipe_version: 1\nstrategies:\n"
    + "".join(f"  s{i}: {{noise: {{like: s{i + 1}}}}}\n" for i in range(999)),
    "names": "recipe_version: 1\ndesign: {train: [" + "".join(f"q{i}, " for i in range(900)) + "]}\n",
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_text(tmp_path: Path, tally: Tally, name: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(LONG[name], encoding="utf-8")
    assert tally("recipes", lambda: _judge(read_document(path), tmp_path), SECONDS) is not None


def test_what_honest_yaml_does_is_read(tmp_path: Path) -> None:
    text = '\ufeffa: &a {x: 1, y: [1, 2]}\r\nb:\r\n  <<: *a\r\n  x: 2\r\nc: *a\r\n"1": !!str 5\r\nd: 5e-6\r\ne: no\r\n'
    values = parse_document(tmp_path / "f.yaml", text.removeprefix("\ufeff")).values
    assert values["b"] == {"x": 2, "y": [1, 2]} and values["c"] == {"x": 1, "y": [1, 2]}
    assert (values["1"], values["d"], values["e"]) == ("5", 5e-6, "no")
    (tmp_path / "f.yaml").write_bytes(text.encode())
    assert read_document(tmp_path / "f.yaml").values == values


TEXT = ["", " ", "\x00", "\n", "\ud800", "x" * 5000, "{{ query }}", "{{ problem.text }}", "{% for %}", "../x", "/etc"]
TEXT += ["prompts/query_plain.j2", "prompts", "prompts/" + "x" * 300, "no", "none", "small", "sums", "similar", "5"]
WORDS = "files hub procedural tokens language wheel folder random same $text [key]"
KEYS = "kind name path id like of problem template model 5 [key]"
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**300, -(10**300), 2**63, 0, 1, -1, 1e308, math.nan, math.inf, -math.inf, b"x"])
    | st.none().map(lambda _: 10**5000)  # Python does not print it
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(TEXT + WORDS.split()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(KEYS.split()) | st.integers() | st.none(), inner, max_size=3
        )
    ),
    max_leaves=5,
)


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    for key, item in _children(value):
        yield from _places(item, (*here, key))


PLACES = [place for place in _places(BASE) if place]
EDITS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["put", "take", "add"]), ODD), min_size=1, max_size=4
)


def _edited(edits: list[tuple[tuple[Any, ...], str, Any]], base: dict[str, Any] = BASE) -> dict[str, Any]:
    values = copy.deepcopy(base)
    for place, what, value in edits:
        node: Any = values
        for part in place[:-1]:
            node = node[part] if isinstance(node, dict | list) and _has(node, part) else None
        if not isinstance(node, dict | list) or not _has(node, place[-1]):
            continue
        if what == "put":
            node[place[-1]] = value
        elif what == "take":
            del node[place[-1]]
        elif isinstance(node, list):
            node.insert(place[-1], value)
        else:
            node[value if isinstance(value, str) else f"{place[-1]}_"] = value
    return values


def _has(node: Any, part: Any) -> bool:
    return part in node if isinstance(node, dict) else isinstance(part, int) and part < len(node)


def _survives(recipe: Recipe) -> None:
    """What is done with a valid recipe does not fail either."""
    dumped = recipe.model_dump()
    text = json.dumps(dumped, allow_nan=False, ensure_ascii=False)
    text.encode()
    recipe.model_dump_json()
    assert json.loads(text) == json.loads(json.dumps(dumped))


GENERATED = settings(
    max_examples=int(os.environ.get("ITS_HOSTILE_EXAMPLES", "300")),
    deadline=None,
    database=None,
    derandomize="ITS_HOSTILE_EXAMPLES" not in os.environ,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@GENERATED
@given(EDITS)
def test_generated_values(tally: Tally, edits: list[Any]) -> None:
    values = _edited(edits)

    def act() -> None:
        _survives(_judge(_document(ROOT / "params.yaml", values), ROOT))

    tally("recipes, generated", act, SECONDS)


def _varied() -> dict[str, Any]:
    """The base with every way to vary a study."""
    values = copy.deepcopy(BASE)
    values["benchmarks"]["more_test"] = copy.deepcopy(values["benchmarks"]["sums_test"])
    values["strategies"]["both"] = {"mix": {"shares": {"none": 0.5, "random": 0.5}}}
    values["strategies"]["each"] = {"union": {"of": ["none", "random"]}}
    values["design"] |= {"variants": ["default", "lora"], "checkpoints": ["last", "1/3"], "seeds": [1, 2]}
    values["design"] |= {"benchmarks": ["sums_test", "more_test"], "train": ["none", "random", "both", "each"]}
    values["design"]["only"] = [{"seed": 1}, {"seed": [2], "checkpoint": ["last"]}]
    values["design"]["except"] = [{"model": "small", "train": "each", "variant": "lora"}]
    values["train"]["datasets"] = {"sums": {"epochs": 2}}
    values["train"]["variants"] = {"lora": {"learning_rate": 0.001, "axolotl": {"adapter": "lora"}}}
    values["measure"]["pool"] = {"all": ["sums_test", "more_test"]}
    values["measure"]["contrasts"] = [
        {"name": "late", "of": {"checkpoint": "last"}, "against": {"checkpoint": "1/3"}, "benchmarks": ["all"]},
        {"name": "training", "of": {"train": ["none", "random"], "seed": 1}, "against": {"train": "base"}},
    ]
    values["vote"]["strategies"] = {"two": ["none", "random"]}
    members = ["small-sums-none-1-lora-1of3/none", "small-base/none", "small-sums-none-1/none"]
    values["vote"]["ensembles"] = {"three": members}
    return values


VARIED = _varied()
OF_VARIED = ["design", "train", "measure", "vote", "strategies", "benchmarks"]
VALUES_OF_AXES = ["last", "1/3", "2/3", "2/4", "base", "default", "lora", "none", "random", "each", "all", 1, 2, "1of3"]
VARIATIONS = st.lists(
    st.tuples(
        st.sampled_from([place for place in _places(VARIED) if place and place[0] in OF_VARIED]),
        st.sampled_from(["put", "take", "add"]),
        ODD | st.sampled_from(VALUES_OF_AXES) | st.lists(st.sampled_from(VALUES_OF_AXES), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def test_what_is_varied_is_valid() -> None:
    assert validate(_document(ROOT / "params.yaml", VARIED), ROOT)[1] == []


@GENERATED
@given(VARIATIONS)
def test_generated_designs(tally: Tally, edits: list[Any]) -> None:
    """A design that passes has cells, and what its votes name is among them."""
    values = _edited(edits, VARIED)

    def act() -> None:
        recipe = _judge(_document(ROOT / "params.yaml", values), ROOT)
        _survives(recipe)
        cells = design_cells(recipe.design)
        names = {(checkpoint.name, test) for checkpoint, _, test in cells}
        members = [member.split("/") for several in recipe.vote.ensembles.values() for member in several]
        assert cells and {(checkpoint, test) for checkpoint, *_, test in members} <= names

    tally("recipes, generated", act, SECONDS)


@settings(GENERATED, max_examples=150)
@given(EDITS)
def test_generated_texts(tally: Tally, edits: list[Any]) -> None:
    try:
        text = json.dumps(_edited(edits))
    except (TypeError, ValueError):  # bytes, an integer that Python does not print
        return

    def act() -> None:
        document = parse_document(ROOT / "params.yaml", text)
        _survives(_judge(document, ROOT))

    tally("recipes, generated", act, SECONDS)


MARKS = r"""
[ ] { } : - ? &a *a ! !!int !!str !<x> ' " \ "\ud800" "\UFFFFFFFF" ~ 0x 1_0 -_ 1e999 .inf 2026-13-45 = @
"""
TOKENS = [*MARKS.split(), ": ", "- ", "? ", "&a ", "!!int ", "# c", "<<: *a", "a: ", "1: ", "%YAML 1.1\n", "%TAG ! x\n"]
TOKENS += ["---\n", "...\n", "\n", "\n  ", "\t", "|\n", ">-\n", "\x00", "\x85", "\u2028", "\ufeff"]


@settings(GENERATED, max_examples=300)
@given(st.lists(st.sampled_from(TOKENS), max_size=20), st.integers(0, 2000))
def test_generated_yaml(tally: Tally, parts: list[str], place: int) -> None:
    shipped = (DATA / "base.yaml").read_text(encoding="utf-8")
    for text in ("".join(parts), shipped[:place] + "".join(parts[:3]) + shipped[place : place + 200]):
        tally("recipes, generated", lambda text=text: parse_document(ROOT / "params.yaml", text), SECONDS)


def _snapshot(project: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(project.rglob("*")) if path.is_file() and not path.is_symlink()}


def test_names_are_refused_before_anything_is_written(project: Path, tally: Tally) -> None:
    before = _snapshot(project)
    for name in NAMES:
        acts: list[Callable[[str], object]] = [
            lambda name: new_recipe(project, name, "quickstart"),
            lambda name: new_strategy(project, name, None),
            lambda name: new_strategy(project, name, "quickstart"),
        ]
        if not name.endswith(".yaml"):  # a path, which may be anything
            acts.append(lambda name: use_recipe(project, recipe_path(project, name), force=True))
        for act in acts:
            error = tally("recipes", lambda act=act, name=name: act(name), SECONDS)
            assert error is not None and _bounded(error.message), name
        for section in ("models", "datasets", "benchmarks", "strategies"):
            values = copy.deepcopy(BASE)
            values[section][name] = next(iter(values[section].values()))
            document = _document(project / "params.yaml", values)
            assert tally("recipes", lambda document=document: _judge(document, project)) is not None, (section, name)
    assert _snapshot(project) == before


def test_a_strategy_base_leaves_nothing_behind(project: Path) -> None:
    before = _snapshot(project)
    for recipe in ("quickstart", None, "params.yaml"):
        with pytest.raises(DataError, match="`base` is the untrained model in tables"):
            new_strategy(project, "base", recipe)
    assert _snapshot(project) == before


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_write_that_fails_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    before, replaced, real = _snapshot(project), [], Path.replace

    def replace(self: Path, target: Path) -> Path:
        replaced.append(target)
        if len(replaced) == failing + 1:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((OSError, ItsError)):
        new_strategy(project, "witness", "quickstart")
    monkeypatch.undo()
    assert _snapshot(project) == before
    load_recipe(project / "recipes" / "quickstart.yaml", project)


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _to_home(project: Path) -> None:
    secret = project.parent / "secret.j2"
    secret.write_text("{{ problem.text }} a secret\n", encoding="utf-8")
    _link(project / "recipes" / "prompts" / "query_plain.j2", str(secret))


def _folder_to_home(project: Path) -> None:
    shutil.move(project / "recipes" / "prompts", project.parent / "elsewhere")
    (project / "recipes" / "prompts").symlink_to(project.parent / "elsewhere")


def _in_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(project: Path) -> None:
        path = project / "recipes" / "prompts" / "query_plain.j2"
        path.unlink()
        make(path)

    return act


TEMPLATES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link out": (_to_home, "a link leads out of `recipes/prompts/`"),
    "the folder is a link out": (_folder_to_home, "a link leads out of `recipes/prompts/`"),
    "a link to the environment": (_in_place(lambda path: path.symlink_to("/proc/self/environ")), "leads out of"),
    "a link to another folder": (_in_place(lambda path: path.symlink_to("../quickstart.yaml")), "leads out of"),
    "a link to itself": (_in_place(lambda path: path.symlink_to(path.name)), "symbolic links lead in a circle"),
    "a link to nothing": (_in_place(lambda path: path.symlink_to("nothing")), "no such template"),
    "a folder": (_in_place(lambda path: path.mkdir()), "is a folder"),
    "a pipe": (_in_place(os.mkfifo), "is not a regular file"),
    "no text": (_in_place(lambda path: path.write_bytes(b"\xff\xfe")), "not UTF-8"),
    "without the problem": (_in_place(lambda path: path.write_text("solve it")), "does not show the problem"),
    "the answer alone": (_in_place(lambda path: path.write_text("{{ problem.reference }}")), "not show the problem"),
    "its length alone": (
        _in_place(lambda path: path.write_text("{{ problem.text | length }}")),
        "not show the problem",
    ),
    "the problem beside a persona alone": (
        _in_place(lambda path: path.write_text("{% if persona %}{{ problem.text }}{% endif %}")),
        "does not show the problem",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_is_none(project: Path, tally: Tally, name: str) -> None:
    make, wanted = TEMPLATES[name]
    make(project)
    error = tally("recipes", lambda: load_recipe(project / "params.yaml", project), SECONDS)
    assert any(wanted in message for message in _messages(error)), error


def test_a_link_within_the_folder_is_followed(project: Path) -> None:
    _in_place(lambda path: path.symlink_to("query_persona_last.j2"))(project)
    load_recipe(project / "params.yaml", project)


def _run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


def _ended(ends: list[int], *words: str) -> None:
    """Run a command and keep its exit code; one that is not 0 counts as refused."""
    ends.append(_run(*words))
    if ends[-1]:
        raise DataError(f"exit {ends[-1]}")


def _leave_quickstart(project: Path) -> None:
    for path in (project / "recipes").glob("*.yaml"):
        if path.stem != "quickstart":
            path.unlink()


FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link out": lambda path: path.symlink_to("/etc/passwd"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to the environment": lambda path: path.symlink_to("/proc/self/environ"),
    "billion laughs": lambda path: path.write_text(_written_out(TEXTS[0]["text"]), encoding="utf-8"),
    "too large": lambda path: path.write_text("#" * (MAX_BYTES + 1), encoding="utf-8"),
    "nothing": lambda path: path.touch(),
    "half a character": lambda path: path.write_text('recipe: "\\ud800"\n', encoding="utf-8"),
    "a name that clears the screen": lambda path: path.write_text('recipe: "\\e[2J"\n', encoding="utf-8"),
    "keys that are no words": lambda path: path.write_text("? [a]\n: b\n1: 2\n", encoding="utf-8"),
    "a recipe that is a number": lambda path: path.write_text("recipe: 5\ndescription: [5]\n", encoding="utf-8"),
    "a description that clears the screen": lambda path: path.write_text('description: "\\e[2J"\n', encoding="utf-8"),
}


@pytest.mark.parametrize("name", FILES)
def test_one_broken_recipe_hides_no_other(
    project: Path, tally: Tally, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _leave_quickstart(project)
    FILES[name](project / "recipes" / "bad.yaml")
    assert "quickstart" in dict(readable(project)[0])
    for words in ("list", "list --json", "check", "show bad", "show bad --json", "use bad", "new b --from bad"):
        ends: list[int] = []
        tally("recipes", lambda words=words, ends=ends: _ended(ends, "recipe", *words.split()), SECONDS * 5)
        out = capsys.readouterr()
        assert "\x1b" not in out.out + out.err and "root:" not in out.out + out.err
        if name == "a recipe that is a number" and words.split()[0] in ("list", "show"):
            assert ends == [0]
            continue
        assert ends[0] in (3, 4), (words, out.err)
        if words == "list":
            assert "quickstart" in out.out and "recipes/bad.yaml" in out.err
    assert not (project / "recipes" / "b.yaml").exists()
    assert (project / "params.yaml").read_bytes() == (project / "recipes" / "quickstart.yaml").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_params_that_is_no_file(project: Path, tally: Tally, name: str) -> None:
    _leave_quickstart(project)
    (project / "params.yaml").unlink()
    FILES[name](project / "params.yaml")
    passwords = Path("/etc/passwd").read_bytes()
    ends: list[Any] = []
    for words in ("recipe diff", "recipe diff --json", "strategy list", "recipe check", "query"):
        tally("recipes", lambda words=words: _ended(ends, *words.split()), SECONDS * 5)
    assert set(ends) <= {3, 4}, ends
    path = recipe_path(project, "quickstart")
    for force in (False, True):
        error = tally("recipes", lambda force=force: use_recipe(project, path, force), SECONDS)
    if error is None:
        assert (project / "params.yaml").read_bytes() == path.read_bytes()
    else:
        assert name in ("a pipe", "a folder", "a link to itself", "a link to a device")
    assert Path("/etc/passwd").read_bytes() == passwords


@pytest.mark.parametrize(
    "path",
    [
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        ".",
        "",
        "\0.yaml",
        "x" * 300 + ".yaml",
        "x/y.yaml",
        "-",
        "a\nb.yaml",
    ],
)
def test_paths_as_recipes(project: Path, tally: Tally, capsys: pytest.CaptureFixture[str], path: str) -> None:
    for command in (["use"], ["check"], ["show"], ["diff"]):
        ends: list[int] = []
        tally("recipes", lambda command=command, ends=ends: _ended(ends, "recipe", *command, "--", path), SECONDS)
        assert ends[0] in (3, 4)
        assert "\x1b" not in capsys.readouterr().err


def test_a_recipe_names_no_file_elsewhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = project.parent / "secret.yaml"
    secret.write_text("password: hunter2\n", encoding="utf-8")
    params = project / "params.yaml"
    for named in (str(secret), "../../secret.yaml", "../../secret"):
        params.write_text(f"recipe: {named}\n", encoding="utf-8")
        assert _run("recipe", "diff") == 4
        assert _run("recipe", "use", "quickstart") == 3
    link = project / "recipes" / "bad.yaml"
    link.symlink_to(secret)
    for words in (
        ["use", "bad"],
        ["use", "recipes/bad.yaml"],
        ["show", str(link)],
        ["list"],
        ["check"],
        ["diff", "bad"],
    ):
        assert _run("recipe", *words) == 3, words
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err and "password" not in said.out + said.err


def test_many_slow_templates_stop_the_check(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.recipe.template_checks.CHECK_SECONDS", -1.0)  # the clock has ticks
    with pytest.raises(FaultsError, match="take more than -1 s to render"):
        load_recipe(project / "params.yaml", project)


def test_many_rows_to_make_are_refused(project: Path) -> None:
    values = copy.deepcopy(BASE)
    for index in range(5):
        values["benchmarks"][f"more_{index}"] = copy.deepcopy(values["benchmarks"]["sums_test"])
        values["benchmarks"][f"more_{index}"]["source"]["size"] = 50_000
    with pytest.raises(FaultsError, match="has 250060 rows of procedural sources"):
        _judge(_document(project / "params.yaml", values), project)


def test_many_checkpoints_are_refused(project: Path) -> None:
    values = copy.deepcopy(BASE)
    values["design"]["seeds"] = list(range(1000))
    values["strategies"] |= {f"s{index}": values["strategies"]["none"] for index in range(20)}
    values["design"]["train"] = list(values["strategies"])
    with pytest.raises(FaultsError, match="has 24000 checkpoints: models x datasets"):
        _judge(_document(project / "params.yaml", values), project)


SHAPES: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(BASE | {"recipe": "odd"}),
    "indented JSON": lambda text: json.dumps(BASE | {"recipe": "odd"}, indent=1),
    "CR": lambda text: text.replace("\n", "\r"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "line separators": lambda text: text.replace("You are a", "You\u2028are a").replace("a small", "a\u2028small"),
    "NEL": lambda text: text.replace("You are a", "You\x85are a"),
    "byte order mark": lambda text: "\ufeff" + text,
    "document marks": lambda text: f"---\n{text}...\n",
    "an anchor": lambda text: text.replace("strategies:\n", "strategies: &s\n"),
    "a tag": lambda text: text.replace("strategies:\n", "strategies: !!map\n"),
    "no last line end": lambda text: text.rstrip("\n"),
    "quoted keys": lambda text: text.replace("strategies:\n", '"strategies":\n').replace(
        "recipe: odd", "'recipe': odd"
    ),
    "flow strategies": lambda text: text.replace(
        "strategies:\n", "strategies: {a: {query: prompts/query_plain.j2}}\nx:\n"
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_changed_line_by_line_stays_valid_or_as_it_was(project: Path, tally: Tally, name: str) -> None:
    text = (DATA / "base.yaml").read_text(encoding="utf-8").replace("recipe: base", "recipe: odd")
    path = project / "recipes" / "odd.yaml"
    path.write_bytes(SHAPES[name](text).encode())
    for act, made in (
        (lambda: new_recipe(project, "mine", "odd"), project / "recipes" / "mine.yaml"),
        (lambda: new_strategy(project, "witness", "odd"), path),
    ):
        before = _snapshot(project)
        if tally("recipes", act, SECONDS) is None:
            load_recipe(made, project)
            assert made == path or path.read_bytes() == before[path]
        else:
            assert _snapshot(project) == before


DATA_CASES = {
    "a field that is no expression": (
        "fields: {problem: '{{ row. }}', reference: a}",
        '{"q": "x", "a": "1"}',
        "fields.problem",
    ),
    "a filter that is none": (
        "fields: {problem: q, reference: '{{ row.a | nope }}'}",
        '{"q": "x", "a": "1"}',
        "fields.reference",
    ),
    "no reference": ("fields: {problem: q}", '{"q": "x"}', "reference"),
    "a broken row": ("fields: {problem: q, reference: a}", '{"q": ', "broken JSON"),
    "a reference that is no number": ("fields: {problem: q, reference: a}", '{"q": "x", "a": "many"}', "many"),
    "a preset of other fields": ("preset: gsm8k", '{"q": "x"}', "question"),
}


@pytest.mark.parametrize("name", DATA_CASES)
def test_check_and_use_and_new_agree(project: Path, tally: Tally, name: str) -> None:
    mapping, row, wanted = DATA_CASES[name]
    (project / "data" / "sources" / "a.jsonl").write_text(row + "\n", encoding="utf-8")
    text = (DATA / "base.yaml").read_text(encoding="utf-8").replace("recipe: base", "recipe: bad")
    at = text.index("    source: {kind: procedural, generator: arithmetic, size: 20")
    end = text.index("    answer: integer")
    text = f"{text[:at]}    source: {{kind: files, path: data/sources/a.jsonl}}\n    {mapping}\n{text[end:]}"
    path = project / "recipes" / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    before = _snapshot(project)
    acts: list[Callable[[], object]] = [
        lambda: data_checked(read_document(path), project, {}),
        lambda: use_recipe(project, path, True, data_checked),
        lambda: new_recipe(project, "mine", "bad", data_checked),
        lambda: new_strategy(project, "witness", "bad", data_checked),
    ]
    for act in acts:
        error = tally("recipes", act, SECONDS * 5)
        assert error is not None and wanted in error.message, error
    assert [_run("recipe", *words) for words in (["check", "bad"], ["use", "bad"])] == [3, 3]
    assert _snapshot(project) == before


@pytest.mark.parametrize("row", VALUES[::40], ids=lambda row: ".".join(map(str, row["at"]))[:40])
def test_check_and_use_agree_on_values(project: Path, row: dict[str, Any]) -> None:
    path = project / "hostile.yaml"
    path.write_text(json.dumps(_changed([_written_out(part) for part in row["at"]], row)), encoding="utf-8")
    wanted = 0 if row["wanted"] is None else 3
    assert [_run("recipe", *words, "hostile.yaml") for words in (["check"], ["use", "--force"])] == [wanted, wanted]


@pytest.mark.parametrize("name", ["billion laughs", "500 nested [", "recursive merge", "5,000 digits", "!!int abc"])
def test_as_a_process_of_its_own(project: Path, name: str) -> None:
    text = next(_written_out(row["text"]) for row in TEXTS if row["name"] == name)
    (project / "recipes" / "bad.yaml").write_text(text, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in (["check", "bad"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-m", "its", "recipe", *words],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (3, False)
        assert done.stderr.startswith("error: ")
