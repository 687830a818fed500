"""The JSON schema of recipes, by a validator of its own: it accepts what ITS accepts, and refuses what it can see."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic import ValidationError

from its.recipe.document import read_document
from its.recipe.scaffold import MODELINE, new_recipe
from its.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
FILES = [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "params.yaml"]
Path_ = tuple[str | int, ...]

RICH = {
    "models": {
        "wheel": {
            "source": {"kind": "wheel", "package": "a", "version": "1", "file": "a/b.gguf", "sha256": "0" * 64},
            "dtype": "bfloat16",
            "context_length": 64,
            "special_tokens": {"eos": "e", "pad": "p"},
            "chat_template": "prompts/chatml.jinja",
        },
        "wheels": {
            "source": {
                "kind": "wheels",
                "parts": [
                    {"package": "a", "version": "1", "file": "a/b.0", "sha256": "0" * 64},
                    {"package": "b", "version": "2", "file": "b", "sha256": "1" * 64},
                ],
                "sha256": "2" * 64,
            },
            "dtype": "bfloat16",
            "context_length": 64,
            "special_tokens": {"eos": "e", "pad": "p"},
        },
        "hub": {
            "source": {"kind": "hub", "id": "a/b", "revision": "0123456"},
            "dtype": "float32",
            "context_length": 64,
            "special_tokens": {"eos": "e", "pad": "p"},
            "thinking": {"start": "<a>", "end": "</a>", "opened_by": "model"},
            "date": "2026-01-31",
        },
        "folder": {
            "source": {"kind": "folder", "path": "x", "sha256": "0" * 64},
            "dtype": "float16",
            "context_length": 100,
            "special_tokens": {"eos": "e", "pad": "p", "bos": None},
        },
    },
    "datasets": {
        "made": {
            "source": {
                "kind": "procedural",
                "generator": "arithmetic",
                "size": 5,
                "split": "train",
                "steps": [2, 4],
                "templates": ["boxes"],
            },
        },
        "parts": {
            "source": [
                {"kind": "files", "path": "data/sources/a.jsonl", "name": "one"},
                {"kind": "hub", "id": "a/b", "subset": ["x", "y"], "split": "train[:5]"},
            ],
            "fields": {
                "problem": "q",
                "solution": "s",
                "choices": {"correct": "c", "wrong": ["w"]},
                "meta": {"level": "level"},
            },
            "filters": [
                "has_box",
                {"name": "tokens", "of": "problem", "model": "hub", "at_most": 5},
                {"name": "language", "keep": ["en"]},
                {"name": "column", "of": "level", "keep": [1, "1", True, None, 1.5]},
                {"name": "column", "of": "level", "at_least": 1},
            ],
            "duplicates": {"kind": "near"},
            "decontamination": {"against": ["b"], "action": "flag"},
            "tolerate": {"rows": 3},
            "split": {"seed": 1, "select": 0.5, "keep": "train"},
            "sample": {"size": 3, "seed": 1, "stratify_by": "source"},
        },
    },
    "benchmarks": {
        "b": {
            "source": {"kind": "hub", "id": "a/b", "subset": "x", "split": "test", "revision": "main"},
            "preset": "gsm8k",
            "filters": ["no_figure"],
            "answer": "math",
            "role": "select",
        }
    },
    "engine": {
        "kind": "openai",
        "options": {"a": [1, {"b": None}]},
        "environment": {"A": "1"},
        "openai": {
            "servers": [{"url": "https://h/v1", "key_variable": "K"}],
            "served": {"m": "n"},
            "timeout_seconds": 5,
            "price": {"prompt": 1, "completion": 0},
        },
    },
    "strategies": {
        "written": {
            "persona": {
                "template": "prompts/a.j2",
                "system": "s",
                "examples": [{"problem": "p", "persona": "x", "domain": "d"}],
                "start": "You",
                "count": 2,
            },
            "query": "prompts/b.j2",
            "place": "system",
            "domains": ["d"],
            "share": 0.5,
            "limits": {"max_words": 5, "min_words": 1, "language": "en", "checks": ["empty"]},
        },
        "noise": {"noise": {"like": "written"}, "query": "x"},
        "shuffled": {"shuffled": {"of": "written"}, "query": "x"},
        "fixed": {"fixed": {"texts": ["x"]}, "query": "x", "solutions": "regenerate"},
        "mix": {"mix": {"shares": {"written": 0.5, "noise": 0.5}, "seed": 1}},
        "union": {"union": {"of": ["written", "noise"]}},
    },
    "grading": {
        "timeout_seconds": 5,
        "workers": 2,
        "judge": {
            "model": "hub",
            "template": "prompts/judge.j2",
            "sampling": {"temperature": 0, "top_p": 1, "max_tokens": 5, "stop": ["x"]},
        },
    },
    "prompt": {"system": "s", "user": "{{ query }}", "control_tokens": "allow"},
    "report": {"examples": 1, "caveats": ["x"]},
}
"""Sections in place of the quickstart's: every field, and every variant of every union."""


