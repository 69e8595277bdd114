"""A candidate's ``trainer`` section to TRL's own config object, with what must hold made explicit.

Keys are TRL's, unchanged, and each is one that our trainers feel: a key that TRL knows but that
would do nothing here, or that this package sets itself, is refused like an unknown one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from trl import DPOConfig, GRPOConfig, KTOConfig

from negalign_train.errors import RecipeError
from negalign_train.recipe_candidate import PLAIN_OBJECTIVE, CandidateRun, Method, ObjectiveSettings
from negalign_train.training.extras import check_extras
from negalign_train.training.losses import DPO_LOSS_TYPES, KTO_LOSS_TYPES, DPOObjective

_COMMON = frozenset(
    {
        "adam_beta1", "adam_beta2", "adam_epsilon", "dataloader_num_workers",
        "dataloader_prefetch_factor", "ddp_timeout", "full_determinism",
        "gradient_accumulation_steps", "gradient_checkpointing", "gradient_checkpointing_kwargs",
        "learning_rate", "logging_steps", "lr_scheduler_kwargs",
        "lr_scheduler_type", "max_grad_norm", "max_steps", "num_train_epochs", "optim",
        "optim_args", "per_device_train_batch_size", "router_aux_loss_coef", "save_steps", "tf32",
        "warmup_steps", "weight_decay",
    }
)  # fmt: skip
_OFFLINE = _COMMON | {"max_length", "precompute_ref_batch_size"}
_ALLOWED: Mapping[Method, frozenset[str]] = {
    "dpo": _OFFLINE
    | {"beta", "label_smoothing", "loss_type", "loss_weights", "train_sampling_strategy"},
    "sft": _OFFLINE | {"train_sampling_strategy"},
    "kto": _OFFLINE | {"beta", "desirable_weight", "loss_type", "undesirable_weight"},
    "grpo": _COMMON
    | {
        "beta", "cache_implementation", "delta", "entropy_coef", "epsilon", "epsilon_high",
        "generation_batch_size", "generation_kwargs", "importance_sampling_level", "loss_type",
        "mask_truncated_completions", "min_p", "num_generations", "num_iterations",
        "repetition_penalty", "scale_rewards", "shuffle_dataset", "steps_per_generation",
        "temperature", "top_entropy_quantile", "top_k", "top_p",
        "use_vllm", "vllm_enable_sleep_mode", "vllm_gpu_memory_utilization", "vllm_group_port",
        "vllm_importance_sampling_clip_max", "vllm_importance_sampling_correction",
        "vllm_importance_sampling_mode", "vllm_max_model_length", "vllm_mode",
        "vllm_server_base_url", "vllm_server_timeout", "vllm_tensor_parallel_size",
    },
}  # fmt: skip
_ORDERS = ("group_by_length", "random")
_REQUIRED = ("learning_rate", "per_device_train_batch_size")


@dataclasses.dataclass
class WeightedDPOConfig(DPOConfig):  # type: ignore[misc]  # TRL ships no types
    """DPOConfig, and the recipe's ``objective`` section, which TRL has no keys for."""

    objective: ObjectiveSettings = PLAIN_OBJECTIVE


def config_class(method: Method) -> type[TrainingArguments]:
    """TRL's config of a method; SFT runs on the DPO trainer's code."""
    classes: dict[Method, type[TrainingArguments]] = {
        "dpo": DPOConfig,
        "sft": DPOConfig,
        "kto": KTOConfig,
        "grpo": GRPOConfig,
    }
    return classes[method]


def trainer_config(run: CandidateRun) -> TrainingArguments:
    """TRL's config for a run.

    Raises:
        RecipeError: a key is unknown, not ours to pass, missing or of the wrong type; or TRL
            refuses a value.
    """
    method = run.candidate.method
    keys = run.candidate.trainer
    where = f"candidate {run.candidate.name}: trainer"
    _check_keys(keys, method, where)
    options = _fixed(run) | _defaults(method) | dict(keys)
    _rename_checkpointing(options, config_class(method))
    options["save_strategy"] = "steps" if "save_steps" in keys else "no"
    made = config_class(method)
    if method == "sft":
        options["loss_type"] = ["sft"]
    elif method == "dpo":
        made = WeightedDPOConfig
        options["objective"] = run.candidate.objective
    try:
        config = made(**options)
    except (ValueError, TypeError) as error:
        raise RecipeError(
            f"{where}: {config_class(method).__name__} refuses it: {error}"
        ) from error
    _check_loss_types(config, method, where)
    check_extras(run.candidate, getattr(config, "loss_type", ()))
    return config


