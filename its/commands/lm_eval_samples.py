"""The scores in samples of lm-eval: a row for each problem and filter, with a value for each metric.

lm-eval 0.4.13 writes JSON lines. Its first versions of 2023 wrote one JSON array, under either name, which names
neither filter nor metrics: there every number beside the known fields is a metric, and where each problem comes k
times, its k-th row is of the k-th filter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from its.commands.scores import Scores, chosen, id_of, share, take_rows, text_of
from its.errors import Fault
from its.rows import Line, raise_faults
from its.shown import quoted

UNNAMED = "none"
"""lm-eval's own name for the filter of a task that declares none."""
_FIELDS = (
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
)
_WORDS = {"true": 1.0, "false": 0.0}
"""What lm-eval writes for a value of numpy that JSON does not know."""


def _numbered(count: int) -> str:
    """The name of a filter that the rows do not name."""
    return f"unnamed-{count}"


class _Filter:
    """The rows under one filter by `doc_id`, as read: id, text, reference, value of each metric."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.ids: dict[str, str] = {}
        self.references: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {}


def lm_eval_scores(
    lines: Iterable[Line | Fault],
    name: str,
    place: Callable[[int], str],
    filter_name: str | None,
    metric: str | None,
) -> Scores:
    """The scores under one filter and one metric.

    Args:
        place: how errors call the row with a number.
        filter_name, metric: which, where there are several; of metrics `exact_match` if None.

    Raises:
        DataError: if there are several and none was named, or there is none.
        FaultsError: with every row that is not a sample, or whose value is not a score from 0 to 1.
    """
    filters: dict[str, _Filter] = {}
    texts: dict[str, str] = {}
    metrics: dict[str, None] = {}
    unnamed: dict[str, int] = {}

    def take(number: int, row: Mapping[str, Any]) -> str | None:
        doc, doc_id, own = row.get("doc"), row.get("doc_id"), row.get("filter")
        if not isinstance(doc, dict) or isinstance(doc_id, bool) or not isinstance(doc_id, int | str):
            return "not a sample of lm-eval: `doc` is an object and `doc_id` a number there"
        key = str(doc_id)
        if own is None:
            unnamed[key] = unnamed.get(key, 0) + 1
            own = _numbered(unnamed[key])
        if not isinstance(own, str):
            return f"`filter`: {quoted(own)}; expected a name"
        rows = filters.setdefault(own, _Filter())
        if key in rows.lines:
            what = f"`doc_id` {quoted(doc_id)} under the filter {quoted(own)}"
            return f"duplicate of line {rows.lines[key]}: {what}"
        rows.lines[key] = number
        if key not in texts:
            try:
                texts[key] = text_of(doc) or json.dumps(doc, sort_keys=True, ensure_ascii=False)
            except RecursionError:
                return "`doc` is nested too deeply"
        if (problem := id_of(doc)) is not None:
            rows.ids[key] = problem
        if isinstance(row.get("target"), str | int | float):
            rows.references[key] = str(row["target"])
        named = row.get("metrics")
        if isinstance(named, list):
            known = [each for each in named if isinstance(each, str)]
        else:
            known = [each for each, value in row.items() if each not in _FIELDS and isinstance(value, int | float)]
        metrics.update(dict.fromkeys(each for each in known if each in row))
        rows.values[key] = {each: row[each] for each in known if each in row}
        return None

    take_rows(lines, place, take)
    _name_filters(filters, unnamed, place)
    own_filter = chosen("filter", "--filter", list(filters), filter_name, name)
    usual = "exact_match" if metric is None and "exact_match" in metrics else metric
    own_metric = chosen("metric", "--metric", list(metrics), usual, name)
    label = f"{own_metric}, filter {own_filter}"
    out = Scores(f"{name} ({label})", "lm-eval", graders=[f"lm-eval {label}"])
    _fill(out, filters[own_filter], texts, own_metric, place)
    most = max(len(several.values) for several in filters.values())
    if len(out.scores) < most:
        out.notes.append(f"{name}: {len(out.scores)} of {most} problems have the filter {quoted(own_filter)}")
    return out


def _name_filters(filters: dict[str, _Filter], unnamed: Mapping[str, int], place: Callable[[int], str]) -> None:
    """Give the only filter that rows do not name lm-eval's own name.

    Raises:
        FaultsError: if some problems come more often than others: those are duplicates, not rows of a filter.
    """
    if not unnamed:
        return
    least = min(unnamed.values())
    again = [
        (rows.lines[key], key)
        for key, count in unnamed.items()
        for rows in [filters[_numbered(count)]]
        if count > least
    ]
    raise_faults(
        [Fault(place(line), f"duplicate: `doc_id` {quoted(key)} comes more often than others") for line, key in again]
    )
    if least == 1:
        filters[UNNAMED] = filters.pop(_numbered(1))


def _fill(out: Scores, rows: _Filter, texts: Mapping[str, str], metric: str, place: Callable[[int], str]) -> None:
    faults = []
    for key, values in rows.values.items():
        value = values.get(metric)
        score = share(_WORDS.get(value.lower(), value) if isinstance(value, str) else value)
        if score is None:
            faults.append(Fault(place(rows.lines[key]), f"`{metric}`: {quoted(value)} is not a score from 0 to 1"))
            continue
        problem = rows.ids.get(key, key)
        if problem in out.scores:
            problem = f"{problem} (doc_id {key})"
        out.texts[problem] = texts[key]
        if key in rows.references:
            out.references[problem] = rows.references[key]
        out.add(problem, score)
    raise_faults(faults)
