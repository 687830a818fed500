"""Recognize secrets by name and by value: the patterns that all checks and writers share.

A secret may come from the environment of the process only. A recipe that contains one is refused, and no file contains
one: keys of the store, the provenance, the report, the identity of a training, logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

DEEPEST = 64
"""Levels of nesting that are searched; usual settings have four. Anything deeper counts as a secret."""

_KEYS = (
    "access|account|api|auth|aws|azure|comet|deploy|encryption|hf|license|openai|private|secret|session|signing|ssh"
    "|wandb"
)
_TOKENS = (
    "access|api|auth|bearer|bot|clearml|comet|databricks|deploy|discord|dockerhub|gh|github|gitlab|hf|hub|huggingface"
    "|id|jwt|linode|modal|neptune|npm|oauth|personal|private|pypi|refresh|registry|sas|secret|security|session|slack"
    "|trackio|vault|wandb"
)
_SECRET_NAME = re.compile(
    rf"(?:token|sig)$|(?:.*_)?(?:(?:{_KEYS}|bearer|github|hub|subscription)_?keys?|(?:{_TOKENS})_?tokens?|authorization|auth"
    r"|cookies?|credentials?|passphrases?|passwds?|[a-z]*passwords?|pwd|secrets?|(?:access|amz|goog)_signature"
    r"|connection_?string|webhook_?urls?)(?:_\d+)?(?:_ids?)?$"
)
# In capitals, as environment variables are written, a key or token is a secret by default: the issuer chooses the rest
# of the name, and no list of issuers is complete.
_SECRET_VARIABLE = re.compile(
    r"(?:.+_)?(?P<token>[a-z]*token)(?:_\d+)?(?:_id)?$|(?:.*_)?(?:access|api|auth|bearer|pypi)_token_[a-z]+$"
    r"|(?:.+_(?:key|jwt|pass|pat)|sshpass)(?:_\d+)?(?:_(?:base|base64|content|id|json))?$"
)
# Names of tokens of a text (`EOS_TOKEN`, `IMAGE_TOKEN_ID`).
_OF_TEXT = """
    audio begin boa boi bos bov cls context decoder end eoa eoi eos eot eov fim image img mask middle num pad patch per
    placeholder prefix prompt sep special speech start stop suffix think thinking trainable turn unk video vision vocab
"""
# Names of keys of a table or a cache, public keys, and switches.
_OF_TABLE = """
    allow attn cache column dict disable enable foreign group ignore implicit index lookup num partition per primary
    public query sort use
