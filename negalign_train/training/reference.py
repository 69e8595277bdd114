"""The reference policy: whichever it is, its log-probabilities are computed once, before training.

So one base model is enough for every reference, nothing of the reference stays in memory, and a
resumed run has the reference of the original one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from peft import PeftModel

from negalign_train.errors import TrainingError
from negalign_train.recipe import CandidateRun
from negalign_train.training.batches import (
    PairRow,
    TokenSequence,
    UnpairedRow,
    chosen_sequence,
    pad_sequences,
    rejected_sequence,
    unpaired_sequence,
)
from negalign_train.training.losses import weighted_logps
from negalign_train.training.policy import POLICY_ADAPTER, check_adapter
from negalign_train.training.shards import even_share

_REFERENCE_ADAPTER = "reference"


def reference_dir(run: CandidateRun) -> Path | None:
    """The adapter that is the reference, None for the bare base.

    Raises:
        TrainingError: ``reference: approved`` without ``approved_adapter_dir``.
    """
    if run.candidate.reference == "base":
        return None
    if run.candidate.reference == "previous":
        return run.parent_adapter_dir
    if run.approved_adapter_dir is None:
        raise TrainingError(
            f"candidate {run.candidate.name}: reference approved needs approved_adapter_dir; "
            "approve an adapter first, or use reference: previous"
        )
    return run.approved_adapter_dir


@contextmanager
def as_reference(policy: PeftModel, run: CandidateRun) -> Iterator[None]:
    """Inside, ``policy`` computes as the run's reference; after, as before.

    Raises:
        TrainingError: the reference adapter is missing, or is of another base.
    """
    adapter_dir = reference_dir(run)
    if adapter_dir is None:
        with policy.disable_adapter():
            yield
        return
    check_adapter(adapter_dir, run.base_digest)
    policy.load_adapter(str(adapter_dir), adapter_name=_REFERENCE_ADAPTER, is_trainable=False)
    policy.set_adapter(_REFERENCE_ADAPTER)
    try:
        yield
    finally:
        policy.set_adapter(POLICY_ADAPTER)
        policy.delete_adapter(_REFERENCE_ADAPTER)


def sequence_logps(
    policy: PeftModel, sequences: Sequence[TokenSequence], batch_size: int, pad_token_id: int
) -> list[float]:
    """Token-weighted log-probability of each completion, in nats, in order.

    Processes share the work; batches are cut from the sequences sorted by length.
    """
    state = PartialState()
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    found: list[tuple[int, float]] = []
    device = next(policy.parameters()).device
    was_training = policy.training
    policy.eval()
    with torch.no_grad(), _autocast(policy):
        for batch in even_share(batches, state.process_index, state.num_processes):
            padded = pad_sequences([sequences[index] for index in batch], pad_token_id)
            tensors = {name: value.to(device) for name, value in padded.items()}
            token_weights = tensors.pop("token_weights")
            logps = weighted_logps(policy(**tensors), token_weights)
            found += zip(batch, logps.tolist(), strict=True)
    policy.train(was_training)
    gathered = dict(gather_object(found))
    return [gathered[index] for index in range(len(sequences))]


def _autocast(policy: PeftModel) -> torch.autocast:
    """The mixed precision that Trainer trains in, so that policy and reference round alike."""
    dtype = policy.get_base_model().dtype
    mixed = dtype in (torch.bfloat16, torch.float16)
    device_type = next(policy.parameters()).device.type
    return torch.autocast(device_type, dtype if mixed else torch.bfloat16, enabled=mixed)


def _distinct_logps(
    policy: PeftModel, sequences: Sequence[TokenSequence], batch_size: int, pad_token_id: int
) -> list[float]:
    """As :func:`sequence_logps`, each distinct sequence once (edits share completions)."""
    keys = [
        (tuple(each.prompt_ids), tuple(each.completion_ids), tuple(each.token_weights))
        for each in sequences
    ]
    distinct = dict(zip(keys, sequences, strict=True))
    logps = sequence_logps(policy, list(distinct.values()), batch_size, pad_token_id)
    by_key = dict(zip(distinct, logps, strict=True))
    return [by_key[key] for key in keys]


def add_pair_reference(
    policy: PeftModel, rows: list[PairRow], run: CandidateRun, batch_size: int, pad_token_id: int
) -> None:
    """Fills ``ref_chosen_logps`` and ``ref_rejected_logps`` of every row, in place."""
    sequences = [chosen_sequence(row) for row in rows] + [rejected_sequence(row) for row in rows]
    with as_reference(policy, run):
        logps = _distinct_logps(policy, sequences, batch_size, pad_token_id)
    for row, chosen, rejected in zip(rows, logps[: len(rows)], logps[len(rows) :], strict=True):
        row["ref_chosen_logps"] = chosen
        row["ref_rejected_logps"] = rejected


def mismatched_sequence(row: UnpairedRow) -> TokenSequence:
    """The row's prompt with another row's completion: what KTO's z0 is estimated from."""
    return TokenSequence(row["prompt_ids"], row["KL_completion_ids"], row["KL_token_weights"])


def add_unpaired_reference(
    policy: PeftModel,
    rows: list[UnpairedRow],
    run: CandidateRun,
    batch_size: int,
    pad_token_id: int,
) -> None:
    """Fills ``ref_logps`` of every row, ``ref_KL_logps`` of those with a mismatched completion."""
    mismatched = [row for row in rows if "KL_completion_ids" in row]
    sequences = [unpaired_sequence(row) for row in rows]
    sequences += [mismatched_sequence(row) for row in mismatched]
    with as_reference(policy, run):
        logps = _distinct_logps(policy, sequences, batch_size, pad_token_id)
    for row, value in zip(rows, logps[: len(rows)], strict=True):
        row["ref_logps"] = value
    for row, value in zip(mismatched, logps[len(rows) :], strict=True):
        row["ref_KL_logps"] = value
