"""Whether a recipe would be taken: what a cycle checks at its start, on an empty workspace."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from negalign_train.cycle.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.train_step import check_candidates
from negalign_train.database import open_database
from negalign_train.workspace import Workspace


def check_start(located: LocatedRecipe) -> None:
    """Runs the checks of a first cycle before its feedback; nothing stays.

    Raises:
        NegalignError: what `negalign cycle` would say.
    """
    with TemporaryDirectory(prefix="negalign-check-") as folder:
        workspace = Workspace(Path(folder))
        engine = open_database(workspace.database_url)
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            check_candidates(open_cycle(workspace, engine, located, seed=1, now=now))
        finally:
            engine.dispose()
