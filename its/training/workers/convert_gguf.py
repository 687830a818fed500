"""Convert a GGUF file to a folder that vLLM and Axolotl load (training environment: transformers 5.16 and gguf).

    python convert_gguf.py SPEC.json

SPEC: {gguf, output, dtype, special_tokens: {bos, eos, pad, unk}, chat_template, context_length}. transformers 5.19
keeps GGUF tensors packed and refuses to save them, so this must run on 5.16. Imports nothing of `its`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import decoders, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    gguf = Path(spec["gguf"])
    special = spec["special_tokens"]
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=getattr(torch, spec["dtype"]))
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)

    # The converter reads eos as <|im_start|> and leaves pad out; Axolotl would then never train the end of turn.
    for name, token in special.items():
        setattr(tokenizer, f"{name}_token", token)
    tokenizer.model_max_length = spec["context_length"]
    if spec["chat_template"] is not None:
        tokenizer.chat_template = spec["chat_template"]
    # SmolLM2's own pre-tokenizer splits numbers into digits; the converted one does not.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in special.items()}
    for holder in (model.config, model.generation_config):
        for name in ids.keys() & {"bos", "eos", "pad"}:
            setattr(holder, f"{name}_token_id", ids[name])

    output = Path(spec["output"])
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main()
