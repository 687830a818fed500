"""`its.read_study`, `its.read_log` and `its.compare`: data frames with the numbers of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import python_reference
from running import run_stage
from unit.results_samples import VOTE
from unit.test_documents import Block, blocks, is_python
from unit.test_measure import BLANK, RIGHT, WRONG, Answer, Written
from unit.test_results_compare import BASE, TEXTS, TRAINED, inspect_log, lm_eval

import its as package
from its.errors import DataError, FaultsError, ItsError, MissingError
from its.frames import StudyFrames, StudyWarning
from its.frames.columns import Column, frame
from its.results import RESULTS_VERSION, VoteResult, Votes, write_results
from its.rows import write_json, write_rows
from its.study.study import Checkpoint, cell_name, load_study
from its.types import Persona

Its = Callable[..., tuple[int, str, str]]
Edit = Callable[..., None]
PAGE = python_reference.PATH.read_text(encoding="utf-8")


def _answer(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    if checkpoint.train is None:
        return RIGHT if place < 3 else BLANK if place < 6 else WRONG
    return RIGHT if place < 9 or index == 0 else WRONG


@pytest.fixture
def written(project: Path, edit: Edit) -> Written:
    edit(
        ("  draws: #", "  draws: 200"),
        ("  n: #\n  temperature: #\n  top_p: #", "  n: 4\n  temperature: 0.6\n  top_p: 0.9"),
    )
    edit(("  maj_k: [1]", "  maj_k: [3]\n  pass_k: [2]\n  all_k: [2]"))
    made = Written(project)
    made.write(_answer, text="It is \ud83d, <b>1</b>.")
    for side, name, strategies in made.study.sets():
        if side == "train":
            write_rows(made.study.problems_path(name), made.study.problems("arithmetic_test"))
        for strategy in strategies:
            rows = [Persona(problem_id=f"p{i}", strategy=strategy, text="A cook.", attempts=1) for i in range(12)]
            write_rows(made.study.personas_path(name, strategy), rows)
    return made


@pytest.fixture
def study(written: Written) -> StudyFrames:
    run_stage("measure")
    return package.read_study(written.study.project)


def _fits(table: pandas.DataFrame, name: str) -> None:
    """The columns, their order and types are those that are documented."""
    wanted = [item for item in python_reference.FRAMES[name] if "@K" not in item.name and "METRIC" not in item.name]
    assert [str(each) for each in table.columns][: len(wanted)] == [item.name for item in wanted]
    for item in wanted:
        column = table[item.name]
        assert column.dtype == item.dtype, (name, item.name)
        assert item.missing is not None or column.notna().all(), (name, item.name)


def test_every_frame_of_a_study(study: StudyFrames) -> None:
    assert (study.recipe, study.missing, study.notes) == ("quickstart", (), ())
    for name in ("cells", "comparisons", "votes", "responses", "personas", "problems"):
        table = getattr(study, name)
        assert len(table) > 1 or name == "votes", name
        assert getattr(study, name) is table, "read once"
        _fits(table, name)
    assert "StudyFrames" in repr(study) and "Study(" not in repr(study)


def test_the_cells_have_the_numbers_of_the_files(study: StudyFrames, its: Its) -> None:
    document = json.loads(its("results", "table", "--json")[1])
    rows = study.cells.to_dict("records")
    assert len(rows) == len(document["cells"]) > 5
    for row, own in zip(rows, document["cells"], strict=True):
        assert (row["checkpoint"], row["avg"], row["low"]) == (own["checkpoint"], own["avg"], own["low"])
        assert (row["maj@3"], row["pass@2"], row["all@2"]) == (
            *own["maj_at_k"].values(),
            *own["pass_at_k"].values(),
            *own["all_at_k"].values(),
        )
        assert [row["pass@2_low"], row["pass@2_high"]] == own["intervals"]["pass@2"]
        assert row["g_pass@2_0.5"] == own["g_pass_at_k"]["2"]["0.5"]
    assert study.cells["seed"].isna().sum() == 2 and study.cells["seed"].dtype == "Int64"
    for row, own in zip(study.comparisons.to_dict("records"), document["comparisons"], strict=True):
        assert row == own


def test_the_mean_score_of_a_cell_is_its_avg(study: StudyFrames) -> None:
    means = study.responses.groupby(["checkpoint", "benchmark", "test"])["score"].mean()
    for row in study.cells.itertuples():
        assert means[row.checkpoint, row.benchmark, row.test] == pytest.approx(row.avg)
    assert study.responses["text"][0] == "It is \ud83d, <b>1</b>.", "also half of a character"
    one = study.responses_of(TRAINED, TRAINED)
    assert len(one) == 48 and set(one["checkpoint"]) == {TRAINED.partition("/")[0]}
    assert list(study.problems["text"][:2]) == ["problem 0", "problem 1"] and set(study.personas["text"]) == {"A cook."}


def test_a_column_by_k_is_documented(study: StudyFrames) -> None:
    fixed = {item.name for item in python_reference.FRAMES["cells"]}
    rest = [str(name) for name in study.cells.columns if name not in fixed]
    known = ("maj@3", "pass@2", "all@2", "g_pass@2_0.25", "g_pass@2_0.5", "g_pass@2_0.75")
    assert sorted(rest) == sorted([*known, *(f"{name}_{end}" for name in known[:3] for end in ("low", "high"))])


def _delete(written: Written) -> None:
    written.study.verdicts_path(*written.study.cells()[0]).unlink()


def _grow(written: Written) -> None:
    path = written.study.project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count("  seeds: [1]") == 1
    path.write_text(text.replace("  seeds: [1]", "  seeds: [1, 2]"), encoding="utf-8")


def test_an_unfinished_study_says_so(written: Written) -> None:
    run_stage("measure")
    _delete(written)
    gone = cell_name(written.study.cells()[0])
    with pytest.warns(StudyWarning, match="1 cell of the design without graded responses yet, left out: ") as caught:
        found = package.read_study()
    assert Path(caught[0].filename) == Path(__file__), "the line of the user, not of ITS"
    assert found.missing == (gone,) and len(found.notes) == 1
    assert len(found.responses) == 48 * (len(written.study.cells()) - 1)
    with pytest.raises(MissingError, match="no such file"):
        found.responses_of(gone)
    _grow(written)
    with pytest.warns(StudyWarning, match=r"without graded responses"):
        found = package.read_study()
    with pytest.warns(StudyWarning, match="cells.json: lacks 4 cells of the design, not measured yet") as caught:
        assert len(found.cells)
    assert Path(caught[0].filename) == Path(__file__)


LOCK = """schema: '2.0'
stages:
  measure:
    cmd: python -m its measure
    deps:
    - path: data/verdicts
      hash: md5
      md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.dir
    - path: its/seeds.py
      hash: md5
      md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    params:
      params.yaml:
        measure.draws: 100
    outs:
    - path: results/cells.json
      hash: md5
      md5: {md5}
  judge:
    cmd: python -m its judge
    outs:
    - path: data/verdicts
      hash: md5
      md5: {verdicts}.dir
