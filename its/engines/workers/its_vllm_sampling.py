"""A request's sampling as vLLM's `SamplingParams`, for the engine and for the check of a recipe.

Runs in the engine environment; imports nothing of `its`, and vLLM only when it is needed.
"""

from __future__ import annotations

import typing
from functools import cache
from typing import Any

BUDGET = "thinking_token_budget"
"""vLLM's name for `thinking_budget`."""


def parameters(sampling: dict[str, Any], seed: int) -> Any:
    """`SamplingParams` of one request.

    What a recipe names as settings of its own, and the seed, win over `extra`.

    Args:
        sampling: as a request carries it; `thinking_marks` concern the engine, not its requests.

    Raises:
        TypeError: if vLLM has no such setting.
        Exception: one of `refusals`, in vLLM's words, if a value is not valid.
    """
    from vllm import SamplingParams

    given = {name: value for name, value in sampling.items() if name not in ("extra", "thinking_marks")}
    if "thinking_budget" in given:
        given[BUDGET] = given.pop("thinking_budget")
    # JSON has no integers for keys and no classes; `SamplingParams` converts nothing itself.
    extra = {name: converted(name, value) for name, value in sampling.get("extra", {}).items()}
    return SamplingParams(**{**extra, **given, "seed": seed})


def refusals() -> tuple[type[Exception], ...]:
    """The errors with which vLLM refuses one request: its own are not `ValueError`, those of its libraries are."""
    from vllm.exceptions import VLLMClientError

    return (ValueError, VLLMClientError)


def converted(name: str, value: Any) -> Any:
    """A value from a recipe as the class that vLLM declares for the setting; unknown settings as they are."""
    adapter = _adapter(name)
    return value if adapter is None else adapter.validate_python(value)


@cache
def types() -> dict[str, Any]:
    """The settings of `SamplingParams` that a request may carry -> their declared types."""
    from vllm import SamplingParams

    hints = typing.get_type_hints(SamplingParams, include_extras=True)
    return {name: hints[name] for name in SamplingParams.__struct_fields__ if not name.startswith("_")}


@cache
def _adapter(name: str) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    if name not in types():
        return None
    try:
        return TypeAdapter(types()[name], config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a class with its own configuration accepts no other
        return TypeAdapter(types()[name])
