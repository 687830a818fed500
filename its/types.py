"""The rows of ITS: frozen, strict, no behaviour beyond their invariants.

Files hold one JSON object a line; field order here is the order on disk. Words: see docs/design.md.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

VerdictName = Literal["correct", "incorrect", "no_answer", "grader_error"]
SolutionVerdict = Literal[VerdictName, "cut", "failed", "unfit"]
FinishReason = Literal["stop", "length", "error"]
FALLBACK_RULES = frozenset({"last_number", "last_math", "last_letter"})
"""The rules of a verdict whose answer the response does not say outright (docs/grading.md)."""
DEFAULT_VARIANT = "default"
"""The settings of `train` without a variant's."""
LAST = "last"
"""The checkpoint at the end of a training."""
CUT_WORDS = frozenset({"length", "max_tokens", "max_output_tokens"})
"""Names of the end at the token limit, in any case: OpenAI, Anthropic, Gemini (`MAX_TOKENS`), OpenAI's Responses, and
gateways to them."""


def is_cut(finish_reason: object) -> bool:
    """Whether a finish reason, in a server's word for it, says that the limit of tokens ended the text."""
    return isinstance(finish_reason, str) and finish_reason.lower() in CUT_WORDS


Role = Literal["system", "user", "assistant"]


class Row(BaseModel):
    """What every row shares: unknown fields and silent conversions are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Problem(Row):
    """A question with its known answer (`reference`) and maybe a worked `solution`.

    `source` names the set it came from, `row` where it stood there (`path:line`). A reasoning trace in the solution
    stands between `<think>` and `</think>`, whatever marks the source had.
    """

    problem_id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    reference: str | None = None
    solution: str | None = None
    source: str
    row: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


def listed_options(options: Sequence[str]) -> str:
    """What follows the question in the text of a multiple choice problem: an empty line, then `A) ...` a line."""
    lines = (f"\n{letter}) {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False))
    return "\n" + "".join(lines)


class Rejected(Row):
    """A row of a source that could not be used, as the quarantine file keeps it; `raw` is cut and safe to write."""

    row: str
    reasons: list[str]
    remedies: list[str]
    raw: str


class Message(Row):
    """One turn of a chat."""

    role: Role
    content: str


class Persona(Row):
    """The context that a model wrote for one problem under one strategy, or a control in its place.

    `text` is empty only where the strategy gives none or a flag says why. `attempts` counts requests to the writer, 0
    for a control; `request_key` names the response in the store that the text came from, `rejected_keys` those that
    were not taken. Where a strategy writes several, each is a row of its own with its `index` from 0. `taken_from` is
    the problem whose persona this is, where that is another one.
    """

    problem_id: str
    strategy: str
    index: int | None = Field(default=None, ge=0)
    text: str
    domain: str | None = None
    taken_from: str | None = None
    attempts: int = Field(ge=0)
    flags: list[str] = Field(default_factory=list)
    request_key: str | None = None
    rejected_keys: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _text_or_reason(self) -> Persona:
        if self.attempts > 0 and not self.text and "empty" not in self.flags:
            raise ValueError("`text` is empty but no flag says why")
        if self.taken_from == self.problem_id:
            raise ValueError("`taken_from` is the problem itself")
        return self


class Solution(Row):
    """The solution that the teacher wrote for one problem under one strategy (`solutions: regenerate`).

    `verdicts` has one for each attempt, in order; `text` is kept exactly if the last of them is `correct`, and empty
    otherwise. Beside the grader's words it is `cut` (ended by the token limit, whatever its answer), `failed` (ended
    neither by itself nor at the limit) or `unfit` (correct, but a model cannot be trained on it: data/solutions/
    summary.json counts why). Without a verdict nothing was requested, since no row of the problem is short enough to
    train on. `request_key` names the response in the store that was kept, `rejected_keys` the others. A thought of the
    teacher is between `<think>` and `</think>`, as in `Problem.solution`.
    """

    problem_id: str
    strategy: str
    text: str
    answer: str | None = None
    verdicts: list[SolutionVerdict] = Field(default_factory=list)
    request_key: str | None = None
    rejected_keys: list[str] = Field(default_factory=list)
    grader_version: str

    @model_validator(mode="after")
    def _text_or_lost(self) -> Solution:
        if bool(self.text) != (self.verdicts[-1:] == ["correct"]) or "correct" in self.verdicts[:-1]:
            raise ValueError("`text` is kept exactly if the last attempt, and no earlier one, is correct")
        return self


class Query(Row):
    """Problem and persona after the template, as chat messages without the answer; train queries carry the solution.

    `by_model` has the messages of models with their own frame (`prompt.models`); all others get `messages`. Under a
    `mix` or `union`, `member` is the strategy whose persona and template this row has.
    """

    query_id: str
    problem_id: str
    strategy: str
    messages: list[Message] = Field(min_length=1)
    by_model: dict[str, list[Message]] | None = None
    solution: str | None = None
    member: str | None = None

    def turns(self, model: str) -> list[dict[str, str]]:
        """The messages for one model, as {role, content}."""
        own = (self.by_model or {}).get(model, self.messages)
        return [{"role": turn.role, "content": turn.content} for turn in own]


class Response(Row):
    """One sampled output for one query. Token counts include no padding; `thinking_tokens` is part of completion.

    `finish_reason` is `error` where it ended neither by itself nor at `max_tokens`: a server refused the prompt or held
    the text back, or the model called a tool. Such a text is graded as it is, most often empty: no answer.
    """

    query_id: str
    sample_index: int = Field(ge=0)
    text: str
    thinking: str | None = None
    finish_reason: FinishReason
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    thinking_tokens: int = Field(ge=0, default=0)
    seed: int
    request_key: str

    @model_validator(mode="after")
    def _thinking_is_part_of_completion(self) -> Response:
        if self.thinking_tokens > self.completion_tokens:
            raise ValueError(
                f"`thinking_tokens` {self.thinking_tokens} of {self.completion_tokens} `completion_tokens`"
            )
        return self


class Verdict(Row):
    """What the grader says of one response; `answer` is None exactly if `verdict` is `no_answer`.

    `answer` is normalised. `rule` names what found it in the response: `box`, `boxes`, `tag`, `final_answer`, `hashes`,
    `option`, `whole`, or one of `FALLBACK_RULES`. `span` says where: characters [start, end) of the response's text.
    `reason` says why the grader could not decide (`grader_error` alone). Rows of grader 1 lack them.
    """

    query_id: str
    sample_index: int = Field(ge=0)
    answer: str | None = None
    verdict: VerdictName
    rule: str | None = None
    span: list[int] | None = Field(default=None, min_length=2, max_length=2)
    reason: str | None = None
    grader_version: str

    @model_validator(mode="after")
    def _answer_or_none(self) -> Verdict:
        if (self.answer is None) != (self.verdict == "no_answer"):
            raise ValueError("`answer` is None exactly if `verdict` is `no_answer`")
        if self.reason is not None and self.verdict != "grader_error":
            raise ValueError("`reason` is for `grader_error` alone")
        return self
