"""Tiny models of real families: their architecture, kind of tokenizer and special tokens, with random weights.

A tokenizer has the marks of its family with their real flags (DeepSeek's `<think>` and `<｜User｜>` are not special,
Phi-3.5's marks swallow the white space behind them, Llama's adds its own first token) and a few hundred pieces trained
here. The weights are random, so what such a model says means nothing; what it is sent and trained on is exact.
"""

# ruff: noqa: RUF001, RUF002 - the bars in DeepSeek's tokens

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from its.environments import Environment, environment_variables

WORKER = Path(__file__).parent / "workers" / "make_tiny_weights.py"
PIECES = 320
HIDDEN, HEADS, LAYERS = 64, 2, 2  # heads of 32: the smallest that vLLM's attention on a CPU takes

# As in the tokenizers of GPT-4 and Llama 3. Qwen's takes digits one by one, and transformers 5 makes it so for each
# model of that architecture, whatever its tokenizer.json says.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT = (
    "Let's see. What is the sum of two numbers? It is the number of apples in the basket, so the answer is 12.\n\n"
    "The final answer is \\boxed{36}. You are a teacher who thinks about the problem step by step.\n"
    "If $x + 3 = 7$ then $x = 4$, because 7 - 3 = 4. Wait, check that again: 4 + 3 = 7.\n"
)


@dataclass(frozen=True)
class TinyModel:
    """What a family's models have in common.

    Args:
        architecture: the model type of transformers, with `config` laid over the tiny sizes.
        kind: `bytes` for BPE of bytes, `qwen` for that of Qwen; `spm` for SentencePiece with spaces as `▁` and bytes as
            fallback; `prefixed` for SentencePiece that puts a `▁` before each text, as Llama 2's.
        special, plain: added tokens that are special, and those that are not.
        bos, eos, pad: the named tokens; `eos` ends a turn.
        first: whether the tokenizer itself puts `bos` before a text, which a chat template does too.
        swallows: tokens that take the white space behind them.
    """

    architecture: str
    kind: Literal["bytes", "qwen", "spm", "prefixed"]
    special: Sequence[str]
    eos: str
    pad: str
    plain: Sequence[str] = ()
    bos: str | None = None
    first: bool = False
    swallows: bool = False
    tokenizer_class: str = "PreTrainedTokenizerFast"
    config: dict[str, Any] = field(default_factory=dict)


_THINK = ("<think>", "</think>")
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_R1 = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
_R1_PLAIN = ("<｜User｜>", "<｜Assistant｜>", *_THINK)
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_MISTRAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
_PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

