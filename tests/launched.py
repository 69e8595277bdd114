"""Several candidates in one launch, each by the product's own entry point: the imports, which take
longer than a tiny run, are paid once.

accelerate launch --config_file recipes/accelerate/X.yaml -m tests.launched CANDIDATE.yaml ...

``CANDIDATE.yaml@5`` dies after step 5, as a power cut would have it.
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate.state import AcceleratorState

from negalign_train.training.run import leave, main
from negalign_train.training.running.outputs import JsonLog


class _PowerCut(Exception):
    pass


def train_until(path: str, last_step: int) -> None:
    """Trains the candidate, and stops without a word after ``last_step``."""
    on_log = JsonLog.on_log

    def failing(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        on_log(self, args, state, control, **rest)
        if state.global_step == last_step:
            raise _PowerCut

    JsonLog.on_log = failing  # type: ignore[method-assign]
    try:
        main(["--config", path])
    except _PowerCut:
        return
    finally:
        JsonLog.on_log = on_log  # type: ignore[method-assign]
    raise AssertionError(f"{path} has no step {last_step}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path, _, last_step = argument.partition("@")
        if last_step:
            train_until(path, int(last_step))
        elif code := main(["--config", path]):
            leave(code)
        AcceleratorState._reset_state()
    leave(0)
