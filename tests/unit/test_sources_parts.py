"""One set of several parts: files and subsets of the hub, in order, with ids, shares, cards and faults of their own."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from running import run_stage
from unit.source_samples import parted

from its.cards.markdown import card_markdown
from its.checks.untracked import untracked_files
from its.commands.lineage import lineage
from its.errors import DataError, FaultsError, ItsError
from its.recipe.fields import section_fields
from its.recipe.load import read_document, validate
from its.recipe.schema import Benchmark, Dataset
from its.recipe.source_parts import parts_of
from its.rows import read_rows
from its.sources.load import load_problems
from its.sources.paths import steps_of
from its.study.study import load_study
from its.types import Problem

COMMIT = "0123456789abcdef0123456789abcdef01234567"
AIME = [{"kind": "hub", "id": f"MathArena/aime_2024_{n}", "split": "train"} for n in ("I", "II")]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None, str], list[dict[str, Any]]]:
    """Sets by id, subset and split; rows are put in by the test."""
    import datasets
    import huggingface_hub

    sets: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}

    def load(id_: str, subset: str | None, *, split: str, revision: str, streaming: bool) -> Any:
        assert streaming and revision == COMMIT
        if (id_, subset, split) not in sets:
            raise datasets.exceptions.DatasetNotFoundError(f"no {id_} {subset} {split}")
        return sets[id_, subset, split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha=COMMIT))
    for number in ("I", "II"):
        rows = [
            {"problem_idx": index, "problem": f"Problem {index} of {number}?", "answer": index * 7 + len(number)}
            for index in range(1, 16)
        ]
        sets[f"MathArena/aime_2024_{number}", None, "train"] = rows
    for subset in ("algebra", "geometry"):
        rows = [
            {"problem": f"{subset} {n}?", "solution": f"\\boxed{{{n}}}", "level": "1", "type": subset} for n in range(4)
        ]
        sets["EleutherAI/hendrycks_math", subset, "train"] = rows
    return sets


def load(
    project: Path, source: Any, kind: type[Dataset] | type[Benchmark] = Benchmark, **more: Any
) -> tuple[list[Problem], dict[str, Any]]:
    given: dict[str, Any] = {"answer": "integer", "role": "report"} if kind is Benchmark else {}
    given |= {"fields": {"problem": "q", "reference": "a", "problem_id": "id"}} if "preset" not in more else {}
    declared = kind.model_validate({"source": source, **given, **more})
    required = ("reference",) if kind is Benchmark else ("solution",)
    rows = load_problems("x", declared, seed=1, project=project, required=required)
    return parted(rows)[0], rows.result


def write(project: Path, name: str, rows: list[Any]) -> str:
    path = project / "data" / "sources" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"data/sources/{name}"


def rows_of(word: str, count: int) -> list[dict[str, Any]]:
    return [{"id": number, "q": f"{word} {number}?", "a": number} for number in range(1, count + 1)]


def test_the_page_shows_what_is_read(tmp_path: Path, hub: Any) -> None:
    """The YAML of docs/sources.md is valid, and its AIME benchmark and paths give what the page says."""
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    block = page.partition("## Several parts as one set\n")[2].partition("\nA part has the kind")[0]
    shown = YAML(typ="safe").load(block)
    benchmark = Benchmark.model_validate(shown["benchmarks"]["aime_2024"])
    given = benchmark.model_dump(exclude={"answer", "role"}, exclude_none=True)
    assert load(tmp_path, given.pop("source"), **given)[0][21].problem_id == "aime_2024_II/7"
    assert len(Dataset.model_validate(shown["datasets"]["maths"]).sources) == 2
    for line in re.findall(r"^    (source: \{kind: files.*?\})", page, re.MULTILINE):
        Dataset.model_validate(YAML(typ="safe").load(line) | {"fields": {"problem": "q"}})
    paths = page.partition("### The user's turn")[2].partition("\n`NAME[KEY=WORD]`")[0].strip().splitlines()[1:]
    paths = [line for line in paths if line.strip()]
    assert len(paths) == 5
    for line in paths:
        (value,) = YAML(typ="safe").load(line).values()
        texts = [value] if isinstance(value, str) else [value["correct"], *value["wrong"]]
        assert all(steps_of(text)[0].word or steps_of(text)[1].word for text in texts), line


def test_two_sets_of_the_hub_are_one_benchmark(tmp_path: Path, hub: Any) -> None:
    problems, origin = load(tmp_path, AIME, preset="aime_2024")
    assert [problem.problem_id for problem in problems] == [
        *(f"aime_2024_I/{number}" for number in range(1, 16)),
        *(f"aime_2024_II/{number}" for number in range(1, 16)),
    ]
    assert problems[16].text == "Problem 2 of II?"
    assert problems[16].row == f"hub:MathArena/aime_2024_II/train@{COMMIT[:12]}[1]"
    assert Counter(problem.source for problem in problems) == {"aime_2024_I": 15, "aime_2024_II": 15}
    assert origin == {
        "kind": "parts",
        "parts": [
            {
                "name": f"aime_2024_{number}",
                "kind": "hub",
                "id": f"MathArena/aime_2024_{number}",
                "split": "train",
                "revision": COMMIT,
                "rows": 15,
            }
            for number in ("I", "II")
        ],
    }


def test_subsets_are_parts(tmp_path: Path, hub: Any) -> None:
    source = {"kind": "hub", "id": "EleutherAI/hendrycks_math", "subset": ["geometry", "algebra"], "split": "train"}
    problems, origin = load(tmp_path, source, Dataset, preset="math")
    assert [problem.problem_id for problem in problems] == [
        *(f"hendrycks_math_geometry/{number:06d}" for number in range(4)),
        *(f"hendrycks_math_algebra/{number:06d}" for number in range(4)),
    ]
    assert problems[5].row == f"hub:EleutherAI/hendrycks_math/algebra/train@{COMMIT[:12]}[1]"
    assert [(part["subset"], part["rows"]) for part in origin["parts"]] == [("geometry", 4), ("algebra", 4)]
    inside = load(tmp_path, [{**source, "name": "M"}], Dataset, preset="math")[0]
    assert {problem.source for problem in inside} == {"M_geometry", "M_algebra"}


def test_files_folders_and_the_hub_are_read_in_their_order(tmp_path: Path, hub: Any) -> None:
    one = write(tmp_path, "one.jsonl", rows_of("one", 3))
    for shard in (2, 10):
        write(tmp_path, f"many/part-{shard}.jsonl", rows_of(f"shard {shard}", 2)[: 2 if shard == 2 else 1])
    hub["a/b", None, "test"] = rows_of("hub", 2)
    source = [
        {"kind": "hub", "id": "a/b", "split": "test", "name": "third"},
        {"kind": "files", "path": one},
        {"kind": "files", "path": "data/sources/many/", "name": "shards"},
    ]
    fields = {"problem": "q", "reference": "a"}
    problems, origin = load(tmp_path, source, fields=fields)
    assert [(problem.problem_id, problem.text, problem.source) for problem in problems] == [
        ("third/000000", "hub 1?", "third"),
        ("third/000001", "hub 2?", "third"),
        ("one/000000", "one 1?", "one"),
        ("one/000001", "one 2?", "one"),
        ("one/000002", "one 3?", "one"),
        ("shards/000000", "shard 2 1?", "shards"),
        ("shards/000001", "shard 2 2?", "shards"),
        ("shards/000002", "shard 10 1?", "shards"),
    ]
    assert [part["rows"] for part in origin["parts"]] == [2, 3, 3]
    assert origin["parts"][1]["sha256"] == hashlib.sha256((tmp_path / one).read_bytes()).hexdigest()
    assert [file["rows"] for file in origin["parts"][2]["files"]] == [2, 1]


@given(data=st.data())
@settings(deadline=None)
def test_no_part_renames_a_problem_of_another(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever parts there are beside it, in whatever order, and whatever rows they have."""
    project = tmp_path_factory.mktemp("parts")
    names = data.draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
    counts = {name: data.draw(st.integers(1, 4)) for name in names}
    for name in names:
        write(project, f"{name}.jsonl", rows_of(name, counts[name]))
    mapped = data.draw(st.booleans())
    fields = {"problem": "q", "reference": "a"} | ({"problem_id": "id"} if mapped else {})

    def ids(order: list[str]) -> dict[str, str]:
        source = [{"kind": "files", "path": f"data/sources/{name}.jsonl"} for name in order]
        problems, _ = load(project, source, fields=fields)
        assert [problem.source for problem in problems] == [name for name in order for _ in range(counts[name])]
        return {problem.text: problem.problem_id for problem in problems}

    whole = ids(names)
    assert len(set(whole.values())) == sum(counts.values())
    some = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    assert ids(some) == {text: id_ for text, id_ in whole.items() if text.split()[0] in some}


