"""Convert a GGUF file to a folder that vLLM and Axolotl load (training environment: transformers 5.16 and gguf).

    python convert_gguf.py SPEC.json

SPEC: {gguf, output, dtype, special_tokens: {bos, eos, pad, unk}, chat_template, context_length}. transformers 5.19
keeps GGUF tensors packed and refuses to save them, so this must run on 5.16. Imports nothing of `its`.

What the file says about itself decides how its tokenizer is built. A file whose tokenizer or settings are not known
here is refused (exit code 3, the reason is in `refused.txt` in the output folder): a model with almost the right
tokenizer answers, badly, and nothing else would show it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REFUSED = 3
"""Exit code for a file that is not converted because the result could be wrong."""
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of tokens in a GGUF file, those of sentencepiece."""
UNREAD = frozenset({"attention.value_length", "rope.dimension_count"})
"""Settings of a model that transformers need not read: both repeat the size of a head (compared below)."""


class Refusal(Exception):
    """Why a file is not converted."""


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        convert(spec)
    except Refusal as refusal:
        (Path(spec["output"]) / "refused.txt").write_text(str(refusal), encoding="utf-8")
        return REFUSED
    return 0


def convert(spec: Mapping[str, Any]) -> None:
    from transformers import AutoModelForCausalLM
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    gguf = Path(spec["gguf"])
    special = spec["special_tokens"]
    fields = metadata(gguf)
    build = tokenizer_builder(fields)
    check_settings(fields, GGUF_CONFIG_MAPPING)
    model, loading = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=_dtype(spec["dtype"]), output_loading_info=True
    )
    check_weights(loading)
    check_attention(model.config)
    tokenizer = build(gguf, fields)

    # The converter reads SmolLM2's eos as <|im_start|> and leaves pad out; Axolotl would then never train the end of
    # turn. Gemma's file names <eos>, which ends a document and not a turn.
    for name, token in special.items():
        setattr(tokenizer, f"{name}_token", token)
    tokenizer.model_max_length = spec["context_length"]
    if spec["chat_template"] is not None:
        tokenizer.chat_template = spec["chat_template"]

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in special.items()}
    for holder in (model.config, model.generation_config):
        for name in ids.keys() & {"bos", "eos", "pad"}:
            setattr(holder, f"{name}_token_id", ids[name])

    output = Path(spec["output"])
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)


def metadata(gguf: Path) -> dict[str, Any]:
    """All values of a GGUF file by name, without its tensors."""
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(gguf).fields.items()}


def tokenizer_builder(fields: Mapping[str, Any]) -> Callable[[Path, Mapping[str, Any]], Any]:
    """How the tokenizer of a file is built, by the kind and the pre-tokenizer that it names; others are refused."""
    kind, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    if (kind, split) not in TOKENIZERS:
        known = ", ".join(f"`{kind}` with `{split}`" for kind, split in TOKENIZERS)
        raise Refusal(
            f"the file's tokenizer is `{kind}` with the pre-tokenizer `{split}`; known are {known}; "
            "another one would be converted almost right"
        )
    if kind == "llama":
        check_sentencepiece(fields)
    return TOKENIZERS[kind, split]


