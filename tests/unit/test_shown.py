"""What a terminal would act on is shown; everything else is itself."""

from __future__ import annotations

import json
import unicodedata

import pytest

from its.cli.main import main
from its.errors import DataError, Fault, FaultsError
from its.shown import LONGEST, bounded, shown, shown_json, without_controls


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b2J", "\\x9b2J"),
        ("\x1b]8;;http://x\x07", "\\x1b]8;;http://x\\x07"),
        ("a\rb\x08c\x7f\x00", "a\\rb\\x08c\\x7f\\x00"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("a\u2028b\u200bc\ufeff", "a\\u2028b\\u200bc\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("x\ny\tz", "x\\ny\\tz"),
    ],
)
def test_controls_are_shown(text: str, wanted: str) -> None:
    assert shown(text) == wanted


TEXTS = [
    "",
    "plain",
    "h\u00e9llo, 世界",
    "e\u0301",
    "👩\u200d👧",
    "\u0645\u06cc\u200c\u062e",
    "$x^2$ \\x1b",
    "\u0936\u0915\u094d",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_is_itself(text: str) -> None:
    assert shown(text) == text == shown(text, lines=True)


def test_no_control_of_unicode_is_left_but_those_that_are_meant() -> None:
    kept = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs")}
    assert {char for char in kept if shown(char) == char} == set()
    assert {char for char in kept if shown(char, lines=True) == char} == {"\n", "\t"}
    turning = {chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code)) in _TURNING}
    assert {char for char in turning if shown(char) == char} == set()


_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_json_means_what_it_meant() -> None:
    text = "".join(map(chr, [*range(0x300), *range(0x2000, 0x2070), 0xFEFF, 0xD800, 0xE0041, 0x1F600]))
    document = shown_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {text: [text]}
    assert document == shown(document, lines=True)


def test_what_a_reader_sees() -> None:
    assert without_controls("a\u200bb\u200dc\x1bd\ufe0f") == "abcd"
    assert bounded("x" * LONGEST) == "x" * LONGEST
    assert bounded("x" * (LONGEST + 7)) == "x" * LONGEST + "... (7 more characters)"


def test_an_error_is_a_line_each() -> None:
    error = DataError("bad `\x1b[2J\nhint: rm -rf /`", "see \u202ex")
    assert error.lines() == ["error: bad `\\x1b[2J\\nhint: rm -rf /`", "hint: see \\u202ex"]
    assert error.as_json()[0]["message"] == error.message
    faults = FaultsError([Fault("x:1", "\x9b"), Fault("x:2", "y" * 10**6)])
    assert faults.lines()[0] == "error: x:1: \\x9b"
    assert len(faults.lines()[1]) < LONGEST + 100


@pytest.mark.parametrize("words", [["--json"], []])
def test_the_command_line_sends_no_control(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recipe", "show", "no\x1b[31m\x9bsuch", *words])
    out, err = capsys.readouterr()
    assert "such" in out + err
    for text in (out, err):
        assert text == shown(text, lines=True)
