"""Measurements, counts, and the numbers of ribs and vertebrae, each attached to its statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.text.tokens import Token
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.spelling import Word

MANY = 99
"""The count of "several", "multiple" and the like."""
_MM_PER_UNIT = {
    "mm": 1.0, "cm": 10.0, "millimeter": 1.0, "centimeter": 10.0, "millimetre": 1.0,
    "centimetre": 10.0, "inch": 25.4, "inche": 25.4,
}  # fmt: skip
_MOVES = frozenset(
    ["back", "retracted", "retract", "withdrawn", "withdraw", "advanced", "advance", "advancing",
     "retraction", "advancement", "retracting", "withdrawing"]
)  # fmt: skip
_FROM_HERE = frozenset(["above", "from", "below", "beyond", "proximal", "distal", "past"])
_PAST = frozenset(
    ["previously", "formerly", "was", "were", "initially", "earlier", "than", "prior"]
)
_PAST_BEHIND = frozenset(["before", "earlier", "ago", "yesterday"])
_COUNT_WORDS = 4
"""A count stands at most this many words before what it counts."""
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
)  # fmt: skip
_CARDINALS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_NUMBER_OF = {word: at for words in (_ORDINALS, _CARDINALS) for at, word in enumerate(words, 1)}
_ORDINAL_OF = {word: at for at, word in enumerate(_ORDINALS, 1)}
_SUFFIXES = frozenset(["st", "nd", "rd", "th"])
_NO_COUNT = _SUFFIXES | _MM_PER_UNIT.keys() | {"x", "by", "view", "image", "day", "year", "month"}
_RANGE = frozenset(["to", "through", "thru", "til", "until"])
_LISTED = frozenset(["and", ",", "/", "or"])
_BESIDE_RIB = frozenset(
    ["left", "right", "posterior", "anterior", "lateral", "posterolateral", "anterolateral",
     "both", "bilateral", "number", "no"]
)  # fmt: skip
_SPINE = {"t": (1, 12), "d": (1, 12), "l": (1, 5), "c": (1, 7)}
"""Letters of the vertebrae with their first and last number; British reports write D for T."""
_SPINE_NAMES = {"thoracic": "t", "dorsal": "t", "lumbar": "l", "cervical": "c"}
_DIGITS = re.compile(r"\d{1,2}$")


def _is_advice(words: Sequence[Word], at: int) -> bool:
    """Whether the measurement at word ``at`` says how far a device should be moved."""
    behind = words[at + 2].form if at + 2 < len(words) else ""
    before = {word.form for word in words[max(0, at - 3) : at]}
    return behind not in _FROM_HERE and not before.isdisjoint(_MOVES)


def _is_past(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether the words before a measurement [start, end) make it an earlier one."""
    if end < len(tokens) and tokens[end].text in _PAST_BEHIND:
        return True  # "12 mm (8 mm before)"
    if not start:
        return False
    before = tokens[start - 1].text
    if before == "from":  # "from 2 cm to 3 cm", but not "retracted from 2 cm"
        return any(token.text == "to" for token in tokens[end : end + 2])
    return before in _PAST


def _sizes(tokens: Sequence[Token], words: Sequence[Word]) -> list[tuple[int, float, bool]]:
    """(word index, millimetres, whether it is an earlier one) of every measurement.

    Of "2 x 3 cm" the largest number counts.
    """
    sizes = []
    for index in range(len(tokens) - 1):
        unit = _MM_PER_UNIT.get(words[index + 1].form)
        if unit is None or not tokens[index].text[0].isdigit() or _is_advice(words, index):
            continue
        numbers, at = [float(tokens[index].text)], index
        while at > 1 and tokens[at - 1].text in ("x", "by") and tokens[at - 2].text[0].isdigit():
            at -= 2
            numbers.append(float(tokens[at].text))
        past = _is_past(tokens, at, index + 2)
        sizes.append((index, max(numbers) * unit, past))
    return sizes


def _nearest(drafts: Sequence[StatementDraft], word: int) -> StatementDraft:
    return min(drafts, key=lambda d: (max(d.start - word, word - d.end, 0), d.start))


def _attach_sizes(
    live: Sequence[StatementDraft], tokens: Sequence[Token], words: Sequence[Word]
) -> None:
    """Each size to the nearest statement; of several the largest counts, of an earlier one only
    what has become of it."""
    earlier: list[tuple[StatementDraft, float]] = []
    for word, size_mm, past in _sizes(tokens, words):
        nearest = _nearest(live, word)
        if past:
            earlier.append((nearest, size_mm))
        else:
            nearest.size_mm = max(size_mm, nearest.size_mm or 0.0)
    for draft, before in earlier:
        if draft.size_mm is not None and not draft.changes and draft.size_mm != before:
            draft.changes.append("worse" if draft.size_mm > before else "improved")