"""


def test_an_outdated_study_says_so(written: Written) -> None:
    run_stage("measure")
    lock = written.study.project / "dvc.lock"
    lock.write_text(LOCK.format(md5="c" * 32, verdicts="b" * 32), encoding="utf-8")
    with pytest.warns(StudyWarning) as caught:
        found = package.read_study()
    assert len(caught) == 3, [str(each.message) for each in caught]
    assert "the results are outdated, changed since: measure.draws, data/verdicts" in found.notes[0]
    assert "files differ from those of the last run: results/cells.json" in found.notes[1]

    assert found.notes[2].endswith("the last run was with other code of ITS: 1 file differs")
    lock.write_text("stages: [", encoding="utf-8")
    with pytest.warns(StudyWarning, match="whether the results are outdated is not known: dvc.lock:1"):
        package.read_study()


def test_members_of_a_vote_are_texts(written: Written) -> None:
    found = Votes(version=RESULTS_VERSION, recipe="quickstart", votes=[VoteResult.model_validate(VOTE)])
    write_results(written.study.results("votes.json"), found)
    table = package.read_study().votes
    _fits(table, "votes")
    assert table["members"][0] == [f"{each['checkpoint']}/{each['test']}" for each in VOTE["members"]]


def test_nothing_ran_yet(project: Path) -> None:
    with pytest.warns(StudyWarning, match="without graded responses yet"):
        found = package.read_study()
    for name in ("cells", "comparisons", "votes", "responses", "personas", "problems"):
        with pytest.raises(MissingError):
            getattr(found, name)


def test_a_folder_that_is_no_study(project: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such folder"):
        package.read_study(project / "no_such")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(MissingError, match=r"no dvc\.yaml here or above"):
        package.read_study(tmp_path / "elsewhere")
    (project / "params.yaml").unlink()
    with pytest.raises(MissingError, match=r"params\.yaml: no such file"):
        package.read_study(project / "recipes")


def _change(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    write_json(path, document)


BAD: dict[str, tuple[Callable[[Any], None], str]] = {
    "version": (lambda d: d.update(version=4), "version 4 of the results; this ITS reads version"),
    "recipe": (
        lambda d: d.update(recipe="other"),
        "measured with the recipe `other`; params.yaml contains `quickstart`",
    ),
    "key": (lambda d: d["cells"][1].pop("avg"), r"`cells\[1\]` lacks `avg`"),
    "range": (lambda d: d["cells"][0].update(avg=7.0), "is 7.0"),
    "bits": (lambda d: d["cells"][1].update(seed=10**30), "`seed` has an integer of more than 64 bits"),
    "k": (lambda d: d["cells"][1].update(pass_at_k={"2_low": 0.5}), "a metric by k that `measure` does not write"),
    "metric": (lambda d: d["cells"][1].update(intervals={"avg": [0.1, 0.2]}), "a metric by k that"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_results_are_refused(written: Written, case: str) -> None:
    run_stage("measure")
    change, wanted = BAD[case]
    _change(written.study.results("cells.json"), change)
    with pytest.raises(DataError, match=wanted):
        _ = package.read_study().cells


def _lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(change(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")


ROWS: dict[str, tuple[str, Callable[[list[str]], list[str]], str]] = {
    "no verdict": ("verdicts", lambda lines: lines[1:], "sample 0 of `arithmetic_test/p0/random` has no verdict"),
    "no response": ("responses", lambda lines: lines[1:], "has a verdict and no response"),
    "twice": ("responses", lambda lines: [lines[0], *lines], "duplicate of line 1"),
    "other": ("responses", lambda lines: [line.replace("/p3/", "/q3/") for line in lines], "is to no problem"),
    "cut": ("verdicts", lambda lines: [*lines[:-1], lines[-1][:20]], "broken JSON"),
    "bits": ("responses", lambda lines: [line.replace('"seed":1', '"seed":1' + "0" * 30) for line in lines], "64 bits"),
}


@pytest.mark.parametrize("case", ROWS)
def test_bad_rows_are_refused(written: Written, case: str) -> None:
    folder, change, wanted = ROWS[case]
    _lines(written.study.project / "data" / folder / f"{TRAINED}.jsonl", change)
    with pytest.raises(DataError, match=wanted):
        package.read_study().responses_of(TRAINED)


def test_a_problem_that_lost_its_responses_and_a_mistyped_cell(written: Written) -> None:
    for folder in ("responses", "verdicts"):
        path = written.study.project / "data" / folder / f"{TRAINED}.jsonl"
        _lines(path, lambda lines: [line for line in lines if "/p3/" not in line])
    found = package.read_study()
    with pytest.raises(FaultsError, match="`arithmetic_test/p3/random` has 0 of 4 responses"):
        found.responses_of(TRAINED)
    with pytest.raises(DataError, match="the design has no cell") as caught:
        found.responses_of(TRAINED.replace("random-1", "randm-1"))
    assert TRAINED in str(caught.value.hint)


def _same(table: pandas.DataFrame, document: dict[str, Any]) -> None:
    """Every number of `its results compare --json`."""
    _fits(table, "compare")
    assert len(table) == len(document["comparisons"])
    for row, own in zip(table.to_dict("records"), document["comparisons"], strict=True):
        flat = {name: value for name, value in own.items() if name not in ("a", "b", "right")}
        flat |= {f"{outer}_{name}": value for outer in ("a", "b", "right") for name, value in own[outer].items()}
        assert row == flat


def test_compare_gives_the_numbers_of_the_command(written: Written, its: Its, tmp_path: Path) -> None:
    log = str(lm_eval(tmp_path / "s.jsonl", {text: float(place < 4) for place, text in enumerate(TEXTS)}))
    for a, b in ((TRAINED, BASE), ("workspace", "workspace"), (TRAINED, log)):
        document = json.loads(its("results", "compare", a, b, "--json")[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = package.compare(a, b)
        _same(found.table, document)
        assert [str(each.message) for each in caught] == found.notes == document["notes"]
        assert (found.only_a, found.only_b, found.differs) == ([], [], document["differs"])


def test_a_log_as_a_frame_is_the_log(written: Written, tmp_path: Path) -> None:
    log = lm_eval(tmp_path / "s.jsonl", {text: place / 11 for place, text in enumerate(TEXTS)})
    other = inspect_log(tmp_path / "log.eval", {text: ["C", "I", None] for text in TEXTS})
    with pytest.warns(StudyWarning, match="12 of 36 responses without a score"):
        read = package.read_log(other)
    tables = [package.read_log(log), read]
    for table in tables:
        _fits(table, "read_log")
    assert (len(tables[0]), len(tables[1]), set(tables[1]["kind"])) == (12, 24, {"inspect"})
    with pytest.warns(StudyWarning):
        wanted, found = package.compare(log, other).table, package.compare(*tables).table
    pandas.testing.assert_frame_equal(wanted, found)


def test_the_responses_of_two_cells_as_frames(written: Written) -> None:
    study = package.read_study()
    wanted = package.compare(TRAINED, BASE).table.iloc[0]
    found = package.compare(study.responses_of(TRAINED), study.responses_of(BASE)).table.iloc[0]
    # Drawn sign flips have a seed by the cell; these problems are few enough for all.
    for name in ("problems", "difference", "low", "high", "p_value", "a_avg", "b_low", "right_only_a"):
        assert wanted[name] == found[name], name
    both = pandas.concat([study.responses_of(TRAINED), study.responses_of(BASE)])
    with pytest.raises(FaultsError, match="one cell or log a frame"):
        package.compare(both, BASE)


GOOD = {"problem_id": ["p1", "p2"], "score": [1.0, 0.0]}
FRAMES: dict[str, tuple[Any, str]] = {
    "no frame": (7, "a `int`; expected a name, a path or a data frame"),
    "list": ([1, 2], "a `list`; expected"),
    "no score": (pandas.DataFrame({"problem_id": ["p1"]}), "has no column `score`"),
    "twice": (pandas.DataFrame([["p1", 1, 1]], columns=["problem_id", "score", "score"]), "`score` twice"),
    "empty": (pandas.DataFrame({"problem_id": [], "score": []}), "has no rows"),
    "nan": (pandas.DataFrame(GOOD | {"score": [1.0, float("nan")]}), "row 1: `score`: null|row 1: `score`: None"),
    "large": (pandas.DataFrame(GOOD | {"score": [1.0, 10**400]}), "expected a number from 0 to 1"),
    "percent": (pandas.DataFrame(GOOD | {"score": [100.0, 0.0]}), "row 0: `score`: 100.0"),
    "text": (pandas.DataFrame(GOOD | {"score": ["1", "0"]}), "expected a number from 0 to 1"),
    "id": (pandas.DataFrame(GOOD | {"problem_id": [1.0, None]}), "`problem_id`: 1.0; expected a text or an integer"),
    "sample": (pandas.DataFrame(GOOD | {"sample_index": [[1], [2]]}), "`sample_index`"),
    "kind": (pandas.DataFrame(GOOD | {"kind": ["its", [1]]}), "`kind` is not one of cell, its, lm-eval, inspect"),
    "index": (pandas.DataFrame({("problem_id", "x"): ["p1"], ("score", "x"): [1]}), "has no column `problem_id`"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_bad_frame_is_one_clear_error(case: str) -> None:
    value, wanted = FRAMES[case]
    with pytest.raises(ItsError, match=wanted) as caught:
        package.compare(value, pandas.DataFrame(GOOD))
    assert "Traceback" not in "".join(caught.value.lines())


def test_frames_of_other_types_are_taken() -> None:
    good = pandas.DataFrame({"problem_id": range(12), "score": [True] * 9 + [False] * 3, "name": [["x"]] * 12})
    other = good.astype({"problem_id": "Int64", "score": "float32"}).assign(score=0.5)
    with pytest.warns(StudyWarning, match="different graders: unknown in A, unknown in B"):
        table = package.compare(good, other.drop(columns="name").convert_dtypes()).table
    assert table["difference"][0] == 0.25 and table["a_name"][0] == "frame a"


def test_an_empty_frame_has_its_types() -> None:
    columns = (Column("x", "integer", "", "none"), Column("y", "true or false", ""), Column("z", "text", ""))
    assert list(map(str, frame(columns, [], "t").dtypes)) == ["Int64", "bool", "object"]


def test_import_its_stays_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import its; new = set(sys.modules) - before\n"
        "assert new == {'its'}, new\n"
        "assert {'compare', 'read_log', 'read_study'} <= set(dir(its)) and not hasattr(its, 'read_studies')\n"
        "assert its.read_study and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_columns_of_the_page_are_those_of_the_code() -> None:
    assert python_reference.text(PAGE) == PAGE, "`python tests/python_reference.py` writes them"
    for name, columns in python_reference.FRAMES.items():
        names = [item.name for item in columns]
        assert len(set(names)) == len(names), name
        assert all(item.meaning and item.missing != "" for item in columns), name


def _code() -> Iterator[Block]:
    yield from filter(is_python, blocks(python_reference.PATH))


def test_the_code_of_the_page_runs(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("measure")
    lm_eval(written.study.project / "samples_sums.jsonl", {text: float(place < 4) for place, text in enumerate(TEXTS)})
    assert len(list(_code())) == 4
    load_study()
    for block in _code():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StudyWarning)  # of different graders
            exec(compile(block.text, block.where, "exec"), {})
        printed = capsys.readouterr().out
        assert printed.strip(), block.where
    assert f"```text\n{printed}```\n" in PAGE
