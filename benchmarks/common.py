"""What the engine benchmarks share: a study on disk, its checkpoints and queries, raw vLLM beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from its.engines.kinds import EngineSettings, open_session
from its.engines.protocol import EngineModel, Request
from its.engines.session import Session
from its.engines.vllm import process_variables, worker_settings
from its.environments import environment_variables, find_environment
from its.environments.find import spec_of
from its.recipe.load import load_recipe
from its.recipe.schema import ProceduralSource
from its.rows import read_rows
from its.sources.load import load_problems
from its.store import Store
from its.study.serving import engine_model
from its.study.study import Study, load_study
from its.types import Problem, Query

PROJECT = Path(__file__).parents[1]
RAW = PROJECT / "benchmarks" / "raw_vllm.py"


class Bench:
    """A study: the active one, whose trainings were run (`dvc repro train query`), or the quickstart's base alone."""

    def __init__(self, max_tokens: int, *, base: bool = False) -> None:
        recipe = PROJECT / "recipes" / "quickstart.yaml"
        self.study = Study(PROJECT, load_recipe(recipe, PROJECT)) if base else load_study()
        self.sampling = {"temperature": 0.0, "top_p": 1.0, "max_tokens": max_tokens, "stop": []}
        wanted = [item for item in self.study.checkpoints() if item.train is None or not base]
        self.models = {item.name: engine_model(self.study, item) for item in wanted}
        options = dict(self.study.recipe.engine.options)
        self.environment = find_environment("vllm", self.study.project, self.study.home)
        if self.environment.build == "vllm":  # raw vLLM is loaded beside it: each may take less than half of a GPU
            options = {"gpu_memory_utilization": 0.4} | options
        self.choice = EngineSettings("vllm", options, dict(self.study.recipe.engine.environment))

    def messages(self, strategies: Sequence[str], problems: int) -> list[list[dict[str, str]]]:
        """Chats of the test queries, `problems` of each strategy."""
        out = []
        benchmark = self.study.recipe.design.benchmarks[0]
        for strategy in strategies:
            rows = list(read_rows(self.study.queries_path("test", benchmark, strategy), Query))[:problems]
            out += [[{"role": turn.role, "content": turn.content} for turn in row.messages] for row in rows]
        return out

    def problems(self, count: int) -> list[list[dict[str, str]]]:
        """Chats of so many problems of the study's first benchmark, without a context; needs no stage to have run."""
        name = self.study.recipe.design.benchmarks[0]
        declared = self.study.recipe.benchmarks[name]
        assert isinstance(declared.source, ProceduralSource)
        larger = declared.model_copy(update={"source": declared.source.model_copy(update={"size": count})})
        found = load_problems(
            name, larger, seed=self.study.recipe.seed, project=self.study.project, required=("reference",)
        )
        return [[{"role": "user", "content": item.text}] for item in found if isinstance(item, Problem)]

    def requests(self, chats: Sequence[list[dict[str, str]]], models: Sequence[str]) -> list[Request]:
        return [
            Request(f"{model}/{index}", chat, self.sampling, seed=index, model=model)
            for model in models
            for index, chat in enumerate(chats)
        ]

    def session(self, store: Store, models: Sequence[EngineModel]) -> Session:
        return open_session(
            store,
            models,
            self.choice,
            project=self.study.project,
            home=self.study.home,
            log=self.study.home / "logs" / "benchmark.log",
            say=lambda text: None,
        )

    def raw(self, model: EngineModel) -> Raw:
        build = spec_of("vllm", self.study.project).build
        arguments, variables = worker_settings(model, self.choice.options, self.choice.environment, build)
        variables = process_variables(variables, self.choice.environment)
        process = environment_variables("vllm", self.environment) | {"VLLM_LOGGING_LEVEL": "WARNING", **variables}
        return Raw(self.environment.python, model.path, arguments, process | {"HF_HUB_OFFLINE": "1"}, self.sampling)


class Raw:
    """A raw vLLM process; `start_seconds` from its launch to a loaded engine."""

    def __init__(
        self, python: Path, model: str, arguments: dict[str, Any], variables: dict[str, str], sampling: dict[str, Any]
    ) -> None:
        began = time.monotonic()
        self.sampling = dict(sampling)
        self._process = subprocess.Popen(
            [str(python), str(RAW)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        )
        self._say({"model": model, "options": arguments})
        self.start_seconds = time.monotonic() - began

    def chat(self, chats: Sequence[list[dict[str, str]]], seeds: Sequence[int] | None = None) -> dict[str, Any]:
        numbers = list(range(len(chats)) if seeds is None else seeds)
        return self._say({"messages": list(chats), "sampling": self.sampling, "seeds": numbers})

    def close(self) -> None:
        self._process.communicate()

    def _say(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def empty_store() -> Store:
    """A new store in its own folder."""
    return Store(Path(tempfile.mkdtemp(prefix="its-benchmark-")) / "store.sqlite")


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
