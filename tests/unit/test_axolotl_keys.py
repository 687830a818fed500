"""Which settings of Axolotl a recipe may have: none that Axolotl passes over, none that the recipe says elsewhere."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from its.errors import FaultsError
from its.recipe.axolotl import line_of, rendered_settings
from its.recipe.axolotl_keys import FIELDS, SET_ELSEWHERE, key_faults, known_keys, plugin_faults
from its.recipe.cross_checks import cross_check_faults
from its.recipe.launcher import started_processes
from its.recipe.safe_axolotl_settings import AXOLOTL, DATASET
from its.recipe.schema import Train

HERE = ("train", "axolotl")
LIGER = "axolotl.integrations.liger.LigerPlugin"
EVERY = sorted({name for table in known_keys().values() for name in table})


def test_what_is_harmless_is_there() -> None:
    assert set(EVERY) >= set(AXOLOTL)
    assert not AXOLOTL.keys() & (SET_ELSEWHERE.keys() - FIELDS.keys() - {"seed"})  # never to be set: no matter of harm
    core = known_keys()[""]
    assert core["datasets"].keys() >= DATASET.keys()
    tables = {name: rules for name, rules in AXOLOTL.items() if isinstance(rules, dict) and core.get(name)}
    assert {"fsdp_config", "peft"} <= tables.keys()
    for name, rules in tables.items():
        inner = rules.get("*", rules)
        known = core[name]
        assert all(word in known or word.removeprefix("fsdp_") in known for word in inner), name


def test_what_a_recipe_says_elsewhere_is_a_setting() -> None:
    assert set(EVERY) >= SET_ELSEWHERE.keys()
    assert set(FIELDS.values()) <= set(Train.model_fields)


@pytest.mark.parametrize("key", EVERY)
def test_each_setting_and_its_misspellings(key: str) -> None:
    """A letter left out, doubled, or two changed about: never taken for a setting, unless it is one."""
    found = list(key_faults({key: 1}, HERE))
    assert bool(found) == (key in SET_ELSEWHERE), found
    source = random.Random(key)
    for _ in range(5):
        at = source.randrange(len(key) - 1)
        for wrong in (
            key[:at] + key[at + 1 :],
            key[: at + 1] + key[at:],
            key[:at] + key[at + 1] + key[at] + key[at + 2 :],
        ):
            faults = list(key_faults({wrong: None}, HERE))
            assert len(faults) == (wrong not in EVERY or wrong in SET_ELSEWHERE), wrong
            for where, message, hint in faults:
                assert where == (*HERE, wrong) and wrong in message and hint


def test_a_misspelt_setting_names_the_nearest() -> None:
    ((_, message, hint),) = key_faults({"liger_fused_linear_cross_entrpy": True}, HERE)
    assert "would ignore it" in message
    assert hint == "did you mean `liger_fused_linear_cross_entropy`? otherwise take it out"


def test_a_plugin_of_somebody_else_may_add_settings() -> None:
    """Their harm is the owner's to judge; a field of the recipe is still no setting."""
    table = {"plugins": ["my.Plugin"], "my_setting": 1, "learning_rate": 1.0}
    assert [where for where, _, _ in key_faults(table, HERE)] == [(*HERE, "learning_rate")]


@pytest.mark.parametrize(
    ("plugins", "faulty"),
    [(None, True), ([], True), (["other"], True), ([LIGER], False), ("x", True), ([1, LIGER], False)],
)
def test_a_setting_of_a_plugin_needs_it(plugins: Any, faulty: bool) -> None:
    found = list(plugin_faults({"liger_rope": True, "bf16": True}, plugins, HERE))
    assert [where for where, _, _ in found] == ([(*HERE, "liger_rope")] if faulty else [])


def test_tables_within_settings_are_looked_at() -> None:
    table = {
        "fsdp_config": {"fsdp_version": 2, "fsdp_offload_params": True, "reshard_after_forward": True, "offlod": 1},
        "datasets": [{"path": "x"}, {"pth": "x"}],
        "deepspeed": {"whatever": 1},
        "peft": {"loftq_config": {"loftq_bits": 4}, "lofq": 1},
    }
    assert [where[2:] for where, _, _ in key_faults(table, HERE)] == [
        ("fsdp_config", "offlod"),
        ("datasets", 1, "pth"),
        ("peft", "lofq"),
    ]


