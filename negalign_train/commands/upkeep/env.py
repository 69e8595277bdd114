"""``negalign env``: what an issue report should hold. Reads metadata, imports no library."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from rich.table import Table

from negalign_train.commands.support.common import JsonOption, print_json, print_table
from negalign_train.offline import OFFLINE_DEFAULTS
from negalign_train.recipe.tailored.machine import nvidia_smi
from negalign_train.registry.provenance import TRAINING_LIBRARIES, library_versions

_LIBRARIES = (*TRAINING_LIBRARIES, "datasets", "deepspeed", "bitsandbytes", "SQLAlchemy", "pyarrow")


def env(as_json: JsonOption = False) -> None:
    """Print versions, devices and offline settings, for a bug report.

    Example: `negalign env --json`
    """
    gpus = nvidia_smi("name,memory.total,driver_version")
    values = {
        "negalign-train": version("negalign-train"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu cores": str(os.cpu_count()),
        "gpus": "; ".join(gpus) or "none found by nvidia-smi",
        **library_versions(_LIBRARIES),
        **{name: os.environ.get(name, "not set") for name in OFFLINE_DEFAULTS},
    }
    if as_json:
        print_json(values)
        return
    table = Table(show_header=False)
    for name, value in values.items():
        table.add_row(name, value)
    print_table(table)
