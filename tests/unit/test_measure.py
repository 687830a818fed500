"""The stage `measure` over verdicts and responses on disk: what it counts, compares, chooses, refuses."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import run_stage
from unit.data_samples import write_set

from its.cli.main import main
from its.errors import DataError, FaultsError
from its.report.warnings import cell_warnings
from its.results import RESULTS_VERSION
from its.rows import write_json, write_rows
from its.seeds import derive_random
from its.stages.report import best_pair, summary
from its.study.study import Checkpoint, Study, join_query_id, load_study
from its.types import Message, Problem, Query, Response, Verdict

Edit = Callable[..., None]
Answer = tuple[str | None, str]
RIGHT: Answer = ("1", "correct")
WRONG: Answer = ("2", "incorrect")
BLANK: Answer = (None, "no_answer")


class Written:
    """A study whose responses and verdicts are written by hand; `write` takes each cell's answers."""

    def __init__(self, project: Path, problems: int = 12) -> None:
        self.study: Study = load_study(project)
        self.problems = problems
        for name in self.study.recipe.design.benchmarks:
            rows = [
                Problem(problem_id=f"p{i}", text=f"problem {i}", reference="1", source=name) for i in range(problems)
            ]
            write_rows(self.study.problems_path(name), rows)
        for side, name, strategies in self.study.sets():
            for strategy in strategies if side == "train" else ():
                write_rows(self.study.queries_path(side, name, strategy), self.queries(name, strategy))
        settings = {"model": "m", "session": "s", "arguments": {"dtype": "bfloat16"}}
        write_json(self.study.sessions_path(), {c.name: settings for c in self.study.checkpoints()})

    def queries(self, name: str, strategy: str) -> list[Query]:
        """The rows of a dataset under a train strategy: 10 of the first of the design, 20 of the second, ..."""
        turns = [Message(role="user", content="x")]
        return [
            Query(
                query_id=join_query_id(name, f"p{i}", strategy),
                problem_id=f"p{i}",
                strategy=strategy,
                messages=turns,
                solution="1",
            )
            for i in range(10 * (1 + self.study.recipe.design.datasets.index(name)))
        ]

    def write(
        self,
        answer: Callable[[Checkpoint, str, str, int, int], Answer],
        text: str = "It is 1.",
        rule: Callable[[Checkpoint, int], str | None] = lambda _, __: None,
        finish: Callable[[int], tuple[str, str | None, str]] | None = None,
    ) -> None:
        """`rule` gives the rule of each sample of a checkpoint, `finish` the (text, thinking, finish_reason) of the
        responses of a cell, by their number."""
        for checkpoint, benchmark, test in self.study.cells():
            verdicts, responses = [], []
            for place in range(self.problems):
                query_id = join_query_id(benchmark, f"p{place}", test)
                for index in range(self.study.recipe.generation.of(checkpoint.model, benchmark).n):
                    said, verdict = answer(checkpoint, benchmark, test, place, index)
                    verdicts.append(
                        Verdict(
                            query_id=query_id,
                            sample_index=index,
                            answer=said,
                            verdict=verdict,  # type: ignore[arg-type]
                            rule=rule(checkpoint, index) if said is not None else None,
                            grader_version="1",
                        )
                    )
                    responses.append(
                        Response(
                            query_id=query_id,
                            sample_index=index,
                            text=text,
                            finish_reason="length" if said is None else "stop",
                            prompt_tokens=10,
                            completion_tokens=20 if checkpoint.train == "random" else 40,
                            thinking_tokens=5,
                            seed=1,
                            request_key="k",
                        )
                    )
            if finish is not None:
                responses = [
                    row.model_copy(update=dict(zip(("text", "thinking", "finish_reason"), finish(number), strict=True)))
                    for number, row in enumerate(responses)
                ]
            write_rows(self.study.verdicts_path(checkpoint, benchmark, test), verdicts)
            write_rows(self.study.responses_path(checkpoint, benchmark, test), reversed(responses))

    def warnings(self) -> list[str]:
        cells = summary(self.study).cells
        return [text for cell in cells for text in cell_warnings(cell, max_tokens=256, temperature=0.7)]

    def results(self, name: str) -> Any:
        return json.loads(self.study.results(f"{name}.json").read_text(encoding="utf-8"))


