"""The memory of one GPU in a training, part by part, at each of the moments at which it may peak."""

from __future__ import annotations

from dataclasses import dataclass

from its.plan.architecture import Architecture
from its.plan.settings import Memory

CONTEXT = 1_500_000_000
"""Bytes of CUDA's context, its libraries' workspaces and NCCL's buffers on a GPU; an assumption."""
LOGIT_BYTES = 12
"""Bytes of a logit at the peak of a plain loss: log-probabilities, their gradient, that of the logits, in float32."""
ADAPTER_BYTES = 16
"""Bytes of a parameter of an adapter: weight, gradient and both states in float32."""


@dataclass(frozen=True)
class Parts:
    """Bytes of one GPU at its peak.

    Args:
        states: weights, gradients and optimizer states.
        gathered: weights and gradients that are whole for a moment under ZeRO-3.
        activations: what is kept for the backward pass.
        working: the layer that is computed, with its gradients.
        loss: logits and their gradient, or what a fused loss keeps.
        context: CUDA itself; 0 on a CPU.
        host: bytes on the host for one GPU: what is offloaded.
        moment: where the peak is: `loss`, `backward` or `step`.
    """

    states: int
    gathered: int
    activations: int
    working: int
    loss: int
    context: int
    host: int
    moment: str

    @property
    def total(self) -> int:
        return self.states + self.gathered + self.activations + self.working + self.loss + self.context


def training_memory(model: Architecture, settings: Memory, *, gpu: bool = True) -> Parts:
    """The largest of the moments of a step.

    Args:
        gpu: whether CUDA's own memory is counted.
    """
    tokens = -(-settings.rows * settings.length // settings.shared)
    static, gradients, host = _states(model, settings)
    kept, layer, final = _activations(model, settings, tokens)
    if settings.offload_activations:  # of the layers' inputs; the final norm is in no checkpoint
        host += kept
        kept = min(kept, 2 * layer_input(model, settings, tokens))  # one that is used, one on its way
    kept += final
    gathered, head = _gathered(model, settings)
    loss = _loss(model, settings, tokens)
    context = CONTEXT if gpu else 0
    # Gradients are there in the loss only if they are kept between micro batches, or are a partition's buffer.
    before = gradients if settings.accumulates or settings.stage >= 2 else 0
    grads_of_one = 3 * tokens * model.intermediate * settings.number
    working = layer + grads_of_one if settings.checkpointing else grads_of_one
    # Of 8-bit states, one module's are dequantized at a time; AdamW's loop of torch has two temporaries of a tensor.
    largest = max(model.embedding, model.hidden * model.intermediate)
    step = 2 * largest * 4 // (settings.devices if settings.stage else 1)
    step = 0 if settings.adapter is not None else step
    moments = [
        Parts(static + before, gathered + head, kept, 0, loss, context, host, "loss"),
        Parts(static + gradients, gathered, kept, working, 0, context, host, "backward"),
        Parts(static + gradients, 0, 0, step, 0, context, host, "step"),
    ]
    return max(moments, key=lambda parts: parts.total)


def adapter_parameters(model: Architecture, rank: int) -> int:
    """Parameters of an adapter of that rank on all linear modules of the layers."""
    return model.layers * sum(rank * (inputs + outputs) for inputs, outputs in model.linear)


def optimizer_bytes(model: Architecture, settings: Memory) -> int:
    """Bytes of the optimizer's states of full fine-tuning on all GPUs together, with its float32 weights."""
    count, sharded = model.parameters, settings.stage > 0 and settings.number == 2
    own = 4 if sharded else 0  # the float32 weights that a sharded optimizer keeps
    if settings.optimizer == "8bit":
        return count * (2 + own)
    return count * (8 + own if sharded or settings.number == 4 else 4)  # else in the format of the weights


def layer_input(model: Architecture, settings: Memory, tokens: int) -> int:
    """Bytes of the input of one layer."""
    return tokens * model.hidden * settings.number


def layer_bytes(model: Architecture, number: int, *, eager_length: int = 0) -> int:
    """Bytes that one layer keeps of each token for its backward pass.

    Both norms keep what they normalise in float32, its normalised form and their result; attention its queries, keys
    and values, its result twice (as the kernel and as the projection read it) and a float32 sum; the MLP both
    projections, the activation and the product.

    Args:
        eager_length: length of the row if the attention matrix is kept; 0 for a flash kernel.
    """
    norms = 2 * model.hidden * (8 if number == 2 else 12)
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    attention = number * (queries + 2 * keys + 2 * queries) + 4 * model.heads
    attention += eager_length * model.heads * (4 + 2 * number)
    return norms + attention + 4 * number * model.intermediate


def _states(model: Architecture, settings: Memory) -> tuple[int, int, int]:
    """(weights and optimizer states, gradients, on the host), in bytes."""
    count = model.parameters

    def share(part: int, needed: int) -> int:
        return -(-part // settings.devices) if settings.stage >= needed else part

    if settings.adapter is not None:
        own = adapter_parameters(model, settings.adapter)
        embeddings = (1 if model.tied else 2) * model.embedding * settings.number
        # With 4 bits, half a byte and the constants of the blocks; embeddings are not quantized.
        bits = {4: 0.55, 8: 1.0}.get(settings.quantized, float(settings.number))
        base = int(model.layers * model.layer * bits) + embeddings
        return share(base, 3) + own * (ADAPTER_BYTES - 4) + _buckets(settings, own * 4), own * 4, 0
    weights, gradients = count * settings.number, count * settings.number
    states = share(optimizer_bytes(model, settings), 1)
    on_host = states if settings.offload_optimizer else 0
    return share(weights, 3) + states - on_host + _buckets(settings, gradients), share(gradients, 2), on_host


def _buckets(settings: Memory, gradients: int) -> int:
    """Bytes of the buckets in which several GPUs without ZeRO or FSDP sum gradients: as many again, from the start.

    DistributedDataParallel keeps them beside the gradients unless `gradient_as_bucket_view` is set, which neither
    Axolotl 0.19 nor transformers 5.16 does.
    """
    return gradients if settings.devices > 1 and not settings.stage else 0


def _activations(model: Architecture, settings: Memory, tokens: int) -> tuple[int, int, int]:
    """(kept by all layers, kept by one while it is computed again, kept by the final norm), in bytes."""
    eager = settings.length if settings.eager else 0
    layer = tokens * layer_bytes(model, settings.number, eager_length=eager)
    final = tokens * model.hidden * (8 if settings.number == 2 else 12)
    if settings.checkpointing:
        return model.layers * layer_input(model, settings, tokens), layer, final
    return model.layers * layer, layer, final


def _loss(model: Architecture, settings: Memory, tokens: int) -> int:
    """Logits with their gradients; a fused loss keeps its input's gradient and one block of logits of that size."""
    if settings.loss == "plain":
        return tokens * model.vocabulary * LOGIT_BYTES
    return 3 * layer_input(model, settings, tokens)


def _gathered(model: Architecture, settings: Memory) -> tuple[int, int]:
    """(whole weights at any time, the whole gradient of the output matrix), in bytes, beyond the states."""
    trained = settings.adapter is None and (settings.stage == 3 or settings.loss == "fused")
    head = model.embedding * settings.number if trained else 0
    if settings.stage < 3:
        return 0, head
    largest = max(model.embedding, 2 * model.layer, min(settings.live, model.parameters))
    return largest * settings.number, head
