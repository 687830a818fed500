"""Settings of the engines and launchers that run no code, read no other files and open no connections.

A recipe passes tables through to vLLM 0.32, transformers 5 and torch's and Accelerate's launchers. What an untrusted
recipe may set is listed here, with the harmless values; everything else, and so everything that a later version adds,
needs an allowance of the machine's owner (`its.recipe.trust`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Rule: TypeAlias = "Callable[[Any], bool] | Mapping[str, Rule]"
"""A test of the value of a setting or, for a table, the rules of its entries."""

LONGEST_TEXT = 4000
MOST_WORDS = 10_000
MODULES = ("llm_int8_skip_modules", "modules_to_not_convert", "ignore", "ignored_layers")
HUB_ID = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}"
LONGEST_HOST = 253
"""Longest name in the domain name system, in characters."""
NEAR_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc")
"""Reserved for private networks, or never delegated: no public name server resolves them."""
_WORD = re.compile(r"[A-Za-z0-9_+*-]{0,100}|\d+(\.\d+)?[A-Za-z%]*")
_PHRASE = re.compile(r"[^/\\\x00-\x1f\x7f\ud800-\udfff]{0,400}")


def word(value: Any) -> bool:
    """A number, true or false, or a word that cannot name a file, an address or an import."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and _WORD.fullmatch(value) is not None)


def words(value: Any) -> bool:
    """At most `MOST_WORDS` words, in lists and tables of any depth."""
    rest, seen = [value], 0
    while rest:
        seen += 1
        if seen > MOST_WORDS:  # also a list that contains itself
            return False
        item = rest.pop()
        if isinstance(item, Mapping):
            rest += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            rest += item
        elif item is not None and not word(item):
            return False
    return True


def text(value: Any) -> bool:
    """Text, or a list or table of texts: names of layers, tokens, patterns. Nothing opens or imports it."""
    if isinstance(value, Mapping):
        value = [*map(str, value.keys()), *value.values()]
    items = value if isinstance(value, list) else [value]
    return all(
        isinstance(item, bool | int | float) or (isinstance(item, str) and len(item) <= LONGEST_TEXT) for item in items
    )


def quantization(value: Any) -> bool:
    """Words, and names of the modules that a quantization skips (`model.lm_head`)."""
    if not isinstance(value, Mapping):
        return words(value)
    return all(text(item) if name in MODULES and item is not None else words(item) for name, item in value.items())


def hub_id(value: Any) -> bool:
    """`owner/name` of the hub, as the models of a recipe are named; neither a path nor an address."""
    return isinstance(value, str) and re.fullmatch(HUB_ID, value) is not None


def disabled(value: Any) -> bool:
    """A table with `enabled: false`."""
    return isinstance(value, Mapping) and value.get("enabled") is False and words(value)


def phrase(value: Any) -> bool:
    """The value of a variable or of a launcher's option that is not a path: no slash, no control character."""
    return isinstance(value, str) and _PHRASE.fullmatch(value) is not None


def off(value: Any) -> bool:
    """`false`."""
    return value is False


def one_of(*known: Any) -> Callable[[Any], bool]:
    """A test for one of some values."""
    return lambda value: any(type(value) is type(item) and value == item for item in known)


def near(value: Any) -> bool:
    """An address of this machine or of its own network, maybe with a port.

    Processes that meet there send each other pickled objects, so whoever has the address runs code here. Of names,
    those that no public name server resolves: with an ending of private networks, or without a dot and with a digit
    (`node01`). A single word may be a top-level domain with an address (`ai`).
    """
    if not isinstance(value, str):
        return False
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([^:\[\]]+)(?::\d{1,5})?", value)
    host = (found[1] or found[2]) if found else value
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _near_name(host.lower())
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or (address.is_private and not address.is_unspecified) or address.is_link_local


def _near_name(host: str) -> bool:
    if len(host) > LONGEST_HOST or not re.fullmatch(r"[a-z](?:[a-z0-9_-]|\.(?=[a-z0-9_]))*", host):
        return False
    alone = "." not in host and any(character.isdigit() for character in host) and not host.startswith("xn--")
    return host == "localhost" or alone or host.endswith(NEAR_ENDINGS)


