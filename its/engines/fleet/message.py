"""What a model said in one message, in the forms that servers write it: a text, or parts of several types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT_PARTS = ("text", "output_text")
THINKING_PARTS = ("thinking", "reasoning")
"""Mistral's Magistral, Anthropic and the gateways to it; their text stands under the type's name or under `text`."""
SEALED_PART = "redacted_thinking"  # Anthropic's: there was thinking, and nobody may read it
THINKING_FIELDS = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class MessageParts:
    """A message taken apart.

    Args:
        text: None where the message has no content at all, or no part of it is text.
        thinking: what came apart from the text; "" where the server parts thinking and there was none.
        refusal: the model's words in refusing, which are no answer to grade.
    """

    text: str | None
    thinking: str | None
    refusal: str | None


def read_message(message: Mapping[str, Any]) -> MessageParts:
    """Take a message apart.

    Raises:
        ValueError: if its content or its refusal is of a form that is not known: to leave out a part would change the
            answer.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        for number, part in enumerate(content, 1):
            kind = part.get("type") if isinstance(part, dict) else None
            if (text := _text_of(part)) is not None:
                texts.append(text)
            elif kind in THINKING_PARTS and (text := _thought(part, str(kind))) is not None:
                thoughts.append(text)
            elif kind == SEALED_PART:
                thoughts.append("")
            elif kind == "refusal" and isinstance(part.get("refusal"), str):
                refusals.append(part["refusal"])
            else:
                said = f"type `{kind}`" if isinstance(kind, str) else "no type"
                raise ValueError(f"the message has no text that can be read: part {number} of its content, of {said}")
    elif content is not None:
        raise ValueError(f"the message has no text: its content is a {type(content).__name__}")
    refusal = message.get("refusal") or None
    if refusal is not None and not isinstance(refusal, str):
        if not any(texts):
            raise ValueError("the message has no text, and its refusal is none either")
        refusal = None
    told = [message[name] for name in THINKING_FIELDS if isinstance(message.get(name), str)]
    if thoughts:
        told.append("\n\n".join(filter(None, thoughts)))
    return MessageParts(
        text="".join(texts) if texts else None,
        # An empty one is told too: a server that has the field parts thinking from the text, and there was none.
        thinking=next(filter(None, told), told[0] if told else None),
        refusal=refusal or "".join(refusals) or None,
    )


def _text_of(part: Any) -> str | None:
    """The text of a part that is one; some gateways write plain strings."""
    if isinstance(part, dict):
        part = part.get("text") if part.get("type") in TEXT_PARTS else None
    return part if isinstance(part, str) else None


def _thought(part: dict[str, Any], kind: str) -> str | None:
    """The thinking in a part of it: a text, or itself a list of parts, all of them texts."""
    found = part.get(kind, part.get("text"))
    pieces = [_text_of(piece) for piece in found] if isinstance(found, list) else [_text_of(found)]
    known = [piece for piece in pieces if piece is not None]
    return "".join(known) if len(known) == len(pieces) else None
