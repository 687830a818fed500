"""A tokenizer of letters with the calls that the Axolotl plugin makes; it renders its template as transformers does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2.sandbox import ImmutableSandboxedEnvironment

SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 3, "<think>": 4, "</think>": 5}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_FIRST = 10
_ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


class TinyTokenizer:
    def __init__(self, eos_token: str = "<|im_end|>", template: str = CHATML) -> None:
        self.eos_token = eos_token
        self._template = _ENVIRONMENT.from_string(template)

    @property
    def eos_token_id(self) -> int:
        return SPECIAL[self.eos_token]

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return SPECIAL.get(token)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        parts = re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", text)
        return {"input_ids": [number for part in parts for number in self._part(part)]}

    def _part(self, text: str) -> list[int]:
        return [SPECIAL[text]] if text in SPECIAL else [ord(letter) + _FIRST for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        names = {number: token for token, number in SPECIAL.items()}
        return "".join(names.get(number) or chr(number - _FIRST) for number in ids)

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, add_generation_prompt: bool = False, tokenize: bool
    ) -> str:
        assert not tokenize
        return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt)

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