def _speculation(value: Any) -> bool:
    """A speculation method of vLLM, other than a class that the recipe names."""
    known = ("ngram", "ngram_gpu", "suffix", "mtp", "eagle", "eagle3", "medusa", "mlp_speculator", "draft_model")
    return value in known or (isinstance(value, str) and re.fullmatch(r"[a-z0-9_]{1,60}_mtp", value) is not None)


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


MODEL_CONFIG: dict[str, Rule] = {
    **_each(
        words,
        """
        attention_dropout bos_token_id eos_token_id head_dim hidden_dropout initializer_range
        max_position_embeddings max_window_layers num_experts_per_tok num_hidden_layers
        original_max_position_embeddings pad_token_id partial_rotary_factor rms_norm_eps rope_parameters
        rope_scaling rope_theta router_aux_loss_coef sliding_window tie_word_embeddings torch_dtype dtype
        use_cache use_sliding_window vocab_size
        """,
    ),
}
"""Entries of a model's `config.json` that may be overridden."""

VLLM: dict[str, Rule] = {
    **_each(
        words,
        """
        aggregate_engine_logging api_server_count async_scheduling block_size calculate_kv_scales
        cp_kv_cache_interleave_size cpu_distributed_timeout_seconds cpu_offload_gb cudagraph_capture_sizes
        cudagraph_metrics custom_histogram_buckets data_parallel_external_lb data_parallel_hybrid_lb
        data_parallel_multi_port_external_lb data_parallel_rank data_parallel_rpc_port data_parallel_size
        data_parallel_size_local data_parallel_start_rank dbo_decode_token_threshold dbo_prefill_token_threshold
        dcp_kv_cache_interleave_size dcp_q_replicate decode_context_parallel_size disable_cascade_attn
        disable_chunked_mm_input disable_custom_all_reduce disable_hybrid_kv_cache_manager disable_log_requests
        disable_log_stats disable_nccl_for_dp_synchronization disable_sliding_window distributed_timeout_seconds
        dp_sync_interval elastic_ep_max_dp_size enable_batch_sharded_sampling enable_chunked_prefill
        enable_cumem_allocator enable_dbo enable_elastic_ep enable_ep_weight_filter enable_eplb
        enable_expert_parallel enable_fault_tolerance enable_flashinfer_autotune enable_hc_sp
        enable_layerwise_nvtx_tracing enable_log_requests enable_logging_iteration_details enable_lora
        enable_mamba_cache_stochastic_rounding enable_mamba_shared_prefix_checkpoint enable_mfu_metrics
        enable_mixed_moe_lora_format enable_mm_processor_stats enable_moe_shared_loras enable_nccl_comm_suspend
        enable_prefix_caching enable_return_routed_experts enable_shm_tensor_arena enable_sleep_mode
        enable_tower_connector_lora enforce_eager eplb_config fail_on_environ_validation fault_tolerance_config
        fully_sharded_loras gpu_memory_utilization jit_monitor_verbose kv_cache_memory_bytes kv_cache_metrics
        kv_cache_metrics_sample kv_offloading_size kv_sharing_fast_prefill language_model_only
        limit_mm_per_prompt long_prefill_token_threshold long_prefill_token_threshold_adaptive mamba_block_size
        mamba_cache_philox_rounds master_port max_cpu_loras max_cudagraph_capture_size max_logprobs
        max_long_partial_prefills max_lora_cls_labels max_lora_rank max_loras max_model_len max_num_active_seqs
        max_num_batched_tokens max_num_partial_prefills max_num_queued_reqs max_num_queued_tokens
        max_num_scheduled_tokens max_num_seqs max_parallel_loading_workers max_seq_len_to_capture
        mm_processor_cache_gb nnodes node_rank num_gpu_blocks_override num_scheduler_steps numa_bind
        numa_bind_nodes offload_group_size offload_num_in_group offload_prefetch_step pipeline_parallel_size
        prefill_context_parallel_size prefill_schedule_interval prefix_cache_retention_interval
        prefix_match_unit renderer_num_workers replayssm_buffer_len return_sampling_mask
        safetensors_prefetch_block_size safetensors_prefetch_num_threads scheduler_reserve_full_isl seed
        shutdown_timeout skip_mm_profiling sleep_mode_offload_cudagraph specialize_active_lora stream_interval
        swa_bounded_replay swap_space tensor_parallel_size tokens_only ubatch_size use_fp64_gumbel use_replayssm
        use_tqdm_on_load watermark
        all2all_backend attention_backend attention_config collect_detailed_traces config_format convert
        data_parallel_backend dcp_comm_backend dtype expert_placement_strategy gdn_prefill_backend
        ir_op_priority jit_monitor_mode kda_decode_backend kda_prefill_backend kernel_config kv_cache_dtype
        kv_offloading_backend linear_backend log_level logprobs_mode lora_dtype mamba_backend mamba_cache_dtype
        mamba_cache_mode mamba_ssm_cache_dtype mamba_ssu_algorithm model_impl moe_backend offload_backend
        optimization_level per_request_spec_decode_metrics performance_mode preemption_mode
        prefix_caching_hash_algo quantization reasoning_parser runner safetensors_load_strategy
        scheduling_policy show_hidden_metrics_for_version sparse_indexer_topk_backend task tokenizer_mode
        """,
    ),
    **_each(
        text,
        """
        cpu_offload_params device_ids ignore_patterns kv_cache_dtype_skip_layers lora_target_modules
        numa_bind_cpus offload_params served_model_name sleep_preserve_parameter_names
        """,
    ),
    **_each(phrase, "pt_load_map_location revision tokenizer_revision"),
    **_each(off, "trust_remote_code skip_tokenizer_init allow_deprecated_quantization enable_prompt_embeds"),
    "data_parallel_address": near,
    "master_addr": near,
    "distributed_executor_backend": one_of("uni", "mp", "ray", "external_launcher"),
    "generation_config": one_of("vllm", "auto"),
    # These read safetensors or nothing; `pt` and `npcache` unpickle, others reach other places or plugins.
    "load_format": one_of(
        *("auto", "bitsandbytes", "dummy", "fastsafetensors", "gguf", "instanttensor", "mistral"),
        *("runai_streamer", "safetensors", "sharded_state"),
    ),
    "model_loader_extra_config": _each(word, "concurrency enable_multithread_load memory_limit num_threads"),
    "hf_overrides": MODEL_CONFIG,
    "override_generation_config": _each(
        words,
        """
        bos_token_id eos_token_id frequency_penalty max_new_tokens min_p pad_token_id presence_penalty
        repetition_penalty temperature top_k top_p
        """,
    ),
    # A draft comes from the hub as every model does; its own code runs only with `trust_remote_code`.
    "speculative_config": {
        **_each(
            words,
            """
            attention_backend disable_padded_drafter_batch draft_sample_method draft_tensor_parallel_size
            enforce_eager max_model_len num_speculative_tokens parallel_drafting prompt_lookup_max
            prompt_lookup_min quantization rejection_sample_method suffix_decoding_max_cached_requests
            suffix_decoding_max_spec_factor suffix_decoding_max_tree_depth suffix_decoding_min_token_prob
            tensor_parallel_size
            """,
        ),
        "method": _speculation,
        "model": hub_id,
        "revision": phrase,
    },
    "quantization_config": quantization,
    "reasoning_config": {"reasoning_parser": word, "reasoning_start_str": text, "reasoning_end_str": text},
    "structured_outputs_config": _each(word, "backend disable_additional_properties disable_any_whitespace"),
    "spec_method": _speculation,
    "spec_model": hub_id,
    "spec_tokens": word,
    "compilation_config": {
        **_each(
            words,
            """
            compile_mm_encoder compile_ranges_endpoints compile_sizes cudagraph_capture_sizes
            cudagraph_copy_inputs cudagraph_mode cudagraph_num_of_warmups cudagraph_specialize_lora custom_ops
            dynamic_shapes_config fast_moe_cold_start full_cuda_graph ir_enable_torch_wrap level
            max_cudagraph_capture_size mode pass_config use_cudagraph use_inductor use_inductor_graph_partition
            """,
        ),
        "backend": one_of("", "eager", "inductor"),
    },
}

