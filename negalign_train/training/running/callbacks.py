"""What watches a run, in the order in which it is asked."""

from __future__ import annotations

from transformers import TrainerCallback

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.objective.displacement import DisplacementGuard
from negalign_train.training.running.averaging import AdapterAverage
from negalign_train.training.running.checkpoints import CompleteMarker
from negalign_train.training.running.outputs import LOG, JsonLog


def run_callbacks(run: CandidateRun, identity: str) -> list[TrainerCallback]:
    """The log first, so that it holds the entry a guard stops at; the marker last, so that it
    covers every file of a checkpoint.
    """
    callbacks: list[TrainerCallback] = [JsonLog(run.output_dir / LOG)]
    if run.candidate.displacement.max_drop is not None:
        callbacks.append(DisplacementGuard(run.candidate))
    if run.candidate.averaging is not None:
        callbacks.append(AdapterAverage(run.candidate.averaging))
    return [*callbacks, CompleteMarker(identity)]
