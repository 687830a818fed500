"""Checks of regenerated solutions: who writes them, for whom, and against what they are graded.

As `its.recipe.cross_checks`, on plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from its.recipe.names import undeclared
from its.recipe.presets import PRESETS
from its.recipe.strategy_checks import members_at
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at

Maps = Callable[[Mapping[str, Any], str], bool]
REGENERATE = "regenerate"
EXAMPLE = "solutions: {sampling: {temperature: 0.7, top_p: 1, max_tokens: 4096}, attempts: 4}"


def teacher_of(values: Mapping[str, Any]) -> str | None:
    """The model that regenerates solutions; None if the recipe has none, or its name is refused."""
    writer = table_at(values, "writer")
    if not table_at(writer, "solutions"):
        return None
    named = table_at(writer, "solutions").get("model") or writer.get("model")
    return named if isinstance(named, str) else None


def regenerating(values: Mapping[str, Any]) -> list[str]:
    """The strategies with regenerated solutions that the design trains under, as they are or in another one."""
    strategies = table_at(values, "strategies")
    trained = [name for name in list_at(table_at(values, "design"), "train") if isinstance(name, str)]
    names = dict.fromkeys(member for name in trained for member in members_at(strategies, name))
    return [name for name in names if table_at(strategies, name).get("solutions") == REGENERATE]


def solution_faults(values: Mapping[str, Any], maps: Maps) -> Iterator[Found]:
    """Every fault of `writer.solutions`, of the strategies that need it, and of their datasets.

    Args:
        maps: whether the rows of a declared set have a field.
    """
    writer, strategies = table_at(values, "writer"), table_at(values, "strategies")
    solutions = table_at(writer, "solutions")
    here: Location = ("writer", "solutions")
    regenerated = [name for name in strategies if table_at(strategies, name).get("solutions") == REGENERATE]
    unknown = any(REFUSED in (item, table_at(strategies, name).get("solutions")) for name, item in strategies.items())
    if values.get("strategies") is not REFUSED:
        if writer.get("solutions") is None and values.get("writer") is not REFUSED:
            for name in regenerated:
                where = ("strategies", name, "solutions")
                message = f"`strategies.{name}` regenerates its solutions, and no `writer.solutions` says by whom"
                yield where, message, f"under `writer`: `{EXAMPLE}`"
        elif solutions and not regenerated and not unknown:
            message = "`writer.solutions` is declared, and no strategy regenerates its solutions"
            yield here, message, "`solutions: regenerate` in a strategy, or remove it"
    yield from _teacher(values, solutions)
    attempts = solutions.get("attempts")
    if type(attempts) is int and attempts > 1 and table_at(solutions, "sampling").get("temperature") == 0:
        yield (
            (*here, "attempts"),
            f"`writer.solutions.attempts` is {attempts} at temperature 0: the same solution {attempts} times",
            "`attempts: 1`, or a temperature above 0",
        )
    if regenerating(values) and solutions:
        yield from _references(values, maps)
        yield from _thoughts(values)


def _teacher(values: Mapping[str, Any], solutions: Mapping[str, Any]) -> Iterator[Found]:
    """A teacher that is not declared, or whose context leaves no place for the question."""
    models, named = table_at(values, "models"), solutions.get("model")
    if values.get("models") is not REFUSED:
        yield from undeclared(named, ("writer", "solutions", "model"), models, "model")
    teacher = teacher_of(values)
    length = table_at(models, teacher).get("context_length") if teacher is not None else None
    tokens = table_at(solutions, "sampling").get("max_tokens")
    if type(length) is int and type(tokens) is int and tokens >= length:
        where = ("writer", "solutions", "sampling", "max_tokens")
        yield where, f"`{dotted(where)}` is {tokens}: `{teacher}` has a context of {length}", "leave room for the query"


def _thoughts(values: Mapping[str, Any]) -> Iterator[Found]:
    """Models whose prompt begins a thought, where the teacher has none: no new solution could be trained on.

    A server may return thoughts apart from the text, whatever the recipe says. Where `only` or `except` choose, the
    stage finds those that do not fit.
    """
    models, design, teacher = table_at(values, "models"), table_at(values, "design"), teacher_of(values)
    thinks = teacher is None or table_at(models, teacher).get("thinking") is not None
    served = table_at(values, "engine").get("kind") not in ("vllm", "transformers")
    if thinks or served or not table_at(models, str(teacher)) or any(design.get(key) for key in ("only", "except")):
        return
    for name in dict.fromkeys(item for item in list_at(design, "models") if isinstance(item, str)):
        if table_at(table_at(models, name), "thinking").get("opened_by") == "prompt":
            yield (
                ("writer", "solutions"),
                f"`{teacher}` declares no `thinking`, and the prompt of `{name}` begins a thought: it cannot be "
                "trained on solutions without one",
                f"another `model`, or `models.{teacher}.thinking` if it thinks",
            )


def _references(values: Mapping[str, Any], maps: Maps) -> Iterator[Found]:
    """Datasets without a reference. Where `only` or `except` choose, the stage finds those that need one."""
    design, datasets = table_at(values, "design"), table_at(values, "datasets")
    if design.get("only") is not None or design.get("except") is not None:
        return
    for name in dict.fromkeys(item for item in list_at(design, "datasets") if isinstance(item, str)):
        entry = table_at(datasets, name)
        preset = entry.get("preset")
        unclear = REFUSED in (entry.get("fields"), entry.get("source"), preset) or (preset and preset not in PRESETS)
        if entry and not unclear and not maps(entry, "reference"):
            yield (
                ("datasets", name),
                f"`datasets.{name}` maps no `reference`, and new solutions are graded against it",
                "add it to `fields`",
            )