SAMPLING: dict[str, Rule] = {
    **_each(
        words,
        """
        allowed_token_ids ignore_eos include_stop_str_in_output min_tokens skip_reading_prefix_cache
        skip_special_tokens spaces_between_special_tokens stop_token_ids watermarking
        """,
    ),
    "bad_words": text,
    "logit_bias": text,
    "repetition_detection": _each(word, "max_pattern_size min_count min_pattern_size"),
}
"""Arguments of vLLM's `SamplingParams`, as in `extra` of a recipe's sampling. Not a grammar to compile
(`structured_outputs`), whose automaton may take any memory, nor `extra_args`, which reach plugins and connectors."""

TRANSFORMERS: dict[str, Rule] = {
    **_each(
        words,
        """
        batch_size dtype force_download low_cpu_mem_usage load_in_4bit load_in_8bit local_files_only max_memory
        max_model_len offload_buffers offload_state_dict torch_dtype tp_plan tp_size variant
        """,
    ),
    "attn_implementation": one_of(
        *("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"),
    ),
    "quantization_config": quantization,
    "experts_implementation": one_of("eager", "batched_mm", "grouped_mm"),
    "device_map": lambda value: phrase(value) or (isinstance(value, Mapping) and text(value)),
    "revision": phrase,
    **_each(off, "trust_remote_code use_kernels"),
    **_each(one_of(True), "use_safetensors weights_only"),
}

