"""Errors about servers, each with what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from its.engines.fleet.state import Job, Route, Server
from its.engines.fleet.wire import NO_TEXT, Failure
from its.errors import MissingError, RunError, did_you_mean, nearest
from its.shown import counted

SHOWN = 8  # names of a server's list that an error quotes; a hosted one has hundreds
COMPARED = 2000  # names that are compared with the wanted one: a millisecond each at worst


def key_refused(server: Server, failure: Failure) -> RunError:
    """The error for a server that needs a key, or another key; it names the variable, never the key."""
    if server.key_variable is None:
        return RunError(
            f"server `{server.url}` needs a key: it {failure.message}",
            "name the environment variable with the key in `key_variable`",
        )
    return RunError(
        f"server `{server.url}` rejects the key in `${server.key_variable}`: it {failure.message}",
        f"`export {server.key_variable}=...` with another key",
    )


def unreachable(servers: Iterable[Server]) -> MissingError:
    """The error if no server of the fleet can be used."""
    listed = "; ".join(f"`{server.url}` {server.trouble}" for server in servers)
    return MissingError(
        f"no server of the `openai` engine can be used: {listed}",
        "are they running, and do their `url`s end where `/models` and `/chat/completions` begin (usually in `/v1`)?",
    )


def check_served(routes: Iterable[Route], servers: Sequence[Server], lost: Sequence[Server]) -> None:
    """Check that every model has a server.

    Args:
        servers: those that are up.
        lost: those that are not.

    Raises:
        MissingError: if a model has none; it lists the servers' models, the nearest names first.
    """
    missing = [route for route in routes if not any(server.serves(route.served) for server in servers)]
    if not missing:
        return
    known = {name for server in servers for name in server.names or ()}
    wanted, hints = [], []
    for route in missing:
        model, name = route.model.name, route.served
        wanted.append(f"`{name}`" + (f" (model `{model}`)" if model != name else ""))
        near = _nearest(name, known, 0.5)
        hints.append(
            did_you_mean(near[:1], f"`engine.openai.served: {{{model}: {near[0]}}}`")
            if near
            else f"set the servers' name of `{model}` in `engine.openai.served`"
        )
    listed = "; ".join(f"`{server.url}` has {_listed(server.names or set(), missing[0].served)}" for server in servers)
    also = "".join(f"; `{server.url}` {server.trouble}" for server in lost)
    raise MissingError(f"no server serves {', '.join(wanted)}: {listed}{also}", "; ".join(hints))


def refused(job: Job, server: Server, failure: Failure) -> RunError:
    """The error for a request that would be refused at every attempt; with `limit` so would every other request."""
    if failure.kind == "limit":
        return RunError(
            f"request `{job.request.request_id}` asks for more `max_tokens` than the model has room for with any "
            f"prompt: server `{server.url}` {failure.message}",
            "lower `max_tokens` in the recipe, or serve the model with a longer context",
        )
    return RunError(
        f"server `{server.url}` refused request `{job.request.request_id}`: it {failure.message}",
        "does its `url` end where `/chat/completions` begins, is the context long enough for prompt and `max_tokens`, "
        "and does it accept every field? `engine.options` can leave one out (`seed: null`)",
    )


def all_declined(job: Job, server: Server, failure: Failure, count: int) -> RunError:
    """The error for a model that returned no text for any of its first prompts."""
    return RunError(
        f"server `{server.url}` returned no text for any of the first {count} requests to `{job.route.model.name}`; "
        f"the last one, `{job.request.request_id}`: it {failure.message}",
        "does it answer in the message's `content` (a tool call is not an answer)?"
        if failure.finish_reason == NO_TEXT
        else "is its context long enough for prompt and `max_tokens`, and does the template contain something that "
        "its filter refuses? A single refused prompt becomes a response without text",
    )


def exhausted(job: Job, server: Server, failure: Failure, log: Path | None) -> RunError:
    """The error for a request that failed too often."""
    longer = "is `engine.openai.timeout_seconds` long enough? " if failure.kind == "timeout" else ""
    return RunError(
        f"request `{job.request.request_id}` failed {job.failures} times; the last time server `{server.url}` "
        f"{failure.message}",
        longer + _advice(log),
    )


def stuck(route: Route, servers: Iterable[Server], remaining: int, seconds: float, log: Path | None) -> RunError:
    """The error for a model whose servers have stopped answering."""
    listed = [
        f"`{item.url}` {item.trouble if item.serves(route.served) else f'serves no `{route.served}`'}"
        for item in servers
    ]
    return RunError(
        f"no server of model `{route.model.name}` has answered for {seconds:g} s: {'; '.join(listed)}; "
        f"{counted(remaining, 'request remains', 'requests remain')}",
        _advice(log),
    )


def _advice(log: Path | None) -> str:
    where = f"every failed attempt is in {log}; " if log is not None else ""
    return f"{where}completed responses are stored: run the stage again"


def _listed(names: set[str], wanted: str) -> str:
    order = [*_nearest(wanted, names, 0.0)]
    order += [name for name in sorted(names) if name not in order]
    shown = ", ".join(f"`{name}`" for name in order[:SHOWN]) or "no models"
    return shown + (f" and {len(order) - SHOWN} more" if len(order) > SHOWN else "")


def _nearest(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    """Nearest names first, ignoring case and the owner before the `/`."""
    known = sorted(known)[:COMPARED]
    by_plain = {item.lower().rpartition("/")[2]: item for item in known}
    by_plain |= {item.lower(): item for item in known}
    plain = name.lower()
    found = nearest(plain, by_plain, SHOWN, cutoff)
    found += nearest(plain.rpartition("/")[2], by_plain, SHOWN, max(cutoff, 0.5))
    return list(dict.fromkeys(by_plain[item] for item in found))
