"""What `its solve` found as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def solved_lines(found: Mapping[str, Any], *, rows: bool) -> Iterator[str]:
    """The answer, its votes, the members, notes; with `rows` the personas, queries and responses too."""
    if rows:
        yield from _rows(found)
    yield "answer: none" if found["answer"] is None else f"answer: {found['answer']}"
    yield f"votes:  {found['votes']} of {found['responses']} responses ({100 * found['share']:.1f} %)"
    for item in found["answers"][1:]:
        yield f"        {item['votes']} for {item['text']}"
    if found["no_answer"]:
        yield f"        {found['no_answer']} without an answer"
    for member in found["members"]:
        yield f"by:     {member['checkpoint']}/{member['strategy']}"
    if found["tied"]:
        yield f"note: tied with {', '.join(found['tied'])}; the answer met first is printed"
    for note in found["notes"]:
        yield f"note: {note}"


def _rows(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["rows"]:
        yield f"== {row['checkpoint']}/{row['strategy']}"
        for text in row["personas"]:
            yield from _block("persona", text)
        for turn in row["query"]:
            yield from _block(f"query, {turn['role']}", turn["content"])
        for response in row["responses"]:
            answer = "no answer" if response["answer"] is None else f"answer {response['answer']}"
            tokens = f"{response['completion_tokens']} tokens"
            yield f"-- sample {response['sample_index']}: {answer}, {tokens}, {response['finish_reason']}"
            if response["thinking"]:
                yield from _block("thinking", response["thinking"])
            yield from _block("response", response["text"])
        yield ""


def _block(name: str, text: str) -> Iterator[str]:
    yield f"{name}:"
    yield from (f"  {line}" for line in text.splitlines() or ["(empty)"])
