"""The sizes of a model that its memory and its speed depend on, from its `config.json` or from a stated table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from its.shown import quoted

GATED = frozenset(
    ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "gemma2", "gemma3_text", "olmo2", "granite")
)
"""Values of `model_type` with the layers that the formulas are of: attention, then a gated MLP, without experts."""
LARGEST = 10**7


@dataclass(frozen=True)
class Architecture:
    """A dense decoder with gated MLPs. `source` is where the sizes are from, as a sentence names it."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether the input embedding is the output matrix."""
    source: str = ""

    @property
    def embedding(self) -> int:
        """Parameters of one embedding."""
        return self.vocabulary * self.hidden

    @property
    def linear(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the linear modules of one layer: q, k, v, o, gate, up, down."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        h, f = self.hidden, self.intermediate
        return (h, queries), (h, keys), (h, keys), (queries, h), (h, f), (h, f), (f, h)

    @property
    def layer(self) -> int:
        """Parameters of one layer, without biases: below 0.1 % of those of the models in use."""
        return sum(inputs * outputs for inputs, outputs in self.linear) + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer + (1 if self.tied else 2) * self.embedding + self.hidden

    @property
    def multiplied(self) -> int:
        """Parameters that each token is multiplied with: all but a separate input embedding."""
        return self.layers * self.layer + self.embedding


_QWEN_32B = (64, 5120, 27648, 40, 8, 128, 152064, False)
KNOWN: Mapping[str, tuple[int, int, int, int, int, int, int, bool]] = {
    "Qwen/Qwen2.5-32B-Instruct": _QWEN_32B,
    "Qwen/Qwen2.5-7B-Instruct": (28, 3584, 18944, 28, 4, 128, 152064, False),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": _QWEN_32B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (28, 1536, 8960, 12, 2, 128, 151936, False),
    "Qwen/Qwen3-0.6B": (28, 1024, 3072, 16, 8, 128, 151936, True),
    "SmolLM2-135M-Instruct": (30, 576, 1536, 9, 3, 64, 49152, True),
    "gemma-3-270m": (18, 640, 2048, 4, 1, 256, 262144, True),
}
"""Models of the shipped recipes, from their `config.json` on the hub; used only where no `config.json` is here."""
_ALSO = {"gemma-3-270m-it": "gemma-3-270m"}
_FILE = re.compile(r"(?:[.-](?:i?q[0-9]\w*|bf16|f16|f32))?\.gguf(?:\.part[0-9]+)?$")
"""What a GGUF file's name has behind the model's: its quantization, the ending, the number of a part."""


def known_architecture(name: str) -> Architecture | None:
    """The architecture of a model of the table, by its hub id or the name of its GGUF file, of any owner or folder.

    The whole name counts: what only begins like one of the table may be a model of any size.
    """
    called = _FILE.sub("", name.rpartition("/")[2].lower())
    for known, sizes in KNOWN.items():
        if _ALSO.get(called, called) == known.rpartition("/")[2].lower():
            return Architecture(*sizes, source=f"the table of docs/plan.md ({known})")
    return None


def read_architecture(config: Any, source: str) -> Architecture | str:
    """The architecture that a `config.json` declares, or why it is not known, as a clause.

    The file is foreign: each number is checked before it is used.
    """
    if not isinstance(config, Mapping):
        return "its config.json is not an object"
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in GATED:
        return f"there are no formulas for `model_type: {quoted(kind, 40)}`"
    if any("expert" in key for key in map(str, config) if config[key]):
        return "there are no formulas for a mixture of experts"
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    derived = hidden // heads if _size(hidden) and _size(heads) else None
    sizes = {
        "num_hidden_layers": config.get("num_hidden_layers"),
        "hidden_size": hidden,
        "intermediate_size": config.get("intermediate_size"),
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or derived,
        "vocab_size": config.get("vocab_size"),
    }
    if wrong := [name for name, value in sizes.items() if not _size(value)]:
        return f"its config.json has no whole number from 1 to {LARGEST:,} as `{wrong[0]}`"
    tied = config.get("tie_word_embeddings", kind.startswith("gemma"))
    if type(tied) is not bool:
        return "`tie_word_embeddings` in its config.json is neither true nor false"
    layers, width, intermediate, queries, keys, dimension, vocabulary = (int(value or 0) for value in sizes.values())
    return Architecture(layers, width, intermediate, queries, keys, dimension, vocabulary, tied, source)


def _size(value: Any) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= LARGEST
