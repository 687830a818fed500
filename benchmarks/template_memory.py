"""What the templates take on this GPU, against what `its recipe plan` computes: random weights, rows of full length.

    python benchmarks/template_memory.py                        # every case below
    python benchmarks/template_memory.py --case full_7b_80 Qwen/Qwen2.5-7B-Instruct 16384
    python benchmarks/template_memory.py --folder /dev/shm      # where models and trainings are written; 35 GB

A model of the sizes in docs/plan.md is made with random weights and trained by ITS for two steps of one row each, then
the training is ended: nothing is saved. `measured` is the most that `nvidia-smi` showed, less what the GPU had before;
it contains what torch's allocator keeps without using it, so it may be above the sum. `--at-most RATIO` exits with 1 if
a case measures more than that share of what is computed. Needs a GPU that is otherwise idle. A case that does not fit
by the plan is skipped, and the line says so.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from its.environments import environment_variables, find_environment
from its.errors import ItsError
from its.home import its_home
from its.models import ready_model
from its.plan.architecture import Architecture, known_architecture
from its.plan.settings import memory_settings
from its.plan.training import training_memory
from its.recipe.load import load_recipe
from its.recipe.schema import Train
from its.training.run import Training, train_checkpoint

PROJECT = Path(__file__).parents[1]
MAKE = Path(__file__).parent / "workers" / "random_weights.py"
CASES = [
    ("full_7b_80", "Qwen/Qwen2.5-7B-Instruct", 16384),
    ("lora_80", "Qwen/Qwen2.5-7B-Instruct", 16384),
    ("full_8x80", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 16384),
    ("full_16x80", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 16384),
    ("full_zero3", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 8192),
]
STEPS = 2
SPARE = 64
"""Tokens of a row that are left for the chat template."""


class Measured(Exception):
    """Raised after the last step that is measured."""


class Watch:
    """The most memory of the GPU in use, in bytes, while it is open; `before` is what was in use at its start."""

    def __enter__(self) -> Watch:
        self.before = _gpu_bytes("used")
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen([*_query("used"), "--loop-ms=100"], stdout=self._output)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.seek(0)
        self.most = max((int(line) * 2**20 for line in self._output if line.strip().isdigit()), default=0)


def random_model(sizes: Architecture, tokenizer: Path, target: Path) -> None:
    """Write a model of these sizes with random bf16 weights, and the tokenizer beside it."""
    config = {
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "tie_word_embeddings": sizes.tied,
        "max_position_embeddings": 32768,
    }
    environment = find_environment("axolotl", PROJECT, its_home(PROJECT))
    target.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, target / name)
    subprocess.run(
        [str(environment.python), str(MAKE)],
        input=json.dumps({"config": config, "path": str(target)}),
        text=True,
        check=True,
        env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
    )


def rows(tokenizer: Path, length: int) -> list[list[dict[str, str]]]:
    """Rows of chat messages of nearly `length` tokens, one for each step."""
    words = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    text = " 7 + 5 = 12," * length
    end = words.encode(text[: 16 * length], add_special_tokens=False).offsets[length - SPARE][0]
    return [
        [{"role": "user", "content": f"Count, {n}."}, {"role": "assistant", "content": text[:end]}]
        for n in range(STEPS)
    ]


def measure(template: str, name: str, length: int, folder: Path) -> dict[str, Any]:
    """Train for a few steps; what was computed and measured, in bytes."""
    sizes = known_architecture(name)
    assert sizes is not None, f"{name} is not in the table of docs/plan.md"
    declared = load_recipe(PROJECT / "recipes" / "quickstart.yaml", PROJECT).models["smollm2_135m"]
    known = ready_model("smollm2_135m", declared, PROJECT, its_home(PROJECT), print)
    weights = folder / name.replace("/", "-")
    if not weights.exists():
        random_model(sizes, Path(known.path), weights)
    base = replace(known, name="random", path=str(weights), dtype="bfloat16")
    settings = Train.model_validate(
        {
            **{"template": f"axolotl/{template}.yaml.j2", "hardware": "gpu", "devices": 1, "launcher": "python"},
            **{"epochs": 1, "learning_rate": 1e-5, "lr_scheduler": "constant", "warmup_ratio": 0, "weight_decay": 0},
            **{"global_batch_size": 1, "micro_batch_size": 1, "sequence_length": length},
        }
    )
    text = (PROJECT / "recipes" / settings.template).read_text(encoding="utf-8")
    environment = find_environment("axolotl", PROJECT, its_home(PROJECT))
    made = Training(rows(weights, length), settings, text, declared.special_tokens, base, 1, environment)
    if made.identity["config"].get("deepspeed"):
        torchrun = settings.model_copy(update={"launcher": "torchrun", "launcher_args": ["--nproc_per_node=1"]})
        made = replace(made, train=torchrun)
    planned, _ = memory_settings(made.identity["config"], devices=1, batch=1, hardware="gpu", shared=1)
    computed = training_memory(sizes, planned)
    if computed.total > (has := _gpu_bytes("total")):
        return {
            "template": template,
            "model": name,
            "length": length,
            "skipped": f"it takes {computed.total / 1e9:.1f} GB by the plan; this GPU has {has / 1e9:.1f}",
        }
    home = folder / "home"
    shutil.rmtree(home / "training", ignore_errors=True)  # of a case that failed
    losses: list[float] = []
    seconds: list[float] = []

    def step(row: dict[str, Any]) -> None:
        losses.append(row["loss"])
        seconds.append(row["seconds"])
        if row["step"] == STEPS:
            raise Measured

    began = time.monotonic()
    with Watch() as watch, suppress(Measured):
        train_checkpoint(made, home=home, say=print, progress=step)
    said = [text for path in (home / "training" / made.key).glob("*.log") for text in _memory_lines(path)]
    return {
        "template": template,
        "model": name,
        "length": length,
        "computed_gb": round(computed.total / 1e9, 2),
        "computed": {key: round(value / 1e9, 2) for key, value in vars(computed).items() if isinstance(value, int)},
        "peak_in": computed.moment,
        "measured_gb": round((watch.most - watch.before) / 1e9, 2),
        "trainer": said[-3:],
        "losses": [round(value, 3) for value in losses],
        "step_seconds": [round(b - a, 2) for a, b in zip([0.0, *seconds], seconds, strict=False)],
        "seconds": round(time.monotonic() - began, 1),
    }


def _query(memory: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu=memory.{memory}", "--format=csv,noheader,nounits", "--id=0"]


def _gpu_bytes(memory: str) -> int:
    return int(subprocess.run(_query(memory), capture_output=True, text=True, check=True).stdout) * 2**20


def _memory_lines(log: Path) -> list[str]:
    """What the trainer itself logged of memory."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return re.findall(r"'memory/[a-z_]+[^']*': '?[\d.]+", text)


def main() -> int:
    """Print a JSON line for each case; 1 if one fails or is above `--at-most`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", nargs=3, action="append", metavar=("TEMPLATE", "MODEL", "TOKENS"))
    parser.add_argument("--folder", type=Path, help="where models and trainings are written; default a temporary one")
    parser.add_argument("--at-most", type=float, metavar="RATIO", help="of measured to computed")
    given = parser.parse_args()
    cases = [(template, model, int(length)) for template, model, length in given.case or CASES]
    wrong = 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for template, name, length in cases:
            try:
                found = measure(template, name, length, Path(folder))
            except ItsError as error:
                print(f"{template}, {name}, {length}: {error}", flush=True)
                for log in Path(folder).glob("home/training/*/*.log"):
                    print(*log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:], sep="\n", flush=True)
                wrong += 1
                continue
            if "skipped" not in found:
                found["ratio"] = round(found["measured_gb"] / found["computed_gb"], 3)
                wrong += given.at_most is not None and found["ratio"] > given.at_most
            print(json.dumps(found), flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
