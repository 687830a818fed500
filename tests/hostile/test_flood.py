"""Servers and models that write far more than they were asked: what is held at once stays bounded."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from its.engines.fleet.answers import MOST_TEXT, max_characters, parse_answer
from its.engines.protocol import Completion, EngineModel, Request
from its.engines.session import Session
from its.recipe.schema import Limits
from its.store import Store, response_key
from its.store.database import PutItem
from its.strategies.persona import truncate
from its.strategies.rules import WORD_LETTERS, persona_flags
from its.types import Problem

SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "stop": []}
MIB = 2**20


def _asked(index: int) -> Request:
    return Request(f"r{index}", [{"role": "user", "content": f"q{index}"}], SAMPLING, seed=1, model="m")


@pytest.mark.parametrize(
    ("sampling", "options", "most"),
    [
        ({"max_tokens": 8}, {}, 10_512),
        ({"max_tokens": 32_768}, {}, 64 * 32_768 + 10_000),
        ({"max_tokens": 10**6}, {}, MOST_TEXT),
        ({"max_tokens": 8}, {"max_tokens": None, "max_completion_tokens": 1000}, 74_000),
        ({"max_tokens": 8}, {"max_tokens": None}, MOST_TEXT),
        ({"max_tokens": 8}, {"max_completion_tokens": "many"}, 10_512),
    ],
)
def test_an_answer_is_as_long_as_its_tokens_may_be(
    sampling: dict[str, int], options: dict[str, object], most: int
) -> None:
    assert max_characters(Request("r", [], sampling, seed=1), options) == most
    for text, thinking, fits in [("x" * most, "", True), ("x" * most, "y", False), ("", "y" * (most + 1), False)]:
        message = {"content": text, "reasoning": thinking}
        answer = {
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        found = parse_answer(json.dumps(answer).encode(), "r", "w", most)
        assert isinstance(found, Completion) if fits else "longer than" in str(found)


@pytest.mark.parametrize("text", ["x" * 4 * MIB, "word " * MIB, "\u8bcd" * MIB, "x" * 4000 + " y"])
def test_a_persona_without_end_is_overlong_and_cut(text: str) -> None:
    limits = Limits(max_words=30, checks=["overlong"])
    problem = Problem(problem_id="p", text="1 + 1", source="s")
    assert persona_flags(text, "stop", limits, problem) == ["overlong"]
    assert len(truncate(text, 30)) <= 30 * WORD_LETTERS


@pytest.mark.parametrize("words", [1, 29, 30])
def test_a_persona_of_long_words_is_as_it_was(words: int) -> None:
    text = " ".join(["Donaudampfschifffahrtsgesellschaftskapitaenswitwenrente."] * words)
    problem = Problem(problem_id="p", text="1 + 1", source="s")
    assert persona_flags(text, "stop", Limits(max_words=30, checks=["overlong"]), problem) == []
    assert truncate(text + " more" * 100, words) == text


def test_reading_holds_one_response_at_a_time(tmp_path: Path) -> None:
    model = EngineModel(name="m", path="m", fingerprint="f", dtype="bfloat16", context_length=64)
    with Store(tmp_path / "store.sqlite") as store:
        session = store.register({"model": "f"}, {})
        asked = [_asked(index) for index in range(40)]
        for index, request in enumerate(asked):
            body = {"text": str(index) + "x" * 4 * MIB, "finish_reason": "stop"}
            item = PutItem(
                response_key(session, request.determinants()),
                session,
                request.determinants(),
                body | {"prompt_tokens": 1, "completion_tokens": 1},
            )
            store.put_many([item])
        run = Session(store, [model], {"m": session}, [[model]], lambda group: pytest.fail("asked"), print)
        twice = [*reversed(asked), *(Request(f"twin{item.request_id}", **_parts(item)) for item in asked[:3])]
        tracemalloc.start()
        try:
            found = [(request.request_id, completion.text[:2]) for request, _, completion in run.read(twice)]
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [name for name, _ in found] == [request.request_id for request in twice]
    assert [text.rstrip("x") for _, text in found] == [*map(str, reversed(range(40))), "0", "1", "2"]
    assert most < 40 * MIB


def _parts(request: Request) -> dict[str, Any]:
    return {name: value for name, value in vars(request).items() if name != "request_id"}


def test_packed_bodies_are_held_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.store.database.MEMORY_BYTES", 1000)
    with Store(tmp_path / "store.sqlite") as store:
        session = store.register({"model": "f"}, {})
        keys = []
        for index in range(30):
            determinants = _asked(index).determinants()
            keys.append(response_key(session, determinants))
            store.put(
                keys[-1], session, determinants, {"text": "".join(f"{number:x}" for number in range(100 * index))}
            )
        assert [key for key, _ in store.find(keys[::-1])] == keys[::-1]
        assert store.contains(keys) == set(keys)
        assert all(len(rows) == 1 or sum(len(row[2]) for row in rows) <= 1000 for rows in store._intact_rows(keys))
