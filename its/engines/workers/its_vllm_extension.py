"""An extension of each vLLM worker process that swaps in other weights, exactly or not at all.

vLLM mixes the class into its worker (`worker_extension_cls`), on each rank of a tensor- or pipeline-parallel engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class WeightSwap:
    """A mix-in for vLLM's worker; `self` is the worker."""

    def its_swap(self, path: str) -> str | None:
        """Load the checkpoint in `path` over the model; None if every parameter came from it, else what did not.

        vLLM 0.32's `reload_weights` only warns where a parameter is not in the checkpoint, and on a CPU leaves the
        output layer of a model with tied embeddings as it was: the layer shares its weight with the embedding, which
        is reloaded, but computes with a packed copy of the former one. Measured on SmolLM2-135M: 46 of 60 greedy
        outputs equal those of a fresh engine; with the copy rebuilt, 60 of 60.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

        worker: Any = self
        if worker.vllm_config.model_config.quantization is not None:
            return "they are quantized"
        model = worker.model_runner.get_model()
        loaded: set[str] = set()
        original = model.load_weights

        def load_weights(weights: Iterable[tuple[str, Any]]) -> set[str] | None:
            names: set[str] | None = original(weights)
            loaded.update(names or ())
            return names

        model.load_weights = load_weights
        try:
            worker.reload_weights(weights_path=path)
        finally:
            del model.load_weights  # the class's own again
        # A tied parameter is listed once, under the name of the embedding.
        wanted = {name.replace(".base_layer.", ".") for name, _ in model.named_parameters() if ".lora_" not in name}
        if missing := sorted(wanted - loaded):
            return f"{len(missing)} parameters did not come from {path}: {', '.join(missing[:3])}"
        modules = [getattr(module, "base_layer", module) for module in model.modules()]
        tables = [item for item in modules if isinstance(item, VocabParallelEmbedding)]
        embeddings = {item.weight.data_ptr() for item in tables if not isinstance(item, ParallelLMHead)}
        for head in tables:
            if isinstance(head, ParallelLMHead) and head.weight.data_ptr() in embeddings:
                head.quant_method.process_weights_after_loading(head)
        return None
