"""What to know of the personas of a valid recipe before they are written: tight limits, small shares."""

from __future__ import annotations

import math
from collections.abc import Mapping

from its.recipe.schema import Recipe
from its.strategies.controls import with_sources
from its.strategies.members import expanded
from its.study.counts import Size

TOKENS_PER_WORD = 1.5
"""Tokens of the writer for each word of `max_words` below which many personas are cut. English prose takes 1.3."""


def persona_notes(recipe: Recipe, sizes: Mapping[str, Size]) -> list[str]:
    """Limits that the writer hardly reaches, attempts that are all the same, and shares of less than one problem.

    Args:
        sizes: of the sets, as far as they are known.
    """
    return [*_tight(recipe), *_repeated(recipe), *_shares(recipe, sizes)]


def _used(recipe: Recipe) -> list[str]:
    """The strategies of the design, and those that their controls start from."""
    names = expanded(recipe.strategies, dict.fromkeys([*recipe.design.train, *recipe.design.test]))
    return with_sources(names, recipe.strategies)


def _tight(recipe: Recipe) -> list[str]:
    tokens, model = recipe.writer.sampling.max_tokens, recipe.models[recipe.writer.model]
    limits = {
        strategy.limits.max_words
        for strategy in (recipe.strategies[name] for name in _used(recipe))
        if strategy.persona is not None and strategy.limits is not None
    }
    thinks = ", and the writer thinks before" if model.thinking is not None else ""
    most = max(1, int(tokens / TOKENS_PER_WORD))
    return [
        f"`limits.max_words` is {words} and `writer.sampling.max_tokens` {tokens}: {words} words are about"
        f" {math.ceil(TOKENS_PER_WORD * words)} tokens{thinks}, so a persona near the limit is cut, which counts as"
        f" `overlong`; give {math.ceil(TOKENS_PER_WORD * words)} tokens, or at most {most} words"
        for words in sorted(limits)
        if tokens < TOKENS_PER_WORD * words
    ]


def _repeated(recipe: Recipe) -> list[str]:
    writer = recipe.writer
    if writer.attempts < 2 or writer.sampling.temperature != 0:
        return []
    if not any(recipe.strategies[name].persona is not None for name in _used(recipe)):
        return []
    return [
        f"`writer.attempts` is {writer.attempts} at temperature 0: a persona that breaks a rule is written again word"
        " for word; `attempts: 1`, or a temperature above 0"
    ]


def _shares(recipe: Recipe, sizes: Mapping[str, Size]) -> list[str]:
    """Shares that are met on average by less than one problem of a set."""
    out = []
    design, known = recipe.design, recipe.strategies
    for names, sets in ((design.train, design.datasets), (design.test, design.benchmarks)):
        for name in names:
            mix, share = known[name].mix, known[name].share
            shares = {f"mix.shares.{member}": part for member, part in mix.shares.items()} if mix is not None else {}
            shares |= {"share": share} if share is not None else {}
            out += [
                f"`strategies.{name}.{field}` is {part:g}: of the {sizes[item].problems} problems of `{item}` less than"
                " one on average"
                for field, part in shares.items()
                for item in sets
                if item in sizes and part * sizes[item].problems < 1
            ]
    return out
