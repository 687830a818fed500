"""The scores in an evaluation log of another program: samples of lm-eval, logs of Inspect, files of `its grade`."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from its.commands.scores import Scores, flat, id_of, take_rows, text_of, verdict_scores
from its.errors import DataError, Fault, MissingError
from its.files import open_regular
from its.foreign_files import foreign_start
from its.rows import MAX_DOCUMENT_VALUES, MAX_LINE_BYTES, Line, raise_faults, read_json, read_json_lines
from its.shown import quoted
from its.values import exceeds

MAX_MEMBERS = 200_000
"""Samples of a zipped log."""
MAX_UNPACKED = 2**31
"""Bytes of all samples of a zipped log."""
PLAIN = "`--log_samples` of lm-eval, an Inspect log or a file of `its grade` is read"
CONVERT = "`inspect log convert --to json --output-dir logs_json {path}` and compare that file"
INSPECT_VALUES = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""The values that Inspect's `value_to_float` knows, in lower case."""


def file_scores(path: Path, filter_name: str | None = None, metric: str | None = None) -> Scores:
    """Read a file of others, told by its content.

    Args:
        filter_name: a filter of lm-eval, where the file has several.
        metric: a metric of lm-eval or a scorer of Inspect, where the file has several.

    Raises:
        DataError: if it is none of the kinds that are read, has no score, or has several and none was named.
        FaultsError: with every row that cannot be read.
    """
    name = str(path)
    with open_regular(path) as source:
        start = source.read(1024)
    if start.startswith(b"PK\x03\x04") and path.suffix.lower() == ".eval":
        return _inspect(_unzipped(path), name, metric)
    found = foreign_start(start, name)
    if found is not None:
        raise DataError(f"{name}: {found[0]}", f"{found[1]}; {PLAIN}")
    if path.suffix.lower() == ".json":
        document = read_json(path)
        if not isinstance(document, dict) or not isinstance(document.get("samples"), list | None):
            raise DataError(f"{name}: is not an Inspect log", PLAIN)
        if document.get("samples") is None:
            raise DataError(f"{name}: has no `samples`: only its header was written", "name the whole log")
        return _inspect(document, name, metric)
    lines = read_json_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{name}: has no rows", PLAIN)
    lines = chain([first], lines)
    row = first.value if isinstance(first, Line) and isinstance(first.value, dict) else {}
    if "doc" in row and "doc_id" in row:
        return _lm_eval(lines, name, filter_name, metric)
    if isinstance(first, Fault) or "verdict" in row:
        if filter_name or metric:
            raise DataError(f"{name}: has verdicts of ITS, no filters and metrics", "leave out the option")
        return verdict_scores(lines, name, "its", name)
    has = ", ".join(f"`{quoted(key)}`" for key in list(row)[:6]) or "no fields"
    raise DataError(f"{name}:{first.number}: a row with {has} has no score", PLAIN)


