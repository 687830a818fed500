"""Models served to a stage: prepared checkpoints, a session over them, its cost. For stages that request responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from its.control_tokens import ControlTokens
from its.engines.fleet.state import TokenPrice
from its.engines.kinds import EngineSettings, OpenAISettings, open_session
from its.engines.openai import OpenAIServer
from its.engines.protocol import EngineModel
from its.engines.session import Session
from its.errors import MissingError
from its.model_files import final_template, model_control_tokens
from its.models import ready_model, require_opening, trained_model
from its.progress import say
from its.recipe.schema import Recipe, Sampling
from its.store import Store
from its.study.days import Days
from its.study.study import Checkpoint, Study

OURS = ("vllm", "transformers")
"""Engines that render the chat template given by ITS; servers use their own."""


def engine_model(study: Study, checkpoint: Checkpoint) -> EngineModel:
    """The checkpoint as an engine loads it."""
    declared = study.recipe.models[checkpoint.model]
    if checkpoint.train is None:
        return replace(base_model(study, checkpoint.model), name=checkpoint.name)
    return trained_model(
        checkpoint.name,
        study.model_path(checkpoint),
        lambda: base_model(study, checkpoint.model),
        declared,
        study.home,
        study.project,
    )


def base_model(study: Study, name: str) -> EngineModel:
    """A declared model, untrained, prepared for an engine."""
    declared, kind = study.recipe.models[name], study.recipe.engine.kind
    return ready_model(name, declared, study.project, study.home, say, make=kind != "replay", rendered=kind in OURS)


def open_serving(
    study: Study, store: Store, checkpoints: Sequence[Checkpoint], stage: str, sampled: Mapping[str, Sequence[Sampling]]
) -> Session:
    """A session over checkpoints, as the recipe's `engine` section declares.

    Args:
        stage: names the log.
        sampled: by declared model, how its responses will be sampled.
    """
    engine = study.recipe.engine
    models = [
        _replayed(study, store, item)
        if engine.kind == "replay"
        else replace(
            engine_model(study, item),
            thinking_marks=_limited_marks(study.recipe, item.model, sampled),
            thinks=study.recipe.models[item.model].thinking is not None,
        )
        for item in checkpoints
    ]
    if engine.kind in OURS:
        for checkpoint, model in zip(checkpoints, models, strict=True):
            require_opening(checkpoint.model, study.recipe.models[checkpoint.model], final_template(model))
    return open_session(
        store,
        models,
        EngineSettings(
            engine.kind, dict(engine.options), dict(engine.environment), _servers(study.recipe), engine.replicas
        ),
        project=study.project,
        home=study.home,
        log=study.home / "logs" / f"{stage}.log",
        say=say,
    )


def request_sampling(recipe: Recipe, sampling: Sampling, model: str) -> dict[str, Any]:
    """What a request to a model carries, and so what its key covers: the settings that are given.

    With a limit of thinking these include the marks that an engine counts between, since they decide what is cut.
    """
    given, marks = sampling.settings(), recipe.models[model].thinking
    if "thinking_budget" in given and marks is not None:
        given["thinking_marks"] = [marks.start, marks.end]
    return given


def _limited_marks(recipe: Recipe, model: str, sampled: Mapping[str, Sequence[Sampling]]) -> tuple[str, str] | None:
    """The marks of a model's thinking, if any of its requests limits it."""
    marks = recipe.models[model].thinking
    limited = any(sampling.thinking_budget is not None for sampling in sampled.get(model, ()))
    return (marks.start, marks.end) if marks is not None and limited else None


def control_tokens(study: Study, session: Session, checkpoints: Sequence[Checkpoint]) -> ControlTokens:
    """Finds control tokens of some models of a session in texts; none if the recipe allows them."""
    models = [(session.models[checkpoint.name], study.recipe.models[checkpoint.model]) for checkpoint in checkpoints]
    fetch = study.recipe.engine.kind in OURS
    return ControlTokens(model_control_tokens(models, study.recipe.prompt, fetch=fetch))


def _replayed(study: Study, store: Store, checkpoint: Checkpoint) -> EngineModel:
    """The checkpoint for replay: by its weights if they are available, else by its name in the store."""
    try:
        return engine_model(study, checkpoint)
    except MissingError as error:
        named = [info for info in store.sessions() if checkpoint.name in info.about.get("checkpoints", [])]
        found = sorted({str(info.identity.get("model")) for info in named})
        if len(found) != 1:
            what = f"{len(found)} models of that name" if found else "no model of that name"
            raise MissingError(
                f"{error.message}, and the store {store.path} contains responses of {what}",
                "`its store import` an export of this study alone (`its store export --used`), or provide the model",
            ) from error
        declared = study.recipe.models[checkpoint.model]
        return EngineModel(checkpoint.name, "", found[0], declared.dtype, declared.context_length)


def _servers(recipe: Recipe) -> OpenAISettings | None:
    """The declared servers; an untrained model is served under its name in the recipe, not as `MODEL-base`."""
    declared = recipe.engine.openai
    if declared is None:
        return None
    price = declared.price
    return OpenAISettings(
        servers=tuple(OpenAIServer(server.url, server.key_variable) for server in declared.servers),
        served={Checkpoint(name).name: declared.served.get(name, name) for name in recipe.models} | declared.served,
        concurrency=declared.concurrency,
        timeout_seconds=declared.timeout_seconds,
        retries=declared.retries,
        price=None if price is None else TokenPrice(price.prompt, price.completion),
    )


def cost_rows(
    session: Session, whats: Mapping[str, str], tokens: Mapping[str, int], days: Mapping[str, Days | None] | None = None
) -> list[dict[str, Any]]:
    """The cost of a closed session: a row for each model, then the counts of its engines, if there are any.

    Args:
        whats: by model name, what its row is called.
        tokens: by model name, tokens of all its responses, stored ones too.
        days: by model name, on which its first and its last response were generated, where that is known.
    """
    rows: list[dict[str, Any]] = [
        {
            "what": what,
            "responses": session.counts[name].requests,
            "generated": session.counts[name].generated,
            "from_store": session.counts[name].from_store,
            "tokens": tokens.get(name, 0),
            "seconds": round(session.counts[name].seconds, 1),
            **({"first_day": found[0], "last_day": found[1]} if (found := (days or {}).get(name)) else {}),
        }
        for name, what in whats.items()
    ]
    return rows + ([{"what": "servers", "counts": session.engine_counts}] if session.engine_counts else [])
