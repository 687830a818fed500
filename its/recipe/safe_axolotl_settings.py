"""Settings of Axolotl 0.19 that run no code, read no other files and open no connections.

As in `its.recipe.safe_settings`, everything else needs an allowance.
All are settings that Axolotl has: those that it does not know are refused first, allowed or not, and so are those that
another field of a recipe sets (`its.recipe.axolotl_keys`).

Not here, and so in need of an allowance: what imports (`plugins`, `trainer_cls`, `torchdistx_path`, a custom `type` of
`datasets`), evaluates (`lisa_layers_attribute`) or downloads code (`eval_causal_lm_metrics`,
`use_kernels`); other models and files (`*_config`, `lora_model_dir`, `resume_from_checkpoint`, `chat_template_jinja`);
reinforcement learning, whose rewards are imports; trackers, uploads, servers; the settings of compilers.
"""

from __future__ import annotations

import re
from typing import Any

from its.recipe.safe_settings import (
    MODEL_CONFIG,
    Rule,
    disabled,
    off,
    one_of,
    phrase,
    quantization,
    text,
    word,
    words,
)

SHIPPED_PLUGINS = (
    "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin",
    "axolotl.integrations.liger.LigerPlugin",
    "its_axolotl.ItsPlugin",
)
"""Kernels that are part of Axolotl, and the plugin of ITS: their names run no code of a recipe."""


def _plugins(value: Any) -> bool:
    return isinstance(value, list) and all(item in SHIPPED_PLUGINS for item in value)


def _class_name(value: Any) -> bool:
    """The name of a class, which Axolotl looks up in transformers."""
    return isinstance(value, str) and re.fullmatch(r"[A-Z]\w{0,60}(For\w+|Model|Tokenizer(Fast)?)", value) is not None


def _chat_template(value: Any) -> bool:
    return word(value) and value != "jinja"


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_OFFLOAD: dict[str, Rule] = {
    "device": one_of("none", "cpu"),
    **_each(word, "buffer_count buffer_size fast_init max_in_cpu pin_memory pipeline_read pipeline_write ratio"),
}

DEEPSPEED: dict[str, Rule] = {
    **_each(
        words,
        """
        activation_checkpointing bf16 communication_data_type data_types dump_state fp16
        gradient_accumulation_dtype seq_parallel_communication_data_type
        gradient_accumulation_steps gradient_clipping gradient_predivide_factor memory_breakdown optimizer
        prescale_gradients scheduler sparse_gradients steps_per_print train_batch_size
        train_micro_batch_size_per_gpu wall_clock_breakdown zero_allow_untested_optimizer
        zero_force_ds_cpu_optimizer
        """,
    ),
    **_each(disabled, "autotuning comet comms_logger csv_monitor elasticity flops_profiler tensorboard wandb"),
    "zero_optimization": {
        **_each(
            word,
            """
            mics_hierarchical_params_gather mics_shard_size
            allgather_bucket_size allgather_partitions contiguous_gradients cpu_offload cpu_offload_params
            elastic_checkpoint ignore_unused_parameters load_from_fp32_weights memory_efficient_linear
            overlap_comm override_module_apply reduce_bucket_size reduce_scatter round_robin_gradients stage
            stage3_gather_16bit_weights_on_model_save stage3_gather_fp16_weights_on_model_save
            stage3_max_live_parameters stage3_max_reuse_distance stage3_param_persistence_threshold
            stage3_module_granularity_threshold stage3_use_all_reduce_for_fetch_params
            stage3_prefetch_bucket_size sub_group_size zero_hpz_partition_size zero_quantized_gradients
            zero_quantized_nontrainable_weights zero_quantized_weights
            """,
        ),
        "offload_optimizer": _OFFLOAD,
        "offload_param": _OFFLOAD,
    },
}

