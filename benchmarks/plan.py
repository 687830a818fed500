"""The formulas of `its recipe plan` against what torch allocates, and against published trainings.

    python benchmarks/plan.py

Small models of the shapes in use, on the CPU, float32 and bf16, with checkpointing and without; needs the training
environment, no GPU, about a minute. A case where what is computed and what is measured differ by more than 20 % fails.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from its.environments import environment_variables, find_environment
from its.home import its_home
from its.plan.architecture import Architecture, known_architecture, read_architecture
from its.plan.compute import TRAINING_USE, gpu_hours, training_operations
from its.plan.settings import Memory
from its.plan.training import training_memory

MEASURE = Path(__file__).parent / "workers" / "plan_torch.py"
TOLERANCE = 0.2
# (training of Qwen2.5-32B, rows, epochs, tokens of a row, published GPU hours); the tokens are ours, see docs/plan.md.
PUBLISHED = [
    ("s1-32B, 16 H100", 1000, 5, 5000, 26 / 60 * 16),
    ("s1-32B, 8 H100", 1000, 5, 5000, 5268.8 / 3600 * 8),
    ("OpenThinker-32B, 32 H100", 114000, 3, 6000, 90 * 32),
    ("OpenThinker-32B, if every row was padded", 114000, 3, 16384, 90 * 32),
]
# (what dominates, config, length): shapes where layers, logits or the states have most of the memory.
MODELS: list[tuple[str, dict[str, Any], int]] = [
    ("layers", {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "vocab_size": 512}, 512),
    ("deep", {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 16, "vocab_size": 256}, 384),
    ("logits", {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 16384}, 256),
    ("states", {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "vocab_size": 4096}, 64),
]


def cases() -> list[dict[str, Any]]:
    """Every model in both number formats, with checkpointing and without."""
    return [
        {
            "what": what,
            "config": {
                "model_type": kind,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "tie_word_embeddings": kind == "llama",
                **sizes,
            },
            "rows": 1,
            "length": length,
            "dtype": dtype,
            "checkpointing": checkpointing,
        }
        for (what, sizes, length), kind, dtype, checkpointing in itertools.product(
            MODELS, ("qwen2", "llama"), ("float32", "bfloat16"), (False, True)
        )
    ]


def computed(case: dict[str, Any]) -> int:
    """Bytes by the formulas."""
    model = read_architecture(case["config"], "benchmark")
    assert isinstance(model, Architecture), model
    settings = Memory(
        devices=1,
        rows=case["rows"],
        length=case["length"],
        number=2 if case["dtype"] == "bfloat16" else 4,
        checkpointing=case["checkpointing"],
    )
    return training_memory(model, settings, gpu=False).total


def published() -> None:
    """Print the computed hours of published trainings, and the share of the peak that they reached by the formula."""
    model = known_architecture("Qwen/Qwen2.5-32B-Instruct")
    assert model is not None
    print("| training | computed GPU hours | published | computed / published | share of the peak reached |")
    print("|---|---|---|---|---|")
    for what, rows, epochs, tokens, hours in PUBLISHED:
        operations = training_operations(model, rows * epochs * tokens, tokens, checkpointing=True)
        found = gpu_hours(operations, 989, TRAINING_USE)
        print(f"| {what} | {found:,.1f} | {hours:,.1f} | {found / hours:.2f} | {TRAINING_USE * found / hours:.2f} |")


def main() -> int:
    """Print a line for each case, then the extremes; 1 if one is off by more than the tolerance."""
    published()
    print()
    project = Path(__file__).parents[1]
    environment = find_environment("axolotl", project, its_home(project))
    asked = cases()
    done = subprocess.run(
        [str(environment.python), str(MEASURE)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(lines) != len(asked):
        print(done.stderr[-2000:], file=sys.stderr)
        return 1
    ratios = []
    print("| model | shape | numbers | checkpointing | measured MB | computed / measured |\n|---|---|---|---|---|---|")
    for case, found in zip(asked, lines, strict=True):
        ratios.append(computed(case) / found["bytes"])
        on = "on" if case["checkpointing"] else "off"
        print(
            f"| {case['config']['model_type']} | {case['what']} | {case['dtype']} | {on} | {found['bytes'] / 1e6:.1f} |"
            f" {ratios[-1]:.2f} |"
        )
    print(f"\n{len(ratios)} cases, computed / measured from {min(ratios):.2f} to {max(ratios):.2f}")
    return int(max(abs(ratio - 1) for ratio in ratios) > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
