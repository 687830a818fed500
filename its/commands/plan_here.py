"""What of a study is here already: outputs of its stages, responses in the store, finished trainings in the home."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from its.commands.trainings import finished_keys
from its.home import STORE_FILE
from its.models import SOUND_FILE
from its.store import Store
from its.strategies.members import expanded
from its.study.study import Study


@dataclass(frozen=True)
class StageState:
    """A stage of dvc.yaml: how many outputs the study takes of it, and how many are here. Whether these are up to date
    is for `dvc status` to say."""

    stage: str
    outputs: int
    here: int


def stage_states(study: Study) -> list[StageState]:
    """The stages in the order of the graph."""
    recipe, cells = study.recipe, study.cells()
    strategies = recipe.strategies
    used = {name: expanded(strategies, of) for _, name, of in study.sets()}
    personas = [
        (name, each) for name, several in used.items() for each in several if strategies[each].persona is not None
    ]
    solutions = [
        (name, each)
        for side, name, of in study.sets()
        if side == "train"
        for each in expanded(strategies, of)
        if strategies[each].solutions == "regenerate"
    ]
    queries = [(side, name, each) for side, name, several in study.sets() for each in several]
    trained = [item for item in study.checkpoints() if item.train is not None]
    found = [
        ("prepare", [study.problems_path(name) for _, name, _ in study.sets()]),
        ("persona", [study.personas_path(*pair) for pair in personas]),
        ("solution", [study.solutions_path(*pair) for pair in solutions]),
        ("query", [study.queries_path(*place) for place in queries]),
        ("train", [study.model_path(item) / SOUND_FILE for item in trained]),
        ("generate", [study.responses_path(*cell) for cell in cells]),
        ("grade", [study.verdicts_path(*cell) for cell in cells]),
        ("measure", [study.results("metrics.json")]),
    ]
    return [StageState(stage, len(set(paths)), _here(paths)) for stage, paths in found if paths]


def _here(paths: Iterable[Path]) -> int:
    return sum(path.is_file() for path in set(paths))


def stored_responses(study: Study) -> int:
    """Responses in the store that were generated under the name of a checkpoint of the study; 0 without a store.

    They are reused where prompt and settings are the same, so this is what may be reused at most.
    """
    path = study.home / STORE_FILE
    if not path.is_file():
        return 0
    names = {item.name for item in study.checkpoints()}
    with Store(path) as store:
        return sum(item.responses for item in store.sessions() if names & set(item.about.get("checkpoints", ())))


def finished_trainings(study: Study) -> int:
    """Trainings in the ITS home that are finished, of any study; one of the same key is not run again."""
    return len(finished_keys(study.home))
