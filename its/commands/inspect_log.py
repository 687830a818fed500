"""The scores in a log of Inspect, zipped or as JSON: log format 2, as Inspect 0.3.285 writes it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from its.commands.scores import Scores, chosen, flat, id_of, share
from its.commands.zipped_log import zip_entries
from its.errors import DataError, Fault, MissingError
from its.rows import MAX_FAULTS, raise_faults
from its.shown import quoted

CONVERT = "`inspect log convert --to json --output-dir logs_json {path}` and compare that file"
VALUES = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""The values that Inspect's `value_to_float` knows, in lower case."""
SETTINGS = ("model", "task", "task_version", "solver", "model_generate_config", "dataset", "config", "packages")
"""Of a log's `eval`; arguments of the model are left out, they may contain a key."""
_SAMPLE = re.compile(r"samples/.*_epoch_[0-9]+\.json", re.DOTALL)
_CHUNKED = re.compile(r"samples/.*_epoch_[0-9]+/sample\.json", re.DOTALL)
_START = "_journal/start.json"
_READ = ("id", "epoch", "input", "target", "scores", "error", "invalidation")


def zipped_document(path: Path) -> dict[str, Any]:
    """A zipped log as the document that it stands for, of its samples only what is looked at.

    Raises:
        DataError: as `zip_entries`, or if its samples are stored in parts, as log format 3 does.
        MissingError: if it has no samples.
    """
    convert = CONVERT.format(path=quoted(path, 200))
    header: Any = {}
    samples: list[Any] = []
    for name, value in zip_entries(path, _wanted, convert):
        if _CHUNKED.fullmatch(name):
            raise DataError(f"{path}: its samples are stored in parts (log format 3), which is not read", convert)
        if name == "header.json" or (name == _START and not header):
            header = value
        elif name != _START:
            samples.append({key: value.get(key) for key in _READ} if isinstance(value, dict) else value)
    if not isinstance(header, dict) or not samples:
        raise MissingError(f"{path}: has no samples", "is it a log of Inspect? " + convert)
    return {**header, "status": header.get("status", "started"), "samples": samples}


def _wanted(name: str) -> bool:
    return name in ("header.json", _START) or any(form.fullmatch(name) for form in (_SAMPLE, _CHUNKED))


def inspect_scores(document: Mapping[str, Any], name: str, scorer: str | None) -> Scores:
    """The scores of one scorer; the epochs of a sample are responses to one problem.

    Args:
        scorer: which, where there are several; of a scorer with several values SCORER.KEY.

    Raises:
        DataError: if there are several and none was named, or no response has a score.
        FaultsError: with every sample that is not one of Inspect, and every value that is not a score from 0 to 1.
    """
    samples: Sequence[Any] = document["samples"]
    scorers: dict[str, None] = {}
    for sample in samples:
        scorers.update((each, None) for each, _ in _values(sample))
    if not scorers:
        raise DataError(f"{name}: none of {len(samples)} samples has a score", "`inspect score` adds scores to a log")
    wanted = chosen("scorer", "--metric", list(scorers), scorer, name)
    out = Scores(f"{name} ({wanted})", "inspect", graders=[f"inspect {wanted}"])
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    invalid = 0
    seen: dict[tuple[str, int], int] = {}
    for number, sample in enumerate(samples, 1):
        where = f"{name}: sample {number}"
        problem = id_of({"id": sample.get("id")}) if isinstance(sample, dict) else None
        if problem is None:
            faults.append(Fault(where, "not a sample of Inspect: it has no `id`"))
            continue
        epoch = sample.get("epoch", 1)
        if isinstance(epoch, bool) or not isinstance(epoch, int):
            faults.append(Fault(where, f"`epoch`: {quoted(epoch)}; expected a number"))
            continue
        if (problem, epoch) in seen:
            what = f"{quoted(problem)}, epoch {quoted(epoch)}"
            faults.append(Fault(where, f"duplicate of sample {seen[problem, epoch]}: {what}"))
            continue
        seen[problem, epoch] = number
        value = dict(_values(sample)).get(wanted)
        if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN is Inspect's `Score.unscored`
            left_out["with an error" if sample.get("error") else "without a score"] += 1
            continue
        score = _number(value)
        if score is None:
            faults.append(Fault(where, f"`{quoted(wanted)}`: {quoted(value)} is not C, I, P, N or a score from 0 to 1"))
            continue
        invalid += sample.get("invalidation") is not None
        text = _input(sample.get("input"))
        if text is not None:
            out.texts.setdefault(problem, text)
        if isinstance(sample.get("target"), str):
            out.references.setdefault(problem, sample["target"])
        out.add(problem, score)
    if faults:
        raise_faults(faults[: MAX_FAULTS + 1])
    if not out.scores:
        raise DataError(f"{name}: no response has a score by {quoted(wanted)}", "name another with `--metric`")
    _describe(out, document, name)
    for why, count in left_out.items():
        out.notes.append(f"{name}: {count} of {len(samples)} responses {why} are left out")
    if invalid:
        out.notes.append(f"{name}: {invalid} of {len(samples)} responses are marked as invalid; they are counted")
    return out


def _describe(out: Scores, document: Mapping[str, Any], name: str) -> None:
    """Add the log's status, what is said of its epochs, and its settings."""
    status = document.get("status")
    if status != "success":
        out.notes.append(f"{name}: the evaluation is unfinished, its status is {quoted(status)}")
    evaluation = document.get("eval")
    if not isinstance(evaluation, dict):
        return
    out.settings = dict(flat({key: evaluation[key] for key in SETTINGS if key in evaluation}))
    config = evaluation.get("config")
    reducers = config.get("epochs_reducer") if isinstance(config, dict) else None
    others = [each for each in reducers if each != "mean"] if isinstance(reducers, list) else []
    if others and any(len(several) > 1 for several in out.scores.values()):
        named = ", ".join(quoted(each) for each in others[:5])
        out.notes.append(f"{name}: Inspect reduces the epochs of a sample by {named}; here their mean counts")


def _values(sample: Any) -> Iterator[tuple[str, Any]]:
    """Each scorer of a sample and its value; a scorer with several values is SCORER.KEY for each."""
    scores = sample.get("scores") if isinstance(sample, dict) else None
    for scorer, held in scores.items() if isinstance(scores, dict) else ():
        value = held.get("value") if isinstance(held, dict) else held
        if isinstance(value, dict):
            yield from ((f"{scorer}.{key}", each) for key, each in value.items())
        else:
            yield scorer, value


def _number(value: Any) -> float | None:
    known = VALUES.get(value.strip().lower()) if isinstance(value, str) else None
    return known if known is not None else share(value)


def _input(value: Any) -> str | None:
    """The text of a sample's input: itself, or the last message of the user."""
    if isinstance(value, str):
        return value or None
    for turn in reversed(value) if isinstance(value, list) else ():
        if isinstance(turn, dict) and turn.get("role") == "user":
            content = turn.get("content")
            if isinstance(content, list):
                parts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "\n".join(part for part in parts if isinstance(part, str))
            return content if isinstance(content, str) and content else None
    return None
