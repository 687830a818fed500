"""The conversion of a small Gemma, written here as llama.cpp writes it: settings, weights, tokens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT

from its.environments import environment_variables, find_environment
from its.home import its_home
from its.models import CONVERTER, REFUSED

pytestmark = pytest.mark.integration

WRITE = r"""
import json, sys
import gguf, numpy

facts = json.loads(sys.argv[2])
out = gguf.GGUFWriter(sys.argv[1], "gemma3")
pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "  "]
types = [3, 3, 3, 3, 3, 3, 4, 4, 4]
scores = [-1000.0] * 9
pieces += [f"<0x{value:02X}>" for value in range(256)]
types += [6] * 256
scores += [0.0] * 256
normal = ["▁t", "▁two", "wo", "12", *"▁two12345."]
pieces += normal
types += [1] * len(normal)
scores += [-float(rank) for rank in range(len(normal))]
out.add_tokenizer_model(facts.get("model", "llama"))
out.add_tokenizer_pre("default")
out.add_token_list(pieces)
out.add_token_scores(scores)
out.add_token_types(types)
out.add_bos_token_id(2)
out.add_eos_token_id(1)
out.add_pad_token_id(0)
out.add_unk_token_id(3)
out.add_add_bos_token(True)
out.add_add_space_prefix(False)
out.add_context_length(128)
out.add_embedding_length(64)
out.add_block_count(6)
out.add_feed_forward_length(128)
out.add_head_count(2)
out.add_head_count_kv(1)
out.add_key_length(256)
out.add_value_length(256)
out.add_layer_norm_rms_eps(1e-6)
out.add_rope_freq_base(1e6)
out.add_sliding_window(16)
if "factor" in facts:
    out.add_rope_scaling_factor(facts["factor"])
random = numpy.random.default_rng(5)
shapes = {"token_embd": (len(pieces), 64), "output_norm": (64,)}
for block in range(6):
    shapes |= {
        f"blk.{block}.{name}": shape
        for name, shape in {
            "attn_q": (512, 64), "attn_k": (256, 64), "attn_v": (256, 64), "attn_output": (64, 512),
            "attn_q_norm": (256,), "attn_k_norm": (256,), "attn_norm": (64,), "ffn_norm": (64,),
            "post_attention_norm": (64,), "post_ffw_norm": (64,),
            "ffn_gate": (128, 64), "ffn_up": (128, 64), "ffn_down": (64, 128),
        }.items()
    }
for name, shape in shapes.items():
    if name != facts.get("without"):
        fill = numpy.full(shape, 1.25) if len(shape) == 1 else random.normal(size=shape) * 0.05
        out.add_tensor(f"{name}.weight", fill.astype(numpy.float32))
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
"""
READ = r"""
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
norms = {float(weight) for name, weights in model.named_parameters() if "norm" in name for weight in weights.unique()}
text = "<start_of_turn>two 12\n\n  two.<end_of_turn>"
print(json.dumps({
    "norms": sorted(norms),
    "tokens": tokenizer.tokenize(text),
    "text": tokenizer.decode(tokenizer(text)["input_ids"]),
    "eos": [tokenizer.eos_token_id, model.generation_config.eos_token_id],
    "config": model.config.to_dict(),
}))
"""


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = find_environment("axolotl", ROOT, its_home(ROOT))
    variables = {**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([str(environment.python), *words], capture_output=True, text=True, env=variables, check=False)


def _converted(folder: Path, **facts: Any) -> subprocess.CompletedProcess[str]:
    made = _python("-c", WRITE, str(folder / "m.gguf"), json.dumps(facts))
    assert made.returncode == 0, made.stderr
    (folder / "out").mkdir()
    spec = {
        "gguf": str(folder / "m.gguf"),
        "output": str(folder / "out"),
        "dtype": "float32",
        "special_tokens": {"bos": "<bos>", "eos": "<end_of_turn>", "pad": "<pad>"},
        "chat_template": "{{ messages }}",
        "context_length": 128,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return _python(str(CONVERTER), str(folder / "spec.json"))


def test_a_gemma_keeps_its_tokens_norms_and_positions(tmp_path: Path) -> None:
    done = _converted(tmp_path)
    assert done.returncode == 0, done.stderr
    read = _python("-c", READ, str(tmp_path / "out"))
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout.strip().splitlines()[-1])
    assert found["tokens"] == ["<start_of_turn>", "t", "wo", "▁", "12", "\n\n", "  ", "t", "wo", ".", "<end_of_turn>"]
    assert found["text"] == "<bos><start_of_turn>two 12\n\n  two.<end_of_turn>"
    assert found["norms"] == [0.25]  # a GGUF has 1 more
    assert found["eos"] == [5, 5]
    config = found["config"]
    assert config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention"]
    assert {name: facts["rope_theta"] for name, facts in config["rope_parameters"].items()} == {
        "full_attention": 1e6,
        "sliding_attention": 1e4,
    }
    assert (config["sliding_window"], config["head_dim"], config["query_pre_attn_scalar"]) == (16, 256, 256)
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"model": "bert"}, "the file's tokenizer is `bert`"),
        ({"factor": 8.0}, "does not read these settings of the file: rope.scaling.factor"),
        ({"without": "blk.3.attn_v"}, "model.layers.3.self_attn.v_proj.weight"),
    ],
    ids=str,
)
def test_what_would_be_converted_wrong_is_refused(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    done = _converted(tmp_path, **facts)
    assert done.returncode == REFUSED, done.stderr
    assert words in (tmp_path / "out" / "refused.txt").read_text()
    assert not (tmp_path / "out" / "config.json").exists()
