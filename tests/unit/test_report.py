"""The report: an offline page, well formed and escaped; sentences that claim no more than the tests; tables."""

from __future__ import annotations

import copy
import csv
import io
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from unit.results_samples import EFFICIENCY, NESTED, RATES, SELECTION, VOTE, block, cell, comparison, pair, pair_test

from its.report.build import SHADES, build_report, heat_style, page_values, shade
from its.report.data import PersonaAccount, ReportData
from its.report.numbers import duration, p_value, percent, points
from its.report.sentences import headline_sentences
from its.report.tables import TABLES, csv_table, latex_table, markdown_table, text_table
from its.report.warnings import cell_warnings, persona_warnings
from its.results import CellResult
from its.strategies.remedies import flagged_text, rule_remedies
from its.strategies.rules import RULES
from its.study.study import load_study

VOID = {"meta", "link", "br", "input", "hr", "img"}


def data(study: dict[str, Any]) -> ReportData:
    return ReportData.model_validate(study)


PAIR = ("none", "random")


@pytest.fixture
def study() -> dict[str, Any]:
    problem = "Mia has 12 boxes with 7 pens each and gives away 9. What is $12 \\times 7 - 9$?"
    return {
        "recipe": "quickstart",
        "description": "A small model, the full train x test matrix, on a laptop.",
        "commit": "abc1234",
        "dirty": True,
        "changed": ["its/cells.py"],
        "created": "2026-01-01T00:00:00Z",
        "design": {
            "models": ["smollm2_135m"],
            "datasets": ["arithmetic"],
            "train": ["none", "random"],
            "test": ["none", "random"],
            "benchmarks": ["sums"],
            "seeds": [1],
            "base": True,
        },
        "settings": [
            {"name": "epochs", "value": "1", "group": "train"},
            {"name": "temperature", "value": "0.6", "group": "generation"},
        ],
        "cells": [cell(train, test) for train, test in RATES],
        "blocks": [block("NN"), block("XX")],
        "comparisons": [
            comparison("XX - NN", -0.02, -0.061, 0.02, 0.4),
            comparison("XX - NX", 0.005, -0.04, 0.05, 1.0),
            comparison("XX - XN", -0.005, -0.05, 0.04, 1.0),
        ],
        "tests": [
            *(pair_test(f"{c}/{d}", f"base/{d}", 0.22, 0.0001, found=True) for c in PAIR for d in PAIR),
            *(
                pair_test("/".join(a), "/".join(b), 0.01, 0.9)
                for a, b in combinations([(c, d) for c in PAIR for d in PAIR], 2)
            ),
        ],
        "votes": [VOTE],
        "losses": {
            f"smollm2_135m-arithmetic-{train}-1": [
                {"step": step, "loss": bias + 1.8 * math.exp(-step / 18)} for step in range(1, 101)
            ]
            for train, bias in (("none", 0.31), ("random", 0.36))
        },
        "personas": [
            {
                "set": "arithmetic",
                "strategy": "random",
                "personas": 400,
                "asked": 431,
                "retried": 31,
                "flags": {"overlong": 2, "solves": 1},
                "distinct": 380,
                "examples": ["You are a botanist who counts seeds.", "You keep the books of a small harbour."],
            }
        ],
        "parity": [
            {
                "checkpoint": "smollm2_135m-arithmetic-none-1",
                "rows": 400,
                "trained_tokens": 17280,
                "prompt_tokens": 20840,
                "faults": 0,
            }
        ],
        "cost": [
            {
                "what": "personas",
                "responses": 600,
                "generated": 450,
                "from_store": 150,
                "tokens": 12345,
                "seconds": 61.0,
            },
            {"what": "train smollm2_135m-arithmetic-none-1", "seconds": 150.2},
        ],
        "explorer": {
            "marks": "",
            "texts": "",
            "responses": 2,
            "kept": 2,
            "cases": [
                {
                    "benchmark": "sums",
                    "problem_id": "sums-17",
                    "problem": problem,
                    "reference": "75",
                    "cells": [
                        {
                            "checkpoint": f"smollm2_135m-arithmetic-{train}-1",
                            "train": train,
                            "test": test,
                            "persona": "You are a botanist who counts seeds." if test == "random" else "",
                            "response": "12 boxes hold 84 pens.\n84 - 9 = 75.\nThe final answer is \\boxed{75}.",
                            "answer": "75",
                            "verdict": verdict,
                        }
                        for train, test, verdict in (("none", "none", "correct"), ("random", "random", "no_answer"))
                    ],
                    "more": 0,
                }
            ],
        },
        "warnings": ["2 personas are overlong"],
        "caveats": ["a 135M model shows the machinery, not the paper's effect"],
        "provenance": {
            "python": "3.11.7",
            "packages": {"dvc": "3.67.0", "jinja2": "3.1.6"},
            "environments": {"vllm": {"vllm": "0.11.0", "lock": "9f2c"}, "axolotl": {"axolotl": "0.13.0"}},
            "models": {"smollm2_135m": "sha256:5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"},
        },
    }


