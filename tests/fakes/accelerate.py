"""A stand-in for what the plugins take from accelerate."""

from __future__ import annotations

from typing import Any


class PartialState:
    """Forgets what it is told."""

    def __init__(self, **kwargs: Any) -> None:
        pass