def test_an_id_that_a_part_has_twice_is_a_fault_still(tmp_path: Path) -> None:
    source = [{"kind": "files", "path": write(tmp_path, f"{n}.jsonl", rows_of(n, 2) + rows_of(n, 1))} for n in "ab"]
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, source)
    assert [f"{fault.where}: {fault.message}" for fault in caught.value.faults] == [
        "data/sources/a.jsonl:3: duplicate problem_id `a/1`; first at data/sources/a.jsonl:1",
        "data/sources/b.jsonl:3: duplicate problem_id `b/1`; first at data/sources/b.jsonl:1",
    ]


def test_faults_of_all_parts_come_together_and_tolerance_is_of_the_set(tmp_path: Path) -> None:
    one = write(tmp_path, "one.jsonl", [*rows_of("one", 2), {"id": 3, "q": ""}])
    two = write(tmp_path, "two.jsonl", [{"id": 1, "question": "x", "a": 1}] * 30)
    source = [{"kind": "files", "path": path} for path in (one, two)]
    with pytest.raises(FaultsError) as caught:
        load(tmp_path, source)
    assert [fault.where for fault in caught.value.faults] == [two, f"{one}:3", f"{one}:3"]
    assert caught.value.faults[0].message.startswith("no row has `q` (problem); the rows have: `id`, `question`")
    write(tmp_path, "two.jsonl", [*rows_of("two", 2), {"id": 3, "q": "", "a": 1}])
    problems, origin = load(tmp_path, source, tolerate={"rows": 2})
    assert len(problems) == 4 and [part["rows"] for part in origin["parts"]] == [3, 3]
    with pytest.raises(FaultsError, match=r"`x`: 2 rows are faulty; `tolerate\.rows` is 1"):
        load(tmp_path, source, tolerate={"rows": 1})