TINY = {
    "smollm2": TinyModel("llama", "bytes", _CHATML, "<|im_end|>", "<|endoftext|>", tokenizer_class="GPT2Tokenizer"),
    "qwen2_5": TinyModel("qwen2", "qwen", _CHATML, "<|im_end|>", "<|endoftext|>", tokenizer_class="Qwen2Tokenizer"),
    "qwen3": TinyModel(
        "qwen3",
        "qwen",
        _CHATML,
        "<|im_end|>",
        "<|endoftext|>",
        _THINK,
        tokenizer_class="Qwen2Tokenizer",
        config={"head_dim": 32},
    ),
    "r1_qwen": TinyModel(
        *("qwen2", "qwen", _R1, _R1[1], _R1[1], _R1_PLAIN, _R1[0]), first=True, tokenizer_class="LlamaTokenizerFast"
    ),
    "r1_llama": TinyModel(*("llama", "bytes", _R1, _R1[1], _R1[1], _R1_PLAIN, _R1[0]), first=True),
    "llama3": TinyModel(
        *("llama", "bytes", (*_LLAMA, "<|finetune_right_pad_id|>"), "<|eot_id|>", "<|finetune_right_pad_id|>"),
        bos="<|begin_of_text|>",
        first=True,
    ),
    "gemma3": TinyModel(
        *("gemma3_text", "spm", ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")),
        *("<end_of_turn>", "<pad>"),
        bos="<bos>",
        first=True,
        tokenizer_class="GemmaTokenizer",
        config={"head_dim": 32, "sliding_window": 64, "query_pre_attn_scalar": 32},
    ),
    "mistral": TinyModel(
        *("mistral", "spm", _MISTRAL, "</s>", "<unk>"),
        bos="<s>",
        first=True,
        tokenizer_class="LlamaTokenizer",
        config={"sliding_window": None, "head_dim": 32},
    ),
    "mistral_v7": TinyModel(
        *("mistral", "bytes", (*_MISTRAL, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<pad>"), "</s>", "<pad>"),
        bos="<s>",
        first=True,
        config={"sliding_window": None, "head_dim": 32},
    ),
    "phi4": TinyModel(
        *("phi3", "bytes", (*_CHATML, "<|im_sep|>"), "<|im_end|>", "<|endoftext|>"), tokenizer_class="GPT2Tokenizer"
    ),
    "phi4_mini": TinyModel("phi3", "bytes", _PHI, "<|end|>", "<|endoftext|>", tokenizer_class="GPT2Tokenizer"),
    "phi3_5": TinyModel(
        *("phi3", "prefixed", ("<unk>", "<s>", "</s>", *_PHI), "<|end|>", "<|endoftext|>"),
        bos="<s>",
        swallows=True,
        tokenizer_class="LlamaTokenizer",
    ),
    "smollm3": TinyModel("smollm3", "bytes", _CHATML, "<|im_end|>", "<|endoftext|>", _THINK),
}


def make_models(names: Iterable[str], folder: Path, environment: Environment, templates: dict[str, str]) -> None:
    """Write `folder/NAME` for each, as the family's own models are laid out.

    Args:
        environment: that of Axolotl, whose transformers makes the weights.
        templates: the model's own chat template by name.
    """
    specs = []
    for name in names:
        model, path = TINY[name], folder / name
        path.mkdir(parents=True)
        tokenizer = make_tokenizer(model)
        tokenizer.save(str(path / "tokenizer.json"))
        named = {"bos_token": model.bos, "eos_token": model.eos, "pad_token": model.pad}
        settings = {"tokenizer_class": model.tokenizer_class, "model_max_length": 4096}
        settings |= {key: token for key, token in named.items() if token is not None}
        if "<unk>" in model.special:
            settings["unk_token"] = "<unk>"
        (path / "tokenizer_config.json").write_text(json.dumps(settings | {"clean_up_tokenization_spaces": False}))
        (path / "chat_template.jinja").write_text(templates[name], encoding="utf-8")
        heads = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS}
        config = {
            **{"vocab_size": tokenizer.get_vocab_size(), "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, **heads},
            **{"intermediate_size": 128, "max_position_embeddings": 2048, "tie_word_embeddings": True},
            **{key.replace("token", "token_id"): tokenizer.token_to_id(token) for key, token in named.items() if token},
            **({} if model.bos else {"bos_token_id": None}),
            **model.config,
        }
        specs.append({"architecture": model.architecture, "config": config, "path": str(path)})
    subprocess.run(
        [str(environment.python), str(WORKER)],
        input=json.dumps(specs).encode(),
        env=environment_variables("axolotl", environment) | {"HF_HUB_OFFLINE": "1"},
        check=True,
    )


def make_tokenizer(model: TinyModel) -> Tokenizer:
    """A tokenizer of the family's kind, trained on a few sentences."""
    tokenizer = (
        _of_bytes(model.kind == "qwen")
        if model.kind in ("bytes", "qwen")
        else _of_sentencepiece(model.kind == "prefixed")
    )
    for token in model.special:
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True, rstrip=model.swallows)])
    for token in model.plain:
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)])
    if model.first and model.bos is not None:
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{model.bos} $A",
                    pair=f"{model.bos} $A $B",
                    special_tokens=[(model.bos, tokenizer.token_to_id(model.bos))],
                ),
            ]
            if model.kind in ("bytes", "qwen")
            else [
                processors.TemplateProcessing(
                    single=f"{model.bos} $A",
                    pair=f"{model.bos} $A $B",
                    special_tokens=[(model.bos, tokenizer.token_to_id(model.bos))],
                )
            ]
        )
    return tokenizer


def _of_bytes(qwen: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    words = _WORDS.replace("{1,3}", "") if qwen else _WORDS
    if qwen:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return tokenizer


def _of_sentencepiece(prefixed: bool) -> Tokenizer:
    """BPE over characters, `▁` for a space, with one piece a byte for what is not in the vocabulary."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    learned.train_from_iterator([_TEXT], trainers.BpeTrainer(vocab_size=PIECES - 256, show_progress=False))
    found = json.loads(learned.to_str())["model"]
    fallback = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {piece: index for index, piece in enumerate([*fallback, *found["vocab"]])}
    merges = [tuple(merge) for merge in found["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefixed:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer
