"""Settings that are each legal and do not go together: refused before anything is loaded.

Every rule was met, here or upstream, as a crash in the middle of a run, or as one that trains
something else in silence. A message says which settings clash, why, and the way out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from peft import LoraConfig, PeftModel
from transformers import TrainingArguments

from negalign_train.recipe.candidate import CandidateRun, Method
from negalign_train.vocabulary.errors import RecipeError, TrainingError


@dataclass(frozen=True)
class Setup:
    """Settings of a run that can clash. ``use_reentrant`` is None where the recipe is silent."""

    method: Method
    quantisation: str
    zero_stage: int
    target_modules: tuple[str, ...]
    checkpointing: bool = False
    use_reentrant: bool | None = None
    use_vllm: bool = False


@dataclass(frozen=True)
class Rule:
    """A clash, and its message."""

    clashes: Callable[[Setup], bool]
    message: str


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


RULES = (
    Rule(
        lambda setup: setup.quantisation != "none" and setup.zero_stage == 3,
        "model.quantisation nf4 does not go with ZeRO-3, which cannot take 4-bit weights apart "
        "(DeepSpeed 4295): launch with multi_gpu.yaml or zero2.yaml, or set quantisation: none",
    ),
    Rule(
        lambda setup: setup.quantisation != "none" and not _installed("bitsandbytes"),
        "model.quantisation nf4 needs bitsandbytes: pip install 'negalign-train[qlora]', or set "
        "quantisation: none",
    ),
    Rule(
        lambda setup: (
            setup.zero_stage == 3 and setup.checkpointing and setup.use_reentrant is False
        ),
        "trainer.gradient_checkpointing_kwargs use_reentrant: false does not go with ZeRO-3 and "
        "LoRA, where the recomputed weights are in pieces (DeepSpeed 4332): set use_reentrant: "
        "true, or gradient_checkpointing: false",
    ),
    Rule(
        lambda setup: not {"lm_head", "embed_tokens"}.isdisjoint(setup.target_modules),
        "lora.target_modules may not hold lm_head or embed_tokens: the loss reads the head's own "
        "weights, and vLLM loads neither; take them out",
    ),
    Rule(
        lambda setup: setup.use_vllm and not _installed("vllm"),
        "trainer.use_vllm needs vLLM (TRL 1.16 takes 0.22 to 0.31): pip install vllm, or set "
        "use_vllm: false to generate with transformers",
    ),
    Rule(
        lambda setup: setup.use_vllm and setup.quantisation != "none",
        "trainer.use_vllm does not go with model.quantisation nf4: TRL merges the adapter into the "
        "4-bit base at every step, which rounds it away (TRL 5975): set use_vllm: false, or "
        "quantisation: none",
    ),
)  # fmt: skip


def setup_of(run: CandidateRun, config: TrainingArguments, zero_stage: int) -> Setup:
    """What a run's recipe, trainer config and launch come to."""
    kwargs = config.gradient_checkpointing_kwargs
    return Setup(
        method=run.candidate.method,
        quantisation=run.quantisation,
        zero_stage=zero_stage,
        target_modules=run.candidate.lora.target_modules,
        checkpointing=bool(config.gradient_checkpointing),
        use_reentrant=kwargs.get("use_reentrant") if isinstance(kwargs, dict) else None,
        use_vllm=bool(getattr(config, "use_vllm", False)),
    )


def launched_zero_stage(config: TrainingArguments) -> int:
    """The ZeRO stage of this process; 0 without DeepSpeed."""
    plugin = config.deepspeed_plugin
    return 0 if plugin is None else int(plugin.zero_stage)


def refuse_clashes(name: str, setup: Setup) -> None:
    """Raises RecipeError with every rule that candidate ``name`` breaks."""
    if broken := [rule.message for rule in RULES if rule.clashes(setup)]:
        raise RecipeError(f"candidate {name}: {'; and '.join(broken)}")


_PLAIN = {
    "bias": "none", "use_dora": False, "use_rslora": False, "modules_to_save": None,
    "rank_pattern": {}, "alpha_pattern": {}, "lora_bias": False, "layers_to_transform": None,
    "layer_replication": None, "trainable_token_indices": None, "target_parameters": None,
}  # fmt: skip
"""What a parent's adapter_config.json must hold: the profile that every loader reads alike."""


def refuse_special_lora(adapter_dir: str, config: LoraConfig) -> None:
    """Refuses a parent that is more than plain LoRA.

    Each of these trains, and then is scaled wrongly or not loaded by vLLM or llama.cpp (their
    converters read only ``lora_alpha`` and ``r``); a DoRA magnitude is frozen by half precision
    (TRL 7268), and ``modules_to_save`` holds weights that the loss here does not read.

    Raises:
        TrainingError: naming the settings.
    """
    special = [
        name for name, plain in _PLAIN.items() if (getattr(config, name, None) or plain) != plain
    ]
    if special:
        raise TrainingError(
            f"adapter {adapter_dir} sets {', '.join(special)}, which is not plain LoRA: merge it "
            "into a base of its own, or set start: fresh"
        )


def refuse_several_adapters(policy: PeftModel) -> None:
    """Refuses a policy on which more than one adapter is active.

    TRL restores one name after each look at its reference (trl 1.16.0, trainer/utils.py:1415), so
    that the second adapter would drop out after the first step without an error.

    Raises:
        TrainingError: naming them.
    """
    active = policy.active_adapters
    if len(active) != 1:
        raise TrainingError(
            f"{len(active)} adapters are active ({', '.join(active)}), TRL trains one: merge the "
            "others into the base, or combine them with add_weighted_adapter first"
        )
