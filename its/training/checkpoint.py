"""Check a trained checkpoint: every parameter is there, every value is finite, something has changed.

The results are stored with the training and beside the model, and `generate` takes no checkpoint without them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from its.errors import DataError, RunError
from its.rows import read_json
from its.training.weights import Reading, Tensor, any_nonzero, called, differs, read_through, tensors_of

CHECK_VERSION = 1
SHOWN = 3
"""Faults of one kind that a message names; it counts the rest."""
_HEADS = ("lm_head.weight", "embed_out.weight")
"""Output layers that are not saved if the configuration ties them to the embedding."""
_BUFFERS = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias)")
"""Buffers computed from the configuration: old checkpoints contain them, today's do not."""
_SCALES = re.compile(
    r".*(_scale(_inv|_2)?|_zero_point|\.(scales|qzeros|g_idx)|\.SCB|\.(nested_)?(absmax|quant_map)|\.quant_state\..+)"
)
"""Scales of a base's quantized weights; unquantized weights are saved without them."""
_PREFIX_PARTS = 8
"""Most parts of a name that its class may have added as a prefix."""
_ZERO_START = (True, None, "gaussian", "true")
"""`init_lora_weights` of PEFT with which every B is zero before the first step."""


def check_weights(
    trained: Path, base: Path | None, cached: bool = False, unread: Sequence[str] = (), *, last: bool = True
) -> dict[str, Any]:
    """Check a saved model or adapter; returns the results, with the SHA-256 of its files of weights.

    Reads every byte of it, and as much of the base as needed to find a parameter that changed.

    Args:
        base: the folder of the model that was trained; None for a hub model that is not in the cache.
        cached: the folder is in the hub's cache and may contain only a part of the model.
        unread: patterns of tensors in the base that its class does not read, and so does not save.
        last: whether this is the end of the training, which must have changed something. After the first step of a
            warmup nothing has changed yet.

    Returns:
        {kind, files: {name: {bytes, sha256}}, tensors, values, compared, changed}. `compared` says with what its
        parameters were compared, or why they were not; `changed` names a parameter that training changed, and is None
        if that cannot be determined.

    Raises:
        DataError: if a file of weights is broken.
        RunError: if the model is invalid.
    """
    adapter = (trained / "adapter_config.json").is_file()
    tensors = tensors_of(trained)
    if not tensors:
        raise RunError(f"{trained}: the training saved no weights", "wanted: `*.safetensors`")
    below, compared = base_tensors(base, cached, unread)
    if adapter:
        settings = _adapter_settings(trained / "adapter_config.json")
        below = _renamed(below, {f"{module}.weight" for module in _halves(tensors)})
        faults = list(_adapter_faults(tensors, settings, below))
        known = settings.get("init_lora_weights", True) in _ZERO_START
        compared = f"the adapter's own configuration and {compared}" if below else f"its own configuration; {compared}"
    else:
        below = _renamed(below, tensors.keys())
        faults, known = list(_model_faults(tensors, below, trained, base)), bool(below)
    if faults:
        raise _invalid(trained, "is incomplete", faults)
    readings = {path.name: read_through(path) for path in sorted({tensor.file for tensor in tensors.values()})}
    if broken := _not_finite(tensors, readings):
        raise _invalid(
            trained, f"contains values that are not finite in {len(broken)} of {len(tensors)} tensors", broken
        )
    changed = None
    if known:
        changed, known = (_learned(tensors), True) if adapter else _changed(tensors, below)
        if not known:
            compared += "; whether one changed cannot be seen: their types differ too much"
    if known and changed is None and not last:
        compared += "; no parameter has changed yet"
    elif known and changed is None:
        hint = "is `train.learning_rate` too small for the type of the weights?"
        raise RunError(f"{trained}: training changed no parameter: all are equal to the base", hint)
    return {
        "kind": "adapter" if adapter else "model",
        "files": {
            name: {"bytes": (trained / name).stat().st_size, "sha256": found.sha256} for name, found in readings.items()
        },
        "tensors": len(tensors),
        "values": sum(math.prod(tensor.shape) for tensor in tensors.values()),
        "compared": compared,
        "changed": changed,
    }