"""
_NO_KEY = frozenset(_OF_TABLE.split())
_NO_TOKEN = _NO_KEY | frozenset(_OF_TEXT.split())
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HEX = re.compile(r"[0-9a-f]{32,128}", re.IGNORECASE)
LONGEST_NAME = 200
"""Characters of a name that are examined, its last ones; the names of settings have fewer than 60."""

# Values that are keys under any name: each form is issued with this prefix and at least this length.
_VALUE = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"
    r"|sk-(?:admin|ant|lf|or|proj|svcacct)-[A-Za-z0-9_-]{16,}|sk_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|(?:csk|pplx|sk|xai)-(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}[A-Za-z0-9_-]*"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,}|gsk_[A-Za-z0-9]{20,}|nvapi-[A-Za-z0-9_-]{20,}"
    r"|r8_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r"|tgp_v1_[A-Za-z0-9_-]{20,}|fw_[A-Za-z0-9]{20,}|dapi[0-9a-f]{32}(?:-\d+)?|ya29\.[A-Za-z0-9._-]{20,}"
    r"|npm_[A-Za-z0-9]{20,}|hvs\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r"|dop_v1_[0-9a-f]{32,}|rpa_[A-Za-z0-9]{20,}|lsv2_[a-z]{2}_[A-Za-z0-9_]{20,}"
    r")"
    r"|(?i:\bbearer\s+)(?=[^\s\d]*\d)[A-Za-z0-9._~+/-]{12,}=*"
    r"|(?i:\bbasic\s+)(?=[A-Z0-9+/]*[a-z])(?=[a-z0-9+/]*[A-Z])(?=[A-Za-z+/]*[\d=])[A-Za-z0-9+/]{12,}={0,2}(?![\w.-])"
    r"|(?i:\btoken\s+)(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
# A user name alone (`ssh://git@host`) is not a secret, unless it is as long and mixed as a key.
_USERINFO = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)"
    r"(?:[^\s/@?#'\"`:]{0,500}:(?![<{\[$])[^\s/@?#'\"`]{1,500}|(?=[a-z_-]{0,500}\d)(?=\d{0,500}[a-z])[a-z0-9_-]{20,500})@"
)
_NAMED = re.compile(
    r"(?<![A-Za-z0-9_.-])-{0,2}([A-Za-z][A-Za-z0-9_.-]{0,99})(['\"`]?[ \t]{0,3}([:=])[ \t]{0,3}['\"`]?)"
)
_GIVEN = re.compile(r"(?![<{\[$(])(?=[^\s&;,'\"`)\d]{0,64}\d)(?=[^\s&;,'\"`)A-Za-z]{0,64}[A-Za-z])[^\s&;,'\"`)]{6,500}")

# A text in which none of these words occurs, in any case, has no secret of that kind. To look for them takes a tenth of
# the time that the patterns take, and a page shows 20 MB of texts.
_HINTS_OF_VALUE = """
    hf_ api_org_ sk- sk_ pplx- xai- akia asia gho_ ghp_ ghs_ ghu_ ghr_ github_pat_ glpat- xox aiza nvapi- r8_ pypi- eyj
    tgp_v1_ fw_ dapi ya29. npm_ hvs. sg. dop_v1_ rpa_ lsv2_ bearer basic token -----begin
"""
_HINTS_OF_NAME = "key token sig auth cookie credential pass pwd secret connection webhook jwt"
_VALUE_HINTS, _NAME_HINTS = _HINTS_OF_VALUE.split(), _HINTS_OF_NAME.split()
_OTHER_CASES = "\u0130\u0131\u017f\u212a"
"""Letters that a pattern without case takes for `i`, `s` or `k`, and `lower` does not."""


def _searched(text: str) -> tuple[bool, bool, bool]:
    """Whether a text may contain a value that is a key, a password in an address, an assignment to a secret's name."""
    lower = text.lower()
    value = any(hint in lower for hint in _VALUE_HINTS) or any(letter in text for letter in _OTHER_CASES)
    assigned = (":" in text or "=" in text) and ("PAT" in text or any(hint in lower for hint in _NAME_HINTS))
    return value, "://" in text, assigned


def secret_name(name: str) -> bool:
    """Whether the value of a setting with this name must not be written down: `hf_token`, `apiKeys`, `SECRET_KEY_ID`.

    False for `eos_token`, `max_tokens` and the like, which determine a response. Names in capitals are those of
    variables, where `LINODE_TOKEN` and `KAGGLE_KEY` are secrets too.
    """
    words = _NAME_WORD.findall(name[-LONGEST_NAME:])
    joined = "_".join(words).lower()
    if _SECRET_NAME.match(joined):
        return True
    if not name.isupper() or not (found := _SECRET_VARIABLE.match(joined)):
        return False
    return not set(joined.split("_")) & (_NO_TOKEN if found["token"] else _NO_KEY)


def _secret_setting(name: str, value: Any) -> bool:
    """Whether a setting is a secret by its name, or by name and value together: hexadecimal digits under `my_key`."""
    if secret_name(name):
        return True
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        return False
    return any(word.lower() in ("key", "token") for word in _NAME_WORD.findall(name[-LONGEST_NAME:]))


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    """Spans of values that a text assigns to the name of a secret: `password: ...`, `?token=...`, `"api_key": "..."`.

    Problems and instructions contain `token=<answer>` and `password=7`: only a value with a letter and a digit, and of
    a length that is plausible for its name and sign, counts.
    """
    end = 0
    for found in _NAMED.finditer(text):
        if found.end() < end or not secret_name(found[1]):
            continue
        value = _GIVEN.match(text, found.end())
        if value is not None and len(value[0]) >= _shortest(found[1], found[3]):
            end = value.end()
            yield value.span()


