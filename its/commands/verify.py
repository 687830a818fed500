"""Check a published study without a GPU, a network or an engine: compute again what its files determine.

Each step reads published files and compares what it computes with the next ones: queries from problems and personas,
response rows from the store's export, verdicts from responses, results from verdicts. So a difference is named at the
row or number that does not follow from what is before it. What no one can compute again without a GPU (the responses
themselves, weights, personas) is compared with the manifest alone.
"""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from its.commands.publication import STORE, STUDY, Difference, Manifest, file_differences, read_manifest
from its.control_tokens import ControlTokens
from its.engines.session import _completion as stored_completion
from its.errors import DataError, Fault, FaultsError, ItsError, MissingError
from its.files import read_regular
from its.grading.grade import GRADER_VERSION
from its.progress import Progress
from its.recipe.cross_checks import cross_check_faults
from its.recipe.document import read_document
from its.recipe.load import Document, validate
from its.recipe.schema import Recipe
from its.recipe.values import Found, value_faults
from its.rows import raise_faults, read_json, read_rows, row_file
from its.shown import bounded, counted
from its.stages import measure
from its.stages.generate import _requests as requests_of_cell
from its.stages.generate import _response as response_row
from its.stages.grade import cell_items, open_grader
from its.stages.query import _queries as rendered_queries
from its.store import Store, response_key
from its.store.importing import import_store
from its.study.row_lengths import left_out
from its.study.solutions import TrainedSolutions
from its.study.study import Cell, Study
from its.thinking import cut_thinking
from its.types import Query, Response, Row, Verdict

RESULTS = ("cells.json", "comparisons.json", "votes.json", "selection.json", "metrics.json")
PLOT = "plots/cells.csv"
MOST = 100
"""Differences that are kept; the number of the others is stated."""
EXACT = 1e-12
"""Relative difference of two numbers that count as equal: the last bits of a sum depend on the processor."""
CHUNK = 500
MAX_TABLE_BYTES = 64 * 2**20
_NOT_STORED = "the export has no response to this request (session, messages, sampling, seed)"


