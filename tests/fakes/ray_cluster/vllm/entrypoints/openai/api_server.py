"""A stand-in for vLLM's server: `/health` and a child of its own; a model called `broken` does not start."""

from __future__ import annotations

import argparse
import http.server
import json
import os
import subprocess
import sys
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


parser = argparse.ArgumentParser()
for name in ("host", "model", "served-model-name", "generation-config", "dtype"):
    parser.add_argument(f"--{name}")
parser.add_argument("--port", type=int)
given = parser.parse_args()
if given.model == "broken":
    raise SystemExit("no weights in `broken`")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
seen = vars(given) | {"child": child.pid, "cache": os.environ.get("VLLM_CPU_KVCACHE_SPACE")}
Path(os.environ["HF_SEEN"], f"{given.host}-{given.port}.json").write_text(json.dumps(seen), encoding="utf-8")
http.server.ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()
