"""What may run code by design: refused without the allowance of the machine's owner; honest settings pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from its.errors import FaultsError
from its.prompts.render import render
from its.recipe.document import Document, Node
from its.recipe.load import read_document, validate
from its.recipe.trust import VARIABLE, allowances, axolotl_code, code_settings, refused

PROJECT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "trust"
QUICKSTART = read_document(PROJECT / "recipes" / "quickstart.yaml").values
OPENAI = {"servers": [{"url": "http://127.0.0.1:8000/v1"}]}


def _cases(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return cases


REFUSED, HONEST, MEETING = _cases("refused"), _cases("honest"), _cases("meeting")


def _id(case: Mapping[str, Any]) -> str:
    return f"{case.get('kind', '')} {case['set']} = {case['to']!r}"[:90].encode("ascii", "replace").decode()


def _values(case: Mapping[str, Any]) -> dict[str, Any]:
    """The quickstart with one setting changed."""
    values = copy.deepcopy(QUICKSTART)
    kind = case.get("kind", "vllm")
    values["engine"] = {"kind": kind, "options": {}, "environment": {}}
    if kind == "openai":
        values["engine"]["openai"] = copy.deepcopy(OPENAI)
    values["train"] |= {"axolotl": {}, "launcher_args": []}
    *path, last = str(case["set"]).split(".")
    place = values
    for part in path:
        place = place[part]
    place[last] = case["to"]
    return values


def _check(values: dict[str, Any]) -> None:
    _, faults = validate(Document(PROJECT / "elsewhere" / "params.yaml", values, Node(values, 1, 1)), PROJECT)
    if faults:
        raise FaultsError(faults)


@pytest.fixture(autouse=True)
def _nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    yield


def test_the_lists_are_there() -> None:
    assert len(REFUSED) >= 200
    assert len(HONEST) >= 100


@pytest.mark.parametrize("case", REFUSED, ids=_id)
def test_what_may_run_code_is_refused_and_named(tally: Any, case: dict[str, Any]) -> None:
    error = tally("trust", lambda: _check(_values(case)))
    assert isinstance(error, FaultsError), "accepted"
    name = case.get("name", case["set"])
    wanted = "which is not allowed in text" if "\0" in str(case["to"]) else "refused unless the owner"
    assert any(f"`{name}`" in fault.message and wanted in fault.message for fault in error.faults)


@pytest.mark.parametrize("case", HONEST, ids=_id)
def test_an_honest_setting_passes(tally: Any, case: dict[str, Any]) -> None:
    error = tally("trust", lambda: _check(_values(case)))
    assert error is None, error.message


@pytest.mark.parametrize("case", MEETING, ids=_id)
def test_where_processes_meet_is_refused_whatever_the_owner_allows(
    tally: Any, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = _values(case)
    names = {item.name for item in refused(code_settings(values))}
    assert not names
    options = {option.partition("=")[0] for option in case["to"] if option.startswith("--")}
    monkeypatch.setenv(VARIABLE, ", ".join(f"train.launcher_args.{name}" for name in sorted(options)))
    error = tally("trust", lambda: _check(values))
    assert isinstance(error, FaultsError), "accepted"
    assert any("where processes meet is not part of a recipe" in fault.message for fault in error.faults)


ALLOWABLE = [
    case
    for case in REFUSED
    # The model of the recipe has a chat template, and a second one is a fault whatever the owner allows.
    if "=" not in case["set"]
    and "\0" not in str(case["to"])
    and not case["set"].startswith("train.axolotl.chat_template")
]


@pytest.mark.parametrize("case", ALLOWABLE[::7], ids=_id)
def test_the_owner_allows_a_setting_by_the_name_that_the_error_gives(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = _values(case)
    names = {item.name for item in refused(code_settings(values))}
    monkeypatch.setenv(VARIABLE, ", ".join(sorted(names)))
    _check(values)
    for name in names:
        assert any(f"runs code: {name} (" in line and VARIABLE in line for line in allowances(values))
    monkeypatch.setenv(VARIABLE, "all,*,engine.options,train.axolotl,engine")
    with pytest.raises(FaultsError):
        _check(values)


def test_a_name_that_a_shell_would_read_otherwise_is_never_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _values({"set": "engine.options.x;reboot", "to": 1})
    monkeypatch.setenv(VARIABLE, "engine.options.x;reboot")
    with pytest.raises(FaultsError) as caught:
        _check(values)
    assert "export" not in str(caught.value.faults[0].hint)


def test_every_setting_is_named_at_once() -> None:
    values = _values({"set": "engine.options.worker_cls", "to": "evil.Worker"})
    values["engine"]["environment"] = {"LD_PRELOAD": "x", "PYTHONPATH": "y"}
    values["train"]["launcher_args"] = ["--no-python", "-m"]
    assert len(refused(code_settings(values))) == 5


@pytest.mark.parametrize("value", [None, [], 5, "x", {"kind": []}, {"kind": "vllm", "options": 5, "environment": [1]}])
def test_a_recipe_of_any_shape_is_looked_through(value: Any) -> None:
    for values in ({"engine": value}, {"train": value}, {"train": {"axolotl": value, "launcher_args": value}}):
        code_settings(values)


def test_a_table_that_holds_itself_is_looked_through() -> None:
    table: dict[str, Any] = {}
    table["rope_scaling"] = table
    assert code_settings({"engine": {"kind": "vllm", "options": {"hf_overrides": table}}})


@pytest.mark.parametrize("name", ["full_cpu", "full_zero3"])
def test_the_shipped_templates_need_no_allowance(name: str) -> None:
    train = {"sequence_length": 256}
    text = (PROJECT / "recipes" / "axolotl" / f"{name}.yaml.j2").read_text(encoding="utf-8")
    config = YAML(typ="safe").load(render(text, name, {"train": train, "rows": "/home/rows.jsonl", "seed": 1}))
    assert axolotl_code(config, "/home/rows.jsonl") == []
    assert [item.name for item in axolotl_code(config, "/home/other.jsonl")] == ["train.axolotl.datasets.path"]


def test_an_option_and_its_value_are_one_fault() -> None:
    settings = code_settings({"train": {"launcher_args": ["--config_file", "/tmp/x.yaml", "--nproc_per_node", "2"]}})
    assert [item.name for item in settings] == ["train.launcher_args.--config_file"]


def test_a_file_of_deepspeed_is_refused_with_what_to_write() -> None:
    (fault,) = refused(code_settings({"train": {"axolotl": {"deepspeed": "deepspeed_configs/zero2.json"}}}))
    assert "a mapping with its settings is accepted" in fault.why


def test_an_address_with_a_query_is_refused_with_the_reason() -> None:
    values = _values({"kind": "openai", "set": "engine.openai.servers", "to": [{"url": "https://h/v1?api-version=x"}]})
    with pytest.raises(FaultsError) as caught:
        _check(values)
    assert "without a user, a query" in caught.value.faults[0].message
