"""What ``negalign init`` writes: a planned recipe as commented YAML, and its launch file."""

from __future__ import annotations

import json
import re

from negalign_train.recipe.candidate import Method
from negalign_train.recipe.tailored.machine import Machine
from negalign_train.recipe.tailored.planning import GENERATIONS, RecipePlan

_LEARNING_RATES: dict[Method, str] = {
    "dpo": "2.0e-5", "kto": "2.0e-5", "sft": "1.0e-4", "grpo": "1.0e-5",
}  # fmt: skip


def launch_text(machine: Machine) -> str:
    """The launch file of accelerate: a CPU, one GPU, or DDP over the GPUs of one machine."""
    several = machine.num_gpus > 1
    where = "the CPU" if machine.num_gpus == 0 else f"{machine.num_gpus} GPU(s)"
    return f"""\
# Where a candidate is trained: {where} of one machine. Written by `negalign init`.
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: {"MULTI_GPU" if several else '"NO"'}
downcast_bf16: "no"
enable_cpu_affinity: false
{"gpu_ids: all" + chr(10) if several else ""}machine_rank: 0
main_training_function: main
mixed_precision: "no"   # the base's dtype decides (model.dtype of the recipe)
num_machines: 1
num_processes: {max(1, machine.num_gpus)}
rdzv_backend: static
same_network: true
use_cpu: {str(machine.num_gpus == 0).lower()}
"""


def recipe_text(plan: RecipePlan, recipe_name: str, launch_name: str) -> str:
    """The recipe; it names the launch file that lies beside it."""
    candidates = "".join(_candidate(plan, method) for method in plan.methods)
    return _aligned(f"""\
{_header(plan, recipe_name)}
schema: negalign.cycle/1
accelerate_config: {_scalar(launch_name)}   # beside this file

# Base model: a folder written by save_pretrained, a hub id that was downloaded, or `embedded`.
model:
  model_name_or_path: {_scalar(plan.model.name)}
  dtype: {plan.dtype}
  quantisation: {plan.quantisation}   # nf4: a 4-bit base while training (QLoRA)
  max_new_tokens: {plan.max_new_tokens}
  temperature: 0.0   # greedy where it is deployed, and so how it is evaluated

# Cases: none of our own; the gate takes cases of the log that are never trained on.
cases:
  source: log
  num_feedback_cases: 0
  num_evaluation_cases: 0
  equal_prompts: distinct   # same_case: the prompt holds all that the generator knows of a study

feedback:
  source: log
  min_events: 50   # a cycle with fewer new events does not start
  other_generators: warn   # events on another model's reports: refuse, warn or accept

# Severities: readers of earlier cycles re-scale the scorer's for filling and for GRPO, once that is
# shown to follow them better. The gate's scale never moves.
severity:
  calibrate: true
  min_events: 40
  min_groups: 20
  confidence: 0.99

# Preferences
preferences:
  pair_weight: uniform
  pair_weight_cap: 3.0
  changed_word_weight: 5.0
  span_severity: true
  struck_only: false
  min_delta_S: 0.0
  max_pairs_per_chosen: 20
  held_out_fraction: {plan.held_out_fraction}{_held_out_comment(plan)}
  replay_fraction: 0.25

# Keys under trainer are TRL's own.
candidates:
{candidates}
evaluation:
  batch_size: {plan.evaluation_batch}   # reports generated at once
  num_kl_cases: 64
  max_retention_cases: 40
  num_bootstrap: 4000

# Gate: declared before training; its digest stands in the gate record. Every margin must be
# shown to hold: with 400 cases a category's rise is known to about 0.02 (docs/gate.md).
gate:
  min_cases: {plan.min_cases}   # fewer scored cases than this is inconclusive
  confidence: 0.95                      # at most 5 % wrong promotions a cycle, over all candidates
  max_category_increase: 0.03           # of [0, 1]: 3 more of 100 reports with the worst such error
  max_category_increase_overall: 0.03   # the same since the first cycle: small rises add up
  severe_threshold: 0.8
  max_severe_rate_increase: 0.03        # 3 more of 100 reports with a severe error
  length_ratio: [0.8, 1.25]
  max_template_share_increase: 0.05
  min_distinct_ratio: 0.8
  max_placeholder_rate: 0.05
  max_unscored_rate: 0.02
  max_kl_to_parent: 1.0
  max_kl_to_base: 3.0
  max_reference_logps_drop: 0.5
  max_retention_increase: 0.2           # of mean S in [0, 9]: few cases are held out of a cycle
""")


def _aligned(text: str) -> str:
    """Remarks at the ends of lines start in one column."""
    return re.sub(
        r"^( *[^#\s].*?) +# ", lambda match: f"{match[1]:<40} # ", text, flags=re.MULTILINE
    )


