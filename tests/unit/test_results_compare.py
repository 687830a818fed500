"""`its results compare` and `cases`: cells of a study and evaluation logs of others, paired by problem."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.test_measure import BLANK, RIGHT, WRONG, Answer, Written

from its.rows import write_rows
from its.study.study import Checkpoint
from its.types import Problem

Its = Callable[..., tuple[int, str, str]]
Edit = Callable[..., None]
TRAINED = "smollm2_135m-arithmetic-random-1/arithmetic_test/random"
BASE = "smollm2_135m-base/arithmetic_test/random"
PLACES = 12


@pytest.fixture
def written(project: Path, edit: Edit) -> Written:
    """Base is right on problems 0 to 2, everything trained on 0 to 8."""
    edit(("  n: #", "  n: 1"))
    made = Written(project)
    made.write(_answer)
    return made


def _answer(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    if checkpoint.train is None:
        return RIGHT if place < 3 else BLANK if place < 6 else WRONG
    return RIGHT if place < 9 else WRONG


def _json(its: Its, *words: str) -> dict[str, Any]:
    code, out, err = its("results", *words, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def lm_eval(path: Path, scores: dict[str, Any], filters: tuple[str, ...] = ("none",), **more: Any) -> Path:
    """Samples as lm-eval 0.4 writes them: one row for each document and filter."""
    rows = [
        {
            "doc_id": number,
            "doc": {"question": text, "answer": "#### 1"},
            "target": "1",
            "arguments": {"gen_args_0": {"arg_0": text, "arg_1": {"until": ["\n"]}}},
            "resps": [["It is 1."]],
            "filtered_resps": ["1"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": "d",
            "exact_match": score,
            **more,
        }
        for name in filters
        for number, (text, score) in enumerate(scores.items())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def inspect_log(path: Path, values: dict[str, list[Any]], status: str = "success") -> Path:
    """A log as Inspect writes it, zipped if the name says so: epochs are responses to one problem."""
    samples = [
        {
            "id": number,
            "epoch": epoch,
            "input": text,
            "target": "1",
            "scores": {} if value is None else {"match": {"value": value, "answer": "1"}},
        }
        for number, (text, several) in enumerate(values.items(), 1)
        for epoch, value in enumerate(several, 1)
    ]
    header = {"version": 2, "status": status, "eval": {"task": "sums", "model": "m"}}
    if path.suffix == ".json":
        path.write_text(json.dumps({**header, "samples": samples}), encoding="utf-8")
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(header))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return path


TEXTS = [f"problem {place}" for place in range(PLACES)]


def test_two_cells(written: Written, its: Its) -> None:
    found = _json(its, "compare", TRAINED, BASE)
    (row,) = found["comparisons"]
    assert (row["a"]["avg"], row["b"]["avg"], row["difference"]) == (0.75, 0.25, 0.5)
    assert row["right"] == {"only_a": 6, "only_b": 0, "both": 3, "neither": 3, "tied": 0}
    assert row["p_value"] == pytest.approx(2 / 2**6) and row["p_value_method"] == "mcnemar"
    assert row["low"] < 0.5 < row["high"] and row["significant"]
    assert found["differs"] == {} and found["notes"] == []
    code, out, _ = its("results", "compare", TRAINED, BASE)
    assert code == 0 and "A - B  +50.0 points" in out and "right only in A 6, only in B 0" in out
    other = _json(its, "compare", BASE, TRAINED)["comparisons"][0]
    assert (other["difference"], other["low"], other["p_value"]) == (-0.5, -row["high"], row["p_value"])


def test_all_cells_of_the_workspace_are_adjusted_together(written: Written, its: Its) -> None:
    found = _json(its, "compare", "workspace", "workspace")
    assert len(found["comparisons"]) == len(written.study.cells())
    assert {row["difference"] for row in found["comparisons"]} == {0.0}
    assert {row["p_value"] for row in found["comparisons"]} == {1.0}


def test_a_cell_without_verdicts_and_a_mistyped_one(written: Written, its: Its) -> None:
    checkpoint, benchmark, test = written.study.cells()[0]
    written.study.verdicts_path(checkpoint, benchmark, test).unlink()
    gone = f"{checkpoint.name}/{benchmark}/{test}"
    code, _, err = its("results", "show", "p4", "--cell", gone)
    assert code == 4 and f"no graded responses in `{gone}` yet" in err
    code, _, err = its("results", "compare", gone, TRAINED)
    assert code == 4 and "has no verdicts yet" in err
    assert "1 cell of the design" in _json(its, "compare", "workspace", "workspace")["notes"][0]
    code, _, err = its("results", "compare", TRAINED.replace("random-1", "randm-1"), BASE)
    assert code == 3 and f"did you mean `{TRAINED}`?" in err


def test_a_file_of_lm_eval_is_paired_by_text(written: Written, its: Its, tmp_path: Path) -> None:
    scores = {text: float(place < 4) for place, text in enumerate(TEXTS)}
    path = lm_eval(tmp_path / "samples_sums.jsonl", {"another problem": 1.0, **scores})
    found = _json(its, "compare", TRAINED, str(path))
    (row,) = found["comparisons"]
    assert (row["problems"], row["b"]["avg"], row["b"]["unpaired"]) == (12, pytest.approx(4 / 12), ["0"])
    assert row["right"]["only_a"] == 5
    assert "different graders" in found["notes"][0], "a difference of graders is never silent"


def test_a_score_is_named_where_a_file_has_several(written: Written, its: Its, tmp_path: Path) -> None:
    path = lm_eval(tmp_path / "s.jsonl", dict.fromkeys(TEXTS, 1), filters=("strict-match", "flexible-extract"))
    code, _, err = its("results", "compare", BASE, str(path))
    assert code == 3 and "has 2 filters: `strict-match`, `flexible-extract`" in err and "--filter strict-match" in err
    found = _json(its, "compare", BASE, str(path), "--filter", "flexible-extract")
    assert "filter flexible-extract" in found["comparisons"][0]["b"]["name"]
    path = lm_eval(tmp_path / "m.jsonl", dict.fromkeys(TEXTS, 1), metrics=["acc", "acc_norm"], acc=1, acc_norm=0)
    code, _, err = its("results", "compare", BASE, str(path))
    assert code == 3 and "--metric acc" in err
    assert _json(its, "compare", BASE, str(path), "--metric", "acc_norm")["comparisons"][0]["b"]["avg"] == 0


@pytest.mark.parametrize("ending", ["json", "eval"])
def test_a_log_of_inspect(written: Written, its: Its, tmp_path: Path, ending: str) -> None:
    values = {text: ["C", "I", "P", 1] for text in TEXTS} | {TEXTS[0]: ["C", None, True, "0.25"]}
    path = inspect_log(tmp_path / f"log.{ending}", values, status="cancelled")
    found = _json(its, "compare", str(path), TRAINED)
    (row,) = found["comparisons"]
    assert row["a"]["avg"] == pytest.approx((11 * 2.5 / 4 + 2.25 / 3) / 12)
    assert row["a"]["n"] == "3 to 4" and row["problems"] == 12
    assert "its status is cancelled" in found["notes"][0] and "1 of 48 responses without a score" in found["notes"][1]


def test_row_numbers_of_two_programs_do_not_pair(written: Written, its: Its, tmp_path: Path) -> None:
    one = lm_eval(tmp_path / "s.jsonl", {f"A {text}": 1 for text in TEXTS})
    other = inspect_log(tmp_path / "log.json", {f"B {text}": ["C"] for text in TEXTS})
    code, _, err = its("results", "compare", str(one), str(other))
    assert code == 3 and "share no problem" in err


def test_problems_under_one_id_with_other_texts_are_left_out(written: Written, its: Its, tmp_path: Path) -> None:
    texts = ["quite another", "problem 1 now", "problem 2\n\nA) 1\nB) 2", *(f"problem {i}" for i in range(3, 14))]
    rows = [{"problem_id": f"p{i}", "problem": text, "verdict": "correct"} for i, text in enumerate(texts)]
    path = tmp_path / "graded.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (row,) = _json(its, "compare", str(path), TRAINED)["comparisons"]
    assert row["changed_problems"] == ["p0", "p1"] and row["problems"] == 10
    assert row["a"]["unpaired"] == ["p0", "p1", "p12", "p13"] and row["b"]["unpaired"] == ["p0", "p1"]


BAD: dict[str, tuple[str, bytes, str]] = {
    "nan": (
        "a.jsonl",
        b'{"doc": {"question": "x"}, "doc_id": 0, "metrics": ["exact_match"], "exact_match": NaN}\n',
        "nan",
    ),
    "above": (
        "a.jsonl",
        b'{"doc": {"question": "x"}, "doc_id": 0, "metrics": ["exact_match"], "exact_match": 7}\n',
        "7",
    ),
    "no metric": ("a.jsonl", b'{"doc": {"question": "x"}, "doc_id": 0}\n', "no row has a metric"),
    "twice": (
        "a.jsonl",
        b'{"doc": {}, "doc_id": 0, "filter": "none", "exact_match": 1}\n' * 2,
        "a.jsonl:2: duplicate of line 1",
    ),
    "twice, old": (
        "a.jsonl",
        b'[{"doc": {}, "doc_id": 0, "acc": 1}, {"doc": {}, "doc_id": 1, "acc": 1}, {"doc": {}, "doc_id": 0, "acc": 1}]',
        "a.jsonl[2]: duplicate: `doc_id` 0",
    ),
    "other": ("a.jsonl", b'{"x": 1}\n', "a row with `x` has no score"),
    "empty": ("a.jsonl", b"", "has no rows"),
    "latin": ("a.jsonl", b'{"verdict": "correct", "id": "\xe9"}\n', "not UTF-8"),
    "verdict": ("a.jsonl", b'{"verdict": "yes", "id": "p1"}\n', "`verdict`: yes"),
    "list": ("a.jsonl", b"[1]\n", "has no score"),
    "gzip": ("a.jsonl.gz", b"\x1f\x8b\x08\x00\x00", "a.jsonl.gz"),
    "zip": ("a.eval", b"PK\x03\x04 cut", "inspect log convert"),
    "header": ("a.json", b'{"version": 2, "status": "success"}', "only its header"),
    "no scores": ("a.json", b'{"samples": [{"id": 1, "epoch": 1}]}', "none of 1 samples has a score"),
    "dict": ("a.json", b'{"samples": [{"id": 1, "scores": {"m": {"value": [1]}}}]}', "is not C, I, P, N"),
    "array": ("a.json", b"[1, 2]", "a.json[0]: a row with no fields has no score"),
    "deep": ("a.json", b"[" * 100_000, "a.json"),
    "cut": ("a.json", b'{"samples": [', "broken JSON"),
    "long": ("a.jsonl", b'{"verdict": "' + b"x" * (65 * 1024 * 1024), "more than 67108864 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_clear_error(written: Written, its: Its, tmp_path: Path, case: str) -> None:
    name, content, wanted = BAD[case]
    (tmp_path / name).write_bytes(content)
    code, out, err = its("results", "compare", str(tmp_path / name), TRAINED)
    assert code == 3 and not out, (case, err)
    assert wanted in err and "Traceback" not in err, err


def test_cases(written: Written, its: Its) -> None:
    code, out, _ = its("results", "cases", "--right", TRAINED, "--wrong", BASE, "--limit", "2")
    assert code == 0 and "6 of 12 problems" in out and "and 4 more: `--limit 6`" in out
    found = _json(its, "cases", "--right", TRAINED, "--wrong", BASE, "--truncated")
    assert [row["problem"] for row in found["cases"]] == ["p3", "p4", "p5"], "a blank is cut in this study"
    assert found["cases"][0]["truncated"] == 1 and found["cases"][0]["text"] == "problem 3"
    code, out, _ = its("results", "cases", "--right", BASE, "--wrong", TRAINED)
    assert code == 0 and "none of 12 problems" in out
    code, _, err = its("results", "cases", "--right", "workspace", "--wrong", "workspace")
    assert code == 3 and "cells" in err


def test_a_tie_is_neither_right_nor_wrong(project: Path, edit: Edit, its: Its) -> None:
    edit(("  n: #\n  temperature: #\n  top_p: #", "  n: 2\n  temperature: 0.6\n  top_p: 0.9"))
    made = Written(project)
    made.write(lambda c, b, t, place, index: RIGHT if c.train or (place < 4 and index == 0) else WRONG)
    found = _json(its, "cases", "--right", TRAINED, "--wrong", BASE)
    assert (found["found"], found["tied"]) == (8, 4)
    assert _json(its, "compare", TRAINED, BASE)["comparisons"][0]["right"]["tied"] == 4


def test_one_problem_has_no_interval_and_says_so(project: Path, edit: Edit, its: Its) -> None:
    edit(("  n: #", "  n: 1"))
    made = Written(project, problems=1)
    made.write(lambda *_: WRONG)
    code, out, _ = its("results", "compare", TRAINED, BASE)
    assert code == 0 and "no difference can be significant" in out and "inf" not in out.lower()
    assert "Infinity" not in its("results", "compare", TRAINED, BASE, "--json")[1]


def test_hostile_texts_are_shown_and_do_nothing(written: Written, its: Its) -> None:
    rows = [
        Problem(problem_id=f"p{i}", text=f"\x1b[2J\u202e<script>{i}", reference="1", source="s") for i in range(PLACES)
    ]
    write_rows(written.study.problems_path("arithmetic_test"), rows)
    code, out, _ = its("results", "cases", "--right", TRAINED, "--wrong", BASE)
    assert code == 0 and "\x1b" not in out and "\u202e" not in out and "\\x1b[2J" in out


def test_show_a_problem(written: Written, its: Its) -> None:
    found = _json(its, "show", "p4", "--cell", BASE, "--cell", TRAINED)
    assert (found["text"], found["reference"], found["benchmark"]) == ("problem 4", "1", "arithmetic_test")
    assert [row["responses"][0]["verdict"] for row in found["cells"]] == ["no_answer", "correct"]
    code, out, _ = its("results", "show", "p4")
    assert code == 0 and out.count("\n== ") == len(written.study.cells()) and "no answer, 40 tokens, truncated" in out


def test_show_refuses_what_is_not_there(written: Written, its: Its) -> None:
    for words, wanted, exit_code in (
        (["p44"], "did you mean `p4`?", 3),
        (["p4", "--cell", BASE.replace("-base", "-basis")], f"did you mean `{BASE}`?", 3),
        (["p4", "--sample", "7"], "no response with the index 7", 3),
    ):
        code, out, err = its("results", "show", *words)
        assert code == exit_code and wanted in err and not out


@pytest.mark.parametrize("problems", [1, 12])
def test_every_command_reads_a_study_in_which_nothing_is_correct(
    project: Path, edit: Edit, its: Its, problems: int
) -> None:
    edit(("  n: #", "  n: 1"), ("  draws: #", "  draws: 200"))
    Written(project, problems).write(lambda *_: WRONG)
    run_stage("measure")
    for words, wanted in (
        (["table"], "0.0 %"),
        (["best"], "no pair is named: "),
        (["compare", TRAINED, BASE], "in both 0, in neither"),
        (["cases", "--right", TRAINED, "--wrong", BASE], f"none of {problems} problem"),
        (["show", "p0"], "incorrect, answer 2"),
    ):
        code, out, err = its("results", *words)
        assert code == 0 and wanted in out, (words, out, err)
        assert not re.search(r"\b(nan|inf|None)\b", out), (words, out)


def test_a_revision_without_a_run_is_told_how_runs_are_kept(written: Written, its: Its) -> None:
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "params.yaml", ".dvc"]):
        subprocess.run([*([sys.executable, "-m"] if words[0] == "dvc" else []), *words], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, "commit", "-qm", "A recipe alone"], check=True)
    code, _, err = its("results", "compare", "HEAD", "workspace")
    assert code == 3 and "`HEAD` has no verdicts in data/verdicts" in err
    assert "git add dvc.lock params.yaml results" in err, "`dvc repro` changes no commit"
