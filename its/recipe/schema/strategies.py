"""Strategies of a recipe: how a problem gets its persona, and how both become the query."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from its.recipe.schema.base import (
    FEW,
    MANY,
    FilePath,
    LanguageCode,
    Name,
    Number,
    PersonaCheck,
    Section,
    Seed,
    Words,
)

COMBINED = ("mix", "union")
"""Strategies that have rows of several others and no personas themselves."""
DERIVED = {"noise": "like", "shuffled": "of"}
"""Control -> its field that names the strategy whose personas it starts from."""


class PersonaExample(Section):
    """One worked example for the writer: a user turn with the problem, an assistant turn with the persona."""

    problem: Annotated[str, Field(min_length=1)]
    """Problem with which the persona template is rendered."""
    persona: str
    """Persona shown to the writer as its own answer."""
    domain: str | None = None
    """Domain with which the template is rendered; required if the strategy has `domains`. Absent: no domain."""


class PersonaRequest(Section):
    """The request to the writer: system turn, examples as earlier turns, then the problem."""

    template: FilePath
    """Path, relative to `recipes/`, of a Jinja2 template in `prompts/`: the user turn. It receives `problem` and, with
    `domains`, `domain`."""
    system: str | None = None
    """Text of the system turn. Absent: no system turn."""
    examples: Annotated[list[PersonaExample], Field(max_length=FEW)] = Field(default_factory=list)
    """Worked examples, in the order in which they are shown. Default: none."""
    start: str | None = None
    """Beginning of the answer, which the writer continues and which is part of the persona. Absent: none."""
    count: Annotated[int, Field(ge=2, le=20)] | None = None
    """Personas per problem, each from its own seed. Absent: one."""


class Noise(Section):
    """Control: random ordinary words, as many as the persona of another strategy has."""

    like: Name
    """Strategy whose persona for the same problem gives the number and length of the words."""


class Shuffled(Section):
    """Control: the persona that another strategy has for a different problem of the set."""

    of: Name
    """Strategy whose personas are exchanged among its problems."""


class Fixed(Section):
    """Context that the recipe itself contains, without a writer: an instruction, for example."""

    texts: Annotated[list[Annotated[str, Field(min_length=1, pattern=r"\S")]], Field(min_length=1, max_length=MANY)]
    """The texts; each problem gets one, drawn from (study seed, strategy, problem)."""


class Mix(Section):
    """Each problem gets one of several strategies."""

    shares: Annotated[dict[Name, Annotated[Number, Field(gt=0, lt=1)]], Field(min_length=2, max_length=FEW)]
    """Strategy -> the share of the problems that get it, drawn per problem, so met on average; the sum is 1."""
    seed: Seed | None = None
    """Another draw with the same shares. Absent: the one of the study's seed alone."""


class Union(Section):
    """Each problem is trained on once under each of several strategies."""

    of: Annotated[list[Name], Field(min_length=2, max_length=FEW)]
    """The strategies, in the order in which a problem's rows follow each other."""


class Limits(Section):
    """The rules for personas; one that breaks a rule is requested again (docs/strategies.md)."""

    max_words: Words
    """More words than this are `overlong`; with that check, a persona that is kept anyway is cut."""
    min_words: Words | None = None
    """Fewer words than this are `brief`; required by the check `brief`."""
    language: LanguageCode | None = None
    """ISO 639-1 code of the language, one that ITS can tell; required by the check `language`."""
    checks: Annotated[list[PersonaCheck], Field(max_length=FEW)]
    """Rules that are applied."""


class Strategy(Section):
    """How a problem gets its persona and how both become the query.

    At most one of `persona`, `fixed`, `noise`, `shuffled`, `mix` and `union`; without any there is no persona.
    """

    @property
    def has_context(self) -> bool:
        """Whether it itself puts something beside the problem; False for `mix` and `union`, whose members may."""
        return any(way is not None for way in (self.persona, self.fixed, self.noise, self.shuffled))

    @property
    def is_control(self) -> bool:
        """Whether what it puts beside the problem is a control, C in the blocks."""
        return self.derived_from is not None

    @property
    def template(self) -> str:
        """The path of its query template; a strategy that combines others has none."""
        assert self.query is not None
        return self.query

    @property
    def members(self) -> list[str]:
        """The strategies that `mix` or `union` combines; [] for any other."""
        if self.mix is not None:
            return list(self.mix.shares)
        return [] if self.union is None else list(self.union.of)

    @property
    def derived_from(self) -> str | None:
        """The strategy whose personas a control is made from; None for what is not a control."""
        if self.noise is not None:
            return self.noise.like
        return self.shuffled.of if self.shuffled is not None else None

    persona: PersonaRequest | None = None
    """Personas from the writer; needs `limits`. Absent: none are generated."""
    fixed: Fixed | None = None
    """Texts of the recipe instead of personas. Absent: none."""
    noise: Noise | None = None
    """Control: meaningless words of the same length. Absent: not this control."""
    shuffled: Shuffled | None = None
    """Control with another problem's persona. Absent: not this control."""
    mix: Mix | None = None
    """One of several strategies for each problem, with their queries and personas. Absent: not a mix."""
    union: Union | None = None
    """Several strategies for each problem, in training only. Absent: not a union."""
    query: FilePath | None = None
    """Path, relative to `recipes/`, of a Jinja2 template in `prompts/`: the query. It receives `problem`, `persona` and
    `personas`. Absent: that of each member of `mix` or `union`; any other strategy needs one."""
    place: Literal["user", "system"] = "user"
    """Turn that contains the persona: `user`, where the query template puts it, or `system`, after `prompt.system`;
    the query template then receives no persona."""
    domains: Annotated[list[str], Field(min_length=1, max_length=100_000)] | None = None
    """Domains; each persona gets one, drawn from (study seed, strategy, problem). Absent: no domain."""
    share: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Share of the problems that get a persona, drawn per problem, so met on average; a larger share contains a smaller
    one. Absent: all."""
    limits: Limits | None = None
    """Rules for the personas; required with `persona`. For a control they only flag."""
    solutions: Literal["keep", "regenerate"] = "keep"
    """What is trained on: `keep` the dataset's solution, or `regenerate` it under this strategy, by `writer.solutions`;
    the first attempt that the grader finds correct is kept. Members of `mix` and `union` have their own setting."""
