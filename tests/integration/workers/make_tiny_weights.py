"""Random weights for tiny models, by Axolotl's environment; standard input has [{architecture, config, path}]."""

import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

for spec in json.load(sys.stdin):
    torch.manual_seed(1)
    config = AutoConfig.for_model(spec["architecture"], **spec["config"])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(spec["path"])