@pytest.mark.parametrize("table", [{1: 2}, {"": 1}, {"x" * 10_000: 1}, {None: 1}, {f"k{i}": 1 for i in range(5000)}])
def test_odd_tables_are_faults_and_no_more(table: dict[Any, Any]) -> None:
    found = list(key_faults(table, HERE))
    assert 0 < len(found) <= 100


def test_one_setting_has_one_fault(tmp_path: Path) -> None:
    """Not a second one that asks the owner to allow what is not to be there."""
    for table in ({"resume_from_checkpoint": "/x"}, {"no_such_setting": "/x"}, {"datasets": [{"no_such": "/x"}]}):
        found = [
            where for where, _, _ in cross_check_faults({"train": {"axolotl": table}}, tmp_path) if where[:2] == HERE
        ]
        assert len(found) == 1, found
    found = [
        where for where, _, _ in cross_check_faults({"train": {"axolotl": {"plugins": ["my.P"], "my": "/x"}}}, tmp_path)
    ]
    assert found == [(*HERE, "plugins"), (*HERE, "my")]


TRAIN = Train.model_validate(
    {
        "template": "axolotl/t.yaml.j2",
        "hardware": "cpu",
        "launcher": "python",
        "epochs": 2,
        "learning_rate": 5e-6,
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.0,
        "weight_decay": 0.01,
        "global_batch_size": 2,
        "micro_batch_size": 2,
        "devices": 1,
        "sequence_length": 256,
    }
)


def test_a_template_may_repeat_what_the_recipe_says_and_no_other() -> None:
    text = "".join(f"{setting}: {{{{ train.{field} }}}}\n" for setting, field in FIELDS.items())
    assert rendered_settings(f"{text}seed: {{{{ seed }}}}\n", "t", TRAIN, "r", 7)["num_epochs"] == 2
    with pytest.raises(FaultsError) as caught:
        rendered_settings(text + "max_steps: 5\n", "t", TRAIN, "r", 1)
    assert [fault.where for fault in caught.value.faults] == [f"t:{len(FIELDS) + 1}"]
    other = text.replace("{{ train.epochs }}", "3").replace("{{ train.sequence_length }}", "512")
    with pytest.raises(FaultsError) as caught:
        rendered_settings(other, "t", TRAIN, "r", 1)
    assert [fault.where for fault in caught.value.faults] == ["t:1", f"t:{len(FIELDS)}"]


def test_a_plugin_of_the_template_serves_the_recipe_and_the_other_way_round() -> None:
    both = TRAIN.model_copy(update={"axolotl": {"plugins": [LIGER]}})
    assert rendered_settings("liger_rope: true\n", "t", both, "r", 1)
    none = TRAIN.model_copy(update={"axolotl": {"plugins": []}})
    with pytest.raises(FaultsError, match="does nothing without its plugin"):
        rendered_settings(f"plugins: [{LIGER}]\nliger_rope: true\n", "t", none, "r", 1)


def test_a_line_of_a_template_is_found() -> None:
    text = "# bf16: no\nbf16: true\ndatasets:\n  - path: x\n    'type': y\n{{ x }}: 1\n"
    assert [line_of(text, "t", where) for where in (("bf16",), ("datasets", 0, "type"), ("datasets", 0, "path"))] == [
        "t:2",
        "t:5",
        "t:4",
    ]
    assert line_of(text, "t", ("absent",)) == "t:1"


