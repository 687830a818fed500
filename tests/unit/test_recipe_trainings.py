"""Overlays of `train`: every training of the design is checked, and a fault is where the recipe gives the value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from its.errors import FaultsError
from its.recipe.document import read_document
from its.recipe.load import load_recipe, validate
from its.recipe.trainings import recipe_trainings, trainings

Edit = Callable[..., None]


@pytest.fixture
def overlaid(edit: Edit) -> Callable[..., None]:
    """Adds overlays to `train`, each a line such as `variants: {lora: {epochs: 2}}`, and names variants."""

    def add(*lines: str, variants: str = "", design: str = "", file: str = "params.yaml") -> None:
        more = "".join(f"  {line}\n" for line in lines)
        edit(("  sequence_length: 256\n", f"  sequence_length: 256\n{more}"), file=file)
        named = f"  variants: {variants}\n" if variants else ""
        edit(("  seeds: [1]\n", f"  seeds: [1]\n{named}{design}"), file=file)

    return add


def _faults(project: Path) -> list[str]:
    """Faults as `LINE TEXT: message`, where TEXT is the line of the file."""
    text = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    try:
        load_recipe(project / "params.yaml", project)
    except FaultsError as error:
        found = [(int(fault.where.rsplit(":", 2)[1]), fault.message) for fault in error.faults]
        return [f"{text[line - 1].strip().partition(':')[0]}: {message}" for line, message in found]
    return []


@pytest.mark.parametrize(
    ("line", "variants", "message"),
    [
        (
            "variants: {big: {global_batch_size: 12}}",
            "[default, big]",
            "`train.variants.big.global_batch_size` is `12`",
        ),
        (
            "variants: {big: {micro_batch_size: 3}}",
            "[big]",
            "`train.global_batch_size` with `train.variants.big` is `8`: not a multiple of micro x devices = 3",
        ),
        ("models: {smollm2_135m: {devices: 2}}", "", "`train.models.smollm2_135m.devices` is `2`: `launcher: python`"),
        (
            "datasets: {arithmetic: {launcher: torchrun, launcher_args: [--nproc_per_node=4]}}",
            "",
            "`train.devices` with `train.datasets.arithmetic` is `1`: `launcher: torchrun` with these `launcher_args`",
        ),
        (
            "variants: {two: {devices: 2, axolotl: {context_parallel_size: 3}}}",
            "[two]",
            "`train.variants.two.devices` is `2`: not a multiple of the 3 that share a sequence",
        ),
        ("variants: {lora: {axolotl: {lora_rr: 8}}}", "[lora]", "`lora_rr` is not a setting of Axolotl 0.19"),
        ("datasets: {arithmetic: {axolotl: {num_epochs: 2}}}", "", "`num_epochs` does not belong here: `train.epochs`"),
        ("variants: {x: {axolotl: {seed: 2}}}", "", "`seed` does not belong here: `design.seeds` sets it"),
        (
            "variants: {x: {axolotl: {trainer_cls: evil.Trainer}}}",
            "[x]",
            "`train.axolotl.trainer_cls` imports and runs what it names: refused",
        ),
        ("models: {smollm2_135m: {launcher_args: [--module]}}", "", "`train.launcher_args.--module` runs something"),
        (
            "variants: {x: {axolotl: {hub_token: abc}}}",
            "[x]",
            "train.variants.x.axolotl.hub_token` looks like a",
        ),
        (
            "variants: {x: {axolotl: {chat_template: chatml}}}",
            "[default, x]",
            "`models.smollm2_135m.chat_template` sets it",
        ),
        ("variants: {x: {template: axolotl/none.yaml.j2}}", "[x]", "recipes/axolotl/none.yaml.j2: no such template"),
        ("variants: {x: {template: ../params.yaml}}", "[x]", "recipes/../params.yaml: outside `recipes/axolotl/`"),
        (
            "variants: {x: {axolotl: {liger_rope: true}}}",
            "[x]",
            "`liger_rope` does nothing without its plugin",
        ),
    ],
)
def test_an_overlay_has_the_faults_of_train(
    project: Path, overlaid: Callable[..., None], line: str, variants: str, message: str
) -> None:
    overlaid(line, variants=variants)
    found = [fault for fault in _faults(project) if message in fault]
    assert len(found) == 1, _faults(project)
    assert found[0].partition(":")[0] == line.partition(":")[0]


def test_an_allowance_is_for_a_setting_wherever_it_is(
    project: Path, overlaid: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    overlaid("variants: {x: {axolotl: {trainer_cls: mine.Trainer}}}", variants="[x]")
    monkeypatch.setenv("ITS_ALLOW_CODE", "train.axolotl.trainer_cls")
    assert _faults(project) == []


def test_a_fault_that_no_training_has_is_none(project: Path, overlaid: Callable[..., None]) -> None:
    """`train` alone would not work here, but no training uses it; nor that variant, where `except` leaves it out."""
    overlaid(
        "models: {smollm2_135m: {micro_batch_size: 4}}",
        "variants: {odd: {micro_batch_size: 3}, even: {micro_batch_size: 2}}",
        variants="[default, even, odd]",
        design="  except: [{variant: odd}]\n",
    )
    assert not [fault for fault in _faults(project) if "multiple" in fault]


def test_names_of_overlays_are_no_settings(project: Path, overlaid: Callable[..., None]) -> None:
    overlaid("variants: {api_key: {epochs: 2}}", variants="[default, api_key]")
    assert not [fault for fault in _faults(project) if "secret" in fault]


def test_a_setting_of_a_field_is_that_field_of_the_overlay(project: Path, overlaid: Callable[..., None]) -> None:
    overlaid("variants:", "  wide:", "    axolotl: {num_epochs: 3, sequence_len: 64, gradient_accumulation_steps: 2}")
    _, faults = validate(read_document(project / "params.yaml"), project)
    assert [fault.hint for fault in faults] == [
        "write `train.variants.wide.epochs`",
        "take it out",
        "write `train.variants.wide.global_batch_size`",
    ]


def test_each_fault_is_named_once(project: Path, overlaid: Callable[..., None], edit: Edit) -> None:
    overlaid("variants: {a: {epochs: 2}, b: {epochs: 3}}", variants="[default, a, b]")
    edit(("  micro_batch_size: 8", "  micro_batch_size: 3"))
    assert len([fault for fault in _faults(project) if "multiple" in fault]) == 1


def test_the_different_trainings_of_a_design(project: Path, overlaid: Callable[..., None]) -> None:
    overlaid(
        "datasets: {arithmetic: {epochs: 4, axolotl: {lora_r: 8}}}",
        "variants: {lora: {axolotl: {adapter: lora, lora_r: 16}}, same: {epochs: 4}, long: {epochs: 9}}",
        variants="[default, lora, same, long]",
    )
    document = read_document(project / "params.yaml")
    recipe, _ = validate(document, project)
    assert len(trainings(document.values)) == 4
    assert recipe is None or len(recipe_trainings(recipe)) == 3
    lora = trainings(document.values)[1]
    assert lora.values["axolotl"] == {"lora_r": 16, "adapter": "lora"}
    assert lora.setting("lora_r") == ("train", "variants", "lora", "axolotl", "lora_r")
    assert lora.place("epochs") == ("train", "datasets", "arithmetic", "epochs")
    assert lora.place("learning_rate") == ("train", "learning_rate")


@pytest.mark.parametrize("value", ["5", "[1]", "{x: 5}", "{x: {epochs: [2]}}", "{x: {axolotl: 5}}", "{x: null}"])
def test_an_overlay_of_another_type_is_a_fault_of_the_schema(
    project: Path, overlaid: Callable[..., None], value: str
) -> None:
    overlaid(f"variants: {value}", variants="[default]")
    assert any("variants" in fault for fault in _faults(project))
