"""A random two-layer Llama with a byte tokenizer, and the files of a run on it. Offline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.recipe.candidate import CandidateRun
from negalign_train.storage.fingerprint import base_digest
from negalign_train.training.policy.loading import load_policy
from negalign_train.training.run import main
from negalign_train.training.running.outputs import save_adapter
from negalign_train.vocabulary.records import (
    PreferencePair,
    PromptExample,
    UnpairedExample,
    WeightedSpan,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|eos|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]
TRAINER = {
    "learning_rate": 1.0e-2,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
}
LORA = {"r": 4, "lora_alpha": 8}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, special tokens first; offsets and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(_SPECIAL + alphabet)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_SPECIAL)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def write_tiny_model(model_dir: Path, seed: int = 0) -> None:
    """A base model folder, as ``save_pretrained`` leaves it."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(model_dir)
    tokenizer.save_pretrained(model_dir)


def make_pairs(count: int = 8, weight: float = 1.0) -> list[PreferencePair]:
    """Distinct cases: the edit turns a side around and leaves the rest standing."""
    pairs = []
    for index in range(count):
        chosen = f"Effusion {index} on the right. Heart normal."
        rejected = f"Effusion {index} on the left. Heart normal."
        at = chosen.index("right")
        pairs.append(
            PreferencePair(
                pair_id=f"p{index}",
                case_id=f"c{index}",
                group=f"g{index}",
                origin_cycle=1,
                prompt=f"Report {index}: cough" + "." * (index % 4),
                chosen=chosen,
                rejected=rejected,
                delta_S=0.5,
                weight=weight,
                chosen_spans=(WeightedSpan(at, at + len("right"), 5.0),),
                rejected_spans=(WeightedSpan(at, at + len("left"), 5.0),),
            )
        )
    return pairs


def make_unpaired(pairs: list[PreferencePair]) -> list[UnpairedExample]:
    """Both sides of each pair as rows of their own."""
    examples = []
    for pair in pairs:
        for label, text, spans in (
            (True, pair.chosen, pair.chosen_spans),
            (False, pair.rejected, pair.rejected_spans),
        ):
            examples.append(
                UnpairedExample(
                    f"{pair.pair_id}-{label}",
                    pair.case_id,
                    pair.group,
                    pair.origin_cycle,
                    pair.prompt,
                    text,
                    label,
                    pair.weight,
                    spans,
                )
            )
    return examples


def write_run(folder: Path, model_dir: Path, **overrides: Any) -> CandidateRun:
    """A run on the tiny model with eight pairs; ``overrides`` replace keys of the run, and those of
    its ``candidate`` and ``trainer`` sections under these names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = overrides.pop("pairs", make_pairs())
    write_pairs(folder / "pairs.parquet", pairs)
    write_unpaired(folder / "unpaired.parquet", make_unpaired(pairs))
    prompts = [PromptExample(p.case_id, p.group, 1, p.prompt, p.chosen) for p in pairs]
    write_prompts(folder / "prompts.parquet", prompts)
    candidate: dict[str, Any] = {"name": "test", "method": "dpo", "lora": LORA}
    candidate |= overrides.pop("candidate", {})
    trainer = TRAINER | ({} if candidate["method"] == "sft" else {"beta": 0.1})
    trainer |= overrides.pop("trainer", {})
    keys: dict[str, Any] = {
        "schema": "negalign.candidate/1",
        "candidate": candidate | {"trainer": {k: v for k, v in trainer.items() if v is not None}},
        "model_dir": model_dir,
        "base_digest": base_digest(model_dir),
        "base_name": "tests/tiny",
        "dtype": "float32",
        "max_new_tokens": 12,
        "parent_adapter_dir": None,
        "pairs_path": folder / "pairs.parquet",
        "unpaired_path": folder / "unpaired.parquet",
        "prompts_path": folder / "prompts.parquet",
        "output_dir": folder / "out",
        "seed": 7,
    }
    return CandidateRun.model_validate(keys | overrides)


def perturb(policy: Any, seed: int, scale: float = 0.05) -> None:
    """Adds seeded noise to the trainable adapter, so that policy and reference differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if ".default." in name:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((scale * noise).to(parameter.dtype))


def write_parent(folder: Path, model_dir: Path, seed: int = 3) -> Path:
    """A random adapter of the run's shape, as a run writes it."""
    torch.manual_seed(seed)
    policy = load_policy(write_run(folder / "scratch", model_dir))
    perturb(policy, seed)
    save_adapter(policy, folder / "adapter", "tests/tiny")
    return folder / "adapter"


def adapter_gradients(model: Any) -> dict[str, torch.Tensor]:
    """Gradients of the trainable adapter by parameter name."""
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


@contextmanager
def python_floats_as_float64() -> Iterator[None]:
    """TRL's collators make float32 tensors of precomputed reference log-probabilities."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def compute_llama_exactly(monkeypatch: Any) -> None:
    """Llama's norm and rotary angles in the model's own dtype. Transformers computes both in
    float32 even in a float64 model, so that a last digit lost elsewhere comes out 1e-8 large.
    """

    def angles(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[Any, Any]:
        angles = position_ids[:, :, None].double() * self.inv_freq.double()
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def norm(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        variance = hidden.pow(2).mean(-1, keepdim=True)
        normed: torch.Tensor = self.weight * hidden * torch.rsqrt(variance + self.variance_epsilon)
        return normed

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", angles)
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)


class ExactLogProbs:
    """Stands in for TRL's chunked kernel, which computes in float32 whatever it is given."""

    @staticmethod
    def apply(hidden: Any, weight: Any, bias: Any, targets: Any, *_: Any) -> tuple[Any, ...]:
        logps = (hidden @ weight.T).log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        zeros = torch.zeros_like(logps).detach()
        return logps, zeros, zeros, zeros, zeros.bool()


def relative_difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    return float((left - right).abs().max() / right.abs().max().clamp(min=1e-30))


def launch(run: CandidateRun) -> int:
    """Trains a run in this process, as `accelerate launch` would start it; its exit code."""
    config = run.output_dir.parent / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    return main(["--config", str(config)])
