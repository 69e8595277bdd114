"""The data files of this package, in a clone and in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from negalign_train.vocabulary.errors import DataError

_PACKAGE = Path(__file__).resolve().parents[1]


def data_path(name: str) -> Path:
    """The file or folder ``data/<name>``: beside the package in a clone, inside it in a wheel.

    Raises:
        DataError: it lies in neither place.
    """
    for root in (_PACKAGE.parent / "data", _PACKAGE / "data"):
        if (root / name).exists():
            return root / name
    raise DataError(f"data file {name!r} is missing; reinstall negalign-train, or restore data/")


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same values, ten times faster, where PyYAML was built with libyaml."""


def read_table(path: Path) -> Any:
    """What one of the YAML files of ``data/`` holds."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