@cache
def _shipped() -> list[dict[str, Any]]:
    return [read_document(path).values for path in FILES]


@cache
def _rich() -> dict[str, Any]:
    rich = {**copy.deepcopy(next(values for values in _shipped() if values["recipe"] == "quickstart")), **RICH}
    rich["train"] |= {"launcher_args": ["-x"], "save_every_steps": 5, "axolotl": {"a": {"b": 1}}}
    overlay = {"epochs": 2, "launcher": "torchrun", "launcher_args": ["-x"], "axolotl": {"a": 1}}
    rich["train"] |= {key: {"x": overlay} for key in ("models", "datasets", "variants")}
    rich["measure"] |= {"pass_k": [1], "all_k": [1], "maximum": False, "pool": {"p": ["b", "c"]}}
    sides = {"of": {"model": "hub", "seed": [1, 2]}, "against": {"checkpoint": ["1/3", "last"], "train": ["base"]}}
    rich["measure"]["contrasts"] = [{"name": "between", "benchmarks": ["p"], **sides}]
    rich["design"] |= {"variants": ["default", "x"], "checkpoints": ["last", "2/3"]}
    rich["design"] |= {"only": [{"benchmark": "b", "test": ["none"]}], "except": [{"dataset": "made", "variant": "x"}]}
    rich["vote"] |= {"ensembles": {"e": ["m-d-s-1/none", "m-base/b/none"]}, "strategies": {"v": ["none", "written"]}}
    sampling = {"temperature": 0.8, "top_p": 1.0, "max_tokens": 5}
    rich["writer"] |= {"solutions": {"model": "hub", "attempts": 4, "sampling": sampling}}
    return rich


def _accepts(values: dict[str, Any]) -> bool:
    """As `its.recipe.load`, which reads the version before the models do."""
    try:
        Recipe.model_validate(values)
    except ValidationError:
        return False
    return type(values["recipe_version"]) is int


def _places(value: Any, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    yield at, value
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*at, key))


def _with(values: dict[str, Any], at: Path_, value: Any, key: str | None = None) -> dict[str, Any]:
    """The values with another one at a place; `key` replaces the key of the place too, or removes it if empty."""
    out = copy.deepcopy(values)
    node: Any = out
    for part in at[:-1]:
        node = node[part]
    if key is None:
        node[at[-1]] = value
    else:
        del node[at[-1]]
        if key:
            node[key] = value
    return out


OTHERS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    1.5,
    10**12,
    "",
    "x",
    "no such word",
    "A b",
    [],
    ["x"],
    [1],
    {},
    {"x": 1},
)


def _valid(values: dict[str, Any], at: Path_) -> bool:
    """The schema's verdict; of a change within a section, by that section alone, which is quicker."""
    if len(at) < 2:
        return bool(VALIDATOR.is_valid(values))
    part = str(at[0])
    return bool(VALIDATOR.evolve(schema={"$ref": f"#/properties/{part}"}).is_valid(values[part]))


