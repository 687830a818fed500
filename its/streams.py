"""Items one by one, and a result that is there only once the last of them was taken."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import wraps
from typing import Generic, ParamSpec, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class Stream(Iterator[Item], Generic[Item, Result]):
    """The items of a generator, and the value that it returns.

    Attributes:
        taken: how many items were taken so far.
    """

    def __init__(self, items: Generator[Item, None, Result]) -> None:
        self._items = items
        self._running = True
        self._result: tuple[Result] | None = None
        self.taken = 0

    def __next__(self) -> Item:
        try:
            item = next(self._items)
        except StopIteration as end:
            if self._running:
                self._running, self._result = False, (end.value,)
            raise
        except BaseException:
            self._running = False
            raise
        self.taken += 1
        return item

    @property
    def result(self) -> Result:
        """What the generator returned.

        Raises:
            RuntimeError: before the last item was taken, or if an item failed: there is no result then.
        """
        if self._result is None:
            raise RuntimeError("a stream has no result before its last item was taken")
        return self._result[0]


def streamed(
    function: Callable[Parameters, Generator[Item, None, Result]],
) -> Callable[Parameters, Stream[Item, Result]]:
    """Let a generator function return a `Stream`, so that its return value is not lost in a `for` loop."""

    @wraps(function)
    def stream(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Stream[Item, Result]:
        return Stream(function(*args, **kwargs))

    return stream
