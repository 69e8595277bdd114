"""What a run leaves behind: the adapter's two files, its metrics and log, and a marker last."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.workspace import read_json, replacing, write_json
from negalign_train.training.distributed.shards import whole_adapter
from negalign_train.training.policy.judge_setup import open_reward_judge
from negalign_train.training.policy.loading import POLICY_ADAPTER, check_adapter_dir
from negalign_train.training.reference.logps import reference_dir
from negalign_train.training.running.checkpoints import MARKER, is_complete, mark_complete
from negalign_train.vocabulary.errors import TrainingError

ADAPTER_DIR = "adapter"
LOG = "log.jsonl"
METRICS = "metrics.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def examples_path(run: CandidateRun) -> Path:
    """The file of examples that a run's method reads."""
    if run.candidate.method == "kto":
        return run.unpaired_path
    return run.prompts_path if run.candidate.method == "grpo" else run.pairs_path


def run_facts(run: CandidateRun) -> dict[str, Any]:
    """Everything that decides a run's result: settings, seed, base, data, adapters and, for GRPO,
    the reward. Each by content and none by path, so that a workspace may move.

    Raises:
        TrainingError: data or an adapter is missing.
    """
    parent, reference, earlier = run.parent_adapter_dir, reference_dir(run), run.earlier_adapter_dir
    for adapter_dir in filter(None, (parent, reference, earlier)):
        check_adapter_dir(adapter_dir)
    if not examples_path(run).is_file():
        raise TrainingError(f"{examples_path(run)} is missing; build the preferences first")
    return {
        # The reward's judge counts by its version below, wherever its files lie.
        "candidate": run.candidate.model_dump(mode="json", exclude={"reward": {"judge"}}),
        "base_digest": run.base_digest,
        "base_name": run.base_name,
        "dtype": run.dtype,
        "quantisation": run.quantisation,
        "max_new_tokens": run.max_new_tokens,
        "seed": run.seed,
        "num_processes": run.num_processes,
        "data": file_sha256(examples_path(run)),
        "parent": parent and _adapter_digests(parent),
        "reference": reference and _adapter_digests(reference),
        "earlier": earlier and _adapter_digests(earlier),
        "reward": _reward_facts(run),
    }


def run_identity(run: CandidateRun) -> str:
    """Fingerprint of ``run_facts``: a run whose identity differs is another run.

    Raises:
        TrainingError: data or an adapter is missing.
    """
    return fingerprint(run_facts(run))


def _adapter_digests(folder: Path) -> list[str]:
    return [file_sha256(folder / name) for name in (CONFIG, WEIGHTS)]


def _reward_facts(run: CandidateRun) -> dict[str, str | None] | None:
    """The judge and calibration behind GRPO's reward; None where a run has no reward."""
    if run.candidate.method != "grpo":
        return None
    calibration, judge = run.calibration_path, open_reward_judge(run)
    return {
        "judge": judge.name,
        "version": judge.version,
        "calibration": None if calibration is None else file_sha256(calibration),
    }


def is_finished(output_dir: Path, identity: str) -> bool:
    """True if ``output_dir`` holds the whole result of this run.

    Raises:
        TrainingError: it holds the result of another run.
    """
    if not is_complete(output_dir):
        return False
    if (present := read_json(output_dir / MARKER)["identity"]) != identity:
        raise TrainingError(
            f"{output_dir} holds the result of another run ({present[:12]}, this one is "
            f"{identity[:12]}); give a new output_dir, or delete the folder"
        )
    return True


def save_adapter(
    policy: PeftModel, folder: Path, base_name: str, base_revision: str | None = None
) -> None:
    """Writes ``adapter_config.json`` and ``adapter_model.safetensors`` of the policy adapter alone.

    PEFT's own ``save_pretrained`` adds a README, every other adapter, the machine's path to the
    base, and target modules in an order that differs from process to process. All processes call
    this together, since the weights may lie in pieces; the main one writes.

    Raises:
        TrainingError: a tensor is not finite; nothing is written.
    """
    weights = whole_adapter(policy, POLICY_ADAPTER)
    if name := next((n for n, value in weights.items() if not value.isfinite().all()), None):
        raise TrainingError(
            f"tensor {name} is not finite after training, no adapter was written; lower "
            "trainer.learning_rate"
        )
    if not PartialState().is_main_process:
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = policy.peft_config[POLICY_ADAPTER].to_dict()
    config["base_model_name_or_path"] = base_name
    config["revision"] = base_revision
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / CONFIG, _plain(config))
    tensors = get_peft_model_state_dict(
        policy, dict(weights), adapter_name=POLICY_ADAPTER, save_embedding_layers=False
    )
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values: PEFT's config holds enums and sets."""
    sets = (set, frozenset)
    return {
        key: sorted(value) if isinstance(value, sets) else getattr(value, "value", value)
        for key, value in config.items()
    }


def write_results(output_dir: Path, metrics: Mapping[str, Any], identity: str) -> None:
    """Writes ``metrics.json``, then the marker that makes the result exist."""
    write_json(output_dir / METRICS, dict(metrics))
    files = [
        output_dir / ADAPTER_DIR / CONFIG,
        output_dir / ADAPTER_DIR / WEIGHTS,
        output_dir / METRICS,
        output_dir / LOG,
    ]
    mark_complete(output_dir, files, schema="negalign.run/1", identity=identity)


class JsonLog(TrainerCallback):
    """Appends what Trainer logs to ``log.jsonl``, and stops a run whose loss is not finite.

    Raises:
        TrainingError: loss or gradient norm is NaN or infinite; Trainer itself would go on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(entry, sort_keys=True) for entry in state.log_history)
            self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        entry = state.log_history[-1]
        for name in ("loss", "grad_norm"):
            if not math.isfinite(value := entry.get(name, 0.0)):
                raise TrainingError(
                    f"{name} is {value} at step {state.global_step}, no adapter was written; "
                    "lower trainer.learning_rate, or check the weights of the examples"
                )
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry, sort_keys=True, allow_nan=False) + "\n")
