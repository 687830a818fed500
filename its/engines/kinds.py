"""Open a session from a declared engine: by kind, what determines its responses and how it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from its.devices import parallel
from its.engines.pipe import WORKERS, WorkerEngine
from its.engines.places import Place, core_places, gpu_places
from its.engines.protocol import Engine, EngineModel
from its.engines.replay import Replay
from its.engines.replicas import Replicas
from its.engines.session import Session
from its.engines.vllm import WORKER, engine_groups, process_variables, require_ray, serving_arguments, worker_settings
from its.environments import (
    EngineName,
    Environment,
    EnvironmentSpec,
    environment_variables,
    find_environment,
    spec_of,
)
from its.environments.find import place_of
from its.shown import counted
from its.store import Store, vllm_identity

if TYPE_CHECKING:  # the import of an HTTP client takes 0.1 s, and most sessions need none
    from its.engines.fleet.state import TokenPrice
    from its.engines.openai import OpenAIEngine, OpenAIServer

TRANSFORMERS_WORKER = WORKERS / "transformers_worker.py"
StartWorker = Callable[[list[EngineModel], Place | None, threading.Event | None], WorkerEngine]
# Options of the transformers engine that change its speed alone (batches move last bits, as they do in vLLM).
TRANSFORMERS_SPEED = ("batch_size", "device_map", "low_cpu_mem_usage")


@dataclass(frozen=True)
class OpenAISettings:
    """The servers of the `openai` engine as a recipe declares them; see `its.engines.openai.OpenAIEngine`."""

    servers: tuple[OpenAIServer, ...]
    served: dict[str, str] = field(default_factory=dict)
    concurrency: int = 64
    timeout_seconds: float = 600.0
    retries: int = 8
    price: TokenPrice | None = None


@dataclass(frozen=True)
class EngineSettings:
    """The engine as a recipe declares it."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    openai: OpenAISettings | None = None
    replicas: int = 1
    """Workers of `vllm` or `transformers` on this machine; they are in no key."""


def open_session(
    store: Store,
    models: Sequence[EngineModel],
    choice: EngineSettings,
    *,
    project: Path,
    home: Path,
    log: Path,
    say: Callable[[str], None],
) -> Session:
    """A session over models; no engine starts, and no engine environment is needed, until a response is missing.

    Args:
        project: the checkout whose `envs/` contains the locks, which are part of what determines a response.
        log: receives the engine's output.
    """
    if choice.kind == "replay":
        return Replay(store, models, say)
    opener = _Kinds(models, choice, project, home, log, say)
    opened = {"vllm": opener.vllm, "transformers": opener.transformers, "openai": opener.openai}[choice.kind]()
    sessions = {
        model.name: store.register(
            opened.identities[model.name],
            {"checkpoints": [model.name], "dtype": model.dtype, "engine": choice.kind, **opened.about},
        )
        for model in models
    }
    shared = choice.replicas > 1 and choice.kind != "openai"
    return Session(store, models, sessions, opened.groups, opened.start, say, shared=shared)


@dataclass(frozen=True)
class _Prepared:
    """What a session needs from an engine.

    Args:
        identities: by model, what determines its responses besides the request.
        about: labels that determine nothing.
        groups: models that one engine serves.
        start: starts the engine of a group, or with replicas that of all models.
    """

    identities: dict[str, dict[str, Any]]
    about: dict[str, Any]
    groups: list[list[EngineModel]]
    start: Callable[[list[EngineModel]], Engine]