def test_a_pin_is_of_its_part(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{name}.jsonl", rows_of(name, 2)) for name in "ab"]
    pins = [hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in paths]
    source = [{"kind": "files", "path": path, "sha256": pin} for path, pin in zip(paths, pins, strict=True)]
    assert len(load(tmp_path, source)[0]) == 4
    write(tmp_path, "b.jsonl", rows_of("b", 3))
    with pytest.raises(DataError, match=rf"data/sources/b\.jsonl: its sha256 is `\w+`, the recipe pins `{pins[1]}`"):
        load(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ([{"kind": "files", "path": "data/sources/a.jsonl.gz"}], ["a"]),
        ([{"kind": "files", "path": "data/sources/a.b.parquet"}], ["a.b"]),
        ([{"kind": "files", "path": "data/sources/set/"}], ["set"]),
        ([{"kind": "files", "path": "data/sources/set/*.parquet"}], ["set"]),
        ([{"kind": "files", "path": "*.parquet"}], ["part"]),
        ([{"kind": "files", "path": "data/sources/my set (1).csv"}], ["my_set_1_"]),
        ([{"kind": "files", "path": f"data/{'x' * 200}.csv"}], ["x" * 64]),
        ([{"kind": "hub", "id": "a/B-c", "split": "train"}], ["B-c"]),
        ([{"kind": "hub", "id": "a/b", "split": "train", "subset": "main"}], ["b_main"]),
        ([{"kind": "hub", "id": "a/b", "split": "train", "subset": "main", "name": "own"}], ["own"]),
        ([{"kind": "hub", "id": "a/b", "split": "train", "subset": ["c", "d/e"]}], ["b_c", "b_d_e"]),
        ({"kind": "hub", "id": "a/b", "split": "train", "subset": ["c", "d"]}, ["b_c", "b_d"]),
        ({"kind": "hub", "id": "a/b", "split": "train", "subset": "c"}, [""]),
        ({"kind": "files", "path": "a.jsonl"}, [""]),
        (None, []),
        ([5, None, [], {}], ["part"]),
    ],
)
def test_a_part_is_named_by_its_own_entry(source: Any, names: list[str]) -> None:
    assert [part.name for part in parts_of(source)] == names


