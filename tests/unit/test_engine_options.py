"""The check of vLLM's options across its process boundary: what is asked, what comes back, how it may break.

What vLLM itself says of options is in tests/integration/test_vllm_options.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from its.engines import options as module
from its.engines.options import VllmSettings, option_faults
from its.environments import Environment
from its.errors import RunError, SettingFault

SETTINGS = [
    VllmSettings({"tensor_parallel_size": 8}, {"VLLM_BATCH_INVARIANT": "1"}),
    VllmSettings({"a": [1, "\u00fc"]}),
]
ENVIRONMENT = Environment("vllm", "vllm_cpu", Path("nowhere"), Path(sys.executable), "lock", {})


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., list[list[SettingFault]]]:
    """The faults that a stand-in for the checker tells, whose body is given; `asked` is what it was given."""

    def asked(body: str, settings: list[VllmSettings] = SETTINGS) -> list[list[SettingFault]]:
        program = tmp_path / "checker.py"
        program.write_text(f"import json, os, sys, time\nasked = json.load(sys.stdin)\n{body}\n", encoding="utf-8")
        return option_faults(ENVIRONMENT, settings, tmp_path / "logs" / "check.log", checker=program)

    return asked


def test_each_of_the_settings_gets_its_own_faults(ask: Callable[..., list[list[SettingFault]]]) -> None:
    told = ask(
        "json.dump([[['options.' + key, 'is there', None] for key in item['options']] for item in asked], sys.stdout)"
    )
    assert told == [
        [SettingFault(("options", "tensor_parallel_size"), "is there")],
        [SettingFault(("options", "a"), "is there")],
    ]


def test_options_and_variables_arrive_as_they_are(ask: Callable[..., list[list[SettingFault]]]) -> None:
    ((fault,), (second,)) = ask("json.dump([[['k', json.dumps(item), 'h']] for item in asked], sys.stdout)")
    assert json.loads(fault.message) == {
        "options": {"tensor_parallel_size": 8},
        "environment": {"VLLM_BATCH_INVARIANT": "1"},
    }
    assert json.loads(second.message) == {"options": {"a": [1, "\u00fc"]}, "environment": {}}
    assert second.hint == "h"


def test_variables_of_the_shell_are_not_part_of_what_is_checked(
    ask: Callable[..., list[list[SettingFault]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_DP_SIZE", "4")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    names = (
        "sorted(name for name in os.environ if name.startswith('VLLM_') or name in ('PYTHONPATH', 'HF_HUB_OFFLINE'))"
    )
    ((fault,), _) = ask(f"json.dump([[['k', ' '.join({names}), None]], []], sys.stdout)")
    assert fault.message == "HF_HUB_OFFLINE VLLM_LOGGING_LEVEL VLLM_NO_USAGE_STATS"


def test_nothing_to_check_starts_nothing(tmp_path: Path) -> None:
    assert option_faults(ENVIRONMENT, [], tmp_path / "l.log", checker=tmp_path / "not_there.py") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('no vllm here', file=sys.stderr); sys.exit(3)", r"could not be checked \(exit code 3\)"),
        ("os.kill(os.getpid(), 9)", r"could not be checked \(killed by signal 9\)"),
        ("print('INFO vLLM says hello')", r"the answer is b'INFO vLLM says hello"),
        ("print('[[[1]]]')", r"the answer is b'\[\[\[1\]\]\]"),
        ("print('7')", r"the answer is b'7"),
        ("print('[[]]')", r"1 answers for 2 settings"),
    ],
)
def test_a_check_that_fails_is_no_clean_bill(
    ask: Callable[..., list[list[SettingFault]]], tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(RunError, match=message) as caught:
        ask(body)
    if "answers for" not in message:
        assert str(tmp_path / "logs" / "check.log") in str(caught.value.hint)


def test_what_vllm_prints_is_in_the_log(ask: Callable[..., list[list[SettingFault]]], tmp_path: Path) -> None:
    with pytest.raises(RunError):
        ask("print('no module named vllm', file=sys.stderr); sys.exit(1)")
    assert "no module named vllm" in (tmp_path / "logs" / "check.log").read_text(encoding="utf-8")


def test_a_check_that_hangs_is_ended(
    ask: Callable[..., list[list[SettingFault]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 1.0)
    with pytest.raises(RunError, match="no answer in 1 s"):
        ask("time.sleep(60)")
