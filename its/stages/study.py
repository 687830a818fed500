"""What every stage stands on: the project, its parameters, its home, where rows lie, which cells exist."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from its.engines.opening import EngineChoice, ServersChoice, open_session
from its.engines.protocol import EngineModel
from its.engines.session import Session
from its.errors import Fault, FaultsError, MissingError
from its.home import its_home
from its.models import ready_model, trained_model
from its.progress import say
from its.prompts.render import read_template
from its.recipe.document import Document, read_document
from its.recipe.load import checked
from its.recipe.schema import Recipe
from its.rows import read_rows
from its.sources.declared import mapping_faults
from its.store import Store
from its.types import Persona, Problem


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, or `base` (dataset, train strategy and seed None)."""

    model: str
    dataset: str | None = None
    train: str | None = None
    seed: int | None = None

    @property
    def name(self) -> str:
        """Its folder: parts joined with `-`, which no name may hold."""
        return "-".join(
            [self.model, "base"] if self.train is None else [self.model, str(self.dataset), self.train, str(self.seed)]
        )


@dataclass(frozen=True)
class Study:
    """The active study: `project` holds dvc.yaml and params.yaml."""

    project: Path
    recipe: Recipe

    @property
    def home(self) -> Path:
        """The ITS home."""
        return its_home(self.project)

    def checkpoints(self) -> list[Checkpoint]:
        """The design's checkpoints, base first; from params.yaml, never from what lies on disk."""
        design = self.recipe.design
        base = [Checkpoint(model) for model in design.models] if design.base else []
        return base + [
            Checkpoint(model, dataset, strategy, seed)
            for model in design.models
            for dataset in design.datasets
            for strategy in design.train
            for seed in design.seeds
        ]

    def sets(self) -> Iterator[tuple[str, str, list[str]]]:
        """(side, problem set, strategies that its problems need), train side first."""
        for name in self.recipe.design.datasets:
            yield "train", name, self.recipe.design.train
        for name in self.recipe.design.benchmarks:
            yield "test", name, self.recipe.design.test

    def problems_path(self, name: str) -> Path:
        return self.project / "data" / "problems" / f"{name}.jsonl"

    def card_path(self, name: str) -> Path:
        """The card of a problem set; beside it lie `card.md`, `quarantine.jsonl` and `overlap.jsonl`."""
        return self.project / "data" / "cards" / name / "card.json"

    def personas_path(self, name: str, strategy: str) -> Path:
        return self.project / "data" / "personas" / name / f"{strategy}.jsonl"

    def queries_path(self, side: str, name: str, strategy: str) -> Path:
        return self.project / "data" / "queries" / side / name / f"{strategy}.jsonl"

    def responses_path(self, checkpoint: Checkpoint, benchmark: str, strategy: str) -> Path:
        return self.project / "data" / "responses" / checkpoint.name / benchmark / f"{strategy}.jsonl"

    def sessions_path(self) -> Path:
        """What each checkpoint's responses were made with."""
        return self.project / "data" / "responses" / "sessions.json"

    def verdicts_path(self, checkpoint: Checkpoint, benchmark: str, strategy: str) -> Path:
        return self.project / "data" / "verdicts" / checkpoint.name / benchmark / f"{strategy}.jsonl"

    def model_path(self, checkpoint: Checkpoint) -> Path:
        return self.project / "models" / checkpoint.name

    def results(self, *parts: str) -> Path:
        return self.project.joinpath("results", *parts)

    def problems(self, name: str) -> list[Problem]:
        """The prepared problems of a set."""
        return list(read_rows(self.problems_path(name), Problem, key=lambda row: row.problem_id))

    def personas(self, name: str, strategy: str) -> dict[str, list[Persona]]:
        """The personas of a set under a strategy, by problem_id; each problem has one row, or one an index."""
        out: dict[str, list[Persona]] = {}
        for row in read_rows(self.personas_path(name, strategy), Persona, key=lambda row: (row.problem_id, row.index)):
            out.setdefault(row.problem_id, []).append(row)
        return out

    def template(self, path: str) -> str:
        """A template file of the recipe."""
        return read_template(self.project / "recipes" / path)

    def engine_model(self, checkpoint: Checkpoint, trains: bool = False) -> EngineModel:
        """The checkpoint as an engine loads it, or as a training starts from it."""
        declared, kind = self.recipe.models[checkpoint.model], self.recipe.engine.kind

        def base() -> EngineModel:
            rendered = trains or kind in ("vllm", "transformers")
            made = kind != "replay"
            return ready_model(checkpoint.model, declared, self.project, self.home, say, make=made, rendered=rendered)

        if checkpoint.train is None:
            return replace(base(), name=checkpoint.name)
        return trained_model(checkpoint.name, self.model_path(checkpoint), base, declared, self.home)

    def session(self, store: Store, checkpoints: Sequence[Checkpoint], stage: str) -> Session:
        """A session over checkpoints, as the recipe's `engine` section says."""
        engine = self.recipe.engine
        models = [
            self._replayed(store, item) if engine.kind == "replay" else self.engine_model(item) for item in checkpoints
        ]
        return open_session(
            store,
            models,
            EngineChoice(engine.kind, dict(engine.options), dict(engine.environment), _servers(self.recipe)),
            project=self.project,
            home=self.home,
            log=self.home / "logs" / f"{stage}.log",
            say=say,
        )

    def _replayed(self, store: Store, checkpoint: Checkpoint) -> EngineModel:
        """The checkpoint for replay: by its weights where they are here, else by its name in the store."""
        try:
            return self.engine_model(checkpoint)
        except MissingError as error:
            named = [info for info in store.sessions() if checkpoint.name in info.about.get("checkpoints", [])]
            found = sorted({str(info.identity.get("model")) for info in named})
            if len(found) != 1:
                what = f"{len(found)} models of that name" if found else "no model of that name"
                raise MissingError(
                    f"{error.message}, and the store {store.path} holds responses of {what}",
                    "`its store import` an export of this study alone (`its store export --used`), or bring the model",
                ) from error
            declared = self.recipe.models[checkpoint.model]
            return EngineModel(checkpoint.name, "", found[0], declared.dtype, declared.context_length)


