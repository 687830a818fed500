"""Rows of published sets, as their publishers state them: an assumption until a set is prepared and counted."""

from __future__ import annotations

from collections.abc import Mapping

ROWS: Mapping[str, int] = {
    "GAIR/LIMO": 817,
    "HuggingFaceH4/MATH-500": 500,
    "Idavidrein/gpqa": 198,
    "MathArena/aime_2024_I": 15,
    "MathArena/aime_2024_II": 15,
    "MathArena/aime_2025": 30,
    "MathArena/aime_2026": 30,
    "MathArena/hmmt_feb_2025": 30,
}
"""Hub id -> rows of the split that the shipped recipes read; of LIMO version 1, of GPQA the diamond subset."""
