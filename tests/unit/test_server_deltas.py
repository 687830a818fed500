"""A stream gives the beginnings of what the whole response has, or says that it did not."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from its.server.deltas import Live, Unfolding
from its.thinking import OpenedBy, PlainMarks, cut_thinking

PAIRS = [("<t>", "</t>"), ("*", "*"), ("<t", "<t>"), ("ab", "bc"), ("[THINK]", "[/THINK]"), ("<t>", "<t><t>")]
OPENED: list[OpenedBy | None] = ["prompt", "model", None]


def _texts(start: str, end: str, seed: int) -> str:
    chance = random.Random(seed)
    pieces = [start, end, "a", "b ", " ", "\n", "c\n\n", "<", start[:-1], end[:-1], "é", "word"]
    return "".join(chance.choice(pieces) for _ in range(chance.randint(0, 12)))


def _steps(text: str, seed: int) -> list[str]:
    chance = random.Random(seed)
    ends = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(1, 8)))
    return [text[:end] for end in ends]


def _settled(part: str, pair: tuple[str, str]) -> str:
    """A beginning of a text without the start of a mark at its end."""
    starts = {mark[:length] for mark in pair for length in range(1, len(mark))} - set(pair)
    return part.removesuffix(max((start for start in starts if part.endswith(start)), key=len, default=""))


@pytest.mark.parametrize("opened_by", OPENED)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_generated_texts_in_generated_steps(pair: tuple[str, str], opened_by: OpenedBy | None) -> None:
    """What is given is how thinking and answer begin, unless the text is one of those that change what came before."""
    marks, changed, given = PlainMarks(*pair, opened_by), 0, 0
    for seed in range(4000):
        text = _texts(*pair, seed)
        unfolding = Unfolding(marks)
        parts = [unfolding.take(step) for step in _steps(text, seed)]
        assert "".join(part[0] for part in parts) == unfolding.thinking
        assert "".join(part[1] for part in parts) == unfolding.content
        cut = cut_thinking(text, marks, cut_short=bool(seed % 2))
        begins = (cut.thinking or "").startswith(unfolding.thinking) and cut.answer.startswith(unfolding.content)
        changed += not begins
        given += bool(unfolding.content or unfolding.thinking)
        if begins:
            continue
        # A mark turned up behind an answer: a thought follows that does not end, or what was given was a thought.
        parts_so_far = (_settled(text[:end], pair) for end in range(len(text)))
        seen = [cut_thinking(part, marks, cut_short=False).answer.rstrip() for part in parts_so_far]
        assert unfolding.content and not all(map(cut.answer.startswith, seen)), (text, unfolding.content, cut)
    assert given > 1000 and changed < given, (given, changed)


USUAL = [
    ("prompt", "Let me see. 2 + 2.</t>\n\nIt is 4.", "Let me see. 2 + 2.", "It is 4."),
    ("prompt", "<t>\nLet me see.\n</t>\n\nIt is 4. \n", "Let me see.", "It is 4."),
    ("model", "<t>\nLet me see.\n</t>\n\nIt is 4.", "Let me see.", "It is 4."),
    (None, "<t>\nLet me see.\n</t>\n\nIt is 4.", "Let me see.", "It is 4."),
    (None, "Let me see.\n</t>\n\nIt is 4.", "Let me see.", "It is 4."),
    ("model", "\n It is 4, not <p>.", "", "\n It is 4, not <p>."),
]


@pytest.mark.parametrize(("opened_by", "text", "thinking", "content"), USUAL)
def test_usual_texts_arrive_character_by_character(
    opened_by: OpenedBy | None, text: str, thinking: str, content: str
) -> None:
    unfolding = Unfolding(PlainMarks("<t>", "</t>", opened_by))
    parts = [unfolding.take(text[:end]) for end in range(1, len(text) + 1)]
    assert (unfolding.thinking, unfolding.content) == (thinking, content)
    assert sum(bool(part[0] or part[1]) for part in parts) > len(thinking + content) / 3, "not all at once"
    cut = cut_thinking(text, PlainMarks("<t>", "</t>", opened_by), cut_short=False)
    assert (cut.thinking or "", cut.answer.rstrip()) == (thinking, content.rstrip())


def test_without_marks_a_text_is_its_own_answer() -> None:
    unfolding = Unfolding(None)
    assert [unfolding.take(text)[1] for text in ("", " a", " a \n", " a \n<t>b")] == ["", " a", " \n", "<t>b"]


def test_a_text_that_another_worker_generates_again() -> None:
    unfolding = Unfolding(None)
    assert unfolding.take("one two")[1] == "one two"
    assert unfolding.take("one")[1] == "", "it may come to the same"
    assert unfolding.take("one two three")[1] == " three"
    assert unfolding.take("one six")[1] == unfolding.take("one six, seven")[1] == "", "it does not"


def test_deltas_cross_from_a_thread_and_wait_for_a_slow_client() -> None:
    async def run() -> None:
        live = Live()
        begun = live.follow(None)
        thread = threading.Thread(target=lambda: [begun(index, "x" * end) for end in range(100) for index in (0, 1)])
        thread.start()
        await asyncio.wait_for(live.changed.wait(), 10)
        while thread.is_alive():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        first = live.take()
        assert first[0]["role"] == first[1]["role"] == "assistant" and not live.changed.is_set()
        assert live.take() == {}
        assert live.sent[0] == live.sent[1] == {"role": "assistant", "content": "x" * 99}
        begun(1, "x" * 99 + "y")
        await asyncio.wait_for(live.changed.wait(), 10)
        assert live.take() == {1: {"content": "y"}}

    asyncio.run(run())
