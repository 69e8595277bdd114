"""A candidate's ``trainer`` section: which of TRL's keys each method takes, and their bounds.

Keys are TRL's, unchanged, and each is one that our trainers feel: a key that TRL knows but that
would do nothing here, or that this package sets itself, is refused like an unknown one. Everything
is checked when the recipe is read, without TRL: some of these values TRL itself looks at in the
middle of a run only, or never.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from negalign_train.recipe.strict import problems

Method = Literal["dpo", "kto", "grpo", "sft"]

DPOLoss = Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "sft", "bfpo"]
KTOLoss = Literal["kto", "apo_zero_unpaired"]
GRPOLoss = Literal["grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"]


def _not_text(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(
            f"is the text {value!r}, expected a number; YAML reads 5e-7 as text, write 5.0e-7"
        )
    return value


def _whole_or_share(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError("must be a whole number of steps, or a share of all steps below 1")
    return value


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"must be a list: write [{value}]")
    return value


_Number = Annotated[float, Field(strict=True), BeforeValidator(_not_text)]
_Whole = Annotated[int, Field(strict=True), BeforeValidator(_not_text)]
_Positive = Annotated[_Number, Field(gt=0)]
_NonNegative = Annotated[_Number, Field(ge=0)]
_Share = Annotated[_Number, Field(ge=0, le=1)]
_Decay = Annotated[_Number, Field(ge=0, lt=1)]
_Count = Annotated[_Whole, Field(ge=1)]
_Bool = Annotated[bool, Field(strict=True)]
_Text = Annotated[str, Field(min_length=1)]
_Every = Annotated[_Number, Field(gt=0), AfterValidator(_whole_or_share)]
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


class CommonKeys(TypedDict, total=False):
    """Keys of every method."""

    __pydantic_config__ = _CONFIG  # type: ignore[misc]
    adam_beta1: _Decay
    adam_beta2: _Decay
    adam_epsilon: _Positive
    dataloader_num_workers: Annotated[_Whole, Field(ge=0)]
    dataloader_prefetch_factor: _Count
    ddp_timeout: _Count
    full_determinism: _Bool
    gradient_accumulation_steps: _Count
    gradient_checkpointing: _Bool
    gradient_checkpointing_kwargs: dict[str, Any]
    learning_rate: Annotated[_Positive, Field(le=1)]
    logging_steps: _Every
    lr_scheduler_kwargs: dict[str, Any]
    lr_scheduler_type: _Text
    max_grad_norm: _NonNegative
    max_steps: _Count
    num_train_epochs: _Positive
    optim: _Text
    optim_args: _Text
    per_device_train_batch_size: _Count
    router_aux_loss_coef: _NonNegative
    save_steps: _Every
    tf32: _Bool
    warmup_steps: Annotated[_Number, Field(ge=0), AfterValidator(_whole_or_share)]
    weight_decay: _NonNegative


class OfflineKeys(CommonKeys, total=False):
    """Keys of the methods that train on completions of the log."""

    max_length: Annotated[_Whole, Field(ge=2)] | None
    precompute_ref_batch_size: _Count


_Order = Literal["group_by_length", "random"]


class DPOKeys(OfflineKeys, total=False):
    """Keys of DPO."""

    beta: _Positive
    label_smoothing: Annotated[_Number, Field(ge=0, lt=0.5)]
    loss_type: Annotated[list[DPOLoss], Field(min_length=1), BeforeValidator(_listed)]
    loss_weights: Annotated[list[_NonNegative], Field(min_length=1)]
    train_sampling_strategy: _Order


class SFTKeys(OfflineKeys, total=False):
    """Keys of SFT."""

    train_sampling_strategy: _Order


class KTOKeys(OfflineKeys, total=False):
    """Keys of KTO. Its KL term pairs each prompt with another row's completion."""

    beta: _Positive
    desirable_weight: _Positive
    loss_type: KTOLoss
    per_device_train_batch_size: Annotated[_Whole, Field(ge=2)]
    undesirable_weight: _Positive