VARIABLES: dict[str, Rule] = {
    **_each(
        phrase,
        """
        CUDA_DEVICE_ORDER CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING CUDA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG
        GLOO_SOCKET_IFNAME GOMP_CPU_AFFINITY GPU_DEVICE_ORDINAL HIP_VISIBLE_DEVICES KMP_AFFINITY KMP_BLOCKTIME
        KMP_TPAUSE KMP_SETTINGS MALLOC_ARENA_MAX MALLOC_TRIM_THRESHOLD_ MASTER_PORT MAX_JOBS MKL_NUM_THREADS
        NCCL_ALGO NCCL_BUFFSIZE NCCL_CUMEM_ENABLE NCCL_DEBUG NCCL_DEBUG_SUBSYS NCCL_IB_DISABLE NCCL_IB_GID_INDEX
        NCCL_IB_HCA NCCL_IB_TIMEOUT NCCL_LAUNCH_MODE NCCL_MAX_NCHANNELS NCCL_MIN_NCHANNELS NCCL_NVLS_ENABLE
        NCCL_P2P_DISABLE NCCL_P2P_LEVEL NCCL_PROTO NCCL_SHM_DISABLE NCCL_SOCKET_IFNAME NUMEXPR_NUM_THREADS
        NVIDIA_TF32_OVERRIDE NVIDIA_VISIBLE_DEVICES OMP_DYNAMIC OMP_NUM_THREADS OMP_PLACES OMP_PROC_BIND
        OMP_SCHEDULE OMP_THREAD_LIMIT OMP_WAIT_POLICY OPENBLAS_NUM_THREADS PYTORCH_ALLOC_CONF
        PYTORCH_CUDA_ALLOC_CONF PYTORCH_HIP_ALLOC_CONF RAYON_NUM_THREADS ROCR_VISIBLE_DEVICES
        TOKENIZERS_PARALLELISM TORCH_ALLOW_TF32_CUBLAS_OVERRIDE TORCH_CUDA_ARCH_LIST
        TORCH_NCCL_ASYNC_ERROR_HANDLING TORCH_NCCL_AVOID_RECORD_STREAMS TORCH_NCCL_BLOCKING_WAIT
        TORCH_NUM_THREADS VECLIB_MAXIMUM_THREADS
        CUDA_DEVICE_MAX_CONNECTIONS KMP_DUPLICATE_LIB_OK NCCL_CROSS_NIC NCCL_IB_QPS_PER_CONNECTION NCCL_IB_TC
        NCCL_NET_GDR_LEVEL NCCL_TIMEOUT RAY_DEDUP_LOGS SAFETENSORS_FAST_GPU TORCHDYNAMO_DISABLE
        TORCHINDUCTOR_COMPILE_THREADS TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC TP_SOCKET_IFNAME UCX_TLS
        VLLM_ALL2ALL_BACKEND VLLM_FLASHINFER_MOE_BACKEND VLLM_FUSED_MOE_CHUNK_SIZE VLLM_RPC_TIMEOUT
        VLLM_USE_FLASHINFER_MOE_FP16 VLLM_USE_FLASHINFER_MOE_FP4 VLLM_USE_FLASHINFER_MOE_FP8
        DO_NOT_TRACK FORCE_COLOR HF_DATASETS_OFFLINE HF_HUB_DISABLE_IMPLICIT_TOKEN HF_HUB_DISABLE_PROGRESS_BARS
        HF_HUB_DISABLE_SYMLINKS_WARNING HF_HUB_DISABLE_TELEMETRY HF_HUB_DISABLE_XET HF_HUB_DOWNLOAD_TIMEOUT
        HF_HUB_ENABLE_HF_TRANSFER HF_HUB_ETAG_TIMEOUT HF_HUB_OFFLINE HF_HUB_VERBOSITY NO_COLOR TQDM_DISABLE
        TRANSFORMERS_NO_ADVISORY_WARNINGS TRANSFORMERS_OFFLINE TRANSFORMERS_VERBOSITY
        VLLM_ALLOW_LONG_MAX_MODEL_LEN VLLM_ALLREDUCE_USE_FLASHINFER VLLM_ALLREDUCE_USE_SYMM_MEM
        VLLM_ATTENTION_BACKEND VLLM_BATCH_INVARIANT VLLM_COMPUTE_NANS_IN_LOGITS VLLM_CONFIGURE_LOGGING
        VLLM_CPU_ATTN_SPLIT_KV VLLM_CPU_INT4_W4A8 VLLM_CPU_KVCACHE_SPACE VLLM_CPU_NUM_OF_RESERVED_CPU
        VLLM_CPU_OMP_THREADS_BIND VLLM_DEEP_GEMM_WARMUP VLLM_DISABLED_KERNELS VLLM_DISABLE_COMPILE_CACHE
        VLLM_DISABLE_LOG_LOGO VLLM_DISABLE_PYNCCL VLLM_DISABLE_SHARED_EXPERTS_STREAM VLLM_DO_NOT_TRACK
        VLLM_DP_MASTER_PORT VLLM_ENABLE_CUDAGRAPH_GC VLLM_ENABLE_INDUCTOR_COORDINATE_DESCENT_TUNING
        VLLM_ENABLE_INDUCTOR_MAX_AUTOTUNE VLLM_ENABLE_V1_MULTIPROCESSING VLLM_ENGINE_ITERATION_TIMEOUT_S
        VLLM_ENGINE_READY_TIMEOUT_S VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS VLLM_FLASHINFER_ALLREDUCE_BACKEND
        VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE VLLM_FLASH_ATTN_VERSION VLLM_FLOAT32_MATMUL_PRECISION
        VLLM_GC_DEBUG VLLM_HTTP_TIMEOUT_KEEP_ALIVE VLLM_KEEP_ALIVE_ON_ENGINE_DEATH VLLM_KV_CACHE_LAYOUT
        VLLM_LOGGING_COLOR VLLM_LOGGING_LEVEL VLLM_LOGGING_PREFIX VLLM_LOG_BATCHSIZE_INTERVAL
        VLLM_LOG_MODEL_INSPECTION VLLM_LOG_STATS_INTERVAL VLLM_MARLIN_USE_ATOMIC_ADD VLLM_MAX_N_SEQUENCES
        VLLM_MLA_DISABLE VLLM_MOE_USE_DEEP_GEMM VLLM_MQ_MAX_CHUNK_BYTES_MB VLLM_MSGPACK_ZERO_COPY_THRESHOLD
        VLLM_NO_USAGE_STATS VLLM_PORT VLLM_PP_LAYER_PARTITION VLLM_RAISE_ON_LOGIT_NANS
        VLLM_RINGBUFFER_WARNING_INTERVAL VLLM_ROCM_FP8_PADDING VLLM_ROCM_MOE_PADDING VLLM_ROCM_USE_AITER
        VLLM_ROCM_USE_AITER_LINEAR VLLM_ROCM_USE_AITER_MHA VLLM_ROCM_USE_AITER_MLA VLLM_ROCM_USE_AITER_MOE
        VLLM_ROCM_USE_AITER_RMSNORM VLLM_ROCM_USE_SKINNY_GEMM VLLM_SKIP_P2P_CHECK VLLM_USE_AOT_COMPILE
        VLLM_USE_BREAKABLE_CUDAGRAPH VLLM_USE_DEEP_GEMM VLLM_USE_DEEP_GEMM_E8M0 VLLM_USE_FLASHINFER_MOE_INT4
        VLLM_USE_FLASHINFER_SAMPLER VLLM_USE_FUSED_MOE_GROUPED_TOPK VLLM_USE_NCCL_SYMM_MEM
        VLLM_USE_STANDALONE_COMPILE VLLM_USE_TRITON_AWQ VLLM_USE_V1 VLLM_USE_V2_MODEL_RUNNER
        VLLM_WEIGHT_OFFLOADING_DISABLE_PIN_MEMORY VLLM_WEIGHT_OFFLOADING_DISABLE_UVA
        VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS
        """,
    ),
    **_each(near, "MASTER_ADDR VLLM_DP_MASTER_IP VLLM_HOST_IP VLLM_LOOPBACK_IP"),
    "VLLM_WORKER_MULTIPROC_METHOD": one_of("fork", "spawn", "forkserver"),
}
"""Variables of an engine's process. Not `PYTHON*`, `LD_*`, compilers, caches (compiled code is loaded from
them), plugins, proxies and endpoints, telemetry, or what writes files."""

