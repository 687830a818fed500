"""What the Axolotl of its environment says of settings: nothing is loaded, and no GPU is there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT

from its.checks.train import train_faults
from its.environments import environment_variables, find_environment
from its.errors import SettingFault
from its.home import its_home
from its.recipe.axolotl_keys import KEYS
from its.recipe.document import Document, read_document
from its.recipe.load import load_recipe
from its.recipe.schema import Recipe
from its.training.schema import CHECKER, schema_faults

pytestmark = pytest.mark.integration

GOOD: dict[str, Any] = {
    "base_model": "b",
    "datasets": [{"path": "rows.jsonl", "ds_type": "json", "type": "chat_template"}],
    "sequence_len": 256,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 4,
    "num_epochs": 1,
    "learning_rate": 1e-4,
}
LIGER = "axolotl.integrations.liger.LigerPlugin"
# (settings, for a GPU) -> path, part of the message
FAULTY: list[tuple[dict[str, Any], bool, tuple[str | int, ...], str]] = [
    ({"lr_scheduler": ["x"]}, True, ("lr_scheduler",), "nput should be"),
    ({"batch_size": 4}, True, (), "set only one of gradient_accumulation_steps or batch_size"),
    ({"s2_attention": True}, True, (), "is no longer supported"),
    ({"fp8": True}, False, (), "fp8"),
]


def test_the_list_of_settings_is_that_of_the_environment() -> None:
    environment = find_environment("axolotl", ROOT, its_home(ROOT))
    told = subprocess.run(
        [str(environment.python), str(CHECKER), "--keys"],
        capture_output=True,
        text=True,
        check=True,
        env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
    ).stdout
    assert told == KEYS.read_text(encoding="utf-8")
    assert json.loads(told)[""]["num_epochs"] is None


def test_the_recipes_that_ship_pass_and_so_does_each_template() -> None:
    paths = sorted((ROOT / "recipes").glob("*.yaml"))
    recipes = [(read_document(path), load_recipe(path, ROOT)) for path in paths]
    assert train_faults(ROOT, [*recipes, *_with_each_template()]) == []


def _with_each_template() -> list[tuple[Document, Recipe]]:
    """A recipe of the 32B model with the templates that are for it and for its size of GPU."""
    path = ROOT / "recipes" / "ot1k_qwen2_5_32b.yaml"
    recipe = load_recipe(path, ROOT)
    out = []
    for name, devices in (("full_8x80", 8), ("full_16x80", 16), ("lora_80", 1), ("full_7b_80", 1)):
        change = {"template": f"axolotl/{name}.yaml.j2", "devices": devices}
        train = recipe.train.model_copy(update=change)
        out.append((read_document(path), recipe.model_copy(update={"train": train})))
    return out


def test_faults_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one configuration where Axolotl lets go on; nothing is written where the check is started."""
    monkeypatch.chdir(tmp_path)
    environment = find_environment("axolotl", ROOT, its_home(ROOT))
    good = [(GOOD, True, 8), (GOOD | {"plugins": [LIGER, "its_axolotl.ItsPlugin"], "liger_rope": True}, True, 8)]
    several = GOOD | {"datasets": [{"path": "r", "shards": "x"}], "sequence_len": "y", "num_epochs": "z"}
    asked = [*good, *((GOOD | change, gpu, 8) for change, gpu, _, _ in FAULTY), (several, True, 8)]
    told = schema_faults(environment, asked, tmp_path / "check.log")
    assert told[:2] == [[], []]
    for (change, _, path, message), found in zip(FAULTY, told[2:], strict=False):
        assert len(found) == 1 and found[0].path[: len(path)] == path and message in found[0].message, (change, found)
    assert {fault.path for fault in told[-1]} == {("datasets", "shards"), ("sequence_len",), ("num_epochs",)}
    assert isinstance(told[-1][0], SettingFault)
    assert [path.name for path in tmp_path.iterdir()] == ["check.log"]
