"""What the libraries underneath may print: nothing that quotes a report, no chatter."""

from __future__ import annotations

import logging
import os
import sys
import warnings


def quieten() -> None:
    """Call before transformers, TRL or PEFT are imported.

    TRL's warnings can quote prompts and completions (trl 1.16.0, grpo_trainer.py:1675).
    bitsandbytes 0.50 warns at import that an optional CPU kernel is missing (backends/cpu/ops.py),
    and DeepSpeed 0.19 that there is no GPU. PEFT 0.21.2 and TRL 1.16.0 read a property that
    transformers 5.23 has renamed, and DeepSpeed 0.19 collectives that torch 2.13 has.
    """
    logging.getLogger("trl").setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # DeepSpeed 0.19 sets its logger's level itself and writes to standard output, where --json is.
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
    warnings.filterwarnings("ignore", "`torch.distributed.*` is deprecated", FutureWarning)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        # transformers 5.23 draws one of its bars with tqdm itself (GGUF tensors).
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