def _scalar(text: str) -> str:
    """A text as YAML, in quotes where it could be read as something else."""
    return text if re.fullmatch(r"[A-Za-z./][\w./-]*", text) else json.dumps(text)


def _header(plan: RecipePlan, recipe_name: str) -> str:
    parameters = plan.model.architecture.parameters
    size = f"{parameters / 1e9:.3g} B" if parameters >= 1e8 else f"{parameters / 1e6:.3g} M"
    machine = plan.machine
    kind = f"{machine.num_gpus} GPU(s) of" if machine.num_gpus else "a CPU with"
    known = "set by a search on a model of this size" if plan.small else "a starting point"
    return "\n".join(
        [
            f"# Cycles of {plan.model.name} ({size} parameters) from a feedback log.",
            f"# Written by `negalign init` for {kind} {machine.memory_gb:.0f} GB.",
            "# Launch: negalign feedback import LOG.jsonl --workspace W",
            f"#         negalign cycle --config {recipe_name} --workspace W",
            f"# Batches are by the arithmetic of `negalign estimate --config {recipe_name}`; the",
            f"# learning rate is {known}. Every key: docs/recipe.md.",
        ]
    )


def _held_out_comment(plan: RecipePlan) -> str:
    if plan.log is None:
        return f"   # the gate needs min_cases of these: a log of about {plan.min_cases * 5} cases"
    held = int(plan.held_out_fraction * plan.log.approved_cases)
    return f"   # about {held} of {plan.log.approved_cases} cases with an approved text"


def _candidate(plan: RecipePlan, method: Method) -> str:
    """One entry of ``candidates``."""
    targets = ", ".join(plan.model.linear_maps)
    lines = [
        f"  - name: {method}",
        f"    method: {method}",
        "    start: parent   # the champion goes on; fresh: a new LoRA",
        "    reference: previous",
        "    lora:",
        "      r: 16   # what vLLM loads without a flag",
        "      lora_alpha: 32",
        f"      target_modules: [{targets}]",
    ]
    if method == "grpo":
        lines += [
            "    reward:",
            "      category_weights: {false_negative: 2.0}   # else saying less lowers S",
            "      length_weight: 0.5   # a report longer than the readers' costs",
            "      length_slack: 0.1",
            "      unscorable: -9.0",
        ]
    lines += ["    trainer:", *(f"      {line}" for line in _trainer(plan, method))]
    return "\n".join(lines) + "\n"


def _trainer(plan: RecipePlan, method: Method) -> list[str]:
    accumulation = plan.accumulation(method)
    step = plan.examples * plan.processes * accumulation
    rate = "1.0e-3" if plan.small else _LEARNING_RATES[method]
    why = (
        "a model this small takes 50 times the usual"
        if plan.small
        else "a starting point for a pretrained model"
    )
    lines = [
        f"learning_rate: {rate}   # {why}",
        f"per_device_train_batch_size: {plan.examples}",
        f"gradient_accumulation_steps: {accumulation}   # {step} examples a step",
        f"gradient_checkpointing: {str(plan.checkpointing).lower()}"
        + ("   # memory for time" if plan.checkpointing else ""),
        "logging_steps: 5",
        "save_steps: 50   # a run that is cut off goes on from here",
    ]
    if method == "grpo":
        return [
            "beta: 0.04   # the KL anchor; TRL's own default is none",
            f"max_steps: {20 if plan.small else 100}",
            f"num_generations: {GENERATIONS}",
            "temperature: 1.0",
            "scale_rewards: none   # the reward is already in S",
            "loss_type: dr_grpo",
            "lr_scheduler_type: constant_with_warmup",
            "warmup_steps: 5",
            *lines,
        ]
    lines += [
        f"num_train_epochs: {3 if plan.small else 2}",
        "lr_scheduler_type: cosine",
        "warmup_steps: 5" if plan.small else "warmup_steps: 0.1   # a share of all steps",
        f"max_length: {plan.max_length}   # tokens of a prompt with its report",
    ]
    if method == "dpo":
        return [
            "beta: 0.1   # Rafailov et al. 2023",
            "loss_type: [sigmoid, sft]   # the SFT term counters displacement",
            f"loss_weights: [1.0, {5.0 if plan.small else 1.0}]",
            *lines,
        ]
    if method == "kto":
        return [
            "beta: 0.1   # Ethayarajh et al. 2024",
            "loss_type: kto",
            "desirable_weight: 3.0   # with 1.0 the policy drifts to longer reports",
            "undesirable_weight: 1.0",
            *lines,
        ]
    return lines