@dataclass
class Verified:
    """What was compared and what does not agree.

    Args:
        differences: the first `MOST`; `more` is how many follow.
        files, queries, responses, verdicts, numbers: how many are equal.
        last_bits: numbers that are equal but for their last bits, of `numbers`.
        skipped: steps that were not done, with the reason.
    """

    manifest: Manifest
    sha256: str
    files: int = 0
    queries: int = 0
    responses: int = 0
    verdicts: int = 0
    numbers: int = 0
    last_bits: int = 0
    differences: list[Difference] = field(default_factory=list)
    more: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Keep a difference, or count it."""
        if len(self.differences) < MOST:
            self.differences.append(Difference(where, bounded(what, 400)))
        else:
            self.more += 1


def verify(folder: Path, *, hashed: bool = False) -> Verified:
    """Compare a published folder with its manifest, then compute its rows and results again.

    Nothing in the folder is changed. The copy of the store and what is computed are in a temporary folder.

    Args:
        hashed: the manifest was written just now from these files, so they are not read again for it.

    Raises:
        MissingError: if it is not a published folder.
        DataError: if its manifest is of another version or invalid.
        RunError: if the disk is full.
    """
    manifest, sha256 = read_manifest(folder)
    differences, readable = ([], True) if hashed else file_differences(folder, manifest)
    wrong = {difference.where for difference in differences}
    found = Verified(manifest, sha256, files=sum(item.path not in wrong for item in manifest.files))
    for difference in differences:
        found.add(*difference)
    if not readable:
        found.skipped.append("rows and results were not computed again: files are missing, are links, or grew")
        return found
    with tempfile.TemporaryDirectory(prefix="its-verify-") as name:
        scratch = Path(name).resolve()
        published = folder.resolve() / STUDY
        try:
            study = _study(published, scratch)
        except ItsError as error:
            _add_error(found, error, {str(published): STUDY})
            found.skipped.append("rows and results were not computed again: the recipe is invalid")
            return found
        _recompute(found, folder.resolve(), Study(published, study.recipe), study)
    return found


def _study(published: Path, scratch: Path) -> Study:
    """A study whose inputs are those that were published, and whose outputs are written in `scratch`.

    The problems are published, so the files that they came from need not be here.

    Raises:
        FaultsError: with the faults of the recipe.
    """
    for inputs in ("recipes", "data/problems", "data/personas", "data/solutions", "data/queries", "data/responses"):
        if (published / inputs).is_dir():
            link = scratch / inputs
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(published / inputs)
    document = read_document(published / "params.yaml")
    found: Iterable[Found] = list(islice(value_faults(document.values), 1))
    if not found:
        beyond = cross_check_faults(document.values, published) if _is_recipe(document) else ()
        found = (fault for fault in beyond if not _of_a_source(fault))
    if next(iter(found), None) is None and _is_recipe(document):
        return Study(scratch, Recipe.model_validate(document.values))
    faults = validate(document, published)[1]
    raise FaultsError(faults[:1])


def _is_recipe(document: Document) -> bool:
    try:
        Recipe.model_validate(document.values)
    except ValueError:
        return False
    return True


def _of_a_source(fault: Found) -> bool:
    location = fault[0]
    return location[:1] in (("datasets",), ("benchmarks",)) and location[2:3] == ("source",)


def _recompute(found: Verified, folder: Path, published: Study, study: Study) -> None:
    """Every step, also after one that found differences: each has its own inputs."""
    names = {str(study.project): STUDY, str(published.project): STUDY, str(folder): "."}
    if found.manifest.grader_version != GRADER_VERSION:
        what = f"graded by grader {found.manifest.grader_version}; this ITS has grader {GRADER_VERSION}"
        found.add("manifest.json", f"{what}: install version {found.manifest.its} to verify")
    sessions: Any = None
    with _step(found, names):
        sessions = _read_sessions(published)
    with _step(found, names):
        _queries(found, published, study)
    with _step(found, names), Store(study.project / "store.sqlite") as store:
        import_store(store, folder / STORE)
        _settings(found, store, sessions or {})
        with Progress("compare", len(study.cells()), "cells") as progress:
            for cell in progress.each(study.cells()):
                with _step(found, names):
                    session = "" if sessions is None else sessions[cell[0].name]["session"]
                    expected = _responses(store, session, study, cell)
                    path = published.responses_path(*cell)
                    found.responses += _rows(found, expected, path, published, Response, _NOT_STORED)
    complete = True
    with _step(found, names), Progress("grade", len(study.cells()), "cells") as progress, open_grader(study) as grader:
        for cell in progress.each(study.cells()):
            done = False
            with _step(found, names):
                path = study.verdicts_path(*cell)
                with row_file(path) as write:
                    for verdict in grader.grade(cell_items(study, cell)):
                        write(verdict)
                found.verdicts += _rows(
                    found, read_rows(path, Verdict), published.verdicts_path(*cell), published, Verdict
                )
                done = True
            complete = complete and done
    if not complete or sessions is None:
        found.skipped.append("results were not computed again: not every response could be read and graded")
        return
    with _step(found, names):
        measure.run(study)
        for name in RESULTS:
            _compare(found, name, read_json(study.results(name)), read_json(published.results(name)))
        _compare(found, PLOT, _table(study.results(PLOT)), _table(published.results(PLOT)))


def _read_sessions(published: Study) -> dict[str, dict[str, Any]]:
    """The settings behind each checkpoint's responses.

    Raises:
        FaultsError: if they are not those of every checkpoint.
    """
    path = published.sessions_path()
    value = read_json(path)
    entries = value if isinstance(value, dict) else {}
    wrong = [
        Fault(str(path), f"`{item.name}` has no settings with a `session`")
        for item in published.checkpoints()
        if not isinstance(entries.get(item.name), dict) or not isinstance(entries[item.name].get("session"), str)
    ]
    raise_faults(wrong)
    return {item.name: entries[item.name] for item in published.checkpoints()}


def _settings(found: Verified, store: Store, sessions: dict[str, dict[str, Any]]) -> None:
    """The settings of a checkpoint's responses are those that the export has, which are hashed into every key."""
    known = {info.sha256: info.identity for info in store.sessions()}
    for name, entry in sessions.items():
        identity = known.get(entry["session"], {})
        for key in (key for key in identity if entry.get(key) != identity[key]):
            where = f"{STUDY}/data/responses/sessions.json: {name}.{key}"
            found.add(where, f"is {_short(entry.get(key))}, in the export {_short(identity[key])}")


def _queries(found: Verified, published: Study, study: Study) -> None:
    """Render every query from its problem and persona."""
    solutions = TrainedSolutions(study)
    control = ControlTokens({})  # `query` refused them
    for side, name, strategies in study.sets():
        too_long = left_out(study, name) if side == "train" else None
        gone = set() if too_long is None else set(too_long.problem_ids)
        for strategy in strategies:
            rendered = rendered_queries(study, side, name, strategy, control, solutions)
            expected = (query for query in rendered if query.problem_id not in gone)
            found.queries += _rows(found, expected, published.queries_path(side, name, strategy), published, Query)


