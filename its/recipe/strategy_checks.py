"""Checks of `strategies`: one way to a persona each, members and sources that exist, shares that add up.

As `its.recipe.cross_checks`, on plain values: of the type that the schema demands, None, or REFUSED.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from its.recipe.names import known_names, undeclared
from its.recipe.schema import BASE, COMBINED, DEFAULT_VARIANT, DERIVED, LAST
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at
from its.shown import counted

CONTEXTS = ("persona", "fixed", *DERIVED)
"""Ways to put something beside the problem."""
WAYS = (*CONTEXTS, *COMBINED)
"""Of a strategy, one at most."""
RESERVED = {
    BASE: "is the untrained model in tables",
    DEFAULT_VARIANT: "is the training without a variant's settings in tables",
    LAST: "is the checkpoint at the end of a training in tables",
}
OF_MEMBERS = ("query", "place", "domains", "share", "limits", "solutions")
"""Fields that a mix or union leaves to its members."""
STRATEGY_EXAMPLES = {
    "fixed": "for example `fixed: {texts: [Check each step.]}`",
    "mix": "for example `mix: {shares: {none: 0.5, random: 0.5}}`: each share is a part of 1",
    "union": "for example `union: {of: [none, random]}`: two strategies or more",
}
"""Way -> what to write where the schema refuses it."""
SHARES_OFF = 1e-9
"""By how much the sum of a mix's shares may differ from 1; floats that are written with 10 digits differ by less."""
_VARIABLE = re.compile(r"\{\{-?\s*(?:problem|persona|personas|domain|query)\b")


def strategy_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """Every fault of the strategies, and of a design that uses a union or a regenerated solution in the wrong place."""
    strategies = table_at(values, "strategies")
    bases = {name: _basis(strategy) for name, strategy in strategies.items()}
    for name, strategy in strategies.items():
        here = ("strategies", name)
        if name in RESERVED:
            yield here, f"`{name}` {RESERVED[name]}", "give the strategy another name"
        if not isinstance(strategy, Mapping):
            continue
        ways = [way for way in WAYS if strategy.get(way) is not None]
        combined = [way for way in COMBINED if way in ways]
        if len(ways) > 1:
            yield here, f"`strategies.{name}` has {' and '.join(f'`{way}`' for way in ways)}", "keep one of them"
        elif combined:
            yield from _combined(name, combined[0], strategy, strategies)
        else:
            yield from _derived(name, strategy, strategies, bases)
        if not combined and strategy.get("query") is None:
            example = f"prompts/query_{'persona_first' if ways else 'plain'}.j2"
            hint = f"add `query:`, the template that joins problem and persona, for example `{example}`"
            yield here, f"missing field `strategies.{name}.query`", hint
        yield from _fixed(name, strategy)
        yield from _written(name, strategy, values)
        yield from _bounds(name, strategy)
    yield from _design(values, strategies)


