"""Counts of the server in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histogram of durations, in seconds."""

HELP = {
    "its_requests_total": ("counter", "Requests for completions, by HTTP status; 499: the client left."),
    "its_request_seconds": ("histogram", "From the request to its response, without refused ones."),
    "its_requests_in_flight": ("gauge", "Requests that have no response yet."),
    "its_requests_limit": ("gauge", "Requests in flight from which further ones get 429."),
    "its_engine_requests": ("gauge", "Requests at the engine."),
    "its_engine_requests_waiting": ("gauge", "Requests that wait for the engine."),
    "its_responses_total": ("counter", "Responses, by where they came from."),
    "its_tokens_total": ("counter", "Tokens of responses and personas, by kind."),
    "its_engine_failures_total": ("counter", "How often the engine died or did not start."),
}


@dataclass
class Metrics:
    """What happened since the start. Each number is changed by one thread alone."""

    limit: int
    statuses: Counter[int] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0
    in_flight: int = 0
    engine_requests: int = 0
    waiting: int = 0
    responses: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    recent_seconds: float = 1.0
    """A running mean of the durations, for Retry-After."""

    def finished(self, status: int, seconds: float) -> None:
        """Count a request; refused ones are not in the durations."""
        self.statuses[status] += 1
        if status == 200:
            self.seconds += seconds
            self.buckets[next((bound for bound in BOUNDS if seconds <= bound), float("inf"))] += 1
            self.recent_seconds += (seconds - self.recent_seconds) / 16

    def text(self) -> str:
        """The page of `/metrics`."""
        lines = []
        for name, (kind, about) in HELP.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *self._samples(name)]
        return "\n".join(lines) + "\n"

    def _samples(self, name: str) -> Iterator[str]:
        if name == "its_request_seconds":
            below = 0
            for bound in BOUNDS:
                below += self.buckets[bound]
                yield f'{name}_bucket{{le="{bound}"}} {below}'
            count = self.buckets.total()
            yield from (
                f'{name}_bucket{{le="+Inf"}} {count}',
                f"{name}_sum {self.seconds:.6f}",
                f"{name}_count {count}",
            )
            return
        labelled: dict[str, tuple[str, Mapping[Any, int]]] = {
            "its_requests_total": ("status", self.statuses),
            "its_responses_total": ("source", self.responses),
            "its_tokens_total": ("kind", self.tokens),
        }
        if name in labelled:
            label, counts = labelled[name]
            yield from (f'{name}{{{label}="{value}"}} {count}' for value, count in sorted(dict(counts).items()))
            return
        plain = {
            "its_requests_in_flight": self.in_flight,
            "its_requests_limit": self.limit,
            "its_engine_requests": self.engine_requests,
            "its_engine_requests_waiting": self.waiting,
            "its_engine_failures_total": self.failures,
        }
        yield f"{name} {plain[name]}"