class Page(HTMLParser):
    """Checks that every element is closed in order; gathers the text, the attributes and the `th` without scope."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "th":
            assert "scope" in names
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_page_is_balanced_and_holds_every_cell(study: dict[str, Any]) -> None:
    page = Page(build_report(data(study)))
    for row in study["cells"]:
        assert f"{percent(row['avg'])} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" in page.words
        assert row["checkpoint"] in page.words
    for words in (
        "quickstart",
        "random NX 24.5 % [19.0, 30.9] 49 of 200 1.0 % 0.0 % 0.5 % 0 52.1 43.2 5.67",
        "with uncommitted changes : its/cells.py",
        "sums, 200 problems, n = 1, grader v1",
        "a 135M model shows the machinery, not the paper's effect",
        "2 personas are overlong",
        "ensemble@2, test none 28.0 % [22.2, 34.6] [25.0, 31.0] 200 12 0",
        "overlong 2 solves 1",
        "You are a botanist",
        "a context on both sides",
        "train smollm2_135m-arithmetic-none-1 — — — — 2 min 30 s",
        "personas 600 450 150 12,345 1 min 1 s",
        "total recorded 600 450 150 12,345 3 min 31 s",
        "400 17,280 20,840 0",
        "$12 \\times 7 - 9$",
        "environment vllm",
    ):
        assert words in page.words, words


def test_a_vote_across_test_strategies_names_each_of_them(study: dict[str, Any]) -> None:
    members = [{"checkpoint": "m-base", "test": "none"}, {"checkpoint": "m-sums-random-1", "test": "random"}]
    named = {"name": "paper, ensemble@2", "ensemble": "paper", "dataset": "sums", "test": None, "members": members}
    study["votes"] = [VOTE, VOTE | named | {"n": 4}]
    page = Page(build_report(data(study)))
    assert "12 0 smollm2_135m-arithmetic-none-1, smollm2_135m-arithmetic-random-1" in page.words
    assert "paper, ensemble@2 28.0 %" in page.words
    assert "12 0 m-base, test none; m-sums-random-1, test random" in page.words
    told = "The vote paper of 2 cells (n = 4) has 28.0 % [22.2, 34.6] on sums, 12 of 200 problems tied."
    assert [text for text in headline_sentences(data(study)) if "vote" in text] == [told]


def test_page_loads_nothing(study: dict[str, Any]) -> None:
    text = build_report(data(study))
    page = Page(text)
    loading = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    found = [a for a in page.attributes if a[1] in loading]
    places = [a[2] for a in found if a[0] == "a" and not a[2].startswith("#cell=")]
    assert [a for a in found if a[0] != "a"] == [("link", "href", "data:,")]
    assert {f"#{value}" for _, name, value in page.attributes if name == "id"} >= set(places), "each leads to a section"
    assert len(places) == len(set(places)) > 5
    assert not re.search(r"https?://|@import|url\(", text)
    assert text.count("<script") == text.count("</script") == 3, "two blocks of data and the page's own script"


@pytest.mark.parametrize("field", ["problem", "persona", "response", "answer"])
def test_markup_in_the_data_is_shown_not_obeyed(study: dict[str, Any], field: str) -> None:
    (case,) = study["explorer"]["cases"]
    (case if field == "problem" else case["cells"][0])[field] = "<script>alert('1')</script> a < b & \\frac{{1}}{2}"
    text = build_report(data(study))
    assert text.count("<script") == 3
    assert "<script>alert('1')</script> a < b & \\frac{{1}}{2}" in Page(text).words


def test_a_key_in_a_persona_is_hidden(study: dict[str, Any]) -> None:
    study["personas"][0]["examples"] = ["You keep hf_abcdefghijABCDEFGHIJ0123456789."]
    assert "You keep [key]." in Page(build_report(data(study))).words


def test_markup_in_names_cannot_leave_an_attribute(study: dict[str, Any]) -> None:
    study["recipe"] = study["design"]["benchmarks"][0] = '"><script>'
    for row in study["cells"]:
        row["benchmark"] = '"><script>'
    study["personas"][0]["examples"] = ["</style><img src=x onerror=alert(1)>"]
    text = build_report(data(study))
    assert text.count("<script") == 3
    assert "<img" not in text
    Page(text)


def test_text_that_utf8_cannot_hold_is_still_written(study: dict[str, Any]) -> None:
    study["explorer"]["cases"][0]["cells"][0]["response"] = "half \ud83d a pair, \0 a nul"
    text = build_report(data(study))
    assert "half \\ud83d a pair, \ufffd a nul" in text
    text.encode("utf-8")


def test_headline_without_a_significant_difference(study: dict[str, Any]) -> None:
    assert headline_sentences(data(study)) == [
        "On sums (200 problems, n = 1, grader v1) smollm2_135m trained on arithmetic has 25.5 % on average over 4 "
        "trained cells (their intervals span [19.0, 33.5]), base 2.8 % on average over 2 test strategies (their "
        "intervals span [1.1, 6.4]): +22.8 points; of 4 trained pairs 4 significantly above base under the same test "
        "strategy.",
        "No significant difference on sums: XX - NN = -2.0 points [-6.1, +2.0], p = 0.40; "
        "XX - NX = +0.5 points [-4.0, +5.0], p = 1.00; XX - XN = -0.5 points [-5.0, +4.0], p = 1.00; "
        "minimum detectable difference (80 % power) 8.0 points.",
        "Co-design predicts XX significantly above NN, NX and XN; on sums this is not found.",
        "No two trained cells of sums differ significantly (6 comparisons); minimum detectable difference "
        "(80 % power) 11.0 points.",
        "One training seed: the differences apply to these checkpoints and may change with another seed.",
    ]
    for row in study["comparisons"]:
        row["seeds"] = 2
    assert not any("training seed" in sentence for sentence in headline_sentences(data(study)))
    assert "also cover other training seeds" in Page(build_report(data(study))).words
    for row in study["comparisons"] + study["tests"]:
        row["minimum_detectable_difference"] = None
    sentences = headline_sentences(data(study))
    assert sum("; with so few problems no difference can be significant." in sentence for sentence in sentences) == 2
    assert "With so few problems no difference can be significant." in Page(build_report(data(study))).words


def test_headline_with_a_significant_difference(study: dict[str, Any]) -> None:
    study["comparisons"][0] = comparison("XX - NN", 0.09, 0.03, 0.15, 0.0004, found=True)
    _, significant, others, verdict, *_ = headline_sentences(data(study))
    assert significant == "Significant on sums: XX - NN = +9.0 points [+3.0, +15.0], p < 0.001."
    assert others.startswith("Not significant on sums: XX - NX = +0.5 points")
    assert verdict.endswith("on sums this is found against NN only.")
    words = Page(build_report(data(study))).words
    assert "p < 0.001 significant 8.0 200" in words and "p = 1.00 not significant 8.0 200" in words

    study["comparisons"] = [comparison(f"XX - {b}", 0.09, 0.03, 0.15, 0.012, found=True) for b in ("NN", "NX", "XN")]
    assert headline_sentences(data(study))[-3].endswith("on sums this is found.")
    study["comparisons"] = [comparison("XX - NN", -0.09, -0.15, -0.03, 0.012, found=True)]
    assert headline_sentences(data(study))[-3].endswith("on sums this is not found.")


def test_headline_when_training_shows_nothing_or_harm(study: dict[str, Any]) -> None:
    for test in study["tests"]:
        test.update(difference=0.02, significant=False)
    assert headline_sentences(data(study))[0].endswith(
        "no pair differs significantly from base under the same test strategy; minimum detectable difference (80 % "
        "power) 11.0 points."
    )
    for test in study["tests"][:3]:
        test.update(difference=-0.3, significant=True)
    assert "of 4 trained pairs 3 significantly below base" in headline_sentences(data(study))[0]
    study["tests"][0]["difference"] = 0.3
    assert (
        "of 4 trained pairs 1 significantly above and 2 significantly below base" in headline_sentences(data(study))[0]
    )
    del study["tests"]
    assert headline_sentences(data(study))[0].endswith("+22.8 points.")


def test_the_chosen_pair_has_its_held_out_score_and_shrinkage(study: dict[str, Any]) -> None:
    study["selection"] = [SELECTION]
    study["nested"] = [NESTED]
    assert headline_sentences(data(study))[1] == (
        "Of the 4 pairs of smollm2_135m on arithmetic train random, test none is best on tuning (30.0 %); its "
        "held-out score: sums 25.5 % [19.9, 32.0], +0.0 points above the mean of the cells, +4.5 where it was chosen "
        "(shrinkage 4.5)."
    )
    assert not any("No benchmark has the role" in sentence for sentence in headline_sentences(data(study)))
    words = Page(build_report(data(study))).words
    assert "random → none tuning best of 4 30.0 % +4.5 sums 25.5 % [19.9, 32.0] +0.0 4.5" in words
    assert "25.1 % [18.0, 34.0] +1.9 none/none 70 % random/none 30 %" in words


def test_no_maximum_is_named_unless_the_recipe_says_so(study: dict[str, Any]) -> None:
    study["nested"] = [NESTED]
    (sentence,) = (s for s in headline_sentences(data(study)) if "No benchmark has the role `select`" in s)
    assert "the held-out score of choosing among its 4 on sums is 25.1 % [18.0, 34.0]" in sentence
    assert "the mean of the largest cell is 1.9 points above that" in sentence and "none/none" not in sentence
    study["nested"] = [{**NESTED, "optimism": -0.01}]
    assert any("the mean of the largest cell is 0.0 points above that" in s for s in headline_sentences(data(study)))
    warning = "the largest of 4 cells, chosen on the problems it is measured on: about 1.9 points too high"
    study["nested"] = [{**NESTED, "maximum": {"pair": "none/none", "avg": 0.27, "warning": warning}}]
    (sentence,) = (s for s in headline_sentences(data(study)) if "the largest cell of" in s)
    assert f"none/none with 27.0 %: {warning}" in sentence and "25.1 %" in sentence
    assert f"none/none, 27.0 %: {warning}" in Page(build_report(data(study))).words


def test_cells_that_differ_are_listed_and_the_others_have_their_power(study: dict[str, Any]) -> None:
    words = Page(build_report(data(study))).words
    assert "sums, smollm2_135m trained on arithmetic 10 comparisons" in words
    assert "none/random base/random +22.0 [+12.0, +32.0] p < 0.001 11.0" in words
    assert "The others are not significant. Minimum detectable difference: 11.0 points." in words
    study["tests"] = study["tests"][4:]
    study["tests"][2]["p_value"] = 0.07
    assert "None is significant: the smallest has p = 0.070." in Page(build_report(data(study))).words
    study["tests"] = [pair_test(f"a/{i}", "b/b", 0.2, 0.04 - i / 1000, found=True) for i in range(30)]
    words = Page(build_report(data(study))).words
    assert "10 more significant ones are in comparisons.json" in words
    assert words.index("a/29 b/b") < words.index("a/10 b/b") and "a/9 b/b" not in words, "the smallest p values first"
    study["tests"] = [pair_test(f"a/{i}", "b/b", sign * i / 10, 0.01, found=True) for i, sign in ((1, 1), (3, -1))]
    words = Page(build_report(data(study))).words
    assert words.index("a/3 b/b") < words.index("a/1 b/b"), "of equal p values the larger difference, up or down"


def test_efficiency_needs_both_tests(study: dict[str, Any]) -> None:
    study["efficiency"] = [EFFICIENCY]
    assert headline_sentences(data(study))[-2] == (
        "Fewer tokens at equal or better accuracy is not shown on sums by any of 1 comparisons."
    )
    study["efficiency"] = [{**EFFICIENCY, "claim": "fewer tokens, equal accuracy", "shown": True}]
    assert headline_sentences(data(study))[-2].endswith(
        "shown on sums by XX - NN (-20 %, fewer tokens, equal accuracy)."
    )
    assert (
        "XX - NN 0.80 [0.70, 0.92] p = 0.004 -2.0 fewer tokens, equal accuracy" in Page(build_report(data(study))).words
    )


def test_no_efficiency_is_claimed_where_responses_were_cut(study: dict[str, Any]) -> None:
    study["efficiency"] = [{**EFFICIENCY, "claim": "fewer tokens, equal accuracy", "shown": True}]
    for row in study["cells"]:
        row["truncated_rate"] = 0.47 if row["block"] == "NN" else 0.0
    said = " ".join(headline_sentences(data(study)))
    assert "Whether fewer tokens are needed on sums is not known from XX - NN (0.0 % of XX and 47.0 % of NN" in said
    assert "is shown on sums" not in said and "-20 %" not in said
    words = Page(build_report(data(study))).words
    assert "not known" in words and "-2.0 fewer tokens" not in words


def test_the_first_screen_says_what_training_does_and_whether_co_design_is_found(study: dict[str, Any]) -> None:
    effect = sum(cell_["avg"] for cell_ in study["cells"][:4]) / 4 - 0.0275
    trained = comparison("trained - base", effect, 0.18, 0.28, 0.0001, found=True)
    both = comparison("co-design: (XX - XN) - (NX - NN)", 0.015, -0.045, 0.075, 0.6)

    def lead() -> list[str]:
        return list(page_values(data(study))["lead"])

    study["comparisons"] += [trained, both]
    assert lead() == [
        "Training raises accuracy on sums from 2.8 % to 25.5 % (+22.8 points, 95 % CI 18.0 to 28.0).",
        "Co-design: not significant, +1.5 points [-4.5, +7.5], minimum detectable 8.0 points.",
    ]
    words = Page(build_report(data(study))).words
    order = ("Training raises", "Co-design: not significant", "1 warning, 1 caveat", "What the study shows")
    places = [words.index(text) for text in order]
    assert places == sorted(places), "the sentence, the verdict, and then the contents"
    assert words.index("Training raises") < words.index("27.0 % [21.2, 33.5]") < words.index("Co-design: not")
    study["comparisons"][-2] = {**trained, "difference": 0.1}
    assert lead()[0] == "Training raises accuracy on sums (+10.0 points, 95 % CI 18.0 to 28.0).", "no means of others"
    study["comparisons"][-2] = {**trained, "significant": False, "minimum_detectable_difference": None}
    assert lead()[0].startswith("No significant effect of training on sums")
    assert lead()[0].endswith("with so few problems no difference can be significant.")
    study["comparisons"] = [{**both, "difference": -0.1, "significant": True}]
    assert "base is not compared with it, so the effect of training is unknown" in lead()[0]
    assert lead()[1].startswith("Co-design: significant in the opposite direction, -10.0 points")
    study["comparisons"] = []
    assert lead()[1].startswith("Co-design: not known on sums, the design has no cells")
    for row in study["cells"]:
        row.update(correct=0)
    assert lead()[0].startswith("No response is correct on sums")
    for row in study["cells"]:
        row.update(correct=200)
    assert lead()[0].startswith("Every response is correct on sums")


def test_the_effect_of_training_does_not_flatten_the_other_comparisons(study: dict[str, Any]) -> None:
    before = page_values(data(study))["bars"]
    study["comparisons"].append(comparison("trained - base", 0.9, 0.8, 1.0, 0.0001, found=True))
    values = page_values(data(study))
    assert values["bars"][:3] == before
    assert [axis["scale"] for axis in values["axes"]] == ["± 6.4 points", "± 105.0 points"]


def test_every_block_is_explained_as_what_it_is(study: dict[str, Any]) -> None:
    study["blocks"] = [block(name, cells=place) for place, name in enumerate(("base", "NN", "NX", "XN", "XX"), 1)]
    words = Page(build_report(data(study))).words
    for row in (
        "sums base 27.0 % [21.2, 33.5] 1 the untrained model",
        "sums NN 27.0 % [21.2, 33.5] 2 trained without a context, tested without",
        "sums NX 27.0 % [21.2, 33.5] 3 trained without a context, tested with one",
        "sums XN 27.0 % [21.2, 33.5] 4 trained with a context, tested without",
        "sums XX 27.0 % [21.2, 33.5] 5 a context on both sides",
    ):
        assert row in words, row


def test_the_cost_of_servers_is_a_line_of_its_own(study: dict[str, Any]) -> None:
    study["cost"] += [{"what": "servers", "counts": {"retries": 3, "cost": 0.5}}]
    words = Page(build_report(data(study))).words
    assert "servers: retries 3, cost 0.5" in words and "total recorded 600 450 150 12,345" in words


def test_further_metrics_have_a_table(study: dict[str, Any]) -> None:
    for row in study["cells"]:
        row.update(
            n=4, pass_at_k={"4": 0.5}, all_at_k={"2": 0.1}, intervals={"pass@4": [0.43, 0.57], "all@2": [0.06, 0.15]}
        )
    words = Page(build_report(data(study))).words
    assert "smollm2_135m-arithmetic-none-1 random 24.5 % 50.0 % [43, 57] 10.0 % [6, 15]" in words
    assert "k=1" not in words


def test_similarity_is_shown_where_it_was_measured(study: dict[str, Any]) -> None:
    assert "AUC" not in Page(build_report(data(study))).words
    found = {"mean": 0.12, "others": 0.05, "auc": 0.81, "auc_interval": [0.78, 0.84]}
    study["personas"] += [{**study["personas"][0], "strategy": "similar", "similarity": found}]
    words = Page(build_report(data(study))).words
    assert "0.12, 0.05 81.0 % [78.0, 84.0]" in words and "—, — — —" in words


def test_cards_are_named(study: dict[str, Any]) -> None:
    study["cards"] = [{"set": "arithmetic", "path": "data/cards/arithmetic/card.md"}]
    assert "data/cards/arithmetic/card.md" in Page(build_report(data(study))).words


def test_a_denominator_is_named_with_the_number(study: dict[str, Any]) -> None:
    assert "rows, n = " not in Page(build_report(data(study))).words
    study["cards"] = [
        {"set": "sums", "path": "data/cards/sums/card.md", "rows": "200 of 212 rows; out: filter <x> (12)"}
    ]
    for row in study["cells"]:
        row["rows_read"] = row["problems"]
    assert "sums, 200 problems, n = " in Page(build_report(data(study))).words, "no rule removed a row"
    for row in study["cells"]:
        row["rows_read"] = row["problems"] + 12
    page = Page(build_report(data(study)))
    assert "sums, 200 problems of 212 rows, n = " in page.words
    assert "200 of 212 rows; out: filter <x> (12)" in page.words
    assert any("(200 problems of 212 rows, n = " in sentence for sentence in headline_sentences(data(study)))


def test_headline_is_silent_on_the_select_benchmark(study: dict[str, Any]) -> None:
    study["cells"] += [cell(train, test, benchmark="tuning", role="select") for train, test in RATES]
    assert not any("tuning" in sentence for sentence in headline_sentences(data(study)))
    assert "tuning" in Page(build_report(data(study))).words
    for row in study["cells"]:
        row["role"] = "select"
    assert any("tuning" in sentence for sentence in headline_sentences(data(study)))


def test_few_problems_say_what_one_is_worth(study: dict[str, Any]) -> None:
    assert "one problem is" not in Page(build_report(data(study))).words
    for row in study["cells"]:
        row["problems"] = 30
    assert headline_sentences(data(study))[-2] == "On the 30 problems of sums one problem is 3.3 points."
    assert "sums has 30 problems: one problem is 3.3 points" in Page(build_report(data(study))).words
    for row in study["cells"]:
        row["problems"] = 1
    assert headline_sentences(data(study))[-2] == "sums has a single problem: its cells say nothing about others."
    words = Page(build_report(data(study))).words
    assert "sums has a single problem: its cells say nothing about others" in words
    assert "1 problems" not in words


def test_text_table(study: dict[str, Any]) -> None:
    del study["cells"][3]
    assert text_table(data(study)) == (
        "sums (report), smollm2_135m trained on arithmetic: 200 problems, n = 1, grader v1\n"
        "train \\ test  none             random\n"
        "base          3.0 % [1, 6]     2.5 % [1, 6]\n"
        "none          27.0 % [21, 34]  24.5 % [19, 31]\n"
        "random        25.5 % [20, 32]  -\n"
    )


def test_csv_table_has_a_line_a_cell_with_its_terms(study: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(data(study)))))
    assert len(rows) == 6
    assert (rows[0]["train"], rows[0]["avg"], rows[0]["low"], rows[0]["n"]) == ("none", "0.27", "0.212", "1")
    assert (rows[4]["train"], rows[4]["seed"], rows[4]["dataset"]) == ("base", "", "")


def test_markdown_table(study: dict[str, Any]) -> None:
    study["confidence"] = 0.95
    assert markdown_table(data(study)) == (
        "**sums** (report), smollm2_135m trained on arithmetic: 200 problems, n = 1, grader v1, 95 % intervals\n\n"
        "| train \\ test | none | random |\n|---|---:|---:|\n"
        "| base | 3.0 [1.4, 6.4] | 2.5 [1.1, 5.7] |\n"
        "| none | 27.0 [21.2, 33.5] | 24.5 [19.0, 30.9] |\n"
        "| random | 25.5 [19.9, 32.0] | 25.0 [19.5, 31.4] |\n"
    )


def test_latex_table_escapes_and_marks_no_maximum(study: dict[str, Any]) -> None:
    del study["cells"][3]
    table = latex_table(data(study))
    assert r"smollm2\_135m trained on arithmetic, sums (report): mean correctness in percent, intervals; 200" in table
    assert "none & 27.0 & 24.5 \\\\\n" in table
    assert " & {\\scriptsize [21.2, 33.5]} & {\\scriptsize [19.0, 30.9]} \\\\\n" in table
    assert "random & 25.5 & -- \\\\\n" in table
    assert "\\toprule" in table and "\\end{table}\n" in table and "textbf" not in table
    assert all(format_table(ReportData()) for format_table in TABLES.values())


def test_the_effect_of_training_is_under_the_same_test_strategies(study: dict[str, Any]) -> None:
    """A table with a hole: the trained cells are more often under `none` than base is."""
    study["cells"] = [row for row in study["cells"] if (row["train"], row["test"]) != ("none", "random")]
    rates = {(row["train"], row["test"]): row["avg"] for row in study["cells"]}
    gains = [rate - rates[None, test] for (train, test), rate in rates.items() if train is not None]
    assert len(gains) == 3
    said = headline_sentences(data(study))[0]
    assert f": {100 * sum(gains) / 3:+.1f} points under the same test strategies; " in said
    study["cells"] = [row for row in study["cells"] if (row["train"] is None) == (row["test"] == "random")]
    said = headline_sentences(data(study))[0]
    assert "base was not measured under a test strategy of theirs, so the effect of training is unknown" in said


def test_the_seeds_of_a_table_are_in_order(study: dict[str, Any]) -> None:
    study["cells"] += [cell("random", "none", seed=0)]
    assert "mean over training seeds 0, 1 that a cell has" in text_table(data(study))


def test_several_seeds_show_the_mean_and_each_seed(study: dict[str, Any]) -> None:
    study["cells"].append(cell("none", "none", seed=2, avg=0.31, low=0.25, high=0.377))
    table = text_table(data(study))
    assert "none          29.0 % [21, 38]  24.5 % [19, 31]\n" in table
    assert table.endswith("mean over training seeds 1, 2 that a cell has; brackets span the intervals of all seeds\n")
    study["pairs"] = [{**pair("none", "none", [1, 2]), "avg": 0.29, "low": 0.15, "high": 0.45}]
    table = text_table(data(study))
    assert "none          29.0 % [15, 45]  24.5 % [19, 31]\n" in table
    assert table.endswith("mean over training seeds 1, 2 that a cell has; intervals for other seeds and problems\n")
    del study["pairs"]
    page = Page(build_report(data(study)))
    assert "29.0 % [21.2, 37.7] seed 1: 27.0 % seed 2: 31.0 %" in page.words
    both = "&".join(f"cell=smollm2_135m-arithmetic-none-{seed}/sums/none" for seed in (1, 2))
    assert ("a", "href", f"#{both}") in page.attributes, "the entry opens the responses of both seeds"


def test_models_and_datasets_have_tables_of_their_own_and_share_base(study: dict[str, Any]) -> None:
    study["cells"] += [cell("random", "none", dataset="limo", checkpoint="smollm2_135m-limo-random-1")]
    study["cells"] += [cell(None, "none", model="qwen", checkpoint="qwen-base")]
    titles = [line for line in text_table(data(study)).splitlines() if line.startswith("sums")]
    assert [t.split(":")[0] for t in titles] == [
        "sums (report), smollm2_135m trained on arithmetic",
        "sums (report), smollm2_135m trained on limo",
        "sums (report), qwen, untrained",
    ]
    assert text_table(data(study)).count("base          3.0 %") == 3
    assert "only base was measured: qwen has 3.0 % [1.4, 6.4]." in headline_sentences(data(study))[2]


OPTIONAL = [
    "pairs",
    "tests",
    "efficiency",
    "selection",
    "nested",
    "cards",
    "comparisons",
    "votes",
    "losses",
    "personas",
    "parity",
    "cost",
    "blocks",
    "settings",
    "provenance",
]


@pytest.mark.parametrize(
    "name", [*OPTIONAL, "warnings", "caveats", "design", "description", "commit", "created", "cells"]
)
@pytest.mark.parametrize("how", ["absent", "empty", "null"])
def test_each_piece_may_be_missing(study: dict[str, Any], name: str, how: str) -> None:
    kind = type(study.get(name, []))
    study.pop(name, None)
    if how == "empty":
        study[name] = kind()
    elif how == "null":
        study[name] = None
        if kind is not str:
            with pytest.raises(ValidationError, match=name):
                data(study)
            return
    Page(build_report(data(study)))
    assert headline_sentences(data(study))
    assert text_table(data(study)).endswith("\n")


def test_the_share_of_the_fallback_shows_where_it_differs(study: dict[str, Any]) -> None:
    words = "answers by the fallback: "
    page = Page(build_report(data(study))).words
    assert words not in text_table(data(study)) and "fallback" not in " ".join(headline_sentences(data(study)))
    assert "no answer truncated" in page
    for row in study["cells"]:
        row["fallback_rate"] = 0.62 if row["train"] is None else 0.04 if row["test"] == "random" else 0.02
    note = f"{words}base 62.0 %, none 2.0 to 4.0 %, random 2.0 to 4.0 %"
    assert note in text_table(data(study)) and note in markdown_table(data(study))
    (sentence,) = [said for said in headline_sentences(data(study)) if "fallback" in said]
    assert note in sentence and "`grading.fallback: false`" in sentence
    page = Page(build_report(data(study))).words
    assert "no answer fallback truncated" in page and "62.0 %" in page
    assert csv_table(data(study)).splitlines()[0].split(",").count("fallback_rate") == 1


def test_no_base(study: dict[str, Any]) -> None:
    study["cells"] = [row for row in study["cells"] if row["train"] is not None]
    assert "base was not measured, so the effect of training is unknown" in headline_sentences(data(study))[0]
    assert "base" not in text_table(data(study))
    Page(build_report(data(study)))


def test_nothing_at_all() -> None:
    assert headline_sentences(ReportData()) == ["Nothing was measured: the study has no cells."]
    assert text_table(ReportData()) == "nothing was measured\n"
    assert "not under version control" in Page(build_report(ReportData(recipe="empty"))).words


def test_optional_fields_of_rows_become_dashes(study: dict[str, Any]) -> None:
    for row in study["cells"]:
        row.update(maj=None, maj_k=None, maj_at_k={}, intervals={}, rows_read=None)
    study["comparisons"][0].update(minimum_detectable_difference=None)
    study["efficiency"] = [{**EFFICIENCY, "high": None}]
    study["personas"] = [{"set": "arithmetic", "strategy": "random", "personas": 0}]
    study["parity"] = [{"checkpoint": "smollm2_135m-arithmetic-none-1"}]
    study["cost"] = [{"what": "servers"}]
    study["explorer"]["cases"][0]["reference"] = study["explorer"]["cases"][0]["cells"][0]["answer"] = None
    words = Page(build_report(data(study))).words
    assert "p = 0.40 not significant — 200" in words and "0.80 [0.70, —]" in words
    assert "arithmetic random 0 — — — —" in words and "servers — — — — —" in words
    assert "200 problems, n = 1" in words


def test_mixed_graders_are_told_apart(study: dict[str, Any]) -> None:
    assert "6.25 v1" not in Page(build_report(data(study))).words
    study["cells"][1]["grader_version"] = "2"
    words = Page(build_report(data(study))).words
    assert "grader v1/2" in words
    assert "6.25 v1" in words
    assert "5.67 v2" in words


def test_loss_curves_survive_unusual_losses(study: dict[str, Any]) -> None:
    checkpoint = "smollm2_135m-arithmetic-none-1"
    study["losses"] = {
        checkpoint: [{"step": i, "loss": math.nan if i == 3 else 0.5} for i in range(1, 5001)],
        "gone": [{"step": 1, "loss": 2.0}],
        "broken": [{"step": 1, "loss": None}],
    }
    page = Page(build_report(data(study)))
    drawn = [value for tag, name, value in page.attributes if (tag, name) == ("polyline", "points")]
    assert [len(value.split()) <= 300 for value in drawn] == [True, True]
    assert all(re.fullmatch(r"[\d.,\- ]+", value) for value in drawn)
    assert "none (1 step without a finite loss) ends at 0.5" in page.words
    assert "No finite loss to draw; steps of broken: 1" in page.words
    assert ("svg", "role", "img") in page.attributes


def test_pure(study: dict[str, Any]) -> None:
    before = copy.deepcopy(study)
    assert build_report(data(study)) == build_report(data(study))
    assert study == before


@pytest.mark.parametrize(
    ("least", "most", "scale"),
    [
        (0.4, 0.41, (0.28, 0.53)),
        (0.1, 0.9, (0.1, 0.9)),
        (0.0, 0.01, (0.0, 0.25)),
        (0.99, 1.0, (0.75, 1.0)),
        (0.5, 0.5, (0.375, 0.625)),
    ],
)
def test_colours_are_at_least_25_points_apart(
    study: dict[str, Any], least: float, most: float, scale: tuple[float, float]
) -> None:
    """Cells that differ by noise must not look as far apart as cells can be."""
    for row, avg in zip(study["cells"], [least, most, *[least] * 4], strict=True):
        row["avg"] = avg
    assert page_values(data(study))["scales"]["sums"] == pytest.approx(scale)


def test_heat_text_is_readable_on_every_colour() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert [shade(value, 0.2, 0.6) for value in (0.1, 0.2, 0.4, 0.6, 0.9)] == [0, 0, SHADES // 2, SHADES, SHADES]
    for step in range(SHADES + 1):
        style = heat_style(step)
        match = re.fullmatch(
            r"background:#(.{6});color:#(000|fff);"
            r"background:light-dark\(#(.{6}),#(.{6})\);color:light-dark\(#(000|fff),#(000|fff)\)",
            style,
        )
        assert match and match.group(1, 2) == match.group(3, 5), style
        for back, ink in (match.group(1, 2), match.group(4, 6)):
            light, dark = sorted([luminance(back), 1.0 if ink == "fff" else 0.0], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_cell_of_many_takes_little_of_the_page(study: dict[str, Any]) -> None:
    """A page of 40 x 40 cells on three benchmarks stays under 5 MB: the heatmap, the dot and the row of each."""

    def page(names: list[str]) -> int:
        row = cell("random", "random")
        cells = [
            {**row, "train": a, "test": b, "checkpoint": f"smollm2_135m-arithmetic-{a}-1"} for a in names for b in names
        ]
        return len(build_report(data({**study, "cells": cells, "tests": []})).encode())

    few, many = ([f"persona_{place:02}" for place in range(count)] for count in (7, 10))
    assert (page(many) - page(few)) / (10**2 - 7**2) < 780


def test_numbers() -> None:
    assert percent(0.27) == "27.0 %"
    assert percent(None) == "—"
    assert points(-0.0001) == "+0.0"
    assert points(0.08, signed=False) == "8.0"


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0009, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0099, "p = 0.010"),
        (0.05, "p = 0.050"),
        (0.1, "p = 0.10"),
        (1.0, "p = 1.00"),
        (None, "p —"),
    ],
)
def test_a_p_value_keeps_the_digits_that_decide(p: float | None, shown: str) -> None:
    assert p_value(p) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (60.0, "1 min 0 s"),
        (150.2, "2 min 30 s"),
        (3599.4, "59 min 59 s"),
        (3600.0, "1 h 0 min"),
        (9000.0, "2 h 30 min"),
        (None, "—"),
    ],
)
def test_a_duration_has_two_units(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_what_a_model_wrote_cannot_act_on_a_terminal(study: dict[str, Any]) -> None:
    clean = build_report(data(study)).partition("<script>")[0]
    assert "\\x" not in clean and "\\u" not in clean
    study["explorer"]["cases"][0]["cells"][0]["response"] = "a\x1b[31m b\x07 c\u202e d\x9b e\u2028 f\r\ng\rh\ti"
    study["personas"][0]["examples"] = ["\x1b]0;title\x07"]
    study["description"] = "\u2066x"
    text = build_report(data(study)).partition("<script>")[0]
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)
    assert "a\\x1b[31m b\\x07 c\\u202e d\\x9b e\\u2028 f\ng\\rh\ti" in text


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"truncated_rate": 0.1}, "10 % of the responses were cut at max_tokens (256)"),
        ({"loop_rate": 0.25}, "25 % of the responses end in a repetition loop"),
        ({"no_answer_rate": 0.5}, "50 % of the responses contain no answer"),
        ({"errors": 1}, "1 of 200 responses were refused, withheld or interrupted"),
        ({"n": 4, "equal_samples": 180}, "the 4 responses to each of 180 of 200 problems are one text"),
        ({"grader_errors": 2}, "the grader failed on 2 responses"),
    ],
)
def test_each_unusual_rate_of_a_cell_has_its_warning(changes: dict[str, Any], warning: str) -> None:
    usual = {"truncated_rate": 0.099, "loop_rate": 0.099, "no_answer_rate": 0.099, "n": 4, "equal_samples": 179}
    assert cell_warnings(_result(usual), max_tokens=256, temperature=0.7) == []
    (found,) = cell_warnings(_result(changes), max_tokens=256, temperature=0.7)
    assert found.startswith(f"smollm2_135m-arithmetic-none-1 on sums, test random: {warning}")


def _result(changes: dict[str, Any]) -> CellResult:
    return CellResult.model_validate(cell("none", "random", **changes))


def test_a_strategy_with_many_flagged_personas_has_one_warning() -> None:
    def account(name: str, of: str, flagged: int, **flags: int) -> PersonaAccount:
        own = {"set": of, "strategy": name, "personas": 50, "asked": 60, "flagged": flagged, "flags": flags}
        return PersonaAccount.model_validate(own)

    def told(name: str, item: Mapping[str, Any]) -> str:
        return flagged_text(item, {"overlong": f"shorten {name}"})

    rows = [
        account("similar", "sums", 20, overlong=15, digits=5),
        account("similar", "tests", 1, digits=1, not_in_share=49),
        account("random", "sums", 10, overlong=10),
        account("random", "tests", 10, overlong=10),
        account("other", "sums", 0),
    ]
    assert persona_warnings(rows, told) == [
        "personas of similar that were kept after the last attempt: 21 of 100 break a rule (overlong 15, digits 6): "
        "shorten similar"
    ]
    assert persona_warnings([rows[0].model_copy(update={"asked": 0})], told) == [], "a control has no writer"


def test_every_rule_has_a_remedy(project: Path) -> None:
    recipe = load_study(project).recipe
    assert list(rule_remedies(recipe, "similar")) == list(RULES)
    assert rule_remedies(recipe, "none") == {}
    one = {"flagged": 1, "personas": 8, "flags": {"digits": 1, "not_in_share": 3}}
    said = flagged_text(one, rule_remedies(recipe, "similar"))
    assert said.startswith("1 of 8 breaks a rule (digits 1): ask for no numbers in the template")
