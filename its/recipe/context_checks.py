"""Checks of numbers of tokens against each other: the context of a model, its responses and the rows it is trained on.

As `its.recipe.cross_checks`, on plain values: of the type that the schema demands, None, or REFUSED.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from its.errors import ItsError
from its.files import read_regular
from its.recipe.sampling_checks import all_sampled
from its.recipe.values import Found, Location, dotted, list_at, table_at

POSITIONS = ("max_position_embeddings", "n_positions")
"""Keys of a `config.json` for the number of positions of a model; the smaller one counts, as in vLLM."""
LONGER = ("hf_overrides", "rope_scaling", "rope_parameters", "rope_theta")
"""Engine options that may lengthen the context of a model; with one of them its `config.json` decides nothing."""
LONGER_VARIABLE = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
MAX_CONFIG_BYTES = 2**20
"""Of a `config.json`; those of models have less than 10 kB."""


def context_faults(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    """Every fault of lengths that do not fit the context of a model, each once."""
    found = [*_responses(values), *_rows(values), *_filters(values), *_positions(values, project)]
    yield from dict.fromkeys(found)


def _context(values: Mapping[str, Any], name: Any) -> int | None:
    """The context of a declared model; None where it is missing or refused."""
    length = table_at(table_at(values, "models"), name).get("context_length") if isinstance(name, str) else None
    return length if type(length) is int else None


def _responses(values: Mapping[str, Any]) -> Iterator[Found]:
    """Responses of test queries, of the writer and of the judge that leave no token of the context for the prompt."""
    for sampled in all_sampled(values):
        tokens, where = sampled.number("max_tokens"), sampled.places.get("max_tokens")
        if where is None or where[:2] == ("writer", "solutions"):  # `its.recipe.solution_checks`
            continue
        for name in sampled.models:
            length = _context(values, name)
            if length is not None and isinstance(tokens, int) and tokens >= length:
                wrong = f"`{dotted(where)}` is {tokens}: `{name}` has a context of {length}"
                yield where, wrong, "leave room for the prompt"


def _rows(values: Mapping[str, Any]) -> Iterator[Found]:
    """A row to train on that may be longer than the context of a model that is trained."""
    limit = table_at(values, "train").get("sequence_length")
    for name in list_at(table_at(values, "design"), "models"):
        length = _context(values, name)
        if length is not None and type(limit) is int and limit > length:
            wrong = f"`train.sequence_length` is {limit}: `{name}` has a context of {length}"
            hint = f"at most {length}, or raise `models.{name}.context_length` if the model has more positions"
            yield ("train", "sequence_length"), wrong, hint


def _filters(values: Mapping[str, Any]) -> Iterator[Found]:
    """Filters of sets in the design that keep only texts as long as the whole row or context, or longer."""
    design = table_at(values, "design")
    limit = table_at(values, "train").get("sequence_length")
    for section in ("datasets", "benchmarks"):
        for name in list_at(design, section):
            entry = table_at(table_at(values, section), name) if isinstance(name, str) else {}
            for index, step in enumerate(list_at(entry, "filters")):
                least, model = table_at({"": step}, "").get("at_least"), table_at({"": step}, "").get("model")
                if type(least) is not int or model not in list_at(design, "models"):
                    continue  # the tokens of another model say little
                most, what = limit, "`train.sequence_length`"
                if section == "benchmarks":
                    most, what = _context(values, model), f"`models.{model}.context_length`"
                if type(most) is int and least >= most:
                    here: Location = (section, name, "filters", index, "at_least")
                    wrong = f"`{dotted(here)}` is {least}: {what} is {most}, so no row that it keeps has room"
                    yield here, wrong, f"use less than {most}, or raise {what}"


def _positions(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    """A context that is longer than the positions in the `config.json` of a model in a folder."""
    engine = table_at(values, "engine")
    options, variables = table_at(engine, "options"), table_at(engine, "environment")
    if any(options.get(name) for name in LONGER) or LONGER_VARIABLE in variables:
        return
    for name, model in table_at(values, "models").items():
        source = table_at(model, "source")
        length, path = _context(values, name), source.get("path")
        if length is None or source.get("kind") != "folder" or not isinstance(path, str) or "\0" in path:
            continue
        most = _most_positions(project / path / "config.json")
        if most is not None and length > most:
            here: Location = ("models", name, "context_length")
            wrong = f"`{dotted(here)}` is {length}: the model in `{path}` has {most} positions (`config.json`)"
            yield here, wrong, f"use at most {most}"


def _most_positions(path: Path) -> int | None:
    """The longest context that a `config.json` allows; None if it states none, or cannot be read.

    With scaled positions that is at most their number times the largest factor: never less than an engine allows.
    """
    try:
        config: Any = json.loads(read_regular(path, MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError, ItsError):  # what is wrong with a model shows where it is loaded
        return None
    config = {**table_at({"": config}, ""), **table_at(config, "text_config")}
    stated = [config[key] for key in POSITIONS if type(config.get(key)) is int and config[key] > 0]
    return int(min(stated) * _factor(config)) if stated else None


def _factor(config: Mapping[str, Any]) -> float:
    """The largest factor of scaled positions, at least 1; some models have one for each kind of layer."""
    found = [1.0]
    waiting = [config.get("rope_scaling"), config.get("rope_parameters")]
    while waiting:
        table = waiting.pop()
        for key, value in table.items() if isinstance(table, Mapping) else ():
            if isinstance(value, Mapping):
                waiting.append(value)
            elif key == "factor" and isinstance(value, int | float) and 1 < value < 1e6:
                found.append(float(value))
    return max(found)