@pytest.mark.parametrize(
    ("launcher", "arguments", "processes"),
    [
        ("python", [], 1),
        ("python", ["--nproc_per_node=8"], 1),
        ("torchrun", [], 1),
        ("torchrun", ["--nproc_per_node=8"], 8),
        ("torchrun", ["--nproc-per-node=8"], 8),
        ("torchrun", ["--nproc_per_node", "8", "--nnodes", "2"], 16),
        ("torchrun", ["--nnodes=2:2", "--nproc-per-node", "4"], 8),
        ("torchrun", ["--nnodes=1:4", "--nproc-per-node", "4"], None),
        ("torchrun", ["--nproc_per_node=gpu"], None),
        ("torchrun", ["--nproc_per_node=8", "--nproc-per-node=2"], 2),
        ("torchrun", ["--nproc_per_node"], None),
        ("torchrun", ["--nnodes=2"], 2),
        ("torchrun", ["--standalone", "--nproc_per_node=2"], 2),
        ("accelerate", [], None),
        ("accelerate", ["--num_processes=16", "--num_machines=2"], 16),
        ("accelerate", ["--num-processes", "4"], 4),
        ("accelerate", ["--nproc_per_node=4"], None),
        ("torchrun", ["--nproc_per_node=9999999999"], None),
    ],
)
def test_processes_are_counted(launcher: str, arguments: list[str], processes: int | None) -> None:
    assert started_processes(launcher, arguments) == processes


@pytest.mark.parametrize(
    ("table", "where", "field"),
    [
        ({"optim_args": {"lr": 1}}, ("optim_args", "lr"), "train.learning_rate"),
        ({"optim_args": {"learning_rate": 1}}, ("optim_args", "learning_rate"), "train.learning_rate"),
        ({"optim_args": {"weight_decay": "auto"}}, ("optim_args", "weight_decay"), "train.weight_decay"),
        ({"optim_args": "amsgrad=true, lr = 1"}, ("optim_args",), "train.learning_rate"),
        ({"optim_args": "weight_decay"}, ("optim_args",), "train.weight_decay"),
        ({"deepspeed": {"scheduler": {"type": "OneCycle"}}}, ("deepspeed", "scheduler"), "train.lr_scheduler"),
        (
            {"deepspeed": {"optimizer": {"params": {"lr": 1, "weight_decay": "auto"}}}},
            ("deepspeed", "optimizer", "params", "lr"),
            "train.learning_rate",
        ),
        (
            {"deepspeed": {"optimizer": {"params": {"weight_decay": 0}}}},
            ("deepspeed", "optimizer", "params", "weight_decay"),
            "train.weight_decay",
        ),
        ({"deepspeed": {"train_batch_size": 4}}, ("deepspeed", "train_batch_size"), "train.global_batch_size"),
        (
            {"deepspeed": {"train_micro_batch_size_per_gpu": 4}},
            ("deepspeed", "train_micro_batch_size_per_gpu"),
            "train.micro_batch_size",
        ),
        (
            {"deepspeed": {"gradient_accumulation_steps": 4}},
            ("deepspeed", "gradient_accumulation_steps"),
            "train.global_batch_size",
        ),
        (
            {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}},
            ("accelerator_config", "gradient_accumulation_kwargs", "num_steps"),
            "train.global_batch_size",
        ),
    ],
)
def test_no_table_within_a_setting_says_what_the_recipe_says(table: Any, where: tuple[str, ...], field: str) -> None:
    ((found, message, hint),) = key_faults(table, HERE)
    assert found == (*HERE, *where) and f"`{field}` sets it" in message
    assert hint is not None and "take it out" in hint


@pytest.mark.parametrize(
    "table",
    [
        {"deepspeed": {"optimizer": {"params": {"lr": "auto", "betas": [0.9, 0.95]}}, "train_batch_size": "auto"}},
        {"optim_args": "amsgrad=true,eps=1e-6"},
        {"optim_args": {"betas": "0.9"}},
        {"deepspeed": "zero2.json", "optim_args": None},
        {"deepspeed": {"optimizer": [1], 1: 2}, "optim_args": 3},
    ],
)
def test_other_tables_are_left_alone(table: Any) -> None:
    assert not list(key_faults(table, HERE))


def test_a_template_may_repeat_the_recipe_within_a_table() -> None:
    text = "optim_args: lr={{ train.learning_rate }}\ndeepspeed:\n  train_micro_batch_size_per_gpu: 2\n"
    assert rendered_settings(text, "t", TRAIN, "r", 1)
    with pytest.raises(FaultsError, match=r"`train\.learning_rate` sets it"):
        rendered_settings("bf16: true\noptim_args: lr=1\n", "t", TRAIN, "r", 1)
