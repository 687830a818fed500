"""The `openai` engine: an OpenAI-compatible server, or a fleet of them, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import queue
import random
import resource
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from its.engines.fleet.answers import max_characters
from its.engines.fleet.dispatch import Fleet
from its.engines.fleet.pacing import Pace
from its.engines.fleet.scrub import Scrub
from its.engines.fleet.state import Job, Route, Rules, Server, TokenPrice
from its.engines.fleet.wire import check_options, request_body
from its.engines.protocol import Completion, EngineModel, RefusedError, Request
from its.errors import MissingError, RunError

CLOSE_SECONDS = 5.0
# uvicorn, hence vLLM and SGLang, closes a connection that was idle for 5 s; a request sent at that moment is lost.
IDLE_SECONDS = 4.0
SPARE_FILES = 128  # for everything else that is open


@dataclass(frozen=True)
class OpenAIServer:
    """A server; `/chat/completions` is appended to `url`, and the variable `key_variable` contains its key."""

    url: str
    key_variable: str | None = None


class OpenAIEngine:
    """Servers with OpenAI's chat completions API, used as one engine.

    An asyncio loop in its own thread does the work; `submit` and `poll` are for one other thread. When a request fails
    for good, or nothing makes progress, no more requests are sent; those in flight are still answered (they are paid
    for), and the poll after the last of them raises.

    `counts` has `retries` and their causes (`rate_limited`, `timeouts`, `dropped`, `garbage`, `server_errors`), how
    often a server was `set_aside`, tokens, and `cost` if there is a price. Responses that never arrived are in no token
    count, though a provider may bill them.

    Args:
        servers: their keys are read from the environment now.
        models: those that requests may name.
        served: the servers' name of a model, by the model's name; absent: the same.
        options: further fields of every request's body; None leaves out a field that the engine would write. A model's
            `template_kwargs` are added to its `chat_template_kwargs`.
        concurrency: limit of the requests in flight at one server; below it each server's pace adapts.
        timeout_seconds: for one attempt, from sending to the last byte.
        retries: how often one request is retried. A busy (429, 503) or unreachable server does not count.
        price: of the tokens of completed responses.
        say: receives one-line notices, in the thread that polls.
        log: JSON lines, one for each failed attempt; None writes none.
        backoff_seconds: the first wait of a series; waits double up to 120 times this.
        patience_seconds: how long a model may go without a response, or a failure that counts against a request, while
            all its servers are busy or gone; `timeout_seconds` more while a request is in flight.

    Raises:
        MissingError: if a key is not set, no server can be reached, or none serves a model.
        RunError: if a server refuses its key.
        DataError: if `options` sets a field that the request determines.
    """

    def __init__(
        self,
        servers: Sequence[OpenAIServer],
        models: Sequence[EngineModel],
        served: Mapping[str, str],
        *,
        options: Mapping[str, Any] | None = None,
        concurrency: int = 64,
        timeout_seconds: float = 600.0,
        retries: int = 8,
        price: TokenPrice | None = None,
        say: Callable[[str], None] = lambda text: None,
        log: Path | None = None,
        backoff_seconds: float = 0.5,
        patience_seconds: float = 1800.0,
    ) -> None:
        under_way = concurrency * len(servers)
        # A session refills when a quarter is free; the third more keeps the servers busy until then.
        self.window = under_way + -(-under_way // 3)
        self._options = dict(options or {})
        check_options(self._options)
        keys = [_key(server) for server in servers]
        _allow_open_files(under_way + SPARE_FILES)
        context, chance = _trusted(), random.Random()
        self._routes = {model.name: Route(model, served.get(model.name, model.name)) for model in models}
        self._say = say
        self._inbox: queue.SimpleQueue[Completion | str | BaseException | None] = queue.SimpleQueue()
        self._grew: dict[str, Completion] = {}
        self._fleet = Fleet(
            [
                Server(
                    url=server.url.rstrip("/"),
                    key_variable=server.key_variable,
                    client=_client(server.url, key, context),
                    pace=Pace(concurrency, backoff_seconds, chance),
                )
                for server, key in zip(servers, keys, strict=True)
            ],
            list(self._routes.values()),
            Rules(timeout_seconds, retries, backoff_seconds, patience_seconds, price),
            emit=self._inbox.put,
            scrub=Scrub([key for key in keys if key]),
            log=log,
            begun=self._grow,
        )
        self.counts = self._fleet.counts
        self._submitted = 0
        self._closed = False
        ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        # asyncio reports here connections that broke while they were idle; no request is lost.
        self._loop.set_exception_handler(
            lambda _, context: self._fleet.note(why=str(context["message"]), did="nothing: it was idle")
        )
        self._main = self._loop.create_task(self._run(ready))
        self._thread = threading.Thread(target=self._drive, name="its-openai", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self.close()  # the caller has no engine to close yet
            raise

    def submit(self, request: Request) -> None:
        if self._closed:
            raise RunError("the engine is closed")
        route = self._routes[request.model]
        self._submitted += 1
        body = request_body(request, route.served, self._options_of(route.model))
        watched = None
        if request.follow and "stream" not in self._options:  # None leaves the field out
            watched = request_body(request, route.served, self._options_of(route.model), stream=True)
        job = Job(self._submitted, request, route, body, max_characters(request, self._options), watched)
        with contextlib.suppress(RuntimeError):  # the loop ended by an exception, which the next poll raises
            self._loop.call_soon_threadsafe(self._accept, job)

    def _options_of(self, model: EngineModel) -> dict[str, Any]:
        if not model.template_kwargs:
            return self._options
        common = self._options.get("chat_template_kwargs")
        return self._options | {
            "chat_template_kwargs": {**(common if isinstance(common, Mapping) else {}), **model.template_kwargs}
        }

    def _grow(self, part: Completion) -> None:
        """Of the loop's thread: keep what a response has so far, the last report alone, however seldom one polls."""
        self._grew[part.request_id] = part
        self._inbox.put(None)

    def wake(self) -> None:
        self._inbox.put(None)

    def begun(self) -> list[Completion]:
        return [self._grew.pop(name) for name in list(self._grew)]

    def cancel(self, request_ids: Collection[str]) -> None:
        """Close the connections of these requests, whereupon vLLM's and SGLang's servers stop working on them."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._fleet.cancel, frozenset(request_ids))

    def poll(self, timeout_seconds: float) -> list[Completion]:
        if self._closed:
            raise RunError("the engine is closed")
        deadline = time.monotonic() + timeout_seconds
        out: list[Completion] = []
        while True:
            try:
                item = self._inbox.get(timeout=0 if out else max(0, deadline - time.monotonic()))
            except queue.Empty:
                return out
            if isinstance(item, Completion):
                out.append(item)
            elif isinstance(item, str):
                self._say(item)
            elif item is None:
                deadline = 0.0  # take what is there, and wait no longer
            elif isinstance(item, RefusedError) and not out:
                raise item  # of one request, once
            else:
                self._inbox.put(item)  # the next poll raises it too
                if out:
                    return out
                raise item

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(CLOSE_SECONDS)

    def _drive(self) -> None:
        """The thread of the loop."""
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._inbox.put(error)
        finally:  # not in `_main`, whose cancellation would interrupt it
            self._loop.run_until_complete(self._fleet.aclose())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _run(self, ready: Future[None]) -> None:
        try:
            await self._fleet.survey()
        except Exception as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._fleet.watch()

    def _accept(self, job: Job) -> None:
        try:
            self._fleet.accept(job)
        except Exception as error:  # a bug, which would go unseen in a callback of the loop
            self._inbox.put(error)


def _key(server: OpenAIServer) -> str | None:
    """The server's key; None if it needs none.

    Raises:
        MissingError: if the variable is not set, empty, or not valid in a header; a key is never quoted.
    """
    if server.key_variable is None:
        return None
    key = os.environ.get(server.key_variable, "").strip()
    if not key:
        raise MissingError(
            f"server `{server.url}` needs a key in `${server.key_variable}`, which is not set or empty",
            f"`export {server.key_variable}=...`",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise MissingError(
            f"`${server.key_variable}` contains characters that no key has (spaces, control characters or non-ASCII)",
            f"`export {server.key_variable}=...`",
        )
    return key


class _NoCookies(CookieJar):
    """Takes no cookie: a load balancer's would send every request to the same machine behind it.

    A policy that allows none would still parse them all.
    """

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


def _trusted() -> ssl.SSLContext:
    """The certificates of this machine.

    Raises:
        MissingError: if the variables that name them are wrong.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # also what OpenSSL raises
        named = [f"`{name}={os.environ[name]}`" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        raise MissingError(
            f"{' or '.join(named) or 'the certificates of this machine'} cannot be used: {error.strerror or error}",
            "`SSL_CERT_FILE` names a PEM file with certificates; `unset SSL_CERT_FILE` restores the default",
        ) from error


def _check_ports(url: str) -> None:
    """Refuse invalid ports; asyncio's own error comes much later and does not name them.

    Raises:
        ValueError: naming the proxy variable, if it is a proxy's.
    """
    addresses = {"its `url`": url}
    if not _is_local(url) and not urllib.request.proxy_bypass(urlsplit(url).hostname or ""):
        proxies = urllib.request.getproxies()
        for scheme in (urlsplit(url).scheme, "all"):
            if proxy := proxies.get(scheme):
                addresses[f"`{scheme.upper()}_PROXY`"] = proxy if "://" in proxy else f"http://{proxy}"
    for what, address in addresses.items():
        try:
            port = httpx2.URL(address).port
        except httpx2.InvalidURL as error:
            raise ValueError(f"{what} is not an address: {error}") from error
        if port is not None and not 0 < port < 2**16:
            raise ValueError(f"{what} has the port {port}; ports go from 1 to 65535")


def _client(url: str, key: str | None, context: ssl.SSLContext) -> httpx2.AsyncClient:
    try:
        _check_ports(url)
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            verify=context,
            cookies=_NoCookies(),
            timeout=None,  # `exchange` bounds the whole
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS),
            trust_env=not _is_local(url),  # no proxy leads to this machine
        )
    except (httpx2.InvalidURL, ImportError, ValueError) as error:
        raise MissingError(
            f"server `{url}` cannot be used: {error}",
            "fix its `url`, or the proxy in `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY`",
        ) from error


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit of open files: each request in flight is a connection, and 256 (macOS) or 1,024 are few.

    Raises:
        MissingError: if the hard limit does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise MissingError(
            f"`engine.openai` may open {wanted} connections and files at once; this machine allows {hard}",
            "lower `engine.openai.concurrency`, or raise the limit (`ulimit -Hn`)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