DATASET: dict[str, Rule] = {
    "ds_type": one_of("json"),
    "type": one_of("chat_template"),
    "chat_template": _chat_template,
    **_each(word, "drop_system_message shards shards_idx preprocess_shards split_thinking train_on_eos train_on_eot"),
    **_each(
        text,
        """
        field_messages field_thinking field_tools message_field_content message_field_role
        message_field_training message_field_training_detail message_property_mappings name roles_to_train split
        template_thinking_key
        """,
    ),
    "roles": words,
    **_each(off, "trust_remote_code"),
}
"""Of an entry of `datasets`, beside `path`: that is the file of ITS, whose rows the proof of parity holds."""

AXOLOTL: dict[str, Rule] = {
    **_each(
        words,
        """
        adam_beta1 adam_beta2 adam_beta3 adam_epsilon adam_epsilon2
        cosine_constant_lr_ratio cosine_min_lr_ratio dion_lr dion_momentum dion_rank_fraction
        dion_rank_multiple_of embedding_lr embedding_lr_scale eval_batch_size
        group_by_length jagged_restart_anneal_steps jagged_restart_steps jagged_restart_warmup_steps
        learning_rate loraplus_lr_embedding loraplus_lr_ratio loss_watchdog_patience loss_watchdog_threshold
        lr_div_factor lr_quadratic_warmup lr_scheduler lr_scheduler_kwargs max_grad_norm
        micro_batch_size neftune_noise_alpha noisy_embedding_alpha num_epochs optimizer qgalore_cos_threshold
        qgalore_gamma_proj qgalore_proj_bits qgalore_proj_group_size qgalore_proj_quant qgalore_proj_type
        qgalore_queue_size qgalore_rank qgalore_scale qgalore_update_proj_gap train_on_inputs warmup_ratio
        weight_decay lisa_n_layers lisa_step_interval
        chat_template_kwargs eval_max_new_tokens eval_table_size generate_samples generation_do_sample
        generation_max_new_tokens generation_prompt_ratio generation_temperature generation_top_k generation_top_p
        num_generation_samples reinit_weights rope_scaling strict
        accelerator_config activation_offloading batch_flattening bf16 bfloat16
        chunked_cross_entropy chunked_cross_entropy_num_chunks cut_cross_entropy ddp ddp_broadcast_buffers
        ddp_bucket_cap_mb ddp_find_unused_parameters ddp_timeout deepcompile dp_replicate_size dp_shard_size
        eager_attention eaft_alpha eaft_k embeddings_skip_upcast experimental_skip_move_to_device
        experts_implementation flash_attention flash_attn_cross_entropy flash_attn_d512 flash_attn_fuse_mlp
        flash_attn_rms_norm flash_optimum flex_attention float16 float32 fp16 fp32_norms fp8
        fp8_config fp8_enable_fsdp_float8_all_gather freeze_mm_modules fsdp fsdp_final_state_dict_type
        fsdp_version fused_attn_kernel gc_collect_steps gc_steps gptq gpu_memory_limit gradient_checkpointing
        heads_k_stride large_head_attention layer_offloading liger_cross_entropy
        liger_fused_linear_cross_entropy liger_glu_activation liger_layer_norm liger_rms_norm
        liger_rms_norm_gated liger_rope liger_swiglu liger_use_token_scaling llama4_linearized_experts
        load_in_4bit load_in_8bit low_cpu_mem_usage max_memory model_quantization_config ple_cpu_offload qat
        quantization quantize_moe_experts ring_attn_func s2_attention sage_attention scaling_softmax
        scaling_softmax_bias scaling_softmax_factor sdp_attention sdpa_varlen selective_checkpointing
        context_parallel_size sequence_parallel_degree tensor_parallel_size tf32 tiled_mlp tiled_mlp_num_shards
        tiled_mlp_use_original_mlp torch_compile torch_compile_mode torch_empty_cache_steps
        use_eaft use_onebitllms
        xformers_attention device_map
        lora_alpha lora_dropout lora_embedding_kernel lora_fan_in_fan_out lora_mlp_kernel
        lora_o_kernel lora_on_cpu lora_qkv_kernel lora_r lora_target_linear merge_lora
        merge_method peft_autocast_adapter_dtype peft_ensure_weight_tying peft_init_lora_weights
        peft_layer_replication peft_layers_to_transform peft_use_dora peft_use_rslora
        qlora_sharded_model_loading relora relora_cpu_offload relora_prune_method relora_prune_ratio
        curriculum_sampling dataloader_drop_last dataloader_num_workers
        dataloader_pin_memory dataloader_prefetch_factor dataset_exact_deduplication dataset_keep_in_memory
        dataset_num_proc dataset_processes dataset_shard_idx dataset_shard_num early_stopping_patience
        eval_sample_packing eval_sequence_len eval_steps eval_strategy evals_per_epoch evaluation_strategy
        excess_length_strategy fix_untrained_tokens greater_is_better include_tkps include_tokens_per_second
        is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model
        load_best_model_at_end mean_resizing_embeddings
        metric_for_best_model min_sample_len multipack_real_batches num_dataset_shards_to_save
        pad_to_multiple_of pad_to_sequence_len pretrain_multipack_attn pretrain_multipack_buffer_size
        profiler_steps profiler_steps_start remove_unused_columns resize_token_embeddings_to_32x sample_packing
        sample_packing_bin_size sample_packing_eff_est sample_packing_group_size sample_packing_mp_start_method
        sample_packing_sequentially save_first_step save_safetensors seed
        sequence_len shrink_embeddings shuffle_before_merging_datasets
        shuffle_merged_datasets skip_prepare_dataset tokenizer_legacy tokenizer_save_jinja_files
        tokenizer_use_fast tokenizer_use_mistral_common use_pose use_tensorboard
        pose_max_context_len pose_num_chunks pose_split_on_token_ids
        """,
    ),
    **_each(
        text,
        """
        added_tokens_overrides default_system_message eot_tokens fp32_norm_classes lora_alpha_pattern
        lora_rank_pattern lora_modules_to_save
        lora_target_modules lora_target_parameters optim_target_modules peft_layers_pattern
        peft_trainable_token_indices tokens unfrozen_parameters
        """,
    ),
    **_each(
        off,
        """
        do_bench_eval do_causal_lm_eval gradio_share hf_use_auth_token hf_mlflow_log_artifacts rl
        trust_remote_code use_comet use_kernels use_mlflow use_otel_metrics use_ray use_trackio use_wandb
        """,
    ),
    "attn_implementation": one_of(
        *("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flash_attention_torch"),
        *("flex_attention", "xformers", "sage"),
    ),
    "optim_args": lambda value: words(value) or phrase(value),
    **_each(quantization, "bnb_config_kwargs model_quantization_config_kwargs"),
    "wandb_mode": one_of("disabled"),
    "adapter": one_of("lora", "qlora"),
    "chat_template": _chat_template,
    **_each(_class_name, "model_type tokenizer_type type_of_model"),
    "datasets": {"*": DATASET},
    "deepspeed": DEEPSPEED,
    "fsdp_config": _each(
        words,
        """
        activation_checkpointing auto_wrap_policy cpu_offload_pin_memory
        cpu_ram_efficient_loading final_state_dict_type fsdp_activation_checkpointing
        fsdp_auto_wrap_policy fsdp_cpu_ram_efficient_loading fsdp_final_state_dict_type
        fsdp_min_num_params fsdp_offload_params
        fsdp_reshard_after_forward fsdp_state_dict_type fsdp_sync_module_states
        fsdp_transformer_layer_cls_to_wrap fsdp_use_orig_params fsdp_version min_num_params
        mixed_precision_policy offload_params reshard_after_forward state_dict_type
        sync_module_states transformer_layer_cls_to_wrap use_orig_params
        """,
    ),
    "gradient_checkpointing_kwargs": _each(word, "use_reentrant preserve_rng_state determinism_check"),
    "lr_groups": {"*": {"name": text, "modules": text, "lr": word}},
    "overrides_of_model_config": MODEL_CONFIG,
    "model_config": MODEL_CONFIG,
    "peft": {"loftq_config": {"loftq_bits": word}},
    "plugins": _plugins,
    "torch_compile_backend": one_of("inductor", "eager", "aot_eager", "cudagraphs"),
}
