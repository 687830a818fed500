"""What a secret looks like, by its name and by its value: the one pattern that all checks and writers share.

A secret comes from the environment of the process alone. A recipe that holds one is refused, and whatever is written
down is written without: a key of the store, the provenance, the report, the identity of a training, a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

DEEPEST = 64
"""Levels of nesting that are looked through; honest settings have four. What lies deeper counts as a secret."""

SECRET_NAME = re.compile(
    r"^-{0,2}token$|(?:^|[_.-])(?:(?:api|access|auth|bearer|comet|github|hf|hub|private|secret|session)[_-]?(?:key|token)"
    r"|authorization|credentials?|passwd|password|secret)(?:[_-]id)?$",
    re.IGNORECASE,
)
"""Names of settings whose values must never be written down: `hf_token`, `VLLM_API_KEY`, `S3_ACCESS_KEY_ID`. Not among
them are `eos_token`, `max_tokens` and their like, which determine a response."""

# Values that are keys under whatever name: each form is issued with this beginning and of at least this length.
_VALUE = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|sk_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,}|gsk_[A-Za-z0-9]{20,}|nvapi-[A-Za-z0-9_-]{20,}"
    r"|r8_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r")"
    r"|(?i:\b(?:bearer|basic)\s+)(?=[^\s\d]*\d)[A-Za-z0-9._~+/-]{12,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@?#'\"`]{1,500}@")
_ASSIGNED = re.compile(
    r"(?i)((?:^|[?&;\s,'\"`(]|--)(?:"
    r"(?:[a-z0-9]+[_-])*(?:api|access|auth|bearer|hf|hub|private|secret|session)[_-]?(?:key|token)"
    r"|token|passwd|password|secret)=)(?!\.\.\.)[^\s&;,'\"`)]{1,500}"
)


def looks_secret(text: str) -> bool:
    """Whether a text holds a key, a password in an address, or an assignment to the name of a secret."""
    return bool(_VALUE.search(text) or _USERINFO.search(text) or _ASSIGNED.search(text))


def redacted(text: str) -> str:
    """The text with every key in it written as `[key]`."""
    return _ASSIGNED.sub(r"\1[key]", _USERINFO.sub(r"\1[key]@", _VALUE.sub("[key]", text)))


def without_secrets(value: Any, depth: int = 0) -> Any:
    """The value without what a mapping at any depth holds under the name of a secret (`hf_token`, `api_key`, ...)."""
    if depth > DEEPEST:
        return None
    if isinstance(value, Mapping):
        kept = {name: item for name, item in value.items() if not SECRET_NAME.search(str(name))}
        return {name: without_secrets(item, depth + 1) for name, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, depth + 1) for item in value]
    return value


def writable(value: Any) -> Any:
    """The value as it may stand in a file: without secrets by name, and with those in texts written as `[key]`."""
    return _redacted(without_secrets(value))


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {redacted(name) if isinstance(name, str) else name: _redacted(item) for name, item in value.items()}
    if isinstance(value, list):
        after = [False, *(isinstance(item, str) and _names_secret(item) for item in value)]
        return ["[key]" if hidden else _redacted(item) for item, hidden in zip(value, after, strict=False)]
    return redacted(value) if isinstance(value, str) else value


def _names_secret(argument: str) -> bool:
    """Whether an argument of a command line is an option whose value, the next argument, is a secret."""
    return argument.startswith("--") and SECRET_NAME.search(argument) is not None


def secrets_in(
    value: Any, location: tuple[str | int, ...] = (), *, names: bool = True
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where a value holds secrets, as (location, why); the secret itself is in neither.

    Args:
        location: of the value.
        names: whether the name of a setting gives a secret away; `true`, `false` and `null` under such a name are none:
            they say whether one is used. Keys are found by their form in any case.
    """
    if len(location) > DEEPEST:
        yield location, f"is nested deeper than {DEEPEST} levels"
    elif isinstance(value, Mapping):
        for name, item in value.items():
            here = (*location, name if isinstance(name, str | int) else str(name))
            if names and SECRET_NAME.search(str(name)) and not (item is None or isinstance(item, bool)):
                yield here, "looks like a secret"
            elif looks_secret(str(name)):
                yield location, "has a name that holds what looks like a key"
            else:
                yield from secrets_in(item, here, names=names)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*location, index), names=names)
    elif isinstance(value, str) and (looks_secret(value) or _names_secret(value)):
        yield location, "holds what looks like a key or a password"
