"""The token ids of conversations, from a model's own tokenizer and chat template."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from its.errors import DataError
from its.prompts.chat import rendered_chats

Chat = Sequence[Mapping[str, str]]
CHUNK = 500  # conversations rendered by one process


class PromptReader:
    """A tokenizer file and a chat template: the token ids that an engine should receive for a conversation.

    Args:
        tokenizer: a `tokenizer.json`.
        template: the chat template.
        tokens: the named special tokens (`bos_token`, ...) that a template may write.

    Raises:
        DataError: if the library `tokenizers` cannot read the file.
    """

    def __init__(self, tokenizer: Path, template: str, tokens: Mapping[str, str]) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises plain exceptions
            raise DataError(f"{tokenizer}: not a readable tokenizer: {str(error)[:200]}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template, self._tokens = template, dict(tokens)

    def prompt_hashes(self, chats: Sequence[Chat]) -> Iterator[str]:
        """The SHA-256 of the ids, joined with commas, of each conversation with the generation prompt.

        Engines report the hash of a prompt in the same form (`Completion.prompt_sha256`).

        Raises:
            DataError: if the template does not render them.
        """
        for begin in range(0, len(chats), CHUNK):
            given = [self._values(chat) for chat in chats[begin : begin + CHUNK]]
            texts = rendered_chats(self._template, given)
            for encoding in self._tokenizer.encode_batch(texts, add_special_tokens=False):
                yield hashlib.sha256(",".join(map(str, encoding.ids)).encode()).hexdigest()

    def _values(self, chat: Chat) -> dict[str, Any]:
        return {**self._tokens, "messages": [dict(turn) for turn in chat], "add_generation_prompt": True}
