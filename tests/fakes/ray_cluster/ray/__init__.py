"""A stand-in for Ray: ITS_FAKE_NODES lists the nodes, {ADDRESS: GPUS}; an actor is an object, its calls are threads."""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading
from typing import Any

from . import exceptions, util

__all__ = ["exceptions", "get", "init", "nodes", "remote", "util", "wait"]

_threads = concurrent.futures.ThreadPoolExecutor(32)


def init(address: str, log_to_driver: bool) -> None:
    assert address == "auto" and not log_to_driver


def nodes() -> list[dict[str, Any]]:
    known = json.loads(os.environ["ITS_FAKE_NODES"])
    found = [{"Alive": True, "NodeID": address, "Resources": {"GPU": gpus}} for address, gpus in known.items()]
    return [*found, {"Alive": False, "NodeID": "gone", "Resources": {"GPU": 8}}]


def get(found: Any, timeout: float | None = None) -> Any:
    return [item.result(timeout) for item in found] if isinstance(found, list) else found.result(timeout)


def wait(futures: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
    done, left = concurrent.futures.wait(futures, timeout, concurrent.futures.FIRST_COMPLETED)
    return list(done), list(left)


class _Method:
    def __init__(self, owner: Any, name: str, address: str) -> None:
        self._call, self._address = getattr(owner, name), address

    def remote(self, *given: Any) -> concurrent.futures.Future[Any]:
        def run() -> Any:
            util.HERE.address = self._address
            return self._call(*given)

        return _threads.submit(run)


class _Actor:
    def __init__(self, owner: Any, address: str) -> None:
        self._owner, self._address = owner, address

    def __getattr__(self, name: str) -> _Method:
        return _Method(self._owner, name, self._address)


def remote(kind: Any) -> Any:
    class Remote:
        def options(self, **options: Any) -> Any:
            self.given = options
            return self

        def remote(self) -> _Actor:
            return _Actor(kind(), self.given["scheduling_strategy"].node_id)

    return Remote()


util.HERE = threading.local()