def faults(project: Path, source: str, section: str = "dataset") -> list[tuple[str, str, str | None]]:
    """Faults of the quickstart whose dataset has this source (lines of YAML), each with its line's text."""
    path = project / "params.yaml"
    lines = path.read_text(encoding="utf-8").split("\n")
    begin = lines.index("    source:", lines.index("datasets:"))
    end = next(at for at in range(begin + 1, len(lines)) if not lines[at].startswith("      "))
    mapping = "    fields: {problem: q, reference: a, solution: a}"
    lines[begin:end] = [f"    source:{source}", mapping]
    path.write_text("\n".join(lines), encoding="utf-8")
    _, found = validate(read_document(path), project)
    text = path.read_text(encoding="utf-8").split("\n")
    return [(text[int(fault.where.split(":")[1]) - 1].strip(), fault.message, fault.hint) for fault in found]


FAULTS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "of the schema": (
        """
      - {kind: files, pth: data/sources/a.jsonl}
      - kind: hub
        id: nowhere
        split: train
      - {kind: procedural, generator: arithmetic, size: 3, split: train, steps: [2, 4], templates: [boxes]}
      - 5""",
        [
            (
                "- {kind: files, pth: data/sources/a.jsonl}",
                "missing field `datasets.arithmetic.source.0.path`",
                "path:",
            ),
            (
                "- {kind: files, pth: data/sources/a.jsonl}",
                "unknown field `datasets.arithmetic.source.0.pth`",
                "`path`",
            ),
            ("id: nowhere", "`datasets.arithmetic.source.1.id` is `nowhere`: `owner/name` of the hub is expected", ""),
            ("- {kind: procedural", "`datasets.arithmetic.source.2` is a mapping: input tag 'procedural'", ""),
            ("- 5", "`datasets.arithmetic.source.3` is `5`: input should be a mapping", ""),
        ],
    ),
    "of files": (
        """
      - {kind: files, path: data/sources/a.jsonl}
      - kind: files
        path: data/sources/b.jsnl
      - kind: files
        path: data/sources/A.jsonl
      - kind: files
        path: elsewhere.jsonl""",
        [
            (
                "path: data/sources/b.jsnl",
                "`data/sources/b.jsnl`: no such file",
                "did you mean `data/sources/b.jsonl`?",
            ),
            ("path: data/sources/A.jsonl", "`data/sources/A.jsonl`: no such file", "did you mean `data/sources/a"),
            ("path: elsewhere.jsonl", "is outside `data/sources/` and has no `sha256`", "add `sha256: "),
        ],
    ),
    "read twice": (
        """
      - {kind: files, path: data/sources/a.jsonl}
      - {kind: files, path: data/sources/../sources/a.jsonl, name: again}
      - {kind: files, path: data/sources/*.jsonl, name: all}
      - {kind: hub, id: a/b, split: train}
      - {kind: hub, id: a/b, split: train, name: again2}""",
        [
            (
                "- {kind: files, path: data/sources/../",
                "is already read by `datasets.arithmetic.source.0.path`",
                "keep one",
            ),
            (
                "- {kind: files, path: data/sources/*.js",
                "`data/sources/a.jsonl` is already read by `datasets.arith",
                "keep one",
            ),
            (
                "- {kind: hub, id: a/b, split: train, name: again2}",
                "`datasets.arithmetic.source.4` reads what `datasets.arithmetic.source.3` reads",
                "keep one",
            ),
        ],
    ),
    "called alike": (
        """
      - {kind: files, path: data/sources/a.jsonl}
      - {kind: files, path: data/sources/b.jsonl, name: a}
      - {kind: hub, id: a/b, split: train}
      - {kind: hub, id: a/b, split: test}""",
        [
            (
                "- {kind: files, path: data/sources/b.jsonl, name: a}",
                "`datasets.arithmetic.source.1` has the name `a`, as `datasets.arithmetic.source.0` has",
                "`name: a_2`",
            ),
            (
                "- {kind: hub, id: a/b, split: test}",
                "`datasets.arithmetic.source.3` has the name `b`, as `datasets.arithmetic.source.2` has",
                "`name: b_2`",
            ),
        ],
    ),
    "odd names": (
        """
      - {kind: files, path: data/sources/a.jsonl, name: "a/b"}
      - {kind: files, path: data/sources/b.jsonl, name: .x}""",
        [
            (
                "- {kind: files, path: data/sources/a.jsonl",
                "`datasets.arithmetic.source.0.name` is `a/b`: the name of",
                "",
            ),
            (
                "- {kind: files, path: data/sources/b.jsonl",
                "`datasets.arithmetic.source.1.name` is `.x`: the name of",
                "",
            ),
        ],
    ),
    "no part": (" []", [("source: []", "`datasets.arithmetic.source` is a list: list should have at least 1", "")]),
    "subsets": (
        " {kind: hub, id: a/b, split: train, subset: [c, /d, c]}",
        [
            (
                "source: {kind: hub",
                "`datasets.arithmetic.source.subset.1` is `/d`: the name of a subset is expected",
                "",
            ),
            ("source: {kind: hub", "`datasets.arithmetic.source.subset.2` reads what", "keep one"),
        ],
    ),
    "a name without parts": (
        " {kind: files, path: data/sources/a.jsonl, name: x}",
        [("source: {kind: files", "unknown field `datasets.arithmetic.source.name`", "its recipe fields")],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_the_line_of_its_part(project: Path, name: str) -> None:
    source, wanted = FAULTS[name]
    for file in ("a.jsonl", "b.jsonl"):
        write(project, file, rows_of(file, 2))
    (project / "elsewhere.jsonl").write_text("{}\n")
    found = faults(project, source)
    assert len(found) == len(wanted), found
    for line, message, hint in wanted:
        assert any(text.startswith(line) and message in said and hint in str(remedy) for text, said, remedy in found), (
            line,
            message,
            found,
        )


def test_a_folder_of_the_project_is_no_hub_dataset_in_any_part(project: Path) -> None:
    found = faults(
        project, "\n      - {kind: hub, id: data/sources, split: train}\n      - {kind: hub, id: a/b, split: x}"
    )
    assert [text for text, message, _ in found if "is a path of this project" in message] == [
        "- {kind: hub, id: data/sources, split: train}"
    ]


def test_fields_of_parts_are_known() -> None:
    assert section_fields(["datasets", "any", "source", "0"]) == sorted(
        ["kind", "path", "sha256", "name", "id", "subset", "split", "revision"]
    )
    assert {"path", "id", "generator"} <= set(section_fields(["datasets", "any", "source"]))


def prepared(project: Path, source: str, more: str = "") -> dict[str, Any]:
    """The card of the quickstart's dataset, prepared from this source."""
    path = project / "params.yaml"
    lines = path.read_text(encoding="utf-8").split("\n")
    begun = lines.index("    decontamination:")
    ended = next(at for at in range(begun + 1, len(lines)) if not lines[at].startswith("      "))
    lines[begun:ended] = more.split("\n") if more else []
    path.write_text("\n".join(lines), encoding="utf-8")
    assert faults(project, source) == []
    run_stage("prepare", "arithmetic")
    card: dict[str, Any] = json.loads(load_study(project).card_path("arithmetic").read_text(encoding="utf-8"))
    return card


def test_a_card_lists_every_part_with_its_pin_and_rows(project: Path, hub: Any) -> None:
    hub["a/b", None, "train"] = rows_of("hub", 5)
    for shard in "ab":
        write(project, f"set/{shard}.jsonl", rows_of(shard, 3))
    card = prepared(
        project,
        "\n      - {kind: hub, id: a/b, split: train}\n      - {kind: files, path: data/sources/set/, name: shards}",
        "    sample: {size: 6, seed: 1, stratify_by: source}",
    )
    assert card["sources"] == {"b": 3, "shards": 3}, "5 and 6 of 11 rows: each keeps its share of 6"
    assert [(part["name"], part["rows"]) for part in card["origin"]["parts"]] == [("b", 5), ("shards", 6)]
    page = card_markdown(card).replace("\\", "")
    assert f"| b | a/b train | {COMMIT} | 5 |" in page
    assert f"| shards | data/sources/set/ | {card['origin']['parts'][1]['sha256']} | 6 |" in page
    assert "2 files, read in this order:" in page
    study = load_study(project)
    rows = list(read_rows(study.problems_path("arithmetic"), Problem))
    one = next(item for item in rows if item.source == "shards")
    step = lineage(study, f"arithmetic/{one.problem_id}")["steps"][-1]
    assert step["where"] == one.row and step["facts"]["name"] == "shards" and "parts" not in step["facts"]
    other = next(item for item in rows if item.source == "b")
    step = lineage(study, f"arithmetic/{other.problem_id}")["steps"][-1]
    assert step["id"] == other.row and step["facts"]["revision"] == COMMIT
    assert untracked_files(project, study.recipe) == []  # no repository here


@pytest.mark.parametrize("seed", range(8))
def test_a_sample_by_source_gives_each_part_its_share(project: Path, seed: int) -> None:
    draw = random.Random(seed)
    counts = {name: draw.randint(1, 40) for name in "abc"}
    source = ""
    for name, count in counts.items():
        path = write(project, f"{name}.jsonl", rows_of(f"{name} {seed}", count))
        source += f"\n      - {{kind: files, path: {path}}}"
    size = draw.randint(1, sum(counts.values()))
    card = prepared(project, source, f"    sample: {{size: {size}, seed: {seed}, stratify_by: source}}")
    for name, count in counts.items():
        share = count * size / sum(counts.values())
        assert abs(card["sources"].get(name, 0) - share) < 1


def test_a_split_divides_the_union(project: Path) -> None:
    source = ""
    for name in "ab":
        source += f"\n      - {{kind: files, path: {write(project, f'{name}.jsonl', rows_of(f'{name} word', 30))}}}"
    kept = {}
    text = (project / "params.yaml").read_text(encoding="utf-8")
    for side in ("train", "select"):
        (project / "params.yaml").write_text(text, encoding="utf-8")
        prepared(project, source, f"    split: {{seed: 1, select: 0.5, keep: {side}}}")
        path = load_study(project).problems_path("arithmetic")
        kept[side] = {row.problem_id for row in read_rows(path, Problem)}
    assert not kept["train"] & kept["select"] and len(kept["train"] | kept["select"]) == 60


def test_the_check_reads_the_rows_of_all_local_parts(project: Path, its: Callable[..., Any], hub: Any) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    begin = text.index("    source:", text.index("benchmarks:"))
    end = text.index("    answer:", begin)
    paths = [write(project, f"{name}.jsonl", rows_of(name, 3)) for name in "ab"]
    source = "".join(f"\n      - {{kind: files, path: {path}}}" for path in paths)
    mapped = f"{text[:begin]}    source:{source}\n    fields: {{problem: q, reference: a}}\n{text[end:]}"
    (project / "params.yaml").write_text(mapped, encoding="utf-8")
    assert its("recipe", "check", "params.yaml")[0] == 0
    write(project, "b.jsonl", [*rows_of("b", 2), {"q": "third?", "a": "a dozen"}])
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 3 and "data/sources/b.jsonl:3: " in err and "a dozen" in err
    write(project, "b.jsonl", rows_of("a", 3))
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 3 and "data/sources/b.jsonl:1: the problem of data/sources/a.jsonl:1 again" in err


def test_a_hub_part_that_is_not_there_is_one_error(tmp_path: Path, hub: Any) -> None:
    with pytest.raises(ItsError, match="the hub dataset `a/none` is not available"):
        load(tmp_path, [*AIME, {"kind": "hub", "id": "a/none", "split": "train"}], preset="aime_2024")
