"""What a machine's settings may say of certificates and proxies, and servers without TLS: one error, in words."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.openai_server import FakeServer

from its.engines.openai import OpenAIEngine, OpenAIServer
from its.engines.protocol import EngineModel
from its.errors import ItsError

MODEL = EngineModel(name="m", path="a_model", fingerprint="f:m", dtype="bfloat16", context_length=64)
AWAY = "http://192.0.2.1:8000/v1"  # a documentation address: no route leads there
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def _error(tally: Any, url: str) -> str:
    def act() -> None:
        OpenAIEngine([OpenAIServer(url)], [MODEL], {}, backoff_seconds=0.01, timeout_seconds=1.0).close()

    error = tally("machine", act, 15)
    assert isinstance(error, ItsError)
    return f"{error.message}\n{error.hint}"


@pytest.mark.parametrize("content", [None, b"", b"myhost\n", b"-----BEGIN CERTIFICATE-----\n", b"\0" * 99, "folder"])
def test_certificates_that_are_none(
    tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    path = tmp_path / "certificates.pem"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert f"SSL_CERT_FILE={path}" in _error(tally, AWAY)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "proxy",
    ["http://127.0.0.1:99999", "127.0.0.1:65536", "http://127.0.0.1:0", "http://[::1", "http://\x01", "ftp://x"],
)
def test_a_proxy_that_is_none(tally: Any, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str) -> None:
    monkeypatch.setenv(variable, proxy)
    said = _error(tally, AWAY)
    assert variable in said and "\x01" not in said


def test_a_proxys_password_is_not_quoted(tally: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2hunter2@127.0.0.1:99999")
    assert "hunter2" not in _error(tally, AWAY)


def test_a_proxy_that_is_not_asked_is_not_looked_at(tally: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:99999")
    with FakeServer() as server:
        OpenAIEngine([OpenAIServer(server.url)], [MODEL], {}).close()


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_that_is_none(tally: Any, port: int) -> None:
    assert "`url`" in _error(tally, f"http://127.0.0.1:{port}/v1")


@contextlib.contextmanager
def _plain_server(answer: bytes | None) -> Iterator[int]:
    """Takes connections and says this at once; None: it waits for a line that a handshake never has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    taken.append(connection)
                    if answer is not None:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in taken:
                connection.close()


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["waits", "refuses"])
def test_a_server_without_tls_is_named(tally: Any, answer: bytes | None) -> None:
    with _plain_server(answer) as port:
        assert "does not use TLS" in _error(tally, f"https://127.0.0.1:{port}/v1")