def check_settings(fields: Mapping[str, Any], mapping: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a file with a setting of the model that transformers would not read, such as a scaling of positions.

    Args:
        mapping: by architecture, the settings that transformers reads.
    """
    architecture = str(fields.get("general.architecture"))
    read = mapping.get(architecture)
    if read is None:
        raise Refusal(f"transformers does not read files of the architecture `{architecture}`")
    prefix = f"{architecture}."
    own = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
    if unread := sorted(own.keys() - read.keys() - UNREAD):
        raise Refusal(f"transformers does not read these settings of the file: {', '.join(unread)}")
    heads = own["attention.head_count"]
    size = own.get("attention.key_length", own["embedding_length"] // heads if isinstance(heads, int) else None)
    for name in sorted(UNREAD & own.keys()):
        if own[name] != size:
            raise Refusal(f"`{prefix}{name}` is {own[name]}, but a head has {size}; transformers knows one size")


def check_weights(loading: Mapping[str, Any]) -> None:
    """Refuse a model some of whose weights were not in the file (they would be random) or had no place in it."""
    wrong = {name: sorted(map(str, names)) for name, names in loading.items() if names}
    if wrong:
        raise Refusal(f"the weights of the file and of the model differ: {str(wrong)[:2000]}")


def check_attention(config: Any) -> None:
    """Refuse a Gemma whose queries are not scaled by the size of a head (27B): the file does not have the number."""
    scalar = getattr(config, "query_pre_attn_scalar", None)
    if scalar is not None and scalar != config.head_dim:
        raise Refusal(f"queries would be scaled by {scalar}, but a head has {config.head_dim}")


def check_sentencepiece(fields: Mapping[str, Any]) -> None:
    """Refuse what the conversion of a sentencepiece model leaves out: a space before the text, normalization."""
    # llama.cpp takes an absent value of the first as true.
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        raise Refusal("the file's tokenizer puts a space before each text (`add_space_prefix`), which is not converted")
    if fields.get("tokenizer.ggml.remove_extra_whitespaces", False):
        raise Refusal("the file's tokenizer removes spaces (`remove_extra_whitespaces`), which is not converted")
    if len(fields.get("tokenizer.ggml.precompiled_charsmap", ())):
        raise Refusal("the file's tokenizer normalizes characters (`precompiled_charsmap`), which is not converted")


def smollm(gguf: Path, fields: Mapping[str, Any]) -> Any:
    """SmolLM's byte-level BPE. Its pre-tokenizer splits numbers into digits; that of transformers does not."""
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece(gguf: Path, fields: Mapping[str, Any]) -> Any:
    """A BPE of sentencepiece, from the pieces, scores and types of the file.

    transformers 5.16 makes a Unigram model of Gemma's, which splits most texts otherwise, and takes neither
    <start_of_turn> nor runs of line ends as tokens.
    """
    from transformers import PreTrainedTokenizerFast

    names = {f"{name}_token": token for name, token in named_tokens(fields).items()}
    backend = sentencepiece_backend(fields)
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **names)


def named_tokens(fields: Mapping[str, Any]) -> dict[str, str]:
    """The tokens that a file names: bos, eos, pad, unk, as far as it has them."""
    keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    found = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    return {name: fields["tokenizer.ggml.tokens"][index] for name, index in found.items() if index is not None}


def sentencepiece_backend(fields: Mapping[str, Any]) -> Any:
    """The tokenizer itself: it gives the ids of sentencepiece, and takes control tokens in a text as such."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    pieces, types, names = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], named_tokens(fields)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = bpe_merges(pieces, fields["tokenizer.ggml.scores"], types)
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=names.get("unk"), fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    for special, kind in ((True, CONTROL), (False, USER_DEFINED)):
        # Found in the text itself, the longest first, before anything is merged: as sentencepiece does.
        tokens = [AddedToken(piece, normalized=False, special=special) for piece in _of_type(pieces, types, kind)]
        (backend.add_special_tokens if special else backend.add_tokens)(tokens)
    begin = [names["bos"]] if fields.get("tokenizer.ggml.add_bos_token") else []
    end = [names["eos"]] if fields.get("tokenizer.ggml.add_eos_token") else []
    second = [f"{token}:1" for token in (*begin, "$B", *end)]
    backend.post_processor = processors.TemplateProcessing(
        single=[*begin, "$A", *end],
        pair=[*begin, "$A", *end, *second],
        special_tokens=[(token, vocabulary[token]) for token in {*begin, *end}],
    )
    return backend


def _of_type(pieces: list[str], types: list[int], kind: int) -> list[str]:
    return [piece for piece, found in zip(pieces, types, strict=True) if found == kind]


def bpe_merges(pieces: list[str], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """The merges of a sentencepiece BPE, the first to apply first: two pieces merge if their text is a piece.

    The best score wins there, of the resulting piece, whichever two pieces it is made of.
    """
    normal = {piece: score for piece, score, kind in zip(pieces, scores, types, strict=True) if kind == NORMAL}
    ordered = sorted(normal, key=lambda piece: -normal[piece])
    return [
        (piece[:cut], piece[cut:])
        for piece in ordered
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]


TOKENIZERS: dict[tuple[Any, Any], Callable[[Path, Mapping[str, Any]], Any]] = {
    ("gpt2", "smollm"): smollm,
    ("llama", "default"): sentencepiece,
}
"""By `tokenizer.ggml.model` and `tokenizer.ggml.pre` of a file."""


if __name__ == "__main__":
    sys.exit(main())
