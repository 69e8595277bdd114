"""No network and no telemetry unless the user asks for it."""

from __future__ import annotations

import os

OFFLINE_DEFAULTS = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def go_offline() -> None:
    """Sets the offline variables, except those the user has set.

    Call it before any import of transformers, datasets or huggingface_hub: they read them once.
    """
    for name, value in OFFLINE_DEFAULTS.items():
        os.environ.setdefault(name, value)
