"""What the vLLM of its environment says of options: nothing is loaded, and no GPU is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.clone import ROOT

from its.checks.engine import engine_faults
from its.engines.options import CHECKER, VllmSettings, option_faults
from its.environments import find_environment
from its.errors import SettingFault
from its.home import its_home
from its.recipe.load import load_recipe, read_document

pytestmark = pytest.mark.integration

SOUND = [
    # One machine: a 32B model over 8 GPUs.
    VllmSettings(
        {
            "tensor_parallel_size": 8,
            "gpu_memory_utilization": 0.92,
            "max_model_len": 16384,
            "max_num_seqs": 256,
            "enable_prefix_caching": True,
            "quantization": "fp8",
            "kv_cache_dtype": "fp8_e4m3",
            "attention_backend": "flash_attn",
            "enforce_eager": False,
            "seed": 17,
            "dtype": "bfloat16",
        },
        {"VLLM_BATCH_INVARIANT": "1", "NCCL_DEBUG": "WARN"},
    ),
    # Two machines of 8.
    VllmSettings({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "distributed_executor_backend": "mp"}),
    # What passes through without its own type, and what is None by default.
    VllmSettings(
        {
            "hf_overrides": {"rope_theta": 1000000},
            "compilation_config": {"mode": 3, "cudagraph_capture_sizes": [1, 2, 4]},
            "speculative_config": {"method": "ngram", "num_speculative_tokens": 4},
            "worker_extension_cls": "a_module.AClass",
            "logits_processors": ["a_module:AClass"],
            "max_model_len": None,
            "enable_lora": True,
            "max_lora_rank": 16,
            "load_format": "safetensors",
        }
    ),
    # The CPU build.
    VllmSettings(
        {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096, "max_model_len": 1024, "seed": 1},
        {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "0-1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
    ),
]

# (options, variables) -> key, part of the message, part of the hint (None: there is none).
FAULTY: list[tuple[dict[str, object], dict[str, str], str, str, str | None]] = [
    ({"tensor_paralel_size": 8}, {}, "options.tensor_paralel_size", "has no option", "`tensor_parallel_size`"),
    ({"tensor_parallel_size": "8"}, {}, "options.tensor_parallel_size", 'is `"8"`, expected an integer', None),
    ({"tensor_parallel_size": 0}, {}, "options.tensor_parallel_size", "greater than or equal to 1", None),
    ({"max_num_seqs": 1.5}, {}, "options.max_num_seqs", "is `1.5`, expected an integer", None),
    ({"enforce_eager": 1}, {}, "options.enforce_eager", "is `1`, expected true or false", None),
    ({"gpu_memory_utilization": 92}, {}, "options.gpu_memory_utilization", "less than or equal to 1", None),
    ({"kv_cache_dtype": "fp9"}, {}, "options.kv_cache_dtype", "expected one of `auto`", "`fp8`"),
    ({"quantization": "fb8"}, {}, "options.quantization", "expected one of", "`fp8`"),
    ({"dtype": "BFLOAT"}, {}, "options.dtype", "expected one of `auto`", "`float`"),
    ({"max_lora_rank": 17}, {}, "options.max_lora_rank", "expected one of `1`", None),
    ({"attention_backend": "FLASHATTN"}, {}, "options.attention_backend", "expected one of", "`FLASH_ATTN`"),
    ({"hf_overrides": 3}, {}, "options.hf_overrides", "expected a table", None),
    # vLLM leaves such a key out without a word.
    ({"compilation_config": {"moed": 3}}, {}, "options.compilation_config.moed", "has no `moed`", "`mode`"),
    ({"attention_config": {"backend": "no"}}, {}, "options.attention_config.backend", "unknown attention back", None),
    ({"distributed_executor_backend": "rya"}, {}, "options.distributed_executor_backend", "expected one of", "`ray`"),
    ({"data_parallel_size": 4}, {}, "options.data_parallel_size", "refuses", "engine.kind: openai"),
    ({"model": "elsewhere"}, {}, "options.model", "cannot be an option", None),
    ({"swap_space": 4}, {}, "options.swap_space", "has no option", None),
    (
        {"tensor_parallel_size": 8, "decode_context_parallel_size": 3},
        {},
        "options",
        "tp_size=8 must be divisible by dcp_size=3",
        None,
    ),
    (
        {"max_model_len": 1024, "max_num_batched_tokens": 512, "enable_chunked_prefill": False},
        {},
        "options",
        "smaller than max_model_len (1024)",
        None,
    ),
    ({}, {"VLLM_BATCH_INVARIENT": "1"}, "environment.VLLM_BATCH_INVARIENT", "knows no variable", "BATCH_INVARIANT`"),
    ({}, {"VLLM_CPU_KVCACHE_SPACE": "lots"}, "environment.VLLM_CPU_KVCACHE_SPACE", 'is `"lots"`', None),
]
RAY = VllmSettings({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "distributed_executor_backend": "ray"})
ALL_AT_ONCE = VllmSettings(
    {"tensor_paralel_size": 8, "kv_cache_dtype": "fp9", "data_parallel_size": 2}, {"VLLM_NO": "1"}
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[list[SettingFault]]:
    environment = find_environment("vllm", ROOT, its_home(ROOT))
    faulty = [VllmSettings(options, variables) for options, variables, *_ in FAULTY]
    return option_faults(
        environment, [*SOUND, *faulty, RAY, ALL_AT_ONCE], tmp_path_factory.mktemp("check") / "check.log"
    )


def test_sound_options_pass(told: list[list[SettingFault]]) -> None:
    assert told[: len(SOUND)] == [[] for _ in SOUND]


def test_the_recipes_that_ship_pass() -> None:
    paths = sorted((ROOT / "recipes").glob("*.yaml"))
    assert engine_faults(ROOT, [(read_document(path), load_recipe(path, ROOT)) for path in paths]) == []


def test_each_fault_is_told_with_its_key(told: list[list[SettingFault]]) -> None:
    for (options, variables, key, message, hint), found in zip(FAULTY, told[len(SOUND) :], strict=False):
        assert [".".join(map(str, fault.path)) for fault in found] == [key], (options, variables, found)
        assert message in found[0].message, found
        assert (hint is None and found[0].hint is None) or (hint or "?") in str(found[0].hint), found


SAMPLING = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 100, "stop": []}
SOUND_SAMPLING: list[dict[str, object]] = [
    {},
    {"top_k": 1, "min_p": 1.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": -2.0},
    {"thinking_budget": 0, "temperature": 0.0, "top_k": 100_000_000},
    {"extra": {"logit_bias": {"12": 3.5, "7": -100}, "bad_words": ["x"], "stop_token_ids": [1, 2]}},
    {"extra": {"repetition_detection": {"max_pattern_size": 10, "min_count": 3}, "min_tokens": 100}},
    {"extra": {"structured_outputs": {"regex": "a+"}, "ignore_eos": True, "skip_special_tokens": False}},
]
FAULTY_SAMPLING: list[tuple[dict[str, object], str, str]] = [
    ({"temperature": 3.0}, "sampling.temperature", "must be in [0, 2]"),
    ({"stop": [""]}, "sampling.stop", "cannot contain an empty string"),
    ({"extra": {"min_tokenz": 2}}, "sampling.extra.min_tokenz", "has no setting"),
    ({"extra": {"min_tokens": 200}}, "sampling.extra.min_tokens", "less than or equal to"),
    ({"extra": {"ignore_eos": "yes"}}, "sampling.extra.ignore_eos", "expected true or false"),
    ({"extra": {"logit_bias": {"a": 3.5}}}, "sampling.extra.logit_bias", "logit_bias"),
    ({"extra": {"bad_words": [""]}}, "sampling.extra.bad_words", "cannot contain an empty string"),
    (
        {"extra": {"repetition_detection": {"max_pattern_size": 9, "min_count": 1}}},
        "sampling.extra.repetition_detection",
        "min_count must be >= 2",
    ),
    (
        {"extra": {"structured_outputs": {"regex": "a+", "json": "{}"}}},
        "sampling.extra.structured_outputs",
        "one kind of structured outputs",
    ),
]


def test_sampling_is_checked_by_vllms_own_class(tmp_path: Path) -> None:
    environment = find_environment("vllm", ROOT, its_home(ROOT))
    given = [*SOUND_SAMPLING, *(sampling for sampling, _, _ in FAULTY_SAMPLING)]
    found = option_faults(
        environment, [VllmSettings({}, {}, {**SAMPLING, **sampling}) for sampling in given], tmp_path / "check.log"
    )
    assert found[: len(SOUND_SAMPLING)] == [[] for _ in SOUND_SAMPLING]
    for (sampling, key, message), faults in zip(FAULTY_SAMPLING, found[len(SOUND_SAMPLING) :], strict=True):
        assert {".".join(map(str, fault.path))[: len(key)] for fault in faults} == {key}, (sampling, faults)
        assert message in faults[0].message, faults


def test_ray_has_to_be_in_the_environment(told: list[list[SettingFault]]) -> None:
    environment = find_environment("vllm", ROOT, its_home(ROOT))
    keys = [] if "ray" in environment.versions else ["options.distributed_executor_backend"]
    assert [".".join(map(str, fault.path)) for fault in told[-2]] == keys


def test_all_faults_come_at_once(told: list[list[SettingFault]]) -> None:
    assert {".".join(map(str, fault.path)) for fault in told[-1]} == {
        "options.tensor_paralel_size",
        "options.kv_cache_dtype",
        "options.data_parallel_size",
        "environment.VLLM_NO",
    }


def test_the_check_leaves_the_place_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither asks a hub nor writes where it is started."""
    monkeypatch.chdir(tmp_path)
    environment = find_environment("vllm", ROOT, its_home(ROOT))
    assert option_faults(environment, [VllmSettings({})], tmp_path / "check.log") == [[]]
    assert [path.name for path in tmp_path.iterdir()] == ["check.log"]


def test_the_gpus_of_this_machine_do_not_matter(tmp_path: Path) -> None:
    """On a machine with one GPU too, a recipe for eight passes."""
    checker = tmp_path / "with_one_gpu.py"
    checker.write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(CHECKER.parent)!r})\n"
        "from vllm.platforms import current_platform\n"
        "kind = type(current_platform)\n"
        "kind.is_cuda, kind.device_count = lambda self: True, classmethod(lambda kind: 1)\n"
        f"runpy.run_path({str(CHECKER)!r}, run_name='__main__')\n"
    )
    environment = find_environment("vllm", ROOT, its_home(ROOT))
    eight = VllmSettings({"tensor_parallel_size": 8})
    assert option_faults(environment, [eight], tmp_path / "log", checker=checker) == [[]]