def _servers(recipe: Recipe) -> ServersChoice | None:
    """The declared servers; an untrained model is served under its name in the recipe, not as `MODEL-base`."""
    declared = recipe.engine.openai
    if declared is None:
        return None
    from its.engines.fleet.state import TokenPrice
    from its.engines.openai import OpenAIServer

    price = declared.price
    return ServersChoice(
        servers=tuple(OpenAIServer(server.url, server.key_variable) for server in declared.servers),
        served={Checkpoint(name).name: declared.served.get(name, name) for name in recipe.models} | declared.served,
        concurrency=declared.concurrency,
        timeout_seconds=declared.timeout_seconds,
        retries=declared.retries,
        price=None if price is None else TokenPrice(price.prompt, price.completion),
    )


def cost_rows(session: Session, whats: Mapping[str, str], tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    """The account of a closed session: a row a model, then what only its engines count, if they count anything.

    Args:
        whats: by model name, what its row is called.
        tokens: by model name, tokens of all its responses, stored ones too.
    """
    rows: list[dict[str, Any]] = [
        {
            "what": what,
            "responses": session.tallies[name].requests,
            "asked": session.tallies[name].asked,
            "from_store": session.tallies[name].from_store,
            "tokens": tokens.get(name, 0),
            "seconds": round(session.tallies[name].seconds, 1),
        }
        for name, what in whats.items()
    ]
    return rows + ([{"what": "servers", "counts": session.extra}] if session.extra else [])


def load_study(project: Path | None = None) -> Study:
    """The study of the nearest folder with a dvc.yaml, its params.yaml validated.

    Raises:
        MissingError: outside a project, or without params.yaml.
        FaultsError: with every fault of params.yaml.
    """
    project = project or find_project()
    if not os.path.lexists(project / "params.yaml"):
        raise MissingError(f"{project / 'params.yaml'}: no such file", "`its recipe use quickstart` writes it")
    return Study(project, checked_recipe(read_document(project / "params.yaml"), project, {}))


def checked_recipe(document: Document, project: Path, unwritten: Mapping[Path, str]) -> Recipe:
    """The recipe of a document that has passed every check that needs no rows; arguments as of `validate`.

    Raises:
        FaultsError: with every fault, in the order of the file.
    """
    recipe = checked(document, project, unwritten)
    faults = [
        Fault(document.where(here), message, hint)
        for section, sets in (("datasets", recipe.datasets), ("benchmarks", recipe.benchmarks))
        for name, declared in sets.items()
        for here, message, hint in mapping_faults(section, name, declared)
    ]
    if faults:
        raise FaultsError(faults)
    return recipe


def find_project(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that holds a dvc.yaml.

    Raises:
        MissingError: if there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise MissingError("no dvc.yaml here or above", "change into a clone of the ITS repository")


def join_query_id(set_name: str, problem_id: str, strategy: str) -> str:
    """`SET/PROBLEM/STRATEGY`; a problem_id may hold `/`, the names of sets and strategies may not."""
    return f"{set_name}/{problem_id}/{strategy}"


def split_query_id(query_id: str) -> tuple[str, str, str]:
    """(set, problem_id, strategy) of what `join_query_id` made; the last two are empty where it did not make it."""
    set_name, _, rest = query_id.partition("/")
    problem_id, _, strategy = rest.rpartition("/")
    return set_name, problem_id, strategy
