"""Engine environments whose programs are the fakes beside this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from its.environments import spec_of
from its.environments.find import RECORD, RECORD_VERSION, place_of

FAKES = Path(__file__).parent


class FakeEngines:
    """Engine environments whose programs are the fakes; `asked()` is what the vLLM of them was asked so far."""

    def __init__(self, project: Path, home: Path, script: Path, log: Path) -> None:
        self.script, self._log = script, log
        for name in ("vllm", "axolotl"):
            for gpu in (False, True):
                spec = spec_of(name, project, gpu)
                path, lock = place_of(spec, home)
                (path / "bin").mkdir(parents=True)
                record = {"version": RECORD_VERSION, "lock_sha256": lock, "versions": {"torch": "0"}}
                (path / RECORD).write_text(json.dumps(record), encoding="utf-8")
                self._program(path / "bin" / "python", "")
                self._program(path / "bin" / "axolotl", str(FAKES / "axolotl_command.py"))

    def _program(self, path: Path, first: str) -> None:
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH="{FAKES}:$PYTHONPATH" exec "{sys.executable}" {first} "$@"\n', encoding="utf-8"
        )
        path.chmod(0o755)

    def tell(self, **script: Any) -> None:
        """Say how the engine answers; see tests/fakes/vllm.py."""
        self.script.write_text(json.dumps(script), encoding="utf-8")

    def asked(self) -> list[dict[str, Any]]:
        if not self._log.is_file():
            return []
        lines = [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if "swapped" not in line]
