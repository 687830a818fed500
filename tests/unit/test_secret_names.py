"""Which names are those of secrets: one function for all who refuse, leave out or hide them."""

from __future__ import annotations

import ast
import re
from itertools import product
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import its
from its.recipe.key_issuers import ISSUERS as KNOWN
from its.secrets import looks_secret, redacted, secret_name, secrets_in, without_secrets, writable
from its.store import vllm_identity
from its.store.not_in_key import ARGUMENT_GROUPS, VARIABLE_GROUPS

CASES = YAML(typ="safe").load(Path(__file__).parents[1] / "cases" / "secret_names.yaml")
ISSUERS = ("acme", "my_lab", "internal2", "foo_bar_baz")
KINDS = ("api_key", "access_key", "access_key_id", "secret_key", "secret", "password", "auth_token", "access_token")
VARIABLE_KINDS = ("token", "key", "pat", "pass", "jwt", "token_id", "secret_key_base", "api_key_2")
OF_TEXT = (
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "cls",
    "mask",
    "image",
    "video_start",
    "audio_end",
    "vision",
    "end_of_turn",
)


def _styles(name: str) -> list[str]:
    first, *rest = name.split("_")
    return [name, name.upper(), name.replace("_", "-"), first + "".join(word.capitalize() for word in rest)]


GENERATED_SECRET = [
    *(style for issuer, kind in product(ISSUERS, KINDS) for style in _styles(f"{issuer}_{kind}")),
    *(f"{issuer}_{kind}".upper() for issuer, kind in product(ISSUERS, VARIABLE_KINDS)),
]
GENERATED_HARMLESS = [
    *(
        style
        for of in OF_TEXT
        for end in ("token", "token_id", "tokens", "token_ids")
        for style in _styles(f"{of}_{end}")
    ),
    *(style for of in ("max", "min", "num", "max_new", "prompt", "total") for style in _styles(f"{of}_tokens")),
    *(style for of in ("sort", "cache", "primary", "public", "partition", "group") for style in _styles(f"{of}_key")),
    *(name for group in (*ARGUMENT_GROUPS.values(), *VARIABLE_GROUPS.values()) for name in group),
]


@pytest.mark.parametrize("name", [*CASES["secret"].split(), *GENERATED_SECRET, *KNOWN])
def test_the_name_of_a_secret_is_told_by_all(name: str) -> None:
    assert secret_name(name)
    value = "Zx9QwErTy77Pl"
    assert [place for place, _ in secrets_in({"a": [{name: value}]})] == [("a", 0, name)], "a recipe is refused"
    assert without_secrets({name: value, "b": 1}) == {"b": 1}, "in no key of the store"
    assert value not in str(vllm_identity("f", {name: value}, {name: value}, "lock"))
    assert value not in str(writable({"c": {name: value}}))
    assert value not in redacted(f"{name}={value}"), "in no error"


@pytest.mark.parametrize("name", [*CASES["harmless"].split(), *GENERATED_HARMLESS])
def test_a_name_that_sounds_like_one_is_none(name: str) -> None:
    assert not secret_name(name)
    assert not list(secrets_in({name: "<|im_end|>"})) and without_secrets({name: "x"}) == {name: "x"}
    assert redacted(f"{name}=a1b2c3d4e5") == f"{name}=a1b2c3d4e5"


# The beginning of each form of a key that `secrets` knows; each is completed to a key below.
BEGINNINGS = """
    hf_ api_org_ sk-proj- sk-ant- sk_live_ csk- pplx- sk- xai- AKIA ASIA gho_ ghp_ ghr_ ghs_ ghu_ github_pat_ glpat-
    xoxb- xoxe- AIza gsk_ nvapi- r8_ pypi- tgp_v1_ fw_ ya29. npm_ hvs. rpa_ lsv2_pt_
"""
FORMS = [
    *(f"{beginning}A1B2C3D4E5F6A7B8C9D0E1F2A3B4C5D6E7F8" for beginning in BEGINNINGS.split()),
    "dapi0123456789abcdef0123456789abcdef",
    "dop_v1_0123456789abcdef0123456789abcdef",
    "SG.A1B2C3D4E5F6A7B8C9D0.A1B2C3D4E5F6A7B8C9D0",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "BEARER A1B2C3D4E5F6A7B8",
    "ba\u017fic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    "to\u212aen A1B2C3D4E5F6A7B8C9D0E1",
    "-----BEGIN PRIVATE KEY-----\nA1B2",
    "ssh://someone:A1B2@host",
]


@pytest.mark.parametrize("key", FORMS)
def test_the_quick_look_at_a_text_misses_no_form_of_a_key(key: str) -> None:
    assert looks_secret(f"so {key} is") and "A1B2" not in redacted(f"so {key} is") and "[key]" in redacted(key)


def test_there_is_one_pattern() -> None:
    """Two of them disagreed: what one refused the other kept, and the other way round."""
    found = []
    for path in sorted(Path(its.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pattern = isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"
            if pattern and re.search(r"(?i)secret|passw|api_?\\??key", ast.unparse(node)):
                found.append(path.name)
    assert set(found) == {"secrets.py"}
