"""What an engine repeats bit by bit, as measured or as its makers say; shown in the report, kept in provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# benchmarks/determinism.py measures the first two; docs/design.md has the table.
_CPU = (
    "vLLM on a CPU: the same requests in the same order repeat; sampled ones too, each has a seed of its own. In other "
    "company (another batch size, another order, a resumed run) a part of the texts differs"
)
_INVARIANT = "vLLM with VLLM_BATCH_INVARIANT: made to repeat whatever shares a batch (its documentation; not measured)"
_GPU = "vLLM on a GPU: texts depend on what shared the batch, greedy ones too; set VLLM_BATCH_INVARIANT where supported"
_TRANSFORMERS = "transformers: the same requests in the same batches repeat; other batches change a part of the texts"
_OPENAI = "servers behind `openai`: nothing is known; a seed is sent, and hosted models change without notice"


def determinism_notes(sessions: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each kind of engine among the sessions.

    Args:
        sessions: what responses were made with, as `data/responses/sessions.json` has it.
    """
    return list(dict.fromkeys(_sentence(session) for session in sessions))


def _sentence(session: Mapping[str, Any]) -> str:
    if session["engine"] == "openai":
        return _OPENAI
    if session["engine"] == "transformers":
        return _TRANSFORMERS
    if str(session.get("variables", {}).get("VLLM_BATCH_INVARIANT", "0")) not in ("", "0"):
        return _INVARIANT
    return _CPU if session.get("build") == "vllm_cpu" else _GPU
