"""Whether cells that are compared were generated alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

APART = ("model", "session", "served", "prompt_ids")
"""Of a session: what differs between checkpoints by their nature, and what was checked of it."""


def unlike_settings(sessions: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """{setting: its values} of every setting in which sessions differ; nested ones by dotted name, absent is `-`.

    Args:
        sessions: what the responses of each checkpoint were made with, as `data/responses/sessions.json` has it.
    """
    flat = [_flat({key: value for key, value in session.items() if key not in APART}) for session in sessions]
    names = dict.fromkeys(name for settings in flat for name in settings)
    values = {name: list(dict.fromkeys(settings.get(name, "-") for settings in flat)) for name in names}
    return {name: seen for name, seen in sorted(values.items()) if len(seen) > 1}


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            out |= _flat(item, f"{above}{key}.")
        else:
            out[f"{above}{key}"] = str(item)
    return out
