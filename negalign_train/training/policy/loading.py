"""The policy: one base model and the adapters on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import parse_flag_from_env
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from negalign_train.recipe.candidate import CandidateRun, LoraSettings, Quantisation
from negalign_train.storage.fingerprint import base_digest
from negalign_train.storage.workspace import MANIFEST, read_json
from negalign_train.training.distributed.shards import base_is_sharded
from negalign_train.training.forward.head import add_completion_head
from negalign_train.training.forward.lora_forward import add_updates_in_place
from negalign_train.training.settings.combinations import refuse_special_lora
from negalign_train.vocabulary.errors import TrainingError

POLICY_ADAPTER = "default"
"""The trainable adapter's name; TRL 1.16.0 knows no other (trainer/dpo_trainer.py:674)."""


def load_base(
    model_dir: Path,
    dtype: str,
    quantisation: Quantisation = "none",
    device_map: str | None = None,
) -> PreTrainedModel:
    """The base model, from local safetensors, without code from the folder.

    ``nf4`` holds linear layers in 4 bits with doubly quantised scales, and computes in ``dtype``
    (QLoRA, arXiv 2305.14314, Sec. 3).

    Raises:
        TrainingError: the folder is missing.
    """
    if not model_dir.is_dir():
        raise TrainingError(f"base model folder {model_dir} does not exist; check model_dir")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=getattr(torch, dtype),
        device_map=device_map,
        quantization_config=_four_bits(dtype) if quantisation == "nf4" else None,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    for module in model.modules():
        # On CPUs with AVX512-BF16, bitsandbytes 0.50.2 repacks a layer for inference at its first
        # forward in evaluation mode (nn/modules.py:613), and from then on it passes no gradient to
        # the layers below, in training too. The reference is scored in that mode.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  # mypy: no Tensor
    return model


def _four_bits(dtype: str) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The base model's tokenizer; its pad token is the end-of-sequence token where it has none.

    Raises:
        TrainingError: it has no chat template, no end-of-sequence token, or no character offsets.
    """
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
        model_dir, local_files_only=True, trust_remote_code=False
    )
    if not tokenizer.chat_template or tokenizer.eos_token is None or not tokenizer.is_fast:
        raise TrainingError(
            f"the tokenizer in {model_dir} needs a chat template, an eos_token and a fast "
            "implementation (tokenizer.json); add what is missing to the base model"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_for_inference(
    model_dir: Path, adapter_dir: Path | None, dtype: str = "float32", device: str | None = None
) -> PreTrainedModel | PeftModel:
    """Base plus adapter (None: the bare base) in evaluation mode, nothing trainable.

    On ``device``; without one on the GPU where there is one, on as many as the base needs.
    """
    on_gpu = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    base = load_base(model_dir, dtype, device_map=device or ("auto" if on_gpu else None))
    if adapter_dir is None:
        return base.requires_grad_(False)
    check_adapter_dir(adapter_dir)
    model = PeftModel.from_pretrained(base, str(adapter_dir), is_trainable=False)
    _check_finite(model, adapter_dir)
    return model.eval()


def load_policy(run: CandidateRun) -> PeftModel:
    """The policy of a run, with one trainable adapter named ``default`` and a completion head.

    The adapter is that of ``run.start_adapter_dir``, or without one a new LoRA (drawn from the
    global generator: seed it before).

    Raises:
        TrainingError: the base or the adapter is not what the run says it is.
    """
    if (digest := base_digest(run.model_dir)) != run.base_digest:
        raise TrainingError(
            f"{run.model_dir} has base digest {digest[:12]}, the run expects "
            f"{run.base_digest[:12]}; restore the base model, or start a new workspace for this one"
        )
    base = load_base(run.model_dir, run.dtype, run.quantisation)
    lora = run.candidate.lora
    # ZeRO-3 cannot gather parameters of two dtypes together (DeepSpeed 8072); it keeps float32
    # copies of what it trains anyway.
    autocast = not base_is_sharded()
    check_targets(base, lora)
    if (start := run.start_adapter_dir) is None:
        policy = get_peft_model(base, _lora_config(lora), autocast_adapter_dtype=autocast)
    else:
        refuse_other_base(start, run.base_digest)
        check_shape(start, lora)
        policy = PeftModel.from_pretrained(
            base,
            str(start),
            adapter_name=POLICY_ADAPTER,
            is_trainable=True,
            autocast_adapter_dtype=autocast,
        )
        _check_finite(policy, start)
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise TrainingError("the policy has no trainable parameter; check lora.target_modules")
    # PEFT looks the base up under this name, on the Hub too, whenever a checkpoint is saved.
    policy.peft_config[POLICY_ADAPTER].base_model_name_or_path = str(run.model_dir)
    add_completion_head(policy.get_base_model())
    add_updates_in_place(policy)
    return policy


@contextmanager
def adapter_kept(policy: PeftModel) -> Iterator[None]:
    """Restores the trainable adapter, value and dtype, at the end.

    TRL's trainers round an adapter on a 4-bit base to bfloat16 when they are made (trl 1.16.0,
    trainer/dpo_trainer.py:717): the policy would then not start where its reference is, and
    steps under a 256th of a weight would be lost.
    """
    kept = {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad}
    yield
    for name, value in kept.items():
        policy.get_parameter(name).data = value


def refuse_other_base(adapter_dir: Path, digest: str) -> None:
    """Refuses a folder that holds no adapter, or whose manifest names another base."""
    check_adapter_dir(adapter_dir)
    manifest_path = adapter_dir / MANIFEST
    if manifest_path.is_file() and (
        (trained_on := read_json(manifest_path)["adapter"]["base_digest"]) != digest
    ):
        raise TrainingError(
            f"adapter {adapter_dir} was trained on base {trained_on[:12]}, this run's base is "
            f"{digest[:12]}; choose a parent of the same base, or set start: fresh"
        )


def check_adapter_dir(adapter_dir: Path) -> None:
    """Refuses a folder that is no adapter saved as safetensors."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter_dir / name).is_file():
            raise TrainingError(
                f"{adapter_dir} holds no {name}; give an adapter folder saved as safetensors"
            )