def _lm_eval(lines: Iterator[Line | Fault], name: str, filter_name: str | None, metric: str | None) -> Scores:
    """The scores of lm-eval's samples: one row for each problem and filter, with a value for each metric."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    numbers: dict[tuple[str, str], int] = {}
    metrics: dict[str, None] = {}

    def take(number: int, row: Mapping[str, Any]) -> str | None:
        doc, doc_id, own = row.get("doc"), row.get("doc_id"), row.get("filter", "none")
        if not isinstance(doc, dict) or isinstance(doc_id, bool) or not isinstance(doc_id, int | str):
            return "not a sample of lm-eval: `doc` is an object and `doc_id` a number there"
        if not isinstance(own, str):
            return f"`filter`: {quoted(own)}; expected a name"
        key = (own, str(doc_id))
        if key in numbers:
            return f"duplicate of line {numbers[key]}: `doc_id` {quoted(doc_id)} under the filter {quoted(own)}"
        numbers[key] = number
        named = row.get("metrics")
        known = [each for each in named if isinstance(each, str)] if isinstance(named, list) else ["exact_match", "acc"]
        metrics.update(dict.fromkeys(each for each in known if each in row))
        kept = {each: row[each] for each in metrics if each in row}
        rows.setdefault(own, {})[str(doc_id)] = {"doc": doc, "target": row.get("target"), "scores": kept}
        return None

    take_rows(lines, name, take)
    chosen = _one("filter", "--filter", list(rows), filter_name, name)
    usual = "exact_match" if metric is None and "exact_match" in metrics else metric
    wanted = _one("metric", "--metric", list(metrics), usual, name)
    out = Scores(f"{name} ({wanted}, filter {chosen})", "lm-eval", graders=[f"lm-eval {wanted}, filter {chosen}"])
    faults = []
    others = max(len(several) for several in rows.values())
    for doc_id, row in rows[chosen].items():
        value = row["scores"].get(wanted)
        score = _share(value)
        if score is None:
            where = f"{name}:{numbers[chosen, doc_id]}"
            faults.append(Fault(where, f"`{wanted}`: {quoted(value)} is not a score from 0 to 1"))
            continue
        problem = id_of(row["doc"]) or doc_id
        if problem in out.scores:
            problem = f"{problem} (doc_id {doc_id})"
        out.texts[problem] = text_of(row["doc"]) or json.dumps(row["doc"], sort_keys=True, ensure_ascii=False)
        if isinstance(row["target"], str | int | float):
            out.references[problem] = str(row["target"])
        out.add(problem, score)
    raise_faults(faults)
    if len(rows[chosen]) < others:
        out.notes.append(f"{name}: {len(rows[chosen])} of {others} problems have the filter {quoted(chosen)}")
    return out


def _inspect(document: Mapping[str, Any], name: str, scorer: str | None) -> Scores:
    """The scores of an Inspect log; the epochs of a sample are responses to one problem."""
    samples = document["samples"]
    scorers: dict[str, None] = {}
    for sample in samples:
        if isinstance(sample, dict) and isinstance(sample.get("scores"), dict):
            scorers.update(dict.fromkeys(str(each) for each in sample["scores"]))
    if not scorers:
        raise DataError(f"{name}: none of {len(samples)} samples has a score", "`inspect score` adds scores to a log")
    wanted = _one("scorer", "--metric", list(scorers), scorer, name)
    out = Scores(f"{name} ({wanted})", "inspect", graders=[f"inspect {wanted}"])
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    seen: dict[tuple[str, Any], int] = {}
    for number, sample in enumerate(samples, 1):
        where = f"{name}: sample {number}"
        if not isinstance(sample, dict) or id_of({"id": sample.get("id")}) is None:
            faults.append(Fault(where, "not a sample of Inspect: it has no `id`"))
            continue
        problem, epoch = str(sample["id"]), sample.get("epoch", 1)
        if not isinstance(epoch, int):
            faults.append(Fault(where, f"`epoch`: {quoted(epoch)}; expected a number"))
            continue
        if (problem, epoch) in seen:
            faults.append(Fault(where, f"duplicate of sample {seen[problem, epoch]}: {quoted(problem)}, epoch {epoch}"))
            continue
        seen[problem, epoch] = number
        held = sample.get("scores")
        held = held.get(wanted) if isinstance(held, dict) else None
        if held is None:
            left_out["with an error" if sample.get("error") else "without a score"] += 1
            continue
        value = held.get("value") if isinstance(held, dict) else held
        score = _inspect_value(value)
        if score is None:
            faults.append(Fault(where, f"`{quoted(wanted)}`: {quoted(value)} is not C, I, P, N or a score from 0 to 1"))
            continue
        text = _inspect_input(sample.get("input"))
        if text is not None:
            out.texts.setdefault(problem, text)
        target = sample.get("target")
        if isinstance(target, str):
            out.references.setdefault(problem, target)
        out.add(problem, score)
    raise_faults(faults[:21])
    status = document.get("status")
    if status != "success":
        out.notes.append(f"{name}: the evaluation is unfinished, its status is {quoted(status)}")
    for why, count in left_out.items():
        out.notes.append(f"{name}: {count} of {len(samples)} responses {why} are left out")
    evaluation = document.get("eval")
    if isinstance(evaluation, dict):
        kept = {key: evaluation.get(key) for key in ("model", "task", "model_generate_config")}
        out.settings = dict(flat(kept))
    if not out.scores:
        raise DataError(f"{name}: no response has a score by {quoted(wanted)}", "name another with `--metric`")
    return out


def _inspect_value(value: Any) -> float | None:
    if isinstance(value, str):
        known = INSPECT_VALUES.get(value.strip().lower())
        if known is not None:
            return known
        try:
            return _share(float(value))
        except ValueError:
            return None
    return _share(value)


def _inspect_input(value: Any) -> str | None:
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


def _share(value: Any) -> float | None:
    """A score in [0, 1]; None for anything else, NaN among it."""
    if isinstance(value, int | float) and 0 <= value <= 1:  # NaN is in no range
        return float(value)
    return None


def _one(what: str, option: str, known: list[str], wanted: str | None, name: str) -> str:
    """The one that was named, or the only one.

    Raises:
        DataError: if it does not exist, there is none, or there are several.
    """
    listed = ", ".join(f"`{quoted(each)}`" for each in known[:20])
    if not known:
        raise DataError(f"{name}: no row has a {what}", PLAIN)
    if wanted is not None:
        if wanted not in known:
            raise DataError(f"{name}: has no {what} `{wanted}`", f"it has {listed}: `{option} {quoted(known[0])}`")
        return wanted
    if len(known) > 1:
        raise DataError(f"{name}: has {len(known)} {what}s: {listed}", f"name one: `{option} {quoted(known[0])}`")
    return known[0]


def _unzipped(path: Path) -> dict[str, Any]:
    """A zipped Inspect log as the document it stands for: of its entries the header and the samples.

    Raises:
        DataError: if it is damaged, packed in a way that Python does not read, or unpacks to more than is read.
    """
    convert = CONVERT.format(path=quoted(path, 200))
    samples: list[Any] = []
    try:
        with open_regular(path) as source, zipfile.ZipFile(source) as archive:
            entries = {item.filename: item for item in archive.infolist()}
            if len(entries) > MAX_MEMBERS or sum(item.file_size for item in entries.values()) > MAX_UNPACKED:
                raise DataError(f"{path}: has more than {MAX_MEMBERS} entries or {MAX_UNPACKED} bytes", convert)
            header: Any = _member(archive, entries["header.json"], path) if "header.json" in entries else {}
            for entry, item in entries.items():
                if entry.startswith("samples/") and entry.endswith(".json"):
                    sample = _member(archive, item, path)
                    if isinstance(sample, dict):  # a message or event is not looked at, and is most of the bytes
                        sample = {key: sample.get(key) for key in ("id", "epoch", "input", "target", "scores", "error")}
                    samples.append(sample)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: the log cannot be unpacked: {quoted(error)}", convert) from error
    if not isinstance(header, dict) or not samples:
        raise MissingError(f"{path}: has no samples", convert)
    return {**header, "status": header.get("status", "started"), "samples": samples}


def _member(archive: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path) -> Any:
    """An entry of a zipped log; what it says of its size is not believed."""
    with archive.open(item) as source:
        content = source.read(MAX_LINE_BYTES + 1)
    where = f"{path}: {quoted(item.filename)}"
    if len(content) > MAX_LINE_BYTES or exceeds(content, MAX_DOCUMENT_VALUES):
        raise DataError(f"{where}: has more than {MAX_LINE_BYTES} bytes or {MAX_DOCUMENT_VALUES} values", PLAIN)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {quoted(error)}", PLAIN) from error
