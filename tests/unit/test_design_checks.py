"""What a study varies: every way to say it wrongly is one fault at its place, with a remedy that works."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pace import processor_seconds

from its.errors import Fault
from its.recipe.document import Document, parse_document, read_document
from its.recipe.load import validate

ROOT = Path(__file__).parents[2]
LORA = {"learning_rate": 0.001, "axolotl": {"adapter": "lora", "lora_r": 8}}
Location = tuple[str | int, ...]


def _base() -> dict[str, Any]:
    """Two models, datasets, variants, seeds, checkpoints; three benchmarks, one of them to choose on."""
    values = read_document(ROOT / "tests" / "hostile" / "recipes" / "base.yaml").values
    del values["datasets"]["sums"]["decontamination"]
    values["models"]["large"] = values["models"]["small"]
    values["datasets"]["more"] = values["datasets"]["sums"]
    easy = values["benchmarks"].pop("sums_test")
    values["benchmarks"] = {"easy": easy, "hard": easy, "dev": {**easy, "role": "select"}}
    values["strategies"]["both"] = {"union": {"of": ["none", "random"]}}
    values["train"]["variants"] = {"lora": LORA}
    lists = {"models": ["small", "large"], "datasets": ["sums", "more"], "benchmarks": ["easy", "hard", "dev"]}
    values["design"] |= {**lists, "variants": ["default", "lora"], "seeds": [1, 2], "checkpoints": ["last", "1/3"]}
    return cast("dict[str, Any]", json.loads(json.dumps(values)))  # nothing in it twice


BASE = _base()


def _document(*changes: tuple[Location, Any]) -> Document:
    values = copy.deepcopy(BASE)
    for path, value in changes:
        node: Any = values
        for part in path[:-1]:
            node = node.setdefault(part, {}) if isinstance(part, str) else node[part]
        node[path[-1]] = value
    return parse_document(ROOT / "params.yaml", json.dumps(values, indent=1))


def _faults(*changes: tuple[Location, Any]) -> list[Fault]:
    return validate(_document(*changes), ROOT)[1]


ONLY, EXCEPT = ("design", "only"), ("design", "except")
CHECKPOINTS, VARIANTS = ("design", "checkpoints"), ("design", "variants")
POOL, CONTRASTS = ("measure", "pool"), ("measure", "contrasts")
SIDES = {"of": {"dataset": "sums"}, "against": {"dataset": "more"}}


def _contrast(of: Any, against: Any, **more: Any) -> list[Any]:
    return [{"name": "mine", "of": of, "against": against, **more}]


def test_the_base_is_valid() -> None:
    assert _faults() == []


VALID: list[tuple[Location, Any]] = [
    (CONTRASTS, [*_contrast(**SIDES, benchmarks=["easy"]), {"name": "other", **SIDES, "benchmarks": ["hard"]}]),
    (ONLY, [{"test": "none"}, {"train": "none"}]),
    (ONLY, [{"benchmark": "dev"}, {"train": "none"}, {"train": "base"}]),
    (ONLY, [{"seed": [1], "dataset": "sums"}, {"seed": 2, "dataset": ["more"]}]),
    (EXCEPT, [{"model": "small", "train": "base"}]),
    (EXCEPT, [{"checkpoint": "1/3", "variant": "lora"}, {"checkpoint": "1/3", "test": "random"}]),
    (CHECKPOINTS, ["1/3", "2/3", "last"]),
    (CHECKPOINTS, ["last", "98/99"]),
    (VARIANTS, ["lora"]),
    (VARIANTS, ["default"]),
    (("train", "variants", "spare"), {"epochs": 7}),
    (("train", "models", "small"), {"epochs": 2}),
    (("train", "datasets", "sums"), {"launcher_args": [], "epochs": 2}),
    (POOL, {"all": ["easy", "hard"]}),
    (CONTRASTS, _contrast({"train": "base"}, {"train": "random"})),
    (CONTRASTS, _contrast({"dataset": "sums", "test": "none"}, {"dataset": "more"})),
    (CONTRASTS, _contrast({"checkpoint": "last"}, {"checkpoint": "1/3"}, benchmarks=["easy"])),
    (CONTRASTS, _contrast({"test": "random"}, {"test": "none"})),
    (("vote", "strategies"), {"each": ["none", "random"]}),
    (("vote", "ensembles"), {"mine": ["small-sums-none-1-lora/none", "small-sums-none-1/none"]}),
    (("vote", "ensembles"), {"mine": ["small-sums-none-1-lora-1of3/easy/none", "small-base/easy/none"]}),
]


@pytest.mark.parametrize("change", VALID, ids=str)
def test_what_may_be_said(change: tuple[Location, Any]) -> None:
    assert _faults(change) == []


WRONG: list[tuple[Location, Any, Location, str, str]] = [
    # Lists of the design.
    (VARIANTS, ["default", "lroa"], (1,), "variant `lroa` is not declared", "did you mean `lora`?"),
    (VARIANTS, ["lora", "lora"], (1,), "`design.variants` names `lora` twice", "remove one"),
    (CHECKPOINTS, ["1/3"], (), "has no `last`", "add `last`"),
    (CHECKPOINTS, ["last", "2/4"], (1,), "is `2/4`: not in lowest terms", "write `1/2`"),
    (CHECKPOINTS, ["last", "3/3"], (1,), "is `3/3`: that is the end of the training", "write `last`"),
    (CHECKPOINTS, ["last", "4/3"], (1,), "beyond the end of the training", "a share below 1"),
    (CHECKPOINTS, ["last", "1/3", "1/3"], (2,), "names `1/3` twice", "remove one"),
    (CHECKPOINTS, ["last", "last"], (1,), "names `last` twice", "remove one"),
    # Entries of only and except.
    (ONLY, [{}], (0,), "names no axis", "name one of `model`, `dataset`,"),
    (EXCEPT, [{"model": None}], (0,), "names no axis", "name one of `model`, `dataset`,"),
    (ONLY, [{"test": "nonne"}], (0, "test"), "test strategy `nonne` is not in `design.test`", "mean `none`?"),
    (ONLY, [{"seed": [1, 3]}], (0, "seed", 1), "training seed `3` is not in `design.seeds`", "`1`, `2`"),
    (ONLY, [{"checkpoint": "2/6"}], (0, "checkpoint"), "checkpoint `2/6` is not in", "write `1/3`"),
    (EXCEPT, [{"dataset": ["sums", "sums"]}], (0, "dataset", 1), "names `sums` twice", "remove one"),
    (ONLY, [{"train": "base", "seed": 1}], (0, "train"), "an untrained model has none", "a separate entry"),
    (EXCEPT, [{"train": ["none", "base"], "variant": "lora"}], (0, "train"), "`train: base` and a variant", "separate"),
    (ONLY, [{"train": "none"}, {"test": "none"}, {"train": "none", "seed": 1}], (2,), "keeps no cell that", "take it"),
    (ONLY, [{"train": "none", "seed": 1}, {"test": "none"}, {"train": "none"}], (0,), "keeps no cell that", "take it"),
    (EXCEPT, [{"seed": 1, "train": "none"}] * 2, (1,), "`design.except.1` leaves out no cell that", "take it out"),
    # What they leave.
    (EXCEPT, [{"test": ["none", "random"]}], (), "`design` has no cell left: `except` leaves none", "change an entry"),
    (ONLY, [{"train": "base"}], (), "`only` leaves no cell of a trained checkpoint", "change an entry"),
    # Pools.
    (POOL, {"all": ["easy", "dev"]}, ("all",), "the roles `report` (`easy`) and `select` (`dev`)", "same `role`"),
    (POOL, {"all": ["easy", "easy"]}, ("all", 1), "`measure.pool.all` names `easy` twice", "remove one"),
    (POOL, {"all": ["easy", "hrad"]}, ("all", 1), "benchmark `hrad` is not declared", "did you mean `hard`?"),
    (POOL, {"hard": ["easy", "hard"]}, ("hard",), "`hard` is a benchmark", "another name for the pool"),
    (POOL, {"sums": ["easy", "hard"]}, ("sums",), "`sums` is a dataset", "another name for the pool"),
    (POOL, {"last": ["easy", "hard"]}, ("last",), "`last` is a reserved word", "another name"),
    (POOL, {"one": ["easy", "hard"], "two": ["one", "hard"]}, ("two", 0), "`one` is a pool", "name its benchmarks"),
    (POOL, {"one": ["easy", "hard"], "two": ["hard", "easy"]}, ("two",), "has the benchmarks of", "remove one"),
    # Contrasts.
    (CONTRASTS, _contrast({"dataset": "sums"}, {}), (0, "against"), "names no axis", "name one of `model`"),
    (CONTRASTS, _contrast({"seed": 1}, {"seed": 1}), (0,), "both sides are the same cells", "different values"),
    (
        *(CONTRASTS, _contrast({"dataset": "sums"}, {"model": "small"}), (0,)),
        *("a cell is on both sides: small sums none default 1 last under `none` on `easy`", "name `model` on both"),
    ),
    (CONTRASTS, _contrast({"train": "base", "seed": 1}, {"train": "none"}), (0, "of", "train"), "has none", "`seed`"),
    (CONTRASTS, _contrast({"dataset": "smus"}, {"dataset": "more"}), (0, "of", "dataset"), "not in", "mean `sums`?"),
    (CONTRASTS, _contrast(**SIDES, benchmarks=["hrad"]), (0, "benchmarks", 0), "neither a benchmark", "mean `hard`?"),
    (CONTRASTS, _contrast(**SIDES, benchmarks=["easy"] * 2), (0, "benchmarks", 1), "names `easy` twice", "remove one"),
    (CONTRASTS, [{"name": "xn", **SIDES}], (0, "name"), "a word of the planned comparisons and blocks", "for example"),
    (CONTRASTS, [{"name": "base", **SIDES}], (0, "name"), "a word of the planned comparisons and blocks", "example"),
    (
        *(CONTRASTS, [*_contrast(**SIDES), *_contrast({"seed": 1}, {"seed": 2})], (1, "name")),
        *("two contrasts `mine`", "another name"),
    ),
    (
        *(CONTRASTS, [*_contrast(**SIDES), {"name": "swapped", "of": SIDES["against"], "against": SIDES["of"]}], (1,)),
        *("compares what `mine` compares", "remove one"),
    ),
    (
        *(CONTRASTS, [*_contrast(**SIDES), {"name": "there", **SIDES, "benchmarks": ["easy"]}], (1,)),
        *("compares what `mine` compares", "remove one"),
    ),
    (
        *(CONTRASTS, [*_contrast(**SIDES, benchmarks=["easy"]), {"name": "all", **SIDES}], (1,)),
        *("compares on `easy` what `mine` compares", "name different benchmarks"),
    ),
    # Votes.
    (("vote", "strategies"), {"v": ["none", "none"]}, ("v", 1), "names `none` twice", "remove one"),
    (("vote", "strategies"), {"v": ["none", "both"]}, ("v", 1), "`both` is a union", "the strategies that it unites"),
    (("vote", "strategies"), {"v": ["none", "similar"]}, ("v", 1), "`similar` is not in `design.test`", "`random`"),
    (("vote", "strategies"), {"none": ["none", "random"]}, ("none",), "like a test strategy", "`none_vote`"),
    (
        *(("vote", "strategies"), {"v": ["none", "random"], "w": ["random", "none"]}, ("w",)),
        *("has the test strategies of `vote.strategies.v`", "remove one"),
    ),
]
WRONG += [
    (("vote", "ensembles"), {"v": [member, "small-base/none"]}, ("v", 0), message, hint)
    for member, message, hint in (
        ("small-sums-none-1-default/none", "is not the name of a checkpoint", "`default` adds nothing"),
        ("small-sums-none-1-last/none", "is not the name of a checkpoint", "`last` adds nothing"),
        ("small-sums-none-1-1of3-lora/none", "is not the name of a checkpoint", "did you mean"),
        ("small-sums-none-1-lroa/none", "variant `lroa` is not in `design.variants`", "mean `lora`?"),
        ("small-sums-none-1-2of3/none", "checkpoint `2/3` is not in `design.checkpoints`", "`1/3`"),
        ("small-sums-none-01/none", "training seed `01` is not in `design.seeds`", "mean `1`?"),
        ("small-base-lora/none", "is not the name of a checkpoint", "did you mean `small-base`?"),
    )
]


MIXES = {"half": {"none": 0.5, "random": 0.5}, "third": {"none": 0.4, "similar": 0.6}}


@pytest.mark.parametrize(
    ("key", "voting", "wrong"),
    [
        ("strategies", ["none", "half"], "lets `none` and the mix `half` vote: where a mix draws `none`, the same"),
        ("strategies", ["half", "random"], "lets `random` and the mix `half` vote: where a mix draws `random`"),
        ("strategies", ["half", "third"], "lets `half` and `third` vote: where a mix draws `none`, the same response"),
        ("strategies", ["third", "random"], None),
        ("ensembles", ["small-base/none", "small-base/half"], "lets `none` and the mix `half` vote"),
        ("ensembles", ["small-base/easy/half", "small-base/easy/none"], "lets `none` and the mix `half` vote"),
        ("ensembles", ["small-base/none", "small-sums-none-1/half"], None),
    ],
)
def test_a_response_votes_once(key: str, voting: list[str], wrong: str | None) -> None:
    mixes: list[tuple[Location, Any]] = [
        (("strategies", name), {"mix": {"shares": shares}}) for name, shares in MIXES.items()
    ]
    found = _faults(*mixes, (("design", "test"), ["none", "random", *MIXES]), (("vote", key), {"mine": voting}))
    assert [fault.message.startswith(f"`vote.{key}.mine` {wrong}") for fault in found] == (
        [] if wrong is None else [True]
    )
    assert all(fault.hint == "leave one of them out" for fault in found)


@pytest.mark.parametrize(("path", "value", "below", "message", "hint"), WRONG, ids=lambda part: str(part)[:60])
def test_what_may_not(path: Location, value: Any, below: Location, message: str, hint: str) -> None:
    (fault,) = _faults((path, value))
    assert fault.where == _document((path, value)).where((*path, *below))
    assert message in fault.message and fault.hint is not None and hint in fault.hint


OVERLAYS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("variants", {"lora": {}}, "lora", "has no settings", "name what differs"),
    ("variants", {"lora": {"epochs": None}}, "lora", "has no settings", "name what differs"),
    ("variants", {"lora": {"epochs": 1.0}}, "lora", "changes nothing: its trainings are those of", "change it"),
    ("variants", {"lora": {"axolotl": {}, "launcher_args": []}}, "lora", "changes nothing", "change it"),
    ("variants", {"lora": LORA, "base": LORA}, "base", "`base` is the untrained model", "another name"),
    ("variants", {"lora": LORA, "default": LORA}, "default", "`default` is `train` without a variant", "another name"),
    ("variants", {"lora": LORA, "last": LORA}, "last", "a checkpoint in the names of checkpoints", "another name"),
    ("variants", {"lora": LORA, "1of3": LORA}, "1of3", "a checkpoint in the names of checkpoints", "another name"),
    ("models", {"tiny": LORA}, "tiny", "model `tiny` is not declared", "declared: `small`, `large`"),
    ("models", {"small": {}}, "small", "has no settings", "take it out"),
    ("models", {"small": {"epochs": 1, "launcher_args": []}}, "small", "the same `epochs`, `launcher_args`", "take it"),
    ("datasets", {"smus": LORA}, "smus", "dataset `smus` is not declared", "did you mean `sums`?"),
    ("datasets", {"sums": {"weight_decay": 0}}, "sums", "`train` has the same `weight_decay`", "take it out"),
]


@pytest.mark.parametrize(("table", "value", "name", "message", "hint"), OVERLAYS, ids=str)
def test_an_overlay_changes_something_that_there_is(
    table: str, value: dict[str, Any], name: str, message: str, hint: str
) -> None:
    (fault,) = _faults((("train", table), value))
    assert fault.where == _document((("train", table), value)).where(("train", table, name))
    assert message in fault.message and fault.hint is not None and hint in fault.hint


def test_an_overlay_of_a_dataset_may_restore_what_one_of_a_model_changes() -> None:
    models = (("train", "models"), {"small": {"epochs": 3}})
    assert _faults(models, (("train", "datasets"), {"sums": {"epochs": 1}})) == []
    (fault,) = _faults(models, (("train", "datasets"), {"sums": {"weight_decay": 0.0}}))
    assert "changes nothing" in fault.message


def test_a_variant_may_equal_train_for_one_dataset_but_not_for_all() -> None:
    datasets = (("train", "datasets"), {"sums": {"epochs": 5}})
    variants = (("train", "variants"), {"lora": {"epochs": 5}})
    assert _faults(datasets, variants) == []
    (fault,) = _faults(datasets, variants, (ONLY, [{"dataset": "sums"}, {"variant": "default"}]))
    assert "`train.variants.lora` changes nothing" in fault.message


def test_two_variants_with_the_same_settings() -> None:
    two = {"lora": LORA, "again": {"axolotl": {"lora_r": 8, "adapter": "lora"}, "learning_rate": 0.001, "epochs": 1}}
    changes = ((("train", "variants"), two), (VARIANTS, ["default", "lora", "again"]))
    (fault,) = _faults(*changes)
    assert "`train.variants.again` has the settings of the variant `lora`" in fault.message
    apart = [{"variant": "lora", "dataset": "sums"}, {"variant": "again", "dataset": "more"}, {"variant": "default"}]
    assert _faults(*changes, (ONLY, apart)) == [], "then no two trainings are the same"


def test_a_null_that_removes_nothing() -> None:
    (fault,) = _faults(
        (("train", "save_every_steps"), 10), (("train", "variants", "lora"), {**LORA, "save_every_steps": None})
    )
    assert "`train.variants.lora.save_every_steps` is `null`, which does not remove" in fault.message
    assert "in the overlays that are to have it" in str(fault.hint)


def test_one_word_is_both_a_strategy_and_an_axis() -> None:
    for axis, hint in (("strategy", "`train` is the strategy"), ("benchmark", "`benchmarks` beside `of`")):
        faults = _faults((CONTRASTS, _contrast({axis: "none"}, {"test": "random"})))
        assert [hint in str(fault.hint) for fault in faults] == [True]


SHAPES: list[tuple[Location, Any, str, str]] = [
    (ONLY, {"dataset": "sums"}, "input should be a valid list", "makes it a list of one"),
    (CONTRASTS, {"name": "mine", **SIDES}, "input should be a valid list", "makes it a list of one"),
    (CONTRASTS, {"mine": SIDES}, "input should be a valid list", "`- {name: size_15k_1k, of: "),
    (CONTRASTS, ["sums"], "input should be a mapping", "`- {name: size_15k_1k, of: "),
    (ONLY, ["sums"], "input should be a mapping", "`{dataset: NAME, seed: [1, 2]}`"),
    (ONLY, [["sums"]], "input should be a mapping", "`{dataset: NAME, seed: [1, 2]}`"),
    (CONTRASTS, _contrast("sums", {"dataset": "more"}), "input should be a mapping", "`{dataset: NAME,"),
    (ONLY, [], "at least 1 item", ""),
    (ONLY, [{"dataset": 5}], "a text or a list of texts is expected", ""),
    (ONLY, [{"dataset": {"is": "sums"}}], "a text or a list of texts is expected", ""),
    (ONLY, [{"dataset": []}], "at least 1 item", ""),
    (ONLY, [{"dataset": [["sums"]]}], "`design.only.0.dataset.0` is a list: input should be a valid string", ""),
    (ONLY, [{"dataset": "Süms"}], "`Süms` is not a name", "for example `s_ms`"),
    (ONLY, [{"datasets": "sums"}], "unknown field `design.only.0.datasets`", "did you mean `dataset`?"),
    (ONLY, [{"strategy": "none"}], "unknown field", "`test` the one that it is tested under"),
    (ONLY, [{"pool": "all"}], "unknown field", "name the benchmarks of the pool"),
    (ONLY, [{"seed": "1"}], "`design.only.0.seed` is `1`", "without quotes: `1`"),
    (ONLY, [{"seed": True}], "an integer or a list of integers is expected", ""),
    (ONLY, [{"seed": 2**63}], "less than", ""),
    (ONLY, [{"checkpoint": 1}], "a text or a list of texts is expected", ""),
    *((CHECKPOINTS, ["last", text], "`last` is expected, or a share", "") for text in ("0/1", "1/0", "01/3", "1/100")),
    *(
        (CHECKPOINTS, ["last", text], "`last` is expected, or a share", "")
        for text in ("last ", "", "Last", "\uff11/\uff13")
    ),
    (CHECKPOINTS, "last", "input should be a valid list", "`checkpoints: [last]`"),
    (CHECKPOINTS, ["last", 0.5], "input should be a valid string", "`checkpoints: [last, 1/3]`"),
    (CHECKPOINTS, ["last", "50%"], "`last` is expected, or a share", "`checkpoints: [last, 1/3]`"),
    (VARIANTS, {"lora": LORA}, "input should be a valid list", "`variants: [default, NAME]`"),
    (("design", "seeds"), "1-2", "input should be a valid list", "`seeds: [1, 2]`"),
    (("train", "variants"), {"lora": {"sequence_length": 64}}, "unknown field", "the same for all trainings"),
    (("train", "variants"), {"lora": {"variants": {}}}, "unknown field", "`train.variants` is beside it"),
    (("train", "models"), {"small": {"datasets": {}}}, "unknown field", "`train.datasets` is beside it"),
    (("train", "variants"), {"lora": {"epoch": 2}}, "unknown field", "did you mean `epochs`?"),
    (("train", "variants"), {"lora": None}, "is `null`: input should be a mapping", "`NAME: {epochs: 5}`"),
    (("train", "models"), [], "is a list: input should be a mapping", "`NAME: {epochs: 5}`"),
    (POOL, {"all": "easy"}, "input should be a valid list", "`aime: [aime_2024, aime_2025]`"),
    (POOL, {"all": ["easy"]}, "at least 2 items", "`aime: [aime_2024, aime_2025]`"),
    (POOL, [["easy", "hard"]], "is a list: input should be a mapping", "`aime: [aime_2024, aime_2025]`"),
    (("design", "pool"), {"all": ["easy", "hard"]}, "unknown field `design.pool`", "`measure` has `pool`"),
    (("design", "contrasts"), [], "unknown field `design.contrasts`", "`measure` has `contrasts`"),
    (("measure", "strategies"), {}, "unknown field `measure.strategies`", "`vote` has `strategies`"),
    (
        CONTRASTS,
        [{"of": {"seed": 1}, "against": {"seed": 2}}],
        "missing field `measure.contrasts.0.name`",
        "add `name:`",
    ),
    (CONTRASTS, [{"name": "XX - NN", **SIDES}], "`XX - NN` is not a name", ""),
    (("vote", "strategies"), ["none", "random"], "is a list: input should be a mapping", "`both: [none, random]`"),
    (("vote", "strategies"), {"v": "none"}, "input should be a valid list", "`both: [none, random]`"),
    (("writer", "solutions"), "small", "is `small`: input should be a mapping", "`solutions: {sampling: "),
]


@pytest.mark.parametrize(("path", "value", "message", "hint"), SHAPES, ids=lambda part: str(part)[:60])
def test_a_wrong_shape(path: Location, value: Any, message: str, hint: str) -> None:
    faults = _faults((path, value))
    assert [message in fault.message and hint in str(fault.hint) for fault in faults] == [True], faults


def test_an_entry_with_a_fault_leaves_nothing_out() -> None:
    """What it keeps is not known, so nothing is said about the cells that are left."""
    uses = [(CONTRASTS, _contrast(**SIDES)), (POOL, {"all": ["easy", "hard"]})]
    uses += [(("vote", "strategies"), {"v": ["none", "random"]})]
    uses += [(("vote", "ensembles"), {"e": ["small-sums-none-1/none", "small-sums-none-1/random"]})]
    for entry, place in (({"dataset": "smus"}, "dataset"), ({"tset": "none"}, "tset"), ({"train": []}, "train")):
        for key in (ONLY, EXCEPT):
            (fault,) = _faults((key, [entry]), *uses)
            assert f"`{'.'.join(key)}.0.{place}`" in fault.message
    (fault,) = _faults((ONLY, [{"train": "base"}]), (("design", "base"), False), *uses)
    assert "since `design.base` is false" in fault.message


def test_base_is_no_strategy() -> None:
    for side in ("train", "test"):
        for evaluated in (True, False):
            (fault,) = _faults((("design", side), ["none", "base"]), (("design", "base"), evaluated))
            assert f"`design.{side}.1`: `base` is the untrained model" in fault.message
            assert str(fault.hint) == f"take it out of `{side}`" + ("" if evaluated else ", and set `base: true`")


def test_a_set_or_model_may_be_called_base() -> None:
    """It is reserved among strategies, where it is the untrained model."""
    changes: list[tuple[Location, Any]] = [
        (("models", "base"), BASE["models"]["small"]),
        (("datasets", "base"), BASE["datasets"]["sums"]),
        (("benchmarks", "last"), BASE["benchmarks"]["easy"]),
    ]
    changes += [(("design", "models"), ["base"]), (("design", "datasets"), ["sums", "base"])]
    changes += [(("design", "benchmarks"), ["easy", "last"]), (POOL, {"all": ["easy", "last"]})]
    changes += [(CONTRASTS, _contrast({"dataset": "sums"}, {"dataset": "base"}))]
    changes += [(("vote", "ensembles"), {"mine": ["base-base/none", "base-base-none-1/none"]})]
    assert _faults(*changes) == []


def test_an_unknown_field_is_nothing_to_rename() -> None:
    (fault,) = _faults((CONTRASTS, _contrast({"size": "sums"}, {"dataset": "more"})))
    assert "unknown field `measure.contrasts.0.of.size`" in fault.message
    (fault,) = _faults((("vote", "strategies"), {"size": ["none", "random"]}))
    assert "DVC's run cache does not see keys of that name" in fault.message


def test_a_pool_in_a_vote() -> None:
    members = ["small-sums-none-1/all/none", "small-base/all/none"]
    faults = _faults((POOL, {"all": ["easy", "hard"]}), (("vote", "ensembles"), {"mine": members}))
    assert [str(fault.hint) for fault in faults] == [
        "it is a pool: `CHECKPOINT/STRATEGY` votes on every benchmark and pool"
    ] * 2
    members = ["small-sums-none-1/none", "small-base/none"]
    assert _faults((POOL, {"all": ["easy", "hard"]}), (("vote", "ensembles"), {"mine": members})) == []


def test_a_share_with_a_slash_in_the_name_of_a_checkpoint() -> None:
    faults = _faults((("vote", "ensembles"), {"mine": ["small-sums-none-1-lora-1/3/none", "small-base/none"]}))
    assert [fault.hint for fault in faults] == ["write `small-sums-none-1-lora-1of3`"]


def test_values_that_no_cell_is_left_for_are_named_one_by_one() -> None:
    faults = _faults((ONLY, [{"dataset": "sums", "test": "none"}]))
    assert [fault.message.partition(",")[0] for fault in faults] == ["`design.datasets` names `more`"]
    assert "take it out of `datasets`" in str(faults[0].hint)  # base keeps the other test strategy
    faults = _faults((ONLY, [{"dataset": "sums", "test": "none"}, {"train": "base", "test": "none"}]))
    assert {fault.message.partition(",")[0] for fault in faults} == {
        "`design.datasets` names `more`",
        "`design.test` names `random`",
    }
    (fault,) = _faults((EXCEPT, [{"train": "base"}]))
    assert "no cell of an untrained model, and `design.base` is true" in fault.message
    assert _faults((EXCEPT, [{"train": "base", "test": "none"}])) == []


def test_an_entry_of_one_key_against_those_of_the_other() -> None:
    only = (ONLY, [{"seed": 1}, {"seed": 2, "test": "none"}])
    (fault,) = _faults(only, (EXCEPT, [{"seed": 2, "test": "random", "train": "none"}]))
    assert "`design.except.0` leaves nothing out: `design.only` keeps no cell that it matches" in fault.message
    faults = _faults(only, (EXCEPT, [{"seed": 2, "test": "none", "train": ["none", "random"]}]))
    assert any("`design.only.1` keeps nothing" in fault.message for fault in faults)


def test_base_is_named_only_where_it_is_evaluated() -> None:
    off = (("design", "base"), False)
    for change in (
        (ONLY, [{"train": ["none", "random", "base"]}]),
        (CONTRASTS, _contrast({"train": "base"}, {"train": "none"})),
    ):
        (fault,) = _faults(off, change)
        assert "`base` is not evaluated, since `design.base` is false" in fault.message


def test_what_is_pooled_has_one_n() -> None:
    pool, n = (POOL, {"all": ["easy", "hard"]}), ("generation", "n")
    warm = (("generation", "temperature"), 0.7)
    (fault,) = _faults(pool, (n, 2), warm, (("generation", "benchmarks"), {"hard": {"n": 4}}))
    assert "n = 2 (`easy`) and n = 4 (`hard`) for `small`" in fault.message
    assert _faults(pool, (n, 2), warm, (("generation", "benchmarks"), {"hard": {"n": 4}, "easy": {"n": 4}})) == []
    assert _faults(pool, (n, 2), warm, (("generation", "models"), {"small": {"n": 4}})) == []
    own = {"models": {"small": {"n": 4}}, "benchmarks": {"hard": {"n": 2}}}
    (fault,) = _faults(pool, (n, 2), warm, *((("generation", key), value) for key, value in own.items()))
    assert "for `small`" in fault.message


def test_what_is_pooled_is_answered_alike() -> None:
    (fault,) = _faults((POOL, {"all": ["easy", "hard"]}), (("benchmarks", "hard", "answer"), "number"))
    assert "`integer` (`easy`) and `number` (`hard`)" in fault.message


def test_a_benchmark_to_choose_on_is_in_one_pool() -> None:
    roles = [(("benchmarks", name, "role"), "select") for name in ("easy", "hard")]
    roles.append((("benchmarks", "dev", "role"), "report"))
    pools = {"one": ["easy", "hard"], "two": ["easy", "hard", "third"]}
    third = (("benchmarks", "third"), {**BASE["benchmarks"]["easy"], "role": "select"})
    benchmarks = (("design", "benchmarks"), ["easy", "hard", "dev", "third"])
    faults = _faults(*roles, third, benchmarks, (POOL, pools))
    assert ["`measure.pool.one` too" in fault.message for fault in faults] == [True, True]


def test_pools_contrasts_and_votes_have_cells_to_work_on() -> None:
    apart = (ONLY, [{"benchmark": ["easy", "dev"], "test": "none"}, {"benchmark": "hard", "test": "random"}])
    base = (("design", "base"), False)
    (fault,) = _faults(apart, base, (POOL, {"all": ["easy", "hard"]}))
    assert "leave no cell that all of its benchmarks have" in fault.message
    (fault,) = _faults(apart, base, (CONTRASTS, _contrast({"test": "random"}, {"test": "none"})))
    assert "no cell has a partner on the other side" in fault.message
    (fault,) = _faults(apart, base, (("vote", "strategies"), {"v": ["none", "random"]}))
    assert "no checkpoint that is tested under all of them" in fault.message
    members = ["small-sums-none-1/none", "small-sums-random-1/none"]
    faults = _faults(apart, base, (("vote", "ensembles"), {"v": members}))
    assert len(faults) == 2 and all("leave out `small-sums-" in fault.message for fault in faults)
    assert _faults(apart, base, (("vote", "ensembles"), {"v": [m.replace("/", "/easy/") for m in members]})) == []


def test_a_contrast_on_a_benchmark_that_has_no_pair_of_it() -> None:
    rules = (EXCEPT, [{"benchmark": "hard", "dataset": "more"}])
    assert _faults(rules, (CONTRASTS, _contrast(**SIDES))) == []
    (fault,) = _faults(rules, (CONTRASTS, _contrast(**SIDES, benchmarks=["easy", "hard"])))
    assert "`measure.contrasts.0.benchmarks.1`: no cell on `hard` has a partner" in fault.message
    (fault,) = _faults(rules, (CONTRASTS, _contrast(**SIDES, benchmarks=["all"])), (POOL, {"all": ["easy", "hard"]}))
    assert "no cell on `all` has a partner" in fault.message


def test_what_both_sides_name_alike_still_pairs() -> None:
    """As in the results: naming both seeds on both sides does not make one the partner of the other."""
    rules = (ONLY, [{"dataset": "sums", "seed": 1}, {"dataset": "more", "seed": 2}])
    both = {"seed": [1, 2]}
    (fault,) = _faults(rules, (CONTRASTS, _contrast({"dataset": "sums", **both}, {"dataset": "more", **both})))
    assert "no cell has a partner on the other side, with the same benchmark and" in fault.message
    assert "`seed`" in fault.message
    assert _faults(rules, (CONTRASTS, _contrast({"dataset": "sums", "seed": 1}, {"dataset": "more", "seed": 2}))) == []


def test_a_contrast_is_of_last_checkpoints_unless_a_side_names_others() -> None:
    assert _faults((CONTRASTS, _contrast({"seed": 1, "checkpoint": "1/3"}, {"seed": 1}))) == []
    assert _faults((CONTRASTS, _contrast({"checkpoint": "1/3"}, {"train": "base"}))) == []
    ends = (EXCEPT, [{"checkpoint": "last", "dataset": "more"}])
    (fault,) = _faults(ends, (CONTRASTS, _contrast(**SIDES)))
    assert "`measure.contrasts.0.against` matches no cell of the design" in fault.message
    early = {side: {**own, "checkpoint": "1/3"} for side, own in SIDES.items()}
    assert _faults(ends, (CONTRASTS, _contrast(**early))) == []


def test_the_same_comparison_on_one_benchmark_is_one_twice() -> None:
    """A contrast that names no benchmarks is on all of them and on all pools."""

    def faults(*benchmarks: list[str] | None) -> list[str]:
        several = [
            {"name": f"mine_{place}", **SIDES} | ({} if names is None else {"benchmarks": names})
            for place, names in enumerate(benchmarks)
        ]
        return [fault.message for fault in _faults((POOL, {"all": ["easy", "hard"]}), (CONTRASTS, several))]

    assert faults(["easy"], ["hard"], ["all"]) == []
    assert faults(["easy", "hard"], ["dev", "hard"]) == [
        "`measure.contrasts.1` compares on `hard` what `mine_0` compares"
    ]
    for several in ((["hard"], None), (["all"], None)):
        assert faults(*several) == [f"`measure.contrasts.1` compares on `{several[0][0]}` what `mine_0` compares"]
    assert faults(None, None) == ["`measure.contrasts.1` compares what `mine_0` compares"]


def test_a_side_whose_cells_are_left_out() -> None:
    rules = (EXCEPT, [{"variant": "lora", "dataset": "more"}])
    (fault,) = _faults(rules, (CONTRASTS, _contrast({"variant": "lora", "dataset": "more"}, {"variant": "default"})))
    assert "`measure.contrasts.0.of` matches no cell of the design" in fault.message


def test_every_fault_at_once() -> None:
    changes = [(path, value) for path, value, *_ in WRONG]
    chosen = {path: value for path, value in changes}  # the last of each place
    chosen |= {("train", "variants"): {"lora": {}, "base": LORA}, CHECKPOINTS: ["last", "2/4", "2/4"]}
    assert len(_faults(*chosen.items())) >= len(chosen)


def test_no_null_and_no_wrong_type_hides_or_breaks_the_others() -> None:
    """Whatever the schema refuses in one place, a fault elsewhere in the design is still reported."""
    rng = random.Random(3)
    odd: list[Any] = [None, 5, "x", [], {}, [None], [[]], [{}], [5], ["x", 5], {"a": 1}, {"a": None}, True, 1.5]
    places: list[Location] = [("design", key) for key in BASE["design"]]
    places += [ONLY, EXCEPT, CONTRASTS, POOL, ("vote", "strategies"), ("vote", "ensembles"), ("measure",)]
    places += [("train", key) for key in ("models", "datasets", "variants")]
    places += [(*CONTRASTS, 0, side) for side in ("of", "against")]
    places += [("train", "variants", "lora"), ("train", "variants", "lora", "axolotl")]
    places += [("generation", "benchmarks"), ("benchmarks", "easy")]
    for _ in range(100):
        first: tuple[Location, Any] = (CONTRASTS, _contrast(**copy.deepcopy(SIDES)))
        changes = [(rng.choice(places), rng.choice(odd)) for _ in range(rng.randint(1, 2))]
        named = (("strategies", "base"), {"query": "prompts/query_plain.j2"})
        try:
            document = _document(first, *changes, named)
        except (AttributeError, TypeError, KeyError, IndexError):
            continue  # the second place is not there any more
        messages = [fault.message for fault in validate(document, ROOT)[1]]
        assert any("`base` is the untrained model" in message for message in messages), changes


Build = Callable[[], list[tuple[Location, Any]]]


def _wide() -> list[tuple[Location, Any]]:
    """Half a million cells, a thousand entries, a hundred contrasts."""
    strategy = BASE["strategies"]["none"]
    names = [f"s{place}" for place in range(100)]
    only = [{"train": f"s{place % 99}", "test": f"s{place % 97}"} for place in range(500)]
    sides = [{"of": {"train": f"s{place}"}, "against": {"train": f"s{place + 1}"}} for place in range(98)]
    lists = {"train": names, "test": names, "seeds": [*range(12)], "variants": ["default"], "benchmarks": ["easy"]}
    return [
        (("strategies",), dict.fromkeys(names, strategy)),
        (("design",), {**BASE["design"], **lists}),
        (ONLY, only),
        (EXCEPT, [{"seed": place % 12, "train": f"s{place % 95}"} for place in range(500)]),
        (CONTRASTS, [{"name": f"c{place}", **both} for place, both in enumerate(sides)]),
    ]


def _many_variants() -> list[tuple[Location, Any]]:
    settings = {f"k{place}": 1 for place in range(2_000)}
    variants = {f"v{place}": {"axolotl": settings} for place in range(2)}
    overlays = {f"v{place}": {"epochs": 2 + place} for place in range(2, 300)}
    return [(("train", "variants"), {**variants, **overlays}), (VARIANTS, [*variants, *overlays])]


@pytest.mark.parametrize("build", [_wide, _many_variants])
def test_large_designs_are_checked_in_time(build: Build) -> None:
    document = _document(*build())
    with processor_seconds(10):
        faults = validate(document, ROOT)[1]
    assert not [fault for fault in faults if "at most" in str(fault.hint)], "small enough to be looked at"
