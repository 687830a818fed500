"""A tokenizer of letters with the calls that the Axolotl plugin makes; the template is ChatML."""

from __future__ import annotations

from collections.abc import Sequence

SPECIAL = {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 3}
_FIRST = 10


class TinyTokenizer:
    def __init__(self, eos_token: str = "<|im_end|>") -> None:
        self.eos_token = eos_token

    @property
    def eos_token_id(self) -> int:
        return SPECIAL[self.eos_token]

    def convert_tokens_to_ids(self, token: str) -> int:
        return SPECIAL[token]

    def encode(self, text: str) -> list[int]:
        return [ord(letter) + _FIRST for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        names = {number: token for token, number in SPECIAL.items()}
        return "".join(names.get(number) or chr(number - _FIRST) for number in ids)

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool,
        return_dict: bool,
    ) -> list[int]:
        assert tokenize and not return_dict
        ids: list[int] = []
        for turn in messages:
            ids += [1, *self.encode(f"{turn['role']}\n{turn['content']}"), 2, *self.encode("\n")]
        return [*ids, 1, *self.encode("assistant\n")] if add_generation_prompt else ids

    def row(self, messages: list[dict[str, str]]) -> dict[str, list[int]]:
        """What a right trainer makes of a chat: the loss covers the solution and the end of its turn."""
        ids = self.apply_chat_template(messages, tokenize=True, return_dict=False)
        prompt = self.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
        labels = [-100] * len(prompt) + ids[len(prompt) : -1] + [-100]
        return {"input_ids": ids, "labels": labels}
