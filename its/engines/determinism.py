"""How far each engine reproduces its texts, as measured or as its documentation says; shown in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# benchmarks/determinism.py measures the first two; docs/design.md has the table.
_CPU = (
    "vLLM on a CPU: the same requests in the same order give the same texts, sampled ones too, since each has its own "
    "seed. With other batches (another batch size, another order, a resumed run) some texts differ"
)
_INVARIANT = "vLLM with VLLM_BATCH_INVARIANT: texts do not depend on the batch (by its documentation; not measured)"
_GPU = "vLLM on a GPU: texts depend on the batch, greedy ones too; set VLLM_BATCH_INVARIANT where it is supported"
_TRANSFORMERS = "transformers: the same requests in the same batches give the same texts; in other batches some differ"
_OPENAI = "servers behind `openai`: not known; a seed is sent, and hosted models change without notice"


def determinism_notes(sessions: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each kind of engine among the sessions.

    Args:
        sessions: the settings of responses, as in `data/responses/sessions.json`.
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
