"""`its` and `dvc status` over a copy of the project, without what they do again and again.

A process that imports the libraries takes a second of processor time, and DVC needs two more to parse dvc.lock,
dvc.yaml and, once for each stage, params.yaml. Here one process has imported all modules and forks for each command,
and a text is parsed once.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

import dvc.utils.serialize._yaml as dvc_yaml
from dvc.repo import Repo
from ruamel.yaml import YAML

_SERVER = """
import importlib, json, os, pkgutil, runpy, sys
from pathlib import Path

import its.cli.main, its.stages

for module in pkgutil.iter_modules(its.stages.__path__):
    importlib.import_module(f"its.stages.{module.name}")

def sources():
    return {path: path.read_bytes() for path in Path("its").rglob("*") if path.is_file() and path.suffix != ".pyc"}

loaded = sources()
requests = os.fdopen(os.dup(0))
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for request in requests:
    words, said = json.loads(request)
    child = os.fork()
    if not child:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if sources() != loaded:
            for name in [name for name in sys.modules if name.partition(".")[0] == "its"]:
                del sys.modules[name]
        sys.argv[1:] = words
        runpy.run_module("its", run_name="__main__", alter_sys=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Runs `its WORDS` of a copy of the project, each in a fork of one process.

    The fork imports `its` again where a file of it is another than when that process imported it.
    """

    def __init__(self, project: Path, environment: dict[str, str], said: Path) -> None:
        self._project, self._said = project, said
        # By the hash of the source, since a test may change a module twice within a second.
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "its"]
        subprocess.run(compiled, cwd=project, check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> None:
        """Run the command, which must succeed."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps([words, str(self._said)]), file=self._process.stdin, flush=True)
        code = self._process.stdout.readline().strip()
        assert code == "0", f"its {' '.join(words)}: {code}\n{self._said.read_text(encoding='utf-8')}"

    def reproduce(self, *targets: str) -> None:
        """Do what `dvc repro TARGETS` does."""

        def run(_executable: str, command: str, **_: object) -> None:
            before, words = command.split()[:3], command.split()[3:]
            assert before == ["python", "-m", "its"], command
            self.run(*words)

        with (
            chdir(self._project),  # or DVC 3.67 does not find a target
            opened(self._project) as repo,
            patch("dvc.stage.run._run", run),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", DeprecationWarning)  # pygtrie's, of which DVC 3.67 makes use
            repo.reproduce(list(targets) or None)

    def close(self) -> None:
        self._process.communicate()


_parsed: dict[tuple[str, str], Any] = {}
_parse = dvc_yaml.parse_yaml


def _parse_once(text: str, path: str, typ: str = "safe") -> Any:
    if typ != "safe":
        return _parse(text, path, typ)
    if (text, path) not in _parsed:
        _parsed[text, path] = _parse(text, path)
    return copy.deepcopy(_parsed[text, path])


def _dump(data: Any, stream: TextIO) -> None:
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.dump(data, stream)


@contextmanager
def opened(project: Path) -> Iterator[Repo]:
    """The DVC repository of the project, whose YAML is parsed once a text, and written as fast as it is parsed."""
    with (
        patch("dvc.utils.serialize._yaml._dump", _dump),  # of dvc.lock, which has no comments
        patch("dvc.utils.serialize._yaml.parse_yaml", _parse_once),
        patch("dvc.utils.serialize._yaml.parse_yaml_for_update", _parse_once),
        patch("dvc.utils.strictyaml.parse_yaml", _parse_once),
        Repo(os.fspath(project)) as repo,
    ):
        yield repo
