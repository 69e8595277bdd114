"""The numbers of a new recipe: what fits a base model, this machine, and a log where there is one.

Memory is the arithmetic of ``estimate.py``. Learning rates are starting points: those of a small
model are measured (docs/experiments.md), those of a pretrained one are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from negalign_train.recipe.candidate import LoraSettings, Method, Quantisation
from negalign_train.recipe.estimate import BYTES, Training, memory
from negalign_train.recipe.tailored.base_files import BaseFiles
from negalign_train.recipe.tailored.machine import Machine
from negalign_train.vocabulary.errors import RecipeError

SMALL = 50_000_000
"""Parameters below which a model was trained from scratch on reports, as the embedded one is."""
GENERATIONS = 8
_GB = 1e9
_GPU_SHARE, _CPU_SHARE = 0.9, 0.5
"""Of the memory: the allocator wastes a tenth, and a CPU's memory is not the training's alone."""
_STEP_EXAMPLES, _SMALL_STEP_EXAMPLES, _ROLLOUTS = 16, 8, 64
_EVALUATION_BATCHES = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class LogFacts:
    """What a log says of the lengths (tokens, the longest) and of how much can be held out.

    ``approved_cases`` are those with a text that a reader approved of: the gate takes no others.
    """

    events: int
    approved_cases: int
    prompt: int
    completion: int


@dataclass(frozen=True)
class RecipePlan:
    """Every number that depends on model, machine and log."""

    model: BaseFiles
    machine: Machine
    methods: tuple[Method, ...]
    log: LogFacts | None
    dtype: str
    quantisation: Quantisation
    checkpointing: bool
    examples: int
    max_length: int
    max_new_tokens: int
    evaluation_batch: int
    held_out_fraction: float
    min_cases: int

    @property
    def small(self) -> bool:
        return self.model.architecture.parameters < SMALL

    @property
    def processes(self) -> int:
        return max(1, self.machine.num_gpus)

    def accumulation(self, method: Method) -> int:
        """Micro-batches of a step. GRPO's completions of a step must be whole groups."""
        wanted = _SMALL_STEP_EXAMPLES if self.small else _STEP_EXAMPLES
        at_once = self.examples * self.processes
        if method != "grpo":
            return max(1, round(wanted / at_once))
        steps = max(1, _ROLLOUTS // at_once)
        while steps * at_once % GENERATIONS:
            steps += 1
        return steps


def plan_recipe(
    model: BaseFiles, machine: Machine, methods: tuple[Method, ...], log: LogFacts | None
) -> RecipePlan:
    """The numbers for ``model`` on ``machine``.

    Raises:
        RecipeError: the base does not fit, or the log's reports do not fit its context.
    """
    small = model.architecture.parameters < SMALL
    dtype = "bfloat16" if machine.bfloat16 and not small else "float32"
    max_length, max_new_tokens = _lengths(model, log, small)
    quantisation, checkpointing, examples = _fitting(model, machine, methods, dtype, max_length)
    held_out_fraction, min_cases = _held_out(log)
    return RecipePlan(
        model, machine, methods, log, dtype, quantisation, checkpointing, examples, max_length,
        max_new_tokens, _evaluation_batch(model, machine, dtype, max_length), held_out_fraction,
        min_cases,
    )  # fmt: skip


def _lengths(model: BaseFiles, log: LogFacts | None, small: bool) -> tuple[int, int]:
    """Tokens of a prompt with its report, and of a report, at most."""
    if log is None:
        new_tokens = min(160 if small else 256, model.context // 2)
        return min(1024, model.context), new_tokens
    longest = log.prompt + log.completion
    if longest > model.context:
        raise RecipeError(
            f"the log's longest prompt and report have {longest} tokens together, the context of "
            f"{model.name} is {model.context}; take a model with a longer one"
        )
    # More than was seen, and the chat template's own tokens.
    new_tokens = min(model.context - log.prompt, _round_up(1.25 * log.completion, 32))
    return min(model.context, _round_up(1.1 * log.prompt + new_tokens + 32, 64)), new_tokens


def _round_up(value: float, to: int) -> int:
    return to * -int(-value // to)


def _options(
    machine: Machine, methods: tuple[Method, ...]
) -> Iterator[tuple[Quantisation, bool, int]]:
    """Quantisation, gradient checkpointing and examples at once, the fastest first."""
    kinds: tuple[Quantisation, ...] = ("none", "nf4") if machine.num_gpus else ("none",)
    for quantisation in kinds:
        # KTO pairs each row with another one's completion.
        for checkpointing, least in ((False, 2), (True, 2 if "kto" in methods else 1)):
            for examples in (8, 4, 2, 1):
                if examples >= least:
                    yield quantisation, checkpointing, examples


def budget_gb(machine: Machine) -> float:
    return machine.memory_gb * (_GPU_SHARE if machine.num_gpus else _CPU_SHARE)


def _fitting(
    model: BaseFiles, machine: Machine, methods: tuple[Method, ...], dtype: str, max_length: int
) -> tuple[Quantisation, bool, int]:
    whole = BYTES[dtype] * model.architecture.parameters / _GB
    if whole > budget_gb(machine):
        raise _too_large(model, machine, f"{whole:.1f} GB in {dtype}, as the gate reads it")
    needed = 0.0
    lora = LoraSettings(target_modules=model.linear_maps)
    for quantisation, checkpointing, examples in _options(machine, methods):
        # A pair is two sequences; padding to the longest is the worst that a batch can be.
        tokens = 2 * examples * max_length
        training = Training(dtype, quantisation, lora, tokens, checkpointing=checkpointing)
        needed = memory(model.architecture, training).total / _GB
        if needed <= budget_gb(machine):
            return quantisation, checkpointing, examples
    raise _too_large(model, machine, f"at least {needed:.1f} GB to train")


def _too_large(model: BaseFiles, machine: Machine, need: str) -> RecipeError:
    where = "GPU" if machine.num_gpus else "CPU"
    return RecipeError(
        f"{model.name} ({model.architecture.parameters / 1e9:.3g} B parameters) needs {need}; of "
        f"this {where}'s {machine.memory_gb:.0f} GB a recipe may use {budget_gb(machine):.1f}: "
        "name a larger GPU with --gpu-memory, or share the base over several "
        "(recipes/70b-zero3/cycle.yaml)"
    )


def _evaluation_batch(model: BaseFiles, machine: Machine, dtype: str, max_length: int) -> int:
    """Reports generated at once: their keys and values beside the whole base."""
    shape = model.architecture
    each = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * BYTES[dtype] * max_length
    free = budget_gb(machine) * _GB - BYTES[dtype] * shape.parameters
    return next((size for size in _EVALUATION_BATCHES if size * each * 2 <= free), 1)


def _held_out(log: LogFacts | None) -> tuple[float, int]:
    """Share of the log's cases for the gate, and how many it must have to decide."""
    if log is None:
        return 0.25, 100
    fraction = min(0.3, max(0.1, round(120 / max(1, log.approved_cases), 2)))
    held = fraction * log.approved_cases
    # Which cases are held out is drawn by a hash: two standard deviations fewer may come out.
    return fraction, max(20, min(100, int(held - 2 * held**0.5)))