LAUNCHER_FLAGS = frozenset(
    [
        *(
            "--cpu",
            "--debug",
            "--downcast_bf16",
            "--enable_cpu_affinity",
            "--multi_gpu",
            "--quiet",
            "--rdzv_standalone",
        ),
        *("--standalone", "--use_deepspeed", "--use_fsdp"),
    ]
)
"""Options of torchrun and `accelerate launch` without a value, with `_` for `-`."""

LAUNCHER_REFUSED = frozenset(
    [
        *("--config_file", "--deepspeed_config_file", "--deepspeed_hostfile", "--deepspeed_multinode_launcher"),
        *("--event_log_handler", "--log_dir", "--logs_specs"),
    ]
)
"""Options that need an allowance and take a value, the next argument: one fault, not two."""

LAUNCHER_OPTIONS: dict[str, Rule] = {
    **_each(
        phrase,
        """
        --deepspeed_moe_layer_cls_names --dynamo_backend --dynamo_mode --fsdp_activation_checkpointing
        --fsdp_auto_wrap_policy --fsdp_backward_prefetch --fsdp_cpu_ram_efficient_loading
        --fsdp_forward_prefetch --fsdp_min_num_params --fsdp_offload_params --fsdp_reshard_after_forward
        --fsdp_sharding_strategy --fsdp_state_dict_type --fsdp_sync_module_states
        --fsdp_transformer_layer_cls_to_wrap --fsdp_use_orig_params --fsdp_version --gpu_ids
        --gradient_accumulation_steps --gradient_clipping --local_ranks_filter
        --max_restarts --mixed_precision --monitor_interval --nnodes
        --nproc_per_node --num_cpu_threads_per_process --num_machines --num_processes
        --offload_optimizer_device --offload_param_device --redirects --role
        --signals_to_handle --tee --zero3_init_flag --zero3_save_16bit_model --zero_stage
        """,
    ),
    "--start_method": one_of("fork", "spawn", "forkserver"),
}