def dpo_objective(config: DPOConfig) -> DPOObjective:
    """The DPO loss that a config names."""
    weights = config.loss_weights or [1.0] * len(config.loss_type)
    settings = getattr(config, "objective", PLAIN_OBJECTIVE)
    return DPOObjective(
        config.beta, tuple(config.loss_type), tuple(weights), config.label_smoothing, settings
    )


def _check_keys(keys: Mapping[str, Any], method: Method, where: str) -> None:
    config = config_class(method)
    fields = {field.name: field for field in dataclasses.fields(config)}
    for key, value in keys.items():
        if key not in fields:
            raise RecipeError(
                f"{where}.{key} is no key of {config.__name__}; {method} takes "
                f"{', '.join(sorted(_ALLOWED[method]))}"
            )
        if key not in _ALLOWED[method]:
            raise RecipeError(
                f"{where}.{key} is set by negalign_train or has no effect on {method}; remove it"
            )
        default = fields[key].default
        if isinstance(value, str) and isinstance(default, (int, float)):
            raise RecipeError(
                f"{where}.{key} is the text {value!r}, expected a number; YAML reads 5e-7 as text, "
                "write 5.0e-7"
            )
    required = _REQUIRED if method == "sft" else (*_REQUIRED, "beta")
    if missing := [key for key in required if key not in keys]:
        raise RecipeError(f"{where} lacks {', '.join(missing)}; it changes the result, state it")
    if ("num_train_epochs" in keys) == ("max_steps" in keys):
        raise RecipeError(f"{where} needs one of num_train_epochs and max_steps; state exactly one")


def _check_loss_types(config: TrainingArguments, method: Method, where: str) -> None:
    if isinstance(config, DPOConfig):
        known: tuple[str, ...] = DPO_LOSS_TYPES
        named = config.loss_type
        if len(config.loss_weights or named) != len(named):
            raise RecipeError(f"{where}.loss_weights needs one weight per loss_type")
        if config.train_sampling_strategy not in _ORDERS:
            raise RecipeError(f"{where}.train_sampling_strategy must be one of {_ORDERS}")
        if not 0 <= config.label_smoothing < 0.5:
            raise RecipeError(f"{where}.label_smoothing must lie in [0, 0.5)")
    elif isinstance(config, KTOConfig):
        known, named = KTO_LOSS_TYPES, [config.loss_type]
        if config.per_device_train_batch_size < 2:
            raise RecipeError(
                f"{where}.per_device_train_batch_size must be at least 2 for kto: its KL term "
                "pairs each prompt with another row's completion"
            )
    else:
        return
    if unknown := sorted(set(named) - set(known)):
        raise RecipeError(f"{where}.loss_type {unknown} has no weighted {method} loss; use {known}")


def _rename_checkpointing(options: dict[str, Any], config: type[TrainingArguments]) -> None:
    """TRL 1.16 says ``gradient_checkpointing*``; transformers from 5.20 on warns at that name."""
    known = {field.name for field in dataclasses.fields(config)}
    for suffix in ("", "_kwargs"):
        new, old = f"activation_checkpointing{suffix}", f"gradient_checkpointing{suffix}"
        if new in known and old in options:
            options[new] = options.pop(old)


def _defaults(method: Method) -> dict[str, Any]:
    """Values a recipe may change. Full activations: adapters on small bases are bound by time."""
    defaults: dict[str, Any] = {"gradient_checkpointing": False}
    if method in ("dpo", "sft"):
        defaults["train_sampling_strategy"] = "group_by_length"
    return defaults


def _fixed(run: CandidateRun) -> dict[str, Any]:
    """Values no recipe may change."""
    # `accelerate launch` with use_cpu: true says so in the environment.
    kept_on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    cuda = torch.cuda.is_available() and not kept_on_cpu
    if run.dtype == "float16" and not cuda:
        raise RecipeError("model.dtype float16 needs a CUDA device; use float32 or bfloat16")
    fixed: dict[str, Any] = {
        "output_dir": str(run.output_dir / "checkpoints"),
        "seed": run.seed,
        "data_seed": run.seed,
        "use_cpu": not cuda,
        "bf16": run.dtype == "bfloat16",
        "fp16": run.dtype == "float16",
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "eval_strategy": "no",
        "save_total_limit": 2,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
        "disable_dropout": True,
    }
    if run.candidate.method == "grpo":
        fixed |= {"log_completions": False, "max_completion_length": run.max_new_tokens}
    return fixed
