"""The `replay` engine: responses from the store alone, for machines without the model or its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from its.engines.protocol import Engine, EngineModel, Request
from its.engines.session import Finished, Session, chunks
from its.errors import MissingError
from its.shown import counted
from its.store import Store, response_key


class Replay(Session):
    """A session that only reads.

    The settings that generated a response are part of its key, and this machine's may differ. So a model's responses
    all come from one of the stored settings of its weights, the one with most of the first requests (the latest if two
    have as many): cells are not mixed.
    """

    def __init__(self, store: Store, models: Sequence[EngineModel], say: Callable[[str], None]) -> None:
        known = store.sessions()
        self._candidates = {
            model.name: [info.sha256 for info in known if info.identity.get("model") == model.fingerprint]
            for model in models
        }
        super().__init__(store, models, {}, [], _start_nothing, say)

    def ensure(self, requests: Iterable[Request], finished: Finished = lambda request, tokens: None) -> None:
        wanted: dict[str, int] = {}
        counts: dict[str, dict[str, int]] = {}
        for chunk in chunks(requests):
            for name in dict.fromkeys(request.model for request in chunk):
                own = [request.determinants() for request in chunk if request.model == name]
                wanted[name] = wanted.get(name, 0) + len(own)
                chosen = [self.sessions[name]] if name in self.sessions else self._candidates[name]
                found = counts.setdefault(name, dict.fromkeys(chosen, 0))
                for session in found:
                    keys = [response_key(session, determinants) for determinants in own]
                    stored = self.store.contains(keys)
                    found[session] += sum(key in stored for key in keys)
            for request in chunk:
                finished(request, 0)
        missing: list[str] = []
        lost = 0
        for name, number in wanted.items():
            best = max(reversed(counts[name]), key=lambda session: counts[name][session], default=None)
            have = 0 if best is None else counts[name][best]
            self.counts[name].requests += number
            self.counts[name].from_store += have
            if best is not None and have:
                self.sessions[name] = best
            if have < number:
                missing.append(f"{number - have} of {number} to {name}")
                lost += number - have
        if missing:
            raise MissingError(
                f"{counted(lost, 'response is', 'responses are')} not in the store {self.store.path}: "
                f"{', '.join(missing)}",
                "`engine.kind: replay` only reads: `its store import` an export that contains them, or use `vllm`",
            )


def _start_nothing(group: list[EngineModel]) -> Engine:
    raise AssertionError("replay starts no engine")
