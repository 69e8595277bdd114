"""Whether a cycle would take a recipe: its own first checks, in a workspace that does not stay."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from negalign_train.cycle.opening.checks import check_recipe
from negalign_train.cycle.opening.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.opening.preflight import check_base
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace

_SEED = 1


def check_start(located: LocatedRecipe, log: Engine | None) -> None:
    """Checks recipe, base model and the prompts of ``log`` (None: no log yet) as a cycle does.

    Raises:
        NegalignError: what `negalign cycle` would say.
    """
    check_recipe(located, _SEED)
    with TemporaryDirectory(prefix="negalign-trial-") as folder:
        workspace = Workspace(Path(folder))
        own = open_database(workspace.database_url)
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            check_base(open_cycle(workspace, log or own, located, _SEED, now))
        finally:
            own.dispose()
