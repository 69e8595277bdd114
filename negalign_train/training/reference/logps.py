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

from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.distributed.shards import even_share
from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.forward.tree_choice import Sharing
from negalign_train.training.policy.loading import POLICY_ADAPTER, refuse_other_base
from negalign_train.training.reference.cache import cached_logps, reference_cache
from negalign_train.training.rows.batches import (
    PairRow,
    TokenSequence,
    UnpairedRow,
    chosen_sequence,
    rejected_sequence,
    suffix_of,
    unpaired_sequence,
)
from negalign_train.training.rows.steps import MicroBatchLimits, Unit, micro_batches
from negalign_train.vocabulary.errors import TrainingError

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
    refuse_other_base(adapter_dir, run.base_digest)
    policy.load_adapter(str(adapter_dir), adapter_name=_REFERENCE_ADAPTER, is_trainable=False)
    policy.set_adapter(_REFERENCE_ADAPTER)
    try:
        yield
    finally:
        policy.set_adapter(POLICY_ADAPTER)
        policy.delete_adapter(_REFERENCE_ADAPTER)


def sequence_logps(
    policy: PeftModel,
    sequences: Sequence[TokenSequence],
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None = None,
    tick: Tick = no_tick,
) -> list[float]:
    """Token-weighted log-probability of each completion, in nats, in order.

    Sequences of one prompt are one row where ``sharing`` is by trees (its default). Processes share
    the work; batches are cut from the rows sorted by length.
    """
    trees = (sharing or Sharing()).trees
    state = PartialState()
    batches = micro_batches(_units(sequences, batch_size, trees), MicroBatchLimits(batch_size))
    scored: list[tuple[int, float]] = []
    device = next(policy.parameters()).device
    was_training = policy.training
    policy.eval()
    shares = list(even_share(batches, state.process_index, state.num_processes))
    total = sum(map(len, shares))
    tick(0, total)
    with torch.no_grad(), _autocast(policy):
        for members in shares:
            packed = pack([sequences[index] for index in members], pad_token_id, trees)
            batch = {name: value.to(device) for name, value in packed.items()}
            logps = completion_logps(policy(**model_inputs(batch)), batch)
            scored += zip(members, logps.tolist(), strict=True)
            tick(len(scored), total)
    policy.train(was_training)
    gathered = dict(gather_object(scored))
    return [gathered[index] for index in range(len(sequences))]


def _units(sequences: Sequence[TokenSequence], batch_size: int, trees: bool) -> list[Unit]:
    """Sequences of one row together, at most ``batch_size`` of them."""
    together: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(sequences):
        ids = each.prompt_ids if trees else each.prompt_ids + each.completion_ids
        together.setdefault(tuple(ids), []).append(index)
    units = []
    for members in together.values():
        for start in range(0, len(members), batch_size):
            part = tuple(members[start : start + batch_size])
            units.append(Unit(part, max(len(sequences[index]) for index in part)))
    return units


def _autocast(policy: PeftModel) -> torch.autocast:
    """The mixed precision that Trainer trains in, so that policy and reference round alike."""
    dtype = policy.get_base_model().dtype
    mixed = dtype in (torch.bfloat16, torch.float16)
    device_type = next(policy.parameters()).device.type
    return torch.autocast(device_type, dtype if mixed else torch.bfloat16, enabled=mixed)


def _distinct_logps(
    policy: PeftModel,
    sequences: Sequence[TokenSequence],
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None,
    tick: Tick = no_tick,
) -> list[float]:
    """As :func:`sequence_logps`, each distinct sequence once (edits share completions)."""
    keys = [
        (tuple(each.prompt_ids), tuple(each.completion_ids), tuple(each.token_weights))
        for each in sequences
    ]
    distinct = dict(zip(keys, sequences, strict=True))
    values = list(distinct.values())
    logps = sequence_logps(policy, values, batch_size, pad_token_id, sharing, tick)
    by_key = dict(zip(distinct, logps, strict=True))
    return [by_key[key] for key in keys]


def _reference_logps(
    policy: PeftModel,
    run: CandidateRun,
    sequences: Sequence[TokenSequence],
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None,
    tick: Tick,
) -> list[float]:
    """Log-probabilities under the run's reference, from the cycle's cache where it has them."""

    def compute(missing: Sequence[TokenSequence]) -> list[float]:
        with as_reference(policy, run):
            return _distinct_logps(policy, missing, batch_size, pad_token_id, sharing, tick)

    return cached_logps(reference_cache(run, policy, reference_dir(run)), sequences, compute)


