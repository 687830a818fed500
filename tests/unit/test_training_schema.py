"""The check by Axolotl's schema across its process boundary: what is asked, what comes back, how it may break.

What Axolotl itself says is in tests/integration/test_axolotl_schema.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from its.environments import Environment, find_environment
from its.errors import RunError, SettingFault
from its.training import schema as module
from its.training.schema import schema_faults

ENVIRONMENT = Environment("axolotl", "axolotl_cpu", Path("nowhere"), Path(sys.executable), "lock", {})
CONFIGS: list[tuple[dict[str, Any], bool, int]] = [({"bf16": True}, True, 8), ({"a": "\u00fc"}, False, 1)]
Its = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., list[list[SettingFault]]]:
    """The faults that a stand-in for the checker tells, whose body is given; `asked` is what it was given."""

    def asked(body: str) -> list[list[SettingFault]]:
        program = tmp_path / "checker.py"
        program.write_text(f"import json, os, sys, time\nasked = json.load(sys.stdin)\n{body}\n", encoding="utf-8")
        return schema_faults(ENVIRONMENT, CONFIGS, tmp_path / "logs" / "check.log", checker=program)

    return asked


def test_each_configuration_arrives_and_gets_its_own_faults(ask: Callable[..., list[list[SettingFault]]]) -> None:
    first, second = ask("json.dump([[[['a', 0], json.dumps(item)]] for item in asked], sys.stdout)")
    assert first[0].path == ("a", 0)
    assert json.loads(first[0].message) == {"config": {"bf16": True}, "gpu": True, "devices": 8}
    assert json.loads(second[0].message) == {"config": {"a": "\u00fc"}, "gpu": False, "devices": 1}


def test_nothing_to_check_starts_nothing(tmp_path: Path) -> None:
    assert schema_faults(ENVIRONMENT, [], tmp_path / "l.log", checker=tmp_path / "not_there.py") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('no axolotl here', file=sys.stderr); sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("print('INFO hello')", "the answer is b'INFO hello"),
        ("print('[[[1]]]')", "the answer is"),
        ("print('7')", "the answer is b'7"),
        ("print('[[]]')", "1 answers for 2 configurations"),
    ],
)
def test_a_check_that_fails_is_no_clean_bill(
    ask: Callable[..., list[list[SettingFault]]], tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(RunError, match=message) as caught:
        ask(body)
    assert str(tmp_path / "logs" / "check.log") in str(caught.value.hint)


def test_a_check_that_hangs_is_ended(
    ask: Callable[..., list[list[SettingFault]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 1.0)
    with pytest.raises(RunError, match="no answer in 1 s"):
        ask("time.sleep(60)")


@pytest.mark.parametrize(
    ("path", "said", "where", "message"),
    [
        (["neftune_noise_alpha"], "Wrong.", "neftune_noise_alpha: x", "Axolotl refuses `neftune_noise_alpha`: Wrong"),
        (["peft", "loftq_config", "loftq_bits"], "No", "loftq_bits: 3", "`peft.loftq_config.loftq_bits`: No"),
        (["num_epochs"], "Too long", "  epochs: 1", "Axolotl refuses `num_epochs`: Too long"),
        (
            [],
            "Value error, neftune_noise_alpha\n does not go  with peft",
            "neftune_noise_alpha: x",
            "does not go with peft",
        ),
        ([], "it is the wrong day", "  template: axolotl/full_cpu", "refuses the configuration: it is the wrong day"),
        (["save_strategy"], "Bad", "  template: axolotl/full_cpu", "Axolotl refuses `save_strategy`: Bad"),
    ],
)
def test_a_fault_is_placed_where_its_setting_stands(
    project: Path,
    engines: Any,
    edit: Callable[..., None],
    its: Its,
    path: list[str],
    said: str,
    where: str,
    message: str,
) -> None:
    table = "  axolotl:\n    neftune_noise_alpha: x\n    peft:\n      loftq_config:\n        loftq_bits: 3"
    edit(("  sequence_length: #", f"  sequence_length: 256\n{table}"))
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "recipes" / "quickstart.yaml").write_text(text, encoding="utf-8")
    _answer(project, [[path, said]])
    code, _, told = its("recipe", "check", "quickstart", "--train")
    line = next(number for number, line in enumerate(text.splitlines(), 1) if where in line)
    assert code == 3
    assert f"recipes/quickstart.yaml:{line}:" in told and message in told


def test_a_fault_of_the_template_has_its_line(project: Path, engines: Any, its: Its) -> None:
    _answer(project, [[["gradient_checkpointing"], "Bad"], [["datasets", 0, "ds_type"], "Worse"]])
    code, _, told = its("recipe", "check", "quickstart", "--train")
    lines = (project / "recipes" / "axolotl" / "full_cpu.yaml.j2").read_text(encoding="utf-8").splitlines()
    assert code == 3
    for start in ("gradient_checkpointing:", "    ds_type:"):
        number = next(number for number, line in enumerate(lines, 1) if line.startswith(start))
        assert f"recipes/axolotl/full_cpu.yaml.j2:{number}: Axolotl refuses" in told


def test_a_recipe_that_axolotl_takes_is_valid(project: Path, engines: Any, its: Its) -> None:
    _answer(project, [])
    assert its("recipe", "check", "quickstart", "--train")[0] == 0


def test_each_different_training_is_checked(project: Path, engines: Any, edit: Callable[..., None], its: Its) -> None:
    """Equal ones once; and a fault of an overlay is placed in the overlay."""
    overlays = (
        "  datasets:\n    arithmetic: {epochs: 3}\n  variants:\n    lora:\n      axolotl:\n        lora_r: 7\n"
        "    long:\n      epochs: 11\n    odd:\n      template: axolotl/odd.yaml.j2\n    unused: {epochs: 13}"
    )
    edit(
        ("  sequence_length: #", f"  sequence_length: 256\n{overlays}"),
        ("  seeds: [1]", "  seeds: [1]\n  variants: [default, lora, long, odd]"),
    )
    folder = project / "recipes" / "axolotl"
    (folder / "odd.yaml.j2").write_text((folder / "full_cpu.yaml.j2").read_text(encoding="utf-8"), encoding="utf-8")
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "recipes" / "quickstart.yaml").write_text(text, encoding="utf-8")
    faults = (
        "[[['lora_r'], 'Odd']] if config.get('lora_r') else [[['num_epochs'], 'Long']] if config['num_epochs'] > 9 "
        "else [[[], f'{len(asked)} asked']]"
    )
    _answer(project, faults)
    code, _, told = its("recipe", "check", "quickstart", "--train")
    lines = [line.strip() for line in text.splitlines()]
    assert code == 3
    assert f"quickstart.yaml:{1 + lines.index('lora_r: 7')}:9: Axolotl refuses `lora_r`: Odd" in told
    assert f"quickstart.yaml:{1 + lines.index('epochs: 11')}:7: Axolotl refuses `num_epochs`: Long" in told
    assert f"quickstart.yaml:{1 + lines.index('template: axolotl/odd.yaml.j2')}:7: Axolotl refuses the" in told
    assert told.count(": 4 asked") == 2 and told.count("error: ") == 4


def _answer(project: Path, faults: list[Any] | str) -> None:
    """Let the environment's python tell these faults of every configuration, or those that an expression gives."""
    environment = find_environment("axolotl", project, Path(os.environ["ITS_HOME"]))
    program = project / "told.py"
    program.write_text(
        "import json, sys\nasked = json.load(sys.stdin)\n"
        f"print(json.dumps([{faults} for config in (item['config'] for item in asked)]))\n",
        encoding="utf-8",
    )
    environment.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}"\n', encoding="utf-8")