@dataclass(frozen=True)
class _Kinds:
    """One method for each kind of engine; see `open_session`."""

    models: Sequence[EngineModel]
    choice: EngineSettings
    project: Path
    home: Path
    log: Path
    say: Callable[[str], None]

    def vllm(self) -> _Prepared:
        choice = self.choice
        spec, lock_sha256 = self._lock("vllm")
        identities, settings = {}, {}
        for model in self.models:
            arguments, variables = worker_settings(model, choice.options, choice.environment, spec.build)
            identities[model.name] = vllm_identity(model.fingerprint, arguments, variables, lock_sha256)
            settings[model.name] = (arguments, variables)

        groups = engine_groups(self.models)

        def worker(group: list[EngineModel], place: Place | None, arrived: threading.Event | None) -> WorkerEngine:
            environment = find_environment("vllm", self.project, self.home)
            require_ray(choice.options, environment)
            arguments, variables = settings[group[0].name]
            variables = process_variables(variables, choice.environment)
            if place is not None:
                variables |= place.variables
            process = _process(environment, {"VLLM_LOGGING_LEVEL": "WARNING"} | variables)
            # vLLM's own processes (one a GPU) import the extension that swaps weights.
            process["PYTHONPATH"] = str(WORKERS)
            more = f" (one engine for {counted(len(group), 'checkpoint')})" if len(group) > 1 else ""
            log = self._say_start(f"vLLM with {group[0].name}{more}", place)
            served = serving_arguments(group, arguments, spec.build)
            cores = () if place is None else place.cores
            return WorkerEngine(environment.python, WORKER, group, served, process, log, cores=cores, arrived=arrived)

        def places() -> list[Place]:
            size = parallel(choice.options)
            if spec.build == "vllm_cpu":
                return core_places(choice.replicas, size, choice.environment, vllm=True)
            return gpu_places(choice.replicas, size, choice.environment)

        return _Prepared(identities, {"build": spec.build}, groups, self._starter(worker, places, groups))

    def transformers(self) -> _Prepared:
        choice = self.choice
        spec, lock_sha256 = self._lock("axolotl")
        settings = {
            model.name: {"dtype": model.dtype, "max_model_len": model.context_length, "revision": model.revision}
            | choice.options
            for model in self.models
        }
        left_out = (*TRANSFORMERS_SPEED, "revision")  # the fingerprint has the revision
        identities = {
            model.name: {
                "model": model.fingerprint,
                "engine": "transformers",
                "arguments": {key: value for key, value in settings[model.name].items() if key not in left_out},
                "variables": choice.environment,
                "environment": lock_sha256,
            }
            for model in self.models
        }

        groups = [[model] for model in self.models]

        def worker(group: list[EngineModel], place: Place | None, arrived: threading.Event | None) -> WorkerEngine:
            environment = find_environment("axolotl", self.project, self.home)
            log = self._say_start(f"transformers with {group[0].name}", place)
            options = {key: value for key, value in settings[group[0].name].items() if value is not None}
            process = _process(environment, choice.environment)
            if place is not None:
                process |= place.variables
            cores = () if place is None else place.cores
            return WorkerEngine(
                environment.python, TRANSFORMERS_WORKER, group, options, process, log, cores=cores, arrived=arrived
            )

        def places() -> list[Place]:
            device = choice.options.get("device_map")
            if device in (None, "cpu"):
                return core_places(choice.replicas, 1, choice.environment, vllm=False)
            return gpu_places(choice.replicas, 1, choice.environment)

        return _Prepared(identities, {"build": spec.build}, groups, self._starter(worker, places, groups))

    def openai(self) -> _Prepared:
        declared = self.choice.openai
        assert declared is not None  # the recipe's validation checks it
        # The served name chooses the weights; our fingerprint only says which were meant.
        identities = {
            model.name: {
                "model": model.fingerprint,
                "engine": "openai",
                "served": declared.served.get(model.name, model.name),
                "options": self.choice.options,
            }
            | ({"chat_template_kwargs": dict(model.template_kwargs)} if model.template_kwargs else {})
            for model in self.models
        }

        def start(group: list[EngineModel]) -> OpenAIEngine:
            from its.engines.openai import OpenAIEngine

            self.say(f"using {len(declared.servers)} servers for {len(group)} models (failed attempts: {self.log})")
            return OpenAIEngine(
                declared.servers,
                group,
                declared.served,
                options=self.choice.options,
                concurrency=declared.concurrency,
                timeout_seconds=declared.timeout_seconds,
                retries=declared.retries,
                price=declared.price,
                say=self.say,
                log=self.log,
            )

        about = {"servers": [server.url for server in declared.servers]}
        return _Prepared(identities, about, [list(self.models)], start)

    def _starter(
        self, worker: StartWorker, places: Callable[[], list[Place]], groups: list[list[EngineModel]]
    ) -> Callable[[list[EngineModel]], Engine]:
        """What starts one worker for a group, or several that share all groups."""

        def one(group: list[EngineModel]) -> Engine:
            return worker(group, None, None)

        def several(models: list[EngineModel]) -> Engine:
            found = places()

            def start(index: int, group: list[EngineModel], arrived: threading.Event) -> WorkerEngine:
                return worker(group, found[index], arrived)

            return Replicas(len(found), groups, start, self.say)

        return one if self.choice.replicas == 1 else several

    def _say_start(self, what: str, place: Place | None) -> Path:
        """Say that a worker starts, and where; its log."""
        if place is None:
            self.say(f"starting {what} (its log: {self.log})")
            return self.log
        log = self.log.with_name(f"{self.log.stem}-{place.index + 1}{self.log.suffix}")
        self.say(
            f"starting {what} on {place.name}, worker {place.index + 1} of {self.choice.replicas} (its log: {log})"
        )
        return log

    def _lock(self, name: EngineName) -> tuple[EnvironmentSpec, str]:
        """The environment required here and the SHA-256 of its lock, whether it is installed or not."""
        spec = spec_of(name, self.project)
        return spec, place_of(spec, self.home)[1]


def _process(environment: Environment, variables: dict[str, str]) -> dict[str, str]:
    return environment_variables(environment.name, environment) | variables