def base_tensors(folder: Path | None, cached: bool, unread: Sequence[str] = ()) -> tuple[dict[str, Tensor], str]:
    """The tensors of the base and their description; {} and the reason if there are none. Arguments: `check_weights`.

    Raises:
        DataError: if a file of weights is broken and the folder is not a cache.
    """
    if folder is None or not folder.is_dir():
        return {}, "not compared with the base, which is in no folder here"
    try:
        tensors = tensors_of(folder, spare=True)
    except DataError:
        if not cached:
            raise
        return {}, "not compared with the base, of which the hub's cache holds a part"
    if not tensors:
        return {}, "not compared with the base, which has no safetensors files"
    read = {name: found for name, found in tensors.items() if not any(re.search(part, name) for part in unread)}
    left = f" ({len(tensors) - len(read)} more are not read by its class)" if len(read) < len(tensors) else ""
    if unknown := sorted({found.dtype for found in read.values() if found.foreign}):
        count = sum(found.foreign for found in read.values())
        left += f" ({count} are not compared, of a type that is not read: {', '.join(unknown)})"
    return read, f"{len(read)} tensors of the base{left}"


def _renamed(below: Mapping[str, Tensor], names: Set[str]) -> dict[str, Tensor]:
    """The tensors of the base by the names of the trained model, which may have one prefix more or less.

    A base that was saved by its inner class has `wte.weight`, and the trained model `transformer.wte.weight`. A name
    that is in both is not renamed.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for cut, add, outer, inner in (
        (0, 1, names - below.keys(), below.keys() - names),
        (1, 0, below.keys() - names, names - below.keys()),
    ):
        for name in outer:
            parts = name.split(".", _PREFIX_PARTS)
            for count in range(1, len(parts)):
                prefix = ".".join(parts[:count]) + "."
                if name[len(prefix) :] in inner:
                    counts[prefix * cut, prefix * add] += 1
    if not counts:
        return dict(below)
    (cut_off, added), _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
    out = {}
    for name, tensor in below.items():
        other = added + name.removeprefix(cut_off)
        fits = name not in names and name.startswith(cut_off) and other in names and other not in below
        out[other if fits else name] = tensor
    return out


def _model_faults(
    tensors: Mapping[str, Tensor], below: Mapping[str, Tensor], trained: Path, base: Path | None
) -> Iterator[str]:
    if not below or base is None:
        return
    own, old = _config(trained), _config(base)
    tied = bool(own.get("tie_word_embeddings", True))  # a value that is the class's default is not saved: Gemma's
    quantized = any(tensor.quantized for tensor in below.values())
    for name, tensor in below.items():
        found = tensors.get(name)
        if found is None:
            if not (_no_parameter(name, quantized) or (tied and name.endswith(_HEADS))):
                yield f"{called(name)} is missing"
        elif (tensor.whole or tensor.foreign) and found.dtype != tensor.dtype:
            continue  # packed in another shape
        elif found.shape != tensor.shape and not _resized(found, tensor, own, old):
            yield f"{called(name)} has the shape {list(found.shape)}, in the base {list(tensor.shape)}"


def _no_parameter(name: str, quantized: bool) -> bool:
    return bool(_BUFFERS.fullmatch(name) or (quantized and _SCALES.fullmatch(name)))


def _resized(found: Tensor, tensor: Tensor, own: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a parameter has one row per token, and the vocabulary grew, according to both configurations."""
    sizes = (own.get("vocab_size"), old.get("vocab_size"))
    return (found.shape[:1], tensor.shape[:1]) == ((sizes[0],), (sizes[1],)) and found.shape[1:] == tensor.shape[1:]


def _config(folder: Path) -> dict[str, Any]:
    """config.json; for a model with several parts, overlaid with the settings of its text part."""
    config = _table(folder / "config.json") if (folder / "config.json").is_file() else {}
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else dict(config)


def _table(path: Path) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: not a mapping", "the model was not saved completely")
    return table


def _adapter_settings(path: Path) -> dict[str, Any]:
    """adapter_config.json; the settings read here are checked to be as PEFT writes them.

    Raises:
        DataError: otherwise.
    """
    settings = _table(path)
    for key in ("target_modules", "modules_to_save"):
        value = settings.get(key)
        named = isinstance(value, list) and all(isinstance(name, str) for name in value)
        if not (value is None or named or (isinstance(value, str) and key == "target_modules")):
            raise DataError(f"{path}: `{key}` is {called(str(value))}", "wanted: module names; was it saved by PEFT?")
    if type(settings.get("r")) is not int:
        raise DataError(f"{path}: `r` is {called(str(settings.get('r')))}", "wanted: a rank; was it saved by PEFT?")
    return settings


