"""What the plugins of ITS derive from, with the hooks that the stand-in calls (Axolotl 0.19)."""

from __future__ import annotations

from typing import Any


class BasePlugin:
    def __init__(self) -> None: ...

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None: ...

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return []
