"""Streams: no result can be read before it is whole."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from its.streams import Stream, streamed


@streamed
def _counted(size: int, broken_at: int | None = None) -> Generator[int, None, list[int]]:
    seen = []
    for number in range(size):
        if number == broken_at:
            raise ValueError("broken")
        seen.append(number)
        yield number
    return seen


@pytest.mark.parametrize("taken", range(4))
def test_a_result_is_there_once_the_last_item_was_taken(taken: int) -> None:
    stream = _counted(3)
    for _ in range(taken):
        next(stream)
    with pytest.raises(RuntimeError, match="before its last item"):
        _ = stream.result
    assert list(stream) == [0, 1, 2][taken:]
    assert (stream.result, stream.taken) == ([0, 1, 2], 3)
    assert list(stream) == [] and stream.result == [0, 1, 2]


def test_a_stream_that_failed_has_no_result_however_often_it_is_asked() -> None:
    stream = _counted(3, broken_at=1)
    with pytest.raises(ValueError, match="broken"):
        list(stream)
    assert list(stream) == []
    with pytest.raises(RuntimeError, match="before its last item"):
        _ = stream.result


def test_an_empty_stream_has_a_result() -> None:
    empty: Stream[int, list[int]] = _counted(0)
    assert (list(empty), empty.result) == ([], [])
