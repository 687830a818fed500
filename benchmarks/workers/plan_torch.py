"""The peak of the memory that torch's allocator hands out in two training steps of small models, on the CPU.

Runs in the training environment; `benchmarks/plan.py` starts it. Reads one JSON list of cases on stdin, writes one JSON
line for each: {bytes, step_seconds}. Every allocation and release is counted, as torch's profiler records them.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM


def peak(case: dict[str, Any]) -> dict[str, Any]:
    """Peak bytes of a second step: weights, gradients, states and activations are there."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**case["config"])
    dtype = getattr(torch, case["dtype"])
    rows = torch.randint(0, config.vocab_size, (case["rows"], case["length"]))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        model.train()
        if case["checkpointing"]:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        for _ in range(2):
            start = time.monotonic()
            loss = model(input_ids=rows, labels=rows, use_cache=False).loss  # as the trainer: the output is dropped
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds = time.monotonic() - start
        del model, optimizer, loss
    gc.collect()
    used = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()
            most = max(most, used)
    return {"bytes": most, "step_seconds": round(seconds, 2)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in json.load(sys.stdin):
        print(json.dumps(peak(case)), flush=True)