def _second_benchmark(project: Path, edit: Edit, role: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    start = text.index("  arithmetic_test:")
    block = text[start : text.index("\nstrategies:")]
    copy = block.replace("  arithmetic_test:", "  tuning:").replace("role: report", f"role: {role}")
    edit(
        ("\nstrategies:", f"{copy}\nstrategies:"),
        ("  benchmarks: [arithmetic_test]", "  benchmarks: [tuning, arithmetic_test]"),
    )


@pytest.fixture
def written(project: Path, edit: Edit) -> Written:
    edit(
        ("  draws: #", "  draws: 200"),
        ("  n: 1\n", "  n: 4\n"),
        ("  temperature: 0.0\n  top_p: 1.0\n  max_tokens: 256", "  temperature: 0.7\n  top_p: 1.0\n  max_tokens: 256"),
    )
    edit(("  maj_k: [1]", "  maj_k: [3]\n  pass_k: [2]\n  all_k: [2]"))
    return Written(project)


def _random(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    return RIGHT if derive_random(checkpoint.name, benchmark, test, place, index).random() < 0.5 else WRONG


def test_the_share_of_the_fallback_is_counted_in_every_cell(written: Written) -> None:
    def rule(checkpoint: Checkpoint, index: int) -> str:
        return ("last_number", "last_math", "last_letter", "box")[index] if checkpoint.train is None else "final_answer"

    written.write(_random, rule=rule)
    run_stage("measure")
    shares = {row["train"]: row["fallback_rate"] for row in written.results("cells")["cells"]}
    assert shares[None] == 0.75 and {share for train, share in shares.items() if train is not None} == {0.0}


def test_every_number_of_a_cell(written: Written) -> None:
    def half(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
        return BLANK if index == 3 else RIGHT if index < 2 and place < 6 else WRONG

    written.write(half, text="Again. " * 40)
    assert run_stage("measure") == "results: 6 cells, 5 comparisons of blocks and 10 of cells, 2 votes"
    for row in written.results("cells")["cells"]:
        assert (row["problems"], row["n"], row["correct"], row["avg"]) == (12, 4, 12, 0.25)
        assert row["maj_k"] == 3 and row["maj_at_k"]["3"] == row["maj"] == pytest.approx(
            (1 + 1 + 1 / 2 + 1 / 2) / 4 / 2
        )
        assert row["pass_at_k"]["2"] == pytest.approx(5 / 6 / 2) and row["all_at_k"]["2"] == pytest.approx(1 / 6 / 2)
        assert (row["no_answer_rate"], row["truncated_rate"], row["loop_rate"], row["grader_errors"]) == (
            0.25,
            0.25,
            1.0,
            0,
        )
        tokens = 20 if row["train"] == "random" else 40
        assert (row["thinking_tokens"], row["response_tokens"], row["completion_tokens"]) == (5, tokens - 5, tokens)
        assert row["correct_per_1000_tokens"] == 250 / tokens
        assert row["low"] < row["avg"] < row["high"] and row["interval_method"] == "cluster_agresti_coull"
    with written.study.results("plots", "cells.csv").open(encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 6


def _right(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    return RIGHT


def test_failed_responses_are_counted_and_warned_of(written: Written) -> None:
    written.write(_right, finish=lambda number: ("", None, "error") if number < 5 else (f"a {number}", None, "stop"))
    run_stage("measure")
    rows = written.results("cells")["cells"]
    assert [(row["errors"], row["equal_samples"]) for row in rows] == [(5, 0)] * 6
    warnings = written.warnings()
    assert [
        text for text in warnings if ": 5 of 48 responses were refused, withheld or interrupted" in text
    ] == warnings
    assert len(warnings) == 6


def test_a_loop_while_thinking_counts_where_the_response_has_no_text(written: Written) -> None:
    loop = "Wait, no. " * 40
    cases = [("", loop, "length"), (" \n", loop, "length"), ("It is 1.", loop, "stop"), ("", "It is 1.", "length")]
    written.write(_right, finish=lambda number: cases[number % 4])
    run_stage("measure")
    assert {row["loop_rate"] for row in written.results("cells")["cells"]} == {0.5}


@pytest.mark.parametrize(
    ("finish", "equal", "warned"),
    [
        (lambda number: (f"a {number // 4}", None, "stop"), 12, True),
        (lambda number: ("a", None, "stop"), 12, True),  # the same to every problem
        (lambda number: (f"a {number // 4 if number != 1 else 'b'}", None, "stop"), 11, True),
        (lambda number: (f"a {number if number < 8 else number // 4}", None, "stop"), 10, False),
        (lambda number: ("a", f"thought {number}", "stop"), 0, False),
        (lambda number: ("", f"thought {number // 4}", "length"), 12, True),
        (lambda number: ("", None, "error"), 0, False),
        (lambda number: ("", None, "error") if number % 4 else (f"a {number}", None, "stop"), 0, False),  # one sample
    ],
)
def test_samples_that_are_one_text_are_counted_and_warned_of(
    written: Written, finish: Any, equal: int, warned: bool
) -> None:
    written.write(_right, finish=finish)
    run_stage("measure")
    rows = written.results("cells")["cells"]
    assert {row["equal_samples"] for row in rows} == {equal}
    says = f"the 4 responses to each of {equal} of 12 problems are one text, or less than half as many, word"
    assert [says in text for text in written.warnings()].count(True) == (6 if warned else 0)


def test_comparisons_are_paired_corrected_and_powered(written: Written) -> None:
    written.write(lambda c, b, t, place, index: RIGHT if (c.train, t) == ("random", "random") else WRONG)
    run_stage("measure")
    found = written.results("comparisons")
    by_name = {item["name"]: item for item in found["comparisons"]}
    assert by_name["XX - NN"]["difference"] == 1.0 and by_name["XX - NN"]["significant"]
    assert by_name["co-design: (XX - XN) - (NX - NN)"]["difference"] == 1.0
    assert all(
        item["minimum_detectable_difference"] > 0 and item["different_settings"] == {} for item in found["comparisons"]
    )
    tests = {(t["first"], t["second"]): t for t in found["tests"]}
    assert len(tests) == 6 + 4
    significant = {pair for pair, test in tests.items() if test["significant"]}
    assert significant == {pair for pair in tests if pair[0] == "random/random" or pair[1] == "random/random"}
    tokens = {item["name"]: item for item in found["efficiency"]}
    assert tokens["XX - NN"]["ratio"] == pytest.approx(0.5)
    assert (tokens["XX - NN"]["claim"], tokens["XX - NN"]["shown"]) == ("fewer tokens, better accuracy", True)
    assert tokens["XX - XN"]["tokens"] == "undecided"
    metrics = written.results("metrics")["arithmetic_test"]
    assert metrics == {"base": 0.0, "NN": 0.0, "XX": 1.0, "XX_NN": 1.0, "codesign": 1.0}


def test_noise_is_not_significant_and_states_its_power(written: Written) -> None:
    written.write(_random)
    run_stage("measure")
    found = written.results("comparisons")
    assert all(not t["significant"] and 0.1 < t["minimum_detectable_difference"] <= 1 for t in found["tests"])
    again = {name: written.results(name) for name in ("cells", "comparisons", "votes", "selection", "metrics")}
    run_stage("measure")
    assert again == {name: written.results(name) for name in again}


def test_without_a_select_benchmark_no_best_cell_is_named(written: Written, edit: Edit) -> None:
    written.write(_random)
    run_stage("measure")
    found = written.results("selection")
    assert found["selection"] == []
    (nested,) = found["nested"]
    assert nested["pairs"] == 4 and nested["low"] < nested["held_out_score"] < nested["high"]
    assert nested["maximum"] is None
    values, sentences = best_pair(written.study)
    assert "no benchmark has the role `select`; the largest of 4 cells is not named" in sentences[0]
    assert (values["selection"], values["maximum"]) == ([], []) and values["reason"] in sentences[0]
    with pytest.raises(SystemExit) as caught:
        main(["results", "best"])
    assert caught.value.code == 0
    edit(("  draws: 200", "  draws: 200\n  maximum: true"))
    run_stage("measure")
    (nested,) = written.results("selection")["nested"]
    best = max(c["avg"] for c in written.results("cells")["cells"] if c["train"] is not None)
    assert nested["maximum"]["avg"] == pytest.approx(best)
    assert "chosen on the problems it is measured on" in nested["maximum"]["warning"]
    assert "points too high" in best_pair(written.study)[1][0]


def test_the_pair_is_chosen_on_select_and_measured_on_report(project: Path, edit: Edit) -> None:
    _second_benchmark(project, edit, "select")
    edit(("  draws: #", "  draws: 200"))
    made = Written(project)

    def answer(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
        best = {"tuning": ("none", "random"), "arithmetic_test": ("random", "none")}[benchmark]
        return RIGHT if (checkpoint.train, test) == best or place < 3 else WRONG

    made.write(answer)
    run_stage("measure")
    (choice,) = made.results("selection")["selection"]
    assert (choice["train"], choice["test"], choice["tied"]) == ("none", "random", [])
    assert choice["select"] == {"benchmarks": ["tuning"], "problems": 12, "avg": 1.0, "gain": pytest.approx(9 / 16)}
    (row,) = choice["report"]
    assert (row["benchmark"], row["avg"]) == ("arithmetic_test", 0.25)
    assert (row["gain"], row["shrinkage"]) == (pytest.approx(-3 / 16), pytest.approx(12 / 16))
    assert list(made.results("metrics")) == ["arithmetic_test"], "a column of what only selects is left out"
    assert [item["benchmark"] for item in made.results("selection")["nested"]] == ["arithmetic_test"]
    assert "train none, test random is best on tuning" in best_pair(made.study)[1][0]


def test_votes_state_their_ties(written: Written) -> None:
    # Two members with 4 ballots each: they agree on even problems and disagree on the others.
    # Of the 6 ties the member that comes first has 2 right.
    written.write(
        lambda c, b, t, place, index: RIGHT if place % 2 == 0 or (c.train == "none") == (place in (1, 3)) else WRONG
    )
    run_stage("measure")
    for vote in written.results("votes")["votes"]:
        assert vote["accuracy"] == 0.75 and (vote["tied"], vote["blank"]) == (6, 0)
        assert (vote["accuracy_ties_lost"], vote["accuracy_ties_won"]) == (0.5, 1.0)
        assert vote["accuracy_first_wins"] == 8 / 12
        assert [member["checkpoint"] for member in vote["members"]] == [
            "smollm2_135m-arithmetic-none-1",
            "smollm2_135m-arithmetic-random-1",
        ]
        assert {member["test"] for member in vote["members"]} == {vote["test"]} and vote["n"] == 4
        assert (vote["ensemble"], vote["model"], vote["dataset"]) == (None, "smollm2_135m", "arithmetic")
        assert vote["name"] == f"ensemble@2, test {vote['test']}" and vote["different_settings"] == {}


def test_seeds_are_gathered_into_pairs(project: Path, edit: Edit) -> None:
    edit(("  draws: #", "  draws: 200"), ("  seeds: [1]", "  seeds: [1, 2]"))
    made = Written(project)
    made.write(_random)
    run_stage("measure")
    pairs = made.results("cells")["pairs"]
    assert len(pairs) == 4 and all(pair["seeds"] == [1, 2] for pair in pairs)
    cells = [c["avg"] for c in made.results("cells")["cells"] if (c["train"], c["test"]) == ("none", "none")]
    assert pairs[0]["avg"] == pytest.approx(sum(cells) / 2)
    assert {item["seeds"] for item in made.results("comparisons")["comparisons"]} == {2}


@pytest.mark.parametrize("kind", ["verdicts", "responses"])
def test_a_missing_row_is_named(written: Written, kind: str) -> None:
    written.write(_random)
    paths = {"verdicts": written.study.verdicts_path, "responses": written.study.responses_path}
    path = paths[kind](written.study.checkpoints()[1], "arithmetic_test", "none")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[1:-1]), encoding="utf-8")
    wanted = {
        "verdicts": r"`p0` has 3 verdicts, n is 4; .*`p11` has 3 verdicts, n is 4",
        "responses": r"sample 0 of `arithmetic_test/p0/none` has a verdict and no response; .*sample 3 of .*p11",
    }
    with pytest.raises(FaultsError, match=wanted[kind]):
        run_stage("measure")


@pytest.mark.parametrize(
    ("old", "new"),
    [("/p3/", "/p33/"), ('"arithmetic_test/', '"tuning/'), ("/none", "/random"), ("arithmetic_test/p3/none", "p3")],
    ids=["problem", "benchmark", "strategy", "no query at all"],
)
def test_rows_of_another_cell_are_named(written: Written, old: str, new: str) -> None:
    written.write(_random)
    path = written.study.verdicts_path(written.study.checkpoints()[0], "arithmetic_test", "none")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    query = "arithmetic_test/p3/none".replace(old.strip('"'), new.strip('"'))
    wanted = (
        rf"`{query}` \(4 rows\) is not a query of `arithmetic_test` under test strategy `none`.*has 0 verdicts, n is 4"
    )
    with pytest.raises(FaultsError, match=wanted):
        run_stage("measure")


def test_settings_of_a_checkpoint_that_are_missing_are_named(written: Written) -> None:
    written.write(_random)
    write_json(written.study.sessions_path(), {})
    with pytest.raises(DataError, match=r"no entry for `smollm2_135m-base`, `smollm2_135m-arithmetic-none-1`"):
        run_stage("measure")


def test_results_that_are_not_of_this_recipe_are_not_shown(written: Written, edit: Edit) -> None:
    written.write(_random)
    run_stage("measure")
    path = written.study.results("cells.json")
    whole = path.read_text(encoding="utf-8")
    write_json(path, {"version": RESULTS_VERSION, "recipe": "quickstart"})
    with pytest.raises(DataError, match=r"cells\.json: lacks `cells`, `blocks`, `pairs`"):
        summary(written.study)
    path.write_text(whole.replace('"recipe": "quickstart"', '"recipe": "other"'), encoding="utf-8")
    with pytest.raises(DataError, match=r"measured with the recipe `other`; params\.yaml contains `quickstart`"):
        summary(written.study)


def test_why_no_pair_is_named(project: Path, edit: Edit) -> None:
    edit(("  draws: #", "  draws: 200\n  maximum: true #"), ("    role: report", "    role: select"))
    made = Written(project)
    made.write(_random)
    run_stage("measure")
    assert "every benchmark has the role `select`" in best_pair(made.study)[1][0]
    edit(("    role: select", "    role: report"))
    made = Written(project, problems=1)
    made.write(_random)
    run_stage("measure")
    for path in made.study.results().glob("*.json"):
        assert "Infinity" not in path.read_text(encoding="utf-8"), "no JSON: of one problem there is no bound"
    assert "no table has two trained cells and two problems" in best_pair(made.study)[1][0]


def test_fewer_samples_than_k_is_one_clear_error(written: Written, edit: Edit) -> None:
    written.write(_random)
    edit(("  pass_k: [2]", "  pass_k: [2, 32]"))
    with pytest.raises(DataError, match=r"pass@32 needs at least 32 responses per problem") as caught:
        run_stage("measure")
    assert any("generation.n" in line for line in caught.value.lines())


def test_memory_does_not_grow_with_the_texts(written: Written) -> None:
    written.write(_random)
    tracemalloc.start()
    run_stage("measure")
    small = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    written.write(_random, text="It is 1. " + "x y " * 12_000)  # 288 responses of 48 kB
    tracemalloc.reset_peak()
    run_stage("measure")
    large = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert large < small + 3_000_000


def test_the_table_is_printed_in_every_format(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written.write(_random)
    run_stage("measure")
    capsys.readouterr()
    starts = {
        "csv": "checkpoint,model,",
        "latex": "\\begin{table}",
        "markdown": "**arithmetic_test**",
        "text": "arithmetic",
    }
    for form, start in starts.items():
        with pytest.raises(SystemExit) as end:
            main(["results", "table", "--format", form])
        assert not end.value.code
        assert capsys.readouterr().out.startswith(start)
    for words in (["--json"], ["--format", "json"]):
        with pytest.raises(SystemExit):
            main(["results", "table", *words])
        document = json.loads(capsys.readouterr().out)
        assert len(document["cells"]) == 6 and len(document["tests"]) == 10
    with pytest.raises(SystemExit) as end:
        main(["results", "best"])
    assert end.value.code == 0
    assert "measure.maximum: true" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["results", "best", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["selection"] == document["maximum"] == [] and "role `select`" in document["reason"]
    assert summary(written.study).pairs


def test_every_table_names_the_rows_that_a_benchmark_was_selected_from(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write(_random)
    run_stage("measure")
    rows = written.study.problems("arithmetic_test")

    def table(form: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["results", "table", "--format", form])
        assert not end.value.code
        return capsys.readouterr().out

    def with_card(kept: int) -> None:
        steps = [{"step": "loaded", "before": 15, "after": 14}, {"step": "filter x", "before": 14, "after": kept}]
        write_set(written.study, "arithmetic_test", "benchmark", rows, steps=steps)

    assert "12 problems, n = " in table("text")
    with_card(12)
    for form in ("text", "markdown", "latex"):
        assert "12 problems of 15 rows, n = " in table(form), form
    assert all(row["rows_read"] == "15" for row in csv.DictReader(table("csv").splitlines()))
    with_card(13)
    assert "12 problems, n = " in table("text"), "the card is of other problems than were measured"
    write_set(
        written.study, "arithmetic_test", "benchmark", rows, steps=[{"step": "loaded", "before": 12, "after": 12}]
    )
    assert "12 problems, n = " in table("text")
    written.study.card_path("arithmetic_test").write_text('{"card_version": 1}', encoding="utf-8")
    assert "12 problems, n = " in table("text")
