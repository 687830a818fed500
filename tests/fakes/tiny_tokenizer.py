"""A tokenizer of bytes with the calls that the Axolotl plugin makes; it renders its template as transformers does.

It is a real one of the library `tokenizers`, so that it can be saved beside a model and read by others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 3, "<|vision_start|>": 6}
MARKS = {"<think>": 4, "</think>": 5}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_FIRST = 10
_ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


def _bytes() -> dict[str, int]:
    """The character that stands for each byte -> its id."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + at) for at, byte in enumerate(others)}
    return {character: byte + _FIRST for byte, character in characters.items()}


class TinyTokenizer:
    def __init__(self, eos_token: str = "<|im_end|>", template: str = CHATML) -> None:
        self.eos_token, self.template = eos_token, template
        self._tokenizer = Tokenizer(models.BPE(vocab={**SPECIAL, **MARKS, **_bytes()}, merges=[]))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer.add_special_tokens(list(SPECIAL))
        self._tokenizer.add_tokens(list(MARKS))

    @property
    def eos_token_id(self) -> int:
        return SPECIAL[self.eos_token]

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return SPECIAL.get(token)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool,
        chat_template: str | None = None,
    ) -> str:
        assert not tokenize
        template = _ENVIRONMENT.from_string(chat_template or self.template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt)

    def row(self, messages: list[dict[str, str]], masked: str = "") -> dict[str, list[int]]:
        """What a right trainer makes of a chat: the loss covers the solution and the end of its turn.

        Args:
            masked: what the trainer masks beside the prompt, at the beginning of the assistant's turn.
        """
        prompt = self.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
        begin = len(self(prompt + masked, add_special_tokens=False)["input_ids"])
        ids = self(self.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
        end = ids.index(SPECIAL["<|im_end|>"], begin) + 1
        return {"input_ids": ids, "labels": [-100] * begin + ids[begin:end] + [-100] * (len(ids) - end)}

    def save(self, folder: Path) -> None:
        """The files that an engine reads it from."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"eos_token": self.eos_token, "pad_token": self.eos_token}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")


def load(folder: Path) -> TinyTokenizer:
    """The tokenizer of a model's folder; the usual one where it has none."""
    template = folder / "chat_template.jinja"
    return TinyTokenizer(template=template.read_text(encoding="utf-8")) if template.is_file() else TinyTokenizer()
