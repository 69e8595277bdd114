"""Why a launched run stopped, passed to its launcher without a word of a report.

A library's message may quote its input, so it stays in the run's own output. The launcher gets this
package's own message, or the class of an error and where it was raised.
"""

from __future__ import annotations

import json
import os
import traceback
from contextlib import suppress
from pathlib import Path

import torch

import negalign_train
from negalign_train.vocabulary.errors import NegalignError

FAILURE = "failure.json"
_PACKAGE = str(Path(negalign_train.__file__).parent)
_SITE_PARTS = 3


def describe(error: BaseException) -> str:
    """One line: this package's message as it is, any other error by class, place and, where it
    can hold numbers and names of modules only, message.
    """
    if isinstance(error, NegalignError):
        return " ".join(str(error).split())
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return f"{kind}{_harmless(error)}{_place(error)}"


def _harmless(error: BaseException) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return f": {str(error).split('. ')[0]}"
    if isinstance(error, ImportError) and error.name:
        return f": module {error.name}"
    if isinstance(error, OSError) and error.errno:
        return f": {os.strerror(error.errno)}"
    return ""


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    places = [_short(frame) for frame in [*own[-1:], frames[-1]]]
    return f" at {', in '.join(dict.fromkeys(places))}"


def _short(frame: traceback.FrameSummary) -> str:
    return f"{'/'.join(Path(frame.filename).parts[-_SITE_PARTS:])}:{frame.lineno}"


def record_failure(folder: Path, error: BaseException) -> None:
    """Leaves ``failure.json`` in ``folder``; of several processes the first one's stays."""
    # The error itself is what matters: a full disk must not hide it.
    with suppress(OSError), (folder / FAILURE).open("x", encoding="utf-8") as stream:
        own = isinstance(error, NegalignError)
        json.dump({"message": describe(error), "own": own}, stream)


def forget_failure(folder: Path) -> None:
    """Before a launch: an earlier launch's failure says nothing about the next."""
    (folder / FAILURE).unlink(missing_ok=True)


def read_failure(folder: Path) -> str:
    """What ``record_failure`` left, as a sentence for an error message."""
    try:
        failure = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        message = str(failure["message"])
    except (OSError, ValueError, KeyError):
        return "it ended without saying why, as a process does that is killed for its memory"
    if failure["own"]:
        return message
    return f"{message} (its own message may quote a report and is not repeated here)"
