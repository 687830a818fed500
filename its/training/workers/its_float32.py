"""Axolotl plugin that takes back the bf16 autocast which `its_axolotl` asks for on a CPU: float32 throughout.

Loaded after it, for a model whose `dtype` is not bfloat16. Runs in the training environment and imports nothing of
`its`. A file of its own, since the bytes of `its_axolotl.py` are part of the key of every training, on GPUs too.
"""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin


class NoAutocast(BasePlugin):
    """See the module's docstring."""

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        return {"bf16": False}  # the last of several plugins decides (Axolotl 0.19, `PluginManager.get_training_args`)
