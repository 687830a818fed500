"""A key changes with everything that determines a response and with nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.store_samples import determinants

from its.store import canonical, response_key, session_sha256, vllm_identity, without_secrets

ARGUMENTS: dict[str, Any] = {"dtype": "bfloat16", "max_model_len": 2048, "enforce_eager": True}
VARIABLES = {"VLLM_CPU_OMP_THREADS_BIND": "0-1"}


def _session(
    model: str = "sha256:aa",
    arguments: dict[str, Any] = ARGUMENTS,
    variables: dict[str, str] = VARIABLES,
    lock: str = "lock",
) -> str:
    return session_sha256(vllm_identity(model, arguments, variables, lock))


def test_the_order_of_fields_is_no_difference() -> None:
    request = determinants()
    assert response_key(_session(), request) == response_key(_session(), dict(reversed(request.items())))
    assert _session() == _session(arguments=dict(reversed(ARGUMENTS.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "another"}]},
        {"messages": [{"role": "system", "content": determinants()["messages"][0]["content"]}]},
        {"messages": [*determinants()["messages"], {"role": "user", "content": ""}]},
        {"sampling": {**determinants()["sampling"], "temperature": 0.71}},
        {"sampling": {**determinants()["sampling"], "top_p": 0.9}},
        {"sampling": {**determinants()["sampling"], "max_tokens": 65}},
        {"sampling": {**determinants()["sampling"], "stop": ["\n"]}},
        {"seed": 1},
        {"seed": None},
        {"sample_index": 1},
        {"start": "You are"},
        {"start": ""},
        {"a later one": 1},
    ],
    ids=str,
)
def test_every_determinant_of_a_request_is_in_its_key(change: dict[str, Any]) -> None:
    assert response_key(_session(), determinants()) != response_key(_session(), determinants(**change))


def test_a_request_must_say_whether_it_is_started() -> None:
    request = determinants()
    del request["start"]
    with pytest.raises(KeyError, match="start"):
        response_key(_session(), request)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "sha256:ab"},
        {"lock": "another"},
        {"arguments": {**ARGUMENTS, "dtype": "float32"}},
        {"arguments": {**ARGUMENTS, "max_model_len": 4096}},
        {"arguments": {**ARGUMENTS, "enforce_eager": False}},
        *(
            {"arguments": {**ARGUMENTS, name: value}}
            for name, value in {
                "quantization": "fp8",
                "tensor_parallel_size": 2,
                "pipeline_parallel_size": 2,
                "enable_expert_parallel": True,
                "compilation_config": {"level": 3},
                "kv_cache_dtype": "fp8",
                "attention_backend": "FLASH_ATTN",
                "block_size": 32,
                "trust_remote_code": True,
                "generation_config": "auto",
                "chat_template": "{{ messages }}",
                "hf_overrides": {"eos_token": "</s>"},
                "load_format": "dummy",
                "tokenizer": "another",
                "an_option_of_a_later_vllm": 1,
            }.items()
        ),
        {"variables": {"VLLM_CPU_OMP_THREADS_BIND": "0"}},
        {"variables": {**VARIABLES, "VLLM_BATCH_INVARIANT": "1"}},
        {"variables": {**VARIABLES, "VLLM_ATTENTION_BACKEND": "FLASHINFER"}},
        {"variables": {**VARIABLES, "OMP_NUM_THREADS": "4"}},
        {"variables": {**VARIABLES, "VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "1"}},
        {"variables": {**VARIABLES, "SOMETHING_UNKNOWN": "1"}},
    ],
    ids=str,
)
def test_what_determines_a_response_is_in_its_session(change: dict[str, Any]) -> None:
    assert _session() != _session(**change)


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"arguments": {**ARGUMENTS, name: value}}
            for name, value in {
                "seed": 5,
                "disable_log_stats": True,
                "gpu_memory_utilization": 0.5,
                "kv_cache_memory_bytes": 2**30,
                "cpu_offload_gb": 4,
                "swap_space": 8,
                "max_num_seqs": 7,
                "max_num_batched_tokens": 4096,
                "enable_chunked_prefill": False,
                "enable_prefix_caching": True,
                "async_scheduling": True,
                "max_loras": 4,
                "max_parallel_loading_workers": 2,
                "load_format": "runai_streamer",
                "download_dir": "/elsewhere",
                "distributed_executor_backend": "uni",
                "data_parallel_size": 8,
                "data_parallel_address": "10.0.0.1",
                "api_server_count": 2,
                "worker_extension_cls": "its_vllm_extension.Swapping",
                "served_model_name": "m",
                "hf_token": "hf_secret",
                "api_key": "secret",
            }.items()
        ),
        *(
            {"variables": {**VARIABLES, name: "1"}}
            for name in (
                "VLLM_CPU_KVCACHE_SPACE",
                "VLLM_ENABLE_V1_MULTIPROCESSING",
                "VLLM_LOGGING_LEVEL",
                "VLLM_LOGGING_CONFIG_PATH",
                "CUDA_VISIBLE_DEVICES",
                "TOKENIZERS_PARALLELISM",
                "HF_HUB_OFFLINE",
                "HF_TOKEN",
                "VLLM_API_KEY",
                "AWS_SECRET_ACCESS_KEY",
                "HTTPS_PROXY",
            )
        ),
    ],
    ids=str,
)
def test_what_determines_nothing_is_not_in_it(change: dict[str, Any]) -> None:
    assert _session() == _session(**change)


def test_no_secret_is_in_an_identity_at_any_depth() -> None:
    arguments = {
        "model_loader_extra_config": {"s3_access_key_id": "hush", "s3_secret_access_key": "hush", "threads": 4},
        "plugins": [{"token": "hush", "pad_token": "<pad>"}],
        "hf_token": "hush",
    }
    identity = vllm_identity("m", arguments, {"HUGGING_FACE_HUB_TOKEN": "hush", "X_PASSWORD": "hush"}, "lock")
    assert "hush" not in json.dumps(identity)
    assert identity["arguments"] == {"model_loader_extra_config": {"threads": 4}, "plugins": [{"pad_token": "<pad>"}]}
    assert without_secrets(identity) == identity


def test_canonical_json() -> None:
    assert canonical({"b": [1, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,null,true]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_keys_do_not_change_with_the_version_of_its() -> None:
    """If this fails, every existing store generates everything again."""
    assert _session() == "b34f6a20cc6f3ef4469704d83bdf5bfc4d0c54f98d3b029f9e5c346061d5768d"
    assert (
        response_key(_session(), determinants()) == "d3c9e6792c38a8d41c9f507fdcdedf68fac2f7ec89de96b4683163192cc9aca9"
    )
    half_a_pair = determinants(messages=[{"role": "user", "content": "\ud83d"}])
    assert response_key(_session(), half_a_pair) == "6be83d876ce60913991e6c44249558e7f800bdf4af0c57b11cace2615c3a940f"
