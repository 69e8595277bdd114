"""What libraries may print."""

import logging
import os
import subprocess
import sys

from negalign_train.quiet import quieten


def test_deepspeed_s_warnings_stay_off_standard_output_although_it_sets_its_own_level(caplog):
    quieten()
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.WARNING)  # deepspeed 0.19.8, utils/logging.py: at import
    logger.addHandler(caplog.handler)
    try:
        logger.warning("Setting accelerator to CPU.")
        logger.error("out of memory")
    finally:
        logger.removeHandler(caplog.handler)
    # Where DeepSpeed is not imported yet the logger also passes its records on.
    assert {record.getMessage() for record in caplog.records} == {"out of memory"}


def test_a_bar_is_drawn_on_a_terminal_only():
    code = (
        "from negalign_train.quiet import quieten; quieten()\n"
        "from tqdm.auto import tqdm\n"
        "list(tqdm(range(3)))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == ""
