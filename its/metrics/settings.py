"""Whether cells that are compared were generated with the same settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PER_CHECKPOINT = ("model", "session", "served", "prompt_ids")
"""Keys of a session that differ between checkpoints in any case, or that say what was checked."""


def different_settings(sessions: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """{setting: its values} for every setting in which sessions differ; nested ones by dotted name, `-` where missing.

    Args:
        sessions: the settings behind each checkpoint's responses, as in `data/responses/sessions.json`.
    """
    flat = [_flat({key: value for key, value in session.items() if key not in PER_CHECKPOINT}) for session in sessions]
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
