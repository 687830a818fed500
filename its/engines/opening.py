"""From a declared engine to a session: what determines its responses, and how it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from its.engines.protocol import EngineModel
from its.engines.session import Session
from its.engines.vllm import VllmEngine, worker_settings
from its.environments import Environment, environment_variables
from its.store import Store


def open_session(
    store: Store,
    model: EngineModel,
    *,
    environment: Environment,
    options: dict[str, Any],
    variables: dict[str, str],
    seed: int,
    replay: bool,
    log: Path,
    say: Callable[[str], None],
) -> Session:
    """A session over one model; no engine starts before a response is missing.

    The store's key covers the weights' fingerprint, vLLM's arguments, the variables that change numbers (thread
    binding among them: one core against two gave 125 of 128 equal greedy responses) and the environment's lock.

    Args:
        options: pass through to `vllm.LLM`.
        variables: of the engine's process, as the recipe names them; they are part of the key.
        replay: never start an engine.
        log: what the engine prints.
    """
    arguments, determining = worker_settings(model, options, variables, environment.build, seed)
    identity = {
        "model": model.fingerprint,
        "engine": "vllm",
        "arguments": arguments,
        "variables": determining,
        "environment": environment.lock_sha256,
    }
    process = {**environment_variables("vllm", environment), "VLLM_LOGGING_LEVEL": "WARNING", **determining}

    def start() -> VllmEngine:
        say(f"starting vLLM with {model.name} (about 25 s on 2 cores; its log: {log})")
        return VllmEngine(environment.python, model, arguments, process, log)

    return Session(store, identity, None if replay else start)
