"""The order of KTO's rows, and the mismatched completions its z0 is estimated from.

TRL never shuffles KTO's rows and rotates completions within contiguous blocks (trl 1.16.0,
trainer/kto_trainer.py:837-848 and 1150-1156), so that unpaired pairs arrive as blocks of one class.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from negalign_train.training.rows.batches import UnpairedRow
from negalign_train.vocabulary.errors import TrainingError

_REACH = 200
"""How many rows on either side are looked at for one to swap with."""

_PASSES = 4
"""In 5,000 random sets of at most 80 rows, no case above a third, one pass left neighbours of one
case in 45 and four in none.
"""


def arrange(
    rows: Sequence[UnpairedRow], seed: int, block_size: int | None = None
) -> list[UnpairedRow]:
    """Rows shuffled with ``seed``, classes interleaved in proportion, neighbours of other cases.

    ``block_size`` is the rows of an optimiser step. Rows of one prompt (an edited text and the one
    it was made from) then fall into one block wherever they fit, so that their prefix is computed
    once; inside a block they stand apart, in the order all first ones, all second ones. Without it
    every row stands for itself.

    Raises:
        TrainingError: fewer than two rows, or all rows are of one case, so that no prompt has a
            completion of another case.
    """
    if len({row["group"] for row in rows}) < 2:
        raise TrainingError(
            f"kto needs examples of at least two cases, got {len(rows)} rows of one; collect more "
            "feedback, or train with dpo"
        )
    rng = random.Random(seed)
    units = _units(rows, block_size)
    placed: list[tuple[float, list[UnpairedRow]]] = []
    for labels in ((True,), (False,), (True, False)):
        members = [unit for unit in units if {row["label"] for row in unit} == set(labels)]
        rng.shuffle(members)
        offset = rng.random()
        placed += [((i + offset) / len(members), unit) for i, unit in enumerate(members)]
    placed.sort(key=lambda item: item[0])
    ordered = [unit for _, unit in placed]
    if block_size is None:
        return _separate([row for unit in ordered for row in unit])
    blocks = _blocks(ordered, block_size)
    return _separate([row for block in blocks for row in _dealt(block)])


def _units(rows: Sequence[UnpairedRow], block_size: int | None) -> list[list[UnpairedRow]]:
    """Rows that share a prompt, at most half a block of them, so that others stand between."""
    if block_size is None:
        return [[row] for row in rows]
    together: dict[tuple[int, ...], list[UnpairedRow]] = {}
    for row in rows:
        together.setdefault(tuple(row["prompt_ids"]), []).append(row)
    most = max(1, block_size // 2)
    return [
        members[start : start + most]
        for members in together.values()
        for start in range(0, len(members), most)
    ]


def _blocks(units: Sequence[list[UnpairedRow]], block_size: int) -> list[list[list[UnpairedRow]]]:
    """Units to blocks of exactly ``block_size`` rows, the last but for what is left; a unit that
    does not fit goes into the next block, and a smaller one from later fills its place.
    """
    waiting = list(units)
    blocks: list[list[list[UnpairedRow]]] = []
    while waiting:
        block: list[list[UnpairedRow]] = []
        free = block_size
        while free and waiting:
            fitting = next((i for i, unit in enumerate(waiting) if len(unit) <= free), None)
            if fitting is None:
                unit = waiting.pop(0)
                block.append(unit[:free])
                waiting.insert(0, unit[free:])
                free = 0
                continue
            unit = waiting.pop(fitting)
            block.append(unit)
            free -= len(unit)
        blocks.append(block)
    return blocks


def _dealt(block: Sequence[list[UnpairedRow]]) -> list[UnpairedRow]:
    """Rows of a block, first ones of all units, then second ones, and so on. Units begin with
    either class in turn, so that both classes stand side by side.
    """
    turned = [unit[::-1] if index % 2 else unit for index, unit in enumerate(block)]
    longest = max(len(unit) for unit in turned)
    return [unit[turn] for turn in range(longest) for unit in turned if turn < len(unit)]


def _separate(rows: list[UnpairedRow]) -> list[UnpairedRow]:
    """Swaps rows that follow one of their own case, in passes, until none gains from it."""
    for _ in range(_PASSES):
        if not sum(_swap_away(rows, index) for index in range(1, len(rows))):
            break
    return rows


def _swap_away(rows: list[UnpairedRow], index: int) -> bool:
    """Swaps a row that follows one of its own case with the nearest that leaves fewer such
    neighbours, of its class first, later rows before earlier ones; False where nothing is swapped.
    """
    if rows[index]["group"] != rows[index - 1]["group"]:
        return False
    later = range(index + 1, min(index + 1 + _REACH, len(rows)))
    earlier = range(index - 2, max(index - 2 - _REACH, -1), -1)
    fits = [j for j in (*later, *earlier) if _separates(rows, index, j)]
    same_class = (j for j in fits if _alike(rows, index, j))
    swap = next(same_class, next(iter(fits), None))
    if swap is None:
        return False
    rows[index], rows[swap] = rows[swap], rows[index]
    return True


def _separates(rows: list[UnpairedRow], left: int, right: int) -> bool:
    """True if swapping the two rows leaves fewer neighbours of one case."""
    touched = {left, left + 1, right, right + 1}
    pairs = [at for at in touched if 0 < at < len(rows)]

    def clashes() -> int:
        return sum(rows[at]["group"] == rows[at - 1]["group"] for at in pairs)

    before = clashes()
    rows[left], rows[right] = rows[right], rows[left]
    after = clashes()
    rows[left], rows[right] = rows[right], rows[left]
    return after < before


def _alike(rows: Sequence[UnpairedRow], left: int, right: int) -> bool:
    return rows[left]["label"] is rows[right]["label"]


def add_mismatched(rows: list[UnpairedRow], block_size: int) -> None:
    """Gives each row the completion of another row, with its token weights, in place.

    Completions are rotated by one within each block of ``block_size`` rows, as TRL does. A rotation
    that would give a row a completion of its own case, or its own text (normal reports are often
    word for word the same), or a last block of one row, takes the nearest earlier row that differs
    instead: a matched completion would make z0 the reward.
    """
    for start in range(0, len(rows), block_size):
        block = range(start, min(start + block_size, len(rows)))
        for index in block:
            donor = index - 1 if index > start else block[-1]
            if not _mismatched(rows[donor], rows[index]):
                donor = _nearest_donor(rows, index)
            rows[index]["KL_completion_ids"] = rows[donor]["completion_ids"]
            rows[index]["KL_token_weights"] = rows[donor]["token_weights"]


def _mismatched(donor: UnpairedRow, row: UnpairedRow) -> bool:
    same_text = donor["completion_ids"] == row["completion_ids"]
    return donor["group"] != row["group"] and not same_text


def _nearest_donor(rows: Sequence[UnpairedRow], index: int) -> int:
    """The nearest row before ``index``, going round, of another case and text; of another case
    alone where every text is the same.
    """
    before = [(index - step) % len(rows) for step in range(1, len(rows))]
    other_case = (j for j in before if rows[j]["group"] != rows[index]["group"])
    return next((j for j in before if _mismatched(rows[j], rows[index])), next(other_case))