class GRPOKeys(CommonKeys, total=False):
    """Keys of GRPO."""

    beta: _NonNegative
    cache_implementation: _Text
    delta: _Positive
    entropy_coef: _Number
    epsilon: _Positive
    epsilon_high: _Positive
    generation_batch_size: _Count
    generation_kwargs: dict[str, Any]
    importance_sampling_level: Literal["token", "sequence"]
    loss_type: GRPOLoss
    mask_truncated_completions: _Bool
    min_p: _Share
    num_generations: Annotated[_Whole, Field(ge=2)]
    num_iterations: _Count
    repetition_penalty: _Positive
    scale_rewards: Literal["group", "batch", "none", True, False]
    shuffle_dataset: _Bool
    steps_per_generation: _Count
    temperature: Annotated[_Positive, Field(le=10)]
    top_entropy_quantile: _Share
    top_k: Annotated[_Whole, Field(ge=0)]
    top_p: Annotated[_Positive, Field(le=1)]
    use_vllm: _Bool
    vllm_enable_sleep_mode: _Bool
    vllm_gpu_memory_utilization: Annotated[_Positive, Field(le=1)]
    vllm_group_port: Annotated[_Whole, Field(ge=1, le=65535)]
    vllm_importance_sampling_clip_max: _Positive
    vllm_importance_sampling_correction: _Bool
    vllm_importance_sampling_mode: Literal[
        "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"
    ]
    vllm_max_model_length: _Count
    vllm_mode: Literal["server", "colocate"]
    vllm_server_base_url: Annotated[str, Field(pattern=r"^https?://")]
    vllm_server_timeout: _Positive
    vllm_tensor_parallel_size: _Count


KEYS: Mapping[Method, type[Any]] = {
    "dpo": DPOKeys, "kto": KTOKeys, "grpo": GRPOKeys, "sft": SFTKeys,
}  # fmt: skip
"""What a ``trainer`` section may hold, by method."""
_READERS = {method: TypeAdapter(keys) for method, keys in KEYS.items()}
_REQUIRED = ("learning_rate", "per_device_train_batch_size")


def check_trainer(method: Method, keys: Mapping[str, Any]) -> None:
    """Refuses a wrong ``trainer`` section.

    Raises:
        ValueError: naming every key at fault.
    """
    _refuse_unknown(method, keys)
    try:
        _READERS[method].validate_python(dict(keys))
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, place))}: {what}" for place, _, what in problems(error))
        raise ValueError(f"trainer.{'; trainer.'.join(faults)}") from None
    required = _REQUIRED if method == "sft" else (*_REQUIRED, "beta")
    if missing := [key for key in required if key not in keys]:
        raise ValueError(f"trainer lacks {', '.join(missing)}; it changes the result, state it")
    if ("num_train_epochs" in keys) == ("max_steps" in keys):
        raise ValueError("trainer needs one of num_train_epochs and max_steps; state exactly one")
    if method == "dpo":
        _check_losses(keys.get("loss_type", ["sigmoid"]), keys.get("loss_weights"))
    if method == "grpo" and {"generation_batch_size", "steps_per_generation"} <= keys.keys():
        raise ValueError(
            "trainer: generation_batch_size and steps_per_generation say the same; state one"
        )


def _refuse_unknown(method: Method, keys: Mapping[str, Any]) -> None:
    allowed = sorted(KEYS[method].__annotations__)
    unknown = [key for key in keys if key not in allowed]
    if not unknown:
        return
    near = difflib.get_close_matches(str(unknown[0]), allowed, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(
        f"trainer.{unknown[0]} is no key that {method} takes{guess}: it is unknown to TRL, set by "
        f"negalign_train, or has no effect on {method}; remove it. {method} takes "
        f"{', '.join(allowed)}"
    )


def _check_losses(losses: list[str], weights: list[float] | None) -> None:
    if len(set(losses)) != len(losses):
        raise ValueError("trainer.loss_type names one loss twice; name it once, with their weight")
    if weights is None:
        return
    if len(weights) != len(losses):
        raise ValueError(
            f"trainer.loss_weights needs one weight per loss_type: {len(losses)} losses, "
            f"{len(weights)} weights"
        )
    if not any(weights):
        raise ValueError("trainer.loss_weights are all 0, and nothing would be learned")
