"""Random bf16 weights in Qwen2's architecture, by Axolotl's environment; standard input has {config, path}."""

import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

spec = json.load(sys.stdin)
config = AutoConfig.for_model("qwen2", **spec["config"])
torch.manual_seed(1)
with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained(spec["path"])
