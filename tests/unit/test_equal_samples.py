"""Responses that repeat one text, from one engine or from a fleet whose servers have one text each."""

from __future__ import annotations

import random

import pytest

from its.metrics.equal_samples import EqualSamples


def _counted(n: int, *problems: list[str]) -> int:
    samples = EqualSamples(n)
    for place, texts in enumerate(problems):
        for text in texts:
            samples.add(place, None, text)
    return samples.problems


@pytest.mark.parametrize("servers", [1, 2, 3, 7])
def test_a_fleet_whose_servers_do_not_honour_seeds_is_detected(servers: int) -> None:
    chance = random.Random(servers)
    texts = [[f"{place} {chance.randrange(servers)}" for _ in range(16)] for place in range(20)]
    assert _counted(16, *texts) == 20


def test_half_as_many_texts_as_samples_are_samples() -> None:
    assert _counted(16, [str(number // 2) for number in range(16)]) == 0, "8 of 16"
    assert _counted(16, [str(min(number, 6)) for number in range(16)]) == 1, "7 of 16"
    assert _counted(16, [str(number) for number in range(16)]) == 0
    assert _counted(2, ["a", "b"], ["a", "a"]) == 1
    assert _counted(3, ["a", "b", "b"], ["a", "a", "a"]) == 1
    assert _counted(1, ["a"], ["b"]) == 0


def test_an_empty_response_is_not_a_sample() -> None:
    assert _counted(16, [""] * 16, [*[""] * 12, "a", "b", "c", "d"], [*[""] * 15, "a"]) == 0
    assert _counted(16, [*[""] * 8, *["a", "b"] * 4]) == 1


def test_thinking_is_part_of_a_text() -> None:
    samples = EqualSamples(4)
    for number in range(4):
        samples.add(0, f"thought {number}", "a")
        samples.add(1, "thought", "a")
    assert samples.problems == 1
