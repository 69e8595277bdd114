"""A candidate's ``trainer`` section to TRL's own config object, with what must hold made explicit.

Its keys and their bounds were checked when the recipe was read (``recipe/trainer.py``).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from transformers import TrainingArguments
from trl import DPOConfig, GRPOConfig, KTOConfig

from negalign_train.recipe.candidate import PLAIN_OBJECTIVE, CandidateRun, Method, ObjectiveSettings
from negalign_train.training.objective.losses import DPOObjective
from negalign_train.training.settings.extras import check_extras
from negalign_train.vocabulary.errors import RecipeError


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
        RecipeError: TRL refuses a value, or a section beside ``trainer`` does not go with it.
    """
    method = run.candidate.method
    keys = run.candidate.trainer
    where = f"candidate {run.candidate.name}: trainer"
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
    check_extras(run.candidate, getattr(config, "loss_type", ()))
    return config


def dpo_objective(config: DPOConfig) -> DPOObjective:
    """The DPO loss that a config names."""
    weights = config.loss_weights or [1.0] * len(config.loss_type)
    settings = getattr(config, "objective", PLAIN_OBJECTIVE)
    return DPOObjective(
        config.beta, tuple(config.loss_type), tuple(weights), config.label_smoothing, settings
    )


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
