"""The data sets of a study for `its data`: a list of them, their cards, the stage that wrote each file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from its.cards.build import EXAMPLES, build_strategy_card
from its.cards.shape import checked_card
from its.commands.strategy import declaration
from its.errors import DataError, ItsError, MissingError
from its.files import file_sha256, open_regular
from its.home import STORE_FILE
from its.prompts.render import read_template
from its.recipe.load import read_document
from its.recipe.schema import Strategy
from its.revisions import standing
from its.rows import count_lines, read_json, read_rows
from its.store import Store
from its.store.stats import count_by_session
from its.strategies.members import expanded
from its.strategies.solutions import regenerating
from its.study.row_lengths import left_out
from its.study.study import Study
from its.types import Query

STAGES = ("prepare", "prepare_benchmark", "persona", "solution", "query")
"""The stages of dvc.yaml that write what a card describes."""
LOCK_BYTES = 64 * 1024 * 1024
"""Of dvc.lock: some KiB a stage, and a study has a stage for every training."""


def overview(study: Study, name: str | None = None) -> list[dict[str, Any]]:
    """Every set that params.yaml declares, with its steps, files and personas as they are on disk.

    Args:
        name: only this set.

    Raises:
        DataError: if params.yaml declares no such set.
    """
    written = _written_by(study.project)
    out = []
    for kind, set_name in _declared(study, name):
        path = study.problems_path(set_name)
        card, fault = _card_or_fault(study, set_name)
        out.append(
            {
                "name": set_name,
                "kind": kind,
                "rows": count_lines(path) if path.is_file() else None,
                "steps": card["steps"] if card else None,
                "quarantine": card["quarantine"]["rows"] if card else None,
                "overlaps": card["overlaps"]["rows"] if card else None,
                "card": fault or "read",
                "files": [_file(study.project, item, written) for item in _files(study, set_name)],
            }
        )
    return out


def set_card(study: Study, name: str, strategy: str | None) -> dict[str, Any]:
    """The `problem_card` of a set, or with a strategy its `strategy_card`."""
    return problem_card(study, name) if strategy is None else strategy_card(study, name, strategy)


def problem_card(study: Study, name: str) -> dict[str, Any]:
    """The card that stage `prepare` wrote for a set, and what `query` left out of training for its length.

    Raises:
        DataError: if params.yaml declares no such set, or the card is of another version.
        MissingError: if the set is not prepared.
    """
    list(_declared(study, name))
    path = study.card_path(name)
    card = checked_card(read_json(path), str(path))
    out = left_out(study, name)
    if out is not None:
        card["too_long"] = {
            "sequence_length": out.sequence_length,
            "problems": len(out.problem_ids),
            "problem_ids": out.problem_ids,
        }
    return card


def strategy_card(study: Study, name: str, strategy: str) -> dict[str, Any]:
    """The card of a set under a strategy: its problems, the writer of the personas and its settings, the queries.

    That of a mix or union says how many rows each member has.

    Raises:
        DataError: if params.yaml declares no such set or strategy, or its design does not combine them.
        MissingError: if the output of a stage is missing.
    """
    recipe = study.recipe
    card = problem_card(study, name)
    if strategy not in recipe.strategies:
        raise DataError(f"params.yaml declares no strategy `{strategy}`", f"declared: {', '.join(recipe.strategies)}")
    side = "train" if name in recipe.datasets else "test"
    having = [item for of_set, item in study.pairs(side) if of_set == name]
    if strategy not in having:
        within = [
            f"; `{strategy}` is a member of `{item}`" for item in having if strategy in recipe.strategies[item].members
        ]
        wrong = f"the design of params.yaml has no cell of `{name}` under {side} strategy `{strategy}`"
        raise DataError(wrong, f"the {side} strategies of `{name}`: {', '.join(having) or 'none'}{''.join(within)}")
    queries_path = study.queries_path(side, name, strategy)
    queries = {row.query_id: row for row in read_rows(queries_path, Query, key=lambda row: row.query_id)}
    members = recipe.strategies[strategy].members
    several = members or [strategy]
    personas = {item: study.personas(name, item) for item in several}
    chain = dict.fromkeys([strategy, *(item for member in several for item in _chain(study, member))])
    written = [asked for item in several if (asked := _writing_strategy(study, item)) is not None]
    examples = []
    for query in list(queries.values())[:EXAMPLES]:
        own = personas.get(query.member or strategy, {}).get(query.problem_id, [])
        examples.append(
            {
                "problem_id": query.problem_id,
                **({"member": query.member} if members else {}),
                "personas": [row.text for row in own if row.text],
                "domain": next((row.domain for row in own), None),
                "query": "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in query.messages),
            }
        )
    return build_strategy_card(
        problems=card,
        strategy=strategy,
        declared={item: declaration(recipe.strategies[item]) for item in chain},
        templates=_templates(study, several),
        prompt=recipe.prompt.model_dump(exclude_none=True),
        writer=_writer(study) if written else None,
        sessions=_sessions(
            study, [row.request_key for by_problem in personas.values() for rows in by_problem.values() for row in rows]
        ),
        personas=None if members else _summary(study, name, strategy),
        members=_members(study, name, strategy, queries.values()) if members else None,
        rows=len(queries),
        files={
            path.relative_to(study.project).as_posix(): file_sha256(path)
            for path in (
                study.problems_path(name),
                *(study.personas_path(name, item) for item in several),
                queries_path,
            )
        },
        standing=standing(study.project, STAGES).as_json(),
        examples=examples,
        solutions=_solutions(study, name, several) if side == "train" else [],
    )


def _declared(study: Study, name: str | None) -> Iterator[tuple[str, str]]:
    """(kind, name) of the declared sets, or of one of them."""
    recipe = study.recipe
    found = [("dataset", item) for item in recipe.datasets] + [("benchmark", item) for item in recipe.benchmarks]
    if name is not None and name not in [item for _, item in found]:
        raise DataError(
            f"params.yaml declares no dataset or benchmark `{name}`",
            f"declared: {', '.join(item for _, item in found)}",
        )
    yield from ((kind, item) for kind, item in found if name in (None, item))


def _card_or_fault(study: Study, name: str) -> tuple[dict[str, Any] | None, str | None]:
    """The card, or why there is none: a list of sets does not end at the first that is not prepared."""
    try:
        return problem_card(study, name), None
    except MissingError:
        return None, "not prepared"
    except ItsError as error:
        return None, error.message


def _files(study: Study, name: str) -> list[Path]:
    """The files that a set has in the design, whether they exist or not."""
    found = [study.problems_path(name)]
    personas, queries = [], []
    for side, set_name, strategies in study.sets():
        if set_name == name:
            several = expanded(study.recipe.strategies, strategies)
            personas += [study.personas_path(name, strategy) for strategy in several]
            queries += [study.queries_path(side, name, strategy) for strategy in strategies]
    return [*found, *personas, *queries]


def _file(project: Path, path: Path, written: dict[str, dict[str, str]]) -> dict[str, Any]:
    """A file: its rows and hash, and the stage that wrote it, by dvc.lock."""
    shown = path.relative_to(project).as_posix()
    by = next((entry for out, entry in written.items() if shown == out or shown.startswith(f"{out}/")), None)
    there = path.is_file()
    own = by is not None and shown in written
    return {
        "path": shown,
        "rows": count_lines(path) if there else None,
        "sha256": file_sha256(path) if there else None,
        "stage": by["stage"] if by else None,
        # A folder's hash in dvc.lock covers all its files; only a file's own can be compared here.
        "as_locked": _md5(path) == by["md5"] if there and by is not None and own else None,
    }


def _written_by(project: Path) -> dict[str, dict[str, str]]:
    """Output -> {stage, md5} of dvc.lock; {} where there is none."""
    path = project / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        return {
            out["path"]: {"stage": stage, "md5": str(out.get("md5", ""))}
            for stage, entry in read_document(path, LOCK_BYTES).values.get("stages", {}).items()
            for out in entry.get("outs", [])
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a lock file of DVC", "`dvc repro` writes it") from error


def _chain(study: Study, strategy: str) -> Iterator[str]:
    """A strategy, then the one whose personas it uses (`noise.like`, `shuffled.of`), and so on."""
    seen: list[str] = []
    following: str | None = strategy
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = study.recipe.strategies[following].derived_from


def _writing_strategy(study: Study, strategy: str) -> Strategy | None:
    """The strategy by which a model wrote the personas; None if no model did: words of `noise` are drawn."""
    entry = study.recipe.strategies[strategy]
    for _ in study.recipe.strategies:  # a circle is a fault of the recipe
        if entry.shuffled is None:
            break
        entry = study.recipe.strategies[entry.shuffled.of]
    return entry if entry.persona is not None else None


def _members(study: Study, name: str, strategy: str, rows: Iterable[Query]) -> list[dict[str, Any]]:
    """Each member of a mix or union: its share as declared, its rows as written, the counts of its personas."""
    declared = study.recipe.strategies[strategy]
    counts = Counter(row.member for row in rows)
    shares = {} if declared.mix is None else declared.mix.shares
    total = counts.total()
    return [
        {
            "strategy": member,
            "share": shares.get(member),
            "rows": counts[member],
            "share_of_rows": round(counts[member] / total, 4) if total else None,
            "personas": _summary(study, name, member),
        }
        for member in declared.members
    ]


def _templates(study: Study, strategies: Sequence[str]) -> list[dict[str, str]]:
    """The templates of some strategies, each once: the requests for personas, then the queries."""
    asked = [_writing_strategy(study, name) for name in strategies]
    personas = [item.persona.template for item in asked if item is not None and item.persona is not None]
    queries = [study.recipe.strategies[name].template for name in strategies]
    named = [("persona", path) for path in personas] + [("query", path) for path in queries]
    return [_template(study, role, path) for role, path in dict.fromkeys(named)]


def _template(study: Study, role: str, path: str) -> dict[str, str]:
    full = f"recipes/{path}"
    return {
        "role": role,
        "path": full,
        "sha256": hashlib.sha256(read_template(study.template_path(path)).encode()).hexdigest(),
    }


def _writer(study: Study) -> dict[str, Any]:
    writer = study.recipe.writer
    model = study.recipe.models[writer.model]
    return {
        "model": writer.model,
        "source": model.source.model_dump(exclude_none=True),
        "dtype": model.dtype,
        "sampling": writer.sampling.settings(),
        "attempts": writer.attempts,
        "study seed": study.recipe.seed,
    }


def _sessions(study: Study, keys: list[str | None]) -> list[dict[str, Any]] | None:
    """The engine settings behind the responses of the personas; None without a store."""
    path = study.home / STORE_FILE
    if not path.is_file():
        return None
    with Store(path) as store:
        counts = count_by_session(store, [key for key in keys if key])
        known = {info.sha256: info.identity for info in store.sessions()}  # without those that are damaged
    return [
        {
            "responses": count,
            "engine": known.get(sha256, {}).get("engine"),
            "model": known.get(sha256, {}).get("model"),
            "environment lock": known.get(sha256, {}).get("environment"),
            "session": sha256,
        }
        for sha256, count in counts.items()
    ]


def _summary(study: Study, name: str, strategy: str) -> dict[str, Any] | None:
    """The counts of stage `persona`; None if the strategy has no personas."""
    found = read_json(study.project / "data" / "personas" / "summary.json")
    own = [row for row in found["personas"] if (row["set"], row["strategy"]) == (name, strategy)]
    return {**own[0], "rules_version": found.get("rules_version")} if own else None


def _solutions(study: Study, name: str, strategies: Sequence[str]) -> list[dict[str, Any]]:
    """Who regenerated the solutions of some strategies and how many were kept; none where all are the dataset's."""
    regenerated, writer = regenerating(study.recipe.strategies, strategies), study.recipe.writer
    if not regenerated or writer.solutions is None:
        return []
    teacher = writer.teacher
    model = study.recipe.models[teacher]
    rows = read_json(study.project / "data" / "solutions" / "summary.json")["solutions"]
    return [
        {
            "strategy": row["strategy"],
            "teacher": teacher,
            "source": model.source.model_dump(exclude_none=True),
            "dtype": model.dtype,
            "sampling": writer.solutions.sampling.settings(),
            "attempts": writer.solutions.attempts,
            **{key: row[key] for key in ("problems", "kept", "lost")},
        }
        for row in rows
        if row["set"] == name and row["strategy"] in regenerated
    ]


def _md5(path: Path) -> str:
    """The hash by which DVC names a file's content; not for security."""
    with open_regular(path) as raw:
        return hashlib.file_digest(raw, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
