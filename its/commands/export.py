"""Export a data set of the study as a folder for `datasets.load_dataset`, and upload it to the Hugging Face hub."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn

from its.cards.markdown import card_markdown
from its.commands.cards import set_card
from its.errors import DataError, MissingError, RunError
from its.rows import read_rows
from its.strategies.members import members_of, row_name
from its.study.row_lengths import left_out
from its.study.solutions import lost_problems
from its.study.study import Study, join_query_id
from its.types import Problem, Query

_RESERVED = (".git", ".dvc")
Side = Literal["train", "test"]
BATCH_ROWS = 1000
TOKEN_VARIABLE = "HF_TOKEN"
PROBLEM_FIELDS = ("problem_id", "text", "reference", "solution", "source", "row")


def export_dataset(study: Study, name: str, strategy: str | None, side: Side | None, out: Path) -> dict[str, Any]:
    """Write a set as a Hugging Face dataset: one Parquet file of one split, and the card as README.md.

    With a strategy a row has `messages`: the query, and on the train side the solution as the assistant's turn. Where
    the strategy has regenerated solutions, that is the new one, and `solution` the dataset's own. Under a mix or union
    `member` is the strategy of the row's persona and template, and a problem has a row for each member of a union.
    `meta` is JSON text, since its fields may differ between rows.

    Args:
        side: the split, and whether the solution is in `messages`; None: `train` for a dataset, `test` for a benchmark.
        out: a folder that does not exist; it appears whole or not at all.

    Returns:
        {folder, split, rows, file, licence}; `licence` is None where the source does not state one.

    Raises:
        DataError: if params.yaml declares no such set or strategy, its design does not combine them, `out` exists or is
            in a folder of git, DVC or ITS, or a row of the train side has no solution.
        MissingError: if the output of a stage is missing.
        RunError: if the disk is full.
    """
    _check_place(study, out)
    if os.path.lexists(out):
        raise DataError(f"`{out}` exists", "choose a new name; nothing is overwritten")
    card = set_card(study, name, strategy)
    licence = card.get("problems", card)["origin"].get("licence")
    own: Side = "train" if name in study.recipe.datasets else "test"
    split: Side = side or own
    rows = (
        map(_problem_row, _problems(study, name))
        if strategy is None
        else _query_rows(study, name, strategy, own, split)
    )
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
        file = temporary / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir()
        combined = strategy is not None and bool(study.recipe.strategies[strategy].members)
        own_fields = ["query_id", "strategy", *(["member"] if combined else []), "domain"]
        count = _write_parquet(file, rows, own_fields if strategy is not None else [])
        title = name if strategy is None else f"{name}, strategy {strategy}"
        readme = f"---\n{_front_matter(title, split, count, licence)}\n---\n\n{card_markdown(card)}"
        (temporary / "README.md").write_text(readme, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{out}: the name is too long for a folder", "give a shorter one") from error
        raise RunError(f"{out}: {str(error.strerror).lower()}", "no partial export was left") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return {"folder": str(out), "split": split, "rows": count, "file": f"data/{file.name}", "licence": licence}


def _check_place(study: Study, out: Path) -> None:
    """Refuse a place in the home or in a folder of git or DVC; an impossible name fails when the folder is created."""
    target = Path(os.path.realpath(out))
    home = Path(os.path.realpath(study.home))
    project = Path(os.path.realpath(study.project))  # itself within `.dvc` where DVC runs a queued experiment
    parts = target.relative_to(project).parts if target.is_relative_to(project) else target.parts
    inside = next((part for part in parts if part.casefold() in _RESERVED), None)
    if inside is not None or target.is_relative_to(home):
        where = f"`{inside}`" if inside is not None else f"the ITS home, {home}"
        raise DataError(f"{out}: is in {where}", "choose a folder outside of it")


def hub_token() -> str:
    """The token in the environment variable `HF_TOKEN`; it is never printed.

    Raises:
        MissingError: if there is none.
    """
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    what = f"`{TOKEN_VARIABLE}` is not set: the hub requires a token with write access"
    raise MissingError(what, f"`export {TOKEN_VARIABLE}=...`, created at https://huggingface.co/settings/tokens")


def push_dataset(folder: Path, repo_id: str, token: str) -> str:
    """Upload an exported folder to the hub and return the URL of the commit; a new repository is private.

    Raises:
        RunError: if the hub refuses or cannot be reached; no message contains the token.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message=f"Upload {folder.name}"
        )
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError) as error:
        reason = " ".join(str(error).split()).replace(token, "***")
        raise RunError(
            f"the hub refused `{repo_id}`: {reason or type(error).__name__}",
            f"the export is complete in `{folder}`; to upload it: `hf upload {repo_id} {folder} --repo-type dataset`",
        ) from error
    return str(done.commit_url)