def _broken(values: dict[str, Any]) -> Iterator[tuple[str, Path_, dict[str, Any]]]:
    """Each place with each other value, absent, under a misspelt key, and with a key too many."""
    for at, value in _places(values):
        if not at:
            continue
        name = ".".join(map(str, at))
        for other in OTHERS:
            if other != value or type(other) is not type(value):
                yield f"{name}={other!r}", at, _with(values, at, other)
        if isinstance(at[-1], str):
            yield f"without {name}", at, _with(values, at, None, key="")
            yield f"misspelt {name}", at, _with(values, at, value, key=f"{at[-1]}x")
        if isinstance(value, dict):
            yield f"more in {name}", (*at, "zzz"), _with(values, at, {**value, "zzz": 1})


def test_the_schema_is_one_and_accepts_every_recipe() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    for values in (*_shipped(), _rich()):
        assert _accepts(values)
        error = best_match(VALIDATOR.iter_errors(values))
        assert error is None, error


def test_it_never_refuses_what_its_accepts_and_sees_nearly_all_else() -> None:
    """Verdict by verdict over thousands of recipes with one change; what it cannot see is listed by its place."""
    verdicts = [(name, _valid(broken, at), _accepts(broken)) for name, at, broken in _broken(_rich())]
    wrongly = [name for name, valid, accepted in verdicts if accepted and not valid]
    assert wrongly == []
    refused = [name for name, valid, accepted in verdicts if not accepted and not valid]
    unseen = [name for name, valid, accepted in verdicts if not accepted and valid]
    assert len(refused) > 4_000
    # Not in a schema: what a parser of ours reads (a version, a path in a wheel, a date, a URL's host).
    known = ("package=", "version=", "file=", "date=", "url=")
    assert [name for name in unseen if not any(f".{word}" in name for word in known)] == []


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("generation", "temprature"), 1, "'temprature' was unexpected"),
        (("generation", "n"), "1", "'1' is not of type 'integer'"),
        (("generation", "n"), 1.5, "1.5 is not of type 'integer'"),
        (("generation", "n"), 0, "0 is less than the minimum of 1"),
        (("generation", "top_p"), 1.1, "1.1 is greater than the maximum of 1"),
        (("generation", "top_p"), None, "None is not of type 'number'"),
        (("models", "hub", "source", "kind"), "hubb", "'hubb' is not one of ['wheel', 'wheels', 'hub', 'folder']"),
        (("models", "hub", "source", "pth"), "x", "'pth' was unexpected"),
        (("models", "hub", "source", "revision"), "main", "'main' does not match"),
        (("datasets", "parts", "source", 0, "split"), "x", "'split' was unexpected"),
        (("datasets", "parts", "filters", 0), "has_bx", "'has_bx' is not one of"),
        (("datasets", "parts", "filters", 2, "kep"), [], "'kep' was unexpected"),
        (("benchmarks", "b", "filters", 0), "has_box", "'no_figure' was expected"),
        (("engine", "openai", "served"), {"": "x"}, "'' should be non-empty"),
        (("strategies", "My-Plan"), {"query": "x"}, "'My-Plan' does not match"),
        (("models", "m" * 65), {}, "is too long"),
        (("datasets", "parts", "fields", "meta", "a b"), "x", "'a b' does not match"),
        (("engine", "openai", "servers"), [], "[] should be non-empty"),
    ],
)
def test_a_message_is_about_the_variant_that_is_meant(at: Path_, value: Any, message: str) -> None:
    error = best_match(VALIDATOR.iter_errors(_with(_rich(), at, value)))
    assert error is not None and message in error.message
    assert tuple(error.absolute_path) in (at, at[:-1])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_value_at_any_place_is_refused_by_the_schema_alone(data: st.DataObject) -> None:
    values = _rich()
    at, _ = data.draw(st.sampled_from([place for place in _places(values) if place[0]]))
    broken = _with(values, at, data.draw(VALUES))
    assert VALIDATOR.is_valid(broken) or not _accepts(broken)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_recipe_names_the_schema_for_editors(path: Path) -> None:
    """Relative to the file: recipes/ has the schema, and the project a link to it, so a copy in params.yaml works."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == MODELINE
    named = path.parent / first.partition("$schema=")[2]
    assert json.loads(named.read_text(encoding="utf-8")) == SCHEMA


def test_a_new_recipe_names_it_too(project: Path) -> None:
    assert new_recipe(project, "mine", "quickstart").read_text(encoding="utf-8").startswith(f"{MODELINE}\n# mine: ")
