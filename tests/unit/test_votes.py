"""Votes: which there are, what they count, and every way in which a recipe can name one that cannot be counted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from running import run_stage
from unit.test_measure import BLANK, RIGHT, WRONG, Answer, Written

from its.errors import Fault
from its.recipe.load import read_document, validate
from its.report.sentences import headline_sentences
from its.report.warnings import setting_warnings
from its.results import RESULTS_VERSION
from its.rows import read_json, write_json
from its.seeds import derive_random
from its.stages.report import summary
from its.study.study import Checkpoint, load_study
from its.study.votes import benchmark_votes

Change = Callable[[dict[str, Any]], None]
MODELS, DATASETS, TRAIN, TEST = ("large", "small"), ("more", "sums"), ("none", "random"), ("none", "random")
BENCHMARKS = ("easy", "hard")


def _recipe(project: Path, change: Change | None = None) -> None:
    """Two models, two datasets, two strategies on each side, two benchmarks; then the change."""
    values: dict[str, Any] = read_document(project / "recipes" / "quickstart.yaml").values
    (model,), (dataset,), (benchmark,) = (list(values[key].values()) for key in ("models", "datasets", "benchmarks"))
    del dataset["decontamination"]
    values["models"] = {name: {**model} for name in MODELS}
    values["writer"]["model"] = MODELS[0]
    values["datasets"] = {name: {**dataset} for name in DATASETS}
    values["benchmarks"] = {name: {**benchmark} for name in BENCHMARKS}
    values["design"] |= {"models": [*MODELS], "datasets": [*DATASETS], "benchmarks": [*BENCHMARKS]}
    values["generation"] |= {"n": 2, "temperature": 0.7}
    values["measure"]["draws"] = 200
    if change is not None:
        change(values)
    with (project / "params.yaml").open("w", encoding="utf-8") as out:
        YAML().dump(values, out)


def _ensembles(**votes: list[str]) -> Change:
    def change(values: dict[str, Any]) -> None:
        values["vote"]["ensembles"] = votes

    return change


def _faults(project: Path) -> list[Fault]:
    return validate(read_document(project / "params.yaml"), project)[1]


def _drawn(checkpoint: Checkpoint, benchmark: str, test: str, place: int, index: int) -> Answer:
    drawn = derive_random(checkpoint.name, benchmark, test, place, index).random()
    return RIGHT if drawn < 0.4 else WRONG if drawn < 0.6 else ("3", "incorrect") if drawn < 0.8 else BLANK


def _brute_force(written: Written, members: list[tuple[Checkpoint, str]], benchmark: str) -> dict[str, Any]:
    """The vote counted ballot by ballot, with the definition of the page."""
    credits, tied, blank = [], 0, 0
    for place in range(written.problems):
        n = range(written.study.recipe.generation.of(members[0][0].model, benchmark).n)
        ballots = [_drawn(checkpoint, benchmark, test, place, index)[0] for checkpoint, test in members for index in n]
        counts = Counter(ballot for ballot in ballots if ballot is not None)
        top = [answer for answer, count in counts.items() if count == max(counts.values())]
        credits.append(top.count("1") / len(top) if top else 0.0)
        tied += len(top) > 1
        blank += not top
    return {"accuracy": pytest.approx(sum(credits) / len(credits)), "tied": tied, "blank": blank}


def test_the_checkpoints_of_a_model_and_a_dataset_vote_under_each_test_strategy(project: Path) -> None:
    _recipe(project)
    written = Written(project)
    written.write(_drawn)
    run_stage("measure")
    votes = written.results("votes")["votes"]
    wanted = [(b, m, d, t) for b in BENCHMARKS for m in MODELS for d in DATASETS for t in TEST]
    assert [(v["benchmark"], v["model"], v["dataset"], v["test"]) for v in votes] == wanted
    for vote, (benchmark, model, dataset, test) in zip(votes, wanted, strict=True):
        assert vote["name"] == f"ensemble@2, {model}-{dataset}, test {test}"
        assert (vote["ensemble"], vote["n"], vote["different_settings"]) == (None, 2, {})
        members = [Checkpoint(model, dataset, strategy, 1) for strategy in TRAIN]
        assert vote["members"] == [{"checkpoint": member.name, "test": test} for member in members]
        counted = _brute_force(written, [(member, test) for member in members], benchmark)
        assert {key: vote[key] for key in counted} == counted
    with written.study.results("plots", "cells.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len({(row["benchmark"], row["train"], row["test"]) for row in rows}) == len(rows)


def test_the_base_of_a_model_votes_with_its_checkpoints_where_all_vote(project: Path) -> None:
    def everyone(values: dict[str, Any]) -> None:
        values["vote"]["members"] = "all"

    _recipe(project, everyone)
    for vote in benchmark_votes(load_study(project), "easy"):
        names = [checkpoint.name for checkpoint, _, _ in vote.cells]
        assert names[0] == f"{vote.model}-base" and len(names) == 3
        assert all(name.startswith(f"{vote.model}-{vote.dataset}-") for name in names[1:])


def test_one_checkpoint_is_no_vote(project: Path) -> None:
    def one(values: dict[str, Any]) -> None:
        values["design"]["train"] = ["none"]

    _recipe(project, one)
    assert benchmark_votes(load_study(project), "easy") == []


def test_named_cells_vote_across_models_datasets_and_test_strategies(project: Path) -> None:
    paper = ["small-sums-random-1/random", "large-more-none-1/none", "large-base/none"]
    single = ["small-sums-random-1/hard/random", "small-base/hard/random"]
    _recipe(project, _ensembles(paper=paper, hard_only=single))
    written = Written(project)
    written.write(_drawn)
    assert run_stage("measure").endswith("19 votes")
    named = [vote for vote in written.results("votes")["votes"] if vote["ensemble"] is not None]
    assert [(v["ensemble"], v["benchmark"], v["name"]) for v in named] == [
        ("paper", "easy", "paper, ensemble@3"),
        ("paper", "hard", "paper, ensemble@3"),
        ("hard_only", "hard", "hard_only, ensemble@2"),
    ]
    known = {checkpoint.name: checkpoint for checkpoint in written.study.checkpoints()}
    for vote in named:
        members = [(known[member["checkpoint"]], member["test"]) for member in vote["members"]]
        counted = _brute_force(written, members, vote["benchmark"])
        assert {key: vote[key] for key in counted} == counted
    assert [(v["model"], v["dataset"], v["test"]) for v in named] == [
        (None, None, None),
        (None, None, None),
        ("small", "sums", "random"),
    ]
    assert [f"{member['checkpoint']}/{member['test']}" for member in named[0]["members"]] == paper
    sentences = [text for text in headline_sentences(summary(written.study)) if text.startswith("The vote")]
    assert [text.partition(" has ")[0] for text in sentences] == [
        "The vote paper of 3 cells (n = 2)",
        "The vote paper of 3 cells (n = 2)",
        "The vote hard_only of 2 cells (n = 2)",
    ]


def test_the_first_answer_is_that_of_the_member_named_first(project: Path) -> None:
    members = ["large-more-none-1/none", "small-sums-none-1/none"]
    _recipe(project, _ensembles(there=members, back=members[::-1]))
    written = Written(project)
    written.write(lambda c, b, t, place, index: RIGHT if c.model == "large" else WRONG)
    run_stage("measure")
    named = {vote["ensemble"]: vote for vote in written.results("votes")["votes"] if vote["benchmark"] == "easy"}
    assert (named["there"]["accuracy_first_wins"], named["back"]["accuracy_first_wins"]) == (1.0, 0.0)
    assert named["there"]["accuracy"] == named["back"]["accuracy"] == 0.5


def test_members_with_other_settings_are_flagged(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        _ensembles(paper=["large-base/none", "small-base/none"])(values)
        values["generation"]["models"] = {"small": {"temperature": 0.6}}
        values["generation"]["benchmarks"] = {"easy": {"temperature": 0.5}}

    _recipe(project, change)
    written = Written(project)
    written.write(_drawn)
    sessions = read_json(written.study.sessions_path())
    sessions["small-base"]["arguments"] = {"dtype": "float32"}
    write_json(written.study.sessions_path(), sessions)
    run_stage("measure")
    found = summary(written.study)
    named = {vote.benchmark: vote.different_settings for vote in found.votes if vote.ensemble == "paper"}
    engine = {"arguments.dtype": ["bfloat16", "float32"]}
    assert named == {"easy": engine, "hard": {**engine, "generation.temperature": ["0.7", "0.6"]}}
    assert all(vote.different_settings == {} for vote in found.votes if vote.ensemble is None)
    assert (
        "cells generated with different settings vote together: `generation.temperature` (0.7 / 0.6), in paper, "
        "ensemble@2 on hard"
    ) in setting_warnings(found.comparisons, found.votes)


def test_results_of_another_version_are_measured_again(project: Path) -> None:
    _recipe(project)
    written = Written(project)
    written.write(_drawn)
    run_stage("measure")
    path = written.study.results("votes.json")
    write_json(path, {**read_json(path), "version": RESULTS_VERSION - 1})
    with pytest.raises(Exception, match=f"version {RESULTS_VERSION - 1} of the results"):
        summary(written.study)


MEMBER = "`vote.ensembles.paper.0`: "
REFUSED = {
    "model": ("lage-sums-none-1/none", f"{MEMBER}model `lage` is not in `design.models`", "did you mean `large`?"),
    "dataset": ("large-sum-none-1/none", f"{MEMBER}dataset `sum` is not in", "did you mean `sums`? `design.datasets`"),
    "train strategy": ("large-sums-similar-1/none", f"{MEMBER}train strategy `similar` is not", "`none`, `random`"),
    "seed": ("large-sums-none-01/none", f"{MEMBER}training seed `01` is not in `design.seeds`", "`design.seeds`: `1`"),
    "test strategy": (
        "large-sums-none-1/similar",
        f"{MEMBER}test strategy `similar` is not in `design.test`",
        "`none`",
    ),
    "benchmark": ("large-sums-none-1/hrd/none", f"{MEMBER}benchmark `hrd` is not in", "did you mean `hard`?"),
    "base": ("lag-base/none", f"{MEMBER}model `lag` is not in `design.models`", "`large`, `small`"),
    "form": (
        "large-none-1/none",
        f"{MEMBER}`large-none-1` is not the name of a checkpoint",
        "did you mean `large-sums-none-1`?",
    ),
    "model alone": ("large/none", f"{MEMBER}`large` is not the name of a checkpoint", "did you mean `large-base`?"),
    "a training": ("large-sums-base/none", f"{MEMBER}`large-sums-base` is not the name of a", "did you mean `large-"),
    "no strategy": ("large-base", "`vote.ensembles.paper.0` is `large-base`: `CHECKPOINT/STRATEGY` or", "None"),
    "no checkpoint": ("/none", "`vote.ensembles.paper.0` is `/none`: `CHECKPOINT/STRATEGY` or", "None"),
    "capitals": ("Large-base/none", "`vote.ensembles.paper.0` is `Large-base/none`: `CHECKPOINT/STR", "None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_member_that_is_no_cell_is_refused(project: Path, case: str) -> None:
    member, message, hint = REFUSED[case]
    other = "small-base/hard/none" if case == "benchmark" else "small-base/none"
    _recipe(project, _ensembles(paper=[member, other]))
    (fault,) = _faults(project)
    assert message in fault.message and hint in str(fault.hint)
    line = (project / "params.yaml").read_text(encoding="utf-8").splitlines()[int(fault.where.split(":")[1]) - 1]
    assert line.strip() == f"- {member}"


def test_each_part_of_a_member_is_needed(project: Path) -> None:
    """Take a character out of, or put one into, each place of a member: a cell of the design, or one fault there."""
    member = "large-sums-none-1/hard/none"
    spoilt = {member[:at] + member[at + 1 :] for at in range(len(member))}
    spoilt |= {f"{member[:at]}{extra}{member[at:]}" for at in range(len(member) + 1) for extra in "-/x "}
    for text in sorted(spoilt):
        _recipe(project, _ensembles(paper=[text, "small-base/hard/none"]))
        faults = _faults(project)
        assert faults, text
        for fault in faults:
            assert "`vote.ensembles.paper" in fault.message
            assert fault.hint or "is expected" in fault.message


def test_all_faults_of_votes_come_at_once(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["design"]["base"] = False
        values["generation"]["models"] = {"small": {"n": 4}}
        _ensembles(
            twice=["large-sums-none-1/none", "large-sums-none-1/none"],
            mixed=["large-sums-none-1/none", "large-sums-random-1/hard/none"],
            lonely=["large-sums-none-1/easy/none", "large-sums-none-1/hard/none", "large-more-none-1/hard/none"],
            untrained=["large-base/none", "large-sums-none-1/none"],
            random=["large-sums-none-1/none", "large-sums-random-1/none"],
            uneven=["large-sums-none-1/none", "small-sums-none-1/none"],
            wrong=["larg-sums-non-1/none", "large-sums-none-2/nne"],
        )(values)

    _recipe(project, change)
    told = [fault.message for fault in _faults(project)]
    assert told == [
        "`vote.ensembles.twice` names `large-sums-none-1/none` twice",
        "`vote.ensembles.mixed` names a benchmark in some members and none in others",
        "`vote.ensembles.lonely` has one member on `easy`: `large-sums-none-1`",
        "`vote.ensembles.untrained.0`: `large-base` is not evaluated, since `design.base` is false",
        "`vote.ensembles` names a vote `random`, like a test strategy: results name the design's votes by it",
        "the members of `vote.ensembles.uneven` have n = 2 (`large`) and n = 4 (`small`) on `easy` and on 1 "
        "more: each response is a ballot",
        "`vote.ensembles.wrong.0`: model `larg` is not in `design.models`",
        "`vote.ensembles.wrong.0`: train strategy `non` is not in `design.train`",
        "`vote.ensembles.wrong.1`: training seed `2` is not in `design.seeds`",
        "`vote.ensembles.wrong.1`: test strategy `nne` is not in `design.test`",
    ]
    assert all(fault.hint for fault in _faults(project))


def test_one_n_on_a_benchmark_is_enough(project: Path) -> None:
    """Models with different n vote where the benchmark gives one n to all."""

    def change(values: dict[str, Any]) -> None:
        values["generation"] |= {"models": {"small": {"n": 4}}, "benchmarks": {"hard": {"n": 3}}}
        _ensembles(paper=["large-base/hard/none", "small-base/hard/none"])(values)

    _recipe(project, change)
    assert _faults(project) == []


@pytest.mark.parametrize(
    "spoilt",
    [
        {"design": {"models": "large"}},
        {"design": {"seeds": ["x"]}},
        {"design": {"test": None}},
        {"design": 5},
        {"generation": {"n": "x", "models": 7}},
        {"generation": None},
        {"vote": {"ensembles": {"paper": "large-base/none"}}},
        {"vote": {"ensembles": {"paper": [5, None]}}},
        {"vote": {"ensembles": {"Paper": ["large-base/none", "small-base/none"]}}},
        {"vote": {"ensembles": ["paper"]}},
        {"vote": {"ensembles": {"paper": ["large-base/none"]}}},
        {"vote": {"ensembles": {"paper": []}}},
    ],
)
def test_a_recipe_that_the_schema_refuses_gets_no_fault_of_its_votes(project: Path, spoilt: dict[str, Any]) -> None:
    def change(values: dict[str, Any]) -> None:
        _ensembles(paper=["large-base/none", "small-base/none"])(values)
        for section, fields in spoilt.items():
            values[section] = {**values[section], **fields} if isinstance(fields, dict) else fields

    _recipe(project, change)
    faults = _faults(project)
    assert faults
    assert not any("vote.ensembles" in fault.message for fault in faults) or "vote" in spoilt


@pytest.mark.parametrize(("tests", "refused"), [(500, False), (501, True)])
def test_a_design_has_a_million_cells_at_most(project: Path, tests: int, refused: bool) -> None:
    def change(values: dict[str, Any]) -> None:
        benchmark = values["benchmarks"]["easy"]
        names = [f"s{number}" for number in range(tests)]
        values["strategies"] |= {name: {**values["strategies"]["none"]} for name in names}
        values["benchmarks"] = {f"b{number}": benchmark for number in range(2)}
        values["design"] |= {"benchmarks": ["b0", "b1"], "test": names, "seeds": list(range(125)), "base": False}

    _recipe(project, change)
    told = [fault.message for fault in _faults(project)]
    assert any("cells: checkpoints x benchmarks x test strategies" in text for text in told) == refused


def test_each_benchmark_has_as_many_ballots_as_its_n(project: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["generation"] |= {"models": {"small": {"n": 4}}, "benchmarks": {"hard": {"n": 3}}}
        _ensembles(paper=["large-base/hard/none", "small-base/hard/none"])(values)

    _recipe(project, change)
    written = Written(project)
    written.write(_drawn)
    run_stage("measure")
    found = {(v["benchmark"], v["model"], v["ensemble"]): v for v in written.results("votes")["votes"]}
    n_of = {key: vote["n"] for key, vote in found.items() if key[2] is None}
    assert n_of == {(b, m, None): 3 if b == "hard" else {"large": 2, "small": 4}[m] for b in BENCHMARKS for m in MODELS}
    members = [(Checkpoint(model), "none") for model in MODELS]
    counted = _brute_force(written, members, "hard")
    assert {key: found["hard", None, "paper"][key] for key in counted} == counted
