"""Work in steps: a generator that yields requests and is sent their responses, whoever requests them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias, TypeVar

from its.engines.protocol import Completion, Request

Answer: TypeAlias = tuple[Request, str, Completion]
"""A request, the store key of its response, and the response."""
Batch = TypeVar("Batch")
Result = TypeVar("Result")
Steps: TypeAlias = Generator[Batch, Iterable[Answer], Result]


def run_steps(steps: Steps[Batch, Result], ask: Callable[[Batch], Iterable[Answer]]) -> Result:
    """The result of the steps, with the answers that `ask` gives to each batch, in the order of its requests."""
    try:
        batch = next(steps)
        while True:
            batch = steps.send(ask(batch))
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()