def _combined(name: str, way: str, strategy: Mapping[str, Any], strategies: Mapping[str, Any]) -> Iterator[Found]:
    """Faults of a mix or union: its members, its shares, and fields that only its members have."""
    here: Location = ("strategies", name)
    for field in OF_MEMBERS:
        if strategy.get(field) is not None:
            message = f"`strategies.{name}.{field}`: a {way} has no `{field}`, only its members do"
            yield (*here, field), message, f"take it out; `{field}` of each member holds for its problems"
    section = table_at(strategy, way)
    if way == "mix":
        shares = table_at(section, "shares")
        places: list[tuple[Any, Location]] = [(member, (*here, way, "shares", member)) for member in shares]
        yield from _shares(name, section)
    else:
        places = [(member, (*here, way, "of", index)) for index, member in enumerate(list_at(section, "of"))]
    before: dict[str, Mapping[str, Any]] = {}
    for member, place in places:
        if not isinstance(member, str):  # the schema refuses it
            continue
        if member in before:
            yield place, f"`{dotted(place)}`: `{member}` is already a member", "take one of them out"
        declared = table_at(strategies, member)
        twin = next((other for other, known in before.items() if other != member and _same(known, declared)), None)
        if twin is not None:
            message = f"`{dotted(place)}`: `{member}` is the same as `{twin}`, and every problem has the same row there"
            yield place, message, "take one of them out"
        before[member] = declared
        if member == name:
            yield place, f"`{dotted(place)}`: `{name}` is a member of itself", "name other strategies"
            continue
        if member not in strategies:
            known = [
                other
                for other in strategies
                if other != name and all(table_at(strategies, other).get(kind) is None for kind in COMBINED)
            ]
            message = f"`{dotted(place)}`: strategy `{member}` is not declared"
            yield place, message, known_names(member, known, "declared")
        nested = next((kind for kind in COMBINED if declared.get(kind) is not None), None)
        if nested is not None:
            yield place, f"`{dotted(place)}`: `{member}` is itself a {nested}", f"name the members of `{member}`"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two strategies differ in nothing but their names, and nothing is drawn or written by these."""
    drawn = any(one.get(way) is not None for way in ("persona", *DERIVED)) or one.get("share") is not None
    drawn = drawn or one.get("solutions") == "regenerate"
    return bool(one) and not drawn and len(list_at(table_at(one, "fixed"), "texts")) < 2 and dict(one) == dict(other)


def _shares(name: str, mix: Mapping[str, Any]) -> Iterator[Found]:
    shares = table_at(mix, "shares")
    if len(shares) < 2 or not all(isinstance(share, int | float) for share in shares.values()):
        return  # the schema refuses some of it
    total = math.fsum(shares.values())
    if abs(total - 1) > SHARES_OFF:
        *_, last = shares
        rest = round(1 - math.fsum(share for member, share in shares.items() if member != last), 10)
        hint = f"for example `{last}: {rest:g}`" if 0 < rest < 1 else "each is a part of 1: 0.5 is half of the problems"
        yield (
            ("strategies", name, "mix", "shares"),
            f"`strategies.{name}.mix.shares` add up to {total:.10g}, not 1",
            hint,
        )


def _fixed(name: str, strategy: Mapping[str, Any]) -> Iterator[Found]:
    """Faults of the texts of the recipe: repeated ones, ones that look like templates, fields without effect."""
    here: Location = ("strategies", name, "fixed", "texts")
    before: dict[str, int] = {}
    for index, text in enumerate(list_at(table_at(strategy, "fixed"), "texts")):
        if not isinstance(text, str):
            continue
        place, folded = (*here, index), " ".join(text.split())
        if folded in before:
            message = f"`{dotted(place)}` is the text of `{dotted((*here, before[folded]))}` again"
            yield place, message, "take it out: each text is drawn equally often; a `mix` has unequal shares"
        before.setdefault(folded, index)
        if found := _VARIABLE.search(text):
            message = f"`{dotted(place)}` contains `{found.group()}`: it is a text and not a template"
            yield place, message, "the template in `query` joins it with the problem"
    if strategy.get("fixed") is not None and strategy.get("domains") is not None:
        message = f"`strategies.{name}.domains` has no effect: the texts are in the recipe"
        yield ("strategies", name, "domains"), message, "take it out"


def _derived(
    name: str, strategy: Mapping[str, Any], strategies: Mapping[str, Any], bases: Mapping[str, str]
) -> Iterator[Found]:
    """Faults of a control: from another declared strategy that has personas to give, without a circle.

    Args:
        bases: by strategy, the one it is derived from; empty if there is none.
    """
    for key, field in DERIVED.items():
        other = table_at(strategy, key).get(field)
        location = ("strategies", name, key, field)
        yield from undeclared(other, location, strategies, "strategy")
        if not isinstance(other, str) or other not in strategies:
            continue
        source = strategies[other]
        if isinstance(source, Mapping):
            yield from _source(name, key, other, source, location)
        path, step = {name: None}, other
        while step and step not in path:
            path[step] = None
            step = bases.get(step, "")
        if step == name:
            circle = " -> ".join([*path, name])
            yield location, f"`strategies.{name}` is derived from itself: {circle}", "break the circle"


def _source(name: str, key: str, other: str, source: Mapping[str, Any], location: Location) -> Iterator[Found]:
    """A fault if a strategy gives a control nothing to start from."""
    combined = next((way for way in COMBINED if source.get(way) is not None), None)
    if combined is not None:
        yield (
            location,
            f"`strategies.{name}`: `{other}` is a {combined} and has no personas itself",
            f"name a member of `{other}`; a {combined} of controls has one for each",
        )
    elif not any(source.get(way) is not None for way in CONTEXTS):
        yield location, f"`strategies.{name}`: `{other}` has no personas", "name a strategy with personas"
    elif key == "shuffled" and source.get("fixed") is not None:
        yield (
            location,
            f"`strategies.{name}`: the texts of `{other}` do not depend on the problem, so nothing is exchanged",
            f"`noise: {{like: {other}}}` has their length without their content",
        )


def _basis(strategy: Any) -> str:
    """The strategy that another one is derived from; empty if there is none."""
    found = [table_at(strategy, key).get(field) for key, field in DERIVED.items()]
    return next((item for item in found if isinstance(item, str)), "")


def _written(name: str, strategy: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Found]:
    """Faults of a strategy whose personas the writer writes."""
    here = ("strategies", name)
    persona, writer = strategy.get("persona"), table_at(values, "writer")
    sampling, model = table_at(writer, "sampling"), writer.get("model")
    if not isinstance(persona, Mapping):
        return
    if strategy.get("domains"):
        for index, example in enumerate(list_at(persona, "examples")):
            if isinstance(example, Mapping) and not example.get("domain"):
                location = (*here, "persona", "examples", index)
                yield location, f"`{dotted(location)}` needs a `domain`", "the strategy draws domains"
    count, domains = persona.get("count"), len({*map(str, list_at(strategy, "domains"))})
    cold = sampling.get("temperature") == 0 and strategy.get("domains") is not REFUSED
    if type(count) is int and cold and count > domains:
        same = f"only {domains} of them differ, by their domain" if domains > 1 else "all the same"
        yield (
            (*here, "persona", "count"),
            f"`strategies.{name}` requests {counted(count, 'persona')} at temperature 0: {same}",
            f"a temperature above 0, or {'more ' if domains else ''}`domains`",
        )
    limits = strategy.get("limits")
    if not limits:
        yield (
            here,
            f"`strategies.{name}` writes personas but has no `limits`",
            "add `limits: {max_words: 30, checks: [empty, overlong]}`",
        )
    elif isinstance(limits, Mapping):
        for check, field in (("brief", "min_words"), ("language", "language")):
            if check in list_at(limits, "checks") and limits.get(field) is None:
                yield (
                    (*here, "limits"),
                    f"`strategies.{name}.limits` checks `{check}` and has no `{field}`",
                    f"add `{field}:`, or take `{check}` out of `checks`",
                )
        most = limits.get("max_words")
        start = persona.get("start")
        # A thought in the start is not part of the persona.
        thinks = isinstance(model, str) and table_at(table_at(values, "models"), model).get("thinking") is not None
        begun = len(start.split()) if isinstance(start, str) and not thinks else 0
        if type(most) is int and begun >= most and "overlong" in list_at(limits, "checks"):
            yield (
                (*here, "persona", "start"),
                f"`strategies.{name}.persona.start` has {begun} words: with `max_words` of {most} every persona is"
                " `overlong`",
                f"a shorter start, or `max_words` above {begun}",
            )
        tokens = sampling.get("max_tokens")
        # A word is one token at least, most often more: the writer is cut before it reaches the limit.
        if type(tokens) is int and type(most) is int and tokens < most:
            place = f"strategies.{name}.limits.max_words"
            yield (
                (*here, "limits", "max_words"),
                f"`{place}` is {most}: with `writer.sampling.max_tokens` of {tokens} a persona is cut before",
                f"a word is one token or more: use at most {tokens} words, or {2 * most} tokens",
            )


def _bounds(name: str, strategy: Mapping[str, Any]) -> Iterator[Found]:
    """A fault if no text meets both limits; those of a control flag every text then."""
    limits = table_at(strategy, "limits")
    least, most = limits.get("min_words"), limits.get("max_words")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        place = f"strategies.{name}.limits.min_words"
        yield (
            ("strategies", name, "limits", "min_words"),
            f"`{place}` is {least}, above `max_words`, {most}",
            "no persona meets both: lower `min_words` or raise `max_words`",
        )


def _design(values: Mapping[str, Any], strategies: Mapping[str, Any]) -> Iterator[Found]:
    """Faults of strategies in the design: a union at test time, a solution written for nothing that is trained."""
    design = table_at(values, "design")
    for index, name in enumerate(list_at(design, "test")):
        if not isinstance(name, str) or table_at(strategies, name).get("union") is None:
            continue
        members = [item for item in list_at(table_at(table_at(strategies, name), "union"), "of") if item is not REFUSED]
        listed = ", ".join(map(str, members)) or "STRATEGY, STRATEGY"
        yield (
            ("design", "test", index),
            f"`design.test` names `{name}`, a union: at test time each of its members is a separate query",
            f"put its members there, and let them vote: `vote.strategies: {{{name}: [{listed}]}}`",
        )
    trained = list_at(design, "train")
    if not all(isinstance(name, str) for name in trained) or "train" not in design:
        return
    used = {item for name in trained for item in members_at(strategies, name)}
    for name, strategy in strategies.items():
        if not isinstance(strategy, Mapping) or strategy.get("solutions") != "regenerate" or name in used:
            continue
        if not any(strategy.get(way) is not None for way in COMBINED):
            place = f"strategies.{name}.solutions"
            yield (
                ("strategies", name, "solutions"),
                f"`{place}` is `regenerate`, and no strategy in `design.train` is `{name}` or has it as a member",
                f"name `{name}` under `design.train`, or take `solutions` out",
            )


def members_at(strategies: Mapping[str, Any], name: str) -> list[str]:
    """The members of a mix or union in plain values, else the strategy itself."""
    strategy = table_at(strategies, name)
    mixed, united = strategy.get("mix"), strategy.get("union")
    if mixed is None and united is None:
        return [name]
    members: list[Any] = [*table_at(table_at(strategy, "mix"), "shares"), *list_at(table_at(strategy, "union"), "of")]
    return [member for member in members if isinstance(member, str)]
