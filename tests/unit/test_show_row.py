"""`its train CHECKPOINT --show-row N`: the tokens of a row, and which of them are trained, without a training."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from fakes.tiny_tokenizer import SPECIAL, TinyTokenizer

from its.cli import stages
from its.commands.show_row import show_row
from its.rows import write_rows
from its.study.row_check import row_readers
from its.study.study import Study, load_study
from its.types import Message, Query

CHECKPOINT = "smollm2_135m-arithmetic-none-1"
Its = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None]) -> Study:
    model_in_folder()
    made = load_study(project)
    _write(made, "It is 5.", "So\n\x1b[31mit\x1b[0m is \u202e6 🙂.")
    return made


def _write(study: Study, *solutions: str) -> None:
    rows = [
        Query(
            query_id=f"arithmetic/p{at}/none",
            problem_id=f"p{at}",
            strategy="none",
            messages=[Message(role="user", content="How many?")],
            solution=solution,
        )
        for at, solution in enumerate(solutions)
    ]
    write_rows(study.queries_path("train", "arithmetic", "none"), rows)


def test_the_parts_are_those_of_the_trainers_labels(study: Study) -> None:
    tokenizer = TinyTokenizer()
    for number, solution in enumerate(("It is 5.", "So\n\x1b[31mit\x1b[0m is \u202e6 🙂."), 1):
        turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": solution}]
        wanted = tokenizer.row(turns)
        row = show_row(study, CHECKPOINT, number)
        assert [token.id for token in row.tokens] == wanted["input_ids"]
        assert [token.id if token.trained else -100 for token in row.tokens] == wanted["labels"]
        assert (row.prompt, row.trained, row.after) == (
            wanted["labels"].index(wanted["input_ids"][row.prompt]),
            len(wanted["labels"]) - wanted["labels"].count(-100),
            1,
        )
        text = "".join(token.text for token in row.tokens)
        assert text == tokenizer.apply_chat_template(turns, tokenize=False)
        trained = "".join(token.text for token in row.tokens if token.trained)
        assert trained == solution + "<|im_end|>"


def test_plain_text_names_the_parts(study: Study, its: Its) -> None:
    code, out, _ = its("train", CHECKPOINT, "--show-row", "1")
    assert code == 0
    assert out == (
        "data/queries/train/arithmetic/none.jsonl:1  arithmetic/p0/none\n"
        "--- masked: 28 tokens\n<|im_start|>user↵\nHow many?<|im_end|>↵\n<|im_start|>assistant↵\n"
        "--- trained: 9 tokens\nIt is 5.<|im_end|>\n"
        "--- masked: 1 token\n↵\n"
        "38 tokens of 4096: 28 of the prompt, 9 trained, 1 masked after\n"
    )


def test_the_words_of_the_stage_do_as_well(study: Study, its: Its) -> None:
    one = its("train", CHECKPOINT, "--show-row", "2")
    assert its("train", "smollm2_135m", "arithmetic", "none", "1", "--show-row", "2") == one


@pytest.mark.parametrize("variants", ["[default, lora]", "[lora]"])
def test_variants_and_earlier_checkpoints_have_the_same_rows(study: Study, its: Its, variants: str) -> None:
    path = study.project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("  base: true\n", f"  base: true\n  variants: {variants}\n  checkpoints: [last, 1/3]\n")
    text = text.replace("train:\n  template", "train:\n  variants: {lora: {epochs: 2}}\n  template")
    path.write_text(text, encoding="utf-8")
    shown = [its("train", f"{CHECKPOINT}{part}", "--show-row", "1") for part in ("", "-lora", "-lora-1of3")]
    assert shown[0] == shown[1] == shown[2] and shown[0][0] == 0
    code, _, error = its("train", f"{CHECKPOINT}-lora-2of3", "--show-row", "1")
    assert code == 3 and "the design has no checkpoint" in error and f"{CHECKPOINT}-lora-1of3" in error


def test_control_characters_do_not_reach_the_terminal(study: Study, its: Its, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = its("train", CHECKPOINT, "--show-row", "2")
    assert "\\x1b[31mit\\x1b[0m" in out and "\\u202e6 🙂." in out
    assert "\x1b" not in out and "\u202e" not in out
    _, out, _ = its("train", CHECKPOINT, "--show-row", "2", "--json")
    assert "\x1b" not in out and "\u202e" not in out
    texts = [token["text"] for token in json.loads(out)["row"]["tokens"] if token["trained"]]
    assert "".join(texts) == "So\n\x1b[31mit\x1b[0m is \u202e6 🙂.<|im_end|>"


class _Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_for_a_terminal(study: Study, monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    printed: list[str] = []

    def echo(text: Any = "", nl: bool = True, **more: Any) -> None:
        printed.append(f"{text}\n" if nl else str(text))

    monkeypatch.setattr(stages, "sys", type("Sys", (), {"stdout": _Terminal()}))
    monkeypatch.setattr(click, "echo", echo)
    monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", raising=False)
    stages._show_row(CHECKPOINT, 1, False)
    out = "".join(printed)
    if no_color:
        assert "--- trained: 9 tokens" in out and "\x1b" not in out
    else:
        assert "---" not in out and click.style("I", fg="green") + click.style("t", fg="bright_green") in out
        assert click.unstyle(out).startswith(
            "data/queries/train/arithmetic/none.jsonl:1  arithmetic/p0/none\n<|im_start|>"
        )


WRONG = {
    "base": (("smollm2_135m-base", "--show-row", "1"), 3, "`smollm2_135m-base` is not trained, so it has no rows"),
    "unknown": (("smollm2_135m-arithmetic-nine-1", "--show-row", "1"), 3, "the design has no checkpoint"),
    "control": (("a\x1b[2J", "--show-row", "1"), 3, r"the design has no checkpoint `a\x1b[2J`"),
    "no row": ((CHECKPOINT, "--show-row", "3"), 3, "none.jsonl: has 2 rows, so there is no row 3"),
    "zero": ((CHECKPOINT, "--show-row", "0"), 2, "0 is not in the range x>=1"),
    "two words": ((CHECKPOINT, "none", "--show-row", "1"), 2, "or one CHECKPOINT, found 2 words"),
    "a machine": ((CHECKPOINT, "--show-row", "1", "--node", "0", "--wait", "5"), 2, "leave out --node, --wait"),
    "seed": (("smollm2_135m", "arithmetic", "none", "one"), 2, "'one' is not a valid integer"),
    "json": (("smollm2_135m", "arithmetic", "none", "1", "--json"), 2, "--json is for --show-row"),
    "file": (("smollm2_135m-arithmetic-random-1", "--show-row", "1"), 4, "random.jsonl: no such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(study: Study, its: Its, name: str) -> None:
    words, wanted, message = WRONG[name]
    code, out, error = its("train", *words)
    assert code == wanted and message in error and (not out or name == "json"), error
    assert "Traceback" not in error and "\x1b" not in error


def test_files_that_are_missing_or_empty(study: Study, its: Its) -> None:
    _write(study)
    code, _, error = its("train", CHECKPOINT, "--show-row", "1")
    assert code == 3 and "has 0 rows, so there is no row 1" in error
    _write(study, "It is 5.")
    (study.project / "base" / "tokenizer.json").unlink()
    code, _, error = its("train", CHECKPOINT, "--show-row", "1")
    assert code == 4 and "`smollm2_135m` has no `tokenizer.json`" in error


def test_a_row_that_a_training_would_refuse_says_why(study: Study, its: Its) -> None:
    _write(study, "It is<|im_end|> 5.")
    code, _, error = its("train", CHECKPOINT, "--show-row", "1")
    assert code == 3 and "writes the end of turn `<|im_end|>` 2 times" in error
    _write(study, "It is \ud83d.")
    code, _, error = its("train", CHECKPOINT, "--show-row", "1")
    assert code == 3 and "has U+D83D, half of a character, which no tokenizer reads" in error


PIECES = ["a", "é", "🙂", "👨\u200d👩", " ", "\n", "\n\n", "ﬁ", "日本", *SPECIAL, "<think>", "word "]


def test_pieces_are_the_text(study: Study) -> None:
    reader = row_readers(study)[0][0].reader
    drawn = random.Random(3)
    for _ in range(300):
        text = "".join(drawn.choices(PIECES, k=drawn.randint(0, 15)))
        pieces = reader.pieces(text)
        assert "".join(part for _, part in pieces) == text
        assert [id_ for id_, _ in pieces] == reader.ids(text)
