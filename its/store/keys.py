"""The key of a response: a hash of everything that determines it, and of nothing else. Opens no files.

A key has two halves. The session's (model, engine, settings, environment) is the same for thousands of requests and is
hashed once. The request's is {messages, start}, hashed separately because many sessions share a prompt, and the rest,
{sampling, seed, sample_index}.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from its.secrets import without_secrets as without_secrets
from its.store.not_in_key import ARGUMENT_GROUPS, SAME_WEIGHTS_FORMATS, VARIABLE_GROUPS, VARIABLE_PREFIXES

PROMPT_FIELDS = ("messages", "start")
"""The determinants of a request that form its prompt; all others are details of one response."""

_ARGUMENTS = frozenset(name for group in ARGUMENT_GROUPS.values() for name in group)
_VARIABLES = frozenset(name for group in VARIABLE_GROUPS.values() for name in group)


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Encode a value as JSON so that equal values give equal texts: keys sorted, no spaces, characters as they are.

    1 and 1.0 give different texts. Raises ValueError for NaN and infinities, which JSON does not have.
    """
    return _CANONICAL.encode(value)


def session_sha256(identity: Mapping[str, Any]) -> str:
    """The hash of a session's identity, which is all that determines a response apart from its request."""
    return _sha256(canonical(identity))


def split_determinants(determinants: Mapping[str, Any]) -> tuple[str, str]:
    """(the prompt, the details) of a request, each as canonical JSON.

    Raises:
        KeyError: if a field of the prompt is missing; an absent one must be given as None.
    """
    prompt = {name: determinants[name] for name in PROMPT_FIELDS}
    return canonical(prompt), canonical({name: value for name, value in determinants.items() if name not in prompt})


def prompt_sha256(prompt: str) -> str:
    """The hash of a prompt in canonical JSON."""
    return _sha256(prompt)


def join_key(session: str, prompt: str, details: str) -> str:
    """The key of a response from its parts.

    Args:
        session: `session_sha256` of the identity.
        prompt: `prompt_sha256` of the prompt.
        details: canonical JSON of the other determinants.
    """
    return _sha256(f"{session}\n{prompt}\n{details}")


def response_key(session: str, determinants: Mapping[str, Any]) -> str:
    """The key of the response to one request, 64 hexadecimal digits.

    Args:
        session: `session_sha256` of the identity.
        determinants: {messages, sampling, seed, sample_index, start} of the request. `seed` is None for greedy
            decoding, which uses no seed.
    """
    prompt, details = split_determinants(determinants)
    return join_key(session, prompt_sha256(prompt), details)


def vllm_identity(
    model_fingerprint: str, arguments: Mapping[str, Any], variables: Mapping[str, str], environment_lock: str
) -> dict[str, Any]:
    """The identity of a vLLM session: its settings without those that cannot determine a response.

    What is dropped is listed in `its.store.not_in_key` with the reason. Everything else stays, so that an option of a
    later vLLM generates again instead of finding a wrong response. Secrets are dropped too.

    Args:
        model_fingerprint: of weights, tokenizer and chat template, including an adapter's if there is one.
        arguments: of `vllm.LLM`.
        variables: those that the recipe or ITS sets for the engine's process, never its whole environment.
        environment_lock: the SHA-256 of the engine environment's lock.
    """
    return {
        "model": model_fingerprint,
        "engine": "vllm",
        "arguments": without_secrets(
            {name: value for name, value in arguments.items() if _argument_counts(name, value)}
        ),
        "variables": without_secrets(
            {
                name: value
                for name, value in variables.items()
                if name not in _VARIABLES and not name.startswith(VARIABLE_PREFIXES)
            }
        ),
        "environment": environment_lock,
    }


def _argument_counts(name: str, value: Any) -> bool:
    if name == "load_format":
        return value not in SAME_WEIGHTS_FORMATS
    return name not in _ARGUMENTS


def _sha256(text: str) -> str:
    # A text from JSON may hold a lone surrogate, which UTF-8 cannot encode.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
