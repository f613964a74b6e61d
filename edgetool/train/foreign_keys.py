"""Keys that TRL, transformers, peft, Unsloth and others have, and what to write here instead.

Names that mean the same here need no entry: `config.py` says which section they stand in. "*"
stands for the section a key was written in, grpo or sft.
"""

from __future__ import annotations

_ROLLOUT = "prompts in one rollout: per_device_train_batch_size x processes / num_generations"
_EPOCHS = "counted in steps; `edgetool train --dry-run` says how many steps an epoch has"
_NO_EVAL = "nothing is evaluated while training; type `edgetool eval RUN` afterwards"
_NO_VLLM = "rollout.engine says who writes the completions; leave it out"
_NF4 = "4 bits are NF4 with double quantization; leave it out, or set load_in_4bit: false"
_ALWAYS_LORA = "only a LoRA adapter is trained; leave it out"
_PACKED = "rows are always packed; packed_tokens bounds a pass"
_COMPLETION = "only completions carry a loss; leave it out"
_LAUNCHER = "there is nothing to set for several devices; start it with torchrun"
_NOT_HERE = "there is no counterpart; leave it out"

# name -> (the key to write or "", a remark)
FOREIGN: dict[str, tuple[str, str]] = {
    # the model
    **dict.fromkeys(
        ("model_name_or_path", "model_name", "model_id", "base_model", "pretrained_model_name"),
        ("model", ""),
    ),
    "torch_dtype": ("*.bf16", "true or false"),
    "dtype": ("*.bf16", "true or false"),
    "fp16": ("*.bf16", "there is no float16; false computes in float32"),
    "tf32": ("", _NOT_HERE),
    "use_flash_attention_2": ("attn_implementation", "sdpa or flex_attention"),
    "trust_remote_code": ("", "code of a model is never run; leave it out"),
    "load_in_8bit": ("load_in_4bit", "true, or false for 16 or 32 bits; there are no 8 bits"),
    **dict.fromkeys(
        (
            "bnb_4bit_quant_type",
            "bnb_4bit_compute_dtype",
            "bnb_4bit_use_double_quant",
            "use_bnb_nested_quant",
            "quantization_config",
        ),
        ("", _NF4),
    ),
    # rows
    **dict.fromkeys(
        ("dataset_name", "dataset", "datasets", "dataset_path", "train_file", "train_dataset"),
        ("data.train", "a file of rows; `edgetool data convert` makes one of a data set"),
    ),
    **dict.fromkeys(
        ("eval_dataset", "validation_file", "test_file", "val_dataset"), ("data.validation", "")
    ),
    "dataset_train_split": ("data.train", "a file; `edgetool data split` makes two of one"),
    "dataset_test_split": ("data.validation", "a file; `edgetool data split` makes two of one"),
    "val_set_size": ("data.validation", "a file; `edgetool data split` makes two of one"),
    "max_train_samples": ("data.train_rows", ""),
    "max_samples": ("data.train_rows", ""),
    "max_eval_samples": ("data.validation_rows", ""),
    **dict.fromkeys(
        ("max_seq_length", "max_seq_len", "sequence_len", "cutoff_len"),
        ("sft.max_length", "for GRPO max_prompt_length and max_completion_length"),
    ),
    **dict.fromkeys(("packing", "padding_free", "group_by_length"), ("*.packed_tokens", _PACKED)),
    **dict.fromkeys(
        ("completion_only_loss", "assistant_only_loss", "train_on_inputs"), ("", _COMPLETION)
    ),
    **dict.fromkeys(
        ("dataset_text_field", "remove_unused_columns", "dataset_num_proc", "dataset_kwargs"),
        ("", "rows are read as they are; leave it out"),
    ),
    # steps and batches
    **dict.fromkeys(
        ("per_device_train_batch_size", "micro_batch_size", "batch_size", "train_batch_size"),
        (
            "grpo.prompts_per_step",
            f"{_ROLLOUT}; for `edgetool sft` sft.per_device_train_batch_size",
        ),
    ),
    "generation_batch_size": ("grpo.prompts_per_step", "in prompts: / num_generations"),
    "steps_per_generation": ("", "each part of a step has a rollout of its own; leave it out"),
    "per_device_eval_batch_size": ("", _NO_EVAL),
    **dict.fromkeys(("num_train_epochs", "num_epochs", "epochs"), ("*.max_steps", _EPOCHS)),
    "warmup_ratio": ("*.warmup_steps", "counted in steps: warmup_ratio x max_steps"),
    "lr": ("*.learning_rate", ""),
    "optimizer": ("*.optim", ""),
    "lr_scheduler": ("*.lr_scheduler_type", ""),
    "random_state": ("*.seed", ""),
    "data_seed": ("*.seed", "one seed is for everything"),
    "use_gradient_checkpointing": ("*.gradient_checkpointing", "true or false"),
    "gradient_checkpointing_kwargs": ("", _NOT_HERE),
    **dict.fromkeys(("max_new_tokens", "max_response_length"), ("grpo.max_completion_length", "")),
    # looking on, saving
    **dict.fromkeys(
        ("eval_steps", "eval_strategy", "evaluation_strategy", "do_eval", "eval_on_start"),
        ("", _NO_EVAL),
    ),
    "do_train": ("", "`edgetool train` trains; leave it out"),
    **dict.fromkeys(
        ("metric_for_best_model", "load_best_model_at_end", "greater_is_better"), ("", _NO_EVAL)
    ),
    "save_strategy": ("*.save_steps", "counted in steps"),
    "save_total_limit": ("", "the two newest checkpoints are kept; leave it out"),
    "logging_strategy": ("*.logging_steps", "counted in steps"),
    "logging_first_step": ("*.logging_steps", "1 logs every step"),
    "logging_dir": ("", "metrics.jsonl and tensorboard/ are in output_dir; leave it out"),
    "run_name": ("output_dir", "a run is called as its folder"),
    "log_completions": ("", "the panel shows some of every step; leave it out"),
    "resume_from_checkpoint": ("", "type `edgetool train --resume`"),
    "overwrite_output_dir": ("", "a run is never overwritten; remove its folder yourself"),
    **dict.fromkeys(
        ("push_to_hub", "hub_model_id", "hub_strategy"), ("", "type `edgetool push` afterwards")
    ),
    # LoRA
    **dict.fromkeys(("lora_r", "lora_rank", "rank"), ("lora.r", "")),
    "alpha": ("lora.lora_alpha", ""),
    "dropout": ("lora.lora_dropout", ""),
    "lora_target_modules": ("lora.target_modules", ""),
    "lora_target": ("lora.target_modules", "all-linear, or a list of module names"),
    "peft_config": ("lora", ""),
    "disable_dropout": ("lora.lora_dropout", "0 switches it off"),
    **dict.fromkeys(("use_peft", "finetuning_type", "adapter"), ("", _ALWAYS_LORA)),
    **dict.fromkeys(
        ("use_dora", "use_rslora", "lora_modules_to_save", "modules_to_save", "bias", "task_type"),
        ("", "the adapter is a plain LoRA, as every export can hold it; leave it out"),
    ),
    # GRPO
    **dict.fromkeys(("reward_funcs", "reward_functions"), ("rewards", "name: weight")),
    "reward_weights": ("rewards", "name: weight"),
    "reward_model_name_or_path": ("rewards", "they are functions, not models"),
    **dict.fromkeys(
        ("num_return_sequences", "group_size", "num_rollouts", "rollout_n"),
        ("grpo.num_generations", ""),
    ),
    **dict.fromkeys(("kl_coef", "init_kl_coef", "kl_loss_coef"), ("grpo.beta", "")),
    **dict.fromkeys(("cliprange", "clip_range", "clip_ratio", "epsilon_low"), ("grpo.epsilon", "")),
    "clip_ratio_high": ("grpo.epsilon_high", ""),
    "mu": ("grpo.num_iterations", ""),
    "vllm_importance_sampling_cap": ("grpo.importance_sampling_cap", ""),
    "vllm_importance_sampling_correction": ("grpo.importance_sampling_cap", "a number; null: off"),
    "use_vllm": ("rollout.engine", "torch, llama or openai"),
    **dict.fromkeys(
        ("vllm_server_host", "vllm_server_port", "vllm_server_base_url"),
        ("rollout.url", "[http://HOST:PORT/v1]"),
    ),
    **dict.fromkeys(
        (
            "vllm_mode",
            "vllm_gpu_memory_utilization",
            "vllm_tensor_parallel_size",
            "use_transformers_paged",
            "fast_inference",
            "gpu_memory_utilization",
        ),
        ("", _NO_VLLM),
    ),
    **dict.fromkeys(
        ("min_p", "repetition_penalty", "delta", "sync_ref_model", "ref_model_mixup_alpha"),
        ("", _NOT_HERE),
    ),
    # machines
    **dict.fromkeys(
        ("deepspeed", "fsdp", "fsdp_config", "ddp_find_unused_parameters"), ("", _LAUNCHER)
    ),
    **dict.fromkeys(
        ("dataloader_num_workers", "dataloader_drop_last", "torch_compile", "use_liger_kernel"),
        ("", _NOT_HERE),
    ),
}


def advice(name: str, section: str) -> str | None:
    """What to write for somebody else's key; None for one that nobody is known to have.

    section   where it stands: "grpo", "sft", another one or ""
    """
    if name not in FOREIGN:
        return None
    key, remark = FOREIGN[name]
    if not key:
        return remark
    told = f"write {in_section(key, section)}"
    return f"{told} ({remark})" if remark else told


def in_section(key: str, section: str) -> str:
    """The key with its section in the star's place."""
    if not key.startswith("*."):
        return key
    name = key.removeprefix("*.")
    if section in ("grpo", "sft"):
        return f"{section}.{name}"
    return f"grpo.{name}, for `edgetool sft` sft.{name}"