def _pair_sequences(rows: Sequence[PairRow]) -> list[TokenSequence]:
    """Chosen, rejected, and the suffixes of both after the common beginning, each for all rows.

    A loss takes both sides' suffixes or both sides' whole texts: a sum over a suffix obtained by
    subtraction would have lost digits. The suffixes cost nothing, being tokens of the same rows.
    """
    shared = [row["shared"] for row in rows]
    chosen = [chosen_sequence(row) for row in rows]
    rejected = [rejected_sequence(row) for row in rows]
    chosen_suffixes = [suffix_of(*each) for each in zip(chosen, shared, strict=True)]
    rejected_suffixes = [suffix_of(*each) for each in zip(rejected, shared, strict=True)]
    return [*chosen, *rejected, *chosen_suffixes, *rejected_suffixes]


def _fill_pairs(rows: Sequence[PairRow], logps: Sequence[float]) -> None:
    for index, row in enumerate(rows):
        row["ref_chosen_logps"] = logps[index]
        row["ref_rejected_logps"] = logps[len(rows) + index]
        row["ref_chosen_suffix_logps"] = logps[2 * len(rows) + index]
        row["ref_rejected_suffix_logps"] = logps[3 * len(rows) + index]


def score_pairs(
    policy: PeftModel,
    rows: Sequence[PairRow],
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None = None,
) -> None:
    """Fills the reference columns of every row, in place, by the policy as it is."""
    sequences = _pair_sequences(rows)
    _fill_pairs(rows, _distinct_logps(policy, sequences, 2 * batch_size, pad_token_id, sharing))


def add_pair_reference(
    policy: PeftModel,
    rows: list[PairRow],
    run: CandidateRun,
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None = None,
    tick: Tick = no_tick,
) -> None:
    """:func:`score_pairs` by the run's reference, from the cycle's cache where it has them."""
    sequences = _pair_sequences(rows)
    logps = _reference_logps(policy, run, sequences, 2 * batch_size, pad_token_id, sharing, tick)
    _fill_pairs(rows, logps)


def mismatched_sequence(row: UnpairedRow) -> TokenSequence:
    """The row's prompt with another row's completion: what KTO's z0 is estimated from."""
    return TokenSequence(row["prompt_ids"], row["KL_completion_ids"], row["KL_token_weights"])


def _unpaired_sequences(rows: Sequence[UnpairedRow]) -> list[TokenSequence]:
    """Completions of all rows, then the mismatched ones of those that have one."""
    mismatched = [mismatched_sequence(row) for row in rows if "KL_completion_ids" in row]
    return [unpaired_sequence(row) for row in rows] + mismatched


def _fill_unpaired(rows: Sequence[UnpairedRow], logps: Sequence[float]) -> None:
    """``ref_logps`` of every row, ``ref_KL_logps`` of those with a mismatched completion."""
    mismatched = [row for row in rows if "KL_completion_ids" in row]
    for row, value in zip(rows, logps[: len(rows)], strict=True):
        row["ref_logps"] = value
    for row, value in zip(mismatched, logps[len(rows) :], strict=True):
        row["ref_KL_logps"] = value


def score_unpaired(
    policy: PeftModel,
    rows: Sequence[UnpairedRow],
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None = None,
) -> None:
    """Fills the reference columns of every row, in place, by the policy as it is."""
    sequences = _unpaired_sequences(rows)
    _fill_unpaired(rows, _distinct_logps(policy, sequences, batch_size, pad_token_id, sharing))


def add_unpaired_reference(
    policy: PeftModel,
    rows: list[UnpairedRow],
    run: CandidateRun,
    batch_size: int,
    pad_token_id: int,
    sharing: Sharing | None = None,
    tick: Tick = no_tick,
) -> None:
    """:func:`score_unpaired` by the run's reference, from the cycle's cache where it has them."""
    sequences = _unpaired_sequences(rows)
    logps = _reference_logps(policy, run, sequences, batch_size, pad_token_id, sharing, tick)
    _fill_unpaired(rows, logps)
