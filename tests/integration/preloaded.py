"""Engine environments whose programs start in forks of a process that has imported torch, vLLM or Axolotl already.

A study of a tiny model takes a second; importing the libraries for each training and each engine takes ten. What runs
is the real program, by its real command line, with its own variables and streams; only the import is shared.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from its.child_process import die_with_parent
from its.engines.vllm import CPU_ENVIRONMENT
from its.environments import Environment, environment_variables
from its.environments.find import RECORD

SERVER = Path(__file__).parent / "workers" / "fork_server.py"
MODULES = {
    "axolotl": (
        *("axolotl.cli.main", "axolotl.cli.train", "axolotl.train", "axolotl.common.datasets", "axolotl.cli.config"),
        *("axolotl.integrations.base", "axolotl.core.builders", "axolotl.loaders", "axolotl.utils.data"),
        *("axolotl.prompt_strategies.chat_template", "transformers.models.auto.modeling_auto", "peft", "trl"),
    ),
    "vllm": (
        "vllm",
        "vllm.lora.request",
        "vllm.entrypoints.llm",
        "vllm.v1.engine.llm_engine",
        "vllm.v1.worker.cpu_worker",
        "inspect_here",
    ),
}
_CLIENT = """#!{core} -IS
import json, os, signal, socket, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and (not arguments or arguments[0].startswith("-")):
    os.execv({python!r}, [{python!r}, *arguments])
program = "axolotl.cli.main:main" if name == "axolotl" else os.path.abspath(arguments.pop(0))
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
socket.send_fds(server, [b"."], [0, 1, 2])
task = dict(program=program, arguments=arguments, variables=dict(os.environ), folder=os.getcwd())
server.sendall(json.dumps(task).encode() + b"\\n")
for stream in (0, 1):
    os.close(stream)
code = int(server.recv(16) or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def preloaded(real: Environment, home: Path) -> Iterator[Environment]:
    """An environment in `home/envs`, under the name of the real one; of a build for a GPU, the real one itself.

    CUDA cannot be used in a fork of a process that has started it, and imports start it.
    """
    folder = home / "envs" / real.path.name
    if not real.build.endswith("_cpu"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(real.path)
        yield real
        return
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(real.path / RECORD, folder / RECORD)
    with tempfile.TemporaryDirectory() as short:  # a socket's path has at most 107 bytes
        address = str(Path(short) / "socket")
        for name in ("python", *(["axolotl"] if real.name == "axolotl" else [])):
            client = folder / "bin" / name
            client.write_text(_CLIENT.format(core=sys.executable, python=str(real.python), socket=address))
            client.chmod(0o755)
        variables = environment_variables(real.name, real) | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
        if real.name == "vllm":
            variables |= CPU_ENVIRONMENT
        with (home / f"{real.name}.log").open("wb") as log:
            server = subprocess.Popen(
                [str(real.python), str(SERVER), address, *MODULES[real.name]],
                stdout=subprocess.PIPE,
                stderr=log,
                env=variables,
                preexec_fn=die_with_parent,
            )
            assert server.stdout is not None
            try:
                while (line := server.stdout.readline()) != b"ready\n":
                    assert line, (home / f"{real.name}.log").read_text(encoding="utf-8")[-2000:]
                yield Environment(
                    real.name, real.build, folder, folder / "bin" / "python", real.lock_sha256, real.versions
                )
            finally:
                server.kill()
                server.wait()
                server.stdout.close()
