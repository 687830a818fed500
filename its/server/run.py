"""Start the server, and end it with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from its.commands.solve_pair import choose_members
from its.commands.solve_problem import Problems
from its.errors import DataError, ItsError, RunError, did_you_mean, nearest
from its.progress import say
from its.server.admit import is_loopback
from its.server.app import Service, make_app
from its.server.desk import Desk
from its.server.metrics import Metrics
from its.server.names import Names
from its.shown import counted, shown
from its.stages.grade import open_grader
from its.study.study import Checkpoint, Study

KEY_VARIABLE = "ITS_SERVE_KEY"
LEAST_KEY = 16
HEADER_SECONDS = 30.0
"""How long a connection may say nothing."""
KEEP_ALIVE_SECONDS = 75
SPARE_CONNECTIONS = 256


@dataclass(frozen=True)
class Settings:
    """How the server listens.

    Args:
        port: 0 takes a free one.
        most: the largest n of a request.
        requests: in flight, before 429.
        restarts: of an engine that fails, without a response in between.
        grace_seconds: for requests in flight when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    most: int = 64
    requests: int = 256
    restarts: int = 3
    grace_seconds: int = 30


def read_key(host: str) -> str | None:
    """The key of the environment, which the processes of the engine do not inherit.

    Raises:
        DataError: if the key cannot be sent or is short, or others than this machine can connect and there is none.
    """
    key = os.environ.pop(KEY_VARIABLE, "").strip()
    hint = f"`export {KEY_VARIABLE}=$(openssl rand -hex 24)`"
    if not key:
        if not is_loopback(host):
            raise DataError(
                f"other machines can connect to `{shown(host)}`: `${KEY_VARIABLE}` has to contain a key", hint
            )
        return None
    if not (key.isascii() and key.isprintable()) or " " in key or len(key) < LEAST_KEY:
        raise DataError(f"`${KEY_VARIABLE}` is not a key of at least {LEAST_KEY} ASCII characters without spaces", hint)
    return key


def served_checkpoints(study: Study, names: Sequence[str]) -> list[Checkpoint]:
    """The named checkpoints; without names that of the pair which the study reports.

    Raises:
        ItsError: if one is unknown, or the study reports no pair.
    """
    known = {item.name: item for item in study.checkpoints()}
    for name in names:
        if name not in known:
            hint = did_you_mean(nearest(name, known), f"the design has {len(known)}: `its recipe show`")
            raise DataError(f"no checkpoint in the design `{shown(name)}`", hint)
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    try:
        chosen = choose_members(study, None, None, None, "")
    except ItsError as error:
        raise type(error)(error.message, "name what to serve: `--checkpoint NAME`, which may be repeated") from error
    for note in chosen.notes:
        say(f"its serve: {note}")
    return [member.checkpoint for member in chosen.members]


def run_server(study: Study, checkpoints: Sequence[Checkpoint], benchmark: str | None, settings: Settings) -> None:
    """Serve until a signal arrives, then answer what is in flight and end the engine.

    Raises:
        ItsError: if the key, the address, a checkpoint or the engine is not usable; nothing is left running.
    """
    key = read_key(settings.host)
    problems = Problems(study, benchmark)
    listening = _bind(settings.host, settings.port)
    with contextlib.closing(listening), open_grader(study) as grader:
        service = open_service(study, checkpoints, problems, settings, key, grader)
        try:
            service.desk.start()
            Server(service, settings).run(sockets=[listening])
        finally:
            service.stopping = True
            service.voting.shutdown(wait=False, cancel_futures=True)
            if not service.desk.stop():
                say("its serve: the engine did not stop in time; it ends with this process")


def open_service(
    study: Study,
    checkpoints: Sequence[Checkpoint],
    problems: Problems,
    settings: Settings,
    key: str | None,
    grader: Any,
) -> Service:
    """The service, whose desk is not started."""
    metrics = Metrics(settings.requests)
    of, benchmarks = study.recipe.generation.of, study.recipe.design.benchmarks
    models = dict.fromkeys(item.model for item in checkpoints)
    sampled = {model: [of(model, name) for name in benchmarks] for model in models}
    desk = Desk(study, checkpoints, sampled, metrics, settings.restarts)
    names = Names(study, checkpoints, settings.most)
    return Service(study, desk, names, problems, metrics, grader, settings.most, key)


class Server(uvicorn.Server):
    """uvicorn, which says where it listens, and takes a signal as the wish to end."""

    def __init__(self, service: Service, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=_Connection,
                loop="asyncio",
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                limit_concurrency=4 * settings.requests + SPARE_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=settings.grace_seconds,
            )
        )
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        names = list(self._service.names.listed())
        first = f", the first is `{names[0]}`" if names else ""
        say(f"its serve: http://{where}:{port}/v1 has {counted(len(names), 'model')}{first}; Ctrl-C ends it")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        former = {number: signal.getsignal(number) for number in numbers}
        for number, handler in former.items():
            if handler is not signal.SIG_IGN:  # SIGHUP under `nohup`
                signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets requests in flight finish, the second does not wait for them."""
        self._service.stopping = True
        self.force_exit = self.should_exit
        self.should_exit = True


class _Connection(H11Protocol):
    """A connection that is closed if it says nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEADER_SECONDS, self._expire)

    def _expire(self) -> None:
        if self.cycle is None:
            self.transport.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio takes TCP_NODELAY for sockets of this protocol alone. Without it each response on a connection that is
        # kept waits 40 ms for the client's acknowledgement of its headers.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, port))
        except BaseException:
            found.close()
            raise
        return found
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(
            f"cannot listen at `{shown(host)}`, port {port}: {why}", "`--port 0` takes a free port of this machine"
        ) from error
