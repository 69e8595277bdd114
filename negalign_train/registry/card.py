"""The model card of a published adapter: the README.md that travels with its weights."""

from __future__ import annotations

import json
from collections.abc import Iterable

from negalign_train.registry.manifest import AdapterRecord
from negalign_train.registry.weights import AdapterShape

_HEAD = """---
base_model: {base_name_json}
library_name: peft
pipeline_tag: text-generation
tags:
  - lora
  - {method}
  - radiology
  - negalign-train
---

# {adapter_id}

A LoRA adapter for `{base_name}` that drafts radiology reports. It was trained by negalign_train in
cycle {cycle} with {method} on readers' graded corrections, continuing {parent}.

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/{adapter_id}")
```

The base must be the one of digest `{base_digest}`: PEFT loads the adapter on any base of the same
shape without a warning.

"""

_LIMITS = """
## Limits

The adapter drafts text for a radiologist to read and correct. It is no medical device, and no draft
may reach a patient's record unread. Whether it was promoted, and on what evidence, stands in the
gate record of its cycle, not here: this card is written before the decision and never changed.

## Integrity

`manifest.json` holds the SHA-256 of every file, and `negalign adapters verify {adapter_id}` checks
them.
"""


def model_card(record: AdapterRecord, shape: AdapterShape) -> str:
    """The card as Markdown with a YAML head that the Hub understands."""
    head = _HEAD.format(
        base_name_json=json.dumps(record.base_name),  # a JSON string is a YAML string
        base=_base_arguments(record),
        base_name=record.base_name,
        base_digest=record.base_digest,
        method=record.method,
        adapter_id=record.adapter_id,
        cycle=record.cycle,
        parent="the bare base model"
        if record.parent_id is None
        else f"adapter `{record.parent_id}`",
    )
    rows = [
        ("Candidate", record.candidate),
        ("Method", record.method),
        ("LoRA rank, alpha", f"{shape.r}, {shape.lora_alpha:g}"),
        ("Target modules", ", ".join(shape.target_modules)),
        ("Parameters", f"{shape.num_parameters:,}"),
        *record.details.items(),
        ("Recipe fingerprint", record.recipe_fingerprint),
        ("Data fingerprint", record.data_fingerprint),
        ("Run identity", record.run_identity),
        ("Code commit", record.git_commit or "not from a git checkout"),
        ("Created", record.created_at),
        *((f"{name} version", number) for name, number in sorted(record.versions.items())),
    ]
    return head + "## Training\n\n" + _table(rows) + _LIMITS.format(adapter_id=record.adapter_id)


def _base_arguments(record: AdapterRecord) -> str:
    """How the base is asked for: by its id and revision, or by wherever the reader keeps it."""
    if record.base_source != "hub":
        return json.dumps(f"path/to/{record.base_name}")
    revision = record.base_revision
    more = "" if revision is None else f", revision={json.dumps(revision)}"
    return json.dumps(record.base_name) + more


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| What | Value |", "|---|---|", *lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
