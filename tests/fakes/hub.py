"""A stand-in for the Hugging Face hub on 127.0.0.1: repositories with files and commits, in memory.

It does what huggingface_hub's client needs to create a repository and to upload a folder of small files: a file that
the client finds unchanged, by the hash that git gives it, is not sent. No large file storage, no rights.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COMMIT = "a" * 40


@dataclass
class Repo:
    """A repository; `sent` has the paths of each commit."""

    private: bool
    titles: list[str] = field(default_factory=lambda: ["initial commit"])
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    sent: list[list[str]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


class FakeHub:
    """The stand-in; `with FakeHub() as hub` starts and stops it.

    `repos` has them by `datasets/ORG/NAME` or `models/ORG/NAME`; a request whose path contains `refuse` gets status 403
    and a text with the token.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.refuse: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """The status and the JSON of a response."""
        if self.refuse is not None and self.refuse in path:
            return 403, {"error": f"{token} has no rights here"}
        if path == "/api/repos/create":
            given = json.loads(body)
            key = f"{given.get('type', 'model')}s/{given['organization']}/{given['name']}"
            known = key in self.repos
            if not known:
                self.repos[key] = Repo(private=given["visibility"] == "private")
            return 409 if known else 200, {"url": f"{self.url}/{key.removeprefix('models/')}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        found = re.fullmatch(r"/api/((?:datasets|models)/[^/]+/[^/]+)(/.*)?", path)
        if found is None or found[1] not in self.repos:
            return 404, {"error": "Repository not found"}
        return self._of(found[1], self.repos[found[1]], found[2] or "", body)

    def _of(self, key: str, repo: Repo, rest: str, body: bytes) -> tuple[int, Any]:
        if rest in ("", "/revision/main"):
            files = [{"rfilename": path} for path in repo.files]
            about = {"id": key.partition("/")[2], "private": repo.private, "sha": COMMIT, "cardData": repo.card}
            return 200, {**about, "siblings": files}
        if rest == "/commits/main":
            about = {"id": COMMIT, "authors": [], "date": "2026-01-01T00:00:00.000Z", "message": ""}
            return 200, [{**about, "title": title} for title in reversed(repo.titles)]
        if rest == "/tree/main":
            items = repo.files.items()
            return 200, [{"type": "file", "path": path, "size": len(data), "oid": _oid(data)} for path, data in items]
        if rest == "/preupload/main":
            names = [item["path"] for item in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            known = {name: {"oid": _oid(repo.files[name])} for name in names if name in repo.files}
            return 200, {"files": [{"path": name, **mode, **known.get(name, {})} for name in names]}
        assert rest == "/commit/main", rest
        lines = [json.loads(line) for line in body.splitlines()]
        repo.titles.append(lines[0]["value"]["summary"])
        repo.sent.append([line["value"]["path"] for line in lines[1:]])
        for line in lines[1:]:
            if line["key"] == "deletedFile":
                del repo.files[line["value"]["path"]]
            else:
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.url}/{key}/commit/{COMMIT}"}


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self._body()
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            status, value = hub.answer(self.command, self.path.partition("?")[0], body, token)
            content = json.dumps(value).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            out = b""
            while size := int(self.rfile.readline(), 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return out

        def log_message(self, *words: object) -> None:
            pass

    return Handler
