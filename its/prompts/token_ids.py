"""The token ids of conversations, from a model's own tokenizer and chat template."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from its.errors import DataError
from its.prompts.chat import Renderer, rendered_chats

Chat = Sequence[Mapping[str, str]]
Item = TypeVar("Item")
CHUNK = 500  # conversations rendered by one process
CHUNK_CHARACTERS = 8_000_000
"""Of the conversations of one process, which may use 1 GiB."""
BATCH_CHARACTERS = 2_000_000
"""Of texts that are tokenized at once: an id takes about 100 bytes while its text is tokenized."""


class PromptReader:
    """A tokenizer file and a chat template: the token ids that an engine should receive for a conversation.

    Args:
        tokenizer: a `tokenizer.json`.
        template: the chat template.
        tokens: the named special tokens (`bos_token`, ...) that a template may write.
        special: tokens that training makes special ones of the tokenizer, as Axolotl does.

    Raises:
        DataError: if the library `tokenizers` cannot read the file.
    """

    def __init__(self, tokenizer: Path, template: str, tokens: Mapping[str, str], special: Sequence[str] = ()) -> None:
        from tokenizers import AddedToken, Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises plain exceptions
            raise DataError(f"{tokenizer}: not a readable tokenizer: {str(error)[:200]}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.unknown = [token for token in special if self._tokenizer.token_to_id(token) is None]
        known = [token for token in special if token not in self.unknown]
        self._tokenizer.add_special_tokens(
            [AddedToken(token, rstrip=False, lstrip=False, normalized=False) for token in known]
        )
        self.template, self._tokens = template, dict(tokens)
        self._known: dict[str, Any] | None = None
        self.renderer: Renderer | None = None
        """Whose process renders; None starts one each time."""

    def prompt_hashes(self, chats: Sequence[Chat]) -> Iterator[str]:
        """The SHA-256 of the ids, joined with commas, of each conversation with the generation prompt.

        Engines report the hash of a prompt in the same form (`Completion.prompt_sha256`).

        Raises:
            DataError: if the template does not render them.
        """
        for begin in range(0, len(chats), CHUNK):
            texts = self.rendered(chats[begin : begin + CHUNK], prompt=True)
            for encoding in self._tokenizer.encode_batch(texts, add_special_tokens=False):
                yield hashlib.sha256(",".join(map(str, encoding.ids)).encode()).hexdigest()

    def rendered(self, chats: Sequence[Chat], *, prompt: bool) -> list[str]:
        """The text of each conversation, all rendered by one process.

        Args:
            prompt: whether the generation prompt follows, as an engine adds it.

        Raises:
            DataError: if the template does not render one of them.
        """
        given: list[dict[str, Any]] = [
            {**self._tokens, "messages": [dict(turn) for turn in chat], "add_generation_prompt": prompt}
            for chat in chats
        ]
        texts = rendered_chats(self.template, given, self.renderer)
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                found = f"U+{ord(text[error.start]):04X}"
                raise DataError(f"the text has {found}, half of a character, which no tokenizer reads") from error
        return texts

    def ids(self, text: str) -> list[int]:
        """The ids of a text that contains its special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Each id of a text with its part of the text; parts of a character belong to its last id."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ends = [end for _, end in encoding.offsets]
        out, at = [], 0
        for number, id_ in enumerate(encoding.ids):
            # Bytes of one character have the same offsets, and a token without text of its own those of its place.
            shared = number + 1 < len(ends) and encoding.offsets[number + 1][0] < ends[number]
            end = at if shared else max(at, ends[number])
            out.append((id_, text[at:end]))
            at = end
        if out and at < len(text):
            out[-1] = (out[-1][0], out[-1][1] + text[at:])
        return out

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The number of ids of each text."""
        out: list[int] = []
        for batch in batches(texts, len, BATCH_CHARACTERS):
            out += map(len, self._tokenizer.encode_batch_fast(batch, add_special_tokens=False))
        return out

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary; None if it is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def named_like(self, word: str) -> list[str]:
        """The added tokens whose name contains a word, for a suggestion."""
        return [token for token in self._added() if word in token.casefold()]

    def cut_before(self, text: str, end: int) -> str | None:
        """The last token in text[:end] before which any text can be cut without a change of its ids; None without one.

        An added token that is matched before the text is normalized parts it: each side is tokenized by itself. Not
        one that takes white space before it, or that another token may overlap.
        """
        at, found = -1, None
        for token, added in self._added().items():
            place = text.rfind(token, 0, end)
            if place > at and not (added.normalized or added.lstrip or added.single_word or self._overlapped(token)):
                at, found = place, token
        return found

    def _added(self) -> dict[str, Any]:
        """The added tokens, with how each is matched, by their texts."""
        if self._known is None:
            found = self._tokenizer.get_added_tokens_decoder().values()
            self._known = {token.content: token for token in found if token.content}
        return self._known

    def _overlapped(self, token: str) -> bool:
        """Whether an occurrence of another token may begin before this one and end within or behind it."""
        if token[0].isalnum() or token[0].isspace() or token[0] == "_":
            return True  # a word's boundary, or white space that the token before it may take
        return any(
            rest.startswith(token) or token.startswith(rest)
            for other in self._added()
            for rest in (other[start:] for start in range(1, len(other)))
        )


def batches(
    items: Iterable[Item], size: Callable[[Item], int], limit: int = CHUNK_CHARACTERS, most: int = CHUNK
) -> Iterator[list[Item]]:
    """The items in order in groups of at most `most` and of a size of at most `limit`; a larger one alone."""
    group: list[Item] = []
    total = 0
    for item in items:
        own = size(item)
        if group and (len(group) == most or total + own > limit):
            yield group
            group, total = [], 0
        group.append(item)
        total += own
    if group:
        yield group
