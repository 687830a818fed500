"""From a declared engine to a session: what determines its responses, and how it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from its.engines.pipe import WORKERS, WorkerEngine
from its.engines.protocol import Engine, EngineModel
from its.engines.replay import Replay
from its.engines.session import Session
from its.engines.vllm import WORKER, engine_groups, serving_arguments, worker_settings
from its.environments import Environment, EnvironmentSpec, environment_variables, find_environment, spec_of
from its.environments.find import place_of
from its.store import Store, vllm_identity

if TYPE_CHECKING:  # the import of an HTTP client takes 0.1 s, and most sessions need none
    from its.engines.fleet.state import TokenPrice
    from its.engines.openai import OpenAIEngine, OpenAIServer

TRANSFORMERS_WORKER = WORKERS / "transformers_worker.py"
# Of the transformers engine's options these change its speed alone (batches move last bits, as they do in vLLM).
TRANSFORMERS_SPEED = ("batch_size", "device_map", "low_cpu_mem_usage")


@dataclass(frozen=True)
class ServersChoice:
    """The servers of the `openai` engine as a recipe declares them; see `its.engines.openai.OpenAIEngine`."""

    servers: tuple[OpenAIServer, ...]
    served: dict[str, str] = field(default_factory=dict)
    concurrency: int = 64
    timeout_seconds: float = 600.0
    retries: int = 8
    price: TokenPrice | None = None


@dataclass(frozen=True)
class EngineChoice:
    """The engine as a recipe declares it."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    openai: ServersChoice | None = None


def open_session(
    store: Store,
    models: Sequence[EngineModel],
    choice: EngineChoice,
    *,
    project: Path,
    home: Path,
    log: Path,
    say: Callable[[str], None],
) -> Session:
    """A session over models; no engine starts, and no engine environment need exist, before a response is missing.

    Args:
        project: the checkout whose `envs/` holds the locks, which are part of what determines a response.
        log: what the engine prints.
    """
    if choice.kind == "replay":
        return Replay(store, models, say)
    opener = {"vllm": _vllm, "transformers": _transformers, "openai": _openai}[choice.kind]
    identities, about, groups, start = opener(models, choice, project, home, log, say)
    sessions = {
        model.name: store.register(
            identities[model.name], {"checkpoints": [model.name], "dtype": model.dtype, "engine": choice.kind, **about}
        )
        for model in models
    }
    return Session(store, models, sessions, groups, start, say)


Opened = tuple[
    dict[str, dict[str, Any]], dict[str, Any], list[list[EngineModel]], Callable[[list[EngineModel]], Engine]
]


def _vllm(
    models: Sequence[EngineModel],
    choice: EngineChoice,
    project: Path,
    home: Path,
    log: Path,
    say: Callable[[str], None],
) -> Opened:
    spec, lock_sha256 = _lock("vllm", project, home)
    identities, settings = {}, {}
    for model in models:
        arguments, variables = worker_settings(model, choice.options, choice.environment, spec.build)
        identities[model.name] = vllm_identity(model.fingerprint, arguments, variables, lock_sha256)
        settings[model.name] = (arguments, variables)

    def start(group: list[EngineModel]) -> WorkerEngine:
        environment = find_environment("vllm", project, home)
        arguments, variables = settings[group[0].name]
        process = _process(environment, {"VLLM_LOGGING_LEVEL": "WARNING"} | variables)
        # vLLM's own processes (one a GPU) import the extension that swaps weights.
        process["PYTHONPATH"] = str(WORKERS)
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        say(f"starting vLLM with {group[0].name}{more} (its log: {log})")
        served = serving_arguments(group, arguments, spec.build)
        return WorkerEngine(environment.python, WORKER, group, served, process, log)

    return identities, {"build": spec.build}, engine_groups(models), start


def _transformers(
    models: Sequence[EngineModel],
    choice: EngineChoice,
    project: Path,
    home: Path,
    log: Path,
    say: Callable[[str], None],
) -> Opened:
    spec, lock_sha256 = _lock("axolotl", project, home)
    settings = {
        model.name: {"dtype": model.dtype, "max_model_len": model.context_length, "revision": model.revision}
        | choice.options
        for model in models
    }
    identities = {
        model.name: {
            "model": model.fingerprint,
            "engine": "transformers",
            "arguments": {
                key: value
                for key, value in settings[model.name].items()
                if key not in (*TRANSFORMERS_SPEED, "revision")
            },
            "variables": choice.environment,
            "environment": lock_sha256,
        }
        for model in models
    }

    def start(group: list[EngineModel]) -> WorkerEngine:
        environment = find_environment("axolotl", project, home)
        say(f"starting transformers with {group[0].name} (its log: {log})")
        options = {key: value for key, value in settings[group[0].name].items() if value is not None}
        return WorkerEngine(
            environment.python, TRANSFORMERS_WORKER, group, options, _process(environment, choice.environment), log
        )

    return identities, {"build": spec.build}, [[model] for model in models], start


def _openai(
    models: Sequence[EngineModel],
    choice: EngineChoice,
    project: Path,
    home: Path,
    log: Path,
    say: Callable[[str], None],
) -> Opened:
    declared = choice.openai
    assert declared is not None  # the recipe's validation holds it
    identities = {
        model.name: {"model": model.fingerprint, "engine": "openai", "options": choice.options} for model in models
    }

    def start(group: list[EngineModel]) -> OpenAIEngine:
        from its.engines.openai import OpenAIEngine

        say(f"asking {len(declared.servers)} servers for {len(group)} models (failed attempts: {log})")
        return OpenAIEngine(
            declared.servers,
            group,
            declared.served,
            options=choice.options,
            concurrency=declared.concurrency,
            timeout_seconds=declared.timeout_seconds,
            retries=declared.retries,
            price=declared.price,
            say=say,
            log=log,
        )

    return identities, {"servers": [server.url for server in declared.servers]}, [list(models)], start


def _lock(name: Any, project: Path, home: Path) -> tuple[EnvironmentSpec, str]:
    """What the environment should be here and the SHA-256 of its lock, whether it is installed or not."""
    spec = spec_of(name, project)
    return spec, place_of(spec, home)[1]


def _process(environment: Environment, variables: dict[str, str]) -> dict[str, str]:
    return environment_variables(environment.name, environment) | variables
