"""Trace a verdict or a training row back to the line of its source, each step with its facts.

Rows are read as plain values, so that a field of a later version is shown and not refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from its.cards.shape import checked_card
from its.data_files import named_files
from its.errors import Fault, ItsError, MissingError
from its.files import file_sha256, open_regular, read_regular
from its.home import STORE_FILE
from its.prompts.render import read_template
from its.recipe.values import seen
from its.revisions import standing
from its.row_ids import SetIds, Target, find_target
from its.rows import MAX_DOCUMENT_BYTES, MAX_LINE_BYTES, raise_faults, read_json, read_json_lines
from its.store import Store
from its.store.records import Record, find_record
from its.strategies.members import JOIN, members_of, row_names
from its.study.solutions import lost_problems
from its.study.study import Checkpoint, Study, join_query_id

Step = dict[str, Any]
STAGES = ("prepare", "prepare_benchmark", "persona", "solution", "query", "train", "generate", "grade")
_TRAINING_KEY = re.compile(r"\$ITS_HOME/training/([0-9a-f]{16})/")


def lineage(study: Study, row_id: str, checkpoint: str | None = None, sample: int | None = None) -> dict[str, Any]:
    """The steps from a row back to its source.

    Args:
        row_id: as `its.row_ids` reads it.
        checkpoint, sample: of the response, where the id names a query.

    Returns:
        {target, steps, standing}: each step is {what, id, where, facts}, `where` a `path:line` in the project or None;
        what is missing on the way (the store, a training elsewhere) is a step whose facts say so.

    Raises:
        DataError: if no row or several have this id.
        MissingError: if the output of a stage on the way is missing.
        FaultsError: with every line of a file on the way that cannot be read.
    """
    checkpoints = {item.name: item for item in study.checkpoints()}
    target = find_target(
        row_id,
        sets=_sets(study),
        checkpoints=list(checkpoints),
        samples=lambda name, benchmark: study.recipe.generation.of(checkpoints[name].model, benchmark).n,
        checkpoint=checkpoint,
        sample=sample,
        cells={(cell[0].name, *cell[1:]) for cell in study.cells()},
    )
    return {
        "target": target.as_json(),
        "steps": list(_Trace(study).steps(target, checkpoints.get(target.checkpoint or ""))),
        "standing": standing(study.project, _stages(target)).as_json(),
    }


def _sets(study: Study) -> dict[str, SetIds]:
    """The declared sets that are prepared; those outside the design have no queries."""
    recipe = study.recipe
    strategies = {
        name: [row for strategy in found for row in row_names(recipe.strategies, strategy)]
        for _, name, found in study.sets()
    }
    out = {}
    for name in (*recipe.datasets, *recipe.benchmarks):
        path = study.problems_path(name)
        if path.is_file():
            lines = list(read_json_lines(path))
            raise_faults([line for line in lines if isinstance(line, Fault)])
            rows = [line.value for line in lines if not isinstance(line, Fault)]
            ids = {
                row["problem_id"]: None
                for row in rows
                if isinstance(row, dict) and isinstance(row.get("problem_id"), str)
            }
            out[name] = SetIds("train" if name in recipe.datasets else "test", ids, strategies.get(name, []))
    if not out:
        raise MissingError("no data set of this study is prepared", "`dvc repro prepare prepare_benchmark`")
    return out


def _stages(target: Target) -> tuple[str, ...]:
    """The stages that produced a row."""
    ends = {"problem": 2, "query": 5, "checkpoint": 6, "response": 8}
    return STAGES[: ends[target.kind]]


class _Trace:
    """The steps of one trace, over the study and its store if there is one."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.store_path = study.home / STORE_FILE

    def steps(self, target: Target, checkpoint: Checkpoint | None) -> Iterator[Step]:
        if target.kind == "response" and checkpoint is not None:
            yield from self._response(target, checkpoint)
        if checkpoint is not None:
            yield from self._checkpoint(checkpoint)
        if target.kind == "checkpoint":
            return
        if target.kind in ("response", "query"):
            yield from self._query(target, checkpoint)
        yield from self._problem(target)

    def _response(self, target: Target, checkpoint: Checkpoint) -> Iterator[Step]:
        study = self.study
        set_name, strategy = str(target.set_name), str(target.strategy)
        query_id = join_query_id(set_name, str(target.problem_id), strategy)

        def wanted(row: dict[str, Any]) -> bool:
            return (row["query_id"], row["sample_index"]) == (query_id, target.sample)

        name = f"{checkpoint.name}/{query_id}/{target.sample}"
        path = study.verdicts_path(checkpoint, set_name, strategy)
        if path.is_file():
            yield from (self._row("verdict", name, path, wanted, drop=("query_id", "sample_index")))
        else:
            yield _step("verdict", name, None, {"missing": "not graded yet: `dvc repro grade`"})
        found = list(self._row("response", name, study.responses_path(checkpoint, set_name, strategy), wanted))
        yield from found
        traced = self._trace(found[0]["facts"].get("request_key"))
        yield from self._request("request", name, traced, found[0]["facts"].get("request_key"))
        sessions = study.sessions_path()
        facts = read_json(sessions).get(checkpoint.name) if sessions.is_file() else None
        yield _step(
            "engine session",
            str(facts["session"]) if facts else checkpoint.name,
            self._shown(sessions) if facts else None,
            facts or {"missing": f"data/responses/sessions.json names no session of `{checkpoint.name}`"},
        )

    def _checkpoint(self, checkpoint: Checkpoint) -> Iterator[Step]:
        study = self.study
        model = study.recipe.models[checkpoint.model]
        facts: dict[str, Any] = {
            "model": checkpoint.model,
            "source": model.source.model_dump(exclude_none=True),
        }
        if checkpoint.train is None:
            yield _step("checkpoint", checkpoint.name, None, facts | {"trained": "no: this is the base model"})
            return
        rows = study.queries_path("train", str(checkpoint.dataset), checkpoint.train)
        config = study.model_path(checkpoint) / "axolotl.yaml"
        text = read_regular(config, MAX_DOCUMENT_BYTES).decode("utf-8", "replace") if config.is_file() else ""
        key = _TRAINING_KEY.search(text)
        facts |= {
            "training_key": key.group(1) if key else None,
            "train_queries": self._shown(rows),
            "train_queries_sha256": file_sha256(rows) if rows.is_file() else None,
            "dataset": checkpoint.dataset,
            "train_strategy": checkpoint.train,
            "training_seed": checkpoint.seed,
            "variant": checkpoint.variant,
            "saved_at": checkpoint.saved_at,
        }
        if key is None:
            facts["missing"] = "the model is not available: `dvc pull`, or `dvc repro train`"
        parity = study.model_path(checkpoint) / "its_parity.json"
        if parity.is_file():
            left_out = ("examples", "probes")
            facts["parity"] = {name: value for name, value in read_json(parity).items() if name not in left_out}
        yield _step("checkpoint", checkpoint.name, self._shown(config) if config.is_file() else None, facts)

    def _query(self, target: Target, checkpoint: Checkpoint | None) -> Iterator[Step]:
        study = self.study
        set_name, problem_id = str(target.set_name), str(target.problem_id)
        strategy, _, of_union = str(target.strategy).partition(JOIN)
        query_id = join_query_id(set_name, problem_id, str(target.strategy))
        path = study.queries_path(target.side, set_name, strategy)
        if target.side == "train":
            recipe = study.recipe
            under = of_union or members_of(recipe.strategies, strategy, problem_id, recipe.seed)[0]
            if problem_id in lost_problems(study, set_name, under):  # it has no row
                yield from self._solution(set_name, problem_id, under)
                return
        found = list(self._row("query", query_id, path, lambda row: row["query_id"] == query_id, drop=("query_id",)))
        member = self._member(found[0], strategy)
        template = study.recipe.strategies[member].template
        text = read_template(study.template_path(template))
        frame = (found[0]["facts"].get("by_model") or {}).get((checkpoint or Checkpoint("")).model)
        if frame is not None:  # of the model that answered
            found[0]["facts"]["messages"] = frame
        if checkpoint is not None:
            found[0]["facts"].pop("by_model", None)
        found[0]["facts"] |= {
            "template": f"recipes/{template}",
            "template_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        if target.side == "train" and target.kind == "query":
            used = [c.name for c in study.checkpoints() if (c.dataset, c.train) == (set_name, strategy)]
            found[0]["facts"]["trains"] = used
        yield from found
        if target.side == "train":
            yield from self._solution(set_name, problem_id, member)
        yield from self._personas(set_name, problem_id, member)

    def _member(self, query: Step, strategy: str) -> str:
        """The strategy whose template and persona a query has: one of a mix or union, else that of the design."""
        members = self.study.recipe.strategies[strategy].members
        if not members:
            return strategy
        member = query["facts"].get("member")
        if member not in members:
            message = f"`member` is {seen(member)}, and `{strategy}` has {', '.join(f'`{name}`' for name in members)}"
            raise_faults([Fault(str(query["where"]), message, "`dvc repro query`")])
        return str(member)

    def _solution(self, set_name: str, problem_id: str, strategy: str) -> Iterator[Step]:
        """The solution that was regenerated for a problem under a strategy, and the request for it."""
        if self.study.recipe.strategies[strategy].solutions == "keep":
            return
        name, path = join_query_id(set_name, problem_id, strategy), self.study.solutions_path(set_name, strategy)
        for step in self._row("solution", name, path, lambda row: row["problem_id"] == problem_id, drop=("strategy",)):
            yield step
            if key := step["facts"].get("request_key"):
                yield from self._request("solution request", name, self._trace(key), key)

    def _personas(self, set_name: str, problem_id: str, strategy: str, seen: tuple[str, ...] = ()) -> Iterator[Step]:
        """The problem's persona rows under a strategy, the request for each, and its owner if it was taken."""
        path = self.study.personas_path(set_name, strategy)
        name = join_query_id(set_name, problem_id, strategy)
        declared = self.study.recipe.strategies[strategy]
        for step in self._row("persona", name, path, lambda row: row["problem_id"] == problem_id, drop=("strategy",)):
            facts = step["facts"]
            if facts.get("index") is not None:  # one of several
                step["id"] = f"{name} ({facts['index']})"
            if declared.fixed is not None and facts.get("text"):
                facts["taken_from"] = f"params.yaml: strategies.{strategy}.fixed.texts"
            yield step
            basis = declared.derived_from
            taken = facts.get("taken_from")
            if basis is not None and basis not in seen:
                other = taken if isinstance(taken, str) else problem_id
                if self.study.personas_path(set_name, basis).is_file():
                    yield from self._personas(set_name, other, basis, (*seen, strategy))
                    continue
            key = facts.get("request_key")
            if key:
                yield from self._request("persona request", step["id"], self._trace(key), key)

    def _request(self, what: str, name: str, traced: Record | None, key: Any) -> Iterator[Step]:
        if traced is None:
            why = "it is not in the store" if self.store_path.is_file() else f"there is no store {self.store_path.name}"
            yield _step(what, name, None, {"request_key": key, "missing": f"{why}: `its store import` an export"})
            return
        facts = {
            "request_key": traced.key,
            **traced.determinants,
            "completion": traced.response.get("text"),
            "model": traced.identity.get("model"),
            "engine": traced.identity.get("engine"),
            "environment_lock": traced.identity.get("environment"),
            "session": traced.session,
        }
        if what == "request":  # the query and the response state it already
            facts = {name: value for name, value in facts.items() if name in ("sampling", "seed", "start", "session")}
        yield _step(what, name, None, facts)

    def _problem(self, target: Target) -> Iterator[Step]:
        study, set_name = self.study, str(target.set_name)
        path = study.problems_path(set_name)
        name = f"{set_name}/{target.problem_id}"
        found = list(self._row("problem", name, path, lambda row: row["problem_id"] == target.problem_id))
        card_path = study.card_path(set_name)
        card = checked_card(read_json(card_path), str(card_path)) if card_path.is_file() else None
        if card is not None:
            found[0]["facts"]["steps"] = [
                f"{step['step']}: {step['before']} -> {step['after']}" for step in card["steps"]
            ]
        yield found[0]
        yield self._source(set_name, found[0]["facts"], card)

    def _source(self, set_name: str, problem: dict[str, Any], card: dict[str, Any] | None) -> Step:
        """The place of the problem in its source, and that line as it is now."""
        row = problem.get("row")
        place = re.fullmatch(r"(.+?)(?::(\d+)|\[(\d+)\])", row) if isinstance(row, str) else None
        facts = _origin(card, problem, place.group(1) if place else None)
        if place is None:
            return _step("source row", str(row or problem.get("source")), None, facts)
        named = place.group(1)
        if named not in self._files(set_name):  # an untrusted row may name any file of this machine
            missing = f"`{named}` does not exist, or is not a file that params.yaml declares for `{set_name}`"
            return _step("source row", str(row), None, facts | {"missing": missing})
        path = self.study.project / named
        if not path.is_file():
            return _step("source row", str(row), None, facts | {"missing": f"`{named}` does not exist"})
        recorded = facts.get("sha256")
        if recorded and recorded != file_sha256(path):
            facts["changed"] = "the file has changed since it was prepared (another SHA-256)"
        if place.group(2) and path.suffix.lower() in (".jsonl", ".ndjson", ".csv", ".tsv"):
            facts["line"] = _line(path, int(place.group(2)))
        return _step("source row", str(row), f"{self._shown(path)}:{place.group(2)}" if place.group(2) else None, facts)

    def _files(self, set_name: str) -> list[str]:
        """The files that params.yaml declares for a set."""
        entry = self.study.recipe.datasets.get(set_name) or self.study.recipe.benchmarks[set_name]
        found: list[str] = []
        for source in entry.sources:
            if source.kind == "files":
                with contextlib.suppress(ItsError):  # it no longer exists
                    found += named_files(self.study.project, source.path).names
        return found

    def _row(self, what: str, name: str, path: Path, wanted: Any, drop: tuple[str, ...] = ()) -> Iterator[Step]:
        """The wanted rows of a file, at least one."""
        faults: list[Fault] = []
        count = 0
        for line in read_json_lines(path):
            if isinstance(line, Fault):
                faults.append(line)
                continue
            number, row = line
            try:
                found = wanted(row)
            except (KeyError, TypeError):
                faults.append(Fault(f"{path}:{number}", f"no row of this kind ({what})", "`dvc repro` rewrites it"))
                continue
            if found:
                count += 1
                facts = {key: value for key, value in row.items() if key not in drop}
                yield _step(what, name, f"{self._shown(path)}:{number}", facts)
        raise_faults(faults)
        if not count:
            hint = "`dvc status` names the stage to run again"
            raise_faults([Fault(str(path), f"no {what} of `{name}`", hint)])

    def _trace(self, key: Any) -> Record | None:
        if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key) or not self.store_path.is_file():
            return None
        with Store(self.store_path) as store:
            return find_record(store, key)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.study.project).as_posix() if path.is_relative_to(self.study.project) else str(path)


def _origin(card: dict[str, Any] | None, problem: dict[str, Any], file: str | None) -> dict[str, Any]:
    """What the card records of the part and the file that a problem came from."""
    if card is None:
        return {"source": problem.get("source")}
    facts = dict(card["origin"])
    parts = facts.get("parts") or []
    facts = next((dict(part) for part in parts if part.get("name") == problem.get("source")), facts)
    files = facts.pop("files", None) or []
    if files:
        own = next((item.get("sha256") for item in files if item.get("path") == file), None)
        facts |= {"sha256_of_set": facts.pop("sha256", None), "sha256": own}
    return facts


def _step(what: str, name: str, where: str | None, facts: dict[str, Any]) -> Step:
    return {"what": what, "id": name, "where": where, "facts": facts}


def _line(path: Path, number: int) -> str | None:
    """One line of a file; None where it has fewer, or the line is longer than a row may be."""
    with open_regular(path) as source:
        for index, line in enumerate(iter(partial(source.readline, MAX_LINE_BYTES), b""), start=1):
            if index == number:
                return line.decode("utf-8", "replace").rstrip("\n")
    return None