def _number(words: Sequence[str], at: int, names: dict[str, int]) -> tuple[int, int] | None:
    """(number, words it takes) of "third", "3rd", "3" at word ``at``; None where there is none."""
    if not 0 <= at < len(words):
        return None
    if words[at] in names:
        return names[words[at]], 1
    if _DIGITS.match(words[at]):
        follows = at + 1 < len(words) and words[at + 1] in _SUFFIXES
        return int(words[at]), 2 if follows else 1
    return None


def _series(words: Sequence[str], at: int, names: dict[str, int]) -> tuple[list[int], int]:
    """The numbers listed from word ``at`` on, ranges written out, and the word behind them."""
    numbers: list[int] = []
    ranged = False
    end = at
    while (number := _number(words, at, names)) is not None:
        value, taken = number
        hyphened = bool(numbers) and at == end and value > numbers[-1]  # "3-5" leaves no mark
        if (ranged or hyphened) and value > numbers[-1]:
            numbers += range(numbers[-1] + 1, value)
        numbers.append(value)
        at += taken
        end = at
        ranged = False
        while at < len(words) and (words[at] in _LISTED or words[at] in _RANGE):
            ranged = ranged or words[at] in _RANGE
            at += 1
    return [number for number in numbers if 1 <= number <= 12], end


def _rib_numbers(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(word index, "rib N") of every rib named by number, before or after the word."""
    for at, word in enumerate(words):
        if word != "rib":
            continue
        numbers, _ = _series(words, at + 1, _NUMBER_OF)
        start = at
        while start > 0 and _belongs_before_rib(words, start - 1):
            start -= 1
        for first in range(start, at):
            if _number(words, first, _ORDINAL_OF) is not None and words[first] not in _SUFFIXES:
                listed, _ = _series(words, first, _ORDINAL_OF)
                numbers += listed
                break
        yield from ((at, f"rib {number}") for number in numbers)


def _belongs_before_rib(words: Sequence[str], at: int) -> bool:
    word = words[at]
    if _DIGITS.match(word):  # "the 3rd rib", not "3 ribs"
        return at + 1 < len(words) and words[at + 1] in _SUFFIXES | _RANGE | _LISTED
    return (
        word in _ORDINAL_OF or word in _SUFFIXES or word in _RANGE or word in _LISTED
        or word in _BESIDE_RIB
    )  # fmt: skip


def _vertebra_numbers(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(word index, "t7") of every vertebra: "T7", "T7 to T9", "seventh thoracic vertebra"."""
    before: tuple[str, int, int] | None = None  # letter, number, word behind
    for at, word in enumerate(words):
        spine = _SPINE_NAMES.get(word)
        if spine is not None and at and words[at - 1] in _ORDINAL_OF:
            yield at, f"{spine}{_ORDINAL_OF[words[at - 1]]}"
        if word not in _SPINE or at + 1 >= len(words) or not _DIGITS.match(words[at + 1]):
            continue
        letter, number = "t" if word == "d" else word, int(words[at + 1])
        first, last = _SPINE[word]
        if not first <= number <= last:
            continue
        if before is not None and before[0] == letter and before[1] < number:
            between = words[before[2] : at]
            if all(middle in _RANGE for middle in between):  # "T7-T9", "T7 to T9"
                yield from ((at, f"{letter}{n}") for n in range(before[1] + 1, number))
        yield at, f"{letter}{number}"
        before = (letter, number, at + 2)


def _attach_levels(live: Sequence[StatementDraft], words: Sequence[str]) -> None:
    numbered = [draft for draft in live if draft.finding in lexicon().numbered]
    if not numbered:
        return
    for word, level in (*_rib_numbers(words), *_vertebra_numbers(words)):
        _nearest(numbered, word).numbers.append(level)


def _attach_counts(
    live: Sequence[StatementDraft], items: Sequence[Item], words: Sequence[str]
) -> None:
    """ "Two nodules", "fractures of three ribs": of several counts the first one stays."""
    tables = lexicon()
    for item in items:
        count = item.value("count")
        if count is None or " ".join(words[item.end : item.end + 1]) in _NO_COUNT:
            continue  # "5 mm", "3rd"
        behind = [
            d for d in live if d.end > item.end and d.start - item.end <= _COUNT_WORDS
            and d.finding in tables.countable and d.clause == item.clause
        ]  # fmt: skip
        if behind and behind[0].how_many is None:
            behind[0].how_many = MANY if count == "many" else int(count)


def attach_numbers(
    drafts: Sequence[StatementDraft],
    items: Sequence[Item],
    tokens: Sequence[Token],
    words: Sequence[Word],
) -> None:
    """Adds sizes, counts and numbers of ribs and vertebrae to what the sentence asserts."""
    live = [draft for draft in drafts if draft.present and not draft.dropped]
    if not live:
        return
    _attach_sizes(live, tokens, words)
    forms = [word.form for word in words]
    _attach_counts(live, items, forms)
    _attach_levels(live, forms)