def _lora_config(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        target_modules=list(lora.target_modules),
        lora_dropout=0.0,
        bias="none",
    )


def check_targets(base: PreTrainedModel, lora: LoraSettings) -> None:
    """PEFT passes over target modules that do not exist, if one of them does."""
    present = {name.rsplit(".", 1)[-1] for name, _ in base.named_modules()}
    if missing := sorted(set(lora.target_modules) - present):
        raise TrainingError(
            f"lora.target_modules {missing} do not exist in {type(base).__name__}; name linear "
            "layers of this architecture"
        )


def check_shape(adapter_dir: Path, lora: LoraSettings) -> None:
    """Refuses an adapter whose rank, scale or layers are not those of ``lora``."""
    config = PeftConfig.from_pretrained(str(adapter_dir))
    if not isinstance(config, LoraConfig):
        raise TrainingError(f"adapter {adapter_dir} is {config.peft_type}, expected LORA")
    refuse_special_lora(str(adapter_dir), config)
    targets = config.target_modules
    named = {targets} if isinstance(targets, str) else set(targets or ())
    shape = (config.r, config.lora_alpha, named)
    expected = (lora.r, lora.lora_alpha, set(lora.target_modules))
    if shape != expected:
        raise TrainingError(
            f"adapter {adapter_dir} has r={shape[0]}, lora_alpha={shape[1]}, target_modules="
            f"{sorted(shape[2])}; the candidate's lora section says r={expected[0]}, lora_alpha="
            f"{expected[1]}, target_modules={sorted(expected[2])}; copy the parent's shape, or set "
            "start: fresh"
        )


def _check_finite(policy: PeftModel, adapter_dir: Path) -> None:
    """PEFT loads NaN weights without an error."""
    if name := first_non_finite(policy):
        raise TrainingError(f"adapter {adapter_dir}: tensor {name} is not finite; restore the file")


def first_non_finite(policy: PeftModel) -> str | None:
    """The name of the first adapter tensor that holds NaN or infinity, else None."""
    adapter = ((name, value) for name, value in policy.named_parameters() if "lora_" in name)
    return next((name for name, value in adapter if not torch.isfinite(value).all()), None)