def _shortest(name: str, sign: str) -> int:
    """The least length at which a value assigned to the name of a secret counts as one."""
    last = _NAME_WORD.findall(name)[-1].lower()
    if last.startswith(("pass", "pwd")):
        return 6
    return 16 if sign == ":" and last == name.lower() else 8  # `token: cl100k_base` occurs in prose


def looks_secret(text: str) -> bool:
    """Whether a text contains a key, a password in an address, or an assignment to the name of a secret."""
    value, address, assigned = _searched(text)
    return bool(
        (value and _VALUE.search(text))
        or (address and _USERINFO.search(text))
        or (assigned and next(_assigned(text), None))
    )


def redacted(text: str) -> str:
    """Replace every key in a text with `[key]`."""
    value, address, assigned = _searched(text)
    if value:
        text = _VALUE.sub("[key]", text)
    if address:
        text = _USERINFO.sub(r"\1[key]@", text)
    if not assigned:
        return text
    pieces, end = [], 0
    for first, last in _assigned(text):
        pieces += [text[end:first], "[key]"]
        end = last
    return "".join([*pieces, text[end:]])


def without_secrets(value: Any, depth: int = 0) -> Any:
    """Drop entries of mappings, at any depth, that have the name of a secret (`hf_token`, `api_key`, ...)."""
    if depth > DEEPEST:
        return None
    if isinstance(value, Mapping):
        kept = {name: item for name, item in value.items() if not _secret_setting(str(name), item)}
        return {name: without_secrets(item, depth + 1) for name, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, depth + 1) for item in value]
    return value


def writable(value: Any, *, names: bool = True) -> Any:
    """The value as it may be written to a file: without secrets by name, and with those in texts written as `[key]`.

    Args:
        names: whether settings are dropped by their names.
    """
    return _redacted(without_secrets(value) if names else value)


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {redacted(name) if isinstance(name, str) else name: _redacted(item) for name, item in value.items()}
    if isinstance(value, list):
        after = [False, *(isinstance(item, str) and _names_secret(item) for item in value)]
        return ["[key]" if hidden else _redacted(item) for item, hidden in zip(value, after, strict=False)]
    if isinstance(value, str) and _holds_option(value):
        return value.partition("=")[0] + "=[key]"
    return redacted(value) if isinstance(value, str) else value


def _names_secret(argument: str) -> bool:
    """Whether a command-line argument is an option whose value, the next argument, is a secret."""
    return argument.startswith("--") and "=" not in argument and secret_name(argument)


def _holds_option(argument: str) -> bool:
    """Whether a command-line argument assigns a value to an option that names a secret: `--hf-token=x`."""
    name, _, value = argument.partition("=")
    return bool(value) and argument.startswith("--") and len(name.split()) == 1 and secret_name(name)


def secrets_in(
    value: Any, location: tuple[str | int, ...] = (), *, names: bool = True
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (location, reason) for each secret in a value, without the secret itself.

    Args:
        location: of the value.
        names: whether settings are judged by their names; `true`, `false` and `null` under the name of a secret are
            switches and not reported. Keys are recognized by their form in any case.
    """
    if len(location) > DEEPEST:
        yield location, f"is nested deeper than {DEEPEST} levels"
    elif isinstance(value, Mapping):
        for name, item in value.items():
            here = (*location, name if isinstance(name, str | int) else str(name))
            if names and _secret_setting(str(name), item) and not (item is None or isinstance(item, bool)):
                yield here, "looks like a secret"
            elif looks_secret(str(name)):
                yield location, "has a name that contains what looks like a key"
            else:
                yield from secrets_in(item, here, names=names)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*location, index), names=names)
    elif isinstance(value, str) and (looks_secret(value) or _names_secret(value) or _holds_option(value)):
        yield location, "contains what looks like a key or a password"