def _halves(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The LoRA matrices A and B by module."""
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?", name):
            halves.setdefault(match[1], {})[match[2]] = tensor
    return halves


def _adapter_faults(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], below: Mapping[str, Tensor]
) -> Iterator[str]:
    """Faults of a LoRA adapter: each target needs a pair of the right shapes, and modules saved whole must be there."""
    halves = _halves(tensors)
    if not halves:
        yield "no target has a pair of LoRA matrices"
    for module in _targets(settings, below):
        if module not in halves:
            yield f"{called(module)} is a target and has no LoRA matrices"
    for module, pair in halves.items():
        if set(pair) != {"A", "B"}:
            yield f"{called(module)} has one of two LoRA matrices"
            continue
        rank = _of_module(settings.get("rank_pattern"), module, settings.get("r"))
        yield from _pair_faults(module, pair, rank, below.get(f"{module}.weight"))
    for name in settings.get("modules_to_save") or []:
        if not any(f".{name}." in f".{tensor}" for tensor in tensors):
            yield f"{called(name)} should be saved whole and is missing"


def _pair_faults(module: str, pair: Mapping[str, Tensor], rank: Any, weight: Tensor | None) -> Iterator[str]:
    first, second = pair["A"].shape, pair["B"].shape
    if len(first) < 2 or len(second) < 2 or rank not in (first[0], first[1]) or rank not in (second[0], second[1]):
        yield f"{called(module)} has LoRA matrices of {list(first)} and {list(second)}, and the rank is {rank}"
    elif weight is not None and len(weight.shape) == 2 and not (weight.whole or weight.foreign):  # else it is packed
        sizes = sorted([*first, *second])
        if sizes != sorted([rank, rank, *weight.shape]):
            yield f"{called(module)} has LoRA matrices of {list(first)} and {list(second)} over {list(weight.shape)}"


def _targets(settings: Mapping[str, Any], below: Mapping[str, Tensor]) -> list[str]:
    """Modules of the base that must have matrices, as PEFT matches names; [] if it uses rules not implemented here."""
    wanted = settings.get("target_modules")
    if any(
        settings.get(key) for key in ("layers_to_transform", "layers_pattern", "exclude_modules", "layer_replication")
    ):
        return []
    modules = [name.removesuffix(".weight") for name, tensor in below.items() if len(tensor.shape) == 2]
    if isinstance(wanted, str):
        try:
            pattern = re.compile(wanted)
        except (re.error, OverflowError, RecursionError):
            return []
        return [name for name in modules if pattern.fullmatch(name)]
    ends = tuple(f".{name}" for name in wanted or [])
    return [name for name in modules if f".{name}".endswith(ends)] if ends else []


def _of_module(pattern: Any, module: str, otherwise: Any) -> Any:
    """The rank of a module in `rank_pattern`: the first entry that ends its name, or matches it."""
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        try:
            if re.fullmatch(rf"(.*\.)?({key})", module):
                return value
        except (re.error, OverflowError, RecursionError):
            continue
    return otherwise


def _learned(tensors: Mapping[str, Tensor]) -> str | None:
    """A matrix B that is no longer zero."""
    names = [name for name in tensors if re.search(r"\.lora_(embedding_)?B(\.weight)?$", name)]
    return next((name for name in names if any_nonzero(tensors[name])), None)


def _changed(tensors: Mapping[str, Tensor], below: Mapping[str, Tensor]) -> tuple[str | None, bool]:
    """A parameter that differs from the base's, and whether all could be compared.

    One that merely grew does not count, nor does a buffer or integers, which no gradient moves.
    """
    seen, quantized = True, any(tensor.quantized for tensor in below.values())
    for name, tensor in below.items():
        found = tensors.get(name)
        if found is None or found.whole or _no_parameter(name, quantized):
            continue
        if tensor.whole or tensor.foreign:
            seen = False
        elif found.shape == tensor.shape:
            if different := differs(found, tensor):
                return name, True
            seen = seen and different is not None
    return None, seen


def _not_finite(tensors: Mapping[str, Tensor], readings: Mapping[str, Reading]) -> list[str]:
    return [
        f"{called(name)} in {count} of {math.prod(tensors[name].shape)} values"
        for reading in readings.values()
        for name, count in reading.not_finite.items()
    ]


def _invalid(trained: Path, what: str, faults: list[str]) -> RunError:
    more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return RunError(
        f"{trained}: the trained model {what}: {'; '.join(faults[:SHOWN])}{more}",
        "it is not used; lower `train.learning_rate` if values are not finite, else see the training's log",
    )
