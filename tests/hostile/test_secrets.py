"""A secret in a recipe is refused wherever it stands and under whatever name; it is shown and written nowhere."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from its.cli.main import cli
from its.errors import FaultsError, RunError
from its.recipe.document import Document, Node
from its.recipe.load import read_document, validate
from its.recipe.shareable import shareable_text
from its.secrets import redacted, writable
from its.store import vllm_identity

PROJECT = Path(__file__).parents[2]
CASES = YAML(typ="safe").load((Path(__file__).parent / "secrets" / "cases.yaml").read_text(encoding="utf-8"))
QUICKSTART = read_document(PROJECT / "recipes" / "quickstart.yaml").values
PLAIN = "Zx9QwErTy77Pl"
SECRETS = (
    PLAIN,
    "abcdefghijABCDEFGHIJ",
    "AKIAABCDEFGHIJKLMNOP",
    "xoxb-0123456789",
    "abcdef0123456789abcdef",
    "dozjgNry",
)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item) for item in value]
    return value.replace("PLAIN", PLAIN) if isinstance(value, str) else value


def _values(case: dict[str, Any]) -> dict[str, Any]:
    values = copy.deepcopy(QUICKSTART)
    values["engine"] |= {"options": {}, "environment": {}}
    values["train"] |= {"axolotl": {}, "launcher_args": []}
    *path, last = case["set"].split(".")
    place = values
    for part in path:
        place = place[part]
    place[last] = _filled(case["to"])
    return values


def _check(values: dict[str, Any]) -> None:
    _, faults = validate(Document(PROJECT / "elsewhere" / "params.yaml", values, Node(values, 1, 1)), PROJECT)
    if faults:
        raise FaultsError(faults)


def _id(case: dict[str, Any]) -> str:
    return f"{case['set']} = {case['to']!r}"[:80]


@pytest.mark.parametrize("case", CASES["secret"], ids=_id)
def test_a_secret_is_refused_and_neither_shown_nor_written(tally: Any, case: dict[str, Any]) -> None:
    values = _values(case)
    error = tally("secret", lambda: _check(values))
    assert isinstance(error, FaultsError)
    # An address with a password or a key has another form than the schema takes, which finds it first.
    assert any("recipes are committed" in fault.message or ".url`" in fault.message for fault in error.faults)
    engine = values["engine"]
    identity = vllm_identity("f", engine["options"], engine["environment"], "lock")
    for said in ("\n".join(error.lines()), json.dumps(error.as_json()), json.dumps(writable(values))):
        assert not any(secret in said for secret in SECRETS), said
    assert PLAIN not in json.dumps(writable(identity))


@pytest.mark.parametrize("case", CASES["plain"], ids=_id)
def test_what_is_no_secret_is_not_taken_for_one(tally: Any, case: dict[str, Any]) -> None:
    values = _values(case)
    error = tally("secret", lambda: _check(values))
    assert not any("recipes are committed" in fault.message for fault in getattr(error, "faults", []))
    if case["to"] not in (True, False, None):
        assert writable(values) == json.loads(json.dumps(values))


def test_an_error_hides_a_key_that_it_quotes() -> None:
    error = RunError("`https://user:pass1234@host/x?api_key=abcd1234` failed", "`export HF_TOKEN=...`")
    said = " ".join(error.lines())
    assert "pass1234" not in said and "abcd1234" not in said
    assert "HF_TOKEN=..." in said


@pytest.mark.parametrize(
    "unit",
    [
        "a://",
        "bearer ",
        "token=",
        "eyJ",
        "sk-",
        "a_",
        "a@",
        "--",
        "api_",
        "?",
        "-----BEGIN ",
        "?token=",
        "aB",
        "sk-a",
        " a.b-",
    ],
)
def test_looking_for_secrets_takes_no_time(tally: Any, unit: str) -> None:
    assert tally("secret", lambda: redacted(unit * (10**6 // len(unit))), 3) is None


@pytest.mark.parametrize("place", ["recipe", "params"])
def test_neither_show_nor_diff_nor_list_prints_a_secret(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}", encoding="utf-8")
    text = (PROJECT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    bad = copy.deepcopy(QUICKSTART)
    bad["description"] = f"with hf_abcdefghijABCDEFGHIJ0123456789 and password={PLAIN}"
    bad["engine"]["options"] = {
        "api_key": PLAIN,
        "x": [{"credentials": {"user": PLAIN}}],
        "url": f"https://u:{PLAIN}@h/x",
        "hf_abcdefghijABCDEFGHIJ0123456789": 1,
    }
    bad["train"]["launcher_args"] = [f"--hf_token={PLAIN}", "--api-key", PLAIN]
    yaml = YAML()
    with (recipes / "quickstart.yaml").open("w", encoding="utf-8") as file:
        if place == "recipe":
            yaml.dump(bad, file)
        else:
            file.write(text)
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump({**(bad if place == "params" else QUICKSTART), "recipe": "quickstart"}, file)
    monkeypatch.chdir(tmp_path)
    for arguments in (["show", "quickstart"], ["diff"], ["list"]):
        for more in ([], ["--json"]):
            done = CliRunner().invoke(cli, ["recipe", *arguments, *more])
            assert done.exit_code == 0, done.output
            assert not any(secret in done.output for secret in SECRETS), done.output
            if arguments == ["diff"]:
                assert "engine.options" in done.output and "[key]" in done.output
    shown = CliRunner().invoke(cli, ["recipe", "show", "quickstart"]).output
    assert (shown == text) == (place == "params")


def test_show_hides_a_key_in_a_comment() -> None:
    document = Document(
        Path("x"), {"seed": 1}, Node({}, 1, 1), "# export HF_TOKEN=hf_abcdefghijABCDEFGHIJ01\nseed: 1\n"
    )
    assert shareable_text(document) == "# export HF_TOKEN=[key]\nseed: 1\n"