def _responses(store: Store, session: str, study: Study, cell: Cell) -> Iterator[Response | None]:
    """The rows that `generate` makes of the stored responses to the queries of a cell; None for one not stored.

    A key is a hash of session, messages, sampling and seed, so a response to another request is not found.
    """
    checkpoint = cell[0]
    thinking = study.recipe.models[checkpoint.model].thinking
    requests = requests_of_cell(study, *cell)
    while chunk := list(islice(requests, CHUNK)):
        keys = [response_key(session, request.determinants()) for request in chunk]
        stored = dict(store.find(keys))
        for request, key in zip(chunk, keys, strict=True):
            completion = stored_completion(request, "", stored[key]) if key in stored else None
            if completion is None:
                yield None
                continue
            query_id = request.request_id.removeprefix(f"{checkpoint.name}/").rsplit("/", 1)[0]
            cut = cut_thinking(completion.text, thinking, completion.finish_reason == "length", completion.thinking)
            yield response_row(request, query_id, key, completion, cut)


def _rows(
    found: Verified,
    expected: Iterable[Row | None],
    path: Path,
    published: Study,
    kind: type[Row],
    unexpected: str = "a row that does not follow from the published data",
) -> int:
    """Compare the rows of a published file with those expected, one by one; returns how many are equal.

    Args:
        unexpected: what is said of a row in whose place none is expected.
    """
    shown_path = f"{STUDY}/{path.relative_to(published.project).as_posix()}"
    equal = 0
    for line, (wanted, given) in enumerate(zip_longest(expected, read_rows(path, kind)), 1):
        where = f"{shown_path}:{line}"
        if wanted is None:
            found.add(where, unexpected)
        elif given is None:
            found.add(where, "a row is missing")
        elif wanted == given:
            equal += 1
        else:
            own, other = wanted.model_dump(), given.model_dump()
            names = [name for name in own if own[name] != other[name]]
            name = names[0] if names else "row"
            more = f" and {counted(len(names) - 1, 'more field')}" if len(names) > 1 else ""
            found.add(where, f"`{name}` is {_short(other.get(name))}, expected {_short(own.get(name))}{more}")
    return equal


def _compare(found: Verified, name: str, computed: Any, published: Any) -> None:
    """Compare two documents of results value by value."""
    waiting: list[tuple[str, Any, Any]] = [("", computed, published)]
    while waiting:
        place, own, other = waiting.pop()
        where = f"{STUDY}/results/{name}{f': {place}' if place else ''}"
        if isinstance(own, dict) and isinstance(other, dict):
            for key in [*own, *(key for key in other if key not in own)]:
                if key not in own or key not in other:
                    found.add(where, f"`{key}` is {'not expected' if key not in own else 'missing'}")
            both = [key for key in own if key in other]
            waiting += [(f"{place}.{key}".lstrip("."), own[key], other[key]) for key in reversed(both)]
        elif isinstance(own, list) and isinstance(other, list):
            if len(own) != len(other):
                found.add(where, f"has {counted(len(other), 'entry', 'entries')}, expected {len(own)}")
            pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(own, other, strict=False))]
            waiting += reversed(pairs)
        else:
            numbers = _is_number(own) and _is_number(other)
            found.numbers += numbers
            if type(own) is type(other) and own == other:
                continue
            if numbers and math.isclose(own, other, rel_tol=EXACT, abs_tol=EXACT * EXACT):
                found.last_bits += 1
                continue
            found.numbers -= numbers
            found.add(where, f"is {_short(other)}, computed again {_short(own)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _table(path: Path) -> list[list[Any]]:
    """The rows of a CSV file with its numbers as such.

    Raises:
        FaultsError: if it is not CSV.
    """
    text = read_regular(path, MAX_TABLE_BYTES).decode("utf-8", "replace")
    try:
        return [[_number(value) for value in row] for row in csv.reader(text.splitlines())]
    except csv.Error as error:
        raise FaultsError([Fault(str(path), str(error))]) from error


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


@contextmanager
def _step(found: Verified, names: dict[str, str]) -> Iterator[None]:
    """A step in which an error in the published files is a difference; a full disk is not one."""
    try:
        yield
    except (DataError, MissingError) as error:
        _add_error(found, error, names)


def _add_error(found: Verified, error: ItsError, names: dict[str, str]) -> None:
    """An error as differences, with paths as the folder has them."""

    def own(text: str) -> str:
        for path, name in names.items():
            text = text.replace(path, name)
        return text

    if isinstance(error, FaultsError):
        for fault in error.faults:
            found.add(own(fault.where), own(fault.message))
    else:
        found.add(STUDY, own(error.message))
