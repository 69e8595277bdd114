"""Preference data as TRL, LLaMA-Factory and others keep it.

A pair: the rejected text was graded, the chosen one is what was wanted instead. A label: true is an
accepted report, false a rejected one. Who judged, and when, such files do not say: ``--set``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.mapping.values import messages_value
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    malformed,
    object_of,
    record_of,
    undecoded,
)
from negalign_train.storage.fingerprint import canonical_json

_CONVERSATIONS = ("messages", "conversations", "conversation")
_ALPACA = ("instruction", "input", "system")
Row = Mapping[str, Any]


def _pair_fields(item: RawRecord, row: Row) -> dict[str, Any]:
    """Prompt, chosen and rejected text of a row in any of the usual layouts."""
    for name in ("chosen", "rejected"):
        if name not in row:
            raise malformed(item, f"a row lacks {name!r}")
    chosen, rejected = _turns(row["chosen"]), _turns(row["rejected"])
    prompt = _prompt(row)
    if prompt is None:  # the prompt is what both conversations begin with
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    return {
        "prompt": prompt,
        "chosen": _last_text(item, chosen, "chosen"),
        "rejected": _last_text(item, rejected, "rejected"),
    }


def _label_fields(item: RawRecord, row: Row) -> dict[str, Any]:
    """Prompt, completion and label of a row in any of the usual layouts."""
    label = row.get("label", row.get("kto_tag"))
    if not isinstance(label, bool):
        raise malformed(item, "'label' must be true or false in each row")
    prompt, answer = _prompt(row), row.get("completion", row.get("output"))
    if answer is None:
        conversation = _turns(next((row[name] for name in _CONVERSATIONS if name in row), []))
        if not conversation:
            raise malformed(item, "a row lacks 'completion' or 'messages'")
        prompt, turns = conversation[:-1], conversation[-1:]
    else:
        turns = _turns(answer)
    return {"prompt": prompt, "completion": _last_text(item, turns, "completion"), "label": label}


def _turns(value: Any) -> list[Any]:
    """A text, a message or a conversation as a list of messages."""
    messages = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        messages = [{"role": "assistant", "content": value}]
    turned = messages_value(messages)
    assert isinstance(turned, list)
    return turned


def _prompt(row: Row) -> Any:
    if "prompt" in row:
        return row["prompt"]
    if "instruction" in row:
        return "\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))
    if "completion" in row or "chosen" in row:
        conversation = next((row[name] for name in _CONVERSATIONS if name in row), None)
        return None if conversation is None else _turns(conversation)
    return None


def _last_text(item: RawRecord, turns: list[Any], name: str) -> str:
    last = turns[-1] if turns else None
    content = last.get("content") if isinstance(last, Mapping) else None
    if len(turns) != 1 or not isinstance(content, str):
        raise malformed(item, f"{name!r} must be one text, or one message of the assistant")
    return content


def _records(
    read: Callable[[RawRecord, Row], dict[str, Any]],
) -> Callable[[Iterable[RawRecord], ReadingRules], Iterator[Record]]:
    def records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
        """One record a row, named by its content where the row has no id."""
        for item in items:
            if item.problem is not None:
                yield undecoded(item)
                continue
            row = object_of(item, "a row")
            fields = read(item, row)
            digest = hashlib.sha256(canonical_json(fields).encode("utf-8", "replace")).hexdigest()
            known = {"chosen", "rejected", "completion", "output", "label", "kto_tag",
                     *_CONVERSATIONS, *_ALPACA}  # fmt: skip
            rest = {name: value for name, value in row.items() if name not in known}
            names = {"digest": digest[:24], "case_id": row.get("case_id", f"trl-{digest[:24]}")}
            problem = None
            if fields.get("prompt") in (None, "", []):
                problem = QuarantineError("empty_prompt", "the row has no prompt")
            yield record_of(item, rest | fields | names, problem)

    return records


def _is_pair(sample: Sample) -> bool:
    return {"chosen", "rejected"} <= sample.keys


def _is_label(sample: Sample) -> bool:
    has_text = bool({"completion", "output", *_CONVERSATIONS} & sample.keys)
    return has_text and bool({"label", "kto_tag"} & sample.keys)


_COMMON = {
    "event_id": "trl-{digest}",
    "case_id": "case_id",
    "study_id": "study_id",
    "patient_id": "patient_id",
    "created_at": "created_at",
    "prompt": "prompt",
    "generator.base": "generator_base",
    "generator.adapter": "generator_adapter",
    "reader.id": "reader_id",
}
TRL_PREFERENCE = Format(
    name="trl-preference",
    title="pairs: prompt, chosen, rejected (TRL, ShareGPT, Alpaca layouts)",
    looks_like=_is_pair,
    records=_records(_pair_fields),
    mapping=FieldMapping(
        fields={**_COMMON, "completion": "rejected", "edited": "chosen"},
        constants={"grade": "reject", "source.system": "trl-preference"},
    ),
)
TRL_KTO = Format(
    name="trl-kto",
    title="labels: prompt, completion, label true or false",
    looks_like=_is_label,
    records=_records(_label_fields),
    mapping=FieldMapping(
        fields={**_COMMON, "completion": "completion", "grade": "label"},
        constants={"source.system": "trl-kto"},
    ),
)
