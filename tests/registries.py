"""A record of an adapter, as the registry keeps it."""

from __future__ import annotations

from negalign_train.registry.manifest import AdapterRecord

RECORD = AdapterRecord(
    adapter_id="c0001-dpo-0001",
    parent_id=None,
    cycle=1,
    candidate="dpo",
    method="dpo",
    base_name="embedded",
    base_digest="a" * 64,
    recipe_fingerprint="b" * 64,
    data_fingerprint="c" * 64,
    run_identity="9" * 64,
    created_at="2026-11-02T12:00:00+00:00",
    versions={"torch": "2.13.0", "trl": "1.16.0"},
    git_commit="d" * 40,
    details={"Preference pairs": "412"},
)
FILES = ("README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json")