def _query_rows(study: Study, name: str, strategy: str, own: Side, split: Side) -> Iterator[dict[str, Any]]:
    """A row for each query; a problem has several under a union, side by side."""
    declared, path = study.recipe.strategies, study.queries_path(own, name, strategy)
    members = declared[strategy].members
    personas = {member: study.personas(name, member) for member in members or [strategy]}
    queries: dict[str, list[Query]] = {}
    for query in read_rows(path, Query, key=lambda row: row.query_id):
        queries.setdefault(query.problem_id, []).append(query)
    too_long = left_out(study, name) if own == "train" else None
    gone = set() if too_long is None else set(too_long.problem_ids)
    lost = {member: lost_problems(study, name, member) for member in personas} if own == "train" else {}
    for problem in _problems(study, name):
        if problem.problem_id in gone:
            continue
        found = queries.get(problem.problem_id, [])
        wanted = [
            join_query_id(name, problem.problem_id, row_name(strategy, member if declared[strategy].union else None))
            for member in members_of(declared, strategy, problem.problem_id, study.recipe.seed)
            if problem.problem_id not in lost.get(member, ())
        ]
        if [query.query_id for query in found] != wanted:
            _refuse(path, "query", problem)
        for query in found:
            written = personas.get(query.member or strategy, {}).get(problem.problem_id)
            if written is None:
                _refuse(path, "persona", problem)
            messages = [{"role": turn.role, "content": turn.content} for turn in query.messages]
            if split == "train":
                solution = query.solution or problem.solution  # a benchmark's queries have none
                if not solution:
                    raise DataError(
                        f"{study.problems_path(name)}: `{problem.problem_id}` has no solution to end `messages` with",
                        "export it with `--side test`",
                    )
                messages.append({"role": "assistant", "content": solution})
            yield {
                "query_id": query.query_id,
                "strategy": strategy,
                **({"member": query.member} if members else {}),
                "domain": written[0].domain,
                "personas": [row.text for row in written if row.text],
                "messages": messages,
                **_problem_row(problem),
            }


def _refuse(path: Path, what: str, problem: Problem) -> NoReturn:
    raise DataError(f"{path}: no {what} of problem_id `{problem.problem_id}`", "`dvc repro query`")


def _problems(study: Study, name: str) -> Iterator[Problem]:
    return read_rows(study.problems_path(name), Problem, key=lambda row: row.problem_id)


def _problem_row(problem: Problem) -> dict[str, Any]:
    meta = json.dumps(problem.meta, ensure_ascii=False, sort_keys=True)
    return {name: getattr(problem, name) for name in PROBLEM_FIELDS} | {"meta": meta}


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], query_fields: Sequence[str]) -> int:
    """Write rows of problems, or of queries if these have fields; return how many."""
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    fields = [(name, text) for name in (*PROBLEM_FIELDS, "meta")]
    if query_fields:
        turns = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
        personas = pyarrow.list_(text)
        fields = [*((name, text) for name in query_fields), ("personas", personas), ("messages", turns), *fields]
    count = 0
    with pyarrow.parquet.ParquetWriter(path, pyarrow.schema(fields)) as writer:
        while batch := list(islice(rows, BATCH_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=writer.schema))
            count += len(batch)
    return count


def _front_matter(title: str, split: Side, rows: int, licence: str | None) -> str:
    """The metadata above the card that the hub and `load_dataset` read."""
    from huggingface_hub import DatasetCardData

    steps = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    size = next((label for limit, label in steps if rows < limit), "1M<n<10M")
    data = DatasetCardData(
        pretty_name=title.encode("utf-8", "replace").decode(),  # half a character is no YAML
        license=licence,
        size_categories=[size],
        configs=[{"config_name": "default", "data_files": [{"split": split, "path": f"data/{split}-*.parquet"}]}],
    )
    return str(data.to_yaml()).strip()
