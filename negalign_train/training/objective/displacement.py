"""Stops a run whose chosen completions become too unlikely.

A preference loss sees a margin only: it can fall by pushing the rejected completion down and the
chosen one with it (likelihood displacement, Razin et al. 2024, arXiv 2410.08847), which is worst
where the two are alike, as an edit and its draft are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.training.objective.step_metrics import CHOSEN_DRIFT
from negalign_train.vocabulary.errors import TrainingError


def smoothed_drift(history: Sequence[Mapping[str, Any]], window: int, step: int) -> float | None:
    """Mean of the chosen completions' log-ratio per token over the last ``window`` steps, in nats;
    None before the first ``window`` steps are over, or where none was logged in them.

    ``history`` is Trainer's: each entry holds means since the entry before it.
    """
    if step < window:
        return None
    total, covered, before = 0.0, 0, 0
    for entry in history:
        if CHOSEN_DRIFT not in entry:
            continue
        steps = entry["step"] - max(before, step - window)
        before = entry["step"]
        if steps > 0:
            total += steps * entry[CHOSEN_DRIFT]
            covered += steps
    return total / covered if covered else None


class DisplacementGuard(TrainerCallback):
    """Decides at every log; its memory is Trainer's log history, so a resumed run decides alike.

    Raises:
        TrainingError: the smoothed drift is under ``-max_drop``; nothing is written.
    """

    def __init__(self, candidate: CandidateSettings) -> None:
        assert candidate.displacement.max_drop is not None
        self.candidate = candidate
        self.max_drop = candidate.displacement.max_drop
        self.window = candidate.displacement.window

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        drift = smoothed_drift(state.log_history, self.window, state.global_step)
        if drift is not None and drift < -self.max_drop:
            raise TrainingError(
                f"candidate {self.candidate.name}: at step {state.global_step} chosen completions "
                f"are {-drift:.2f} nats per token less likely than under the reference (mean of "
                f"{self.window} steps; displacement.max_drop is {self.max_drop}), no adapter was "
                f"written; {_way_out(self.candidate)}"
            )


def _way_out(candidate: CandidateSettings) -> str:
    """The counter-term to raise, with what it is now."""
    if candidate.method == "kto":
        now = candidate.trainer.get("desirable_weight", 1.0)
        return f"raise trainer.desirable_weight (now {now}), or lower trainer.learning_rate"
    penalty = candidate.objective.dpop_lambda
    types = list(candidate.trainer.get("loss_type", ["sigmoid"]))
    weights = candidate.trainer.get("loss_weights") or [1.0] * len(types)
    sft = dict(zip(types, weights, strict=True)).get("sft", "none")
    return (
        f"raise the counter-term: the weight of sft in trainer.loss_type (now {sft}) or "
        f"objective.dpop_lambda (now {penalty or 'none'}), or lower trainer.learning_rate"
    )
